"""`verify --nproc`: starting ranks under the target's torchrun, and saying what they found.

Rank 0 writes every rank's events on its stdout, one JSON object a line, and at the end what all of them amount to. So
this process shows them as they come, and when rank 0 is lost it tells what it had heard until then.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torchcheck.cli.fleet import Teller
from torchcheck.cli.gathering import live_target
from torchcheck.cli.output import Output
from torchcheck.errors import TargetError, UsageError
from torchcheck.verify.launchers import LAUNCHED

if TYPE_CHECKING:
    from torchcheck import processes
    from torchcheck.target import Target
    from torchcheck.verify.verdict import Told

Given = Mapping[str, Any]
Event = dict[str, Any]
NETWORK = {
    "linux": {"GLOO_SOCKET_IFNAME": "lo"},
    "darwin": {"GLOO_SOCKET_IFNAME": "lo0"},
    "win32": {"USE_LIBUV": "0"},
}
"""What torchrun is told of each system's network: the loopback interface, and that builds for Windows lack libuv."""
LONGEST = 64 << 20
"""Bytes of one line: the verdict over 1,000 ranks has some."""
PATIENCE = 10.0
"""Seconds that rank 0 has to speak when torchrun is gone."""
_LEAVE = 40.0
"""Seconds that torchrun has to leave when rank 0 has: it waits 30 for ranks that do not heed it."""
_SLICE = 0.25
_ENTER = "import sys; sys.path[:] = [*filter(None, sys.path), {root!a}]; from torchcheck.cli import main; main()"


def launch(given: Given) -> int:
    """Start the ranks under the target's torchrun, show what they do, and give their verdict.

    Raises:
        UsageError: --nproc is no number of ranks.
        TargetError: torchrun did not come so far that a rank said anything.
    """
    output, count = Output.of("verify", given), _count(given["nproc"])
    target = live_target(given["python"], output.say)
    target.demand_proof()
    output.say(f"Verifying {target.python} with {count} ranks")
    tail = deque[str](maxlen=12)
    argv = [target.python, *_torchrun(count), *_verify(given, target)]
    with contextlib.ExitStack() as stack:
        teller = Teller(given, output, target, stack)
        told, how = _follow(argv, teller, tail)
        if told is not None:
            return teller.conclude(told, interrupted=how == "interrupted")
    said = " | ".join(tail)[-600:]
    raise TargetError(
        f"torchrun ended {how} before any rank said anything: {said}",
        f"{target.python} -m torch.distributed.run --help",
        code="torchrun-failed",
    )


def _follow(argv: list[str], teller: Teller, tail: deque[str]) -> tuple[Told | None, str]:
    """Run torchrun to its end; give what is told of the ranks, and how it ended."""
    from torchcheck import processes
    from torchcheck.verify.verdict import Told, of_events

    heard: queue.Queue[Event | None] = queue.Queue()
    told: Told | None = None
    interrupted, began = False, time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder,
        processes.started(argv, env=_environment(), cwd=folder) as process,
    ):
        threads = _readers(process, heard, tail)
        try:
            for event in _until_the_end(heard, process):
                if event["event"] == "told":
                    told = Told.from_json(event)
                else:
                    teller.take(event)
        except KeyboardInterrupt:
            interrupted = True
        code = process.poll()
    for thread in threads:
        thread.join(2)
    how = "interrupted" if interrupted else f"with exit code {code}"
    why = "interrupted" if interrupted else f"rank 0 was lost before it gave a verdict (torchrun ended {how})"
    return told or of_events(teller.events, why, round(time.monotonic() - began, 3)), how


def _until_the_end(heard: queue.Queue[Event | None], process: processes.Process) -> Iterator[Event]:
    """Give events until rank 0 has closed its stdout; where torchrun is gone, it has a little while to do so."""
    left = PATIENCE
    while left > 0:
        try:
            event = heard.get(timeout=_SLICE)  # in slices: Windows delivers Ctrl-C between waits
        except queue.Empty:
            left -= _SLICE if process.poll() is not None else 0.0
            continue
        if event is None:
            break
        yield event
    import subprocess

    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVE)


def _readers(process: processes.Process, heard: queue.Queue[Event | None], tail: deque[str]) -> list[threading.Thread]:
    pairs = ((_read, process.stdout, heard), (_relay, process.stderr, tail))
    threads = [threading.Thread(target=target, args=arguments, daemon=True) for target, *arguments in pairs]
    for thread in threads:
        thread.start()
    return threads


def _read(pipe: IO[bytes], heard: queue.Queue[Event | None]) -> None:
    for raw in iter(lambda: pipe.readline(LONGEST), b""):
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            heard.put(event)
        else:  # what torchrun or a start-up hook prints belongs to the log
            sys.stderr.write(raw.decode("utf-8", "replace"))
    heard.put(None)


def _relay(pipe: IO[bytes], tail: deque[str]) -> None:
    """Pass the log on, and keep its end in case there will be no verdict."""
    for raw in pipe:
        line = raw.decode("utf-8", "replace").rstrip()
        tail.append(line[:300])
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _count(nproc: str) -> str:
    if nproc == "auto" or (nproc.isdigit() and int(nproc) > 0):
        return nproc
    raise UsageError(f"--nproc {nproc} is no number of ranks.", "Give a number, or auto: one for each accelerator.")


def _torchrun(count: str) -> list[str]:
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", count, "--max-restarts", "0"]
    enter = _ENTER.format(root=str(Path(__file__).resolve().parents[2]))
    return ["-m", "torch.distributed.run", *here, "--no-python", sys.executable, "-c", enter, "verify"]


def _verify(given: Given, target: Target) -> list[str]:
    """Give the ranks what this command was told to run; how it is shown is this process's affair."""
    words = ["--python", target.python, "--color", "never", "--quiet", "--seed", str(given["seed"])]
    for name in ("device", "select", "skip"):
        words += [word for value in given[name] for word in (f"--{name}", value)]
    for name in ("timeout", "seconds"):
        words += [] if given[name] is None else [f"--{name}", str(given[name])]
    return words + ([f"--{given['level']}"] if given["level"] in ("quick", "full") else [])


def _environment() -> dict[str, str]:
    """Give torchrun ours, with everything on the loopback interface: the host's name need not have an address."""
    made = {**os.environ, LAUNCHED: str(os.getpid()), "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}
    for name, value in {**NETWORK.get(sys.platform, {}), "OMP_NUM_THREADS": "1"}.items():
        made.setdefault(name, value)
    return made
