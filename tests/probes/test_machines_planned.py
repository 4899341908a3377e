"""The seam between probing and planning: a machine as it was recorded gets the right backend, nothing retouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchcheck.host import Replay
from torchcheck.probes import probe
from torchcheck.target import find
from torchcheck.wheels.plan import plan
from torchcheck.wheels.request import Request

MACHINES = Path(__file__).parent.parent / "machines"
# None: nothing can be installed. Where two toolkits are as good, the start of the name.
BACKENDS = {
    "alpine": None,
    "debian-12-no-gpu": "cpu",
    "dgx-spark-gb10": "cu13",
    "docker-amd-without-kfd": "cpu",
    "docker-without-gpus": "cpu",
    "gh200": "cu12",
    "jetson-orin": "cpu",
    "kubernetes-t4-small-memory": "cu126",
    "linux-5090-and-1080ti": "cu1",
    "linux-a100-mig": "cu126",
    "linux-centos7": "c",
    "linux-driver-lists-one-of-two": "cu13",
    "linux-hybrid-laptop": "cu12",
    "linux-kfd-not-permitted": "rocm",
    "linux-lunar-lake": "xpu",
    "linux-mi300x": "rocm7",
    "linux-mi300x-partitions": "rocm7",
    "linux-nouveau": "cpu",
    "linux-passthrough": "cu13",
    "linux-raspberry-pi": "cpu",
    "linux-rx6700xt": "cpu",
    "linux-vgpu-old-smi": "cu118",
    "macos-intel": "cpu",
    "macos-m2": "mps",
    "macos-rosetta": None,
    "windows-32-bit-python": None,
    "windows-arc-b580": "xpu",
    "windows-bare": "cpu",
    "windows-basic-display-adapter": "cpu",
    "windows-copied-runtime": "cu12",
    "windows-gtx1080-without-nvml": "cu126",
    "windows-nvidia-driver-gone-wrong": "cu12",
    "windows-portable-python": "cu126",
    "windows-rtx4060-laptop": "cu13",
    "windows-rx7900xtx": "cpu",
    "wsl2-rtx3080": "cu13",
    "wsl2-without-gpu": "cpu",
}


@pytest.mark.parametrize("name", BACKENDS)
def test_plan(name):
    host = Replay.of_file(MACHINES / f"{name}.json")
    made = plan(probe(host, find(host), torch="metadata"), Request())
    wanted = BACKENDS[name]
    assert made.backend is None if wanted is None else str(made.backend).startswith(wanted), made.as_json()["reasons"]
