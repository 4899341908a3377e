"""Orders of what compares strangely: NaN, zeros of both signs, infinities, the ends of integer types, ties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import trajectory
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

LISTS = "Python's own lists, NaN above everything"
INF, NAN = math.inf, math.nan
STRANGE = (NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1.0, 2.5, NAN)
LENGTHS = (10, 37, 300)  # networks, blocks and vectors of sorting routines


def _key(x: float) -> tuple[bool, float]:
    """Order NaN after all numbers, as torch documents and NumPy does; zeros are equal whatever their sign."""
    return (x != x, 0.0 if x != x else x)  # noqa: PLR0124 - NaN


def _order(row: list[Any], *, down: bool) -> list[int]:
    """Give the stable order of a row: ties keep their places, in both directions (so does Python's `reverse`)."""
    return sorted(range(len(row)), key=lambda i: _key(row[i]), reverse=down)


@check(oracle=LISTS, dtypes=("float32", "float64", "bfloat16", "float16"))
@trajectory.unthreaded
def nan(context: Context) -> None:
    """Sorting, topk, kthvalue and msort put NaN last, up, and first, down; ties keep their order where asked."""
    torch, rng = context.torch, context.rng()
    for length in LENGTHS:
        rows = [[*STRANGE[: rng.randint(1, 10)], *rng.choices(STRANGE[1:9], k=length)][:length] for _ in range(3)]
        for row in rows:
            rng.shuffle(row)
        x = context.tensor(rows)
        for dim, held in ((1, x), (0, x.t().contiguous()), (-1, torch.stack((x, x), -1)[..., 0])):
            for down in (False, True):
                orders = [_order(row, down=down) for row in rows]
                places = _laid(orders, dim)
                values = _laid([[row[i] for i in order] for row, order in zip(rows, orders)], dim)
                what = f"{length} long, dim {dim}, descending={down}"
                got, where = torch.sort(held, dim=dim, descending=down, stable=True)
                context.exact(got, values, what=f"sort, {what}")
                context.exact(where, places, what=f"places of sort, {what}")
                got, where = held.sort(dim, down)
                context.exact(got, values, what=f"Tensor.sort, {what}")
                context.exact(held.gather(dim, where), values, what=f"what sort's places name, {what}")
                where = torch.argsort(held, dim=dim, descending=down, stable=True)
                context.exact(where, places, what=f"argsort, {what}")
                got, where = held.topk(5, dim, largest=down)
                kept = _laid([[row[i] for i in order[:5]] for row, order in zip(rows, orders)], dim)
                context.exact(got, kept, what=f"topk, {what}")
                context.exact(held.gather(dim, where), kept, what=f"what topk's places name, {what}")
        ordered = [sorted(row, key=_key) for row in rows]
        context.exact(torch.msort(x.t()), _laid(ordered, 0), what=f"msort, {length} long")
        for k in (1, length // 2, length):
            context.exact(x.kthvalue(k, 1)[0], [row[k - 1] for row in ordered], what=f"kthvalue({k}) of {length}")


def _laid(rows: list[list[Any]], dim: int) -> list[Any]:
    return [v for line in (zip(*rows) if dim == 0 else rows) for v in line]


@check(oracle="NaN wins, as documented", dtypes=("float32", "float64", "bfloat16", "float16"))
@trajectory.unthreaded
def extremes_with_nan(context: Context) -> None:
    """Extremes, medians and running extremes of rows with NaN are NaN, at its place; nan-skipping ones skip it."""
    torch, rng = context.torch, context.rng()
    for length in (3, 17, 129):
        plain = [float(rng.randint(-9, 9)) for _ in range(length)]
        at = rng.randrange(length)
        row = [NAN if i == at else v for i, v in enumerate(plain)]
        x = context.tensor([row, plain])
        for name in ("max", "min", "median"):
            values, where = getattr(x, name)(1)
            right = {"max": max(plain), "min": min(plain), "median": sorted(plain)[(length - 1) // 2]}[name]
            context.exact(values, [NAN, right], what=f"{name} over a dim of {length}")
            context.exact(where[:1], [at], what=f"place of {name} of {length}")
            context.exact(getattr(torch, name)(x[0]), [NAN], what=f"{name} of everything, {length}")
        for name, own in (("amax", max), ("amin", min)):
            context.exact(getattr(torch, name)(x, 1), [NAN, own(plain)], what=f"{name} of {length}")
        for name in ("argmax", "argmin"):
            context.exact(getattr(x[0], name)(), [at], what=f"{name} of {length}")
        context.exact(torch.stack(list(torch.aminmax(x[0]))), [NAN, NAN], what=f"aminmax of {length}")
        kept = sorted(v for v in row if v == v)  # noqa: PLR0124 - NaN
        context.exact(x[:1].nanmedian(1)[0], [kept[(len(kept) - 1) // 2]], what=f"nanmedian of {length}")
        for name, own in (("cummax", max), ("cummin", min)):
            running = [own(plain[: i + 1]) if i < at else NAN for i in range(length)]
            context.exact(getattr(torch, name)(x[0], 0)[0], running, what=f"{name} of {length}")


ENDS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


@check(oracle="Python's own lists", dtypes=(*ENDS, "uint8"))
@trajectory.unthreaded
def integers(context: Context) -> None:
    """Integers from one end of their type to the other are ordered as Python orders them, with stable ties."""
    torch, rng = context.torch, context.rng()
    bits = ENDS.get(context.dtype_name or "", 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if bits else (0, 255)
    pool = [low, low + 1, high, high - 1, 0, 1, *([-1] if bits else []), *(rng.randint(low, high) for _ in range(5))]
    for length in LENGTHS:
        row = rng.choices(pool, k=length)
        x = context.tensor(row)
        for down in (False, True):
            order = _order(row, down=down)
            got, where = torch.sort(x, descending=down, stable=True)
            context.exact(got, [row[i] for i in order], what=f"sort of {length}, descending={down}")
            context.exact(where, order, what=f"places of sort of {length}, descending={down}")
            top = x.topk(4, largest=down)[0]
            context.exact(top, [row[i] for i in order[:4]], what=f"topk of {length}, largest={down}")
        context.exact([int(x.max()), int(x.min())], [max(row), min(row)], what=f"extremes of {length}")
        context.exact(x.max(0)[0], [max(row)], what=f"max over a dim of {length}")
        context.exact(x.median(), [sorted(row)[(length - 1) // 2]], what=f"median of {length}")
        values, back, counts = torch.unique(x, return_inverse=True, return_counts=True)
        right = sorted(set(row))
        context.exact(values, right, what=f"unique of {length}")
        context.exact(back, [right.index(v) for v in row], what=f"inverse of unique of {length}")
        context.exact(counts, [row.count(v) for v in right], what=f"counts of unique of {length}")
