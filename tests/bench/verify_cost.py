"""What `verify` costs, as a multiple of `import torch` in the same run: `python tests/bench/verify_cost.py PYTHON`.

Prints, for each level, wall-clock and processor time against those of the import (an interpreter that imports torch and
leaves at once, measured before and after), the share of each topic, and the slowest ten checks. The goal is one of
wall-clock time on two processors that do nothing else; two workers share the work, so processor time is the larger.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from torchcheck.verify import runner

GOALS = {"quick": 2.5, "default": 4.0, "full": 8.0}


def spent() -> float:
    """Processor seconds of all children that have ended, their own children included."""
    times = os.times()
    return times.children_user + times.children_system


def import_cost(python: str) -> tuple[float, float]:
    """Processor and wall-clock seconds of `import torch`, without the interpreter's teardown."""
    before, began = spent(), time.perf_counter()
    subprocess.run([python, "-c", "import os, torch; os._exit(0)"], check=True)
    return spent() - before, time.perf_counter() - began


def measure(python: str, level: str, skip: tuple[str, ...]) -> tuple[float, float, list[dict]]:
    """Processor and wall-clock seconds of one run, and its results."""
    results: list[dict] = []
    before, began = spent(), time.perf_counter()
    job = runner.Job(level=level, devices=("cpu",), skip=skip, timeout=600)
    runner.run(python, job, lambda event: results.append(event) if event["event"] == "result" else None)
    return spent() - before, time.perf_counter() - began, results


def main() -> None:
    """Measure from the command line; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--level", action="append", choices=tuple(GOALS))
    parser.add_argument("--skip", action="append", default=[], help="checks to leave out (compilation, the soak)")
    asked = parser.parse_args()
    python, missed = str(Path(asked.python).absolute()), False
    for level in asked.level or GOALS:
        imports = [import_cost(python) for _ in range(2)]
        cpu, wall, results = measure(python, level, tuple(asked.skip))
        imports += [import_cost(python) for _ in range(2)]
        base_cpu, base_wall = (statistics.median(column) for column in zip(*imports, strict=True))
        missed |= wall / base_wall > GOALS[level]
        print(f"\n{level}: {len(results)} results")
        print(f"  wall      {wall:.2f} s = {wall / base_wall:.2f} x import ({base_wall:.2f} s); goal {GOALS[level]} x")
        print(f"  processor {cpu:.2f} s = {cpu / base_cpu:.2f} x import ({base_cpu:.2f} s)")
        topics: Counter[str] = Counter()
        for result in results:
            topics[result["id"].partition(".")[0]] += result["seconds"]
        print("  topics    " + ", ".join(f"{topic} {seconds:.2f} s" for topic, seconds in topics.most_common()))
        for result in sorted(results, key=lambda r: -r["seconds"])[:10]:
            print(f"  {result['seconds']:8.3f} s  {result['id']} {result['dtype'] or ''}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
