"""The devices that a process gets: hidden, absent, divided, or held by others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.drivers import NO_DRIVER, nvidia, quoted
from torchcheck.facts import UNKNOWN
from torchcheck.wheels import catalog

NO_GPU = (
    r"No CUDA GPUs are available|no CUDA-capable device is detected|cudaErrorNoDevice|CUDA_ERROR_NO_DEVICE|"
    r"No HIP GPUs are available|CUDA error: invalid device ordinal|hipErrorNoDevice|no ROCm-capable device is detected"
)


OPEN_ENDED = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)


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
                (f'{name} is "{value}".', *quoted(e, match)),
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
            *quoted(e, match),
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


@rule
def silent(e: Evidence) -> Iterator[Finding]:
    """Everything is there, and torch lists no device."""
    driver = e.facts.drivers.nvidia
    fits = nvidia(e) and e.cuda and e.facts.torch.devices == () and driver and driver.version and not driver.error
    hidden = any((e.facts.env or {}).get(name) is not None for name in OPEN_ENDED)
    excused = any(g.jetson or e.machine.last_driver(g) for g in nvidia(e))
    if fits and not hidden and not e.log.text and not excused and not e.container:
        floor = catalog.driver_floor(e.tag, windows=e.windows)
        if not floor or numbers(str(driver.version if driver else "")) >= numbers(floor):
            candidates = "cuda-unknown-after-suspend, cuda-visible-devices, driver-not-loaded, fabric-manager"
            yield Finding(
                "cause-unknown",
                Weight.LIKELY,
                ("GPU, driver and build fit, and torch lists no device.", f"Could be: {candidates}."),
                ('{py} -c "import torch; torch.cuda.init()"   (its message decides: `torchcheck doctor --log`)',),
            )
