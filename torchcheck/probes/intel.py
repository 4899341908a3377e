"""Intel's GPUs and their compute driver (Level Zero)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torchcheck.facts import UNKNOWN, Drivers, Gpu, IntelDriver
from torchcheck.host import Host
from torchcheck.probes import Asked
from torchcheck.probes._adapters import Adapter, adapters

FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def probe(asked: Asked) -> dict[str, Any]:
    """Describe driver and GPUs."""
    host = asked.host
    kind = host.machine().get("os")
    if kind == "macos":
        return {"drivers": Drivers(intel=None)}
    on_bus = adapters(host, "intel")
    driver = (_windows if kind == "windows" else _linux)(host, on_bus)
    found = (Gpu("intel", one.title(), one.pci_id, one.memory, None, None, driver=one.driver) for one in on_bus)
    return {"drivers": Drivers(intel=driver), "gpus": tuple(found)}


def _linux(host: Host, on_bus: Sequence[Adapter]) -> IntelDriver | None:
    loader, driver = library(host, "libze_loader.so"), library(host, "libze_intel_gpu.so")
    served = any(one.driver in {"i915", "xe"} for one in on_bus)
    if driver is None and not served and host.kind("/dev/dxg") is None:
        return None
    return IntelDriver(version=driver or _module(on_bus), level_zero=loader) if driver or served else None


def _module(on_bus: Sequence[Adapter]) -> str | None:
    return next((one.driver for one in on_bus if one.driver), None)


def library(host: Host, name: str) -> str | None:
    """Give the version of a shared library by the file that its link names."""
    for folder in FOLDERS:
        target = host.link(f"{folder}/{name}.1") or ""
        if found := re.search(rf"{re.escape(name)}\.(\d+(?:\.\d+)+)$", target):
            return found[1]
    return None


def _windows(host: Host, on_bus: Sequence[Adapter]) -> IntelDriver | None:
    served = [one for one in on_bus if one.driver]
    if not served:
        return None
    root = host.env("SystemRoot") or r"C:\Windows"
    loader = host.version(rf"{root}\System32\ze_loader.dll")
    level_zero = re.sub(r"\.0$", "", loader) if loader else None
    return IntelDriver(version=served[0].driver_version or UNKNOWN, level_zero=level_zero)
