"""Every command that the doctor prints can be pasted: the shell that it is meant for accepts its grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from local_shells import cmd_refuses, command_of, powershell_mistakes, powershell_refuses, sh_refuses, unquoted
from scoring import cases

from torchcheck.doctor import all_codes, diagnose
from torchcheck.doctor.evidence import Evidence, Finding
from torchcheck.doctor.remedies import Remedies
from torchcheck.facts import from_json

EVERY = cases("failures", "healthy", "own", "composed", "reports")
GTX = {"vendor": "nvidia", "name": "NVIDIA GeForce GTX 1080", "compute_capability": "6.1"}
PLACES = {
    "windows": ("C:\\v\\Scripts\\python.exe", "C:\\Pr\u00fcf (x86) $b\\Scripts\\python.exe"),
    "linux": ("/srv/v/bin/python", "/srv/pr\u00fcf $b (1)/bin/python"),
    "macos": ("/opt/homebrew/bin/python3", "/Users/o'neill/v v/bin/python"),
}
SHELLS = [("linux", ""), ("macos", ""), ("windows", ""), ("windows", "cmd")]


def steps_of_the_table(system: str, shell: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give the code and the usual steps of every row of the table, in each kind of environment."""
    for path in PLACES[system]:
        for python in ({}, {"pip": None}, {"environment": "conda"}, {"environment": "pipx", "prefix": path}):
            for place in ({}, {"container": "docker"}, {"wsl": True}) if system == "linux" else ({},):
                facts = {
                    "system": {"os": system, "machine": "x86_64", **place},
                    "python": {"executable": path, "version": "3.12.1", "pip": "25.0", **python},
                    "packages": {"torch": "2.9.1+cu128"},
                    "gpus": [GTX],
                }
                remedies = Remedies(Evidence(from_json(facts)), shell)
                yield from ((code.code, remedies.steps(Finding(code.code, 0, ()))) for code in all_codes())


