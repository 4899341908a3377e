"""Every command that the doctor prints can be pasted: the shell that it is meant for accepts its grammar."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from scoring import cases

from torchcheck.doctor import diagnose
from torchcheck.facts import from_json

EVERY = cases("failures", "healthy", "own", "composed")
LABEL = re.compile(r"^(?:or\b[^:]*|(?:Linux|Windows|macOS|Linux, macOS)): ?")
PYTHON = ("device = ", "DataLoader(")
PROSE = re.compile(r"^(?:or [^:]*$|https?://)")
COMMAND = re.compile(r"^(?:[a-z./~\"$]|& |[A-Z_]+=|[A-Z]:\\|Remove-Item |[A-Z]\w+\.exe)")
UNIX_ONLY = re.compile(r"^(?:sudo|export|unset|apt|brew|grep|which|df|rm|env -u|ls|source)\b|[A-Z]+=\S+ \w|/dev/null")


def commands(system: str, shell: str = "") -> Iterator[str]:
    """Give every command that is printed for a system and a shell, each once."""
    seen = set()
    for case in EVERY:
        facts = case["facts"]
        if facts.get("system", {}).get("os", "") == system:
            for diagnosis in diagnose(from_json(facts), case["log"], shell=shell):
                seen |= {command for step in diagnosis.fix if (command := command_of(step))}
    return iter(sorted(seen))


def command_of(step: str) -> str:
    """Give the command in a step: what follows a label; "" for words to a person and for lines of Python."""
    text = LABEL.sub("", step)
    if text.startswith(PYTHON) or PROSE.search(text) or not COMMAND.search(text):
        return ""
    return text


def test_the_reader_of_this_test_knows_a_command_from_words():
    assert command_of("or the newest build that this driver runs: torchcheck install") == "torchcheck install"
    assert command_of('& "C:\\a b\\python.exe" -m pip check').startswith("& ")
    assert not command_of("Use smaller batches.")
    assert not command_of("or import torch before the other package.")


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_sh_accepts_every_command(system):
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no sh here")
    found = list(commands(system))
    assert len(found) > 10
    for command in found:
        ran = subprocess.run([shell, "-n"], input=command + "\n", capture_output=True, text=True, check=False)
        assert not ran.returncode, (command, ran.stderr)


def unquoted(command: str) -> str:
    """Take out what stands in quotes, and then the comment."""
    return re.sub(r"\"[^\"]*\"|'[^']*'", '""', re.sub(r" {3}(?:#|& rem) .*$", "", command))


def balanced(command: str) -> bool:
    """Say whether quotes and brackets are closed, a quote of one kind within one of the other aside."""
    rest = unquoted(command)
    return not re.search(r"\"[^\"]|'", rest.replace('""', "")) and rest.count("(") == rest.count(")")


def test_powershell_accepts_every_command():
    found = list(commands("windows"))
    assert len(found) > 40
    for command in found:
        plain = unquoted(command)
        assert balanced(command), command
        # Windows PowerShell 5 has no && and no ||; a quoted program needs the call operator, < is reserved.
        assert not re.search(r"&&|\|\||[<`]", plain), command
        assert not command.startswith('"'), command
        assert not UNIX_ONLY.search(plain), command
        assert not re.search(r"^set \w+=", command), command


def test_cmd_accepts_every_command():
    found = list(commands("windows", "cmd"))
    assert len(found) > 40
    for command in found:
        plain = unquoted(command)
        assert balanced(command), command
        assert not re.search(r"\$env:|^Remove-Item|^& |[<`']", plain), command
        assert "   #" not in command, command
        assert not UNIX_ONLY.search(plain), command


def test_a_remark_is_a_comment_of_the_shell():
    facts = {"system": {"os": "linux"}}
    linux = diagnose(from_json(facts), "OSError: [Errno 28] No space left on device")[0]
    assert [step for step in linux.fix if step.endswith("torch   # /big: a disk with room")]
    assert not [step for step in linux.fix if "   (" in step]
