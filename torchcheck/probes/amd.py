"""AMD's driver and GPUs: the kernel's KFD topology and amdgpu on Linux, the registry on Windows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torchcheck.facts import UNKNOWN, AmdDriver, Drivers, Gpu
from torchcheck.host import Host
from torchcheck.probes import Asked
from torchcheck.probes._adapters import Adapter, adapters
from torchcheck.wheels import gpus

NODES = "/sys/class/kfd/kfd/topology/nodes"
KFD = "/dev/kfd"
ROCM = "/opt/rocm"


def probe(asked: Asked) -> dict[str, Any]:
    """Describe driver and GPUs."""
    host = asked.host
    kind = host.machine().get("os")
    if kind == "macos":
        return {"drivers": Drivers(amd=None)}
    on_bus = adapters(host, "amd")
    if kind == "windows":
        return {"drivers": Drivers(amd=_windows_driver(on_bus)), "gpus": tuple(map(_of_adapter, on_bus))}
    nodes = list(_nodes(host))
    kfd = host.kind(KFD) == "device"
    driver = _driver(host, kfd) if kfd or any(one.driver == "amdgpu" for one in on_bus) else None
    return {"drivers": Drivers(amd=driver), "gpus": tuple(_gpus(on_bus, nodes)), "notes": tuple(_remarks(on_bus, kfd))}


def _driver(host: Host, kfd: bool) -> AmdDriver:
    version = (host.read("/sys/module/amdgpu/version") or "").strip()
    nodes = [name for name in host.list("/dev/dri") or () if name.startswith("renderD")]
    permitted = host.access(KFD, "rw") and all(host.access(f"/dev/dri/{name}", "rw") for name in nodes) if kfd else None
    return AmdDriver(version=version or _kernel(host), rocm=rocm_version(host), kfd=kfd, permitted=permitted)


def _kernel(host: Host) -> str | None:
    """Give the kernel's version: without AMD's own module, amdgpu is as old as the kernel."""
    found = re.match(r"\d+\.\d+(\.\d+)?", str(host.machine().get("release") or ""))
    return found[0] if found else None


def rocm_version(host: Host) -> str | None:
    """Give the version of an installed ROCm ("7.2.0"), or None; torch's wheels bring their own."""
    others = sorted(name for name in host.list("/opt") or () if name.startswith("rocm-"))
    for folder in (ROCM, *(f"/opt/{name}" for name in reversed(others))):
        text = host.read(f"{folder}/.info/version") or ""
        if found := re.match(r"\d+\.\d+(\.\d+)?", text.strip()):
            return found[0]
    return None


def _nodes(host: Host) -> Iterator[dict[str, int]]:
    """Read the GPUs among the nodes of the KFD; processors are nodes too, without compute units."""
    for number in sorted(host.list(NODES) or (), key=lambda name: (len(name), name)):
        known = properties(host.read(f"{NODES}/{number}/properties") or "")
        if known.get("simd_count") and known.get("gfx_target_version"):
            folder = f"{NODES}/{number}/mem_banks"
            banks = [f"{folder}/{bank}/properties" for bank in host.list(folder) or ()]
            sizes = [properties(host.read(bank) or "").get("size_in_bytes", 0) for bank in banks]
            yield known | {"memory": sum(sizes)}


def properties(text: str) -> dict[str, int]:
    """Read a properties file of the KFD: a name and a decimal number a line."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isascii() and pair[1].isdigit()}


def gfx_target(number: int) -> str:
    """Write the KFD's 110000 as "gfx1100", 90010 as "gfx90a": major, minor and stepping, the last two hexadecimal."""
    return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"


def _gpus(on_bus: list[Adapter], nodes: list[dict[str, int]]) -> Iterator[Gpu]:
    """Join the KFD's nodes with the adapters of the bus by their place; a partitioned Instinct has several nodes."""
    places = {_location(one.slot): one for one in on_bus}
    for node in nodes:
        adapter = places.get((node.get("domain", 0), node.get("location_id", 0) & ~7))
        pci_id = adapter.pci_id if adapter else f"1002:{node.get('device_id', 0):04x}"
        memory = node["memory"] or (adapter.memory if adapter else UNKNOWN)
        name = (adapter or Adapter(pci_id, "")).title()
        yield Gpu("amd", name, pci_id, memory, None, gfx_target(node["gfx_target_version"]), driver="amdgpu")
    served = {(node.get("domain", 0), node.get("location_id", 0) & ~7) for node in nodes}
    yield from (_of_adapter(one) for place, one in places.items() if place not in served)


def _location(slot: str) -> tuple[int, int]:
    """Write "0000:c3:00.0" as the KFD does: domain, and bus and device without the function."""
    found = re.fullmatch(r"([0-9a-f]+):([0-9a-f]{2}):([0-9a-f]{2})\.[0-7]", slot)
    return (int(found[1], 16), int(found[2], 16) << 8 | int(found[3], 16) << 3) if found else (0, -1)


def _of_adapter(adapter: Adapter) -> Gpu:
    gfx = gpus.gfx(adapter.pci_id, adapter.name) or UNKNOWN
    return Gpu("amd", adapter.title(), adapter.pci_id, adapter.memory, None, gfx, driver=adapter.driver)


def _windows_driver(on_bus: list[Adapter]) -> AmdDriver | None:
    served = [one for one in on_bus if one.driver]
    return AmdDriver(served[0].driver_version or UNKNOWN, None, False, None) if served else None


def _remarks(on_bus: list[Adapter], kfd: bool) -> Iterator[str]:
    for one in on_bus:
        if one.driver != "amdgpu":
            yield f"{one.title()} ({one.slot}) is driven by {one.driver or 'nothing'}, not by amdgpu"
    if on_bus and not kfd and any(one.driver == "amdgpu" for one in on_bus):
        yield "amdgpu is loaded, but there is no /dev/kfd here: a container needs --device /dev/kfd --device /dev/dri"
