"""What a run over ranks costs: `python tests/bench/fleet_cost.py PYTHON [RANKS…]`, wall-clock and processor seconds.

Each line is one `verify --nproc N --quick --select 'distributed.*'` on this machine, gloo on the CPU; processor time is
that of all processes together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure(python: str, ranks: int) -> None:
    argv = [sys.executable, "-m", "torchcheck", "verify", "--python", python, "--nproc", str(ranks)]
    before, began = os.times(), time.perf_counter()
    ran = subprocess.run(
        [*argv, "--quick", "--select", "distributed.*", "--json"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": ""},
    )
    after, seconds = os.times(), time.perf_counter() - began
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    data = json.loads(ran.stdout)["data"]
    print(f"{ranks:3} ranks: {seconds:6.1f} s, {spent:6.1f} s of processors, {data['verdict']}, {data['counts']}")


if __name__ == "__main__":
    for number in map(int, sys.argv[2:] or (1, 2, 4, 8)):
        measure(str(Path(sys.argv[1]).absolute()), number)
