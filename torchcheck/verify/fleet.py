"""What the reports of many ranks amount to: one event for each check, the odd ones out, the stragglers. Pure.

A rank's report is `{"identity": {…}, "results": [bad or skipped ones, whole], "passed": [[id, dtype]…],
"figures": {id: {"digest", "fastest"}}, "ended": why it ended early or "", "seconds"}`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Event = dict[str, Any]
Report = Mapping[str, Any]
ARRIVAL = "distributed.ranks"
# The worst first; of ranks that were skipped and ranks that passed, those that passed say more.
ORDER = ("crash", "timeout", "fail", "error", "known", "pass", "skip")
CAUSES = ("crash", "timeout")
SIGMAS = 8.0
"""How many robust standard deviations beyond the median make a straggler: with 1,000 ranks and normal times, none."""
FEWEST = 4
"""Ranks below which a spread says nothing."""
_NOISE = 0.1
"""Least margin, relative: a spread of nothing must not make a straggler of a microsecond."""


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
        uuid = f", {_short(identity['uuid'])}" if identity.get("uuid") else ""
        return f"rank {rank} ({identity['host']}, {identity['device']}{uuid})"

    def identity(self, rank: int) -> Mapping[str, Any]:
        """Give what a rank said of itself; empty for one that never spoke."""
        return dict(self.reports.get(rank, {}).get("identity") or {})


def _short(uuid: str) -> str:
    """Give the end of a UUID: enough to tell the GPUs of a host apart, too little to track one."""
    return f"…{uuid[-4:]}"


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
        told = f"{count['pass']} of {fleet.world} ranks{few}"
        return {**base, "status": "pass", "detail": "; ".join(filter(None, [told, own.get("detail", "")]))}
    guilty = [rank for rank, one in sorted(found.items()) if one["status"] == status]
    first = found[guilty[0]]
    detail = f"{fleet.name(guilty[0])}: {first['detail']}" if status != "skip" else str(first["detail"])
    if len(guilty) > 1 and status != "skip":
        others = ", ".join(str(rank) for rank in guilty[1:9])
        detail += f"; so on rank{'s' if len(guilty) > 2 else ''} {others}" + (" and more" if len(guilty) > 9 else "")
    followed = [rank for rank, one in found.items() if one["status"] in ("fail", "error")]
    if status in CAUSES and followed:
        detail += f"; {len(followed)} other rank{'s' if len(followed) > 1 else ''} lost touch with it"
    shown = {name: first.get(name, base[name]) for name in ("measured", "bound", "unit")}
    return {**base, **shown, "status": status, "detail": detail, "hint": first.get("hint")}


def _arrival(fleet: Fleet) -> Event:
    """Judge whether every rank was there from the beginning to the end."""
    bad = [
        f"rank {rank} never arrived or was lost" + (f"; last seen at {where}" if where else "")
        for rank, where in sorted(fleet.missing.items())
    ]
    bad += [f"{fleet.name(rank)}: {r['ended']}" for rank, r in sorted(fleet.reports.items()) if r.get("ended")]
    more = [f"and {len(bad) - 8} more"] if len(bad) > 8 else []
    detail = "; ".join([*filter(None, [fleet.trouble]), *bad[:8], *more])
    item = {
        "id": ARRIVAL,
        "title": "Every rank arrives, runs the same torch and backend, and reports.",
        "device": "cpu",
        "dtype": None,
    }
    status = "fail" if detail else "pass"
    hint = "look at the log of these ranks and at the network between their hosts" if detail else None
    figures = {"measured": fleet.world - len(fleet.missing), "bound": fleet.world, "unit": "ranks"}
    told = detail or f"{fleet.world} ranks on {len(_hosts(fleet))} hosts"
    return {**_blank(item), **figures, "status": status, "detail": told, "hint": hint}


def _hosts(fleet: Fleet) -> set[str]:
    return {str(fleet.identity(rank).get("host")) for rank in fleet.reports}


def _blank(item: Mapping[str, Any]) -> Event:
    empty = {"measured": None, "bound": None, "unit": None, "detail": "", "hint": None, "seconds": 0.0}
    return {"event": "result", **{name: item[name] for name in ("id", "title", "device", "dtype")}, **empty}


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


def stragglers(fleet: Fleet) -> dict[int, float]:
    """Find ranks that are slower than their model's median by more than its spread explains; how many times slower.

    The spread is the median absolute deviation, times 1.4826: a standard deviation that outliers do not move (Rousseeuw
    and Croux, 1993).
    """
    models: dict[str, dict[int, float]] = defaultdict(dict)
    for rank, report in fleet.reports.items():
        times = [figures["fastest"] for figures in report.get("figures", {}).values() if "fastest" in figures]
        if times:
            models[str(fleet.identity(rank).get("name", ""))][rank] = sum(times)
    slow: dict[int, float] = {}
    for times_of in models.values():
        if len(times_of) < FEWEST:
            continue
        middle = median(times_of.values())
        spread = 1.4826 * median(abs(value - middle) for value in times_of.values())
        margin = max(SIGMAS * spread, _NOISE * middle)
        slow.update({rank: value / middle for rank, value in times_of.items() if value > middle + margin})
    return slow


def ranks_json(fleet: Fleet) -> list[Event]:
    """Give the document's `ranks`: one entry each, by host, with every check that it did not simply pass."""
    slow, odd = stragglers(fleet), odd_ones(fleet)
    rows = [_row(fleet, rank, slow, odd) for rank in range(fleet.world)]
    return sorted(rows, key=lambda row: (row["host"] or "", row["rank"]))


def _row(fleet: Fleet, rank: int, slow: Mapping[int, float], odd: Mapping[str, Mapping[int, str]]) -> Event:
    identity, report = fleet.identity(rank), fleet.reports.get(rank)
    results: list[Mapping[str, Any]] = list(report["results"]) if report else []
    counts = Counter(str(one["status"]) for one in results)
    counts["pass"] = len(report["passed"]) if report else 0
    differs = [ident for ident, ranks in odd.items() if rank in ranks]
    uuid = identity.get("uuid")
    return {
        "rank": rank,
        **{name: identity.get(name) for name in ("host", "local_rank", "device", "name", "torch", "python", "backend")},
        "uuid": _short(uuid) if uuid else None,
        "env": dict(identity.get("env") or {}),
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
