"""Where the ranks of a run meet: who is here, how far each is, what each found, and the verdict.

All of it goes through one TCPStore (torch.distributed), the launcher's own where it keeps one. A rank writes one report
and adds to a few counters; rank 0 looks at one counter while it waits and reads every report once. So the work grows
with the number of ranks, nothing with its square, and no rank opens a file or a connection for another.
"""

from __future__ import annotations

import contextlib
import json
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

    @classmethod
    def connect(cls, torch: Any, place: dict[str, Any], patience: float) -> Meeting:
        """Reach the store that `place` names; raises torch's own error after `patience` seconds without an answer."""
        store = open_store(torch, place["master"], place["port"], patience)
        prefix = f"torchcheck/{place.get('attempt', 0)}"
        return cls(torch.distributed.PrefixStore(prefix, store), place["rank"], place["world"])

    def write(self, key: str, value: Any) -> None:
        """Put a JSON-able value there for all."""
        self.store.set(key, zlib.compress(json.dumps(value, default=repr).encode()))

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
        self.store.set(f"at/{self.rank}", where)
        self.store.add("beats", 1)

    def report(self, report: dict[str, Any]) -> None:
        """Hand in what this rank found."""
        again = self.store.check([f"report/{self.rank}"])
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
        there = [rank for rank in ranks if self.store.check([f"{topic}/{rank}"])]
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
        return bytes(self.store.get(key)).decode() if self.store.check([key]) else ""

    def tell(self, key: str, value: Any) -> None:
        """Let rank 0 say something that all wait for ("go", "verdict")."""
        self.write(key, value)

    def hear(self, key: str, patience: float) -> Any:
        """Wait for what rank 0 tells, as long as anybody makes progress; None when rank 0 is lost."""
        seen, since = self._progress(), time.monotonic()
        while seen is not None and time.monotonic() - since < patience:
            with contextlib.suppress(RuntimeError):  # not yet, or the store is gone: the next question tells
                self.store.wait([key], timedelta(seconds=min(5.0, patience)))
                return self.read([key])[0]
            now = self._progress()
            if now != seen:
                seen, since = now, time.monotonic()
        return None

    def _progress(self) -> tuple[int, int] | None:
        try:
            return self.store.add("pulse", 0), self.store.add("beats", 0)
        except RuntimeError:
            return None

    def agree(self, where: str, patience: float) -> bool:
        """Say that this rank met an exception; give whether all did, so that they are still at one place."""
        self.store.add(f"raised/{where}", 1)
        until = time.monotonic() + patience
        while self.store.add(f"raised/{where}", 0) < self.world:
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True

    def leave(self, expected: int, patience: float = 5.0) -> None:
        """Say goodbye; rank 0, whose host may keep the store, stays until `expected` ranks have left."""
        with contextlib.suppress(RuntimeError):  # the store went before us: there is nobody to say it to
            self.store.add("left", 1)
            until = time.monotonic() + patience
            while self.rank == 0 and self.store.add("left", 0) < expected and time.monotonic() < until:
                time.sleep(_POLL)


def open_store(torch: Any, host: str, port: int, patience: float, *, serve: bool = False) -> Any:
    """Connect to a TCPStore, or `serve` one.

    Builds for Windows come without libuv, and refuse to be asked for it.
    """
    import sys

    options: dict[str, Any] = {"use_libuv": False} if sys.platform == "win32" else {}
    return torch.distributed.TCPStore(
        host, port, is_master=serve, wait_for_workers=False, timeout=timedelta(seconds=patience), **options
    )
