"""The torch that is installed: that it can be imported, is what it says it is, and computes as IEEE 754 asks."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from ..context import Context
from ..devices import present
from ..known import version_of
from ..registry import FLOATS, check


@check(oracle="the import system", level="quick", devices="once")
def import_(context: Context) -> None:
    """Torch can be imported, from an installed package."""
    context.hint = "torchcheck doctor"
    torch = importlib.import_module("torch")
    file = getattr(torch, "__file__", None)
    context.true(file, what="torch is a package with code, not an empty folder of that name", got=str(file))
    context.true(hasattr(torch, "tensor"), what="torch is whole: it has torch.tensor")
    context.note(f"torch {getattr(torch, '__version__', 'without a version')} from {Path(str(file)).parent}")


@check(oracle="torch's own list of devices, read in a process that may die of it", level="quick", devices="once")
def devices(context: Context) -> None:
    """Torch can list the devices of this machine."""
    found = present(context.torch)
    context.true(found, what="there is a device", got=", ".join(found))


@check(oracle="the wheel's metadata", level="quick", devices="once")
def version(context: Context) -> None:
    """The version that torch reports is the one that was installed."""
    import importlib.metadata  # 20 ms that a run of other checks saves

    torch = context.torch
    context.hint = (
        "two installations lie over each other: uninstall torch until pip finds none, then torchcheck install"
    )
    try:
        installed = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        context.skip("this torch was not installed as a package: there is no metadata to compare with")
    context.exact(
        list(version_of(str(torch.__version__))),
        list(version_of(installed)),
        what="release in torch and in its metadata",
    )
    # The C++ half names its own compiler and build; a Python half of another build has other switches.
    compiled = torch.__config__.show()
    context.true("PyTorch built with" in compiled, what="torch's libraries tell how they were built")
    for kind, flag in (("cuda", "USE_CUDA"), ("hip", "USE_ROCM")):
        built = re.search(rf"\b{flag}=(\w+)", compiled)
        if built:
            claimed = getattr(torch.version, kind, None) is not None
            on = built.group(1).upper() in ("ON", "1", "TRUE")
            context.true(
                on == claimed, what=f"torch/version.py and torch's libraries agree on {kind}", got=built.group()
            )


@check(oracle="NVIDIA's rule: code for X.Y runs on X.Z with Z >= Y, PTX on anything newer", level="quick")
def architectures(context: Context) -> None:
    """This build has code for this device's architecture."""
    if not context.device.startswith("cuda"):
        context.skip(f"{context.device} is not built for by architecture")
    torch = context.torch
    built = torch.cuda.get_arch_list()
    if torch.version.hip:
        mine = str(getattr(torch.cuda.get_device_properties(context.device), "gcnArchName", "")).partition(":")[0]
        served = mine in built
    else:
        major, minor = torch.cuda.get_device_capability(context.device)
        mine, served = f"sm_{major}{minor}", any(_serves(code, major, minor) for code in built)
    context.hint = "torchcheck install: it picks a build that has code for this GPU"
    context.true(served, what=f"{' '.join(built)} serves {mine}", got=mine)


def _serves(code: str, major: int, minor: int) -> bool:
    """Say whether code as torch names it ("sm_86", "sm_90a", "compute_120") runs on a compute capability.

    CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility"; a letter at the end ties the code to
    that very architecture ("a") or family ("f").
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", code)
    if not found:
        return False
    kind, there = found.group(1), (int(found.group(2)), int(found.group(3)))
    if found.group(4) == "a":
        return there == (major, minor)
    if kind == "compute" and not found.group(4):
        return there <= (major, minor)
    return there[0] == major and there[1] <= minor


@check(oracle="what a fresh torch starts with, by its documentation", level="quick", devices="once")
def defaults(context: Context) -> None:
    """A fresh process computes in float32, keeps subnormals and records gradients."""
    torch = context.torch
    context.exact(str(torch.get_default_dtype()), "torch.float32", what="default dtype")
    context.exact(torch.is_grad_enabled(), True, what="gradients are recorded")
    context.exact(torch.is_anomaly_enabled(), False, what="anomaly detection")
    made = torch.empty(1)
    context.exact(str(made.device), "cpu", what="device of a new tensor")
    context.exact(str(torch.strided), str(made.layout), what="layout of a new tensor")
    precision = torch.get_float32_matmul_precision()
    if precision != "highest":
        context.note(f"float32 products are allowed to run in less precision here: {precision}")


@check(
    oracle="IEEE 754: round to nearest even, gradual underflow",
    level="quick",
    devices="cpu",
    dtypes=FLOATS,
)
def arithmetic(context: Context) -> None:
    """The processor rounds to nearest and keeps subnormals, in every thread."""
    fmt = context.format
    u, least = fmt.u, fmt.tiny * fmt.u * 2  # u: half an ulp of 1; least: the smallest subnormal
    context.hint = (
        "something switched this process to flush-to-zero or another rounding: torch.set_flush_denormal(False)"
    )
    # a + b, by hand: ties go to even, a trace above a tie goes up.
    sums = [(1.0, u, 1.0), (1.0 + 2 * u, u, 1.0 + 4 * u), (1.0, u * (1 + 2 * u), 1.0 + 2 * u), (-1.0, -u, -1.0)]
    sums += [(least, least, 2 * least), (fmt.tiny, -least, fmt.tiny - least), (least, -least, 0.0)]
    a, b, expected = (list(column) for column in zip(*sums))
    for times in (1, 7_001):  # a few elements, and enough of them for every thread and for the vector unit
        got = context.tensor(a).repeat(times) + context.tensor(b).repeat(times)
        context.exact(got, expected * times, what=f"sums, {times} times", given=sums * times)
        halved = context.tensor([3 * least]).repeat(times) * 0.5
        context.exact(halved, [2 * least] * times, what=f"half of thrice the smallest subnormal, {times} times")
    context.exact(context.tensor([1.0]) / 3.0, [fmt.round(1 / 3)], what="1/3")


@check(oracle="a sum of whole numbers is the same in any order", devices="cpu")
def threads(context: Context) -> None:
    """The same sums come from one thread and from several."""
    torch = context.torch
    before, count = torch.get_num_threads(), 300_007
    values = torch.arange(count, dtype=torch.float64)
    try:
        for number in sorted({1, 2, before}):
            torch.set_num_threads(number)
            context.exact(torch.get_num_threads(), number, what=f"{number} threads are what torch uses")
            context.exact(values.sum(), [count * (count - 1) / 2], what=f"sum of 0…{count - 1} in {number} threads")
            doubled = values + values
            context.exact(doubled[[0, 1, count // 2, -1]], _doubled(count), what=f"sums in {number} threads")
            context.exact((doubled - values - values).count_nonzero(), [0], what=f"differences in {number} threads")
    finally:
        torch.set_num_threads(before)
    runtimes = _openmp()
    if len(runtimes) > 1:
        context.note(f"more than one OpenMP runtime is loaded: {', '.join(runtimes)}")


def _doubled(count: int) -> list[float]:
    return [0.0, 2.0, 2.0 * (count // 2), 2.0 * (count - 1)]


def _openmp() -> list[str]:
    """Name the OpenMP runtimes in this process (Linux tells; elsewhere nothing is found)."""
    if sys.platform != "linux":
        return []
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc
        return []
    return sorted(set(re.findall(r"lib(?:gomp|iomp5|omp)[^/\s]*", maps)))
