"""Nothing to install: what uv and Poetry say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.requirements import Wanted, fixed_python, is_intel_mac, table, wheel_exists
from torchcheck.wheels import catalog

# Poetry says which version it could not install, and no more.
CANDIDATES = r"Unable to find installation candidates for (torch(?:vision|audio)?) \(([\w.+]+)\)"


@rule
def poetry(e: Evidence) -> Iterator[Finding]:
    """Poetry found no file of the locked version for this Python and system."""
    match = e.search(CANDIDATES)
    if not match or e.facts.python.bits == 32 or is_intel_mac(e) or "poetry/lib/python" in e.log.text:
        return  # a traceback through poetry's own Python says nothing of the project's
    w = Wanted(match[1], "==", match[2], (), e.quote(match))
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    exists = wheel_exists(e, torch)
    nowhere = not e.facts.system.os and any(
        e.machine.python not in catalog.pythons(system, torch) for system in ("windows_x86_64", "linux_x86_64")
    )
    if torch and (exists is False or (nowhere and e.python and numbers(torch) >= (2,))):
        weight = Weight.CONFIRMED if exists is False else Weight.LIKELY
        yield Finding("no-wheel-for-python", weight, (w.quote, table(e, w)), fixed_python(w), from_log=True)


@rule
def uv(e: Evidence) -> Iterator[Finding]:
    """uv could not resolve or install torch."""
    only = e.search(r"(?:only has wheels (?:for|with) the following|[Ww]heels are available for) [^\n]{0,400}")
    platform = e.search(
        r"Distribution `(torch\w*|triton\S*?|nvidia-\S+?)==(\S+) @ registry\+(\S+?)`? can't be installed "
        r"because it doesn't have a source distribution or wheel"
    )
    unsatisfiable = e.search(
        r"there is no version of torch(?:vision|audio)?(?:==|\s)[^\n]{0,60}|torch(?:vision|"
        r"audio)?\S{0,40} (?:was|were) not found|"
        r"only torch(?:vision|audio)?\S{0,60} (?:is|are) available|"
        r"No solution found when resolving[^\n]{0,80}\n[^\n]{0,400}torch"
    )
    concluded = e.search(r"requirements are unsatisfiable|we can conclude that|No solution found when resolving")
    abi = e.search(
        r"only has wheels with the following Python (?:ABI|implementation) tags?|You're using (?:CPython|"
        r"PyPy) [^\n]{0,40}, but `torch"
    ) or e.search(r"You're (?:using|requiring) (?:CPython|PyPy|Python)")
    if abi:
        yield Finding("no-wheel-for-python", Weight.DECISIVE, (e.quote(abi),), from_log=True)
    elif (old := _older_manylinux(e)) is not None:
        yield Finding("glibc-too-old", Weight.DECISIVE, (e.quote(old),), from_log=True)
    elif platform:
        yield from _uv_platform(e, platform, only)
    if unsatisfiable and concluded:
        yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(unsatisfiable),), from_log=True)
        if "+" in unsatisfiable[0]:
            yield Finding("wrong-index", Weight.LIKELY, (e.quote(unsatisfiable),), from_log=True)


def _older_manylinux(e: Evidence) -> re.Match[str] | None:
    """Find uv's word that this Linux is older than every wheel of torch accepts."""
    said = r"You're on Linux \(`manylinux_2_(\d+)_|matching platform tag \(e\.g\., `manylinux_2_(\d+)_"
    mine = e.search(said)
    needs = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", e.log.text[mine.end() :])] if mine else []
    have = int(mine[1] or mine[2]) if mine else 0
    return mine if mine and have < min(needs, default=28) else None


def _uv_platform(e: Evidence, platform: re.Match[str], only: re.Match[str] | None) -> Iterator[Finding]:
    name, version, url = platform[1], platform[2], platform[3]
    if not name.startswith("torch"):
        yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(platform),), from_log=True)
        return
    index = "download.pytorch.org" in url or "/whl/" in url
    exists = wheel_exists(e, version) if name == "torch" else None
    if e.macos and (e.facts.system.machine == "x86_64" or not index):
        if e.facts.system.machine == "arm64":
            yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(platform),), from_log=True)
        return
    if exists is False and not (only and index):
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, (e.quote(platform),), from_log=True)
    elif index or only:
        yield Finding(
            "uv-resolution", Weight.DECISIVE, (e.quote(platform), *((e.quote(only),) if only else ())), from_log=True
        )
        yield Finding("wrong-index", Weight.LIKELY, (e.quote(platform),), from_log=True)
