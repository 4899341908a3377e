"""How layers start: bounds, variances, orthogonality and constants of `torch.nn.init`, and the defaults of layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...registry import check
from .randomness import deviation, floats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...context import Context

MATRIX, KERNELS = (240, 160), (48, 32, 5, 5)


@dataclass(frozen=True)
class Law:
    """A law of numbers: mean, variance, fourth central moment, and its ends."""

    mean: float
    variance: float
    fourth: float
    low: float = -math.inf
    high: float = math.inf


def uniform(low: float, high: float) -> Law:
    """Give the uniform law."""
    half = (high - low) / 2
    return Law((low + high) / 2, half**2 / 3, half**4 / 5, low, high)


def normal(mean: float, std: float) -> Law:
    """Give the normal law."""
    return Law(mean, std**2, 3 * std**4)


def truncated(std: float, cut: float) -> Law:
    """Give the normal law around 0 between -cut and cut (Johnson, Kotz, Balakrishnan, §13.10)."""
    c = cut / std
    tail = 2 * c * math.exp(-c * c / 2) / math.sqrt(2 * math.pi) / math.erf(c / math.sqrt(2))
    variance = std**2 * (1 - tail)
    return Law(0.0, variance, std**4 * (3 - tail * (3 + c * c)), -cut, cut)


@dataclass(frozen=True)
class Start:
    """One initialiser: its name in `torch.nn.init`, its options, a shape, and the law that follows."""

    name: str
    function: str
    shape: tuple[int, ...]
    law: Law
    options: dict[str, Any] = field(default_factory=dict)


# fan_in of MATRIX is 160, fan_out 240; of KERNELS 32 * 25 = 800 and 48 * 25 = 1200.
STARTS = (
    Start("uniform", "uniform_", MATRIX, uniform(-0.5, 2.0), {"a": -0.5, "b": 2.0}),
    Start("normal", "normal_", MATRIX, normal(-1.0, 0.25), {"mean": -1.0, "std": 0.25}),
    Start("trunc_normal", "trunc_normal_", MATRIX, truncated(0.5, 0.75), {"std": 0.5, "a": -0.75, "b": 0.75}),
    Start(
        "xavier_uniform",
        "xavier_uniform_",
        MATRIX,
        uniform(-((1.5 * 6 / 400) ** 0.5), (1.5 * 6 / 400) ** 0.5),
        {"gain": 1.5**0.5},
    ),
    Start("xavier_normal", "xavier_normal_", KERNELS, normal(0.0, 3 * (2 / 2000) ** 0.5), {"gain": 3.0}),
    Start(
        "kaiming_uniform",
        "kaiming_uniform_",
        MATRIX,
        uniform(-((6 / 160) ** 0.5), (6 / 160) ** 0.5),
        {"nonlinearity": "relu"},
    ),
    Start(
        "kaiming_uniform_slope",
        "kaiming_uniform_",
        KERNELS,
        uniform(-((6 / 1.25 / 1200) ** 0.5), (6 / 1.25 / 1200) ** 0.5),
        {"a": 0.5, "mode": "fan_out"},
    ),
    Start("kaiming_normal", "kaiming_normal_", KERNELS, normal(0.0, (2 / 800) ** 0.5), {"nonlinearity": "relu"}),
    Start(
        "kaiming_normal_out",
        "kaiming_normal_",
        MATRIX,
        normal(0.0, 5 / 3 / 240**0.5),
        {"mode": "fan_out", "nonlinearity": "tanh"},
    ),
)


def judge(context: Context, numbers: Sequence[float], law: Law, what: str) -> None:
    """Compare numbers with a law."""
    n = len(numbers)
    mean = math.fsum(numbers) / n
    deviation(context, mean, law.mean, math.sqrt(law.variance / n), f"mean, {what}")
    spread = math.fsum((v - law.mean) ** 2 for v in numbers) / n
    deviation(context, spread, law.variance, math.sqrt((law.fourth - law.variance**2) / n), f"variance, {what}")
    if law.low > -math.inf:
        # A limit is rounded to float32 itself.
        room = 4 * context.format.u * max(abs(law.low), abs(law.high))
        inside = law.low - room <= min(numbers) and max(numbers) <= law.high + room
        context.true(inside, what=f"limits, {what}", got=[min(numbers), max(numbers)], expected=[law.low, law.high])
        # The largest of n numbers of a density above 1 / (2 width) is nearer than 80 / n of the width but once in e^40.
        reach = 80 / n * (law.high - law.low)
        filled = min(numbers) < law.low + reach and max(numbers) > law.high - reach
        context.true(filled or n < 1000, what=f"the whole range is used, {what}", got=[min(numbers), max(numbers)])


@check(oracle="limits, and moments within 7.5 standard deviations", each=STARTS)
def initialiser(context: Context, row: Start) -> None:
    """Initialiser {row} draws from its law, with the fan and the gain that its paper gives."""
    tensor = context.torch.empty(row.shape, device=context.device)
    result = getattr(context.torch.nn.init, row.function)(tensor, **row.options)
    context.true(result is tensor, what="works in place")
    judge(context, floats(tensor), row.law, row.name)


@check(oracle="exact values; Q Q^T = gain^2 I", level="quick", dtypes=("float64", "float32"))
def structured(context: Context) -> None:
    """Constant, identity, Dirac, orthogonal and sparse starts are what they are called."""
    init = context.torch.nn.init

    def made(name: str, *shape: int, **options: Any) -> Any:
        return getattr(init, name)(context.torch.empty(shape, dtype=context.dtype, device=context.device), **options)

    context.exact(made("constant_", 5, 7, val=0.375), [0.375] * 35, what="constant_")
    context.exact(made("ones_", 5, 7), [1.0] * 35, what="ones_")
    context.exact(made("zeros_", 5, 7), [0.0] * 35, what="zeros_")
    context.exact(made("eye_", 5, 7), [float(i == j) for i in range(5) for j in range(7)], what="eye_")
    dirac = [float(i % 3 == j and k == 1) for i in range(6) for j in range(3) for k in range(3)]
    context.exact(made("dirac_", 6, 3, 3, groups=2), dirac, what="dirac_ with 2 groups")
    for shape in ((8, 13), (13, 8), (6, 2, 5)):
        values = context.values(made("orthogonal_", *shape, gain=1.5))
        rows, columns = shape[0], math.prod(shape[1:])
        lines = [values[i * columns : (i + 1) * columns] for i in range(rows)]
        lines = lines if rows <= columns else [list(line) for line in zip(*lines)]
        far = max(
            abs(math.fsum(a * b for a, b in zip(lines[i], lines[j])) - 2.25 * (i == j))
            for i in range(len(lines))
            for j in range(len(lines))
        )
        # Householder reflections: n^1.5 roundings (Higham, §19.3), here at most 13^1.5 < 47, of numbers up to 2.25.
        context.within(far, 2 * 47 * 2.25 * context.format.u, what=f"orthogonal_ {shape}", unit="absolute error")
    sparse = context.values(made("sparse_", 40, 30, sparsity=0.25, std=0.5))
    zeros = [sum(v == 0 for v in sparse[j::30]) for j in range(30)]
    context.exact(zeros, [10] * 30, what="zeros in each column of sparse_")


@check(oracle="the documented values", level="quick", devices="cpu")
def gains(context: Context) -> None:
    """calculate_gain gives the documented gains."""
    gain = context.torch.nn.init.calculate_gain
    for name, parameter, right in (
        ("linear", None, 1.0),
        ("conv2d", None, 1.0),
        ("sigmoid", None, 1.0),
        ("tanh", None, 5 / 3),
        ("relu", None, math.sqrt(2.0)),
        ("leaky_relu", None, math.sqrt(2 / (1 + 0.01**2))),
        ("leaky_relu", 0.5, math.sqrt(1.6)),
        ("selu", None, 0.75),
    ):
        found = gain(name) if parameter is None else gain(name, parameter)
        context.within(abs(found - right), 4e-16, what=f"gain of {name}", unit="absolute error", expected=right)


LAYERS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "linear": (lambda nn: nn.Linear(256, 200), 1 / 16),
    "conv1d": (lambda nn: nn.Conv1d(64, 64, 4), 1 / 16),
    "conv2d": (lambda nn: nn.Conv2d(64, 96, 2), 1 / 16),
    "bilinear": (lambda nn: nn.Bilinear(64, 20, 20), 1 / 8),
    "gru": (lambda nn: nn.GRU(32, 64), 1 / 8),
    "lstm": (lambda nn: nn.LSTM(32, 64, 2), 1 / 8),
}


@check(oracle="the documented laws of each layer's parameters", each=LAYERS)
def default_start(context: Context, row: tuple[Callable[[Any], Any], float]) -> None:
    """Parameters of a new {row} lie in the documented range, and fill it."""
    make, bound = row
    for name, parameter in make(context.torch.nn).to(context.device).named_parameters():
        judge(context, floats(parameter), uniform(-bound, bound), name)


@check(oracle="the documented laws of each layer's parameters")
def default_norms(context: Context) -> None:
    """New normalisation layers start as the identity, embeddings as normal numbers with a zero padding row."""
    nn = context.torch.nn
    for layer in (nn.BatchNorm2d(7), nn.LayerNorm((3, 5)), nn.GroupNorm(2, 6)):
        name = type(layer).__name__
        context.exact(layer.weight, [1.0] * layer.weight.numel(), what=f"weight of {name}")
        context.exact(layer.bias, [0.0] * layer.bias.numel(), what=f"bias of {name}")
    table = floats(nn.Embedding(300, 100, padding_idx=2).weight)
    context.exact(list(table[200:300]), [0.0] * 100, what="padding row of Embedding")
    judge(context, [*table[:200], *table[300:]], normal(0.0, 1.0), "Embedding")
