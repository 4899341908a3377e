"""Killed at any moment, the target ends as it was or as planned."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
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
from torchcheck.wheels.plan import Plan

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
    return subprocess.Popen(argv, stdout=subprocess.PIPE, encoding="locale", env={**os.environ, "PYTHONPATH": path})


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


PHASES = ("start", "fetch", "keep", "change")
ORDER = ("start", "change", "keep", "change", "change", "fetch", "change", "change")


def moments(number: int, lengths: dict[str, float]) -> list[tuple[str, float]]:
    """Choose when to kill: so many seconds after a phase began, or shortly after its end; most in the last one."""
    chance = random.Random(SEED)
    names = [ORDER[i % len(ORDER)] for i in range(number)]
    return [(name, chance.uniform(0, 1.25 * lengths[name])) for name in names]


def measure(target: Target, index: LocalIndex, installer: str = "pip") -> dict[str, float]:
    """Let one upgrade run to its end, and tell how many seconds each phase takes on this machine."""
    apply(_older(target, index), target, installer=installer)  # type: ignore[arg-type]
    began, lengths = [time.monotonic()], {}
    process = start(target, index, 1, "cu130", installer)
    for phase in PHASES[1:]:
        wait_for(process, phase)
        began.append(time.monotonic())
    process.communicate()
    assert process.returncode == 0
    for phase, first, last in zip(PHASES, began, [*began[1:], time.monotonic()], strict=True):
        lengths[phase] = last - first
    return lengths


def _older(target: Target, index: LocalIndex) -> Plan:
    return plan_of(target.python, family(0, "cpu"), "--index-url", index.url("whl/cpu"))


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
    ends = []
    for moment in moments_:
        apply(_older(target, index), target, installer=installer)  # type: ignore[arg-type]
        ends.append(killed_at(moment, target, index, installer))
        left = Path(place(target.paths["purelib"])).iterdir()
        assert [path.name for path in left] == ["lock"]
    return ends


def test_killed_at_five_moments_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    ends = check_all(moments(5, measure(target, large)), target, large)
    assert "before, recovered" in ends, "no moment fell into the change: the test proves nothing"


@pytest.mark.slow
def test_killed_at_25_moments_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    ends = check_all(moments(25, measure(target, large)), target, large)
    print(Counter(ends))
    assert ends.count("before, recovered") >= 5
    assert "planned" in ends


@pytest.mark.slow
def test_killed_while_uv_installs_it_ends_as_before_or_as_planned(target: Target, large: LocalIndex) -> None:
    try:
        program()
    except UsageError as error:
        pytest.skip(error.message)
    ends = check_all(moments(25, measure(target, large, "uv")), target, large, "uv")
    print(Counter(ends))
    assert "before, recovered" in ends
    assert "planned" in ends


@pytest.mark.slow
def test_an_installer_that_outlives_torchcheck_is_ended_and_undone(target: Target, large: LocalIndex) -> None:
    apply(_older(target, large), target)
    before = contents(target)
    process = start(target, large, 1, "cu130")
    wait_for(process, "change")
    kill(process, children=False)
    assert "what was there before is back" in str(recover(target))
    assert contents(target) == before
