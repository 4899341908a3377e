"""Driver and GPU: whether a driver serves the GPU, and whether the build has kernels for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, cuda_of, numbers
from torchcheck.doctor.registry import rule
from torchcheck.facts import UNKNOWN
from torchcheck.wheels import catalog
from torchcheck.wheels.machine import Accelerator

NO_DRIVER = (
    r"Found no NVIDIA driver|nvidia-smi['\"\]]?:? (?:command )?not found|no devices? (?:were|was) found|"
    r"['\"]?nvidia-smi['\"]? is not recognized|couldn'?t find libnvidia-ml\.so"
)
NO_GPU = (
    r"No CUDA GPUs are available|no CUDA-capable device is detected|cudaErrorNoDevice|CUDA_ERROR_NO_DEVICE|"
    r"No HIP GPUs are available|CUDA error: invalid device ordinal|hipErrorNoDevice|no ROCm-capable device is detected"
)
NOT_TALKING = r"couldn'?t communicate with the NVIDIA driver"
NO_KERNEL = r"no kernel image is available|cudaErrorNoKernelImageForDevice|CUDA_ERROR_NO_BINARY_FOR_GPU"
NOT_COMPATIBLE = (
    r"with CUDA capability sm_\w+ is not compatible with the current PyTorch|"
    r"is not compatible with the current PyTorch installation"
)
NO_LONGER = r"PyTorch no longer supports this GPU because it is too old"
OPEN_ENDED = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)


def nvidia(e: Evidence) -> tuple[Accelerator, ...]:
    """The NVIDIA GPUs that are known."""
    return e.machine.of("cuda")


# Drivers


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
            (f"GPU: {gpus[0].described}.", "No NVIDIA driver was found.", *_quoted(e, match)),
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


def _quoted(e: Evidence, match: re.Match[str] | None) -> tuple[str, ...]:
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


# Visibility


@rule
def hidden_by_variable(e: Evidence) -> Iterator[Finding]:
    """An environment variable hides the GPU."""
    match = e.search(NO_GPU)
    for name in OPEN_ENDED:
        value = (e.facts.env or {}).get(name)
        if value is None or value.startswith(("MIG-", "GPU-")) or e.macos:
            continue
        if _hides(e, name, value, match is not None):
            weight = Weight.CONFIRMED if match else Weight.PROVEN - 10
            yield Finding(
                "cuda-visible-devices",
                weight,
                (f'{name} is "{value}".', *_quoted(e, match)),
                (f"{{unset {name}}}", *REST),
                from_log=bool(match),
            )
    plain = e.facts.torch.devices and match and not e.container
    if plain and match:
        seen = ("A plain interpreter sees the GPU, the program does not.", e.quote(match))
        yield Finding("cuda-visible-devices", Weight.CONFIRMED, seen, from_log=True)


REST = (
    (
        'Remove the line os.environ["CUDA_VISIBLE_DEVICES"] = … (or the export) from the script, '
        "or give an index that exists."
    ),
)


def _hides(e: Evidence, name: str, value: str, failed: bool) -> bool:
    """Say whether a value hides every GPU, or names one that does not exist."""
    if value.strip() in {"", "-1", "NoDevFiles", "none", "void"}:
        return failed or (not e.no_gpus and (e.facts.gpus is not UNKNOWN or bool(e.facts.drivers.nvidia)))
    first = value.split(",", maxsplit=1)[0].strip()
    if not first.isdigit():
        return False
    count = (
        len(e.machine.of("rocm" if name.startswith(("HIP", "ROCR")) else "cuda")) if e.facts.gpus is not UNKNOWN else 0
    )
    return int(first) >= count if count else failed and int(first) > 0 and not e.no_gpus


@rule
def none_here(e: Evidence) -> Iterator[Finding]:
    """There is no GPU here and the program asked for one."""
    asked = (
        e.search(NO_DRIVER)
        or e.search(NO_GPU)
        or e.search(r"Torch not compiled with CUDA enabled")
        or e.search(r"Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False")
    )
    usable = [a for a in e.machine.accelerators if a.supported and not (a.integrated and a.kind == "rocm")]
    if (
        asked
        and (e.no_gpus or (e.facts.gpus is not UNKNOWN and not usable) or e.macos)
        and not e.container
        and not e.wsl
    ):
        seen = "A Mac has no CUDA device." if e.macos else "No GPU that torch supports was found here."
        yield Finding("no-gpu", Weight.CONFIRMED, (seen, e.quote(asked)), from_log=True)
    elif asked and e.no_gpus and not e.facts.drivers.nvidia and (e.container or e.wsl) and e.cpu_build:
        yield Finding("no-gpu", Weight.SUGGESTED, (e.quote(asked),), from_log=True)


@rule
def mig(e: Evidence) -> Iterator[Finding]:
    """This GPU is divided by MIG."""
    names = [str(g.name) for g in e.facts.gpus or () if re.search(r"\bMIG\b", str(g.name))]
    values = [v for k, v in (e.facts.env or {}).items() if "MIG-" in v and k in OPEN_ENDED]
    match = e.search(
        r"\bMIG-(?:GPU-)?[0-9a-f]{8}|\bMIG \d\w*\.\d+gb|A100\S*-MIG-\S+|H100\S*-MIG-\S+|\bMIG (?:mode|instance|device)"
    )
    if names or values or match:
        counted = e.search(r"device_count\(\)|num_gpus INTERNAL ASSERT|No CUDA GPUs|invalid device ordinal|only one")
        seen = (
            *(f"GPU: {n}." for n in names[:1]),
            *(f"CUDA_VISIBLE_DEVICES is {v}." for v in values[:1]),
            *_quoted(e, match),
        )
        yield Finding("mig", Weight.CONFIRMED if match or counted else Weight.HINT + 5, seen, from_log=bool(match))


@rule
def memory_held(e: Evidence) -> Iterator[Finding]:
    """Other processes hold the GPU's memory."""
    match = e.search(
        r"(?:CUDA|HIP) out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|OutOfMemoryError"
    )
    holders = sorted({name for gpu in e.facts.gpus or () for name in gpu.in_use_by or ()})
    others = e.search(r"Process \d+ has (\d[\d.]*) ([KMG])iB memory in use")
    held = _held_by_others(e) if match else None
    if match and (holders or held):
        seen = (
            e.quote(match),
            *((f"In use by: {', '.join(holders[:5])}.",) if holders else ()),
            *((held,) if held else ()),
        )
        yield Finding("gpu-memory-held", Weight.CONFIRMED, seen, from_log=True)
    elif (
        match
        and others
        and float(others[1]) > 1
        and others[2] == "G"
        and len(re.findall(r"Process \d+ has", e.log.text)) > 1
    ):
        yield Finding("gpu-memory-held", Weight.LIKELY, (e.quote(others),), from_log=True)
    used = e.search(r"\|\s*(\d+)MiB\s*/\s*(\d+)MiB\s*\|")
    idle = e.search(r"No running processes found")
    if used and idle and int(used[1]) > 0.5 * int(used[2]):
        yield Finding(
            "gpu-memory-held", Weight.DECISIVE, (e.quote(used), "nvidia-smi lists no process for it."), from_log=True
        )
    busy = e.search(r"all CUDA-capable devices are busy or unavailable")
    if busy and holders:
        yield Finding(
            "gpu-memory-held", Weight.CONFIRMED, (e.quote(busy), f"In use by: {', '.join(holders[:5])}."), from_log=True
        )


UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "": 1 / 1048576}


def _held_by_others(e: Evidence) -> str | None:
    """Read an out-of-memory message: what is neither free nor this process's own is held by others."""
    size = r"(\d[\d.]*) ([KMG]?)(?:iB|B|bytes)"
    new = e.search(
        rf"total capac\w+ of {size} of which {size} is free[\s\S]{{0,600}}?this process has {size} memory in use"
    )
    old = e.search(rf"{size} total capacity; {size} already allocated; {size} free; {size} (?:reserved|cached)")
    match = new or old
    if not match:
        return None
    amounts = [float(match[i]) * UNITS[match[i + 1].upper()] for i in range(1, len(match.groups()), 2)]
    total, free, own = (
        (amounts[0], amounts[1], amounts[2]) if new else (amounts[0], amounts[2], max(amounts[1], amounts[3]))
    )
    # A CUDA context takes some hundred MB that no message counts.
    other = total - free - own - 800
    return (
        f"{other / 1024:.1f} of {total / 1024:.1f} GiB are held by others, {own / 1024:.1f} by this process."
        if other > total / 4 and other > own
        else None
    )


# Architectures


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
            seen = (f"GPU: {gpu.described}.", build, *_quoted(e, failed))
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


@rule
def silent(e: Evidence) -> Iterator[Finding]:
    """Everything is there, and torch lists no device."""
    driver = e.facts.drivers.nvidia
    fits = nvidia(e) and e.cuda and e.facts.torch.devices == () and driver and driver.version and not driver.error
    hidden = any((e.facts.env or {}).get(name) is not None for name in OPEN_ENDED)
    if fits and not hidden and not e.log.text and not any(g.jetson for g in nvidia(e)) and not e.container:
        floor = catalog.driver_floor(e.tag, windows=e.windows)
        if not floor or numbers(str(driver.version if driver else "")) >= numbers(floor):
            candidates = "cuda-unknown-after-suspend, cuda-visible-devices, driver-not-loaded, fabric-manager"
            yield Finding(
                "cause-unknown",
                Weight.LIKELY,
                ("GPU, driver and build fit, and torch lists no device.", f"Could be: {candidates}."),
                ('{py} -c "import torch; torch.cuda.init()"   (its message decides: `torchcheck doctor --log`)',),
            )
