"""An order to end leaves no process, no temporary file, and what was there before."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the bench finds processes by their environment, as Linux shows it", allow_module_level=True)

from local_chaos import Bench, Condition, attempt, bench, send


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("bench")) as ready:
        yield ready


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_installation_that_is_told_to_end_puts_back_what_was_there(made: Bench, number: signal.Signals) -> None:
    made.index.fault("/whl/cpu/torch-*.whl", "drip", 20)  # it is at it when the order comes
    try:
        ran = attempt(made, "install", Condition("told to end", act=send(number, 5), codes=frozenset({130})))
    finally:
        made.index.forgive()
    assert not ran.wrong, ran


def test_a_verification_that_is_told_to_end_ends_its_workers(made: Bench) -> None:
    hang = str(Path(__file__).resolve().parents[1] / "fake_torch" / "import_hang")
    condition = Condition("told to end", "PYTHONPATH=" + hang + " {command}", act=send(signal.SIGTERM, 4))
    ran = attempt(made, "verify", condition)
    assert ran.code == 130
    assert not ran.wrong, ran


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_a_reader_that_is_gone_is_no_failure(made: Bench, command: str) -> None:
    gone = "{command} | true; exit ${{PIPESTATUS[0]}}"
    assert not attempt(made, command, Condition("reader gone", gone, speechless=True)).wrong
