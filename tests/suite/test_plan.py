"""In which order checks run, and whether only those that are said to import torch's compiler do."""

from __future__ import annotations

import json
import subprocess

import pytest

from torchcheck.suite import plan
from torchcheck.suite.registry import all_checks
from torchcheck.verify.process import SCRIPT

# Everything that is not in COMPILING, in one process; prints the checks after which the compiler was there.
ALONE = """
import importlib.util, json, sys, warnings
spec = importlib.util.spec_from_file_location("torchcheck_worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = worker
spec.loader.exec_module(worker)
worker.enter_island()
import torch
warnings.simplefilter("ignore")
job = {"level": "default", "devices": ["cpu"], "seed": 0}
work = worker.Worker(sys.stdout, job)
found = []
for item in work.plan.items(work.chosen, ["cpu"]):
    if item.check.id in work.plan.PREPARATION or work.plan.matches(item.check.id, work.plan.COMPILING):
        continue
    work.trial.run(item, torch, job)
    if "torch._dynamo" in sys.modules:
        found.append(item.check.id)
        break
sys.stderr.write("FOUND" + json.dumps(found))
sys.stderr.flush()
import os
os._exit(0)
"""


def items(*devices: str) -> list[plan.Item]:
    return plan.ordered(plan.items(plan.choose(all_checks(), level="full"), devices))


def test_accelerators_come_first_and_the_compiler_last() -> None:
    ran = items("cpu", "cuda:0")
    on_cpu = [item.device == "cpu" for item in ran]
    assert on_cpu == sorted(on_cpu)
    compiling = [plan.matches(item.check.id, plan.COMPILING) for item in ran if item.device == "cpu"]
    assert compiling == sorted(compiling)
    assert any(compiling)
    assert not all(compiling)


def test_what_takes_long_is_not_where_two_workers_meet() -> None:
    long = [item.check.timeout is not None for item in items("cpu")]
    first, last = long.index(False), len(long) - long[::-1].index(False)
    assert all(long[:first])
    assert not any(long[first:last])
    assert all(long[last:])
    assert 0 < first < last < len(long)


def test_ordering_loses_nothing() -> None:
    made = plan.items(plan.choose(all_checks(), level="full"), ["cpu"])
    assert sorted(map(str, plan.ordered(made))) == sorted(map(str, made))


@pytest.mark.slow
def test_only_the_checks_at_the_end_import_the_compiler(torch_python: str) -> None:
    ran = subprocess.run([torch_python, "-c", ALONE, str(SCRIPT)], capture_output=True, encoding="locale", check=True)
    assert json.loads(ran.stderr.rpartition("FOUND")[2]) == []
