"""`plan --lock`: what it writes is what pip takes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from local_wheels import platform_tag, python_tag, sympy_wheels, trio

from torchcheck.facts import from_json
from torchcheck.wheels.lock import lock
from torchcheck.wheels.offers import collect
from torchcheck.wheels.plan import Plan, Request, plan

SYSTEMS = {"linux": "linux", "win32": "windows", "darwin": "macos"}


def here() -> dict[str, object]:
    """Give just enough facts of the machine that runs the tests."""
    version = ".".join(map(str, sys.version_info[:3]))
    machine = sysconfig.get_platform().rpartition("-")[2].lower()
    system = {"os": SYSTEMS[sys.platform], "machine": {"amd64": "x86_64"}.get(machine, machine), "version": "15.0"}
    return {"system": system, "python": {"version": version}, "gpus": [], "drivers": {}}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS wheels carry no backend's label")
def test_pip_takes_the_lock_with_hashes_required(local_index, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # constraints of this machine are no part of the test
    where = {"python": python_tag(), "platform": platform_tag()}
    wheels = [*trio("2.15.0", "0.29.2", "2.11.0", "cpu", **where), *sympy_wheels()]
    local_index.add("whl/cpu", *wheels)
    request = Request(index_urls=(local_index.url("whl"),))
    made = plan(from_json(here()), request, collect(from_json(here()), request))
    assert not made.blockers
    digests = {f"{w.name}=={w.version}": hashlib.sha256(w.data).hexdigest() for w in wheels}
    digests.pop("sympy==1.13.3")
    lines = [f"--index-url {made.index_url}", *(f"{pin} --hash=sha256:{digest}" for pin, digest in digests.items())]
    text = lock(made, lines, name="lock.txt")
    assert text.startswith("# torch 2.15.0+cpu, torchvision 0.29.2+cpu, torchaudio 2.11.0+cpu for cpu, on ")
    (tmp_path / "lock.txt").write_text(text, encoding="utf-8")
    place = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--isolated",
        "--require-hashes",
        "-r",
        tmp_path / "lock.txt",
        "-q",
    ]
    subprocess.run([*command, "--target", place], check=True, timeout=120)
    shown = [sys.executable, "-c", "import torch; print(torch.__version__, torch.__file__)"]
    said = subprocess.run(shown, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(place)})
    assert said.stdout.decode().startswith("2.15.0+cpu")
    assert str(place) in said.stdout.decode()

    (tmp_path / "lock.txt").write_text(text.replace(digests["torch==2.15.0+cpu"][:8], "0" * 8), encoding="utf-8")
    other = ["--target", tmp_path / "other", "--no-cache-dir"]
    again = subprocess.run([*command, *other], capture_output=True, check=False)
    assert again.returncode
    assert b"HASHES" in again.stderr


def test_what_was_not_planned_is_not_locked() -> None:
    made = plan(from_json({}), Request())
    with pytest.raises(ValueError, match=r"torch==2\.15\.0\+cpu"):
        lock(made, ["torch==2.14.0+cpu --hash=sha256:00"])
    assert isinstance(made, Plan)
