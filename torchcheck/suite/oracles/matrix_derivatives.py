"""Gradients of matrix functions, written out by hand in plain float64.

Giles, Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic Differentiation (2008); Golub and
Pereyra, SIAM J. Numer. Anal. 10 (1973) for the pseudo-inverse; Higham, Functions of Matrices, §3.2 for the exponential;
Walter and Lehmann, arXiv:1009.6112, for QR. Every function takes G, the gradient by the result.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from .linear_algebra import Matrix, diagonal, matmul, transpose


def product(*factors: Matrix) -> Matrix:
    """Multiply several matrices."""
    made = factors[0]
    for factor in factors[1:]:
        made = matmul(made, factor)
    return made


def combine(a: Matrix, b: Matrix, rule: Callable[[float, float], float] = operator.add) -> Matrix:
    """Combine two matrices element by element."""
    return [list(map(rule, *rows)) for rows in zip(a, b)]


def scaled(a: Matrix, factor: float) -> Matrix:
    """Multiply by a number."""
    return [[factor * v for v in row] for row in a]


def identity(n: int) -> Matrix:
    """Give I."""
    return diagonal([1.0] * n)


def norm(a: Matrix) -> float:
    """Frobenius norm."""
    return math.sqrt(sum(v * v for row in a for v in row))


def symmetric(a: Matrix) -> Matrix:
    """Give (A + A^T) / 2: what a gradient by a symmetric matrix is determined up to."""
    return scaled(combine(a, transpose(a)), 0.5)


def inverse(x: Matrix, g: Matrix) -> Matrix:
    """Of X = A^-1 by A: -X^T G X^T."""
    return scaled(product(transpose(x), g, transpose(x)), -1.0)


def cholesky(low: Matrix, low_inverse: Matrix, g: Matrix) -> Matrix:
    """Of A = L L^T by A, symmetric: L^-T phi(L^T G) L^-1, phi the lower triangle with its diagonal halved."""
    inner = matmul(transpose(low), g)
    phi = [[v if j < i else v / 2 if j == i else 0.0 for j, v in enumerate(row)] for i, row in enumerate(inner)]
    return symmetric(product(transpose(low_inverse), phi, low_inverse))


def projectors(vectors: Matrix, values: list[float], by_value: list[float], by_projector: list[Matrix]) -> Matrix:
    """Of sum_k <C_k, v_k v_k^T> + <c, w> by a symmetric A = V diag(w) V^T; C_k symmetric, w all different.

    v_k v_k^T moves by sum_j (v_j^T dA v_k) / (w_k - w_j) (v_j v_k^T + v_k v_j^T).
    """
    columns = transpose(vectors)
    n = len(values)
    inner = diagonal(by_value)
    for k, c in enumerate(by_projector):
        turned = [sum(a * b for a, b in zip(row, columns[k])) for row in c]
        for j in range(n):
            if j != k:
                along = sum(a * b for a, b in zip(columns[j], turned))
                inner[j][k] += 2 * along / (values[k] - values[j])
    return symmetric(product(vectors, inner, columns))


def polar(left: Matrix, values: list[float], right: Matrix, g: Matrix) -> Matrix:
    """Of U V^T by A = U diag(s) V^T (square): U N V^T with N_ij = (M - M^T)_ij / (s_i + s_j), M = U^T G V."""
    m = product(transpose(left), g, transpose(right))
    n = [[(m[i][j] - m[j][i]) / (values[i] + values[j]) for j in range(len(values))] for i in range(len(values))]
    return product(left, n, right)


def qr(q: Matrix, r_inverse: Matrix, r: Matrix, g_q: Matrix, g_r: Matrix) -> Matrix:
    """Of A = Q R (square): (G_Q + Q copyltu(R G_R^T - G_Q^T Q)) R^-T."""
    m = combine(product(r, transpose(g_r)), product(transpose(g_q), q), operator.sub)
    lower = [[m[max(i, j)][min(i, j)] for j in range(len(m))] for i in range(len(m))]
    return product(combine(g_q, matmul(q, lower)), transpose(r_inverse))


def least_squares(a: Matrix, gram_inverse: Matrix, x: Matrix, residual: Matrix, g: Matrix) -> tuple[Matrix, Matrix]:
    """Of least squares A X = B (full column rank) by A and B: R Y^T - A Y X^T and A Y, Y = (A^T A)^-1 G."""
    y = matmul(gram_inverse, g)
    by_a = combine(matmul(residual, transpose(y)), product(a, y, transpose(x)), operator.sub)
    return by_a, matmul(a, y)


def pseudo_inverse(a: Matrix, gram_inverse: Matrix, g: Matrix) -> Matrix:
    """Of X = A^+ by A (full column rank): (I - A X) G^T (A^T A)^-1 - X^T G X^T."""
    x = matmul(gram_inverse, transpose(a))
    rest = combine(identity(len(a)), matmul(a, x), operator.sub)
    return combine(product(rest, transpose(g), gram_inverse), product(transpose(x), g, transpose(x)), operator.sub)


def exponential(a: Matrix) -> Matrix:
    """exp(A): 16 terms of its series at A halved until its norm is below 1/4 (1e-22 is left), squared back."""
    halvings = max(0, math.ceil(math.log2(norm(a))) + 2) if norm(a) else 0
    small = scaled(a, 0.5**halvings)
    made = power = identity(len(a))
    for k in range(1, 16):
        power = scaled(matmul(power, small), 1.0 / k)
        made = combine(made, power)
    for _ in range(halvings):
        made = matmul(made, made)
    return made


def exponential_gradient(a: Matrix, g: Matrix) -> Matrix:
    """Of exp(A) by A: the upper right block of exp([[A^T, G], [0, A^T]])."""
    n, turned = len(a), transpose(a)
    upper = [row + list(more) for row, more in zip(turned, g)]
    lower = [[0.0] * n + row for row in turned]
    return [row[n:] for row in exponential(upper + lower)[:n]]
