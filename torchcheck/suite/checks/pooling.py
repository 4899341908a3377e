"""Pooling layers: windows, maxima and where they were, averages and their divisors, unpooling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import windows as oracle
from ..oracles.tape import backward, growth, leaves, power, total
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

WINDOWS = "the windows by definition"
PLANES = 3


@dataclass(frozen=True)
class Pool:
    """A pooling call over planes of `size`: one number per dim for each of the rest."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...] = ()
    ceil: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """What torch is told."""
        found = {"kernel_size": self.kernel, "stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil}
        return {**found, **({"dilation": self.dilation} if self.dilation else {}), **self.options}

    def windows(self) -> list[list[int]]:
        """Windows of flat positions in a plane."""
        dilation = self.dilation or (1,) * len(self.size)
        each = zip(self.size, self.kernel, self.stride, self.padding, dilation)
        return oracle.product([oracle.windows(*dim, ceil=self.ceil) for dim in each], self.size)

    def divisors(self) -> list[float]:
        """What the average of each window is divided by."""
        if self.options.get("divisor_override"):
            return [float(self.options["divisor_override"])] * len(self.windows())
        if not self.options.get("count_include_pad", True):
            return [float(len(window)) for window in self.windows()]
        each = zip(self.size, self.kernel, self.stride, self.padding)
        sizes = [[1.0 * v for v in oracle.padded_sizes(*dim, ceil=self.ceil)] for dim in each]
        found = [1.0]
        for dim in sizes:
            found = [a * b for a in found for b in dim]
        return found


MAXIMA = {
    "max_pool1d": Pool((23,), (3,), (2,), (1,), (1,)),
    "max_pool2d": Pool((9, 11), (3, 2), (2, 2), (1, 0), (1, 1)),
    "max_pool2d_dilation": Pool((10, 11), (2, 3), (1, 2), (1, 1), (2, 3)),
    "max_pool2d_ceil": Pool((8, 9), (3, 3), (2, 3), (1, 1), (1, 1), ceil=True),
    "max_pool3d": Pool((5, 6, 5), (2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 1, 1)),
}
AVERAGES = {
    "avg_pool1d": Pool((23,), (4,), (2,), (2,)),
    "avg_pool2d": Pool((9, 11), (3, 2), (2, 2), (1, 1)),
    "avg_pool2d_without_padding": Pool((9, 10), (3, 3), (2, 1), (1, 1), options={"count_include_pad": False}),
    "avg_pool2d_ceil": Pool((8, 9), (3, 3), (2, 3), (1, 1), ceil=True),
    "avg_pool2d_divisor": Pool((9, 11), (2, 2), (1, 2), (0, 0), options={"divisor_override": 3}),
    "avg_pool3d": Pool((5, 6, 5), (2, 3, 2), (1, 2, 2), (1, 1, 0)),
}


def _planes(context: Context, values: Sequence[float], size: Sequence[int], outputs: int) -> Any:
    """Lay planes out as batch x channels, often enough for thousands of outputs."""
    wide = context.at_least("default") and context.format.digits >= 24
    copies = 1 + (3083 if wide else 1) // (PLANES * min(outputs, math.prod(size)))
    return passes.tiled(context, values, copies * len(values)).reshape(copies, PLANES, *size)


def _upstream(context: Context, count: int) -> list[float]:
    return [float(v) for v in context.rng("upstream").choices((-2, -1, 1, 2), k=count)]


def _maxima(context: Context, found: Sequence[Sequence[int]], size: Sequence[int], call: Any) -> None:
    """Judge a pool that takes the largest of each window, its indices, its gradient and its unpooling."""
    plane, rng = math.prod(size), context.rng()
    # All different, and small enough for bfloat16 in planes of up to 250.
    x = [v - plane / 2 for _ in range(PLANES) for v in rng.sample([0.5 * i for i in range(plane)], plane)]
    at = [max((p * plane + i for i in window), key=x.__getitem__) for p in range(PLANES) for window in found]
    upstream = _upstream(context, len(at))
    by_x = [0.0] * len(x)
    for i, g in zip(at, upstream):
        by_x[i] += g
    held: list[Any] = []

    def pooled(t: Any) -> Any:
        held[:] = call(t)
        return held[0]

    for how, given in passes.layouts(context, _planes(context, x, size, len(found))):
        output, (got,) = passes.backward(context, pooled, [given], upstream)
        passes.judge_period(context, output, [x[i] for i in at], bound=0.0, what=f"maxima{how}")
        passes.judge_period(context, held[1], [i % plane for i in at], bound=0.0, what=f"indices{how}")
        passes.judge_period(context, got, by_x, bound=0.0, what=f"gradient{how}")


@check(oracle=WINDOWS, level="quick", dtypes=("float32", "bfloat16"), more=("float64",), each=MAXIMA)
def largest(context: Context, row: Pool) -> None:
    """{row} finds the largest of each window, says where it was, and sends the gradient there."""
    function = getattr(context.torch.nn.functional, f"max_pool{len(row.size)}d")
    _maxima(context, row.windows(), row.size, lambda t: function(t, return_indices=True, **row.arguments))


def judge_linear(
    context: Context, rows: oracle.LinearMap, size: Sequence[int], call: Any, *, positions: float = 0.0
) -> None:
    """Judge a linear map of planes, forward and back: n additions and a division or product each.

    Where coefficients are differences of positions, they are off by the roundings of those, in `positions` times u.
    """
    plane, rng = math.prod(size), context.rng()
    parts = [[float(rng.randint(-9, 9)) for _ in range(plane)] for _ in range(PLANES)]
    upstream = _upstream(context, PLANES * len(rows))
    back = oracle.transpose(rows, plane)
    ups = [upstream[i : i + len(rows)] for i in range(0, len(upstream), len(rows))]
    answers = []
    for applied in ([oracle.apply(rows, part) for part in parts], [oracle.apply(back, part) for part in ups]):
        values, sizes = ([v for pair in applied for v in pair[side]] for side in (0, 1))
        roundings = growth(max(map(len, rows))) / 4
        answers.append((values, [(1 + roundings / 4) * v + positions * 18 for v in sizes]))
    planes = _planes(context, [v for part in parts for v in part], size, len(rows))
    for how, given in passes.layouts(context, planes):
        output, (got,) = passes.backward(context, call, [given], upstream)
        for what, tensor, (values, errors) in zip(("output", "gradient"), (output, got), answers):
            passes.judge_period(context, tensor, values, cancel=errors, bound=4.0, what=what + how)


@check(oracle=WINDOWS, level="quick", dtypes=("float32",), more=("float64", "bfloat16"), each=AVERAGES)
def mean(context: Context, row: Pool) -> None:
    """{row} averages each window by the right divisor, and differentiates so."""
    function = getattr(context.torch.nn.functional, f"avg_pool{len(row.size)}d")
    rows = oracle.averages(row.windows(), row.divisors())
    judge_linear(context, rows, row.size, lambda t: function(t, **row.arguments))


ADAPTIVE = {"1d": ((23,), (5,)), "2d": ((9, 11), (4, 5)), "2d_one": ((3, 5), (1, 1)), "3d": ((5, 6, 7), (2, 4, 3))}


@check(oracle=WINDOWS, dtypes=("float32",), more=("float64",), each=ADAPTIVE)
def adaptive(context: Context, row: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Adaptive pooling {row} divides its input into the documented windows, for averages and maxima."""
    size, out = row
    functional = context.torch.nn.functional
    found = oracle.product([oracle.adaptive(n, m) for n, m in zip(size, out)], size)
    largest_of = getattr(functional, f"adaptive_max_pool{len(size)}d")
    _maxima(context, found, size, lambda t: largest_of(t, out, return_indices=True))
    average_of = getattr(functional, f"adaptive_avg_pool{len(size)}d")
    rows = oracle.averages(found, [float(len(window)) for window in found])
    judge_linear(context, rows, size, lambda t: average_of(t, out))


UNPOOLED = {"max_unpool1d": (12,), "max_unpool2d": (6, 8), "max_unpool3d": (4, 4, 6)}


@check(oracle=WINDOWS, dtypes=("float32",), each=UNPOOLED)
def unpooling(context: Context, size: tuple[int, ...]) -> None:
    """{row} puts each maximum back where it was, and takes its gradient from there."""
    dims, plane = len(size), math.prod(size)
    functional, rng = context.torch.nn.functional, context.rng()
    x = [float(v) for _ in range(PLANES) for v in rng.sample(range(1, plane + 1), plane)]
    given = _planes(context, x, size, plane >> dims)
    pool = getattr(functional, f"max_pool{dims}d")
    values, indices = pool(given, 2, return_indices=True)
    found = oracle.product([oracle.windows(n, 2, 2, 0) for n in size], size)
    kept = [max((p * plane + i for i in window), key=x.__getitem__) for p in range(PLANES) for window in found]
    upstream = [float(v) for v in rng.choices((-2, -1, 1, 2), k=len(x))]
    unpool = getattr(functional, f"max_unpool{dims}d")
    output, (got,) = passes.backward(context, lambda t: unpool(t, indices, 2), [values], upstream)
    places = set(kept)
    passes.judge_period(context, output, [v if i in places else 0.0 for i, v in enumerate(x)], bound=0.0, what="output")
    passes.judge_period(context, got, [upstream[i] for i in kept], bound=0.0, what="gradient")


@check(oracle="(sum of x**p)**(1/p) on the tape", dtypes=("float32",), more=("float64",))
def powerjudge_linear(context: Context) -> None:
    """lp_pool gives the p-norm of each window, and differentiates so."""
    rng = context.rng()
    size, p = (8, 9), 3.0
    found = oracle.product([oracle.windows(n, 2, 2, 0) for n in size], size)
    x = [rng.randint(16, 160) / 64 for _ in range(PLANES * math.prod(size))]
    xs = leaves(x)
    plane = math.prod(size)
    y = [power(total([power(xs[q * plane + i], p) for i in window]), 1 / p) for q in range(PLANES) for window in found]
    upstream = _upstream(context, len(y))
    backward(y, upstream)
    given = _planes(context, x, size, len(found))
    function = context.torch.nn.functional.lp_pool2d
    output, (got,) = passes.backward(context, lambda t: function(t, p, 2), [given], upstream)
    passes.judge_period(context, output, [n.value for n in y], cancel=[n.error for n in y], bound=4.0, what="output")
    errors = [n.adjoint_error for n in xs]
    passes.judge_period(context, got, [n.adjoint for n in xs], cancel=errors, bound=4.0, what="gradient")
