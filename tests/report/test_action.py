"""The steps of the composite action, run as a runner runs them: bash, a temporary folder, outputs in a file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ACTION = Path(__file__).resolve().parents[2] / ".github" / "actions" / "verify" / "action.yml"


def steps() -> list[str]:
    """The scripts of the action, in order."""
    text = ACTION.read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in re.findall(r"^ {6}run: \|\n((?: {8}.*\n)+)", text, re.MULTILINE)]


def test_every_step_is_a_script_of_bash() -> None:
    assert len(steps()) == ACTION.read_text(encoding="utf-8").count("shell: bash") == 2
    assert not any("${{" in script for script in steps()), "inputs come by the environment, never into the script"


@pytest.mark.slow
def test_it_proves_and_leaves_the_proof(torch_python: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None or os.name == "nt":
        pytest.skip("bash of Git for Windows is not where a runner has it")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    given = {"TARGET": torch_python, "LEVEL": "quick", "ARGUMENTS": "--select\nrates.*\n\n--junit\nre sults.xml"}
    runner = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    source = f"{ACTION.parent}/../../.."
    env = {**os.environ, **given, **runner, "SOURCE": source, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for script in steps():
        file = tmp_path / "step.sh"
        file.write_text(script, encoding="utf-8")
        argv = [bash, "--noprofile", "--norc", "-eo", "pipefail", str(file)]
        ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=500)
        assert ran.returncode == 0, ran.stderr
    (proof,) = re.findall(r"^proof=(.*)$", output.read_text(encoding="utf-8"), re.MULTILINE)
    data = json.loads(Path(proof).read_text(encoding="utf-8"))["data"]
    assert data["verdict"] == "pass"
    assert {check["id"].partition(".")[0] for check in data["checks"]} <= {"rates", "environment"}
    assert "Verification: PASS" in summary.read_text(encoding="utf-8")
    assert (tmp_path / "re sults.xml").exists()
