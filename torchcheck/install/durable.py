"""Bring what was written to the disk, so that a loss of power cannot take it back."""

from __future__ import annotations

import os
import sys
import threading


def flush(folder: str) -> None:
    """Write out what is still in memory for the file system that holds `folder`; on Windows, NTFS and time must do."""
    if sys.platform == "win32":
        return
    if sys.platform == "linux" and _flush_one(folder):
        return
    os.sync()


def _flush_one(folder: str) -> bool:
    """Flush this file system alone: another, on a network that hangs, would be waited for without end."""
    import ctypes

    syncfs = getattr(ctypes.CDLL(None), "syncfs", None)
    if syncfs is None:  # an old libc
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        return bool(syncfs(handle) == 0)
    finally:
        os.close(handle)


class Flushing:
    """A flush that runs beside other work, such as the proof of what was installed."""

    def __init__(self, folder: str) -> None:
        """Start it."""
        self._thread = threading.Thread(target=flush, args=(folder,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for its end."""
        self._thread.join()