def steps_of_cases(system: str, shell: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give the code and the steps of every diagnosis of every case of a system."""
    for case in EVERY:
        facts = case["facts"]
        if facts.get("system", {}).get("os", "") == system:
            yield from ((d.code, d.fix) for d in diagnose(from_json(facts), case["log"], shell=shell))


def commands(system: str, shell: str = "") -> list[str]:
    """Give every command that is printed for a system and a shell, each once."""
    if (system, shell) not in _commands:
        steps = [*steps_of_cases(system, shell), *steps_of_the_table(system, shell)]
        # What can only be met on another system is told in the words of that one.
        mine = [step for code, fix in steps if belongs(code, system) for step in fix]
        _commands[system, shell] = sorted({command for step in mine if (command := command_of(step))})
    return _commands[system, shell]


_commands: dict[tuple[str, str], list[str]] = {}
ELSEWHERE = {
    "windows": re.compile(
        r"(macos|mps|wsl|docker|rocm)-|glibc|no-wheel-m|externally-managed|nvml-version|driver-not-loaded|"
        r"cuda-(unknown|forward)|fabric|libstdcxx|venv-lib|mkl-ijit|jetson|shm-too-small|gpu-not-visible$"
    )
}


def belongs(code: str, system: str) -> bool:
    """Say whether a code can be met on a system."""
    return not (system in ELSEWHERE and ELSEWHERE[system].match(code))


def test_the_reader_of_this_test_knows_a_command_from_words():
    assert command_of("or the newest build that this driver runs: torchcheck install") == "torchcheck install"
    assert command_of('& "C:\\a b\\python.exe" -m pip check').startswith("& ")
    assert not command_of("Use smaller batches.")
    assert not command_of("(on the host)")
    assert not command_of("or import torch before the other package.")


@pytest.mark.parametrize(("system", "shell"), SHELLS)
def test_the_first_step_is_no_remark_and_no_label(system, shell):
    """Who pastes the first step, or reads it by a program, gets the command itself."""
    steps = [*steps_of_cases(system, shell), *steps_of_the_table(system, shell)]
    assert len(steps) > 100
    assert not {(code, fix[0]) for code, fix in steps if fix and (fix[0].startswith("(") or fix[0].endswith(":"))}


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_sh_accepts_every_command(system):
    found = commands(system)
    assert len(found) > 10
    refused = {command: why for command in found if (why := sh_refuses(command))}
    assert not refused


def test_powershell_accepts_every_command():
    found = commands("windows")
    assert len(found) > 40
    assert not {command: why for command in found if (why := powershell_mistakes(command))}


def test_the_grammar_of_powershell_parses_every_command():
    assert not [command for command in commands("windows") if powershell_refuses(command)]


@pytest.mark.parametrize(
    "command",
    ['"C:\\a b\\python.exe" -m pip', "'C:\\a b\\x.exe' -m pip", 'pip install "a', "foo (bar", "echo `", "x |"],
)
def test_the_grammar_of_powershell_refuses_what_powershell_does(command):
    assert powershell_refuses(command)


def test_cmd_takes_every_command_as_it_is_written():
    found = commands("windows", "cmd")
    assert len(found) > 40
    assert not {command: why for command in found if (why := cmd_refuses(command))}


@pytest.mark.parametrize(
    "command", ['pip install "a', "pip install a<2", "a & b", "echo %PATH%", "a (b)", 'a"b c"d', "py -m a; b", "$env:A"]
)
def test_the_rules_of_cmd_refuse_what_cmd_does(command):
    assert cmd_refuses(command)


def test_a_command_stands_alone_and_what_is_said_of_it_behind_it():
    """zsh takes no comments at its prompt."""
    facts = {"system": {"os": "linux"}}
    fix = diagnose(from_json(facts), "OSError: [Errno 28] No space left on device")[0].fix
    said = fix.index("(with a folder on a disk that has room in place of /big)")
    assert fix[said - 1].endswith("--cache-dir /big/pip torch")


@pytest.mark.parametrize(("system", "shell"), SHELLS)
def test_no_command_has_a_comment_or_a_remark(system, shell):
    for command in commands(system, shell):
        assert not re.search(r"\s#\s|& rem | {3}\(", unquoted(command)), command


@pytest.mark.parametrize(
    ("system", "shell", "path", "start"),
    [
        ("linux", "", "/home/a b/py", '"/home/a b/py" -m pip '),
        ("linux", "", "/home/a$b/it's/py", "'/home/a$b/it'\\''s/py' -m pip "),
        ("windows", "", "C:\\a b\\python.exe", '& "C:\\a b\\python.exe" -m pip '),
        ("windows", "", "C:\\a $b\\python.exe", "& 'C:\\a $b\\python.exe' -m pip "),
        ("windows", "cmd", "C:\\a $b\\python.exe", '"C:\\a $b\\python.exe" -m pip '),
        ("windows", "cmd", "C:\\b\u00fccher\\python.exe", "C:\\b\u00fccher\\python.exe -m pip "),
    ],
)
def test_the_interpreter_is_quoted_for_the_shell(system, shell, path, start):
    facts = {"system": {"os": system}, "python": {"executable": path, "pip": "25.0"}}
    fix = diagnose(from_json(facts), "ModuleNotFoundError: No module named 'sympy'", shell=shell)[0].fix
    assert fix[0].startswith(start), fix


def test_uv_is_told_which_environment():
    facts = {"system": {"os": "linux"}, "python": {"executable": "/env/bin/python", "pip": None}}
    fix = diagnose(from_json(facts), "ModuleNotFoundError: No module named 'sympy'")[0].fix
    assert fix[0].startswith("uv pip install --python /env/bin/python --force-reinstall")


@pytest.mark.parametrize(
    "log", ["", "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)"]
)
def test_pypy_is_not_told_to_install_into_pypy(log):
    python = {
        "implementation": "pypy",
        "version": "3.9.16",
        "bits": 64,
        "executable": "/usr/bin/pypy3",
        "pip": "23.0.1",
    }
    facts = {
        "system": {"os": "linux", "machine": "x86_64", "libc": "glibc 2.36"},
        "python": python,
        "torch": {"import": "missing"},
    }
    found = next(one for one in diagnose(from_json(facts), log) if one.code == "no-wheel-for-python")
    assert re.fullmatch(r"uv venv --clear --python cpython3\.\d+ \.venv", found.fix[0])
    assert found.fix[1] == "torchcheck install --python .venv"
    assert not any("pypy" in step for step in found.fix)
