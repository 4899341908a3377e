"""Make a virtual environment for `--venv DIR`."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from torchcheck import processes
from torchcheck.errors import TargetError, UsageError

PATIENCE = 300.0
MAKING = ".torchcheck-making"
"""Stands, locked, in an environment while it is being made."""
LIBRARIES = ("lib/python*", "Lib")


def python_of(folder: str, platform: str = sys.platform) -> str:
    """Give the path of the interpreter in a virtual environment."""
    inside = ("Scripts", "python.exe") if platform == "win32" else ("bin", "python")
    return os.path.join(os.path.abspath(folder), *inside)


def make(folder: str, python: str, *, installer: str = "pip") -> str:
    """Make a virtual environment, unless there is one; give the path of its interpreter.

    Args:
        folder: where; may hold spaces and any letters.
        python: the interpreter that it is made of (absolute path).
        installer: "uv" makes it with uv, and then without pip.

    Raises:
        UsageError: there is something else in that folder.
        TargetError: it cannot be made.
    """
    inside, mark = python_of(folder), os.path.join(folder, MAKING)
    if not os.path.lexists(mark):
        if os.path.isfile(os.path.join(folder, "pyvenv.cfg")) and os.path.isfile(inside):
            return inside
        if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
            hint = "Name a folder that does not exist yet."
            raise UsageError(f"{folder} exists and is no virtual environment.", hint, code="venv-occupied")
    with _alone(folder, python) as lock:
        if os.path.lexists(mark):
            _make(folder, python, installer, inside)
            with contextlib.suppress(OSError):  # Windows: it is open; who waits for it removes it
                os.unlink(mark)
            lock.release()
            with contextlib.suppress(OSError):
                os.unlink(mark)
            return inside
    return make(folder, python, installer=installer)  # somebody else has made it, or has failed to


@contextlib.contextmanager
def _alone(folder: str, python: str) -> Iterator[FileLock]:
    """Hold what says that an environment is being made: two that were told the same folder make it once."""
    try:
        os.makedirs(folder, exist_ok=True)
        lock = FileLock(os.path.join(folder, MAKING))
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        hint = f"If none is running, remove the folder: {folder}"
        raise TargetError(f"Another torchcheck makes {folder}, for minutes now.", hint, code="venv-failed") from error
    except OSError as error:
        raise _error(str(error), folder, python) from error
    try:
        yield lock
    finally:
        lock.release()


def _make(folder: str, python: str, installer: str, inside: str) -> None:
    if _whole(folder, inside, installer):  # made by another while we waited
        return
    made = False
    try:
        ran = processes.run(_argv(os.path.abspath(folder), python, installer), timeout=PATIENCE)
        made = ran.ok and os.path.isfile(inside)
    finally:
        if not made:  # half an environment would be taken for a whole one the next time
            shutil.rmtree(folder, ignore_errors=True)
    if not made:
        raise _error(ran.out + ran.err, folder, python)


def _whole(folder: str, inside: str, installer: str) -> bool:
    """Say whether an environment was made to its end: of a wheel, pip's here, RECORD is written last."""
    records = itertools.chain.from_iterable(Path(folder).glob(f"{lib}/site-packages/pip-*/RECORD") for lib in LIBRARIES)
    return os.path.isfile(inside) and (installer == "uv" or any(records))


def _argv(folder: str, python: str, installer: str) -> list[str]:
    if installer == "uv":
        from torchcheck.install.uv import program

        return [program(), "venv", "--allow-existing", "--python", python, folder]
    return [python, "-I", "-m", "venv", folder]  # -I: a `venv.py` in the current folder is not run


def _error(said: str, folder: str, python: str) -> TargetError:
    if "ensurepip" in said:
        hint = "sudo apt install python3-venv   (Debian, Ubuntu), or use uv: --installer uv"
        return TargetError(f"{python} comes without what makes virtual environments.", hint, code="no-venv")
    words = " ".join(said.split())[-300:]
    hint = "Check that its parent folder can be written to."
    return TargetError(f"The virtual environment {folder} could not be made: {words}", hint, code="venv-failed")
