"""Run `verify` over many ranks, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from local_after import after_torch

ROOT = Path(__file__).resolve().parents[2]
FAULTY = Path(__file__).parent / "faulty.py"
ENTER = f"import sys; sys.path[:] = [*filter(None, sys.path), {str(ROOT)!a}]; from torchcheck.cli import main; main()"


@pytest.fixture(scope="session")
def gloo_python(torch_python):
    """Give an interpreter whose torch can run several ranks on this machine."""
    asked = "import torch.distributed as d; raise SystemExit(not (d.is_available() and d.is_gloo_available()))"
    if subprocess.run([torch_python, "-c", asked], check=False, timeout=120).returncode:
        pytest.skip(f"the torch of {torch_python} has no gloo")
    return torch_python


@pytest.fixture
def launch(gloo_python):
    """Give a function that starts `verify`, and see that nothing of it is left; `before` stands before the command."""
    started = []

    def start(*words, fault="", env=None, before=()):
        given = {
            name: value for name, value in os.environ.items() if not name.startswith(("RANK", "WORLD_", "MASTER_"))
        }
        given |= {"TORCHCHECK_FLEET_FAULT": fault, **after_torch(FAULTY)} if fault else {}
        process = subprocess.Popen(
            [*before, sys.executable, "-c", ENTER, "verify", "--python", gloo_python, "--json", *words],
            env={**given, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=sys.platform != "win32",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        for member in left:
            member.kill()
        process.communicate()


@pytest.fixture
def verify(launch):
    """Give a function that runs `verify` and returns what it printed."""

    def run(*words, timeout=240, **options):
        return Ran(launch(*words, **options), timeout)

    return run


@pytest.fixture
def follow():
    """Give a function that waits for a process and reads its one document."""
    return Ran


class Ran:
    def __init__(self, process, timeout=240):
        began = time.monotonic()
        self.out, self.err = process.communicate(timeout=timeout)
        self.seconds = time.monotonic() - began
        self.code = process.returncode
        assert self.out.startswith("{"), (self.out[-500:], self.err[-3000:])
        self.document = json.loads(self.out)
        self.data = self.document["data"] or {}
        self.checks = {"/".join(filter(None, (c["id"], c["dtype"]))): c for c in self.data.get("checks", ())}
        self.ranks = {row["rank"]: row for row in self.data.get("ranks", ())}

    def status(self, ident):
        return self.checks[ident]["status"]
