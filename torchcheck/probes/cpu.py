"""The processor: model, vendor, cores, instruction sets."""

from __future__ import annotations

import re
from typing import Any

from torchcheck.facts import UNKNOWN, Cpu
from torchcheck.host import Host
from torchcheck.probes import Asked, _platform

VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon", "CentaurHauls": "VIA"}
ARM_VENDORS = {
    "0x41": "ARM", "0x42": "Broadcom", "0x46": "Fujitsu", "0x48": "HiSilicon", "0x4e": "NVIDIA", "0x51": "Qualcomm",
    "0x61": "Apple", "0xc0": "Ampere",
}  # fmt: skip
"""MIDR_EL1's implementer codes (Arm, "Main ID Register")."""
ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720", "0xd83": "Neoverse-V3AE", "0xd84": "Neoverse-V3", "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725",
}  # fmt: skip
"""MIDR_EL1's part numbers of Arm's own cores, as util-linux lscpu names them."""
NODES = "/sys/devices/system/node"
CACHE_KINDS = {"Data": "d", "Instruction": "i"}
CACHES = "/sys/devices/system/cpu/cpu0/cache"
WINDOWS = r"HKLM\HARDWARE\DESCRIPTION\System\CentralProcessor"


def probe(asked: Asked) -> dict[str, Any]:
    """Describe the processor."""
    host: Host = asked.host
    describe = {"windows": _windows, "macos": _macos}.get(str(host.machine().get("os")), _linux)
    return {"cpu": describe(host)}


def _linux(host: Host) -> Cpu:
    blocks = cpuinfo(host.read("/proc/cpuinfo") or "")
    first = blocks[0] if blocks else {}
    usable = host.machine().get("processors") or len(blocks)
    cores = {(block.get("physical id"), block["core id"]) for block in blocks if "core id" in block}
    return Cpu(
        model=first.get("model name") or ARM_PARTS.get(first.get("CPU part", "")) or first.get("cpu") or UNKNOWN,
        vendor=vendor(first) or UNKNOWN,
        cores_physical=len(cores) or UNKNOWN,
        cores_logical=usable or UNKNOWN,
        features=tuple((first.get("flags") or first.get("Features") or "").split()) if first else UNKNOWN,
        sockets=len({block["physical id"] for block in blocks if "physical id" in block}) or UNKNOWN,
        numa_nodes=sum(bool(re.fullmatch(r"node\d+", name)) for name in host.list(NODES) or ()) or UNKNOWN,
        stepping=" ".join(first[name] for name in ("cpu family", "model", "stepping") if name in first) or UNKNOWN,
        mhz=first.get("cpu MHz", UNKNOWN),
        cache=caches(host) or first.get("cache size", UNKNOWN),
    )


def caches(host: Host) -> str | None:
    """List the caches that the first processor sees: "L1d 48K, L1i 32K, L2 2048K, L3 260M"."""
    found = []
    for index in (name for name in host.list(CACHES) or () if name.startswith("index")):
        level, kind, size = (
            (host.read(f"{CACHES}/{index}/{name}") or "").strip() for name in ("level", "type", "size")
        )
        found.append(f"L{level}{CACHE_KINDS.get(kind, '')} {size}" if level else "")
    return ", ".join(filter(None, found)) or None


def cpuinfo(text: str) -> list[dict[str, str]]:
    """Split /proc/cpuinfo into one mapping a processor."""
    blocks = []
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
        known = {key.strip(): value.strip() for key, _, value in pairs}
        if known.keys() & {"processor", "cpu", "CPU part"}:
            blocks.append(known)
    return blocks


def vendor(block: dict[str, str]) -> str | None:
    """Name the maker of a processor of /proc/cpuinfo."""
    named = block.get("vendor_id")
    return VENDORS.get(named, named) if named else ARM_VENDORS.get(block.get("CPU implementer", ""))


def _macos(host: Host) -> Cpu:
    model = _platform.sysctl(host, "machdep.cpu.brand_string")
    apple = _platform.sysctl(host, "hw.optional.arm64") == "1"
    physical, logical = _platform.sysctl(host, "hw.physicalcpu"), _platform.sysctl(host, "hw.logicalcpu")
    sets = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    features = [] if apple else " ".join(_platform.sysctl(host, name) or "" for name in sets).lower().split()
    return Cpu(
        model=model or UNKNOWN,
        vendor="Apple" if apple else "Intel",
        cores_physical=int(physical) if physical and physical.isdecimal() else UNKNOWN,
        cores_logical=int(logical) if logical and logical.isdecimal() else UNKNOWN,
        features=("asimd",) if apple else tuple("avx" if name == "avx1.0" else name for name in features),
    )


def _windows(host: Host) -> Cpu:
    known = (host.registry(rf"{WINDOWS}\0") or {}).get("values", {})
    measured = host.resources()
    named = str(known.get("VendorIdentifier") or "")
    return Cpu(
        model=str(known["ProcessorNameString"]).strip() if "ProcessorNameString" in known else UNKNOWN,
        vendor=VENDORS.get(named, named) or UNKNOWN,
        cores_physical=measured.get("cores_physical") or UNKNOWN,
        cores_logical=measured.get("cores_logical") or host.machine().get("processors") or UNKNOWN,
        features=tuple(measured["features"]) if "features" in measured else UNKNOWN,
    )
