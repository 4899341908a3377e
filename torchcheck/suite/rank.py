"""One rank of a run over many: the part that needs torch. Started by path in the target interpreter, like the worker.

The first line on stdin is the job; every further line an order, each answered by one event. When stdin ends, whoever
started this process is gone, and so is it: no orphan is left, whatever its threads wait for.

    job     {"place": {rank, world, local_rank, local_world, master, port, attempt}, "level", "seed", "devices",
             "select", "skip", "options", "timeout", "threads", "own": [GLOB…]}
    orders  {"do": "join"}      joined {identity, go}: the ranks know each other, and whether they fit together
            {"do": "connect"}   connected: after a death, to hand in what is known
            {"do": "plan"}      plan {plan}: what would run
            {"do": "checks"}    plan {plan}, start …, result …, then done {broken}
            {"do": "report", "report"}    reported
            {"do": "gather"}    gathered {reports, missing}       (rank 0)
            {"do": "close", "verdict", "expected"}    closed      (rank 0)
            {"do": "await"}     closed {verdict}                  (all others)
            {"do": "serve"}     serving: keep a store here, where the launcher keeps none
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

# Before anything else of this folder could be taken for a module of the standard library's.
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != Path(__file__).resolve().parent]

Order = dict[str, Any]
BACKENDS = {"cuda": "nccl", "xpu": "xccl"}
PACKAGE = "torchcheck_suite"


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

    @property
    def kind(self) -> str:
        """The device without its number: what a check is called by that ran on one of each rank's."""
        return self.device.partition(":")[0]

    def send(self, event: str, **members: Any) -> None:
        """Write one event and flush it."""
        self.channel.write(json.dumps({"event": event, **members}, default=repr) + "\n")
        self.channel.flush()

    def obey(self, order: dict[str, Any]) -> None:
        """Do one thing and answer."""
        getattr(self, "_" + order["do"])(order)

    def _import(self) -> None:
        import torch

        if not torch.distributed.is_available():
            raise RuntimeError("this torch is built without torch.distributed")
        self.torch = torch
        if self.job.get("threads"):
            torch.set_num_threads(self.job["threads"])

    def _connect(self, _order: Order) -> None:
        self._import()
        self.meeting = self.module("meeting").Meeting.connect(self.torch, self.place, self.patience)
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
        self.meeting = self.module("meeting").Meeting.connect(self.torch, self.place, self.patience)
        self.meeting.arrive(identity)
        if self.place["rank"] == 0:
            here, missing = self.meeting.gather("here", self.patience)
            self.meeting.tell("go", identities.fit(here, missing))
        go = self.meeting.hear("go", 2 * self.patience + 10)
        lost = {"why": "rank 0 did not answer", "missing": [], "odd": {}}
        self.send("joined", identity=identity, device=self.device, go=go or lost)

    def _plan(self, _order: Order) -> tuple[list[Any], list[Any]]:
        """Say what would run: what each rank does alone, then what only all can do."""
        plan = self.module("plan")
        checks = self.module("registry").all_checks()
        asked = {"select": self.job["select"], "skip": self.job["skip"]}
        own = [c for c in plan.choose(checks, level="quick", **asked) if self._is_own(plan, c)]
        alone = plan.items(own, [self.device]) if self.device == "cpu" else []
        shared = plan.items_of_ranks(plan.choose(checks, level=self.job["level"], **asked), self.device)
        alone += [item for item in shared if item.check.devices == "rank"]
        joint = [item for item in shared if item.check.devices == "ranks"]
        self.send("plan", plan=[{**item.as_json(), "device": self.kind} for item in (*alone, *joint)])
        return alone, joint

    def _checks(self, order: Order) -> None:
        alone, joint = self._plan(order)
        for item in alone:
            self._run(item)
        self.send("done", broken=self._run_together(joint))

    def _is_own(self, plan: Any, check: Any) -> bool:
        return bool(check.devices == "each" and plan.matches(check.id, self.job["own"]))

    def _run_together(self, items: list[Any]) -> str:
        """Run what only all can; an exception that not all met ends it: from then on they are at different places."""
        if not items:
            return ""
        trial, broken = self.module("trial"), self._form_group(items[0])
        for item in items[1:] if broken else items:
            if broken:
                self._result(trial.blank(item, "skip", f"not run: {broken}"))
                continue
            result = self._run(item)
            raised = result["status"] in ("fail", "error") and result["measured"] is None
            if raised and not self.meeting.agree(item.check.id + str(item.dtype), min(5.0, self.patience)):
                self._leave_group()
                broken = f"the ranks were no longer together after {item.check.id}"
        return broken

    def _leave_group(self) -> None:
        """Close this rank's connections: who waits for it learns at once that it does not come."""
        if self.kind == "cpu":  # elsewhere the backend may wait for work that never ends
            with contextlib.suppress(RuntimeError):
                self.torch.distributed.destroy_process_group()

    def _form_group(self, first: Any) -> str:
        """Make the process group; its failure is the first check's."""
        distributed, backend = self.torch.distributed, BACKENDS.get(self.kind, "gloo")
        options = {} if self.device == "cpu" else {"device_id": self.torch.device(self.device)}
        self._start(first, "the forming of the process group")
        store = self.module("meeting").open_store(self.torch, self.place["master"], self.place["port"], self.patience)
        try:
            if options:
                getattr(self.torch, self.kind).set_device(self.device)
            distributed.init_process_group(
                backend,
                store=distributed.PrefixStore(f"torchcheck/{self.place.get('attempt', 0)}/group", store),
                rank=self.place["rank"],
                world_size=self.place["world"],
                timeout=timedelta(seconds=self.patience),
                **options,
            )
        except Exception as error:  # noqa: BLE001 - it may raise anything; the result says what
            self._result(self.module("trial").blank(first, "fail", f"no {backend} group was formed: {error}"[:800]))
            return f"no {backend} group was formed"
        return ""

    def _run(self, item: Any) -> dict[str, Any]:
        self._start(item, item.check.id)
        result: dict[str, Any] = self.module("trial").run(item, self.torch, self.job)
        self._result(result)
        return result

    def _start(self, item: Any, where: str) -> None:
        self.meeting.at(where)
        self.send("start", id=item.check.id, device=self.kind, dtype=item.dtype)

    def _result(self, result: dict[str, Any]) -> None:
        self.send("result", **{**result, "device": self.kind})

    def _report(self, order: Order) -> None:
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
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # a lost peer is an exception, not the end of the process
    told = _orders()
    rank = Rank(worker, channel, told.get())
    while True:
        rank.obey(told.get())


if __name__ == "__main__":
    main()
