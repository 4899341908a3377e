"""The elementwise activations against their formulas, number by number, forward and backward."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...oracles.activations import COVERED, NOT_COVERED, POINTWISE, Activation, Arguments
from ...pattern import raw_bytes
from ...registry import FLOATS, check
from .samples import sample

if TYPE_CHECKING:
    from ...context import Context

ORACLE = "the formula in float64, errors bounded by counting roundings"
# Above 32,768 elements ATen splits the work between threads (at::internal::GRAIN_SIZE).
ELEMENTS = {"quick": 40_031, "default": 70_047, "full": 299_999}  # with a tail of 31 after SIMD blocks


def needs(row: Activation) -> tuple[str, ...]:
    """Name the class that a row is about."""
    return (f"torch.nn.{row.module}",)


def module(context: Context, row: Activation, arguments: Arguments, **options: Any) -> Any:
    """Make the module; in eval mode, where RReLU has a fixed slope."""
    return getattr(context.torch.nn, row.module)(**arguments, **options).eval()


def advise(context: Context, row: Activation) -> None:
    """Say what to do when it fails."""
    context.hint = f"every network with {row.module} goes wrong on {context.device}; "
    if context.device == "cpu":
        context.hint += (
            "run again with ATEN_CPU_CAPABILITY=default: if that passes, the vector kernels or this processor's vector"
            " unit are at fault; reinstall torch, and if it stays, test the processor"
        )
    else:
        context.hint += (
            "run again with --device cpu: if that passes, update the driver, then torch, then test the device"
        )


def variants(context: Context, row: Activation) -> range:
    """Say which arguments to try: torch's defaults alone where time is short."""
    short = context.level == "quick" and context.dtype_name != "float32"
    return range(1 if short else len(row.arguments))


def count(context: Context, variant: int) -> int:
    """Say how many elements to try."""
    return ELEMENTS[context.level] if variant == 0 else 4_127


@check(oracle=ORACLE, level="quick", dtypes=FLOATS, each=POINTWISE, needs=needs)
def forward(context: Context, row: Activation) -> None:
    """{row} gives the right value for every element."""
    advise(context, row)
    for variant in variants(context, row):
        case = sample(context, row, variant)
        x = case.inputs(context, count(context, variant))
        before = raw_bytes(x)
        y = module(context, row, case.arguments)(x)
        case.forward.judge(context, y, x, f"value{told(case.arguments)}")
        context.true(raw_bytes(x) == before, what="the input is left as it was")
        _range(context, row, case.arguments, context.values(y[: len(case.xs)]))
    _figure(context, "forward")


@check(oracle=ORACLE, level="quick", dtypes=FLOATS, each=POINTWISE, needs=needs)
def backward(context: Context, row: Activation) -> None:
    """{row} gives the right gradient for every element."""
    advise(context, row)
    torch = context.torch
    for variant in variants(context, row):
        case = sample(context, row, variant)
        n = count(context, variant)
        x, g = case.inputs(context, n).requires_grad_(), case.upstream(context, n)
        (gradient,) = torch.autograd.grad(module(context, row, case.arguments)(x), x, g)
        case.backward.judge(context, gradient, x, f"gradient{told(case.arguments)}")
    _figure(context, "backward")


@check(oracle="torch.nn.modules.activation.__all__, listed", level="quick", devices="once")
def coverage(context: Context) -> None:
    """Every activation of this torch has a reference here."""
    listed = set(context.torch.nn.modules.activation.__all__)
    new = sorted(listed - COVERED - set(NOT_COVERED))
    if new:
        context.skip(f"not covered, newer than this suite: {', '.join(new)}")
    context.true(listed, what="every listed activation is covered", got=len(listed), expected=len(listed))


def told(arguments: Arguments) -> str:
    """Give arguments as they are written in a call."""
    return f" ({', '.join(f'{name}={value}' for name, value in arguments.items())})" if arguments else ""


def _range(context: Context, row: Activation, arguments: Arguments, values: list[float]) -> None:
    low, high = row.low(**arguments), row.high(**arguments)
    if math.isinf(low) and math.isinf(high):
        return
    # A limit that the dtype does not hold is rounded itself.
    slack = 4.0 * context.format.u
    under = 0.0 if float(low).is_integer() else slack * abs(low)
    context.true(
        low - under <= min(values) and max(values) <= high,
        what=f"values lie in [{low:g}, {high:g}]{told(arguments)}",
        got=[min(values), max(values)],
        expected=[low, high],
    )


def _figure(context: Context, direction: str) -> None:
    worst = max(context.comparisons, key=lambda comparison: comparison.strain)
    context.figure("error", {"direction": direction, "measured": worst.measured, "bound": worst.bound})
