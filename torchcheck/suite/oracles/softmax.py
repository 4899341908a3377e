"""Softmax, its relatives and their gradients for one row, and how far sound kernels may be off: `math` alone.

Errors count roundings as in `activations`: a power e^(x - max) is off by 2 E_exp and by |x - max| u, the difference's
own rounding; a sum of n positive terms by 4 sqrt(n) u (Higham and Mary, SIAM J. Sci. Comput. 41 (2019), with a
probability of failure below 1e-6 even for sequential sums; kernels sum in blocks, which is better still).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..compare import FORMATS, Format
from .activations import ALLOWANCE, LIBRARIES

Row = Sequence[float]
Judged = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Units:
    """What errors are counted in: u of the arithmetic, u of the storage, and C for a row of n."""

    wide: Format
    stored: Format
    kind: str

    @classmethod
    def of(cls, fmt: Format, kind: str) -> Units:
        """Arithmetic is in float32 when the storage format is narrower."""
        return cls(FORMATS["float32"] if fmt.digits < 24 else fmt, fmt, kind)

    def roundings(self, n: int) -> float:
        """C of one softmax probability, but for |x - max|."""
        library = LIBRARIES.get(self.kind, LIBRARIES["xpu"])
        count = 2 * library.exp + 2 * library.div + 2 + min(n, 4 * math.sqrt(n))
        return max(count, ALLOWANCE.get(self.kind, 32.0)) * (2.0 if self.stored.name == "float64" else 1.0)

    @cached_property
    def narrow(self) -> float:
        """U of the storage format, when it is narrower than the arithmetic."""
        if self.stored is self.wide:
            return 0.0
        return self.stored.u * (4.0 if self.kind == "mps" else 1.0)

    @cached_property
    def floor(self) -> float:
        """What underflow may lose."""
        return (
            self.stored.tiny if self.stored.digits >= 24 or self.kind != "cpu" else 2 * self.stored.tiny * self.stored.u
        )


def softmax(row: Row) -> list[float]:
    """Give e^(x - max) / sum."""
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    total = math.fsum(powers)
    return [power / total for power in powers]


def log_softmax(row: Row) -> list[float]:
    """Give x - max - log sum e^(x - max)."""
    top = max(row)
    log = math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - top - log for x in row]


def judge_softmax(row: Row, units: Units) -> Judged:
    """Give softmax and how far each number may be off."""
    p, top, c = softmax(row), max(row), units.roundings(len(row))
    # Off the last dimension kernels keep the powers in the storage format: powers, sum and quotient are rounded.
    return p, [
        units.wide.u * q * (c + top - x) + 3 * units.narrow * q + units.floor if q else units.floor
        for x, q in zip(row, p)
    ]


def judge_softmax_slope(row: Row, g: Row, units: Units) -> Judged:
    """Give p (g - sum g p), the gradient, and how far each number may be off; p is saved in the storage format."""
    p, top, c = softmax(row), max(row), units.roundings(len(row)) + 4
    mean = math.fsum(a * b for a, b in zip(g, p))
    spread = max(top - x for x, q in zip(row, p) if q > 1e-30)
    size = math.fsum(abs(a) * b for a, b in zip(g, p))
    values = [q * (a - mean) for q, a in zip(p, g)]
    reach = [
        units.wide.u * (2 * c + spread) * q * (abs(a) + size)
        + units.narrow * (abs(v) + 6 * q * (abs(a) + size))
        + units.floor * (1 + abs(a) + size)
        for q, a, v in zip(p, g, values)
    ]
    return values, reach


def _log_reach(row: Row, y: Row, units: Units) -> list[float]:
    """Say how far log-softmax may be off, in absolute terms.

    Short rows of narrow formats keep max + log sum in the storage format, rounded, before it is taken from x.
    """
    top, log, c = max(row), -max(y), units.roundings(len(row))
    shift = abs(top) + log
    return [
        units.wide.u * (2 * (top - x) + c + 4 * log + shift) + units.narrow * (abs(v) + shift) + units.floor
        for x, v in zip(row, y)
    ]


def judge_log_softmax(row: Row, units: Units) -> Judged:
    """Give log-softmax and how far each number may be off: the logarithm's error is absolute."""
    y = log_softmax(row)
    return y, _log_reach(row, y, units)


def judge_log_softmax_slope(row: Row, g: Row, units: Units) -> Judged:
    """Give g - p sum g, the gradient, and how far each number may be off; p is the power of what was saved."""
    p, y = softmax(row), log_softmax(row)
    total, size, c = math.fsum(g), math.fsum(map(abs, g)), units.roundings(len(row)) + 4
    values = [a - q * total for a, q in zip(g, p)]
    reach = [
        units.wide.u * (2 * (abs(a) + abs(w)) + c * q * size)
        + q * size * far
        + units.narrow * abs(w)
        + units.floor * (1 + size)
        for a, q, far, w in zip(g, p, _log_reach(row, y, units), values)
    ]
    return values, reach


@dataclass(frozen=True)
class Family:
    """One class of the softmax family.

    Attributes:
        name: as in the ids of checks.
        module: class in `torch.nn`.
        value: judged values of a row.
        slope: judged gradient of a row.
        sign: -1 for Softmin, which is softmax of -x.
        fixed: its dimension, counted from the end, when it has no `dim`.
    """

    name: str
    module: str
    value: Callable[[Row, Units], Judged]
    slope: Callable[[Row, Row, Units], Judged]
    sign: int = 1
    fixed: int | None = None

    def forward(self, row: Row, units: Units) -> Judged:
        """Give the judged values of a row of inputs."""
        return self.value([self.sign * x for x in row], units)

    def backward(self, row: Row, g: Row, units: Units) -> Judged:
        """Give the judged gradient of a row of inputs."""
        values, reach = self.slope([self.sign * x for x in row], g, units)
        return [self.sign * v for v in values], reach


FAMILY = (
    Family("softmax", "Softmax", judge_softmax, judge_softmax_slope),
    Family("softmin", "Softmin", judge_softmax, judge_softmax_slope, sign=-1),
    Family("softmax2d", "Softmax2d", judge_softmax, judge_softmax_slope, fixed=-3),
    Family("log_softmax", "LogSoftmax", judge_log_softmax, judge_log_softmax_slope),
)
