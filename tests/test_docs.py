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
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    for words in re.findall(r"torchcheck ([a-z]+)((?: [^`\n|#]*)?)", page.read_text(encoding="utf-8")):
        if words[0] in COMMANDS:
            assert set(re.findall(r"(?<!\S)--[a-z-]+", words[1])) <= options(words[0]), words


def test_the_readme_shows_every_command() -> None:
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_readme_says_what_is_proven_of_every_topic() -> None:
    from torchcheck.suite.registry import all_checks

    table = README.partition("## What is proven")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", "".join(line.rpartition(" | ")[2] for line in table.splitlines() if "|" in line))
    assert sorted(named) == sorted({check.id.partition(".")[0] for check in all_checks()})


def test_what_other_projects_paste_is_what_we_use_ourselves() -> None:
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    asked = "Paste the output of `torchcheck report --format markdown`. Names, paths and tokens are taken out of it."
    page = (ROOT / "docs" / "projects.md").read_text(encoding="utf-8")
    assert asked in form
    assert asked in page
    three = re.search(r"^- uses: OWNER/torchcheck/(\S+)@SHA\n  with:\n    python: \S+$", page, re.MULTILINE)
    assert three
    assert three[0] in README
    assert (ROOT / three[1] / "action.yml").exists()


def test_nobody_is_sent_to_the_other_project() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "torchcheck").rglob("*.py"), *(ROOT / ".github").rglob("*.yml")]:
        assert not re.search(r"pipx? install (?:-\S+ )*torchcheck(?![\w-])", path.read_text(encoding="utf-8")), path
