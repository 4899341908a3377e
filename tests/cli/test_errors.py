"""Whatever is given: a clear message with a hint, the contract's exit code, never a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

COMMANDS = ("install", "plan", "verify", "doctor", "report", "diff")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_wrong_use(torchcheck, command) -> None:
    said = torchcheck(command, "--frobnicate")
    assert said.code == 2
    assert "--frobnicate" in said.err
    assert f"torchcheck {command} --help" in said.err
    document = torchcheck(command, "--frobnicate", "--json").json
    assert document["command"] == command
    assert document["errors"][0]["code"] == "usage"


def test_an_unknown_command_is_wrong_use(torchcheck) -> None:
    said = torchcheck("instal")
    assert said.code == 2
    assert "instal" in said.err


def test_no_command_at_all_shows_the_commands(torchcheck) -> None:
    said = torchcheck()
    assert said.code == 2
    assert said.err.startswith("Usage: torchcheck")
    assert all(command in said.err for command in COMMANDS)
    assert "..." not in said.err.partition("Commands:")[2]


BAD_MACHINES = {
    "empty": b"",
    "not JSON": b"{'system': 1}",
    "a list": b"[1, 2]",
    "a number": b"17",
    "null": b"null",
    "wrong type": b'{"system": {"os": 7}}',
    "unknown system": b'{"system": {"os": "templeos"}}',
    "GPUs that are none": b'{"gpus": ["RTX 4090"]}',
    "deep": b'{"facts":' * 5000 + b"1" + b"}" * 5000,
    "deep list": b"[" * 100_000,
    "binary": bytes(range(256)),
    "a lone surrogate": b'{"system": {"os": "\\ud800"}}',
    "a huge number": b'{"memory": {"total": 1e999}}',
    "many digits": b'{"memory": {"total": ' + b"9" * 10_000 + b"}}",
}


@pytest.mark.parametrize("command", ["plan", "doctor"])
@pytest.mark.parametrize("name", BAD_MACHINES)
def test_a_machine_file_that_is_none_is_wrong_use(torchcheck, tmp_path: Path, command: str, name: str) -> None:
    file = tmp_path / "machine.json"
    file.write_bytes(BAD_MACHINES[name])
    said = torchcheck(command, "--machine", str(file), "--json")
    assert said.code == 2
    assert said.json["errors"][0]["message"]
    assert said.json["errors"][0]["hint"]


def test_a_machine_file_that_is_not_there(torchcheck, tmp_path: Path) -> None:
    said = torchcheck("plan", "--machine", str(tmp_path / "no such file.json"))
    assert said.code == 2
    assert "no such file.json" in said.err


def test_a_folder_is_no_machine_file(torchcheck, tmp_path: Path) -> None:
    assert torchcheck("plan", "--machine", str(tmp_path)).code == 2


def test_a_machine_may_come_from_stdin_in_the_encoding_of_powershell(torchcheck) -> None:
    text = '{"facts": {"system": {"os": "windows", "machine": "x86_64"}, "python": {"version": "3.12.1"}, "gpus": []}}'
    said = torchcheck("plan", "--machine", "-", "--json", stdin=text.encode("utf-16"))
    assert said.code == 0
    assert said.json["data"]["backend"] == "cpu"


def test_nothing_read_can_steer_the_terminal(torchcheck, tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    evil = "RTX\x1b]0;owned\x07\x1b[2J\u202egnp"
    gpu = {"vendor": "nvidia", "name": evil, "compute_capability": "3.0"}
    facts = {
        "system": {"os": "linux", "machine": "x86_64", "libc": "glibc 2.35"},
        "python": {"version": "3.12.1"},
        "gpus": [gpu],
    }
    file.write_text(json.dumps(facts), encoding="utf-8")
    for command in (("plan", "-v"), ("doctor",), ("report", "--format", "text"), ("report", "--format", "markdown")):
        said = torchcheck(*command, "--machine", str(file))
        assert "RTX" in said.out + said.err or command[0] == "doctor"
        assert not set("\x1b\x07\u202e") & set(said.out + said.err)


def test_a_python_that_is_none(torchcheck, tmp_path: Path) -> None:
    assert torchcheck("verify", "--python", str(tmp_path / "nowhere")).code in (2, 3)
    text = tmp_path / "python"
    text.write_text("I am no program", encoding="utf-8")
    for command in ("verify", "plan", "report", "doctor", "install"):
        said = torchcheck(command, "--python", str(text), "--json")
        assert said.code in (2, 3)
        assert said.json["errors"][0]["hint"]


def test_no_target_says_what_to_type(torchcheck, tmp_path: Path) -> None:
    said = torchcheck("verify", "--json", VIRTUAL_ENV=str(tmp_path / "deleted"))
    assert said.code in (0, 1, 3)
    if said.code == 3:
        assert said.json["errors"][0]["hint"]


def test_an_environment_without_torch_says_what_installs_it(torchcheck, empty_venv: Path) -> None:
    said = torchcheck("verify", "--python", str(empty_venv), "--json")
    assert said.code == 3
    (error,) = said.json["errors"]
    assert error["code"] == "torch-missing"
    assert error["hint"].startswith("torchcheck install --python ")
    statuses = {check["id"]: check["status"] for check in said.json["data"]["checks"]}
    assert statuses.pop("environment.import") == "fail"
    assert set(statuses.values()) == {"skip"}


def test_a_result_file_that_cannot_be_written(torchcheck, empty_venv: Path, tmp_path: Path) -> None:
    said = torchcheck("report", "--python", str(empty_venv), "--format", "json", "-o", str(tmp_path / "no" / "x.json"))
    assert said.code == 2
    assert "-o" in said.err


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe's reader goes away differently there")
def test_a_reader_that_goes_away_is_no_failure(torchcheck, tmp_path: Path) -> None:
    import subprocess

    with subprocess.Popen(
        [sys.executable, "-m", "torchcheck", "verify", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        _, err = b"", process.stderr.read() if process.stderr else b""
        process.wait(60)
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_console_can_show_it(torchcheck, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "machine.json"
    file.write_text('{"system": {"os": "linux", "name": "Größe ✓"}, "gpus": []}', encoding="utf-8")
    said = torchcheck("report", "--machine", str(file), PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert said.code == 0
    assert "Gr" in said.out


@pytest.mark.skipif(
    sys.platform == "win32", reason="closing a standard stream before the start is a POSIX shell's habit"
)
def test_closed_standard_streams(torchcheck, tmp_path: Path) -> None:
    import subprocess

    for closed in ("0<&-", ">&-", "2>&-"):
        line = f"exec {sys.executable} -m torchcheck plan --machine '{tmp_path}/m.json' {closed}"
        (tmp_path / "m.json").write_text('{"gpus": []}')
        code = subprocess.run(["/bin/sh", "-c", line], check=False, timeout=60, stdin=subprocess.DEVNULL).returncode
        assert code == 0, closed


def test_no_home_and_no_temporary_folder_are_no_reason_to_fail(torchcheck, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"gpus": []}', encoding="utf-8")
    nowhere = str(tmp_path / "nowhere")
    assert torchcheck("plan", "--machine", "m.json", HOME=nowhere, TMPDIR=nowhere, XDG_CACHE_HOME=nowhere).code == 0


def test_a_defect_keeps_its_traceback_in_a_file(tmp_path: Path) -> None:
    import subprocess

    script = """
import torchcheck.cli, torchcheck.cli.planning

torchcheck.cli.planning.run = lambda given: 1 / 0
torchcheck.cli.main(["plan", "--json"])
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="locale", check=False, timeout=60
    )
    assert ran.returncode == 70
    (error,) = json.loads(ran.stdout)["errors"]
    assert error["code"] == "defect"
    assert "ZeroDivisionError" in error["message"]
    log = next(word for word in error["hint"].split() if word.endswith(".log"))
    assert "Traceback" in Path(log).read_text(encoding="utf-8")
    Path(log).unlink()
