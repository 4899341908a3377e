"""A row for each rank: who it is, what it did not pass, and in what it differs from the others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torchcheck.verify import backend_variables
from torchcheck.verify.fleet import ORDER, Fleet, odd_ones
from torchcheck.verify.stragglers import stragglers

Event = dict[str, Any]


def rank_rows(fleet: Fleet) -> list[Event]:
    """Give the document's `ranks`: one entry each, by host, with every check that it did not simply pass."""
    slow, odd = stragglers(fleet.reports), odd_ones(fleet)
    rows = [_row(fleet, rank, slow, odd) for rank in range(fleet.world)]
    return sorted(rows, key=lambda row: (row["host"] or "", row["rank"]))


def _row(fleet: Fleet, rank: int, slow: Mapping[int, float], odd: Mapping[str, Mapping[int, str]]) -> Event:
    identity, report = fleet.identity(rank), fleet.reports.get(rank)
    results: list[Mapping[str, Any]] = list(report["results"]) if report else []
    counts = Counter(str(one["status"]) for one in results)
    counts["pass"] = len(report["passed"]) if report else 0
    differs = [ident for ident, ranks in odd.items() if rank in ranks]
    members = ("host", "local_rank", "device", "name", "torch", "python", "backend", "uuid")
    return {
        "rank": rank,
        **{name: identity.get(name) for name in members},
        "env": backend_variables.shown(identity.get("env") or {}),
        "status": _state(fleet, rank, results, differs),
        "ended": _end(fleet, rank),
        "counts": {status: number for status, number in counts.items() if number},
        "not_passed": {_key(one): one["status"] for one in results if one["status"] != "skip"},
        "first_difference": differs[0] if differs else None,
        "times_slower": round(slow[rank], 2) if rank in slow else None,
        "seconds": report.get("seconds", 0.0) if report else None,
    }


def _end(fleet: Fleet, rank: int) -> str:
    if rank in fleet.reports:
        return str(fleet.reports[rank].get("ended", "") or fleet.unfit.get(rank, ""))
    return f"no report; last seen at {fleet.missing.get(rank) or 'no check'}"


def _state(fleet: Fleet, rank: int, results: list[Mapping[str, Any]], differs: list[str]) -> str:
    if rank not in fleet.reports:
        return "missing"
    bad = {one["status"] for one in results} & {"fail", "error", "crash", "timeout"}
    return min(bad, key=ORDER.index) if bad else "fail" if differs or _end(fleet, rank) else "pass"


def _key(result: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (result["id"], result["dtype"])))


def notes(rows: list[Event]) -> list[str]:
    """Say what is no failure and yet worth a look: stragglers, and variables that not all ranks have alike."""
    slow = [
        f"rank {row['rank']} ({row['host']}, {row['device']}) is {row['times_slower']:.2f} times slower than most"
        for row in sorted(rows, key=lambda row: row["rank"])
        if row["times_slower"]
    ]
    here = [row for row in rows if row["status"] != "missing"]
    names = sorted({name for row in here for name in row["env"]} - backend_variables.OWN)
    return slow + [told for name in names for told in _uneven(name, here)]


def _uneven(name: str, rows: list[Event]) -> list[str]:
    values = [row["env"].get(name) for row in rows]
    usual, count = Counter(values).most_common(1)[0]
    if count == len(rows):
        return []
    odd = [row for row in sorted(rows, key=lambda row: row["rank"]) if row["env"].get(name) != usual]
    which = ", ".join(str(row["rank"]) for row in odd[:8]) + (" and more" if len(odd) > 8 else "")
    value = odd[0]["env"].get(name)
    return [f"{name} is {usual!r} on most ranks and {value!r} on rank{'s' if len(odd) > 1 else ''} {which}"]
