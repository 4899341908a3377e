"""Orders to a rank's process, and its answers; a process that died or hangs is named, and replaced when asked again.

The process (suite/rank.py) holds the store's connection and the process group: whatever kills it is torch's business,
and none of the one that watches it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torchcheck.verify import deaths, runner
from torchcheck.verify.places import Place
from torchcheck.verify.process import WorkerProcess, environment

SCRIPT = Path(__file__).resolve().parents[1] / "suite" / "rank.py"
_SLICE = 0.25

Event = dict[str, Any]


class RankProcess(WorkerProcess):
    """The part of a rank that needs torch; takes orders until it is closed."""

    def __init__(self, python: str, env: Mapping[str, str], folder: str, job: Event) -> None:
        """Start it and hand over the job."""
        super().__init__(python, (), env, folder, SCRIPT)
        self.send(job)

    def send(self, order: Event) -> None:
        """Send one line; its stdin stays open, since its end is the end of the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # a process that is already gone shows in `next`
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """End it; what it was not sent any more is lost with it."""
        super().close()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()


class Died(Exception):  # noqa: N818 - it ends a conversation
    """The rank's process is gone.

    Attributes:
        death: what it died of.
        words: the end of its log.
        stopped: it was ended, because the launcher wants this rank to go.
    """

    def __init__(self, death: deaths.Death, words: str, stopped: str) -> None:
        """Take what is known of the end."""
        super().__init__(stopped or death.text)
        self.death = death
        self.words = words
        self.stopped = stopped

    @property
    def told(self) -> str:
        """Say how it ended, with its last words."""
        return str(self) + (f" ({self.words[-300:]})" if self.words and not self.stopped else "")


class Conversation:
    """All that is asked of one rank's process, whichever process that is at the time."""

    def __init__(self, python: str, job: runner.Job, place: Place, folder: str, aside: Callable[[Event], None]) -> None:
        """Take the target, the job and the place; `aside` is told what the process says beside its answers."""
        self.python = python
        self.job = job
        self.place = place
        self.folder = folder
        self.aside = aside
        self.live = False
        self.after_death: list[Event] = []
        self.stopped = threading.Event()
        self._why = ""
        self._heard = False
        self._process: RankProcess | None = None

    @property
    def limit(self) -> float:
        """Seconds for one check: more than the process group's own timeout, which names who did not come."""
        return 1.25 * self.job.timeout + 5

    @property
    def patience(self) -> float:
        """Seconds without any progress of any rank: a hang, its end, and the start of the process that goes on."""
        return self.limit + 20

    def stop(self, why: str) -> None:
        """End what is running: the launcher wants this rank to go."""
        self._why = self._why or why
        self.stopped.set()

    def ask(self, order: Event, answer: str, limit: float | None) -> Event:
        """Send an order and wait for its answer.

        Raises:
            Died: the process is gone; the next question finds a fresh one.
        """
        self.order(order)
        while True:
            event = self.next(limit)
            if event["event"] == answer:
                return event
            self.aside(event)

    def order(self, order: Event) -> None:
        """Send an order; to a fresh process where the last one died, after that one has found the store."""
        if self._process is None or self._process.process.poll() is not None:
            self.end()
            self._process = self._start()
            for before in self.after_death:
                self._introduce(before)
        self._process.send(order)

    def _introduce(self, order: Event) -> None:
        assert self._process is not None
        self._process.send(order)
        while order["do"] == "connect" and self.next(self.job.timeout + 30)["event"] != "connected":
            pass

    def next(self, limit: float | None) -> Event:
        """Wait for the next event, in slices, so that an order to stop is heard.

        Raises:
            Died: there will be none.
        """
        process = self._process
        assert process is not None
        until = None if limit is None else time.monotonic() + limit
        while True:
            event = process.next(_SLICE)
            if event is not None:
                return event
            if not process.hung:
                break
            if self._is_told_to_stop() or (until is not None and time.monotonic() > until):
                process.waited = limit or 0.0
                break
            process.hung = False
        stopped = self._why if process.hung else ""
        death = process.death()
        words = process.tail()
        self.end()
        raise Died(death, words, stopped)

    def _is_told_to_stop(self) -> bool:
        """Say so once: what is asked afterwards is what must still be said."""
        heard, self._heard = self._heard, self._heard or self.stopped.is_set()
        return self._heard and not heard

    def end(self) -> None:
        """End the process; harmless when there is none."""
        if self._process is not None:
            self._process.close()
            self._process = None

    @contextlib.contextmanager
    def store(self) -> Iterator[None]:
        """Keep the store on rank 0 where the launcher (srun, mpirun) keeps none, in a process that does only that."""
        if self.place.rank or self.place.kept:
            yield
            return
        keeper = self._start()
        try:
            keeper.send({"do": "serve"})
            keeper.next(self.job.timeout + 30)
            yield
        finally:
            keeper.close()

    def _start(self) -> RankProcess:
        return RankProcess(self.python, environment(None), self.folder, self._job())

    def _job(self) -> Event:
        job = self.job
        return {
            "place": self.place.as_json(),
            "level": job.level,
            "seed": job.seed,
            "devices": list(job.devices),
            "select": list(job.select),
            "skip": list(job.skip),
            "options": dict(job.options),
            "timeout": job.timeout,
            "patience": self.patience,
            "threads": threads(job, self.place),
            "live": self.live,
        }


def threads(job: runner.Job, place: Place) -> int:
    """Give each rank its part of the host's processors."""
    return job.threads or max(1, (os.cpu_count() or 1) // place.local_world)
