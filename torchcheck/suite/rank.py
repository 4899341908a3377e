"""One rank of a run over many: the part that needs torch. Started by path in the target interpreter, like the worker.

The first line on stdin is the job; every further line an order, each answered by one event. When stdin ends, whoever
started this process is gone, and so is it: no orphan is left, whatever its threads wait for.

    job     {"place": {rank, world, local_rank, local_world, master, port, attempt}, "level", "seed", "devices",
             "select", "skip", "options", "timeout", "patience", "threads", "live"}
    orders  {"do": "join"}      joined {identity, device, go}: the ranks know each other, and whether they fit together
            {"do": "connect", "go", "device"}   connected: after a death, to hand in what is known or to go on
            {"do": "listen", "heard"}   heard {last, events}, as they come: what the ranks say (rank 0)
            {"do": "plan"}      plan {own, together}: what would run
            {"do": "checks", "first", "died", "done"}   start …, result …, waiting, …, then done {next, broken}
            {"do": "say", "events"}     nothing: what the rank's own device showed is to be heard by rank 0
            {"do": "report", "report"}    reported
            {"do": "gather", "patience"}  gathered {reports, missing}       (rank 0)
            {"do": "close", "verdict", "expected"}    closed      (rank 0)
            {"do": "await", "patience"}   closed {verdict}        (all others)
            {"do": "serve"}     serving: keep a store here, where the launcher keeps none
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

# Before anything else of this folder could be taken for a module of the standard library's.
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != Path(__file__).resolve().parent]

Order = dict[str, Any]
PACKAGE = "torchcheck_suite"
_LISTEN = 0.2
_STUCK = 25
"""How often an announced entry of the log is looked for before it is given up: who announced it has died."""


def _worker() -> Any:
    """Load the worker's module, which knows how to make the suite importable."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(PACKAGE + "_worker", Path(__file__).with_name("worker.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.enter_island()
    return module


