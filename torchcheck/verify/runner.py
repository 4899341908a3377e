"""Run the suite in the target interpreter and turn whatever becomes of it into events.

The worker (suite/worker.py) announces each check before it starts. When it dies, hangs or goes silent, that check gets
a result which names the death, and a fresh worker goes on with the rest; so every planned check appears exactly once.
A second worker takes the CPU's checks from the end of the list until the two meet.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torchcheck.errors import TargetError
from torchcheck.verify.ledger import ENUMERATE, PREPARATION, Event, Ledger, is_sound, key_of
from torchcheck.verify.process import WorkerProcess, environment

TIMEOUT = 120.0
PATIENCE = 25
"""Workers that may die in one run; what is left after that is not run."""


@dataclass(frozen=True)
class Job:
    """What to run, and how.

    Attributes:
        level: "quick", "default" or "full".
        devices: "all", or names as torch has them: "cpu", "cuda", "cuda:1", "mps".
        select: globs over check ids; `optimizers` means all below it. Empty: all.
        skip: globs over check ids to leave out.
        seed: seed of the run; every check derives its own from it.
        timeout: seconds for each check that has no limit of its own, and for `import torch`.
        threads: torch.set_num_threads, or None to leave it alone.
        options: values for single checks, by name (`seconds` for the soak).
        folders: folders with further check modules.
        workers: processes that share the work, 1 or 2; None: two where there are two processors and all is to run.
        share: number of this share of the checks, and how many shares there are (`suite.plan.deal`).
    """

    level: str = "default"
    devices: tuple[str, ...] = ("all",)
    select: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    seed: int = 0
    timeout: float = TIMEOUT
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    workers: int | None = None
    share: tuple[int, int] = (0, 1)

    @property
    def shared(self) -> bool:
        """Say whether a second worker helps: only with the CPU's checks, since a GPU may be exclusive to a process."""
        wanted = self.workers or (1 if self.select else min(2, os.cpu_count() or 1))
        return wanted > 1 and bool({"all", "cpu"} & set(self.devices))


def run(python: str, job: Job, on_event: Callable[[Event], None], *, env: Mapping[str, str] | None = None) -> None:
    """Run a job in the interpreter `python` and hand every event to `on_event`, `hello` first and `bye` last.

    Ctrl-C ends the workers and gives what was not run as skipped; `bye` then has `interrupted`.

    Args:
        python: absolute path of the target interpreter.
        job: what to run.
        on_event: called in this thread with `hello`, `start`, `result` and `bye`, each one a JSON-able object.
        env: environment of the target; ours when None.

    Raises:
        TargetError: `python` cannot be started.
    """
    told: queue.Queue[Event | None] = queue.Queue()
    ledger = Ledger(told.put, {"level": job.level, "seed": job.seed})
    with tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder:

        def start() -> WorkerProcess:
            return WorkerProcess(python, job.folders, environment(env), folder)

        lanes = [_Lane(ledger, job, start)] + ([_Helper(ledger, job, start)] if job.shared else [])
        interrupted = _attend(lanes, told, on_event)
    if lanes[0].error is not None:
        why = f"{python} cannot be started: {lanes[0].error}"
        raise TargetError(why, "name a Python with --python", code="python-not-usable") from lanes[0].error
    ledger.close("not run: interrupted" if interrupted else "not run", interrupted=interrupted)
    while not told.empty():
        event = told.get()
        if event is not None:
            on_event(event)


def _attend(lanes: list[_Lane], told: queue.Queue[Event | None], on_event: Callable[[Event], None]) -> bool:
    """Pass events on until every lane has ended; give whether somebody ended them before."""
    threads = [threading.Thread(target=lane.run, args=(told,), daemon=True) for lane in lanes]
    ended, interrupted = 0, False
    try:
        for thread in threads:
            thread.start()
        while ended < len(lanes):
            with contextlib.suppress(queue.Empty):  # Windows delivers Ctrl-C between waits, not during one
                event = told.get(timeout=0.25)
                if event is None:
                    ended += 1
                else:
                    on_event(event)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        for lane in lanes:
            lane.stop()
        for thread in threads:
            thread.join(10)
    return interrupted


