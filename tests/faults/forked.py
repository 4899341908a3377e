"""Try many faults in one interpreter: `python forked.py`, run in the target, with a job as JSON on stdin.

torch and the suite are imported once; then every fault gets a fork of the process, which plants it and runs checks
until one notices. That is some twenty times cheaper than a process each (run.py --isolated), with the same checks.

    job     {"faults": [name], "level", "jobs", "select", "ignore": [key]} with, as the caller likes,
            {"first": {fault: [topic]}, "only": {fault: [key]}, "everything": go on after the first check that notices}
    answer  one line a fault: {"fault", "planted", "noticed": [text], "keys": [key], "compared", "seconds"}
    with "record": true instead of faults: {"operators": {name: [key]}, "bad": [key]}
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
BAD = ("fail", "error")
LIMIT = 60
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]


def load_worker():
    """Import the suite's worker, which makes the suite importable."""
    path = HERE.parents[1] / "torchcheck" / "suite" / "worker.py"
    spec = importlib.util.spec_from_file_location("torchcheck_worker", path)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    sys.argv[1:] = []
    worker.enter_island()
    return worker


def load_suite():
    """Import torch and the suite, as the worker does."""
    worker = load_worker()
    import torch

    gc.set_threshold(50_000, 1_000, 1_000)
    torch.optim.SGD([torch.zeros(1)], 0.1)  # the compiler's front end, once for all forks
    return torch, worker


class Server:
    """The suite in this process, and what one fork does with it."""

    def __init__(self, job):
        self.job = job
        self.torch, worker = load_suite()
        plan = worker._module("plan")
        self.trial = worker._module("trial")
        checks = plan.choose(worker._module("registry").all_checks(), level=job["level"], select=job.get("select", []))
        self.items = [item for item in plan.items(checks, ["cpu"]) if item.check.id not in plan.PREPARATION]
        self.order = {"level": job["level"], "seed": job.get("seed", 0)}
        self.ignore = {tuple(key) for key in job.get("ignore", [])}

    def sequence(self, fault):
        """Order the items for one fault: the likely topics first, or those alone that call its operator."""
        only = self.job.get("only", {}).get(fault)
        if only is not None:
            wanted = {tuple(key) for key in only}
            return [item for item in self.items if item.key in wanted]
        topics = self.job.get("first", {}).get(fault, [])
        return sorted(self.items, key=lambda item: item.check.id.partition(".")[0] not in topics)

    def run(self, item):
        """Run one item; a check that hangs is ended like any that raises."""
        signal.alarm(int(item.check.timeout or LIMIT))  # checks that start processes take longer, and say so
        try:
            return self.trial.run(item, self.torch, self.order)
        finally:
            signal.alarm(0)

    def attempt(self, fault):
        """Plant a fault in this (forked) process and run checks until one notices."""
        answer = {"fault": fault, "planted": "planted", "noticed": [], "keys": [], "compared": 0}
        try:
            _plant(fault)
        except Exception:  # noqa: BLE001 - the report says why
            answer["planted"] = traceback.format_exc()
            return answer
        for item in self.sequence(fault):
            if item.key in self.ignore:
                continue
            result = self.run(item)
            if "BrokenError: " in result["detail"]:
                answer["planted"] = result["detail"]
            answer["compared"] += result["status"] in ("pass", *BAD)
            if result["status"] in BAD:
                answer["keys"].append(item.key)
                where = f"[{item.dtype}]" if item.dtype else ""
                answer["noticed"].append(f"{item.check.id}{where} {result['status']}: {result['detail']}")
                if not self.job.get("everything"):
                    break
        if fault.startswith("mutant:"):
            answer["changed"] = sys.modules["planted.mutants"].changed
        return answer

    def record(self):
        """Run every item on the sound torch and note which operators with floating results it calls."""
        sys.path.append(str(HERE))
        from planted import mutants

        called, bad = {}, []
        for item in self.items:
            with mutants.Recorder() as recorder:
                result = self.run(item)
            for name in recorder.seen:
                called.setdefault(name, []).append(item.key)
            if result["status"] in BAD:
                bad.append(item.key)
        return {"operators": called, "bad": bad}


def _plant(fault):
    if not fault:
        return
    sys.path.append(str(HERE))
    from planted import registry

    registry.plant(fault)


def _raise(*_):
    raise TimeoutError(f"no end after {LIMIT} s")


def fork(work):
    """Run `work()` in a fork; give its process id and the descriptor to read its JSON answer from."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    os.close(ours)
    signal.signal(signal.SIGALRM, _raise)
    answer = work()
    with os.fdopen(theirs, "w") as pipe:
        pipe.write(json.dumps(answer))
    os._exit(0)


def read(pid, pipe):
    """Read a fork's answer; None when it died."""
    with os.fdopen(pipe) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if text else {"died": status}


def main():
    """Answer one job."""
    os.nice(5)
    warnings.simplefilter("ignore")
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(json.loads(sys.stdin.readline()))
    job = server.job
    if job.get("record"):
        channel.write(json.dumps(read(*fork(server.record))) + "\n")
        return channel.flush()
    waiting, running = list(job["faults"]), {}
    while waiting or running:
        while waiting and len(running) < job.get("jobs", 2):
            fault = waiting.pop(0)
            pid, pipe = fork(lambda fault=fault: server.attempt(fault))
            running[pipe] = (pid, fault, time.monotonic())
        for pipe in select.select(list(running), [], [])[0]:
            pid, fault, began = running.pop(pipe)
            answer = read(pid, pipe)
            if "died" in answer:
                answer = {
                    "planted": "planted",
                    "noticed": [f"the process died: wait status {answer['died']}"],
                    "compared": 0,
                }
            seconds = round(time.monotonic() - began, 2)
            channel.write(json.dumps({**answer, "fault": fault, "seconds": seconds}) + "\n")
            channel.flush()
    return None


if __name__ == "__mp_main__":  # a process that a check spawns
    load_worker()
if __name__ == "__main__":
    main()
    os._exit(0)
