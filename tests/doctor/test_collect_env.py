"""A pasted collect_env becomes facts, in every form that it has had since torch 1.0."""

from __future__ import annotations

import pytest

from torchcheck.doctor import diagnose
from torchcheck.doctor.collect_env import looks_like, parse
from torchcheck.facts import UNKNOWN, Facts, from_json

OLDEST = """Collecting environment information...
PyTorch version: 1.4.0
Is debug build: No
CUDA used to build PyTorch: 10.1

OS: Ubuntu 18.04.3 LTS
GCC version: (Ubuntu 7.4.0-1ubuntu1~18.04.1) 7.4.0
CMake version: version 3.10.2

Python version: 3.6
Is CUDA available: Yes
CUDA runtime version: 10.1.243
GPU models and configuration:
GPU 0: Tesla V100-SXM2-16GB
GPU 1: Tesla V100-SXM2-16GB

Nvidia driver version: 418.87.01
cuDNN version: /usr/lib/x86_64-linux-gnu/libcudnn.so.7.6.3

Versions of relevant libraries:
[pip3] numpy==1.18.1
[pip3] torch==1.4.0
[conda] pytorch                   1.4.0           py3.6_cuda10.1.243_cudnn7.6.3_0    pytorch
"""

CURRENT = """PyTorch version: 2.9.1+cu128
Is debug build: False
CUDA used to build PyTorch: 12.8
ROCM used to build PyTorch: N/A

OS: Ubuntu 24.04.1 LTS (x86_64)
GCC version: (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0
Clang version: Could not collect
CMake version: Could not collect
Libc version: glibc-2.39

Python version: 3.12.3 (main, Aug 14 2025, 17:47:21) [GCC 13.3.0] (64-bit runtime)
Python platform: Linux-6.6.87.2-microsoft-standard-WSL2-x86_64-with-glibc2.39
Is CUDA available: True
CUDA runtime version: Could not collect
CUDA_MODULE_LOADING set to:
GPU models and configuration: GPU 0: NVIDIA GeForce RTX 4070 (UUID: GPU-12345678-1234)
Nvidia driver version: 577.00
cuDNN version: Could not collect
Is XPU available: False
HIP runtime version: N/A
MIOpen runtime version: N/A
Is XNNPACK available: True

CPU:
Architecture:                         x86_64
Model name:                           AMD Ryzen 7 7700X 8-Core Processor
Vendor ID:                            AuthenticAMD
Flags:                                fpu sse avx avx2 avx512f

Versions of relevant libraries:
[pip3] numpy==2.3.4
[pip3] nvidia-cudnn-cu12==9.10.2.21
[pip3] torch==2.9.1
[pip3] triton==3.5.1
[conda] Could not collect
"""

MAC = """PyTorch version: 2.5.1
Is debug build: False
CUDA used to build PyTorch: None
ROCM used to build PyTorch: N/A

OS: macOS 15.3 (x86_64)
GCC version: Could not collect
Libc version: N/A

Python version: 3.12.8 | packaged by Anaconda, Inc. (64-bit runtime)
Python platform: macOS-10.16-x86_64-i386-64bit
Is CUDA available: False
GPU models and configuration: No CUDA
Nvidia driver version: No CUDA

CPU:
Apple M2 Pro

Versions of relevant libraries:
[pip3] torch==2.5.1
"""

ROCM = """PyTorch version: 2.4.1+rocm6.1
Is debug build: False
CUDA used to build PyTorch: N/A
ROCM used to build PyTorch: 6.1.40091-a8dbc0c19

OS: Ubuntu 22.04.5 LTS (x86_64)
Python version: 3.10.12 (main, Sep 11 2024, 15:47:36) [GCC 11.4.0] (64-bit runtime)
Python platform: Linux-6.8.0-45-generic-x86_64-with-glibc2.35
Is CUDA available: True
GPU models and configuration: AMD Radeon RX 7900 XTX (gfx1100)
Nvidia driver version: Could not collect
HIP runtime version: 6.1.40091

Versions of relevant libraries:
[pip3] torch==2.4.1+rocm6.1
"""

