"""The activations in which more than one number goes into an output: GLU's halves, PReLU's weight, RReLU's dice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...oracles.activations import POINTWISE, Results, periods
from ...pattern import Pattern
from ...registry import FLOATS, check
from .samples import upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...context import Context

ORACLE = "the formula in float64, errors bounded by counting roundings"
SIGMOID = next(row for row in POINTWISE if row.name == "sigmoid")
GLU_SHAPES = (((6, 34), -1), ((10, 7), 0), ((3, 8, 5), 1), ((1, 2 * 1031), 1))


def _draw(context: Context, count: int, *salt: object) -> list[float]:
    rng = context.rng(*salt)
    return [context.format.round(rng.uniform(-6.0, 6.0)) for _ in range(count)]


def _upstream(context: Context, count: int, *salt: object) -> list[float]:
    return upstream(context.format, context.rng("upstream", *salt), count)


def _halves(shape: Sequence[int], dim: int) -> tuple[list[int], list[int]]:
    """Give the row-major places of the first and of the second half along `dim`."""
    dim %= len(shape)
    inner = math.prod(shape[dim + 1 :])
    half = shape[dim] // 2
    places: tuple[list[int], list[int]] = ([], [])
    for at in range(math.prod(shape)):
        places[(at // inner) % shape[dim] >= half].append(at)
    return places


@check(oracle=ORACLE, level="quick", dtypes=FLOATS, needs=("torch.nn.GLU",))
def glu(context: Context) -> None:
    """GLU multiplies one half by the sigmoid of the other, along any dimension, and differentiates both."""
    torch, aten = context.torch, context.torch.ops.aten
    for shape, dim in GLU_SHAPES[: None if context.dtype_name == "float32" else 3]:
        xs = _draw(context, math.prod(shape), shape)
        left, right = _halves(shape, dim)
        gs = _upstream(context, len(left), shape)
        a, b = [xs[i] for i in left], [xs[i] for i in right]
        value, slope = _glu(context, a, b, gs, left + right)
        x = context.tensor(xs).reshape(shape)
        leaf = x.clone().requires_grad_()
        y = torch.nn.GLU(dim)(leaf)
        g = context.tensor(gs).reshape(y.shape)
        (gradient,) = torch.autograd.grad(y, leaf, g)
        at = f"shape {shape}, dim {dim}"
        half = torch.empty_like(y)
        for name, result in (
            ("module", y),
            ("functional.glu", torch.nn.functional.glu(x, dim)),
            ("aten.glu.out", aten.glu.out(x, dim, out=torch.full_like(half, math.nan))),
        ):
            value.judge(context, result, half, f"value, {name}, {at}")
        for name, result in (
            ("autograd", gradient),
            ("aten.glu_backward", aten.glu_backward(g, x, dim)),
            (
                "aten.glu_backward.grad_input",
                aten.glu_backward.grad_input(g, x, dim, grad_input=torch.full_like(x, math.nan)),
            ),
        ):
            slope.judge(context, result, x, f"gradient, {name}, {at}")


def _glu(
    context: Context, a: list[float], b: list[float], gs: list[float], places: list[int]
) -> tuple[Pattern, Pattern]:
    fmt, kind = context.format, context.device.partition(":")[0]
    gate, bend = periods(SIGMOID, {}, fmt, kind, xs=b, gs=[1.0] * len(b))

    # One product with a, one with g; in a narrow format s itself is rounded on the way of a composite kernel.
    def scaled(by: Sequence[float], results: Results, more: float) -> tuple[list[float], list[float]]:
        return [u * v for u, v in zip(by, results.values)], [
            abs(u) * (2 * r + more * fmt.u * abs(v)) + 2 * fmt.tiny * fmt.u
            for u, v, r in zip(by, results.values, results.reach)
        ]

    values, reach = scaled(a, gate, 2)
    first = scaled(gs, gate, 2)
    second = scaled([u * v for u, v in zip(gs, a)], bend, 3)
    unsorted = list(zip(places, first[0] + second[0], first[1] + second[1]))
    ordered = sorted(unsorted)
    return (
        Pattern(fmt, list(zip(a, b)), values, reach, gate.bound),
        Pattern(fmt, range(len(places)), [v for _, v, _ in ordered], [r for _, _, r in ordered], gate.bound),
    )


@check(oracle=ORACLE + "; the weight's gradient on small integers, exactly", level="quick", dtypes=FLOATS)
def prelu(context: Context) -> None:
    """PReLU multiplies what is negative by its weight, one for all or one a channel, and sums the weight's gradient."""
    torch, fmt = context.torch, context.format
    for channels, shape in ((1, (7, 11, 13)), (11, (7, 11, 13)), (1, (4099,)), (5, (33, 5)), (4, (2, 4, 9, 17))):
        size = math.prod(shape)
        rng = context.rng(shape)
        # Eighths: products and their sums are exact in float32 and float64, and each product in float16 and bfloat16.
        xs = rng.choices([v / 8 for v in range(-15, 16)], k=size)
        gs = rng.choices([sign * v / 8 for sign in (-1, 1) for v in range(1, 8)], k=size)
        weights = [fmt.round(rng.uniform(0.05, 0.9)) for _ in range(channels)]
        inner = math.prod(shape[2:])
        channel = [(i // inner) % channels if channels > 1 else 0 for i in range(size)]
        module = torch.nn.PReLU(channels).to(context.device, context.dtype)
        with torch.no_grad():
            module.weight.copy_(context.tensor(weights))
        x = context.tensor(xs).reshape(shape).requires_grad_()
        y = module(x)
        g = context.tensor(gs).reshape(shape)
        given = [(v, weights[c]) for v, c in zip(xs, channel)]
        for name, result in (
            ("module", y),
            ("functional.prelu", torch.nn.functional.prelu(x, module.weight)),
            ("torch.prelu", torch.prelu(x, module.weight)),
        ):
            context.close(
                result,
                [v if v > 0 else v * weights[c] for v, c in zip(xs, channel)],
                bound=1.0,  # one product
                what=f"value, {name}, shape {shape}",
                given=given,
            )
        by_x, by_weight = torch.autograd.grad(y, (x, module.weight), g)
        context.close(
            by_x,
            [u if v > 0 else u * weights[c] for u, v, c in zip(gs, xs, channel)],
            bound=1.0,
            what=f"gradient, shape {shape}",
            given=given,
        )
        sums = [math.fsum(u * v for u, v, c in zip(gs, xs, channel) if c == k and v < 0) for k in range(channels)]
        # Narrow formats may round partial sums as well as the last: two roundings of the largest partial sum.
        parts = [
            0.0 if fmt.digits >= 24 else sum(abs(u * v) for u, v, c in zip(gs, xs, channel) if c == k and v < 0)
            for k in range(channels)
        ]
        context.close(
            by_weight, sums, bound=1.0, cancel=parts, floor=0.0, what=f"gradient of the weight, shape {shape}"
        )
    context.exact(torch.nn.PReLU(3, init=0.75).weight, [0.75] * 3, what="initial weight")


@check(oracle="the slope that the output itself shows", level="quick", dtypes=FLOATS, needs=("torch.nn.RReLU",))
def rrelu_train(context: Context) -> None:
    """RReLU in training draws a slope in its range for each negative number, and its gradient uses the same."""
    torch, low, high = context.torch, 0.125, 0.5
    rng = context.rng()
    size = 20_011 if context.dtype_name == "float32" else 2_003
    # Powers of two: the quotient y / x is the slope, exactly as it was drawn.
    xs = rng.choices([sign * 2.0**power for sign in (-1, 1) for power in range(-2, 3)], k=size)
    gs = rng.choices([sign * 2.0**power for sign in (-1, 1) for power in range(3)], k=size)
    # One of them with more than a thread takes; the others lead to the same kernel.
    for name, call in (
        ("module", torch.nn.RReLU(low, high)),
        ("in place", torch.nn.RReLU(low, high, inplace=True)),
        ("functional.rrelu", lambda v: torch.nn.functional.rrelu(v, low, high, training=True)),
        ("torch.rrelu", lambda v: torch.rrelu(v, low, high, True)),
    ):
        if name != "module":
            del xs[2_003:], gs[2_003:]
        x = context.tensor(xs, grad=True)
        y = call(x.clone())
        (gradient,) = torch.autograd.grad(y, x, context.tensor(gs))
        values, slopes = context.values(y), context.values(gradient)
        context.exact([v for v, u in zip(values, xs) if u > 0], [u for u in xs if u > 0], what=f"positive, {name}")
        drawn = [v / u for v, u in zip(values, xs) if u < 0]
        context.true(
            low <= min(drawn) and max(drawn) <= high,
            what=f"slopes in [{low}, {high}], {name}",
            got=[min(drawn), max(drawn)],
            expected=[low, high],
        )
        expected = [g * (v / u if u < 0 else 1.0) for g, v, u in zip(gs, values, xs)]
        context.exact(slopes, expected, what=f"gradient by the recorded slope, {name}")
        _uniform(context, [(s - low) / (high - low) for s in drawn], name)


def _uniform(context: Context, shares: Sequence[float], name: str) -> None:
    """Compare with the uniform law on [0, 1]: Kolmogorov's distance, beyond the bound once in 1e12 runs (DKW)."""
    n = len(shares)
    ordered = sorted(shares)
    distance = max(max((i + 1) / n - s, s - i / n) for i, s in enumerate(ordered))
    # The dtype's own grid moves the law by one unit in the last place.
    bound = math.sqrt(math.log(2 / 1e-12) / (2 * n)) + 4 * context.format.u
    context.within(distance, bound, what=f"law of the slopes, {name}", unit="distance of distributions")


@check(oracle="the law of Gumbel's maximum: P(i) = softmax(logits)_i", needs=("torch.nn.functional.gumbel_softmax",))
def gumbel_softmax(context: Context) -> None:
    """Hard gumbel_softmax draws one-hot rows by the probabilities of softmax; soft rows sum to 1."""
    functional, n = context.torch.nn.functional, 6_000
    logits = [0.0, math.log(2.0), math.log(5.0)]
    drawn = context.values(functional.gumbel_softmax(context.tensor([logits] * n), tau=0.7, hard=True))
    context.true(sorted(set(drawn)) == [0.0, 1.0], what="hard samples are 0 or 1", got=sorted(set(drawn))[:4])
    for i, p in enumerate((1 / 8, 2 / 8, 5 / 8)):
        share = math.fsum(drawn[i::3]) / n
        # 8 standard deviations: once in 1e15 runs.
        context.within(
            abs(share - p),
            8 * math.sqrt(p * (1 - p) / n),
            what=f"share of class {i}",
            unit="absolute error",
            expected=p,
        )
    soft = context.values(functional.gumbel_softmax(context.tensor([logits] * 64), tau=0.7))
    far = max(abs(math.fsum(soft[3 * i : 3 * i + 3]) - 1.0) for i in range(64))
    context.within(far, 8 * context.format.u, what="soft samples sum to 1", unit="absolute error")
