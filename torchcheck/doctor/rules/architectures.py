"""Kernels: whether the build has code for the GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, cuda_of, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.drivers import nvidia, quoted
from torchcheck.wheels import catalog
from torchcheck.wheels.machine import Accelerator

NO_KERNEL = r"no kernel image is available|cudaErrorNoKernelImageForDevice|CUDA_ERROR_NO_BINARY_FOR_GPU"


NOT_COMPATIBLE = (
    r"with CUDA capability sm_\w+ is not compatible with the current PyTorch|"
    r"is not compatible with the current PyTorch installation"
)


NO_LONGER = r"PyTorch no longer supports this GPU because it is too old"


def kernel_lists(e: Evidence) -> list[tuple[str, ...]]:
    """The architectures that the build can have, one list for each release that it can be."""
    own = [
        f"{a[3:-1]}.{a[-1]}"
        for a in (re.sub(r"[af]$", "", a) for a in e.facts.torch.arch_list or ())
        if re.fullmatch(r"sm_\d+", a)
    ]
    if own:
        return [tuple(own)]
    tag = e.tag
    release = ".".join(map(str, e.release))
    if not tag and e.release[:2] >= (2, 0) and e.facts.system.os and not e.conda:
        tag = catalog.pypi_backend("torch", _padded(release), e.machine.system) or ""
    if not tag.startswith("cu"):
        return []
    rows = [row for row in catalog.data("backends")["kernels"] if tag in row["backends"].split()]
    systems = [e.machine.system] if e.facts.system.os else ["linux_x86_64", "windows_x86_64"]
    lists = [
        tuple(row[s].split())
        for row in rows
        for s in systems
        if s in row and (not release or _covers(row["torch"], e.release))
    ]
    return lists or _by_toolkit(tag)


def _padded(release: str) -> str:
    return release if release.count(".") > 1 else f"{release}.0"


def _covers(bounds: str, release: tuple[int, ...]) -> bool:
    first, last = (numbers(part)[: len(release)] for part in bounds.split(" - "))
    return first <= release <= last


# Oldest architecture that torch 1.x was built for, and newest that a CUDA release can compile for (nvcc's release
# notes).
TOOLKITS = {
    (9, 0): ("3.0", "7.0"),
    (10, 0): ("3.7", "7.5"),
    (11, 0): ("3.7", "8.0"),
    (11, 1): ("3.7", "8.6"),
    (11, 8): ("3.7", "9.0"),
    (12, 0): ("5.0", "9.0"),
    (12, 8): ("5.0", "12.0"),
    (13, 0): ("7.5", "12.1"),
}


def _by_toolkit(tag: str) -> list[tuple[str, ...]]:
    cuda = cuda_of(tag)
    known = [bounds for version, bounds in TOOLKITS.items() if cuda and version <= cuda]
    every = (
        "3.0",
        "3.5",
        "3.7",
        "5.0",
        "5.2",
        "6.0",
        "6.1",
        "7.0",
        "7.5",
        "8.0",
        "8.6",
        "8.9",
        "9.0",
        "10.0",
        "12.0",
        "12.1",
    )
    return [tuple(a for a in every if numbers(known[-1][0]) <= numbers(a) <= numbers(known[-1][1]))] if known else []


def served(e: Evidence, gpu: Accelerator) -> bool | None:
    """Say whether the build has kernels for a GPU: yes, no, or (None) depending on what is not known."""
    lists = kernel_lists(e)
    if not lists or not gpu.architecture or gpu.jetson:
        return None
    answers = {catalog.runs_any(codes, gpu.architecture, e.tag or "cu126") for codes in lists}
    return answers.pop() if len(answers) == 1 else None


def direction(e: Evidence, gpu: Accelerator) -> str:
    """Say whether a GPU without kernels is newer or older than the build's list."""
    lists = kernel_lists(e)
    newest = max((numbers(code) for codes in lists for code in codes), default=(9, 0))
    return (
        "gpu-arch-too-new"
        if numbers(gpu.architecture) > newest or numbers(gpu.architecture) >= (10, 0)
        else "gpu-arch-dropped"
    )