BROKEN = """PyTorch version: N/A
Is debug build: N/A
CUDA used to build PyTorch: N/A

OS: Microsoft Windows 10 Home (10.0.19045 64-bit)
Python version: 3.12.4 (tags/v3.12.4:8e8a4ba, Jun  6 2024, 19:30:16) [MSC v.1940 64 bit (AMD64)] (64-bit runtime)
Is CUDA available: N/A
GPU models and configuration: GPU 0: NVIDIA GeForce GTX 1650
Nvidia driver version: 536.67

Versions of relevant libraries:
[pip3] numpy==1.26.4
[conda] Could not collect
"""


def test_the_oldest_form():
    facts = parse(OLDEST)
    assert facts.torch.import_ == "ok"
    assert (facts.torch.version, facts.torch.cuda) == ("1.4.0", "10.1")
    assert facts.torch.devices == ("Tesla V100-SXM2-16GB",) * 2
    assert facts.system.os == "linux"
    assert facts.python.version == "3.6"
    assert facts.python.environment == "conda"
    assert facts.drivers.nvidia.version == "418.87.01"
    assert facts.packages["numpy"] == "1.18.1"


def test_the_current_form():
    facts = parse(CURRENT)
    assert facts.system.wsl is True
    assert facts.system.machine == "x86_64"
    assert facts.system.libc == "glibc 2.39"
    assert facts.gpus[0].name == "NVIDIA GeForce RTX 4070"
    assert facts.cpu.model == "AMD Ryzen 7 7700X 8-Core Processor"
    assert "avx2" in facts.cpu.features
    assert facts.torch.hip is None
    assert facts.packages["torch"] == "2.9.1"
    assert facts.python.bits == 64


def test_a_mac_whose_python_runs_under_rosetta():
    facts = parse(MAC)
    assert (facts.system.os, facts.system.machine, facts.cpu.vendor) == ("macos", "x86_64", "Apple")
    assert facts.gpus is UNKNOWN
    assert diagnose(Facts(), MAC)[0].code == "macos-rosetta-python"


def test_rocm():
    facts = parse(ROCM)
    assert facts.torch.hip == "6.1.40091-a8dbc0c19"
    assert (facts.gpus[0].vendor, facts.gpus[0].name, facts.gpus[0].gfx) == ("amd", "AMD Radeon RX 7900 XTX", "gfx1100")
    assert facts.drivers.nvidia is UNKNOWN


def test_a_torch_that_does_not_import():
    facts = parse(BROKEN)
    assert facts.torch.import_ == "missing"
    assert facts.system.os == "windows"
    assert facts.system.machine == "x86_64"


@pytest.mark.parametrize("text", [OLDEST, CURRENT, ROCM])
def test_a_healthy_paste_alone_is_healthy(text):
    assert looks_like(text)
    assert [d.code for d in diagnose(Facts(), text)] == ["environment-ok"]


def test_the_answer_of_the_machine_comes_before_what_the_text_states():
    given = from_json({"drivers": {"nvidia": {"version": "470.57"}}})
    unavailable = CURRENT.replace("Is CUDA available: True", "Is CUDA available: False").replace("-WSL2", "")
    assert diagnose(Facts(), unavailable)[0].code != "driver-too-old"
    assert diagnose(given, unavailable.replace("microsoft", "x"))[0].code == "driver-too-old"


def test_live_facts_are_not_mixed_with_a_paste_of_another_machine():
    here = from_json(
        {
            "system": {"os": "windows"},
            "gpus": [],
            "packages": {"torch": "2.9.1+cpu"},
            "torch": {"import": "ok", "cuda": None},
        }
    )
    old = CURRENT.replace("577.00", "451.67").replace("Is CUDA available: True", "Is CUDA available: False")
    assert diagnose(here, old, live=True)[0].code == "driver-too-old"


@pytest.mark.parametrize("line", ["Could not collect", "N/A", "No CUDA", ""])
def test_what_could_not_be_collected_stays_unknown(line):
    text = (
        f"PyTorch version: 2.8.0+cpu\nIs CUDA available: False\nGPU models and configuration: {line}\nNvidia "
        f"driver version: {line}\nOS: {line}\n"
    )
    facts = parse(text)
    assert facts.gpus is UNKNOWN
    assert facts.drivers.nvidia is UNKNOWN
    assert facts.system.os is UNKNOWN
