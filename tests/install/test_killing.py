"""Killed at any moment, the target ends as it was or as planned."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_index import LocalIndex
from local_targets import contents, family, plan_of, run
from local_wheels import sympy_wheels, trio

from torchcheck.errors import UsageError
from torchcheck.install import apply, recover
from torchcheck.install.journal import place
from torchcheck.install.uv import program
from torchcheck.target import Target

HERE = Path(__file__).parent.parent
SEED = 20261124
WORKS = "import torch, torchvision, torchaudio; print(torch.__version__)"


@pytest.fixture(scope="module")
def large() -> Iterator[LocalIndex]:
    """Give two releases with some hundred files each, so that there are moments in their installation."""
    with LocalIndex() as index:
        index.add("whl/cpu", *trio("2.14.1", "0.29.1", "2.11.0", "cpu", bulk=200), *sympy_wheels()[::2])
        index.add("whl/cu130", *trio("2.15.0", "0.29.2", "2.11.0", "cu130", bulk=250), *sympy_wheels())
        index.add("whl/cu130", sympy_wheels()[1])
        yield index


def start(
    target: Target, index: LocalIndex, release: int, backend: str, installer: str = "pip"
) -> subprocess.Popen[str]:
    script = [sys.executable, str(HERE / "local_install.py")]
    argv = [*script, target.python, index.url(f"whl/{backend}"), str(release), backend, installer]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def kill(process: subprocess.Popen[str], *, children: bool = True) -> None:
    """End a process at once, and what it started."""
    family_ = psutil.Process(process.pid).children(recursive=True) if process.poll() is None and children else []
    process.kill()
    for child in family_:
        if child.is_running():
            child.kill()
    process.communicate()
    psutil.wait_procs(family_, timeout=10)


def wait_for(process: subprocess.Popen[str], phase: str) -> None:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.strip() == phase:
            return


def moments(number: int) -> list[tuple[str, float]]:
    """Choose when to kill: so many seconds after a phase began; most in the phase that changes the target."""
    chance = random.Random(SEED)
    phases = {"start": 1.6, "fetch": 1.2, "keep": 0.05, "change": 1.2}
    names = ["start", "change", "keep", "change", "change", "fetch", "change", "change"]
    return [(names[i % len(names)], chance.uniform(0, phases[names[i % len(names)]])) for i in range(number)]


def killed_at(moment: tuple[str, float], target: Target, index: LocalIndex, installer: str = "pip") -> str:
    """Kill an upgrade at a moment, let the next one recover, and say what is there."""
    before = contents(target)
    process = start(target, index, 1, "cu130", installer)
    if moment[0] != "start":
        wait_for(process, moment[0])
    time.sleep(moment[1])
    kill(process)
    story = recover(target)
    after = contents(target)
    differing = {name for name, _ in set(before.items()) ^ set(after.items())} - {"torchcheck-constraints.txt"}
    if not differing:
        assert run(target, WORKS) == "2.14.1+cpu"
        return "before, recovered" if story else "before"
    assert run(target, WORKS) == "2.15.0+cu130", (moment, story, sorted(differing)[:20])
    assert not [name for name in after if "2.14.1" in name or "~" in name or "+cpu" in name]
    return "planned"


def check_all(
    moments_: list[tuple[str, float]], target: Target, index: LocalIndex, installer: str = "pip"
) -> list[str]:
    start_plan = plan_of(target.python, family(0, "cpu"), "--index-url", index.url("whl/cpu"))
    ends = []
    for moment in moments_:
        apply(start_plan, target, installer=installer)  # type: ignore[arg-type]
        ends.append(killed_at(moment, target, index, installer))
        left = Path(place(target.paths["purelib"])).iterdir()
        assert [path.name for path in left] == ["lock"]
    return ends


def test_killed_at_five_moments_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    ends = check_all(moments(5), target, large)
    assert "before, recovered" in ends, "no moment fell into the change: the test proves nothing"


@pytest.mark.slow
def test_killed_at_25_moments_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    ends = check_all(moments(25), target, large)
    print(ends)
    assert ends.count("before, recovered") >= 5


@pytest.mark.slow
def test_killed_while_uv_installs_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    try:
        program()
    except UsageError as error:
        pytest.skip(error.message)
    chance = random.Random(SEED)
    ends = check_all([("change", chance.uniform(0, 0.35)) for _ in range(25)], target, large, "uv")
    print(ends)


@pytest.mark.slow
def test_an_installer_that_outlives_torchcheck_is_ended_and_undone(target: Target, large: LocalIndex) -> None:
    apply(plan_of(target.python, family(0, "cpu"), "--index-url", large.url("whl/cpu")), target)
    before = contents(target)
    process = start(target, large, 1, "cu130")
    wait_for(process, "change")
    kill(process, children=False)
    assert "what was there before is back" in str(recover(target))
    assert contents(target) == before
