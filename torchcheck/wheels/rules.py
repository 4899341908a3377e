"""The rules by which a build of torch is refused on a machine: one function a rule, each with its reason (pure).

`RULES` is in the order in which they are asked; the first refusal counts. A rule knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import Build, Offers, allows, kind, numbers, serves_python, specifier, toolkit
from torchcheck.wheels.machine import Accelerator, Machine
from torchcheck.wheels.request import Request

FAMILIES: Final = {"cuda": "NVIDIA", "rocm": "AMD", "xpu": "Intel", "mps": "Apple"}


@dataclass(frozen=True)
class Refusal:
    """Why a build is not for this machine.

    `code` is a slug that a blocker or warning may carry; `soft` says that the build would at least run on the processor.
    """

    rule: str
    code: str
    reason: str
    soft: bool = False


@dataclass(frozen=True)
class Situation:
    """What a rule may look at."""

    machine: Machine
    request: Request
    offers: Offers


Rule = Callable[[Build, Situation], Refusal | None]


def judge(build: Build, situation: Situation) -> Refusal | None:
    """Give the first refusal, or None for a build that runs here."""
    return next((refusal for rule in RULES if (refusal := rule(build, situation))), None)


def python(build: Build, situation: Situation) -> Refusal | None:
    """The release has wheels for this Python."""
    machine = situation.machine
    if not serves_python(build.pythons, machine.python):
        return Refusal("python", "no-wheel-for-python", f"has no wheel for {machine.python_name}")
    version = machine.python_version
    if version and build.requires_python and not allows(build.requires_python, version):
        return Refusal("python", "no-wheel-for-python", f"asks for Python {build.requires_python}, this is {version}")
    return None


def oldest_system(build: Build, situation: Situation) -> Refusal | None:
    """The system is not older than the wheels accept."""
    machine = situation.machine
    if not build.minimum or machine.oldest is None or machine.oldest >= numbers(build.minimum):
        return None
    have = ".".join(map(str, machine.oldest))
    if machine.os == "macos":
        code = "mps-macos-too-old" if build.system == "macos_arm64" else "no-wheel-macos-intel"
        return Refusal("system", code, f"needs macOS {build.minimum} or newer, this is {have}")
    return Refusal("system", "glibc-too-old", f"needs glibc {build.minimum} or newer, this system has {have}")


def instructions(build: Build, situation: Situation) -> Refusal | None:
    """The processor has the instructions that the release uses."""
    if not situation.machine.old_arm or not catalog.illegal_on_old_arm(build.version):
        return None
    return Refusal("cpu", "cpu-isa-too-old", "uses ARMv8.2 instructions that this processor lacks")


def constraints(build: Build, situation: Situation) -> Refusal | None:
    """What pip's own configuration imposes on torch is kept."""
    for line in situation.offers.constraints:
        name, _, wanted = line.partition(" ")
        if name == "torch" and not allows(wanted, build.version):
            return Refusal("pip", "no-such-build", f"pip's own constraints here allow only torch{wanted}")
    return None


def release_asked_for(build: Build, situation: Situation) -> Refusal | None:
    """The release is the one that was asked for."""
    if situation.request.wants(build.version):
        return None
    return Refusal("asked", "no-such-build", f"--torch {situation.request.torch} was asked for")


def backend_asked_for(build: Build, situation: Situation) -> Refusal | None:
    """The backend is the one that was asked for."""
    if situation.request.wants_backend(build.backend):
        return None
    return Refusal("asked", "no-such-build", f"--backend {situation.request.backend} was asked for")


def vendor(build: Build, situation: Situation) -> Refusal | None:
    """There is a GPU of the maker that the build is for."""
    family = kind(build.backend)
    found = situation.machine.of(family)
    if family in ("cpu", "mps") or any(a.supported for a in found):
        return None
    if found:
        return Refusal("vendor", "gpu-arch-dropped", f"{found[0].name} is not among the Intel GPUs that XPU serves")
    others = [a for a in situation.machine.accelerators if a.kind != family and not a.integrated]
    if situation.request.backend == build.backend and not others:
        return None  # An image is made for another machine, or the GPU comes later.
    return Refusal("vendor", "backend-mismatch", f"is for {FAMILIES[family]} GPUs, and there is none here", soft=True)


