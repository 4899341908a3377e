"""The GPUs of a Mac: Apple's own shares the memory of the machine; an Intel Mac may have others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from torchcheck.facts import UNKNOWN, Gpu
from torchcheck.host import Host
from torchcheck.probes import Asked, _platform


def probe(asked: Asked) -> dict[str, Any]:
    """Describe the GPUs of macOS."""
    host = asked.host
    if host.machine().get("os") != "macos":
        return {}
    if _platform.sysctl(host, "hw.optional.arm64") != "1":
        return {"gpus": tuple(_profiled(host))}
    size = _platform.sysctl(host, "hw.memsize")
    name = _platform.sysctl(host, "machdep.cpu.brand_string") or "Apple Silicon"
    return {"gpus": (Gpu("apple", name, None, int(size) if size and size.isdecimal() else UNKNOWN, None, None),)}


def _profiled(host: Host) -> Iterator[Gpu]:
    """Ask the system profiler, which takes a second, only on an Intel Mac."""
    ran = host.run(["/usr/sbin/system_profiler", "-json", "SPDisplaysDataType"], timeout=15)
    try:
        items = json.loads(ran.out).get("SPDisplaysDataType", []) if ran.ok else []
    except (ValueError, AttributeError):
        items = []
    for item in items:
        text = str(item.get("spdisplays_vendor") or item.get("sppci_model") or "").lower()
        vendor = next((maker for maker in ("amd", "intel", "nvidia") if maker in text), UNKNOWN)
        number = re.fullmatch(r"0x([0-9a-f]{4})", str(item.get("spdisplays_device-id") or ""))
        prefix = {"amd": "1002", "intel": "8086", "nvidia": "10de"}.get(str(vendor))
        pci_id = f"{prefix}:{number[1]}" if prefix and number else None
        yield Gpu(vendor, item.get("sppci_model") or UNKNOWN, pci_id, UNKNOWN, None, None)
