"""Number formats: conversions, roundings, subnormals, integers and bits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..compare import FORMATS
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

ROUNDING = "IEEE 754 rounding to nearest, ties to even, in exact arithmetic"


def _probes(context: Context, name: str) -> list[float]:
    """Give numbers on and beside the half-way points of a format, its limits, and random ones."""
    fmt, rng = FORMATS[name], context.rng(name)
    found = [0.0, 1.0, fmt.largest, fmt.tiny, fmt.tiny / 2, 1 + fmt.u, 1 + 3 * fmt.u, 1 + fmt.u * 1.5, 2 - fmt.u]
    for _ in range(260):
        x = rng.uniform(1, 2) * 2.0 ** rng.randint(max(fmt.emin, -120), min(fmt.emax - 1, 120))
        step = fmt.ulp(x)
        low = math.floor(x / step) * step
        found += [x, low + step / 2]
    return [sign * v for v in found for sign in (1, -1)]


@check(oracle=ROUNDING, level="quick", dtypes=FLOATS)
def rounds(context: Context) -> None:
    """Conversions between the floating-point formats round to nearest, ties to even, and overflow to infinity."""
    torch = context.torch
    for name in FLOATS[:2]:
        if name == "float64" and context.device.startswith("mps"):
            continue
        # To 16 bits torch goes by way of float32; starting there, there is nothing to round twice.
        source = FORMATS[name if context.format.digits >= 24 else "float32"]
        given = [source.round(v) for v in _probes(context, context.format.name)]
        held = context.tensor(given, dtype=name)
        right = [context.format.round(v) for v in given]
        context.exact(held.to(context.dtype), right, what=f"{name} to {context.dtype_name}")
        context.exact(held.type(context.dtype), right, what=f"{name} to {context.dtype_name} by type()")
        context.exact(torch.empty_like(held, dtype=context.dtype).copy_(held), right, what=f"copy_ of {name}")
        back = context.tensor(right).to(getattr(torch, name))
        context.exact(back, [source.round(v) for v in right], what=f"{context.dtype_name} to {name}")
    special = context.tensor([math.inf, -math.inf, math.nan, -0.0], dtype="float32").to(context.dtype)
    context.exact(special, [math.inf, -math.inf, math.nan, -0.0], what="special values", signed_zero=True)


@check(oracle=ROUNDING, level="quick", dtypes=FLOATS[:2])
def arithmetic_rounds(context: Context) -> None:
    """Sums, products and quotients round to nearest even, also where the result is half-way or subnormal."""
    fmt, rng = context.format, context.rng()
    u = fmt.u
    a = [1.0, 1.0, 1 + 2 * u, 1.0, 1.0, 1 + 2 * u]
    b = [u, 3 * u, u, u * (1 + 2 * u), -u / 2, -u]
    right = [1.0, 1 + 4 * u, 1 + 4 * u, 1 + 2 * u, 1.0, 1.0]
    x, y = context.tensor(a * 11), context.tensor(b * 11)
    context.exact(x + y, right * 11, what="sums half-way between two numbers")
    if fmt.name == "float32":
        p, q = ([fmt.round(rng.uniform(0.5, 4)) for _ in range(1031)] for _ in "pq")
        s, t = context.tensor(p), context.tensor(q)
        context.exact(s * t, [fmt.round(m * n) for m, n in zip(p, q)], what="products")
        context.exact(s + t, [fmt.round(m + n) for m, n in zip(p, q)], what="sums")
        if context.device == "cpu":  # accelerators may divide an ulp off
            context.exact(s / t, [fmt.round(m / n) for m, n in zip(p, q)], what="quotients")
    if context.device.partition(":")[0] in ("cpu", "cuda"):
        small = context.tensor([fmt.tiny] * 67)
        context.exact(small * 0.5, [fmt.tiny / 2] * 67, what="subnormal products")
        context.exact(small * 1.5 - small, [fmt.tiny / 2] * 67, what="subnormal differences")
        context.exact((small / 4) * 8, [fmt.tiny * 2] * 67, what="subnormals come back")


INTEGERS = ("int8", "int16", "int32", "int64", "uint8")


@check(oracle="integers modulo a power of two, exact", level="quick", dtypes=INTEGERS)
def integers(context: Context) -> None:
    """Integer arithmetic, shifts and bits agree with Python's, and wrap around at the ends."""
    torch, rng = context.torch, context.rng()
    info = torch.iinfo(context.dtype)
    span = info.max - info.min + 1

    def wrap(v: int) -> int:
        return int((v - info.min) % span + info.min)

    a = [info.min, info.max, 0, 1, *(rng.randint(info.min, info.max) for _ in range(511))]
    b = [info.max, info.max, 1, 3, *(rng.randint(max(info.min, -9), 9) or 7 for _ in range(511))]
    x, y = context.tensor(a), context.tensor(b)
    pairs: tuple[tuple[str, Callable[[int, int], int]], ...] = (
        ("add", operator.add),
        ("sub", operator.sub),
        ("mul", operator.mul),
        ("bitwise_and", operator.and_),
        ("bitwise_or", operator.or_),
        ("bitwise_xor", operator.xor),
        ("maximum", max),
    )
    for name, function in pairs:
        right = [wrap(function(p, q)) for p, q in zip(a, b)]
        context.exact(getattr(torch, name)(x, y), right, what=name)
    right = [wrap(p // q) for p, q in zip(a[2:], b[2:])]
    context.exact(torch.div(x[2:], y[2:], rounding_mode="floor"), right, what="division, floor")
    right = [wrap(int(math.copysign(1, p * q)) * (abs(p) // abs(q))) for p, q in zip(a[2:], b[2:])]
    context.exact(torch.div(x[2:], y[2:], rounding_mode="trunc"), right, what="division, trunc")
    context.exact(torch.remainder(x[2:], y[2:]), [p % q for p, q in zip(a[2:], b[2:])], what="remainder")
    context.exact(torch.bitwise_not(x), [wrap(~p) for p in a], what="bitwise_not")
    context.exact(x << 2, [wrap(p << 2) for p in a], what="shift left")
    context.exact(x >> 1, [p >> 1 for p in a], what="shift right")
    context.exact(x == y, [p == q for p, q in zip(a, b)], what="equality")
    context.exact(x.sort()[0], sorted(a), what="sort")
    wide = context.tensor(a).to(torch.int64)
    context.exact(wide, a, what="to int64")
    context.exact(wide.to(context.dtype), a, what="and back")


@check(oracle="truncation and the documented promotion of types", level="quick")
def promotions(context: Context) -> None:
    """Conversions to integers and booleans truncate, and mixed operands take the documented type."""
    torch = context.torch
    x = context.tensor([-2.9, -1.0, -0.5, 0.0, 0.5, 1.99, 250.0] * 11, dtype="float32")
    for name in ("int64", "int32", "int16"):
        context.exact(x.to(getattr(torch, name)), [-2, -1, 0, 0, 0, 1, 250] * 11, what=f"to {name}")
    context.exact(x.bool(), [v != 0 for v in context.values(x)], what="to bool")

    def one(name: str) -> Any:
        return torch.ones(2, dtype=getattr(torch, name), device=context.device)

    for a, b, expected in (
        ("int32", "float16", "float16"),
        ("float16", "bfloat16", "float32"),
        ("uint8", "int8", "int16"),
        ("bool", "int64", "int64"),
        ("int64", "float32", "float32"),
    ):
        context.true((one(a) + one(b)).dtype == getattr(torch, expected), what=f"{a} + {b} is {expected}")
    context.true((one("int64") / one("int64")).dtype == torch.float32, what="int64 / int64 is float32")
    context.true((one("float16") * 2.5).dtype == torch.float16, what="a number keeps float16")
    context.true((one("int64") * 2.5).dtype == torch.float32, what="a float makes an int64 float32")
    context.exact(one("bool").sum(), 2, what="sum of booleans counts")


@check(oracle="every bit pattern of 16 bits", level="full", dtypes=("float16", "bfloat16"))
def all_patterns(context: Context) -> None:
    """Every 16-bit pattern means the number that its format says, and comes back from float32."""
    torch = context.torch
    bits = torch.arange(65536, dtype=torch.int32).to(torch.int16).to(context.device)
    held = bits.view(context.dtype)
    right = [_meaning(i, context.dtype_name or "") for i in range(65536)]
    context.exact(held.float(), right, what="to float32")
    context.exact(held.float().to(context.dtype), right, what="and back")


def _meaning(pattern: int, name: str) -> float:
    digits, bias = (10, 15) if name == "float16" else (7, 127)
    fraction, exponent = pattern & ((1 << digits) - 1), pattern >> digits & (2 * bias + 1)
    sign = -1.0 if pattern >> 15 else 1.0
    if exponent == 2 * bias + 1:
        return sign * math.inf if not fraction else math.nan
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias - digits)
    return sign * math.ldexp(fraction + (1 << digits), exponent - bias - digits)
