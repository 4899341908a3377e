"""Nothing to install: this Python is one that no wheel is for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.requirements import NOTHING_FITS, cpython, is_intel_mac, outside, wanted
from torchcheck.wheels import catalog


@rule
def python_bits(e: Evidence) -> Iterator[Finding]:
    """This Python is a 32-bit program."""
    trouble = bool(wanted(e)) or e.facts.torch.import_ == "missing" or e.says(*NOTHING_FITS)
    if e.facts.python.bits == 32 and (trouble or not e.log.text):
        yield Finding(
            "no-wheel-32bit-python",
            Weight.CONFIRMED if e.log.text else Weight.PROVEN,
            ("This Python is a 32-bit program.",),
            from_log=bool(e.log.text),
        )


@rule
def python_too_new(e: Evidence) -> Iterator[Finding]:
    """torch is missing, and no wheel exists for this Python."""
    if e.facts.torch.import_ != "missing" or wanted(e) or not e.python or e.facts.python.bits == 32:
        return
    implementation = e.facts.python.implementation
    if implementation and implementation != "cpython":
        yield Finding(
            "no-wheel-for-python",
            Weight.PROVEN + 1,
            (f"This is {implementation}, wheels are for CPython.",),
            cpython(e),
            from_log=bool(e.log.text),
        )
    elif (
        e.machine.system in catalog.systems()
        and not catalog.last_release(e.machine.system, str(e.machine.python))
        and outside(e)
        and not is_intel_mac(e)
    ):
        yield Finding(
            "no-wheel-for-python",
            Weight.PROVEN + 1,
            (f"No torch has a wheel for {e.machine.python_name}.",),
            from_log=bool(e.log.text),
        )


@rule
def wheel_file(e: Evidence) -> Iterator[Finding]:
    """A wheel file was given whose name does not fit this Python."""
    match = e.search(r"(torch\w*-[\w.+%]+)-(?:cp|py)(\d)(\d*)-\w+-(\w+)\.whl is not a supported wheel")
    if not match or e.facts.python.bits == 32:
        return
    tag = (int(match[2]), int(match[3])) if match[3] else None
    if e.python and tag and tag != e.python:
        seen = (e.quote(match), f"The wheel is for Python {tag[0]}.{tag[1]}, this is {e.facts.python.version}.")
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, seen, from_log=True)
    elif (floor := re.search(r"manylinux_(2_\d+)", match[4])) and _below(e, floor[1]):
        yield Finding(
            "glibc-too-old", Weight.CONFIRMED, (e.quote(match), f"glibc is {e.facts.system.libc}."), from_log=True
        )
    elif e.facts.system.os and not _fits(match[4], e):
        yield Finding("wrong-index", Weight.CONFIRMED, (e.quote(match), f"The wheel is for {match[4]}."), from_log=True)


def _below(e: Evidence, floor: str) -> bool:
    have = e.machine.oldest if e.facts.system.libc else None
    return bool(have) and have < numbers(floor.replace("_", "."))  # type: ignore[operator]


def _fits(platform: str, e: Evidence) -> bool:
    low = platform.lower()
    system = (
        "windows"
        if low.startswith("win")
        else "macos"
        if low.startswith("macos")
        else "linux"
        if "linux" in low
        else ""
    )
    return not system or system == e.facts.system.os
