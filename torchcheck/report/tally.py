"""How the checks of each topic ended (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Data = Mapping[str, Any]
BAD = ("fail", "crash", "timeout", "error")


@dataclass(frozen=True)
class Tally:
    """How many checks passed, failed in whatever way, are known to be wrong, were skipped; the seconds of all."""

    passed: int
    failed: int
    known: int
    skipped: int
    seconds: float


def topics(checks: Iterable[Data]) -> dict[str, list[Data]]:
    """Put the results of one topic together, in the order of first appearance."""
    found: dict[str, list[Data]] = {}
    for check in checks:
        found.setdefault(check["id"].partition(".")[0], []).append(check)
    return found


def tally(checks: Iterable[Data]) -> Tally:
    """Count results."""
    members = list(checks)
    count = Counter(check["status"] for check in members)
    failed = sum(count[status] for status in BAD)
    return Tally(count["pass"], failed, count["known"], count["skip"], sum(check["seconds"] for check in members))
