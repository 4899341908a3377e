r"""The one way to ask the machine anything: live, recorded, or replayed from a file.

Every question is `ask(operation, *arguments)` and every answer is JSON-able, so a recording of one machine is a file
and a probe cannot tell whether it runs on that machine or in a test on another. Absence is a value: what is not there,
may not be read, or does not answer in time gives `None` (or a `Ran` that says so), never an exception.

The operations, with their answers:

    env NAME                    str | None
    environ                     {name: value}                       (the whole environment)
    read PATH                   str | None                          (text, at most 1 MiB, undecodable bytes replaced)
    list PATH                   [name, …] | None                    (sorted)
    link PATH                   str | None                          (target of a symbolic link)
    kind PATH                   "file" | "dir" | "device" | "other" | None
    access PATH MODE            bool                                 (MODE of r, w, x; false when absent)
    free PATH                   int | None                          (bytes free to this user, nearest existing parent)
    run ARGV TIMEOUT            Ran as an object                     (absolute program only; no shell)
    script NAME ARGS TIMEOUT    object | {"error": …}                (native/NAME.py in a process of its own)
    python EXE SCRIPT ARGS TIMEOUT  object | {"error": …}            (SCRIPT of ours in the interpreter EXE)
    which NAME                  str | None                          (absolute path; PATH, never the current folder)
    version PATH                str | None                          (of a Windows binary: "14.44.35211.0")
    pci_name ID                 str | None                          (of "10de:2684", by the system's PCI ID database)
    registry KEY                {"values": {…}, "keys": [...]} | None (Windows; KEY as HKLM\SOFTWARE\…)
    machine                     what Python itself knows of the platform, see `live.machine`
    resources                   memory, processor: see `live.resources` (costs an import of psutil; ask when needed)

`Live` is in `torchcheck.live`, so that reading a recording imports no operating system.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Answer = Any
READ_LIMIT = 1 << 20
_NOT_RECORDED = {"error": "missing", "detail": "not recorded"}


@dataclass(frozen=True)
class Ran:
    """What became of a program: its exit code and output, or why there is none.

    `failure` is None when the program ran to its end; otherwise "missing" (no such program), "denied" (not executable),
    "invalid" (not a program of this machine), "timeout", or "flood" (it never stopped talking).
    `code` is negative when a signal ended it (POSIX), as in `subprocess`.
    """

    code: int | None
    out: str
    err: str
    failure: str | None = None

    @property
    def ok(self) -> bool:
        """Say whether the program ran to its end and reported success."""
        return self.failure is None and self.code == 0


class Host(ABC):
    """The questions a probe may ask; subclasses differ in where the answers come from."""

    @abstractmethod
    def ask(self, operation: str, *arguments: Any) -> Answer:
        """Answer one question; see the module's docstring for the operations."""

    def env(self, name: str) -> str | None:
        """Value of one environment variable."""
        return self._text("env", name)

    def environ(self) -> dict[str, str]:
        """Return the whole environment; what of it may leave the machine is for `report.redact` to say."""
        return dict(self.ask("environ") or {})

    def read(self, path: str) -> str | None:
        """Text of a file, or None when it is absent, unreadable or a folder."""
        return self._text("read", path)

    def list(self, path: str) -> list[str] | None:
        """Sorted names in a folder, or None when there is no such folder."""
        names = self.ask("list", path)
        return None if names is None else list(names)

    def link(self, path: str) -> str | None:
        """Where a symbolic link points, or None."""
        return self._text("link", path)

    def kind(self, path: str) -> str | None:
        """Say what stands at a path: "file", "dir", "device", "other", or None."""
        return self._text("kind", path)

    def access(self, path: str, mode: str) -> bool:
        """Say whether this user may read (`r`), write (`w`) or execute (`x`) what stands at a path."""
        return bool(self.ask("access", path, mode))

    def free(self, path: str) -> int | None:
        """Bytes free to this user on the volume that holds a path (or its nearest existing parent)."""
        size = self.ask("free", path)
        return None if size is None else int(size)

    def run(self, argv: Sequence[str], timeout: float = 10.0) -> Ran:
        """Run a program named by an absolute path; never through a shell, never longer than `timeout` seconds."""
        answer = self.ask("run", list(argv), timeout)
        return Ran(**answer) if answer else Ran(None, "", "", "missing")

    def script(self, name: str, *arguments: str, timeout: float = 10.0) -> dict[str, Any]:
        """Run `native/NAME.py` in a process of its own and give the object that it printed.

        A script that hangs, crashes or prints garbage answers `{"error": kind, "detail": what it said}`; the kinds are
        those of `Ran.failure`, "crash" (with the signal in the detail) and "garbage" (it ended without an answer).
        """
        return dict(self.ask("script", name, list(arguments), timeout) or _NOT_RECORDED)

    def python(self, executable: str, script: str, *arguments: str, timeout: float = 20.0) -> dict[str, Any]:
        """Run one of our scripts ("native/interpreter") in another interpreter, as its user would run it.

        No isolation: `-I`, `-s` or `-S` would hide the torch that the user really runs. Answers as `script` does.
        """
        return dict(self.ask("python", executable, script, list(arguments), timeout) or _NOT_RECORDED)

    def which(self, name: str) -> str | None:
        """Absolute path of a program on PATH, without ever looking into the current folder."""
        return self._text("which", name)

    def version(self, path: str) -> str | None:
        """Version resource of a Windows program or library, or None."""
        return self._text("version", path)

    def resources(self) -> dict[str, Any]:
        """Return memory and processor as psutil and the Windows API know them: see `live.resources`."""
        return dict(self.ask("resources") or {})

    def pci_name(self, pci_id: str) -> str | None:
        """Name of a device, "AD102 [GeForce RTX 4090]", where the system has the PCI ID database."""
        return self._text("pci_name", pci_id)

    def registry(self, key: str) -> dict[str, Any] | None:
        """Values and sub-keys of a registry key: `{"values": {name: value}, "keys": [name, …]}`; None if absent."""
        found = self.ask("registry", key)
        return None if found is None else dict(found)

    def machine(self) -> dict[str, Any]:
        """Return what Python itself knows of the platform: see `live.machine`."""
        return dict(self.ask("machine") or {})

    def _text(self, operation: str, argument: str) -> str | None:
        answer = self.ask(operation, argument)
        return None if answer is None else str(answer)


