"""Does a run over ranks notice? `python tests/fleet/wrong.py [FAULT…]`, where torch is installed (not on Windows).

Each fault of planted.py is planted in the ranks of a gloo group, which are forks of one process, and all checks of
`distributed` that take all ranks run until one notices. Prints a JSON line a fault: {"fault", "what", "noticed", …}.
Without names: all of them, and first the sound torch.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = HERE.parents[1] / "torchcheck" / "suite"
WORLD = int(os.environ.get("TORCHCHECK_RANKS", "3"))
GO_ON = bool(os.environ.get("TORCHCHECK_GO_ON"))  # tell all that is not passed, and stop nowhere
LIMIT = float(os.environ.get("TORCHCHECK_LIMIT", "90"))
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worker = load("torchcheck_worker", SUITE / "worker.py")
faults = load("planted_in_ranks", HERE / "planted.py")


def be_rank(torch, items, trial, fault, rank, folder, tell):
    """Plant, meet, and run checks until one notices."""
    if fault:
        faults.FAULTS[fault](torch, rank, WORLD)
    distributed = torch.distributed
    store = distributed.FileStore(str(Path(folder) / "store"), WORLD)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=dt.timedelta(seconds=15))
    job = {"level": "default", "seed": 0}
    for item in items:
        result = trial.run(item, torch, job)
        if "planted.py" in result["detail"]:  # the fault itself stumbled
            result |= {"status": "broken"}
        tell({name: result[name] for name in ("id", "dtype", "status", "detail", "seconds")})
        if result["status"] in ("fail", "error") and not GO_ON:
            break


def attempt(torch, items, trial, fault):
    """Fork the ranks; give what the first of them noticed."""
    began, answer = time.monotonic(), {"fault": fault, "noticed": "", "checks": 0}
    with tempfile.TemporaryDirectory() as folder:
        children = {}
        for rank in range(WORLD):
            ours, theirs = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(ours)
                pipe = os.fdopen(theirs, "w")

                def tell(event, pipe=pipe):
                    pipe.write(json.dumps(event) + "\n")
                    pipe.flush()

                try:
                    be_rank(torch, items, trial, fault, rank, folder, tell)
                except BaseException:  # noqa: BLE001 - the report says why
                    tell({"id": "", "dtype": None, "status": "broken", "detail": traceback.format_exc()[-600:]})
                os._exit(0)
            os.close(theirs)
            children[os.fdopen(ours)] = pid
        answer |= watch(children, began)
    return {**answer, "seconds": round(time.monotonic() - began, 1)}


def watch(children, began):
    """Read the ranks' results until one fails, all have ended, or the time is up; end whoever is left."""
    told, open_, noticed, seconds = 0, dict(children), "", {}
    while open_ and not noticed:
        ready = select.select(list(open_), [], [], max(0.0, began + LIMIT - time.monotonic()))[0]
        if not ready:
            noticed = "no end"
        for pipe in ready:
            line = pipe.readline()
            if not line:
                del open_[pipe]
                continue
            result = json.loads(line)
            told += 1
            seconds[result["id"]] = seconds.get(result["id"], 0.0) + result.get("seconds", 0.0) / WORLD
            if GO_ON and result["status"] != "pass":
                print(result)
            if result["status"] not in ("pass", "skip", "known") and not GO_ON:
                dtype = f"[{result['dtype']}]" if result["dtype"] else ""
                noticed = f"{result['id']}{dtype} {result['status']}: {result['detail']}"
                break
    for pipe, pid in children.items():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pipe.close()
    return {"noticed": noticed, "checks": told, "slowest": sorted(seconds.items(), key=lambda one: -one[1])[:4]}


def main():
    warnings.simplefilter("ignore")
    sys.argv, names = sys.argv[:1], sys.argv[1:]
    worker.enter_island()
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)], 0.1)  # the compiler's front end, once for all forks
    plan, trial = worker._module("plan"), worker._module("trial")
    checks = plan.choose(worker._module("registry").all_checks(), level="default", select=["distributed"])
    items = [item for item in plan.items_of_ranks(checks, "cpu") if item.check.devices == "ranks"]
    for name in names or ["", *faults.FAULTS]:
        answer = attempt(torch, items, trial, name)
        print(json.dumps({**answer, "what": faults.FAULTS[name].__doc__ if name else "the sound torch"}), flush=True)


if __name__ == "__main__":
    main()
