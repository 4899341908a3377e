"""Main memory as this process may use it: of the machine, or of its container where that has less; /dev/shm."""

from __future__ import annotations

import re
from typing import Any

from torchcheck.facts import UNKNOWN, Memory, Unknown
from torchcheck.host import Host
from torchcheck.probes import Asked

SHM = "/dev/shm"  # noqa: S108 (its size is asked, nothing is written there)
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a control group, version 2 and 1."""


def probe(asked: Asked) -> dict[str, Any]:
    """Measure memory."""
    host: Host = asked.host
    if host.machine().get("os") != "linux":
        known = host.resources()
        sizes = {name: known[name] for name in ("total", "available", "swap") if known.get(name) is not None}
        return {"memory": Memory(**sizes, shm=None)}
    sizes = meminfo(host.read("/proc/meminfo") or "")
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    for limit_file, use_file in LIMITS:
        limit, use = _number(host.read(limit_file)), _number(host.read(use_file))
        if limit is not None and total is not None and limit < total:
            total, available = limit, min(available or limit, max(limit - (use or 0), 0))
    shm = host.free(SHM) if host.kind(SHM) == "dir" else None
    return {"memory": Memory(_known(total), _known(available), _known(sizes.get("SwapTotal")), shm)}


def _known(size: int | None) -> int | Unknown:
    return UNKNOWN if size is None else size


def meminfo(text: str) -> dict[str, int]:
    """Read /proc/meminfo, whose kB are KiB, into bytes."""
    lines = (re.match(r"(\w+):\s+(\d+)( kB)?$", line.strip()) for line in text.splitlines())
    return {found[1]: int(found[2]) * (1024 if found[3] else 1) for found in lines if found}


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isdecimal() else None
