"""NVML through ctypes, against a small library that answers as nvml.h says."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from torchcheck.suite import nvml

SOURCE = r"""
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = (void *)0x7f0000001234;
    return strcmp(uuid, "GPU-1") ? 6 : 0;
}
int nvmlDeviceGetTotalEccErrors(void *device, int kind, int counter, unsigned long long *count) {
    *count = device == (void *)0x7f0000001234 && counter == 0 ? (kind == 1 ? 3 : 0x100000001ULL) : 99;
    return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) { *reasons = 0x48; return 0; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *degrees) { *degrees = 61; return 0; }
int nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned int *pending) { return 3; /* not supported */ }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if sys.platform == "win32" or compiler is None:
        pytest.skip("no C compiler called cc to build the small library with")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(SOURCE)
    built = folder / "libnvml.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(folder / "nvml.c")], check=True)
    return str(built)


def test_counters_are_read_and_missing_ones_left_out(library):
    assert nvml.read("GPU-1", library) == {
        "corrected memory errors": 0x100000001,
        "uncorrected memory errors": 3,
        "throttle reasons": 0x48,
        "temperature": 61,
    }


def test_throttling_is_named():
    assert nvml.throttles(0x48) == ["hardware slowdown", "hardware thermal slowdown"]
    assert nvml.throttles(0) == []


def test_an_unknown_device(library):
    with pytest.raises(nvml.NvmlError, match="GPU-2"):
        nvml.read("GPU-2", library)


def test_no_nvml(tmp_path):
    with pytest.raises(nvml.NvmlError, match="no NVML"):
        nvml.read("GPU-1", str(tmp_path / "absent.so"))