def kernels(build: Build, situation: Situation) -> Refusal | None:
    """The build has code for at least one of the GPUs."""
    found = [a for a in situation.machine.of(kind(build.backend)) if a.supported]
    if kind(build.backend) not in ("cuda", "rocm") or not found or any(has_kernels(build, a) for a in found):
        return None
    if build.kernels is None:
        asked = situation.request.backend == build.backend
        return (
            None
            if asked
            else Refusal("kernels", "no-such-build", "nobody has looked which GPUs it has kernels for", soft=True)
        )
    names = " and ".join(dict.fromkeys(a.described for a in found))
    return Refusal(
        "kernels",
        kernel_code(build, found[0]),
        f"has no kernels for {names}; it has {' '.join(build.kernels)}",
        soft=True,
    )


def driver(build: Build, situation: Situation) -> Refusal | None:
    """NVIDIA's driver reaches the floor of the build's CUDA major."""
    machine, family = situation.machine, kind(build.backend)
    if family != "cuda" or not machine.of("cuda") or machine.nvidia_driver is None:
        return None
    floor = catalog.driver_floor(build.backend, windows=machine.windows_driver)
    have = ".".join(map(str, machine.nvidia_driver))
    major = toolkit(build.backend)[0]
    if floor is not None and machine.nvidia_driver < numbers(floor):
        return Refusal(
            "driver",
            "driver-too-old",
            f"needs NVIDIA driver {floor} or newer for CUDA {major}, this is {have}",
            soft=True,
        )
    # A CUDA major that is newer than the table: the driver itself says which it speaks.
    if floor is None and machine.driver_cuda is not None and machine.driver_cuda[0] < major:
        speaks = ".".join(map(str, machine.driver_cuda))
        return Refusal(
            "driver",
            "driver-too-old",
            f"needs a driver for CUDA {major}, this one ({have}) speaks CUDA {speaks}",
            soft=True,
        )
    if floor is None and machine.driver_cuda is None:
        return Refusal(
            "driver", "driver-too-old", f"which driver CUDA {major} needs is not known, and this is {have}", soft=True
        )
    return None


def usable(build: Build, situation: Situation) -> Refusal | None:
    """A driver serves the GPUs that the build is for."""
    found = [a for a in situation.machine.of(kind(build.backend)) if a.supported]
    if not found or any(not a.trouble for a in found) or situation.request.backend == build.backend:
        return None
    words = (
        "no driver serves" if found[0].trouble == "driver-missing" else "this container or its driver does not reach"
    )
    words = "the driver does not run for" if found[0].trouble == "driver-not-loaded" else words
    return Refusal("usable", found[0].trouble, f"{words} {found[0].name}", soft=True)


RULES: Final[tuple[Rule, ...]] = (
    python,
    oldest_system,
    instructions,
    constraints,
    release_asked_for,
    backend_asked_for,
    vendor,
    usable,
    kernels,
    driver,
)


def has_kernels(build: Build, accelerator: Accelerator) -> bool:
    """Say whether a build has code for a GPU; a GPU of unknown architecture is taken to be a current one.

    An AMD GPU is never assumed: most that no table knows are older than ROCm's list.
    """
    if build.kernels is None or kind(build.backend) != accelerator.kind:
        return False
    if not accelerator.architecture:
        return accelerator.kind == "cuda"
    return catalog.runs_any(build.kernels, accelerator.architecture, build.backend)


def kernel_code(build: Build, accelerator: Accelerator) -> str:
    """Say which way a GPU misses a build's kernels."""
    if kind(build.backend) == "rocm":
        return "rocm-arch-unsupported"
    if accelerator.jetson:
        return "jetson-generic-wheel"
    newest = max((numbers(k) for k in build.kernels or ()), default=(0,))
    return "gpu-arch-too-new" if numbers(accelerator.architecture) > newest else "gpu-arch-dropped"


def constraint_lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Give constraints as "name specifier" lines, leaving out what is none of the torch family."""
    found = []
    for text in texts:
        line = text.split("#")[0].split(";")[0].strip()
        name = next((n for n in ("torchvision", "torchaudio", "torch") if line.lower().startswith(n)), "")
        wanted = line[len(name) :].strip()
        if name and wanted[:1] in "<>=!~" and wanted and len(specifier(wanted)):
            found.append(f"{name} {wanted}")
    return tuple(found)
