"""Results to stdout, progress and log to stderr; the same values as text or as one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.terminal import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from torchcheck.errors import TorchcheckError

Render = Callable[[Mapping[str, Any], bool], "Iterable[RenderableType]"]


class Output:
    """Where one command speaks."""

    def __init__(self, command: str, *, json: bool, quiet: bool, verbose: bool, color: str) -> None:
        """Remember how the user wants to be spoken to."""
        self.command = command
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.log = console(color, stderr=True)

    def say(self, text: str) -> None:
        """Log one line of progress."""
        if not self.quiet:
            self.log.print(text, markup=False)

    def finish(
        self, data: Mapping[str, Any], code: int, render: Render, errors: Iterable[TorchcheckError] = ()
    ) -> int:
        """Print the result and give the exit code back."""
        failures = [error.as_json() for error in errors]
        if self.json:
            self.write_json(data, code, failures)
            return code
        out = console(self.color)
        for item in render(data, self.verbose):
            out.print(item, markup=False) if isinstance(item, str) else out.print(item)
        for failure in failures:
            self.fail(failure)
        return code

    def write_json(self, data: Mapping[str, Any] | None, code: int, errors: Iterable[Mapping[str, str]] = ()) -> None:
        """Print the one document."""
        from torchcheck.report.document import dump, envelope

        sys.stdout.write(dump(envelope(self.command, data, code, errors)) + "\n")

    def fail(self, error: Mapping[str, str]) -> None:
        """Say on stderr what went wrong and what mends it."""
        from rich.text import Text

        self.log.print(Text.assemble(("error: ", "bold red"), printable(error["message"])))
        if error["hint"]:
            self.log.print(Text.assemble(("  fix: ", "bold"), printable(error["hint"])))


def printable(text: str) -> str:
    """Take away what a terminal would obey: control characters other than newline and tab."""
    return "".join(c if c in "\n\t" or (ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0) else "�" for c in text)
