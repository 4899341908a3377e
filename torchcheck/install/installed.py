"""What is installed in a target, read from its folders: nothing is imported, no process is started."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import PathDistribution

    from packaging.requirements import Requirement

FAMILY = ("torch", "torchvision", "torchaudio")


@dataclass(frozen=True)
class Dist:
    """One installed distribution; `info` is its .dist-info or .egg-info (absolute path)."""

    name: str
    version: str
    info: str
    installer: str | None = None
    direct_url: Mapping[str, Any] | None = None
    requires: tuple[str, ...] = ()

    @property
    def editable(self) -> bool:
        """Say whether the source is somewhere else (PEP 610)."""
        where = (self.direct_url or {}).get("dir_info")
        return isinstance(where, dict) and bool(where.get("editable"))

    def as_json(self) -> dict[str, Any]:
        """Give what a journal remembers of it."""
        said = {"version": self.version, "installer": self.installer, "direct_url": self.direct_url}
        return {**said, "editable": self.editable}


def normal(name: str) -> str:
    """Normalize a project's name (PEP 503)."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def folders(paths: Mapping[str, str]) -> list[str]:
    """Give the site-packages folders of a target: purelib and platlib, once where they are the same."""
    found = [paths["purelib"], paths["platlib"]]
    return found[:1] if os.path.realpath(found[0]) == os.path.realpath(found[1]) else found


def read(paths: Mapping[str, str], names: Iterable[str] | None = None) -> dict[str, Dist]:
    """Read the distributions in a target's site-packages, all or the named ones, by normalized name."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    where = folders(paths)
    asked: list[dict[str, str]] = [{}] if names is None else [{"name": name} for name in names]
    contexts = [DistributionFinder.Context(path=where, **which) for which in asked]
    found = [d for c in contexts for d in MetadataPathFinder.find_distributions(c)]
    dists = [made for d in found if (made := _dist(d))]
    return {normal(dist.name): dist for dist in reversed(dists)}


def _dist(found: PathDistribution) -> Dist | None:
    info = str(found._path)  # noqa: SLF001 - the one way to learn it, unchanged since 3.8
    try:
        known = found.metadata
        name, version, requires = known["Name"], known["Version"], found.requires or []
    except UnicodeDecodeError:  # written by old tools in the encoding of their machine
        from email.parser import HeaderParser

        said = HeaderParser().parsestr(_text(info, "METADATA") or _text(info, "PKG-INFO"))
        name, version, requires = said["Name"], said["Version"], said.get_all("Requires-Dist", [])
    if not name or not version:  # the remains of a broken installation: not something that anybody has
        return None
    installer = _text(info, "INSTALLER").strip() or None
    return Dist(name, version, info, installer, _object(_text(info, "direct_url.json")), tuple(requires))


def _text(info: str, name: str) -> str:
    """Give the text of a file of metadata; "" when there is none, and a mark for what is no text."""
    try:
        with open(os.path.join(info, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _object(text: str | None) -> Mapping[str, Any] | None:
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def files(dist: Dist) -> list[str]:
    """Give the absolute paths of all that an uninstallation may remove: RECORD, compiled modules, the metadata."""
    root = os.path.dirname(dist.info)
    recorded = [os.path.normpath(os.path.join(root, name)) for name in _recorded(dist)]
    inside = [os.path.join(at, name) for at, _, names in os.walk(dist.info) for name in names]
    single = [dist.info] if os.path.isfile(dist.info) else []
    return list(dict.fromkeys([*recorded, *inside, *single, *compiled(recorded)]))


def _recorded(dist: Dist) -> list[str]:
    record = os.path.join(dist.info, "RECORD")
    if os.path.isfile(record):
        return [row[0] for row in _rows(record)]
    legacy = os.path.join(dist.info, "installed-files.txt")
    if os.path.isfile(legacy):
        with open(legacy, encoding="utf-8", errors="surrogateescape") as stream:
            names = [line.rstrip("\n") for line in stream]
        return [os.path.relpath(os.path.join(dist.info, name), os.path.dirname(dist.info)) for name in names]
    return []


def _rows(record: str) -> list[list[str]]:
    """Read a RECORD; from where it is no CSV on, it says nothing."""
    rows: list[list[str]] = []
    with open(record, encoding="utf-8", errors="surrogateescape", newline="") as stream, contextlib.suppress(csv.Error):
        rows.extend(row for row in csv.reader(stream) if row and "\0" not in row[0])
    return rows


def damaged(dist: Dist) -> list[str]:
    """Give the recorded files that are gone or have another size (compiled modules and metadata may change)."""
    root = os.path.dirname(dist.info)
    return [name for name, size in _sizes(dist) if not _has_size(os.path.join(root, name), size)]


def _sizes(dist: Dist) -> list[tuple[str, int]]:
    record = os.path.join(dist.info, "RECORD")
    if not os.path.isfile(record):
        return []
    rows = [row for row in _rows(record) if len(row) == 3 and row[2].isdecimal() and len(row[2]) < 19]
    own = os.path.basename(dist.info) + "/"
    return [(row[0], int(row[2])) for row in rows if not row[0].endswith(".pyc") and not row[0].startswith(own)]


def _has_size(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size
    except OSError:
        return False


def compiled(sources: Iterable[str]) -> Iterator[str]:
    """Find the compiled modules beside sources, recorded or not."""
    stems: dict[str, set[str]] = {}
    for path in sources:
        if path.endswith(".py"):
            stems.setdefault(os.path.dirname(path), set()).add(os.path.basename(path)[:-3])
    for folder, names in stems.items():
        cache = os.path.join(folder, "__pycache__")
        for name in os.listdir(cache) if os.path.isdir(cache) and not os.path.islink(cache) else ():
            if name.partition(".")[0] in names:
                yield os.path.join(cache, name)


def conflicts(dists: Mapping[str, Dist], environment: Mapping[str, str]) -> list[str]:
    """Say which requirements are not met, as `pip check` does; `environment` holds the target's markers."""
    broken = []
    for dist in dists.values():
        for need in needs(dist.requires, environment):
            have = dists.get(normal(need.name))
            if have is None:
                broken.append(f"{dist.name} {dist.version} requires {need.name}, which is not installed")
            elif not need.specifier.contains(have.version, prereleases=True):
                said = f"{dist.name} {dist.version} requires {need.name}{need.specifier}"
                broken.append(f"{said}, but {have.name} {have.version} is installed")
    return broken


def needs(requires: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """Read the requirements that count in an environment, without extras; what cannot be read is passed over."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    found = []
    for need in readable(requires):
        with contextlib.suppress(UndefinedComparison, UndefinedEnvironmentName, ValueError):
            if not need.marker or need.marker.evaluate({**environment, "extra": ""}):
                found.append(need)
    return found


def readable(requires: Iterable[str]) -> list[Requirement]:
    """Read requirements, without those that are none."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for text in requires:
        with contextlib.suppress(InvalidRequirement, RecursionError):
            found.append(Requirement(text))
    return found


def markers(version: str) -> dict[str, str]:
    """Give the environment markers of a Python of this machine: ours, with its version (PEP 508)."""
    from packaging.markers import default_environment

    ours = {key: str(value) for key, value in default_environment().items()}
    known = version or ours["python_full_version"]
    return {**ours, "python_full_version": known, "python_version": ".".join(known.split(".")[:2])}
