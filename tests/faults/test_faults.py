"""verify notices what is planted in torch: some faults through the whole of it, the corpus behind --slow."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("faults_run", HERE / "run.py")
faults = importlib.util.module_from_spec(spec)
sys.modules["faults_run"] = faults
spec.loader.exec_module(faults)

CORPUS = faults.corpus()
VISIBLE = [name for name, about in CORPUS.items() if not about.get("unseen")]
REPRESENTATIVE = {
    "products.mm_tf32": ("matmul",),
    "activations.relu_backward_scaled": ("activations.relu",),
    "autograd.accumulation_lost": ("backprop",),
    "layers.mse_factor": ("losses", "backprop"),
    "optimizers.sgd_momentum_sign": ("optimizers.sgd",),
    "schedules.step_off_by_one": ("schedules",),
    "training.scaler_no_skip": ("training",),
}


@pytest.fixture(scope="session")
def plantable(torch_python):
    """Give the interpreter, if its torch hands out kernels (2.9 and later)."""
    asked = [torch_python, "-c", "import torch; torch.library.get_kernel"]
    if subprocess.run(asked, check=False, capture_output=True, timeout=120).returncode:
        pytest.skip("this torch is older than torch.library.get_kernel: compiled kernels cannot be replaced")
    return torch_python


def test_the_corpus_covers_every_group():
    groups = {name.partition(".")[0] for name in VISIBLE}
    assert groups == set(faults.TOPICS)
    assert len(VISIBLE) >= 70
    assert all(about["what"] for about in CORPUS.values())


@pytest.mark.torch
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_planted_fault_is_noticed_and_a_sound_torch_is_not_accused(plantable, name):
    verdict = faults.try_fault(plantable, name, select=REPRESENTATIVE[name])
    assert verdict.planted == "planted"
    assert verdict.noticed
    assert "BrokenError" not in verdict.noticed[0]


@pytest.mark.torch
def test_without_a_fault_nothing_is_noticed(plantable):
    topics = {topic for topics in REPRESENTATIVE.values() for topic in topics} - {"training"}
    verdict = faults.try_fault(plantable, "", select=tuple(topics))
    assert verdict.noticed == []
    assert verdict.compared > 50


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the faults share one interpreter by fork(2)")
def test_the_whole_corpus_is_noticed(plantable):
    job = {"level": "default", "jobs": 2}
    # What README counts of the strangers is a measure of the unforeseen, no promise.
    promised = [name for name in VISIBLE if not name.startswith("strangers.")]
    shallow = [name for name in promised if CORPUS[name].get("level") != "full"]
    missed = [name for name, verdict in faults.try_forked(plantable, shallow, job) if not verdict.noticed]
    assert missed == []
