"""The command line: words in, one verdict out. Nothing but click is imported before a command runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import click

from torchcheck import __version__
from torchcheck.cli import diff, doctor, install, plan, report, verify

EPILOG = """Exit codes: 0 all well, 1 a check failed or something is wrong, 2 wrong use, 3 no plan fits or the target
cannot be used, 4 the installation failed and was undone, 5 no index reachable, 70 a defect of torchcheck, 130
interrupted."""

ENDINGS = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that ask to end; no system has them all."""


class _InOrder(click.Group):
    """Show the commands in the order in which somebody needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(self.commands)


@click.group(
    cls=_InOrder, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
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
    orders = _Orders()
    try:
        with orders:
            code = command.main(words, prog_name="torchcheck", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the last place: every end gets its words and its exit code here
        orders.heeded = False
        from torchcheck.cli.ending import explain

        code = explain(error, words)
    _leave(code if isinstance(code, int) else 0)


class _Orders:
    """Take the orders to end (`kill`, a closed terminal, a job's time limit) as Ctrl-C: orderly, and once.

    What the caller chose to ignore (nohup) stays ignored. Before a command begins and after it has ended, an order is
    only remembered: there is nobody to take the exception.
    """

    def __init__(self) -> None:
        self.heeded = False
        self._told = False

    def __enter__(self) -> None:
        for name in ENDINGS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
        sys.unraisablehook = self._again(sys.unraisablehook)
        self.heeded = True
        if self._told:
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        self.heeded = False

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        again, self._told = self._told, True
        if self.heeded and not again:  # a second order must not break off the putting back that the first one began
            raise KeyboardInterrupt

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        if self.heeded:
            raise KeyboardInterrupt

    def _again(self, before: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], None]:
        """Give the order again that came while a destructor ran, which swallows every exception."""

        def hook(unraisable: sys.UnraisableHookArgs) -> None:
            if isinstance(unraisable.exc_value, KeyboardInterrupt):
                from threading import Timer

                Timer(0.05, _interrupt_ourselves).start()  # from here it would be swallowed again
            else:
                before(unraisable)

        return hook


def _interrupt_ourselves() -> None:
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:  # what it waits for in a system call ends only by a signal from outside
        os.kill(os.getpid(), signal.SIGINT)


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
    # An interruption while a string was run (a dataclass being made) marks the interpreter, and `python -m` would end
    # by SIGINT whatever we exit with; running another one clears the mark (run_eval_code_obj in CPython's pythonrun.c).
    exec("")  # noqa: S102
    sys.exit(code)
