"""Run the suite in the target interpreter and turn whatever becomes of it into events.

The worker (suite/worker.py) announces each check before it starts. When it dies, hangs or goes silent, that check gets
a result which names the death, and a fresh worker goes on with the rest; so every planned check appears exactly once.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from torchcheck import processes
from torchcheck.verify import deaths

WORKER = Path(__file__).resolve().parents[1] / "suite" / "worker.py"
IMPORT, ENUMERATE = "environment.import", "environment.devices"
TIMEOUT = 120.0
PATIENCE = 25
"""Workers that may die in one run; what is left after that is not run."""
_TAIL = 60
_OURS = re.compile(r'suite.(worker|trial)\.py"|^Extension modules: |^Current thread |^Thread 0x')

Event = dict[str, Any]
Key = tuple[str, str, str | None]


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


def run(python: str, job: Job, on_event: Callable[[Event], None], *, env: Mapping[str, str] | None = None) -> None:
    """Run a job in the interpreter `python` and hand every event to `on_event`, `hello` first and `bye` last.

    Ctrl-C ends the worker and gives what was not run as skipped; `bye` then has `interrupted`.

    Args:
        python: absolute path of the target interpreter.
        job: what to run.
        on_event: called in this thread with `hello`, `start`, `result` and `bye`, each one a JSON-able object.
        env: environment of the target; ours when None.
    """
    session = _Session(job, on_event)
    with tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder:
        try:
            session.run(lambda: _Worker([python, str(WORKER), *job.folders], _environment(env), folder))
        except KeyboardInterrupt:
            session.finish("not run: interrupted", interrupted=True)
            return
    session.finish("not run")


class _Session:
    """What is known of a run so far, over all of its workers."""

    def __init__(self, job: Job, on_event: Callable[[Event], None]) -> None:
        self.job = job
        self.devices = list(job.devices)
        self.emit = on_event
        self.plan: dict[Key, Event] = {}
        self.ahead: dict[Key, Event] = {}
        self.done: dict[Key, Event] = {}
        self.running: Event | None = None
        self.greeted = False
        self.held: list[Event] = []
        self.poisoned: dict[str, int] = {}
        self.notes: list[str] = []
        self.began = time.monotonic()

    # -- one worker after the other ------------------------------------------------------------------------------

    def run(self, start: Callable[[], _Worker]) -> None:
        """Start workers until every planned check has a result."""
        idle = 0
        for _ in range(PATIENCE):
            before = len(self.done)
            with contextlib.closing(start()) as worker:
                death = self._attend(worker)
            if death is None and not self._left():
                return
            if self._hopeless(death):
                return
            idle = idle + 1 if len(self.done) == before else 0
            if idle == 2:  # it dies between the checks, twice in the same place
                self.notes.append(f"the worker died without running anything: {death}")
                return
        self.notes.append(f"gave up after {PATIENCE} workers had died")

    def _attend(self, worker: _Worker) -> str | None:
        """Follow one worker to its end; give what it died of, or None when it said goodbye."""
        worker.send(self._order())
        self.running = None
        while True:
            event = worker.next(self._limit())
            if event is None:
                return self._blame(worker)
            if event["event"] == "bye":
                self._lost(event.get("poisoned"))
                return None
            self._take(event)

    def _order(self) -> Event:
        return {
            "level": self.job.level,
            "devices": self.devices,
            "select": list(self.job.select),
            "skip": list(self.job.skip),
            "seed": self.job.seed,
            "timeout": self.job.timeout,
            "threads": self.job.threads,
            "options": dict(self.job.options),
            "done": [list(key) for key in self.done],
        }

    def _limit(self) -> float:
        """Seconds to wait for the next event: the running check's own limit, or the general one."""
        own = self.plan.get(_key(self.running), {}).get("timeout") if self.running else None
        return float(own or self.job.timeout)

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == "loaded":
            self.ahead = {_key(item): item for item in event["plan"]}
        elif kind == "hello":
            self._greet(event)
        elif kind == "start":
            self.running = event
            if _key(event) not in self.done:
                self._tell(event)
        elif kind == "result":
            self.running = None
            self._finish(event)

    def _greet(self, event: Event) -> None:
        if not self.greeted:
            self.plan |= {_key(item): item for item in event["plan"]}
            self.greeted = True
            self.emit({**event, "plan": list(self.plan.values()), "level": self.job.level, "seed": self.job.seed})
            for held in self.held:
                self._tell(held)

    def _tell(self, event: Event) -> None:
        """Pass an event on; before the first `hello`, keep it. What is not in the plan is told to nobody."""
        if not self.greeted:
            self.held.append(event)
        elif _key(event) in self.plan:
            self.emit(event)

    def _finish(self, result: Event) -> None:
        key = _key(result)
        if key in self.done:
            return
        self.done[key] = result
        if result["status"] not in ("pass", "skip") and key[0] in (IMPORT, ENUMERATE):
            self.plan.setdefault(key, result)
        self._tell(result)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _blame(self, worker: _Worker) -> str | None:
        """Give the check that was running the result that its worker's end deserves."""
        death = worker.death()
        if self.running is None:
            # With nothing left to do, how a process leaves is no result: torch may abort in its own teardown.
            return death.text if self._left() else None
        key = _key(self.running)
        item = self.plan.get(key) or self.ahead.get(key) or self.running
        hint = "see the log above: the last lines of the worker's own output" if worker.tail() else None
        detail = death.text + (f"; its last words: {worker.tail()}" if worker.tail() else "")
        self._finish(_result(item, death.status, detail, seconds=worker.waited, hint=death.hint or hint))
        return death.text

    def _left(self) -> bool:
        return not self.greeted or any(key not in self.done for key in self.plan)

    def _hopeless(self, death: str | None) -> bool:
        """Say whether another worker would meet the same end before its first check."""
        if self.done.get((IMPORT, "cpu", None), {"status": "pass"})["status"] != "pass":
            return True
        if (ENUMERATE, "cpu", None) in self.done and not self.greeted and death is not None:
            if self.devices == ["cpu"]:
                return True
            self.devices = ["cpu"]  # the driver cannot even be asked: go on without it
        return False

    def _lost(self, device: str | None) -> None:
        """Count how often a device took its worker down; after the third time, leave it alone."""
        if device is None:
            return
        self.poisoned[device] = self.poisoned.get(device, 0) + 1
        if self.poisoned[device] < 3:
            return
        for key, item in self.plan.items():
            if key not in self.done and key[1] == device:
                self._finish(_result(item, "skip", f"not run: {device} was lost three times in this run"))

    def finish(self, why: str, *, interrupted: bool = False) -> None:
        """Give everything that has no result one, and say goodbye."""
        importing = self.done.get((IMPORT, "cpu", None))
        if importing is not None and importing["status"] not in ("pass", "skip"):
            why = "not run: torch cannot be imported"
        elif self.notes:
            why = f"not run: {self.notes[-1]}"
        if not self.greeted:
            self._greet(self._hello())
        for key, item in self.plan.items():
            if key not in self.done:
                self._finish(_result(item, "skip", why))
        if not self.plan:
            self.notes.append("no check of this level matches the selection")
        self.emit(
            {
                "event": "bye",
                "seconds": round(time.monotonic() - self.began, 3),
                "interrupted": interrupted,
                "notes": self.notes,
            }
        )

    def _hello(self) -> Event:
        """Greet for a worker that never got so far."""
        bad = {key: result for key, result in self.done.items() if result["status"] not in ("pass", "skip")}
        plan = {**bad, **self.ahead}
        return {
            "event": "hello",
            "torch": None,
            "python": None,
            "devices": [],
            "lacking": {},
            "plan": list(plan.values()),
        }


