"""Convolution by its definition: which input element meets which weight at which output element.

Convolution is linear in input and weight, so one list of (output, input, weight) positions gives the output, both
gradients, and the transposed convolution, which runs the same list the other way (Dumoulin, Visin: A guide to
convolution arithmetic for deep learning, 2016).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Taps = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Geometry:
    """A convolution: everything but the numbers.

    Attributes:
        batch: images.
        channels: (in, out).
        size: lengths of the input's spatial dims.
        kernel: lengths of the weight's.
        stride: one per dim.
        padding: zeros on both sides, one per dim.
        dilation: one per dim.
        groups: groups of channels.
    """

    batch: int
    channels: tuple[int, int]
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def output(self) -> tuple[int, ...]:
        """Spatial lengths of the output."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(self.size, self.kernel, self.stride, self.padding, self.dilation)
        )

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Shapes of input, weight and output."""
        inner, outer = self.channels
        return (
            (self.batch, inner, *self.size),
            (outer, inner // self.groups, *self.kernel),
            (self.batch, outer, *self.output),
        )


def _spatial(geometry: Geometry) -> Taps:
    """Positions inside one pair of planes."""
    per_dim = [
        [(o, o * s - p + k * d, k) for o in range(m) for k in range(w) if 0 <= o * s - p + k * d < n]
        for n, w, m, s, p, d in zip(
            geometry.size, geometry.kernel, geometry.output, geometry.stride, geometry.padding, geometry.dilation
        )
    ]
    found = []
    for combination in itertools.product(*per_dim):
        o = i = k = 0
        for (a, b, c), m, n, w in zip(combination, geometry.output, geometry.size, geometry.kernel):
            o, i, k = o * m + a, i * n + b, k * w + c
        found.append((o, i, k))
    return found


def taps(geometry: Geometry) -> Taps:
    """List the flat positions in output, input and weight of every product."""
    inner, outer = geometry.channels
    n_in, n_out, n_weight = math.prod(geometry.size), math.prod(geometry.output), math.prod(geometry.kernel)
    per_in, per_out = inner // geometry.groups, outer // geometry.groups
    plane = _spatial(geometry)
    found = []
    for b, oc, ic in itertools.product(range(geometry.batch), range(outer), range(per_in)):
        o0 = (b * outer + oc) * n_out
        i0 = (b * inner + oc // per_out * per_in + ic) * n_in
        k0 = (oc * per_in + ic) * n_weight
        found += [(o0 + o, i0 + i, k0 + k) for o, i, k in plane]
    return found


def contract(
    positions: Taps, x: Sequence[float], w: Sequence[float], upstream: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """Give output, gradient by the input, gradient by the weight; all flat."""
    y: list[float] = [0] * len(upstream)
    by_x: list[float] = [0] * len(x)
    by_w: list[float] = [0] * len(w)
    for o, i, k in positions:
        g, a, b = upstream[o], x[i], w[k]
        y[o] += a * b
        by_x[i] += g * b
        by_w[k] += g * a
    return y, by_x, by_w


def transposed(positions: Taps) -> Taps:
    """Exchange output and input: the positions of the transposed convolution."""
    return [(i, o, k) for o, i, k in positions]


def bias(
    y: Sequence[float], upstream: Sequence[float], values: Sequence[float], plane: int
) -> tuple[list[float], list[float]]:
    """Add a bias per channel (each `plane` elements long); give the sum and the gradient by the bias."""
    added = [v + values[i // plane % len(values)] for i, v in enumerate(y)]
    by_bias: list[float] = [0] * len(values)
    for i, g in enumerate(upstream):
        by_bias[i // plane % len(values)] += g
    return added, by_bias
