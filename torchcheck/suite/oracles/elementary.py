"""Elementary functions, their derivatives and their domains: `math` for values, `tape` for derivatives.

A derivative is written as torch documents or must compute it, from the input `x` and the rounded result `y`, on the
tape's numbers: so its error bound follows the roundings and cancellations of that formula (1 - y*y near saturation, an
exponential of a rounded square), in whatever format it is stored on the way.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .tape import Num, cos, exp, log, sin, sqrt

NORMAL = statistics.NormalDist()
ROOT_PI = math.sqrt(math.pi)
LN2, LN10 = math.log(2.0), math.log(10.0)


@dataclass(frozen=True)
class Unary:
    """f of one number.

    Attributes:
        value: f.
        slope: (x, y) -> f'(x), or None where it is zero everywhere.
        low: lower end of the inputs.
        high: upper end.
        cancel: magnitude that cancels inside f.
        inplace: whether torch has an in-place form.
    """

    value: Callable[[float], float]
    slope: Callable[[Num, Num], Num] | None
    low: float = -4.0
    high: float = 4.0
    cancel: float = 0.0
    inplace: bool = True


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


def _digamma(x: float) -> float:
    """Recurrence up to 20, then the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    shift = 0.0
    while x < 20:
        shift -= 1 / x
        x += 1
    s = 1 / (x * x)
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s / 132))))
    return shift + math.log(x) - 0.5 / x - series


def _one(x: Num) -> Num:
    return Num(1.0, 0.0, ((x, 0.0, 0.0),))


UNARY: dict[str, Unary] = {
    "exp": Unary(math.exp, lambda _, y: y, -9, 9),
    "exp2": Unary(lambda x: 2.0**x, lambda _, y: y * LN2, -9, 9),
    "expm1": Unary(math.expm1, lambda _, y: y + 1, -5, 5),
    "log": Unary(math.log, lambda x, _: 1 / x, 0.02, 90),
    "log2": Unary(math.log2, lambda x, _: 1 / (x * LN2), 0.02, 90),
    "log10": Unary(math.log10, lambda x, _: 1 / (x * LN10), 0.02, 90),
    "log1p": Unary(math.log1p, lambda x, _: 1 / (x + 1), -0.9, 30),
    "sqrt": Unary(math.sqrt, lambda _, y: 1 / (y * 2), 0.01, 90),
    "rsqrt": Unary(lambda x: 1 / math.sqrt(x), lambda _, y: y * y * y * -0.5, 0.01, 90),
    "sin": Unary(math.sin, lambda x, _: cos(x), -7, 7, cancel=0.01),
    "cos": Unary(math.cos, lambda x, _: -sin(x), -7, 7, cancel=0.01),
    "tan": Unary(math.tan, lambda _, y: y * y + 1, -1.4, 1.4),
    "asin": Unary(math.asin, lambda x, _: 1 / sqrt(1 - x * x), -0.95, 0.95),
    "acos": Unary(math.acos, lambda x, _: -1 / sqrt(1 - x * x), -0.95, 0.95),
    "atan": Unary(math.atan, lambda x, _: 1 / (x * x + 1), -9, 9),
    "sinh": Unary(math.sinh, lambda x, _: (exp(x) + exp(-x)) * 0.5),
    "cosh": Unary(math.cosh, lambda x, _: (exp(x) - exp(-x)) * 0.5),
    "tanh": Unary(math.tanh, lambda _, y: 1 - y * y),
    "asinh": Unary(math.asinh, lambda x, _: 1 / sqrt(x * x + 1), -9, 9),
    "acosh": Unary(math.acosh, lambda x, _: 1 / sqrt(x * x - 1), 1.2, 9),
    "atanh": Unary(math.atanh, lambda x, _: 1 / (1 - x * x), -0.9, 0.9),
    "erf": Unary(math.erf, lambda x, _: exp(-(x * x)) * (2 / ROOT_PI), -2.5, 2.5),
    "erfc": Unary(math.erfc, lambda x, _: exp(-(x * x)) * (-2 / ROOT_PI), -2, 2),
    "erfinv": Unary(
        lambda x: NORMAL.inv_cdf((x + 1) / 2) / math.sqrt(2),
        lambda _, y: exp(y * y) * (ROOT_PI / 2),
        -0.9,
        0.9,
        cancel=1.0,
    ),
    "lgamma": Unary(math.lgamma, lambda x, _: Num(_digamma(x.value), 4.0 + 4 / x.value), 0.3, 9, cancel=2.0),
    "digamma": Unary(_digamma, None, 0.3, 9, cancel=2.0),
    "reciprocal": Unary(lambda x: 1 / x, lambda _, y: -(y * y), 0.1, 90),
    "square": Unary(lambda x: x * x, lambda x, _: x * 2),
    "sigmoid": Unary(lambda x: 1 / (1 + math.exp(-x)), lambda _, y: y * (1 - y), -6, 6),
    "logit": Unary(lambda x: math.log(x / (1 - x)), lambda x, _: 1 / (x * (1 - x)), 0.02, 0.9, cancel=2.0),
    "sinc": Unary(
        lambda x: math.sin(math.pi * x) / (math.pi * x),
        lambda x, _: (cos(x * math.pi) * x * math.pi - sin(x * math.pi)) / (x * x * math.pi),
        0.3,
        1.7,
        cancel=2.0,
    ),
    "abs": Unary(abs, lambda x, _: _one(x) * _sign(x.value)),
    "neg": Unary(lambda x: -x, lambda x, _: -_one(x)),
    "deg2rad": Unary(math.radians, lambda x, _: _one(x) * (math.pi / 180), -400, 400),
    "rad2deg": Unary(math.degrees, lambda x, _: _one(x) * (180 / math.pi)),
    "sign": Unary(_sign, None),
    "floor": Unary(lambda x: float(math.floor(x)), None, -9, 9),
    "ceil": Unary(lambda x: float(math.ceil(x)), None, -9, 9),
    "round": Unary(lambda x: float(round(x)), None, -9, 9),
    "trunc": Unary(lambda x: float(math.trunc(x)), None, -9, 9),
    "frac": Unary(lambda x: x - math.trunc(x), lambda x, _: _one(x), -9, 9),
    "positive": Unary(lambda x: x, lambda x, _: _one(x), inplace=False),
}
# These keep what they are given or pick a neighbour: no rounding at all.
EXACT = {"abs", "neg", "sign", "floor", "ceil", "round", "trunc", "frac", "positive"}


