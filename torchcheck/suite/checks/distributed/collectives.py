"""Every collective against exact values: whole numbers that differ from rank to rank, of several sizes and layouts."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check

SIZES = (1, 5, 33_001)
"""One element; an odd number that leaves every vector and chunk with a tail; above the 32,768 that chunks begin at."""
DTYPES = ("float32", "int64", "bfloat16")
SIGNED = ("float64", "float16", "int32")
MORE = (*SIGNED, "uint8")
ORACLE = "whole numbers that depend on the rank, combined in plain Python"
_UNSUPPORTED = (
    "Cannot use ReduceOp",
    "not support",
    "unsupported",
    "not implemented",
    "only supports",
    "Unsupported",
    "Invalid scalar type",
)


@dataclass(frozen=True)
class Reduction:
    """One reduction: torch's name, the data that it is exact on, and one step of it in Python."""

    name: str
    data: Callable[[int, int], list[int]]
    step: Callable[[int, int], int]


REDUCTIONS = {
    f"all_reduce.{row.name.lower()}": row
    for row in (
        Reduction("SUM", ranks.whole, operator.add),
        Reduction("PRODUCT", ranks.factors, operator.mul),
        Reduction("MIN", ranks.whole, min),
        Reduction("MAX", ranks.whole, max),
    )
}
BITWISE = {
    f"all_reduce.{row.name.lower()}": row
    for row in (
        Reduction("BAND", ranks.bits, operator.and_),
        Reduction("BOR", ranks.bits, operator.or_),
        Reduction("BXOR", ranks.bits, operator.xor),
    )
}


def group(context: Context) -> tuple[Any, int, int]:
    """Give torch.distributed, this rank and the number of ranks."""
    distributed = context.torch.distributed
    return distributed, distributed.get_rank(), distributed.get_world_size()


