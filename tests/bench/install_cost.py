"""What the transaction adds to bare pip, same wheels, same index, warm cache: `python tests/bench/install_cost.py`.

Prints, for a first installation and for an upgrade, seconds on the clock and of the processor (children included; that
is what counts on a busy machine): bare `pip install`, then `apply`; and `apply` with nothing to do. Medians of ROUNDS.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from local_index import LocalIndex  # noqa: E402
from local_targets import family, plan_of, python_in, target_of  # noqa: E402
from local_wheels import sympy_wheels, trio  # noqa: E402

from torchcheck.install import apply  # noqa: E402
from torchcheck.target import Target  # noqa: E402
from torchcheck.wheels.plan import Plan  # noqa: E402

ROUNDS = 5
FILES = 400


def main() -> None:
    for name in list(os.environ):
        if name.startswith("PIP_"):
            del os.environ[name]
    os.environ["PIP_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as folder, LocalIndex() as index:
        os.environ["PIP_CACHE_DIR"] = f"{folder}/cache"
        index.add("whl/cpu", *trio("2.14.1", "0.29.1", "2.11.0", "cpu", bulk=FILES), *sympy_wheels())
        index.add("whl/cu130", *trio("2.15.0", "0.29.2", "2.11.0", "cu130", bulk=FILES), *sympy_wheels())
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/bare"], check=True)
        times: dict[str, list[tuple[float, float]]] = {}
        for turn in range(ROUNDS + 1):
            for kind in JOBS:
                one_round(Path(folder), index, kind, times if turn else {})  # the first fills the cache
    for what, measured in times.items():
        wall, cpu = (median(values) for values in zip(*measured, strict=True))
        print(f"{what:32} {wall:7.3f} s on the clock {cpu:7.3f} s of the processor")


def one_round(folder: Path, index: LocalIndex, kind: str, times: dict[str, list[tuple[float, float]]]) -> None:
    env = folder / "env"
    shutil.rmtree(env, ignore_errors=True)
    shutil.copytree(folder / "bare", env, symlinks=True)
    target = target_of(python_in(env))
    for what, release, backend in (("first", 0, "cpu"), ("upgrade", 1, "cu130"), ("nothing to do", 1, "cu130")):
        plan = plan_of(target.python, family(release, backend), "--index-url", index.url(f"whl/{backend}"))
        times.setdefault(f"{what}, {kind}", []).append(measure(partial(JOBS[kind], plan, target)))


def bare(plan: Plan, _target: Target) -> None:
    subprocess.run([*plan.command, "-q", "--disable-pip-version-check"], check=True)


JOBS: dict[str, Callable[[Plan, Target], object]] = {"bare pip": bare, "apply": apply}


def measure(job: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), used()
    job()
    return time.perf_counter() - wall, used() - cpu


def used() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
