"""What can be installed, as values: a build of a package for one backend and platform, and all that an index offers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

FAMILY: Final = ("torch", "torchvision", "torchaudio")
PYPI: Final = "https://pypi.org/simple"
PYTORCH: Final = "https://download.pytorch.org/whl"
BACKEND: Final = re.compile(r"cpu|mps|xpu|cu\d{2,3}|rocm\d+\.\d+(?:\.\d+)?")
"""Every name that a backend can have, also one that was never heard of before."""


@dataclass(frozen=True)
class WheelFile:
    """One wheel as an index lists it: name, address, hash, bytes, and whether its METADATA lies beside it (PEP 658)."""

    name: str
    url: str
    sha256: str = ""
    size: int | None = None
    requires_python: str = ""
    metadata: bool = False


@dataclass(frozen=True)
class Build:
    """Wheels of one release of one package for one backend and platform, which differ by Python only.

    Attributes:
        package: "torch", "torchvision" or "torchaudio".
        version: public version, without local label ("2.15.0").
        label: local label as it stands in the wheel's name ("cu130"), "" where there is none.
        backend: what the build is for, whatever its label says ("cu132" for PyPI's torch 2.15.0 on Linux).
        system: "linux_x86_64", "linux_aarch64", "windows_x86_64", "macos_arm64" …
        pythons: tags such as "cp312", "cp313t", "py3" or "cp39-abi3".
        minimum: oldest glibc or macOS that the wheels accept ("2.28"), "" without such a bound.
        index: the index to give to pip, "" when pip finds the wheels as it is configured.
        kernels: compute capabilities or gfx targets that it has code for; None when this is not known.
        requires_python: Requires-Python of the wheels.
        requires_torch: version specifier of the torch that it goes with, None for torch itself or when not known.
        size: bytes of one wheel, None when not known.
        experimental: the project calls this backend experimental for this release.
        source: where this row comes from.
        files: the wheels by Python tag, where an index was asked.
    """

    package: str
    version: str
    backend: str
    system: str
    pythons: tuple[str, ...]
    label: str = ""
    minimum: str = ""
    index: str = ""
    kernels: tuple[str, ...] | None = None
    requires_python: str = ""
    requires_torch: str | None = None
    size: int | None = None
    experimental: bool = False
    source: str = ""
    files: tuple[tuple[str, WheelFile], ...] = ()

    @property
    def pin(self) -> str:
        """The exact version to ask pip for: "2.15.0+cu130", or "2.15.0" where wheels carry no label."""
        return f"{self.version}+{self.label}" if self.label else self.version

    @cached_property
    def release(self) -> Version:
        """The public version, comparable."""
        return parse(self.version)

    def file(self, python: str | None) -> WheelFile | None:
        """Give the wheel for a Python, None when no index was asked or it has none."""
        return next((file for tag, file in self.files if serves_python((tag,), python)), None)


@dataclass(frozen=True)
class Failure:
    """One source of wheels that could not be read: which, what kind of trouble, and one sentence about it."""

    url: str
    code: str
    message: str


@dataclass(frozen=True)
class Offers:
    """All builds that are known to exist for one platform.

    Attributes:
        builds: the builds.
        root: the root that the index folders of the backends hang from.
        source: "catalog" (what torchcheck was shipped with), "index" (just asked), "cache" (asked at `asked`) or "pip"
            (what pip is configured with, when the PyTorch index could not be reached).
        asked: ISO date and time of the asking, "" for the catalog.
        failures: what could not be read.
        constraints: requirement lines that pip's own configuration imposes ("torch<=2.14.1").
        pip_arguments: what pip must be told besides an index to find these wheels (`--find-links DIR`).
    """

    builds: tuple[Build, ...]
    root: str = PYTORCH
    source: str = "catalog"
    asked: str = ""
    failures: tuple[Failure, ...] = ()
    constraints: tuple[str, ...] = ()
    pip_arguments: tuple[str, ...] = field(default=())

    def of(self, package: str) -> tuple[Build, ...]:
        """Builds of one package."""
        return self._by_package.get(package, ())

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong while asking, one line each, for somebody who waits for an answer."""
        first = self.failures[0].message if self.failures else "not asked"
        if self.source == "pip":
            return (f"The PyTorch index cannot be reached ({first}); using what pip is configured with.",)
        if self.source == "cache":
            return (f"No index can be reached ({first}); using what was read at {self.asked}.",)
        return tuple(dict.fromkeys(sentence(f.message) for f in self.failures))

    def beside(self, package: str, torch: Build) -> tuple[Build, ...]:
        """Builds of a companion for the same backend from the same index as a torch."""
        return self._by_place.get((package, torch.backend, torch.index), ())

    @cached_property
    def _by_place(self) -> dict[tuple[str, str, str], tuple[Build, ...]]:
        found: dict[tuple[str, str, str], list[Build]] = {}
        for build in self.builds:
            found.setdefault((build.package, build.backend, build.index), []).append(build)
        return {place: tuple(builds) for place, builds in found.items()}

    @cached_property
    def _by_package(self) -> dict[str, tuple[Build, ...]]:
        return {package: tuple(b for b in self.builds if b.package == package) for package in FAMILY}


def sentence(text: str) -> str:
    """Make a sentence of a clause; one that begins with an address keeps it as it is."""
    return f"{text if text.startswith(('http', 'file:')) else text[:1].upper() + text[1:]}."


@cache
def parse(version: str) -> Version:
    """Read a version; one that cannot be read sorts before all others."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0.dev0")


@cache
def specifier(text: str) -> SpecifierSet:
    """Read a version specifier; one that cannot be read (old metadata holds such) allows everything."""
    try:
        return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        return SpecifierSet("", prereleases=True)


@cache
def allows(text: str, version: str) -> bool:
    """Say whether a specifier allows a version."""
    return parse(version) in specifier(text)


def within(bounds: str, version: str) -> bool:
    """Say whether a version lies in a closed range written as "2.1.0 - 2.5.1"."""
    first, last = bounds.split(" - ")
    return parse(first) <= parse(version) <= parse(last)


def flat(root: str) -> bool:
    """Say whether an index is one like PyPI, without folders for backends: they end with "simple" by convention."""
    return root.rstrip("/").endswith("/simple")


@cache
def kind(backend: str) -> str:
    """Name the family of a backend: "cuda", "rocm", "xpu", "mps" or "cpu"."""
    return "cuda" if backend.startswith("cu") else "rocm" if backend.startswith("rocm") else backend


@cache
def toolkit(backend: str) -> tuple[int, ...]:
    """Version of the toolkit in a backend's name: "cu130" is (13, 0), "cu92" (9, 2), "rocm7.2" (7, 2), others ()."""
    if found := re.fullmatch(r"cu(\d+)(\d)", backend):
        return int(found[1]), int(found[2])
    found = re.fullmatch(r"rocm([\d.]+)", backend)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def serves_python(tags: Iterable[str], python: str | None) -> bool:
    """Say whether wheels with these tags install into a Python; an unknown Python is taken to be a usual one."""
    return any(_serves(tag, python) for tag in tags)


@cache
def _serves(tag: str, python: str | None) -> bool:
    if python is None:
        return not tag.endswith("t")
    if tag in {python, "py3", "py2.py3"}:
        return True
    stable = re.fullmatch(r"cp3(\d+)-abi3", tag)
    ours = re.fullmatch(r"cp3(\d+)", python)
    return bool(stable and ours) and int(stable[1]) <= int(ours[1])  # type: ignore[index]


@cache
def numbers(text: str) -> tuple[int, ...]:
    """Give the numbers of a dotted version for comparison: "580.95.05" is (580, 95, 5)."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])
