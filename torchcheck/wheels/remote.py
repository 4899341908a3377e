"""Members of a wheel on a server, read by HTTP ranges: a few kilobytes, not gigabytes (door: network)."""

from __future__ import annotations

import ast
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from typing import Any

from torchcheck.wheels.builds import Failure, WheelFile
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Web

TAIL = 128 << 10
"""Bytes from the end that are read first: they hold the directory of most wheels."""
STEP = 64 << 10
LARGEST_MEMBER = 16 << 20
LARGEST_SOURCE = 1 << 20
LARGEST_READ = 64 << 20
"""The directory of a wheel with 15 000 files has 2 MiB."""


class RangeFile(io.RawIOBase):
    """A file on a server that can be read and sought, for `zipfile`."""

    def __init__(self, web: Web, url: str, size: int | None = None) -> None:
        """Ask for the end of the file, which holds a zip's directory.

        Raises:
            WebError: the file cannot be read, or the server knows no ranges.
        """
        self._web, self._url = web, url
        self._at = 0
        self._parts: list[tuple[int, bytes]] = []
        self._size = size or self._length()
        self._fetch(max(0, self._size - TAIL), self._size - 1)

    def _length(self) -> int:
        headers = self._web.get(self._url, span=(0, 0)).headers
        total = headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit():
            raise WebError(Failure(self._url, "index-server-fault", f"{self._url} cannot be read in parts"))
        return int(total)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is fetched."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read; sizes that only an archive made to be harmful asks for are refused before memory is taken for them."""
        if size > LARGEST_READ:
            raise zipfile.BadZipFile(f"it claims a part of {size} bytes")
        return super().read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from what was fetched, fetching what is not there."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._held(wanted)
        if data is None:
            self._fetch(self._at, min(self._size, self._at + max(wanted, STEP)) - 1)
            data = self._held(wanted) or b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _held(self, wanted: int) -> bytes | None:
        for start, data in self._parts:
            if start <= self._at < start + len(data):
                return data[self._at - start : self._at - start + wanted]
        return None

    def _fetch(self, first: int, last: int) -> None:
        page = self._web.get(self._url, span=(first, last))
        if len(page.body) != last - first + 1:
            raise WebError(Failure(self._url, "index-server-fault", f"{self._url} cannot be read in parts"))
        self._parts.append((first, page.body))


def members(web: Web, file: WheelFile, names: tuple[str, ...]) -> dict[str, str]:
    """Read text members of a wheel; those that it does not have are left out.

    Raises:
        WebError: the wheel cannot be read.
    """
    with _opened(web, file) as archive:
        there = set(archive.namelist())
        return {name: _text(archive, name) for name in names if name in there}


def targets(web: Web, file: WheelFile) -> tuple[str, ...]:
    """Give the gfx targets that the files of kernels in a ROCm wheel are named after; none where ROCm is not bundled.

    Raises:
        WebError: the wheel cannot be read.
    """
    with _opened(web, file) as archive:
        found = {target for name in archive.namelist() for target in re.findall(r"gfx[0-9a-f]{3,4}(?![0-9a-z])", name)}
    return tuple(sorted(found, key=lambda target: (len(target), target)))


@contextmanager
def _opened(web: Web, file: WheelFile) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(RangeFile(web, file.url, file.size)) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, OSError) as error:
        text = f"{file.name} is no readable wheel ({error})"
        raise WebError(Failure(file.url, "index-server-fault", text)) from error


def _text(archive: zipfile.ZipFile, name: str) -> str:
    if archive.getinfo(name).file_size > LARGEST_MEMBER:
        raise ValueError(f"its {name} unpacks to more than {LARGEST_MEMBER >> 20} MiB")
    return archive.read(name).decode("utf-8", errors="replace")


def metadata(web: Web, file: WheelFile) -> dict[str, list[str]]:
    """Read a wheel's METADATA, from beside it (PEP 658) or from within; header names in lower case.

    Raises:
        WebError: it cannot be read.
    """
    if file.metadata:
        text = web.get(f"{file.url}.metadata").body.decode("utf-8", errors="replace")
    else:
        text = _metadata_within(web, file)
    found: dict[str, list[str]] = {}
    for key, value in HeaderParser().parsestr(text, headersonly=True).items():
        found.setdefault(key.lower(), []).append(str(value))
    return found


def _metadata_within(web: Web, file: WheelFile) -> str:
    with _opened(web, file) as archive:
        name = next((n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)), None)
        return _text(archive, name) if name else ""


def backend_of(package: str, version_py: str) -> str | None:
    """Tell a build's backend by its `version.py`, which is read and never run."""
    said = _literals(version_py)
    label = str(said.get("__version__") or "").partition("+")[2]
    if label:
        return label
    if cuda := said.get("cuda"):
        return "cu" + str(cuda).strip().replace(".", "")
    if hip := said.get("hip"):
        return "rocm" + ".".join(str(hip).split(".")[:2])
    if package == "torch":
        return "xpu" if said.get("xpu") else "cpu"
    return None


def code_table(cuda_init: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read `PYTORCH_RELEASES_CODE_CC` of torch/cuda/__init__.py: CUDA version to processor to compute capabilities.

    Torch 2.11 and 2.12 give one set per CUDA version, later ones a set per processor; {} when there is no table.
    """
    table = _literals(cuda_init).get("PYTORCH_RELEASES_CODE_CC")
    if not isinstance(table, dict):
        return {}
    read = {str(cuda): _by_processor(rows) for cuda, rows in table.items()}
    return {cuda: rows for cuda, rows in read.items() if rows}


def _by_processor(rows: Any) -> dict[str, tuple[str, ...]]:
    by_processor = rows if isinstance(rows, dict) else {"x86_64": rows, "aarch64": rows}
    usual = {cpu: codes for cpu, codes in by_processor.items() if _capabilities(codes)}
    return {str(cpu): tuple(f"{cc // 10}.{cc % 10}" for cc in sorted(codes)) for cpu, codes in usual.items()}


def _capabilities(codes: Any) -> bool:
    return isinstance(codes, set | frozenset | list | tuple) and bool(codes) and all(isinstance(c, int) for c in codes)


def _literals(source: str) -> dict[str, Any]:
    """Give the module-level names that are bound to literals; none of a source that is long or deep beyond sense."""
    try:
        tree = ast.parse(source if len(source) <= LARGEST_SOURCE else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: too deeply nested for its stack
        return {}
    found: dict[str, Any] = {}
    for node in tree.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
    return found
