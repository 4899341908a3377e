"""NVIDIA's driver and GPUs, from whoever answers: NVML, nvidia-smi, /proc, sysfs, the Windows registry.

Each source has a failure of its own, and which of them fails says what is wrong: a kernel module without devices is a
container that was not given the GPU, a module and a library of two versions is an upgrade without a reboot, a GPU that
nouveau drives has no driver for our purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torchcheck.facts import UNKNOWN, Drivers, Gpu, NvidiaDriver
from torchcheck.host import Host
from torchcheck.probes import Asked, _nvidia_smi
from torchcheck.probes._adapters import Adapter, adapters
from torchcheck.probes.memory import meminfo
from torchcheck.probes.system import container
from torchcheck.wheels import gpus

MODULE = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version")
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64",
    "/usr/lib/aarch64-linux-gnu/nvidia", "/usr/lib/aarch64-linux-gnu/tegra", "/run/opengl-driver/lib",
)  # fmt: skip
WSL_FOLDER = "/usr/lib/wsl/lib"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch (kernel module {0}, library {1})"
UNREACHED = "the driver {0} is installed, but its kernel module is not loaded"
REFUSALS = {
    "LIB_RM_VERSION_MISMATCH": "Driver/library version mismatch",
    "DRIVER_NOT_LOADED": "Driver Not Loaded",
    "NO_PERMISSION": "Insufficient Permissions",
    "GPU_IS_LOST": "GPU is lost",
    "UNKNOWN": "Unknown Error",
}
"""NVML's errors in the words of nvidia-smi, which is what people search for."""
TEGRA = {"tegra210": ("Tegra X1", "5.3"), "tegra186": ("Tegra X2", "6.2"), "tegra194": ("Xavier", "7.2"),
         "tegra234": ("Orin", "8.7"), "tegra264": ("Thor", "11.0")}  # fmt: skip
"""Jetson's systems on a chip, whose GPU is no PCI device: name and compute capability (NVIDIA, "Jetson modules")."""

UNIFIED = frozenset({"5.3", "6.2", "7.2", "8.7", "11.0", "12.1"})
"""Compute capabilities of GPUs that share the memory of the processor: Jetson, and GB10."""


def probe(asked: Asked) -> dict[str, Any]:
    """Describe driver and GPUs."""
    host = asked.host
    if host.machine().get("os") == "macos":
        return {"drivers": Drivers(nvidia=None)}
    on_bus = adapters(host, "nvidia")
    driver, listed, notes = (_windows if host.machine().get("os") == "windows" else _linux)(host, on_bus)
    found = (*listed, *(_of_adapter(one) for one in _unlisted(on_bus, listed)), *_jetson(host, listed))
    return {"drivers": Drivers(nvidia=driver), "gpus": tuple(_with_memory(host, gpu) for gpu in found), "notes": notes}


Answer = tuple[NvidiaDriver | None, tuple[Gpu, ...], tuple[str, ...]]


def _linux(host: Host, on_bus: Sequence[Adapter]) -> Answer:
    module, library = module_version(host), library_version(host)
    visible = host.kind("/dev/nvidiactl") == "device" or host.kind("/dev/dxg") == "device"
    if not (module or library or visible):
        return None, (), tuple(_undriven(host, on_bus))
    if module and not visible and (kind := container(host)):
        note = f"the host's NVIDIA driver {module} is visible, but this {kind} container was given no GPU"
        return None, (), (note,)
    driver, listed, notes = _asked(host)
    if listed or (driver and not driver.error):
        return driver, listed, notes
    if not module and not library and not on_bus:
        return None, (), notes  # /dev/dxg of a WSL whose Windows has no NVIDIA driver
    error = (driver.error if driver else None) or _why_not(module, library)
    if not module and not host.which("nvidia-smi") and any(one.driver == "nouveau" for one in on_bus):
        notes = (*notes, *_undriven(host, on_bus))
    if module and library and module != library:
        notes = (*notes, f"NVIDIA's kernel module is {module}, its library {library}: restart to load the new module")
    return NvidiaDriver(module or library or UNKNOWN, UNKNOWN, error), (), (*notes, *_secure_boot(host, module))


def _why_not(module: str | None, library: str | None) -> str | None:
    if module and library and module != library:
        return MISMATCH.format(module, library)
    return UNREACHED.format(library) if library and not module else None


def _windows(host: Host, on_bus: Sequence[Adapter]) -> Answer:
    served = [one for one in on_bus if one.driver]
    if not served:
        return None, (), tuple(f"{one.title()} has no driver of NVIDIA's" for one in on_bus)
    driver, listed, notes = _asked(host)
    if driver and not driver.error:
        return driver, listed, notes
    version = windows_driver_version(served[0].driver_version or "") or UNKNOWN
    return NvidiaDriver(version, UNKNOWN, driver.error if driver else None), listed, notes


def _asked(host: Host) -> tuple[NvidiaDriver | None, tuple[Gpu, ...], tuple[str, ...]]:
    """Ask NVML, and nvidia-smi where NVML gives no device; None when neither is there."""
    said = host.script("nvml", timeout=15)
    listed = tuple(_listed(said))
    if listed or ("driver" in said and "error" not in said):
        driver = NvidiaDriver(said.get("driver", UNKNOWN), said.get("cuda", UNKNOWN), None)
        return driver, listed, tuple(_remarks(said))
    smi = _nvidia_smi.ask(host)
    absent = said.get("error") in {"LIBRARY_NOT_FOUND", "missing"}
    notes = (f"NVML: {said.get('detail') or said.get('error')}",) if not absent and (smi is None or smi.error) else ()
    if smi is None:
        error = None if absent or said.get("error") == "NO_BINDINGS" else _refusal(said)
        return (NvidiaDriver(said.get("driver", UNKNOWN), UNKNOWN, error), (), notes) if error else (None, (), notes)
    return NvidiaDriver(smi.driver or UNKNOWN, smi.cuda or UNKNOWN, smi.error), smi.gpus, notes


