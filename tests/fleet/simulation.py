"""Ranks that only speak the protocol: how long rank 0 takes to gather what N of them found.

`python simulation.py [RANKS [PROCESSES]]`, in an interpreter that has torch; prints one JSON object. Every rank has a
connection of its own to one TCPStore, arrives, waits for the others, takes some steps with them, hands in a report of
as many results as a GPU's default run has, and waits for the verdict: all as in a real run, through the same code.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed

MEETING = Path(__file__).resolve().parents[2] / "torchcheck" / "suite" / "meeting.py"
CHECKS = 1500
STEPS = 5
"""Checks that all take together: after each they wait for one another."""
PATIENCE = 120.0


def load():
    spec = importlib.util.spec_from_file_location("meeting", MEETING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(rank):
    passed = [[f"topic{i % 40}.row{i}.check", ("float32", "bfloat16", None)[i % 3]] for i in range(CHECKS)]
    figures = {f"distributed.work{i}.bits": {"digest": f"{i:016x}", "fastest": 0.01 + rank * 1e-6} for i in range(8)}
    identity = {"rank": rank, "host": f"node{rank // 8}", "device": f"cuda:{rank % 8}", "name": "GPU", "torch": "2"}
    return {"identity": identity, "passed": passed, "results": [], "figures": figures, "ended": "", "seconds": 60.0}


def take_part(module, rank, world, port, heard):
    place = {"rank": rank, "world": world, "master": "127.0.0.1", "port": port}
    meeting = module.Meeting.connect(torch, place, PATIENCE)
    meeting.arrive(report(rank)["identity"])
    assert meeting.hear("go", PATIENCE) is not None
    for step in range(STEPS):
        meeting.at("distributed.broadcast")
        assert meeting.finish(step, "", PATIENCE) == ""
    meeting.report(report(rank))
    heard[rank] = meeting.hear("verdict", PATIENCE)
    meeting.leave(0)


def crowd(first, last, world, port):
    """Be many ranks, one thread each."""
    module, heard = load(), {}
    ranks = [
        threading.Thread(target=take_part, args=(module, rank, world, port, heard), daemon=True)
        for rank in range(first, last)
    ]
    for thread in ranks:
        thread.start()
    for thread in ranks:
        thread.join()
    assert heard == dict.fromkeys(range(first, last), 0), heard


def many_files():
    """Let this process keep a connection for every rank, as whoever runs torchrun for so many must."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))


def main(world=1000, processes=2):
    many_files()
    module = load()
    store = module.open_store(torch, "127.0.0.1", 0, PATIENCE, serve=True)
    place = {"rank": 0, "world": world, "master": "127.0.0.1", "port": store.port}
    meeting = module.Meeting.connect(torch, place, PATIENCE)
    edges = [1 + (world - 1) * i // processes for i in range(processes + 1)]
    crowds = [
        subprocess.Popen([sys.executable, __file__, "crowd", *map(str, (*edges[i : i + 2], world, store.port))])
        for i in range(processes)
    ]
    meeting.arrive(report(0)["identity"])
    here, missing = meeting.gather("here", PATIENCE)
    began = time.perf_counter()
    meeting.tell("go", {"why": ""})
    for step in range(STEPS):
        assert meeting.finish(step, "", PATIENCE) == ""
    stepped = time.perf_counter()
    meeting.report(report(0))
    reports, late = meeting.gather("report", PATIENCE)
    gathered = time.perf_counter()
    meeting.tell("verdict", 0)
    meeting.leave(world, 60.0)
    closed = time.perf_counter()
    codes = [process.wait(60) for process in crowds]
    print(
        json.dumps(
            {
                "ranks": world,
                "arrived": len(here),
                "reported": len(reports),
                "missing": len(missing) + len(late),
                "codes": codes,
                "bytes": sum(len(json.dumps(one)) for one in reports.values()),
                "step_seconds": round((stepped - began) / STEPS, 3),
                "gather_seconds": round(gathered - stepped, 3),
                "verdict_seconds": round(closed - gathered, 3),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["crowd"]:
        crowd(*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:]))
