"""Every way in which torchcheck gives up, with the exit code that scripts rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """The exit codes of the command line (a public interface: never renumbered)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_PLAN = 3
    INSTALL_FAILED = 4
    UNREACHABLE = 5
    DEFECT = 70
    INTERRUPTED = 130


class TorchcheckError(Exception):
    """An expected end: what happened, why, and what to type next.

    Args:
        message: what happened and why, one or two sentences without a trailing hint.
        hint: the exact command or action that mends it, or "" when there is none.
        code: a stable slug for scripts (`python-not-found`, `index-unreachable` …).
    """

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str, hint: str = "", *, code: str = "") -> None:
        """Keep message, hint and code apart, so that each output format places them itself."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).__name__
        self.data: dict[str, Any] = {}  # what the JSON document of the failed command holds all the same

    def as_json(self) -> dict[str, str]:
        """Give the shape that `errors` of every JSON document has."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(TorchcheckError):
    """The command was called wrongly, or a file given to it cannot be read as what it should be."""

    exit_code = Exit.USAGE


class TargetError(TorchcheckError):
    """The target interpreter cannot be used, or no plan fits this machine."""

    exit_code = Exit.NO_PLAN


class InstallError(TorchcheckError):
    """The installation failed; what was there before is back."""

    exit_code = Exit.INSTALL_FAILED


class UnreachableError(TorchcheckError):
    """An index or the network cannot be reached."""

    exit_code = Exit.UNREACHABLE
