"""The names of the ways in which a process ends that was not meant to end."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Death:
    """How a worker ended: the status that its check gets, what to say, and what to do."""

    status: str
    text: str
    hint: str | None = None


# NTSTATUS values, from Microsoft's [MS-ERREF] 2.3.1.
WINDOWS = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000017: "out of memory (STATUS_NO_MEMORY)",
    0xC00000FD: "stack overflow",
    0xC0000094: "integer division by zero",
    0xC0000135: "a DLL was not found",
    0xC0000139: "a DLL lacks an entry point",
    0xC0000142: "a DLL failed to initialise",
    0xC0000374: "heap corruption",
    0xC0000409: "fast fail: stack buffer overrun or abort()",
    0xC000012D: "out of memory (commit limit)",
}
_SIGNALS = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "abort",
    "SIGILL": "illegal instruction: this torch was built for another processor",
    "SIGBUS": "bus error: often /dev/shm or the disk is full",
    "SIGFPE": "arithmetic exception",
    "SIGKILL": "killed, probably for lack of memory",
    "SIGTERM": "ended from outside",
}
_HINTS = {
    "SIGKILL": "free memory or raise the container's limit, then run verify again",
    "SIGILL": "install a build for this processor: torchcheck install",
    "SIGBUS": "look at the space left on /dev/shm (docker run --shm-size=1g) and on the disk",
}


def of_code(code: int | None) -> Death:
    """Name the end of a process by its exit code as `subprocess` has it: negative for a signal, None for unknown."""
    if code is None:
        return Death("crash", "the process closed its channel and did not end")
    if -128 < code < 0:  # beyond, it is a status of Windows that somebody took for a signed number
        name = _signal_name(-code)
        return Death("crash", f"the process died of {name} ({_SIGNALS.get(name, 'signal')})", _HINTS.get(name))
    status = code & 0xFFFFFFFF
    if status in WINDOWS or status >= 0xC0000000:
        return Death("crash", f"the process died of 0x{status:08X} ({WINDOWS.get(status, 'unhandled exception')})")
    return Death("crash", f"the process left in mid-check with exit code {code}")


def timeout(seconds: float) -> Death:
    """Name a hang."""
    return Death(
        "timeout", f"no answer after {seconds:.0f} s; the process was ended", "raise --timeout if it is only slow"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
