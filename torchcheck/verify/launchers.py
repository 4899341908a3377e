"""What a rank owes its launcher: to go when it is told to, and not to stay when the launcher is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

LAUNCHED = "TORCHCHECK_LAUNCHED_BY"
"""Names the process of `verify --nproc` that started the ranks, and reads what rank 0 writes."""
GONE = "its launcher is gone"
_LOOK = 1.0


@contextlib.contextmanager
def heeding_the_launcher(stop: Callable[[str], None], env: Mapping[str, str]) -> Iterator[None]:
    """Take a launcher's SIGTERM (another rank failed; the time is over) as an order to report and go; its death too.

    A torchrun that is killed leaves its ranks behind, and the store that they meet at is gone with it.
    """

    def ordered(number: int, _frame: object) -> None:
        stop(f"ended by its launcher ({signal.Signals(number).name})")

    before = signal.signal(signal.SIGTERM, ordered)
    ended = threading.Event()
    threading.Thread(target=_mourn, args=(_launchers(env), stop, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, before)


def _launchers(env: Mapping[str, str]) -> list[int]:
    """Name the processes without which this rank has nobody to report to.

    A parent that is not torchrun may be a shell which has gone on, as it should.
    """
    named = env.get(LAUNCHED, "")
    started = [int(named)] if named.isdigit() else []
    return started + ([os.getppid()] if "TORCHELASTIC_RUN_ID" in env else [])


def _mourn(pids: list[int], stop: Callable[[str], None], ended: threading.Event) -> None:
    import psutil

    with contextlib.suppress(psutil.AccessDenied):  # whom we may not look at we cannot miss
        try:
            watched = [psutil.Process(pid) for pid in pids]
            while not ended.wait(_LOOK):
                if any(process.status() == psutil.STATUS_ZOMBIE or not process.is_running() for process in watched):
                    return stop(GONE)
        except psutil.NoSuchProcess:
            stop(GONE)
    return None
