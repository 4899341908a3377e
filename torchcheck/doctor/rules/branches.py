"""The branch of NVIDIA's driver: whether it still, or already, serves the GPU."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.architectures import served
from torchcheck.doctor.rules.drivers import NOT_TALKING, nvidia, quoted
from torchcheck.wheels import gpus

# What the kernel module writes (dmesg), a line for each 60 characters, wherever it breaks.
IGNORED = r"supported through the NVIDIA (\d{3})\.xx Legacy drivers"
REFUSED = r"\(PCI ID: (10de:[0-9a-f]{4})\)[^(]{0,90}?is not supported by the[^(\d]{0,30}(\d{3})\.\d+"
OPEN = r"not supported by open(?:\s|NVRM:|\[[\d. ]+\])*nvidia\.ko"
WHY = "The driver leaves the GPU alone, as if it were not there: nothing that needs CUDA can use it."
PROPRIETARY = (
    "sudo apt install nvidia-driver-{}   (on Ubuntu; elsewhere the package of the {} branch; it runs after a reboot)"
)
ANEW = "Install the newest driver of the {} branch, with a clean installation: https://www.nvidia.com/drivers"


@rule
def abandoned(e: Evidence) -> Iterator[Finding]:
    """The driver is newer than the last that serves this GPU."""
    said, mute = e.search(IGNORED), e.search(NOT_TALKING)
    gone = [gpu for gpu in nvidia(e) if e.machine.last_driver(gpu)]
    alone = len(gone) == len(nvidia(e))
    if alone and e.works_on_gpu:
        return  # the facts contradict each other, or there is no NVIDIA GPU
    if said:
        seen = (*(f"GPU: {gpu.described}." for gpu in gone), e.quote(said))
        yield _dropped(e, int(said[1]), Weight.CONFIRMED + 1 if gone else Weight.DECISIVE + 1, seen)
    elif gone:
        last = e.machine.last_driver(gone[0]) or 0
        text = f"{gone[0].described}: the driver is {e.machine.driver_text}, {last} is the last branch that serves it."
        weight = Weight.CONFIRMED + 1 if mute and alone else Weight.PROVEN + 4 if alone else Weight.HINT + 11
        yield _dropped(e, last, weight, (text, *quoted(e, mute)), warning=not alone)


def _dropped(e: Evidence, last: int, weight: int, seen: tuple[str, ...], *, warning: bool = False) -> Finding:
    unserved = any(served(e, gpu) is False for gpu in nvidia(e))
    fix = (*_install(e, last), *(("{install}   (then the build that has kernels for it)",) if unserved else ()))
    return Finding(
        "gpu-arch-dropped", weight, seen, fix, WHY, "warning" if warning else None, from_log=bool(e.log.text)
    )


def _install(e: Evidence, branch: int) -> tuple[str, ...]:
    """Give the steps to the newest driver of a branch, where this process's driver comes from."""
    if e.container or e.wsl:
        place = "In Windows" if e.wsl else "On the HOST"
        then = ", then `wsl --shutdown`" if e.wsl else ""
        return (f"{place}: install the newest NVIDIA driver of the {branch} branch, in place of the newer one{then}.",)
    if e.windows:
        return (ANEW.format(branch),)
    return (PROPRIETARY.format(branch, branch), f"nvidia-smi   (to see that the {branch} driver runs)")


@rule
def refused(e: Evidence) -> Iterator[Finding]:
    """The kernel module says that this driver does not know the GPU."""
    match = e.search(REFUSED)
    if not match:
        return
    last, have = gpus.last_driver(gpus.compute_capability(match[1], None)), int(match[2])
    seen = (e.quote(match), f"The kernel module of driver {have} does not serve the GPU {match[1]}.")
    if last and have > last:
        yield _dropped(e, last, Weight.DECISIVE + 1, seen)
    else:
        yield Finding("driver-too-old", Weight.DECISIVE + 1, seen, NEWEST, UNKNOWN_YET, from_log=True)


@rule
def open_module(e: Evidence) -> Iterator[Finding]:
    """The open kernel module serves Turing and newer; older GPUs need the proprietary one."""
    match = e.search(OPEN)
    if match:
        have = numbers(e.machine.driver_text)
        branch = min(have[0], 580) if have else 580
        seen = (*(f"GPU: {gpu.described}." for gpu in nvidia(e)[:2]), e.quote(match))
        fix = (PROPRIETARY.format(branch, f"proprietary nvidia-{branch}"),)
        yield Finding("driver-not-loaded", Weight.CONFIRMED + 1, seen, fix, OPEN_WHY, from_log=True)


NEWEST = (
    "sudo ubuntu-drivers install   (on Ubuntu; elsewhere your distribution's newest driver; it runs after a reboot)",
)
UNKNOWN_YET = "The GPU came after this driver, which leaves it alone: nothing that needs CUDA can use it."
OPEN_WHY = (
    "The open kernel module needs a GPU with a system processor (GSP), which those before Turing lack: it leaves the "
    "GPU alone, and nothing that needs CUDA can use it."
)
