"""One rank's share of a run over many: a process in the target interpreter, watched, and replaced when it dies.

The rank's process (suite/rank.py) holds the store and the process group. When it dies or hangs, this one names the
death, and a fresh process hands in the report that the dead one owed; so rank 0 learns from every host that lives what
became of its ranks, and waits in vain only for those whose host, or whose watcher, is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchcheck.errors import Exit, TargetError
from torchcheck.verify import fleet, ledger, runner
from torchcheck.verify.places import Place
from torchcheck.verify.process import WorkerProcess, environment

SCRIPT = Path(__file__).resolve().parents[1] / "suite" / "rank.py"
OWN = ("arithmetic", "matmul", "reductions", "backprop", "movement")
"""What each rank proves of a CPU that it shares with the others; an accelerator is its own and is proven as ever."""
GRACE = 5.0
"""Seconds that ranks have to report when the launcher ends the run."""
IMPORT = "environment.import"

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


@dataclass(frozen=True)
class Told:
    """What rank 0 knows at the end; everybody else knows the verdict alone."""

    events: tuple[Event, ...]
    ranks: tuple[Event, ...]
    stragglers: Mapping[int, float]


class _Died(Exception):  # noqa: N818 - it ends a conversation
    """The rank's process is gone: what it died of."""

    def __init__(self, event: Event | None, text: str) -> None:
        super().__init__(text)
        self.event = event