@rule
def architecture(e: Evidence) -> Iterator[Finding]:
    """The build has no kernels for this GPU."""
    failed = e.search(NO_KERNEL) or e.search(NOT_COMPATIBLE) or e.search(NO_LONGER)
    jit = any(a.startswith("compute_") and _reads(a, gpu) for a in e.facts.torch.arch_list or () for gpu in nvidia(e))
    for gpu in nvidia(e):
        if served(e, gpu) is False and not (jit and not failed):
            build = " ".join(f"torch {e.torch_version} ({e.tag or 'PyPI'}) has kernels for".split())
            build += f" {' '.join(kernel_lists(e)[0])} only."
            others = [g for g in nvidia(e) if g is not gpu and served(e, g)]
            seen = (f"GPU: {gpu.described}.", build, *quoted(e, failed))
            if others and not failed:
                yield Finding(direction(e, gpu), Weight.HINT + 10, seen, severity="warning")
            else:
                yield Finding(
                    direction(e, gpu), Weight.CONFIRMED if failed else Weight.PROVEN + 3, seen, from_log=bool(failed)
                )
            return


def _reads(entry: str, gpu: Accelerator) -> bool:
    digits = re.sub(r"\D", "", entry)
    return bool(gpu.architecture and digits) and numbers(f"{digits[:-1]}.{digits[-1]}") <= numbers(gpu.architecture)


@rule
def no_kernel_image(e: Evidence) -> Iterator[Finding]:
    """A kernel failed for want of code, and the facts say in which direction."""
    said, failed = e.search(NOT_COMPATIBLE) or e.search(NO_LONGER), e.search(NO_KERNEL)
    if e.search(NO_LONGER):
        yield Finding("gpu-arch-dropped", Weight.DECISIVE, (e.quote(e.search(NO_LONGER)),), from_log=True)  # type: ignore[arg-type]
    match = said or failed
    if not match:
        return
    for gpu in nvidia(e)[:1]:
        capability, known = numbers(gpu.architecture), served(e, gpu)
        if known is False or not capability or gpu.jetson:
            return
        build_known = bool(kernel_lists(e)) and known is not None
        if not build_known and not e.cuda and (capability >= (10, 0) or capability < (7, 5)) and not e.release:
            code = "gpu-arch-too-new" if capability >= (10, 0) else "gpu-arch-dropped"
            yield Finding(code, Weight.DECISIVE - 5, (f"GPU: {gpu.described}.", e.quote(match)), from_log=True)
        elif e.windows and capability < (6, 1) and e.tag == "cu126" and not e.facts.torch.arch_list:
            # Windows' cu126 builds began at 6.1 in some releases (pytorch .ci/pytorch/windows/cuda126.bat).
            yield Finding(
                "gpu-arch-dropped",
                Weight.LIKELY,
                (f"GPU: {gpu.described}.", e.quote(match), "Windows builds of cu126 began at 6.1 in some releases."),
                from_log=True,
            )
        elif known and e.facts.torch.arch_list and failed:
            yield Finding(
                "broken-wheel",
                Weight.LIKELY,
                (f"The build's list has code for {gpu.described}, and it does not run.", e.quote(failed)),
                from_log=True,
            )


@rule
def named_capability(e: Evidence) -> Iterator[Finding]:
    """The text itself names a capability that is not compatible."""
    match = e.search(
        r"CUDA capability sm_(\d+)\w? is not compatible|sm_(\d+)\w? is not (?:compatible|supported)|"
        r"compute capability (?:\(CC\) )?(\d+\.\d)[^\n]{0,60}(?:not|no longer) (?:compatible|supported)"
    )
    if not match or nvidia(e):
        return
    text = match[1] or match[2] or match[3]
    capability = numbers(text) if "." in text else (int(text[:-1]), int(text[-1]))
    code = "gpu-arch-too-new" if capability >= (8, 9) else "gpu-arch-dropped"
    yield Finding(code, Weight.DECISIVE, (e.quote(match),), from_log=True)
