"""Comparing what torch gave with what is right, number by number, without torch.

Everything here works on plain Python numbers. `tensor.tolist()` hands out exactly the value that each element holds
(float32, float16 and bfloat16 are subsets of float64), so no arithmetic of torch's stands between it and the verdict.

The yardstick is a mixed error bound (Higham, Accuracy and Stability of Numerical Algorithms, §1.2, §2.2)

    |got - expected| <= C * (u * (|expected| + K) + floor)

with u the unit roundoff of the dtype (half an ulp, relative), K the magnitude of what cancels inside the formula and
floor what underflow may lose. `measured` is the largest quotient found, `C` its bound: both in units of roundoff.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: `digits` of significand (the hidden one too), smallest normal 2**emin."""

    name: str
    digits: int
    emin: int
    emax: int

    @cached_property
    def u(self) -> float:
        """Unit roundoff: the largest relative error of rounding to nearest."""
        return 2.0**-self.digits

    @cached_property
    def tiny(self) -> float:
        """Smallest positive normal number."""
        return 2.0**self.emin

    @cached_property
    def largest(self) -> float:
        """Largest finite number."""
        return (2.0 - 2.0 ** (1 - self.digits)) * 2.0**self.emax

    def ulp(self, x: float) -> float:
        """Distance of neighbouring numbers at |x|; that of the smallest normals below them."""
        if math.isinf(x) or math.isnan(x):
            return math.nan
        exponent = max(math.frexp(x)[1] - 1, self.emin) if x else self.emin
        return 2.0 ** (exponent - self.digits + 1)

    def round(self, x: float) -> float:
        """Round a float64 to this format, to nearest, ties to even; overflow gives infinity."""
        if self.digits == 53 or x == 0.0 or math.isinf(x) or math.isnan(x):
            return x
        if self.name in _PACKED:
            try:
                return float(_PACKED[self.name].unpack(_PACKED[self.name].pack(x))[0])
            except OverflowError:
                return math.copysign(math.inf, x)
        if self.tiny <= abs(x) < self.largest:
            # Bits are ordered like magnitudes, and what carries out of the significand goes into the exponent.
            cut = 53 - self.digits
            bits = _BITS.unpack(_DOUBLE.pack(x))[0]
            bits += (1 << cut - 1) - 1 + (bits >> cut & 1)
            return float(_DOUBLE.unpack(_BITS.pack(bits >> cut << cut))[0])
        step = self.ulp(x)
        rounded = round(x / step) * step  # x / step is exact: step is a power of two
        return math.copysign(math.inf, x) if abs(rounded) > self.largest else math.copysign(rounded, x)


_DOUBLE, _BITS = struct.Struct("<d"), struct.Struct("<q")
_PACKED = {"float32": struct.Struct("<f"), "float16": struct.Struct("<e")}
"""Formats to which the standard library rounds, correctly and at the speed of C."""
FORMATS = {
    "float64": Format("float64", 53, -1022, 1023),
    "float32": Format("float32", 24, -126, 127),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float16": Format("float16", 11, -14, 15),
}


@dataclass(frozen=True)
class Comparison:
    """The outcome of one comparison: the worst element, and how far it is off against what is allowed."""

    what: str
    elements: int
    wrong: int
    measured: float
    bound: float
    unit: str
    got: Any = None
    expected: Any = None
    where: Any = None
    given: Any = None

    @property
    def ok(self) -> bool:
        """Say whether every element is within its bound, and there was one."""
        return self.elements > 0 and self.wrong == 0

    @property
    def strain(self) -> float:
        """How much of the bound is used up: above 1 is a failure. Orders comparisons of different units."""
        if self.wrong:
            return math.inf if self.bound == 0 or math.isnan(self.measured) else max(self.measured / self.bound, 1.0)
        return self.measured / self.bound if self.bound else 0.0


def flat(values: Any) -> list[Any]:
    """Flatten nested lists (as `tolist` gives them) in row-major order; a bare number becomes a list of one."""
    if not isinstance(values, (list, tuple)):
        return [values]
    parts = list(values)
    while parts and isinstance(parts[0], (list, tuple)):
        parts = [item for part in parts for item in (part if isinstance(part, (list, tuple)) else [part])]
    return parts


