"""The checks on a device that is not the CPU: every operand is where it should be, every result is fetched."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from local_after import after_torch

from torchcheck.verify import runner

BACKEND = Path(__file__).parent / "other_backend.py"
REGISTERS = "from torch.utils.backend_registration import _setup_privateuseone_for_python_backend"
LACKING = {
    "activations.hardsigmoid.*": "the CPU's kernels, which it uses, have a known defect there",
    "activations.celu.*": "likewise",
    "activations.silu.backward": "made of simpler operators there, each of which rounds",
    "activations.mish.backward": "likewise",
    "complexes.*": "its tensors do not carry the flag of a conjugate",
    "graphs.asked_for": "it has no rule for a batch of gradients",
    "graphs.assigned": "its fill_ takes no tensor that has a gradient",
    "graphs.draws_again": "it has no random generator",
    "graphs.hook_rules": "its process does not end in order after a backward pass inside another",
    "graphs.inside_modes": "it has no inference tensors",
    "graphs.packed": "its process does not end in order after an error inside backward",
    "graphs.*segment*": "it has no autocast, which checkpoints look at",
    "graphs.versions": "its foreach functions do not count versions",
    "layer_options.hidden": "it has no nested tensors",
    "states.changes": "its parameters are of its own class of tensors",
    "states.loading": "likewise",
    "transforms.levels": "it has no forward mode",
    "transforms.products": "likewise",
    "wrappers.normed_weights": "the data of a tensor cannot be exchanged",
    "wrappers.rewrites": "likewise",
    "pruning.*.prunes": "likewise",
    "wrappers.segments": "its process does not end in order after a backward pass inside another",
    "recurrent.*": "the fused cells have a kernel for CUDA and XPU alone",
    "devices.creation": "a backend in Python does not make tensors out of Python's numbers",
    "optimizers.asgd.*": "likewise",
    "optimizers.sparseadam.*": "likewise",
    "training.files": "likewise",
    "training.autocast*": "it has no autocast",
    "training.seeds": "it has no random generator",
    "training.state_dict": "likewise",
    "training.modes": "likewise",
}
"""What the device of other_backend.py cannot do, and no check is to blame for."""


def test_every_check_keeps_to_the_device_that_it_proves(torch_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run([torch_python, "-c", REGISTERS], capture_output=True, check=False).returncode:
        pytest.skip("torch takes a backend that is written in Python from 2.9 on")
    for name, value in after_torch(BACKEND).items():
        monkeypatch.setenv(name, value)
    results: list[dict[str, Any]] = []
    job = runner.Job(level="quick", devices=("other",), skip=tuple(LACKING))
    runner.run(torch_python, job, lambda event: results.append(event) if event["event"] == "result" else None)
    counts = Counter(result["status"] for result in results if result["device"] == "other:0")
    wrong = [f"{r['id']} {r['dtype']}: {r['detail']}" for r in results if r["status"] not in ("pass", "known", "skip")]
    assert not wrong
    assert counts["pass"] > 400
