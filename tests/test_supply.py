"""What CI installs is pinned with hashes, and what its workflows call exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PINS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".ci").glob("*.txt"))}
WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github").rglob("*.yml"))}
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # tomllib is of Python 3.11


def pinned(text: str) -> dict[str, str]:
    """Give name → version of a file of pins."""
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


def wanted(section: str) -> list[Requirement]:
    """Give the requirements of a list in pyproject.toml."""
    block = re.search(rf"^{section} = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert block
    return [Requirement(text) for text in re.findall(r'^\s*"([^"]+)"', block[1], re.MULTILINE)]


@pytest.mark.parametrize("name", PINS)
def test_every_pin_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=[\w.-]+==)", "\n" + PINS[name])[1:]
    assert len(entries) == len(pinned(PINS[name])) > 0
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


@pytest.mark.parametrize("section", ["dependencies", "test"])
def test_the_gate_installs_what_the_project_needs(section: str) -> None:
    there = pinned(PINS["tools.txt"])
    for need in wanted(section):
        assert need.specifier.contains(there[canonicalize_name(need.name)]), need


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_workflows_install_is_ours_pinned_or_torch(name: str) -> None:
    for line in re.findall(r"pip install ([^;&|]*)", WORKFLOWS[name]):
        words = [word for word in line.split() if word not in {"-q", "--quiet"}]
        assert (
            words[0] == "--require-hashes" or words[0] in {".", "-e", "torch", "dist/*.whl"} or name == "action.yml"
        ), line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    for used in re.findall(r"uses: (\S+)", WORKFLOWS[name]):
        assert re.search(r"@[0-9a-f]{40}$", used) or used.startswith(("./", "$/")), used


def test_every_option_that_a_workflow_gives_exists() -> None:
    calls = re.findall(
        r"""(?:torchcheck(?:\.exe)?|\$tool)"? (install|plan|verify|doctor|report|diff)\b([^|>;&\n]*)""",
        WORKFLOWS["ci.yml"],
    )
    assert {name for name, _ in calls} >= {"install", "verify", "doctor", "report"}
    for name, words in calls:
        command = importlib.import_module(f"torchcheck.cli.{name}").command
        options = {word for option in command.get_params(click.Context(command)) for word in option.opts}
        assert set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", words)) <= options, words


def test_windows_is_tried_with_an_umlaut_a_space_and_without_long_paths() -> None:
    text = WORKFLOWS["ci.yml"]
    assert "windows-latest" in text
    assert text.count("path: Prüf stand") >= 2
    assert "LongPathsEnabled -Value 0" in text
