"""Normalisation layers, training and evaluation, and reparametrised weights."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import normalisation as oracle
from ..oracles.tape import backward, dot, growth, leaves, sqrt
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

FORMULA = "the formula in float64, with its running error"
MOMENTUM, EPS = 0.25, 2.0**-10


@dataclass(frozen=True)
class Norm:
    """A normalisation layer.

    Attributes:
        module: name in `torch.nn`.
        arguments: of its constructor.
        shape: of the input; the batch first.
        group: index -> what elements with the same mean have in common.
        place: index -> which weight and bias it has; None without them.
        kind: of the oracle: "standard", "rms" or "evaluation" (with running statistics).
        bias: whether there is one.
    """

    module: str
    arguments: tuple[Any, ...]
    shape: tuple[int, ...]
    group: Callable[[tuple[int, ...]], object]
    place: Callable[[tuple[int, ...]], int] | None
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "standard"
    bias: bool = True


def _channel(index: tuple[int, ...]) -> int:
    return index[1]


def _instance(index: tuple[int, ...]) -> object:
    return index[:2]


def _row(index: tuple[int, ...]) -> object:
    return index[0]


NORMS = {
    "batch_norm_1d": Norm("BatchNorm1d", (5,), (11, 5), _channel, _channel),
    "batch_norm_1d_length": Norm("BatchNorm1d", (3,), (2, 3, 7), _channel, _channel),
    "batch_norm_2d": Norm("BatchNorm2d", (4,), (2, 4, 3, 5), _channel, _channel),
    "batch_norm_3d": Norm("BatchNorm3d", (3,), (2, 3, 2, 3, 2), _channel, _channel),
    "batch_norm_plain": Norm("BatchNorm2d", (3,), (2, 3, 3, 2), _channel, None, {"affine": False}),
    "batch_norm_untracked": Norm("BatchNorm2d", (3,), (2, 3, 3, 2), _channel, _channel, {"track_running_stats": False}),
    "batch_norm_evaluation": Norm("BatchNorm2d", (4,), (2, 4, 3, 5), _channel, _channel, kind="evaluation"),
    "instance_norm_1d": Norm("InstanceNorm1d", (3,), (2, 3, 7), _instance, _channel, {"affine": True}),
    "instance_norm_2d": Norm("InstanceNorm2d", (3,), (2, 3, 3, 4), _instance, None),
    "instance_norm_3d": Norm("InstanceNorm3d", (2,), (2, 2, 2, 3, 2), _instance, _channel, {"affine": True}),
    "group_norm": Norm("GroupNorm", (2, 6), (2, 6, 3, 2), lambda i: (i[0], i[1] // 3), _channel),
    "group_norm_one": Norm("GroupNorm", (1, 4), (3, 4, 3), lambda i: i[0], _channel),
    "group_norm_plain": Norm("GroupNorm", (3, 6), (2, 6, 5), lambda i: (i[0], i[1] // 2), None, {"affine": False}),
    "layer_norm": Norm("LayerNorm", (37,), (3, 37), _row, lambda i: i[1]),
    "layer_norm_two_dims": Norm("LayerNorm", ((3, 5),), (4, 3, 5), _row, lambda i: 5 * i[1] + i[2]),
    "layer_norm_plain": Norm("LayerNorm", (33,), (2, 33), _row, None, {"elementwise_affine": False}),
    "rms_norm": Norm("RMSNorm", (37,), (3, 37), _row, lambda i: i[1], kind="rms", bias=False),
}
CORE, REST = passes.parted(NORMS, ("batch_norm_2d", "group_norm", "layer_norm"))


@dataclass(frozen=True)
class Answer:
    """Inputs of one period, and what is right for them: (values, errors) of the output and of each gradient."""

    x: list[float]
    weight: list[float]
    bias: list[float]
    upstream: list[float]
    right: list[tuple[list[float], list[float]]]


@functools.lru_cache(maxsize=2)
def _answer(name: str, salt: float) -> Answer:
    row, rng = NORMS[name], random.Random(salt)  # noqa: S311 - test data
    size = math.prod(row.shape)
    x, upstream = passes.dyadic(rng, size, 160, -96), passes.dyadic(rng, size, 96)
    places = [row.place(i) for i in oracle.indices(row.shape)] if row.place else []
    count = max(places, default=-1) + 1
    weight, bias = passes.dyadic(rng, count, 120, 16), passes.dyadic(rng, count if row.bias else 0, 96)
    xs, ws, bs = leaves(x), leaves(weight), leaves(bias)
    groups = oracle.group_by(row.shape, row.group)
    if row.kind == "evaluation":
        y = oracle.fixed(xs, places, *_statistics(count), EPS)
    else:
        y = {"standard": oracle.standardise, "rms": oracle.root_mean_square}[row.kind](xs, groups, EPS)
    if places:
        y = oracle.affine(y, places, ws, bs)
    backward(y, upstream)
    right = [([n.value for n in y], [n.error for n in y])]
    right += [([n.adjoint for n in nums], [n.adjoint_error for n in nums]) for nums in (xs, ws, bs) if nums]
    return Answer(x, weight, bias, upstream, right)


def _statistics(channels: int) -> tuple[list[float], list[float]]:
    """Running statistics to evaluate with."""
    return [0.25 * (c + 1) for c in range(channels)], [0.5 + 0.25 * c for c in range(channels)]


def _layer(context: Context, row: Norm, **options: Any) -> Any:
    made = getattr(context.torch.nn, row.module)(*row.arguments, eps=EPS, **{**row.options, **options})
    return made.to(context.device, context.dtype)


@check(oracle=FORMULA, level="quick", dtypes=FLOATS, each=CORE)
@check(oracle=FORMULA, dtypes=("float32",), more=("float64",), each=REST, needs=lambda row: (f"torch.nn.{row.module}",))
def normalises(context: Context, row: Norm) -> None:
    """{row} gives output and gradients of its formula."""
    answer = _answer(context.ident.split(".")[1], context.rng().random())
    wide = context.format.digits >= 24 and context.at_least("default")
    times = 1 + (1031 if wide else 1) // len(answer.x)
    layer = _layer(context, row)
    if row.kind == "evaluation":
        layer.eval()
        for held, values in zip((layer.running_mean, layer.running_var), _statistics(len(answer.weight))):
            held.copy_(context.tensor(values))
    batch = passes.tiled(context, answer.x, times * len(answer.x)).reshape(times * row.shape[0], *row.shape[1:])
    parameters = {k: v for k, v in (("weight", answer.weight), ("bias", answer.bias)) if v}
    shapes = {name: getattr(layer, name).shape for name in parameters}
    held = [context.tensor(v).reshape(shapes[k]) for k, v in parameters.items()]

    def call(x: Any, *given: Any) -> Any:
        return context.torch.func.functional_call(layer, dict(zip(parameters, given)), (x,))

    names = ("output", "gradient by the input", *(f"gradient by the {name}" for name in parameters))
    for how, laid in passes.layouts(context, batch):
        output, found = passes.backward(context, call, [laid, *held], answer.upstream)
        for i, (what, got, (values, errors)) in enumerate(zip(names, (output, *found), answer.right)):
            n = times if i > 1 else 1
            right, bounds = [n * v for v in values], passes.copied(errors, n)
            passes.judge_period(context, got, right, cancel=bounds, bound=4.0, what=what + how)


SWEPT = (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257, 511, 513, 1023, 1025, 2049, 4099)


@check(oracle="rows of 1, -1 and at most one 0: mean 0, variance known", level="quick", dtypes=("float32",))
def row_lengths(context: Context) -> None:
    """LayerNorm and its gradient are right at every row length around SIMD widths and blocks."""
    function = context.torch.nn.functional.layer_norm
    for n in SWEPT if context.at_least("default") else SWEPT[::4]:
        x = [1.0, -1.0] * (n // 2) + [0.0] * (n % 2)
        deviation = math.sqrt((n - n % 2) / n)
        g = [float(i % 5 - 1) for i in range(n)]
        mean = math.fsum(g) / n
        slope = math.fsum(a * b for a, b in zip(g, x)) / (n - n % 2)
        rows = context.tensor([x] * 3)
        output, (got,) = passes.backward(context, lambda t, n=n: function(t, (n,), eps=0.0), [rows], g)
        bound = 4.0 + growth(n) / 2  # a sum of n terms of one size in each of mean, variance and gradient
        passes.judge_period(context, output, [v / deviation for v in x], bound=bound, cancel=1.0, what=f"rows of {n}")
        by_x = [(a - mean - b * slope) / deviation for a, b in zip(g, x)]
        passes.judge_period(context, got, by_x, bound=bound, cancel=6.0, what=f"rows of {n}: gradient")


@check(oracle="mean, unbiased variance and their averages by definition", dtypes=FLOATS[:2])
def running_statistics(context: Context) -> None:
    """BatchNorm's running mean and unbiased variance follow their recurrence, with momentum and cumulative."""
    rng = context.rng()
    channels, count = 3, 10
    batches = [[[rng.randint(-96, 160) / 64 for _ in range(count)] for _ in range(channels)] for _ in range(3)]
    for momentum in (MOMENTUM, None, 0.1):
        options = {} if momentum == 0.1 else {"momentum": momentum}  # 0.1 is what it does unasked
        layer = context.torch.nn.BatchNorm1d(channels, **options).to(context.device, context.dtype)
        mean, var = [0.0] * channels, [1.0] * channels
        for step, batch in enumerate(batches, 1):
            share = 1 / step if momentum is None else momentum
            averages = [math.fsum(c) / count for c in batch]
            spreads = [math.fsum((v - m) ** 2 for v in c) / (count - 1) for c, m in zip(batch, averages)]
            mean = [(1 - share) * old + share * new for old, new in zip(mean, averages)]
            var = [(1 - share) * old + share * new for old, new in zip(var, spreads)]
            layer(context.tensor(batch).t())
        # n + 4 roundings each of sums of at most 4**2
        context.close(layer.running_mean, mean, bound=count + 4.0, cancel=4.0, what=f"momentum {momentum}: mean")
        context.close(layer.running_var, var, bound=count + 4.0, cancel=16.0, what=f"momentum {momentum}: variance")
        context.exact(layer.num_batches_tracked, 3, what=f"momentum {momentum}: batches tracked")
        if momentum is not None:
            _instances(context, batches, momentum)
        layer.eval()
        layer(context.tensor(batches[0]).t())
        context.close(layer.running_mean, mean, bound=count + 4.0, cancel=4.0, what="evaluation changes no statistics")


