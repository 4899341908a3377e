"""What the reports of many ranks amount to: one event for each check, and the odd ones out. Pure.

A rank's report is `{"identity": {…}, "results": [bad or skipped ones, whole], "passed": [[id, dtype]…],
"figures": {id: {"digest", "fastest"}}, "ended": why it ended early or "", "seconds"}`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Report = Mapping[str, Any]
ARRIVAL = "distributed.ranks"
# The worst first; of ranks that were skipped and ranks that passed, those that passed say more.
ORDER = ("crash", "timeout", "fail", "error", "known", "pass", "skip")
ITEM = ("id", "title", "device", "dtype")
# How a rank says that another one went: it is not where to look first.
_LOST_TOUCH = re.compile(
    r"connection (closed|reset|refused)|broken pipe|socket closed|timed? ?out|remote process|aborted|peer",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fleet:
    """Everything that rank 0 has.

    Attributes:
        world: how many ranks there should be.
        reports: what ranks reported.
        missing: who did not, and where each was last seen.
        trouble: why the ranks did not go on together, or "".
        unfit: who was not like the others (another torch, no device of its own), and in what.
    """

    world: int
    reports: Mapping[int, Report]
    missing: Mapping[int, str] = field(default_factory=dict)
    trouble: str = ""
    unfit: Mapping[int, str] = field(default_factory=dict)

    def name(self, rank: int) -> str:
        """Name a rank by host and device."""
        identity = self.identity(rank)
        if not identity:
            return f"rank {rank}"
        uuid = f", {identity['uuid']}" if identity.get("uuid") else ""
        return f"rank {rank} ({identity['host']}, {identity['device']}{uuid})"

    def identity(self, rank: int) -> Mapping[str, Any]:
        """Give what a rank said of itself; empty for one that never spoke."""
        return dict(self.reports.get(rank, {}).get("identity") or {})


def merge(fleet: Fleet, plan: Iterable[Event], own: Mapping[tuple[str, str | None], Event]) -> list[Event]:
    """Make one result of every planned check, of all ranks' results; `own` are rank 0's, with what was measured.

    The first result says whether every rank arrived, fits and reported.
    """
    by_check = _by_check(fleet)
    odd = odd_ones(fleet)
    results = [_arrival(fleet)]
    for item in plan:
        key = (item["id"], item["dtype"])
        found = by_check.get(key, {})
        for rank, why in odd.get(item["id"], {}).items():
            if found.get(rank, {}).get("status") == "pass":
                found[rank] = {"status": "fail", "detail": why, "hint": "take this device out of service and test it"}
        results.append(_merged(fleet, item, found, own.get(key, {})))
    return results


def _by_check(fleet: Fleet) -> dict[tuple[str, str | None], dict[int, Mapping[str, Any]]]:
    found: dict[tuple[str, str | None], dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for rank, report in sorted(fleet.reports.items()):
        for ident, dtype in report["passed"]:
            found[(ident, dtype)][rank] = {"status": "pass", "detail": ""}
        for result in report["results"]:
            found[(result["id"], result["dtype"])][rank] = result
    return found


def _merged(fleet: Fleet, item: Event, found: Mapping[int, Mapping[str, Any]], own: Mapping[str, Any]) -> Event:
    base = {**_blank(item), **{name: own[name] for name in ("measured", "bound", "unit", "seconds") if name in own}}
    if not found:
        return {**base, "status": "skip", "detail": "no rank came so far"}
    status = min((one["status"] for one in found.values()), key=ORDER.index)
    count = Counter(one["status"] for one in found.values())
    if status == "pass":
        few = f"; skipped on {count['skip']}" if count["skip"] else ""
        told = f"{count['pass']} of {fleet.world} ranks{few}" + (
            "; dealt out on each host" if item.get("dealt") else ""
        )
        return {**base, "status": "pass", "detail": "; ".join(filter(None, [told, own.get("detail", "")]))}
    guilty = [rank for rank, one in sorted(found.items()) if one["status"] == status]
    lost = [rank for rank in guilty if _LOST_TOUCH.search(str(found[rank]["detail"]))]
    causes = [rank for rank in guilty if rank not in lost] or guilty
    first = found[causes[0]]
    detail = str(first["detail"])
    if status != "skip":
        followed = len(
            [rank for rank, one in found.items() if one["status"] in ("fail", "error") and rank not in causes]
        )
        detail = f"{fleet.name(causes[0])}: {detail}{_also(causes[1:])}"
        detail += f"; {followed} other rank{'s' if followed > 1 else ''} lost touch with it" if followed else ""
    shown = {name: first.get(name, base[name]) for name in ("measured", "bound", "unit")}
    return {**base, **shown, "status": status, "detail": detail, "hint": first.get("hint")}


def _also(ranks: list[int]) -> str:
    if not ranks:
        return ""
    which = ", ".join(map(str, ranks[:8])) + (" and more" if len(ranks) > 8 else "")
    return f"; so on rank{'s' if len(ranks) > 1 else ''} {which}"


def _arrival(fleet: Fleet) -> Event:
    """Judge whether every rank was there from the beginning to the end."""
    bad = [
        f"rank {rank} never arrived or was lost" + (f"; last seen at {where}" if where else "")
        for rank, where in sorted(fleet.missing.items())
    ]
    bad += [f"{fleet.name(rank)}: {r['ended']}" for rank, r in sorted(fleet.reports.items()) if r.get("ended")]
    more = [f"and {len(bad) - 8} more"] if len(bad) > 8 else []
    detail = "; ".join([*filter(None, [fleet.trouble]), *bad[:8], *more])
    status = "fail" if detail else "pass"
    hint = "look at the log of these ranks and at the network between their hosts" if detail else None
    figures = {"measured": fleet.world - len(fleet.missing), "bound": fleet.world, "unit": "ranks"}
    hosts = len({str(fleet.identity(rank).get("host")) for rank in fleet.reports})
    told = detail or f"{fleet.world} ranks on {hosts} host{'s' if hosts != 1 else ''}"
    return {**_blank(arrival_item()), **figures, "status": status, "detail": told, "hint": hint}


def arrival_item() -> Event:
    """Give the check that stands first: were all ranks there, and fit together."""
    title = "Every rank arrives, runs the same torch and backend, and reports."
    return {"id": ARRIVAL, "title": title, "device": "cpu", "dtype": None}


def _blank(item: Mapping[str, Any]) -> Event:
    empty = {"measured": None, "bound": None, "unit": None, "detail": "", "hint": None, "seconds": 0.0}
    return {"event": "result", **{name: item[name] for name in ITEM}, **empty}


def odd_ones(fleet: Fleet) -> dict[str, dict[int, str]]:
    """Find, check by check, the ranks whose bits differ from those of most ranks of their model.

    Where no more than half agree nobody can say who is right, and all of that model are told to differ.
    """
    found: dict[str, dict[int, str]] = {}
    models: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for rank, report in sorted(fleet.reports.items()):
        model = str(fleet.identity(rank).get("name", ""))
        for ident, figures in report.get("figures", {}).items():
            if "digest" in figures:
                models[(ident, model)][rank] = figures["digest"]
    for (ident, model), digests in models.items():
        (usual, count), *others = Counter(digests.values()).most_common()
        if not others:
            continue
        agreed = 2 * count > len(digests)
        what = f"its bits differ from those of {count} of {len(digests)} ranks of its model ({model})"
        unclear = f"the {len(digests)} ranks of this model ({model}) differ, and no more than half agree"
        odd = {rank: what if agreed else unclear for rank, digest in digests.items() if not agreed or digest != usual}
        found.setdefault(ident, {}).update(odd)
    return found


def count(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count results by status, the worst first."""
    found = Counter(str(one["status"]) for one in results)
    return {status: found[status] for status in ORDER if found[status]}


def report_of(identity: Mapping[str, Any], results: Iterable[Event], ended: str, seconds: float) -> Event:
    """Make a rank's report of its results: what passed by name alone, the rest whole."""
    everything = list(results)
    return {
        "identity": dict(identity),
        "passed": [[one["id"], one["dtype"]] for one in everything if one["status"] == "pass"],
        "results": [
            {name: value for name, value in one.items() if name not in ("event", "figures", "title")}
            for one in everything
            if one["status"] != "pass"
        ],
        "figures": {one["id"]: one["figures"] for one in everything if "digest" in (one.get("figures") or {})},
        "ended": ended,
        "seconds": round(seconds, 3),
    }
