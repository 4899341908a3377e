"""Gradients through matrix factorisations and functions, against formulas written out by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..oracles import linear_algebra as algebra
from ..oracles import matrix_derivatives as rules
from ..oracles.linear_algebra import Matrix, diagonal, transpose
from ..oracles.matrix_derivatives import product
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

N = algebra.N
PERIOD, BATCH = 3, 7  # matrices that differ; matrices in a batch
# A backward stable factorisation is exact for A + E, |E| <= c n u |A| (Higham §10.3, §19.3, §20.3); 16 n is far above
# the c of 4 x 4 matrices. How far E carries is in each problem's `size`: norms of all factors times the condition.
BOUND = 16.0 * N


@dataclass
class Problem:
    """One matrix function at one point.

    Attributes:
        inputs: matrices.
        output: what the function gives.
        gradients: of <upstream, output> by each input.
        upstream: gradient by the output.
        size: how large what cancels may be, times the condition.
    """

    inputs: list[Matrix]
    output: Matrix
    upstream: Matrix
    gradients: list[Matrix]
    size: float


def _integers(rng: random.Random, rows: int, columns: int) -> Matrix:
    return [[float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(columns)] for _ in range(rows)]


def _inverse(rng: random.Random) -> Problem:
    a, x, _ = algebra.invertible(rng)
    g = _integers(rng, N, N)
    return Problem([a], x, g, [rules.inverse(x, g)], rules.norm(x) ** 3 * rules.norm(a) * rules.norm(g))


def _right(rng: random.Random) -> Problem:
    """X A = B: dB = G A^-T, dA = -X^T dB."""
    a, i, _ = algebra.invertible(rng)
    x, g = _integers(rng, 2, N), _integers(rng, 2, N)
    by_b = product(g, transpose(i))
    by_a = rules.scaled(product(transpose(x), by_b), -1.0)
    size = rules.norm(i) ** 2 * rules.norm(a) * rules.norm(g) * rules.norm(x)
    return Problem([a, product(x, a)], x, g, [by_a, by_b], size)


def _cholesky(rng: random.Random) -> Problem:
    low = product(algebra.unit_lower(rng), diagonal([float(rng.randint(1, 3)) for _ in range(N)]))
    unit = [[v / low[j][j] for j, v in enumerate(row)] for row in low]
    back = [[v / low[i][i] for v in row] for i, row in enumerate(algebra.inverse_unit_lower(unit))]
    g = [[v if j <= i else 0.0 for j, v in enumerate(row)] for i, row in enumerate(_integers(rng, N, N))]
    size = rules.norm(low) ** 3 * rules.norm(back) ** 4 * rules.norm(g)
    return Problem([product(low, transpose(low))], low, g, [rules.cholesky(low, back, g)], size)


def _symmetric(rng: random.Random) -> tuple[Matrix, list[float], Matrix]:
    """A = V diag(w) V^T with w ascending."""
    v, w = algebra.orthogonal(rng), algebra.spectrum(rng)[::-1]
    return v, w, product(v, diagonal(w), transpose(v))


def _eigenvectors(rng: random.Random) -> Problem:
    """Use the projectors v v^T of each vector: they do not know its sign."""
    v, w, a = _symmetric(rng)
    weights = [rules.symmetric(_integers(rng, N, N)) for _ in range(N)]
    by_value = [float(rng.randint(1, 4)) for _ in range(N)]
    columns = transpose(v)
    found = [[p * q for p in c for q in c] for c in columns]
    output = [[*w], *([row[i : i + N] for row in found for i in range(0, N * N, N)])]
    upstream = [by_value, *(row for weight in weights for row in weight)]
    # The gaps are at least 1; a projector's derivative is moved by E / gap.
    return Problem([a], output, upstream, [rules.projectors(v, w, by_value, weights)], 32.0 * rules.norm(a))


def _polar(rng: random.Random) -> Problem:
    u, v, s = algebra.orthogonal(rng), algebra.orthogonal(rng), algebra.spectrum(rng)
    g = _integers(rng, N, N)
    a = product(u, diagonal(s), v)
    return Problem([a], product(u, v), g, [rules.polar(u, s, v, g)], rules.norm(g) * rules.norm(a))


def _singular(rng: random.Random) -> Problem:
    """The gradient of a singular value is u v^T."""
    u, v, s = algebra.orthogonal(rng), algebra.orthogonal(rng), algebra.spectrum(rng)
    g = [[float(rng.randint(1, 4)) for _ in s]]
    a = product(u, diagonal(s), v)
    return Problem([a], [s], g, [product(u, diagonal(g[0]), v)], 8.0 * rules.norm(a))


def _qr(rng: random.Random) -> Problem:
    """Q and R side by side, signs by R's diagonal."""
    q = algebra.orthogonal(rng)
    unit, scale = transpose(algebra.unit_lower(rng)), [float(rng.randint(1, 3)) for _ in range(N)]
    r = product(diagonal(scale), unit)
    back = product(transpose(algebra.inverse_unit_lower(transpose(unit))), diagonal([1 / s for s in scale]))
    g_q, g_r = _integers(rng, N, N), _integers(rng, N, N)
    g_r = [[v if j >= i else 0.0 for j, v in enumerate(row)] for i, row in enumerate(g_r)]
    gradient = rules.qr(q, back, r, g_q, g_r)
    size = rules.norm(r) ** 2 * rules.norm(back) ** 2 * (rules.norm(g_q) + rules.norm(g_r))
    both = [a + b for a, b in zip(q, r)]
    return Problem([product(q, r)], both, [a + b for a, b in zip(g_q, g_r)], [gradient], size)


