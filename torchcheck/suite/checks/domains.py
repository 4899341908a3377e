"""Elementwise functions over all that a format holds: huge and tiny arguments, overflow, edges of domains, NaN."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..compare import Format
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import Context

LIBM = "math in float64"
INF, NAN = math.inf, math.nan
# As for moderate arguments: 4 ulp in float32, 8 in float64, one rounding or two of a narrow format. An argument is
# exact, so its size is no excuse: libraries reduce it with as many digits of pi as it takes (Payne and Hanek).
BOUND = {"float64": 16.0, "float32": 8.0, "bfloat16": 2.5, "float16": 2.5}
EVERYWHERE, POSITIVE, ABOVE_ONE, WITHIN_ONE = "real", "positive", "above one", "within one"
# name: (value, where, magnitude that cancels near a zero which is not at the origin).
WHOLE: dict[str, tuple[Callable[[float], float], str, float]] = {
    "sin": (math.sin, EVERYWHERE, 0.05),
    "cos": (math.cos, EVERYWHERE, 0.05),
    "tan": (math.tan, EVERYWHERE, 0.05),
    "exp": (math.exp, EVERYWHERE, 0.0),
    "exp2": (lambda x: 2.0**x, EVERYWHERE, 0.0),
    "expm1": (math.expm1, EVERYWHERE, 0.0),
    "sinh": (math.sinh, EVERYWHERE, 0.0),
    "cosh": (math.cosh, EVERYWHERE, 0.0),
    "tanh": (math.tanh, EVERYWHERE, 0.0),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)), EVERYWHERE, 0.0),
    "atan": (math.atan, EVERYWHERE, 0.0),
    # In bfloat16 some releases take Abramowitz and Stegun's 7.1.26, off by 1.5e-7 absolute: 4e-5 of its roundoff.
    "erf": (math.erf, EVERYWHERE, 4e-5),
    "erfc": (math.erfc, EVERYWHERE, 0.0),
    "abs": (abs, EVERYWHERE, 0.0),
    "neg": (lambda x: -x, EVERYWHERE, 0.0),
    "square": (lambda x: x * x, EVERYWHERE, 0.0),
    "reciprocal": (lambda x: 1 / x, EVERYWHERE, 0.0),
    "log": (math.log, POSITIVE, 0.05),
    "log2": (math.log2, POSITIVE, 0.05),
    "log10": (math.log10, POSITIVE, 0.05),
    "log1p": (math.log1p, POSITIVE, 0.0),
    "sqrt": (math.sqrt, POSITIVE, 0.0),
    "rsqrt": (lambda x: 1 / math.sqrt(x), POSITIVE, 0.0),
    "asinh": (math.asinh, EVERYWHERE, 0.0),
    "acosh": (math.acosh, ABOVE_ONE, 0.05),
    "asin": (math.asin, WITHIN_ONE, 0.0),
    "acos": (math.acos, WITHIN_ONE, 0.05),
    "atanh": (math.atanh, WITHIN_ONE, 0.0),
}
# SLEEF promises asinh and acosh up to the root of the largest number, log1p up to 1e38 and 1e307: infinite above.
CAPS: dict[str, Callable[[Format], int]] = {
    "asinh": lambda fmt: fmt.emax // 2 - 2,
    "acosh": lambda fmt: fmt.emax // 2 - 2,
    "log1p": lambda fmt: fmt.emax - 5,
}
COUNT = 61  # prime: every value meets every lane of a vector, and the tail


def _arguments(context: Context, name: str, where: str) -> list[float]:
    """Draw arguments evenly over all exponents of the format, and over those between 2**-4 and 2**8."""
    fmt, rng = context.format, context.rng()
    top = CAPS[name](fmt) if name in CAPS else fmt.emax
    low, high = (0, top) if where == ABOVE_ONE else (fmt.emin, top)
    spans = [(low, high), (max(low, -4), min(high, 8))]
    if where == WITHIN_ONE:
        spans = [(low, -2), (-4, -1)]
    found = []
    for i in range(COUNT):
        x = fmt.round(math.ldexp(rng.uniform(1.0, 1.99), rng.randint(*spans[i % 2])))
        found.append(-x if where in (EVERYWHERE, WITHIN_ONE) and rng.random() < 0.5 else x)
    return found


def _value(function: Callable[[float], float], x: float) -> float:
    try:
        return function(x)
    except OverflowError:
        return -INF if function is math.sinh and x < 0 else INF


def _near_overflow(y: float, fmt: Format) -> bool:
    """Say whether a result lies where a library may still finish or already give infinity (SLEEF promises neither)."""
    return fmt.largest / 16 < abs(y) < INF and abs(y) / 16 < fmt.largest


@check(oracle=LIBM, dtypes=FLOATS, each=WHOLE)
@trajectory.unthreaded
def whole(context: Context, row: Any) -> None:
    """{row} is right to a few ulp over the whole range of the format."""
    function, where, cancel = row
    name = context.ident.split(".")[1]
    given = [x for x in _arguments(context, name, where) if not _near_overflow(_value(function, x), context.format)]
    right = [_value(function, x) for x in given]
    x = passes.tiled(context, given, 331)
    bound = 0.0 if name in ("abs", "neg") else BOUND[context.format.name]
    call = getattr(context.torch, name)
    spread = context.torch.stack((x, x), 1)[:, 0]
    for form, got in (("", call(x)), (" of strided data", call(spread)), (" of one number", call(x[:1]))):
        expected = right if got.numel() > 1 else right[:1]
        passes.judge_period(context, got, expected, bound=bound, cancel=cancel, what=name + form)


# What IEEE 754 (§9.2.1) and C99's annex F say at zeros, infinities and NaN; inf - inf and domain errors are NaN.
POINTS = (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0)
EDGES: dict[str, tuple[float | None, ...]] = {
    "sin": (0.0, -0.0, NAN, NAN, NAN, None, None),
    "cos": (1.0, 1.0, NAN, NAN, NAN, None, None),
    "tan": (0.0, -0.0, NAN, NAN, NAN, None, None),
    "exp": (1.0, 1.0, INF, 0.0, NAN, None, None),
    "exp2": (1.0, 1.0, INF, 0.0, NAN, 2.0, 0.5),
    "expm1": (0.0, -0.0, INF, -1.0, NAN, None, None),
    "log": (-INF, -INF, INF, NAN, NAN, 0.0, NAN),
    "log2": (-INF, -INF, INF, NAN, NAN, 0.0, NAN),
    "log10": (-INF, -INF, INF, NAN, NAN, 0.0, NAN),
    "log1p": (0.0, -0.0, INF, NAN, NAN, None, -INF),
    "sqrt": (0.0, -0.0, INF, NAN, NAN, 1.0, NAN),
    "rsqrt": (INF, None, 0.0, NAN, NAN, 1.0, NAN),
    "reciprocal": (INF, -INF, 0.0, -0.0, NAN, 1.0, -1.0),
    "asin": (0.0, -0.0, NAN, NAN, NAN, None, None),
    "acos": (None, None, NAN, NAN, NAN, 0.0, None),
    "atan": (0.0, -0.0, None, None, NAN, None, None),
    "sinh": (0.0, -0.0, INF, -INF, NAN, None, None),
    "cosh": (1.0, 1.0, INF, INF, NAN, None, None),
    "tanh": (0.0, -0.0, 1.0, -1.0, NAN, None, None),
    "asinh": (0.0, -0.0, INF, -INF, NAN, None, None),
    "acosh": (NAN, NAN, INF, NAN, NAN, 0.0, NAN),
    "atanh": (0.0, -0.0, NAN, NAN, NAN, INF, -INF),
    "erf": (0.0, -0.0, 1.0, -1.0, NAN, None, None),
    "erfc": (1.0, 1.0, 0.0, 2.0, NAN, None, None),
    "sigmoid": (0.5, 0.5, 1.0, 0.0, NAN, None, None),
    "lgamma": (INF, INF, INF, INF, NAN, 0.0, INF),
    "floor": (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0),
    "ceil": (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0),
    "trunc": (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0),
    "round": (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0),
    "abs": (0.0, 0.0, INF, INF, NAN, 1.0, 1.0),
    "neg": (-0.0, 0.0, -INF, INF, NAN, -1.0, 1.0),
    "square": (0.0, 0.0, INF, INF, NAN, 1.0, 1.0),
}


@check(oracle="IEEE 754 and annex F of C", dtypes=("float64", "float32", "bfloat16", "float16"))
@trajectory.unthreaded
def edges(context: Context) -> None:
    """Elementwise functions at zeros, infinities, NaN and the ends of their domains are what IEEE 754 says."""
    for name, values in EDGES.items():
        kept = [(x, y) for x, y in zip(POINTS, values) if y is not None]
        # Vector bodies and scalar tails are other code: a whole vector of points, and a few of them.
        for count in (1, 5):
            given = [x for x, _ in kept] * count
            got = getattr(context.torch, name)(context.tensor(given))
            context.exact(got, [y for _, y in kept] * count, what=name, given=given)


LOGITS: dict[str, Callable[[Any, float, Any], Any]] = {
    "torch.logit": lambda t, eps, x: t.logit(x, eps=eps),
    "Tensor.logit": lambda _, eps, x: x.logit(eps),
    "special.logit": lambda t, eps, x: t.special.logit(x, eps=eps),
    "in place": lambda _, eps, x: x.clone().logit_(eps),
    "with out=": lambda t, eps, x: t.logit(x, eps, out=t.empty_like(x)),
}


@check(oracle="log(z / (1 - z)) of the clamped input", dtypes=("float64", "float32"))
@trajectory.unthreaded
def logit(context: Context) -> None:
    """Logit clamps its input to [eps, 1 - eps] where eps was given, in value and gradient, and not else."""
    torch, fmt = context.torch, context.format
    given = [-2.0, 0.0, 2.0**-12, 0.0625, 0.375, 0.5, 0.75, 0.96875, 1 - 2.0**-12, 1.0, 3.0]
    for eps in (2.0**-10, 0.125):
        clamped = [min(max(v, eps), 1 - eps) for v in given]
        right = [math.log(z / (1 - z)) for z in clamped]
        slopes = [1 / (v * (1 - v)) if eps < v < 1 - eps else 0.0 for v in given]
        for name, spelling in LOGITS.items():
            call = functools.partial(spelling, torch, eps)
            # 1 - z, z / (1 - z) and the logarithm round once each: what the first two change is absolute, 2 u or so.
            context.close(call(context.tensor(given)), right, bound=4.0, cancel=2.0, what=f"{name}, eps={eps}")
            if name != "with out=":
                got = passes.backward(context, call, [context.tensor(given)])[1][0]
                context.close(got, slopes, bound=8.0, floor=fmt.tiny, what=f"gradient of {name}, eps={eps}")
    context.exact(torch.logit(context.tensor([0.0, 1.0, -0.5, 1.5, NAN])), [-INF, INF, NAN, NAN, NAN], what="no eps")


@check(oracle="documented conventions, and limits", dtypes=("float64", "float32"))
@trajectory.unthreaded
def products_of_logarithms(context: Context) -> None:
    """x log y and its kin are 0 where x is 0, NaN where y is, and what the limit says elsewhere."""
    torch = context.torch
    x = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, -1.0, NAN, 0.0]
    y = [0.0, 1.0, INF, -1.0, 0.0, 4.0, INF, 1.0, NAN]
    right = [0.0, 0.0, 0.0, 0.0, -INF, 2 * math.log(4), -INF, NAN, NAN]
    a, b = context.tensor(x), context.tensor(y)
    for name, got in (
        ("xlogy", torch.xlogy(a, b)),
        ("special.xlogy", torch.special.xlogy(a, b)),
        ("Tensor.xlogy", a.xlogy(b)),
        ("in place", a.clone().xlogy_(b)),
        ("special.xlog1py", torch.special.xlog1py(a, b - 1)),
    ):
        context.close(got, right, bound=4.0, what=name)
    context.close(
        torch.special.entr(context.tensor([-1.0, 0.0, 0.25, 1.0, INF, NAN])),
        [-INF, 0.0, -0.25 * math.log(0.25), 0.0, -INF, NAN],
        bound=4.0,
        what="special.entr",
    )
    tails = [-8.0, -5.0, -1.5, 0.0, 1.5, 5.0, 9.0]
    # torch has (1 + erf(x / sqrt(2))) / 2: what rounds there has the size of 1, however small the result.
    normal = [math.erfc(-v / math.sqrt(2)) / 2 for v in tails]
    context.close(torch.special.ndtr(context.tensor(tails)), normal, bound=4.0, cancel=1.0, what="special.ndtr")
    logs = [math.log(v) for v in normal[:4]] + [math.log1p(-math.erfc(v / math.sqrt(2)) / 2) for v in tails[4:]]
    # x / sqrt(2) is rounded and squared; of a probability near 1, 1 - p is: x * x + 1 roundings, 82 at most, twice.
    context.close(torch.special.log_ndtr(context.tensor(tails)), logs, bound=164.0, what="special.log_ndtr")
