"""What PyTorch has released, as data: releases, Python tags, platforms, backends, kernels, driver floors, pairings.

The data stand in `data/pypi.json` (measured, written by .ci/measure_pypi.py) and `data/backends.json` (by hand, each
row with its source). To add a release or a backend is to add a row there; nothing here names one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from torchcheck.wheels.builds import PYPI, PYTORCH, Build, Offers, flat, kind, parse, toolkit, within

Row = dict[str, Any]


@cache
def data(name: str) -> Row:
    """Load one of the data files, once."""
    found: Row = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def offers(system: str, root: str = PYTORCH) -> Offers:
    """Give every build that is known for a platform.

    Args:
        system: "linux_x86_64", "windows_x86_64", "macos_arm64" …; an unknown one gives no builds.
        root: the PyTorch index or a mirror of it; the folders of the backends hang from it.
    """
    return Offers(tuple(_builds(system, root.rstrip("/"))), root=root.rstrip("/"))


@cache
def newest(package: str = "torch") -> str:
    """Newest release of a package that the catalog knows."""
    return str(data("pypi")["releases"][package][-1]["version"])


@cache
def oldest(package: str) -> str:
    """Oldest release of a package that the catalog knows; what is older is not planned."""
    return str(data("pypi")["releases"][package][0]["version"])


def date() -> str:
    """Date of the newest torch in the catalog."""
    return str(data("pypi")["releases"]["torch"][-1]["uploaded"])


@cache
def systems() -> frozenset[str]:
    """Every platform that any release was built for."""
    return frozenset(system for row in data("pypi")["releases"]["torch"] for system in row["wheels"])


@cache
def last_release(system: str, python: str) -> str | None:
    """Newest torch for a platform and a Python tag, whatever the backend."""
    rows = [row for row in data("pypi")["releases"]["torch"] if python in _pythons(row, system)]
    return str(rows[-1]["version"]) if rows else None


@cache
def pythons(system: str, version: str | None = None) -> tuple[str, ...]:
    """Python tags that a torch release has on a platform, without a release those of the newest there."""
    rows = [row for row in data("pypi")["releases"]["torch"] if system in row["wheels"]]
    rows = [row for row in rows if version in (None, row["version"])]
    return tuple(_pythons(rows[-1], system)) if rows else ()


@cache
def kernels(version: str, backend: str, system: str) -> tuple[str, ...] | None:
    """Architectures that a torch build has code for, None when nobody has looked."""
    for row in data("backends")["kernels"]:
        if backend in row["backends"].split() and within(row["torch"], version) and system in row:
            return tuple(row[system].split())
    return None


@cache
def last_kernels(backend: str, system: str) -> tuple[str, ...] | None:
    """Architectures of the newest torch for a backend of which they are known."""
    rows = [row for row in data("backends")["kernels"] if backend in row["backends"].split() and system in row]
    newest = max(rows, key=lambda row: parse(row["torch"].partition(" - ")[2]), default=None)
    return tuple(newest[system].split()) if newest else None


@cache
def runs_on(code: str, device: str, cuda: tuple[int, ...]) -> bool:
    """Say whether code compiled for one compute capability runs on a device of another.

    Args:
        code: compute capability of the code ("8.6").
        device: compute capability of the device ("8.9").
        cuda: toolkit version of the build; from 13.2 on server and Jetson binaries are unified.
    """
    rule = data("backends")["runs_on"]
    if code in rule["only"]:
        return device in rule["only"][code].split()
    (major, minor), (device_major, device_minor) = _capability(code), _capability(device)
    excluded = "" if cuda >= (13, 2) and code in rule["unified"] else rule["except"].get(code, "")
    return major == device_major and minor <= device_minor and device != excluded


def runs_any(codes: Iterable[str], device: str, backend: str) -> bool:
    """Say whether a build with these kernels runs on a device ("8.9", "gfx1100")."""
    if kind(backend) == "rocm":
        return device in codes
    return any(runs_on(code, device, toolkit(backend)) for code in codes)


def driver_floor(backend: str, *, windows: bool) -> str | None:
    """Oldest NVIDIA driver for a CUDA backend, None for a CUDA major that is not in the table."""
    floors: dict[str, str] = data("backends")["drivers"]["windows" if windows else "linux"]
    return floors.get(str(toolkit(backend)[0]))


@cache
def libraries(backend: str, system: str) -> int | None:
    """Bytes of libraries that a torch requires as wheels of their own; 0 where it brings them, None if not measured."""
    if kind(backend) != "cuda" or not system.startswith("linux"):
        return 0
    found: int | None = data("backends")["libraries"].get(system, {}).get(backend)
    return found


@cache
def pypi_backend(package: str, version: str, system: str) -> str | None:
    """Say what PyPI's wheel of a release really is on a platform ("cu132"), None when that was not looked at."""
    if system.startswith("macos"):
        return "mps" if system == "macos_arm64" else "cpu"
    torch = built_for(package, version)
    for row in data("backends")["pypi_default"]:
        if torch and within(row["torch"], torch):
            return str(row[system]) if system in row else None
    return None