def close(
    got: Sequence[float],
    expected: Sequence[float],
    *,
    what: str,
    fmt: Format,
    bound: float,
    cancel: Sequence[float] | float = 0.0,
    floor: float = 0.0,
    given: Sequence[Any] | None = None,
) -> Comparison:
    """Compare element by element within `bound * (u * (|expected| + cancel) + floor)`.

    NaN equals NaN, an infinity equals only itself, and an expected finite value that rounds to infinity in `fmt` may be
    one. `given` are the inputs, element by element, shown for the worst one.

    Returns:
        The comparison; `measured` is the largest error in units of the parenthesis, `inf` for a wrong NaN or infinity.
    """
    if len(got) != len(expected):
        return Comparison(
            f"{what}: number of elements", 1, 1, float(len(got)), 0.0, "elements", len(got), len(expected)
        )
    try:
        # The usual case, at the speed of a comprehension; what is not finite is looked at one by one.
        u = fmt.u
        if isinstance(cancel, Sequence):
            errors = [abs(g - e) / (u * (abs(e) + c) + floor) for g, e, c in zip(got, expected, cancel)]
        else:
            rest = u * cancel + floor
            errors = [abs(g - e) / (u * abs(e) + rest) for g, e in zip(got, expected)]
    except (ZeroDivisionError, OverflowError):
        errors = [math.nan] * len(got)
    if not sum(errors) < math.inf:
        cancels = cancel if isinstance(cancel, Sequence) else [float(cancel)] * len(got)
        triples = zip(errors, got, expected, cancels)
        errors = [error if error < math.inf else _error(g, e, c, fmt, floor) for error, g, e, c in triples]
    worst = max(errors, default=-1.0)
    at = errors.index(worst) if errors else -1
    wrong = sum(error > bound for error in errors) if worst > bound else 0
    return _worst(what, got, expected, given=given, wrong=wrong, at=at, measured=worst, bound=bound, unit="u")


def _error(g: float, e: float, cancel: float, fmt: Format, floor: float) -> float:
    """Give one element's error in units of what rounding explains; `inf` for a wrong NaN or infinity."""
    if g == e:
        return 0.0
    if g - e != g - e or math.inf in (abs(g), abs(e)):
        return _special(g, e, fmt)
    scale = fmt.u * (abs(e) + cancel) + floor
    return abs(g - e) / scale if scale else math.inf


def exact(
    got: Sequence[Any],
    expected: Sequence[Any],
    *,
    what: str,
    given: Sequence[Any] | None = None,
    signed_zero: bool = False,
) -> Comparison:
    """Compare for equality; NaN equals NaN, and with `signed_zero` -0.0 differs from 0.0."""
    if len(got) != len(expected):
        return Comparison(
            f"{what}: number of elements", 1, 1, float(len(got)), 0.0, "elements", len(got), len(expected)
        )
    same = not signed_zero and got == expected  # the usual case, at the speed of C
    bad = [] if same else [i for i, (g, e) in enumerate(zip(got, expected)) if not _same(g, e, signed_zero)]
    at = bad[0] if bad else (0 if len(got) else -1)
    return _worst(
        what, got, expected, given=given, wrong=len(bad), at=at, measured=float(len(bad)), bound=0.0, unit="elements"
    )


def within(value: float, bound: float, *, what: str, unit: str, expected: Any = None, got: Any = None) -> Comparison:
    """Compare a single measured figure (an error, a distance, a count) with the most it may be."""
    wrong = 0 if value <= bound else 1
    return Comparison(what, 1, wrong, float(value), float(bound), unit, value if got is None else got, expected)


def _same(g: Any, e: Any, signed_zero: bool) -> bool:
    if g == e:
        return not signed_zero or g != 0 or math.copysign(1, g) == math.copysign(1, e)
    return bool(g != g and e != e)  # noqa: PLR0124 - NaN, real or complex


def _special(g: float, e: float, fmt: Format) -> float:
    if math.isnan(g) and math.isnan(e):
        return 0.0
    if math.isinf(g) and not math.isnan(e) and g == fmt.round(e):
        return 0.0
    return math.inf


def _worst(
    what: str,
    got: Sequence[Any],
    expected: Sequence[Any],
    *,
    given: Sequence[Any] | None,
    wrong: int,
    at: int,
    measured: float,
    bound: float,
    unit: str,
) -> Comparison:
    if at < 0:
        return Comparison(what, 0, 0, 0.0, bound, unit)
    shown = given[at] if given is not None and at < len(given) else None
    return Comparison(what, len(got), wrong, measured, bound, unit, got[at], expected[at], at, shown)
