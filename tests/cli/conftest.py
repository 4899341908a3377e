from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.out)
        assert document["schema"] == "torchcheck/1"
        assert document["exit_code"] == self.code
        assert set(document) == {"schema", "command", "version", "exit_code", "data", "errors"}
        assert all(set(error) == {"code", "message", "hint"} for error in document["errors"])
        return document


Run = Callable[..., Said]


@pytest.fixture
def torchcheck(tmp_path: Path) -> Run:
    """Run the command as a user does: in a process of its own, in an empty folder, with a home of its own."""

    def run(*words: str, stdin: str | bytes = b"", cwd: Path = tmp_path, timeout: float = 240, **env: str) -> Said:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        ours = {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home / "cache"), "COLUMNS": "200"}
        drop = ("VIRTUAL_ENV", "CONDA_PREFIX", "TORCHCHECK_FACTS", "GITHUB_STEP_SUMMARY", "FORCE_COLOR", "NO_COLOR")
        base = {name: value for name, value in os.environ.items() if name not in drop}
        ran = subprocess.run(
            [sys.executable, "-m", "torchcheck", *words],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=cwd,
            env={**base, **ours, **env},
            timeout=timeout,
            check=False,
        )
        out, err = ran.stdout.decode("utf-8", "replace"), ran.stderr.decode("utf-8", "replace")
        assert "Traceback" not in err, err
        return Said(ran.returncode, out, err)

    return run
