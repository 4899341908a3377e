"""Field by field against `python -m torch.utils.collect_env`: each has its place in the facts, or a reason."""

from __future__ import annotations

import re
import subprocess

import pytest

from torchcheck.live import Live
from torchcheck.probes import probe
from torchcheck.target import find

NONE = {"N/A", "Could not collect", "No", "False", ""}
# What collect_env prints, and the fact that holds it; the function gives the text that collect_env would print.
HELD = {
    "PyTorch version": lambda f: f.torch.version,
    "Is debug build": lambda f: f.torch.debug,
    "CUDA used to build PyTorch": lambda f: f.torch.cuda,
    "HIP used to build PyTorch": lambda f: f.torch.hip,
    "ROCM used to build PyTorch": lambda f: f.torch.hip,
    "ROCm SDK used to build PyTorch": lambda f: f.torch.hip,
    "OS": lambda f: f"{f.system.name} ({f.system.machine})",
    "GCC version": lambda f: f.tools.get("gcc"),
    "Clang version": lambda f: f.tools.get("clang"),
    "CMake version": lambda f: f.tools.get("cmake"),
    "Libc version": lambda f: (f.system.libc or "N/A").replace(" ", "-"),
    "Python version": lambda f: f.python.version,
    "Is CUDA available": lambda f: f.torch.available,
    "CUDA runtime version": lambda f: f.tools.get("nvcc"),
    "Nvidia driver version": lambda f: f.drivers.nvidia and f.drivers.nvidia.version,
    "Is XPU available": lambda f: bool(f.torch.xpu) and f.torch.available,
    "HIP runtime version": lambda f: f.torch.hip,
    "MIOpen runtime version": lambda f: f.torch.miopen,
    "Is XNNPACK available": lambda f: f.torch.xnnpack,
    "CUDA_MODULE_LOADING set to": lambda f: f.env.get("CUDA_MODULE_LOADING"),
    "Caching allocator config": lambda f: f.env.get("PYTORCH_CUDA_ALLOC_CONF") or f.env.get("PYTORCH_ALLOC_CONF"),
    "Model name": lambda f: f.cpu.model,
    "CPU family": lambda f: f.cpu.stepping.split()[0],
    "Model": lambda f: f.cpu.stepping.split()[1],
    "Stepping": lambda f: f.cpu.stepping.split()[2],
    "Socket(s)": lambda f: f.cpu.sockets,
    "CPU(s)": lambda f: f.cpu.cores_logical,
    "NUMA node(s)": lambda f: f.cpu.numa_nodes,
    "Flags": lambda f: " ".join(f.cpu.features),
    "Architecture": lambda f: f.system.machine,
}
NOT_COMPARED = {
    "Python platform": "kernel, machine and libc, which stand by themselves",
    "Vendor ID": "cpu.vendor, by its name",
    "Core(s) per socket": "cpu.cores_physical",
    "L1d cache": "cpu.cache", "L1i cache": "cpu.cache", "L2 cache": "cpu.cache", "L3 cache": "cpu.cache",
    "CPU max MHz": "cpu.mhz is what it ran at", "CPU min MHz": "as above", "CPU(s) scaling MHz": "as above",
    "[conda]": "conda", "[pip3]": "packages, all of them and with local labels",
    "cuDNN version": "torch.cudnn is that of the one that was loaded, tools.cudnn that of the system",
    "GPU models and configuration": "gpus",
}  # fmt: skip
LEFT_OUT = {
    r"CPU op-mode\(s\)|Address sizes|Byte Order|BogoMIPS|Frequency boost": "tells nothing of torch",
    r"Virtualization.*|Hypervisor vendor": "cpu.features has `hypervisor`",
    r"On-line CPU\(s\) list|NUMA node\d+ CPU\(s\)|Thread\(s\) per core": "cores_logical are those that may be used",
    r"Vulnerabilit.*": "mitigations change speed, never results",
    r"GPU \d+": "gpus",
}


@pytest.fixture(scope="module")
def printed(torch_python) -> dict[str, str]:
    ran = subprocess.run(
        [torch_python, "-m", "torch.utils.collect_env"],
        check=True,
        capture_output=True,
        encoding="locale",
        timeout=120,
    )
    pairs = (line.partition(":") for line in ran.stdout.splitlines() if ":" in line and "] " not in line.split(":")[0])
    return {name.strip(): value.strip() for name, _, value in pairs}


@pytest.mark.torch
def test_nothing_that_collect_env_prints_is_without_a_place(printed):
    known = HELD.keys() | NOT_COMPARED.keys() | {"CPU", "Versions of relevant libraries"}
    assert not {name for name in printed if name not in known and not any(re.fullmatch(p, name) for p in LEFT_OUT)}


@pytest.mark.torch
def test_what_both_tell_is_the_same(printed, torch_python):
    host = Live()
    facts = probe(host, find(host, torch_python))
    for name in HELD.keys() & printed.keys():
        ours, theirs = HELD[name](facts), printed[name]
        if name in {"GCC version", "Clang version", "CMake version", "Python version"} and ours:
            assert str(ours) in theirs, name
        elif ours in {None, False, ""}:
            assert theirs in NONE, name
        else:
            assert str(ours) == theirs, name
