"""Sums of products over named indices, by brute force: every matrix product and its gradients in exact integers.

A product is written as einsum writes it ("bik,bkj->bij"). It is linear in each factor, so its gradient by one factor is
the same sum with that factor and the result exchanged.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from operator import mul

Values = tuple[float, ...]  # a tuple, so that one answer serves every dtype


def parse(spec: str) -> tuple[list[str], str]:
    """Split "ik,kj->ij" into its factors' indices and its result's."""
    left, _, right = spec.partition("->")
    return left.split(","), right


def size(indices: str, sizes: Mapping[str, int]) -> int:
    """Count the elements of a tensor with these indices."""
    count = 1
    for name in indices:
        count *= sizes[name]
    return count


def _walk(groups: Sequence[str], sizes: Mapping[str, int]) -> list[list[int]]:
    """For each tensor, its flat position at every combination of all indices."""
    names = sorted(set("".join(groups)))
    walks = []
    for group in groups:
        strides = dict.fromkeys(names, 0)
        step = 1
        for name in reversed(group):
            strides[name] += step
            step *= sizes[name]
        ranges = [range(0, strides[n] * sizes[n], strides[n]) if strides[n] else (0,) * sizes[n] for n in names]
        walks.append([sum(at) for at in itertools.product(*ranges)])
    return walks


@functools.lru_cache(maxsize=16)
def contract(
    spec: str, lengths: tuple[tuple[str, int], ...], factors: tuple[Values, ...], upstream: Values
) -> list[list[float]]:
    """Give the flat result, and the flat gradient by each factor for `upstream` at the result.

    Args:
        spec: as einsum has it, without repeated indices inside one factor.
        lengths: (name, length) of each index.
        factors: flat, row-major.
        upstream: flat, as long as the result.
    """
    sizes = dict(lengths)
    groups, result = parse(spec)
    walks = _walk([*groups, result], sizes)
    columns = [[values[i] for i in walk] for values, walk in zip([*factors, upstream], walks)]
    found = []
    for target in (len(groups), *range(len(groups))):
        others = [column for i, column in enumerate(columns) if i != target]
        terms = others[0]
        for other in others[1:]:
            terms = list(map(mul, terms, other))
        into: list[float] = [0] * size(([*groups, result])[target], sizes)
        for at, term in zip(walks[target], terms):
            into[at] += term
        found.append(into)
    return found
