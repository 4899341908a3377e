"""What the driver counts of one NVIDIA GPU: errors of its memory, temperature, clocks, throttling.

Asked through NVML with ctypes, since the target has no package for it. A counter that this GPU or driver does not have
is left out. Names, types and numbers: NVIDIA, NVML API Reference (nvml.h).
"""

from __future__ import annotations

import ctypes
import sys

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

# nvmlClocksThrottleReasons: what slows a GPU down for its own protection, or for want of power.
THROTTLES = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}

# name → function, arguments between the device and the answer, type of the answer
_COUNTERS = {
    "corrected memory errors": ("nvmlDeviceGetTotalEccErrors", (0, 0), ctypes.c_ulonglong),
    "uncorrected memory errors": ("nvmlDeviceGetTotalEccErrors", (1, 0), ctypes.c_ulonglong),
    "memory pages that wait for retirement": ("nvmlDeviceGetRetiredPagesPendingStatus", (), ctypes.c_uint),
    "throttle reasons": ("nvmlDeviceGetCurrentClocksThrottleReasons", (), ctypes.c_ulonglong),
    "temperature": ("nvmlDeviceGetTemperature", (0,), ctypes.c_uint),
    "clock": ("nvmlDeviceGetClockInfo", (1,), ctypes.c_uint),
}


class NvmlError(Exception):
    """NVML is not there, does not start, or does not know the device; the message says which."""


def read(uuid: str, library: str = LIBRARY) -> dict[str, int]:
    """Read the counters of the GPU with this UUID ("GPU-…").

    Raises:
        NvmlError: there is no NVML, or no such GPU.
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError as error:
        raise NvmlError(f"no NVML: {error}") from error
    if nvml.nvmlInit_v2():
        raise NvmlError("NVML does not start: the driver is not loaded or does not fit its library")
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)):
        raise NvmlError(f"NVML knows no device {uuid}")
    found = {name: _count(nvml, device, *how) for name, how in _COUNTERS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _count(
    nvml: ctypes.CDLL,
    device: ctypes.c_void_p,
    function: str,
    arguments: tuple[int, ...],
    kind: type[ctypes._SimpleCData[int]],
) -> int | None:
    answer = kind()
    if not hasattr(nvml, function) or getattr(nvml, function)(device, *arguments, ctypes.byref(answer)):
        return None
    return answer.value


def throttles(reasons: int) -> list[str]:
    """Name the reasons for throttling in a bit mask."""
    return [name for bit, name in THROTTLES.items() if reasons & bit]
