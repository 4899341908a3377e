"""Plant faults in a stock torch and see whether verify notices: `python tests/faults/run.py PYTHON [GLOB…]`.

    python tests/faults/run.py …/bin/python 'optimizers.*'           which check notices each fault first
    python tests/faults/run.py …/bin/python layers.mse_factor --all  every check that notices
    python tests/faults/run.py …/bin/python NAME --isolated          through the whole of `verify`, as a user's machine
    python tests/faults/run.py …/bin/python --mutants 'mm*'          operators by name, each wrong by a little
    python tests/faults/run.py …/bin/python --readme [--mutants]     all of them, and the table in README.md

torch itself is never touched: a fault is planted in a process that has just imported it. Faults share one interpreter,
which forks for each (forked.py; not on Windows); `--isolated` gives each the whole of `verify` (planting.py).
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
from local_after import after_torch  # noqa: E402 - the sources beside this file

from torchcheck.verify import runner  # noqa: E402 - the sources beside this file

KINDS = {
    "uniform": "every element times 1 + 1e-4",
    "lane": "one element in 1,000 (the first) off by 1e-3",
    "inner": "one element in 1,000 (the 518th) off by 1e-3",
}
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
        changed: results in which a mutant changed a number (None for other faults).
    """

    planted: str
    noticed: list[str]
    compared: int
    seconds: float
    changed: int | None = None


def try_fault(
    python: str, name: str, *, level: str = "default", select: tuple[str, ...] = (), everything: bool = False
) -> Verdict:
    """Run verify in `python` with one fault planted ("" for none)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        env = {**os.environ, **after_torch(HERE / "planting.py"), "TORCHCHECK_FAULT": name}
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


def corpus() -> dict[str, dict]:
    """Read the table of faults without torch: names, words and options stand in the source."""
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


# Where a fault of a group is likely to show: those checks run first, so that a noticed fault costs little.
TOPICS = {
    "activations": ["activations"],
    "autograd": ["autograd", "movement", "reductions", "backprop"],
    "layers": ["normalisation", "losses", "attention", "layers", "recurrent"],
    "optimizers": ["optimizers", "rates"],
    "products": ["matmul", "convolution", "pooling", "backprop"],
    "schedules": ["schedules", "rates"],
    "training": ["training", "randomness", "precision", "data"],
    "elements": ["activations", "arithmetic", "movement", "conversions"],
    "spatial": ["convolution", "pooling", "normalisation", "resampling", "embedding", "movement"],
    "algebra": ["matmul", "reductions", "linalg", "movement"],
    "tapes": ["autograd", "derivatives", "modules"],
    "targets": ["losses"],
    "sequences": ["recurrent", "attention", "transformer", "activations"],
    "data": ["training", "optimizers", "randomness"],
    "strangers": ["variations", "selection", "layer_options", "training"],
    "outsiders": ["activations", "graphs", "sizes", "upstream", "accumulation", "dimensions", "pairs"],
    "visitors": ["optimizers", "schedules", "constraints", "states", "transforms", "training"],
}


def ask(python: str, job: dict) -> Iterator[dict]:
    """Give forked.py a job in the target interpreter and read its answers."""
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    argv = [python, str(HERE / "forked.py")]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as process:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.close()
        yield from map(json.loads, process.stdout)


def try_forked(python: str, names: list[str], job: dict) -> Iterator[tuple[str, Verdict]]:
    """Try faults in forks of one interpreter; what the sound torch fails already counts for none of them."""
    (sound,) = ask(python, {**job, "faults": [""], "everything": True})
    if sound["noticed"]:
        print("the sound torch fails:", *sound["noticed"], sep="\n  ")
    job = {**job, "faults": names, "ignore": sound["keys"]}
    job.setdefault("first", {name: TOPICS.get(name.partition(".")[0], []) for name in names})
    for answer in ask(python, job):
        told = (answer["planted"], answer["noticed"], answer["compared"], answer["seconds"], answer.get("changed"))
        yield answer["fault"], Verdict(*told)


def mutants(python: str, globs: list[str], job: dict) -> dict[str, list]:
    """Name the mutants of every operator that the suite calls, each with the checks that call it."""
    (recorded,) = ask(python, {**job, "record": True})
    chosen = {
        op: keys
        for op, keys in recorded["operators"].items()
        if any(fnmatch.fnmatchcase(op.removeprefix("aten::"), g) for g in globs)
    }
    return {f"mutant:{op}:{kind}": keys for op, keys in sorted(chosen.items()) for kind in KINDS}


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


def write_readme(part: str, text: str) -> None:
    """Put text between the marks of a part of README.md."""
    path = HERE / "README.md"
    head, _, rest = path.read_text(encoding="utf-8").partition(f"<!-- {part} -->")
    tail = rest.partition(f"<!-- end of {part} -->")[2]
    path.write_text(f"{head}<!-- {part} -->\n{text}\n<!-- end of {part} -->{tail}", encoding="utf-8")


def main() -> None:
    """Run from the command line; exit code 1 when a visible fault was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument(
        "faults", nargs="*", default=["*"], help="globs over their names (of operators, with --mutants)"
    )
    parser.add_argument(
        "--all", action="store_true", dest="everything", help="go on after the first check that notices"
    )
    parser.add_argument("--level", default="default", choices=("quick", "default", "full"))
    parser.add_argument("--select", action="append", default=[], help="only these checks")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--isolated", action="store_true")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--readme", action="store_true")
    asked = parser.parse_intermixed_args()
    python = str(Path(asked.python).absolute())
    job = {"level": asked.level, "jobs": asked.jobs, "everything": asked.everything, "select": asked.select}
    missed = (run_mutants if asked.mutants else run_corpus)(python, asked, job)
    sys.exit(bool(missed))


