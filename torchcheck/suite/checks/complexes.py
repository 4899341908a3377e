"""Complex numbers: elementwise functions in all quadrants, products, linear algebra, and gradients."""

from __future__ import annotations

import cmath
import math
import operator
from typing import TYPE_CHECKING, Any

from .. import trajectory
from ..oracles import linear_algebra as algebra
from ..registry import check

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from ..context import Context

Complex = list[list[complex]]
N = algebra.N
GAUSSIAN = "Gaussian integers, exact"
KINDS = ("float32", "float64")
"""The formats of the parts: complex64 and complex128."""
UNITS = (1, 1j, -1, -1j)


def _tensor(context: Context, values: Any, *, grad: bool = False) -> Any:
    made = context.tensor(values, dtype="complex128" if context.dtype_name == "float64" else "complex64")
    return made.requires_grad_() if grad else made


def _parts(values: Sequence[complex]) -> list[float]:
    return [part for v in values for part in (complex(v).real, complex(v).imag)]


def _close(context: Context, got: Any, right: Sequence[complex], what: str, *, bound: float, cancel: Any = 0.0) -> None:
    """Compare real and imaginary parts, each in units of the modulus: no more is promised of either."""
    sizes = [abs(v) + (cancel if isinstance(cancel, float) else cancel[i]) for i, v in enumerate(right)]
    parts = _parts(context.values(got))
    context.close(parts, _parts(right), bound=bound, cancel=[s for s in sizes for _ in "ri"], what=what)


# name: (in cmath, magnitude that cancels inside). Arguments stay off the cuts and off the poles.
FUNCTIONS: dict[str, tuple[Callable[[complex], complex], float]] = {
    "exp": (cmath.exp, 0.0),
    "log": (cmath.log, 1.0),
    "log2": (lambda z: cmath.log(z) / math.log(2), 1.0),
    "log10": (cmath.log10, 1.0),
    "sqrt": (cmath.sqrt, 0.0),
    "rsqrt": (lambda z: 1 / cmath.sqrt(z), 0.0),
    "reciprocal": (lambda z: 1 / z, 0.0),
    "square": (lambda z: z * z, 0.0),
    "sin": (cmath.sin, 0.0),
    "cos": (cmath.cos, 0.0),
    "tan": (cmath.tan, 1.0),
    "sinh": (cmath.sinh, 0.0),
    "cosh": (cmath.cosh, 0.0),
    "tanh": (cmath.tanh, 1.0),
    "sigmoid": (lambda z: 1 / (1 + cmath.exp(-z)), 0.0),
    "asin": (cmath.asin, 2.0),
    "acos": (cmath.acos, 2.0),
    "atan": (cmath.atan, 2.0),
    "asinh": (cmath.asinh, 2.0),
    "acosh": (cmath.acosh, 2.0),
    "atanh": (cmath.atanh, 2.0),
    "sgn": (lambda z: z / abs(z), 0.0),
}


def _drawn(rng: random.Random, count: int) -> list[complex]:
    """Draw eighths in all four quadrants, none of them on an axis, near a pole of tan or at 1 or i."""
    return [
        complex(rng.choice((-1, 1)) * rng.randint(2, 9) / 8, rng.choice((-1, 1)) * rng.randint(4, 12) / 8)
        for _ in range(count)
    ]