def _tall(rng: random.Random) -> tuple[Matrix, Matrix, Matrix]:
    """A = Q [R; 0] with four rows and three columns: A, (A^T A)^-1 and a vector that A^T sends to 0."""
    n = N - 1
    unit = [row[:n] for row in transpose(algebra.unit_lower(rng))[:n]]
    q = algebra.orthogonal(rng)
    a = product([row[:n] for row in q], unit)
    full = [[*row, 0.0] for row in transpose(unit)] + [[0.0] * n + [1.0]]
    inverse = [row[:n] for row in algebra.inverse_unit_lower(full)[:n]]
    return a, product(transpose(inverse), inverse), [[row[n]] for row in q]


def _least_squares(rng: random.Random) -> Problem:
    a, gram, normal = _tall(rng)
    x, g = _integers(rng, N - 1, 2), _integers(rng, N - 1, 2)
    residual = product(normal, _integers(rng, 1, 2))
    b = rules.combine(product(a, x), residual)
    gradients = [*rules.least_squares(a, gram, x, residual, g)]
    size = rules.norm(gram) ** 2 * rules.norm(a) ** 3 * rules.norm(g) * (rules.norm(x) + rules.norm(residual))
    return Problem([a, b], x, g, gradients, size)


def _pseudo_inverse(rng: random.Random) -> Problem:
    a, gram, _ = _tall(rng)
    g = _integers(rng, N - 1, N)
    x = product(gram, transpose(a))
    size = rules.norm(gram) ** 2 * rules.norm(a) ** 2 * rules.norm(g)
    return Problem([a], x, g, [rules.pseudo_inverse(a, gram, g)], size)


def _exponential(scale: float) -> Callable[[random.Random], Problem]:
    def make(rng: random.Random) -> Problem:
        a = [[scale * v / 16 for v in row] for row in _integers(rng, N, N)]
        g = _integers(rng, N, N)
        output = rules.exponential(a)
        # Its condition is at most |A| exp(|A|) / |exp A| (Higham, Functions of Matrices, §10.2).
        size = rules.norm(rules.exponential([[abs(v) for v in row] for row in a])) * (1 + rules.norm(a)) ** 2
        return Problem([a], output, g, [rules.exponential_gradient(a, g)], size * rules.norm(g))

    return make


def _power(rng: random.Random) -> Problem:
    """A^-2: the inverse twice."""
    a, x, _ = algebra.invertible(rng)
    g = _integers(rng, N, N)
    back = rules.combine(product(transpose(x), g), product(g, transpose(x)))
    size = rules.norm(x) ** 4 * rules.norm(a) * rules.norm(g)
    return Problem([a], product(x, x), g, [rules.inverse(x, back)], size)


