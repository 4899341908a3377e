"""One process of the suite in the target interpreter: its events, its log, and what it died of."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from torchcheck import processes
from torchcheck.verify import deaths

SCRIPT = Path(__file__).resolve().parents[1] / "suite" / "worker.py"
LONGEST = 16 << 20
"""Bytes of a line that are held at once: the plan with all checks has less than one."""
_TAIL = 60
_OURS = re.compile(r'suite.(worker|trial)\.py"|^Extension modules: |^Current thread |^Thread 0x')

Event = dict[str, Any]


class WorkerProcess:
    """One process of the suite, with a thread that reads its events and one that keeps its log."""

    def __init__(
        self, python: str, modules: tuple[str, ...], env: Mapping[str, str], folder: str, script: Path = SCRIPT
    ) -> None:
        """Start it, in an empty folder of its own; `modules` are folders with further checks.

        Raises:
            OSError: `python` cannot be started.
        """
        argv = [python, str(script), *modules]
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
            for line in iter(lambda: pipe.readline(LONGEST), b""):
                event = _event(line)
                if event is None:
                    self._remember(line)
                else:
                    self.events.put(event)
        self.events.put(None)

    def _keep(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(lambda: pipe.readline(LONGEST), b""):
                self._remember(line)

    def _remember(self, line: bytes) -> None:
        self.log.append(line.decode("utf-8", "replace")[:400])


def _event(line: bytes) -> Event | None:
    """Read one line of the protocol; anything else belongs to the log."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def environment(env: Mapping[str, str] | None) -> dict[str, str]:
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
