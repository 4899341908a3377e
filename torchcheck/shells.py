"""How a word is written for a shell, so that what is printed can be pasted (pure).

The rules: POSIX sh, 2.2 Quoting; PowerShell's about_Quoting_Rules (typographic quotes count as quotes there) and
about_Operators (a quoted program is a text, unless `&` calls it); cmd knows double quotes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

Shell = Literal["sh", "powershell", "cmd"]
_PLAIN: Final = {"sh": r"[\w./:=@%+,-]+", "powershell": r"[\w./\\:=+~-]+", "cmd": r"[\w./\\:+~-]+"}
_LIVE: Final = {"sh": r"[$`!\"\\]", "powershell": '[$`"\u201c\u201d\u201e]'}
"""What means something within double quotes."""
_SINGLE: Final = "(['\u2018\u2019\u201a\u201b])"
"""What PowerShell takes for a single quote."""


def usual(*, windows: bool) -> Shell:
    """Name the shell that most people of a system type into."""
    return "powershell" if windows else "sh"


def quote(word: str, shell: Shell) -> str:
    """Write a word as an argument."""
    if re.fullmatch(_PLAIN[shell], word):
        return word
    if shell == "cmd" or not re.search(_LIVE[shell], word):
        return f'"{word}"'
    inner = re.sub(_SINGLE, r"\1\1", word) if shell == "powershell" else word.replace("'", "'\\''")
    return f"'{inner}'"


def call(program: str, shell: Shell) -> str:
    """Write a word as the program that is started."""
    quoted = quote(program, shell)
    return f"& {quoted}" if shell == "powershell" and quoted != program else quoted


def command(argv: Iterable[str], shell: Shell) -> str:
    """Write a whole command."""
    program, *words = argv
    return " ".join([call(program, shell), *(quote(word, shell) for word in words)])
