"""The dropout family: what is kept is scaled, whole channels fall together, and in eval nothing happens."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...pattern import raw_bytes
from ...registry import FLOATS, check
from .randomness import deviation, floats

if TYPE_CHECKING:
    from ...context import Context

# Alpha dropout sets what it drops to -SCALE * ALPHA (Klambauer et al., Self-Normalizing Neural Networks, 2017, §3).
SATURATION = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


@dataclass(frozen=True)
class Kind:
    """One class of the family.

    Attributes:
        name: as in the ids of checks.
        module: class in `torch.nn`.
        function: in `torch.nn.functional`.
        shape: of the input; the last `whole` dimensions fall together.
        whole: how many dimensions fall together.
        alpha: whether it keeps mean and variance of normalised inputs.
    """

    name: str
    module: str
    function: str
    shape: tuple[int, ...]
    whole: int
    alpha: bool = False


FAMILY = (
    Kind("dropout", "Dropout", "dropout", (2_063,), 0),
    Kind("dropout1d", "Dropout1d", "dropout1d", (31, 17, 3), 1),
    Kind("dropout2d", "Dropout2d", "dropout2d", (31, 17, 2, 3), 2),
    Kind("dropout3d", "Dropout3d", "dropout3d", (31, 17, 2, 1, 3), 3),
    Kind("alpha_dropout", "AlphaDropout", "alpha_dropout", (2_063,), 0, alpha=True),
    Kind("feature_alpha_dropout", "FeatureAlphaDropout", "feature_alpha_dropout", (31, 17, 3), 1, alpha=True),
)


def needs(row: Kind) -> tuple[str, ...]:
    """Name the class that a row is about."""
    return (f"torch.nn.{row.module}",)


def outcomes(row: Kind, p: float) -> tuple[float, float, float]:
    """Give a and b of what is kept, a x + b, and what is dropped."""
    if not row.alpha:
        return 1.0 / (1.0 - p), 0.0, 0.0
    # a and b restore mean 0 and variance 1 (ibid.).
    a = ((1.0 - p) * (1.0 + p * SATURATION**2)) ** -0.5
    b = -a * p * SATURATION
    return a, b, a * SATURATION + b


@check(
    oracle="x / (1 - p) or 0, whole channels, by the binomial law",
    dtypes=FLOATS,
    each=FAMILY,
    needs=needs,
)
def training_mode(context: Context, row: Kind) -> None:
    """{row} drops with its probability and scales what it keeps; its gradient takes the same way."""
    torch, functional = context.torch, context.torch.nn.functional
    rates = (0.5, 0.25, 0.1) if context.dtype_name == "float32" else (0.25,)
    size = math.prod(row.shape)
    rng = context.rng()
    xs, gs = ([context.format.round(rng.uniform(0.5, 2.0)) for _ in range(size)] for _ in range(2))
    g = context.tensor(gs).reshape(row.shape)
    for p in rates:
        calls: tuple[tuple[str, Callable[[Any], Any]], ...] = (
            ("module", getattr(torch.nn, row.module)(p)),
            ("in place", getattr(torch.nn, row.module)(p, inplace=True)),
            ("function", functools.partial(getattr(functional, row.function), p=p, training=True)),
        )
        for name, call in calls if p == 0.5 else calls[:1]:
            x = context.tensor(xs).reshape(row.shape).requires_grad_()
            y = call(x.clone())
            (gradient,) = torch.autograd.grad(y, x, g)
            seen = Seen(xs, context.values(y), gs, context.values(gradient))
            _judge(context, row, p, f"{name}, p={p}", seen)
            again = context.values(call(x.detach().clone()))
            context.true(again != seen.ys, what=f"another call drops others, {name}, p={p}")


class Seen(NamedTuple):
    """Inputs, outputs, upstream gradients and gradients of one call."""

    xs: Sequence[float]
    ys: Sequence[float]
    gs: Sequence[float]
    gradient: Sequence[float]


def _judge(context: Context, row: Kind, p: float, name: str, seen: Seen) -> None:
    a, b, dropped = outcomes(row, p)
    gone = context.format.round(dropped)
    # Twice the distance that rounding can make; what is kept lies further away (x is at least 0.5, a at least 0.8).
    kept = [abs(y - gone) > 0.05 if row.alpha else y != 0.0 for y in seen.ys]
    units = {"float32": 6.0, "float64": 8.0}.get(context.dtype_name or "float32", 3.0)
    context.close(
        list(seen.ys),
        [a * x + b if k else dropped for x, k in zip(seen.xs, kept)],
        bound=units,  # 1 - p, the quotient, the product; for alpha also its constants and a sum
        cancel=2.0 * (abs(b) + abs(dropped)) if row.alpha else 0.0,
        what=f"kept and dropped, {name}",
        given=seen.xs,
    )
    context.close(
        list(seen.gradient),
        [a * g if k else 0.0 for g, k in zip(seen.gs, kept)],
        bound=units,
        floor=0.0,
        what=f"gradient, {name}",
        given=seen.gs,
    )
    inner = math.prod(row.shape[len(row.shape) - row.whole :]) if row.whole else 1
    firsts = kept[::inner]
    whole = all(kept[i] == firsts[i // inner] for i in range(len(kept)))
    context.true(whole, what=f"channels fall as a whole, {name}")
    n = len(firsts)
    deviation(context, sum(firsts) / n, 1 - p, math.sqrt(p * (1 - p) / n), f"share kept, {name}")
    pairs = sum(x == y for x, y in zip(firsts, firsts[1:])) / (n - 1)
    same = p * p + (1 - p) ** 2
    # Pairs of neighbours are 1-dependent: their mean has at most three times the variance of independent ones.
    deviation(context, pairs, same, math.sqrt(3 * same * (1 - same) / n), f"neighbours fall independently, {name}")


@check(oracle="the identity", level="quick", dtypes=FLOATS, each=FAMILY, needs=needs)
def eval_mode(context: Context, row: Kind) -> None:
    """{row} leaves numbers as they are in eval and with p = 0, and leaves none with p = 1."""
    torch, functional = context.torch, context.torch.nn.functional
    kind = getattr(torch.nn, row.module)
    shape = (4_127,) if not row.whole else (17, 11, *row.shape[2:])
    rng = context.rng()
    x = context.tensor([rng.uniform(-2.0, 2.0) for _ in range(math.prod(shape))]).reshape(shape).requires_grad_()
    held = raw_bytes(x)
    for name, y in (
        ("eval", kind(0.5).eval()(x)),
        ("train(False)", kind(0.5).train(False)(x)),
        ("function", getattr(functional, row.function)(x, p=0.5, training=False)),
        ("p = 0", kind(0.0)(x)),
        ("inside an eval model", torch.nn.Sequential(torch.nn.Sequential(kind(0.9))).eval()(x)),
    ):
        context.true(raw_bytes(y) == held, what=f"{name}: nothing changes")
        (gradient,) = torch.autograd.grad(y.sum(), x)
        context.true(set(context.values(gradient)) == {1.0}, what=f"{name}: the gradient passes")
    if not row.alpha:
        y = kind(1.0)(x)
        context.true(set(context.values(y)) <= {0.0}, what="p = 1: nothing is left")
    acting = kind(0.5).eval().train()(x)
    context.true(raw_bytes(acting) != held, what="train() after eval() acts again")


@check(oracle="x / (1 - p) or 0, by the binomial law", level="quick")
def many(context: Context) -> None:
    """Dropout of many numbers keeps half of them, doubled, whatever their neighbours do."""
    torch, n = context.torch, 100_003
    x = context.tensor([1.0]).expand(n).contiguous().requires_grad_()
    y = torch.nn.Dropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    # 0 and 2 in float32: one byte of each tells them apart.
    values, passed = raw_bytes(y), raw_bytes(gradient)
    context.true(set(floats(y)) == {0.0, 2.0}, what="numbers are dropped or doubled", got=sorted(set(floats(y)))[:4])
    context.true(values == passed, what="the gradient takes the same way")
    kept = [v > 0 for v in floats(y)]
    deviation(context, sum(kept) / n, 0.5, 0.5 / math.sqrt(n), "share kept")
    for step in (1, 2, 8, 16, 1024):
        same = sum(map(operator.eq, kept, kept[step:])) / (n - step)
        deviation(context, same, 0.5, 0.5 / math.sqrt(n - step), f"numbers {step} apart fall independently")


@check(oracle="mean 0 and variance 1, kept by a x + b")
def alpha_moments(context: Context) -> None:
    """AlphaDropout keeps mean and variance of normalised numbers."""
    n = 2**15
    rng = context.rng()
    xs = [rng.gauss(0.0, 1.0) for _ in range(n)]
    ys = context.values(context.torch.nn.AlphaDropout(0.3)(context.tensor(xs)))
    mean = math.fsum(ys) / n
    deviation(context, mean, 0.0, 1 / math.sqrt(n), "mean after AlphaDropout")
    # Fourth moment of the mixture: 0.7 E (a x + b)^4 + 0.3 dropped^4.
    a, b, dropped = outcomes(FAMILY[4], 0.3)
    fourth = 0.7 * (3 * a**4 + 6 * a * a * b * b + b**4) + 0.3 * dropped**4
    variance = math.fsum(y * y for y in ys) / n
    deviation(context, variance, 1.0, math.sqrt((fourth - 1) / n), "variance after AlphaDropout")
