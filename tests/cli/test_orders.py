"""An order to end is heeded wherever it comes, and the exit code says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no SIGTERM to send", allow_module_level=True)

COMMAND = """
import os, signal, sys, time

from torchcheck import cli
from torchcheck.cli import ending

with open(os.devnull, "w") as sys.stdout:  # all that is said in the end is loaded: loading runs strings too
    ending.explain(KeyboardInterrupt(), ["verify", "--json"])
sys.stdout = sys.__stdout__

def tell():
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass

class Dying:
    def __del__(self):
        tell()

def run(*words, **options):
    HOW
    time.sleep(20)
    return 0

cli.command.main = run
cli.main(["verify", "--json"])
"""


@pytest.mark.parametrize(
    "how",
    ["tell()", "Dying()", "exec('tell()')", "sys.exit(tell())"],
    ids=["at work", "in a destructor", "while a string is run", "at its end"],
)
def test_an_order_is_heeded_wherever_it_comes(tmp_path: Path, how: str) -> None:
    (tmp_path / "ordered.py").write_text(COMMAND.replace("HOW", how), encoding="utf-8")
    # With -m: so the interpreter ends by SIGINT, whatever the exit code, if it holds an interruption for unhandled.
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": root}
    argv = [sys.executable, "-m", "ordered"]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 130, ran.stderr
    assert "Traceback" not in ran.stderr
    assert json.loads(ran.stdout)["exit_code"] == 130
