"""What a rule judges, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, cached_property
from typing import Any

from torchcheck.doctor.diagnosis import Severity
from torchcheck.doctor.log import Log
from torchcheck.facts import UNKNOWN, Facts, Gpu
from torchcheck.wheels.machine import Machine

# What rich draws around a traceback.
_FRAME = " \t\u2502\u2503|"


class Weight(IntEnum):
    """How strong the evidence of a finding is; findings are ranked by it.

    CONFIRMED: an error text, and a fact that says the same.
    DECISIVE: an error text that has this one cause.
    PROVEN: the facts alone.
    LIKELY: an error text with few causes, of which the facts favour this.
    SUGGESTED: an error text with few causes.
    HINT: something that may bite later.
    """

    CONFIRMED = 100
    DECISIVE = 90
    PROVEN = 80
    LIKELY = 60
    SUGGESTED = 50
    HINT = 20


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Args:
        code: the slug of the diagnosis.
        weight: strength of the evidence; any number, see `Weight` for the usual ones.
        seen: the evidence, one sentence each.
        fix: commands or actions that replace the code's usual remedy; placeholders as in `remedies`.
        why: a reason that replaces the code's usual one.
        severity: replaces the code's usual severity.
        from_log: whether an error text led to it.
    """

    code: str
    weight: int
    seen: tuple[str, ...]
    fix: tuple[str, ...] = ()
    why: str = ""
    severity: Severity | None = None
    from_log: bool = False


@dataclass(frozen=True)
class Evidence:
    """Facts, error text and verification of one machine.

    Args:
        facts: what is known, from the machine or else from the text itself.
        log: the error text, with the errors that the facts contain.
        verification: the `data` of a verify run, or None.
        stated: what the text itself says of the machine it comes from.
        given: what was known without the text.
        appended: where in the text the errors begin that the facts contain; -1 when none was appended.
    """

    facts: Facts
    log: Log = field(default_factory=Log)
    verification: Mapping[str, Any] | None = None
    stated: Facts = field(default_factory=Facts)
    given: Facts = field(default_factory=Facts)
    appended: int = -1

    # The text

    def handed_in(self, match: re.Match[str] | None) -> bool:
        """Say whether a match stands in the text that was handed in, not in an error that the facts contain."""
        return match is not None and (self.appended < 0 or match.start() < self.appended)

    def search(self, pattern: str) -> re.Match[str] | None:
        """Find a pattern in the text, without regard to case."""
        words = literals(pattern)
        if words and not any(word in self.log.folded for word in words):
            return None
        return compiled(pattern).search(self.log.text)

    def says(self, *literals: str) -> bool:
        """Say whether one of these words stands in the text, without regard to case."""
        return any(literal.lower() in self.log.folded for literal in literals)

    def quote(self, match: re.Match[str]) -> str:
        """Quote the line of a match as evidence."""
        line = self.log.line_at(match.start())
        at = max(0, line.find(match[0].split("\n")[0]) - 60) if len(line) > 220 else 0
        return f"text: {line[at : at + 220].strip(_FRAME)}"

    # The system

    @property
    def windows(self) -> bool:
        """The system is known to be Windows."""
        return self.facts.system.os == "windows"

    @property
    def linux(self) -> bool:
        """The system is known to be Linux."""
        return self.facts.system.os == "linux"

    @property
    def macos(self) -> bool:
        """The system is known to be macOS."""
        return self.facts.system.os == "macos"

    @property
    def container(self) -> bool:
        """The process is known to run in a container."""
        return bool(self.facts.system.container)

    @property
    def wsl(self) -> bool:
        """The process is known to run in WSL."""
        return bool(self.facts.system.wsl)

    @property
    def conda(self) -> bool:
        """The target is known to be a conda environment."""
        return self.facts.python.environment == "conda"

    @cached_property
    def python(self) -> tuple[int, int] | None:
        """Major and minor version of the target's Python."""
        found = re.match(r"(\d+)\.(\d+)", self.facts.python.version or "")
        return (int(found[1]), int(found[2])) if found else None

    @cached_property
    def machine(self) -> Machine:
        """The machine as the planner sees it: platform, Python tag, accelerators."""
        return Machine(self.facts)

    # The GPUs

    def gpus(self, vendor: str) -> tuple[Gpu, ...]:
        """The GPUs of one vendor; empty when none is known."""
        return tuple(gpu for gpu in self.facts.gpus or () if gpu.vendor == vendor)

    @property
    def no_gpus(self) -> bool:
        """It is known that there is no GPU."""
        return self.facts.gpus is not UNKNOWN and not self.facts.gpus

    # The torch

    def package(self, name: str) -> str:
        """The version of an installed package, or ""."""
        return (self.facts.packages or {}).get(name, "")

    @cached_property
    def torch_version(self) -> str:
        """Torch's version with its tag when known; the running torch's word before the package's."""
        return self.facts.torch.version or self.package("torch")

    @cached_property
    def release(self) -> tuple[int, ...]:
        """Torch's release as numbers, as many as are stated; empty when unknown."""
        return numbers(self.torch_version)

    @cached_property
    def tag(self) -> str:
        """Torch's backend (`cu126`, `rocm6.4`, `cpu`, `xpu`), or "" when nothing tells."""
        for version in (self.facts.torch.version, self.package("torch")):
            local = (version or "").partition("+")[2]
            found = re.match(r"cu\d+|rocm\d+\.\d+(?:\.\d+)?|cpu|xpu", local)
            if found:
                return found[0]
        if self.facts.torch.cuda:
            return "cu" + "".join(self.facts.torch.cuda.split(".")[:2])
        return "rocm" + ".".join(self.facts.torch.hip.split(".")[:2]) if self.facts.torch.hip else ""

    @cached_property
    def cuda(self) -> tuple[int, int] | None:
        """CUDA version that torch is built for."""
        return cuda_of(self.tag)

    @cached_property
    def cpu_build(self) -> bool:
        """Torch is known to be a build without any GPU code."""
        torch = self.facts.torch
        if torch.cuda or torch.hip or torch.xpu:
            return False
        intel = torch.xpu is None and torch.cuda is UNKNOWN and bool(self.facts.gpus) and not self.gpus("nvidia")
        return self.tag == "cpu" or (torch.import_ == "ok" and (torch.cuda is None or intel))

    @property
    def works_on_gpu(self) -> bool:
        """Torch itself lists a device."""
        return bool(self.facts.torch.devices)


