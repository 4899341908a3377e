"""`install` from the first word to the last: real pip, real environments, a real index on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_index import LocalIndex
from local_wheels import sympy_wheels, trio

QUIET = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1", "PIP_CONSTRAINT": ""}


@pytest.fixture(scope="module")
def index() -> Iterator[LocalIndex]:
    with LocalIndex() as made:
        made.add("whl/cpu", *trio("2.15.0", "0.29.2", "2.11.0", "cpu"), *sympy_wheels())
        yield made


@pytest.fixture
def install(torchcheck, index: LocalIndex, tmp_path: Path):
    def run(*words: str):
        where = ("--venv", str(tmp_path / "my Umgebung ü"), "--index-url", index.url("whl"), "--backend", "cpu")
        return torchcheck("install", *where, "--yes", *words, **QUIET)

    return run


def versions(folder: Path) -> dict[str, str]:
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    script = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    said = subprocess.run([python, "-c", script], capture_output=True, encoding="locale", check=True, timeout=60).stdout
    return dict(word.split("==") for word in said.split())


def test_a_bare_folder_becomes_an_environment_with_the_trio(install, tmp_path: Path) -> None:
    said = install("--no-verify", "--json")
    assert said.code == 0, said.err
    data = said.json["data"]
    assert data["installed"] == {"torch": "2.15.0+cpu", "torchvision": "0.29.2+cpu", "torchaudio": "2.11.0+cpu"}
    assert data["verdict"] == "kept"
    assert Path(data["constraints"]).read_text(encoding="utf-8").count("==") == 3
    there = versions(tmp_path / "my Umgebung ü")
    assert there["torch"] == "2.15.0+cpu"
    again = install("--no-verify")
    assert again.code == 0
    assert "All is in place" in again.out


def test_what_does_not_prove_itself_is_said_to_be_wrong(install) -> None:
    said = install("--json")
    assert said.code == 1
    data = said.json["data"]
    assert data["verdict"] == "unproven"
    assert data["verify"]["verdict"] != "pass"


def test_dry_run_changes_nothing(install, tmp_path: Path) -> None:
    said = install("--dry-run", "--json")
    assert said.code == 0
    assert said.json["data"]["plan"]["packages"]["torch"] == "2.15.0+cpu"
    assert "torch" not in versions(tmp_path / "my Umgebung ü")


def test_a_build_that_is_nowhere_is_refused(install) -> None:
    said = install("--torch", "2.14.1", "--json")
    assert said.code == 3
    assert said.json["data"]["plan"]["blockers"]


def test_an_index_that_cannot_be_reached(torchcheck, tmp_path: Path) -> None:
    where = ("--venv", str(tmp_path / "env"), "--index-url", "http://127.0.0.1:9/whl", "--backend", "cpu", "--yes")
    said = torchcheck("install", *where, "--json", **QUIET)
    assert said.code == 5
    assert said.json["errors"][0]["hint"]
    assert "torch" not in versions(tmp_path / "env")


def test_a_wheel_that_breaks_off_leaves_the_target_as_it_was(install, index: LocalIndex, tmp_path: Path) -> None:
    index.fault("/whl/cpu/torch-*.whl", "cut")
    try:
        said = install("--no-verify", "--json")
    finally:
        index.forgive()
    assert said.code in (4, 5)
    assert said.json["errors"][0]["hint"]
    assert "torch" not in versions(tmp_path / "my Umgebung ü")


def test_an_image_can_be_built_for_another_machine(torchcheck, tmp_path: Path) -> None:
    gpu = {"vendor": "nvidia", "name": "NVIDIA H100 80GB HBM3", "pci_id": "10de:2330", "compute_capability": "9.0"}
    facts = {
        "system": {"os": "linux", "machine": "x86_64", "libc": "glibc 2.35"},
        "python": {"version": "3.12.3"},
        "gpus": [gpu],
        "drivers": {"nvidia": {"version": "580.95.05"}},
    }
    node = tmp_path / "gpu-node.json"
    node.write_text(json.dumps({"facts": facts}), encoding="utf-8")
    by_option = torchcheck("plan", "--machine", str(node), "--json").json["data"]
    by_variable = torchcheck("plan", "--json", TORCHCHECK_FACTS=str(node)).json["data"]
    assert by_option == by_variable
    assert by_option["backend"].startswith("cu13")
