"""Interpolation, padding, sampling on grids, and shuffles of pixels."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import moves, windows
from ..oracles import resampling as oracle
from ..oracles.tape import backward, leaves
from ..registry import check
from .pooling import judge_linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..context import Context

COEFFICIENTS = "coefficients of the documented formula in float64"
# name: (mode, size, new size, align_corners or None); "nearest" only where i n / m is exact in binary
SCALED = {
    "nearest_1d": ("nearest", (9,), (18,), None),
    "nearest_2d": ("nearest", (5, 9), (10, 6), None),
    "nearest_3d": ("nearest", (2, 3, 5), (4, 6, 10), None),
    "nearest_exact": ("nearest-exact", (5, 7), (10, 4), None),
    "linear": ("linear", (11,), (23,), False),
    "linear_corners": ("linear", (11,), (23,), True),
    "bilinear": ("bilinear", (5, 7), (9, 4), False),
    "bilinear_corners": ("bilinear", (5, 7), (9, 11), True),
    "bicubic": ("bicubic", (5, 7), (8, 11), False),
    "bicubic_corners": ("bicubic", (5, 7), (9, 4), True),
    "trilinear": ("trilinear", (3, 4, 3), (5, 3, 6), False),
    "bilinear_antialias": ("antialias", (9, 7), (4, 5), False),
    "area": ("area", (5, 7), (3, 4), None),
}


def _coefficients(mode: str, n: int, m: int, corners: bool | None) -> windows.LinearMap:
    if mode.startswith("nearest"):
        return oracle.nearest(n, m, exact=mode.endswith("exact"))
    if mode == "antialias":
        return oracle.triangles(n, m)
    if mode == "area":
        return [[(i, 1 / len(window)) for i in window] for window in windows.adaptive(n, m)]
    return (oracle.cubic if mode == "bicubic" else oracle.linear)(n, m, corners=bool(corners))


@check(oracle=COEFFICIENTS, dtypes=("float32",), more=("float64",), each=SCALED)
def interpolates(context: Context, row: Any) -> None:
    """Interpolation {row} has the documented coefficients, and differentiates by their transpose."""
    mode, size, out, corners = row
    rows = windows.outer([_coefficients(mode, n, m, corners) for n, m in zip(size, out)], size)
    function = context.torch.nn.functional.interpolate
    largest = 0 if mode in ("nearest", "nearest-exact", "area") else max(size)
    named = {"mode": "bilinear", "antialias": True} if mode == "antialias" else {"mode": mode}
    judge_linear(
        context, rows, size, lambda t: function(t, size=out, align_corners=corners, **named), positions=largest
    )


@check(oracle=COEFFICIENTS, dtypes=("float32",))
def scale_factors(context: Context) -> None:
    """Upsampling by a factor uses the factor, and differentiates so."""
    torch, size = context.torch, (5, 7)
    for module, mode, corners in (("nearest", "nearest", None), ("bilinear", "bilinear", False)):
        rows = windows.outer([_coefficients(mode, n, 2 * n, corners) for n in size], size)
        layer = torch.nn.Upsample(scale_factor=2, mode=module, align_corners=corners)
        judge_linear(context, rows, size, layer, positions=max(size))


# mode, size, amounts as torch takes them: last dim first, before and after
PADS = {
    "constant": ("constant", (4, 5), (1, 2, 3, 0)),
    "constant_negative": ("constant", (5, 7), (-1, 2, 1, -2)),
    "reflect_1d": ("reflect", (9,), (3, 5)),
    "reflect": ("reflect", (4, 6), (2, 3, 1, 3)),
    "reflect_3d": ("reflect", (3, 4, 3), (1, 2, 2, 1, 0, 1)),
    "replicate_1d": ("replicate", (7,), (4, 1)),
    "replicate": ("replicate", (4, 6), (2, 3, 1, 0)),
    "replicate_3d": ("replicate", (3, 2, 3), (1, 2, 2, 1, 0, 1)),
    "circular": ("circular", (4, 6), (2, 3, 1, 4)),
}


@check(oracle="bookkeeping of positions, exact", dtypes=("float32",), each=PADS)
def pads(context: Context, row: tuple[str, tuple[int, ...], tuple[int, ...]]) -> None:
    """Padding {row} copies what it should, and its gradient comes back to where it was copied from."""
    mode, size, amounts = row
    pairs = list(zip(amounts[::2], amounts[1::2]))[::-1]
    rows = windows.outer([oracle.pad(n, a, b, mode) for n, (a, b) in zip(size, pairs)], size)
    function = context.torch.nn.functional.pad
    judge_linear(context, rows, size, lambda t: function(t, amounts, mode=mode))


def _pixels(size: int, factor: int, channels: int) -> list[int]:
    """pixel_shuffle: channel c, offsets (i, j) inside a block go to row r * factor + i, column s * factor + j."""
    return [
        ((c * factor + i) * factor + j) * size * size + r * size + s
        for c in range(channels)
        for r in range(size)
        for i in range(factor)
        for s in range(size)
        for j in range(factor)
    ]


@check(oracle="bookkeeping of positions, exact", dtypes=("float32",))
def shuffles(context: Context) -> None:
    """pixel_shuffle, its inverse, channel_shuffle, unfold and fold move every element where they should."""
    functional = context.torch.nn.functional
    size, factor, channels = 4, 3, 2
    count = channels * factor * factor * size * size
    there = _pixels(size, factor, channels)
    back = [there.index(i) for i in range(count)]
    blocks = [
        (c * 5 + r + i) * 6 + s + j
        for c in range(4)
        for i in range(2)
        for j in range(3)
        for r in range(4)
        for s in range(4)
    ]
    # Strided and padded: position r * 2 - 1 + i * 2 of 5 rows, s + j of 6 columns; outside is a zero.
    strided = [
        (c * 5 + r * 2 - 1 + i * 2) * 6 + s + j if 0 <= r * 2 - 1 + i * 2 < 5 else ()
        for c in range(4)
        for i in range(2)
        for j in range(3)
        for r in range(3)
        for s in range(4)
    ]
    gathered: list[tuple[int, ...]] = [tuple(k for k, b in enumerate(blocks) if b == p) for p in range(120)]
    swapped = [(c % 2 * 3 + c // 2) * 16 + p for c in range(6) for p in range(16)]
    whole = size * factor
    for what, function, shape, rule in (
        ("pixel_shuffle", lambda t: functional.pixel_shuffle(t, factor), (1, 18, size, size), there),
        ("pixel_unshuffle", lambda t: functional.pixel_unshuffle(t, factor), (1, channels, whole, whole), back),
        ("channel_shuffle", lambda t: functional.channel_shuffle(t, 2), (1, 6, 4, 4), swapped),
        ("unfold", lambda t: functional.unfold(t, (2, 3)), (1, 4, 5, 6), blocks),
        ("fold", lambda t: functional.fold(t, (5, 6), (2, 3)), (1, 24, 16), gathered),
        ("strided unfold", lambda t: functional.unfold(t, (2, 3), (2, 1), (1, 0), (2, 1)), (1, 4, 5, 6), strided),
    ):
        try:
            _moved(context, what, function, shape, rule)
        except RuntimeError as error:  # noqa: PERF203 - channel_shuffle before torch 2.5
            if "derivative for" not in str(error):
                raise
            context.note(f"this torch does not differentiate {what}")


def _moved(context: Context, what: str, function: Any, shape: tuple[int, ...], rule: Sequence[Any]) -> None:
    rng, size, copies = context.rng(what), math.prod(shape), 9
    x = rng.choices((-7, -3, -2, 1, 2, 5), k=size)
    upstream = rng.choices((-3, -1, 1, 2), k=len(rule))
    given = passes.tiled(context, x, copies * size).reshape(copies, *shape[1:])
    output, (got,) = passes.backward(context, function, [given], upstream)
    passes.judge_period(context, output, moves.forward(rule, x), bound=0.0, what=what)
    passes.judge_period(context, got, moves.backward(rule, size, upstream), bound=0.0, what=f"gradient of {what}")


GRIDS = {
    f"{mode}_{padding}" + ("_corners" if corners else ""): (mode, padding, corners)
    for mode, padding, corners in (
        ("bilinear", "zeros", False),
        ("bilinear", "border", True),
        ("bilinear", "reflection", False),
        ("nearest", "zeros", False),
        ("nearest", "border", True),
        ("bicubic", "zeros", False),
        ("bicubic", "border", True),
    )
}


@check(oracle="the documented formula on the tape", dtypes=("float32",), more=("float64",), each=GRIDS)
def grid_sample(context: Context, row: tuple[str, str, bool]) -> None:
    """Sampling a grid ({row}) and its gradients by input and grid are right."""
    mode, padding, corners = row
    rng, height, width, points = context.rng(), 4, 5, 13
    planes = [rng.randint(-96, 96) / 64 for _ in range(2 * height * width)]
    # Away from pixel centres and half-way points, where the derivative jumps.
    spots = [[_spot(context, rng, n, corners) for n in (width, height)] for _ in range(points)]
    xs, grid = leaves(planes), [leaves(spot) for spot in spots]
    cut = [xs[: height * width], xs[height * width :]]
    way: dict[str, Any] = {"mode": mode, "padding": padding, "corners": corners}
    y = [oracle.sample(plane, (height, width), x, y, **way) for plane in cut for x, y in grid]
    upstream = [rng.randint(-96, 96) / 64 for _ in y]
    backward(y, upstream)
    copies = 41
    given = passes.tiled(context, planes, copies * len(planes)).reshape(copies, 2, height, width)
    at = passes.tiled(context, [v for spot in spots for v in spot], copies * 2 * points).reshape(copies, 1, points, 2)
    function = context.torch.nn.functional.grid_sample
    output, found = passes.backward(
        context,
        lambda t, g: function(t, g, mode=mode, padding_mode=padding, align_corners=corners),
        [given, at],
        upstream,
    )
    passes.judge_period(context, output, [n.value for n in y], cancel=[n.error for n in y], bound=4.0, what="output")
    for what, got, nums in (("input", found[0], xs), ("grid", found[1], [v for spot in grid for v in spot])):
        errors = [n.adjoint_error for n in nums]
        slopes = [n.adjoint for n in nums]
        passes.judge_period(context, got, slopes, cancel=errors, bound=4.0, what=f"gradient by the {what}")


def _spot(context: Context, rng: Any, n: int, corners: bool) -> float:
    """Draw a grid coordinate, sometimes outside, whose pixel position has a fraction in [0.1, 0.4]."""
    at = rng.randint(-2, n) + 0.1 + 0.3 * rng.random()
    return context.format.round(2 * at / (n - 1) - 1 if corners else (2 * at + 1) / n - 1)


@check(oracle="x' = a x + b y + c at pixel centres", dtypes=("float32", "float64"))
def affine_grid(context: Context) -> None:
    """affine_grid maps pixel centres by its matrix, and sums its gradients over them."""
    rng, (height, width) = context.rng(), (5, 7)
    theta = [rng.randint(-96, 96) / 64 for _ in range(6)]
    upstream = [rng.randint(-96, 96) / 64 for _ in range(2 * height * width)]
    function, copies = context.torch.nn.functional.affine_grid, 97
    for corners in (False, True):
        xs, ys = ([(2 * i / (n - 1) if corners else (2 * i + 1) / n) - 1 for i in range(n)] for n in (width, height))
        centres = [(x, y, 1.0) for y in ys for x in xs]
        right = [sum(a * b for a, b in zip(theta[k : k + 3], at)) for at in centres for k in (0, 3)]
        by_theta = [sum(g * at[j] for g, at in zip(upstream[k::2], centres)) for k in (0, 1) for j in range(3)]
        output, (got,) = passes.backward(
            context,
            functools.partial(function, size=(copies, 1, height, width), align_corners=corners),
            [passes.tiled(context, theta, 6 * copies).reshape(copies, 2, 3)],
            upstream,
        )
        how, size = f"align_corners={corners}", 1.5 * len(centres)
        passes.judge_period(context, output, right, cancel=4.5, bound=8.0, what=f"grid, {how}")
        passes.judge_period(context, got, by_theta, cancel=size, bound=16.0, what=f"gradient, {how}")
