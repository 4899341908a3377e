"""Windows of pooling layers, and linear maps given by their coefficients.

A linear map is a list with, for each output, pairs (input position, coefficient); its backward pass is its transpose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Row = list[tuple[int, float]]
LinearMap = list[Row]


def out_length(n: int, kernel: int, stride: int, padding: int, dilation: int = 1, *, ceil: bool = False) -> int:
    """Count windows; with `ceil` a last one may hang over, if it starts inside the input or its left padding."""
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-span // stride) if ceil else span // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= n + padding else count


def windows(
    n: int, kernel: int, stride: int, padding: int, dilation: int = 1, *, ceil: bool = False
) -> list[list[int]]:
    """List for each window the positions inside the input."""
    starts = [o * stride - padding for o in range(out_length(n, kernel, stride, padding, dilation, ceil=ceil))]
    return [[s + k * dilation for k in range(kernel) if 0 <= s + k * dilation < n] for s in starts]


def padded_sizes(n: int, kernel: int, stride: int, padding: int, *, ceil: bool = False) -> list[int]:
    """Count each window's positions with the padding, but not beyond it."""
    starts = [o * stride - padding for o in range(out_length(n, kernel, stride, padding, ceil=ceil))]
    return [min(s + kernel, n + padding) - s for s in starts]


def adaptive(n: int, m: int) -> list[list[int]]:
    """Divide n positions into m windows from floor(i n / m) to ceil((i + 1) n / m)."""
    return [list(range(i * n // m, -(-(i + 1) * n // m))) for i in range(m)]


def product(per_dim: Sequence[Sequence[Sequence[int]]], size: Sequence[int]) -> list[list[int]]:
    """Combine windows of each dim into windows of flat positions."""
    found = []
    for combination in itertools.product(*per_dim):
        window = [0]
        for positions, n in zip(combination, size):
            window = [w * n + p for w in window for p in positions]
        found.append(window)
    return found


def averages(found: Sequence[Sequence[int]], divisors: Sequence[float]) -> LinearMap:
    """Average each window by its own divisor."""
    return [[(p, 1 / d) for p in window] for window, d in zip(found, divisors)]


def outer(per_dim: Sequence[LinearMap], size: Sequence[int]) -> LinearMap:
    """Combine the maps of each dim into one of flat positions."""
    found = []
    for rows in itertools.product(*per_dim):
        row: Row = [(0, 1.0)]
        for part, n in zip(rows, size):
            row = [(w * n + p, a * b) for w, a in row for p, b in part]
        found.append(row)
    return found


def apply(rows: LinearMap, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """Give the outputs, and the sums of absolute values that their errors scale with."""
    y = [math.fsum(c * x[p] for p, c in row) for row in rows]
    return y, [math.fsum(abs(c * x[p]) for p, c in row) for row in rows]


def transpose(rows: LinearMap, size: int) -> LinearMap:
    """Turn a map around: for each of `size` inputs, the outputs it went to."""
    back: LinearMap = [[] for _ in range(size)]
    for o, row in enumerate(rows):
        for p, c in row:
            back[p].append((o, c))
    return back
