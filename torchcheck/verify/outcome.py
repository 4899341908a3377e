"""What a run's events amount to: the verdict, the counts, and the document that others read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torchcheck.errors import Exit
from torchcheck.report.document import finite

STATUSES = ("pass", "fail", "known", "error", "skip", "crash", "timeout")
BAD = frozenset({"fail", "error", "crash", "timeout"})
IMPORT = "environment.import"
_MEMBERS = ("id", "title", "device", "dtype", "status", "measured", "bound", "unit", "detail", "hint", "seconds")
Verdict = Literal["pass", "fail", "unusable"]


@dataclass(frozen=True)
class Verification:
    """The outcome of a run.

    Attributes:
        verdict: "unusable" when torch could not be imported or a device that was asked for is not there.
        level: "quick", "default" or "full".
        devices: the devices that were verified.
        seconds: of the whole run.
        checks: every planned check once, as the contract shapes it; `figures` besides, where a check kept some.
        torch: version of the torch that was verified, or None when there was none.
        interrupted: somebody ended the run before its time.
        notes: what happened beside the checks (the runner gave up, a device is not there).
        strict: known defects count as failures.
    """

    verdict: Verdict
    level: str
    devices: tuple[str, ...]
    seconds: float
    checks: tuple[Mapping[str, Any], ...]
    torch: str | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    strict: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended in each status; statuses that none ended in are left out."""
        found = Counter(check["status"] for check in self.checks)
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def failures(self) -> list[Mapping[str, Any]]:
        """Return the checks that speak against the machine (with `strict`, the known defects too)."""
        bad = BAD | {"known"} if self.strict else BAD
        return [check for check in self.checks if check["status"] in bad]

    @property
    def exit_code(self) -> Exit:
        """The exit code that this outcome gives to `verify`."""
        if self.interrupted:
            return Exit.INTERRUPTED
        return {"pass": Exit.OK, "fail": Exit.FAILED, "unusable": Exit.NO_PLAN}[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """Give the contract's `data` of `verify`."""
        return {
            "verdict": self.verdict,
            "level": self.level,
            "devices": list(self.devices),
            "counts": self.counts,
            "seconds": self.seconds,
            "torch": self.torch,
            "interrupted": self.interrupted,
            "notes": list(self.notes),
            "checks": [finite({name: check.get(name) for name in _MEMBERS}) for check in self.checks],
        }


def summarize(events: Iterable[Mapping[str, Any]], *, strict: bool = False) -> Verification:
    """Sum up the events of one run (`verify.runner.run`), from `hello` to `bye`; of a truncated one, what is there."""
    hello: Mapping[str, Any] = {}
    bye: Mapping[str, Any] = {}
    results: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for event in events:
        if event["event"] == "hello":
            hello = event
        elif event["event"] == "result":
            key = (event["id"], event["device"], event["dtype"])
            results.setdefault(key, {name: value for name, value in event.items() if name != "event"})
        elif event["event"] == "bye":
            bye = event
    lacking: Mapping[str, str] = hello.get("lacking", {})
    checks = tuple(results.values())
    return Verification(
        verdict=_verdict(checks, lacking, strict=strict),
        level=hello.get("level", "default"),
        devices=tuple(hello.get("devices", ())),
        seconds=bye.get("seconds", 0.0),
        checks=checks,
        torch=hello.get("torch"),
        interrupted=bool(bye.get("interrupted")),
        notes=(*bye.get("notes", ()), *lacking.values()),
        strict=strict,
    )


def _verdict(checks: tuple[Mapping[str, Any], ...], lacking: Mapping[str, str], *, strict: bool) -> Verdict:
    statuses = {check["status"] for check in checks}
    imported = [check["status"] for check in checks if check["id"] == IMPORT]
    if lacking or (imported and imported[0] in BAD):
        return "unusable"
    if statuses & BAD or (strict and "known" in statuses):
        return "fail"
    # Where nothing was compared nothing was proven.
    return "pass" if statuses & {"pass", "known"} else "unusable"
