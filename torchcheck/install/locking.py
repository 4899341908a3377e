"""One installation into a target at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from torchcheck.errors import TargetError
from torchcheck.install import journal
from torchcheck.install.disk import FULL, disk_error
from torchcheck.install.streaming import Listener, ignore

if TYPE_CHECKING:
    from torchcheck.target import Target


@contextlib.contextmanager
def locked(target: Target, on_event: Listener = ignore, *, wait: bool = True) -> Iterator[None]:
    """Hold the target's lock: one installation at a time; others wait and say so.

    Raises:
        Timeout: another holds it, and `wait` is false.
        TargetError: the target may not be written to.
    """
    folder = journal.place(target.paths["purelib"])
    if os.path.islink(folder):  # what is cleared there would be somebody else's
        raise TargetError(f"{folder} is a link.", f"Remove it: it should be a folder of torchcheck's ({folder}).")
    try:
        os.makedirs(folder, exist_ok=True)
        lock = FileLock(os.path.join(folder, "lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            on_event({"event": "waiting", "text": "Another torchcheck installs into this environment; waiting for it."})
            lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise disk_error(error) from error
        hint = "Make a virtual environment of your own: torchcheck install --venv .venv"
        raise TargetError(f"The target may not be written to: {error}.", hint, code="not-writable") from error
    try:
        yield
    finally:
        lock.release()
