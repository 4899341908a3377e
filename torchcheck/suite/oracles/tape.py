"""Reverse-mode differentiation of plain float64 numbers, with a bound on what rounding may do to each.

An oracle writes a formula once, in ordinary Python on `Num`; its derivatives follow by the chain rule, owing nothing to
torch. Beside every value runs an error bound in units of u, the running error analysis of Wilkinson (Higham, Accuracy
and Stability of Numerical Algorithms, §3.3): a kernel that evaluates the formula in a format of unit roundoff u, in any
order of summation, is off by at most about `u * error`. The same is carried through the backward sweep.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Union

Scalar = Union["Num", float]
_serials = itertools.count()
PRIMITIVE = 2.0  # units of u that exp, log, tanh and their like may be off: 1 ulp (SLEEF u10, glibc)


class Num:
    """A float64 with what it was made of.

    Attributes:
        value: the number.
        error: how far rounding may have moved it, in units of u.
        links: (parent, derivative by it, error of that derivative in units of u).
        serial: grows with every number made, so parents come before what is made of them.
        adjoint: derivative of the seeded outputs by this number, after `backward`.
        adjoint_error: its error, in units of u.
    """

    __slots__ = ("adjoint", "adjoint_error", "error", "links", "serial", "value")

    def __init__(self, value: float, error: float = 0.0, links: tuple[tuple[Num, float, float], ...] = ()) -> None:
        self.value = value
        self.error = error
        self.links = links
        self.serial = next(_serials)
        self.adjoint = 0.0
        self.adjoint_error = 0.0

    def __add__(self, other: Scalar) -> Num:
        if isinstance(other, Num):
            v = self.value + other.value
            return Num(v, self.error + other.error + abs(v), ((self, 1.0, 0.0), (other, 1.0, 0.0)))
        v = self.value + other
        return Num(v, self.error + abs(v), ((self, 1.0, 0.0),))

    __radd__ = __add__

    def __neg__(self) -> Num:
        return Num(-self.value, self.error, ((self, -1.0, 0.0),))

    def __sub__(self, other: Scalar) -> Num:
        return self + (-other)

    def __rsub__(self, other: float) -> Num:
        return (-self) + other

    def __mul__(self, other: Scalar) -> Num:
        if isinstance(other, Num):
            a, b = self.value, other.value
            e = abs(a) * other.error + abs(b) * self.error + abs(a * b)
            return Num(a * b, e, ((self, b, other.error), (other, a, self.error)))
        v = self.value * other
        return Num(v, abs(other) * self.error + abs(v), ((self, other, 0.0),))

    __rmul__ = __mul__

    def __truediv__(self, other: Scalar) -> Num:
        if not isinstance(other, Num):
            return self * (1.0 / other)
        a, b = self.value, other.value
        v, inverse = a / b, 1.0 / abs(b)
        relative = other.error * inverse
        return Num(
            v,
            (self.error + abs(v) * other.error) * inverse + abs(v),
            (
                (self, 1.0 / b, inverse * (relative + 1)),
                (other, -v / b, (self.error * inverse + 2 * abs(v) * (relative + 1)) * inverse),
            ),
        )

    def __rtruediv__(self, other: float) -> Num:
        return Num(other) / self


def _unary(x: Num, value: float, slope: float, curve: float, primitive: float = PRIMITIVE) -> Num:
    """Make f(x) from f, f' and |f''|: both errors are that of x carried over and the kernel's own."""
    error = abs(slope) * x.error + primitive * abs(value)
    return Num(value, error, ((x, slope, abs(curve) * x.error + primitive * abs(slope)),))


def exp(x: Num) -> Num:
    """Exponential."""
    v = math.exp(x.value)
    return _unary(x, v, v, v)


def log(x: Num) -> Num:
    """Natural logarithm of a positive number."""
    return _unary(x, math.log(x.value), 1 / x.value, x.value**-2)


def log1p(x: Num) -> Num:
    """log(1 + x), accurate near 0."""
    return _unary(x, math.log1p(x.value), 1 / (1 + x.value), (1 + x.value) ** -2)


def sqrt(x: Num) -> Num:
    """Square root of a positive number."""
    v = math.sqrt(x.value)
    return _unary(x, v, 0.5 / v, 0.25 / (v * x.value))


def sin(x: Num) -> Num:
    """Sine of radians."""
    v, slope = math.sin(x.value), math.cos(x.value)
    return Num(v, abs(slope) * x.error + PRIMITIVE * abs(v), ((x, slope, abs(v) * x.error + PRIMITIVE * abs(slope)),))


def cos(x: Num) -> Num:
    """Cosine of radians."""
    v, slope = math.cos(x.value), -math.sin(x.value)
    return Num(v, abs(slope) * x.error + PRIMITIVE * abs(v), ((x, slope, abs(v) * x.error + PRIMITIVE * abs(slope)),))


def tanh(x: Num) -> Num:
    """Hyperbolic tangent; its derivative 1 - y*y cancels near saturation, so 1 stands in its error."""
    v = math.tanh(x.value)
    slope = 1 - v * v
    return Num(v, slope * x.error + PRIMITIVE * abs(v), ((x, slope, 2 * abs(v) * slope * x.error + 2 * PRIMITIVE),))


def sigmoid(x: Num) -> Num:
    """Logistic function 1 / (1 + exp(-x))."""
    v = 1 / (1 + math.exp(-x.value)) if x.value > 0 else math.exp(x.value) / (1 + math.exp(x.value))
    slope = v * (1 - v)
    return Num(v, slope * x.error + 2 * PRIMITIVE * v, ((x, slope, slope * x.error + 2 * PRIMITIVE * v),))


def relu(x: Num) -> Num:
    """max(x, 0), with derivative 0 at 0 as torch has it."""
    return x if x.value > 0 else Num(0.0, 0.0, ((x, 0.0, 0.0),))


def absolute(x: Num) -> Num:
    """|x|, with derivative 0 at 0 as torch has it."""
    sign = (x.value > 0) - (x.value < 0)
    return Num(abs(x.value), x.error, ((x, float(sign), 0.0),))


def power(x: Num, exponent: float) -> Num:
    """Raise x to a constant exponent; 0 ** exponent has derivative 0."""
    if x.value == 0:
        return Num(0.0, 0.0, ((x, 0.0, 0.0),))
    v = x.value**exponent
    slope = exponent * v / x.value
    return _unary(x, v, slope, (exponent - 1) * slope / x.value, 2 * PRIMITIVE)


def growth(n: int) -> float:
    """How rounding grows with n additions, in units of u of the summed magnitudes: n, from 16 on 4*sqrt(n).

    The first holds for every order of summation (Higham §4.2); the second is Wilkinson's rule of thumb with a safety of
    4, which blocked and pairwise kernels keep far below.
    """
    return float(n) if n <= 16 else 4 * math.sqrt(n)


def total(terms: Sequence[Num]) -> Num:
    """Sum in any order."""
    values = [t.value for t in terms]
    error = math.fsum(t.error for t in terms) + growth(len(terms) - 1) * math.fsum(map(abs, values))
    return Num(math.fsum(values), error, tuple((t, 1.0, 0.0) for t in terms))


def dot(xs: Sequence[Num], ys: Sequence[Num], start: Num | None = None) -> Num:
    """Inner product (plus `start`), summed in any order."""
    value, error, size = 0.0, 0.0, 0.0
    links = []
    for x, y in zip(xs, ys):
        a, b = x.value, y.value
        value += a * b
        size += abs(a * b)
        error += abs(a) * y.error + abs(b) * x.error
        links.append((x, b, y.error))
        links.append((y, a, x.error))
    if start is not None:
        value += start.value
        size += abs(start.value)
        error += start.error
        links.append((start, 1.0, 0.0))
    return Num(value, error + growth(len(links) // 2) * size, tuple(links))


def leaves(values: Iterable[float]) -> list[Num]:
    """Make inputs: numbers held exactly."""
    return [Num(float(v)) for v in values]


def backward(outputs: Sequence[Num], seeds: Sequence[float]) -> None:
    """Set `adjoint` of all that the outputs depend on to the derivative of sum(seed * output)."""
    order = _ordered(outputs)
    for node in order:
        node.adjoint = node.adjoint_error = 0.0
    for output, seed in zip(outputs, seeds):
        output.adjoint += seed
    for node in reversed(order):
        g, ge = node.adjoint, node.adjoint_error
        for parent, slope, slope_error in node.links:
            c = g * slope
            parent.adjoint += c
            parent.adjoint_error += ge * abs(slope) + abs(g) * slope_error + 2 * abs(c)


def _ordered(outputs: Sequence[Num]) -> list[Num]:
    """Every node that the outputs depend on, before those made from it."""
    found = set(outputs)
    stack = list(found)
    while stack:
        for parent, _, _ in stack.pop().links:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=operator.attrgetter("serial"))
