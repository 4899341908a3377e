"""What to know before installing a plan: warnings by code, in words (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.wheels import catalog, gpus
from torchcheck.wheels.builds import Build, flat, kind, numbers, parse, sentence, toolkit
from torchcheck.wheels.candidates import Candidate, left_out, metal, worth
from torchcheck.wheels.explain import KINDS, SHOWN, Note
from torchcheck.wheels.machine import Accelerator
from torchcheck.wheels.rules import Refusal, Situation, has_kernels, kernel_code

DISCRETE = ("cuda", "rocm", "xpu")
FAULTS = ("index-server-fault", "network-unreachable", "download-interrupted", "ssl-proxy-ca")
GPU_RULES = ("vendor", "usable", "kernels", "driver")


def warnings(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool) -> list[Note]:
    """Give the warnings of a plan, each once."""
    found = [*_source(chosen, situation)]
    found += [_note("companion-missing", f"{m.package} is left out: {m.reason}.") for m in chosen.missing]
    if not installed:
        found += _gpus(chosen, situation, ordered)
        if "torch" not in situation.request.packages:
            text = "torch is not installed in this environment and was not asked for; pip may add one by itself."
            found.append(_note("torch-missing", f"{text} `torchcheck install` plans all three together."))
    found += [*_metal(chosen, situation), *_surroundings(chosen, situation)]
    return list({(n["code"], n["message"]): n for n in found}.values())


def _source(chosen: Candidate, situation: Situation) -> Iterator[Note]:
    offers, torch = situation.offers, chosen.torch
    if offers.source == "pip" and not torch.system.startswith("macos"):
        why = f" ({offers.failures[0].message})" if offers.failures else ""
        text = f"The PyTorch index cannot be reached{why}; the wheels come from what pip is configured with."
        yield _note("network-unreachable", text)
    elif offers.source == "cache" and offers.failures:
        text = f"No index can be reached ({offers.failures[0].message}); planned from what was read at {offers.asked}."
        yield _note("network-unreachable", text)
    elif offers.source == "index":
        for failure in [f for f in offers.failures if f.code in FAULTS][:SHOWN]:
            yield _note(failure.code, sentence(f"{failure.message}; what is there was not considered"))
    if chosen.refusal:
        text = f"Only torch {torch.version} for {torch.backend} can be had there, which {chosen.refusal.reason}."
        yield _note("backend-mismatch", f"{text} It runs on the processor, and is gigabytes larger than a CPU build.")
    if situation.request.pre and not any(b.release.is_prerelease for b in offers.builds):
        yield _note("no-such-build", "No pre-release is known without asking the index: `torchcheck plan --refresh`.")


def _gpus(chosen: Candidate, situation: Situation, ordered: list[Candidate]) -> Iterator[Note]:
    machine, request, family = situation.machine, situation.request, kind(chosen.torch.backend)
    yield from _abandoned(situation)
    gone = left_out(chosen, situation)
    for gpu in gone:
        served = next((a.name for a in machine.of(family) if a not in gone), "the others")
        text = f"{gpu.described} is left out: no build that fits has kernels for it and for {served}."
        yield _note("gpu-left-out", f"{text} This one has {' '.join(chosen.torch.kernels or ())}.")
    if request.backend == "auto":
        idle = worth(chosen.torch, situation) <= 0
        for gpu in dict.fromkeys(machine.accelerators):
            if idle or (gpu.trouble and not gpu.integrated and gpu.kind != family):
                yield from _idle(gpu, situation, ordered)
    elif family in DISCRETE:
        mine = machine.of(family)
        if not mine:
            text = f"{request.backend} was asked for, and no {KINDS[family]} GPU is seen here"
            yield _note("no-gpu", f"{text}: torch will run on the processor.")
        elif mine[0].trouble:
            yield _trouble(mine[0], situation)


def _abandoned(situation: Situation) -> Iterator[Note]:
    """Name the GPUs that are older than what the driver at hand still serves."""
    for gpu in dict.fromkeys(situation.machine.of("cuda")):
        if last := situation.machine.last_driver(gpu):
            text = f"NVIDIA driver {situation.machine.driver_text} does not serve {gpu.described}: {last} is the last"
            yield _note("gpu-arch-dropped", f"{text} branch that does. Install one of the {last} branch.")


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
    fitting = [c for c in mine if not c.refusal or c.refusal.rule in GPU_RULES]
    reaching = [c for c in fitting if gpu.kind == "xpu" or has_kernels(c.torch, gpu)]
    if gpu.jetson:
        yield _note("jetson-generic-wheel", JETSON.format(name=gpu.described))
    elif fitting and not reaching:
        yield _unserved(gpu, fitting)
    if gpu.trouble:
        yield from [_trouble(gpu, situation)] if reaching or not gpu.integrated else []
    elif reaching:
        yield from [_held_back(gpu, reaching)] if all(c.refusal for c in reaching) else []
    elif not fitting:
        yield _unbuilt(gpu, mine, situation)


def _unserved(gpu: Accelerator, fitting: list[Candidate]) -> Note:
    """Say that no build that fits has kernels for a GPU, and on which side of them it lies."""
    every = sorted({k for c in fitting for k in c.torch.kernels or ()}, key=lambda k: (len(k), numbers(k), k))
    code = kernel_code(Build("torch", "0", fitting[0].torch.backend, "", (), kernels=tuple(every)), gpu)
    if gpu.kind == "rocm":
        what = gpu.described if gpu.architecture else f"{gpu.name} (its gfx target is not known)"
        return _note(code, f"{what} is in no ROCm build of torch ({' '.join(every)}); the processor is used.")
    side = "newer" if code == "gpu-arch-too-new" else "older"
    age = gpus.architecture(gpu.architecture)
    name = f"{gpu.described}{f', {age},' if age else ''}"
    text = f"{name} is {side} than all kernels of the builds that fit here ({' '.join(every)})"
    return _note(code, f"{text}; the processor is used.")


def _held_back(gpu: Accelerator, reaching: list[Candidate]) -> Note:
    """Say what keeps builds that have kernels for a GPU from running on it."""
    easiest = min(reaching, key=lambda c: toolkit(c.torch.backend))
    refusal = easiest.refusal or Refusal("", "driver-too-old", "cannot run here")
    text = f"{gpu.described} stays idle: torch {easiest.torch.version} for {easiest.torch.backend} {refusal.reason}."
    return _note(refusal.code, f"{text} Update the driver, then run `torchcheck install` again.")


def _unbuilt(gpu: Accelerator, mine: list[Candidate], situation: Situation) -> Note:
    newest = max(mine, key=lambda c: c.torch.release, default=None)
    amd = "rocm-arch-unsupported" if gpu.kind == "rocm" else ""
    if newest and newest.refusal:
        text = f"{gpu.described} stays idle: even torch {newest.torch.version} for {newest.torch.backend}"
        return _note(amd or newest.refusal.code, f"{text} {newest.refusal.reason}.")
    if situation.offers.source == "pip" or flat(situation.offers.root):
        text = f"{gpu.described} stays idle: no {KINDS[gpu.kind]} build can be had without the PyTorch index."
        return _note("cpu-wheel-on-gpu-box", f"{text} Run `torchcheck install` again when it can be reached.")
    text = f"there is no {KINDS[gpu.kind]} build of torch for {situation.machine.system.replace('_', ' ', 1)}"
    return _note(amd or "no-such-build", f"{gpu.described} stays idle: {text}.")


def _trouble(gpu: Accelerator, situation: Situation) -> Note:
    machine = situation.machine
    if gpu.trouble == "gpu-not-visible":
        how = f"start it with `{DOCKER[gpu.kind]}`"
        return _note(gpu.trouble, f"{gpu.described} is in this computer, and this container does not get it: {how}.")
    if gpu.trouble == "driver-not-loaded":
        error = getattr(machine.facts.drivers.nvidia, "error", "") or "it does not answer"
        return _note(
            gpu.trouble,
            f"{gpu.described}: NVIDIA's driver is installed and does not run ({error}). `torchcheck doctor` says more.",
        )
    how = DRIVERS.get((gpu.kind, machine.os), DRIVERS[gpu.kind, ""])
    how = "install it on Windows, not in WSL" if machine.facts.system.wsl is True else how
    text = f"{gpu.described} has no driver, so nothing can use it: {how}, then run `torchcheck install` again."
    return _note("driver-missing", text)


def _metal(chosen: Candidate, situation: Situation) -> Iterator[Note]:
    if kind(chosen.torch.backend) == "mps" and not metal(chosen.torch, situation):
        floor, have = catalog.mps_floor(chosen.torch.version), situation.machine.facts.system.version
        text = f"The GPU (MPS) of torch {chosen.torch.version} needs macOS {floor} or newer, this is {have}"
        yield _note("mps-macos-too-old", f"{text}: torch will run on the processor until macOS is updated.")


def _surroundings(chosen: Candidate, situation: Situation) -> Iterator[Note]:
    facts, torch, family = situation.machine.facts, chosen.torch, kind(chosen.torch.backend)
    amd, env, packages = facts.drivers.amd, facts.env or {}, facts.packages or {}
    if family == "rocm" and amd and amd.permitted is False:
        text = "This user may not open /dev/kfd: `sudo usermod -aG render,video $USER`, then log in again."
        yield _note("rocm-permission", text)
    hidden = env.get("CUDA_VISIBLE_DEVICES")
    if family == "cuda" and hidden is not None and hidden.strip() in ("", "-1"):
        text = f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU from torch; unset it before you use torch."
        yield _note("cuda-visible-devices", text)
    numpy = packages.get("numpy")
    if numpy and parse(numpy).major >= 2 and torch.release < parse("2.3") and "torch" in situation.request.packages:
        text = f'torch {torch.version} was built for NumPy 1, and {numpy} is here: `python -m pip install "numpy<2"`.'
        yield _note("numpy2-abi", text)
    features = facts.cpu.features or ()
    if situation.machine.cpu == "x86_64" and features and not any(f.lower().startswith("avx") for f in features):
        yield _note("cpu-isa-too-old", "The processor shows no AVX; torch may end with 'Illegal instruction'.")


def _note(code: str, message: str) -> Note:
    return {"code": code, "message": message}


DRIVERS = {
    ("cuda", "linux"): "install it (Ubuntu: `sudo ubuntu-drivers install`)",
    ("cuda", ""): "install it from https://www.nvidia.com/drivers",
    ("rocm", ""): "load the amdgpu driver (it is part of the Linux kernel)",
    ("xpu", "linux"): "install Intel's compute runtime (https://dgpu-docs.intel.com)",
    ("xpu", ""): "install it from https://www.intel.com/download-center",
    ("mps", ""): "update macOS",
}
"""How to get a driver, by kind of GPU and system; "" is any other system."""
DOCKER = {
    "cuda": "docker run --gpus all",
    "rocm": "docker run --device /dev/kfd --device /dev/dri",
    "xpu": "docker run --device /dev/dri",
    "mps": "no container",
}
ROCM_WINDOWS = (
    "{name}: the PyTorch index has no ROCm wheels for Windows, so the CPU build is planned. AMD has some of its own "
    "for newer GPUs (https://rocm.docs.amd.com, PyTorch on Windows); or use WSL or Linux."
)
JETSON = (
    "{name} is a Jetson module, and no generic wheel has kernels that it can run with its driver. This plan uses the "
    "processor; NVIDIA's wheel for this JetPack uses the GPU "
    "(https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform)."
)
