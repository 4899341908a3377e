"""Scaled dot-product attention and its gradients by hand, with what rounding may do to each element.

    S = scale Q K^T + mask      P = softmax(S)      O = P V
    dV = P^T dO      dP = dO V^T      dS = P * (dP - rowsum(dP * P))      dQ = scale dS K      dK = scale dS^T Q

(Vaswani et al. 2017; the backward pass as in Dao et al. 2022, appendix B.) Errors are in units of u: those of the
scores are absolute and become relative ones of P, since exp does that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from .tape import growth

Matrix = list[list[float]]
Judged = tuple[Matrix, Matrix]  # values, errors


@dataclass
class Attention:
    """One head: output and gradients, each with its errors; of the mask, values alone where it was given."""

    output: Judged
    query: Judged
    key: Judged
    value: Judged
    mask: Judged


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """A @ B for lists of rows."""
    columns = list(zip(*b))
    return [[sum(map(mul, row, column)) for column in columns] for row in a]


def transpose(a: Matrix) -> Matrix:
    """Rows to columns."""
    return [list(column) for column in zip(*a)]


def magnitude(a: Matrix) -> Matrix:
    """Absolute values."""
    return [[abs(v) for v in row] for row in a]


def add(*terms: tuple[float, Matrix]) -> Matrix:
    """Sum of scaled matrices."""
    rows = zip(*(m for _, m in terms))
    factors = [f for f, _ in terms]
    return [[sum(map(mul, factors, cell)) for cell in zip(*lines)] for lines in rows]


def softmax(row: Sequence[float]) -> list[float]:
    """exp(x - max) / sum."""
    top = max(row)
    raised = [math.exp(v - top) for v in row]
    norm = math.fsum(raised)
    return [v / norm for v in raised]


def attend(q: Matrix, k: Matrix, v: Matrix, upstream: Matrix, scale: float, mask: Matrix | None = None) -> Attention:
    """Run one head forward and back.

    Args:
        q: queries x depth.
        k: keys x depth.
        v: keys x value depth.
        upstream: gradient by the output.
        scale: of the scores.
        mask: queries x keys, added to the scores; -inf forbids.
    """
    scores = [[scale * s for s in row] for row in matmul(q, transpose(k))]
    sizes = [[scale * s for s in row] for row in matmul(magnitude(q), transpose(magnitude(k)))]
    if mask is not None:
        scores = add((1, scores), (1, mask))
    depth, keys, queries = growth(len(q[0])), growth(len(k)), growth(len(q))
    p = [softmax(row) for row in scores]
    # Score: its sum, the scaling of q and k, the mask, the shift by the maximum, each a rounding of at most `size`.
    finite = [[s if s > -math.inf else 0.0 for s in row] for row in scores]
    rough = [
        2 * max((depth + 4) * b + 2 * abs(s) for b, s in zip(row, line)) + keys + 6 for row, line in zip(sizes, finite)
    ]
    relative = [[r * x for x in row] for r, row in zip(rough, p)]
    o, o_size = matmul(p, v), matmul(p, magnitude(v))
    output = (o, add((keys + 2, o_size), (1, matmul(relative, magnitude(v)))))
    by_v = matmul(transpose(p), upstream)
    up = magnitude(upstream)
    v_error = add((queries + 2, matmul(transpose(p), up)), (1, matmul(transpose(relative), up)))
    dp = matmul(upstream, transpose(v))
    dp_error = [[(depth + 2) * s for s in row] for row in matmul(up, transpose(magnitude(v)))]
    inner = [sum(map(mul, a, b)) for a, b in zip(dp, p)]
    inner_error = [
        sum((keys + 2 + r) * x * abs(d) + x * e for x, d, e in zip(row, line, errors))
        for r, row, line, errors in zip(rough, p, dp, dp_error)
    ]
    ds = [[x * (d - m) for x, d in zip(row, line)] for row, line, m in zip(p, dp, inner)]
    ds_error = [
        [x * ((r + 3) * (abs(d) + abs(m)) + e + me) for x, d, e in zip(row, line, errors)]
        for r, row, line, errors, m, me in zip(rough, p, dp, dp_error, inner, inner_error)
    ]
    by_q, by_k = matmul(ds, k), matmul(transpose(ds), q)
    ds_size, q_size, k_size = magnitude(ds), magnitude(q), magnitude(k)
    q_error = add((scale * (keys + 3), matmul(ds_size, k_size)), (scale, matmul(ds_error, k_size)))
    k_error = add(
        (scale * (queries + 3), matmul(transpose(ds_size), q_size)), (scale, matmul(transpose(ds_error), q_size))
    )
    return Attention(
        output, (add((scale, by_q)), q_error), (add((scale, by_k)), k_error), (by_v, v_error), (ds, ds_error)
    )
