"""Results to stdout, progress and log to stderr; the same values as text or as one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from torchcheck.cli.terminal import console
from torchcheck.errors import UsageError
from torchcheck.report.document import cleaned, dump, envelope, printable

if TYPE_CHECKING:
    from rich.console import Console

    from torchcheck.errors import TorchcheckError
    from torchcheck.report.render.terminal.elements import Shown

UNWRITABLE = "output-not-written"
Render = Callable[[Mapping[str, Any], bool], "Iterable[Shown]"]


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

    @classmethod
    def of(cls, command: str, given: Mapping[str, Any]) -> Output:
        """Make one from a command's options."""
        return cls(command, json=given["json"], quiet=given["quiet"], verbose=given["verbose"], color=given["color"])

    def say(self, text: str) -> None:
        """Log one line of progress."""
        if not self.quiet:
            self.log.print(text, markup=False)

    def finish(self, data: Mapping[str, Any], code: int, render: Render, errors: Iterable[TorchcheckError] = ()) -> int:
        """Print the result and give the exit code back."""
        failures = [error.as_json() for error in errors]
        if self.json:
            self.write_json(data, code, failures)
            return code
        show(console(self.color), render(cleaned(data), self.verbose))
        for failure in failures:
            self.fail(failure)
        return code

    def write_json(self, data: Mapping[str, Any] | None, code: int, errors: Iterable[Mapping[str, str]] = ()) -> None:
        """Print the one document."""
        _write(sys.stdout, dump(envelope(self.command, data, code, errors)) + "\n")

    def fail(self, error: Mapping[str, str]) -> None:
        """Say on stderr what went wrong and what mends it."""
        from rich.text import Text

        self.log.print(Text.assemble(("error: ", "bold red"), printable(error["message"])))
        if error["hint"]:
            self.log.print(Text.assemble(("  fix: ", "bold"), printable(error["hint"])))


def show(out: Console, items: Iterable[Shown]) -> None:
    """Print a result; without the blanks that align it when nobody sees the alignment's right edge."""
    from torchcheck.report.render.terminal.elements import Paste

    with out.capture() as captured:
        for item in items:
            if isinstance(item, Paste):
                out.print(item.text, soft_wrap=True)
            else:
                out.print(item, markup=False)
    text = captured.get()
    _write(out.file, text if out.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def _write(stream: IO[str] | None, text: str) -> None:
    """Write to a stream, which may have been closed before we began.

    Raises:
        UsageError: there is no room where the output was sent.
        BrokenPipeError: its reader is gone, which is no failure.
    """
    if stream is None:
        return
    try:
        stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> UsageError:
    """Say that the place to which the output was sent does not take it."""
    hint = "Send the output to a place that has room for it."
    return UsageError(f"The result could not be written: {error.strerror}.", hint, code=UNWRITABLE)