def _signed(torch: Any, q: Any, r: Any) -> Any:
    signs = r.detach().diagonal(dim1=-2, dim2=-1).sign()
    return torch.cat((q * signs[:, None, :], r * signs[:, :, None]), -1)


def _vectors(torch: Any, values: Any, vectors: Any) -> Any:
    columns = vectors.mT.unsqueeze(-1)
    return torch.cat((values.unsqueeze(-2), (columns * columns.mT).flatten(-3, -2)), -2)


def _unitary(parts: Any) -> Any:
    return parts[0] @ parts[2]


# name: (problem, call, symmetric: the gradient counts up to what is antisymmetric)
ROWS: dict[str, tuple[Callable[[random.Random], Problem], Callable[..., Any], bool]] = {
    "inv": (_inverse, lambda t, a: t.linalg.inv(a), False),
    "inverse": (_inverse, lambda _, a: a.inverse(), False),
    "solve_right": (_right, lambda t, a, b: t.linalg.solve(a, b, left=False), False),
    "cholesky": (_cholesky, lambda t, a: t.linalg.cholesky(a), True),
    "cholesky_upper": (_cholesky, lambda t, a: t.linalg.cholesky(a, upper=True).mT, True),
    "eigh": (_eigenvectors, lambda t, a: _vectors(t, *t.linalg.eigh(a)), True),
    "svd": (_polar, lambda t, a: _unitary(t.linalg.svd(a)), False),
    "svd_thin": (_polar, lambda t, a: _unitary(t.linalg.svd(a, full_matrices=False)), False),
    "svdvals": (_singular, lambda t, a: t.linalg.svdvals(a).unsqueeze(-2), False),
    "qr": (_qr, lambda t, a: _signed(t, *t.linalg.qr(a)), False),
    "lstsq": (_least_squares, lambda t, a, b: t.linalg.lstsq(a, b).solution, False),
    "pinv": (_pseudo_inverse, lambda t, a: t.linalg.pinv(a), False),
    "matrix_exp_small": (_exponential(0.125), lambda t, a: t.linalg.matrix_exp(a), False),
    "matrix_exp": (_exponential(2.0), lambda t, a: t.linalg.matrix_exp(a), False),
    "matrix_exp_large": (_exponential(16.0), lambda t, a: t.linalg.matrix_exp(a), False),
    "matrix_power": (_power, lambda t, a: t.linalg.matrix_power(a, -2), False),
}


def _stack(context: Context, matrices: list[Matrix], grad: bool = True) -> Any:
    made = context.tensor([matrices[i % PERIOD] for i in range(BATCH)])
    return made.requires_grad_() if grad else made


@check(
    oracle="the gradient's formula in float64, at matrices whose factors are known",
    dtypes=("float64",),
    more=("float32",),
    each=ROWS,
)
def differentiates(context: Context, row: Any) -> None:
    """The result of {row} and its gradient by each matrix are those of its formula."""
    make, call, even = row
    torch, rng = context.torch, context.rng()
    problems = [make(rng) for _ in range(PERIOD)]
    inputs = [_stack(context, [p.inputs[i] for p in problems]) for i in range(len(problems[0].inputs))]
    with precision.full(torch), trajectory.one_thread(torch):
        output = call(torch, *inputs)
        given = _stack(context, [p.upstream for p in problems], grad=False)
        found = torch.autograd.grad(output, inputs, given)
    _judge(context, output, [p.output for p in problems], problems, "result")
    for i, by in enumerate(found):
        shown = (by + by.mT) / 2 if even else by
        _judge(context, shown, [p.gradients[i] for p in problems], problems, f"gradient by matrix {i + 1}")


def _judge(context: Context, got: Any, right: list[Matrix], problems: list[Problem], what: str) -> None:
    flat = [[v for line in matrix for v in line] for matrix in right]
    sizes = [[p.size] * len(values) for p, values in zip(problems, flat)]
    chosen = [i % PERIOD for i in range(BATCH)]
    context.close(
        got,
        [v for i in chosen for v in flat[i]],
        cancel=[v for i in chosen for v in sizes[i]],
        bound=BOUND * passes.allowance(context),
        what=what,
    )
