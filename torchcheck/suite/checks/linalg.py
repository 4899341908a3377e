"""Linear algebra, Fourier transforms and complex numbers, on problems with known answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import linear_algebra as oracle
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context
    from ..oracles.linear_algebra import Matrix

EXACT = "matrices built from integer triangles and Hadamard matrices, whose factors are known"
PERIOD, BATCH = 5, 65  # matrices that differ; matrices, for a thousand elements
# Gaussian elimination and Householder's method err by at most a small multiple of n u times what is passed as
# magnitude (Higham §9.3, §19.3); 8 n is far above what a sound LAPACK does on 4 x 4.
BOUND = 8.0 * oracle.N


def _flat(matrices: Sequence[Matrix]) -> list[float]:
    return [v for matrix in matrices for row in matrix for v in row]


def _batch(context: Context, matrices: Sequence[Matrix]) -> Any:
    rows, columns = len(matrices[0]), len(matrices[0][0])
    return passes.tiled(context, _flat(matrices), BATCH * rows * columns).reshape(BATCH, rows, columns)


def _judge(context: Context, got: Any, right: Sequence[Matrix], size: Sequence[Matrix], what: str) -> None:
    passes.judge_period(context, got, _flat(right), cancel=_flat(size), bound=BOUND, what=what)


def _sandwich(a: Matrix, inverse: Matrix, x: Matrix) -> Matrix:
    """|A^-1| |A| |X|: how far rounding may carry the solution X of A X = B (Skeel)."""
    return oracle.matmul(oracle.magnitude(inverse), oracle.matmul(oracle.magnitude(a), oracle.magnitude(x)))


@check(oracle=EXACT, level="quick", dtypes=FLOATS[:2])
def solves(context: Context) -> None:
    """solve, inv, det and the LU routines find the known answers, and their gradients."""
    torch, rng = context.torch, context.rng()
    drawn = [oracle.invertible(rng) for _ in range(PERIOD)]
    x, g = ([_integers(rng, 3) for _ in drawn] for _ in "xg")
    b = [oracle.matmul(a, part) for (a, _, _), part in zip(drawn, x)]
    matrices, inverses = [a for a, _, _ in drawn], [i for _, i, _ in drawn]
    size = [_sandwich(a, i, part) for (a, i, _), part in zip(drawn, x)]
    left, right = _batch(context, matrices), _batch(context, b)
    with precision.full(torch):
        output, (by_a, by_b) = passes.backward(context, torch.linalg.solve, [left, right], _flat(g))
        # dB = A^-T G, dA = -dB X^T (Giles 2008)
        back = [oracle.matmul(oracle.transpose(i), part) for i, part in zip(inverses, g)]
        back_size = [_sandwich(oracle.transpose(a), oracle.transpose(i), part) for (a, i, _), part in zip(drawn, back)]
        _judge(context, output, x, size, "solution")
        _judge(context, by_b, back, back_size, "solve: gradient by the right side")
        crossed = [oracle.matmul([[-v for v in row] for row in p], oracle.transpose(q)) for p, q in zip(back, x)]
        cross = [oracle.matmul(oracle.magnitude(p), oracle.transpose(q)) for p, q in zip(back_size, map(_add, size, x))]
        _judge(context, by_a, crossed, cross, "solve: gradient by the matrix")
        factors = torch.linalg.lu_factor(left)
        _judge(context, torch.linalg.lu_solve(*factors, right), x, size, "lu_solve")
        identity = [_sandwich(a, i, i) for a, i, _ in drawn]
        _judge(context, torch.linalg.inv(left), inverses, identity, "inverse")
        output, (by_a,) = passes.backward(context, torch.linalg.det, [left])
        passes.judge_period(context, output, [d for _, _, d in drawn], bound=BOUND, cancel=64.0, what="determinant")
        cofactors = [[[d * v for v in row] for row in oracle.transpose(i)] for _, i, d in drawn]
        _judge(
            context, by_a, cofactors, [_scaled(oracle.transpose(s), 16.0) for s in identity], "determinant: gradient"
        )
        _, (by_a,) = passes.backward(context, lambda t: torch.linalg.slogdet(t)[1], [left])
        _judge(
            context,
            by_a,
            [oracle.transpose(i) for i in inverses],
            [oracle.transpose(s) for s in identity],
            "log of det: gradient",
        )
        sign, log = torch.linalg.slogdet(left)
        passes.judge_period(context, sign, [math.copysign(1, d) for _, _, d in drawn], bound=0.0, what="sign of det")
        passes.judge_period(
            context, log, [math.log(abs(d)) for _, _, d in drawn], bound=BOUND, cancel=16.0, what="log of det"
        )


def _integers(rng: Any, columns: int) -> Matrix:
    return [[float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(columns)] for _ in range(oracle.N)]


def _scaled(a: Matrix, factor: float) -> Matrix:
    return [[factor * v for v in row] for row in a]


def _add(a: Matrix, b: Matrix) -> Matrix:
    return [[p + abs(q) for p, q in zip(*rows)] for rows in zip(a, b)]


@check(oracle=EXACT, dtypes=("float32",), more=("float64",))
def triangles(context: Context) -> None:
    """Cholesky, triangular solves and QR give the factors the matrices were built from."""
    torch, rng = context.torch, context.rng()
    lows = [
        oracle.matmul(oracle.unit_lower(rng), oracle.diagonal([float(rng.randint(1, 3)) for _ in range(oracle.N)]))
        for _ in range(PERIOD)
    ]
    x = [_integers(rng, 2) for _ in lows]
    full = [oracle.matmul(low, oracle.transpose(low)) for low in lows]
    flat = [[[25.0] * oracle.N for _ in range(oracle.N)] for _ in lows]
    with precision.full(torch):
        _judge(context, torch.linalg.cholesky(_batch(context, full)), lows, flat, "Cholesky factor")
        low, right = _batch(context, lows), _batch(context, [oracle.matmul(a, b) for a, b in zip(lows, x)])
        found = torch.linalg.solve_triangular(low, right, upper=False)
        wide = [[[25.0] * 2 for _ in range(oracle.N)] for _ in lows]
        _judge(context, found, x, wide, "triangular solution")
        both = _batch(context, [oracle.matmul(a, b) for a, b in zip(full, x)])
        inverses = [oracle.matmul(oracle.transpose(i), i) for i in map(_inverse_lower, lows)]
        whole = [_sandwich(a, i, part) for a, i, part in zip(full, inverses, x)]
        _judge(context, torch.cholesky_solve(both, low), x, whole, "cholesky_solve")
        turns = [oracle.orthogonal(rng) for _ in lows]
        ups = [oracle.transpose(a) for a in lows]
        q, r = torch.linalg.qr(_batch(context, [oracle.matmul(a, b) for a, b in zip(turns, ups)]))
        signs = r.diagonal(dim1=-2, dim2=-1).sign()
        _judge(context, q * signs[:, None, :], turns, flat, "Q, signs by R's diagonal")
        _judge(context, r * signs[:, :, None], ups, flat, "R, signs by its diagonal")


def _inverse_lower(a: Matrix) -> Matrix:
    """Invert L D with D its diagonal: D^-1 L^-1."""
    d = [a[i][i] for i in range(oracle.N)]
    unit = [[v / d[j] for j, v in enumerate(row)] for row in a]
    return [[v / d[i] for v in row] for i, row in enumerate(oracle.inverse_unit_lower(unit))]


@check(oracle=EXACT, dtypes=FLOATS[:2])
def spectra(context: Context) -> None:
    """eigh, eig, svd, pinv and lstsq find the known eigenvalues, singular values, vectors and solutions."""
    torch, rng = context.torch, context.rng()
    u, v = ([oracle.orthogonal(rng) for _ in range(PERIOD)] for _ in "uv")
    values = [oracle.spectrum(rng) for _ in u]
    symmetric = [oracle.matmul(oracle.matmul(p, oracle.diagonal(d)), oracle.transpose(p)) for p, d in zip(u, values)]
    general = [oracle.matmul(oracle.matmul(p, oracle.diagonal(d)), q) for p, d, q in zip(u, values, v)]
    flat = [[[16.0] * oracle.N for _ in range(oracle.N)] for _ in u]
    with precision.full(torch):
        ascending = [v for d in values for v in d[::-1]]
        output, (by_a,) = passes.backward(
            context, torch.linalg.eigvalsh, [_batch(context, symmetric)], _weights(PERIOD)
        )
        passes.judge_period(context, output, ascending, bound=BOUND, cancel=16.0, what="eigenvalues")
        # The derivative of an eigenvalue is the projector on its vector.
        back = [oracle.matmul(oracle.matmul(p, oracle.diagonal([4.0, 3.0, 2.0, 1.0])), oracle.transpose(p)) for p in u]
        mean = (by_a + by_a.mT) / 2
        _judge(context, mean, back, flat, "eigenvalues: gradient")
        found, vectors = torch.linalg.eigh(_batch(context, symmetric))
        passes.judge_period(context, found, ascending, bound=BOUND, cancel=16.0, what="eigenvalues of eigh")
        back_again = vectors @ found.diag_embed() @ vectors.mT
        _judge(context, back_again, symmetric, flat, "V diag(w) V^T")
        left, s, right = torch.linalg.svd(_batch(context, general))
        passes.judge_period(
            context, s, [x for d in values for x in d], bound=BOUND, cancel=16.0, what="singular values"
        )
        _judge(context, left @ s.diag_embed() @ right, general, flat, "U diag(s) V^T")
        inverse = [
            oracle.matmul(oracle.matmul(oracle.transpose(q), oracle.diagonal([1 / x for x in d])), oracle.transpose(p))
            for p, d, q in zip(u, values, v)
        ]
        _judge(context, torch.linalg.pinv(_batch(context, general)), inverse, flat, "pseudo-inverse")
        x = [_integers(rng, 2) for _ in u]
        tall = [oracle.matmul(a, b) for a, b in zip(general, x)]
        solution = torch.linalg.lstsq(_batch(context, general), _batch(context, tall)).solution
        _judge(context, solution, x, [[[400.0] * 2 for _ in range(oracle.N)] for _ in u], "least squares")
        loose = torch.linalg.eigvals(_batch(context, symmetric))
        passes.judge_period(context, loose.real.sort(-1)[0], ascending, bound=4 * BOUND, cancel=16.0, what="eigvals")


def _weights(count: int) -> list[float]:
    return [1.0, 2.0, 3.0, 4.0] * count


@check(oracle="integer powers and nilpotent matrices, whose series end", dtypes=("float32",), more=("float64",))
def powers(context: Context) -> None:
    """matrix_power, matrix_exp, trace and cross products are those of integers."""
    torch, rng = context.torch, context.rng()
    drawn = [_integers(rng, oracle.N) for _ in range(PERIOD)]
    cubes = [oracle.matmul(a, oracle.matmul(a, a)) for a in drawn]
    got = torch.linalg.matrix_power(_batch(context, drawn), 3)
    passes.judge_period(context, got, _flat(cubes), bound=0.0, what="third power")
    strict = [[[v if j > i else 0.0 for j, v in enumerate(row)] for i, row in enumerate(a)] for a in drawn]
    # P N P^-1 / 8 with N strictly triangular: its cube is the last power, and its exponential has few zeros.
    lows = [oracle.unit_lower(rng) for _ in strict]
    strict = [
        _scaled(oracle.matmul(oracle.matmul(p, a), oracle.inverse_unit_lower(p)), 0.125) for p, a in zip(lows, strict)
    ]
    identity = oracle.diagonal([1.0] * oracle.N)
    right, size = [], []
    for a in strict:
        second, third = oracle.matmul(a, a), oracle.matmul(a, oracle.matmul(a, a))
        parts = list(zip(identity, a, second, third))
        right.append([[i + x + y / 2 + z / 6 for i, x, y, z in zip(*rows)] for rows in parts])
        most = max(abs(v) for part in (a, second, third) for row in part for v in row)
        size.append([[most + most**2 + most**3] * oracle.N for _ in range(oracle.N)])
    _judge(context, torch.linalg.matrix_exp(_batch(context, strict)), right, size, "exponential")
    positive = [[v + 9 for v in row] for row in drawn[0]]
    context.exact(torch.trace(context.tensor(positive)), [sum(positive[i][i] for i in range(oracle.N))], what="trace")
    p, q = ([float(v) for v in rng.choices(range(-5, 6), k=3)] for _ in "pq")
    crossed = [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]]
    copies = 347
    first, second = (passes.tiled(context, part, 3 * copies).reshape(copies, 3) for part in (p, q))
    got = torch.linalg.cross(first, second)
    passes.judge_period(context, got, crossed, bound=0.0, what="cross product")


@check(oracle="the discrete Fourier sum by definition", dtypes=("float32",), more=("float64",))
def fourier(context: Context) -> None:
    """FFTs of every kind of length, their inverses and gradients, are the discrete Fourier sum."""
    torch, rng = context.torch, context.rng()
    for n in (8, 12, 15, 17, 64):
        x = [complex(rng.randint(-9, 9), rng.randint(-9, 9)) for _ in range(n)]
        size, copies = 13.0 * n, 1 + 1031 // n
        given = torch.view_as_complex(passes.tiled(context, _parts(x), 2 * n * copies).reshape(copies, n, 2))
        bound = 4.0 + 2 * math.log2(n)  # Higham §24.1: log2(n) times a small constant, in the 2-norm
        _judge_complex(context, torch.fft.fft(given), oracle.fourier(x), size, bound, f"fft of {n}")
        back = [v / n for v in oracle.fourier(x, 1)]
        _judge_complex(context, torch.fft.ifft(given), back, 13.0, bound, f"ifft of {n}")
        real = [v.real for v in x]
        half = oracle.fourier(real)[: n // 2 + 1]
        rows = passes.tiled(context, real, n * copies).reshape(copies, n)
        _judge_complex(context, torch.fft.rfft(rows), half, size, bound, f"rfft of {n}")
        again = torch.fft.irfft(torch.fft.rfft(rows), n)
        passes.judge_period(context, again, real, bound=2 * bound, cancel=13.0, what=f"irfft of rfft of {n}")
        g = [rng.choice((-1.0, 2.0)) for _ in range(2 * len(half))]
        _, (by_x,) = passes.backward(context, lambda t: torch.view_as_real(torch.fft.rfft(t)), [rows], g)
        ups = [complex(a, b) for a, b in zip(g[::2], g[1::2])] + [0j] * (n - len(half))
        passes.judge_period(
            context,
            by_x,
            [v.real for v in oracle.fourier(ups, 1)],
            bound=bound,
            cancel=3.0 * n,
            what=f"rfft of {n}: gradient",
        )
    grid = [[complex(rng.randint(-9, 9)) for _ in range(6)] for _ in range(5)]
    lines = [oracle.fourier(row) for row in grid]
    both = list(zip(*(oracle.fourier(column) for column in zip(*lines))))
    got = torch.fft.fft2(context.tensor([[v.real for v in row] for row in grid]))
    _judge_complex(context, got, [v for row in both for v in row], 400.0, 16.0, "fft2")


def _parts(x: Sequence[complex]) -> list[float]:
    return [part for v in x for part in (v.real, v.imag)]


def _judge_complex(context: Context, got: Any, right: Sequence[complex], size: float, bound: float, what: str) -> None:
    numbers = context.torch.view_as_real(got)
    passes.judge_period(context, numbers, _parts(right), bound=bound, cancel=size, what=what)


@check(oracle="Python's complex numbers", dtypes=("float32",), more=("float64",))
def complex_numbers(context: Context) -> None:
    """Complex arithmetic is Python's, and its gradients are the conjugate derivatives that torch documents."""
    torch, rng = context.torch, context.rng()
    count, copies = 31, 34
    x, y = ([complex(rng.randint(1, 9), rng.randint(-9, -1)) for _ in range(count)] for _ in "xy")
    first, second = (
        torch.view_as_complex(passes.tiled(context, _parts(part), 2 * count * copies).reshape(-1, 2)) for part in (x, y)
    )
    for what, got, right in (
        ("sum", first + second, [a + b for a, b in zip(x, y)]),
        ("product", first * second, [a * b for a, b in zip(x, y)]),
        ("quotient", first / second, [a / b for a, b in zip(x, y)]),
        ("conjugate", first.conj().resolve_conj(), [a.conjugate() for a in x]),
        ("exponential", torch.exp(first / 8), [_exp(a / 8) for a in x]),
    ):
        _judge_complex(context, got, right, 200.0, 8.0, what)
    passes.judge_period(context, first.abs(), [abs(a) for a in x], bound=8.0, what="magnitude")
    passes.judge_period(
        context, first.angle(), [math.atan2(a.imag, a.real) for a in x], bound=8.0, cancel=1.0, what="angle"
    )
    leaf = first.detach().requires_grad_()
    (leaf * second).real.sum().backward()
    _judge_complex(context, leaf.grad, [b.conjugate() for b in y], 1.0, 4.0, "gradient of the real part of a product")
    left = [[a, b] for a, b in zip(x[:4], y[:4])]
    product = [[sum(p * q for p, q in zip(row, column)) for column in zip(*left)] for row in zip(*left)]
    held = torch.view_as_complex(context.tensor([_parts(row) for row in left]).reshape(4, 2, 2))
    _judge_complex(context, held.t() @ held, [v for row in product for v in row], 800.0, 8.0, "matrix product")


def _exp(z: complex) -> complex:
    return complex(math.exp(z.real) * math.cos(z.imag), math.exp(z.real) * math.sin(z.imag))
