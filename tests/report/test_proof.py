"""A gate on an archived verdict: every way in which a proof does not hold, and the one in which it does."""

from __future__ import annotations

import copy
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchcheck.report.proof import age, judge, subject

NOW = dt.datetime(2026, 5, 10, 12, 0, tzinfo=dt.timezone.utc)
FACTS = {
    "packages": {"torch": "2.15.0+cu130", "torchvision": "0.30.0+cu130", "numpy": "2.4.0"},
    "python": {"version": "3.12.1"},
    "drivers": {"nvidia": {"version": "580.65.06", "cuda": "13.0"}},
    "gpus": [{"name": "NVIDIA H100", "uuid": "a"}, {"name": "NVIDIA H100", "uuid": "b"}, {"name": "NVIDIA A2"}],
    "cpu": {"model": "EPYC 9354", "cores_logical": 64},
}
Change = Callable[[dict[str, Any]], object]


def proof() -> dict[str, Any]:
    about = {"date": "2026-05-09T10:00:00+00:00", **subject(FACTS)}
    data = {"verdict": "pass", "interrupted": False, "checks": [], "subject": about}
    return json.loads(json.dumps({"schema": "torchcheck/1", "command": "verify", "exit_code": 0, "data": data}))


def facts(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(FACTS), **changed}


def held(document: Any, here: dict[str, Any] = FACTS, oldest: str = "7d") -> list[str]:
    return judge(document, subject(here), age(oldest), NOW)


def test_a_fresh_proof_of_the_same_holds() -> None:
    assert held(proof()) == []
    assert held(proof(), facts(gpus=list(reversed(FACTS["gpus"])))) == [], "the order of devices is no difference"
    assert held(proof(), facts(packages={**FACTS["packages"], "numpy": "2.0.0"})) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(command="report"), "another document (report)"),
        (lambda d: d.update(data=None), "another document (verify)"),
        (lambda d: d["data"].pop("subject"), "does not say what it is about"),
        (lambda d: d["data"].update(verdict="fail"), "verdict is 'fail'"),
        (lambda d: d["data"].update(verdict="unusable"), "verdict is 'unusable'"),
        (lambda d: d["data"].update(interrupted=True), "interrupted"),
        (lambda d: d.update(exit_code=1), "exit code is 1"),
        (lambda d: d["data"]["subject"].update(select=["rates.*"]), "a part only (rates.*)"),
        (lambda d: d["data"]["subject"].update(device=["cpu"], skip=["x"]), "a part only (x, cpu)"),
        (lambda d: d["data"]["subject"].update(skip=7), "a part only (7)"),
        (lambda d: d["data"]["subject"].update(date="2026-05-03T11:59:00+00:00"), "too old: 7 days and 0 hours"),
        (lambda d: d["data"]["subject"].update(date="2026-05-11T12:00:00+00:00"), "from the future"),
        (lambda d: d["data"]["subject"].update(date="2026-05-09T10:00:00"), "has no date"),
        (lambda d: d["data"]["subject"].pop("date"), "has no date"),
    ],
)
def test_a_proof_that_does_not_hold_says_why(change: Change, said: str) -> None:
    document = proof()
    change(document)
    (problem,) = held(document)
    assert said in problem


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ({"packages": {**FACTS["packages"], "torch": "2.15.0+cu128"}}, "Packages of the proof: torch 2.15.0+cu130"),
        ({"packages": {"torch": "2.15.0+cu130"}}, "here: torch 2.15.0+cu130."),
        ({"packages": {}}, "here: none."),
        ({"python": {"version": "3.12.2"}}, "The Python of the proof: 3.12.1; here: 3.12.2."),
        (
            {"drivers": {"nvidia": {"version": "581.0"}}},
            "The driver of the proof: nvidia 580.65.06; here: nvidia 581.0.",
        ),
        ({"drivers": {}}, "The driver of the proof: nvidia 580.65.06; here: none."),
        ({"gpus": FACTS["gpus"][:2]}, "here: NVIDIA H100, NVIDIA H100."),
        ({"gpus": []}, "here: none."),
        ({"cpu": {"model": "Xeon"}}, "The processor of the proof: EPYC 9354; here: Xeon."),
    ],
)
def test_a_proof_of_another_machine_does_not_hold(here: dict[str, Any], said: str) -> None:
    (problem,) = held(proof(), facts(**here))
    assert said in problem


@pytest.mark.parametrize("document", [None, [], "proof", 1])
def test_what_is_no_document_is_no_proof(document: object) -> None:
    (problem,) = held(document)
    assert "torchcheck verify --json > proof.json" in problem


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("12h", 12), ("7d", 168), ("2w", 336), ("0d", 0)])
def test_ages(text: str, hours: float) -> None:
    assert age(text) == dt.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "7", "d7", "-1d", "7 d", "1.5h", "9999999d", "٣d"])
def test_what_is_no_age(text: str) -> None:
    assert age(text) is None


def run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "torchcheck", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240, encoding="utf-8")


def test_a_real_proof_gates(torch_python: str, tmp_path: Path) -> None:
    file, gate = tmp_path / "proof.json", ("report", "--python", torch_python, "--json", "--require")
    made = run("verify", "--python", torch_python, "--quick", "--select", "environment.*", "--json")
    document = json.loads(made.stdout)
    assert made.returncode == 0, made.stderr
    file.write_text(made.stdout, encoding="utf-8")
    part = run(*gate, str(file))
    assert part.returncode == 1
    assert json.loads(part.stdout)["data"]["problems"] == ["The proof is of a part only (environment.*)."]
    del document["data"]["subject"]["select"]  # as if the whole had been run
    file.write_text(json.dumps(document), encoding="utf-8")
    whole = run(*gate, str(file), "--max-age", "1h")
    assert whole.returncode == 0, whole.stdout
    assert json.loads(whole.stdout)["data"]["problems"] == []
    assert run(*gate, str(file), "--max-age", "soon").returncode == 2
    (tmp_path / "cut.json").write_text(json.dumps(document)[:400], encoding="utf-8")
    gone = run(*gate, str(tmp_path / "cut.json"))
    assert gone.returncode == 1
    assert "There is no proof" in json.loads(gone.stdout)["data"]["problems"][0]
