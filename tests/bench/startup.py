"""Measure what `torchcheck --help` costs over bare Python: `python tests/bench/startup.py`.

Runs the two in turn, so that a drifting machine bears on both alike, and prints medians and their difference.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 21
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "torchcheck --help": [sys.executable, "-m", "torchcheck", "--help"],
}


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, argv in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(1000 * (time.perf_counter() - began))
    bare = statistics.median(taken["python -c pass"])
    for name, times in taken.items():
        middle = statistics.median(times)
        print(f"{name:28} {middle:7.1f} ms   {middle - bare:+7.1f} ms over bare Python   {middle / bare:5.2f} x")


if __name__ == "__main__":
    main()
