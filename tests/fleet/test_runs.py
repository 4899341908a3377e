"""Real ranks, under the target's own torchrun: well, wrong, dead, mute, foreign, late and killed."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.torch
FEW = ("--select", "distributed.broadcast", "--select", "distributed.matmul.bits", "--quick", "--timeout", "10")
BROADCAST = "distributed.broadcast/float32"


def ranks_left():
    """List processes of the suite's ranks that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(word.endswith("rank.py") for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def await_none_left(patience=10.0):
    until = time.monotonic() + patience
    while ranks_left() and time.monotonic() < until:
        time.sleep(0.1)
    return ranks_left()


def test_two_ranks_agree_and_give_one_verdict(verify):
    ran = verify("--nproc", "2", *FEW)
    assert ran.code == 0, ran.err[-2000:]
    assert ran.document["exit_code"] == 0
    assert {check["status"] for check in ran.checks.values()} == {"pass"}
    assert ran.checks["distributed.ranks"]["measured"] == 2
    assert {row["host"] for row in ran.ranks.values()} == {"host-1"}
    assert socket.gethostname() not in ran.out
    assert all(row["counts"] == {"pass": len(ran.checks) - 1} for row in ran.ranks.values())
    assert not await_none_left()


def test_a_rank_whose_process_leaves_is_named_and_the_others_end(verify):
    ran = verify("--nproc", "2", *FEW, fault="exit:1:broadcast")
    assert ran.code == 1
    assert ran.status(BROADCAST) == "crash"
    assert re.match(r"rank 1 \(.*\): the process left in mid-check with exit code 3", ran.checks[BROADCAST]["detail"])
    assert ran.status("distributed.broadcast/int64") == "crash", "a fresh process goes on with the next check"
    assert ran.status("distributed.matmul.bits") == "pass"
    assert ran.status("distributed.ranks") == "pass"
    assert ran.ranks[1]["status"] == "crash"
    assert not await_none_left()


@pytest.mark.slow
def test_everything_that_ranks_prove_is_proven(verify):
    ran = verify("--nproc", "3", "--select", "distributed.*", "--timeout", "60")
    assert ran.code == 0, {name: c["detail"] for name, c in ran.checks.items() if c["status"] not in ("pass", "known")}
    assert {c["status"] for c in ran.checks.values()} <= {"pass", "known", "skip"}
    assert ran.status("distributed.ddp") == "pass"
    assert ran.status("distributed.checkpoint") == "pass"


@pytest.mark.slow
def test_the_rank_whose_bits_are_wrong_is_found(verify):
    ran = verify("--nproc", "3", *FEW, fault="bits:2")
    assert ran.code == 1
    detail = ran.checks["distributed.matmul.bits"]["detail"]
    assert re.match(r"rank 2 \(.*\): its bits differ from those of 2 of 3 ranks", detail)
    assert ran.ranks[2]["first_difference"] == "distributed.matmul.bits"
    assert [ran.ranks[r]["status"] for r in (0, 1, 2)] == ["pass", "pass", "fail"]


@pytest.mark.slow
def test_a_rank_that_is_really_slow_is_named_and_fails_nothing(verify):
    few = ("--select", "distributed.elementwise.bits", "--timeout", "60")
    ran = verify("--nproc", "5", *few, fault="slow:3")
    assert ran.code == 0, ran.err[-2000:]
    slow = {rank: row["times_slower"] for rank, row in ran.ranks.items() if row["times_slower"]}
    assert list(slow) == [3]
    assert slow[3] > 2
    (note,) = ran.data["notes"]
    assert re.match(r"rank 3 \(host-1, cpu\) is \d+\.\d\d times slower than most", note)


@pytest.mark.slow
def test_a_rank_of_another_torch_is_named_and_nobody_waits_for_it(verify):
    ran = verify("--nproc", "2", *FEW, fault="version:1")
    assert ran.code == 1
    assert "rank 1 has torch 1.0.0+other" in ran.checks["distributed.ranks"]["detail"] or (
        "rank 0 has torch" in ran.checks["distributed.ranks"]["detail"]
    )
    assert ran.status(BROADCAST) == "skip"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_is_named_within_the_timeout(verify, rank):
    few = ("--select", "distributed.barrier", "--select", "distributed.objects", "--quick", "--timeout", "6")
    ran = verify("--nproc", "2", *few, fault=f"hang:{rank}:barrier")
    assert ran.code == 1
    assert ran.status("distributed.barrier") == "timeout"
    assert ran.checks["distributed.barrier"]["detail"].startswith(f"rank {rank} ")
    assert ran.status("distributed.objects") == "pass"
    assert ran.seconds < 60
    assert not await_none_left()


@pytest.mark.slow
def test_an_exception_on_one_rank_stops_no_other_check(verify):
    ran = verify("--nproc", "3", *FEW, "--select", "distributed.objects", fault="raise:2:broadcast")
    assert ran.code == 1
    for dtype in ("float32", "int64", "bfloat16"):
        check = ran.checks[f"distributed.broadcast/{dtype}"]
        assert re.match(r"rank 2 \(host-1, cpu\): RuntimeError: planted", check["detail"]), check["detail"]
    assert ran.status("distributed.objects") == "pass"
    assert ran.status("distributed.ranks") == "pass"


@pytest.mark.slow
def test_a_rank_that_loses_one_process_goes_on_with_another(verify):
    ran = verify("--nproc", "2", *FEW, "--select", "distributed.objects", fault="exit:0:all_gather_object")
    assert ran.status("distributed.objects") == "crash"
    assert ran.status(BROADCAST) == "pass"
    assert ran.code == 1
    assert not await_none_left()


