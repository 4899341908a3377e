"""Nothing that lies in the current folder is run or believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

NAMES = (
    "torch", "click", "json", "pip", "sitecustomize", "usercustomize", "rich", "psutil", "packaging", "filelock",
    "random", "signal", "tempfile", "subprocess", "platform", "email", "urllib", "venv", "ensurepip", "numpy", "ssl",
)  # fmt: skip
PROGRAMS = ("nvidia-smi", "rocminfo", "python", "python3", "uv", "pip", "git", "ldconfig", "lspci", "conda", "py")
ENDINGS = ("", ".exe", ".bat")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Give a folder in which whatever is run writes down that it was."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    said = tmp_path / "run.txt"
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(said)!r}, 'a').write({name!r} + ' ')\n", encoding="utf-8")
    for name in (name + ending for name in PROGRAMS for ending in ENDINGS):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> '{said}'\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    for name in ("pip.conf", "pip.ini", "uv.toml"):
        (folder / name).write_text("[global]\nindex-url = https://planted.example/simple\n", encoding="utf-8")
    return folder


def ways() -> dict[str, list[str]]:
    script = Path(sysconfig.get_path("scripts")) / ("torchcheck.exe" if sys.platform == "win32" else "torchcheck")
    return {"-m": [sys.executable, "-m", "torchcheck"], "script": [str(script)]}


@pytest.mark.parametrize("way", ways())
@pytest.mark.parametrize(
    "words",
    [
        ("report", "--json"),
        ("doctor", "--json", "--no-torch"),
        ("plan", "--json", "--offline", "--backend", "cpu"),
        ("install", "--json", "--venv", "made", "--offline", "--backend", "cpu", "--yes"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_planted_is_run(trap: Path, tmp_path: Path, way: str, words: tuple[str, ...]) -> None:
    argv = ways()[way]
    if not Path(argv[0]).is_file():
        pytest.skip(f"no {argv[0]}: torchcheck is not installed")
    # A PATH that names the folder is the user's own will, except as "." and "".
    path = os.pathsep.join([".", "", os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, "HOME": str(tmp_path), "PYTHONPATH": ""}
    env.pop("VIRTUAL_ENV", None)
    ran = subprocess.run(
        [*argv, *words],
        cwd=trap,
        env=env,
        capture_output=True,
        encoding="locale",
        timeout=240,
        check=False,
    )
    said = tmp_path / "run.txt"
    assert not said.exists(), said.read_text(encoding="utf-8")
    assert "planted.example" not in ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["exit_code"] == ran.returncode
    assert ran.returncode in {0, 1, 3, 5}


@pytest.mark.parametrize("kind", ["a file", "a link to itself", "a link to nowhere"])
def test_a_venv_that_is_none_is_passed_over(tmp_path: Path, kind: str) -> None:
    place = tmp_path / ".venv"
    if kind == "a file":
        place.write_text("I am no folder", encoding="utf-8")
    elif sys.platform == "win32":
        pytest.skip("making a link needs a privilege there")
    else:
        place.symlink_to(place if kind == "a link to itself" else tmp_path / "nowhere")
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    argv = [sys.executable, "-m", "torchcheck", "report", "--json"]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, encoding="locale", timeout=120, check=False)
    assert ran.returncode in {0, 1, 3}
    assert "Traceback" not in ran.stderr
    assert json.loads(ran.stdout)["schema"] == "torchcheck/1"
