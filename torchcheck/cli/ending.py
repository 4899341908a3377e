"""How a command ends that did not end well: words, hint and exit code, as text or as the one JSON document."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from torchcheck.cli.causes import tell
from torchcheck.cli.output import UNWRITABLE, Output, unwritable
from torchcheck.errors import Exit, TorchcheckError


def explain(error: BaseException, words: list[str]) -> int:
    """Say what ended the command and give its exit code."""
    if isinstance(error, SystemExit) and type(sys.stdout).__name__ == "_PacifyFlushWrapper":
        # click has met a reader that is gone, wrapped the streams and exits with 1
        silence()
        return Exit.OK
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):
        silence()
        return Exit.OK
    if isinstance(error, click.UsageError) and not words:  # from 8.2 on click raises the help of a bare command
        error.show()
        return Exit.USAGE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        error = unwritable(error)  # rich writes by itself
    message, hint, slug, code = _judge(error, words)
    output = _output(words)
    if slug == UNWRITABLE:
        silence()
    elif output.json:
        output.write_json(getattr(error, "data", None), code, [{"code": slug, "message": message, "hint": hint}])
        return code
    output.fail({"message": message, "hint": hint})
    if isinstance(error, TorchcheckError):
        tell(output, error.data.get("diagnoses", []))
    return code


def _judge(error: BaseException, words: list[str]) -> tuple[str, str, str, int]:
    if isinstance(error, TorchcheckError):
        return error.message, error.hint, error.code, error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "Interrupted.", "", "interrupted", Exit.INTERRUPTED
    if isinstance(error, click.ClickException):
        return error.format_message(), _usage_hint(error), "usage", Exit.USAGE
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{error.strerror}: {error.filename}", "", "os-error", Exit.NO_PLAN
    return _defect(error, words)


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context else "torchcheck --help"


def _defect(error: BaseException, words: list[str]) -> tuple[str, str, str, int]:
    """Keep the traceback in a file: it is for us, not for the person who only wanted torch."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if "-v" in words or "--verbose" in words:
        sys.stderr.write(text)
    message = f"This is a defect of torchcheck itself: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="torchcheck-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(text)
    except OSError:
        return message, "Run it again with -v, and report what it says with `torchcheck report`.", "defect", Exit.DEFECT
    return message, f"Report it with {Path(log.name)} and `torchcheck report`.", "defect", Exit.DEFECT


def _output(words: list[str]) -> Output:
    named = [word for word in words if not word.startswith("-")]
    return Output(
        named[0] if named else "torchcheck",
        json="--json" in words,
        quiet=False,
        verbose=False,
        color="auto",
    )


def silence() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit has no reader to miss."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None
