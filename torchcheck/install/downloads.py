"""Follow pip's downloads: which file, how far, how fast."""

from __future__ import annotations

import os
import re
import threading
import time
from types import TracebackType
from urllib.parse import unquote

from torchcheck.install.streaming import Listener

SLOW = 100_000
"""Bytes a second below which a download is said to be slow."""
PATIENCE = 5.0
"""Seconds before a download is judged."""
INTERVAL = 0.25
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


class Downloads:
    """Turn pip's lines into events.

    pip 24.1 and newer say themselves how far they are (`--progress-bar raw`); with older ones the file that grows in
    `watched` is measured (an empty `watched`: nothing is).
    """

    def __init__(self, tell: Listener, watched: str = "") -> None:
        """Begin with no file."""
        self._tell = tell
        self._watched = watched
        self._name, self._total, self._since, self._warned = "", 0, time.monotonic(), False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Downloads:  # noqa: PYI034 - Self is of Python 3.11
        if self._watched:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._watched:
            self._thread.join()

    def hear(self, line: str) -> None:
        """Listen to one line."""
        line = line.strip()
        if match := re.match(r"Progress (\d{1,18}) of (\d{1,18})\b", line):
            self._progress(self._name, int(match[1]), int(match[2]))
        elif match := re.match(
            r"Downloading (?:\S*/)?([^\s/]+\.whl)(?: \((\d{1,9}(?:\.\d{1,9})?) (bytes|kB|MB|GB)\))?$", line
        ):
            total = int(float(match[2]) * UNITS[match[3]]) if match[2] else 0
            self._name, self._total, self._since, self._warned = unquote(match[1]), total, time.monotonic(), False
            self._tell({"event": "file", "file": self._name, "total": total or None})
        elif line.startswith(("Installing collected packages", "Attempting uninstall", "Successfully")):
            self._tell({"event": "step", "text": line})
        else:
            self._tell({"event": "log", "text": line})

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            name, total = self._name, self._total
            size = _size_of(name, os.path.join(self._watched, "tmp")) if name else 0
            if size and total:
                self._progress(name, min(size, total), total)

    def _progress(self, name: str, done: int, total: int) -> None:
        self._tell({"event": "download", "file": name, "done": done, "total": total})
        passed = time.monotonic() - self._since
        if not self._warned and passed > PATIENCE and done < total and done / passed < SLOW:
            self._warned = True
            left = (total - done) * passed / max(done, 1)
            text = f"{name} comes at {done / passed / 1000:.0f} kB/s and needs {left / 60:.0f} more minutes."
            self._tell(
                {"event": "warning", "code": "slow-download", "message": text, "hint": "A mirror: --index-url URL"}
            )


def _size_of(name: str, folder: str) -> int:
    """Find the file that pip downloads to (`pip-unpack-…/NAME`) and give its size so far."""
    for at, _, names in os.walk(folder):
        if name in names:
            try:
                return os.path.getsize(os.path.join(at, name))
            except OSError:  # finished, and moved meanwhile
                return 0
    return 0
