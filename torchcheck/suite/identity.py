"""Who a rank is, and whether the ranks of a run fit together."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

_ENVIRONMENT = ("NCCL_", "GLOO_", "TORCH_NCCL_", "RCCL_", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def own_device(devices: list[str], lacking: Mapping[str, str], place: Mapping[str, Any]) -> tuple[str, str]:
    """Choose the rank's device: the accelerator of its number on this host, or the CPU where there is none.

    Returns:
        The device, and why it cannot be used ("" when it can).
    """
    if lacking:
        return "cpu", "; ".join(lacking.values())
    accelerators = [device for device in devices if device.startswith(("cuda", "xpu"))]
    if not accelerators:
        return "cpu", ""
    return accelerators[place["local_rank"] % len(accelerators)], ""


def describe(torch: Any, device: str, place: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Say who this rank is: host, device, versions, and what of the environment steers the backend."""
    return {
        "rank": place["rank"],
        "local_rank": place["local_rank"],
        "host": socket.gethostname(),
        "device": device,
        "name": _name(torch, device),
        "uuid": _uuid(torch, device),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "backend": _backend(torch, device),
        "env": {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)},
        "lacking": why,
    }


def _name(torch: Any, device: str) -> str:
    """Name the model: ranks of one model compute the same bits, those of different ones need not."""
    kind = device.partition(":")[0]
    if kind != "cpu":
        return str(getattr(torch, kind).get_device_name(device))
    get = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)
    return f"{platform.machine()} {get() if get else ''}".strip()


def _uuid(torch: Any, device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _backend(torch: Any, device: str) -> str:
    if device.startswith("cuda") and torch.distributed.is_nccl_available():
        return "nccl " + ".".join(str(part) for part in torch.cuda.nccl.version())
    return "xccl" if device.startswith("xpu") else "gloo"


def fit(here: Mapping[int, Mapping[str, Any]], missing: Mapping[int, str]) -> dict[str, Any]:
    """Say whether the ranks can go on together: all here, of one torch and one backend, each with its device.

    Returns:
        {"why": "" or the reason why not, "missing": ranks that never came, "odd": {rank: what is different}}
    """
    odd: dict[int, str] = {rank: str(one["lacking"]) for rank, one in here.items() if one["lacking"]}
    for member in ("torch", "backend"):
        values = [str(one[member]) for one in here.values()]
        usual = max(values, key=values.count) if values else ""
        odd.update(
            {
                rank: f"has {_told(member, one[member])}, most have {_told(member, usual)}"
                for rank, one in here.items()
                if one[member] != usual
            }
        )
    taken: dict[tuple[str, str], int] = {}
    for rank, one in sorted(here.items()):
        owner = taken.setdefault((str(one["host"]), str(one["uuid"])), rank) if one["uuid"] else rank
        if owner != rank:
            odd[rank] = f"has the same GPU as rank {owner}: ask for as many ranks as there are GPUs"
    reasons = [f"rank {rank} never arrived" for rank in sorted(missing)]
    reasons += [f"rank {rank} {what}" for rank, what in sorted(odd.items())]
    return {"why": "; ".join(reasons[:8]), "missing": sorted(missing), "odd": odd}


def _told(member: str, value: object) -> str:
    return f"torch {value}" if member == "torch" else str(value)