def run_corpus(python: str, asked: argparse.Namespace, job: dict) -> list[str]:
    """Try faults, print a line each, and give the names of the visible ones that were missed."""
    faults = corpus()
    names = [name for name in faults if any(fnmatch.fnmatchcase(name, glob) for glob in asked.faults)]
    deep = [name for name in names if faults[name].get("level") == "full" and asked.level != "full"]
    tried = _each(python, [n for n in names if n not in deep], job, asked)
    tried |= _each(python, deep, {**job, "level": "full"}, asked) if deep else {}
    rows = {name: (faults[name], tried[name]) for name in names}
    visible = [name for name in names if not faults[name].get("unseen")]
    missed = [name for name in visible if not rows[name][1].noticed]
    print(summary := f"{len(visible) - len(missed)} of {len(visible)} visible faults noticed", *missed, sep="\n  ")
    if asked.readme:
        write_readme("corpus", f"{summary} at level `{asked.level}`.\n\n{table(rows)}")
    return missed


def _each(python: str, names: list[str], job: dict, asked: argparse.Namespace) -> dict[str, Verdict]:
    if asked.isolated:
        options = {"level": job["level"], "select": tuple(asked.select), "everything": asked.everything}
        answers = ((name, try_fault(python, name, **options)) for name in names)
    else:
        answers = try_forked(python, names, job)
    tried = {}
    for name, verdict in answers:
        tried[name] = verdict
        print(_line(name, verdict, everything=asked.everything), flush=True)
    return tried


# What no check can see, whatever it compares.
UNSEEN = {
    "empty": "memory that nobody has written to yet",
    "new_empty": "memory that nobody has written to yet",
    "set_": "no numbers of its own: the memory of another tensor",
    "_efficientzerotensor": "zeros that are never stored",
    "_foreach_sign_": "only the sign of a sign is used",
    "_foreach_add.Scalar": "Adadelta, which alone calls it, divides two of its results: the factor cancels",
}


def run_mutants(python: str, asked: argparse.Namespace, job: dict) -> list[str]:
    """Try the mutations of the operators that were asked for; print the survivors and give their names."""
    found = mutants(python, asked.faults, job)
    rows: dict[str, dict[str, list[str]]] = {kind: {"noticed": [], "survived": [], "unseen": []} for kind in KINDS}
    tried = dict(try_forked(python, list(found), {**job, "only": found}))
    # Operators also call each other past the dispatcher's ear: what survived meets the whole suite.
    again = [name for name, verdict in tried.items() if _column(name.split(":")[3], verdict) == "survived"]
    tried |= dict(try_forked(python, again, job)) if again else {}
    for name, verdict in tried.items():
        operator, _, kind = name.removeprefix("mutant:aten::").rpartition(":")
        column = _column(operator, verdict)
        rows[kind][column].append(operator)
        if column == "survived":
            print(_line(name, verdict, everything=False), flush=True)
    lines = ["| mutation | of every result | noticed | of | not noticed |", "|---|---|---|---|---|"]
    for kind, row in rows.items():
        names = ", ".join(f"`{name}`" for name in row["survived"])
        noticed, survived = len(row["noticed"]), len(row["survived"])
        share = f" ({100 * noticed / max(noticed + survived, 1):.1f} %)"
        lines.append(f"| {kind} | {KINDS[kind]} | {noticed}{share} | {noticed + survived} | {names} |")
    print(*lines, sep="\n")
    if asked.readme:
        reasons = ", ".join(f"`{name}` ({why})" for name, why in UNSEEN.items())
        write_readme("mutants", "\n".join([*lines, "", f"Left out, since nothing can show: {reasons}."]))
    return rows["uniform"]["survived"] + rows["lane"]["survived"]


def _column(operator: str, verdict: Verdict) -> str:
    """Sort a mutant; one that changed no number (zeros, views, a kernel that nothing reaches) is not to be seen."""
    if verdict.noticed:
        return "noticed"
    base = operator.partition(".")[0]
    hidden = (
        not verdict.changed
        or operator in UNSEEN
        or any(base in (name, f"{name}_like", f"{name}_strided") for name in UNSEEN)
    )
    return "unseen" if hidden else "survived"


def _line(name: str, verdict: Verdict, *, everything: bool) -> str:
    if verdict.planted != "planted":
        return f"NOT PLANTED {name}: {verdict.planted.strip().splitlines()[-1]}"
    if not verdict.noticed:
        return f"MISSED   {name} ({verdict.compared} checks, {verdict.seconds} s)"
    shown = verdict.noticed if everything else verdict.noticed[:1]
    return f"noticed  {name} ({verdict.seconds} s)\n" + "\n".join(f"           {text[:220]}" for text in shown)


if __name__ == "__main__":
    main()