def numbers(version: str) -> tuple[int, ...]:
    """Release of a version as numbers: `2.7.0.dev1+cu124` gives (2, 7, 0)."""
    found = re.match(r"\d+(?:\.\d+){0,3}", version or "")
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def cuda_of(tag: str) -> tuple[int, int] | None:
    """CUDA version of a backend: `cu126` gives (12, 6)."""
    found = re.fullmatch(r"cu(\d+)(\d)", tag)
    return (int(found[1]), int(found[2])) if found else None


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern once, when it is first needed."""
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


@cache
def literals(pattern: str) -> tuple[str, ...]:
    """Give words of which every text that a pattern matches contains at least one, in lower case; () when none is sure.

    Looking for words is a hundred times faster than trying a pattern, and nearly all patterns fail on nearly all texts.
    """
    return tuple(sorted(_needed(iter(_TOKEN.findall(pattern))) or ()))


_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?P<\w+>|\(\?(?:[:=!]|<[=!]|\w+\))|[()|]|[*+?]\??|\{\d+(?:,\d*)?\}\??|.",
    re.DOTALL,
)
_SHORTEST = 3


def _needed(tokens: Iterator[str]) -> frozenset[str] | None:
    """Read a pattern, or a group up to its end: the words that stand for it, None when there is no sure one."""
    branches: list[frozenset[str] | None] = []
    parts: list[frozenset[str] | str | None] = []
    run = ""
    for atom in tokens:
        if atom in {"|", ")"}:
            branches.append(_best([*parts, run]))
            parts, run = [], ""
            if atom == ")":
                break
        elif atom[0] == "(" and not atom.endswith(")"):
            inside = _needed(tokens)
            parts += [run, inside if atom in {"(", "(?:"} or atom.startswith("(?P<") else None]
            run = ""
        elif atom[0] in "*+?{" and len(atom) < 10:
            if atom[0] != "+" and not atom.startswith("{1"):
                # What stands before it may be absent: the last letter of a run, or the group.
                parts, run = (parts, run[:-1]) if run else (parts[:-1], "")
            parts, run = [*parts, run], ""
        elif (letter := _letter(atom)) is not None:
            run += letter
        else:
            parts, run = [*parts, run, None], ""
    else:
        branches.append(_best([*parts, run]))
    return None if None in branches else frozenset().union(*(b for b in branches if b))


def _letter(atom: str) -> str | None:
    """Give the letter that a atom stands for, None for a class, an anchor or a flag."""
    if len(atom) == 2 and atom[0] == "\\":
        return None if atom[1].isalnum() else atom[1]
    return atom.lower() if len(atom) == 1 and atom not in ".^$" else None


def _best(parts: list[frozenset[str] | str | None]) -> frozenset[str] | None:
    """Choose from what a branch contains the part whose shortest word is longest."""
    sets = [frozenset({part}) if isinstance(part, str) else part for part in parts if part]
    found = max(sets, key=lambda words: min(map(len, words)), default=None)
    return found if found and min(map(len, found)) >= _SHORTEST else None
