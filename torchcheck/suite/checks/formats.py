"""Each dtype in its own right: products that need every digit, integers that wrap, casts, and types of results."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import Context

Matrix = list[list[int]]
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
PRODUCTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mm": lambda t, a, b: t.mm(a, b),
    "matmul": lambda _, a, b: a @ b,
    "second factor": lambda _, a, b: (b.t() @ a.t()).t(),
    "packed": lambda t, a, b: t.mm(a.t().contiguous().t(), b.t().contiguous().t()),
    "mv": lambda t, a, b: t.stack([t.mv(a, column) for column in b.t()], 1),
    "dot": lambda t, a, b: t.stack([t.dot(row, column) for row in a for column in b.t()]),
    "addmm": lambda t, a, b: t.addmm(t.zeros_like(a[:, :1] @ b[:1]), a, b),
    "bmm": lambda t, a, b: t.bmm(a.expand(3, *a.shape), b.expand(3, *b.shape))[2],
    "baddbmm": lambda t, a, b: t.baddbmm(t.zeros_like(a[:, :1] @ b[:1])[None], a[None], b[None])[0],
    "einsum": lambda t, a, b: t.einsum("ik,kj->ij", a, b),
    "broadcast": lambda t, a, b: t.matmul(a[None, None], b.expand(2, *b.shape))[0, 1],
}
FLOAT_PRODUCTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    **PRODUCTS,
    "tensordot": lambda t, a, b: t.tensordot(a, b, 1),
    "linear": lambda t, a, b: t.nn.functional.linear(a, b.t()),
    "linear with a bias": lambda t, a, b: t.nn.functional.linear(a, b.t(), t.zeros_like(b[0])),
}
SHAPES = ((1, 1, 1), (3, 7, 5), (17, 33, 9))


def _product(a: Matrix, b: Matrix) -> list[int]:
    columns = list(zip(*b))
    return [sum(map(operator.mul, row, column)) for row in a for column in columns]


@check(oracle="integers that need every digit", level="quick", dtypes=FLOATS)
@trajectory.unthreaded
def digits(context: Context) -> None:
    """Products of matrices have all digits of their format, forward and backward, in every spelling."""
    torch, rng, fmt = context.torch, context.rng(), context.format
    # One large odd term and small ones: sums stay between half of 2**digits and all of it, so that they need each
    # digit, and no partial sum is rounded, in whatever order. A format with fewer digits cannot hold the results.
    for rows, inner, columns in SHAPES:
        top = 2**fmt.digits - 1
        large = [rng.randrange(top // 2 + 1 + inner, top - inner) | 1 for _ in range(rows)]
        a = [[*(rng.randint(-1, 1) for _ in range(inner - 1)), big] for big in large]
        b = [[rng.randint(-1, 1) for _ in range(columns)] for _ in range(inner - 1)] + [
            [rng.choice((-1, 1)) for _ in range(columns)]
        ]
        x, y = (context.tensor([[float(v) for v in row] for row in m]) for m in (a, b))
        right = [float(v) for v in _product(a, b)]
        # The gradient by b is a's columns times g: one row of g, so that it is a's own digits.
        g = [[float(i == 0)] * columns for i in range(rows)]
        by_b = [float(a[0][k]) for k in range(inner) for _ in range(columns)]
        by_a = [float(sum(b[k])) if i == 0 else 0.0 for i in range(rows) for k in range(inner)]
        for name, call in FLOAT_PRODUCTS.items():
            what = f"{name}, {rows} x {inner} x {columns}"
            context.exact(call(torch, x, y), right, what=what)
            upstream = [v for row in g for v in row]
            found = passes.backward(context, lambda p, q, c=call: c(torch, p, q), [x, y], upstream)[1]
            for side, (got, by) in enumerate(zip(found, (by_a, by_b))):
                context.exact(got, by, what=f"gradient of {what}, by factor {side + 1}")


def _wrapped(values: list[int], dtype: str) -> list[int]:
    """Take integers modulo 2**bits, into the range of their type."""
    bits, signed = int(dtype.lstrip("uint")), not dtype.startswith("u")
    half = 2 ** (bits - 1) if signed else 0
    return [(v + half) % 2**bits - half for v in values]


@check(oracle="Python's integers modulo 2**bits", level="quick", dtypes=INTEGERS, devices="cpu")
@trajectory.unthreaded
def integer_products(context: Context) -> None:
    """Products of integer matrices are exact, and wrap where their type ends, in every spelling."""
    torch, rng, name = context.torch, context.rng(), context.dtype_name or ""
    low, high = (0, 15) if name == "uint8" else (-11, 11)
    for rows, inner, columns in SHAPES:
        for scale in (1, 7):
            a = [[scale * rng.randint(low, high) for _ in range(inner)] for _ in range(rows)]
            b = [[rng.randint(low, high) for _ in range(columns)] for _ in range(inner)]
            x, y = context.tensor(a), context.tensor(b)
            right = _wrapped(_product(a, b), name)
            for spelling, call in PRODUCTS.items():
                context.exact(call(torch, x, y), right, what=f"{spelling}, {rows} x {inner} x {columns}")
            c = [rng.randint(low, high) for _ in range(columns)]
            got = torch.addmm(context.tensor(c), x, y, beta=3, alpha=2)
            both = [3 * c[i % columns] + 2 * v for i, v in enumerate(_product(a, b))]
            context.exact(got, _wrapped(both, name), what="addmm with beta and alpha")
    a = [[rng.randint(0, 2) for _ in range(4)] for _ in range(4)]
    square = [_product(a, a)[4 * i : 4 * i + 4] for i in range(4)]
    context.exact(torch.matrix_power(context.tensor(a), 3), _wrapped(_product(square, a), name), what="matrix_power")


@check(oracle="Python's integers modulo 2**bits", level="quick", dtypes=INTEGERS)
@trajectory.unthreaded
def integer_sums(context: Context) -> None:
    """Sums and products of integers are int64 and exact unless a type is asked for, in which they wrap."""
    torch, rng, name = context.torch, context.rng(), context.dtype_name or ""
    values = [rng.randint(0 if name == "uint8" else -100, 100) for _ in range(1037)]
    short = [rng.choice((1, 2, 3)) for _ in range(20)]
    x, few = context.tensor(values), context.tensor(short)
    running = list(itertools.accumulate(values))
    products = list(itertools.accumulate(short, operator.mul))
    for what, got, right in (
        ("sum", x.sum(), [running[-1]]),
        ("sum over a dim", x[:1036].reshape(4, 259).sum(1), [sum(values[259 * i : 259 * i + 259]) for i in range(4)]),
        ("cumsum", x.cumsum(0), running),
        ("prod", few.prod(), products[-1:]),
        ("cumprod", few.cumprod(0), products),
    ):
        context.true(got.dtype == torch.int64, what=f"{what} of {name} is int64", got=str(got.dtype))
        context.exact(got, right, what=what)
    context.exact(x.sum(dtype=context.dtype), _wrapped(running[-1:], name), what=f"sum in {name}")
    context.exact(x.cumsum(0, dtype=context.dtype), _wrapped(running, name), what=f"cumsum in {name}")
    right = _wrapped([p * q + 3 * r for p, q, r in zip(values, values[1:], values[2:])], name)
    context.exact(x[:-2] * x[1:-1] + 3 * x[2:], right, what="products and sums that wrap")


# name: (call with a dtype, right result from the exact inputs). All are documented to cast before they compute.
CASTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "functional.softmax": lambda t, x, d: t.nn.functional.softmax(x, 1, dtype=d),
    "torch.softmax": lambda t, x, d: t.softmax(x, 1, d),
    "Tensor.softmax": lambda _, x, d: x.softmax(1, dtype=d),
    "special.softmax": lambda t, x, d: t.special.softmax(x, 1, dtype=d),
    "functional.log_softmax": lambda t, x, d: t.nn.functional.log_softmax(x, 1, dtype=d),
    "Tensor.log_softmax": lambda _, x, d: x.log_softmax(1, dtype=d),
    "functional.softmin": lambda t, x, d: t.nn.functional.softmin(x, 1, dtype=d),
    "sum": lambda _, x, d: x.sum(1, dtype=d),
    "torch.sum": lambda t, x, d: t.sum(x, 1, dtype=d),
    "mean": lambda _, x, d: x.mean(1, dtype=d),
    "prod": lambda _, x, d: x.prod(1, dtype=d),
    "cumsum": lambda _, x, d: x.cumsum(1, dtype=d),
    "cumprod": lambda _, x, d: x.cumprod(1, dtype=d),
    "nansum": lambda _, x, d: x.nansum(1, dtype=d),
    "norm": lambda _, x, d: x.norm(2, 1, dtype=d),
    "vector_norm": lambda t, x, d: t.linalg.vector_norm(x, dim=1, dtype=d),
}


@check(oracle="the same of an input that was cast before", level="quick", dtypes=("float32", "bfloat16", "float16"))
@trajectory.unthreaded
def casts(context: Context) -> None:
    """Functions with a dtype cast their input, not their result: all digits of the wider type are there."""
    torch = context.torch
    x = context.tensor([[v / 8 for v in row] for row in _rows(context)])
    # MPS has no float64.
    wide = torch.float32 if context.device.startswith("mps") or context.dtype_name != "float32" else torch.float64
    name = str(wide).partition(".")[2]
    for spelling, call in CASTS.items():
        got, right = call(torch, x, wide), call(torch, x.to(wide), None)
        context.true(got.dtype == wide, what=f"{spelling} gives {name}", got=str(got.dtype))
        # A fused cast may sum in another order: 23 terms, twice (Higham §4.2).
        context.close(got, context.values(right), bound=64.0, cancel=1.0, dtype=name, what=spelling)


def _rows(context: Context) -> list[list[int]]:
    rng = context.rng()
    return [[rng.choice((-9, -7, -5, 3, 9, 11)) for _ in range(23)] for _ in range(5)]


KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "bfloat16", "float16", "float32", "float64")
KIND = {"bool": 0, **dict.fromkeys(("uint8", "int8", "int16", "int32", "int64"), 1)}
FLOAT = 2


def promoted(a: str, b: str) -> str:
    """Give the type that holds both: the one of the higher kind, else the wider, else what holds either."""
    kinds = KIND.get(a, FLOAT), KIND.get(b, FLOAT)
    if a == b or kinds[0] != kinds[1]:
        return a if kinds[0] >= kinds[1] else b
    if {a, b} == {"bfloat16", "float16"}:
        return "float32"
    if "uint8" in (a, b):
        other = b if a == "uint8" else a
        return "int16" if other == "int8" else other
    return max(a, b, key=KINDS.index)


def resulting(a: str, b: str) -> str:
    """Give the type of a tensor with dimensions and one without: the latter counts where its kind is higher."""
    return b if KIND.get(b, FLOAT) > KIND.get(a, FLOAT) else a


@check(oracle="the documented rules of type promotion", level="quick")
@trajectory.unthreaded
def promotion(context: Context) -> None:
    """Results of two types have the documented one: of tensors, of tensors without dimensions, of numbers."""
    torch = context.torch
    names = [n for n in KINDS if n != "float64" or not context.device.startswith("mps")]
    calls = {
        "+": operator.add,
        "*": operator.mul,
        "torch.mul": torch.mul,
        "Tensor.add": lambda p, q: p.add(q),
        "maximum": torch.maximum,
        "where": lambda p, q: torch.where(p == p, p, q),  # noqa: PLR0124 - true everywhere
    }
    for a, b in itertools.product(names, names):
        p, q = context.tensor([1, 1], dtype=a), context.tensor([1, 0], dtype=b)
        for spelling, call in calls.items():
            for what, got, right in (
                ("", call(p, q), promoted(a, b)),
                (" without dimensions", call(p, q[0]), resulting(a, b)),
                (" without dimensions, first", call(q[0], p), resulting(a, b)),
            ):
                context.true(
                    got.dtype == getattr(torch, right),
                    what=f"{a} {spelling} {b}{what} is {right}",
                    got=str(got.dtype),
                )
        quotient = (p / context.tensor([1, 1], dtype=b)).dtype
        right = promoted(a, b) if FLOAT in (KIND.get(a, FLOAT), KIND.get(b, FLOAT)) else "float32"
        context.true(quotient == getattr(torch, right), what=f"{a} / {b} is {right}", got=str(quotient))
    for a, (number, kind) in itertools.product(names, ((True, "bool"), (2, "int64"), (0.5, "float32"))):
        for spelling, call in (("+", operator.add), ("*", operator.mul)):
            got = call(context.tensor([1, 1], dtype=a), number).dtype
            right = resulting(a, kind)
            context.true(got == getattr(torch, right), what=f"{a} {spelling} {number} is {right}", got=str(got))
