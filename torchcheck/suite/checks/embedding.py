"""Embeddings and bags of them: duplicate indices, padding, norms, sparse gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import passes
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

ADDING = "rows looked up and gradients added up, in exact integers"
WORDS, WIDTH = 61, 17  # a table of more than a thousand elements


def _rows(context: Context, count: int, width: int, salt: str) -> list[list[float]]:
    rng = context.rng(salt)
    return [[float(v) for v in rng.choices((-3, -2, -1, 1, 2, 3), k=width)] for _ in range(count)]


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [v for row in rows for v in row]


def _gathered(
    indices: Sequence[int], upstream: Sequence[Sequence[float]], *, padding: int | None = None, mean: bool = False
) -> list[float]:
    """Add each looked-up row's gradient to its word's; none to padding; divided by how often the word occurs."""
    found = [[0.0] * WIDTH for _ in range(WORDS)]
    for i, row in zip(indices, upstream):
        if i != padding:
            found[i] = [a + b / (indices.count(i) if mean else 1) for a, b in zip(found[i], row)]
    return _flat(found)


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "padding": {"padding_idx": 3},
    "padding_from_the_end": {"padding_idx": -2},
    "sparse": {"sparse": True},
    "sparse_padding": {"sparse": True, "padding_idx": 3},
}


PLAIN, OTHER = passes.parted(OPTIONS, ("plain",))


@check(oracle=ADDING, level="quick", dtypes=FLOATS, each=PLAIN)
@check(oracle=ADDING, dtypes=("float32",), more=("float64",), each=OTHER)
def embedding(context: Context, options: Mapping[str, Any]) -> None:
    """Embedding ({row}) looks rows up and adds the gradients of every duplicate."""
    torch, rng = context.torch, context.rng()
    table = _rows(context, WORDS, WIDTH, "table")
    # Each word some ten times over, the padding too, in float32; a few times where sums must stay small.
    count = 257 if context.format.digits >= 24 else 40
    indices = [*rng.choices(range(WORDS), k=count - 5), 3, 3, WORDS - 2, 7, 7]
    upstream = _rows(context, count, WIDTH, "upstream")
    layer = torch.nn.Embedding(WORDS, WIDTH, device=context.device, dtype=context.dtype, **options)
    with torch.no_grad():
        layer.weight.copy_(context.tensor(table))
    output = layer(context.tensor(indices, dtype="int64"))
    output.backward(context.tensor(upstream))
    padding = options.get("padding_idx")
    padding = padding + WORDS if padding is not None and padding < 0 else padding
    got = layer.weight.grad
    context.true(got.is_sparse == bool(options.get("sparse")), what="the gradient is sparse where that was asked for")
    got = got.coalesce().to_dense() if got.is_sparse else got
    context.exact(output, [v for i in indices for v in table[i]], what="rows")
    context.exact(got, _gathered(indices, upstream, padding=padding), what="gradient of the table")


@check(oracle=ADDING, dtypes=FLOATS[:2])
def scaled_by_frequency(context: Context) -> None:
    """scale_grad_by_freq divides each word's gradient by how often it occurs."""
    upstream = _rows(context, 64, WIDTH, "upstream")
    indices = [3] * 4 + [5] * 8 + [6] * 16 + [7] * 32 + [8, 9, 9, 10]  # powers of two: the quotients are exact
    context.rng().shuffle(indices)
    table = context.tensor(_rows(context, WORDS, WIDTH, "table"), grad=True)
    function = context.torch.nn.functional.embedding
    output = function(context.tensor(indices, dtype="int64"), table, scale_grad_by_freq=True)
    output.backward(context.tensor(upstream))
    context.exact(table.grad, _gathered(indices, upstream, mean=True), what="gradient of the table")


@check(oracle="row / norm * max_norm for the rows used alone", dtypes=FLOATS[:2])
def max_norm(context: Context) -> None:
    """max_norm shortens the rows that are looked up and too long, and no others."""
    table = [[3.0, 4.0], [0.5, 0.25], [30.0, 40.0], [6.0, 8.0]]
    held = context.tensor(table)
    output = context.torch.nn.functional.embedding(context.tensor([0, 1, 0, 3], dtype="int64"), held, max_norm=2.5)
    # torch divides by norm + 1e-7
    short = [[v * (2.5 / (n + 1e-7)) if n > 2.5 else v for v in row] for row in table for n in [math.hypot(*row)]]
    short[2] = table[2]
    context.close(held, _flat(short), bound=8.0, what="the table afterwards")
    context.close(output, _flat([short[0], short[1], short[0], short[3]]), bound=8.0, what="rows")


# mode, whether rows are weighted, further options
BAGS: Mapping[str, tuple[str, bool, Mapping[str, Any]]] = {
    "sum": ("sum", False, {}),
    "mean": ("mean", False, {}),
    "max": ("max", False, {}),
    "weighted": ("sum", True, {}),
    "padding": ("sum", False, {"padding_idx": 3}),
    "sparse": ("sum", False, {"sparse": True}),
    "last_offset": ("sum", False, {"include_last_offset": True}),
}
LENGTHS = (4, 1, 8, 0, 2)  # powers of two, so that means are exact; one bag is empty


