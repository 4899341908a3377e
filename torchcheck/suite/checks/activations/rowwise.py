"""Softmax, Softmin, Softmax2d and LogSoftmax along any dimension, odd lengths included."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...oracles.softmax import FAMILY, Family, Judged, Units
from ...pattern import Pattern, rounded
from ...registry import FLOATS, check
from .samples import upstream

if TYPE_CHECKING:
    from ...context import Context

ORACLE = "exponentials and an exactly rounded sum in float64, errors bounded by counting roundings"
Shape = tuple[int, ...]
# Around the widths of SIMD registers and warps, and past one block of a reduction; each as the last dimension.
LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127)
PLACES: tuple[tuple[Shape, int], ...] = (((5, 17), 1), ((17, 6), 0), ((3, 9, 5), 1), ((2, 33, 16), 1), ((19,), 0))
LONG: tuple[tuple[Shape, int], ...] = (((2, 1025), 1), ((1031, 2), 0))
# More than 32,768 numbers: rows are shared out between threads.
WIDE: Shape = (517, 67)


def needs(row: Family) -> tuple[str, ...]:
    """Name the class that a row is about."""
    return (f"torch.nn.{row.module}",)


def places(context: Context, row: Family) -> Iterator[tuple[Shape, int]]:
    """Give shapes and the dimension to work along."""
    if row.fixed is not None:
        yield from (((2, 5, 3, 4), 1), ((3, 33, 2, 3), 1), ((4, 2, 3), 0))
        return
    yield from PLACES
    if context.dtype_name == "float32" and context.at_least("default"):
        yield from (((3, n), 1) for n in LENGTHS)
        yield from LONG
    if context.at_least("full"):
        yield from (((2, n), 1) for n in (255, 256, 257, 511, 513, 1023, 2049, 4097))


def slices(shape: Shape, dim: int) -> Iterator[list[int]]:
    """Give the row-major places of each row along `dim`."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    others = [range(n) if i != dim else range(1) for i, n in enumerate(shape)]
    for index in itertools.product(*others):
        start = sum(i * s for i, s in zip(index, strides))
        yield [start + k * strides[dim] for k in range(shape[dim])]


def numbers(context: Context, count: int, *salt: object) -> list[float]:
    """Draw inputs: logits of the usual size, and a few that stand out."""
    rng = context.rng(*salt)
    return rounded(
        [rng.uniform(-20.0, 20.0) if i % 11 == 0 else rng.uniform(-4.0, 4.0) for i in range(count)], context.format
    )


def gradients(context: Context, count: int, *salt: object) -> list[float]:
    """Draw upstream gradients, every bit of the dtype in use."""
    return upstream(context.format, context.rng("upstream", *salt), count)


def value(context: Context, row: Family, xs: Sequence[float], along: Sequence[list[int]]) -> Pattern:
    """Work out the values, row by row, and put them where they belong."""
    units = Units.of(context.format, context.device.partition(":")[0])
    return _pattern(context, xs, along, [row.forward([xs[i] for i in at], units) for at in along])


def slope(
    context: Context, row: Family, xs: Sequence[float], gs: Sequence[float], along: Sequence[list[int]]
) -> Pattern:
    """Work out the gradients, row by row, and put them where they belong."""
    units = Units.of(context.format, context.device.partition(":")[0])
    judged = [row.backward([xs[i] for i in at], [gs[i] for i in at], units) for at in along]
    return _pattern(context, list(zip(xs, gs)), along, judged)


def _pattern(context: Context, given: Sequence[Any], along: Sequence[list[int]], judged: Sequence[Judged]) -> Pattern:
    values, reach = [0.0] * len(given), [0.0] * len(given)
    for at, row in zip(along, judged):
        for place, number, far in zip(at, *row):
            values[place], reach[place] = number, far
    return Pattern(context.format, given, values, reach, 8.0)


def module(context: Context, row: Family, dim: int) -> Any:
    """Make the module for a dimension."""
    kind = getattr(context.torch.nn, row.module)
    return kind() if row.fixed is not None else kind(dim)


@check(oracle=ORACLE, level="quick", dtypes=FLOATS, each=FAMILY, needs=needs)
def forward(context: Context, row: Family) -> None:
    """{row} gives the right value along every dimension, for every length."""
    for shape, dim in places(context, row):
        xs, along = numbers(context, math.prod(shape), shape), list(slices(shape, dim))
        x = context.tensor(xs).reshape(shape)
        y = module(context, row, dim)(x)
        right = value(context, row, xs, along).judge(context, y, x, f"value, shape {shape}, dim {dim}")
        if right and row.module != "LogSoftmax":
            _sums(context, context.values(y), along)


@check(oracle=ORACLE, level="quick", dtypes=FLOATS, each=FAMILY, needs=needs)
def backward(context: Context, row: Family) -> None:
    """{row} gives the right gradient along every dimension, for every length."""
    for shape, dim in places(context, row):
        xs, gs = numbers(context, math.prod(shape), shape), gradients(context, math.prod(shape), shape)
        x = context.tensor(xs).reshape(shape).requires_grad_()
        y = module(context, row, dim)(x)
        (gradient,) = context.torch.autograd.grad(y, x, context.tensor(gs).reshape(shape))
        right = slope(context, row, xs, gs, list(slices(shape, dim)))
        right.judge(context, gradient, x, f"gradient, shape {shape}, dim {dim}")


