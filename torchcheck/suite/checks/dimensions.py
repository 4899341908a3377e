"""Layers whose every option differs from dim to dim, so that none can be taken for another dim's.

Kernels are products of one row a dim, so a layer is one linear map a dim, and each map is written down by hand: where
an output takes its numbers from, after padding, with which factor. All is in small integers, and exact.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..oracles import resampling, windows
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context

BY_HAND = "one map a dim by hand, exact integers"
DIMS = {"1d": 1, "2d": 2, "3d": 3}
REFUSED = re.compile("Only [1-5]D|Invalid padding size")  # padding of some dims, before torch 2.1
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


@dataclass(frozen=True)
class Shape:
    """Sizes of planes, and a number a dim for each option: no two dims of one option alike."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


CONVOLVED = {
    1: Shape((9,), (3,), (2,), (3,), (2,)),
    2: Shape((5, 6), (2, 3), (3, 2), (1, 2), (2, 3)),
    3: Shape((3, 2, 4), (2, 1, 3), (1, 3, 2), (2, 0, 1), (2, 3, 1)),
}
POOLED = {
    1: Shape((9,), (4,), (3,), (2,), (2,)),
    2: Shape((8, 9), (4, 3), (3, 2), (2, 1), (1, 2)),
    3: Shape((5, 6, 7), (3, 2, 4), (3, 1, 2), (1, 0, 2), (2, 3, 1)),
}
# Output channels from input channels, in two groups: the numbers of each group's weight.
MIX = ((1.0, 2.0), (-3.0, 1.0), (2.0, -1.0), (1.0, 3.0))


