"""Weights that are held to something while they train: a spectral norm of one, orthogonal columns, a length, zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import trajectory
from ..context import Context
from ..oracles.optimizers import dot, product, transposed
from ..registry import check

Matrix = list[list[float]]


def _draw(context: Context, rows: int, columns: int, salt: str) -> Matrix:
    """Draw eighths, none of them zero."""
    rng = context.rng(salt)
    return [[rng.choice((-1, 1)) * rng.randint(1, 16) / 8 for _ in range(columns)] for _ in range(rows)]


def _flat(matrix: Sequence[Sequence[float]]) -> list[float]:
    return [x for row in matrix for x in row]


def _unit(v: Sequence[float]) -> list[float]:
    size = math.sqrt(dot(v, v))
    return [x / size for x in v]


def _times(matrix: Sequence[Sequence[float]], v: Sequence[float]) -> list[float]:
    return [dot(row, v) for row in matrix]


def _layer(context: Context, rows: Matrix, shape: tuple[int, ...] | None = None, *, turned: bool = False) -> Any:
    """Make a layer with a weight: linear, or a convolution whose weight has these rows (columns, when it is turned)."""
    nn = context.torch.nn
    if shape is None:
        layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    else:
        kind = nn.ConvTranspose2d if turned else nn.Conv2d
        layer = kind(len(rows[0]) // math.prod(shape), len(rows), shape, bias=False)
    layer = layer.to(context.device, context.dtype)
    weight = context.tensor(rows)
    if shape is not None:
        weight = weight.reshape(len(rows), -1, *shape)
        weight = weight.transpose(0, 1) if turned else weight
    with context.torch.no_grad():
        layer.weight.copy_(weight)
    return layer


@check(oracle="the power method in float64", level="quick", dtypes=("float32",), more=("float64",))
@trajectory.unthreaded
def spectral(context: Context) -> None:
    """spectral_norm iterates once an access in training, never in eval, and divides by the norm that it then knows."""
    utils = context.torch.nn.utils
    begin = _unit([1.0, -2.0, 2.0]), _unit([1.0] * 8)
    draws = (_draw(context, 3, 8, f"w {i}") for i in range(1000))
    # A norm that is next to nothing at first would be known to few digits.
    rows = next(w for w in draws if abs(dot(begin[0], _times(w, begin[1]))) > 1)
    # name: (wrapped layer, its vectors, dim that counts, whether the left vector is renewed first)
    for name, apply, left in (
        ("parametrizations", utils.parametrizations.spectral_norm, True),
        ("utils", utils.spectral_norm, False),
    ):
        for kind, shape, dim in (("linear", None, 0), ("conv", (2, 2), 0), ("transposed conv", (2, 2), 1)):
            layer = apply(_layer(context, rows, shape, turned=dim == 1), n_power_iterations=2, dim=dim)
            home = layer.parametrizations.weight[0] if left else layer
            us, vs = (home._u, home._v) if left else (home.weight_u, home.weight_v)  # noqa: SLF001 - its buffers
            u, v = begin
            us.copy_(context.tensor(u))
            vs.copy_(context.tensor(v))
            for mode in ("eval", "train", "eval", "train"):
                layer.train(mode == "train")
                what = f"{name}, {kind}, {mode}"
                weight = _access(context, layer, shape)
                for _ in range(2 if mode == "train" else 0):
                    u, v = _iterated(rows, u, v, left=left)
                sigma = dot(u, _times(rows, v))
                got = context.values(weight.transpose(0, 1) if dim == 1 else weight)
                # Each iteration is two products of at most eight terms and two norms: 40 roundings.
                context.close(us, u, bound=256.0, cancel=1.0, what=f"{what}: left vector")
                context.close(vs, v, bound=256.0, cancel=1.0, what=f"{what}: right vector")
                room = 16.0 / abs(sigma)
                right = [x / sigma for x in _flat(rows)]
                context.close(got, right, bound=64.0, cancel=2.0 * room, what=f"{what}: weight")
            _spectral_gradient(context, layer, weight, rows, (u, v), f"{name}, {kind}", turned=dim == 1)


def _access(context: Context, layer: Any, shape: tuple[int, ...] | None) -> Any:
    """Make the weight anew, as a forward pass does, and give it."""
    if not hasattr(layer, "parametrizations"):
        size = layer.in_features if shape is None else layer.in_channels
        layer(context.torch.zeros(1, size, *(shape or ()), device=context.device, dtype=context.dtype))
    return layer.weight


def _iterated(rows: Matrix, u: list[float], v: list[float], *, left: bool) -> tuple[list[float], list[float]]:
    """Take one iteration of the power method; the older spectral_norm renews the right vector first."""
    columns = transposed(rows)
    if left:
        u = _unit(_times(rows, v))
        return u, _unit(_times(columns, u))
    v = _unit(_times(columns, u))
    return _unit(_times(rows, v)), v


def _spectral_gradient(
    context: Context,
    layer: Any,
    weight: Any,
    rows: Matrix,
    vectors: tuple[list[float], list[float]],
    what: str,
    *,
    turned: bool,
) -> None:
    """Compare the gradient of sum(c W / s): c / s - sum(c W) / s^2 u v'."""
    u, v = vectors
    c, sigma = _draw(context, 3, 8, "c"), dot(u, _times(rows, v))
    held = layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight_orig
    seen = weight.transpose(0, 1) if turned else weight
    (by,) = context.torch.autograd.grad((seen.reshape(3, 8) * context.tensor(c)).sum(), held)
    total = dot(_flat(c), _flat(rows))
    want = [c[i][j] / sigma - total * u[i] * v[j] / sigma**2 for i in range(3) for j in range(8)]
    sizes = dot([abs(x) for x in _flat(c)], [abs(x) for x in _flat(rows)])
    by = by.transpose(0, 1) if turned else by
    # A sum of 24 products, of which all may cancel; sigma and its vectors carry up to 256 roundings.
    room = 2 / abs(sigma) + sizes / sigma**2
    context.close(by.reshape(-1), want, bound=512.0, cancel=room * 4, what=f"{what}: gradient")


