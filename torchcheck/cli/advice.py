"""Commands to type, written for this shell."""

from __future__ import annotations

import sys

from torchcheck import shells


def install_command(python: str) -> str:
    """Write the `torchcheck install` that serves one interpreter."""
    words = ("torchcheck", "install", "--python", python)
    return shells.command(words, shells.usual(windows=sys.platform == "win32"))
