"""The rules by which a build of torch is refused on a machine: one function a rule, each with its reason (pure).

`RULES` is in the order in which they are asked; the first refusal counts. A rule knows nothing of the others. A reason
is what follows "torch 2.15.0 for cu130": "has no wheel for Python 3.10".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import Build, Offers, allows, kind, numbers, serves_python, specifier, toolkit
from torchcheck.wheels.machine import Accelerator, Machine
from torchcheck.wheels.request import Request

MAKERS: Final = {"cuda": "NVIDIA", "rocm": "AMD", "xpu": "Intel", "mps": "Apple"}


@dataclass(frozen=True)
class Refusal:
    """Why a build is not for this machine.

    `code` is a slug that a blocker or warning may carry; `soft` says that the build would still run on the processor.
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
            return Refusal("pip", "no-such-build", f"is not allowed by pip's own constraints here (torch{wanted})")
    return None


def final(build: Build, situation: Situation) -> Refusal | None:
    """The release is a final one, or pre-releases are welcome."""
    request = situation.request
    if not build.release.is_prerelease or request.pre or request.torch:
        return None
    return Refusal("asked", "no-such-build", "is a pre-release, and --pre was not given")


def release_asked_for(build: Build, situation: Situation) -> Refusal | None:
    """The release is the one that was asked for."""
    request = situation.request
    return None if request.wants(build.version) else _unasked(f"--torch {request.torch}")


def backend_asked_for(build: Build, situation: Situation) -> Refusal | None:
    """The backend is the one that was asked for."""
    request = situation.request
    return None if request.wants_backend(build.backend) else _unasked(f"--backend {request.backend}")


def _unasked(option: str) -> Refusal:
    return Refusal("asked", "no-such-build", f"is not what {option} asks for")


def vendor(build: Build, situation: Situation) -> Refusal | None:
    """There is a GPU of the maker that the build is for."""
    family = kind(build.backend)
    found = situation.machine.of(family)
    if family in ("cpu", "mps") or any(a.supported for a in found):
        return None
    if found:
        text = f"does not serve {found[0].name}, only Arc and Core Ultra graphics"
        return Refusal("vendor", "gpu-arch-dropped", text, soft=True)
    others = [a for a in situation.machine.accelerators if not a.integrated]
    if situation.request.backend == build.backend and not others:
        return None  # An image is made for another machine, or the GPU comes later.
    return Refusal("vendor", "backend-mismatch", f"serves {MAKERS[family]} GPUs, and there is none here", soft=True)


def usable(build: Build, situation: Situation) -> Refusal | None:
    """A driver serves the GPUs that the build is for."""
    found = _mine(build, situation)
    if not found or any(not a.trouble for a in found) or situation.request.backend == build.backend:
        return None
    why = {"driver-missing": "it has no driver", "driver-not-loaded": "its driver does not run"}
    text = f"cannot reach {found[0].name}: {why.get(found[0].trouble, 'this container does not get it')}"
    return Refusal("usable", found[0].trouble, text, soft=True)


def kernels(build: Build, situation: Situation) -> Refusal | None:
    """The build has code for at least one of the GPUs."""
    found = _mine(build, situation)
    if kind(build.backend) not in ("cuda", "rocm") or not found or any(has_kernels(build, a) for a in found):
        return None
    if build.kernels is None:
        if situation.request.backend == build.backend:
            return None
        return Refusal("kernels", "no-such-build", "has kernels for GPUs that nobody has listed", soft=True)
    text = f"has no kernels for {list_of(a.described for a in found)}; it has {' '.join(build.kernels)}"
    return Refusal("kernels", kernel_code(build, found[0]), text, soft=True)


def driver(build: Build, situation: Situation) -> Refusal | None:
    """NVIDIA's driver reaches the floor of the build's CUDA major."""
    machine = situation.machine
    have = machine.nvidia_driver
    if kind(build.backend) != "cuda" or not machine.of("cuda") or have is None:
        return None
    floor = catalog.driver_floor(build.backend, windows=machine.windows_driver)
    if have[0] < 100 and machine.driver_cuda and any(a.jetson for a in machine.of("cuda")):
        floor = None  # The version of a Jetson's L4T, not of a driver; which CUDA it speaks decides.
    why = f"for CUDA {toolkit(build.backend)[0]}, this is {machine.driver_text}"
    if floor is not None:
        return None if have >= numbers(floor) else _too_old(f"needs NVIDIA driver {floor} or newer {why}")
    # A CUDA major that is newer than the table: the driver itself says which it speaks.
    if machine.driver_cuda is None:
        return _too_old(f"needs a driver {why}, and which CUDA that speaks is not known")
    if machine.driver_cuda[0] >= toolkit(build.backend)[0]:
        return None
    return _too_old(f"needs a newer NVIDIA driver {why} and speaks CUDA {'.'.join(map(str, machine.driver_cuda))}")


def _too_old(reason: str) -> Refusal:
    return Refusal("driver", "driver-too-old", reason, soft=True)


RULES: Final[tuple[Rule, ...]] = (
    final,
    release_asked_for,
    backend_asked_for,
    python,
    oldest_system,
    instructions,
    constraints,
    vendor,
    usable,
    kernels,
    driver,
)
DEPTH: Final = {
    name: depth
    for depth, name in enumerate(("asked", "pip", "python", "system", "cpu", "vendor", "usable", "kernels", "driver"))
}
"""How near a refused build came to running here; the nearest ones explain best why nothing does."""


def _mine(build: Build, situation: Situation) -> list[Accelerator]:
    return [a for a in situation.machine.of(kind(build.backend)) if a.supported]


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


def list_of(names: Iterable[str]) -> str:
    """Write names as a list, each once: "A", "A and B", "A, B and C"."""
    *first, last = dict.fromkeys(names) or ("",)
    return f"{', '.join(first)} and {last}" if first else last


def constraint_lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Give constraints as "name specifier" lines, leaving out what is none of the torch family."""
    found = []
    for text in texts:
        line = text.split("#")[0].split(";")[0].strip()
        name = next((n for n in ("torchvision", "torchaudio", "torch") if line.lower().startswith(n)), "")
        wanted = line[len(name) :].strip()
        if name and wanted[:1] in "<>=!~" and len(specifier(wanted)):
            found.append(f"{name} {wanted}")
    return tuple(found)