class _Lane:
    """One worker after the other, until every planned check has a result."""

    reverse = False
    threads: int | None = None

    def __init__(self, ledger: Ledger, job: Job, start: Callable[[], WorkerProcess]) -> None:
        self.ledger = ledger
        self.job = job
        self.devices = list(job.devices)
        self.error: OSError | None = None
        self._start = start
        self._running: Event | None = None
        self._worker: WorkerProcess | None = None
        self._stopped = False

    def run(self, told: queue.Queue[Event | None]) -> None:
        """Work; the last thing told is None."""
        try:
            self._work()
        except OSError as error:
            self.error = error
        finally:
            told.put(None)

    def stop(self) -> None:
        """End what is running; harmless when nothing is."""
        self._stopped = True
        if self._worker is not None:
            self._worker.close()

    def _work(self) -> None:
        idle = 0
        for _ in range(PATIENCE):
            before = len(self.ledger.done)
            self._worker = self._start()
            with contextlib.closing(self._worker):
                death = None if self._stopped else self._follow(self._worker)
            if self._stopped or self._finished(death):
                return
            idle = idle + 1 if len(self.ledger.done) == before else 0
            if idle == 2:  # it dies between the checks, twice in the same place
                self.ledger.notes.append(f"the worker died without running anything: {death}")
                return
        self.ledger.notes.append(f"gave up after {PATIENCE} workers had died")

    def _follow(self, worker: WorkerProcess) -> str | None:
        """Follow one worker to its end; give what it died of, or None when it was not needed any more."""
        worker.send(self._order())
        self._running = None
        while True:
            event = worker.next(self._limit())
            if event is None:
                return self._blame(worker)
            if event["event"] == "bye":
                if event.get("poisoned"):
                    self.ledger.lose(str(event["poisoned"]))
                return None
            if is_sound(event):
                self._take(event)
            if not self.ledger.left():
                return None

    def _order(self) -> Event:
        return {
            "level": self.job.level,
            "devices": self.devices,
            "select": list(self.job.select),
            "skip": list(self.job.skip),
            "seed": self.job.seed,
            "timeout": self.job.timeout,
            "threads": self.job.threads or self.threads,
            "options": dict(self.job.options),
            "done": [list(key) for key in list(self.ledger.done)],
            "reverse": self.reverse,
            "share": list(self.job.share),
        }

    def _limit(self) -> float:
        """Seconds to wait for the next event: the check's own limit, or the general one, and the time of a soak."""
        item = self.ledger.plan.get(key_of(self._running)) if self._running else None
        return float((item or {}).get("timeout") or self.job.timeout) + float(self.job.options.get("seconds", 0))

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == "loaded":
            self.ledger.expect(event["plan"])
        elif kind == "hello":
            self.ledger.greet(event)
        elif kind == "start":
            self._running = event
            self.ledger.start(event)
        elif kind == "result":
            self._running = None
            self.ledger.enter(event)

    def _blame(self, worker: WorkerProcess) -> str | None:
        """Give the check that was running the result that its worker's end deserves."""
        if self._stopped:
            return None
        death = worker.death()
        if self._running is not None:
            self.ledger.bury(self._running, death, words=worker.tail(), seconds=worker.waited)
        # With nothing left to do, how a process leaves is no result: torch may abort in its own teardown.
        return death.text if self.ledger.left() else None

    def _finished(self, death: str | None) -> bool:
        """Say whether all is done, or another worker would meet the same end before its first check."""
        if (death is None and not self.ledger.left()) or not self.ledger.imported():
            return True
        if not self.ledger.greeted and (ENUMERATE, "cpu", None) in self.ledger.done and death is not None:
            if self.devices == ["cpu"]:
                return True
            self.devices = ["cpu"]  # the driver cannot even be asked: go on without it
        return False


class _Helper(_Lane):
    """The second worker: the CPU's checks from the end. How it fares before its first check is nobody's business.

    It keeps to one thread unless told otherwise: two pools of threads on the same processors wait for each other, and
    what one thread computes is proven, too.
    """

    reverse = True
    threads = 1

    def __init__(self, ledger: Ledger, job: Job, start: Callable[[], WorkerProcess]) -> None:
        super().__init__(ledger, job, start)
        self.devices = ["cpu"]

    def _take(self, event: Event) -> None:
        if event["event"] in ("start", "result") and event["id"] not in PREPARATION:
            super()._take(event)

    def _blame(self, worker: WorkerProcess) -> str | None:
        return super()._blame(worker) if self._running is not None else None

    def _finished(self, death: str | None) -> bool:
        return death is None or not self.ledger.left()
