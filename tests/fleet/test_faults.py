"""A run over ranks notices what is planted in torch.distributed, and accuses no sound torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FAULTS = re.findall(r"^@fault\ndef (\w+)", (HERE / "planted.py").read_text(encoding="utf-8"), re.MULTILINE)
SOME = ["", "all_reduce_one_rank_keeps_its_own", "reduce_scatter_neighbour", "ddp_first_bucket_alone"]
pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform == "win32", reason="the ranks are forks of one interpreter"),
]


def attempt(python, names, ranks=3, timeout=900):
    """Give what was noticed of each fault."""
    ran = subprocess.run(
        [python, str(HERE / "wrong.py"), *names],
        env={**os.environ, "TORCHCHECK_RANKS": str(ranks)},
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return {told["fault"]: told for told in map(json.loads, ran.stdout.splitlines())}


def test_some_faults_are_noticed_and_a_sound_torch_is_not_accused(gloo_python):
    told = attempt(gloo_python, SOME)
    assert told[""]["noticed"] == ""
    assert told[""]["checks"] > 200
    assert "all_reduce" in told["all_reduce_one_rank_keeps_its_own"]["noticed"]
    assert told["reduce_scatter_neighbour"]["noticed"].startswith("distributed.reduce_scatter_lists")
    assert told["ddp_first_bucket_alone"]["noticed"].startswith("distributed.ddp ")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4, 5, 7])
def test_a_sound_torch_is_right_over_any_number_of_ranks(gloo_python, ranks):
    """With seven, what is divided by the number of ranks is not exact."""
    assert attempt(gloo_python, [""], ranks)[""]["noticed"] == ""


@pytest.mark.slow
def test_every_planted_fault_is_noticed(gloo_python):
    told = attempt(gloo_python, FAULTS)
    missed = [name for name, one in told.items() if not one["noticed"] or " broken: " in one["noticed"]]
    assert len(told) == len(FAULTS) > 75
    assert missed == []