@cache
def requires_torch(package: str, version: str) -> str | None:
    """Specifier of the torch that a companion goes with, None when it is not known."""
    known: str | None = data("backends")["pairs"][package].get(version)
    if known is None and package == "torchaudio" and parse(version) < parse("2.11"):
        return f"=={version}"
    return known


@cache
def built_for(package: str, version: str) -> str | None:
    """Torch release beside which a package's release was built, and whose backends it therefore has."""
    if package == "torch":
        return version
    known: str | None = data("backends")["pairs"].get(f"{package}_built_for", {}).get(version)
    found = re.match(r"[=>]=([\d.]+)", requires_torch(package, version) or "")
    return known or (found[1] if found else None)


@cache
def mps_floor(version: str) -> str:
    """Oldest macOS on which the MPS backend of a release works."""
    rows = data("backends")["mps"]["rows"]
    return next((str(row["macos"]) for row in rows if within(row["torch"], version)), str(rows[-1]["macos"]))


def illegal_on_old_arm(version: str) -> bool:
    """Say whether an aarch64 release uses instructions that ARMv8.0 processors lack."""
    return version in data("backends")["old_arm"]["torch"]


def _builds(system: str, root: str) -> Iterator[Build]:
    for package in data("pypi")["releases"]:
        for row in data("pypi")["releases"][package]:
            for place in _places(package, row["version"], system, root):
                for tags in row["wheels"].get(system, {"tags": {}})["tags"].items():
                    yield _build(package, row, system, place, tags)


def _build(package: str, row: Row, system: str, place: Row, tags: tuple[str, str]) -> Build:
    version, backend = row["version"], place["id"]
    return Build(
        package=package,
        version=version,
        backend=backend,
        system=system,
        pythons=tuple(tags[1].split()),
        label=place["label"],
        minimum=place.get("glibc", {}).get(version, tags[0]),
        index=place["index"],
        kernels=kernels(version, backend, system) if package == "torch" else None,
        requires_python=row["requires_python"],
        requires_torch=None if package == "torch" else requires_torch(package, version),
        size=row["wheels"][system]["size"] if pypi_backend(package, version, system) == backend else None,
        experimental=place.get("experimental", False),
        source=place["source"],
    )


def _places(package: str, version: str, system: str, root: str) -> Iterator[Row]:
    """Give each backend that a release was built for: on macOS PyPI's own, elsewhere the folders of the index."""
    if flat(root) and not system.startswith("macos"):
        backend = pypi_backend(package, version, system)
        yield from [{"id": backend, "label": "", "index": root, "source": "PyPI"}] if backend else []
        return
    if system.startswith("macos"):
        index = PYPI if root == PYTORCH else root if flat(root) else f"{root}/cpu"
        for backend in ("mps", "cpu") if system == "macos_arm64" else ("cpu",):
            yield {"id": backend, "label": "", "index": index, "source": "PyPI"}
        return
    for row in _backends(system):
        if _has(row, package, version):
            # Before 2.6 the CPU wheels for aarch64 carried no label.
            plain = (
                system == "linux_aarch64"
                and row["id"] == "cpu"
                and parse(built_for(package, version) or "") < parse("2.6")
            )
            yield row | {"label": "" if plain else row["id"], "index": f"{root}/{row['id']}"}


@cache
def _backends(system: str) -> tuple[Row, ...]:
    return tuple(row for row in data("backends")["backends"] if system in row["systems"])


def _has(row: Row, package: str, version: str) -> bool:
    """Say whether a backend has a release: of torch by its range, of a companion by the torch it was built for."""
    torch = built_for(package, version)
    if torch is None or not within(row["torch"], torch) or torch in row.get("except", []):
        return False
    if package != "torchaudio" or row["torchaudio"] == "all":
        return True
    return row["torchaudio"] != "none" and within(row["torchaudio"], torch)


def _pythons(row: Row, system: str) -> list[str]:
    return [tag for tags in row["wheels"].get(system, {"tags": {}})["tags"].values() for tag in tags.split()]


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (-1, -1)
