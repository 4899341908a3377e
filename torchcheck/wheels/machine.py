"""The machine as a planner sees it: platform, Python tag, oldest system, and each accelerator with its state (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from torchcheck.facts import UNKNOWN, Facts, Gpu
from torchcheck.wheels import gpus
from torchcheck.wheels.builds import numbers

KINDS = {"nvidia": "cuda", "amd": "rocm", "intel": "xpu", "apple": "mps"}
WORDS = (
    (r"NVIDIA|GEFORCE|QUADRO|TESLA", "nvidia"),
    (r"\bAMD\b|RADEON|\bATI\b", "amd"),
    (r"INTEL", "intel"),
    (r"APPLE", "apple"),
)
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "x64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
JETSON = {"5.3", "6.2", "7.2", "8.7", "10.1", "11.0"}
"""Compute capabilities that only Jetson and DRIVE modules have."""


HOLDERS = {"nouveau", "vfio-pci", "pci-stub"}
"""Kernel modules that hold a GPU without letting a program compute on it."""


@dataclass(frozen=True)
class Accelerator:
    """A GPU that some build of torch might serve.

    Attributes:
        name: for people, "RTX 4090".
        kind: the family of backends that would serve it: "cuda", "rocm", "xpu" or "mps".
        architecture: compute capability or gfx target; "" when it has none or is not known.
        integrated: it shares memory with the processor and is no reason to worry when it is not served.
        jetson: a module whose wheels come from NVIDIA.
        trouble: why nothing can use it now: "" (fine, or not known), "driver-missing", "driver-not-loaded" or
            "gpu-not-visible".
        supported: False for an Intel GPU outside the list that XPU serves.
    """

    name: str
    kind: str
    architecture: str = ""
    integrated: bool = False
    jetson: bool = False
    trouble: str = ""
    supported: bool = True

    @property
    def described(self) -> str:
        """Name with its architecture: "RTX 4090 (compute capability 8.9)"."""
        if not self.architecture:
            return self.name
        what = "compute capability " if self.kind == "cuda" else ""
        return f"{self.name} ({what}{self.architecture})"


@dataclass(frozen=True)
class Machine:
    """What of the facts decides about wheels; a field that facts leave open is filled by the likeliest, and said so."""

    facts: Facts

    @cached_property
    def os(self) -> str:
        """Operating system; Linux when nothing tells."""
        system = self.facts.system
        if system.os:
            return str(system.os)
        return "macos" if any(a.kind == "mps" for a in self.accelerators) else "linux"

    @cached_property
    def cpu(self) -> str:
        """Processor family as wheels name it, x86_64 when nothing tells."""
        machine = str(self.facts.system.machine or "").lower()
        if machine:
            return MACHINES.get(machine, machine)
        return "aarch64" if any(a.jetson or a.kind == "mps" for a in self.accelerators) else "x86_64"

    @cached_property
    def system(self) -> str:
        """Platform as builds name it: "linux_x86_64", "macos_arm64" and so on."""
        arm = "aarch64" if self.os == "linux" else "arm64"
        return f"{self.os}_{arm if self.cpu == 'aarch64' else self.cpu}"

    @cached_property
    def python(self) -> str | None:
        """Tag of the Python ("cp312", "cp313t"), None when its version is not known."""
        version = numbers(str(self.facts.python.version or ""))
        return (
            f"cp{version[0]}{version[1]}{'t' if self.facts.python.free_threaded else ''}" if len(version) > 1 else None
        )

    @cached_property
    def python_version(self) -> str | None:
        """Full version of the Python, without what a distribution hung on it ("3.14.1")."""
        found = re.match(r"\d+\.\d+(?:\.\d+)?(?:(?:a|b|rc)\d+)?", str(self.facts.python.version or ""))
        return found[0] if found else None

    @cached_property
    def python_name(self) -> str:
        """The Python for people: "Python 3.13 (free-threaded)"."""
        version = ".".join(map(str, numbers(str(self.facts.python.version or ""))[:2]))
        return f"Python {version}{' (free-threaded)' if self.facts.python.free_threaded else ''}".strip()

    @cached_property
    def oldest(self) -> tuple[int, ...] | None:
        """Version that a wheel's minimum is compared with: glibc on Linux, macOS on a Mac; None when not known."""
        if self.os == "macos":
            return numbers(str(self.facts.system.version or "")) or None
        found = re.search(r"glibc\D*(\d+)\.(\d+)", str(self.facts.system.libc or ""))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def musl(self) -> bool:
        """Say whether the C library is musl."""
        return "musl" in str(self.facts.system.libc or "")

    @property
    def rosetta(self) -> bool:
        """Say whether an x86_64 Python runs on Apple Silicon."""
        apple = any(a.kind == "mps" for a in self.accelerators) or "apple" in str(self.facts.cpu.vendor or "").lower()
        apple = apple or str(self.facts.cpu.model or "").lower().startswith("apple")
        return self.os == "macos" and (self.facts.system.rosetta is True or (self.cpu == "x86_64" and apple))

    @property
    def contained(self) -> bool:
        """Say whether this is a container."""
        return bool(self.facts.system.container)

    @property
    def old_arm(self) -> bool:
        """Say whether the processor is an ARMv8.0 (no LSE atomics, as Cortex-A72 and Graviton 1)."""
        features = self.facts.cpu.features
        if self.cpu != "aarch64" or self.os != "linux":
            return False
        if features:
            return "atomics" not in features and "fp" in features
        return bool(re.search(r"cortex-a(53|57|72|73)\b|raspberry pi [34]\b|graviton ?1\b|a1\.", self._cpu_text))

    @property
    def _cpu_text(self) -> str:
        return f"{self.facts.cpu.model or ''} {self.facts.system.name or ''}".lower()

    @property
    def nvidia_driver(self) -> tuple[int, ...] | None:
        """Version of NVIDIA's driver, None when it is not known (then a current one is assumed)."""
        driver = self.facts.drivers.nvidia
        return (numbers(driver.version) or None) if driver and driver.version else None

    def last_driver(self, gpu: Accelerator) -> int | None:
        """Give the last branch of NVIDIA's driver that serves a GPU, where the driver at hand is of a later one.

        A branch takes ten numbers on Windows: 581.57 and 582.16 are of the 580 branch.
        """
        last = gpus.last_driver(gpu.architecture) if gpu.kind == "cuda" and not gpu.jetson else None
        return last if last and self.nvidia_driver and self.nvidia_driver[0] >= last + 10 else None

    @property
    def driver_text(self) -> str:
        """Version of NVIDIA's driver as it writes it ("575.64.03"), "" when it is not known."""
        driver = self.facts.drivers.nvidia
        return str(driver.version or "") if driver else ""

    @property
    def driver_cuda(self) -> tuple[int, ...] | None:
        """Newest CUDA that NVIDIA's driver speaks of; its major is an upper bound for builds."""
        driver = self.facts.drivers.nvidia
        return (numbers(driver.cuda) or None) if driver and driver.cuda else None

    @property
    def windows_driver(self) -> bool:
        """Say whether NVIDIA's driver is one of Windows: WSL uses that of its host."""
        return self.os == "windows" or self.facts.system.wsl is True

    @cached_property
    def accelerators(self) -> tuple[Accelerator, ...]:
        """Every GPU of a vendor that torch knows, the newest NVIDIA first."""
        known = self.facts.gpus if self.facts.gpus is not UNKNOWN else self._by_drivers()
        found = [a for a in map(self._accelerator, known) if a]
        return tuple(sorted(found, key=lambda a: (a.kind != "cuda", [-n for n in numbers(a.architecture)])))

    def of(self, kind: str) -> tuple[Accelerator, ...]:
        """Accelerators of one kind."""
        return tuple(a for a in self.accelerators if a.kind == kind)

    def _by_drivers(self) -> tuple[Gpu, ...]:
        """When nobody looked for GPUs, a working NVIDIA driver still says that there is one."""
        driver = self.facts.drivers.nvidia
        return (Gpu(vendor="nvidia", name="NVIDIA GPU"),) if driver and driver.version else ()

    def _accelerator(self, gpu: Gpu) -> Accelerator | None:
        name = str(gpu.name or "")
        vendor = str(gpu.vendor or "") or gpus.vendor(gpu.pci_id)
        vendor = vendor or next((v for pattern, v in WORDS if re.search(pattern, name.upper())), None)
        if vendor not in KINDS:
            return None
        architecture, supported = "", True
        if vendor == "nvidia":
            architecture = str(gpu.compute_capability or gpus.compute_capability(gpu.pci_id, gpu.name) or "")
        elif vendor == "amd":
            architecture = str(gpu.gfx or gpus.gfx(gpu.pci_id, gpu.name) or "").split(":")[0]
        elif vendor == "intel":
            supported = bool(gpus.xpu_capable(gpu.pci_id, gpu.name))
        words = re.search(r"orin|xavier|jetson|tegra|thor\b|nvgpu", name.lower())
        jetson = vendor == "nvidia" and (architecture in JETSON or bool(words))
        integrated = vendor != "nvidia" and bool(gpus.integrated(gpu.pci_id, gpu.name))
        label = _short(name) or {"nvidia": "NVIDIA GPU", "amd": "AMD GPU", "intel": "Intel GPU"}.get(vendor, "GPU")
        trouble = self._trouble(vendor, gpu)
        return Accelerator(label, KINDS[vendor], architecture, integrated, jetson, trouble, supported)

    def _trouble(self, vendor: str, gpu: Gpu) -> str:
        """Say why a driver does not serve a GPU, "" where it does or nobody knows."""
        hidden = "gpu-not-visible" if self.contained else "driver-missing"
        if gpu.driver is None or gpu.driver in HOLDERS:
            return hidden
        nvidia, amd, intel = (getattr(self.facts.drivers, v) for v in ("nvidia", "amd", "intel"))
        if vendor == "nvidia":
            if nvidia and nvidia.version is None:
                return "driver-not-loaded" if nvidia.error and not self.contained else hidden
            return hidden if nvidia is None else ""
        if vendor == "amd" and self.os_known_linux:
            return hidden if amd is None or (amd and amd.kfd is False) else ""
        return hidden if vendor == "intel" and intel is None else ""

    @property
    def os_known_linux(self) -> bool:
        """Say whether facts name Linux, or leave it open."""
        return self.facts.system.os in ("linux", UNKNOWN)


def _short(name: str) -> str:
    """Drop trade marks, and what the PCI ID database puts around a product's name."""
    bracket = re.search(r"\[([^\]]+)\]", name)
    return re.sub(r"\((R|TM)\)", "", bracket[1] if bracket else name).strip()
