"""What is told at the end of a run over ranks, whoever gathered it: rank 0, or whoever heard the ranks. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torchcheck.verify import fleet, rank_rows

Event = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """All that is known at the end.

    Attributes:
        events: one result for each planned check, of all ranks.
        ranks: a row for each rank.
        notes: what is no failure and yet worth a look.
        seconds: of the longest rank.
        torch: the version that the ranks run.
        devices: kinds of their devices.
    """

    events: tuple[Event, ...]
    ranks: tuple[Event, ...]
    notes: tuple[str, ...]
    seconds: float
    torch: str | None
    devices: tuple[str, ...]

    def as_json(self) -> Event:
        """Give it as it is handed on."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Told:
        """Take it from who handed it on."""
        return cls(
            events=tuple(data["events"]),
            ranks=tuple(data["ranks"]),
            notes=tuple(data["notes"]),
            seconds=data["seconds"],
            torch=data["torch"],
            devices=tuple(data["devices"]),
        )


def tell(everything: fleet.Fleet, plan: Iterable[Event], own: Mapping[tuple[str, str | None], Event]) -> Told:
    """Make what is told of the ranks' reports; `own` are rank 0's results, with what was measured."""
    rows = rank_rows.rank_rows(everything)
    return Told(
        events=tuple(fleet.merge(everything, plan, own)),
        ranks=tuple(rows),
        notes=tuple(rank_rows.notes(rows)),
        seconds=max((row["seconds"] or 0.0 for row in rows), default=0.0),
        torch=next((row["torch"] for row in rows if row["torch"]), None),
        devices=tuple(sorted({str(row["device"]).partition(":")[0] for row in rows if row["device"]})),
    )


def of_events(events: Iterable[Event], why: str, seconds: float) -> Told | None:
    """Tell what was heard of ranks whose rank 0 was lost before it could gather their reports; None of nothing heard.

    Args:
        events: `hello`, and the ranks' results with their `rank`, as they came.
        why: what became of rank 0.
        seconds: since the beginning.
    """
    hello: Event = {}
    results: dict[int, dict[tuple[str, str | None], Event]] = defaultdict(dict)
    for event in events:
        if event["event"] == "hello":
            hello = event
        elif event["event"] == "result" and "rank" in event:
            results[event["rank"]][(event["id"], event["dtype"])] = event
    if not hello:
        return None
    reports = {
        identity["rank"]: fleet.report_of(identity, results[identity["rank"]].values(), "it could not report", seconds)
        for identity in hello["ranks"]
    }
    missing = {rank: "" for rank in range(hello["world"]) if rank not in reports}
    plan = [item for item in hello["plan"] if item["id"] != fleet.ARRIVAL]
    return tell(fleet.Fleet(hello["world"], reports, missing, why), plan, results[0])
