"""Many ranks that only speak the protocol gather in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SIMULATION = Path(__file__).with_name("simulation.py")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(sys.platform == "win32", reason="a thousand sockets in one process: Windows' limits differ")
@pytest.mark.parametrize("world", [50, 1000])
def test_every_report_arrives_once_and_soon(gloo_python, world):
    ran = subprocess.run(
        [gloo_python, str(SIMULATION), str(world)], check=False, timeout=400, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    assert (told["arrived"], told["reported"], told["missing"], told["codes"]) == (world, world, 0, [0, 0])
    assert told["gather_seconds"] + told["verdict_seconds"] < 30
