"""Run verify on sound machines until something is accused: `python tests/faults/alarms.py PYTHON [PYTHON…] --runs 200`.

Each run has a seed, a number of threads, an instruction set and an interpreter of its own; all combinations come round
before one comes again. What is neither pass nor known nor skipped is printed with what brings it back. Exit code 1 when
there was any. Every run goes on to its end, so that one alarm does not hide another.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
from torchcheck.verify import runner  # noqa: E402 - the sources beside this file

GOOD = ("pass", "known", "skip")
ISA = ("", "default", "avx2", "avx512")
"""Values of ATEN_CPU_CAPABILITY; "" leaves the choice to torch."""


@dataclass(frozen=True)
class Setting:
    """What differs from run to run."""

    capability: str
    threads: int
    python: str

    def __str__(self) -> str:
        """Write it as what to type before `torchcheck verify`."""
        capability = f"ATEN_CPU_CAPABILITY={self.capability} " if self.capability else ""
        return f"{capability}OMP_NUM_THREADS={self.threads} --python {self.python}"


def settings(pythons: list[str]) -> list[Setting]:
    """Give every combination."""
    return [Setting(*rest, python) for *rest, python in itertools.product(ISA, (1, 2), pythons)]


def accused(setting: Setting, level: str, seed: int, skip: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Run once; give how many checks ended, and a line for each that accuses this machine."""
    for name, value in (("ATEN_CPU_CAPABILITY", setting.capability), ("OMP_NUM_THREADS", str(setting.threads))):
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
    counts: Counter[str] = Counter()
    lines: list[str] = []

    def watch(event: dict) -> None:
        if event["event"] == "result":
            counts[event["status"]] += 1
            if event["status"] not in GOOD:
                measured = f"{event.get('measured')} against {event.get('bound')} {event.get('unit')}"
                lines.append(f"{event['id']} {event.get('dtype')}: {event['status']} {measured}: {event['detail']}")

    runner.run(setting.python, runner.Job(level=level, seed=seed, threads=setting.threads, skip=skip), watch)
    return counts.total(), lines


def main() -> int:
    """Run from the command line; exit code 1 after an alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--level", choices=("quick", "default", "full"), default="default")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first run")
    parser.add_argument("--skip", nargs="*", default=[], metavar="GLOB", help="what is known to be broken there")
    asked = parser.parse_args()
    alarms, checks, began = 0, 0, time.monotonic()
    every = itertools.islice(itertools.cycle(settings(asked.pythons)), asked.runs)
    for number, setting in enumerate(every):
        ended, lines = accused(setting, asked.level, asked.first + number, tuple(asked.skip))
        checks += ended
        print(f"{number + 1} of {asked.runs} runs, {alarms} with an alarm", end="\r", file=sys.stderr)
        alarms += bool(lines)
        for line in lines:
            print(f"seed {asked.first + number}, {setting}\n  {line}", flush=True)
    took = time.monotonic() - began
    print(f"{asked.runs} runs at level {asked.level}, {checks} checks in {took:.0f} s: {alarms} runs with an alarm")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
