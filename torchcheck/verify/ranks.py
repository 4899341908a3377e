"""One rank of a run over many, from its arrival to the verdict.

Its own device is proven as on a machine of one; then its process (`conversation`) proves with all others what only many
can show. When that process dies or hangs, this one names the death, and a fresh process takes its place: it goes on
with the next check, and hands in what the rank found. So rank 0 learns from every host that lives what became of its
ranks, and waits in vain only for those whose host, or whose watcher, is gone.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torchcheck.errors import Exit, TargetError
from torchcheck.verify import fleet, ledger, runner, verdict
from torchcheck.verify.conversation import Conversation, Died, threads
from torchcheck.verify.launchers import GONE
from torchcheck.verify.places import Place

GRACE = 5.0
"""Seconds that ranks have to report when the launcher ends the run."""
LIVES = 4
"""Processes that one rank may lose in what all do together; one that hangs, and keeps all waiting, counts twice."""

Event = dict[str, Any]


class Seat:
    """One rank's share of the work, and what it knows of the others'."""

    def __init__(self, python: str, job: runner.Job, place: Place, on_event: Callable[[Event], object]) -> None:
        """Take the target interpreter, the job, and this rank's place.

        Args:
            python: absolute path of the target interpreter.
            job: what to run.
            place: which rank this is.
            on_event: told on rank 0 of `hello`, and of each rank's `start` and `result` as it comes, with the `rank`
                and its `host`; the other ranks' only when `live` is set.
        """
        self.python = python
        self.job = job
        self.place = place
        self.on_event = on_event
        self.live = False
        self.words = ""
        self.results: dict[tuple[str, str | None], Event] = {}
        self.heard: dict[int, dict[tuple[str, str | None], Event]] = {}
        self.plan: list[Event] = []
        self.identities: dict[int, Event] = {}
        self.identity: Event = {}
        self.ended = ""
        self.go: Event = {"why": "", "missing": [], "odd": {}, "live": 0.0}
        self.stopped = threading.Event()
        self._began = time.monotonic()
        self._talk: Conversation | None = None
        self._why = ""
        self._last = 0
        self._lives = LIVES

    @property
    def talk(self) -> Conversation:
        """The conversation with this rank's process."""
        assert self._talk is not None
        return self._talk

    def stop(self, why: str) -> None:
        """End what is running and report: the launcher wants this rank to go, or is gone."""
        self._why = self._why or why
        self.stopped.set()
        if self._talk is not None:
            self._talk.stop(why)

    def run(self, decide: Callable[[verdict.Told], int]) -> int:
        """Prove this rank's device, prove the ranks together, report; give the verdict that all share.

        Args:
            decide: makes the exit code of what rank 0 knows; called on rank 0 alone.

        Raises:
            TargetError: `python` cannot be started, or it has no torch that can be imported.
        """
        with tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder:
            self._talk = Conversation(self.python, self.job, self.place, folder, self._aside)
            self._talk.live = self.live
            try:
                with self._talk.store():
                    self._take_part()
                    return self._conclude(decide)
            except OSError as error:
                why = f"{self.python} cannot be started: {error}"
                raise TargetError(why, "name a Python with --python", code="python-not-usable") from error
            finally:
                self._talk.end()

    # What a rank does.

    def _take_part(self) -> None:
        try:
            joined = self.talk.ask({"do": "join"}, "joined", 3 * self.job.timeout + 30)
            self.identity, self.go = joined["identity"], joined["go"]
            self.talk.after_death = [{"do": "connect", "go": self.go, "device": joined["device"]}]
            planned = self.talk.ask({"do": "plan"}, "plan", self.talk.limit)
            self._greet([*planned["own"], *planned["together"]])
            if not self.go["why"]:
                self._prove_own_device(joined["device"], planned["own"])
                self._prove_together()
        except Died as death:
            self.ended = death.told
        self._give_up()

    def _greet(self, plan: list[Event]) -> None:
        self.plan = plan
        if self.place.rank:
            return
        kind = str(self.identity["device"]).partition(":")[0]
        self.on_event(
            {
                "event": "hello",
                "torch": self.identity["torch"],
                "python": self.identity["python"],
                "devices": [kind],
                "lacking": {},
                "level": self.job.level,
                "seed": self.job.seed,
                "world": self.place.world,
                "ranks": [self.identities[rank] for rank in sorted(self.identities)],
                "plan": [fleet.arrival_item(), *({name: item[name] for name in fleet.ITEM} for item in plan)],
            }
        )
        if self.go["live"]:
            self.talk.order({"do": "listen", "heard": 0})

    def _prove_own_device(self, device: str, plan: list[Event]) -> None:
        """Run the ordinary suite on the rank's device, in workers of its own; ranks share out the CPU of their host."""
        if not plan:
            return
        kind = device.partition(":")[0]
        job = replace(self.job, devices=(device,), workers=1)
        if device == "cpu":
            share = (self.place.local_rank, self.place.local_world)
            job = replace(job, share=share, threads=threads(job, self.place))

        def take(event: Event) -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt  # ends the runner's workers in its orderly way
            if event["event"] in ("start", "result"):
                named = {**event, "device": kind if event["device"] == device else event["device"]}
                self._take(named)
                if self.place.rank and self.go["live"]:
                    self.talk.order({"do": "say", "events": [named]})

        runner.run(self.python, job, take)

    def _prove_together(self) -> None:
        """Follow the rank's checks; a death is the running check's result, and a fresh process goes on behind it."""
        order: Event = {"do": "checks", "first": 0, "died": False}
        while self._lives > 0:
            following, self.ended = self._follow(order)
            if following is None:
                return
            order = following
        self.ended = f"gave up after too many processes had died; the last: {self.ended}"

    def _follow(self, order: Event) -> tuple[Event | None, str]:
        """Follow one process; give the order that the next one goes on with (None: there is none), and why."""
        running: Event | None = None
        number, waiting = order["first"], False
        self.talk.order({**order, "done": [list(key) for key in self.results]})
        while True:
            try:
                event = self.talk.next(self.talk.patience + 10 if waiting else self.talk.limit)
            except Died as death:
                return self._bury(death, running, number)
            kind = event["event"]
            waiting = kind == "waiting"
            if kind == "start":
                if running is not None:  # the forming of the group was announced in the first check's name
                    continue
                running = event
            elif kind == "result":
                running = None
            elif kind == "waiting":
                number = event["number"] + 1
            if kind in ("start", "result"):
                self._take(event)
            elif kind == "done":
                return self._done(event)
            elif kind != "waiting":
                self._aside(event)

    def _done(self, event: Event) -> tuple[Event | None, str]:
        if event["broken"] == "restart":  # the ranks are together, and all begin anew with fresh processes
            self.talk.end()
            return {"do": "checks", "first": event["next"], "died": False}, ""
        return None, str(event["broken"])

    def _bury(self, death: Died, running: Event | None, number: int) -> tuple[Event | None, str]:
        """Name a death by the check that was running."""
        if running is None or death.stopped:
            if running is not None:
                self._take(self._blank(running, "skip", f"not finished: {death}", None))
            return None, str(death)
        self._lives -= 2 if death.death.status == "timeout" else 1
        told = "; ".join(filter(None, [death.death.text, death.words]))
        self._take(self._blank(running, death.death.status, told, death.death.hint))
        joint = self._planned(running)["devices"] == "ranks"
        following = {"do": "checks", "first": number + joint, "died": joint}
        return following, f"{death} in {running['id']}"

    def _blank(self, running: Event, status: str, detail: str, hint: str | None) -> Event:
        return ledger.blank(self._planned(running), status, detail, hint=hint)

    def _planned(self, running: Event) -> Event:
        return next(item for item in self.plan if ledger.key_of(item) == ledger.key_of(running))

    def _take(self, event: Event) -> None:
        """Keep a result, and let rank 0 show what runs."""
        if event["event"] == "result":
            self.results[(event["id"], event["dtype"])] = event
        if not self.place.rank:
            self.on_event({**event, "rank": 0, "host": self.identity.get("host")})

    def _aside(self, event: Event) -> None:
        """Take what rank 0's process tells beside its answers: who is here, and what the others say."""
        if event["event"] == "here":
            self.identities = {int(rank): identity for rank, identity in event["identities"].items()}
        elif event["event"] == "heard" and event["last"] > self._last:
            self._last = event["last"]
            self.talk.after_death = [*self.talk.after_death[:1], {"do": "listen", "heard": self._last}]
            for said in event["events"]:
                if said["event"] == "result":
                    self.heard.setdefault(said["rank"], {})[(said["id"], said["dtype"])] = said
                self.on_event({**said, "host": self.identities.get(said["rank"], {}).get("host")})

    def _give_up(self) -> None:
        """Give what was planned for all ranks, and not run, its reason."""
        why = self.go["why"] or self.ended or self._why
        for item in self.plan:
            if not item["dealt"] and (item["id"], item["dtype"]) not in self.results:
                self._take(ledger.blank(item, "skip", f"not run: {why}" if why else "not run"))

    # What a rank tells and hears.

    def _report(self) -> Event:
        return fleet.report_of(self.identity, self.results.values(), self.ended, time.monotonic() - self._began)

    def _conclude(self, decide: Callable[[verdict.Told], int]) -> int:
        why = ""
        for _ in range(2):  # a second time, hurriedly, when the launcher ends the run while this rank waits
            if self._why == GONE:  # and the store with it
                why = GONE
                break
            hurried = self.stopped.is_set()
            try:
                limit = GRACE * 2 if hurried else self.talk.limit
                self.talk.ask({"do": "report", "report": self._report()}, "reported", limit)
                return self._hear() if self.place.rank else self._judge(decide)
            except Died as death:
                why = death.told
                if hurried or not self.stopped.is_set():
                    break
        if self.place.rank:
            return self._without_verdict(why)
        reports = {0: self._report()}
        reports.update({rank: self._heard_of(rank) for rank in self.heard})
        lost = {rank: "" for rank in range(1, self.place.world) if rank not in reports}
        return decide(verdict.tell(fleet.Fleet(self.place.world, reports, lost, why), self.plan, self.results))

    def _heard_of(self, rank: int) -> Event:
        results = self.heard[rank].values()
        return fleet.report_of(self.identities.get(rank, {}), results, "no report: rank 0 lost touch with it", 0.0)

    def _hear(self) -> int:
        patience = GRACE * 2 if self.stopped.is_set() else self.talk.patience + 30
        closed = self.talk.ask({"do": "await", "patience": patience}, "closed", None)
        return self._without_verdict("rank 0 gave none") if closed["verdict"] is None else int(closed["verdict"])

    def _without_verdict(self, why: str) -> int:
        """Say what this rank itself found, since nobody will say what all did."""
        counts = fleet.count(self.results.values())
        who = f"rank {self.place.rank} of {self.place.world}"
        found = ", ".join(f"{number} {status}" for status, number in counts.items()) or "nothing was proven"
        self.words = f"{who}: no verdict of all ranks: {why}; this rank's own: {found}"
        return int(Exit.FAILED)

    def _judge(self, decide: Callable[[verdict.Told], int]) -> int:
        hurried = self.stopped.is_set() or self.go["missing"]  # who never came will not report
        patience = GRACE if hurried else self.talk.patience
        gathered = self.talk.ask({"do": "gather", "patience": patience}, "gathered", None)
        reports = {int(rank): report for rank, report in gathered["reports"].items()}
        missing = {int(rank): where for rank, where in gathered["missing"].items()}
        odd = {int(rank): what for rank, what in self.go["odd"].items()}
        everything = fleet.Fleet(self.place.world, reports, missing, self.go["why"], odd)
        code = decide(verdict.tell(everything, self.plan, self.results))
        with contextlib.suppress(Died):  # whoever hears no verdict takes it for a failure
            self.talk.ask({"do": "close", "verdict": code, "expected": len(reports)}, "closed", 30)
        return code