@check(oracle="cmath in complex128", dtypes=KINDS)
@trajectory.unthreaded
def functions(context: Context) -> None:
    """Elementwise functions of complex numbers agree with cmath in all quadrants; their derivatives are conjugated."""
    torch = context.torch
    given = _drawn(context.rng(), 37)
    for name, (function, cancel) in FUNCTIONS.items():
        right = [function(v) for v in given]
        call = getattr(torch, name)
        # Up to a dozen roundings, of real functions good to 4 ulp (8 u), each of the size of the result.
        _close(context, call(_tensor(context, given)), right, name, bound=64.0, cancel=cancel)
        spread = torch.stack([_tensor(context, given)] * 2, 1)[:, 0]
        _close(context, call(spread), right, f"{name} of strided data", bound=64.0, cancel=cancel)
        if name == "sgn":
            continue
        leaf = _tensor(context, given, grad=True)
        (by,) = torch.autograd.grad(call(leaf), leaf, _tensor(context, [1.0 + 0j] * len(given)))
        # Central differences in complex128 err by 2**-53 f / h and h**2 / d**4, d the distance of a pole: a quarter
        # or more, so 6e-8 at most. A derivative that is not conjugated is off by a tenth.
        h = 2.0**-16
        slopes = [((function(v + h) - function(v - h)) / (2 * h)).conjugate() for v in given]
        loose = 1e-6 / context.format.u / 64
        _close(context, by, slopes, f"gradient of {name}", bound=64.0, cancel=[4 + loose] * len(given))


@check(oracle=GAUSSIAN, level="quick", dtypes=KINDS)
@trajectory.unthreaded
def parts(context: Context) -> None:
    """Parts, conjugates, polar forms, arithmetic and comparison of complex numbers agree with Python's."""
    torch, rng = context.torch, context.rng()
    a, b = ([complex(rng.randint(-9, 9), rng.randint(-9, 9)) for _ in range(37)] for _ in "ab")
    x, y = _tensor(context, a), _tensor(context, b)
    for name, got, right in (
        ("real", x.real, [v.real for v in a]),
        ("imag", x.imag, [v.imag for v in a]),
        ("view_as_real", torch.view_as_real(x), _parts(a)),
        ("conj", x.conj().resolve_conj(), [v.conjugate() for v in a]),
        ("conj_physical", torch.conj_physical(x), [v.conjugate() for v in a]),
        ("adjoint", x[:36].reshape(4, 9).mH.clone(), [a[9 * i + j].conjugate() for j in range(9) for i in range(4)]),
        ("neg of the imaginary part of conj", x.conj().imag, [-v.imag for v in a]),
        ("+", x + y, [p + q for p, q in zip(a, b)]),
        ("-", x - y, [p - q for p, q in zip(a, b)]),
        ("*", x * y, [p * q for p, q in zip(a, b)]),
        ("* conj", x * y.conj(), [p * q.conjugate() for p, q in zip(a, b)]),
        ("real * complex", x.real * y, [p.real * q for p, q in zip(a, b)]),
        ("complex number", x * (2 - 1j), [p * (2 - 1j) for p in a]),
        ("==", x == y, [p == q for p, q in zip(a, b)]),
        ("sum", x.sum(), [sum(a)]),
        ("cumsum", x.cumsum(0), [sum(a[: i + 1]) for i in range(37)]),
        ("complex()", torch.complex(x.real, y.imag), [complex(p.real, q.imag) for p, q in zip(a, b)]),
    ):
        context.exact(got, right, what=name)
    # A root of a sum of two squares, and an angle of 2 ulp; a quotient of a product of four terms.
    context.close(x.abs(), [abs(v) for v in a], bound=8.0, what="abs")
    context.close(x.angle(), [cmath.phase(v) for v in a], bound=8.0, what="angle")
    _close(context, torch.polar(x.abs(), x.angle()), a, "polar", bound=32.0, cancel=1.0)
    kept = [(p, q or 1j) for p, q in zip(a, b)]
    got = x / _tensor(context, [q for _, q in kept])
    _close(context, got, [p / q for p, q in kept], "/", bound=32.0)