SHAPES = ((3, 3), (5, 3), (3, 5))


@check(
    oracle="the maps in float64",
    level="quick",
    dtypes=("float32",),
    more=("float64",),
    each={name: name for name in ("matrix_exp", "cayley", "householder")},
)
@trajectory.unthreaded
def orthogonal(context: Context, row: str) -> None:
    """The orthogonal parametrization by {row} is its map, orthogonal wherever its parameter goes, of every shape."""
    torch = context.torch
    apply = torch.nn.utils.parametrizations.orthogonal
    for shape in SHAPES:
        for trivial in (True, False) if shape[0] > shape[1] or context.at_least("full") else (True,):
            rows = _draw(context, *shape, "start")
            what = f"{shape[0]}x{shape[1]}, use_trivialization={trivial}"
            layer = apply(_layer(context, rows), orthogonal_map=row, use_trivialization=trivial)
            if trivial or row == "householder":
                _orthonormal(context, layer.weight, f"{what}: at first")
            held = layer.parametrizations.weight.original
            x = [[v / 4 for v in line] for line in _draw(context, *shape, "moved")]
            if row == "householder":
                signs = context.values(held.detach().diagonal())
                for i, sign in enumerate(signs):
                    x[i][i] = float(int(sign)) if sign else 1.0
            with torch.no_grad():
                held.copy_(context.tensor(x))
            weight = layer.weight
            _orthonormal(context, weight, f"{what}: moved")
            base = getattr(layer.parametrizations.weight[0], "base", None)
            right = _mapped(row, x if shape[0] >= shape[1] else transposed(x))
            if base is not None:
                right = product([*map(list, base.tolist())], right)
            right = right if shape[0] >= shape[1] else transposed(right)
            context.close(weight, _flat(right), bound=256.0, cancel=1.0, what=f"{what}: the map")
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.25)
            for _ in range(2):
                optimizer.zero_grad()
                (layer.weight * context.tensor(_draw(context, *shape, "loss"))).sum().backward()
                optimizer.step()
            _orthonormal(context, layer.weight, f"{what}: after two steps")
            if trivial:
                turn = [[0.6, 0.8], [-0.8, 0.6]]
                goal = [
                    [turn[i][j] if max(i, j) < 2 else float(i == j) for j in range(shape[1])] for i in range(shape[0])
                ]
                layer.weight = context.tensor(goal)
                context.close(layer.weight, _flat(goal), bound=64.0, cancel=1.0, what=f"{what}: it takes a value")


def _orthonormal(context: Context, weight: Any, what: str) -> None:
    """Compare the smaller of W'W and WW', in float64, with the identity."""
    rows = weight.detach().cpu().double().tolist()
    tall = transposed(rows) if len(rows) >= len(rows[0]) else rows
    gram = _flat(product(tall, transposed(tall)))
    want = [float(i == j) for i in range(len(tall)) for j in range(len(tall))]
    # Products of at most five reflections or factors of norm one, each of which rounds by a few times its size.
    context.close(gram, want, bound=128.0, cancel=1.0, what=f"{what}: products of its columns")


def _mapped(kind: str, x: Matrix) -> Matrix:
    """Map a tall matrix to one with orthonormal columns, as the documentation says."""
    n, k = len(x), len(x[0])
    one = [[float(i == j) for j in range(n)] for i in range(n)]
    if kind == "householder":
        q = [row[:] for row in one]
        for j in range(k):
            v = [0.0] * j + [1.0] + [x[i][j] for i in range(j + 1, n)]
            reflection = [[one[a][b] - 2 * v[a] * v[b] / dot(v, v) for b in range(n)] for a in range(n)]
            q = product(q, reflection)
        return [[q[i][j] * x[j][j] for j in range(k)] for i in range(n)]
    low = [[x[i][j] if j <= min(i, k - 1) else 0.0 for j in range(n)] for i in range(n)]
    skew = [[low[i][j] - low[j][i] for j in range(n)] for i in range(n)]
    if kind == "cayley":
        q = _solved(*([[one[i][j] + sign * skew[i][j] / 2 for j in range(n)] for i in range(n)] for sign in (-1, 1)))
    else:
        term, q = one, one
        for m in range(1, 40):
            term = [[value / m for value in row] for row in product(term, skew)]
            q = [[a + b for a, b in zip(*rows)] for rows in zip(q, term)]
    return [row[:k] for row in q]


def _solved(a: Matrix, b: Matrix) -> Matrix:
    """Solve A X = B by elimination with pivots."""
    rows = [[*left, *right] for left, right in zip(a, b)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        rows = [r if k == i else [v - r[i] * w for v, w in zip(r, rows[i])] for k, r in enumerate(rows)]
    return [row[len(a) :] for row in rows]
