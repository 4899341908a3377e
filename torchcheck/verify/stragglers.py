"""Which ranks are slower than the others by more than the spread of all explains. Pure.

A rank's time is the sum of its fastest runs of the same deterministic works. Against the ranks of its model, it is a
straggler when it exceeds their median by k robust standard deviations, and by a quarter of the median at least. The
spread is the median absolute deviation times 1.4826, which is a standard deviation for normal times and is not moved by
outliers (Rousseeuw and Croux, 1993); k grows where few ranks say little about the spread.

How often a run in which nobody is slow is told of a straggler: `tests/fleet/test_stragglers.py` draws runs of 4 to 64
ranks with normal and log-normal times, and holds the rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any

SIGMAS = 8.0
FEWEST = 4
"""Ranks below which a spread says nothing."""
FLOOR = 0.25
"""Least margin, relative: less is the noise of clocks, temperatures and neighbours, and no reason to drain a node."""


def margin(times: list[float]) -> float:
    """Give by how much a time may exceed the median of `times` (seconds) before it is a straggler's."""
    middle = median(times)
    spread = 1.4826 * median(abs(value - middle) for value in times)
    sigmas = SIGMAS * (1 + (FEWEST / len(times)) ** 2)
    return max(sigmas * spread, FLOOR * middle)


def stragglers(reports: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    """Find the stragglers among ranks that reported; how many times slower than the median of their model each is."""
    models: dict[str, dict[int, float]] = defaultdict(dict)
    for rank, report in reports.items():
        times = [figures["fastest"] for figures in report.get("figures", {}).values() if "fastest" in figures]
        if times:
            models[str((report.get("identity") or {}).get("name", ""))][rank] = sum(times)
    slow: dict[int, float] = {}
    for times_of in models.values():
        if len(times_of) < FEWEST:
            continue
        middle, most = median(times_of.values()), margin(list(times_of.values()))
        slow.update({rank: value / middle for rank, value in times_of.items() if value > middle + most})
    return slow
