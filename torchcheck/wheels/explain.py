"""The words of a plan: why this installation, what to know about it, and why not the others (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.facts import UNKNOWN
from torchcheck.wheels import catalog, gpus
from torchcheck.wheels.builds import PYTORCH, Build, kind, numbers, parse, toolkit
from torchcheck.wheels.candidates import Candidate, left_out, worth
from torchcheck.wheels.machine import Accelerator
from torchcheck.wheels.rules import Refusal, Situation, judge, kernel_code

Note = dict[str, str]
KINDS = {"cuda": "CUDA", "rocm": "ROCm", "xpu": "XPU (Intel)", "mps": "MPS (Apple)", "cpu": "CPU"}


def reasons(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool) -> list[str]:
    """Say why this installation was chosen, the accelerator first."""
    found = [*_assumptions(situation)]
    if installed:
        return [*found, f"torch {chosen.torch.pin} is installed here; the companions are chosen to go with it."]
    found += [*_accelerator(chosen, situation), *_release(chosen, situation, ordered), *_trio(chosen, situation)]
    return [*found, *_origin(chosen, situation)]


def _assumptions(situation: Situation) -> Iterator[str]:
    facts, machine = situation.machine.facts, situation.machine
    if not facts.system.os or not facts.system.machine:
        yield f"The facts do not say which system this is; {machine.system} is assumed."
    if machine.python is None:
        yield "The facts do not say which Python this is; one that the newest torch has wheels for is assumed."
    if facts.gpus is UNKNOWN and not machine.accelerators:
        yield "The facts do not say which GPUs there are; none is assumed."


def _accelerator(chosen: Candidate, situation: Situation) -> Iterator[str]:
    torch, machine, family = chosen.torch, situation.machine, kind(chosen.torch.backend)
    if situation.request.backend != "auto":
        yield f"{torch.backend} was asked for."
    mine = [a for a in machine.of(family) if a.supported and a not in left_out(chosen, situation)]
    names = " and ".join(dict.fromkeys(a.described for a in mine))
    if family == "cuda" and mine:
        yield f"{names}: torch {torch.version} for {torch.backend} has kernels for it ({' '.join(torch.kernels or ('not known',))})."
        yield from _driver(torch, situation)
    elif family == "rocm" and mine:
        yield f"{names}: torch {torch.version} for {torch.backend} carries this target; the wheels bring ROCm along."
    elif family == "xpu" and mine:
        yield f"{names} is among the Intel GPUs that PyTorch's XPU build serves."
    elif family == "mps":
        yield "Apple Silicon: PyPI's macOS wheel uses the GPU through Metal (MPS)."
    elif family == "cpu" and situation.request.backend == "auto":
        yield _processor(situation)
    if family != "cpu" and (
        idle := [a for a in machine.accelerators if a.kind != family and a.supported and family != "mps"]
    ):
        yield f"{idle[0].name} is not used: one torch serves one maker's GPUs, and {KINDS[family]} is the better choice here."


def _driver(torch: Build, situation: Situation) -> Iterator[str]:
    floor = catalog.driver_floor(torch.backend, windows=situation.machine.windows_driver)
    have, major = situation.machine.nvidia_driver, toolkit(torch.backend)[0]
    if have and floor:
        text = ".".join(map(str, have))
        yield f"NVIDIA driver {text} reaches {floor}, the oldest for CUDA {major}.x (any minor version runs on it)."
    elif floor:
        yield f"The driver's version is not known; one of {floor} or newer is assumed."


def _processor(situation: Situation) -> str:
    found = situation.machine.accelerators if situation.machine.os != "macos" else ()
    if not found:
        return "No GPU that torch can use: the CPU build is the right one, and the smallest."
    return f"No build of torch can use {found[0].name} here, so torch will run on the processor."


def _release(chosen: Candidate, situation: Situation, ordered: list[Candidate]) -> Iterator[str]:
    torch = chosen.torch
    if situation.request.torch:
        yield f"torch {torch.version} is the newest that --torch {situation.request.torch} allows."
    newer = [c for c in ordered if c.torch.release > torch.release and worth(c.torch, situation) >= 0]
    newer = [
        c
        for c in newer
        if worth(c.torch, situation) >= worth(torch, situation) or kind(c.torch.backend) == kind(torch.backend)
    ]
    if not newer:
        where = "what pip is configured with has for" if situation.offers.source == "pip" else "there is for"
        yield f"torch {torch.version} is the newest release that {where} {torch.backend} and this Python."
        return
    best = max(newer, key=lambda c: (c.torch.release, c.refusal is None, len(c.companions)))
    yield f"Not torch {best.torch.version}: {_why_not(best, chosen, situation)}."


def _trio(chosen: Candidate, situation: Situation) -> Iterator[str]:
    if len(chosen.companions) > 0:
        names = " and ".join(f"{b.package} {b.version}" for b in chosen.companions)
        yield f"{names} belong to torch {chosen.torch.version}{f' on {chosen.torch.backend}' if chosen.torch.label else ''}."
    for missing in chosen.missing:
        yield f"Without {missing.package}: {missing.reason}."


def _origin(chosen: Candidate, situation: Situation) -> Iterator[str]:
    offers = situation.offers
    if offers.source == "catalog":
        yield f"Planned from the built-in catalog (state of {catalog.date()}); `torchcheck plan --refresh` asks the index itself."
    elif offers.source == "cache":
        yield f"Planned from what was last read from the index, at {offers.asked}; `--refresh` asks it again."
    elif offers.source == "index":
        yield f"The index was read just now ({offers.root})."
    if chosen.torch.system.startswith("macos") and not chosen.torch.label:
        yield "Wheels for macOS carry no label like +cpu; they come from PyPI."
    elif offers.root != PYTORCH and offers.source != "pip":
        yield f"{offers.root} takes the place of the PyTorch index."


def warnings(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool) -> list[Note]:
    """Say what somebody should know before installing this."""
    found = [*_source_notes(chosen, situation), *_companion_notes(chosen)]
    if not installed:
        found += [*_gpu_notes(chosen, situation, ordered)]
        if "torch" not in situation.request.packages:
            message = "torch is not installed in this environment and was not asked for: pip may add one by itself."
            found.append(_note("torch-missing", f"{message} `torchcheck install` plans all three together."))
    return list({(n["code"], n["message"]): n for n in [*found, *_machine_notes(chosen, situation)]}.values())


def _source_notes(chosen: Candidate, situation: Situation) -> Iterator[Note]:
    offers = situation.offers
    if offers.source == "pip":
        why = f" ({offers.failures[0].message})" if offers.failures else ""
        yield _note(
            "network-unreachable",
            f"The PyTorch index cannot be reached{why}; what pip is configured with is used instead.",
        )
    if chosen.refusal and chosen.refusal.soft:
        what = f"torch {chosen.torch.version} there is a build for {chosen.torch.backend} that {chosen.refusal.reason}"
        yield _note("backend-mismatch", f"{what}. It runs on the processor, and is gigabytes larger than a CPU build.")
    if situation.request.pre and not any(b.release.is_prerelease for b in offers.builds):
        yield _note("no-such-build", "No pre-release is known without asking the index; `--refresh` asks it.")


def _companion_notes(chosen: Candidate) -> Iterator[Note]:
    for missing in chosen.missing:
        yield _note("companion-missing", f"{missing.package} is left out: {missing.reason}.")


def _gpu_notes(chosen: Candidate, situation: Situation, ordered: list[Candidate]) -> Iterator[Note]:
    machine, request, family = situation.machine, situation.request, kind(chosen.torch.backend)
    for gpu in left_out(chosen, situation):
        has = " ".join(chosen.torch.kernels or ())
        served = next((a.name for a in machine.of(family) if a not in left_out(chosen, situation)), "the others")
        yield _note(
            "gpu-left-out",
            f"{gpu.described} is left out: no build has kernels for it and for {served}; this one has {has}.",
        )
    if request.backend == "auto":
        for gpu in {a.described: a for a in machine.accelerators}.values():
            if worth(chosen.torch, situation) <= 0 or (gpu.trouble and not gpu.integrated):
                yield from _idle(gpu, situation, ordered)
        return
    mine = machine.of(family)
    if family in FAMILY_HINTS and not mine:
        yield _note(
            "no-gpu",
            f"{request.backend} was asked for, and no {KINDS[family]} GPU is seen here: torch will run on the processor.",
        )
    for gpu in mine[:1] if family in FAMILY_HINTS else ():
        if gpu.trouble:
            yield _trouble(gpu, situation)


def _idle(gpu: Accelerator, situation: Situation, ordered: list[Candidate]) -> Iterator[Note]:
    """Say why a GPU is not used by a plan for the processor."""
    machine = situation.machine
    if machine.os == "macos" or not gpu.supported:
        return
    if gpu.kind == "rocm" and machine.os == "windows":
        if not gpu.integrated:
            yield _note("rocm-windows", ROCM_WINDOWS.format(name=gpu.described))
        return
    mine = [c for c in ordered if kind(c.torch.backend) == gpu.kind]
    fitting = [c for c in mine if not c.refusal or c.refusal.rule in ("usable", "kernels", "driver", "vendor")]
    reaching = [c for c in fitting if _reaches(c.torch, gpu)]
    if gpu.jetson:
        yield _note("jetson-generic-wheel", JETSON.format(name=gpu.described))
    elif gpu.kind != "xpu" and fitting and not reaching:
        yield _unserved(gpu, fitting)
    if gpu.trouble:
        if reaching or not gpu.integrated:
            yield _trouble(gpu, situation)
    elif reaching and all(c.refusal for c in reaching):
        yield _held_back(gpu, reaching)
    elif mine and not fitting:
        newest = mine[0]
        yield _note(
            _python_code(newest.refusal),
            f"{gpu.described} stays idle: every {KINDS[gpu.kind]} build {_reason(newest.refusal)}.",
        )
    elif not mine and gpu.kind in FAMILY_HINTS:
        what = f"there is no {KINDS[gpu.kind]} build of torch for {machine.system.replace('_', ' ')}"
        yield _note("no-such-build", f"{gpu.described} stays idle: {what}.")


def _reaches(build: Build, gpu: Accelerator) -> bool:
    from torchcheck.wheels.rules import has_kernels

    return gpu.kind == "xpu" or has_kernels(build, gpu)


def _unserved(gpu: Accelerator, fitting: list[Candidate]) -> Note:
    """Say that no build that fits has kernels for a GPU, and on which side of them it lies."""
    if gpu.kind == "rocm":
        listed = sorted({k for c in fitting for k in c.torch.kernels or ()}, key=lambda k: (len(k), k))
        what = gpu.described if gpu.architecture else f"{gpu.name} (its gfx target is not known)"
        return _note(
            "rocm-arch-unsupported", f"{what} is in no ROCm build of torch ({' '.join(listed)}); the processor is used."
        )
    every = sorted({k for c in fitting for k in c.torch.kernels or ()}, key=numbers)
    code = kernel_code(Build("torch", "0", "cu000", "", (), kernels=tuple(every)), gpu)
    side = "newer" if code == "gpu-arch-too-new" else "older"
    age = gpus.architecture(gpu.architecture)
    name = f"{gpu.described}{f', {age},' if age else ''}"
    return _note(
        code,
        f"{name} is {side} than all kernels of the builds that fit here ({' '.join(every)}); the processor is used.",
    )


def _held_back(gpu: Accelerator, reaching: list[Candidate]) -> Note:
    """Say what keeps builds that have kernels for a GPU from running on it."""
    easiest = min(reaching, key=lambda c: toolkit(c.torch.backend))
    refusal = easiest.refusal or Refusal("", "driver-too-old", "cannot run here")
    what = f"torch {easiest.torch.version} for {easiest.torch.backend} {refusal.reason}"
    return _note(
        refusal.code, f"{gpu.described} stays idle: {what}. Update the driver, then run `torchcheck install` again."
    )


def _trouble(gpu: Accelerator, situation: Situation) -> Note:
    machine = situation.machine
    if gpu.trouble == "gpu-not-visible":
        how = DOCKER.get(gpu.kind, DOCKER["cuda"])
        return _note(
            "gpu-not-visible", f"{gpu.described} is in this computer, but the container does not get it: {how}."
        )
    if gpu.trouble == "driver-not-loaded":
        error = getattr(machine.facts.drivers.nvidia, "error", "") or "it does not answer"
        return _note("driver-not-loaded", f"{gpu.described}: NVIDIA's driver is installed and does not run ({error}).")
    wsl = machine.facts.system.wsl is True
    how = (
        "install the driver on Windows, not in WSL"
        if wsl
        else DRIVER_HINTS.get((gpu.kind, machine.os), DRIVER_HINTS[gpu.kind, ""])
    )
    after = "then run `torchcheck install` again"
    return _note("driver-missing", f"{gpu.described} has no driver, so nothing can use it: {how}, {after}.")


def _machine_notes(chosen: Candidate, situation: Situation) -> Iterator[Note]:
    facts, torch, family = situation.machine.facts, chosen.torch, kind(chosen.torch.backend)
    amd = facts.drivers.amd
    if family == "rocm" and amd and amd.permitted is False:
        yield _note(
            "rocm-permission",
            "This user may not open /dev/kfd: `sudo usermod -aG render,video $USER`, then log in again.",
        )
    hidden = (facts.env or {}).get("CUDA_VISIBLE_DEVICES") if facts.env else None
    if family == "cuda" and hidden is not None and hidden.strip() in ("", "-1"):
        yield _note(
            "cuda-visible-devices",
            f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU from torch; unset it before you use torch.",
        )
    numpy = (facts.packages or {}).get("numpy") if facts.packages else None
    if numpy and parse(numpy).major >= 2 and torch.release < parse("2.3") and "torch" in situation.request.packages:
        yield _note(
            "numpy2-abi",
            f'torch {torch.version} was built for NumPy 1 and {numpy} is installed: `python -m pip install "numpy<2"`.',
        )
    features = facts.cpu.features or ()
    if situation.machine.cpu == "x86_64" and features and not any(f.lower().startswith("avx") for f in features):
        yield _note("cpu-isa-too-old", "The processor shows no AVX; torch may end with 'Illegal instruction'.")


def rejections(chosen: Candidate | None, ordered: list[Candidate], situation: Situation) -> list[Note]:
    """Give one line per backend and reason, with the newest release that it holds for."""
    found: dict[tuple[str, str], Note] = {}
    for candidate in sorted(ordered, key=lambda c: c.torch.release, reverse=True):
        torch, refusal = candidate.torch, candidate.refusal
        if chosen and torch is chosen.torch:
            continue
        rule = refusal.rule if refusal else "second"
        if (torch.backend, rule) not in found and (rule != "asked" or _telling(torch, situation)):
            reason = _why_not(candidate, chosen, situation) if chosen or refusal else "it was not asked for"
            found[torch.backend, rule] = {"backend": torch.backend, "torch": torch.version, "reason": _sentence(reason)}
    return list(found.values())


def _telling(torch: Build, situation: Situation) -> bool:
    """Say whether a build that was not asked for is worth a line: the one that runs here otherwise."""
    return judge(torch, situation) is not None and situation.request.torch is None


def _why_not(candidate: Candidate, chosen: Candidate | None, situation: Situation) -> str:
    """Say why not another candidate: why it is refused, or what the chosen one has before it."""
    torch = candidate.torch
    if candidate.refusal or chosen is None:
        return f"{torch.backend} {_reason(candidate.refusal)}"
    if worth(torch, situation) < worth(chosen.torch, situation):
        return f"{torch.backend} would leave {_names(chosen, situation)} idle"
    if gone := [a for a in left_out(candidate, situation) if a not in left_out(chosen, situation)]:
        return f"{torch.backend} has no kernels for {' and '.join(a.described for a in gone)}"
    lost = [m for m in candidate.missing if m.package not in {n.package for n in chosen.missing}]
    if lost:
        return "; ".join(m.reason for m in lost)
    if torch.release < chosen.torch.release:
        return f"works here too, but torch {chosen.torch.version} is newer"
    return f"works here too; {chosen.torch.backend} is preferred for torch {chosen.torch.version}"


def _names(chosen: Candidate, situation: Situation) -> str:
    mine = situation.machine.of(kind(chosen.torch.backend))
    return mine[0].name if mine else "the GPU"


def _reason(refusal: Refusal | None) -> str:
    return refusal.reason if refusal else "works here"


def _python_code(refusal: Refusal | None) -> str:
    return refusal.code if refusal else "no-such-build"


def _sentence(text: str) -> str:
    return (
        text[:1].upper() + text[1:] + "." if not text.startswith(("cu", "rocm", "xpu", "cpu", "torch")) else text + "."
    )


def _note(code: str, message: str) -> Note:
    return {"code": code, "message": message}


FAMILY_HINTS = ("cuda", "rocm", "xpu")
DRIVER_HINTS = {
    ("cuda", "linux"): "install it (Ubuntu: `sudo ubuntu-drivers install`)",
    ("cuda", ""): "install it from https://www.nvidia.com/drivers",
    ("rocm", ""): "load the amdgpu driver (it comes with the Linux kernel and AMD's ROCm packages)",
    ("xpu", "linux"): "install Intel's compute runtime (https://dgpu-docs.intel.com)",
    ("xpu", ""): "install it from https://www.intel.com/download-center",
}
DOCKER = {
    "cuda": "start it with `docker run --gpus all`",
    "rocm": "start it with `docker run --device /dev/kfd --device /dev/dri`",
    "xpu": "start it with `docker run --device /dev/dri`",
}
ROCM_WINDOWS = (
    "{name}: the PyTorch index has no ROCm wheels for Windows, so the CPU build is planned. AMD has some of its own for newer "
    "GPUs (https://rocm.docs.amd.com, PyTorch on Windows); or use WSL or Linux."
)
JETSON = (
    "{name} is a Jetson module, and the generic wheels have no kernels that it can run with its driver: take NVIDIA's wheel "
    "for this JetPack (https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform). This plan uses the processor."
)
