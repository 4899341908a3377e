"""What is known of a run so far: what was planned, what has a result, what has been told; shared by its workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from torchcheck.verify import deaths

IMPORT, ENUMERATE = "environment.import", "environment.devices"
PREPARATION = (IMPORT, ENUMERATE)
STATUSES = ("pass", "fail", "known", "error", "skip", "crash", "timeout")
LOSSES = 3
"""How often a device may take its worker down before the rest of its checks is given up."""

Event = dict[str, Any]
Key = tuple[str, str, "str | None"]


def key_of(item: Mapping[str, Any]) -> Key:
    """Give what tells an item, or an event about it, from all others of a run."""
    return (item["id"], item["device"], item["dtype"])


def is_sound(event: Event) -> bool:
    """Say whether an event holds what its kind must: a process whose memory is broken may say anything."""
    kind = event["event"]
    if kind in ("hello", "loaded"):
        plan, devices = event.get("plan"), event.get("devices", [])
        sound = isinstance(plan, list) and isinstance(devices, list) and all(isinstance(d, str) for d in devices)
        greets = kind == "loaded" or {"torch", "devices"} <= event.keys()
        return sound and greets and all(map(_is_item, plan or ()))
    if kind not in ("start", "result"):
        return True
    return _is_item(event) and (kind == "start" or _is_result(event))


def _is_item(item: object) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("dtype", 0), str | None):
        return False
    limit = item.get("timeout")
    if not isinstance(limit, int | float | None) or (limit is not None and not _is_time(limit)):
        return False
    return isinstance(item.get("id"), str) and isinstance(item.get("device"), str)


def _is_time(seconds: float) -> bool:
    """Say whether a number can be seconds: no infinity, no NaN, no integer that a float cannot hold."""
    return -1e300 < seconds < 1e300


def _is_result(event: Event) -> bool:
    numbers = (event.get("seconds"), event.get("measured") or 0.0, event.get("bound") or 0.0)
    texts = (event.get("detail"), event.get("title"), event.get("hint") or "", event.get("unit") or "")
    if event.get("status") not in STATUSES or not all(isinstance(n, int | float) for n in numbers):
        return False
    return _is_time(event["seconds"]) and all(isinstance(t, str) for t in texts)


class Ledger:
    """The one place where results are entered; every planned check gets exactly one.

    Before the first `hello` nothing is told: what a consumer reads first is the plan.
    """

    def __init__(self, tell: Callable[[Event], None], about: Mapping[str, Any]) -> None:
        """Pass events on to `tell`; `about` is added to `hello`."""
        self._tell_now = tell
        self._about = about
        self._lock = threading.RLock()
        self._held: list[Event] = []
        self._started: set[Key] = set()
        self._losses: dict[str, int] = {}
        self._began = time.monotonic()
        self.plan: dict[Key, Event] = {}
        self.ahead: dict[Key, Event] = {}
        self.done: dict[Key, Event] = {}
        self._open: set[Key] = set()
        self.greeted = False
        self.notes: list[str] = []

    def expect(self, items: list[Event]) -> None:
        """Take what a worker will run, before it has imported torch."""
        with self._lock:
            self.ahead = {key_of(item): item for item in items}

    def greet(self, hello: Event) -> None:
        """Take the plan, the first time; then tell what was held back."""
        with self._lock:
            if self.greeted:
                return
            self.plan |= {key_of(item): item for item in hello["plan"]}
            self._open = self.plan.keys() - self.done.keys()
            self.greeted = True
            self._tell_now({**hello, "plan": list(self.plan.values()), **self._about})
            for event in self._held:
                self._tell(event)

    def start(self, event: Event) -> None:
        """Tell that a check begins, the first time that it does."""
        with self._lock:
            if key_of(event) not in self._started:
                self._started.add(key_of(event))
                self._tell(event)

    def enter(self, result: Event) -> None:
        """Enter a result; a second one for the same check is dropped."""
        with self._lock:
            key = key_of(result)
            if key in self.done:
                return
            self.done[key] = result
            self._open.discard(key)
            if result["status"] not in ("pass", "skip") and key[0] in PREPARATION:
                self.plan.setdefault(key, result)  # not selected, but it explains why nothing else ran
            self._tell(result)

    def bury(self, item: Event, death: deaths.Death, *, words: str, seconds: float) -> None:
        """Enter what a worker died of, as the result of the check that it was running."""
        with self._lock:
            known = self.plan.get(key_of(item)) or self.ahead.get(key_of(item)) or item
            detail = death.text + (f"; its last words: {words}" if words else "")
            self.enter(blank(known, death.status, detail, seconds=seconds, hint=death.hint))

    def lose(self, device: str) -> None:
        """Note that a device's context was lost; after the third time its other checks are not run."""
        with self._lock:
            self._losses[device] = self._losses.get(device, 0) + 1
            if self._losses[device] >= LOSSES:
                self._give_up(lambda key: key[1] == device, f"not run: {device} was lost {LOSSES} times in this run")

    def left(self) -> bool:
        """Say whether a planned check has no result yet (or whether the plan is not known)."""
        with self._lock:
            return not self.greeted or bool(self._open)

    def imported(self) -> bool:
        """Say whether torch was imported, as far as it was tried."""
        with self._lock:
            return self.done.get((IMPORT, "cpu", None), {"status": "pass"})["status"] in ("pass", "skip")

    def close(self, why: str, *, interrupted: bool = False) -> None:
        """Give everything that has no result one, and say goodbye."""
        with self._lock:
            if not self.imported():
                why = "not run: torch cannot be imported"
            elif self.notes and not interrupted:
                why = f"not run: {self.notes[-1]}"
            if not self.greeted:
                self.greet(self._hello())
            self._give_up(lambda _: True, why)
            if not self.plan and not self.notes:
                self.notes.append("no check of this level matches the selection")
            seconds = round(time.monotonic() - self._began, 3)
            self._tell_now({"event": "bye", "seconds": seconds, "interrupted": interrupted, "notes": self.notes})

    def _give_up(self, which: Callable[[Key], bool], why: str) -> None:
        for key, item in self.plan.items():
            if key not in self.done and which(key):
                self.enter(blank(item, "skip", why))

    def _tell(self, event: Event) -> None:
        if not self.greeted:
            self._held.append(event)
        elif key_of(event) in self.plan:
            self._tell_now(event)

    def _hello(self) -> Event:
        """Greet for a worker that never got so far."""
        bad = {key: result for key, result in self.done.items() if result["status"] not in ("pass", "skip")}
        plan = list({**bad, **self.ahead}.values())
        return {"event": "hello", "torch": None, "python": None, "devices": [], "lacking": {}, "plan": plan}


def blank(item: Event, status: str, detail: str, *, seconds: float = 0.0, hint: str | None = None) -> Event:
    """Make the result of an item in which nothing was measured."""
    return {
        "event": "result",
        "id": item["id"],
        "title": item.get("title", ""),
        "device": item["device"],
        "dtype": item["dtype"],
        "status": status,
        "measured": None,
        "bound": None,
        "unit": None,
        "detail": detail,
        "hint": hint,
        "seconds": round(seconds, 3),
    }
