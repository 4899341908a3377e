"""What pip was asked for and what it found, and which Pythons and systems have that wheel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from torchcheck.doctor.evidence import Evidence, compiled, numbers
from torchcheck.wheels import catalog

WANTED = (
    r"satisfies the requirement (torch(?:vision|audio)?)(?:\[\w+\])?\s*(?:(===?|[<>]=?|"
    r"~=)\s*([\w.+!-]+))?[^\n(]{0,80}(?:\(from [^v\n][^\n)]{0,120}\)+\s*)*\(from versions: ([^\n)]*)\)"
)


OLD_PYTHONS = {
    # Python: first and last torch with wheels on PyPI for Linux x86_64 (pypi.org/project/torch).
    "2.7": ("0.1.2", "1.4.0"), "3.5": ("0.1.2", "1.5.1"), "3.6": ("0.1.2", "1.10.2"), "3.7": ("0.4.1", "1.13.1"),
    "3.8": ("1.4.0", "2.4.1"), "3.9": ("1.7.1", "2.8.0"), "3.10": ("1.11.0", "2.14.1"), "3.11": ("1.13.0", ""),
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What pip was asked for, and what it found: `versions` is empty for "none"."""

    name: str
    operator: str
    version: str
    versions: tuple[str, ...]
    quote: str

    @property
    def release(self) -> str:
        """The release without its tag."""
        return self.version.partition("+")[0]

    @property
    def tag(self) -> str:
        """The tag that was asked for, or ""."""
        return self.version.partition("+")[2]

    @property
    def releases(self) -> list[tuple[int, ...]]:
        """The releases that were found, without the placeholders 0.1.2 that PyPI shows to everybody."""
        found = [numbers(version) for version in self.versions if not re.match(r"0\.1\.2(?:$|\.post)", version)]
        return sorted(found)


def wanted(e: Evidence) -> list[Wanted]:
    """Read what pip said of torch and its companions."""
    found = []
    for match in compiled(WANTED).finditer(e.log.text):
        versions = tuple(v.strip() for v in match[4].split(",") if v.strip() and v.strip() != "none")
        found.append(Wanted(match[1], match[2] or "", match[3] or "", versions, e.quote(match)))
    return found[:20]


@cache
def pythons(release: str, system: str) -> tuple[str, ...]:
    """Python tags of a torch release on a platform, from the catalog."""
    return catalog.pythons(system, release)


def wheel_exists(e: Evidence, release: str) -> bool | None:
    """Say whether torch has a wheel of a release for this Python and system; None when that cannot be told."""
    if not e.python or len(numbers(release)) < 2:
        return None
    if numbers(release) >= (2,):
        tags = pythons(release, e.machine.system)
        if not tags:
            return (
                None
                if e.machine.system in catalog.systems() and numbers(release) > numbers(catalog.newest())
                else _known_elsewhere(release)
            )
        return e.machine.python in tags
    first, last = OLD_PYTHONS.get(".".join(map(str, e.python)), ("", ""))
    if not first:
        return False if e.python >= (3, 12) else None
    return numbers(first) <= numbers(release) and (not last or numbers(release) <= numbers(last))


def _known_elsewhere(release: str) -> bool | None:
    return False if any(catalog.pythons(system, release) for system in catalog.systems()) else None


def companion_exists(e: Evidence, w: Wanted) -> bool | None:
    """Say whether the torch of a companion has a wheel here; None when that cannot be told."""
    torch = catalog.built_for(w.name, w.release)
    return wheel_exists(e, torch) if torch else None


def table(e: Evidence, w: Wanted) -> str:
    """Say for which Pythons a release has wheels, and which one this is."""
    have = catalog.pythons(e.machine.system, w.release) if w.name == "torch" else ()
    return (
        f"{w.name} {w.release} has wheels for {' '.join(have) or 'other Pythons'}, this is Python "
        f"{e.facts.python.version}."
    )


def fixed_python(w: Wanted) -> tuple[str, ...]:
    """Name the Python that the wanted release has, and the release that this Python has."""
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    tags = [tag for tag in catalog.pythons("linux_x86_64", torch) if not tag.endswith("t")] if torch else []
    if not tags and torch and numbers(torch) < (2,):
        usable = [
            python
            for python, (first, last) in OLD_PYTHONS.items()
            if numbers(first) <= numbers(torch) and (not last or numbers(torch) <= numbers(last))
        ]
        version = usable[-1] if usable else ""
    else:
        version = f"3.{tags[-1].removeprefix('cp3')}" if tags else ""
    steps = (
        (f"uv venv --python {version} .venv   (with Python {version}, which has {w.name} {w.release})",)
        if version
        else ()
    )
    return (*steps, "{install}", "{reinstall}")


def cpython(e: Evidence) -> tuple[str, ...]:
    """Make an environment of the one implementation that has wheels: into another's nothing can be installed."""
    system = e.machine.system if e.machine.system in catalog.systems() else "linux_x86_64"
    minors = sorted(int(tag[3:]) for tag in catalog.pythons(system) if tag[3:].isdigit())
    version = f"cpython3.{minors[len(minors) // 2]}"
    return (f"uv venv --clear --python {version} .venv", "torchcheck install --python .venv")


def outside(e: Evidence) -> bool:
    """Say whether this Python is none of those that some torch on PyPI was built for before the catalog begins."""
    return bool(e.python) and ".".join(map(str, e.python or ())) not in OLD_PYTHONS


NOTHING_FITS = (
    "No matching distribution",
    "Could not find a version that satisfies the requirement torch",
    "not a supported wheel",
    "for the current platform",
    "not available from current channels",
)


def is_intel_mac(e: Evidence) -> bool:
    """Say whether this is known to be a Mac with an Intel processor."""
    return e.macos and e.facts.system.machine == "x86_64" and not e.machine.rosetta


def ends_with_last_intel(w: Wanted) -> bool:
    """Say whether a list of versions ends where the wheels for Intel Macs end."""
    last = {"torch": (2, 2, 2), "torchvision": (0, 17, 2), "torchaudio": (2, 2, 2)}[w.name]
    return bool(w.releases) and w.releases[-1] == last and (not w.release or numbers(w.release) > last)
