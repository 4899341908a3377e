"""Nothing to install: what pip found does not contain the version that it was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.requirements import (
    Wanted,
    companion_exists,
    cpython,
    ends_with_last_intel,
    fixed_python,
    is_intel_mac,
    outside,
    table,
    wanted,
    wheel_exists,
)
from torchcheck.wheels import catalog


@rule
def requirement(e: Evidence) -> Iterator[Finding]:
    """pip found no version that satisfies the requirement."""
    for w in wanted(e):
        if e.facts.python.bits == 32 or ends_with_last_intel(w):
            continue
        yield from _pinned(e, w)


def _pinned(e: Evidence, w: Wanted) -> Iterator[Finding]:
    found, release = set(w.releases), numbers(w.release)
    mac = e.macos or any("macosx" in line for line in (w.quote,))
    if w.tag and (release in found or (mac and _kind(w.tag))):
        yield Finding(
            "wrong-index",
            Weight.DECISIVE,
            (w.quote, f"{w.name} {w.release} is there, its build +{w.tag} is not."),
            from_log=True,
        )
        return
    if not w.version or w.operator.startswith(("<", "~")):
        exists = None
    else:
        exists = wheel_exists(e, w.release) if w.name == "torch" else companion_exists(e, w)
    tags = {v.partition("+")[2] for v in w.versions if "+" in v}
    if exists is False:
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, (w.quote, table(e, w)), fixed_python(w), from_log=True)
    elif (exists is None and not e.python and found and release) or (
        exists and found and release and release < w.releases[0] and not tags
    ):
        yield from _by_range(w, tags)
    elif exists and found and release and tags:
        yield Finding(
            "wrong-index",
            Weight.CONFIRMED,
            (w.quote, f"The index has {', '.join(sorted(tags))} builds, but not of {w.release}."),
            from_log=True,
        )
    elif exists and not tags and found and release and release not in found and _old_pip(e):
        yield Finding("pip-too-old", Weight.CONFIRMED, (w.quote, f"pip is {e.facts.python.pip}."), from_log=True)


def _kind(tag: str) -> bool:
    return bool(re.match(r"cu\d|rocm|xpu|cpu", tag))


def _by_range(w: Wanted, tags: set[str]) -> Iterator[Finding]:
    """Judge by where the list begins and ends, when the Python is not known."""
    first, last, release = w.releases[0], w.releases[-1], numbers(w.release)
    if release in w.releases:
        return
    ended = [tag for tag in tags if _last_of(tag) and numbers(_last_of(tag)) < release]
    if ended:
        yield Finding(
            "wrong-index",
            Weight.DECISIVE,
            (w.quote, f"{ended[0]} ended with torch {_last_of(ended[0])}."),
            from_log=True,
        )
    elif release < first or release > last:
        place = "begins above" if release < first else "ends below"
        yield Finding(
            "no-wheel-for-python",
            Weight.DECISIVE - 1,
            (w.quote, f"The list for this Python {place} {w.release}."),
            fixed_python(w),
            from_log=True,
        )
        if any(not _covered(tag, release) for tag in tags):
            yield Finding("wrong-index", Weight.SUGGESTED, (w.quote,), from_log=True)


def _last_of(tag: str) -> str:
    ranges = [row["torch"].split(" - ")[1] for row in catalog.data("backends")["backends"] if row["id"] == tag]
    return max(ranges, key=numbers) if ranges else ""


def _covered(tag: str, release: tuple[int, ...]) -> bool:
    """Say whether a backend was built for a release, by the catalog; what it does not know counts as not."""
    bounds = [row["torch"].split(" - ") for row in catalog.data("backends")["backends"] if row["id"] == tag]
    return any(numbers(first) <= release <= numbers(last) for first, last in bounds)


def _old_pip(e: Evidence) -> bool:
    """Say whether this pip does not know the tags of Linux wheels: manylinux_2_28 needs 20.3. Windows has none such."""
    if e.windows and numbers(str(e.facts.python.pip)) >= (10,):
        return False
    return bool(e.facts.python.pip) and numbers(str(e.facts.python.pip)) < (20, 3)


@rule
def none_found(e: Evidence) -> Iterator[Finding]:
    """pip found no version at all, and the facts say why."""
    none = [w for w in wanted(e) if not w.releases]
    if not none or e.facts.python.bits == 32:
        return
    if _old_pip(e) and e.python and e.python < (3, 12):
        yield Finding("pip-too-old", Weight.CONFIRMED, (none[0].quote, f"pip is {e.facts.python.pip}."), from_log=True)
    if e.facts.python.implementation and e.facts.python.implementation != "cpython":
        yield Finding(
            "no-wheel-for-python",
            Weight.CONFIRMED,
            (none[0].quote, f"This is {e.facts.python.implementation}, wheels are for CPython."),
            cpython(e),
            from_log=True,
        )
    if e.python and none[0].version == "":
        newest = catalog.pythons(e.machine.system)
        if (
            newest
            and e.machine.python not in newest
            and not catalog.last_release(e.machine.system, str(e.machine.python))
            and outside(e)
            and not is_intel_mac(e)
        ):
            yield Finding(
                "no-wheel-for-python",
                Weight.CONFIRMED,
                (none[0].quote, f"No torch has a wheel for Python {e.facts.python.version}."),
                from_log=True,
            )
    url = str(e.facts.pip.index_url or "") or _looked_in(e)
    tag = re.search(r"/whl/(?:test/|nightly/)?(cu\d+|rocm[\d.]+|xpu|cpu)\b", url)
    if e.macos and tag and tag[1] != "cpu":
        yield Finding("wrong-index", Weight.CONFIRMED, (none[0].quote, f"{url} has nothing for macOS."), from_log=True)
    elif tag and tag[1] != "cpu" and _never(e, tag[1], none[0]):
        yield Finding(
            "wrong-index",
            Weight.CONFIRMED,
            (none[0].quote, f"{tag[1]} was never built for this release or system."),
            from_log=True,
        )
    elif none[0].tag and not url and e.macos:
        yield Finding("wrong-index", Weight.CONFIRMED, (none[0].quote, "macOS builds carry no +tag."), from_log=True)


def _looked_in(e: Evidence) -> str:
    match = e.search(r"Looking in indexes: ([^\n]+)")
    return match[1] if match and "," not in match[1] else ""


def _never(e: Evidence, tag: str, w: Wanted) -> bool:
    """Say whether the catalog knows that a backend lacks this release or this system."""
    rows = [row for row in catalog.data("backends")["backends"] if row["id"] == tag]
    if not rows or not e.facts.system.os:
        return False
    if not any(e.machine.system in row["systems"] for row in rows):
        return True
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    return (
        bool(torch)
        and numbers(torch) >= (2,)
        and not any(
            numbers(row["torch"].split(" - ")[0]) <= numbers(torch) <= numbers(row["torch"].split(" - ")[1])
            for row in rows
        )
    )
