"""Multi-head attention on a tape of plain numbers (Vaswani et al., Attention Is All You Need, 2017, §3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import tape
from .tape import Num

Matrix = list[list[Num]]
Mask = Sequence[Sequence[float]]


@dataclass
class Weights:
    """Projections of an attention: in (3 E rows, by E), out (E by E), biases, and learned extra key and value."""

    project_in: Matrix
    bias_in: list[Num] | None
    project_out: Matrix
    bias_out: list[Num] | None
    extra_key: list[Num] | None = None
    extra_value: list[Num] | None = None
    parts: list[Matrix] = field(default_factory=list)

    def rows(self, part: int) -> tuple[Matrix, list[Num] | None]:
        """Give the projection of queries (0), keys (1) or values (2)."""
        size = len(self.project_out)
        cut = slice(part * size, (part + 1) * size)
        matrix = self.parts[part] if self.parts else self.project_in[cut]
        return matrix, self.bias_in[cut] if self.bias_in else None


def linear(xs: Matrix, rows: Matrix, bias: list[Num] | None) -> Matrix:
    """Give x W^T + b for every x."""
    return [[tape.dot(x, row, bias[i] if bias else None) for i, row in enumerate(rows)] for x in xs]


def softmax(scores: Sequence[Num]) -> list[Num]:
    """Shares of the scores that are not masked; None of them masked with -inf is kept."""
    top = max(score.value for score in scores)
    powers = [tape.exp(score - top) for score in scores]
    whole = tape.total(powers)
    return [power / whole for power in powers]


def attend(
    queries: Matrix, keys: Matrix, values: Matrix, weights: Weights, *, heads: int, mask: Mask, zero: bool = False
) -> tuple[Matrix, list[list[list[Num]]]]:
    """Attend for one sequence.

    Args:
        queries: L rows of E numbers.
        keys: S rows.
        values: S rows.
        weights: the projections.
        heads: number of heads.
        mask: L rows of S numbers added to the scores; -inf forbids.
        zero: append a key and a value of zeros (`add_zero_attn`).

    Returns:
        The L outputs of E numbers, and the shares, head by head.
    """
    q, k, v = (linear(xs, *weights.rows(part)) for part, xs in enumerate((queries, keys, values)))
    spare = 0
    if weights.extra_key and weights.extra_value:
        k, v, spare = [*k, weights.extra_key], [*v, weights.extra_value], spare + 1
    size = len(weights.project_out)
    if zero:
        k, v, spare = [*k, tape.leaves([0.0] * size)], [*v, tape.leaves([0.0] * size)], spare + 1
    wide = [[*row, *[0.0] * spare] for row in mask]
    width = size // heads
    joined: Matrix = [[] for _ in q]
    shares: list[list[list[Num]]] = []
    for head in range(heads):
        cut = slice(head * width, (head + 1) * width)
        shares.append([_shares(row[cut], [key[cut] for key in k], allowed) for row, allowed in zip(q, wide)])
        for out, share in zip(joined, shares[-1]):
            out += [tape.dot(share, [value[i] for value in v]) for i in range(size)[cut]]
    return linear(joined, weights.project_out, weights.bias_out), shares


def _shares(query: Sequence[Num], keys: Sequence[Sequence[Num]], allowed: Sequence[float]) -> list[Num]:
    scale = 1.0 / math.sqrt(len(query))
    open_at = [i for i, m in enumerate(allowed) if m > -math.inf]
    scores = [tape.dot(query, keys[i]) * scale + allowed[i] for i in open_at]
    found = dict(zip(open_at, softmax(scores)))
    return [found.get(i, Num(0.0)) for i in range(len(keys))]
