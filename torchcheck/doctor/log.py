"""Read any error text: coloured, with Windows line ends, mis-decoded, or a hundred megabytes long.

What is kept is bounded: the beginning, the end, and from the middle the lines that bear a marker. All patterns
elsewhere in the doctor run over this kept text, so their cost is bounded too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BufferedIOBase, RawIOBase
from typing import IO

HEAD = 48 * 1024
TAIL = 160 * 1024
LINE = 2000
PER_MARKER = 60
AFTER = {"Traceback": 4000, "Collecting environment": 6000, "PyTorch version": 6000}
CHUNK = 1 << 20

MARKERS = (
    "Traceback",
    "Error",
    "ERROR",
    "error:",
    "fatal",
    "WinError",
    "Errno",
    "undefined symbol",
    "not found",
    "cannot open",
    "CUDA",
    "No module",
    "HIP",
    "hip",
    "Xid",
    "NVIDIA",
    "nvidia-smi",
    "killed",
    "Illegal instruction",
    "egmentation",
    ".dll",
    "Could not",
    "OMP:",
    "Triton",
    "kernel image",
    "umpy",
    "requires torch",
    "site-packages",
    "PyTorch version",
    "/dev/",
)

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)|\x1b[@-Z\\^_]|[\x00\x08\x0b\x0c\u200b\ufeff]"
)
_BLANKS = re.compile(r"[ \t]{100,}")
_EMPTY = re.compile(r"\n\s*\n\s*\n")
_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
# Blogs and chat programs turn quotes into typographic ones; a no-break space comes from web pages.
_PLAIN = str.maketrans("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u00a0", "''''\"\"\" ")


@dataclass(frozen=True)
class Log:
    """An error text, cleaned; `cut` says that a part of a long one was left out."""

    text: str = ""
    cut: bool = False

    @cached_property
    def folded(self) -> str:
        """The text in lower case, for a quick look before a pattern is tried."""
        return self.text.lower()

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.split("\n")

    def line_at(self, position: int) -> str:
        """The line around a position, stripped."""
        start = self.text.rfind("\n", 0, position) + 1
        end = self.text.find("\n", position)
        return self.text[start : end if end >= 0 else len(self.text)].strip()


def read(source: str | bytes | IO[str] | IO[bytes] | Iterable[str]) -> Log:
    """Read a text, the bytes of a file, or an open file, of any size.

    Bytes are read as UTF-16 when they begin with its mark (PowerShell's `>` writes it), else as UTF-8; what is neither
    is replaced, since no pattern depends on words of another language.
    """
    if isinstance(source, str) and len(source) <= HEAD + TAIL:
        return Log(_short_lines(_clean(source)))
    return _abridge(_chunks(source))


def _chunks(source: str | bytes | IO[str] | IO[bytes] | Iterable[str]) -> Iterator[str]:
    if isinstance(source, str):
        return (source[start : start + CHUNK] for start in range(0, len(source), CHUNK))
    if isinstance(source, bytes):
        return iter([_decode(source)])
    if isinstance(source, BufferedIOBase | RawIOBase):
        return _decoded(source)
    if hasattr(source, "read"):
        stream: IO[str] = source  # type: ignore[assignment]
        return iter(lambda: stream.read(CHUNK), "")
    return iter(source)


def _decoded(stream: BufferedIOBase | RawIOBase) -> Iterator[str]:
    import codecs

    first = stream.read(CHUNK) or b""
    decoder = codecs.getincrementaldecoder(_encoding(first))(errors="replace")
    while first:
        yield decoder.decode(first)
        first = stream.read(CHUNK) or b""
    yield decoder.decode(b"", final=True)


def _encoding(start: bytes) -> str:
    if start[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "utf-16"
    # Without a mark, every second byte zero says UTF-16 all the same.
    return "utf-16-le" if start[1:200:2].count(0) > len(start[1:200:2]) * 0.7 else "utf-8"


def _decode(data: bytes) -> str:
    return data.decode(_encoding(data), errors="replace")


def _clean(text: str) -> str:
    # Long runs of blanks carry nothing, and cost patterns that begin with blanks dearly.
    return _BLANKS.sub(" ", _EMPTY.sub("\n\n", _ENDS.sub("\n", _ESCAPES.sub("", text)).translate(_PLAIN)))


def _short_lines(text: str) -> str:
    if len(text) <= LINE:
        return text
    return "\n".join(
        line if len(line) <= LINE else f"{line[: LINE - 800]} ... {line[-800:]}" for line in text.split("\n")
    )


def _abridge(chunks: Iterator[str]) -> Log:
    """Keep the beginning, the end, and the marked lines between them."""
    head, tail, marked = "", "", _Marked()
    for chunk in chunks:
        room = HEAD - len(head)
        head, tail = head + chunk[:room], tail + chunk[room:] if room > 0 else tail + chunk
        if len(tail) > TAIL + CHUNK:
            tail = marked.take_all_but(tail, TAIL)
    tail = marked.take_all_but(tail, TAIL)
    parts = [head, *marked.lines, tail] if marked.seen else [head + tail]
    return Log(_short_lines(_clean("\n".join(parts))), cut=marked.seen)


class _Marked:
    """Lines that bear a marker, each marker's first few."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen = False
        self._room = dict.fromkeys(MARKERS, PER_MARKER)

    def take_all_but(self, text: str, last: int) -> str:
        """Take marked lines out of a text, and give its last part back, cut at a line end."""
        if len(text) <= last:
            return text
        at = text.rfind("\n", 0, len(text) - last) + 1 or len(text) - last
        self._take(text[:at])
        return text[at:]

    def _take(self, text: str) -> None:
        self.seen = True
        for marker, room in self._room.items():
            at = text.find(marker) if room else -1
            while at >= 0 and self._room[marker]:
                # The line with its successor: many messages continue on the next line.
                end = max(_line_end(text, _line_end(text, at) + 1), at + AFTER.get(marker, 0))
                self.lines.append(
                    text[
                        max(text.rfind("\n", max(0, at - LINE), at) + 1, at - LINE) : min(
                            end, at + max(LINE, AFTER.get(marker, 0))
                        )
                    ]
                )
                self._room[marker] -= 1
                at = text.find(marker, end)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return end if end >= 0 else len(text)
