"""What a wheel will put into a target: which files, how much, and whether the wheel is what it says it is."""

from __future__ import annotations

import configparser
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from torchcheck.errors import InstallError
from torchcheck.install.installed import normal

LARGEST_MEMBER = 16 << 20
UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What zipfile raises for archives that are broken, encrypted, packed unknown ways, or made to be harmful."""
RECORDED_LATER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json")


@dataclass(frozen=True)
class Incoming:
    """One distribution about to be installed; `paths` are absolute, `unpacked` is in bytes."""

    name: str
    version: str
    paths: tuple[str, ...]
    unpacked: int
    requires: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        """Give the requirement that this build alone meets."""
        return f"{self.name}==={self.version}"


def of_wheel(file: str, paths: Mapping[str, str]) -> Incoming:
    """Read a wheel; `paths` are the target's sysconfig paths.

    Raises:
        InstallError: the file is no wheel, or its name, version or layout is not what its file name says.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    base = os.path.basename(file)
    try:
        name, version, _, _ = parse_wheel_filename(base)
        with zipfile.ZipFile(file) as archive:
            info = _info_folder(archive, base)
            metadata = _member(archive, f"{info}/METADATA")
            pure = _headers(_member(archive, f"{info}/WHEEL")).get("root-is-purelib", "true").lower() == "true"
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            scripts = _entry_points(archive, info)
    except (InvalidWheelFilename, configparser.Error, KeyError, *UNREADABLE) as error:
        raise _lie(base, f"it cannot be read as a wheel ({error})") from error
    said = _headers(metadata)
    if normal(said.get("name", "")) != name or said.get("version", "") != str(version):
        raise _lie(base, f"inside, it calls itself {said.get('name')} {said.get('version')}")
    root = paths["purelib" if pure else "platlib"]
    placed = [path for entry in entries for path in _placed(entry.filename, root, paths, name)]
    placed += [os.path.join(root, info, extra) for extra in RECORDED_LATER]
    placed += [os.path.join(paths["scripts"], script + end) for script in scripts for end in ("", ".exe")]
    return Incoming(
        name, str(version), tuple(dict.fromkeys(placed)), sum(entry.file_size for entry in entries), _requires(metadata)
    )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a text of a wheel's metadata; an honest one has kilobytes, whatever it is packed into."""
    if archive.getinfo(name).file_size > LARGEST_MEMBER:
        raise ValueError(f"its {name} unpacks to more than {LARGEST_MEMBER >> 20} MiB")
    return archive.read(name)


def _lie(base: str, what: str) -> InstallError:
    hint = "Use another index, or tell its maintainers: this wheel must not be installed."
    return InstallError(f"The wheel {base} is not what its name says: {what}.", hint, code="wheel-lies")


def _info_folder(archive: zipfile.ZipFile, base: str) -> str:
    tops = {name.partition("/")[0] for name in archive.namelist()}
    infos = [top for top in tops if top.endswith(".dist-info")]
    if len(infos) != 1:
        raise _lie(base, f"it holds {len(infos)} .dist-info folders")
    if infos[0].partition("-")[0].lower() != base.partition("-")[0].lower():
        raise _lie(base, f"its metadata is that of {infos[0]}")
    return infos[0]


def _headers(raw: bytes) -> dict[str, str]:
    """Read the headers of METADATA or WHEEL; the first of a name counts."""
    from email.parser import HeaderParser

    message = HeaderParser().parsestr(raw.decode(errors="replace"))
    return {key.lower(): str(value).strip() for key, value in reversed(message.items())}


def _requires(metadata: bytes) -> tuple[str, ...]:
    from email.parser import HeaderParser

    return tuple(HeaderParser().parsestr(metadata.decode(errors="replace")).get_all("Requires-Dist") or ())


def _entry_points(archive: zipfile.ZipFile, info: str) -> list[str]:
    if f"{info}/entry_points.txt" not in archive.namelist():
        return []
    points = configparser.RawConfigParser(delimiters=("=",), strict=False)
    points.optionxform = str  # type: ignore[assignment,method-assign]
    points.read_string(_member(archive, f"{info}/entry_points.txt").decode())
    kinds = ("console_scripts", "gui_scripts")
    return [name for kind in kinds if points.has_section(kind) for name in points.options(kind)]


def _placed(entry: str, root: str, paths: Mapping[str, str], name: str) -> Iterator[str]:
    """Say where a member of the archive goes (binary distribution format, "The .data directory")."""
    parts = PurePosixPath(entry).parts
    if ".." in parts or PurePosixPath(entry).is_absolute():
        raise _lie(name, f"it would write outside of its folders ({entry})")
    if len(parts) > 2 and parts[0].endswith(".data"):
        for folder in _scheme(parts[1], root, paths, name):
            yield os.path.join(folder, *parts[2:])
    else:
        yield os.path.join(root, *parts)


def _scheme(key: str, root: str, paths: Mapping[str, str], name: str) -> list[str]:
    if key == "headers":  # pip has two places for them: of a virtual environment, and of an installation
        site = os.path.join(paths["data"], "include", "site")
        versions = os.listdir(site) if os.path.isdir(site) else []
        return [os.path.join(paths.get("include", site), name), *(os.path.join(site, v, name) for v in versions)]
    return [paths.get(key, root)]


def sha256(file: str) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