@check(oracle=ADDING, level="quick", dtypes=("float32",), more=("float64",), each=BAGS)
def bag(context: Context, row: tuple[str, bool, Mapping[str, Any]]) -> None:
    """EmbeddingBag ({row}) reduces each bag, and gives its gradient back to every row in it."""
    mode, weighted, options = row
    rng = context.rng()
    lengths = LENGTHS * (13 if context.at_least("default") else 1)
    bags = [[rng.choice((3, *range(WORDS))) for _ in range(n)] for n in lengths]
    table = _rows(context, WORDS, WIDTH, "table")
    if mode == "max":  # no ties inside a column
        columns = [rng.sample(range(-WORDS, WORDS), WORDS) for _ in range(WIDTH)]
        table = [[float(column[i]) for column in columns] for i in range(WORDS)]
    upstream = [_rows(context, 1, WIDTH, f"upstream {b}")[0] for b in range(len(bags))]
    weights = [[float(rng.choice((-2, -1, 1, 3))) for _ in used] for used in bags]
    output, by_table, by_weight = _bags(mode, bags, table, upstream, weights if weighted else None, options)
    held = context.tensor(table, grad=True)
    factors = context.tensor([v for part in weights for v in part], grad=True) if weighted else None
    ends = [sum(lengths[:b]) for b in range(len(bags) + (1 if options.get("include_last_offset") else 0))]
    got = context.torch.nn.functional.embedding_bag(
        context.tensor([i for used in bags for i in used], dtype="int64"),
        held,
        context.tensor(ends, dtype="int64"),
        mode=mode,
        per_sample_weights=factors,
        **options,
    )
    got.backward(context.tensor(upstream))
    context.exact(got, output, what="bags")
    dense = held.grad.coalesce().to_dense() if held.grad.is_sparse else held.grad
    context.exact(dense, by_table, what="gradient of the table")
    if factors is not None:
        context.exact(factors.grad, by_weight, what="gradient of the weights")


def _bags(
    mode: str,
    bags: Sequence[Sequence[int]],
    table: Sequence[Sequence[float]],
    upstream: Sequence[Sequence[float]],
    weights: Sequence[Sequence[float]] | None,
    options: Mapping[str, Any],
) -> tuple[list[float], list[float], list[float]]:
    """Reduce each bag; give the bags, and the gradients by the table and by each weight."""
    output: list[float] = []
    by_weight: list[float] = []
    by_table = [[0.0] * WIDTH for _ in range(WORDS)]
    for b, (used, g) in enumerate(zip(bags, upstream)):
        kept = [i for i in used if i != options.get("padding_idx")]
        w = weights[b] if weights else [1 / max(len(used), 1) if mode == "mean" else 1.0] * len(kept)
        if mode == "max":
            best = [max(kept, key=column.__getitem__, default=0) for column in zip(*table)]
            output += [table[i][c] if kept else 0.0 for c, i in enumerate(best)]
            for c, i in enumerate(best):
                by_table[i][c] += g[c] if kept else 0.0
            continue
        output += [sum(f * table[i][c] for f, i in zip(w, kept)) for c in range(WIDTH)]
        by_weight += [sum(a * v for a, v in zip(g, table[i])) for i in kept]
        for f, i in zip(w, kept):
            by_table[i] = [a + f * v for a, v in zip(by_table[i], g)]
    return output, _flat(by_table), by_weight


@check(oracle=ADDING, level="quick", dtypes=FLOATS)
def duplicates(context: Context) -> None:
    """Thousands of additions to the same few places lose none, in every way torch has to add by index."""
    torch, rng = context.torch, context.rng()
    count, places = (4099, 7) if context.format.digits >= 24 else (150, 5)
    index = rng.choices(range(places), k=count)
    values = [float(v) for v in rng.choices((-1, 1, 1), k=count)]
    right = [sum(v for i, v in zip(index, values) if i == p) for p in range(places)]
    at, given = context.tensor(index, dtype="int64"), context.tensor(values)
    zeros = given.new_zeros(places)
    for what, got in (
        ("index_add", zeros.index_add(0, at, given)),
        ("index_add, scaled", zeros.index_add(0, at, given, alpha=2) / 2),
        ("scatter_add", zeros.scatter_add(0, at, given)),
        ("index_put", zeros.index_put((at,), given, accumulate=True)),
        ("index_put in place", zeros.clone().index_put_((at,), given, accumulate=True)),
        ("put", zeros.put(at, given, accumulate=True)),
        ("scatter_reduce", zeros.scatter_reduce(0, at, given, "sum")),
        ("bincount", torch.bincount(at, given.float(), places)),
        ("gradient of gather", _gradient(zeros, lambda t: t.gather(0, at), given)),
        ("gradient of index_select", _gradient(zeros, lambda t: t.index_select(0, at), given)),
        ("gradient of indexing", _gradient(zeros, lambda t: t[at], given)),
        ("gradient of take", _gradient(zeros, lambda t: t.take(at), given)),
    ):
        context.exact(got, right, what=what)
    highest = [max((v for i, v in zip(index, values) if i == p), default=0.0) for p in range(places)]
    got = zeros.scatter_reduce(0, at, given, "amax", include_self=False)
    context.exact(got, highest, what="scatter_reduce of maxima")


def _gradient(x: Any, function: Any, given: Any) -> Any:
    leaf = x.clone().requires_grad_()
    function(leaf).backward(given)
    return leaf.grad
