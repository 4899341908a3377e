"""What is written about the commands and what they say of themselves agree."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
COMMANDS = ("install", "plan", "verify", "doctor", "report", "diff")
# What other people's scripts call; an option that goes from here needs a new schema and a line in CHANGELOG.md.
CONTRACT = {
    "install": (
        "--backend --torch --only --index-url --find-links --offline --pre "
        "--venv --installer --yes --no-verify --dry-run"
    ),
    "plan": "--backend --torch --only --index-url --find-links --offline --pre --machine --lock",
    "verify": (
        "--device --quick --full --select --skip --list --timeout --nproc "
        "--stream --junit --html --github --seed --strict"
    ),
    "doctor": "--machine --log",
    "report": "--format -o --verify --no-redact",
    "diff": "",
}
COMMON = "--python --json -v -q --color --help"


def command(name: str) -> click.Command:
    return importlib.import_module(f"torchcheck.cli.{name}").command


def options(name: str) -> set[str]:
    context = click.Context(command(name))
    return {word for parameter in command(name).get_params(context) for word in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_the_contract_is_there(name: str) -> None:
    assert set((CONTRACT[name] + " " + COMMON).split()) <= options(name)


def test_every_command_and_option_that_the_readme_names_exists() -> None:
    for words in re.findall(r"torchcheck ([a-z]+)((?: [^`\n|]*)?)", README):
        if words[0] in COMMANDS:
            assert set(re.findall(r"(?<!\S)--[a-z-]+", words[1])) <= options(words[0]), words
    for name in COMMANDS:
        assert f"`torchcheck {name}" in README


def test_the_readme_says_of_each_command_what_the_contract_says() -> None:
    rows = dict(re.findall(r"^\| `torchcheck ([a-z]+)[^`]*` \| (.+?) \|$", README, re.MULTILINE))
    assert list(rows) == list(COMMANDS)


def test_the_workflow_runs_what_the_readme_tells_newcomers(capsys: pytest.CaptureFixture[str]) -> None:
    sys_argv, sys.argv = sys.argv, ["quickstart", str(ROOT / "README.md")]
    try:
        runpy.run_path(str(ROOT / ".ci" / "quickstart.py"))
    finally:
        sys.argv = sys_argv
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in (*lines, *re.findall(r"^```powershell\n(.*)\n```", README, re.MULTILINE)):
        assert line.replace("py -m venv", "python -m venv") in WORKFLOW or line in WORKFLOW


def test_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), link


def test_nobody_is_sent_to_the_other_project() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "torchcheck").rglob("*.py"), *(ROOT / ".github").rglob("*.yml")]:
        assert not re.search(r"pipx? install (?:-\S+ )*torchcheck(?![\w-])", path.read_text(encoding="utf-8")), path
