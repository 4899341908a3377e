"""A plan, and what an installation came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torchcheck.report.render.markdown import size
from torchcheck.report.render.terminal.elements import Data, Line, Paste, command_line, heading, indented, pairs
from torchcheck.report.render.terminal.verified import verify, verify_verdict

if TYPE_CHECKING:
    from torchcheck.report.render.terminal.elements import Shown


def plan(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show what would be installed, and why."""
    yield from _warnings("blockers", data, "error")
    if data["backend"]:
        rows = [(name, version or "left out") for name, version in data["packages"].items()]
        source = data.get("index_url") or "what pip is configured with"
        rows += [("from", source), ("download", size(data.get("download_bytes")))]
        yield pairs([("backend", data["backend"]), *rows])
    yield from _bullets("Why", data["reasons"])
    yield from _warnings("warnings", data, "warning")
    if data["rejected"] and (verbose or data["backend"] is None):
        yield heading("Not chosen")
        yield indented(Line("skip", _rejected(r)) for r in data["rejected"])
    if data["command"] and data["backend"]:
        yield heading("Command")
        yield Paste("  ", command_line(data["command"]))


def plan_verdict(data: Data) -> Line:
    """Say in one line what the plan came to."""
    if data["backend"] is None:
        return Line("fail", "No plan fits this machine.")
    kept = " ".join(f"{name} {version}" for name, version in data["packages"].items() if version)
    return Line("pass", ("Ready: ", "bold"), kept)


def plan_and_verdict(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show a plan with its one-line verdict."""
    yield from plan(data, verbose)
    yield plan_verdict(data)


def dry_run(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show what `install` would do."""
    return plan_and_verdict(data["plan"], verbose)


def install(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show what an installation came to; the plan was shown before it."""
    if data["verify"] and (verbose or data["verdict"] == "unproven"):
        yield from verify(data["verify"], verbose)
    elif data["verify"]:
        yield verify_verdict(data["verify"])
    if data["constraints"] and data["verdict"] == "kept":
        yield Line("note", "So that other packages do not replace it, install them with these constraints:")
        yield from (Paste("    ", line) for line in data["advice"])
    for conflict in data["conflicts"]:
        yield Line("warning", f"No longer met: {conflict}")
    packages = ", ".join(f"{name} {version}" for name, version in data["installed"].items())
    yield _install_verdict(data, packages)


def _install_verdict(data: Data, packages: str) -> Line:
    proven = bool(data["verify"]) and data["verify"]["verdict"] == "pass"
    if data["verdict"] == "unproven":
        return Line("fail", ("Installed, but wrong: ", "bold red"), f"{packages} in {data['target']}")
    words = {"kept": "Installed", "in-place": "All is in place"}[data["verdict"]]
    return Line("pass", (f"{words} and proven: " if proven else f"{words}, not proven: ", "bold green"), packages)


def _bullets(title: str, texts: Iterable[str]) -> Iterator[Shown]:
    lines = [Line("note", text) for text in texts]
    if lines:
        yield heading(title)
        yield indented(lines)


def _warnings(kind: str, data: Data, status: str) -> Iterator[Shown]:
    for item in data[kind]:
        yield Line(status, (item["code"] + ": ", "bold"), item["message"])
        if item.get("hint"):
            yield Paste("  fix: ", item["hint"])


def _rejected(alternative: Data) -> str:
    named = " ".join(filter(None, [alternative["backend"], alternative.get("torch")]))
    return f"{named}: {alternative['reason']}"
