"""`verify` as people and scripts call it, on a real torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SOME = ("--select", "rates", "--select", "environment")


def test_the_formats_agree(torchcheck, torch_python: str, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    files = ("--junit", str(tmp_path / "out.xml"), "--html", str(tmp_path / "out.html"), "--github")
    said = torchcheck("verify", "--python", torch_python, *SOME, *files, "--json", GITHUB_STEP_SUMMARY=str(summary))
    data = said.json["data"]
    assert said.code == 0, said.out
    assert data["verdict"] == "pass"
    keys = [(c["id"], c["device"], c["dtype"]) for c in data["checks"]]
    assert len(keys) == len(set(keys)) == sum(data["counts"].values())
    suite = ET.parse(tmp_path / "out.xml").getroot()
    assert len(list(suite.iter("testcase"))) == len(keys)
    assert not list(suite.iter("failure"))
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert all(ident in page for ident, _, _ in keys)
    assert "PASS" in summary.read_text(encoding="utf-8")


def test_a_stream_tells_the_same(torchcheck, torch_python: str) -> None:
    said = torchcheck("verify", "--python", torch_python, *SOME, "--quick", "--stream")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [e["event"] for e in events[:1]] == ["hello"]
    assert events[-1]["event"] == "bye"
    started = [(e["id"], e["device"], e["dtype"]) for e in events if e["event"] == "start"]
    ended = [(e["id"], e["device"], e["dtype"]) for e in events if e["event"] == "result"]
    planned = [(e["id"], e["device"], e["dtype"]) for e in events[0]["plan"]]
    assert sorted(map(str, ended)) == sorted(map(str, planned))
    assert set(started) <= set(ended)


def test_a_selection_that_selects_nothing_is_wrong_use(torchcheck, torch_python: str) -> None:
    said = torchcheck("verify", "--python", torch_python, "--select", "nonsense", "--json")
    assert said.code == 2
    assert "--list" in said.json["errors"][0]["hint"]


def test_a_device_that_is_not_there_proves_nothing(torchcheck, torch_python: str) -> None:
    said = torchcheck("verify", "--python", torch_python, "--device", "cuda:63", "--select", "rates", "--json")
    assert said.code == 3
    assert said.json["data"]["verdict"] == "unusable"
    assert said.json["errors"][0]["hint"]


def test_list_needs_no_torch(torchcheck) -> None:
    checks = torchcheck("verify", "--list", "--json").json["data"]["checks"]
    assert len(checks) > 100
    assert all(check["title"] and check["oracle"] for check in checks)


def test_an_archived_proof_is_a_gate(torchcheck, torch_python: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    whole = torchcheck("verify", "--python", torch_python, "--quick", "--json")
    assert whole.code == 0, whole.out
    proof.write_text(whole.out, encoding="utf-8")
    gate = ("report", "--require", str(proof), "--python", torch_python, "--json")
    assert torchcheck(*gate).code == 0
    document = json.loads(whole.out)
    for change, word in (
        ({"verdict": "fail"}, "failed"),
        ({"subject": {**document["data"]["subject"], "date": "2020-01-01T00:00:00+00:00"}}, "old"),
        ({"subject": {**document["data"]["subject"], "drivers": {"nvidia": "1.0"}}}, "driver"),
        ({"subject": {**document["data"]["subject"], "select": ["rates"]}}, "part"),
    ):
        proof.write_text(json.dumps({**document, "data": {**document["data"], **change}}), encoding="utf-8")
        said = torchcheck(*gate)
        assert said.code == 1
        assert any(word in problem for problem in said.json["data"]["problems"])
    proof.unlink()
    assert torchcheck(*gate).code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a Ctrl-C for one process alone cannot be sent there")
def test_ctrl_c_gives_what_there_is(torch_python: str) -> None:
    argv = [sys.executable, "-m", "torchcheck", "verify", "--python", torch_python, "--stream"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if '"event": "result"' in line and sum('"result"' in seen for seen in lines) == 20:
                process.send_signal(signal.SIGINT)
        code = process.wait(60)
    events = [json.loads(line) for line in lines]
    assert code == 130
    assert events[-1]["event"] == "bye"
    assert events[-1]["interrupted"] is True
    results = [e for e in events if e["event"] == "result"]
    assert len(results) == len(events[0]["plan"])
    assert sum(e["status"] == "skip" and "interrupted" in e["detail"] for e in results) > 0
