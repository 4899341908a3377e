"""Where formulas break off: zeros, ties, infinities and corners, whose values and gradients are conventions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

CONVENTION = "the documented conventions, and limits"
INF, NAN = math.inf, math.nan


def _gradient(context: Context, function: Any, values: Any) -> Any:
    by = passes.backward(context, function, [context.tensor(values)])[1][0]
    # Where nothing depends on the input, autograd hands out zeros without memory.
    return context.torch.zeros_like(by, memory_format=context.torch.preserve_format) if by._is_zerotensor() else by  # noqa: SLF001


@check(oracle=CONVENTION, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def zeros(context: Context) -> None:
    """Products, norms, powers and distances at zero have the gradients of their limits, never NaN."""
    torch = context.torch
    functional = torch.nn.functional
    x = [[2.0, 0.0, 3.0, -1.0], [0.0, 5.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, -3.0, 4.0]]
    others = [[_but(row, i) for i in range(4)] for row in x]
    flat = [v for row in others for v in row]
    for name, call in (
        ("prod", lambda t: t.prod(1)),
        ("torch.prod", lambda t: torch.prod(t, 1)),
        ("prod of each row", lambda t: torch.stack([row.prod() for row in t])),
        ("cumprod, last", lambda t: t.cumprod(1)[:, -1]),
        ("torch.cumprod, last", lambda t: torch.cumprod(t, 1)[:, -1]),
    ):
        context.exact(_gradient(context, call, x), flat, what=f"gradient of {name}")
    running = [[sum(_but(row[: j + 1], i) for j in range(i, 4)) for i in range(4)] for row in x]
    for name, call in (("cumprod", lambda t: t.cumprod(1)), ("torch.cumprod", lambda t: torch.cumprod(t, 1))):
        context.exact(_gradient(context, call, x), [v for row in running for v in row], what=f"gradient of {name}")
    rows = [[3.0, 4.0], [0.0, 0.0], [-6.0, 8.0]]
    unit = [0.6, 0.8, 0.0, 0.0, -0.6, 0.8]
    for name, call in (
        ("linalg.vector_norm", lambda t: torch.linalg.vector_norm(t, dim=1)),
        ("linalg.norm", lambda t: torch.linalg.norm(t, dim=1)),
        ("Tensor.norm", lambda t: t.norm(dim=1)),
        ("torch.norm", lambda t: torch.norm(t, dim=1)),
        ("pairwise_distance", lambda t: functional.pairwise_distance(t, torch.zeros_like(t), eps=0.0)),
        ("cdist", lambda t: torch.cdist(t[:, None], torch.zeros_like(t)[:, None]).flatten()),
    ):
        context.close(_gradient(context, call, rows), unit, bound=4.0, what=f"gradient of {name}")
    context.exact(_gradient(context, lambda t: t.norm(), [0.0, 0.0]), [0.0, 0.0], what="gradient of a whole norm at 0")
    signs = [1.0, 1.0, 0.0, 0.0, -1.0, 1.0]
    context.exact(_gradient(context, lambda t: t.norm(1, dim=1), rows), signs, what="gradient of the 1-norm")
    for n, right in ((0.0, [0.0, 0.0]), (1.0, [1.0, 1.0]), (2.0, [0.0, 4.0]), (3.0, [0.0, 12.0])):
        got = _gradient(context, lambda t, n=n: t**n, [0.0, 2.0])
        context.exact(got, right, what=f"gradient of x ** {n:g} at 0 and 2")
    exponent = context.tensor([0.0, 2.0], grad=True)
    (by,) = torch.autograd.grad((context.tensor([0.0, 0.0]) ** exponent).sum(), exponent)
    context.exact(by, [-INF, 0.0] if str(by.tolist()[0]) == "-inf" else [0.0, 0.0], what="gradient of 0 ** y by y")
    context.exact(functional.normalize(context.tensor(rows), dim=1)[1], [0.0, 0.0], what="normalize of zeros")
    zero, one = context.tensor([[0.0, 0.0]]), context.tensor([[1.0, 2.0]])
    context.exact(functional.cosine_similarity(zero, one), [0.0], what="cosine similarity with zeros")
    context.exact(functional.cosine_similarity(zero, zero), [0.0], what="cosine similarity of zeros")
    apart = functional.pairwise_distance(one, one)
    context.close(apart, [1e-6 * math.sqrt(2)], bound=8.0, what="pairwise distance of equals is its epsilon")
    for name, call in (("abs", torch.abs), ("sign", torch.sign), ("relu", torch.relu), ("sgn", torch.sgn)):
        context.exact(_gradient(context, call, [0.0]), [0.0], what=f"gradient of {name} at 0")
    context.exact(torch.xlogy(context.tensor([0.0]), context.tensor([0.0])), [0.0], what="0 log 0")
    context.exact(torch.special.entr(context.tensor([0.0, 1.0])), [0.0, 0.0], what="entropy at 0 and 1")
    context.exact(torch.sinc(context.tensor([0.0])), [1.0], what="sinc at 0")
    context.exact(_gradient(context, torch.sinc, [0.0]), [0.0], what="gradient of sinc at 0")
    context.exact(context.tensor([3.0, 3.0, 3.0]).std(), [0.0], what="deviation of equal numbers")


def _but(row: list[float], i: int) -> float:
    return math.prod(v for j, v in enumerate(row) if j != i)


@check(oracle=CONVENTION, dtypes=("float32",))
@trajectory.unthreaded
def infinities(context: Context) -> None:
    """Rows of minus infinity, single infinities and NaN come through softmax, sums and comparisons as IEEE has them."""
    torch = context.torch
    rows = context.tensor([[-INF, -INF, -INF], [-INF, 1.0, -INF], [0.0, -INF, 0.0], [INF, 0.0, 1.0]])
    for name, got in (("Tensor.logsumexp", rows.logsumexp(1)), ("torch.logsumexp", torch.logsumexp(rows, 1))):
        context.close(got, [-INF, 1.0, math.log(2), INF], bound=4.0, what=name)
    context.close(rows.logcumsumexp(1)[:2, -1], [-INF, 1.0], bound=4.0, what="logcumsumexp")
    context.exact(torch.logaddexp(rows[0], rows[0]), [-INF] * 3, what="logaddexp of -inf")
    context.close(rows[1:3].softmax(1), [0.0, 1.0, 0.0, 0.5, 0.0, 0.5], bound=4.0, what="softmax with -inf")
    context.exact(rows[:1].softmax(1), [NAN] * 3, what="softmax of nothing but -inf")
    context.close(rows[2].log_softmax(0), [-math.log(2), -INF, -math.log(2)], bound=4.0, what="log_softmax with -inf")
    leaf = rows[1:3].detach().requires_grad_()
    (by,) = torch.autograd.grad(leaf.logsumexp(1).sum(), leaf)
    context.close(by, [0.0, 1.0, 0.0, 0.5, 0.0, 0.5], bound=4.0, what="gradient of logsumexp with -inf")
    x, y = context.tensor([INF, -INF, NAN, 1.0]), context.tensor([1.0, NAN, 2.0, NAN])
    context.exact(torch.maximum(x, y), [INF, NAN, NAN, NAN], what="maximum")
    context.exact(torch.fmax(x, y), [INF, -INF, 2.0, 1.0], what="fmax")
    context.exact(torch.fmin(x, y), [1.0, -INF, 2.0, 1.0], what="fmin")
    context.exact(x.isnan(), [False, False, True, False], what="isnan")
    context.exact(x.isinf(), [True, True, False, False], what="isinf")
    context.exact(x.isfinite(), [False, False, False, True], what="isfinite")
    context.exact(torch.nan_to_num(x, 5.0, 6.0, -7.0), [6.0, -7.0, 5.0, 1.0], what="nan_to_num")
    context.exact(x.nansum(), [NAN], what="nansum of inf - inf")
    context.exact(y.nansum(), [3.0], what="nansum")
    context.exact(y.nanmean(), [1.5], what="nanmean")
    context.exact(y.nanmedian(), [1.0], what="nanmedian")
    context.exact(y.median(), [NAN], what="median with NaN")
    hidden = context.tensor([[NAN, INF], [-INF, NAN]])
    a, b = context.tensor([[1.0, 2.0], [3.0, 4.0]]), context.tensor([[5.0, 6.0], [7.0, 8.0]])
    product = [19.0, 22.0, 43.0, 50.0]
    for name, got in (
        ("addmm", torch.addmm(hidden, a, b, beta=0)),
        ("addmm, in place", hidden.clone().addmm_(a, b, beta=0)),
        ("baddbmm", torch.baddbmm(hidden[None], a[None], b[None], beta=0)),
        ("addbmm", torch.addbmm(hidden, a[None], b[None], beta=0)),
    ):
        context.exact(got, product, what=f"{name} with beta=0 does not read what it adds to")
    context.exact(torch.addmv(hidden[0], a, b[0], beta=0), [17.0, 39.0], what="addmv with beta=0")
    context.exact(torch.addr(hidden, a[0], b[0], beta=0), [5.0, 6.0, 10.0, 12.0], what="addr with beta=0")


@check(oracle=CONVENTION, level="quick", dtypes=("float32",))
@trajectory.unthreaded
def corners(context: Context) -> None:
    """Clamp, threshold, maximum, amax, minimum, abs and piecewise losses have their documented gradients at corners."""
    torch, functional = context.torch, context.torch.nn.functional
    x = [-2.0, -1.0, 0.0, 1.0, 2.0]
    # 1 at a bound until 2.13, 0 from 2.14 on: https://github.com/pytorch/pytorch/issues/195931
    e = float([int(n) for n in torch.__version__.split(".")[:2]] < [2, 14])
    for name, call, right in (
        ("Tensor.clamp", lambda t: t.clamp(-1, 1), [0, e, 1, e, 0]),
        ("torch.clamp", lambda t: torch.clamp(t, -1.0, 1.0), [0, e, 1, e, 0]),
        ("clamp, min alone", lambda t: t.clamp(min=1), [0, 0, 0, e, 1]),
        ("clamp, max alone", lambda t: torch.clamp(t, max=-1), [1, e, 0, 0, 0]),
        ("clip", lambda t: t.clip(-1, 1), [0, e, 1, e, 0]),
        ("clamp_min", lambda t: t.clamp_min(0), [0, 0, e, 1, 1]),
        ("clamp_max", lambda t: t.clamp_max(0), [1, 1, e, 0, 0]),
        ("clamp in place", lambda t: (t * 1).clamp_(-1, 1), [0, e, 1, e, 0]),
        ("hardtanh", functional.hardtanh, [0, 0, 1, 0, 0]),
        ("relu6", functional.relu6, [0, 0, 0, 1, 1]),
        ("threshold", lambda t: functional.threshold(t, 1.0, 7.0), [0, 0, 0, 0, 1]),
        ("hardshrink", lambda t: functional.hardshrink(t, 1.0), [1, 0, 0, 0, 1]),
        ("softshrink", lambda t: functional.softshrink(t, 1.0), [1, 0, 0, 0, 1]),
        ("leaky_relu", lambda t: functional.leaky_relu(t, 0.25), [0.25, 0.25, 0.25, 1, 1]),
        ("maximum", lambda t: torch.maximum(t, torch.zeros_like(t)), [0, 0, 0.5, 1, 1]),
        ("minimum", lambda t: torch.minimum(t, torch.zeros_like(t)), [1, 1, 0.5, 0, 0]),
        ("abs", torch.abs, [-1, -1, 0, 1, 1]),
        ("l1_loss", lambda t: functional.l1_loss(t, torch.ones_like(t), reduction="sum"), [-1, -1, -1, 0, 1]),
        ("smooth_l1", lambda t: functional.smooth_l1_loss(t, torch.zeros_like(t), reduction="sum"), [-1, -1, 0, 1, 1]),
        ("huber", lambda t: functional.huber_loss(t, torch.zeros_like(t), reduction="sum"), [-1, -1, 0, 1, 1]),
    ):
        context.exact(_gradient(context, call, x), right, what=f"gradient of {name}")
    tied = [[2.0, 5.0, 5.0, 1.0], [3.0, 3.0, 3.0, 3.0]]
    for name, call, right in (
        ("Tensor.amax", lambda t: t.amax(1), [0, 0.5, 0.5, 0, 0.25, 0.25, 0.25, 0.25]),
        ("torch.amax", lambda t: torch.amax(t, 1), [0, 0.5, 0.5, 0, 0.25, 0.25, 0.25, 0.25]),
        ("Tensor.amin", lambda t: t.amin(1), [0, 0, 0, 1, 0.25, 0.25, 0.25, 0.25]),
        ("torch.amin", lambda t: torch.amin(t, 1), [0, 0, 0, 1, 0.25, 0.25, 0.25, 0.25]),
        ("logsumexp of equals", lambda t: t.logsumexp(1)[1:], [0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25]),
    ):
        context.close(_gradient(context, call, tied), [float(v) for v in right], bound=4.0, what=f"gradient of {name}")


@check(oracle="Python's math and integers", dtypes=("float32",))
@trajectory.unthreaded
def quadrants(context: Context) -> None:
    """atan2, remainders, powers, rounding, shifts and signs are Python's in every quadrant, in every spelling."""
    torch, rng = context.torch, context.rng()
    xs = [v / 8 for v in (-20, -9, -4, -1, 1, 4, 9, 20)]
    pairs = [(a, b) for a in xs for b in xs]
    a, b = ([p[i] for p in pairs] for i in (0, 1))
    x, y = context.tensor(a), context.tensor(b)
    right = [math.atan2(p, q) for p, q in pairs]
    for name, got in (
        ("torch.atan2", torch.atan2(x, y)),
        ("Tensor.atan2", x.atan2(y)),
        ("in place", x.clone().atan2_(y)),
    ):
        context.close(got, right, bound=4.0 * passes.allowance(context), what=f"atan2, {name}")
    axes = context.tensor([0.0, 0.0, 1.0, -1.0, 0.0, -0.0]), context.tensor([1.0, -1.0, 0.0, 0.0, 0.0, -1.0])
    context.close(
        torch.atan2(*axes), [0.0, math.pi, math.pi / 2, -math.pi / 2, 0.0, -math.pi], bound=4.0, what="atan2 on axes"
    )
    context.close(torch.hypot(x, y), list(map(math.hypot, a, b)), bound=4.0 * passes.allowance(context), what="hypot")
    _, (by_x, by_y) = passes.backward(context, torch.atan2, [x, y])
    size = [p * p + q * q for p, q in pairs]
    context.close(by_x, [q / s for (_, q), s in zip(pairs, size)], bound=8.0, what="gradient of atan2 by y")
    context.close(by_y, [-p / s for (p, _), s in zip(pairs, size)], bound=8.0, what="gradient of atan2 by x")
    call: Any
    rule: Any
    for name, call, rule in (
        ("remainder", torch.remainder, lambda p, q: p % q),
        ("%", lambda p, q: p % q, lambda p, q: p % q),
        ("fmod", torch.fmod, math.fmod),
        ("floor_divide", torch.floor_divide, lambda p, q: p // q),
        ("//", lambda p, q: p // q, lambda p, q: p // q),
        ("div, floor", lambda p, q: torch.div(p, q, rounding_mode="floor"), lambda p, q: p // q),
        ("div, trunc", lambda p, q: torch.div(p, q, rounding_mode="trunc"), lambda p, q: float(int(p / q))),
        ("copysign", torch.copysign, math.copysign),
    ):
        context.exact(call(x, y), [rule(p, q) for p, q in pairs], what=name)
    for name, call, rule in (
        ("round", torch.round, round),
        ("trunc", torch.trunc, math.trunc),
        ("floor", torch.floor, math.floor),
        ("ceil", torch.ceil, math.ceil),
        ("sign", torch.sign, lambda v: (v > 0) - (v < 0)),
        ("frac", torch.frac, lambda v: v - math.trunc(v)),
        ("square", torch.square, lambda v: v * v),
    ):
        halves = [v / 2 for v in range(-9, 10)]
        context.exact(call(context.tensor(halves)), [float(rule(v)) for v in halves], what=name)
    for n in (2, 3, -1, -2, 0.5):
        given = [v for v in xs if v > 0 or n == int(n)]
        got = context.tensor(given) ** n
        context.close(got, [v**n for v in given], bound=8.0 * passes.allowance(context), what=f"x ** {n}")
    whole = [(rng.randint(-99, 99), rng.choice((-7, -3, 2, 5, 13))) for _ in range(67)]
    p, q = (context.tensor([pair[i] for pair in whole], dtype="int64") for i in (0, 1))
    for name, call, rule in (
        ("remainder", torch.remainder, lambda m, n: m % n),
        ("fmod", torch.fmod, lambda m, n: int(math.fmod(m, n))),
        ("floor_divide", torch.floor_divide, lambda m, n: m // n),
        ("div, trunc", lambda m, n: torch.div(m, n, rounding_mode="trunc"), lambda m, n: int(m / n)),
        ("gcd", torch.gcd, math.gcd),
        ("bitwise_and", torch.bitwise_and, lambda m, n: m & n),
        ("bitwise_or", torch.bitwise_or, lambda m, n: m | n),
        ("bitwise_xor", torch.bitwise_xor, lambda m, n: m ^ n),
        ("less", torch.lt, lambda m, n: m < n),
        ("greater or equal", torch.ge, lambda m, n: m >= n),
    ):
        context.exact(call(p, q), [rule(m, n) for m, n in whole], what=f"{name} of integers")
    context.exact(p << 3, [m << 3 for m, _ in whole], what="left shift")
    context.exact(p >> 2, [m >> 2 for m, _ in whole], what="right shift")
    context.exact(p.add(q, alpha=3), [m + 3 * n for m, n in whole], what="add with alpha")
    context.exact(p.clone().add_(q, alpha=3), [m + 3 * n for m, n in whole], what="add in place with alpha")
    context.exact(torch.sub(p, q, alpha=2), [m - 2 * n for m, n in whole], what="sub with alpha")
    context.exact(torch.rsub(p, q, alpha=2), [n - 2 * m for m, n in whole], what="rsub with alpha")
