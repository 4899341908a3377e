"""Which rank this process is, as its launcher says in the environment. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """One rank's place among all.

    Attributes:
        rank: number among all ranks; rank 0 gives the verdict.
        world: how many ranks there are.
        local_rank: number on this host, which is that of its accelerator.
        local_world: how many ranks this host has.
        master: host where the store is.
        port: its port.
        kept: the launcher keeps the store, so that rank 0 need not.
        attempt: how often the launcher started this run again.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    master: str
    port: int
    kept: bool
    attempt: int = 0

    def as_json(self) -> dict[str, Any]:
        """Give what the rank's process needs."""
        return asdict(self)


# What each launcher calls rank, number of ranks, and the same two on this host.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)


def find(env: Mapping[str, str]) -> Place | None:
    """Say which rank of which run this process is; None when no launcher started it as one of several.

    A batch script of Slurm's is no rank, though SLURM_PROCID and SLURM_NTASKS are set in it: only a step has a number.
    """
    for rank, world, local_rank, local_world in LAUNCHERS:
        if not (env.get(rank, "").isdigit() and env.get(world, "").isdigit()):
            continue
        slurm = rank.startswith("SLURM")
        if slurm and (int(env[world]) < 2 or not env.get("SLURM_STEP_ID", "").isdigit()):
            continue
        master = env.get("MASTER_ADDR") or (_first_host(env.get("SLURM_STEP_NODELIST", "")) if slurm else "")
        port = env.get("MASTER_PORT") or (str(_port(env.get("SLURM_JOB_ID", "0"))) if slurm else "")
        if not master or not port.isdigit():
            continue
        return Place(
            rank=int(env[rank]),
            world=int(env[world]),
            local_rank=_number(env.get(local_rank, "0")),
            local_world=max(1, _number(env.get(local_world, "1"))),
            master=master,
            port=int(port),
            kept=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=_number(env.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )
    return None


def _number(text: str) -> int:
    """Read the first number: Slurm writes `8(x2)` for eight tasks on each of two nodes."""
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _port(job: str) -> int:
    """Choose a port that all ranks of a job agree on, below where systems hand out ports of their own (32768)."""
    return 20_000 + _number(job) % 10_000


def _first_host(nodes: str) -> str:
    """Read the first host of Slurm's list: `gpu[007-009,12],login` begins with gpu007."""
    found = re.match(r"([^\[,]+)(?:\[(\d+))?([^,\[\]]*)", nodes)
    return "" if not found else found[1] + (found[2] or "")
