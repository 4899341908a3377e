"""Ask NVIDIA's management library what it serves; one JSON object behind a mark.

In a process of its own, since a broken driver may hang or crash whoever asks it. Answers `{"driver", "cuda",
"devices": […]}`; where the library refuses, also `{"error": "DRIVER_NOT_LOADED", "detail": "…"}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
from typing import Any

MARK = "\x1etorchcheck "


def main() -> None:
    """Print the answer."""
    sys.stdout.write("\n" + MARK + json.dumps(ask()) + "\n")


def ask() -> dict[str, Any]:
    """Collect driver, CUDA version and devices as far as the library answers."""
    answer: dict[str, Any] = {}
    try:
        import pynvml
    except ImportError as error:
        return {"error": "NO_BINDINGS", "detail": str(error)}
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # WSL's: the loader finds it by its name once it is in memory
            ctypes.CDLL("/usr/lib/wsl/lib/libnvidia-ml.so.1", mode=ctypes.RTLD_GLOBAL)
    try:
        pynvml.nvmlInit()
        answer["driver"] = text(pynvml.nvmlSystemGetDriverVersion())
        answer["cuda"] = cuda(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        answer["devices"] = [device(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        answer |= {"error": name_of(pynvml, error), "detail": str(error)}
    return answer


def device(pynvml: Any, number: int) -> dict[str, Any]:
    """Describe one device; a member that it does not answer for is left out."""
    known: dict[str, Any] = {}
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    except pynvml.NVMLError as error:  # fallen off the bus, or no permission for this one
        return {"error": name_of(pynvml, error)}
    for name, question in QUESTIONS.items():
        with contextlib.suppress(pynvml.NVMLError, AttributeError):  # AttributeError: older bindings
            known[name] = question(pynvml, handle)
    return known


def processes(pynvml: Any, handle: Any) -> list[dict[str, Any]]:
    """List who holds memory of a device: pid, bytes, and the program's name where it may be known."""
    running = [
        *pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
        *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
    ]
    return [{"pid": one.pid, "memory": one.usedGpuMemory, "name": program(pynvml, one.pid)} for one in running]


def program(pynvml: Any, pid: int) -> str | None:
    """Name a process without its folders and arguments: those are private."""
    try:
        words = text(pynvml.nvmlSystemGetProcessName(pid)).replace("\\", "/").split("/")[-1].split()
    except pynvml.NVMLError:
        return None
    return words[0] if words else None


def pci_id(pynvml: Any, handle: Any) -> str:
    """Write vendor and device as "10de:2684"; NVML gives them as one number, device first."""
    both = pynvml.nvmlDeviceGetPciInfo(handle).pciDeviceId
    return f"{both & 0xFFFF:04x}:{both >> 16:04x}"


def capability(pynvml: Any, handle: Any) -> str:
    """Write the compute capability as "8.9"."""
    return "{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(handle))


def mig(pynvml: Any, handle: Any) -> list[dict[str, Any]] | None:
    """List the MIG instances of a device, or None when MIG is off."""
    if not pynvml.nvmlDeviceGetMigMode(handle)[0]:
        return None
    found = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(pynvml.NVMLError):  # a slot without an instance
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            memory = int(pynvml.nvmlDeviceGetMemoryInfo(instance).total)
            found.append({"name": text(pynvml.nvmlDeviceGetName(instance)), "memory": memory})
    return found


QUESTIONS = {
    "name": lambda pynvml, handle: text(pynvml.nvmlDeviceGetName(handle)),
    "pci_id": pci_id,
    "memory": lambda pynvml, handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    "compute_capability": capability,
    "mig": mig,
    "virtualization": lambda pynvml, handle: int(pynvml.nvmlDeviceGetVirtualizationMode(handle)),
    "processes": processes,
}


def name_of(pynvml: Any, error: Any) -> str:
    """Name an error by its constant, NVML_ERROR_LIB_RM_VERSION_MISMATCH as LIB_RM_VERSION_MISMATCH."""
    start = "NVML_ERROR_"
    names = {getattr(pynvml, name): name[len(start) :] for name in dir(pynvml) if name.startswith(start)}
    return names.get(error.value, str(error.value))


def cuda(number: int) -> str:
    """Write 13000 as "13.0"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def text(value: Any) -> str:
    """Give text, which older bindings return as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