@dataclass(frozen=True)
class Binary:
    """f of two numbers.

    Attributes:
        value: f.
        slopes: (a, b, y) -> f by a and f by b, or None where torch defines none.
        low: lower end of the inputs.
        high: upper end.
        inplace: whether torch has an in-place form.
        cancel: magnitude that cancels inside f.
        dyadic: take powers of two for b, so that a / b is exact and its integer part beyond doubt.
    """

    value: Callable[[float, float], float]
    slopes: tuple[Callable[[Num, Num, Num], Num], Callable[[Num, Num, Num], Num]] | None
    low: float = -4.0
    high: float = 4.0
    inplace: bool = True
    cancel: float = 0.0
    dyadic: bool = False


def _share(a: float, b: float) -> float:
    return 1.0 if a > b else 0.5 if a == b else 0.0


BINARY: dict[str, Binary] = {
    "add": Binary(lambda a, b: a + b, (lambda a, _, __: _one(a), lambda _, b, __: _one(b))),
    "sub": Binary(lambda a, b: a - b, (lambda a, _, __: _one(a), lambda _, b, __: -_one(b))),
    "mul": Binary(lambda a, b: a * b, (lambda _, b, __: b, lambda a, _, __: a)),
    "div": Binary(lambda a, b: a / b, (lambda _, b, __: 1 / b, lambda _, b, y: -(y / b)), 0.25, 8),
    "pow": Binary(
        lambda a, b: a**b,
        (lambda a, b, y: y / a * b, lambda a, _, y: y * log(a)),
        0.5,
        3,
    ),
    "atan2": Binary(math.atan2, (lambda a, b, _: b / (a * a + b * b), lambda a, b, _: -(a / (a * a + b * b))), 0.25, 8),
    "hypot": Binary(math.hypot, (lambda a, _, y: a / y, lambda _, b, y: b / y)),
    "fmod": Binary(
        math.fmod,
        (lambda a, _, __: _one(a), lambda a, b, __: -_one(b) * float(math.trunc(a.value / b.value))),
        -9,
        9,
        dyadic=True,
    ),
    "remainder": Binary(
        lambda a, b: a - b * math.floor(a / b),
        (lambda a, _, __: _one(a), lambda a, b, __: -_one(b) * float(math.floor(a.value / b.value))),
        -9,
        9,
        cancel=8.0,
        dyadic=True,
    ),
    "maximum": Binary(
        max,
        (
            lambda a, b, _: _one(a) * _share(a.value, b.value),
            lambda a, b, _: _one(b) * _share(b.value, a.value),
        ),
        inplace=False,
    ),
    "minimum": Binary(
        min,
        (
            lambda a, b, _: _one(a) * _share(b.value, a.value),
            lambda a, b, _: _one(b) * _share(a.value, b.value),
        ),
        inplace=False,
    ),
    "logaddexp": Binary(
        lambda a, b: max(a, b) + math.log1p(math.exp(-abs(a - b))),
        (lambda a, _, y: exp(a - y), lambda _, b, y: exp(b - y)),
        inplace=False,
        cancel=4.0,
    ),
    "xlogy": Binary(lambda a, b: a * math.log(b), (lambda _, b, __: log(b), lambda a, b, _: a / b), 0.25, 8),
    "copysign": Binary(
        math.copysign,
        (lambda a, b, _: _one(a) * (_sign(a.value) * math.copysign(1, b.value)), lambda _, b, __: _one(b) * 0),
    ),
}
EXACT_BINARY = {"fmod", "maximum", "minimum", "copysign"}