def _channels(mix: Sequence[Sequence[float]], groups: int) -> windows.LinearMap:
    per = len(mix) // groups
    return [[(o // per * len(row) + i, v) for i, v in enumerate(row)] for o, row in enumerate(mix)]


def _row(
    n: int, w: Sequence[float], stride: int, pads: tuple[int, int], dilation: int, mode: str = "constant"
) -> windows.LinearMap:
    """Convolve a padded row: for each output, the elements that it takes and their weights."""
    padded = resampling.pad(n, *pads, mode)
    count = (len(padded) - dilation * (len(w) - 1) - 1) // stride + 1
    return [[(p, c * v) for k, v in enumerate(w) for p, c in padded[o * stride + k * dilation]] for o in range(count)]


def _draw(context: Context, *salt: object) -> Callable[[int], list[float]]:
    rng = context.rng(*salt)
    return lambda count: [float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(count)]


def _weight(context: Context, mix: Sequence[Sequence[float]], parts: Sequence[Sequence[float]]) -> Any:
    flat = [v * math.prod(p) for row in mix for v in row for p in itertools.product(*parts)]
    return context.tensor(flat).reshape(len(mix), len(mix[0]), *map(len, parts))


def _judge(
    context: Context,
    maps: Sequence[windows.LinearMap],
    size: Sequence[int],
    calls: dict[str, Callable[[Any], Any]],
    *,
    bias: Sequence[float] = (),
    bound: float = 0.0,
    positive: bool = False,
) -> None:
    """Hold calls, forward and back, to the product of one map for each dim, the channels' first."""
    rows, plane = windows.outer(maps, size), math.prod(size)
    draw = _draw(context, "x", size)
    x, g = [abs(v) if positive else v for v in draw(plane)], draw(len(rows))
    values, sizes = windows.apply(rows, x)
    per = len(rows) // max(len(bias), 1)
    right = [v + (bias[i // per] if bias else 0.0) for i, v in enumerate(values)]
    slopes, steps = windows.apply(windows.transpose(rows, plane), g)
    given = context.tensor(x).reshape(1, *size)
    for what, call in calls.items():
        inputs = given[0] if what.endswith("unbatched") else given
        with precision.full(context.torch), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "same" with an even kernel; lazy modules
            try:
                output, (by,) = passes.backward(context, call, [inputs], g)
            except (NotImplementedError, RuntimeError) as error:
                if not REFUSED.search(str(error)):
                    raise
                context.note(f"{what}: {error}")
                continue
        for part, got, wanted, magnitude in (("", output, right, sizes), (": gradient", by, slopes, steps)):
            if bound:
                context.close(got, wanted, bound=bound, cancel=8.0, what=what + part)
            elif context.device != "cpu":  # Winograd and FFT algorithms round on the way
                context.close(got, wanted, bound=16.0, cancel=magnitude, what=what + part)
            else:
                context.exact(got, wanted, what=what + part)


def _filled(context: Context, layer: Any, weight: Any, bias: Any) -> Any:
    layer = layer.to(context.device, context.dtype)
    with context.torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


@check(oracle=BY_HAND, dtypes=("float32",), each=DIMS)
@trajectory.unthreaded
def convolutions(context: Context, dims: int) -> None:
    """Convolutions {row}, modules and function, take each option of each dim, in every padding mode."""
    nn, g, draw = context.torch.nn, CONVOLVED[dims], _draw(context, "w")
    parts, bias = [draw(k) for k in g.kernel], draw(len(MIX))
    held, shift = _weight(context, MIX, parts), context.tensor(bias)
    options = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": 2}
    cls, function = getattr(nn, f"Conv{dims}d"), getattr(nn.functional, f"conv{dims}d")
    size = (4, *g.size)
    for mode, rule in MODES.items():
        each = zip(g.size, parts, g.stride, g.padding, g.dilation)
        maps = [_channels(MIX, 2), *(_row(n, w, s, (p, p), d, rule) for n, w, s, p, d in each)]
        layer = _filled(context, cls(4, 4, g.kernel, padding_mode=mode, **options), held, shift)
        calls: dict[str, Any] = {f"Conv{dims}d, {mode}": layer, f"Conv{dims}d, {mode}, unbatched": layer}
        if mode == "zeros":
            calls[f"conv{dims}d"] = lambda t: function(t, held, shift, **options)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of lazy modules
                lazy = getattr(nn, f"LazyConv{dims}d")(4, g.kernel, **options)
                lazy(context.torch.zeros(1, *size))
            calls[f"LazyConv{dims}d"] = _filled(context, lazy, held, shift)
        _judge(context, maps, size, calls, bias=bias)
        spans = [d * (k - 1) for k, d in zip(g.kernel, g.dilation)]
        ends = zip(g.size, parts, spans, g.dilation)
        maps = [_channels(MIX, 2), *(_row(n, w, 1, (q // 2, q - q // 2), d, rule) for n, w, q, d in ends)]
        same = {"padding": "same", "dilation": g.dilation, "groups": 2}
        layer = _filled(context, cls(4, 4, g.kernel, padding_mode=mode, **same), held, shift)
        calls = {f"Conv{dims}d, same, {mode}": layer}
        if mode == "zeros":
            calls[f"conv{dims}d, same"] = functools.partial(function, weight=held, bias=shift, **same)
        _judge(context, maps, size, calls, bias=bias)


@check(oracle=BY_HAND, dtypes=("float32",), each=DIMS)
@trajectory.unthreaded
def transposed(context: Context, dims: int) -> None:
    """Transposed convolutions {row} take each option of each dim, output_padding and output_size too."""
    nn, g, draw = context.torch.nn, CONVOLVED[dims], _draw(context, "w")
    parts, bias = [draw(k) for k in g.kernel], draw(4)
    # The map back from a convolution of this size; what the stride leaves over is the output_padding.
    each = list(zip(g.size, parts, g.stride, g.padding, g.dilation))
    back = [windows.transpose(_row(n, w, s, (p, p), d), n) for n, w, s, p, d in each]
    small = tuple(len(_row(n, w, s, (p, p), d)) for n, w, s, p, d in each)
    extra = tuple((n + 2 * p - d * (len(w) - 1) - 1) % s for n, w, s, p, d in each)
    turned = [[MIX[o // 2 * 2 + i][o % 2] for i in (0, 1)] for o in range(4)]
    maps = [_channels(turned, 2), *back]
    held, shift = _weight(context, MIX, parts), context.tensor(bias)
    options = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": 2}
    cls, function = getattr(nn, f"ConvTranspose{dims}d"), getattr(nn.functional, f"conv_transpose{dims}d")
    padded = _filled(context, cls(4, 4, g.kernel, output_padding=extra, **options), held, shift)
    sized = _filled(context, cls(4, 4, g.kernel, **options), held, shift)
    name = f"ConvTranspose{dims}d"
    calls = {
        name: padded,
        f"{name}, unbatched": padded,
        f"{name}, output_size": lambda t: sized(t, output_size=g.size),
        f"{name}, whole output_size": lambda t: sized(t, output_size=(1, 4, *g.size)),
        f"conv_transpose{dims}d": lambda t: function(t, held, shift, output_padding=extra, **options),
    }
    _judge(context, maps, (4, *small), calls, bias=bias)


@check(oracle="the windows by hand, exact integers", dtypes=("float32",), each=DIMS)
@trajectory.unthreaded
def pools(context: Context, dims: int) -> None:
    """Pooling modules {row} take each option of each dim, rounding up and counting padding or not."""
    torch, nn, g = context.torch, context.torch.nn, POOLED[dims]
    plane, rng = math.prod(g.size), context.rng("pools")
    x = [float(v) for v in rng.sample(range(-plane, plane), plane)]
    given = context.tensor(x).reshape(1, 1, *g.size)
    base = {"kernel_size": g.kernel, "stride": g.stride, "padding": g.padding}
    for ceil in (False, True):
        each = zip(g.size, g.kernel, g.stride, g.padding, g.dilation)
        found = windows.product([windows.windows(*dim, ceil=ceil) for dim in each], g.size)
        layer = getattr(nn, f"MaxPool{dims}d")(**base, dilation=g.dilation, ceil_mode=ceil)
        top = [max(window, key=x.__getitem__) for window in found]
        output, (by,) = passes.backward(context, layer, [given])
        context.exact(output, [x[i] for i in top], what=f"MaxPool{dims}d, ceil_mode={ceil}")
        context.exact(
            by, [float(top.count(i)) for i in range(plane)], what=f"MaxPool{dims}d, ceil_mode={ceil}: gradient"
        )
        for counted in (True, False):
            maps = []
            for n, k, s, p in zip(g.size, g.kernel, g.stride, g.padding):
                inside = windows.windows(n, k, s, p, ceil=ceil)
                wide = windows.padded_sizes(n, k, s, p, ceil=ceil)
                sizes = wide if counted else [len(w) for w in inside]
                maps.append([[(i, 1 / size) for i in w] for w, size in zip(inside, sizes)])
            layer = getattr(nn, f"AvgPool{dims}d")(**base, ceil_mode=ceil, count_include_pad=counted)
            what = f"AvgPool{dims}d, ceil_mode={ceil}, count_include_pad={counted}"
            _judge(context, [[[(0, 1.0)]], *maps], (1, *g.size), {what: layer}, bound=16.0)
    if hasattr(nn, f"LPPool{dims}d"):
        sums = [
            [[(i, 1.0) for i in w] for w in windows.windows(n, k, s, 0)] for n, k, s in zip(g.size, g.kernel, g.stride)
        ]
        layer = getattr(nn, f"LPPool{dims}d")(
            1.0, g.kernel if dims > 1 else g.kernel[0], g.stride if dims > 1 else g.stride[0]
        )
        _judge(context, [[[(0, 1.0)]], *sums], (1, *g.size), {f"LPPool{dims}d": layer}, bound=16.0, positive=True)
    wanted = [(2, 3, 4)[:dims], *([(2, None, 3)[:dims], (None, 3, 2)[:dims]] if dims > 1 else [])]
    for out in wanted:
        means = [[[(i, 1 / len(w)) for i in w] for w in windows.adaptive(n, m or n)] for n, m in zip(g.size, out)]
        layer = getattr(nn, f"AdaptiveAvgPool{dims}d")(out)
        _judge(context, [[[(0, 1.0)]], *means], (1, *g.size), {f"AdaptiveAvgPool{dims}d{out}": layer}, bound=16.0)
        found = windows.product([windows.adaptive(n, m or n) for n, m in zip(g.size, out)], g.size)
        output = getattr(nn, f"AdaptiveMaxPool{dims}d")(out)(given)
        context.exact(output, [max(x[i] for i in w) for w in found], what=f"AdaptiveMaxPool{dims}d{out}")
    kernel = (2, 3, 1)[:dims]
    size = (5, 7, 3)[:dims]
    y = [float(v) for v in rng.sample(range(1, 300), math.prod(size))]
    found = windows.product([windows.windows(n, k, k, 0) for n, k in zip(size, kernel)], size)
    kept = {max(w, key=y.__getitem__) for w in found}
    held = context.tensor(y).reshape(1, 1, *size)
    values, places = getattr(nn, f"MaxPool{dims}d")(kernel, return_indices=True)(held)
    output = getattr(nn, f"MaxUnpool{dims}d")(kernel)(values, places, output_size=torch.Size((1, 1, *size)))
    context.exact(output, [v if i in kept else 0.0 for i, v in enumerate(y)], what=f"MaxUnpool{dims}d, output_size")


@check(oracle=BY_HAND, dtypes=("float32",), each=DIMS)
@trajectory.unthreaded
def resizes(context: Context, dims: int) -> None:
    """Padding and upsampling modules {row} take each side and each scale of each dim."""
    nn = context.torch.nn
    size = (3, 4, 2)[:dims]
    sides = ((1, 2), (3, 2), (0, 1))[:dims]
    backwards = tuple(v for pair in sides[::-1] for v in pair)
    for name, mode, more in (
        ("ReflectionPad", "reflect", ()),
        ("ReplicationPad", "replicate", ()),
        ("CircularPad", "circular", ()),
        ("ZeroPad", "constant", ()),
        ("ConstantPad", "constant", (0.0,)),
    ):
        cls = getattr(nn, f"{name}{dims}d", None)
        if cls is not None:
            layer = cls(backwards, *more)
            maps = [[[(0, 1.0)]], *(resampling.pad(n, a, b, mode) for n, (a, b) in zip(size, sides))]
            what = f"{name}{dims}d"
            calls = {what: layer, **({} if "Constant" in name or "Zero" in name else {f"{what}, unbatched": layer})}
            _judge(context, maps, (1, *size), calls)
    scales, out = (3, 2, 4)[:dims], (5, 7, 3)[:dims]
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[dims]
    for mode, corners, rule in (
        ("nearest", None, resampling.nearest),
        (smooth, False, resampling.linear),
        (smooth, True, resampling.linear),
    ):
        named: dict[str, Any] = {} if corners is None else {"corners": corners}
        for what, wanted, options in (
            ("scale_factor", [n * s for n, s in zip(size, scales)], {"scale_factor": scales}),
            ("size", list(out), {"size": out}),
        ):
            layer = nn.Upsample(mode=mode, align_corners=corners, **options)
            maps = [[[(0, 1.0)]], *(rule(n, m, **named) for n, m in zip(size, wanted))]
            # Positions are rounded: of the size of the image, times the slope from pixel to pixel.
            _judge(
                context,
                maps,
                (1, *size),
                {f"Upsample, {mode}, {corners}, {what}": layer},
                bound=0.0 if corners is None else 64.0,
            )


@check(oracle="bookkeeping of positions, exact", dtypes=("float32",))
@trajectory.unthreaded
def blocks(context: Context) -> None:
    """Unfold and Fold take kernel, dilation, padding and stride of each dim."""
    nn, rng = context.torch.nn, context.rng()
    (h, w), (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (7, 8), (2, 3), (3, 2), (1, 2), (2, 1)
    options = {"dilation": (dh, dw), "padding": (ph, pw), "stride": (sh, sw)}
    lh, lw = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    at = [
        (o * sh - ph + i * dh, q * sw - pw + j * dw)
        for i, j, o, q in itertools.product(range(kh), range(kw), range(lh), range(lw))
    ]
    places = [y * w + x if 0 <= y < h and 0 <= x < w else None for y, x in at]
    image = [float(rng.randint(1, 9)) for _ in range(h * w)]
    columns = [float(rng.randint(1, 9)) for _ in places]
    taken = [0.0 if p is None else image[p] for p in places]
    added = [sum(c for c, p in zip(columns, places) if p == i) for i in range(h * w)]
    x = context.tensor(image).reshape(1, 1, h, w)
    y = context.tensor(columns).reshape(1, kh * kw, lh * lw)
    unfold, fold = nn.Unfold((kh, kw), **options), nn.Fold((h, w), (kh, kw), **options)
    for what, layer, given, right, upstream, back in (
        ("Unfold", unfold, x, taken, columns, added),
        ("Fold", fold, y, added, image, taken),
        ("Unfold, unbatched", unfold, x[0], taken, columns, added),
        ("Fold, unbatched", fold, y[0], added, image, taken),
    ):
        output, (by,) = passes.backward(context, layer, [given], upstream)
        context.exact(output, right, what=what)
        context.exact(by, back, what=f"{what}: gradient")
