"""Matrices whose factors and inverses are known before anything is computed.

Integer triangles with ones on the diagonal have integer inverses; a Hadamard matrix of order 4, halved, is orthogonal
and exact in binary. What is built from them can be taken apart with no rounding but torch's.
"""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Sequence
from operator import mul

Matrix = list[list[float]]
N = 4
HADAMARD: Matrix = [[0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5], [0.5, 0.5, -0.5, -0.5], [0.5, -0.5, -0.5, 0.5]]


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """A @ B."""
    columns = list(zip(*b))
    return [[sum(map(mul, row, column)) for column in columns] for row in a]


def transpose(a: Matrix) -> Matrix:
    """Rows to columns."""
    return [list(column) for column in zip(*a)]


def magnitude(a: Matrix) -> Matrix:
    """Absolute values."""
    return [[abs(v) for v in row] for row in a]


def diagonal(values: Sequence[float]) -> Matrix:
    """Make a diagonal matrix."""
    return [[v if i == j else 0.0 for j in range(len(values))] for i, v in enumerate(values)]


def unit_lower(rng: random.Random) -> Matrix:
    """Draw a lower triangle of -1, 0, 1 under a diagonal of ones."""
    return [[1.0 if i == j else float(rng.randint(-1, 1)) if j < i else 0.0 for j in range(N)] for i in range(N)]


def inverse_unit_lower(a: Matrix) -> Matrix:
    """Invert by substitution; integers stay integers."""
    found: Matrix = [[0.0] * N for _ in range(N)]
    for j in range(N):
        for i in range(N):
            found[i][j] = float(i == j) - sum(a[i][k] * found[k][j] for k in range(i))
    return found


def invertible(rng: random.Random) -> tuple[Matrix, Matrix, float]:
    """Draw A = L D U of small integers; give A, its inverse, its determinant."""
    low, up = unit_lower(rng), transpose(unit_lower(rng))
    scale = [rng.choice((-2.0, -1.0, 1.0, 2.0)) for _ in range(N)]
    back = matmul(inverse_unit_lower(transpose(up)), diagonal([1.0] * N))
    inverse = matmul(matmul(transpose(back), diagonal([1 / s for s in scale])), inverse_unit_lower(low))
    return matmul(matmul(low, diagonal(scale)), up), inverse, math.prod(scale)


def orthogonal(rng: random.Random) -> Matrix:
    """Draw a halved Hadamard matrix with rows exchanged and signs changed."""
    rows = rng.sample(HADAMARD, N)
    return [[sign * v for v in row] for row in rows for sign in [rng.choice((-1.0, 1.0))]]


def spectrum(rng: random.Random) -> list[float]:
    """Draw N different positive integers, the largest first."""
    return sorted((float(v) for v in rng.sample(range(1, 10), N)), reverse=True)


def fourier(x: Sequence[complex], sign: int = -1) -> list[complex]:
    """Sum x[k] exp(sign 2 pi i j k / n) for each j, by definition; the roots are taken at reduced arguments."""
    n = len(x)
    roots = [cmath.exp(sign * 2j * math.pi * k / n) for k in range(n)]
    return [sum(v * roots[j * k % n] for k, v in enumerate(x)) for j in range(n)]
