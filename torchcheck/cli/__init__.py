"""The command line: words in, one verdict out. Nothing but click is imported before a command runs."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click

from torchcheck import __version__
from torchcheck.cli import diff, doctor, install, plan, report, verify

EPILOG = """Exit codes: 0 all well, 1 a check failed or something is wrong, 2 wrong use, 3 no plan fits or the target
cannot be used, 4 the installation failed and was undone, 5 no index reachable, 70 a defect of torchcheck, 130
interrupted."""

ENDINGS = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that ask to end; no system has them all."""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="torchcheck")
def command() -> None:
    """Install the PyTorch that this machine can run, then prove that it trains correctly.

    Start with `torchcheck install`; when something is wrong, ask `torchcheck doctor`.
    """


for module in (install, plan, verify, doctor, report, diff):
    command.add_command(module.command)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with one of the contract's codes."""
    words = sys.argv[1:] if argv is None else argv
    _heed_endings()
    try:
        code = command.main(words, prog_name="torchcheck", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the last place: every end gets its words and its exit code here
        from torchcheck.cli.ending import explain

        code = explain(error, words)
    _leave(code if isinstance(code, int) else 0)


def _heed_endings() -> None:
    """Take the orders to end (`kill`, a closed terminal, a job's time limit) as Ctrl-C: orderly, and once.

    What the caller chose to ignore (nohup) stays ignored.
    """
    told = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        again, told = told, True
        if not again:  # a second order must not break off the putting back that the first one began
            raise KeyboardInterrupt

    for name in ENDINGS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _leave(code: int) -> None:
    """Flush and exit; a reader that went away (`| head`) is no failure of ours, and an order to end comes too late."""
    for name in ("SIGINT", *ENDINGS):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (BrokenPipeError, ValueError, AttributeError):
        from torchcheck.cli.ending import silence

        silence()
    except OSError as error:
        from torchcheck.cli.ending import explain
        from torchcheck.cli.output import unwritable

        code = explain(unwritable(error), sys.argv[1:])
    sys.exit(code)
