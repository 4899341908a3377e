"""The display and compute adapters that the system knows of, whether or not a driver serves them.

Linux: sysfs. Windows: the device tree in the registry, with what is present as the configuration manager says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torchcheck.facts import UNKNOWN, Size, Text
from torchcheck.host import Host
from torchcheck.wheels import gpus

PCI = "/sys/bus/pci/devices"
DISPLAY, ACCELERATOR = "0x03", "0x12"
"""Base classes of PCI: display controllers, and the processing accelerators that Instincts call themselves."""
ENUM = r"HKLM\SYSTEM\CurrentControlSet\Enum"
CLASS = r"HKLM\SYSTEM\CurrentControlSet\Control\Class"
INSTANCE = re.compile(r"PCI\\VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", re.IGNORECASE)
PLACEHOLDERS = frozenset({"basicdisplay", "basicrender", "vgasave", ""})
"""Services that Windows gives to an adapter which has no driver of its own."""


@dataclass(frozen=True)
class Adapter:
    """One adapter: `driver` is the kernel module or Windows service that serves it, None when there is none."""

    pci_id: str
    slot: str
    driver: str | None = None
    driver_version: str | None = None
    name: Text = UNKNOWN
    memory: Size = UNKNOWN

    @property
    def vendor(self) -> str | None:
        """Name the maker as facts do."""
        return gpus.vendor(self.pci_id)

    def title(self) -> str:
        """Give the best name known: the driver's, else vendor and chip, else the identifier."""
        known = self.name or gpus.chip(self.pci_id)
        maker = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}.get(self.vendor or "", "")
        return str(self.name) if self.name else f"{maker} {known or self.pci_id}".strip()


def adapters(host: Host, vendor: str) -> list[Adapter]:
    """List the adapters of one vendor ("nvidia", "amd", "intel", "microsoft"), in the order of their slots."""
    kind = host.machine().get("os")
    found = _windows(host) if kind == "windows" else _linux(host) if kind == "linux" else iter(())
    return [adapter for adapter in found if adapter.vendor == vendor]


def _linux(host: Host) -> Iterator[Adapter]:
    for slot in host.list(PCI) or ():
        device = f"{PCI}/{slot}"
        if not (host.read(f"{device}/class") or "").startswith((DISPLAY, ACCELERATOR)):
            continue
        numbers = [(host.read(f"{device}/{name}") or "").strip().removeprefix("0x") for name in ("vendor", "device")]
        memory = (host.read(f"{device}/mem_info_vram_total") or "").strip()
        yield Adapter(
            pci_id=":".join(numbers).lower(),
            slot=slot,
            driver=(host.link(f"{device}/driver") or "").rpartition("/")[2] or None,
            name=_name(host, device, ":".join(numbers).lower()) or UNKNOWN,
            memory=int(memory) if memory.isdecimal() else UNKNOWN,
        )


def _name(host: Host, device: str, pci_id: str) -> str | None:
    """Ask the driver, then the system's database, for makers whose name anybody will want to read."""
    told = (host.read(f"{device}/product_name") or "").strip()
    return told or (host.pci_name(pci_id) if gpus.vendor(pci_id) in {"nvidia", "amd", "intel"} else None)


def _windows(host: Host) -> Iterator[Adapter]:
    for instance in _instances(host):
        known = (host.registry(f"{ENUM}\\{instance}") or {}).get("values", {})
        kinds = " ".join(map(str, [*(known.get("HardwareID") or ()), *(known.get("CompatibleIDs") or ())]))
        found = INSTANCE.match(instance)
        if found and re.search(r"CC_(03|12)", kinds):
            yield _windows_adapter(host, f"{found[1]}:{found[2]}".lower(), instance, known)


def _instances(host: Host) -> list[str]:
    """Give the PCI devices that are present; where nobody can tell, all that ever were."""
    present = host.script("display_adapters").get("present")
    if present is not None:
        return [str(name) for name in present]
    devices = (host.registry(f"{ENUM}\\PCI") or {}).get("keys", [])
    makers = [device for device in devices if re.match(r"VEN_(10DE|1002|8086|1414)&", device, re.IGNORECASE)]
    nested = ((device, (host.registry(f"{ENUM}\\PCI\\{device}") or {}).get("keys", [])) for device in makers)
    return [f"PCI\\{device}\\{instance}" for device, instances in nested for instance in instances]


def _windows_adapter(host: Host, pci_id: str, instance: str, known: dict[str, Any]) -> Adapter:
    service = str(known.get("Service") or "")
    served = service.lower() not in PLACEHOLDERS
    driver = (host.registry(f"{CLASS}\\{known.get('Driver')}") or {}).get("values", {}) if known.get("Driver") else {}
    # "@oem12.inf,%nvidia_dev.2684%;NVIDIA GeForce RTX 4090": the text behind the reference is what people see.
    described = str(driver.get("DriverDesc") or known.get("DeviceDesc") or "").rpartition(";")[2]
    sizes = (driver.get(f"HardwareInformation.{name}") for name in ("qwMemorySize", "MemorySize"))
    memory = next((size for size in map(_size, sizes) if size), UNKNOWN)
    return Adapter(
        pci_id=pci_id,
        slot=instance,
        driver=service if served else None,
        driver_version=str(driver["DriverVersion"]) if served and "DriverVersion" in driver else None,
        name=described if served and described else UNKNOWN,
        memory=memory if served else UNKNOWN,
    )


def _size(value: object) -> int | None:
    """Read a size that a driver left as a number, or as little-endian bytes (hexadecimal in a recording)."""
    if isinstance(value, int):
        return value & 0xFFFFFFFFFFFFFFFF
    if isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2}){1,8}", value):
        return int.from_bytes(bytes.fromhex(value), "little")
    return None
