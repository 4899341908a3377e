"""The plugin in a pytest of its own, on a real torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest


def run(folder: Path, python: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_own.py").write_text("def test_own():\n    assert True\n", encoding="utf-8")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--torchcheck-python={python}",
        *words,
        "test_own.py",
    ]
    return subprocess.run(argv, cwd=folder, capture_output=True, encoding="locale", check=False, timeout=300)


def test_off_unless_asked(tmp_path: Path) -> None:
    ran = run(tmp_path, sys.executable)
    assert "1 passed" in ran.stdout


def test_checks_are_tests(tmp_path: Path, torch_python: str) -> None:
    ran = run(
        tmp_path,
        torch_python,
        "--torchcheck=quick",
        "-k",
        "own or schedules or environment",
        "--junitxml=out.xml",
        "-rA",
    )
    assert ran.returncode == 0, ran.stdout
    assert "schedules.step" in ran.stdout
    cases = ET.parse(tmp_path / "out.xml").getroot().iter("testcase")
    names = {case.get("name") for case in cases}
    assert "test_own" in names
    assert any(str(name).startswith("environment.import[cpu") for name in names)


def test_it_shares_the_work_of_xdist(tmp_path: Path, torch_python: str) -> None:
    pytest.importorskip("xdist")
    ran = run(tmp_path, torch_python, "--torchcheck=quick", "-n", "2", "-k", "own or rates")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passed" in ran.stdout


def test_a_wrong_torch_fails(tmp_path: Path) -> None:
    ran = run(tmp_path, sys.executable, "--torchcheck=quick", "-k", "nothing_is_called_so or environment.import", "-rf")
    if "No module named 'torch'" in ran.stdout:
        assert ran.returncode == 1
        assert "what to do" in ran.stdout or "torchcheck" in ran.stdout
    else:
        assert ran.returncode == 0
