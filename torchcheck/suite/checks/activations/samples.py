"""Inputs of the elementwise activations and what must become of them, worked out once and shared by the checks."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...compare import FORMATS, Format
from ...oracles.activations import POINTWISE, Activation, Arguments, Results, periods
from ...pattern import Pattern, repeated, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...context import Context

ROWS = {row.name: row for row in POINTWISE}
# Prime, so that a period never falls in step with SIMD blocks.
PERIOD = {"float32": 509, "float64": 251, "bfloat16": 251, "float16": 251}


@dataclass(frozen=True)
class Sample:
    """One period of an activation with given arguments: inputs, upstream gradients, results of both directions."""

    row: Activation
    arguments: Arguments
    xs: Sequence[float]
    gs: Sequence[float]
    forward: Pattern
    backward: Pattern

    def inputs(self, context: Context, elements: int) -> Any:
        """Make a tensor of inputs."""
        return repeated(context, self.xs, elements)

    def upstream(self, context: Context, elements: int) -> Any:
        """Make the tensor of upstream gradients that goes with `inputs`."""
        return repeated(context, self.gs, elements)


def sample(context: Context, row: Activation, variant: int = 0) -> Sample:
    """Give the sample of a row's `variant`-th arguments in this run's dtype, on this kind of device."""
    return _sample(row.name, variant, context.format.name, context.device.partition(":")[0], context.seed)


@functools.lru_cache(maxsize=None)
def _sample(name: str, variant: int, dtype: str, kind: str, seed: int) -> Sample:
    row, fmt = ROWS[name], FORMATS[dtype]
    arguments = row.arguments[variant]
    rng = random.Random(f"{seed} {name} {variant} {dtype}")  # noqa: S311 - test data
    xs = inputs(row, arguments, fmt, rng, PERIOD[dtype])
    # Every bit of the dtype, so that a gradient that goes through a narrower one shows; at least 1, so that what
    # underflow loses is not scaled down.
    gs = upstream(fmt, rng, len(xs))
    forward, backward = periods(row, arguments, fmt, kind, xs=xs, gs=gs)
    return Sample(row, arguments, xs, gs, _pattern(fmt, xs, forward), _pattern(fmt, list(zip(xs, gs)), backward))


def _pattern(fmt: Format, given: Sequence[Any], results: Results) -> Pattern:
    return Pattern(fmt, given, results.values, results.reach, results.bound)


def inputs(row: Activation, arguments: Arguments, fmt: Format, rng: random.Random, count: int) -> list[float]:
    """Draw inputs that `fmt` holds: kinks and their neighbours, zeros, tiny, usual, large and saturating numbers."""
    xs = [0.0, -0.0, 20.0, -20.0, 50.0, -50.0, 100.0, -100.0, 1e4, -1e4]
    xs += [sign * 2.0**-k for k in (3, 7, 12, 14, 24) for sign in (1, -1)]
    for kink in row.kinks(**arguments):
        # At 0 the neighbours are the numbers that a comparison can just tell from it.
        step = fmt.ulp(kink) if kink else 2.0**-14
        xs += [kink + j * step for j in range(-3, 4) if j or kink not in row.jumps]
    wide = (count - len(xs)) // 5
    drawn = [rng.uniform(-30.0, 30.0) for _ in range(wide)]
    drawn += [rng.uniform(-6.0, 6.0) for _ in range(count - len(xs) - wide)]
    # A narrow format's draws may fall on a jump, where `specials` says what is right and what is known to be wrong.
    xs += [x if x not in row.jumps else x + fmt.ulp(x) for x in rounded(drawn, fmt)]
    rng.shuffle(xs)
    return rounded(xs, fmt)


def upstream(fmt: Format, rng: random.Random, count: int) -> list[float]:
    """Draw upstream gradients of either sign, with every bit of the dtype and no smaller than 1."""
    return rounded([14.0 * r + (1.0 if r > 0 else -1.0) for r in (rng.random() - 0.5 for _ in range(count))], fmt)
