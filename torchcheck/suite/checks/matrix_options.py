"""What the options of linear algebra and of Fourier transforms mean: triangles, sides, orders, shapes, norms."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..oracles import linear_algebra as algebra
from ..oracles.linear_algebra import diagonal, matmul, transpose
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..context import Context
    from ..oracles.linear_algebra import Matrix

N = algebra.N
EXACT = "matrices built from integer triangles and Hadamard matrices, whose factors are known"
# Backward stable routines on 4 x 4 matrices err by a few n u times what `cancel` says (Higham §9.3, §19.3).
BOUND = 16.0 * N


def _integers(rng: Any, rows: int, columns: int) -> Matrix:
    return [[float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(columns)] for _ in range(rows)]


def _flat(a: Matrix) -> list[float]:
    return [v for row in a for v in row]


def _close(context: Context, got: Any, right: Sequence[float], what: str, size: float = 256.0) -> None:
    context.close(got, right, bound=BOUND * passes.allowance(context), cancel=size, what=what)


@check(oracle=EXACT, dtypes=("float64",), more=("float32",))
@trajectory.unthreaded
def triangles(context: Context) -> None:
    """Upper, lower, left, right and unit options read the triangle that they name and nothing else."""
    torch, rng = context.torch, context.rng()
    for upper, left, unit in itertools.product((False, True), repeat=3):
        scale = [1.0 if unit else float(rng.choice((-2, 1, 2))) for _ in range(N)]
        a = matmul(algebra.unit_lower(rng), diagonal(scale))
        a = transpose(a) if upper else a
        x = _integers(rng, N, 2) if left else _integers(rng, 2, N)
        b = matmul(a, x) if left else matmul(x, a)
        # What must not be read holds numbers that would show.
        held = [
            [5.0 + i - j if (j < i if upper else j > i) or (unit and i == j) else v for j, v in enumerate(row)]
            for i, row in enumerate(a)
        ]
        options = {"upper": upper, "left": left, "unitriangular": unit}
        got = torch.linalg.solve_triangular(context.tensor(held), context.tensor(b), **options)
        _close(context, got, _flat(x), f"solve_triangular {options}", 4096.0)
    v, w = algebra.orthogonal(rng), algebra.spectrum(rng)[::-1]
    full = matmul(matmul(v, diagonal(w)), transpose(v))
    low = matmul(algebra.unit_lower(rng), diagonal([float(rng.randint(1, 3)) for _ in range(N)]))
    positive = matmul(low, transpose(low))
    for upper in (False, True):
        name, factor = ("U", transpose(low)) if upper else ("L", low)
        half = [[x if (j >= i if upper else j <= i) else 7.0 for j, x in enumerate(row)] for i, row in enumerate(full)]
        _close(context, torch.linalg.eigvalsh(context.tensor(half), UPLO=name), w, f"eigvalsh, UPLO={name}")
        found, vectors = torch.linalg.eigh(context.tensor(half), UPLO=name)
        _close(context, found, w, f"eigh, UPLO={name}")
        _close(context, vectors.abs(), [abs(x) for x in _flat(v)], f"vectors of eigh, UPLO={name}")
        got = torch.linalg.cholesky(context.tensor(positive), upper=upper)
        _close(context, got, _flat(factor), f"cholesky, upper={upper}", 4096.0)
        x = _integers(rng, N, 2)
        args = (context.tensor(matmul(positive, x)), context.tensor(factor), upper)
        _close(context, torch.cholesky_solve(*args), _flat(x), f"cholesky_solve, upper={upper}", 1e6)
        eye = torch.cholesky_inverse(context.tensor(factor), upper=upper) @ context.tensor(positive)
        _close(context, eye, _flat(diagonal([1.0] * N)), f"cholesky_inverse, upper={upper}", 1e6)


@check(oracle=EXACT, dtypes=("float64",), more=("float32",))
@trajectory.unthreaded
def sides(context: Context) -> None:
    """solve, lu and qr take vectors, batches that broadcast, the right side, and all shapes of factors."""
    torch, rng = context.torch, context.rng()
    drawn = [algebra.invertible(rng) for _ in range(3)]
    matrices = context.tensor([a for a, _, _ in drawn])
    x = [_integers(rng, N, 2) for _ in range(2)]
    b = [[matmul(a, part) for part in x] for a, _, _ in drawn]
    got = torch.linalg.solve(matrices[:, None], context.tensor(b))
    _close(context, got, [v for _ in drawn for part in x for v in _flat(part)], "solve, broadcast", 4096.0)
    a, inverse, det = drawn[0]
    one = matrices[0]
    vector = [row[0] for row in x[0]]
    right = [row[0] for row in b[0][0]]
    _close(context, torch.linalg.solve(one, context.tensor(right)), vector, "solve, one vector", 4096.0)
    wide = matmul(transpose(x[0]), a)
    got = torch.linalg.solve(one, context.tensor(wide), left=False)
    _close(context, got, _flat(transpose(x[0])), "solve, left=False", 4096.0)
    square = _integers(rng, N, N)
    got = torch.linalg.solve(one, context.tensor(matmul(square, a)), left=False)
    _close(context, got, _flat(square), "solve, left=False, square", 4096.0)
    factors = torch.linalg.lu_factor(one)
    for name, given, options in (
        ("", matmul(a, x[0]), {}),
        ("adjoint", matmul(transpose(a), x[0]), {"adjoint": True}),
    ):
        got = torch.linalg.lu_solve(*factors, context.tensor(given), **options)
        _close(context, got, _flat(x[0]), f"lu_solve {name}", 4096.0)
    p, low, up = torch.linalg.lu(one)
    _close(context, p @ low @ up, _flat(a), "P L U")
    _close(context, torch.lu_unpack(*factors)[0] @ low @ up, _flat(a), "lu_unpack")
    _close(context, torch.linalg.det(matrices), [d for _, _, d in drawn], "determinants with exchanged rows", 4096.0)
    turned = context.tensor([a[1], a[0], *a[2:]])
    _close(context, torch.linalg.det(turned), [-det], "determinant after an exchange", 4096.0)
    context.exact(torch.linalg.slogdet(turned)[0], math.copysign(1.0, -det), what="its sign")
    twice = matmul(inverse, inverse)
    _close(context, torch.linalg.matrix_power(one, -2), _flat(twice), "matrix_power(-2)", 1e5)
    _close(context, torch.linalg.inv_ex(one)[0], _flat(inverse), "inv_ex", 4096.0)
    tensor = torch.linalg.tensorsolve(one.reshape(2, 2, 4), context.tensor(right).reshape(2, 2))
    _close(context, tensor, vector, "tensorsolve", 4096.0)
    _close(context, torch.linalg.tensorinv(one.reshape(2, 2, 4), 2), _flat(inverse), "tensorinv", 4096.0)


@check(oracle=EXACT, dtypes=("float64",), more=("float32",))
@trajectory.unthreaded
def factors(context: Context) -> None:
    """svd, qr, pinv, lstsq, rank, condition and norms of tall, wide and deficient matrices are right in every mode."""
    torch, rng = context.torch, context.rng()
    u, v, s = algebra.orthogonal(rng), algebra.orthogonal(rng), algebra.spectrum(rng)
    square = matmul(matmul(u, diagonal(s)), v)
    tall = matmul([row[:2] for row in u], matmul(diagonal(s[:2]), [row[:2] for row in v[:2]]))
    core = matmul(transpose(tall), tall)
    for name, a in (("tall", tall), ("wide", transpose(tall))):
        x = context.tensor(a)
        rows, columns = len(a), len(a[0])
        for full in (True, False):
            left, values, right = torch.linalg.svd(x, full_matrices=full)
            sides = [rows, rows if full else 2, columns if full else 2, columns]
            context.exact([*left.shape, *right.shape], sides, what=f"shapes of svd, {name}, full_matrices={full}")
            _close(context, left[:, :2] * values @ right[:2], _flat(a), f"U S V, {name}, full_matrices={full}")
            eye = left.mT @ left
            _close(context, eye, _flat(diagonal([1.0] * sides[1])), f"U^T U, {name}, full_matrices={full}")
        for mode in ("reduced", "complete"):
            q, r = torch.linalg.qr(x, mode=mode)
            context.exact(
                q.shape[1], rows if mode == "complete" else min(rows, columns), what=f"columns of Q, {name}, {mode}"
            )
            _close(context, q @ r, _flat(a), f"Q R, {name}, {mode}")
            _close(context, q.mT @ q, _flat(diagonal([1.0] * q.shape[1])), f"Q^T Q, {name}, {mode}")
        r = torch.linalg.qr(x, mode="r")[1]
        small = core if name == "tall" else matmul(a and transpose(a), a)
        _close(context, r.mT @ r, _flat(small), f"R^T R, {name}, r", 1024.0)
    low = matmul(matmul([row[:3] for row in u], diagonal(s[:3])), v[:3])
    back = matmul(matmul(transpose(v[:3]), diagonal([1 / t for t in s[:3]])), transpose([row[:3] for row in u]))
    deficient = context.tensor(low)
    _close(context, torch.linalg.pinv(deficient, rtol=1e-3), _flat(back), "pinv of a deficient matrix")
    context.exact(torch.linalg.matrix_rank(deficient, rtol=1e-3), 3, what="matrix_rank")
    context.exact(torch.linalg.matrix_rank(context.tensor(square), atol=(s[0] + s[1]) / 2), 1, what="matrix_rank, atol")
    x = context.tensor(square)
    sums = [sum(map(abs, row)) for row in square]
    columns_ = [sum(map(abs, row)) for row in transpose(square)]
    for order, right in {
        "fro": math.sqrt(sum(t * t for t in s)),
        "nuc": sum(s),
        2: s[0],
        -2: s[-1],
        1: max(columns_),
        -1: min(columns_),
        math.inf: max(sums),
        -math.inf: min(sums),
    }.items():
        _close(context, torch.linalg.matrix_norm(x, order), [right], f"matrix_norm, {order}")
        _close(context, torch.linalg.norm(x, order), [right], f"norm, {order}")
        turned = torch.linalg.matrix_norm(x[:, None, :], order, dim=(2, 0))
        swapped = {1: max(sums), -1: min(sums), math.inf: max(columns_), -math.inf: min(columns_)}
        _close(context, turned, [swapped.get(order, right)], f"matrix_norm over (2, 0), {order}")  # type: ignore[call-overload]
    for order, right in (
        (None, s[0] / s[-1]),
        (2, s[0] / s[-1]),
        (-2, s[-1] / s[0]),
        ("nuc", sum(s) * sum(1 / t for t in s)),
    ):
        _close(context, torch.linalg.cond(x, order), [right], f"cond, {order}", 1024.0)
    flat = _flat(square)
    for order, right in {
        0: float(sum(t != 0 for t in flat)),
        1: sum(map(abs, flat)),
        3: sum(abs(t) ** 3 for t in flat) ** (1 / 3),
        -math.inf: min(map(abs, flat)),
    }.items():
        _close(context, torch.linalg.vector_norm(x, order), [right], f"vector_norm, {order}")


@check(oracle="products of integers, exact", dtypes=("float32",))
@trajectory.unthreaded
def contractions(context: Context) -> None:
    """einsum, tensordot, kron, multi_dot, inner, vander and broadcasting matmul add up the right products."""
    torch, rng = context.torch, context.rng()
    a, b, c = (_integers(rng, *shape) for shape in ((3, 4), (4, 3), (3, 3)))
    p, q, r = context.tensor(a), context.tensor(b), context.tensor(c)
    trace = [sum(c[i][i] for i in range(3))]
    product = matmul(a, b)
    for what, right in (
        ("ii", trace),
        ("ii->i", [c[i][i] for i in range(3)]),
        ("ij->ji", _flat(transpose(c))),
        ("ij->", [sum(_flat(c))]),
        ("ij->j", [sum(column) for column in zip(*c)]),
    ):
        context.exact(torch.einsum(what, r), right, what=f"einsum {what}")
    for what, x, y, right in (
        ("ij,jk->ik", p, q, _flat(product)),
        ("ij,jk->ki", p, q, _flat(transpose(product))),
        ("ij,jk", p, q, _flat(product)),
        ("ij,ji->i", p, q, [product[i][i] for i in range(3)]),
        ("ij,ji->", p, q, [sum(product[i][i] for i in range(3))]),
        ("ij,ij->ij", r, r.t(), [c[i][j] * c[j][i] for i in range(3) for j in range(3)]),
        (
            "ij,kl->ikjl",
            p[:2],
            q[:2],
            [a[i][j] * b[k][m] for i in range(2) for k in range(2) for j in range(4) for m in range(3)],
        ),
        ("...j,jk->...k", p, q, _flat(product)),
    ):
        context.exact(torch.einsum(what, x, y), right, what=f"einsum {what} of two")
    chain = _flat(matmul(matmul(a, b), c))
    context.exact(torch.einsum("ij,jk,kl->il", p, q, r), chain, what="einsum of three")
    context.exact(torch.linalg.multi_dot([p, q, r]), chain, what="multi_dot")
    context.exact(
        torch.chain_matmul(p, q, r) if hasattr(torch, "chain_matmul") else r,
        chain if hasattr(torch, "chain_matmul") else _flat(c),
        what="chain_matmul",
    )
    context.exact(torch.tensordot(p, q, 1), _flat(product), what="tensordot over one dim")
    context.exact(
        torch.tensordot(p, q, ([0], [1])), _flat(matmul(transpose(a), transpose(b))), what="tensordot over named dims"
    )
    context.exact(
        torch.tensordot(p, q.t(), 2),
        [sum(x * y for x, y in zip(_flat(a), _flat(transpose(b))))],
        what="tensordot over two dims",
    )
    context.exact(
        torch.kron(p, r),
        [a[i][j] * c[k][m] for i in range(3) for k in range(3) for j in range(4) for m in range(3)],
        what="kron",
    )
    context.exact(torch.inner(p, q.t()), _flat(product), what="inner")
    context.exact(torch.outer(p[0], q[:, 0]), [x * row[0] for x in a[0] for row in b], what="outer")
    context.exact(torch.linalg.vecdot(p, q.t()), [product[i][i] for i in range(3)], what="vecdot")
    context.exact(torch.linalg.vander(p[0], N=3), [x**k for x in a[0] for k in range(3)], what="vander")
    for shapes in (
        ((2, 1, 3, 4), (4, 3)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((3, 4), (2, 5, 4, 3)),
        ((2, 1, 3, 4), (1, 5, 4, 3)),
        ((4,), (4,)),
        ((2, 2, 3, 4), (2, 2, 4, 3)),
        ((1, 4), (4, 1)),
    ):
        _matmul(context, rng, *shapes)


def _matmul(context: Context, rng: Any, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Compare a broadcasting matmul, by function and by operator, with its forward and backward sums."""
    torch = context.torch
    x, y = ([float(rng.randint(-4, 4)) for _ in range(math.prod(shape))] for shape in (first, second))
    left = first if len(first) > 1 else (1, *first)
    right = second if len(second) > 1 else (*second, 1)
    batch = torch.broadcast_shapes(left[:-2], right[:-2])
    n, k, m = left[-2], left[-1], right[-1]
    g = [float(rng.randint(-3, 3)) for _ in range(math.prod(batch) * n * m)]
    out, by_x, by_y = [0.0] * len(g), [0.0] * len(x), [0.0] * len(y)
    for number, where in enumerate(itertools.product(*map(range, batch))):
        i0, j0 = (_offset(where, shape[:-2]) * shape[-2] * shape[-1] for shape in (left, right))
        for i, j, t in itertools.product(range(n), range(m), range(k)):
            o, u, w = (number * n + i) * m + j, i0 + i * k + t, j0 + t * m + j
            out[o] += x[u] * y[w]
            by_x[u] += g[o] * y[w]
            by_y[w] += g[o] * x[u]
    inputs = [context.tensor(x).reshape(first), context.tensor(y).reshape(second)]
    for name, call in (("matmul", torch.matmul), ("@", lambda p, q: p @ q), ("Tensor.matmul", torch.Tensor.matmul)):
        got, (gx, gy) = passes.backward(context, call, inputs, g)
        context.exact(got, out, what=f"{name} of {first} and {second}")
        context.exact(gx, by_x, what=f"gradient by the left, {name} of {first} and {second}")
        context.exact(gy, by_y, what=f"gradient by the right, {name} of {first} and {second}")


