"""Ranks against checks: what each rank of a fleet did not pass, by host (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Data = Mapping[str, Any]
NOWHERE = "no host"
"""Stands for the host of a rank that never said where it is."""


@dataclass(frozen=True)
class Row:
    """One rank.

    Attributes:
        rank: its number.
        host: where it ran.
        name: rank and device.
        status: what its run came to.
        told: what is to be said of it beside its checks; "" when all is well.
        cells: check → status, where it did not pass.
        seconds: how long it took.
    """

    rank: int
    host: str
    name: str
    status: str
    told: str
    cells: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Matrix:
    """Every rank by host, and the checks that any of them did not pass."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]


def matrix(ranks: Iterable[Data]) -> Matrix:
    """Make the matrix of the `ranks` of a verification's data."""
    rows = sorted((_row(rank) for rank in ranks), key=lambda row: row.rank)
    hosts = list(dict.fromkeys(row.host for row in rows))  # by their first ranks: host-10 after host-9
    rows.sort(key=lambda row: hosts.index(row.host))
    return Matrix(tuple(rows), tuple(sorted({check for row in rows for check in row.cells})))


def _row(rank: Data) -> Row:
    where = ", ".join(str(rank[name]) for name in ("device", "name", "uuid") if rank.get(name))
    cells = {str(check): str(status) for check, status in (rank.get("not_passed") or {}).items()}
    if rank.get("first_difference"):
        cells.setdefault(str(rank["first_difference"]), "fail")
    return Row(
        rank=int(rank["rank"]),
        host=str(rank.get("host") or NOWHERE),
        name=f"rank {rank['rank']}" + (f" ({where})" if where else ""),
        status=str(rank["status"]),
        told="; ".join(_told(rank)),
        cells=cells,
        seconds=float(rank.get("seconds") or 0.0),
    )


def _told(rank: Data) -> Iterator[str]:
    if rank.get("ended"):
        yield str(rank["ended"])
    if rank.get("first_difference"):
        yield f"bits differ from {rank['first_difference']} on"
    if rank.get("times_slower"):
        yield f"{rank['times_slower']} times slower than most"
