"""Where elements go: the oracle of everything that only picks, moves or adds up elements.

A rule is written on positions instead of numbers: given the nested list of an input's positions it returns, in the
output's order, one position for a copied element, a tuple of positions for a sum of elements, or () for a zero. Forward
and backward then follow without any rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def positions(*shape: int, start: int = 0) -> Any:
    """Number the elements of a shape in row-major order, as nested lists."""
    if not shape:
        return start
    step = 1
    for size in shape[1:]:
        step *= size
    return [positions(*shape[1:], start=start + i * step) for i in range(shape[0])]


def flatten(nested: Any) -> list[Any]:
    """Flatten nested lists; a tuple is an element."""
    if not isinstance(nested, list):
        return [nested]
    return [item for part in nested for item in flatten(part)]


def transpose(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Turn rows into columns."""
    return [list(column) for column in zip(*rows)]


def forward(rule: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Give the output's elements."""
    return [values[p] if isinstance(p, int) else sum((values[q] for q in p), 0) for p in rule]


def backward(rule: Sequence[Any], size: int, upstream: Sequence[Any]) -> list[Any]:
    """Give the gradient by the input's `size` elements: each gets what flows back from wherever it went."""
    gradient = [0] * size
    for p, g in zip(rule, upstream):
        if isinstance(p, int):
            gradient[p] += g
        else:
            for q in p:
                gradient[q] += g
    return gradient
