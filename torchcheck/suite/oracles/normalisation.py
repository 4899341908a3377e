"""Normalisation layers as one formula over different groups of elements.

Batch, instance, group and layer normalisation (Ioffe, Szegedy 2015; Ulyanov et al. 2016; Wu, He 2018; Ba et al. 2016)
are

    y = (x - mean) / sqrt(var + eps) * weight + bias        var with divisor n

and differ in which elements share a mean and which a weight. Gradients come from the tape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from .tape import Num, dot, power, sqrt, total

Groups = list[list[int]]


def indices(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """List the indices of a shape in row-major order."""
    return list(itertools.product(*map(range, shape)))


def group_by(shape: Sequence[int], key: Callable[[tuple[int, ...]], object]) -> Groups:
    """Collect the flat positions that have the same key."""
    found: dict[object, list[int]] = {}
    for position, index in enumerate(indices(shape)):
        found.setdefault(key(index), []).append(position)
    return list(found.values())


def moments(xs: Sequence[Num]) -> tuple[Num, Num]:
    """Mean and variance with divisor n."""
    mean = total(xs) * (1 / len(xs))
    gaps = [x - mean for x in xs]
    return mean, dot(gaps, gaps) * (1 / len(xs))


def standardise(x: Sequence[Num], groups: Groups, eps: float) -> list[Num]:
    """(x - mean) / sqrt(var + eps) inside each group."""
    out = list(x)
    for group in groups:
        members = [x[i] for i in group]
        mean, var = moments(members)
        scale = 1 / sqrt(var + eps)
        for i, member in zip(group, members):
            out[i] = (member - mean) * scale
    return out


def root_mean_square(x: Sequence[Num], groups: Groups, eps: float) -> list[Num]:
    """x / sqrt(mean(x**2) + eps) inside each group (Zhang, Sennrich 2019)."""
    out = list(x)
    for group in groups:
        members = [x[i] for i in group]
        scale = 1 / sqrt(dot(members, members) * (1 / len(members)) + eps)
        for i, member in zip(group, members):
            out[i] = member * scale
    return out


def affine(x: Sequence[Num], places: Sequence[int], weight: Sequence[Num], bias: Sequence[Num]) -> list[Num]:
    """x * weight + bias, where element i has the weight and bias at `places[i]`."""
    return [v * weight[p] + bias[p] if bias else v * weight[p] for v, p in zip(x, places)]


def fixed(
    x: Sequence[Num], places: Sequence[int], mean: Sequence[float], var: Sequence[float], eps: float
) -> list[Num]:
    """(x - mean) / sqrt(var + eps) with given statistics, as in evaluation."""
    return [(v - mean[p]) * Num(1 / math.sqrt(var[p] + eps), 4 / math.sqrt(var[p] + eps)) for v, p in zip(x, places)]


def local_response(x: Sequence[Num], shape: Sequence[int], size: int, alpha: float, beta: float, k: float) -> list[Num]:
    """x / (k + alpha / size * sum of squares over `size` channels around)**beta (Krizhevsky et al. 2012)."""
    at = {index: i for i, index in enumerate(indices(shape))}
    out = []
    for (n, c, *rest), i in at.items():
        around = range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, shape[1]))
        places = [(n, d, *rest) for d in around]
        near = [x[at[place]] for place in places]
        out.append(x[i] * power(dot(near, near) * (alpha / size) + k, -beta))
    return out
