"""The power of the activations' checks, measured: every kernel spoiled in five ways."""

import json
import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.torch
def test_spoiled_kernels_are_noticed(torch_python):
    asked = [torch_python, "-c", "import torch; raise SystemExit(not hasattr(torch.library, 'get_kernel'))"]
    if subprocess.run(asked, check=False, timeout=120).returncode:
        pytest.skip("this torch cannot replace its kernels (torch.library.get_kernel)")
    script = Path(__file__).with_name("activation_mutants.py")
    done = subprocess.run([torch_python, str(script)], check=True, capture_output=True, encoding="locale", timeout=590)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] > 150
    assert told["survived"] == []
