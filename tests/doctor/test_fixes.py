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

EVERY = cases("failures", "healthy", "own", "composed", "reports")
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
    """Take out what stands in quotes."""
    return re.sub(r"\"[^\"]*\"|'[^']*'", '""', command)


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


def powershell_refuses(command: str) -> bool:
    """Ask PowerShell's grammar (https://github.com/airbus-cert/tree-sitter-powershell) about a line.

    It does not know options of programs that hold "=" or begin with a digit, which PowerShell passes on as they are.
    """
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    line = re.sub(r"(?<=\s)-\d\S*", "-o", re.sub(r"(?<=\s)--?[\w-]+=", "-o ", command))
    return bool(parser.parse(f"{line}\n".encode()).root_node.has_error)


def test_the_grammar_of_powershell_parses_every_command():
    refused = [command for command in commands("windows") if powershell_refuses(command)]
    assert not [command for command in refused if not command.startswith("remove ")]  # words to a person


@pytest.mark.parametrize(
    "command",
    ['"C:\\a b\\python.exe" -m pip', "'C:\\a b\\x.exe' -m pip", 'pip install "a', "foo (bar", "echo `", "x |"],
)
def test_the_grammar_of_powershell_refuses_what_powershell_does(command):
    assert powershell_refuses(command)


def cmd_refuses(command: str) -> str:
    """Say what cmd would take otherwise than it is written; "" when nothing.

    The rules: a quote toggles; outside quotes & | < > ^ ( ) mean something
    (https://learn.microsoft.com/windows-server/administration/windows-commands/cmd); %NAME% is replaced inside quotes
    too; a caret at the end continues the line; the name of a program has no switch glued to it.
    """
    if command.count('"') % 2:
        return "an open quote"
    outside = "".join(command.split('"')[::2])
    if found := re.search(r"[&|<>^()]", outside):
        return f"a bare {found[0]}"
    if found := re.search(r"%[^%\s]+%", command):
        return f"{found[0]} is a variable"
    parts = command.split('"')
    glued = any(
        parts[i - 1][-1:] not in ("", " ", "=") or parts[i + 1][:1] not in ("", " ") for i in range(1, len(parts), 2)
    )
    return "a quote within a word" if glued else ""


def test_cmd_takes_every_command_as_it_is_written():
    wrong = {command: why for command in commands("windows", "cmd") if (why := cmd_refuses(command))}
    assert not {command for command in wrong if not command.startswith(("remove ", "set "))}, wrong


@pytest.mark.parametrize("command", ['pip install "a', "pip install a<2", "a & b", "echo %PATH%", "a (b)", 'a"b c"d'])
def test_the_rules_of_cmd_refuse_what_cmd_does(command):
    assert cmd_refuses(command)


def test_cmd_accepts_every_command():
    found = list(commands("windows", "cmd"))
    assert len(found) > 40
    for command in found:
        plain = unquoted(command)
        assert balanced(command), command
        assert not re.search(r"\$env:|^Remove-Item|^& |[<`']", plain), command
        assert not UNIX_ONLY.search(plain), command


def test_a_command_stands_alone_and_what_is_said_of_it_before_it():
    """zsh takes no comments at its prompt."""
    facts = {"system": {"os": "linux"}}
    fix = diagnose(from_json(facts), "OSError: [Errno 28] No space left on device")[0].fix
    said = fix.index("With a folder on a disk that has room in place of /big:")
    assert fix[said + 1].endswith("--cache-dir /big/pip torch")


@pytest.mark.parametrize(("system", "shell"), [("linux", ""), ("macos", ""), ("windows", ""), ("windows", "cmd")])
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
