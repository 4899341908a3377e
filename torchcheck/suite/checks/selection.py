"""Which elements are chosen: orders, ranks, quantiles, ties, segments and counts, in every spelling and direction."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from typing import TYPE_CHECKING, Any

from .. import trajectory
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import Context

LISTS = "Python's own lists"


def _both(torch: Any, x: Any, name: str, *args: Any, **named: Any) -> list[tuple[str, Any]]:
    """Call a function and the method of its name."""
    return [
        (f"torch.{name}", getattr(torch, name)(x, *args, **named)),
        (f"Tensor.{name}", getattr(x, name)(*args, **named)),
    ]


@check(oracle=LISTS, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def ranks(context: Context) -> None:
    """sort, argsort and topk, up and down, agree with sorted lists and keep the order of ties, over every dim."""
    torch, rng = context.torch, context.rng()
    rows, columns = 7, 12
    x = [[float(rng.randint(-4, 4)) for _ in range(columns)] for _ in range(rows)]
    given = context.tensor(x)
    for dim, lines in ((1, x), (0, [list(c) for c in zip(*x)])):
        held = given if dim == 1 else given.t()  # strided for the other dim

        for down in (False, True):
            order = [[i for _, i in sorted((-v if down else v, i) for i, v in enumerate(r))] for r in lines]
            values = [r[i] for r, o in zip(lines, order) for i in o]
            for name, (got, where) in _both(torch, held, "sort", dim=1, descending=down, stable=True):
                context.exact(got, values, what=f"{name}, dim {dim}, descending={down}: values")
                context.exact(
                    context.values(where), [i for o in order for i in o], what=f"{name}, {dim}, {down}: stable places"
                )
            for name, got in _both(torch, held, "argsort", dim=1, descending=down, stable=True):
                context.exact(
                    context.values(got), [i for o in order for i in o], what=f"{name}, dim {dim}, descending={down}"
                )
            _tops(context, held, [[r[i] for i in o] for r, o in zip(lines, order)], f"dim {dim}", down)


def _tops(context: Context, held: Any, ordered: list[list[float]], what: str, down: bool) -> None:
    """Compare topk with the first k of ordered rows."""
    torch = context.torch
    for k in (1, 3, 5):
        kept = [v for line in ordered for v in line[:k]]
        for name, (got, where) in _both(torch, held, "topk", k, dim=1, largest=down):
            context.exact(got, kept, what=f"{name}({k}), {what}, largest={down}")
            context.exact(held.gather(1, where), kept, what=f"{name}({k}), {what}, {down}: places")
        got = held.topk(k, 1, largest=down, sorted=False)[0].sort(1, descending=down)[0]
        context.exact(got, kept, what=f"topk({k}), not sorted, {what}, largest={down}")


@check(oracle=LISTS, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def quantiles(context: Context) -> None:
    """kthvalue, median, mode and quantile of each interpolation agree with sorted lists, over every dim, with ties."""
    torch, rng = context.torch, context.rng()
    x = [[float(rng.randint(-4, 4)) for _ in range(12)] for _ in range(7)]
    given = context.tensor(x)
    for dim, lines in ((1, x), (0, [list(c) for c in zip(*x)])):
        held = given if dim == 1 else given.t()  # strided for the other dim
        size = len(lines[0])
        ordered = [sorted(r) for r in lines]
        for k in (1, 4, size):
            for name, (got, where) in _both(torch, held, "kthvalue", k, dim=1):
                context.exact(got, [r[k - 1] for r in ordered], what=f"{name}({k}), dim {dim}")
                context.exact(
                    context.values(held.gather(1, where[:, None])), [r[k - 1] for r in ordered], what=f"{name}: places"
                )
        for name, (got, _) in _both(torch, held, "median", dim=1):
            context.exact(
                context.values(got), [r[(size - 1) // 2] for r in ordered], what=f"{name}, dim {dim}: the lower one"
            )
        counts = [{v: r.count(v) for v in r} for r in lines]
        most = [min(v for v in c if c[v] == max(c.values())) for c in counts]
        for name, (got, _) in _both(torch, held, "mode", dim=1):
            context.exact(got, most, what=f"{name}, dim {dim}: the smallest of the most frequent")
        for q, how in itertools.product((0.0, 0.25, 0.4, 1.0), ("linear", "lower", "higher", "nearest", "midpoint")):
            right = [_quantile(r, q, how) for r in ordered]
            for name, got in _both(torch, held, "quantile", q, dim=1, interpolation=how):
                context.close(context.values(got), right, bound=4.0, cancel=4.0, what=f"{name}({q}), {how}, dim {dim}")
    _whole(context, x, given)


def _whole(context: Context, x: list[list[float]], given: Any) -> None:
    """Judge what is asked of all elements at once, and the lower one of an even number."""
    torch = context.torch
    even = [float(v) for v in context.rng("even").sample(range(-50, 50), 10)]
    for name, got in (*_both(torch, context.tensor(even), "median"), *_both(torch, context.tensor(even), "nanmedian")):
        context.exact(got, sorted(even)[4], what=f"{name} of an even number: the lower one")
    everything = sorted(v for r in x for v in r)
    for name, got in _both(torch, given, "quantile", 0.5):
        context.close(got, [statistics.median(everything)], bound=4.0, what=f"{name} of everything")
    for name, (low, high) in _both(torch, given, "aminmax"):
        context.exact([float(low), float(high)], [everything[0], everything[-1]], what=name)


def _quantile(ordered: list[float], q: float, how: str) -> float:
    place = q * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    part = place - math.floor(place)
    nearest = ordered[round(place)]  # halves to even, as torch
    return {"linear": low + part * (high - low), "lower": low, "higher": high, "nearest": nearest}.get(
        how, (low + high) / 2
    )


REDUCERS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "prod": math.prod,
    "mean": lambda v: sum(v) / len(v),
    "amax": max,
    "amin": min,
}


@check(oracle=LISTS, level="quick", dtypes=("float32",), more=("float64", "bfloat16", "float16"))
@trajectory.unthreaded
def scatters(context: Context) -> None:
    """scatter, scatter_reduce, index_reduce, index_add, index_put and masked writes combine what meets, as asked."""
    torch, rng = context.torch, context.rng()
    n, m = 6, 17
    base = [float(rng.choice((-2, -1, 1, 2))) for _ in range(n)]
    values = [float(rng.choice((-2, -1, 1, 2))) for _ in range(m)]
    index = [rng.randrange(n - 1) for _ in range(m)]  # the last one gets nothing
    x, v, i = context.tensor(base), context.tensor(values), context.tensor(index, dtype="int64")
    groups = [[w for w, k in zip(values, index) if k == j] for j in range(n)]
    for name, rule in REDUCERS.items():
        for own in (True, False):
            right = [(rule([b, *g]) if own else rule(g)) if g else b for b, g in zip(base, groups)]
            cases: list[tuple[str, Any]] = [
                ("scatter_reduce", torch.scatter_reduce(x, 0, i, v, name, include_self=own)),
                ("scatter_reduce_", x.clone().scatter_reduce_(0, i, v, name, include_self=own)),
                (
                    "scatter_reduce over columns",
                    x[:, None]
                    .expand(n, 3)
                    .scatter_reduce(0, i[:, None].expand(m, 3), v[:, None].expand(m, 3), name, include_self=own)[:, 1],
                ),
            ]
            if name != "sum":
                cases.append(("index_reduce", torch.index_reduce(x, 0, i, v, name, include_self=own)))
            for what, got in cases:
                context.close(got, right, bound=4.0, cancel=4.0, what=f"{what}, {name}, include_self={own}")
    sums = [b + sum(g) for b, g in zip(base, groups)]
    products = [b * math.prod(g) for b, g in zip(base, groups)]
    for what, got, right in (
        ("scatter_add", x.scatter_add(0, i, v), sums),
        ("scatter, add", x.scatter(0, i, v, reduce="add"), sums),
        ("scatter, multiply", x.scatter(0, i, v, reduce="multiply"), products),
        ("index_add", x.index_add(0, i, v), sums),
        ("index_add, alpha", x.index_add(0, i, v, alpha=-2), [b - 2 * sum(g) for b, g in zip(base, groups)]),
        ("index_put, accumulate", x.index_put((i,), v, accumulate=True), sums),
        ("put, accumulate", x.put(i, v, accumulate=True), sums),
        ("index_fill", x.index_fill(0, i[:3], 9.0), [9.0 if j in index[:3] else b for j, b in enumerate(base)]),
        ("scatter of a number", x.scatter(0, i[:3], 7.0), [7.0 if j in index[:3] else b for j, b in enumerate(base)]),
        ("bincount", torch.bincount(i, minlength=n), [float(len(g)) for g in groups]),
        ("torch.bincount, weights", torch.bincount(i, v.float(), minlength=n), [float(sum(g)) for g in groups]),
        ("Tensor.bincount, weights", i.bincount(v.float(), n), [float(sum(g)) for g in groups]),
        ("masked_fill", x.masked_fill(x > 0, 5.0), [5.0 if b > 0 else b for b in base]),
        ("masked_scatter", x.masked_scatter(x > 0, v), _poured(base, values)),
        ("where, numbers", torch.where(x > 0, 1.0, -1.0), [1.0 if b > 0 else -1.0 for b in base]),
    ):
        context.close(got, right, bound=4.0, cancel=8.0, what=what)
    written = x.clone()
    written[x > 0] = 3.0
    context.exact(written, [3.0 if b > 0 else b for b in base], what="assignment by mask")
    written = context.tensor([0.0] * 12).reshape(3, 4)
    written[1:, ::2] = context.tensor([1.0, 2.0])
    context.exact(written, [0, 0, 0, 0, 1, 0, 2, 0, 1, 0, 2, 0], what="broadcast assignment into a strided view")
    written.t()[:] = context.tensor([[1.0], [2.0], [3.0], [4.0]])
    context.exact(written, [1.0, 2.0, 3.0, 4.0] * 3, what="broadcast assignment into a transposed view")
    written.t().copy_(context.tensor([5.0, 6.0, 7.0]))
    context.exact(written, [5.0] * 4 + [6.0] * 4 + [7.0] * 4, what="broadcast copy into a transposed view")


def _poured(base: list[float], values: list[float]) -> list[float]:
    source = iter(values)
    return [next(source) if b > 0 else b for b in base]


@check(oracle=LISTS, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def places(context: Context) -> None:
    """flip and roll take all of their dims and shifts, and nothing else."""
    torch, rng = context.torch, context.rng()
    shape = (3, 4, 5)
    flat = [float(v) for v in rng.sample(range(100), 60)]
    x = context.tensor(flat).reshape(shape)
    at = {w: flat[k] for k, w in enumerate(itertools.product(*map(range, shape)))}
    every = list(itertools.product(*map(range, shape)))
    for axes in ((0,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2), (-1, 0)):
        gone = {d % 3 for d in axes}
        right = [at[tuple(n - 1 - i if d in gone else i for d, (i, n) in enumerate(zip(w, shape)))] for w in every]
        for name, got in _both(torch, x, "flip", axes):
            context.exact(got, right, what=f"{name} {axes}")
    shifts: Any
    dims: Any
    for shifts, dims in ((1, 0), (-2, 2), ((1, -1), (0, 2)), ((2, 3, -4), (0, 1, 2))):
        pairs = dict(zip(dims, shifts)) if isinstance(dims, tuple) else {dims: shifts}
        right = [at[tuple((i - pairs.get(d, 0)) % n for d, (i, n) in enumerate(zip(w, shape)))] for w in every]
        for name, got in _both(torch, x, "roll", shifts, dims):
            context.exact(got, right, what=f"{name} {shifts} {dims}")
    for shift in (7, -7):
        for name, got in _both(torch, x, "roll", shift):
            context.exact(got, flat[-shift:] + flat[:-shift], what=f"{name} {shift} of all")


@check(oracle=LISTS, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def joins(context: Context) -> None:
    """cat and stack of images in any layout, over any dim, put each where it belongs."""
    torch, rng = context.torch, context.rng()
    x = context.tensor([float(v) for v in rng.sample(range(100), 60)])
    image = x.reshape(1, 3, 4, 5)
    last = image.contiguous(memory_format=torch.channels_last)
    for dim in (0, 1, 2, 3, -1):
        for parts in ((last, last + 100), (last, image + 100), (image, last + 100, last + 200)):
            plain = torch.cat([p.contiguous() for p in parts], dim)
            size = [1, 3, 4, 5]
            joined = _joined([[*map(float, p.flatten().tolist())] for p in parts], size, dim % 4)
            context.exact(torch.cat(parts, dim), joined, what=f"cat of channels-last images, dim {dim}")
            context.exact(plain, joined, what=f"cat of images, dim {dim}")
        stacked = torch.stack((last, last + 100), dim)
        context.exact(stacked.select(dim, 1), context.values(last + 100), what=f"stack of channels-last, dim {dim}")


@check(oracle=LISTS, level="quick", dtypes=("float32",))
def triangles(context: Context) -> None:
    """tril and triu keep their diagonal and what lies on its side, of matrices and batches, in place too."""
    with trajectory.one_thread(context.torch):
        _triangles(context)


def _triangles(context: Context) -> None:
    torch, rng = context.torch, context.rng()
    flat = [float(v) for v in rng.sample(range(100), 60)]
    x = context.tensor(flat).reshape(3, 4, 5)
    square = x[0]
    for k in (-5, -2, -1, 0, 1, 3, 6):
        rule: Any
        for name, rule in (("tril", lambda i, j, k=k: j - i <= k), ("triu", lambda i, j, k=k: j - i >= k)):
            right = [flat[5 * i + j] if rule(i, j) else 0.0 for i in range(4) for j in range(5)]
            for spelled, got in _both(torch, square, name, k):
                context.exact(got, right, what=f"{spelled}({k})")
            context.exact(getattr(square.clone(), f"{name}_")(k), right, what=f"{name}_({k})")
            whole = getattr(x, name)(k)[0]
            context.exact(whole, right, what=f"{name}({k}) of a batch")


@check(oracle=LISTS, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def searches(context: Context) -> None:
    """searchsorted, unique, repeats, differences and masks of any layout find what Python finds."""
    torch = context.torch
    edges = [-3.0, 0.0, 0.0, 2.0, 7.0]
    asked = [-4.0, -3.0, -1.0, 0.0, 1.0, 2.0, 7.0, 8.0]
    e, a = context.tensor(edges), context.tensor(asked)
    rule: Any
    for right_side, rule in ((False, bisect.bisect_left), (True, bisect.bisect_right)):
        right = [rule(edges, v) for v in asked]
        side = "right" if right_side else "left"
        for name, got in (
            ("searchsorted", torch.searchsorted(e, a, right=right_side)),
            ("searchsorted, side", torch.searchsorted(e, a, side=side)),
            (
                "searchsorted, a sorter",
                torch.searchsorted(e.flip(0), a, sorter=torch.arange(4, -1, -1, device=e.device), right=right_side),
            ),
            ("bucketize", torch.bucketize(a, e, right=right_side)),
        ):
            context.exact(got, right, what=f"{name}, {side}")
    whole_numbers = [3, 1, 3, 2, 1, 1, 9]
    for name, (kinds, back, counts) in _both(
        torch, context.tensor(whole_numbers, dtype="int64"), "unique", return_inverse=True, return_counts=True
    ):
        context.exact(kinds, [1, 2, 3, 9], what=name)
        context.exact(back, [2, 0, 2, 1, 0, 0, 3], what=f"{name}: inverse")
        context.exact(counts, [3, 1, 2, 1], what=f"{name}: counts")
    kinds, back, counts = torch.unique_consecutive(
        context.tensor([1, 1, 2, 2, 2, 1], dtype="int64"), return_inverse=True, return_counts=True
    )
    context.exact([*context.values(kinds), *context.values(counts)], [1, 2, 1, 2, 3, 1], what="unique_consecutive")
    table = context.tensor([[1, 2], [0, 5], [1, 2]], dtype="int64")
    context.exact(torch.unique(table, dim=0), [0, 5, 1, 2], what="unique rows")
    for name, got in _both(torch, context.tensor([1.0, 2.0, 3.0]), "repeat_interleave", 2):
        context.exact(got, [1, 1, 2, 2, 3, 3], what=name)
    counts = context.tensor([0, 2, 1], dtype="int64")
    context.exact(
        torch.repeat_interleave(context.tensor([4.0, 5.0, 6.0]), counts), [5, 5, 6], what="repeats of its own"
    )
    for name, got in _both(torch, context.tensor([1.0, 4.0, 9.0, 16.0]), "diff", 2):
        context.exact(got, [2.0, 2.0], what=name)
    condition = context.tensor([[True, True], [False, True], [True, False]], dtype="bool").t()
    one, two = context.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), context.tensor([[10.0], [20.0]])
    for name, got in (("torch.where", torch.where(condition, one, two)), ("Tensor.where", one.where(condition, two))):
        context.exact(got, [1.0, 10.0, 3.0, 4.0, 5.0, 20.0], what=f"{name} with a transposed condition")
    context.exact(condition.nonzero(), [0, 0, 0, 2, 1, 0, 1, 1], what="nonzero of a transposed mask")
    context.exact(one[condition], [1.0, 3.0, 4.0, 5.0], what="index by a transposed mask")
    context.exact(one.masked_fill(condition, 0.0), [0, 2, 0, 0, 0, 6], what="masked_fill by a transposed mask")


def _joined(parts: list[list[float]], size: list[int], dim: int) -> list[float]:
    outer, inner = math.prod(size[:dim]), math.prod(size[dim:])
    return [v for o in range(outer) for part in parts for v in part[o * inner : (o + 1) * inner]]


@check(oracle="integers and dyadic sums, exact", level="quick", dtypes=("float32",))
@trajectory.unthreaded
def sums(context: Context) -> None:
    """Sums, means and products honour dtype, and neither wrap nor drift."""
    torch = context.torch
    big = [2**30 + k for k in range(5)]
    for name, dtype in (("int32", torch.int32), ("int16", torch.int16), ("int8", torch.int8), ("uint8", torch.uint8)):
        held = big if name == "int32" else [100 + k for k in range(20)]
        x = context.tensor(held, dtype=dtype)
        for what, got in (
            *_both(torch, x, "sum"),
            *_both(torch, x[:, None].expand(-1, 2).contiguous()[:, :1], "sum", 0),
            *((n, g[-1]) for n, g in _both(torch, x, "cumsum", 0)),
        ):
            context.exact([int(got), str(got.dtype)], [sum(held), "torch.int64"], what=f"{what} of {name}")
    flags = context.tensor([True, True, False] * 100, dtype="bool")
    context.exact([int(flags.sum()), str(flags.sum().dtype)], [200, "torch.int64"], what="sum of booleans")
    if context.device.partition(":")[0] != "mps":
        fine = context.tensor([1.0, 2.0**-30] * 8)
        exact = 8 + 8 * 2.0**-30
        for what, got in (
            *_both(torch, fine, "sum", dtype=torch.float64),
            *((n, g[0]) for n, g in _both(torch, fine[None], "sum", 1, dtype=torch.float64)),
            *_both(torch, fine.half().float() * 0 + fine, "sum", dtype=torch.float64),
            *((n, g * 16) for n, g in _both(torch, fine, "mean", dtype=torch.float64)),
            *((n, g[-1]) for n, g in _both(torch, fine, "cumsum", 0, dtype=torch.float64)),
        ):
            context.exact([float(got)], [exact], what=f"{what} of float32 in float64")
        _, product = _both(torch, context.tensor([1 + 2.0**-20] * 3), "prod", dtype=torch.float64)
        context.exact([float(product[1])], [(1 + 2.0**-20) ** 3], what="product of float32 in float64")
    ones = context.tensor([1.0] * 4097, dtype="bfloat16")
    for what, got in (*_both(torch, ones, "sum", dtype=torch.float32), ("mean times n", ones.float().mean() * 4097)):
        context.exact([float(got)], [4097.0], what=f"{what} of bfloat16")
    rows = ones[:4096].reshape(8, 512)
    context.exact(rows.mean(1), [1.0] * 8, what="means of bfloat16 rows")
    context.exact(rows.sum(1), [512.0] * 8, what="sums of bfloat16 rows")
    context.exact(rows.t().contiguous().sum(0), [512.0] * 8, what="sums of bfloat16 columns")


@check(oracle="integers and dyadic sums, exact", level="quick", dtypes=("float32",))
@trajectory.unthreaded
def spreads(context: Context) -> None:
    """var, std and their means honour dims, keepdim and every correction, as functions and methods."""
    torch, rng = context.torch, context.rng()
    shape = (3, 4, 5)
    x = [float(rng.randint(-8, 8)) for _ in range(60)]
    given = context.tensor(x).reshape(shape)
    every = list(itertools.product(*map(range, shape)))
    for dims in ((0,), (1,), (-1,), (0, 2), (1, 2), (0, 1, 2)):
        groups: dict[tuple[int, ...], list[float]] = {}
        gone = {d % 3 for d in dims}
        for w, v in zip(every, x):
            groups.setdefault(tuple(0 if d in gone else i for d, i in enumerate(w)), []).append(v)
        means = {k: sum(g) / len(g) for k, g in groups.items()}
        for correction in (0, 1, 2):
            spread = [sum((v - means[k]) ** 2 for v in g) / (len(g) - correction) for k, g in groups.items()]
            for keep in (False, True):
                named = {"dim": dims, "correction": correction, "keepdim": keep}
                what = f"{dims}, correction={correction}, keepdim={keep}"
                both = _both(torch, given, "var", **named)
                both += [(f"{n} squared", g**2) for n, g in _both(torch, given, "std", **named)]
                both += [
                    ("var_mean", torch.var_mean(given, **named)[0]),
                    ("std_mean", torch.std_mean(given, **named)[0] ** 2),
                ]
                for name, got in both:
                    context.close(got, spread, bound=32.0, cancel=64.0, what=f"{name} {what}")
                    kept = [1 if d in gone else n for d, n in enumerate(shape)]
                    right_shape = kept if keep else [n for d, n in enumerate(shape) if d not in gone]
                    context.exact(str(tuple(got.shape)), str(tuple(right_shape)), what=f"shape of {name} {what}")
                context.close(
                    torch.var_mean(given, **named)[1],
                    list(means.values()),
                    bound=8.0,
                    cancel=8.0,
                    what=f"mean of var_mean {what}",
                )
        for unbiased in (False, True):
            whole = [sum((v - means[k]) ** 2 for v in g) / (len(g) - unbiased) for k, g in groups.items()]
            context.close(
                given.var(dims, unbiased=unbiased), whole, bound=32.0, cancel=64.0, what=f"var {dims}, {unbiased=}"
            )
            context.close(
                given.std(dims, unbiased=unbiased) ** 2, whole, bound=32.0, cancel=64.0, what=f"std {dims}, {unbiased=}"
            )