class Rank:
    """What one rank does when it is told to."""

    def __init__(self, worker: Any, channel: IO[str], job: dict[str, Any]) -> None:
        """Take the protocol's channel and the job."""
        self.module = worker._module  # noqa: SLF001 - one island
        self.channel = channel
        self.job = job
        self.place = job["place"]
        self.patience = float(job["timeout"])
        self.torch: Any = None
        self.meeting: Any = None
        self.device = "cpu"
        self.pause = 0.0
        self._lock = threading.Lock()
        self._unsaid: list[Order] = []
        self._speaker: threading.Thread | None = None
        self._silent = threading.Event()

    @property
    def kind(self) -> str:
        """The device without its number: what a check is called by that ran on one of each rank's."""
        return self.device.partition(":")[0]

    def send(self, event: str, **members: Any) -> None:
        """Write one event and flush it."""
        with self._lock:
            self.channel.write(json.dumps({"event": event, **members}, default=repr) + "\n")
            self.channel.flush()

    def obey(self, order: Order) -> None:
        """Do one thing and answer."""
        getattr(self, "_" + order["do"])(order)

    # Meeting the others.

    def _import(self) -> None:
        import torch

        if not torch.distributed.is_available():
            raise RuntimeError("this torch is built without torch.distributed")
        self.torch = torch
        if self.job.get("threads"):
            torch.set_num_threads(self.job["threads"])

    def _open(self) -> Any:
        return self.module("meeting").Meeting.connect(self.torch, self.place, self.patience)

    def _connect(self, order: Order) -> None:
        self._import()
        self.meeting = self._open()
        self.device = order["device"]
        self.pause = float(order["go"]["live"])
        self.send("connected")

    def _serve(self, _order: Order) -> None:
        self._import()
        self.kept = self.module("meeting").open_store(
            self.torch, self.place["master"], self.place["port"], self.patience, serve=True
        )
        self.send("serving")

    def _join(self, _order: Order) -> None:
        self._import()
        identities = self.module("identity")
        devices, lacking = self.module("devices").resolve(self.torch, self.job["devices"])
        self.device, why = identities.own_device(devices, lacking, self.place)
        identity = identities.describe(self.torch, self.device, self.place, why)
        self.meeting = self._open()
        self.meeting.arrive(identity)
        if self.place["rank"] == 0:
            here, missing = self.meeting.gather("here", self.patience)
            fit = identities.fit(here, missing)
            live = max(0.5, self.place["world"] / 500) if self.job["live"] else 0.0
            self.meeting.tell("go", {**fit, "live": live})
            self.send("here", identities=here)
        go = self.meeting.hear("go", 2 * self.patience + 10)
        lost: Order = {"why": "rank 0 did not answer", "missing": [], "odd": {}, "live": 0.0}
        self.pause = float((go or lost)["live"])
        self.send("joined", identity=identity, device=self.device, go=go or lost)

    # Rank 0 hears what all say.

    def _say(self, order: Order) -> None:
        self._keep(*order["events"])

    def _keep(self, *events: Order) -> None:
        """Say events to rank 0, which hears those of its own anyway, in batches."""
        if not self.pause or not self.place["rank"]:
            return
        with self._lock:
            self._unsaid += events
        if self._speaker is None:
            self._speaker = threading.Thread(target=self._speak, daemon=True)
            self._speaker.start()

    def _speak(self) -> None:
        """Say what there is, every now and then, through a connection of its own: the other one may wait for long."""
        with contextlib.suppress(RuntimeError):  # the store is gone, and the run with it
            meeting = self._open()
            while not self._silent.wait(self.pause):
                self._flush(meeting)

    def _flush(self, meeting: Any) -> None:
        with self._lock:
            events, self._unsaid = self._unsaid, []
        meeting.say(events)

    def _listen(self, order: Order) -> None:
        threading.Thread(target=self._hear, args=(int(order["heard"]),), daemon=True).start()

    def _hear(self, heard: int) -> None:
        """Pass on what is said, through a connection of its own: the other one may wait for long."""
        stuck = 0
        try:
            meeting = self._open()
            while True:
                last, events = meeting.listen(heard)
                waits = last == heard and meeting.store.add("said", 0) > heard
                stuck = stuck + 1 if waits else 0
                if events:
                    self.send("heard", last=last, events=events)
                heard = last + 1 if stuck > _STUCK else last
                time.sleep(_LISTEN)
        except RuntimeError as error:  # the store is gone, and the run with it
            sys.stderr.write(f"nothing more is heard: {error}\n")

    # What is proven.

    def _items(self) -> tuple[list[Any], list[Any]]:
        """Give what this rank's device is to prove, and what the ranks are for."""
        plan = self.module("plan")
        asked = {"level": self.job["level"], "select": self.job["select"], "skip": self.job["skip"]}
        chosen = plan.choose(self.module("registry").all_checks(), **asked)
        return plan.items(chosen, [self.device]), plan.items_of_ranks(chosen, self.device)

    def _plan(self, _order: Order) -> None:
        own, shared = ([self._planned(item) for item in items] for items in self._items())
        self.send("plan", own=own, together=shared)

    def _planned(self, item: Any) -> dict[str, Any]:
        """Say what is planned, for whom ("rank" and "ranks": see `registry.Check`), and whether one of many does it."""
        shares = self.device == "cpu" and self.place["local_world"] > 1
        dealt = (
            shares
            and item.check.devices in ("each", "cpu", "once")
            and not self.module("plan").is_for_all_ranks(item.check)
        )
        return {**self._named(item.as_json()), "devices": item.check.devices, "dealt": dealt}

    def _named(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "device": self.kind if item["device"] == self.device else item["device"]}

    def _checks(self, order: Order) -> None:
        """Run what is compared between ranks and is not done, then what takes all of them, from number `first` on."""
        _, shared = self._items()
        done = {tuple(key) for key in order["done"]}
        for item in shared:
            if item.check.devices == "rank" and (item.check.id, item.dtype) not in done:
                self._run(item)
        items = [item for item in shared if item.check.devices == "ranks"]
        first = order["first"]
        if order["died"] and self._wait(first - 1, "raised") == "lost":  # the others wait at the check that it died in
            return self.send("done", next=first, broken="the other ranks had gone on")
        number, broken = self._run_together(items, first) if items[first:] else (first, "")
        return self.send("done", next=number, broken=broken)

    def _run_together(self, items: list[Any], first: int) -> tuple[int, str]:
        together = self.module("together").Together(self.torch, self.meeting, self.place, self.device, self.patience)
        self._begin(items[first], "the forming of the process group")
        try:
            number, broken = together.run(items, first, self._run, self._wait)
        except Exception as error:  # noqa: BLE001 - it may raise anything; the result says what
            broken = f"no {together.backend} group was formed"
            self._result(self.module("trial").blank(items[together.number], "fail", f"{broken}: {error}"[:800]))
            number = together.number + 1
        return number, broken

    def _wait(self, number: int, outcome: str) -> str:
        self.send("waiting", number=number)
        return str(self.meeting.finish(number, outcome, self.job["patience"]))

    def _run(self, item: Any) -> dict[str, Any]:
        self._begin(item, item.check.id)
        result: dict[str, Any] = self.module("trial").run(item, self.torch, self.job)
        self._result(result)
        return result

    def _begin(self, item: Any, where: str) -> None:
        self.meeting.at(where)
        event = {"id": item.check.id, "device": self.kind, "dtype": item.dtype}
        self.send("start", **event)
        self._keep({"event": "start", **event})

    def _result(self, result: dict[str, Any]) -> None:
        named = self._named(result)
        self.send("result", **named)
        self._keep({"event": "result", **named})

    # What came of it.

    def _report(self, order: Order) -> None:
        if self._speaker is not None:
            self._silent.set()
            self._speaker.join(5)
            self._flush(self.meeting)
        self.meeting.report(order["report"])
        self.send("reported")

    def _gather(self, order: Order) -> None:
        reports, missing = self.meeting.gather("report", order.get("patience", self.patience))
        self.send("gathered", reports=reports, missing=missing)

    def _close(self, order: Order) -> None:
        self.meeting.tell("verdict", order["verdict"])
        self.meeting.leave(order["expected"])
        self.send("closed", verdict=order["verdict"])

    def _await(self, order: Order) -> None:
        verdict = self.meeting.hear("verdict", order.get("patience", self.patience))
        self.meeting.leave(0)
        self.send("closed", verdict=verdict)


def _orders() -> queue.Queue[dict[str, Any]]:
    """Read orders beside the work, and end the process when there can be no more of them."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            told.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return told


def main() -> None:
    """Obey until stdin ends; how torch would tear itself down never matters (see the worker's `main`)."""
    worker = _worker()
    channel = worker._take_stdout()  # noqa: SLF001 - one island
    worker._quieten()  # noqa: SLF001
    for name in ("TORCH_NCCL_BLOCKING_WAIT", "NCCL_BLOCKING_WAIT"):  # the second is torch 2.1's and older
        os.environ.setdefault(name, "1")  # a lost peer is an exception, not the end of the process
    told = _orders()
    rank = Rank(worker, channel, told.get())
    while True:
        rank.obey(told.get())


if __name__ == "__main__":
    main()
