"""The worker: runs checks in the target interpreter and reports them, one JSON object a line.

Started by path, `python …/suite/worker.py [FOLDER…]`, in an interpreter that knows nothing of torchcheck: standard
library and torch only. The job is one JSON object on stdin; the events go to a private copy of stdout, while descriptor
1 itself is turned over to stderr, so that what Python or C++ prints ends in the log and never between two events.

    job     {"level", "seed", "devices", "select", "skip", "done", "options", "threads", "timeout", "reverse",
             "share": [number, of]}
    events  loaded {plan}     before torch is imported: what would run on the devices as they were asked for
            start {id, device, dtype}, result {…}
            hello {torch, python, devices, lacking, plan}
            bye {poisoned}

A FOLDER holds further check modules, as if they lay in `checks`. `--list` prints every check as JSON, without torch.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import importlib.util
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import IO, Any

PROTOCOL = 1
PACKAGE = "torchcheck_suite"


def enter_island() -> None:
    """Make the suite importable under a name of its own, and nothing else of torchcheck's.

    Also done in processes that `multiprocessing` spawns, which import this file as `__mp_main__`, with our arguments.
    """
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    spec = importlib.util.spec_from_file_location(PACKAGE, here / "__init__.py", submodule_search_locations=[str(here)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[PACKAGE] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    importlib.import_module(PACKAGE + ".checks").__path__.extend(arg for arg in sys.argv[1:] if arg != "--list")


if __name__ in ("__main__", "__mp_main__") and PACKAGE not in sys.modules:
    enter_island()


def _module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


class Worker:
    """One process's share of a run."""

    def __init__(self, channel: IO[str], job: dict[str, Any]) -> None:
        """Take the protocol's channel and the job."""
        self.channel = channel
        self.job = job
        self.alarm = (0.0, 0.0)
        self.done = {tuple(key) for key in job.get("done", [])}
        # Containers often set PYTHONDONTWRITEBYTECODE; compiling the suite anew costs every worker 0.4 s of each run.
        # What is written lies beside the suite's own sources, nowhere else.
        kept, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        self.plan, self.trial = _module("plan"), _module("trial")
        checks = _module("registry").all_checks()
        sys.dont_write_bytecode = kept
        self.ahead = {check.id: check for check in checks if check.id in self.plan.PREPARATION}
        self.chosen = self.plan.choose(
            checks, level=job["level"], select=job.get("select", []), skip=job.get("skip", [])
        )
        self.chosen = self.plan.deal(self.chosen, *job.get("share", (0, 1)))

    def send(self, event: str, **members: Any) -> None:
        """Write one event and flush it: the next instruction may be the last. A result waits for what follows it."""
        self.channel.write(json.dumps({"event": event, **members}, default=repr) + "\n")
        if event != "result":  # a start or a goodbye comes at once, and one write wakes the reader half as often as two
            self.channel.flush()

    def work(self) -> None:
        """Import torch, find the devices, and run what is left to run."""
        asked = self.job["devices"]
        self.send("loaded", plan=self._json(self.plan.items(self.chosen, ["cpu"] if asked == ["all"] else asked)))
        # torch and what it imports later are a million objects that live to the end: going through all of them again
        # and again costs a tenth of the import and as much as the checks. Their young garbage is still collected.
        gc.disable()
        torch = self._prepare()
        if torch is None:
            return self.send("bye", poisoned=None)
        gc.freeze()
        gc.set_threshold(50_000, 1_000, 1_000)
        gc.enable()
        devices, lacking = self._devices(torch)
        items = self.plan.items(self.chosen, [*devices, *lacking])
        self.send(
            "hello",
            protocol=PROTOCOL,
            torch=str(torch.__version__),
            python=sys.version.split()[0],
            devices=devices,
            lacking=lacking,
            plan=self._json(items),
        )
        if self.job.get("threads"):
            torch.set_num_threads(self.job["threads"])
        return self.send("bye", poisoned=self._run_all(items, torch, lacking))

    def _prepare(self) -> Any:
        """Import torch, as the first check; None when it cannot be imported."""
        result = self._step(self.plan.IMPORT, None)
        if result["status"] != "pass":
            return None
        return sys.modules["torch"]

    def _devices(self, torch: Any) -> tuple[list[str], dict[str, str]]:
        """Find the devices, as the second check: a broken driver may hang or crash here."""
        asked = self.job["devices"]
        if asked != ["cpu"]:
            self._step(self.plan.ENUMERATE, torch)
        else:
            item = self.plan.Item(self.ahead[self.plan.ENUMERATE], "cpu", None)
            self.send("result", **self.trial.blank(item, "skip", "no device but the CPU was asked for"))
        found: tuple[list[str], dict[str, str]] = _module("devices").resolve(torch, asked)
        return found

    def _step(self, ident: str, torch: Any) -> dict[str, Any]:
        item = self.plan.Item(self.ahead[ident], "cpu", None)
        self._announce(item)
        result: dict[str, Any] = self.trial.run(item, torch, self.job)
        self.send("result", **result)
        return result

    def _run_all(self, items: list[Any], torch: Any, lacking: dict[str, str]) -> str | None:
        ordered = self.plan.ordered(items)
        for item in reversed(ordered) if self.job.get("reverse") else ordered:
            if item.key in self.done or item.check.id in self.plan.PREPARATION:
                continue
            if item.device in lacking:
                self.send("result", **self.trial.blank(item, "skip", lacking[item.device]))
                continue
            self._announce(item)
            result = self.trial.run(item, torch, self.job)
            self.send("result", **result)
            if item.device != "cpu" and self.trial.poisoned(result):
                return str(item.device)
        return None

    def _announce(self, item: Any) -> None:
        self.send("start", id=item.check.id, device=item.device, dtype=item.dtype)
        limit = item.check.timeout or self.job.get("timeout")
        if limit:
            self._watch(0.9 * (limit + float(self.job.get("options", {}).get("seconds", 0))))

    def _watch(self, seconds: float) -> None:
        """Have the stack written to the log where a check hangs, before the runner's patience ends.

        Setting the alarm anew starts a thread, which costs more than many a check: one that was set for as long less
        than a second ago will do.
        """
        now = time.monotonic()
        if seconds != self.alarm[0] or now > self.alarm[1] + min(1.0, seconds / 9):
            faulthandler.dump_traceback_later(seconds, exit=False)
            self.alarm = (seconds, now)

    @staticmethod
    def _json(items: list[Any]) -> list[dict[str, Any]]:
        return [item.as_json() for item in items]


def _take_stdout() -> IO[str]:
    """Keep stdout for the protocol and send whatever else is written to it to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    channel.write("\n")  # what a start-up hook printed without an end of line must not swallow the first event
    os.dup2(2, 1)
    return channel


def _quieten() -> None:
    """Die quickly and quietly: a stack on stderr, no core file, no dialogue box."""
    faulthandler.enable(all_threads=False)
    warnings.simplefilter("ignore")
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _list() -> None:
    checks = _module("registry").all_checks()
    told = [{key: value for key, value in vars(check).items() if key != "run"} for check in checks]
    sys.stdout.write(json.dumps(told) + "\n")


def main() -> None:
    """Run one job, then leave without the interpreter's teardown.

    torch's teardown costs 0.4 s and can abort after all results were right (gloo: "terminate called without an active
    exception"), so nothing of it may reach the exit code.
    """
    if sys.argv[1:] == ["--list"]:
        return _list()
    channel = _take_stdout()
    _quieten()
    Worker(channel, json.loads(sys.stdin.readline())).work()
    channel.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
