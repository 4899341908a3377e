"""Run checks and print them, for whoever writes them: `python tests/run_checks.py PYTHON [GLOB…] [--full] [-v]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from torchcheck.verify import runner

QUIET = ("pass", "skip")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("select", nargs="*")
    parser.add_argument("--level", default="default", choices=("quick", "default", "full"))
    parser.add_argument("--device", action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--slowest", type=int, default=5)
    parser.add_argument("-v", action="store_true", dest="verbose")
    asked = parser.parse_args()
    job = runner.Job(
        level=asked.level,
        devices=tuple(asked.device or ("all",)),
        select=tuple(asked.select),
        seed=asked.seed,
        threads=asked.threads,
    )
    results = []

    def show(event: dict) -> None:
        if event["event"] == "result":
            results.append(event)
            if asked.verbose or event["status"] not in QUIET:
                where = "/".join(filter(None, (event["device"], event["dtype"])))
                print(f"{event['status']:7} {event['id']} [{where}] {event['seconds']:.3f}s  {event['detail']}")
        elif event["event"] == "bye":
            counts = {status: sum(r["status"] == status for r in results) for status in {r["status"] for r in results}}
            print(counts, f"{event['seconds']} s", event["notes"])

    runner.run(str(Path(asked.python).absolute()), job, show)
    for result in sorted(results, key=lambda r: -r["seconds"])[: asked.slowest]:
        print(f"  {result['seconds']:.3f} s {result['id']} {result['dtype'] or ''}")
    sys.exit(any(r["status"] not in (*QUIET, "known") for r in results))


if __name__ == "__main__":
    main()
