"""Numbers that use every bit of their format, and those that are none, come through collectives as they are."""

from __future__ import annotations

import math
from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import ORACLE, group

BITS = {"float64": 53, "float32": 24, "bfloat16": 8, "float16": 11, "int64": 62, "int32": 30}
SIZE = 1_001


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=("float32", "int64"), more=("float64", "int32", "float16"))
def all_bits(context: Context) -> None:
    """Sums, copies and messages keep every bit of numbers that use them all."""
    distributed, rank, world = group(context)
    bits = BITS[str(context.dtype_name)]
    if 4 * world > 1 << bits:
        context.skip(f"{world} ranks' numbers need more than {bits} bits")
    held = [ranks.wide(r, world, SIZE, bits) for r in range(world)]
    total = [sum(column) for column in zip(*held)]
    mine = context.tensor(held[rank])
    summed = mine.clone()
    distributed.all_reduce(summed)
    context.exact(summed, total, what="sum")
    parts = [context.torch.zeros_like(mine) for _ in range(world)]
    distributed.all_gather(parts, mine)
    context.exact([v for part in parts for v in context.values(part)], [v for h in held for v in h], what="gathered")
    sent = mine.clone()
    distributed.broadcast(sent, world - 1)
    context.exact(sent, held[-1], what="broadcast")
    reduced = mine.clone()
    distributed.reduce(reduced, 0)
    context.exact(reduced if rank == 0 else total, total, what="reduced to the first rank")


@check(oracle="IEEE 754: what a sum of infinities and NaN is", level="quick", devices="ranks", dtypes=("float32",))
def not_finite(context: Context) -> None:
    """An infinity or a NaN of one rank reaches all, and spoils no other element."""
    distributed, rank, world = group(context)
    last = world - 1
    own = [
        math.inf if rank == last else 1.0,
        math.nan if rank == last else 1.0,
        -math.inf if rank == 0 else 1.0,
        1.0,
    ]
    summed = context.tensor(own)
    distributed.all_reduce(summed)
    context.exact(summed, [math.inf, math.nan, -math.inf, float(world)], what="sum")
    parts = [context.torch.zeros(4, dtype=context.dtype, device=context.device) for _ in range(world)]
    distributed.all_gather(parts, context.tensor(own))
    context.exact(parts[last], [math.inf, math.nan, -math.inf if world == 1 else 1.0, 1.0], what="gathered")


@check(oracle=ORACLE, devices="ranks", dtypes=("float32",))
def in_flight(context: Context) -> None:
    """Several collectives at once, waited for in another order, give each its own result."""
    distributed, rank, world = group(context)
    sizes = (7, 40_001, 1, 5_003)
    tensors = [context.tensor(ranks.whole(rank, size, 1 + size % 3)) for size in sizes]
    gathered = [context.torch.zeros(11, dtype=context.dtype, device=context.device) for _ in range(world)]
    works: list[Any] = [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]
    works.append(distributed.all_gather(gathered, context.tensor(ranks.whole(rank, 11, 5)), async_op=True))
    sent = context.tensor(ranks.whole(rank, 13, 6))
    works.append(distributed.broadcast(sent, world - 1, async_op=True))
    for work in reversed(works):
        work.wait()
    for size, tensor in zip(sizes, tensors):
        columns = zip(*(ranks.whole(r, size, 1 + size % 3) for r in range(world)))
        context.exact(tensor, [sum(column) for column in columns], what=f"sum of {size}")
    context.exact([v for part in gathered for v in context.values(part)], ranks.gathered(world, 11, 5), what="gathered")
    context.exact(sent, ranks.whole(world - 1, 13, 6), what="broadcast")