def attempt(context: Context, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a collective; a backend that says it has no such thing skips the check, on every rank alike."""
    try:
        return call(*arguments, **named)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        if any(word in str(error) for word in _UNSUPPORTED):
            context.skip(f"{context.torch.distributed.get_backend()}: {str(error).strip().partition(chr(10))[0][:200]}")
        raise


def _data(context: Context, values: list[int]) -> Any:
    """Make a tensor of whole numbers; unsigned ones wrap, as their arithmetic does."""
    return context.tensor([v % 256 for v in values] if context.dtype_name == "uint8" else values)


def _expected(context: Context, values: list[int]) -> list[int]:
    return [value % 256 for value in values] if context.dtype_name == "uint8" else values


_WHOLE = {"bfloat16": 2**8, "float16": 2**11}
"""Up to where every whole number is a number of the format."""


def _fits(context: Context, world: int) -> None:
    """Sums of -2…2 are exact while 2 * ranks is a whole number of the dtype."""
    if 2 * world > _WHOLE.get(str(context.dtype_name), 2**24):
        context.skip(f"a sum over {world} ranks need not be exact in {context.dtype_name}")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=SIGNED, each=REDUCTIONS)
def exact(context: Context, row: Reduction) -> None:
    """{row}: every rank gets the exact result."""
    _fits(context, context.torch.distributed.get_world_size())
    _all_reduce(context, row)


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=("int64",), more=("int32", "uint8"), each=BITWISE)
def exact_bits(context: Context, row: Reduction) -> None:
    """{row}: every rank gets the exact bits."""
    _all_reduce(context, row)


def _all_reduce(context: Context, row: Reduction) -> None:
    distributed, rank, world = group(context)
    op = getattr(distributed.ReduceOp, row.name)
    for size in SIZES:
        expected = ranks.reduced(row.step, row.data, world, size)
        tensor = context.tensor(row.data(rank, size))
        attempt(context, distributed.all_reduce, tensor, op)
        context.exact(tensor, expected, what=f"{size} elements")
        later = context.tensor(row.data(rank, size))
        distributed.all_reduce(later, op, async_op=True).wait()
        context.exact(later, expected, what=f"{size} elements, asynchronous")


@check(oracle=ORACLE, devices="ranks", dtypes=("float32",), more=("float64",))
def all_reduce_mean(context: Context) -> None:
    """all_reduce with AVG gives the mean, where the backend has it."""
    distributed, rank, world = group(context)
    for size in SIZES:
        tensor = context.tensor([value * world for value in ranks.whole(rank, size)])
        attempt(context, distributed.all_reduce, tensor, distributed.ReduceOp.AVG)
        context.exact(tensor, ranks.reduced(operator.add, ranks.whole, world, size), what=f"{size} elements")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=("float32",))
def layouts(context: Context) -> None:
    """What is no plain dense tensor is reduced exactly, or refused: transposed, a slice, behind an offset, empty."""
    distributed, rank, world = group(context)
    flat, total = ranks.whole(rank, 391), ranks.reduced(operator.add, ranks.whole, world, 391)
    whole = context.tensor(flat)
    part = whole[7:391]
    distributed.all_reduce(part)
    context.exact(whole, flat[:7] + total[7:], what="a part behind an offset; what is before it stays")
    _refused_or_right(context, lambda: context.tensor(flat).reshape(17, 23).t(), _transposed(total), "transposed")
    _refused_or_right(context, lambda: context.tensor(flat)[::3], total[::3], "every third element")
    empty = context.tensor([])
    distributed.all_reduce(empty)
    context.exact(empty.numel(), 0, what="elements of an empty tensor")


def _transposed(flat: list[int]) -> list[int]:
    return [flat[i * 23 + j] for j in range(23) for i in range(17)]


def _refused_or_right(context: Context, make: Callable[[], Any], expected: list[int], what: str) -> None:
    tensor = make()
    try:
        context.torch.distributed.all_reduce(tensor)
    except (RuntimeError, ValueError) as error:
        context.true("contiguous" in str(error) or "dense" in str(error), what=f"{what}: refused, and says why")
        return
    context.exact(tensor, expected, what=what)


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=MORE)
def all_gather(context: Context) -> None:
    """all_gather brings every rank's data to all, in the order of the ranks."""
    distributed, rank, world = group(context)
    for size in SIZES:
        mine = _data(context, ranks.whole(rank, size))
        parts = [context.torch.zeros_like(mine) for _ in range(world)]
        distributed.all_gather(parts, mine)
        expected = _expected(context, ranks.gathered(world, size))
        context.exact([v for part in parts for v in context.values(part)], expected, what=f"{size} elements")
        strided = _data(context, [v for value in ranks.whole(rank, size) for v in (value, 1)])[::2]
        distributed.all_gather(parts, strided.contiguous())
        context.exact([v for part in parts for v in context.values(part)], expected, what=f"{size} elements, strided")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=MORE)
def all_gather_into_tensor(context: Context) -> None:
    """all_gather into one tensor puts the ranks' data behind each other."""
    distributed, rank, world = group(context)
    for size in SIZES:
        whole = _data(context, [0] * (world * size))
        distributed.all_gather_into_tensor(whole, _data(context, ranks.whole(rank, size)))
        context.exact(whole, _expected(context, ranks.gathered(world, size)), what=f"{size} elements")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=MORE)
def reduce_scatter(context: Context) -> None:
    """reduce_scatter leaves each rank its own part of the sum."""
    distributed, rank, world = group(context)
    _fits(context, world)

    def all_parts(source: int, size: int) -> list[int]:
        return [value for part in range(world) for value in ranks.whole(source, size, part)]

    for size in SIZES:
        expected = ranks.reduced(operator.add, lambda r, n: ranks.whole(r, n, rank), world, size)
        mine = context.torch.zeros(size, dtype=context.dtype, device=context.device)
        attempt(context, distributed.reduce_scatter_tensor, mine, _data(context, all_parts(rank, size)))
        context.exact(mine, _expected(context, expected), what=f"{size} elements")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=MORE)
def reduce_scatter_lists(context: Context) -> None:
    """reduce_scatter of a list leaves each rank the sum of all ranks' parts for it."""
    distributed, rank, world = group(context)
    _fits(context, world)
    for size in SIZES:
        expected = ranks.reduced(operator.add, lambda r, n: ranks.whole(r, n, rank), world, size)
        parts = [_data(context, ranks.whole(rank, size, part)) for part in range(world)]
        mine = context.torch.zeros_like(parts[0])
        attempt(context, distributed.reduce_scatter, mine, parts)
        context.exact(mine, _expected(context, expected), what=f"{size} elements")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=DTYPES, more=MORE)