def _offset(where: Sequence[int], shape: Sequence[int]) -> int:
    """Number a batch's matrix in an operand whose batch dims broadcast."""
    found = 0
    for i, size in zip(where[len(where) - len(shape) :], shape):
        found = found * size + (i if size > 1 else 0)
    return found


@check(oracle="weighted sums of integers in exact order", dtypes=("float64",), more=("float32",))
@trajectory.unthreaded
def covariances(context: Context) -> None:
    """cov and corrcoef follow their formula with correction, frequencies and weights."""
    torch, rng = context.torch, context.rng()
    x = _integers(rng, 3, 7)
    frequencies, weights = [rng.randint(1, 3) for _ in range(7)], [rng.choice((0.5, 1.0, 2.0)) for _ in range(7)]
    given = context.tensor(x)
    f, w = context.tensor(frequencies, dtype="int64"), context.tensor(weights)
    for correction, fs, ws in ((1, None, None), (0, None, None), (1, f, None), (1, None, w), (0, f, w)):
        share = [(1 if fs is None else p) * (1.0 if ws is None else q) for p, q in zip(frequencies, weights)]
        total = sum(share)
        means = [sum(p * v for p, v in zip(share, row)) / total for row in x]
        if ws is None:
            divisor = total - correction
        else:
            divisor = total - correction * sum(p * q for p, q in zip(share, weights)) / total
        right = [
            sum(p * (u - mu) * (v - mv) for p, u, v in zip(share, row, column)) / divisor
            for row, mu in zip(x, means)
            for column, mv in zip(x, means)
        ]
        got = torch.cov(given, correction=correction, fweights=fs, aweights=ws)
        _close(
            context, got, right, f"cov, correction={correction}, frequencies={fs is not None}, weights={ws is not None}"
        )
    plain = [sum(v) / 7 for v in x]
    centred = [[v - m for v in row] for row, m in zip(x, plain)]
    if all(any(row) for row in centred):
        sizes = [math.sqrt(sum(v * v for v in row)) for row in centred]
        right = [
            sum(map(float.__mul__, p, q)) / (a * b) for p, a in zip(centred, sizes) for q, b in zip(centred, sizes)
        ]
        _close(context, torch.corrcoef(given), right, "corrcoef", 16.0)