@check(oracle=ORACLE, each=FAMILY, needs=needs)
def layouts(context: Context, row: Family) -> None:
    """{row} is right for more than 32,768 numbers, on views, and through its function, method and operators."""
    rows, length = 5, WIDE[1]
    xs, gs = numbers(context, rows * length), gradients(context, rows * length)
    along = list(slices((rows, length), 1))
    values, slopes = value(context, row, xs, along), slope(context, row, xs, gs, along)
    for name, x, g, dim in _arrangements(context, row, xs, gs):
        leaf = x.detach().requires_grad_()
        order = (*(i for i in range(x.dim()) if i != dim % x.dim()), dim % x.dim())
        y = module(context, row, dim)(leaf)
        (gradient,) = context.torch.autograd.grad(y, leaf, g)
        like = x.permute(order)
        values.judge(context, y.permute(order), like, f"value, {name}")
        slopes.judge(context, gradient.permute(order), like, f"gradient, {name}")
    x, g = context.tensor(xs).reshape(rows, length), context.tensor(gs).reshape(rows, length)
    if row.name in ("softmax", "log_softmax"):
        for name, result in _spellings(context, row.name, x):
            values.judge(context, result, x, name)
        for name, result in _operators(context, row.name, x, g):
            slopes.judge(context, result, x, name)


@check(oracle="what -inf, +inf and NaN mean in the formula", level="quick", dtypes=FLOATS)
def masked_softmax(context: Context) -> None:
    """Softmax gives masked places exactly 0 and the others what they would have alone; without any, NaN."""
    functional, inf, rows = context.torch.nn.functional, math.inf, 9
    units = Units.of(context.format, context.device.partition(":")[0])
    for length in (5, 16, 33):
        xs = numbers(context, length, length)
        held = [x if i % 3 else -inf for i, x in enumerate(xs)]
        x = context.tensor([held] * rows)
        y = functional.softmax(x, 1)
        shares = FAMILY[0].forward([v for v in held if v > -inf], units)
        Pattern(context.format, held, *_spread(held, *shares), 8.0).judge(context, y, x, "masked row")
        for name, row in (("no place left", [-inf] * length), ("NaN", [*xs[1:], math.nan])):
            for call in (functional.softmax, functional.log_softmax):
                lost = context.values(call(context.tensor([row] * rows), 1))
                context.true(all(map(math.isnan, lost)), what=f"{name}: NaN")
    flat = context.values(functional.softmax(context.tensor([[1000.0] * 8, [-1000.0] * 8]), 1))
    context.exact(flat, [0.125] * 16, what="equal logits, however large, give equal shares")


def _spread(held: list[float], values: list[float], reach: list[float]) -> tuple[list[float], list[float]]:
    left = iter(zip(values, reach))
    pairs = [next(left) if x > -math.inf else (0.0, 0.0) for x in held]  # what is masked is 0 exactly
    return [v for v, _ in pairs], [r for _, r in pairs]


def _sums(context: Context, values: Sequence[float], along: Sequence[list[int]]) -> None:
    n = len(along[0])
    # Each share is rounded once to the storage format, and the sum of n of them is off by the shares' errors.
    far = max(abs(math.fsum(values[i] for i in row) - 1.0) for row in along)
    context.within(far, (32 + 2 * math.sqrt(n)) * context.format.u, what=f"{n} shares sum to 1", unit="absolute error")
    context.true(min(values) >= 0 and max(values) <= 1, what="shares lie in [0, 1]", got=[min(values), max(values)])


def _arrangements(
    context: Context, row: Family, xs: list[float], gs: list[float]
) -> Iterator[tuple[str, Any, Any, int]]:
    rows, length = WIDE
    times = rows // 5 + 1
    many, upstream = [context.tensor((period * times)[: rows * length]).reshape(rows, length) for period in (xs, gs)]
    if row.fixed is not None:
        # (N, C, H, W) with the rows of numbers along C: as channels-last memory, and copied to the usual one.
        x, g = (t.reshape(11, 47, 1, length).permute(0, 3, 1, 2) for t in (many, upstream))
        yield "channels last", x, g, 1
        yield "channels first", x.contiguous(), g.contiguous(), 1
        return
    yield "many rows", many, upstream, 1
    yield "transposed", many.t(), upstream.t(), 0
    yield "down the columns", many.t().contiguous(), upstream.t().contiguous(), 0
    yield (
        "middle dimension",
        many.reshape(11, 47, length).transpose(1, 2),
        upstream.reshape(11, 47, length).transpose(1, 2),
        1,
    )
    yield "a contiguous middle", *(t.reshape(11, 47, length).transpose(1, 2).contiguous() for t in (many, upstream)), 1


def _spellings(context: Context, name: str, x: Any) -> Iterator[tuple[str, Any]]:
    torch = context.torch
    yield f"functional.{name}", getattr(torch.nn.functional, name)(x, dim=1)
    yield f"functional.{name}(dtype)", getattr(torch.nn.functional, name)(x, dim=1, dtype=x.dtype)
    yield f"torch.{name}", getattr(torch, name)(x, 1)
    yield f"Tensor.{name}", getattr(x, name)(-1)
    yield f"torch.special.{name}", getattr(torch.special, name)(x, 1)
    operator = getattr(torch.ops.aten, f"_{name}")
    yield f"aten._{name}", operator(x, 1, False)
    yield f"aten._{name}.out", operator.out(x, 1, False, out=torch.full_like(x, math.nan))


def _operators(context: Context, name: str, x: Any, g: Any) -> Iterator[tuple[str, Any]]:
    torch = context.torch
    operator = getattr(torch.ops.aten, f"_{name}_backward_data")
    y = getattr(torch, name)(x, 1)
    yield f"aten._{name}_backward_data", operator(g, y, 1, x.dtype)
    out = {"softmax": "grad_input", "log_softmax": "out"}[name]
    yield f"aten._{name}_backward_data.out", operator.out(g, y, 1, x.dtype, **{out: torch.full_like(x, math.nan)})
