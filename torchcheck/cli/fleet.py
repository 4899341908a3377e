"""`verify` over many ranks: starting them under torchrun, or being one of them."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_target
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, TargetError, UsageError

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.verify.outcome import Verification
    from torchcheck.verify.places import Place
    from torchcheck.verify.ranks import Told

Given = Mapping[str, Any]
VERDICT = "TORCHCHECK_VERDICT"
"""Names the file for rank 0's exit code, and tells ranks that whoever started them reads it: they all leave with 0."""
_ENTER = "import sys; sys.path[:] = [*filter(None, sys.path), {root!a}]; from torchcheck.cli import main; main()"


def place_of(given: Given) -> Place | None:
    """Say which rank of which run this is; None when nobody launched it as one.

    Raises:
        UsageError: a rank was told to start ranks of its own.
    """
    from torchcheck.verify.places import find

    place = find(os.environ)
    if place is not None and given["nproc"] is not None:
        raise UsageError(
            "--nproc starts ranks, and this process is one already (RANK or SLURM_PROCID is set).",
            "Leave --nproc away: the launcher has started as many as it was told to.",
            code="nproc-in-a-rank",
        )
    return place


# Starting them.


def launch(given: Given) -> int:
    """Start the ranks under the target's torchrun and give rank 0's verdict, which it has printed itself.

    Raises:
        UsageError: --nproc is no number of ranks.
        TargetError: torchrun did not come so far as a verdict.
    """
    from torchcheck import processes

    count = _count(given["nproc"])
    target = live_target(given["python"])
    with tempfile.TemporaryDirectory(prefix="torchcheck-", ignore_cleanup_errors=True) as folder:
        verdict, tail = Path(folder) / "verdict", deque[str](maxlen=12)
        argv = [target.python, *_torchrun(count), *_verify(given, target)]
        sys.stdout.flush()
        streams = {"stdout": sys.stdout.fileno(), "stderr": -1}
        with processes.started(argv, env=_environment(str(verdict)), cwd=folder, **streams) as process:
            assert process.stderr is not None
            reader = threading.Thread(target=_relay, args=(process.stderr, tail), daemon=True)
            reader.start()
            _wait(process)
            reader.join(2)
        if verdict.exists():
            return int(verdict.read_text(encoding="utf-8"))
    raise TargetError(
        f"torchrun ended with exit code {process.returncode} before there was a verdict: {' | '.join(tail)[-600:]}",
        f"{target.python} -m torch.distributed.run --help",
        code="torchrun-failed",
    )


def _wait(process: Any) -> None:
    import subprocess

    while True:
        try:
            process.wait(0.25)  # in slices: Windows delivers Ctrl-C between waits
        except subprocess.TimeoutExpired:
            continue
        return


def _count(nproc: str) -> str:
    if nproc == "auto" or (nproc.isdigit() and int(nproc) > 0):
        return nproc
    raise UsageError(f"--nproc {nproc} is no number of ranks.", "Give a number, or auto: one for each accelerator.")


def _torchrun(count: str) -> list[str]:
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", count, "--max-restarts", "0"]
    enter = _ENTER.format(root=str(Path(__file__).resolve().parents[2]))
    return ["-m", "torch.distributed.run", *here, "--no-python", sys.executable, "-c", enter, "verify"]


def _verify(given: Given, target: Target) -> list[str]:
    """Give the ranks the options that this command was given, but for --nproc."""
    words = ["--python", target.python, "--color", given["color"], "--seed", str(given["seed"])]
    for name in ("device", "select", "skip"):
        words += [word for value in given[name] for word in (f"--{name}", value)]
    for name in ("timeout", "seconds"):
        words += [] if given[name] is None else [f"--{name}", str(given[name])]
    for name in ("junit", "html"):
        words += [] if given[name] is None else [f"--{name}", str(Path(given[name]).absolute())]
    for name in ("json", "quiet", "verbose", "strict", "stream", "github"):
        words += [f"--{name}"] if given[name] else []
    return words + ([f"--{given['level']}"] if given["level"] in ("quick", "full") else [])


def _environment(verdict: str) -> dict[str, str]:
    """Give torchrun ours, with everything on the loopback interface: the host's name need not have an address."""
    made = {**os.environ, VERDICT: verdict, "PYTHONSAFEPATH": "1"}
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback:
        made.setdefault("GLOO_SOCKET_IFNAME", loopback)
    if sys.platform == "win32":
        made.setdefault("USE_LIBUV", "0")
    made.setdefault("OMP_NUM_THREADS", "1")
    return made


def _relay(pipe: IO[bytes], tail: deque[str]) -> None:
    """Pass the log on, and keep its end in case there will be no verdict."""
    for raw in pipe:
        line = raw.decode("utf-8", "replace").rstrip()
        tail.append(line[:300])
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


# Being one of them.


def take_part(given: Given, place: Place) -> int:
    """Be one rank; rank 0 says what came of it, and all give the same exit code."""
    from torchcheck.cli.verification import job_of
    from torchcheck.verify.ranks import Seat, heeding_the_launcher

    output, job, target = Output.of("verify", given), job_of(given), live_target(given["python"])
    log: list[Any] = []
    if place.rank == 0:
        output.say(f"Verifying {target.python} with {place.world} ranks")
    seat = Seat(target.python, job, place, log.append)
    with heeding_the_launcher(seat):
        code = seat.run(lambda told: _conclude(given, output, target, told, log))
    name = os.environ.get(VERDICT)
    if name is None:
        return code
    if place.rank == 0:
        Path(name).write_text(str(code), encoding="utf-8")
    return int(Exit.OK)


def _conclude(given: Given, output: Output, target: Target, told: Told, log: list[Any]) -> int:
    """Print the verdict of all ranks, as that of one machine is printed."""
    from torchcheck.cli.verification import conclude
    from torchcheck.verify.outcome import summarize

    events = [_hello(told, log), *told.events, _bye(told)]
    result: Verification = summarize(events, strict=given["strict"])
    if given["stream"]:
        from torchcheck.report.document import line

        for event in events:
            print(line(event), flush=True)  # noqa: T201 - the stream is the result
    return conclude(given, output, target, result, events, extra={"ranks": list(told.ranks)})


def _hello(told: Told, log: list[Any]) -> Any:
    said: Any = next((event for event in log if event["event"] == "hello"), {})
    torch = next((row["torch"] for row in told.ranks if row["torch"]), None)
    kinds = {str(row["device"]).partition(":")[0] for row in told.ranks if row["device"]}
    items = ("id", "title", "device", "dtype")
    plan = [{name: event[name] for name in items} for event in told.events]
    return {
        "event": "hello",
        "python": None,
        "lacking": {},
        "level": "default",
        **said,
        "torch": torch,
        "devices": sorted(kinds),
        "plan": plan,
    }


def _bye(told: Told) -> Any:
    slow = [f"rank {rank} is {times:.2f} times slower than most" for rank, times in sorted(told.stragglers.items())]
    seconds = max((row["seconds"] or 0.0 for row in told.ranks), default=0.0)
    return {"event": "bye", "seconds": seconds, "interrupted": False, "notes": slow}
