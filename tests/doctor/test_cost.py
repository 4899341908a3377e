"""What the doctor costs, in seconds of CPU, its children's included: that is the same on a machine that is busy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows does not sum up the time of children"),
]
WITHOUT_TORCH = 0.3
BEYOND_IMPORT = 0.3


def cost(words: list[str], caches: Path, rounds: int = 4) -> float:
    """Give the least CPU time of some runs, the first of which fills the cache of compiled modules."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPYCACHEPREFIX": str(caches)}
    spent = []
    for _ in range(rounds):
        before = os.times()
        subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300, check=False)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(spent)


def test_the_doctor_costs_little_beside_torch(torch_python, tmp_path):
    doctor = [sys.executable, "-m", "torchcheck", "doctor", "--json", "--python", torch_python]
    alone = cost([*doctor, "--no-torch"], tmp_path)
    imported = cost([torch_python, "-c", "import torch"], tmp_path)
    whole = cost(doctor, tmp_path)
    assert alone <= WITHOUT_TORCH, alone
    assert whole <= imported + BEYOND_IMPORT, (whole, imported)