def broadcast(context: Context) -> None:
    """broadcast gives every rank the data of its source, whichever rank that is."""
    distributed, rank, world = group(context)
    for source in sorted({0, world // 2, world - 1}):
        for size in SIZES:
            tensor = _data(context, ranks.whole(rank, size))
            distributed.broadcast(tensor, source)
            context.exact(tensor, _expected(context, ranks.whole(source, size)), what=f"{size} from rank {source}")


@check(oracle=ORACLE, devices="ranks", dtypes=DTYPES, more=MORE)
def reduce(context: Context) -> None:
    """reduce brings the sum to its target, whichever rank that is."""
    distributed, rank, world = group(context)
    _fits(context, world)
    for target in sorted({0, world - 1}):
        for size in SIZES:
            tensor = _data(context, ranks.whole(rank, size))
            distributed.reduce(tensor, target)
            if rank == target:
                expected = _expected(context, ranks.reduced(operator.add, ranks.whole, world, size))
                context.exact(tensor, expected, what=f"{size} elements to rank {target}")
    context.true(True, what="every rank came back")


@check(oracle=ORACLE, devices="ranks", dtypes=DTYPES, more=MORE)
def gather_and_scatter(context: Context) -> None:
    """gather collects at one rank what scatter spreads from it."""
    distributed, rank, world = group(context)
    hub = world - 1
    for size in SIZES:
        mine = context.torch.zeros(size, dtype=context.dtype, device=context.device)
        spread = [_data(context, ranks.whole(target, size, 1)) for target in range(world)] if rank == hub else None
        attempt(context, distributed.scatter, mine, spread, src=hub)
        context.exact(mine, _expected(context, ranks.whole(rank, size, 1)), what=f"{size} elements, scattered")
        back = [context.torch.zeros_like(mine) for _ in range(world)] if rank == hub else None
        distributed.gather(mine, back, dst=hub)
        if back is not None:
            expected = _expected(context, ranks.gathered(world, size, 1))
            context.exact([v for b in back for v in context.values(b)], expected, what=f"{size} elements, gathered")


@check(oracle=ORACLE, devices="ranks", dtypes=DTYPES, more=MORE)
def all_to_all(context: Context) -> None:
    """all_to_all brings each rank its part from all others, in even and in uneven parts."""
    distributed, rank, world = group(context)
    for size in SIZES:
        sent = [value for target in range(world) for value in ranks.whole(rank, size, target)]
        whole = context.torch.zeros(world * size, dtype=context.dtype, device=context.device)
        attempt(context, distributed.all_to_all_single, whole, _data(context, sent))
        expected = [value for source in range(world) for value in ranks.whole(source, size, rank)]
        context.exact(whole, _expected(context, expected), what=f"{size} elements")
    shares = [target % 3 + 1 for target in range(world)]  # each target gets its own number of elements
    sent = [value for target in range(world) for value in ranks.whole(rank, shares[target], target)]
    mine = context.torch.zeros(world * shares[rank], dtype=context.dtype, device=context.device)
    distributed.all_to_all_single(mine, _data(context, sent), [shares[rank]] * world, shares)
    expected = [value for source in range(world) for value in ranks.whole(source, shares[rank], rank)]
    context.exact(mine, _expected(context, expected), what="uneven parts")


@check(oracle=ORACLE, devices="ranks", dtypes=("float32",), more=("int64", "uint8"))
def all_to_all_lists(context: Context) -> None:
    """all_to_all of lists brings each rank one tensor from every other, in the order of the ranks."""
    distributed, rank, world = group(context)
    for size in SIZES:
        given = [_data(context, ranks.whole(rank, size, target)) for target in range(world)]
        got = [context.torch.zeros_like(one) for one in given]
        attempt(context, distributed.all_to_all, got, given)
        for source, part in enumerate(got):
            expected = _expected(context, ranks.whole(source, size, rank))
            context.exact(part, expected, what=f"{size} elements of rank {source}")