@check(oracle="rows whose variance is of the size of the default epsilon", dtypes=("float32",))
def default_epsilon(context: Context) -> None:
    """Unasked, every normalisation adds 1e-5 to the variance."""
    nn, small, n = context.torch.nn, 2.0**-8, 64
    right = [sign * small / math.sqrt(small * small + 1e-5) for _ in range(n // 2) for sign in (1, -1)]
    row = context.tensor([small, -small] * (n // 2))
    for what, layer, x in (
        ("LayerNorm", nn.LayerNorm(n), row[None]),
        ("GroupNorm", nn.GroupNorm(1, 1), row[None, None]),
        ("BatchNorm1d", nn.BatchNorm1d(1), row[:, None]),
        ("InstanceNorm1d", nn.InstanceNorm1d(1), row[None, None]),
    ):
        context.close(layer.to(context.device)(x), right, bound=32.0, what=what)


def _instances(context: Context, batches: list[list[list[float]]], momentum: float) -> None:
    """Judge InstanceNorm's statistics: those of each instance, averaged over the batch (here of one)."""
    channels, count = len(batches[0]), len(batches[0][0])
    layer = context.torch.nn.InstanceNorm1d(channels, momentum=momentum, track_running_stats=True)
    layer = layer.to(context.device, context.dtype)
    mean, var = [0.0] * channels, [1.0] * channels
    for batch in batches:
        averages = [math.fsum(c) / count for c in batch]
        spreads = [math.fsum((v - m) ** 2 for v in c) / (count - 1) for c, m in zip(batch, averages)]
        mean = [(1 - momentum) * old + momentum * new for old, new in zip(mean, averages)]
        var = [(1 - momentum) * old + momentum * new for old, new in zip(var, spreads)]
        layer(context.tensor([batch]))
    context.close(layer.running_mean, mean, bound=count + 4.0, cancel=4.0, what="InstanceNorm: running mean")
    context.close(layer.running_var, var, bound=count + 4.0, cancel=16.0, what="InstanceNorm: running variance")


@check(oracle=FORMULA, dtypes=("float32",), more=("float64",))
def local_response(context: Context) -> None:
    """LocalResponseNorm divides by its neighbours' energy, and differentiates so."""
    rng = context.rng()
    shape = (2, 7, 3, 2)
    x = [rng.randint(-96, 160) / 64 for _ in range(math.prod(shape))]
    upstream = [rng.randint(-96, 96) / 64 for _ in x]
    xs = leaves(x)
    y = oracle.local_response(xs, shape, 4, 0.5, 0.75, 1.25)
    backward(y, upstream)
    layer = context.torch.nn.LocalResponseNorm(4, alpha=0.5, beta=0.75, k=1.25)
    batch = passes.tiled(context, x, 13 * len(x)).reshape(26, *shape[1:])
    output, (by_x,) = passes.backward(context, layer, [batch], upstream)
    passes.judge_period(context, output, [n.value for n in y], cancel=[n.error for n in y], bound=8.0, what="output")
    errors = [n.adjoint_error for n in xs]
    passes.judge_period(context, by_x, [n.adjoint for n in xs], cancel=errors, bound=8.0, what="gradient")


@check(oracle="a row of one element is its own mean", dtypes=FLOATS[:2])
def single_element(context: Context) -> None:
    """LayerNorm over one element gives the bias alone, and no gradient to input or weight."""
    layer = context.torch.nn.LayerNorm((1,)).to(context.device, context.dtype)
    with context.torch.no_grad():
        layer.bias.fill_(3.0)
    rng = context.rng()
    upstream = [rng.uniform(-2, 2) for _ in range(1031)]
    x = context.tensor([[rng.uniform(-7, 7)] for _ in upstream], grad=True)
    output = layer(x)
    given = context.tensor(upstream)[:, None]
    output.backward(given)
    size = 7 / math.sqrt(layer.eps)  # what x and its mean are before they cancel
    context.close(output, [3.0] * 1031, bound=8.0, cancel=size, what="output")
    context.close(x.grad, [0.0] * 1031, bound=8.0, cancel=size, what="gradient by the input")
    context.within(abs(layer.weight.grad.item()), 0.0, what="gradient by the weight", unit="", expected=0.0)
    held = context.values(given)
    context.close(layer.bias.grad, [math.fsum(held)], bound=128.0, cancel=2.0 * 1031, what="gradient by the bias")


@check(oracle=FORMULA, dtypes=("float32",))
def weight_norm(context: Context) -> None:
    """weight_norm gives g v / |v| row by row, and gradients to both."""
    torch, rng = context.torch, context.rng()
    rows, columns = 61, 17
    v = [passes.dyadic(rng, columns, 160, -96) for _ in range(rows)]
    g, upstream = passes.dyadic(rng, rows, 120, 16), passes.dyadic(rng, rows * columns, 96)
    vs, gs = [leaves(row) for row in v], leaves(g)
    y = [p * s / sqrt(dot(row, row)) for row, s in zip(vs, gs) for p in row]
    backward(y, upstream)
    api = getattr(torch.nn.utils.parametrizations, "weight_norm", None)
    for how, wrap in (("weight_norm", torch.nn.utils.weight_norm), ("parametrizations.weight_norm", api)):
        if wrap is None:
            continue
        layer = wrap(torch.nn.Linear(columns, rows, bias=False, device=context.device))
        by_size = {tuple(p.shape): p for p in layer.parameters()}
        with torch.no_grad():
            by_size[(rows, columns)].copy_(context.tensor(v))
            by_size[(rows, 1)].copy_(context.tensor(g)[:, None])
        output = layer(torch.eye(columns, device=context.device)).t()
        output.backward(context.tensor(upstream).reshape(rows, columns))
        passes.judge(context, output, y, what=f"{how}: weight")
        passes.judge_gradient(
            context, by_size[(rows, columns)].grad, [n for row in vs for n in row], what=f"{how}: by v"
        )
        passes.judge_gradient(context, by_size[(rows, 1)].grad, gs, what=f"{how}: by g")


@check(oracle="a matrix whose singular values are known", dtypes=("float32",))
def spectral_norm(context: Context) -> None:
    """spectral_norm divides by the largest singular value, orthogonal makes orthogonal."""
    torch = context.torch
    layer = torch.nn.utils.parametrizations.spectral_norm(
        torch.nn.Linear(3, 2, bias=False, device=context.device), n_power_iterations=60
    )
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(context.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0]]))
    layer.train()
    context.close(
        layer.weight, [0.0, 1.0, 0.0, 0.25, 0.0, 0.0], bound=8.0, cancel=1.0, what="W / largest singular value"
    )
    turned = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(5, 5, device=context.device))
    rows = turned.weight.tolist()
    gram = [sum(p * q for p, q in zip(a, b)) for a in rows for b in rows]
    context.close(gram, [float(i == j) for i in range(5) for j in range(5)], bound=64.0, cancel=1.0, what="Q Q^T")
