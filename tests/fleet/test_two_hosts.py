"""Two hosts on one machine: network namespaces with an address each, joined by a veth pair that can be cut."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
HOSTS = {"torchcheck-a": "10.231.77.1", "torchcheck-b": "10.231.77.2"}
FEW = ("--select", "distributed.broadcast", "--select", "distributed.matmul.bits", "--quick", "--timeout", "10")


def ip(*words):
    return subprocess.run([shutil.which("ip"), *words], check=True, timeout=20, capture_output=True, encoding="locale")


@pytest.fixture
def hosts():
    """Give the names of two namespaces that reach each other, and nothing else."""
    if sys.platform != "linux" or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux and iproute2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root here")
    one, two = HOSTS
    try:
        for name in HOSTS:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        subprocess.run([shutil.which("ip"), "netns", "del", one], check=False, capture_output=True)
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
    try:
        ip("link", "add", "tc-a", "netns", one, "type", "veth", "peer", "name", "tc-b", "netns", two)
        for (name, address), link in zip(HOSTS.items(), ("tc-a", "tc-b"), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield (one, "tc-a"), (two, "tc-b")
    finally:
        for name in HOSTS:
            ip("netns", "del", name)


@pytest.fixture
def both(hosts, launch):
    """Give a function that starts a rank on each host as srun would, and returns the two processes."""

    def start(*words, **options):
        started = []
        for rank, (name, link) in enumerate(hosts):
            place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
            where = {"MASTER_ADDR": HOSTS["torchcheck-a"], "MASTER_PORT": "29511", "GLOO_SOCKET_IFNAME": link}
            before = (shutil.which("ip"), "netns", "exec", name)
            started.append(launch(*words, env={**place, **where}, before=before, **options))
        return started

    return start


def test_two_hosts_prove_what_only_two_can(both, follow):
    first, second = both(*FEW)
    ran = follow(first)
    assert ran.code == 0, (ran.err[-2000:], ran.checks["distributed.ranks"])
    assert second.wait(30) == 0
    assert ran.ranks[1]["status"] == "pass"


def test_torchrun_over_two_hosts_gives_one_document(hosts, gloo_python, tmp_path):
    from pathlib import Path

    root = str(Path(__file__).resolve().parents[2])
    enter = f"import sys; sys.path[:] = [*filter(None, sys.path), {root!r}]; from torchcheck.cli import main; main()"
    started = []
    for rank, (name, link) in enumerate(hosts):
        torchrun = [gloo_python, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        meet = ["--node-rank", str(rank), "--master-addr", HOSTS["torchcheck-a"], "--master-port", "29513"]
        verify = ["--no-python", sys.executable, "-c", enter, "verify", "--python", gloo_python, "--json", *FEW]
        started.append(
            subprocess.Popen(
                [shutil.which("ip"), "netns", "exec", name, *torchrun, *meet, "--local-addr", HOSTS[name], *verify],
                env={**os.environ, "GLOO_SOCKET_IFNAME": link, "OMP_NUM_THREADS": "1"},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="locale",
            )
        )
    told = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], told[0][1][-2000:]
    assert json.loads(told[0][0])["data"]["verdict"] == "pass"
    assert told[1][0] == ""


def test_a_link_cut_in_the_middle_ends_both_hosts_and_names_the_lost_one(both, hosts, follow):
    first, second = both(*FEW, fault="hang:1:broadcast")
    time.sleep(12)  # they have met, and rank 0 waits for the broadcast of a rank that hangs
    began = time.monotonic()
    ip("-n", hosts[1][0], "link", "set", hosts[1][1], "down")
    ran = follow(first)
    assert ran.code == 1
    assert "rank 1 never arrived or was lost; last seen at" in ran.checks["distributed.ranks"]["detail"]
    assert second.wait(180) == 1
    assert time.monotonic() - began < 180
