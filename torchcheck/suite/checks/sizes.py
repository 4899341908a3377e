"""Products over the inner lengths that models have, round and odd: no tail of a sum is lost, in any spelling."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..registry import check
from .formats import FLOAT_PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context

LENGTHS = (65, 100, 127, 129, 255, 257, 300, 500, 513, 768, 784, 1000, 1025)
SEGMENT = 64  # a column of its own for every so many, so that each sum is a small integer, exact in every format
ROWS = 33


def _relu_cell(t: Any, a: Any, b: Any) -> Any:
    width = b.shape[1]
    state = a.new_zeros(a.shape[0], width)
    return t.rnn_relu_cell(a.abs(), state, b.t(), b.new_zeros(width, width), None, None) * a[:, :1].detach().sign()


MORE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "addmv": lambda t, a, b: t.stack([t.addmv(a.new_zeros(a.shape[0]), a, column) for column in b.t()], 1),
    "addbmm": lambda t, a, b: t.addbmm(a.new_zeros(a.shape[0], b.shape[1]), a[None], b[None]),
    "inner": lambda t, a, b: t.inner(a, b.t()),
    "multi_dot": lambda t, a, b: t.linalg.multi_dot([a, b]),
    "heads": lambda t, a, b: t.einsum("bhqd,bhkd->bhqk", a[None, None], b.t()[None, None])[0, 0],
    "linear of sequences": lambda t, a, b: t.nn.functional.linear(a[None, :, None], b.t(), b.new_zeros(b.shape[1]))[
        0, :, 0
    ],
    "bilinear": lambda t, a, b: t.nn.functional.bilinear(a, a.new_ones(a.shape[0], 1), b.t()[:, :, None]),
    "conv1d of channels": lambda t, a, b: t.nn.functional.conv1d(a[:, :, None], b.t()[:, :, None])[..., 0],
    "conv2d of channels": lambda t, a, b: t.nn.functional.conv2d(a[:, :, None, None], b.t()[:, :, None, None])[
        ..., 0, 0
    ],
    "conv1d of a long kernel": lambda t, a, b: t.nn.functional.conv1d(a[:, None], b.t()[:, None])[..., 0],
    "conv_transpose1d": lambda t, a, b: t.nn.functional.conv_transpose1d(a[:, :, None], b[:, :, None])[..., 0],
    "recurrent cell": _relu_cell,
}
SPELLINGS = {**FLOAT_PRODUCTS, **MORE}
FEW_ROWS = ("dot", "mv", "addmv")  # one call for each row or column


def _name(spelling: str) -> str:
    return spelling.replace(" ", "_")


CALLS = {_name(name): call for name, call in SPELLINGS.items()}
CORE, REST = passes.parted(CALLS, ("mm", "addmm", "bmm", "linear", "linear_with_a_bias", "conv2d_of_channels"))


def _segments(length: int) -> list[range]:
    return [range(k, min(k + SEGMENT, length)) for k in range(0, length, SEGMENT)]


@dataclass(frozen=True)
class Deep:
    """Factors of a product over many terms, and what is right: of the product, and of gradients of one of two columns.

    `halves` stands for `weights` in the backward pass: its gradient is short enough to be read.
    """

    left: Any
    weights: Any
    right: list[float]
    halves: Any
    upstream: list[float]
    by_left: list[float]
    by_halves: list[float]


_made: dict[tuple[object, ...], Deep] = {}


def _deep(context: Context, rows: int, k: int) -> Deep:
    """Give the factors of `rows` rows and `k` terms; made once for all spellings."""
    asked = (context.seed, context.device, context.dtype_name, rows, k)
    if asked not in _made:
        rng = random.Random(f"{context.seed} {k}")  # noqa: S311 - test data
        parts = _segments(k)
        a, f = ([rng.choice((-1.0, 1.0)) for _ in range(n)] for n in (rows, 2))
        b = [float(rng.randint(1, 3)) for _ in range(k)]
        sums, shared = [math.fsum(b[i] for i in part) for part in parts], math.fsum(a)
        _made[asked] = Deep(
            context.tensor(a)[:, None] * context.tensor(b),
            context.tensor([[float(i in part) for part in parts] for i in range(k)]),
            [p * s for p in a for s in sums],
            context.tensor([[float(i % 2 == c) for c in (0, 1)] for i in range(k)]),
            f,
            [f[i % 2] for i in range(k)],
            [shared * p * q for p in b for q in f],
        )
    return _made[asked]


def _lengths(context: Context) -> Sequence[int]:
    """Choose lengths: all of them, but where each costs a search for the way to compute it."""
    searched = context.ident.split(".")[1].startswith("conv") and not context.at_least("full")
    return LENGTHS[1::4] if searched else LENGTHS


def _some(context: Context) -> Sequence[int]:
    """Choose lengths where another check meets all of them, or where oracles are slow."""
    return LENGTHS if context.at_least("full") else LENGTHS[1::3]


@check(oracle="sums of at most 64 small integers, exact", level="quick", dtypes=("float32", "bfloat16"), each=CORE)
@check(oracle="sums of at most 64 small integers, exact", dtypes=("float32",), more=("float64",), each=REST)
@trajectory.unthreaded
def inner(context: Context, call: Any) -> None:
    """{row} over 65 to 1,025 terms is exact, and so are its gradients."""
    torch = context.torch
    rows = 2 if context.ident.split(".")[1] in FEW_ROWS else ROWS
    with precision.full(torch):
        for k in _lengths(context):
            deep = _deep(context, rows, k)
            context.exact(call(torch, deep.left, deep.weights), deep.right, what=f"{rows} x {k} x {k // SEGMENT + 1}")
            if k not in _some(context):
                continue
            found = passes.backward(context, lambda p, q: call(torch, p, q), [deep.left, deep.halves], deep.upstream)[1]
            by_left = found[0].contiguous()
            passes.judge_period(context, by_left, deep.by_left, bound=0.0, what=f"gradient by the first factor, {k}")
            context.exact(found[1], deep.by_halves, what=f"gradient by the second factor, {k}")


@check(oracle="sums of at most 64 small integers, exact", dtypes=("float32", "bfloat16"), each=CORE)
@trajectory.unthreaded
def outer(context: Context, call: Any) -> None:
    """{row} of 65 to 1,025 rows is exact, and so is the gradient by what all of them share."""
    torch, rng = context.torch, context.rng()
    with precision.full(torch):
        for m in _some(context):
            parts = _segments(m)
            b = [float(rng.randint(1, 3)) for _ in range(m)]
            shared = [[rng.choice((-1.0, 1.0)) for _ in range(3)] for _ in parts]
            f = [rng.choice((-1.0, 1.0)) for _ in range(3)]
            left = context.tensor([[b[i] * (i in part) for part in parts] for i in range(m)])
            got, by = passes.backward(context, lambda p, q: call(torch, p, q), [left, context.tensor(shared)], f)
            context.exact(got, [p * q for i, p in enumerate(b) for q in shared[i // SEGMENT]], what=f"{m} rows")
            slopes = [math.fsum(map(float.__mul__, f, line)) for line in shared]
            by_rows = by[0].contiguous()
            passes.judge_period(context, by_rows, slopes, bound=0.0, what=f"gradient by {m} rows")
            sums = [math.fsum(b[i] for i in part) * q for part in parts for q in f]
            context.exact(by[1], sums, what=f"gradient summed over {m} rows")


def _shares(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(v - top) for v in logits]
    return [p / math.fsum(powers) for p in powers]


@check(oracle="softmax in float64", dtypes=("float32",), more=("float64",), needs=("torch.export",))  # 2.1: scale
@trajectory.unthreaded
def attention(context: Context) -> None:
    """Attention over 65 to 1,025 keys, and over heads as deep, counts every one of them."""
    torch, rng = context.torch, context.rng()
    function = torch.nn.functional.scaled_dot_product_attention
    with precision.full(torch):
        for n in _some(context):
            parts = _segments(n)
            logits = [rng.randint(-8, 8) / 8 for _ in range(n)]
            shares = _shares(logits)
            right = [math.fsum(shares[i] for i in part) for part in parts]
            key, value = (
                context.tensor(logits)[:, None],
                context.tensor([[float(i in p) for p in parts] for i in range(n)]),
            )
            query = context.tensor([[1.0]] * 5)
            width = len(parts)
            wide = torch.nn.functional.pad(key, (0, width - 1)), torch.nn.functional.pad(query, (0, width - 1))
            got = function(wide[1][None, None], wide[0][None, None], value[None, None], scale=1.0)
            # n terms below 1, each with a few roundings of its own: positive, so that they cannot cancel.
            context.close(got, right * 5, bound=4 * math.sqrt(n) + 16, what=f"{n} keys")
            b = [float(rng.randint(1, 3)) for _ in range(n)]
            keys = context.tensor([[float(i in p) for i in range(n)] for p in parts])
            scores = [math.fsum(b[i] for i in p) / 64 for p in parts]
            got = function(
                context.tensor(b)[None, None, None],
                keys[None, None],
                torch.eye(width, n).to(keys)[None, None],
                scale=1 / 64,
            )
            # The scores, up to 3, are exact; their differences and exp round.
            context.close(got[..., :width], _shares(scores), bound=32.0, what=f"heads {n} deep")


@check(oracle="square roots of exact sums of squares", dtypes=("float32",), more=("float64",))
@trajectory.unthreaded
def distances(context: Context) -> None:
    """Distances, norms and similarities of points with 65 to 1,025 coordinates count every one of them."""
    torch, rng = context.torch, context.rng()
    functional = torch.nn.functional
    for n in LENGTHS:
        rows = [[float(rng.randint(-3, 3)) for _ in range(n)] for _ in range(3)]
        x, y = context.tensor(rows[:1]), context.tensor(rows[1:])
        squares = [sum((p - q) ** 2 for p, q in zip(rows[0], row)) for row in rows[1:]]
        sums = [sum(abs(p - q) for p, q in zip(rows[0], row)) for row in rows[1:]]
        sizes = [math.sqrt(sum(v * v for v in row)) for row in rows]
        direct = {"compute_mode": "donot_use_mm_for_euclid_dist"}
        similar = [sum(map(float.__mul__, rows[0], row)) / (sizes[0] * size) for row, size in zip(rows[1:], sizes[1:])]
        for what, got, right, cancel in (
            ("cdist", torch.cdist(x, y, **direct), [math.sqrt(s) for s in squares], 0.0),
            # |x|**2 + |y|**2 - 2 x y: integers, exact
            (
                "cdist by a product",
                torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"),
                list(map(math.sqrt, squares)),
                0.0,
            ),
            ("cdist of sums", torch.cdist(x, y, p=1.0), sums, 0.0),
            ("pairwise_distance", functional.pairwise_distance(x, y, eps=0.0), list(map(math.sqrt, squares)), 0.0),
            ("vector_norm", torch.linalg.vector_norm(y, dim=1), sizes[1:], 0.0),
            ("cosine_similarity", functional.cosine_similarity(x, y), similar, 1.0),
        ):
            context.close(got, right, bound=8.0, cancel=cancel, what=f"{what}, {n}")