def _matrix(rng: random.Random, rows: int, columns: int) -> Complex:
    return [[complex(rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(columns)] for _ in range(rows)]


def _product(a: Complex, b: Complex) -> Complex:
    return [[sum((p * q for p, q in zip(row, column)), 0j) for column in zip(*b)] for row in a]


def _adjoint(a: Complex) -> Complex:
    return [[v.conjugate() for v in column] for column in zip(*a)]


def _flat(a: Complex) -> list[complex]:
    return [v for row in a for v in row]


PRODUCTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mm": lambda t, a, b: t.mm(a, b),
    "matmul": lambda _, a, b: a @ b,
    "mv": lambda t, a, b: t.stack([t.mv(a, column) for column in b.t()], 1),
    "dot": lambda t, a, b: t.stack([t.dot(row, column) for row in a for column in b.t()]),
    "vdot": lambda t, a, b: t.stack([t.vdot(row.conj(), column) for row in a for column in b.t()]),
    "addmm": lambda t, a, b: t.addmm(t.zeros_like(a[:, :1] @ b[:1]), a, b),
    "bmm": lambda t, a, b: t.bmm(a.expand(3, *a.shape), b.expand(3, *b.shape))[2],
    "einsum": lambda t, a, b: t.einsum("ik,kj->ij", a, b),
    "linear": lambda t, a, b: t.nn.functional.linear(a, b.t()),
    "adjoint factors": lambda _, a, b: (b.mH @ a.mH).mH,
    "conjugate views": lambda _, a, b: (a.conj() @ b.conj()).conj(),
    "transposed conjugates": lambda _, a, b: (b.t().conj() @ a.t().conj()).conj().t(),
}


@check(oracle=GAUSSIAN, level="quick", dtypes=KINDS)
@trajectory.unthreaded
def products(context: Context) -> None:
    """Products of complex matrices are exact on Gaussian integers, forward and backward, conjugated or not."""
    torch, rng = context.torch, context.rng()
    for rows, inner, columns in ((1, 1, 1), (3, 7, 5), (9, 17, 4)):
        a, b, g = _matrix(rng, rows, inner), _matrix(rng, inner, columns), _matrix(rng, rows, columns)
        right, by_a, by_b = _product(a, b), _product(g, _adjoint(b)), _product(_adjoint(a), g)
        for name, call in PRODUCTS.items():
            what = f"{name}, {rows} x {inner} x {columns}"
            x, y = _tensor(context, a, grad=True), _tensor(context, b, grad=True)
            out = call(torch, x, y)
            context.exact(context.values(out.resolve_conj()), _flat(right), what=what)
            found = torch.autograd.grad(out, (x, y), _tensor(context, _flat(g)).reshape(out.shape))
            for side, (got, by) in enumerate(zip(found, (by_a, by_b))):
                context.exact(context.values(got.resolve_conj()), _flat(by), what=f"gradient of {what}, by {side + 1}")


def _lower(rng: random.Random) -> Complex:
    """Draw a lower triangle of Gaussian integers under a diagonal of ones."""
    small = [complex(p, q) for p in (-1, 0, 1) for q in (-1, 0, 1)]
    return [[1 + 0j if i == j else rng.choice(small) if j < i else 0j for j in range(N)] for i in range(N)]


def _unitary(rng: random.Random) -> Complex:
    """Draw a halved Hadamard matrix whose columns are turned by powers of i: unitary, and exact in binary."""
    turns = [rng.choice(UNITS) for _ in range(N)]
    left = [rng.choice(UNITS) for _ in range(N)]
    return [[p * v * q for v, q in zip(row, turns)] for row, p in zip(algebra.orthogonal(rng), left)]


def _diagonal(values: Sequence[complex]) -> Complex:
    return [[v if i == j else 0j for j in range(len(values))] for i, v in enumerate(values)]


