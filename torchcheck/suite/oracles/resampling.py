"""Interpolation, padding and sampling along one dimension, as coefficients; grids on the tape.

Coordinates as PyTorch documents them: pixel centres at (i + 1/2) n / m - 1/2, or corners on corners with align_corners.
The cubic kernel is Keys' (1981) with a = -0.75.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .tape import Num
from .windows import LinearMap

A = -0.75


def _source(i: int, n: int, m: int, *, corners: bool) -> float:
    if corners:
        return i * (n - 1) / (m - 1) if m > 1 else 0.0
    return (i + 0.5) * n / m - 0.5


def nearest(n: int, m: int, *, exact: bool = False) -> LinearMap:
    """Take floor(i n / m), or with `exact` the pixel whose centre is nearest."""
    return [[(min(math.floor((i + (0.5 if exact else 0)) * n / m), n - 1), 1.0)] for i in range(m)]


def linear(n: int, m: int, *, corners: bool = False) -> LinearMap:
    """Interpolate between the two neighbours; constant beyond the outer centres."""
    rows: LinearMap = []
    for i in range(m):
        at = max(_source(i, n, m, corners=corners), 0.0)
        low = min(math.floor(at), n - 1)
        rows.append([(low, 1 - (at - low)), (min(low + 1, n - 1), at - low)])
    return rows


def triangles(n: int, m: int) -> LinearMap:
    """Weight the neighbours by a triangle as wide as an output pixel: bilinear with antialiasing, when shrinking."""
    scale = max(n / m, 1.0)
    rows: LinearMap = []
    for i in range(m):
        centre = (i + 0.5) * n / m
        low, high = max(int(centre - scale + 0.5), 0), min(int(centre + scale + 0.5), n)
        weights = [max(1 - abs((p - centre + 0.5) / scale), 0.0) for p in range(low, high)]
        rows.append([(p, w / sum(weights)) for p, w in zip(range(low, high), weights)])
    return rows


def _keys(d: float) -> float:
    d = abs(d)
    if d <= 1:
        return ((A + 2) * d - (A + 3)) * d * d + 1
    return ((A * d - 5 * A) * d + 8 * A) * d - 4 * A if d < 2 else 0.0


def cubic(n: int, m: int, *, corners: bool = False) -> LinearMap:
    """Interpolate between four neighbours, the edge repeated."""
    rows: LinearMap = []
    for i in range(m):
        at = _source(i, n, m, corners=corners)
        low = math.floor(at)
        rows.append([(min(max(low + k, 0), n - 1), _keys(at - low - k)) for k in range(-1, 3)])
    return rows


def pad(n: int, before: int, after: int, mode: str) -> LinearMap:
    """Copy each element of the padded row from where it comes; constant padding from nowhere."""
    rows: LinearMap = []
    for i in range(-before, n + after):
        at = {
            "reflect": -i if i < 0 else i if i < n else 2 * (n - 1) - i,
            "replicate": min(max(i, 0), n - 1),
            "circular": i % n,
            "constant": i,
        }[mode]
        rows.append([(at, 1.0)] if 0 <= at < n else [])
    return rows


def place(g: Num, n: int, *, corners: bool) -> Num:
    """Turn a grid coordinate in [-1, 1] into a pixel position."""
    return (g + 1) * ((n - 1) / 2) if corners else ((g + 1) * n - 1) * 0.5


def fold_back(at: Num, n: int, mode: str, *, corners: bool) -> Num:
    """Bring a position outside back by "border" or "reflection"; "zeros" leaves it."""
    if mode == "border":
        return Num(min(max(at.value, 0.0), n - 1.0)) if not 0 < at.value < n - 1 else at
    if mode == "reflection":
        low, high = (0.0, n - 1.0) if corners else (-0.5, n - 0.5)
        while not low <= at.value <= high:
            at = -at + 2 * low if at.value < low else -at + 2 * high
        return fold_back(at, n, "border", corners=corners)
    return at


def taps(at: Num, mode: str) -> list[tuple[int, Num]]:
    """Give the pixels around a position and their weights."""
    if mode == "nearest":
        return [(round(at.value), Num(1.0))]
    low = math.floor(at.value)
    t = at - float(low)
    if mode == "bilinear":
        return [(low, 1.0 - t), (low + 1, t)]
    distances = [(t + 1.0, False), (t, True), (1.0 - t, True), (2.0 - t, False)]
    weights = [
        ((d * (A + 2) - (A + 3)) * d * d + 1.0) if near else ((d * A - 5 * A) * d + 8 * A) * d - 4 * A
        for d, near in distances
    ]
    return [(low + k - 1, w) for k, w in enumerate(weights)]


def sample(
    plane: Sequence[Num], size: tuple[int, int], x: Num, y: Num, *, mode: str, padding: str, corners: bool
) -> Num:
    """Sample one plane at one grid position."""
    height, width = size
    across, down = place(x, width, corners=corners), place(y, height, corners=corners)
    if mode != "bicubic":
        across = fold_back(across, width, padding, corners=corners)
        down = fold_back(down, height, padding, corners=corners)
    total = Num(0.0)
    for r, wr in taps(down, mode):
        for c, wc in taps(across, mode):
            row, column = r, c
            if mode == "bicubic" and padding != "zeros":
                row = int(fold_back(Num(float(r)), height, padding, corners=corners).value)
                column = int(fold_back(Num(float(c)), width, padding, corners=corners).value)
            if 0 <= row < height and 0 <= column < width:
                total = total + plane[row * width + column] * wr * wc
    return total
