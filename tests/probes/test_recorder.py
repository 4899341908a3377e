"""Recording a machine keeps what probes need and nothing private."""

from __future__ import annotations

import json
import socket
import sys
import venv
from pathlib import Path

import pytest
import record_machine

from torchcheck.facts import to_json
from torchcheck.host import Replay
from torchcheck.live import Live
from torchcheck.probes import probe
from torchcheck.target import find


@pytest.mark.skipif(sys.platform == "win32", reason="the public paths of a recording are those of Linux and macOS")
def test_a_recording_is_replayed_and_tells_nobody_who_made_it(tmp_path, monkeypatch):
    home = tmp_path / "home" / "maria"
    venv.create(home / "project" / ".venv", with_pip=False)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "marias-laptop")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TORCH_HOME", "//marias-laptop/share")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://maria:s3cret@mirror.example/simple")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.chdir(home / "project")
    answers, facts = record_machine.record(Live(), None)
    python = facts["python"]["executable"]
    text = json.dumps({"answers": record_machine.shorten(answers), "expect": facts})
    clean = record_machine.scrub(text, answers["machine"], python)
    for private in ("maria", "hf_secret", "s3cret", str(tmp_path), "marias-laptop"):
        assert private not in clean
    document = json.loads(clean)
    host = Replay(document["answers"])
    replayed = to_json(probe(host, find(host), torch="metadata"))
    assert replayed["python"]["executable"] == "/home/user/project/.venv/bin/python"
    assert replayed["env"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert {name: replayed[name] for name in ("system", "memory", "python", "env")} == {
        name: document["expect"][name] for name in ("system", "memory", "python", "env")
    }


def test_every_machine_says_what_it_is():
    for path in (Path(__file__).parent.parent / "machines").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["about"]
        assert document["expect"]
        assert document["answers"]["machine"]["os"] in {"linux", "windows", "macos"}
