"""From wheel files to builds: grouped, classified, and read into where the catalog knows nothing (door: network)."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import BACKEND, FAMILY, Build, WheelFile, kind, parse, serves_python, toolkit
from torchcheck.wheels.listing import Named, names
from torchcheck.wheels.remote import backend_of, code_table, members, metadata, targets
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Web

NEWEST = 4
"""So many releases that the catalog does not know are looked into, the newest first."""
CUDA = "torch/cuda/__init__.py"


class Place(Protocol):
    """Where a wheel was found, as `offers.Place`."""

    @property
    def backend(self) -> str | None:
        """What all wheels there are for."""
        ...

    @property
    def index(self) -> str:
        """What pip is to be given."""
        ...


def builds_of(found: Iterable[tuple[Place, WheelFile]], system: str, web: Web | None = None) -> list[Build]:
    """Group wheels of one release, backend and platform into builds; what is for other platforms is left out."""
    groups: dict[tuple[str, ...], list[tuple[Named, WheelFile]]] = {}
    for place, file in found:
        for named in names(file.name):
            if named.package in FAMILY and named.system == system:
                for backend in _backends(named, place, file, web) if _current(named) else ():
                    key = (named.package, named.version, named.label, backend, named.minimum, place.index)
                    groups.setdefault(key, []).append((named, file))
    return [_build(key, files, system) for key, files in groups.items()]


def _current(named: Named) -> bool:
    return parse(named.version) >= parse(catalog.oldest(named.package))


def _backends(named: Named, place: Place, file: WheelFile, web: Web | None) -> tuple[str, ...]:
    """Say which backends a wheel counts for: that of its folder, if its label does not contradict, else what it is."""
    if named.system.startswith("macos"):
        return ("mps", "cpu") if named.system == "macos_arm64" else ("cpu",)
    if place.backend:
        return (place.backend,) if named.label in ("", place.backend) else ()
    backend = (
        named.label or catalog.pypi_backend(named.package, named.version, named.system) or _looked_up(named, file, web)
    )
    return (backend,) if backend and BACKEND.fullmatch(backend) else ()


def _looked_up(named: Named, file: WheelFile, web: Web | None) -> str | None:
    """Read out of a wheel without label, which the catalog does not know, what it was built for."""
    name = f"{named.package}/version.py"
    if web is None or parse(named.version) <= parse(catalog.newest(named.package)):
        return None
    try:
        return backend_of(named.package, members(web, file, (name,)).get(name, ""))
    except WebError:
        return None


def _build(key: tuple[str, ...], found: list[tuple[Named, WheelFile]], system: str) -> Build:
    package, version, label, backend, minimum, index = key
    files = {named.python: file for named, file in found}
    requires = next((file.requires_python for file in files.values() if file.requires_python), "")
    return Build(
        package=package,
        version=version,
        label=label,
        backend=backend,
        system=system,
        pythons=tuple(files),
        minimum=minimum,
        index=index,
        kernels=catalog.kernels(version, backend, system) if package == "torch" else None,
        requires_python=requires,
        requires_torch=None if package == "torch" else catalog.requires_torch(package, version),
        source="index",
        files=tuple(files.items()),
    )


def complete(builds: list[Build], web: Web, python: str | None) -> list[Build]:
    """Read from the wheels what the catalog does not know: kernels of torch, and what companions require.

    What cannot be read stays unknown; such a build is not chosen by itself.
    """
    unknown = [b for b in builds if _lacking(b) and serves_python(b.pythons, python)]
    newest = sorted({(b.package, b.release) for b in unknown}, key=lambda pair: pair[1], reverse=True)
    wanted = {pair for package in FAMILY for pair in [p for p in newest if p[0] == package][:NEWEST]}
    unknown = [b for b in unknown if (b.package, b.release) in wanted]
    if not unknown:
        return builds
    with ThreadPoolExecutor(8) as pool:
        better = dict(zip(map(id, unknown), pool.map(lambda b: _looked_into(b, web, python), unknown), strict=True))
    return [better.get(id(b), b) for b in builds]


def _lacking(build: Build) -> bool:
    if build.package == "torch":
        return build.kernels is None and kind(build.backend) in ("cuda", "rocm")
    return build.requires_torch is None


def _looked_into(build: Build, web: Web, python: str | None) -> Build:
    file = build.file(python)
    if file is None:
        return build
    try:
        if build.package == "torch":
            return replace(build, kernels=_kernels(build, file, web))
        return _with_requirements(build, metadata(web, file))
    except WebError:
        return build


def _kernels(build: Build, file: WheelFile, web: Web) -> tuple[str, ...] | None:
    """Read which kernels a build has.

    Of the table in a CUDA build the row of its own CUDA version counts: others may name builds that were never
    published. A ROCm build has files named after its targets, or, where it does not bundle ROCm, is taken to have what
    the last release for the same ROCm had.
    """
    if kind(build.backend) == "rocm":
        return targets(web, file) or catalog.last_kernels(build.backend, build.system)
    source = members(web, file, (CUDA,)).get(CUDA, "")
    cuda = ".".join(map(str, toolkit(build.backend)))
    processor = "aarch64" if build.system.endswith(("aarch64", "arm64")) else "x86_64"
    return code_table(source).get(cuda, {}).get(processor)


def _with_requirements(build: Build, found: dict[str, list[str]]) -> Build:
    from packaging.requirements import InvalidRequirement, Requirement

    wanted = None
    for line in found.get("requires-dist", []):
        try:
            requirement = Requirement(line)
        except (InvalidRequirement, RecursionError):
            continue
        if requirement.name.lower() == "torch" and not (requirement.marker and "extra" in str(requirement.marker)):
            wanted = str(requirement.specifier)
    requires_python = build.requires_python or next(iter(found.get("requires-python", [])), "")
    return replace(build, requires_torch=wanted, requires_python=requires_python)
