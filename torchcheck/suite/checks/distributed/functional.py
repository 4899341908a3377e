"""Functional collectives, and gradients through collectives."""

from __future__ import annotations

from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import attempt, group

ROWS, COLUMNS = 2, 3
Matrix = list[list[int]]


def _rows(rank: int, salt: int, rows: int = ROWS, columns: int = COLUMNS) -> Matrix:
    flat = ranks.whole(rank, rows * columns, salt)
    return [flat[i * columns : (i + 1) * columns] for i in range(rows)]


def _flat(rows: Matrix) -> list[int]:
    return [value for row in rows for value in row]


@check(
    oracle="whole numbers, put together in plain Python",
    devices="ranks",
    dtypes=("float32",),
    more=("int64",),
    needs=["torch.distributed._functional_collectives.all_gather_tensor"],
)
def functional(context: Context) -> None:
    """Functional collectives gather and scatter along the dimension that they are told."""
    distributed, rank, world = group(context)
    calls, everybody = distributed._functional_collectives, distributed.group.WORLD  # noqa: SLF001 - the public name's home
    mine = context.tensor(_rows(rank, 1))
    summed = calls.all_reduce(mine, "sum", everybody)
    context.exact(summed + 0, _sums(world, lambda r: _flat(_rows(r, 1))), what="all_reduce")
    context.exact(mine, _flat(_rows(rank, 1)), what="the input, which stays")
    below = [row for r in range(world) for row in _rows(r, 1)]
    context.exact(calls.all_gather_tensor(mine, 0, everybody) + 0, _flat(below), what="gathered below each other")
    beside = [[v for r in range(world) for v in _rows(r, 1)[i]] for i in range(ROWS)]
    context.exact(calls.all_gather_tensor(mine, 1, everybody) + 0, _flat(beside), what="gathered beside each other")
    wide = context.tensor(_rows(rank, 2, ROWS, world * COLUMNS))
    part = attempt(context, calls.reduce_scatter_tensor, wide, "sum", 1, everybody)
    columns = slice(rank * COLUMNS, (rank + 1) * COLUMNS)
    own = _sums(world, lambda r: [v for row in _rows(r, 2, ROWS, world * COLUMNS) for v in row[columns]])
    context.exact(part + 0, own, what="scattered by columns")


def _sums(world: int, values: Any) -> list[int]:
    return [sum(column) for column in zip(*(values(rank) for rank in range(world)))]


@check(
    oracle="adjoints in whole numbers",
    devices="ranks",
    dtypes=("float32",),
    needs=["torch.distributed.nn.functional.all_reduce"],
)
def gradients(context: Context) -> None:
    """The gradient through a collective is its adjoint: a sum's comes from all ranks, a gathered part's goes home."""
    _, rank, world = group(context)
    calls = context.torch.distributed.nn.functional
    x = context.tensor(ranks.whole(rank, 9), grad=True)
    (calls.all_reduce(x) * context.tensor(ranks.whole(rank, 9, 1))).sum().backward()
    context.exact(x.grad, _sums(world, lambda r: ranks.whole(r, 9, 1)), what="gradient of all_reduce")
    x = context.tensor(ranks.whole(rank, 9), grad=True)
    weights = [context.tensor(ranks.whole(rank, 9, 2 + part)) for part in range(world)]
    sum((out * weight).sum() for out, weight in zip(calls.all_gather(x), weights)).backward()
    home = _sums(world, lambda r: ranks.whole(r, 9, 2 + rank))
    context.exact(x.grad, home, what="gradient of all_gather")
    x = context.tensor(ranks.whole(rank, 9), grad=True)
    (calls.broadcast(x, world - 1) * context.tensor(ranks.whole(rank, 9, 1))).sum().backward()
    expected = _sums(world, lambda r: ranks.whole(r, 9, 1)) if rank == world - 1 else [0] * 9
    context.exact(x.grad, expected, what="gradient of broadcast")


@check(
    oracle="adjoints in whole numbers",
    devices="ranks",
    dtypes=("float32",),
    # torch 2.4 has the names, and fails in backward; what came with the public DTensor works.
    needs=["torch.distributed._functional_collectives.all_gather_tensor_autograd", "torch.distributed.tensor.DTensor"],
)
def functional_gradients(context: Context) -> None:
    """The gradient of a functional all_gather is a sum that is scattered, and the other way round."""
    distributed, rank, world = group(context)
    calls, everybody = distributed._functional_collectives, distributed.group.WORLD  # noqa: SLF001
    x = context.tensor(_rows(rank, 0), grad=True)
    weight = context.tensor(_rows(rank, 3, world * ROWS))
    out = attempt(context, calls.all_gather_tensor_autograd, x, 0, everybody)
    (out * weight).sum().backward()
    mine = slice(rank * ROWS, (rank + 1) * ROWS)
    expected = _sums(world, lambda r: _flat(_rows(r, 3, world * ROWS)[mine]))
    context.exact(x.grad, expected, what="gradient of all_gather_tensor")
    x = context.tensor(_rows(rank, 0, world * ROWS), grad=True)
    out = attempt(context, calls.reduce_scatter_tensor_autograd, x, "sum", 0, everybody)
    (out * context.tensor(_rows(rank, 4))).sum().backward()
    context.exact(
        x.grad, [v for r in range(world) for v in _flat(_rows(r, 4))], what="gradient of reduce_scatter_tensor"
    )
