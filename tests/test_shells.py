"""What is printed to be typed can be typed: each word is quoted for its shell, each command is one of its grammar."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_shells import cmd_refuses, commands_in, powershell_mistakes, powershell_refuses, sh_refuses

from torchcheck import shells
from torchcheck.facts import from_json
from torchcheck.install.preflight import Situation, judge
from torchcheck.wheels.plan import Plan, plan
from torchcheck.wheels.request import Request

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "torchcheck"
CASES = [
    json.loads(line)
    for file in sorted((ROOT / "tests" / "wheels" / "cases").glob("*.jsonl"))
    for line in file.read_text(encoding="utf-8").splitlines()
]
ELSEWHERE = re.compile(r"(?:sudo|brew|findmnt|docker|wsl|export) |\(|\{|manylinux_")
"""Commands of one other system, whose name stands beside them, and what in backticks is no command at all."""
INTO_A_FILE = re.compile(r" > \w+\.json$")
"""All shells write what a program prints into a file so (Windows PowerShell 5 in UTF-16, which is read)."""


@pytest.mark.parametrize(
    ("shell", "word", "argument", "program"),
    [
        ("sh", "/a/b", "/a/b", "/a/b"),
        ("sh", "/a b", '"/a b"', '"/a b"'),
        ("sh", "/a$b/it's", "'/a$b/it'\\''s'", "'/a$b/it'\\''s'"),
        ("sh", "C:\\a", "'C:\\a'", "'C:\\a'"),
        ("sh", "", '""', '""'),
        ("powershell", "C:\\a\\b.exe", "C:\\a\\b.exe", "C:\\a\\b.exe"),
        ("powershell", "C:\\a b", '"C:\\a b"', '& "C:\\a b"'),
        ("powershell", "C:\\a (x86)", '"C:\\a (x86)"', '& "C:\\a (x86)"'),
        ("powershell", "C:\\$a'b", "'C:\\$a''b'", "& 'C:\\$a''b'"),
        ("powershell", "C:\\\u201ca\u2019b", "'C:\\\u201ca\u2019\u2019b'", "& 'C:\\\u201ca\u2019\u2019b'"),
        ("cmd", "C:\\a b", '"C:\\a b"', '"C:\\a b"'),
        ("cmd", "C:\\a&b", '"C:\\a&b"', '"C:\\a&b"'),
    ],
)
def test_a_word_is_quoted_for_its_shell(shell: shells.Shell, word: str, argument: str, program: str) -> None:
    assert shells.quote(word, shell) == argument
    assert shells.call(word, shell) == program


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20))
def test_sh_gives_back_every_word(word: str) -> None:
    assert shlex.split(shells.quote(word, "sh")) == [word]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_the_grammar_of_powershell_reads_every_quoted_word(word: str) -> None:
    quoted = shells.quote(word, "powershell")
    if quoted == word:
        assert not powershell_refuses(f"python {word}") or word.startswith("-")
    else:
        assert not powershell_refuses(f"& {quoted} -m pip")
        assert quoted[0] == quoted[-1]
        assert len(re.findall(r"(?<!')(?:'')*'(?!')", quoted[1:-1])) == 0 or quoted[0] == '"'


@pytest.mark.skipif(not (shutil.which("pwsh") or sys.platform == "win32"), reason="no PowerShell here")
@pytest.mark.parametrize("word", ["a b", "a$b", "it's", "a`b", "(x86)", "a;b", "\u00fc", "a,b", "@a", "a{b}", "\u2019"])
def test_powershell_gives_back_every_word(word: str) -> None:
    shell = shutil.which("pwsh") or shutil.which("powershell")
    assert shell
    script = "import sys; sys.stdout.buffer.write(sys.argv[1].encode())"
    line = shells.command([sys.executable, "-c", script, word], "powershell")
    ran = subprocess.run([shell, "-NoProfile", "-NonInteractive", "-Command", line], capture_output=True, check=True)
    assert ran.stdout.decode() == word


def texts(tree: ast.Module) -> Iterator[str]:
    """Give every text of a source that is not a docstring, with X for what is filled in."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    parts: set[int] = set()
    for node in ast.walk(tree):  # breadth first: an f-string comes before its parts
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | docstrings:
            yield node.value


def test_every_command_in_a_sentence_is_one_of_each_shell_of_windows() -> None:
    seen = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            seen |= {INTO_A_FILE.sub("", command) for command in commands_in(text) if not ELSEWHERE.match(command)}
    assert len(seen) > 15
    refused = {c: (powershell_mistakes(c), cmd_refuses(c)) for c in sorted(seen) if powershell_refuses(c)}
    refused |= {c: (why, cmd_refuses(c)) for c in sorted(seen) if (why := powershell_mistakes(c) or cmd_refuses(c))}
    assert not refused


def _planned(case: dict[str, Any]) -> Iterator[str]:
    made = plan(from_json(case["facts"]), _request(case["args"])).as_json()
    for note in (*made["warnings"], *made["blockers"]):
        yield from commands_in(f"{note['message']} {note.get('hint', '')}")


def _request(args: list[str]) -> Request:
    words = iter(args)
    given = {word[2:].replace("-", "_"): next(words) for word in words if word in {"--torch", "--backend"}}
    return Request(**given)


def test_every_command_of_a_plan_for_windows_is_one_of_its_shells() -> None:
    found = sorted(
        {c for case in CASES if case["facts"].get("system", {}).get("os") == "windows" for c in _planned(case)}
    )
    assert len(found) > 2
    assert not {c: why for c in found if (why := powershell_mistakes(c) or cmd_refuses(c))}
    assert not [c for c in found if powershell_refuses(c)]


def test_every_command_of_a_plan_for_linux_and_macos_is_one_of_sh() -> None:
    found = sorted(
        {c for case in CASES if case["facts"].get("system", {}).get("os") != "windows" for c in _planned(case)}
    )
    assert len(found) > 3
    assert not {c: why for c in found if not c.startswith("FROM ") and (why := sh_refuses(c))}


TROUBLES: list[dict[str, Any]] = [
    {"python": {"bits": 32}}, {"python": {"pip": None, "executable": "C:\\Pr\u00fcf (x86)\\python.exe"}},
    {"python": {"writable": False}}, {"python": {"environment": "store"}}, {"python": {"environment": "user"}},
    {"python": {"environment": "conda", "prefix": "C:\\miniconda3"}}, {"system": {"vc_redist": None}},
    {"python": {"environment": "conda", "prefix": "C:\\miniconda3\\envs\\t"}}, {"system": {"long_paths": False}},
    {"disk": {"cache_free": 1}}, {"disk": {"target_free": 1}},
]  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_is_typed_before_an_installation_on_windows_is_one_line_of_powershell(trouble: dict[str, Any]) -> None:
    python = {"bits": 64, "pip": "25.3", "environment": "venv", "writable": True, **trouble.get("python", {})}
    system = {"os": "windows", "long_paths": True, "vc_redist": "14.44", **trouble.get("system", {})}
    facts = from_json({**trouble, "python": python, "system": system})
    site = "C:\\" + "d" * 150 + "\\Lib\\site-packages"
    planned = Plan(backend="cpu", packages={"torch": "2.15.0+cpu"}, download_bytes=2_000_000_000)
    (problem,) = judge(Situation(facts=facts, plan=planned, site=site))
    command, _, remark = problem.hint.partition("   (")
    assert not remark or remark.endswith(")")
    if not re.match(r"[A-Z][a-z]+ .*[.:]", problem.hint):  # words to a person
        assert not powershell_mistakes(command)
        assert not powershell_refuses(command)