def test_events_come_as_they_happen(launch):
    process = launch("--nproc", "2", *FEW, "--stream", fault="hang:1:broadcast")
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1].get("rank") == 1 and events[-1]["event"] == "start" and "broadcast" in events[-1]["id"]:
            break
    assert process.poll() is None, "rank 1 hangs, and is heard"
    assert events[0]["event"] == "hello"
    assert [rank["host"] for rank in events[0]["ranks"]] == ["host-1", "host-1"]
    done = [event for event in events if event["event"] == "result"]
    assert {("distributed.matmul.bits", rank, "host-1") for rank in (0, 1)} <= {
        (event["id"], event["rank"], event["host"]) for event in done
    }
    assert all(set(CHECK) <= event.keys() for event in done)
    process.send_signal(signal.SIGINT)
    rest = [json.loads(line) for line in process.stdout]
    assert rest[-1]["event"] == "bye"
    assert rest[-1]["interrupted"]
    assert process.wait(30) == 130
    assert not await_none_left()


CHECK = ("id", "title", "device", "dtype", "status", "measured", "bound", "unit", "detail", "hint", "seconds")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_with_its_watcher_leaves_a_document_and_no_orphan(launch, follow, rank):
    process = launch("--nproc", "2", *FEW, fault="hang:1:broadcast")
    _watcher_of(process, rank).send_signal(signal.SIGKILL)
    ran = follow(process, 120)
    assert ran.code == 1
    arrival = ran.checks["distributed.ranks"]["detail"]
    assert ("rank 1 never arrived or was lost" if rank else "rank 0 was lost before it gave a verdict") in arrival
    assert ran.status("distributed.matmul.bits") == "pass"
    assert ran.status(BROADCAST) in ("skip", "fail"), "rank 0 may have learnt that its peer is gone"
    assert ran.seconds < 60
    assert not await_none_left()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_torchrun_killed_leaves_a_document_and_no_orphan(launch, follow):
    process = launch("--nproc", "2", *FEW, fault="hang:1:broadcast")
    _watcher_of(process, 1).parent().send_signal(signal.SIGKILL)
    ran = follow(process, 120)
    assert ran.code == 1
    assert "its launcher is gone" in ran.checks["distributed.ranks"]["detail"]
    assert ran.status("distributed.matmul.bits") == "pass"
    assert ran.seconds < 60
    assert not await_none_left()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_whoever_starts_ranks_takes_them_along_when_killed(launch):
    process = launch("--nproc", "2", *FEW, fault="hang:1:broadcast")
    _watcher_of(process, 0)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not await_none_left(30)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_torchrun_that_is_killed_leaves_rank_0s_document_and_the_others_words(launch, follow, gloo_python):
    """As users start it: torchrun in front, and nobody behind it."""
    here = ("--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", "--no-python")
    before = (gloo_python, "-m", "torch.distributed.run", *here)
    env = {"GLOO_SOCKET_IFNAME": _loopback(), "OMP_NUM_THREADS": "1"}
    process = launch(*FEW, fault="hang:1:broadcast", before=before, env=env)
    watcher = _watcher_of(process, 1)
    process.kill()
    ran = follow(process, 120)
    assert ran.document["exit_code"] == 1
    assert "its launcher is gone" in ran.checks["distributed.ranks"]["detail"]
    assert "rank 1 of 2: no verdict of all ranks: its launcher is gone" in ran.err
    assert not watcher.is_running() or watcher.status() == psutil.STATUS_ZOMBIE
    assert not await_none_left()


def _watcher_of(launched, rank):
    """Wait until all ranks compute, then find the process that started the one of a rank."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for process in ranks_left():
            if process.environ().get("RANK") == str(rank) and len(ranks_left()) == 2:
                time.sleep(4)  # let them meet
                return process.parent()
        time.sleep(0.1)
    raise AssertionError("the ranks did not start")


@pytest.mark.slow
def test_ranks_without_a_launchers_store_keep_one_themselves(launch, follow, gloo_python):
    """As under srun: every rank is started by itself, with its place in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": _loopback()}
    started = [
        launch(*FEW, env={**step, **where, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}) for rank in (1, 0)
    ]
    ran = follow(started[1])
    assert ran.code == 0, ran.err[-2000:]
    out, _ = started[0].communicate(timeout=60)
    assert (started[0].returncode, out) == (0, "")
    assert not await_none_left()


@pytest.mark.slow
def test_a_rank_that_never_arrives_is_named(launch, follow):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ran = follow(launch(*FEW, env={**env, "GLOO_SOCKET_IFNAME": _loopback()}))
    assert ran.code == 1
    assert "rank 1 never arrived" in ran.checks["distributed.ranks"]["detail"]
    assert ran.ranks[1]["status"] == "missing"
    assert ran.seconds < 100


def _loopback():
    return {"linux": "lo", "darwin": "lo0"}.get(sys.platform, "")


def test_what_is_no_number_of_ranks_is_wrong_use(verify):
    ran = verify("--nproc", "none")
    assert ran.code == 2


def test_a_rank_does_not_start_ranks(verify):
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    ran = verify("--nproc", "2", env=place)
    assert ran.code == 2
    assert ran.document["errors"][0]["code"] == "nproc-in-a-rank"


def test_what_takes_ranks_is_not_verified_without(verify):
    ran = verify("--select", "distributed")
    assert (ran.code, ran.document["errors"][0]["code"]) == (2, "needs-ranks")
