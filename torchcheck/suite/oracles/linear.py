"""Linear algebra by its definitions, in plain Python: products, exact solutions, the Fourier transform."""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from fractions import Fraction

Matrix = Sequence[Sequence[float]]


def flat(matrix: Matrix) -> list[float]:
    """Row-major elements of an (m, n) matrix."""
    return [value for row in matrix for value in row]


def matmul(a: Matrix, b: Matrix) -> list[list[float]]:
    """(m, k) times (k, n); exact while the sums of whole numbers stay below 2**53."""
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]


def solve(a: Matrix, b: Matrix) -> list[float]:
    """Solution of a x = b for an (n, n) matrix and an (n, 1) right side, exact until it is rounded at the end."""
    return [float(row[-1]) for row in _reduced([[*row, *right] for row, right in zip(a, b)])[0]]


def determinant(a: Matrix) -> float:
    """Determinant of an (n, n) matrix, exact until it is rounded at the end."""
    return float(_reduced(a)[1])


def _reduced(rows: Matrix) -> tuple[list[list[Fraction]], Fraction]:
    """Gauss-Jordan elimination in fractions; the reduced rows and the determinant of the leading square."""
    work = [[Fraction(value) for value in row] for row in rows]
    product = Fraction(1)
    for i in range(len(work)):
        pivot = next(r for r in range(i, len(work)) if work[r][i])
        if pivot != i:
            work[i], work[pivot], product = work[pivot], work[i], -product
        head = work[i][i]
        product *= head
        work[i] = [value / head for value in work[i]]
        for r, row in enumerate(work):
            if r != i and row[i]:
                factor = row[i]
                work[r] = [value - factor * own for value, own in zip(row, work[i])]
    return work, product


def dft(values: Sequence[complex]) -> list[complex]:
    """Discrete Fourier transform, X_k = sum_j x_j exp(-2 pi i j k / n), by its definition.

    The n roots are computed once, each from its own reduced angle, so the error is n u of float64 at the most.
    """
    n = len(values)
    roots = [cmath.exp(-2j * cmath.pi * k / n) for k in range(n)]
    return [sum((x * roots[j * k % n] for j, x in enumerate(values)), 0j) for k in range(n)]