def _refusal(said: Mapping[str, Any]) -> str:
    words = REFUSALS.get(str(said.get("error")))
    return f"Failed to initialize NVML: {words}" if words else f"NVML: {said.get('detail') or said.get('error')}"


def _listed(said: Mapping[str, Any]) -> Iterator[Gpu]:
    """Turn NVML's devices into facts; of a divided device each MIG instance is what a process can use."""
    for device in said.get("devices", ()):
        if "error" in device:
            continue
        pci_id, name = device.get("pci_id", UNKNOWN), device.get("name", UNKNOWN)
        capability = device.get("compute_capability") or gpus.compute_capability(pci_id, name) or UNKNOWN
        users = tuple(map(_user, device["processes"])) if "processes" in device else UNKNOWN
        parts = device.get("mig") or [{"name": f"{name} (MIG on, no instances)" if device.get("mig") == [] else name}]
        for part in parts:
            memory = part.get("memory") or device.get("memory", UNKNOWN)
            yield Gpu("nvidia", part["name"], pci_id, memory, capability, None, users)


def _user(process: Mapping[str, Any]) -> str:
    size = process.get("memory")
    held = f", {size / 2**30:.1f} GiB" if isinstance(size, int) and size < 2**60 else ""
    return f"{process.get('name') or 'process'} (pid {process.get('pid')}{held})"


def _remarks(said: Mapping[str, Any]) -> Iterator[str]:
    for number, device in enumerate(said.get("devices", ())):
        if "error" in device:
            yield f"NVML cannot read GPU {number}: {device['error']}"
        if device.get("virtualization") == 2:
            yield f"GPU {number} is a virtual GPU (vGPU)"
    if "error" in said:
        yield f"NVML: {said.get('detail') or said['error']}"


def _of_adapter(adapter: Adapter) -> Gpu:
    """Describe a GPU that no driver told of."""
    capability = gpus.compute_capability(adapter.pci_id, adapter.name) or UNKNOWN
    return Gpu("nvidia", adapter.title(), adapter.pci_id, adapter.memory, capability, None, driver=adapter.driver)


def _unlisted(on_bus: Sequence[Adapter], listed: Sequence[Gpu]) -> list[Adapter]:
    """Give the adapters that the driver did not list: too old for it, taken by another driver, or all of them."""
    counts: dict[object, int] = {}
    for gpu in listed:
        counts[gpu.pci_id] = counts.get(gpu.pci_id, 0) + 1
    left = []
    for adapter in on_bus:
        counts[adapter.pci_id] = counts.get(adapter.pci_id, 0) - 1
        if counts[adapter.pci_id] < 0:
            left.append(adapter)
    return left


def _jetson(host: Host, listed: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Name the GPU of a Jetson, which shares the memory of the machine, where NVML did not."""
    tree = host.read("/proc/device-tree/compatible") or ""
    known = next((value for chip, value in TEGRA.items() if chip in tree), None)
    if known is None or listed:
        return ()
    return (Gpu("nvidia", f"{known[0]} (nvgpu)", None, UNKNOWN, known[1], None),)


def _with_memory(host: Host, gpu: Gpu) -> Gpu:
    """Give an integrated GPU, which has no memory of its own, that of the machine."""
    if gpu.memory or gpus.compute_capability(None, gpu.name) not in UNIFIED:
        return gpu
    return replace(gpu, memory=meminfo(host.read("/proc/meminfo") or "").get("MemTotal", UNKNOWN))


def _undriven(host: Host, on_bus: Sequence[Adapter]) -> Iterator[str]:
    for one in on_bus:
        if one.driver == "nouveau":
            yield f"{one.title()} ({one.slot}) is driven by nouveau, which cannot run CUDA"
        elif one.driver == "vfio-pci":
            yield f"{one.title()} ({one.slot}) is held by vfio-pci for a virtual machine"
    if on_bus:
        yield from _secure_boot(host, None)


def _secure_boot(host: Host, module: str | None) -> tuple[str, ...]:
    """Say that Secure Boot is on where the module is not loaded: an unsigned module is refused without a word."""
    state = host.read(SECURE_BOOT) or ""
    return (
        ("Secure Boot is on: a kernel module that is not signed is refused",)
        if not module and state[4:5] == "\x01"
        else ()
    )


def module_version(host: Host) -> str | None:
    """Give the version of the loaded kernel module, or None."""
    text = host.read(MODULE[0]) or ""
    found = re.search(r"(?:Kernel Module\b.*?|NVRM version:.*?)\s(\d{2,4}\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else ((host.read(MODULE[1]) or "").strip() or None)


def library_version(host: Host) -> str | None:
    """Give the version of the user-mode library, from the file that its link names."""
    for folder in LIBRARY_FOLDERS:
        for name in ("libnvidia-ml.so", "libcuda.so"):
            target = host.link(f"{folder}/{name}.1") or ""
            if found := re.search(rf"{re.escape(name)}\.(\d{{2,4}}\.\d+(?:\.\d+)?)$", target):
                return found[1]
    return None


def windows_driver_version(version: str) -> str | None:
    """Turn Windows' "32.0.15.8157" into NVIDIA's "581.57": its last five digits."""
    parts = version.split(".")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        return None
    digits = (parts[2] + parts[3].zfill(4))[-5:]
    return f"{digits[:-2]}.{digits[-2:]}" if len(digits) == 5 and digits[0] != "0" else None
