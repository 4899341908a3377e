"""Views, slices, joins, gathers and scatters: where each element goes, and where its gradient comes back from."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import moves
from ..oracles.moves import flatten, transpose
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

BOOKKEEPING = "bookkeeping of positions, exact"
ROWS, COLUMNS = 30, 37  # 1110 elements: more than a thousand lanes, no multiple of a SIMD width


@dataclass(frozen=True)
class Move:
    """One operation that moves elements.

    Attributes:
        apply: (torch, the tensor, the tensor of positions `index`) -> tensor.
        rule: (rows of positions, `index`) -> nested positions, as in `oracles.moves`.
        index: bound of the integers that `index` (as many rows as x, 11 columns) is drawn from, if there is one.
        distinct: draw each row of `index` without repetition.
    """

    apply: Callable[[Any, Any, Any], Any]
    rule: Callable[[Any, Any], Any]
    index: int = 0
    distinct: bool = False


def _scattered(rows: Any, index: Any) -> Any:
    """scatter_add along dim 1 of the first 11 columns into 19 zeros."""
    into: list[list[tuple[int, ...]]] = [[() for _ in range(19)] for _ in rows]
    for i, row in enumerate(rows):
        for j, k in enumerate(index[i]):
            into[i][k] += (row[j],)
    return into


def _scattered_rows(rows: Any, index: Any) -> Any:
    """scatter_add along dim 0 of a square into a square of zeros."""
    into: list[list[tuple[int, ...]]] = [[() for _ in range(30)] for _ in range(30)]
    for row, ks in zip(rows, index):
        for j, k in enumerate((ks * 3)[:30]):
            into[k][j] += (row[j],)
    return into


def _rows_added(rows: Any, index: Any) -> Any:
    """index_add along dim 0: row i of x is added to row index[i][0] of 17 zeros."""
    into: list[list[tuple[int, ...]]] = [[() for _ in rows[0]] for _ in range(17)]
    for row, (k, *_) in zip(rows, index):
        into[k] = [(*old, p) for old, p in zip(into[k], row)]
    return into


def _masked(rows: Any, keep: Callable[[int, int], bool]) -> Any:
    return [[p if keep(i, j) else () for j, p in enumerate(row)] for i, row in enumerate(rows)]


def _mask(torch: Any, x: Any) -> Any:
    return torch.arange(x.numel(), device=x.device).reshape(x.shape) % 3 == 0


MOVES = {
    "slice": Move(lambda _, x, __: x[3:29:2, 1:], lambda r, _: [row[1:] for row in r[3:29:2]]),
    "negative_index": Move(lambda _, x, __: x[-1], lambda r, _: r[-1]),
    "transpose": Move(lambda _, x, __: x.t(), lambda r, _: transpose(r)),
    "contiguous": Move(lambda _, x, __: x.t().contiguous(), lambda r, _: transpose(r)),
    "permute": Move(
        lambda _, x, __: x.reshape(5, 6, 37).permute(2, 0, 1),
        lambda r, _: [[[r[6 * a + b][c] for b in range(6)] for a in range(5)] for c in range(37)],
    ),
    "expand": Move(lambda _, x, __: x[:, None].expand(30, 3, 37), lambda r, _: [[row] * 3 for row in r]),
    "repeat": Move(lambda _, x, __: x.repeat(2, 3), lambda r, _: [row * 3 for row in r] * 2),
    "repeat_interleave": Move(
        lambda _, x, __: x.repeat_interleave(3, 1), lambda r, _: [[p for p in row for _ in range(3)] for row in r]
    ),
    "cat": Move(lambda t, x, _: t.cat((x[:, 5:], x, x[:, :2]), 1), lambda r, _: [row[5:] + row + row[:2] for row in r]),
    "stack": Move(lambda t, x, _: t.stack((x, x.flip(0)), 1), lambda r, _: [[a, b] for a, b in zip(r, r[::-1])]),
    "split": Move(lambda t, x, _: t.cat(x.split((7, 30), 1)[::-1], 1), lambda r, _: [row[7:] + row[:7] for row in r]),
    "chunk_unbind": Move(lambda t, x, _: t.stack(x.chunk(3)[1].unbind(1)), lambda r, _: transpose(r[10:20])),
    "flip": Move(lambda _, x, __: x.flip(1), lambda r, _: [row[::-1] for row in r]),
    "roll": Move(lambda _, x, __: x.roll(5, 1), lambda r, _: [row[-5:] + row[:-5] for row in r]),
    "tril": Move(lambda _, x, __: x.tril(-1), lambda r, _: _masked(r, lambda i, j: j < i)),
    "triu": Move(lambda _, x, __: x.triu(2), lambda r, _: _masked(r, lambda i, j: j >= i + 2)),
    "diagonal": Move(lambda _, x, __: x.diagonal(1), lambda r, _: [r[i][i + 1] for i in range(30)]),
    "diag_embed": Move(
        lambda t, x, _: t.diag_embed(x[:, :3]),
        lambda r, _: [[[p if i == j else () for j in range(3)] for i, p in enumerate(row[:3])] for row in r],
    ),
    "unfold": Move(
        lambda _, x, __: x.unfold(1, 5, 3), lambda r, _: [[row[s : s + 5] for s in range(0, 33, 3)] for row in r]
    ),
    "as_strided": Move(
        lambda _, x, __: x.as_strided((40, 5), (7, 2), 3),
        lambda _, __: [[3 + 7 * i + 2 * j for j in range(5)] for i in range(40)],
    ),
    "masked_fill": Move(
        lambda t, x, _: x.masked_fill(_mask(t, x), 0), lambda r, _: _masked(r, lambda i, j: (37 * i + j) % 3 != 0)
    ),
    "masked_select": Move(lambda t, x, _: x[_mask(t, x)], lambda r, _: [p for p in flatten(r) if p % 3 == 0]),
    "where": Move(
        lambda t, x, _: t.where(_mask(t, x), x, x.flip(1)),
        lambda r, _: [[p if p % 3 == 0 else q for p, q in zip(row, row[::-1])] for row in r],
    ),
    "where_zero": Move(
        lambda t, x, _: t.where(_mask(t, x), x, 0.0), lambda r, _: [p if p % 3 == 0 else () for p in flatten(r)]
    ),
    "gather": Move(lambda _, x, i: x.gather(1, i), lambda r, i: [[row[k] for k in ks] for row, ks in zip(r, i)], 37),
    "take_along_dim": Move(
        lambda t, x, i: t.take_along_dim(x, i, 1), lambda r, i: [[row[k] for k in ks] for row, ks in zip(r, i)], 37
    ),
    "gather_square": Move(
        lambda _, x, i: x[:, :30].gather(1, i.repeat(1, 3)[:, :30]),
        lambda r, i: [[row[k] for k in (ks * 3)[:30]] for row, ks in zip(r, i)],
        30,
    ),
    "gather_rows": Move(
        lambda _, x, i: x[:, :30].gather(0, i.repeat(1, 3)[:, :30]),
        lambda r, i: [[r[k][j] for j, k in enumerate((ks * 3)[:30])] for ks in i],
        30,
    ),
    "scatter_add_rows": Move(
        lambda _, x, i: x.new_zeros(30, 30).scatter_add(0, i.repeat(1, 3)[:, :30], x[:, :30]), _scattered_rows, 30
    ),
    "cumsum_rows": Move(
        lambda _, x, __: x[:, :30].cumsum(0),
        lambda r, _: [[tuple(c[: i + 1]) for c in transpose(r)[:30]] for i in range(30)],
    ),
    "take": Move(
        lambda _, x, i: x.take((i * 30).repeat(1, 4)), lambda _, i: [[30 * k for k in ks * 4] for ks in i], 37
    ),
    "index_select": Move(lambda _, x, i: x.index_select(0, i[:, 0]), lambda r, i: [r[k] for k, *_ in i], 30),
    "index": Move(lambda _, x, i: x[i[:, :3]], lambda r, i: [[r[k] for k in ks[:3]] for ks in i], 30),
    "index_from_the_end": Move(lambda _, x, i: x[i[:, :2] - 30], lambda r, i: [[r[k] for k in ks[:2]] for ks in i], 30),
    "index_pair": Move(lambda _, x, i: x[i[:, 0], i[:, 1]], lambda r, i: [r[k][m] for k, m, *_ in i], 30),
    "scatter_add": Move(lambda _, x, i: x.new_zeros(30, 19).scatter_add(1, i, x[:, :11]), _scattered, 19),
    "scatter_reduce_sum": Move(
        lambda _, x, i: x.new_zeros(30, 19).scatter_reduce(1, i, x[:, :11], "sum"), _scattered, 19
    ),
    "scatter": Move(lambda _, x, i: x.new_zeros(30, 19).scatter(1, i, x[:, :11]), _scattered, 19, distinct=True),
    "index_add": Move(lambda _, x, i: x.new_zeros(17, 37).index_add(0, i[:, 0], x), _rows_added, 17),
    "index_put_accumulate": Move(
        lambda _, x, i: x.new_zeros(17, 37).index_put((i[:, 0],), x, accumulate=True), _rows_added, 17
    ),
    "index_copy": Move(
        lambda _, x, i: x.flip(0).index_copy(0, i[0], x[:11]),
        lambda r, i: [r[i[0].index(k)] if k in i[0] else r[29 - k] for k in range(30)],
        30,
        distinct=True,
    ),
    "cumsum": Move(lambda _, x, __: x.cumsum(1), lambda r, _: [[tuple(row[: j + 1]) for j in range(37)] for row in r]),
    "sum_rows": Move(lambda _, x, __: x.sum(0), lambda r, _: [tuple(c) for c in transpose(r)]),
    "sum_columns": Move(lambda _, x, __: x.sum(1, keepdim=True), lambda r, _: [tuple(row) for row in r]),
    "broadcast_add": Move(lambda _, x, __: x[:, :1] + x[0], lambda r, _: [[(row[0], p) for p in r[0]] for row in r]),
    "block_diag": Move(
        lambda t, x, _: t.block_diag(x[:2], x[2:]),
        lambda r, _: [row + [()] * 37 for row in r[:2]] + [[()] * 37 + row for row in r[2:]],
    ),
    "movedim_squeeze": Move(
        lambda _, x, __: x.unsqueeze(1).movedim(2, 0).squeeze(2).unflatten(1, (5, 6)).flatten(0, 1),
        lambda r, _: [c[6 * k : 6 * k + 6] for c in transpose(r) for k in range(5)],
    ),
    "rot90": Move(lambda t, x, _: t.rot90(x), lambda r, _: transpose(r)[::-1]),
    "clone_copy": Move(lambda _, x, __: x.new_empty(x.shape).copy_(x.clone()), lambda r, _: r),
    "column_major": Move(lambda _, x, __: (x.t().clone().t()[:, 1:]).contiguous(), lambda r, _: [row[1:] for row in r]),
}


CORE, REST = passes.parted(MOVES, ("slice", "contiguous", "cat", "where", "gather", "index", "scatter_add"))


@check(oracle=BOOKKEEPING, level="quick", dtypes=("float32",), each=CORE)
@check(oracle=BOOKKEEPING, dtypes=("float32",), each=REST)
def moves_elements(context: Context, row: Move) -> None:
    """Elements go where {row} sends them, and gradients come back the same ways."""
    rng = context.rng()
    bound = range(row.index)
    index = [
        rng.sample(bound, 11) if row.distinct else rng.choices(bound, k=11) for _ in range(ROWS if row.index else 0)
    ]
    places = context.tensor(index, dtype="int64") if index else None
    size = ROWS * COLUMNS
    x = rng.choices((-7, -3, -2, -1, 1, 2, 4, 5), k=size)
    rule = flatten(row.rule(moves.positions(ROWS, COLUMNS), index))
    upstream = rng.choices((-5, -2, -1, 1, 3, 4), k=len(rule))
    given = context.tensor(x).reshape(ROWS, COLUMNS)
    output, (by_x,) = passes.backward(context, lambda t: row.apply(context.torch, t, places), [given], upstream)
    context.exact(output, moves.forward(rule, x), what="elements")
    context.exact(by_x, moves.backward(rule, size, upstream), what="gradient")


# name: (call, what it picks of a row)
ORDERED = {
    "sort": (lambda _, x: x.sort(1), sorted),
    "sort_descending": (lambda _, x: x.sort(1, descending=True), lambda row: sorted(row, reverse=True)),
    "topk": (lambda _, x: x.topk(5, 1), lambda row: sorted(row, reverse=True)[:5]),
    "topk_smallest": (lambda _, x: x.topk(5, 1, largest=False), lambda row: sorted(row)[:5]),
    "kthvalue": (lambda _, x: x.kthvalue(7, 1), lambda row: sorted(row)[6:7]),
    "median": (lambda _, x: x.median(1), lambda row: sorted(row)[len(row) // 2 : len(row) // 2 + 1]),
    "max": (lambda _, x: x.max(1), lambda row: [max(row)]),
    "min": (lambda _, x: x.min(1), lambda row: [min(row)]),
    "cummax": (lambda t, x: t.cummax(x, 1), lambda row: list(itertools.accumulate(row, max))),
    "cummin": (lambda t, x: t.cummin(x, 1), lambda row: list(itertools.accumulate(row, min))),
}


@check(oracle=BOOKKEEPING, dtypes=("float32",), each=ORDERED)
def orders_elements(context: Context, row: Any) -> None:
    """{row} finds the right elements at the right places, and its gradient goes there."""
    apply, pick = row
    rng = context.rng()
    period, rows, columns = 11, 1031, 23
    x = [rng.sample(range(-400, 400), columns) for _ in range(period)]
    values = [pick(line) for line in x]
    places = [[line.index(v) for v in found] for line, found in zip(x, values)]
    upstream = [rng.randint(1, 7) for found in values for _ in found]
    result: list[Any] = []

    def call(t: Any) -> Any:
        result[:] = apply(context.torch, t)
        return result[0]

    given = passes.tiled(context, flatten(x), rows * columns).reshape(rows, columns)
    output, (by_x,) = passes.backward(context, call, [given], upstream)
    passes.judge_period(context, output, flatten(values), bound=0.0, what="values")
    passes.judge_period(context, result[1], flatten(places), bound=0.0, what="indices")
    rule = [i * columns + p for i, found in enumerate(places) for p in found]
    back = moves.backward(rule, period * columns, upstream)
    passes.judge_period(context, by_x, back, bound=0.0, what="gradient")


@check(oracle="the documented conventions", dtypes=("float32",))
def ties(context: Context) -> None:
    """Where elements tie, amax and the whole max share the gradient evenly, max over a dim gives it to one."""
    torch = context.torch
    x = context.tensor([[2.0, 5.0, 5.0, 1.0, 5.0, 5.0]])
    shared = [0, 0.25, 0.25, 0, 0.25, 0.25]
    for what, function, expected in (
        ("amax", lambda t: t.amax(1), shared),
        ("max over all", lambda t: t.max(), shared),
        ("amin of the negative", lambda t: (-t).amin(1), [-v for v in shared]),
    ):
        context.exact(passes.backward(context, function, [x])[1][0], expected, what=f"gradient of {what}")
    by_one = context.values(passes.backward(context, lambda t: t.max(1)[0], [x])[1][0])
    context.exact(sorted(by_one), [0, 0, 0, 0, 0, 1], what="gradient of max over a dim goes to one element")
    context.true(by_one[0] == by_one[3] == 0, what="and that one is a maximum")
    _, (a, b) = passes.backward(context, torch.maximum, [x, x.clone()])
    context.exact(context.values(a) + context.values(b), [0.5] * 12, what="maximum of equals halves the gradient")
    order = torch.tensor([3, 1, 3, 1, 2, 1]).to(context.device).sort(stable=True)[1]
    context.exact(order, [1, 3, 5, 4, 0, 2], what="a stable sort keeps the order of equals")


@check(oracle="Python's own lists", dtypes=("float32",))
def finds(context: Context) -> None:
    """Searching, counting, bucketing and encoding find what Python finds."""
    torch, rng = context.torch, context.rng()
    values = rng.choices(range(-20, 20), k=1031)
    x = context.tensor(values)
    bounds = [-15, -3, 0, 4, 18]
    edges = context.tensor(bounds)
    right = [bisect.bisect_left(bounds, v) for v in values]
    context.exact(torch.searchsorted(edges, x), right, what="searchsorted")
    context.exact(torch.bucketize(x, edges, right=True), [bisect.bisect(bounds, v) for v in values], what="bucketize")
    context.exact(x.nonzero(), [i for i, v in enumerate(values) if v], what="nonzero")
    context.exact(x.argsort(stable=True), sorted(range(1031), key=values.__getitem__), what="stable argsort")
    unique, back, counts = x.unique(return_inverse=True, return_counts=True)
    kinds = sorted(set(values))
    context.exact(unique, kinds, what="unique")
    context.exact(back, [kinds.index(v) for v in values], what="inverse of unique")
    context.exact(counts, [values.count(v) for v in kinds], what="counts of unique")
    context.exact(torch.histc(x, 40, -20, 20), [values.count(v) for v in range(-20, 20)], what="histc")
    context.exact(torch.isin(x, edges), [v in bounds for v in values], what="isin")
    index = context.tensor([v + 20 for v in values], dtype="int64")
    coded = torch.nn.functional.one_hot(index, 40)
    context.exact(coded.sum(0), [values.count(v) for v in range(-20, 20)], what="one_hot counts")
    context.exact(coded.argmax(1), [v + 20 for v in values], what="one_hot places")
    context.exact(torch.tril_indices(3, 3), [0, 1, 1, 2, 2, 2, 0, 0, 1, 0, 1, 2], what="tril_indices")
    context.exact(torch.arange(-5, 2000, 3, device=context.device), list(range(-5, 2000, 3)), what="arange")
    context.exact(
        torch.linspace(-4, 4, 1025, device=context.device), [i / 128 - 4 for i in range(1025)], what="linspace"
    )
    grids = torch.meshgrid(edges, x[:3], indexing="ij")
    context.exact(grids[0], [v for v in bounds for _ in range(3)], what="meshgrid, rows")
    context.exact(grids[1], values[:3] * 5, what="meshgrid, columns")
    layer = torch.nn.Linear(3, 2).to(context.device)
    utils = torch.nn.utils
    vector = utils.parameters_to_vector(layer.parameters())
    utils.vector_to_parameters(vector * 0 + context.tensor(list(range(8))), layer.parameters())
    context.exact(layer.weight, list(range(6)), what="vector_to_parameters")
    context.exact(utils.parameters_to_vector(layer.parameters()), list(range(8)), what="parameters_to_vector")
