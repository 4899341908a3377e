"""For a person at a terminal: rich renderables from a command's `data`.

Everything is shown as literal text (`Text`, never markup), so nothing read from a machine or a log can style or steer
the terminal. Glyphs are chosen when printed: a console that speaks only ASCII gets ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torchcheck import shells

Data = Mapping[str, Any]
Shown = Union[RenderableType, "Paste"]
STATUS = {
    "pass": ("✓", "+", "green"),
    "fail": ("✗", "x", "bold red"),
    "crash": ("✗", "x", "bold red"),
    "timeout": ("✗", "x", "bold red"),
    "error": ("✗", "x", "bold red"),
    "known": ("≈", "~", "yellow"),
    "skip": ("·", "-", "dim"),
    "warning": ("!", "!", "yellow"),
    "note": ("·", "-", "cyan"),
}


class Line:
    """A line that begins with a sign for its status, in what the console can show."""

    def __init__(self, status: str, *parts: str | tuple[str, str]) -> None:
        """Take a status of `STATUS` and the parts of a `Text`."""
        self._status = status
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the sign by what the console can encode."""
        rich_sign, plain_sign, style = STATUS[self._status]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(plain_sign if options.ascii_only else rich_sign, style), Text.assemble(*self._parts))
        yield grid


class Paste:
    """Something to paste: printed as it is, never wrapped nor cropped, so that a copy of it works."""

    def __init__(self, label: str, text: str) -> None:
        """Take what stands before it, and the text."""
        self.text = Text.assemble((label, "bold"), text)


def heading(title: str) -> Text:
    """Head a section."""
    return Text(f"\n{title}", "bold")


def indented(items: Iterable[RenderableType], by: int = 2) -> Padding:
    """Put items below a heading."""
    return Padding(Group(*items), (0, 0, 0, by), expand=False)


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """Align names and values."""
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, "dim"), Text(str(value)))
    return grid


def count(number: int, noun: str) -> str:
    """Say a number of things."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def command_line(argv: Sequence[str]) -> str:
    """Write a command so that it can be pasted: into PowerShell when its program is one of Windows, else into sh."""
    return shells.command(argv, shells.usual(windows=bool(re.match(r"[A-Za-z]:[\\/]|\\\\", argv[0]))))
