"""Wrong build: torch is there, but not the one that this machine needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.wheels import catalog

NOT_COMPILED = r"Torch not compiled with (?:CUDA|XPU|HIP|ROCm) enabled"


UNAVAILABLE = r"(?:cuda|xpu)\.is_available\(?\)?[^\n]{0,20}\n?[^\n]{0,10}\bFalse\b|_is_compiled\(\)\s*\n?\s*False"


HAVE_CPU = r"\(you have \d[\d.]*\+cpu\)"  # xFormers, which compares its build with torch's


def usable_gpus(e: Evidence) -> list[str]:
    """Name the GPUs that some build of torch for this system can use; a working NVIDIA driver counts as one."""
    served = {"cuda"} | ({"rocm"} if not e.windows else set()) | {"xpu"}
    found = [a for a in e.machine.accelerators if a.kind in served and a.supported and not a.jetson]
    found = [a for a in found if a.kind != "rocm" or not a.integrated]
    if e.machine.os == "linux" and e.machine.cpu != "x86_64":
        found = [a for a in found if a.kind == "cuda"]
    return [
        a.described
        for a in found
        if not (a.kind == "cuda" and numbers(a.architecture) and numbers(a.architecture) < (3, 7))
    ]


@rule
def cpu_wheel(e: Evidence) -> Iterator[Finding]:
    """A CPU-only torch on a machine with a usable GPU."""
    if e.macos or e.no_gpus:
        return
    match, gpus = e.search(NOT_COMPILED) or e.search(UNAVAILABLE) or e.search(HAVE_CPU), usable_gpus(e)
    not_compiled = e.search(NOT_COMPILED)
    code = "conda-cpu-build" if _conda_build(e) else "cpu-wheel-on-gpu-box"
    if (
        gpus
        and e.cpu_build
        and (not e.torch_version or not e.release or e.tag == "cpu" or e.facts.torch.import_ == "ok")
    ):
        seen = (
            f"torch {e.torch_version or ''} has no GPU support (torch.version.cuda is None).".replace("  ", " "),
            f"GPU: {', '.join(gpus)}.",
        )
        yield Finding(code, Weight.CONFIRMED if match else Weight.PROVEN, seen, from_log=bool(match))
        if code == "conda-cpu-build":
            yield Finding("cpu-wheel-on-gpu-box", Weight.SUGGESTED, seen, from_log=bool(match))
    elif gpus and match and _pypi_cpu(e):
        plain = f"torch {e.torch_version} without a tag comes from PyPI, which is a CPU build here."
        yield Finding(code, Weight.CONFIRMED, (e.quote(match), plain, f"GPU: {', '.join(gpus)}."), from_log=True)
    elif not_compiled and e.facts.torch.xpu and "CUDA" in not_compiled[0]:
        seen = (e.quote(not_compiled), f"torch {e.torch_version} is built for Intel GPUs, which are not cuda but xpu.")
        fix = ('Give the program the device "xpu" instead of "cuda".',)
        yield Finding(
            "cause-unknown", Weight.DECISIVE, seen, fix, "The program asks for another device.", from_log=True
        )
    elif not_compiled and e.given.torch.cuda and e.given.torch.import_ == "ok":
        built = f"The torch here, {e.torch_version}, is built for CUDA {e.given.torch.cuda}: another one said this."
        yield Finding("wrong-interpreter", Weight.CONFIRMED, (e.quote(not_compiled), built), from_log=True)
    elif not_compiled:
        weight = Weight.CONFIRMED if gpus else Weight.DECISIVE if e.windows or e.cpu_build or e.linux else Weight.LIKELY
        yield Finding(
            code, weight, (e.quote(not_compiled), *([f"GPU: {', '.join(gpus)}."] if gpus else [])), from_log=True
        )


def _pypi_cpu(e: Evidence) -> bool:
    """Say whether the installed torch, having no tag, must be PyPI's CPU build for this system."""
    plain = e.package("torch") and "+" not in e.torch_version and not e.conda
    built = e.facts.torch.cuda or e.facts.torch.hip or not e.facts.system.os
    return bool(plain and not built) and catalog.pypi_backend("torch", e.torch_version, e.machine.system) == "cpu"


def _conda_build(e: Evidence) -> bool:
    """Say whether torch is conda's CPU build: by its build string, `cpuonly`, or a CPU build without pip's +cpu."""
    listed = {**(e.facts.packages or {}), **(e.facts.conda or {})}
    if "cpuonly" in listed or "cpu" in str((e.facts.conda or {}).get("pytorch", "")) or e.search(CPU_BUILD):
        return True
    return (
        e.conda and e.facts.torch.cuda is None and bool(e.facts.torch.version) and "+" not in str(e.facts.torch.version)
    )


CPU_BUILD = (
    r"^\W{0,8}(?:\[conda\]\s+)?(?:pytorch|libtorch|torch)\s+\S+\s+(?:\S*cpu\S*)(?:\s|$)|\bpy3\.?\d+_cpu_\d+\b|"
    r"\bcpu_(?:generic|mkl|py\d+\w*)_\w+|^\W{0,8}(?:\[conda\]\s+)?cpuonly\s"
)


@rule
def conda_cpu_build(e: Evidence) -> Iterator[Finding]:
    """conda solved a CPU build of torch."""
    match = e.search("(?m)" + CPU_BUILD)
    listed = "cpuonly" in (e.facts.packages or {})
    if e.macos or e.no_gpus or not (match or listed):
        return
    asked = usable_gpus(e) or e.search(NOT_COMPILED) or e.search(UNAVAILABLE)
    if asked:
        seen = (e.quote(match) if match else "The package cpuonly is installed.",)
        yield Finding("conda-cpu-build", Weight.CONFIRMED, seen, from_log=bool(match))


