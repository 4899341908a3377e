"""The driver: whether there is one, whether it runs, and whether it is new enough."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.facts import UNKNOWN
from torchcheck.wheels import catalog
from torchcheck.wheels.machine import Accelerator

NO_DRIVER = (
    r"Found no NVIDIA driver|nvidia-smi['\"\]]?:? (?:command )?not found|no devices? (?:were|was) found|"
    r"['\"]?nvidia-smi['\"]? is not recognized|couldn'?t find libnvidia-ml\.so"
)


NOT_TALKING = r"couldn'?t communicate with the NVIDIA driver"


def nvidia(e: Evidence) -> tuple[Accelerator, ...]:
    """The NVIDIA GPUs that are known."""
    return e.machine.of("cuda")


@rule
def missing(e: Evidence) -> Iterator[Finding]:
    """A GPU is there, no driver is installed."""
    match = e.search(NO_DRIVER)
    driver, gpus = e.facts.drivers.nvidia, nvidia(e)
    if e.container or e.wsl or e.macos or e.no_gpus:
        return
    if gpus and driver is None:
        yield Finding(
            "driver-missing",
            Weight.CONFIRMED if match else Weight.PROVEN + 1,
            (f"GPU: {gpus[0].described}.", "No NVIDIA driver was found.", *quoted(e, match)),
            from_log=bool(match),
        )
    elif match and gpus and driver is UNKNOWN and e.facts.system.os and e.facts.gpus is not UNKNOWN:
        yield Finding("driver-missing", Weight.LIKELY, (f"GPU: {gpus[0].described}.", e.quote(match)), from_log=True)
    yield from _other_vendor(e)


def _other_vendor(e: Evidence) -> Iterator[Finding]:
    """AMD and Intel GPUs that torch could use, without their driver."""
    for kind, driver in (("rocm", e.facts.drivers.amd), ("xpu", e.facts.drivers.intel)):
        gpus = [a for a in e.machine.of(kind) if a.supported and not a.integrated]
        if gpus and driver is None and not nvidia(e) and not e.works_on_gpu:
            yield Finding(
                "driver-missing",
                Weight.PROVEN,
                (f"GPU: {gpus[0].described}.", "No driver for it was found."),
                from_log=bool(e.log.text),
            )


def quoted(e: Evidence, match: re.Match[str] | None) -> tuple[str, ...]:
    """Quote a match as evidence, if there is one."""
    return (e.quote(match),) if match else ()


@rule
def not_loaded(e: Evidence) -> Iterator[Finding]:
    """The driver is installed, its kernel module is not running."""
    match = e.search(NOT_TALKING)
    driver = e.facts.drivers.nvidia
    if match and e.wsl:
        yield Finding(
            "gpu-not-visible", Weight.LIKELY, (e.quote(match), "This is WSL: the driver is Windows'."), from_log=True
        )
    elif match and not e.no_gpus:
        yield Finding(
            "driver-not-loaded",
            Weight.CONFIRMED if driver and driver.error else Weight.DECISIVE,
            (e.quote(match),),
            from_log=True,
        )
    nouveau = e.search(r"\bnouveau\b")
    if nouveau and (match or e.says("driver=nouveau", "nvidia-smi")) and e.linux:
        yield Finding("driver-not-loaded", Weight.DECISIVE, (e.quote(nouveau),), from_log=True)


@rule
def too_old(e: Evidence) -> Iterator[Finding]:
    """The driver cannot run this build's CUDA major."""
    driver, built = e.facts.drivers.nvidia, e.cuda
    if not driver or not built or e.works_on_gpu or e.macos:
        return
    have, floor = numbers(str(driver.version or "")), catalog.driver_floor(e.tag, windows=e.windows)
    speaks = numbers(str(driver.cuda or ""))
    # nvidia-smi in WSL shows Windows' driver, whose numbers run ahead: only its CUDA major counts there.
    older = bool(have) and bool(floor) and have < numbers(str(floor)) and not (e.wsl and speaks)
    if not older and not (speaks and speaks[0] < built[0] and not have):
        return
    have_text = driver.version or f"for CUDA {driver.cuda}"
    seen = f"The driver is {have_text}, CUDA {built[0]}.x needs {floor or 'a newer one'}."
    yield Finding(
        "driver-too-old",
        Weight.CONFIRMED if e.log.text else Weight.PROVEN + 2,
        (f"torch is built for CUDA {built[0]}.{built[1]}.", seen),
        from_log=bool(e.log.text),
    )


@rule
def ptx(e: Evidence) -> Iterator[Finding]:
    """Only PTX serves this GPU, and it is newer than the driver reads."""
    driver, listed = e.facts.drivers.nvidia, e.facts.torch.arch_list
    if not driver or not driver.cuda or not listed or not e.cuda:
        return
    code = [f"{a[3:-1]}.{a[-1]}" for a in listed if re.fullmatch(r"sm_\d+", a)]
    jit = any(a.startswith("compute_") for a in listed)
    for gpu in nvidia(e):
        if (
            jit
            and gpu.architecture
            and not catalog.runs_any(code, gpu.architecture, e.tag)
            and numbers(str(driver.cuda)) < e.cuda
        ):
            seen = (
                (
                    f"{gpu.described} is served by PTX of CUDA {e.cuda[0]}.{e.cuda[1]}, "
                    f"the driver reads up to {driver.cuda}."
                ),
            )
            yield Finding("driver-ptx-too-old", Weight.HINT + 20, seen)


@rule
def after_suspend(e: Evidence) -> Iterator[Finding]:
    """CUDA says unknown error on Linux."""
    match = e.search(
        r"CUDA unknown error|CUDA error: unknown error|cudaErrorUnknown|CUDA_ERROR_UNKNOWN|"
        r"(?:error|returned)\s*[=:]?\s*\(?999\b"
    )
    if not match or e.windows or e.macos:
        return
    driver = e.facts.drivers.nvidia
    if e.container or e.wsl:
        yield Finding(
            "gpu-not-visible",
            Weight.LIKELY,
            (e.quote(match), "In a container this is a missing /dev/nvidia-uvm."),
            from_log=True,
        )
    if e.container and driver and driver.version and not driver.error:
        # The toolkit passes /dev/nvidia-uvm on wherever the host has it.
        seen = (e.quote(match), "nvidia-smi works in here, so it is the host that lacks nvidia_uvm.")
        fix = ("sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm   (on the host)", "Start the container again.")
        yield Finding("cuda-unknown-after-suspend", Weight.LIKELY + 1, seen, fix, from_log=True)
    slept = e.search(r"suspend|resum(?:e|ing)|hibernat|wak(?:e|ing) up|sleep mode")
    if slept or not e.container:
        known = bool(driver and driver.version and not driver.error) or slept
        weight = Weight.CONFIRMED if known else Weight.DECISIVE if e.linux else Weight.LIKELY
        yield Finding("cuda-unknown-after-suspend", weight, (e.quote(match),), from_log=True)