NORMS = {"backward": (0.0, 1.0), "ortho": (0.5, 0.5), "forward": (1.0, 0.0)}


@check(oracle="the discrete Fourier sum by definition", dtypes=("float32",), more=("float64",))
@trajectory.unthreaded
def fourier_options(context: Context) -> None:
    """Every transform with every norm, length and dim is the Fourier sum, shifts and gradients included."""
    torch, rng = context.torch, context.rng()
    fft = torch.fft
    for n in (6, 7):
        x = [complex(rng.randint(-9, 9), rng.randint(-9, 9)) for _ in range(n)]
        real = [v.real for v in x]
        z, t = _complex(context, x), context.tensor(real)
        half = algebra.fourier(real)[: n // 2 + 1]
        folded = [*half, *(v.conjugate() for v in half[1 : (n + 1) // 2][::-1])]
        for norm, (down, up) in NORMS.items():
            s, r = n**-down, n**-up
            named = {"norm": norm}
            for what, got, right in (
                ("fft", fft.fft(z, **named), [v * s for v in algebra.fourier(x)]),
                ("ifft", fft.ifft(z, **named), [v * r for v in algebra.fourier(x, 1)]),
                ("rfft", fft.rfft(t, **named), [v * s for v in half]),
                (
                    "irfft",
                    fft.irfft(_complex(context, half), n, **named),
                    [v.real * r for v in algebra.fourier(folded, 1)],
                ),
                (
                    "hfft",
                    fft.hfft(_complex(context, half), n, **named),
                    [v.real * s for v in algebra.fourier([v.conjugate() for v in folded], 1)],
                ),
                ("ihfft", fft.ihfft(t, **named), [v.conjugate() * r for v in half]),
            ):
                _judge(context, got, right, f"{what} of {n}, norm={norm}", 16.0 * 13 * n)
            for what, call, inverse in (("fft", fft.fft, False), ("ifft", fft.ifft, True)):
                g = [complex(rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(n)]
                leaf = z.detach().clone().requires_grad_()
                (by_z,) = torch.autograd.grad(call(leaf, **named), leaf, _complex(context, g))
                back = [v * (r if inverse else s) for v in algebra.fourier(g, -1 if inverse else 1)]
                _judge(context, by_z, back, f"{what} of {n}, norm={norm}: gradient", 64.0 * n)
            g_real = [float(rng.randint(-3, 3)) for _ in range(n)]
            leaf = _complex(context, half).requires_grad_()
            (by_half,) = torch.autograd.grad(fft.irfft(leaf, n, **named), leaf, context.tensor(g_real))
            doubled = [1.0 if k == 0 or 2 * k == n else 2.0 for k in range(len(half))]
            back = [v * d * r for v, d in zip(algebra.fourier(g_real), doubled)]
            # The imaginary parts of frequency 0 and of the middle do not count in the result.
            back = [complex(v.real, 0.0) if d == 1 else v for v, d in zip(back, doubled)]
            _judge(context, by_half, back, f"irfft of {n}, norm={norm}: gradient", 64.0 * n)
        context.exact(fft.fftshift(t), real[(n + 1) // 2 :] + real[: (n + 1) // 2], what=f"fftshift of {n}")
        context.exact(fft.ifftshift(t), real[n // 2 :] + real[: n // 2], what=f"ifftshift of {n}")
        whole = [k if k < (n + 1) // 2 else k - n for k in range(n)]
        _judge(context, fft.fftfreq(n, 0.5), [k / (n * 0.5) for k in whole], f"fftfreq of {n}", 16.0, plain=True)
        cut = [*x[:4]]
        _judge(context, fft.fft(z, 4), algebra.fourier(cut), f"fft of {n} cut to 4", 600.0)
        _judge(context, fft.fft(z, 9), algebra.fourier([*x, *[0j] * (9 - n)]), f"fft of {n} filled to 9", 1200.0)
        rows = torch.stack((z, z.conj().resolve_conj()), 1)
        columns = [algebra.fourier(x), algebra.fourier([v.conjugate() for v in x])]
        _judge(
            context, fft.fft(rows, dim=0), [v for pair in zip(*columns) for v in pair], f"fft of {n} over dim 0", 1200.0
        )


def _complex(context: Context, x: Sequence[complex]) -> Any:
    return context.torch.view_as_complex(context.tensor([[v.real, v.imag] for v in x]))


def _judge(
    context: Context, got: Any, right: Sequence[complex], what: str, size: float, *, plain: bool = False
) -> None:
    numbers = context.torch.view_as_real(got.resolve_conj()) if got.is_complex() else got
    split = got.is_complex()
    flat: list[float] = [part for v in right for part in ((v.real, v.imag) if split else (v.real,))]
    # log2(n) butterflies and a scale (Higham §24.1); cancel holds the sum of magnitudes.
    context.close(
        numbers, flat, bound=8.0 * passes.allowance(context), cancel=size, what=what, dtype="float32" if plain else None
    )


@check(oracle="the windowed Fourier sum by definition", dtypes=("float64",), more=("float32",))
@trajectory.unthreaded
def short_time(context: Context) -> None:
    """stft with its window, hop, centring and scale is a Fourier sum of every frame, and istft takes it back."""
    torch, rng = context.torch, context.rng()
    n, hop, length = 8, 3, 29
    x = [float(rng.randint(-9, 9)) for _ in range(length)]
    window = [0.5 + rng.randint(1, 8) / 8 for _ in range(n)]
    given, shape = context.tensor(x), context.tensor(window)
    for centre, mode, scale, one in (
        (False, "reflect", False, True),
        (True, "reflect", False, True),
        (True, "constant", True, False),
    ):
        padded = x
        if centre:
            h = n // 2
            padded = x[h:0:-1] + x + x[-2 : -h - 2 : -1] if mode == "reflect" else [0.0] * h + x + [0.0] * h
        frames = [padded[i : i + n] for i in range(0, len(padded) - n + 1, hop)]
        spectra = [algebra.fourier([v * w for v, w in zip(frame, window)]) for frame in frames]
        kept = n // 2 + 1 if one else n
        factor = n**-0.5 if scale else 1.0
        right = [frame[k] * factor for k in range(kept) for frame in spectra]
        named = {
            "hop_length": hop,
            "window": shape,
            "center": centre,
            "pad_mode": mode,
            "normalized": scale,
            "onesided": one,
        }
        got = torch.stft(given, n, return_complex=True, **named)
        _judge(context, got, right, f"stft {centre=} {mode=} {scale=} {one=}", 200.0)
        if centre:
            named.pop("pad_mode")
            back = torch.istft(got, n, length=length, **named)
            context.close(back, x, bound=64.0, cancel=64.0, what=f"istft {mode=} {scale=} {one=}")
    rule: Any
    for name, rule in (
        ("hann", lambda k, m: 0.5 - 0.5 * math.cos(2 * math.pi * k / m)),
        ("hamming", lambda k, m: 0.54 - 0.46 * math.cos(2 * math.pi * k / m)),
        ("blackman", lambda k, m: 0.42 - 0.5 * math.cos(2 * math.pi * k / m) + 0.08 * math.cos(4 * math.pi * k / m)),
        ("bartlett", lambda k, m: 1 - abs(2 * k / m - 1)),
    ):
        for periodic in (True, False):
            shape_ = [rule(k, 9 if periodic else 8) for k in range(9)]
            got = getattr(torch, f"{name}_window")(9, periodic=periodic, dtype=context.dtype, device=context.device)
            context.close(got, shape_, bound=16.0, cancel=4.0, what=f"{name} window, periodic={periodic}")
