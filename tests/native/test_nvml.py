"""Asking NVML through the real bindings, against a library of the same interface that a C compiler makes here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchcheck.facts import to_json
from torchcheck.live import Live
from torchcheck.probes import Asked, nvidia

SOURCE = Path(__file__).parent / "nvml_stand_in.c"
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or COMPILER is None, reason="needs Linux's loader and a C compiler"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True)
    return folder


@pytest.fixture
def play(library, monkeypatch):
    def choose(part: str) -> Live:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("NVML_STAND_IN", part)
        return Live()

    return choose


def test_what_nvml_tells(play):
    said = play("sound").script("nvml")
    assert (said["driver"], said["cuda"], "error" in said) == ("580.95.05", "13.0", False)
    first, second, lost = said["devices"]
    assert (first["name"], first["pci_id"], first["memory"]) == ("NVIDIA GeForce RTX 4090", "10de:2684", 24 << 30)
    assert first["compute_capability"] == "8.9"
    assert [(one["memory"], one["name"]) for one in first["processes"]] == [(3 << 30, "train.py")]
    assert "mig" not in first
    assert second["mig"] == [{"name": "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "memory": 40 << 30}]
    assert lost == {"error": "GPU_IS_LOST"}


def test_facts_from_it(play):
    driver, listed, notes = nvidia._asked(play("sound"))
    assert to_json(driver) == {"version": "580.95.05", "cuda": "13.0", "error": None}
    assert [gpu.name for gpu in listed] == ["NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB MIG 3g.40gb"]
    assert listed[0].in_use_by[0].startswith("train.py (pid ")
    assert notes == ("NVML cannot read GPU 2: GPU_IS_LOST",)


def test_a_mismatch_is_named(play):
    assert play("mismatch").script("nvml")["error"] == "LIB_RM_VERSION_MISMATCH"
    driver, listed, _ = nvidia._asked(play("mismatch"))
    assert (driver.error, listed) == ("Failed to initialize NVML: Driver/library version mismatch", ())


def test_a_library_that_crashes_or_hangs_costs_a_child_only(play):
    assert play("crash").script("nvml")["error"] == "crash"
    assert play("hang").script("nvml", timeout=1.0)["error"] == "timeout"


def test_without_a_library(monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if nvidia.library_version(Live()):
        pytest.skip("there is a real one here")
    assert Live().script("nvml")["error"] == "LIBRARY_NOT_FOUND"
    assert nvidia.probe(Asked(Live()))["gpus"] == ()
