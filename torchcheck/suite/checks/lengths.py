"""Statistics over many elements: normalisations of long channels, groups and rows, whose moments are known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context

# Every channel repeats c + s p with mean c and variance 5 s s; upstream gradients repeat g. All are small integers, so
# that float32 sums of them, of their squares and of their products are exact up to 2**24, in any order.
P = (1.0, -3.0, -1.0, 3.0)
G = (1.0, 2.0, -3.0, 2.0)
EPS = 2.0**-7
CHANNELS = 4
# Longer than a block of rows, than a block of threads, and than what a 16-bit counter holds.
SIZES = {"long": 1200, "longest": 66_000}


@dataclass(frozen=True)
class Channel:
    """Numbers that repeat: centre + scale * P, to be multiplied by `weight` and shifted by `bias` afterwards."""

    centre: float
    scale: float
    weight: float
    bias: float


@dataclass(frozen=True)
class Row:
    """A normalisation.

    Attributes:
        call: (torch, x of images x channels x length, weight, bias) -> the same shape.
        groups: how many groups share statistics; 0 where each channel has its own over all images.
    """

    call: Callable[[Any, Any, Any, Any], Any]
    groups: int


def _batch(t: Any, x: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.batch_norm(x, None, None, w, b, training=True, eps=EPS)


def _square(t: Any, x: Any, w: Any, b: Any) -> Any:
    shape = (x.shape[0], x.shape[1], 4, x.shape[2] // 4)
    return _batch(t, x.reshape(shape), w, b).reshape(x.shape)


def _channels_last(t: Any, x: Any, w: Any, b: Any) -> Any:
    image = x.reshape(x.shape[0], x.shape[1], 4, x.shape[2] // 4).contiguous(memory_format=t.channels_last)
    return _batch(t, image, w, b).reshape(x.shape)


def _grouped(groups: int) -> Callable[[Any, Any, Any, Any], Any]:
    return lambda t, x, w, b: t.nn.functional.group_norm(x, groups, w, b, EPS)


ROWS = {
    "batch": Row(_batch, 0),
    "batch_of_images": Row(_square, 0),
    "batch_channels_last": Row(_channels_last, 0),
    "instance": Row(lambda t, x, w, b: t.nn.functional.instance_norm(x, None, None, w, b, eps=EPS), CHANNELS),
    "group_for_each": Row(_grouped(CHANNELS), CHANNELS),
    "groups_of_two": Row(_grouped(CHANNELS // 2), CHANNELS // 2),
    "group_of_all": Row(_grouped(1), 1),
}


@check(oracle="moments that are known exactly", dtypes=("float32",), more=("float64",), each=ROWS)
def normalises(context: Context, row: Row) -> None:
    """{row} normalisation over 1,200 and 66,000 elements a channel is right, forward and backward."""
    rng = context.rng()
    for name, length in SIZES.items():
        images = 1 if row.groups else 3
        size = length // images if length == SIZES["long"] else length // images // 4 * 4
        centre = float(rng.randint(-2, 2))  # one for all, so that groups have it for their mean, too
        drawn = [
            Channel(centre, rng.choice((1.0, 2.0)), rng.choice((0.5, 1.0, 2.0)), rng.choice((-1.0, 3.0)))
            for _ in range(CHANNELS)
        ]
        x = context.torch.stack([passes.tiled(context, [c.centre + c.scale * p for p in P], size) for c in drawn])
        held = x.expand(images, CHANNELS, size).contiguous()
        weight, bias = context.tensor([c.weight for c in drawn]), context.tensor([c.bias for c in drawn])
        got, by = passes.backward(
            context, lambda *leaves: row.call(context.torch, *leaves), [held, weight, bias], list(G)
        )
        _judge(context, row, drawn, got, by, f"{name}: {images} x {size}")


def _judge(context: Context, row: Row, drawn: Sequence[Channel], got: Any, by: Sequence[Any], what: str) -> None:
    images, size = got.shape[0], got.shape[2]
    share = CHANNELS // row.groups if row.groups else 1
    for k, c in enumerate(drawn):
        group = drawn[k // share * share : k // share * share + share]
        r = 1 / math.sqrt(5 * sum(d.scale**2 for d in group) / share + EPS)
        xhat = [c.scale * p * r for p in P]
        # Kernels compute x * (w r) + (b - c w r): what cancels is c w r. Moments are exact but for their last
        # division and, where they are merged from blocks, log2(blocks) < 16 roundings of each (Chan et al. 1983).
        size_of = abs(c.centre) * r * c.weight + abs(c.bias) + 3
        right = [v * c.weight + c.bias for v in xhat]
        _periods(context, got[:, k], right, 24.0, size_of, f"{what}: channel {k}")
        m1 = sum(sum(g * d.weight for g in G) for d in group) / (4 * share)
        m2 = sum(sum(g * d.weight * d.scale * p * r for g, p in zip(G, P)) for d in group) / (4 * share)
        slopes = [r * (g * c.weight - m1 - v * m2) for g, v in zip(G, xhat)]
        # Three terms of the size of g w r, and the centre's share in x - c as above.
        size_of = r * (3 * c.weight + abs(m1) + 3 * abs(m2)) * (1 + abs(c.centre) * r) ** 2
        _periods(context, by[0][:, k], slopes, 24.0, size_of, f"{what}: gradient by channel {k}")
        count = images * size / 4
        by_w = count * sum(g * v for g, v in zip(G, xhat))
        size_of = count * sum(abs(g) * (abs(v) + 2 * abs(c.centre) * r) for g, v in zip(G, xhat))
        context.close(by[1][k], [by_w], bound=24.0, cancel=size_of, what=f"{what}: gradient by weight {k}")
        context.close(by[2][k], [count * sum(G)], bound=4.0, what=f"{what}: gradient by bias {k}")


def _periods(context: Context, got: Any, right: Sequence[float], bound: float, cancel: float, what: str) -> None:
    for image in got:
        passes.judge_period(context, image, right, bound=bound, cancel=cancel, what=what)


def _running(context: Context, size: int) -> float:
    """Bound of moments that are updated number by number (Welford 1962).

    float32 is summed up in float64 on a CPU: what is left are the last rounding and, as above, up to 16 merges of
    partial moments. Elsewhere each update rounds, and errors of either sign add up with the root of their number
    (Wilkinson's rule), four times; an accelerator's rows are shared out among 128 threads or more.
    """
    cpu = context.device == "cpu"
    updates = 0 if cpu and context.dtype_name == "float32" else size if cpu else size / 128
    return 24.0 + 4.0 * math.sqrt(updates)


@check(oracle="moments that are known exactly", dtypes=("float32",), more=("float64",))
def rows(context: Context) -> None:
    """Layer and RMS normalisation, softmax, and moments of rows of 66,000 elements are right."""
    functional = context.torch.nn.functional
    size = SIZES["longest"]
    for centre, scale in ((0.0, 1.0), (2.0, 2.0)):
        values = [centre + scale * p for p in P]
        x = passes.tiled(context, values, size).expand(3, size).contiguous()
        weight, bias = context.torch.full_like(x[0], 2.0), context.torch.full_like(x[0], -1.0)
        r = 1 / math.sqrt(5 * scale**2 + EPS)
        xhat = [scale * p * r for p in P]
        got, by = passes.backward(
            context, lambda *a: functional.layer_norm(a[0], (size,), a[1], a[2], EPS), [x, weight, bias], list(G)
        )
        _periods(context, got, [2 * v - 1 for v in xhat], 24.0, 4 + 2 * centre * r, "layer_norm")
        m1, m2 = sum(G) / 2, sum(g * v for g, v in zip(G, xhat)) / 2
        slopes = [r * (2 * g - m1 - v * m2) for g, v in zip(G, xhat)]
        size_of = r * (6 + abs(m1) + 3 * abs(m2)) * (1 + centre * r) ** 2
        _periods(context, by[0], slopes, 24.0, size_of, "gradient of layer_norm")
        passes.judge_period(
            context,
            by[1],
            [3 * g * v for g, v in zip(G, xhat)],
            bound=24.0,
            cancel=9 * (1 + centre * r),
            what="gradient of layer_norm's weight",
        )
        passes.judge_period(context, by[2], [3 * g for g in G], bound=4.0, what="gradient of layer_norm's bias")
        if hasattr(functional, "rms_norm"):
            mean_square = sum(v * v for v in values) / 4
            got = functional.rms_norm(x, (size,), weight, EPS)
            right = [2 * v / math.sqrt(mean_square + EPS) for v in values]
            _periods(context, got, right, 24.0, 0.0, "rms_norm")
        for name, got, one in (
            ("mean", x.mean(1), centre),
            ("var", x.var(1, unbiased=False), 5 * scale**2),
            ("var of all but one", x.var(1), 5 * scale**2 * size / (size - 1)),
            ("std", x.std(1, unbiased=False), math.sqrt(5) * scale),
        ):
            context.close(got, [one] * 3, bound=_running(context, size), cancel=abs(centre) + scale, what=name)
    x = passes.tiled(context, [math.log(v) for v in (1.0, 2.0, 4.0, 1.0)], size).expand(2, size).contiguous()
    # A sum in blocks of 66,000 positive terms: at most a root of their number of roundings, else far fewer.
    _periods(context, x.softmax(1) * size, [v / 2 for v in (1.0, 2.0, 4.0, 1.0)], 4 * math.sqrt(size), 0.0, "softmax")
