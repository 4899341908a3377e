"""Consoles: what may be shown where."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 20  # below, rich drops whole columns; terminals that do not know their size say 0 or 1
PIPED_WIDTH = 10_000  # nothing is wrapped for a program or a file


def console(color: str = "auto", *, stderr: bool = False) -> Console:
    """Make a console for results (stdout) or for progress and log (stderr).

    Coloured when it is a terminal that can (NO_COLOR counts), plain and of a fixed width when piped, and in ASCII when
    its encoding cannot show more.
    """
    from rich.console import Console

    stream = _stream(stderr)
    tty = stream.isatty()
    forced = {"always": True, "never": False}.get(color)
    made = Console(
        file=stream,
        force_terminal=forced or None,
        no_color=True if forced is False else (None if forced is None else False),
        color_system="auto" if forced is not False else None,
        highlight=False,
        width=None if tty or "COLUMNS" in os.environ else PIPED_WIDTH,
        legacy_windows=False if not tty else None,
    )
    if made.width < NARROWEST:  # noqa: PLR1730 - a width that is set no longer follows the terminal
        made.width = NARROWEST
    return made


def _stream(stderr: bool) -> IO[str]:
    """Give a stream that never raises for a character, nor for being closed from the start."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None or stream.closed:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - a stream for the process's life
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return stream
