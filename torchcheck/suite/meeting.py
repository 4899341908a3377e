"""Where the ranks of a run meet: who is here, how far each is, what each found, and the verdict.

All of it goes through one TCPStore (torch.distributed), the launcher's own where it keeps one. A rank writes one report
and adds to a few counters; rank 0 looks at one counter while it waits and reads every report once. So the work grows
with the number of ranks, nothing with its square, and no rank opens a file or a connection for another.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import zlib
from datetime import timedelta
from typing import Any

BATCH = 64
"""Reports read in one question to the store."""
_POLL = 0.05
_PULSE = 2.0


class Meeting:
    """One rank's seat at the store."""

    def __init__(self, store: Any, rank: int, world: int) -> None:
        """Take a store that every rank reaches."""
        self.store = store
        self.rank = rank
        self.world = world
        self.asks = hasattr(store, "check")

    @classmethod
    def connect(cls, torch: Any, place: dict[str, Any], patience: float) -> Meeting:
        """Reach the store that `place` names; raises torch's own error after `patience` seconds without an answer."""
        store = open_store(torch, place["master"], place["port"], patience)
        prefix = f"torchcheck/{place.get('attempt', 0)}"
        return cls(torch.distributed.PrefixStore(prefix, store), place["rank"], place["world"])

    def write(self, key: str, value: Any) -> None:
        """Put a JSON-able value there for all."""
        self._put(key, zlib.compress(json.dumps(value, default=repr).encode()))

    def _put(self, key: str, value: bytes | str) -> None:
        self.store.set(key, value)
        if not self.asks:
            self.store.add(f"{key}#", 1)

    def _has(self, key: str) -> bool:
        return bool(self.store.check([key])) if self.asks else self.store.add(f"{key}#", 0) > 0

    def _wait(self, key: str, seconds: float) -> bool:
        """Wait until a value is there, or for some seconds; a RuntimeError says not yet, or that the store is gone.

        Before it had `check` (torch 2.1), a TCPStore whose `wait` ended without the value took the late answer for that
        of the next question.
        """
        if self.asks:
            self.store.wait([key], timedelta(seconds=seconds))
            return True
        until = time.monotonic() + seconds
        while not self._has(key) and time.monotonic() < until:
            time.sleep(_POLL)
        return self._has(key)

    def read(self, keys: list[str]) -> list[Any]:
        """Read values that are there."""
        found: list[Any] = []
        for first in range(0, len(keys), BATCH):
            batch = keys[first : first + BATCH]
            many = getattr(self.store, "multi_get", None)
            found += many(batch) if many else [self.store.get(key) for key in batch]
        return [json.loads(zlib.decompress(bytes(value))) for value in found]

    def arrive(self, identity: dict[str, Any]) -> None:
        """Say that this rank is here, and who it is."""
        self.write(f"here/{self.rank}", identity)
        self.store.add("here", 1)

    def at(self, where: str) -> None:
        """Say what this rank is about to do; whoever waits sees that it lives."""
        self._put(f"at/{self.rank}", where)
        self.store.add("beats", 1)

    def report(self, report: dict[str, Any]) -> None:
        """Hand in what this rank found."""
        again = self._has(f"report/{self.rank}")
        self.write(f"report/{self.rank}", report)
        if not again:
            self.store.add("report", 1)

    def gather(self, topic: str, patience: float) -> tuple[dict[int, Any], dict[int, str]]:
        """Wait for every rank's `topic` ("here", "report"), as long as somebody still makes progress.

        Returns:
            What came, by rank, and for each rank whose did not, what it was last seen doing.
        """
        self._await_all(topic, patience)
        ranks = range(self.world)
        there = [rank for rank in ranks if self._has(f"{topic}/{rank}")]
        values = self.read([f"{topic}/{rank}" for rank in there])
        missing = {rank: self._last_seen(rank) for rank in set(ranks) - set(there)}
        return dict(zip(there, values)), missing

    def _await_all(self, topic: str, patience: float) -> None:
        seen, since = (-1, -1), time.monotonic()
        pulse = 0.0
        while seen[0] < self.world and time.monotonic() - since < patience:
            now = (self.store.add(topic, 0), self.store.add("beats", 0))
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - pulse > _PULSE:
                pulse = time.monotonic()
                self.store.add("pulse", 1)
            if now[0] < self.world:
                time.sleep(_POLL)

    def _last_seen(self, rank: int) -> str:
        key = f"at/{rank}"
        return bytes(self.store.get(key)).decode() if self._has(key) else ""

    def tell(self, key: str, value: Any) -> None:
        """Let rank 0 say something that all wait for ("go", "verdict")."""
        self.write(key, value)

    def hear(self, key: str, patience: float) -> Any:
        """Wait for what rank 0 tells, as long as anybody makes progress; None when rank 0 is lost."""
        seen, since = self._progress(), time.monotonic()
        while seen is not None and time.monotonic() - since < patience:
            if self._wait_or_lose(key, min(5.0, patience)):
                return self.read([key])[0]
            now = self._progress()
            if now != seen:
                seen, since = now, time.monotonic()
        return None

    def _wait_or_lose(self, key: str, seconds: float) -> bool:
        with contextlib.suppress(RuntimeError):
            return self._wait(key, seconds)
        return False

    def _progress(self) -> tuple[int, int] | None:
        try:
            return self.store.add("pulse", 0), self.store.add("beats", 0)
        except RuntimeError:
            return None

    def finish(self, step: int, outcome: str, patience: float) -> str:
        """Wait until all ranks are done with a step that they took together.

        Args:
            step: its number, the same on all ranks.
            outcome: "raised" by an exception, "skipped", or "" when the step was taken to its end.
            patience: seconds to wait for the last of them.

        Returns:
            "" when they are still at one place, "apart" when they are not (one met an exception, or skipped what others
            did), "lost" when somebody did not come.
        """
        if outcome:
            self.store.add(f"{outcome}/{step}", 1)
        if self.store.add(f"came/{step}", 1) >= self.world:
            self._put(f"all/{step}", "1")
        if not self._await_key(f"all/{step}", patience):
            return "lost"
        raised, skipped = self.store.add(f"raised/{step}", 0), self.store.add(f"skipped/{step}", 0)
        return "apart" if raised or 0 < skipped < self.world else ""

    def _await_key(self, key: str, patience: float) -> bool:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if self._wait_or_lose(key, min(5.0, patience)):
                return True
            if self._progress() is None:
                return False
        return False

    def say(self, events: list[dict[str, Any]]) -> None:
        """Put events where rank 0 hears them as they come: a log of all ranks, each entry read once."""
        if events:
            self.write(f"said/{self.store.add('said', 1)}", {"rank": self.rank, "events": events})

    def listen(self, heard: int) -> tuple[int, list[dict[str, Any]]]:
        """Give the number of the last entry of the log, and what was said after number `heard`."""
        last = self.store.add("said", 0)
        keys = [f"said/{number}" for number in range(heard + 1, last + 1)]
        for index, key in enumerate(keys):
            if not self._has(key):  # announced, and not there yet: next time
                keys, last = keys[:index], heard + index
                break
        entries = self.read(keys)
        for key in keys:
            self.store.delete_key(key)
        return last, [{**event, "rank": entry["rank"]} for entry in entries for event in entry["events"]]

    def leave(self, expected: int, patience: float = 5.0) -> None:
        """Say goodbye; rank 0, whose host may keep the store, stays until `expected` ranks have left."""
        with contextlib.suppress(RuntimeError):  # the store went before us: there is nobody to say it to
            self.store.add("left", 1)
            until = time.monotonic() + patience
            while self.rank == 0 and self.store.add("left", 0) < expected and time.monotonic() < until:
                time.sleep(_POLL)


def open_store(torch: Any, host: str, port: int, patience: float, *, serve: bool = False) -> Any:
    """Connect to a TCPStore, or `serve` one."""
    options = store_options(sys.platform, torch.__version__)
    return torch.distributed.TCPStore(
        host, port, is_master=serve, wait_for_workers=False, timeout=timedelta(seconds=patience), **options
    )


def store_options(platform: str, version: str) -> dict[str, Any]:
    """Say how a system's TCPStore is asked for.

    Builds for Windows come without libuv, which torch asks for by itself from 2.4 on, to be refused
    (https://github.com/pytorch/pytorch/issues/139990); some releases before it do not know the option.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    asks = found is None or (int(found[1]), int(found[2])) >= (2, 4)
    return {"use_libuv": False} if platform == "win32" and asks else {}