class _Worker:
    """One process of the suite, with a thread that reads its events and one that keeps its log."""

    def __init__(self, argv: list[str], env: Mapping[str, str], folder: str) -> None:
        self.process = processes.start(argv, env=env, cwd=folder, stdin=subprocess.PIPE)
        self.events: queue.Queue[Event | None] = queue.Queue()
        self.log: deque[str] = deque(maxlen=_TAIL)
        self.hung = False
        self.waited = 0.0
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._keep, args=(self.process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, order: Event) -> None:
        """Hand over the job; a process that is already gone shows in `next`."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError), self.process.stdin as pipe:
            pipe.write(json.dumps(order).encode() + b"\n")

    def next(self, limit: float) -> Event | None:
        """Wait for the next event; None when there will be none, with `hung` set when the time was up."""
        began = time.monotonic()
        try:
            return self.events.get(timeout=limit)
        except queue.Empty:
            self.hung = True
            return None
        finally:
            self.waited = time.monotonic() - began

    def death(self) -> deaths.Death:
        """End the process, if it has not ended, and name what it died of."""
        if not self.hung:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        code = None if self.hung else self.process.poll()
        self.close()
        return deaths.timeout(self.waited) if self.hung else deaths.of_code(code)

    def tail(self) -> str:
        """Give the last lines of the log, on one line, without the part of a stack that is ours."""
        lines = [line.strip() for line in self.log if line.strip() and not _OURS.search(line)]
        return " | ".join(lines[-12:])[-1200:]

    def close(self) -> None:
        """End the process and all that it started."""
        processes.kill_tree(self.process)
        for thread in self._threads:
            thread.join(2)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                event = _event(line)
                if event is None:
                    self._remember(line)
                else:
                    self.events.put(event)
        self.events.put(None)

    def _keep(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._remember(line)

    def _remember(self, line: bytes) -> None:
        self.log.append(line.decode("utf-8", "replace")[:400])


def _event(line: bytes) -> Event | None:
    """Read one line of the protocol; anything else belongs to the log."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """Give the target the user's environment, with relative import paths bound to the user's folder.

    The worker's own folder is an empty one, so that no `random.py` of the user's is taken for the standard library's;
    PYTHONSAFEPATH does the same for the processes that multiprocessing spawns. Idle OpenMP threads are to sleep, not to
    spin: where others use the processor too, spinning makes the many short parallel regions of the suite wait for their
    own threads (measured: 33 s against 9 s at a load of 5 on 2 cores). It changes no result.
    """
    made = dict(os.environ if env is None else env)
    if made.get("PYTHONPATH"):
        made["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in made["PYTHONPATH"].split(os.pathsep))
    made.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return {**made, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}


def _key(item: Mapping[str, Any] | None) -> Key:
    assert item is not None
    return (item["id"], item["device"], item["dtype"])


def _result(item: Event, status: str, detail: str, *, seconds: float = 0.0, hint: str | None = None) -> Event:
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