class Seat:
    """One rank, from its arrival to the verdict."""

    def __init__(self, python: str, job: runner.Job, place: Place, on_event: Callable[[Event], None]) -> None:
        """Take the target interpreter, the job, and this rank's place; `on_event` is told what rank 0 runs itself."""
        self.python = python
        self.job = job
        self.place = place
        self.tell = on_event
        self.results: dict[tuple[str, str | None], Event] = {}
        self.plan: list[Event] = []
        self.identity: Event = {}
        self.ended = ""
        self.go: Event = {"why": "", "missing": [], "odd": {}}
        self.stopped = threading.Event()
        self._began = time.monotonic()
        self._process: RankProcess | None = None
        self._stopping = ""
        self._heard = False

    def stop(self, why: str) -> None:
        """End what is running and report: the launcher wants this rank to go."""
        self._stopping = self._stopping or why
        self.stopped.set()

    def run(self, decide: Callable[[Told], int]) -> int:
        """Prove this rank's device, prove the ranks together, report; give the verdict that all share.

        Args:
            decide: makes the exit code of what rank 0 knows; called on rank 0 alone.

        Raises:
            TargetError: `python` cannot be started, or it has no torch that can be imported.
        """
        with (
            tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder,
            self._store(folder),
        ):
            try:
                self._take_part(folder)
                return self._conclude(folder, decide)
            except OSError as error:
                why = f"{self.python} cannot be started: {error}"
                raise TargetError(why, "name a Python with --python", code="python-not-usable") from error
            finally:
                self._end()

    # What a rank does.

    def _take_part(self, folder: str) -> None:
        running: Event | None = None
        try:
            joined = self._ask({"do": "join"}, "joined", folder, 3 * self.job.timeout + 30)
            self.identity, self.go = joined["identity"], joined["go"]
            why = self.go["why"]
            if not why:
                self._prove_own_device(joined["device"])
            running = self._prove_together(skip=f"not run: {why}" if why else "")
        except _Died as death:
            running = death.event
            self.ended = str(death)
        if running is not None:
            self.results[(running["id"], running["dtype"])] = running
        self._give_up()

    def _prove_own_device(self, device: str) -> None:
        """Run the ordinary suite on a rank's accelerator, in workers of its own."""
        if device == "cpu":
            return
        kind = device.partition(":")[0]

        def take(event: Event) -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt  # ends the runner's workers in its orderly way
            if event["event"] == "hello":
                self.plan += [{**item, "device": kind} for item in event["plan"]]
            elif event["event"] == "result":
                self._enter({**event, "device": kind if event["device"] == device else event["device"]})

        runner.run(self.python, replace(self.job, devices=(device,)), take, env=self._env())

    def _prove_together(self, *, skip: str) -> Event | None:
        """Follow the rank's checks; a death is the running check's result."""
        process, running = self._process, None
        assert process is not None
        process.send({"do": "plan" if skip else "checks"})
        while True:
            event = self._next(process, self._limit(), running)
            kind = event["event"]
            if kind == "plan":
                self.plan += event["plan"]
                self._hello(event["plan"])
                if skip:
                    for item in event["plan"]:
                        self._enter(ledger.blank(item, "skip", skip))
                    return None
            elif kind == "start":
                running = event
                self.tell(event)
            elif kind == "result":
                running = None
                self._enter(event)
            elif kind == "done":
                return None

    def _hello(self, plan: list[Event]) -> None:
        about: Event = {
            "level": self.job.level,
            "seed": self.job.seed,
            "lacking": {},
            "python": self.identity.get("python"),
        }
        kind = str(self.identity.get("device", "cpu"))
        self.tell({"event": "hello", "torch": self.identity.get("torch"), "devices": [kind], "plan": plan, **about})

    def _enter(self, event: Event) -> None:
        self.results[(event["id"], event["dtype"])] = event

    def _give_up(self) -> None:
        why = f"not run: {self.ended}" if self.ended else "not run"
        for item in self.plan:
            if (item["id"], item["dtype"]) not in self.results:
                self._enter(ledger.blank(item, "skip", why))

    # What a rank tells and hears.

    def _conclude(self, folder: str, decide: Callable[[Told], int]) -> int:
        report = fleet.report_of(self.identity, self.results.values(), self.ended, time.monotonic() - self._began)
        for _ in range(2):  # a second time, hurriedly, when the launcher ends the run while this rank waits
            hurried = self.stopped.is_set()
            try:
                self._ask({"do": "report", "report": report}, "reported", folder, self._limit())
                return self._hear(folder) if self.place.rank else self._judge(folder, decide)
            except _Died as death:
                why = str(death)
                if hurried or not self.stopped.is_set():
                    break
        if self.place.rank:
            return int(Exit.FAILED)
        others = dict.fromkeys(range(1, self.place.world), "")
        return decide(self._told(fleet.Fleet(self.place.world, {0: report}, others, why)))

    def _hear(self, folder: str) -> int:
        patience = GRACE * 2 if self.stopped.is_set() else self._patience() + 30
        closed = self._ask({"do": "await", "patience": patience}, "closed", folder, None)
        return int(Exit.FAILED) if closed["verdict"] is None else int(closed["verdict"])

    def _judge(self, folder: str, decide: Callable[[Told], int]) -> int:
        hurried = self.stopped.is_set() or self.go["missing"]  # who never came will not report
        patience = GRACE if hurried else self._patience()
        gathered = self._ask({"do": "gather", "patience": patience}, "gathered", folder, None)
        reports = {int(rank): report for rank, report in gathered["reports"].items()}
        missing = {int(rank): where for rank, where in gathered["missing"].items()}
        odd = {int(rank): what for rank, what in self.go["odd"].items()}
        code = decide(self._told(fleet.Fleet(self.place.world, reports, missing, self.go["why"], odd)))
        with contextlib.suppress(_Died):  # whoever hears no verdict takes it for a failure
            self._ask({"do": "close", "verdict": code, "expected": len(reports)}, "closed", folder, 30)
        return code

    def _told(self, all_of_them: fleet.Fleet) -> Told:
        events = fleet.merge(all_of_them, self.plan, self.results)
        return Told(tuple(events), tuple(fleet.ranks_json(all_of_them)), fleet.stragglers(all_of_them))

    # The process.

    def _limit(self) -> float:
        """Seconds for one check: more than the process group's own timeout, which names who did not come."""
        return 1.25 * self.job.timeout + 5

    def _patience(self) -> float:
        """Seconds without any progress of any rank: a hang, its end, and the start of the process that reports it."""
        return self._limit() + 20

    def _ask(self, order: Event, answer: str, folder: str, limit: float | None) -> Event:
        """Send an order and wait for its answer; in a fresh process where the last one died."""
        if self._process is None or self._process.process.poll() is not None:
            self._end()
            self._process = RankProcess(self.python, self._env(), folder, self._job())
            if order["do"] not in ("join", "connect", "serve"):
                self._ask({"do": "connect"}, "connected", folder, self.job.timeout + 30)
        self._process.send(order)
        while True:
            event = self._next(self._process, limit, None)
            if event["event"] == answer:
                return event

    def _next(self, process: RankProcess, limit: float | None, running: Event | None) -> Event:
        """Wait for the next event in slices, so that an order to stop is heard."""
        until = None if limit is None else time.monotonic() + limit
        while True:
            event = process.next(0.25)
            if event is not None:
                return event
            if not process.hung:
                break
            if self._is_told_to_stop() or (until is not None and time.monotonic() > until):
                process.waited = limit or 0.0
                break
            process.hung = False
        raise self._blame(process, running)

    def _is_told_to_stop(self) -> bool:
        """Say so once: what is asked afterwards is what must still be said."""
        heard, self._heard = self._heard, self._heard or self.stopped.is_set()
        return self._heard and not heard

    def _blame(self, process: RankProcess, running: Event | None) -> _Died:
        stopping = self._stopping if process.hung else ""
        death = process.death()
        self._end()
        if running is None:
            tail = process.tail()
            return _Died(None, f"{stopping or death.text}{f' ({tail[-300:]})' if tail else ''}")
        if stopping:
            return _Died(self._blank(running, "skip", f"not finished: {stopping}", None), stopping)
        told = "; ".join(filter(None, [death.text, process.tail()]))
        return _Died(self._blank(running, death.status, told, death.hint), f"{death.text} in {running['id']}")

    def _blank(self, running: Event, status: str, detail: str, hint: str | None) -> Event:
        item = next((i for i in self.plan if ledger.key_of(i) == ledger.key_of(running)), running)
        return ledger.blank(item, status, detail, hint=hint)

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    @contextlib.contextmanager
    def _store(self, folder: str) -> Iterator[None]:
        """Keep the store on rank 0 where the launcher (srun, mpirun) keeps none, in a process that does only that."""
        if self.place.rank or self.place.kept:
            yield
            return
        keeper = RankProcess(self.python, self._env(), folder, self._job())
        try:
            keeper.send({"do": "serve"})
            keeper.next(self.job.timeout + 30)
            yield
        finally:
            keeper.close()

    def _env(self) -> dict[str, str]:
        return environment(None)

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
            "threads": job.threads or max(1, (os.cpu_count() or 1) // self.place.local_world),
            "own": list(OWN),
        }


@contextlib.contextmanager
def heeding_the_launcher(seat: Seat) -> Iterator[None]:
    """Take a launcher's SIGTERM (another rank failed; the job's time is over) as an order to report and go."""

    def stop(number: int, _frame: object) -> None:
        seat.stop(f"ended by its launcher ({signal.Signals(number).name})")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
