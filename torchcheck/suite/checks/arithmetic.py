"""Elementwise arithmetic: every function forward and backward, in every form that torch has of it."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import elementary
from ..oracles.elementary import Binary, Unary
from ..oracles.tape import Num
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context

LIBM = "math in float64; derivatives with their running error"
# A kernel in float32 or float64 is allowed 4 ulp (two steps of a 1-ulp library function and its arithmetic), those of
# the vector library for float64 8; a narrow one computes in float32 and rounds once, or twice (a root, its reciprocal).
FORWARD = {"float64": 16.0, "float32": 8.0, "bfloat16": 2.5, "float16": 2.5}
PERIOD = 61  # prime: every value meets every SIMD lane
UPSTREAM = (1.0, -2.0, 0.5, -0.25, 4.0)


def _length(context: Context) -> int:
    """Give the lanes: thousands in float32, elsewhere just over a thousand."""
    return 4099 if context.dtype_name == "float32" and context.at_least("default") else 1031


def _pool(context: Context, low: float, high: float, salt: str) -> list[float]:
    rng = context.rng(salt)
    return [context.format.round(rng.uniform(low, high)) for _ in range(PERIOD)]


def _tiled(context: Context, values: Sequence[float]) -> Any:
    return passes.tiled(context, values, _length(context))


def _forms(context: Context, name: str, inputs: Sequence[Any], *, inplace: bool) -> list[tuple[str, Any]]:
    """Apply a function in each of its forms: to contiguous and strided data, with out=, in place."""
    function = getattr(context.torch, name)
    found = [("", function(*inputs))]
    if not context.at_least("default") or context.dtype_name != "float32":
        return found
    spread = [context.torch.stack((x, x), 1)[:, 0] for x in inputs]
    found.append((" of strided data", function(*spread)))
    if name != "positive":
        found.append((" with out=", function(*inputs, out=context.torch.empty_like(inputs[0]))))
    if inplace:
        found.append((" in place", getattr(inputs[0].clone(), name + "_")(*inputs[1:])))
    return found


COMMON, RARE = passes.parted(
    elementary.UNARY,
    (
        "exp",
        "log",
        "log1p",
        "expm1",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "erf",
        "reciprocal",
        "abs",
        "round",
    ),
)


@check(oracle=LIBM, level="quick", dtypes=FLOATS, each=COMMON)
@check(oracle=LIBM, dtypes=("float32",), more=("float64",), each=RARE)
def function(context: Context, row: Unary) -> None:
    """{row} is right to a few ulp in all its forms, and so is its derivative."""
    name = context.ident.split(".")[1]
    pool = _pool(context, row.low, row.high, "x")
    x = _tiled(context, pool)
    right = [row.value(v) for v in pool]
    bound = 0.0 if name in elementary.EXACT else FORWARD[context.format.name]
    for form, got in _forms(context, name, [x], inplace=row.inplace):
        passes.judge_period(context, got, right, bound=bound, cancel=row.cancel, what=name + form)
    if row.slope is None and name == "digamma":
        return
    slopes = [row.slope(Num(v), Num(y, 2 * abs(y))) for v, y in zip(pool, right)] if row.slope else []
    _judge_slopes(context, getattr(context.torch, name), [x], [slopes or [Num(0.0)] * PERIOD], name)


def _judge_slopes(
    context: Context, function: Callable[..., Any], inputs: Sequence[Any], slopes: Sequence[Sequence[Num]], name: str
) -> None:
    scale = passes.period(UPSTREAM, PERIOD)
    found = passes.backward(context, function, inputs, scale)[1]
    for side, (got, by) in enumerate(zip(found, slopes)):
        passes.judge_period(
            context,
            got,
            [s.value * g for s, g in zip(by, scale)],
            bound=4.0,
            cancel=[s.error * abs(g) for s, g in zip(by, scale)],
            what=f"gradient of {name}" + (f" by argument {side + 1}" if len(inputs) > 1 else ""),
        )


BASIC, OTHER = passes.parted(elementary.BINARY, ("add", "sub", "mul", "div", "pow", "maximum"))


@check(oracle=LIBM, level="quick", dtypes=FLOATS, each=BASIC)
@check(oracle=LIBM, dtypes=("float32",), more=("float64",), each=OTHER)
def function_of_two(context: Context, row: Binary) -> None:
    """{row} is right to a few ulp in all its forms, and so are both derivatives."""
    name = context.ident.split(".")[1]
    a = _pool(context, row.low, row.high, "a")
    b = _powers_of_two(context, "b") if row.dyadic else _pool(context, row.low, row.high, "b")
    inputs = [_tiled(context, a), _tiled(context, b)]
    right = [row.value(p, q) for p, q in zip(a, b)]
    bound = 0.0 if name in elementary.EXACT_BINARY else FORWARD[context.format.name]
    for form, got in _forms(context, name, inputs, inplace=row.inplace):
        passes.judge_period(context, got, right, bound=bound, cancel=row.cancel, what=name + form)
    if row.slopes:
        numbers = [(Num(p), Num(q), Num(y, 2 * abs(y))) for p, q, y in zip(a, b, right)]
        slopes = [[slope(*three) for three in numbers] for slope in row.slopes]
        _judge_slopes(context, getattr(context.torch, name), inputs, slopes, name)


def _powers_of_two(context: Context, salt: str) -> list[float]:
    rng = context.rng(salt)
    return [rng.choice((-1, 1)) * 2.0 ** rng.randint(-2, 2) for _ in range(PERIOD)]


# name: (in torch, in place, in Python, derivatives by each argument): exact on powers of two up to 4.
FUSED = {
    "addcmul": (
        lambda t, x, y, z: t.addcmul(x, y, z, value=0.5),
        lambda x, y, z: x.addcmul_(y, z, value=0.5),
        lambda x, y, z: x + 0.5 * y * z,
        (lambda *_: 1.0, lambda _, __, z: 0.5 * z, lambda _, y, __: 0.5 * y),
    ),
    "addcdiv": (
        lambda t, x, y, z: t.addcdiv(x, y, z, value=2.0),
        lambda x, y, z: x.addcdiv_(y, z, value=2.0),
        lambda x, y, z: x + 2 * y / z,
        (lambda *_: 1.0, lambda _, __, z: 2 / z, lambda _, y, z: -2 * y / z / z),
    ),
    "lerp": (
        lambda t, x, y, _: t.lerp(x, y, 0.25),
        lambda x, y, _: x.lerp_(y, 0.25),
        lambda x, y, _: x + 0.25 * (y - x),
        (lambda *_: 0.75, lambda *_: 0.25, lambda *_: 0.0),
    ),
    "lerp_tensor": (
        lambda t, x, y, z: t.lerp(x, y, z),
        lambda x, y, z: x.lerp_(y, z),
        lambda x, y, z: x + z * (y - x),
        (lambda _, __, z: 1 - z, lambda _, __, z: z, lambda x, y, _: y - x),
    ),
    "add_alpha": (
        lambda t, x, y, z: t.sub(t.add(x, y, alpha=3), z, alpha=0.5),
        lambda x, y, z: x.add_(y, alpha=3).sub_(z, alpha=0.5),
        lambda x, y, z: x + 3 * y - 0.5 * z,
        (lambda *_: 1.0, lambda *_: 3.0, lambda *_: -0.5),
    ),
    "clamp": (
        # Never at a bound: what the derivative is there has changed between releases.
        lambda t, x, y, _: t.clamp(x, -1.25, 3.0) + t.clamp(y, min=0.75),
        lambda x, y, _: x.clamp_(-1.25, 3.0).add_(y.clone().clamp_(min=0.75)),
        lambda x, y, _: min(max(x, -1.25), 3.0) + max(y, 0.75),
        (lambda x, _, __: float(-1.25 < x < 3), lambda _, y, __: float(y > 0.75), lambda *_: 0.0),
    ),
    "scalars": (
        lambda _, x, y, z: 2 - x * 3 / 4 + (y - 1) * 2 + 8 / z,
        lambda x, y, z: x.mul_(-3).div_(4).add_(2).add_(y.clone().sub_(1).mul_(2)).add_(8 / z),
        lambda x, y, z: 2 - x * 3 / 4 + (y - 1) * 2 + 8 / z,
        (lambda *_: -0.75, lambda *_: 2.0, lambda _, __, z: -8 / z / z),
    ),
}


@check(oracle="powers of two, exact", level="quick", dtypes=("float32",), more=("float64",), each=FUSED)
def composed(context: Context, row: Any) -> None:
    """{row} on powers of two is exact, out of place and in place, with its derivatives."""
    apply, change, value, slopes = row
    pools = [_powers_of_two(context, salt) for salt in "xyz"]
    inputs = [_tiled(context, pool) for pool in pools]
    right = [value(*three) for three in zip(*pools)]
    exactly = {"bound": 0.0}
    passes.judge_period(context, apply(context.torch, *inputs), right, what="value", **exactly)
    passes.judge_period(context, change(inputs[0].clone(), *inputs[1:]), right, what="value in place", **exactly)
    scale = passes.period(UPSTREAM, PERIOD)
    used = [(x, s) for x, s in zip(range(3), slopes) if any(s(*three) for three in zip(*pools))]

    def call(*leaves: Any) -> Any:
        arguments = list(inputs)
        for (i, _), leaf in zip(used, leaves):
            arguments[i] = leaf
        return apply(context.torch, *arguments)

    found = passes.backward(context, call, [inputs[i] for i, _ in used], scale)[1]
    for (i, slope), got in zip(used, found):
        by = [g * slope(*three) for g, three in zip(scale, zip(*pools))]
        passes.judge_period(context, got, by, what=f"gradient by argument {i + 1}", **exactly)


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


@check(oracle="Python's own operators, exact", level="quick", dtypes=("float32", "int32"))
def comparisons(context: Context) -> None:
    """Comparisons and logic agree with Python in every lane, against tensors and numbers."""
    torch, rng = context.torch, context.rng()
    a, b = (rng.choices((-3, -1, 0, 2, 5), k=1031) for _ in "ab")
    x, y = context.tensor(a), context.tensor(b)
    for name in COMPARISONS:
        function = getattr(operator, name)
        context.exact(getattr(torch, name)(x, y), [function(p, q) for p, q in zip(a, b)], what=name)
        context.exact(getattr(x, name)(2), [function(p, 2) for p in a], what=f"{name} with a number")
    for name, both in (("logical_and", operator.and_), ("logical_or", operator.or_), ("logical_xor", operator.xor)):
        context.exact(getattr(torch, name)(x, y), [both(bool(p), bool(q)) for p, q in zip(a, b)], what=name)
    context.exact(torch.logical_not(x), [not p for p in a], what="logical_not")
    context.exact(torch.where(x > y, x, y), [max(p, q) for p, q in zip(a, b)], what="where")
    nan = context.tensor([math.nan, math.inf, -math.inf, 0.0, 1.0], dtype="float32")
    for name, right in (
        ("isnan", [1, 0, 0, 0, 0]),
        ("isinf", [0, 1, 1, 0, 0]),
        ("isfinite", [0, 0, 0, 1, 1]),
        ("signbit", [0, 0, 1, 0, 0]),
    ):
        context.exact(getattr(torch, name)(nan), [bool(v) for v in right], what=name)
    filled = torch.nan_to_num(nan, nan=5.0, posinf=6.0, neginf=7.0)
    context.exact(filled, [5, 6, 7, 0, 1], what="nan_to_num")
