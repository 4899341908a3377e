"""The same work again and again: what changes from one time to the next is silent corruption.

Every number is a whole one that its dtype holds exactly, and so is every partial sum: the bits are the same in whatever
order a library adds up, and a difference accuses the hardware. (Hochschild et al., Cores that don't count, HotOS 2021.)
`seconds` among the options keeps at it for longer: so long on each device, shared out among the checks below.
"""

from __future__ import annotations

import ctypes
import time
import zlib
from collections.abc import Callable
from typing import Any

from ..context import Context
from ..oracles import linear
from ..registry import check

REPEATS = 20
SIZE = 512
DTYPES = ("float64", "float32", "bfloat16")
SHARES = len(DTYPES) + 1  # a product in each, and a training step
PIECE = 24  # rows and columns that plain Python works out, of the product that is repeated


def checksum(tensor: Any) -> int:
    """CRC-32 of a tensor's bytes, worked out by zlib on the host."""
    held = tensor.detach().cpu().contiguous()
    return zlib.crc32(ctypes.string_at(held.data_ptr(), held.numel() * held.element_size()))


def _repeat(context: Context, step: Callable[[], tuple[Any, ...]], what: str) -> tuple[Any, ...]:
    """Run `step` until time is up, at least `REPEATS` times; every time must give the bits of the first."""
    first = step()
    sums = [checksum(tensor) for tensor in first]
    ends, count, strange = time.monotonic() + float(context.options.get("seconds", 0)) / SHARES, 0, []
    while count < REPEATS or time.monotonic() < ends:
        count += 1
        if [checksum(tensor) for tensor in step()] != sums:
            strange.append(count)
    context.hint = (
        "memory, cooling or the processor itself: run verify --full again, then memtest or the vendor's diagnosis"
    )
    context.exact(len(strange), 0, what=f"of {count} repeats of {what}, those with other bits (first: {strange[:5]})")
    return first


def _whole(context: Context, rows: int, columns: int, most: int, *salt: object) -> list[list[float]]:
    rng = context.rng(*salt)
    return [[float(rng.randint(-most, most)) for _ in range(columns)] for _ in range(rows)]


@check(oracle="whole numbers, and the first time", level="full", dtypes=DTYPES, timeout=600)
def products(context: Context) -> None:
    """The same matrix product has the same bits every time, and they are the right ones."""
    # Sums of 512 products stay below 2**23 in float32 and float64; bfloat16 holds results up to 256 exactly, no more.
    most = 1 if context.dtype_name == "bfloat16" else 127
    a, b = _whole(context, SIZE, SIZE, most, "a"), _whole(context, SIZE, SIZE, most, "b")
    x, y = context.tensor(a), context.tensor(b)
    (product,) = _repeat(context, lambda: (x @ y,), f"a product of {SIZE} x {SIZE}")
    piece = linear.flat(linear.matmul(a[:PIECE], [row[:PIECE] for row in b]))
    context.exact(product[:PIECE, :PIECE], piece, what="a corner of the product, by Python")


@check(oracle="whole numbers, and the first time", level="full", timeout=600)
def steps(context: Context) -> None:
    """The same training step from the same place has the same bits every time."""
    torch = context.torch
    weights = [context.tensor(_whole(context, 64, 64, 2, layer), grad=True) for layer in range(2)]
    x = context.tensor(_whole(context, 32, 64, 2, "x"))

    def step() -> tuple[Any, ...]:
        hidden = torch.relu(x @ weights[0])
        loss = (hidden @ weights[1]).sum()
        gradients = torch.autograd.grad(loss, weights)
        return (loss, *gradients, *(w - g / 256 for w, g in zip(weights, gradients)))

    # Sums: |hidden| <= 64 * 4, its product <= 64 * 256 * 2 = 2**15, all 2,048 of them <= 2**26 in the worst case and
    # below 2**24 for random signs by more than a hundred standard deviations.
    _repeat(context, step, "a training step")
