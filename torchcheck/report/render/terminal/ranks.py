"""The ranks of a run over many, by host."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from torchcheck.report.render.terminal.elements import Data, indented

if TYPE_CHECKING:
    from torchcheck.report.render.terminal.elements import Shown

SHOWN = 16
"""Hosts up to which every one has a line; beyond them only those with something to say."""


def ranks(rows: list[Data]) -> Iterator[Shown]:
    """Show a line for each host, and under it every rank that is not simply well."""
    hosts = [(host, list(members)) for host, members in groupby(rows, key=lambda row: str(row["host"] or "no host"))]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("host")
    for column in ("ranks", "passed", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("ranks to look at")
    for host, members in hosts:
        told = "; ".join(filter(None, (_told(row) for row in members)))
        if told or len(hosts) <= SHOWN:
            good = sum(row["status"] == "pass" for row in members)
            longest = max((row["seconds"] or 0.0 for row in members), default=0.0)
            style = "" if good == len(members) else "bold red"
            table.add_row(Text(host, style), str(len(members)), str(good), f"{longest:.1f}", Text(told))
    yield table
    if len(hosts) > SHOWN:
        yield indented([Text(f"{len(rows)} ranks on {len(hosts)} hosts; hosts without a word are well", "dim")])


def _told(row: Data) -> str:
    """Say what is to be said of one rank; "" when all is well."""
    said: list[Any] = []
    if row["status"] != "pass":
        said.append(row["status"])
    if row["first_difference"]:
        said.append(f"bits differ from {row['first_difference']} on")
    if row["times_slower"]:
        said.append(f"{row['times_slower']} times slower than most")
    if not said:
        return ""
    where = ", ".join(filter(None, [row["device"], row["uuid"]]))
    return f"rank {row['rank']}{f' ({where})' if where else ''}: {', '.join(said)}"
