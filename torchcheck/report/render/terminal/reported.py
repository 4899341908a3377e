"""Diagnoses, reports, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from torchcheck.report.render.markdown import plain, rows
from torchcheck.report.render.terminal.elements import Data, Line, Paste, count, heading, indented, pairs
from torchcheck.report.render.terminal.verified import verify

if TYPE_CHECKING:
    from torchcheck.report.render.terminal.elements import Shown


def doctor(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show diagnoses, most likely cause first."""
    found = [d for d in data["diagnoses"] if d["code"] != "environment-ok"]
    for diagnosis in found:
        yield from _diagnosis(diagnosis, verbose)
    errors = sum(d["severity"] == "error" for d in found)
    warnings = sum(d["severity"] == "warning" for d in found)
    if errors or warnings:
        told = " and ".join(count(n, word) for n, word in ((errors, "error"), (warnings, "warning")) if n)
        yield Line("fail" if errors else "warning", f"{told} found.")
    else:
        well = next((d for d in data["diagnoses"] if d["code"] == "environment-ok"), None)
        yield Line("pass", "Nothing wrong was found" + (f": {'; '.join(well['evidence'])}" if well else "") + ".")


def likely(diagnoses: list[Data]) -> Iterator[Shown]:
    """Show what probably caused a failure that another command met."""
    yield heading("Likely cause" + ("s, the first one first" if len(diagnoses) > 1 else ""))
    for diagnosis in diagnoses:
        yield from _diagnosis(diagnosis, verbose=False)


def proof(data: Data, verbose: bool = False) -> Iterator[Shown]:  # noqa: ARG001 - as all renderers are called
    """Show whether an archived proof holds here."""
    for problem in data["problems"]:
        yield Line("fail", problem)
    holds = not data["problems"]
    yield Line("pass" if holds else "fail", f"{data['proof']} {'holds' if holds else 'does not hold'} here and now.")


def report(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show facts, diagnoses and the verification of a report."""
    for section, members in data["facts"].items():
        yield heading(section)
        yield indented([pairs(rows(members))])
    yield heading("diagnoses")
    yield from doctor(data, verbose)
    if data["verify"]:
        yield heading("verification")
        yield from verify(data["verify"], verbose)


def diff(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show what differs between two reports, most telling first."""
    shown = [d for d in data["differences"] if verbose or d["weight"] != "noise"]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("weight", "what", "A", "B", "note"):
            table.add_column(title, overflow="fold")
        for d in shown:
            table.add_row(*(Text(plain(d[key])) for key in ("weight", "path", "a", "b", "note")))
        yield table
    told = len(data["differences"])
    yield Line("pass" if not told else "warning", f"{count(told, 'difference')}, {len(shown)} shown.")


def _diagnosis(d: Data, verbose: bool) -> Iterator[Shown]:
    yield Line(d["severity"], (d["title"], "bold"), (f"  [{d['code']}]", "dim"))
    told = [Text.assemble(("seen: ", "dim"), item) for item in d["evidence"]]
    if d["why"]:
        told.append(Text.assemble(("why:  ", "dim"), d["why"]))
    yield indented(told)
    yield from (Paste(" " * 8 if item.startswith("(") else "  fix:  ", item) for item in d["fix"])
    if d.get("link") and verbose:
        yield Paste("  more: ", d["link"])