@check(oracle="matrices built from triangles of Gaussian integers", dtypes=KINDS)
@trajectory.unthreaded
def solves(context: Context) -> None:
    """Complex systems, inverses, determinants and Cholesky factors are those of the matrix, not of its conjugate."""
    torch, rng = context.torch, context.rng()
    linalg = torch.linalg
    scale = [rng.choice((-2, -1, 1, 2, 1j, -2j)) for _ in range(N)]
    a = _product(_product(_lower(rng), _diagonal(scale)), _adjoint(_lower(rng)))
    x, wide = _matrix(rng, N, 2), _matrix(rng, 2, N)
    held, b = _tensor(context, a), _tensor(context, _product(a, x))
    low = _product(_lower(rng), _diagonal([complex(rng.randint(1, 3)) for _ in range(N)]))
    positive = _product(low, _adjoint(low))
    factors = linalg.lu_factor(held)
    # Backward stable (Higham §9.3, §10.1): N u times the condition number, which is 1e5 at most for what is drawn.
    for name, got, right in (
        ("solve", linalg.solve(held, b), x),
        ("solve, a vector", linalg.solve(held, b[:, 0]), [[row[0]] for row in x]),
        ("solve from the right", linalg.solve(held, _tensor(context, _product(wide, a)), left=False), wide),
        ("solve with the adjoint", linalg.solve(held.mH, _tensor(context, _product(_adjoint(a), x))), x),
        ("lu_solve", linalg.lu_solve(*factors, b), x),
        ("inv times matrix", linalg.inv(held) @ held, _diagonal([1] * N)),
        ("pinv times matrix", linalg.pinv(held) @ held, _diagonal([1] * N)),
        ("least squares", linalg.lstsq(held, b).solution, x),
        ("det", linalg.det(held), [[math.prod(scale)]]),
        ("cholesky", linalg.cholesky(_tensor(context, positive)), low),
        ("cholesky_solve", torch.cholesky_solve(_tensor(context, _product(positive, x)), _tensor(context, low)), x),
        (
            "solve_triangular",
            linalg.solve_triangular(_tensor(context, low), _tensor(context, _product(low, x)), upper=False),
            x,
        ),
    ):
        _close(context, got, [complex(v) for v in _flat(right)], name, bound=16.0 * N, cancel=1e5)
    p, lower, upper = linalg.lu(held)
    _close(context, p @ lower @ upper, _flat(a), "P L U", bound=16.0 * N, cancel=256.0)
    q, r = linalg.qr(held)
    _close(context, q @ r, _flat(a), "Q R", bound=16.0 * N, cancel=256.0)
    _close(context, q.mH @ q, _flat(_diagonal([1] * N)), "Q* Q", bound=16.0 * N, cancel=4.0)
    by = torch.autograd.grad(linalg.solve(held, (leaf := b.clone().requires_grad_())), leaf, _tensor(context, x))[0]
    # The gradient solves with the adjoint: A* by = x.
    _close(context, held.mH @ by, _flat(x), "adjoint of the gradient of solve", bound=16.0 * N, cancel=1e5)


