"""Plant faults in a stock torch and see whether verify notices: `python tests/faults/run.py PYTHON [GLOB…]`.

Each fault gets a process of its own, with tests/faults/hook on its PYTHONPATH; torch itself is not touched.

    python tests/faults/run.py …/bin/python 'optimizers.*'      one line a fault: which check noticed it first
    python tests/faults/run.py …/bin/python losses.mse --all    every check that notices
    python tests/faults/run.py …/bin/python --readme            the whole corpus, and the table in README.md
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]
from torchcheck.verify import runner

BAD = ("fail", "error", "crash", "timeout")


class Noticed(KeyboardInterrupt):
    """Ends a run whose question is answered, the way Ctrl-C does."""


@dataclass
class Verdict:
    """What became of one fault.

    Attributes:
        planted: "planted", or why it could not be.
        noticed: the checks that failed, first one first.
        compared: how many checks passed or failed.
        seconds: of the run.
    """

    planted: str
    noticed: list[str]
    compared: int
    seconds: float


def try_fault(
    python: str, name: str, *, level: str = "default", select: tuple[str, ...] = (), everything: bool = False
) -> Verdict:
    """Run verify in `python` with one fault planted ("" for none)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        paths = [str(HERE / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TORCHCHECK_FAULT": name}
        env["TORCHCHECK_FAULT_REPORT"] = str(report)
        verdict = Verdict("planted" if not name else "torch was not imported", [], 0, 0.0)

        def watch(event: dict) -> None:
            if event["event"] == "bye":
                verdict.seconds = event["seconds"]
            if event["event"] != "result":
                return
            verdict.compared += event["status"] in ("pass", *BAD)
            if event["status"] in BAD and not verdict.noticed:
                verdict.noticed.append(_told(event))
                if not everything:
                    raise Noticed
            elif event["status"] in BAD:
                verdict.noticed.append(_told(event))

        runner.run(python, runner.Job(level=level, devices=("cpu",), select=select, timeout=60), watch, env=env)
        if report.exists():
            verdict.planted = report.read_text(encoding="utf-8")
    return verdict


def _told(event: dict) -> str:
    return event["id"] + (f"[{event['dtype']}]" if event["dtype"] else "") + f" {event['status']}: {event['detail']}"


def corpus() -> dict:
    """Read the table of faults without torch: its modules are asked for their functions' names and words alone."""
    import ast

    found = {}
    for path in sorted((HERE / "planted").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            marks = [
                d for d in getattr(node, "decorator_list", []) if getattr(getattr(d, "func", None), "id", "") == "fault"
            ]
            if marks:
                options = {k.arg: ast.literal_eval(k.value) for k in marks[0].keywords}
                found[f"{path.stem}.{node.name}"] = {"what": ast.get_docstring(node), **options}
    return found


def table(rows: dict[str, tuple[dict, Verdict]]) -> str:
    """Make README's table: one row a group, and below it every fault with the check that noticed it."""
    groups: dict[str, list[tuple[str, dict, Verdict]]] = {}
    for name, (about, verdict) in rows.items():
        groups.setdefault(name.partition(".")[0], []).append((name, about, verdict))
    lines = ["| group | faults | noticed |", "|---|---|---|"]
    for group, faults in groups.items():
        visible = [f for f in faults if not f[1].get("unseen")]
        lines.append(f"| {group} | {len(visible)} | {sum(bool(f[2].noticed) for f in visible)} |")
    for group, faults in groups.items():
        lines += ["", f"### {group}", "", "| fault | what is wrong | noticed first by |", "|---|---|---|"]
        for name, about, verdict in faults:
            first = verdict.noticed[0].partition(" ")[0] if verdict.noticed else ""
            missed = f"— not visible: {about['unseen']}" if about.get("unseen") else "**not noticed**"
            lines.append(f"| {name.partition('.')[2]} | {about['what']} | {f'`{first}`' if first else missed} |")
    return "\n".join(lines)


def write_readme(rows: dict[str, tuple[dict, Verdict]], about: str) -> None:
    """Put the table between the marks in README.md."""
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- corpus -->")
    tail = rest.partition("<!-- end of corpus -->")[2]
    made = f"{head}<!-- corpus -->\n{about}\n\n{table(rows)}\n<!-- end of corpus -->{tail}"
    path.write_text(made, encoding="utf-8")


def main() -> None:
    """Run from the command line; exit code 1 when a visible fault was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("faults", nargs="*", default=["*"], help="globs over their names")
    parser.add_argument(
        "--all", action="store_true", dest="everything", help="go on after the first check that notices"
    )
    parser.add_argument("--level", default="default", choices=("quick", "default", "full"))
    parser.add_argument("--select", action="append", default=[], help="only these checks")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--readme", action="store_true")
    asked = parser.parse_args()
    python, faults = str(Path(asked.python).absolute()), corpus()
    names = [n for n in faults if any(fnmatch.fnmatchcase(n, glob) for glob in asked.faults)]
    lock, rows = threading.Lock(), {}

    def one(name: str) -> None:
        about = faults[name]
        level = "full" if about.get("level") == "full" else asked.level
        verdict = try_fault(python, name, level=level, select=tuple(asked.select), everything=asked.everything)
        with lock:
            rows[name] = (about, verdict)
            print(_line(name, about, verdict, everything=asked.everything), flush=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(one, names))
    visible = [n for n in names if not faults[n].get("unseen")]
    missed = [n for n in visible if not rows[n][1].noticed]
    summary = f"{len(visible) - len(missed)} of {len(visible)} visible faults noticed"
    print(summary, *missed, sep="\n  ")
    if asked.readme:
        write_readme({n: rows[n] for n in names}, f"{summary}, level `{asked.level}`.")
    sys.exit(bool(missed))


def _line(name: str, about: dict, verdict: Verdict, *, everything: bool) -> str:
    if verdict.planted != "planted":
        return f"NOT PLANTED {name}: {verdict.planted.strip().splitlines()[-1]}"
    if not verdict.noticed:
        return (
            f"{'unseen' if about.get('unseen') else 'MISSED':8} {name} ({verdict.compared} checks, {verdict.seconds} s)"
        )
    shown = verdict.noticed if everything else verdict.noticed[:1]
    return f"noticed  {name} ({verdict.seconds} s)\n" + "\n".join(f"           {text[:220]}" for text in shown)


if __name__ == "__main__":
    main()
