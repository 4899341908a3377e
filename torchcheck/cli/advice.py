"""Commands to type, written for this shell."""

from __future__ import annotations

import sys


def install_command(python: str) -> str:
    """Write the `torchcheck install` that serves one interpreter."""
    return f"torchcheck install --python {quote(python)}"


def quote(word: str) -> str:
    """Quote a word for the shell that this system's people use (PowerShell and cmd both take double quotes)."""
    if sys.platform == "win32":
        return f'"{word}"' if set(word) & set(" &()[]{}^=;!'+,`~") else word
    import shlex

    return shlex.quote(word)