@check(oracle="matrices built from unitary ones with known spectra", dtypes=KINDS)
@trajectory.unthreaded
def spectra(context: Context) -> None:
    """Spectra and functions of Hermitian and normal complex matrices are those that they were built of."""
    torch, rng = context.torch, context.rng()
    linalg = torch.linalg
    v, w, spread = _unitary(rng), algebra.spectrum(rng)[::-1], 16.0
    hermitian = _product(_product(v, _diagonal([complex(s) for s in w])), _adjoint(v))
    bound = 16.0 * N
    for name in ("U", "L"):
        keep = operator.ge if name == "U" else operator.le
        half = [[z if keep(j, i) else 7 - 3j for j, z in enumerate(row)] for i, row in enumerate(hermitian)]
        context.close(
            linalg.eigvalsh(_tensor(context, half), UPLO=name), w, bound=bound, cancel=spread, what=f"eigvalsh {name}"
        )
        found, vectors = linalg.eigh(_tensor(context, half), UPLO=name)
        context.close(found, w, bound=bound, cancel=spread, what=f"eigh {name}")
        again = vectors @ torch.diag(found).to(vectors.dtype) @ vectors.mH
        _close(context, again, _flat(hermitian), f"V w V* of eigh {name}", bound=bound, cancel=4 * spread)
    general = _product(_product(v, _diagonal([complex(s) for s in w])), _adjoint(_unitary(rng)))
    matrix = _tensor(context, general)
    context.close(linalg.svdvals(matrix), w[::-1], bound=bound, cancel=spread, what="svdvals")
    u, s, vh = linalg.svd(matrix)
    _close(context, u @ torch.diag(s).to(u.dtype) @ vh, _flat(general), "U S V*", bound=bound, cancel=4 * spread)
    context.close(linalg.matrix_norm(matrix), [math.sqrt(sum(s * s for s in w))], bound=bound, what="Frobenius norm")
    context.close(linalg.matrix_norm(matrix, "nuc"), [sum(w)], bound=bound, cancel=spread, what="nuclear norm")
    turned = [complex(p, q) for p, q in zip(rng.sample(range(-9, 9), N), rng.choices(range(-5, 6), k=N))]
    normal = _tensor(context, _product(_product(v, _diagonal(turned)), _adjoint(v)))
    ordered = sorted(turned, key=lambda z: z.real)  # their real parts differ by 1 at least
    for name, got in (("eigvals", linalg.eigvals(normal)), ("eig", linalg.eig(normal)[0])):
        # A normal matrix's eigenvalues are perfectly conditioned (Bauer and Fike).
        sorted_ = sorted(context.values(got), key=lambda z: z.real)
        _close(context, _tensor(context, sorted_), ordered, name, bound=bound, cancel=spread)
    small = [z / 8 for z in turned]
    power = _product(_product(v, _diagonal([cmath.exp(z) for z in small])), _adjoint(v))
    got = linalg.matrix_exp(normal / 8)
    _close(context, got, _flat(power), "matrix_exp", bound=bound, cancel=64.0)


@check(oracle="derivatives by hand, conjugated", level="quick", dtypes=KINDS)
@trajectory.unthreaded
def gradients(context: Context) -> None:
    """Gradients of real functions of complex numbers point where they grow fastest: twice the conjugate derivative."""
    torch, rng = context.torch, context.rng()
    a = [complex(rng.choice((-3, -1, 2, 4)), rng.choice((-4, -2, 1, 3))) for _ in range(11)]
    c = [complex(rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(11)]
    y = _tensor(context, c)
    functions: tuple[tuple[str, Callable[[Any], Any], list[complex]], ...] = (
        ("|z| ** 2", lambda z: (z * z.conj()).real, [2 * v for v in a]),
        ("|z| ** 2 by parts", lambda z: z.real**2 + z.imag**2, [2 * v for v in a]),
        ("abs(z) squared", lambda z: torch.view_as_real(z).square(), [2 * v for v in a]),
        ("real part", lambda z: z.real, [1 + 0j] * 11),
        ("imaginary part", lambda z: z.imag, [1j] * 11),
        ("real part of a product", lambda z: (z * y).real, [v.conjugate() for v in c]),
        ("imaginary part of a product", lambda z: (z * y).imag, [1j * v.conjugate() for v in c]),
        ("real part of a conjugate product", lambda z: (z.conj() * y).real, list(c)),
        ("real part of a square", lambda z: (z * z).real, [2 * v.conjugate() for v in a]),
        ("vdot with itself", lambda z: torch.vdot(z, z).real, [2 * v for v in a]),
    )
    for name, call, right in functions:
        leaf = _tensor(context, a, grad=True)
        (by,) = torch.autograd.grad(call(leaf).sum(), leaf)
        context.exact(context.values(by.resolve_conj()), right, what=f"gradient of {name}")
    leaf = _tensor(context, a, grad=True)
    (by,) = torch.autograd.grad(leaf.abs().sum(), leaf)
    _close(context, by, [v / abs(v) for v in a], "gradient of abs", bound=16.0)
    leaf = _tensor(context, a, grad=True)
    (by,) = torch.autograd.grad(leaf.angle().sum(), leaf)
    _close(context, by, [1j * v / abs(v) ** 2 for v in a], "gradient of angle", bound=16.0)