@rule
def backend_mismatch(e: Evidence) -> Iterator[Finding]:
    """torch is built for another vendor than the GPU."""
    kinds = {a.kind for a in e.machine.accelerators if not a.integrated and a.supported}
    built = (
        "cuda"
        if e.tag.startswith("cu") and e.tag[2:].isdigit()
        else "rocm"
        if e.tag.startswith("rocm")
        else "xpu"
        if e.tag == "xpu"
        else ""
    )
    if not kinds or not built or built in kinds or e.macos or e.works_on_gpu:
        return
    others = [a.described for a in e.machine.accelerators if a.kind in kinds]
    servable = kinds & {"cuda"} or ("rocm" in kinds and not e.windows) or "xpu" in kinds
    if servable:
        seen = (f"torch {e.torch_version} is built for {NAMES[built]} ({e.tag}).", f"GPU: {', '.join(others)}.")
        yield Finding("backend-mismatch", Weight.PROVEN + 2, seen, from_log=bool(e.log.text))


NAMES = {"cuda": "NVIDIA", "rocm": "AMD", "xpu": "Intel"}


@rule
def asked_for_other_vendor(e: Evidence) -> Iterator[Finding]:
    """A CUDA build says that there is no NVIDIA driver, on a machine with an AMD or Intel GPU."""
    match = e.search(r"Found no NVIDIA driver")
    kinds = {a.kind for a in e.machine.accelerators if not a.integrated and a.supported}
    if match and kinds and "cuda" not in kinds and not e.macos:
        names = ", ".join(a.described for a in e.machine.accelerators)
        yield Finding("backend-mismatch", Weight.CONFIRMED, (e.quote(match), f"GPU: {names}."), from_log=True)


@rule
def replaced_by_dependency(e: Evidence) -> Iterator[Finding]:
    """Installing another package exchanged the torch build."""
    old = e.search(r"Uninstalling torch-\d[\w.]*\+(?:cu|rocm|xpu)\w*")
    new = e.search(r"Successfully installed[^\n]{0,2000}? torch-(?!\d[\w.]*\+)\d")
    if old and new and old.start() < new.start():
        yield Finding("torch-replaced-by-dependency", Weight.DECISIVE, (e.quote(old), e.quote(new)), from_log=True)
    said = e.search(r"^(?:ERROR: )?([\w-]+) (\S+) requires (torch[=<>!~][^,\n]{0,40}), but you have torch (\S+)")
    said = said or e.search(r"\b([\w-]+) (\S+) requires (torch[=<>!~][^,\n]{0,40}), but you have torch (\S+)")
    if said:
        companion, tagged = said[1].lower() in {"torchvision", "torchaudio"}, "+" in said[4].rstrip(",")
        code = "companion-mismatch" if companion and (tagged or "+" not in said[2]) else "torch-replaced-by-dependency"
        yield Finding(code, Weight.DECISIVE, (e.quote(said),), from_log=True)
        if code == "companion-mismatch" and not tagged:
            yield Finding("torch-replaced-by-dependency", Weight.LIKELY, (e.quote(said),), from_log=True)
    yield from _lost_tag(e)


def _lost_tag(e: Evidence) -> Iterator[Finding]:
    """Companions still carry the tag that torch has lost, or libraries of another vendor stand beside it."""
    ours = e.tag or catalog.pypi_backend("torch", e.torch_version.partition("+")[0], e.machine.system) or ""
    if e.macos or not e.torch_version or not (e.facts.system.os or e.tag):
        return
    for name in ("torchvision", "torchaudio", "xformers"):
        tag = re.search(r"\+(cu\d+|rocm[\d.]+|xpu)", e.package(name))
        lost = (
            tag
            and ours
            and may_have_lost(e)
            and tag[1] != ours
            and (ours == "cpu" or _kind(tag[1]) != _kind(ours) or "+" not in e.torch_version)
        )
        if lost and tag:
            seen = (f"{name} {e.package(name)} still carries {tag[1]}, but torch is {e.torch_version} ({ours}).",)
            weight = Weight.CONFIRMED + 1 if e.search(NOT_COMPILED) else Weight.PROVEN + 1
            yield Finding("torch-replaced-by-dependency", weight, seen, from_log=bool(e.log.text))
    cuda_packages = [name for name in e.facts.packages or {} if re.fullmatch(r"nvidia-\w[\w-]*-cu\d\d", name)]
    amd = bool(e.gpus("amd")) and not e.gpus("nvidia")
    if cuda_packages and (ours == "cpu" or (amd and _kind(ours) == "cuda")):
        seen = (f"{cuda_packages[0]} is installed, but torch is {e.torch_version} ({ours}).",)
        yield Finding("torch-replaced-by-dependency", Weight.PROVEN - 5, seen, from_log=bool(e.log.text))


def may_have_lost(e: Evidence) -> bool:
    """Say whether the installed torch can be what a dependency brings: it has no tag, or PyPI's build is for the CPU.

    On Windows and macOS PyPI's torch states +cpu itself; on Linux only PyTorch's own index has a +cpu.
    """
    if "+cpu" not in e.torch_version or not e.facts.system.os:
        return True
    release = e.torch_version.partition("+")[0]
    return catalog.pypi_backend("torch", release, e.machine.system) in {"cpu", "", None}


def _kind(tag: str) -> str:
    return re.sub(r"[\d.]+$", "", tag)