class Recording(Host):
    """Pass every question on to another host and keep the answers, to be written to a file."""

    def __init__(self, host: Host) -> None:
        """Record what `host` answers."""
        self._host = host
        self.answers: dict[str, Answer] = {}

    def ask(self, operation: str, *arguments: Any) -> Answer:
        """Ask the other host and remember its answer."""
        answer = self._host.ask(operation, *arguments)
        self.answers[_key(operation, arguments)] = answer
        return answer


class Replay(Host):
    """Answer from a recording; a question that it does not hold has the answer "not there"."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        """Take a mapping of question to answer, as `Recording.answers` holds it."""
        self._answers = answers

    @classmethod
    def of_file(cls, path: Path) -> Replay:
        """Read the `answers` of a machine file (see tests/machines)."""
        return cls(json.loads(path.read_text(encoding="utf-8"))["answers"])

    def ask(self, operation: str, *arguments: Any) -> Answer:
        """Look the question up."""
        return self._answers.get(_key(operation, arguments))


def _key(operation: str, arguments: Sequence[Any]) -> str:
    """Make a key that a person can read and write: `read /proc/cpuinfo`, `run /usr/bin/nvidia-smi -q`.

    Timeouts are left out: they are the asker's patience, not part of the question.
    """
    words: list[str] = [operation]
    for argument in arguments:
        if isinstance(argument, str):
            words.append(argument)
        elif isinstance(argument, Sequence):
            words.extend(str(item) for item in argument)
    return " ".join(words)
