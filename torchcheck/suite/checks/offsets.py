"""Small differences of large numbers: statistics, norms and softmax of data that lies far from zero.

A sum of squares less the square of a sum loses as many digits as the mean has more than the deviation, twice over. Here
the mean is C and the deviation the root of 5, with u (C / sigma)**2 near 1: a formula of moments has no digit left,
where Welford's or two passes lose u C / sigma (Chan, Golub and LeVeque, The American Statistician 37, 1983).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import passes, precision, trajectory
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import Context

P = (1.0, -3.0, -1.0, 3.0)  # mean 0, mean square 5
G = (1.0, 2.0, -3.0, 2.0)
EPS = 2.0**-7
COUNT = 400
VARIANCE = 5.0
DIGITS = {"float64": 26, "float32": 12, "bfloat16": 6, "float16": 7}


def _f(t: Any) -> Any:
    return t.nn.functional


def _centre(context: Context, *salt: object) -> float:
    """Draw an odd number between 1.5 and 1.9 times 2**DIGITS: the format holds it, and P around it, but no square."""
    unit = 2.0 ** DIGITS[context.format.name]
    return float(int(unit * (1.5 + 0.4 * context.rng("centre", *salt).random())) | 1)


class Moment(NamedTuple):
    """(torch, x of COUNT numbers) -> numbers, all of which are `right`; `mean` where they are the mean itself."""

    call: Callable[[Any, Any], Any]
    right: float
    mean: bool = False


LESS = VARIANCE * COUNT / (COUNT - 1)
MOMENTS: dict[str, Moment] = {
    "var": Moment(lambda _, x: x.var(), LESS),
    "var, biased": Moment(lambda _, x: x.var(unbiased=False), VARIANCE),
    "var of rows": Moment(lambda _, x: x.expand(3, COUNT).contiguous().var(1), LESS),
    "var of columns": Moment(lambda t, x: t.stack((x, x, x), 1).var(0), LESS),
    "var over two dims": Moment(lambda _, x: x.reshape(10, 1, 40).expand(10, 3, 40).contiguous().var((0, 2)), LESS),
    "var of strided data": Moment(lambda t, x: t.stack((x, x * 2), 1)[:, 0].var(), LESS),
    "std": Moment(lambda _, x: x.std(), math.sqrt(LESS)),
    "std of columns": Moment(lambda t, x: t.stack((x, x, x), 1).std(0), math.sqrt(LESS)),
    "var_mean": Moment(lambda t, x: t.var_mean(x)[0], LESS),
    "std_mean": Moment(lambda t, x: t.std_mean(x, 0)[0], math.sqrt(LESS)),
    "mean of var_mean": Moment(lambda t, x: t.var_mean(x)[1], 0.0, mean=True),
    "mean of columns": Moment(lambda t, x: t.stack((x, x, x), 1).mean(0), 0.0, mean=True),
}
WIDE = {
    "cov": Moment(lambda t, x: t.cov(x), LESS),
    "cov of two": Moment(lambda t, x: t.cov(t.stack((x, x))), LESS),
    "corrcoef": Moment(lambda t, x: t.corrcoef(t.stack((x, x))), 1.0),
}


@check(oracle="moments that are known exactly", level="quick", dtypes=FLOATS)
@trajectory.unthreaded
def moments(context: Context) -> None:
    """Variances and deviations of numbers around a large one keep their digits, over every dim."""
    centre, fmt = _centre(context), context.format
    x = passes.tiled(context, [centre + p for p in P], COUNT)
    lost = centre / math.sqrt(VARIANCE)
    # Half precision is summed up in float32, for which these centres are small.
    bound = 32.0 * (lost if fmt.digits >= 24 else 1.0)  # n at the worst, some roots of n else
    for what, row in {**MOMENTS, **(WIDE if fmt.digits >= 24 else {})}.items():
        got = row.call(context.torch, x)
        right = [centre if row.mean else row.right] * got.numel()
        context.close(got, right, bound=64.0 if row.mean else bound, what=what)
    if fmt.digits < 24:
        return
    for name, call, scale in (
        ("var", lambda t: t.var(unbiased=False), 2.0),
        ("std", lambda t: t.std(unbiased=False), 1 / math.sqrt(VARIANCE)),
    ):
        (by,) = passes.backward(context, call, [x])[1]
        # x less a mean that is off by u C or so
        slopes = [scale * p / COUNT for p in P]
        passes.judge_period(context, by, slopes, bound=8.0, cancel=centre * scale / COUNT, what=f"gradient of {name}")
    same = context.tensor([centre] * COUNT)
    context.close(same.var(), [0.0], bound=8.0, cancel=centre**2 * fmt.u * 8, what="var of equal numbers")


def _image(x: Any) -> Any:
    return x.reshape(1, 3, -1, 4)


NORMS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "layer_norm": lambda t, x, _, __: _f(t).layer_norm(x, (COUNT,), eps=EPS),
    "layer_norm of two dims": lambda t, x, _, __: _f(t).layer_norm(x.reshape(3, 20, 20), (20, 20), eps=EPS),
    "group_norm": lambda t, x, _, __: _f(t).group_norm(_image(x), 3, eps=EPS),
    "group_norm, channels last": lambda t, x, _, __: _f(t).group_norm(
        _image(x).contiguous(memory_format=t.channels_last), 3, t.ones_like(x[:, 0]), t.zeros_like(x[:, 0]), EPS
    ),
    "group_norm of one group": lambda t, x, _, __: _f(t).group_norm(x[None], 1, eps=EPS),
    "instance_norm": lambda t, x, _, __: _f(t).instance_norm(_image(x), eps=EPS),
    "batch_norm": lambda t, x, m, v: _f(t).batch_norm(_image(x), m, v, training=True, momentum=1.0, eps=EPS),
    "batch_norm, channels last": lambda t, x, m, v: _f(t).batch_norm(
        _image(x).contiguous(memory_format=t.channels_last), m, v, training=True, momentum=1.0, eps=EPS
    ),
    "batch_norm of rows": lambda t, x, m, v: (
        _f(t).batch_norm(x.t().contiguous(), m, v, training=True, momentum=1.0, eps=EPS).t().contiguous()
    ),
    "batch_norm of sequences": lambda t, x, m, v: _f(t).batch_norm(x[None], m, v, training=True, momentum=1.0, eps=EPS),
}


@check(oracle="moments that are known exactly", level="quick", dtypes=FLOATS)
@trajectory.unthreaded
def norms(context: Context) -> None:
    """Normalisation layers keep the digits of numbers around a large one, gradients and running statistics too."""
    centre, fmt = _centre(context), context.format
    x = passes.tiled(context, [centre + p for p in P], 3 * COUNT).reshape(3, COUNT)
    r = 1 / math.sqrt(VARIANCE + EPS)
    m1, m2 = sum(G) / 4, sum(g * p * r for g, p in zip(G, P)) / 4
    slopes = [r * (g - m1 - p * r * m2) for g, p in zip(G, P)]
    narrow = fmt.digits < 24
    lost = 1.0 if narrow else centre * r
    for what, norm in NORMS.items():
        if what == "group_norm, channels last" and not context.at_least("default"):
            continue  # a known defect of CPUs, which not every run need tell
        mean, var = context.tensor([0.0] * 3), context.tensor([1.0] * 3)
        output, (by,) = passes.backward(context, lambda t, n=norm, m=mean, v=var: n(context.torch, t, m, v), [x], G)
        flat = (
            output.contiguous()
            if output.dim() < 4
            else output.contiguous(memory_format=context.torch.contiguous_format)
        )
        # x r - C r: two terms of the size C r, one of them with a mean and a deviation that are off as far.
        passes.judge_period(context, flat, [p * r for p in P], bound=8.0, cancel=2 * lost, what=what)
        passes.judge_period(
            context, by.contiguous(), slopes, bound=8.0, cancel=r * 8 * (1 + lost), what=f"gradient of {what}"
        )
        if what.startswith("batch"):
            context.close(mean, [centre] * 3, bound=64.0, what=f"running mean of {what}")
            context.close(var, [LESS] * 3, bound=32.0 * lost, what=f"running variance of {what}")


LOGITS = (0.0, 1.0, -2.0, 3.0, 0.5)
SHIFTED: dict[str, tuple[Callable[[Any, Any], Any], Callable[[float, float], float], bool]] = {
    # name: (call, right from the logit and the logsumexp of all, whether the offset stays in the result)
    "softmax": (lambda _, x: x.softmax(-1), lambda z, s: math.exp(z - s), False),
    "softmax of columns": (lambda _, x: x.t().contiguous().softmax(0).t(), lambda z, s: math.exp(z - s), False),
    "log_softmax": (lambda _, x: x.log_softmax(-1), lambda z, s: z - s, False),
    "log_softmax of columns": (lambda _, x: x.t().contiguous().log_softmax(0).t(), lambda z, s: z - s, False),
    "softmin": (lambda t, x: _f(t).softmin(-x, -1), lambda z, s: math.exp(z - s), False),
    "logsumexp": (lambda _, x: x.logsumexp(-1), lambda _, s: s, True),
    "logaddexp": (lambda t, x: t.logaddexp(x[:, :1], x[:, :1]), lambda _, __: math.log(2), True),
    "logaddexp2": (lambda t, x: t.logaddexp2(x[:, :1], x[:, :1]), lambda _, __: 1.0, True),
    "cross_entropy": (
        lambda t, x: _f(t).cross_entropy(x, t.zeros(len(x), dtype=t.int64).to(x.device), reduction="none"),
        lambda _, s: s,
        False,
    ),
    "end of logcumsumexp": (lambda _, x: x.logcumsumexp(-1)[:, -1:], lambda _, s: s, True),
}


@check(oracle="softmax does not change with an offset", level="quick", dtypes=FLOATS)
@trajectory.unthreaded
def logits(context: Context) -> None:
    """Softmax and its logarithms take any offset, up to where numbers end, and are those of the differences."""
    torch, fmt = context.torch, context.format
    large = 2.0 ** (fmt.digits - 4)  # halves are still held
    whole = math.log(math.fsum(map(math.exp, LOGITS)))
    tops = (-large / 2, -large, large / 2, large)
    x = context.tensor([[z + top for z in LOGITS] for top in tops])
    for what, (call, rule, stays) in SHIFTED.items():
        try:
            got = call(torch, x).contiguous()
        except RuntimeError as error:
            if "not implemented for" not in str(error):
                raise
            context.note(f"{what}: {error}")
            continue
        width = got.numel() // len(tops)
        right = [rule(z, whole) + (top if stays else 0.0) for top in tops for z in LOGITS[:width]]
        context.close(got, right, bound=8.0, cancel=1.0, what=what)
    ends = context.tensor(
        [[fmt.largest / 2, fmt.largest, -fmt.largest], [-fmt.largest, -fmt.largest, -fmt.largest / 2]]
    )
    for what, got, right in (
        ("softmax", ends.softmax(1), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
        (
            "logsumexp",
            ends.float().logsumexp(1) if fmt.digits < 24 else ends.logsumexp(1),
            [fmt.largest, -fmt.largest / 2],
        ),
    ):
        context.close(got, right, bound=4.0, what=f"{what} of the largest numbers")
    leaf = x.clone().requires_grad_()
    (by,) = torch.autograd.grad(leaf.log_softmax(1)[:, 0].sum(), leaf)
    shares = [(i == 0) - math.exp(z - whole) for i, z in enumerate(LOGITS)]
    context.close(by, shares * len(tops), bound=8.0, cancel=1.0, what="gradient of log_softmax")


@check(oracle="softmax does not change with an offset", level="quick", dtypes=FLOATS)
@trajectory.unthreaded
def attention(context: Context) -> None:
    """Attention takes scores beyond where exp ends: of equal ones as of far ones."""
    torch = context.torch
    function = torch.nn.functional.scaled_dot_product_attention
    whole = math.log(math.fsum(map(math.exp, LOGITS)))
    shares = [math.exp(z - whole) for z in LOGITS]
    values = [4.0, -2.0, 1.0, 8.0, -6.0]
    right = math.fsum(map(float.__mul__, shares, values))
    v = context.tensor([[v] + [0.0] * 3 for v in values])[None, None]
    for offset in (128.0, -128.0):
        # Heads of 4: scores are q k / 2, here offset + z.
        q = context.tensor([[offset / 2, 2.0, 0.0, 0.0]] * 3)[None, None]
        k = context.tensor([[4.0, z, 0.0, 0.0] for z in LOGITS])[None, None]
        with precision.full(torch):
            got = function(q, k, v)[0, 0, :, 0]
        # Fused kernels multiply scores by log2(e), and others hold them in half precision: near 128, that rounds them.
        context.close(got, [right] * 3, bound=4.0, cancel=8 * 128.0, what=f"scores around {offset}")


@check(oracle="differences of integers, exact", level="quick", dtypes=FLOATS[:2])
@trajectory.unthreaded
def neighbours(context: Context) -> None:
    """Distances and losses of points that lie close together, far from zero, are those of their differences."""
    torch, fmt, rng = context.torch, context.format, context.rng()
    functional, centre = torch.nn.functional, _centre(context)
    gaps = [[float(rng.choice((-3, -2, 2, 3))) for _ in range(7)] for _ in range(3)]
    x = context.tensor([[centre] * 7] * 3)
    y = context.tensor([[centre + g for g in row] for row in gaps])
    squares = [sum(g * g for g in row) for row in gaps]
    lengths = [math.sqrt(s) for s in squares]
    sums = [sum(map(abs, row)) for row in gaps]
    flat = [g for row in gaps for g in row]
    for what, got, right in (
        ("cdist", torch.cdist(x[:1], y, compute_mode="donot_use_mm_for_euclid_dist"), lengths),
        ("cdist of few points", torch.cdist(x[:1], y), lengths),
        ("cdist of order 1", torch.cdist(x[:1], y, p=1.0), sums),
        ("pdist", torch.pdist(torch.cat((x[:1], y)))[:3], lengths),
        ("dist", torch.dist(x[0], y[0])[None], lengths[:1]),
        ("pairwise_distance", functional.pairwise_distance(x, y, eps=0.0), lengths),
        ("norm of the difference", torch.linalg.vector_norm(x - y, dim=1), lengths),
        ("mse_loss", functional.mse_loss(x, y, reduction="sum")[None], [sum(squares)]),
        ("l1_loss", functional.l1_loss(x, y, reduction="sum")[None], [sum(sums)]),
        ("huber_loss", functional.huber_loss(x, y, reduction="none"), [abs(g) - 0.5 for g in flat]),
        ("smooth_l1_loss", functional.smooth_l1_loss(x, y, reduction="none"), [abs(g) - 0.5 for g in flat]),
        ("diff", torch.diff(torch.stack((x, y), 2)), flat),
        ("lerp", torch.lerp(x, y, 0.5), [centre + g / 2 for g in flat]),
    ):
        context.close(got, right, bound=4.0, what=what)
    scale = 2.0 ** (fmt.emax - 3)
    for factor in (scale, 1 / scale):
        three, four = context.tensor([3.0 * factor / 4] * 9), context.tensor([-factor] * 9)
        context.close(torch.hypot(three, four), [1.25 * factor] * 9, bound=4.0, what=f"hypot near {factor:.3g}")
        size = torch.complex(three, four).abs()
        context.close(size, [1.25 * factor] * 9, bound=4.0, what=f"magnitude of complex numbers near {factor:.3g}")
