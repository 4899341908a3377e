"""Matrix products: exact on integers in every form and shape, and in no less precision than was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import products
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

INTEGERS = "sums of products of small integers, exact in any order"


@dataclass(frozen=True)
class Product:
    """One way that torch multiplies.

    Attributes:
        spec: the product, as einsum writes it.
        apply: (torch, *factors) -> result.
        sizes: lengths of the indices; over a thousand results where that is cheap.
        out: (torch, output, *factors): the same into a given tensor or in place, where there is such a form.
    """

    spec: str
    apply: Callable[..., Any]
    sizes: Mapping[str, int]
    out: Callable[..., Any] | None = None


MATRIX = {"i": 33, "k": 5, "j": 31}
BATCH = {"b": 7, "i": 11, "k": 5, "j": 15}
PRODUCTS = {
    "mm": Product("ik,kj->ij", lambda t, a, b: t.mm(a, b), MATRIX, lambda t, o, a, b: t.mm(a, b, out=o)),
    "mm_transposed": Product("ki,jk->ij", lambda t, a, b: t.mm(a.t(), b.t()), MATRIX),
    "matmul": Product("ik,kj->ij", lambda _, a, b: a @ b, MATRIX, lambda t, o, a, b: t.matmul(a, b, out=o)),
    "addmm": Product(
        "ik,kj->ij",
        lambda t, a, b: t.addmm(a.new_ones(a.shape[0], 1), a, b, beta=-1, alpha=2) * 0.5 + 0.5,
        MATRIX,
        lambda t, o, a, b: t.addmm(a.new_zeros(1, b.shape[1]), a, b, out=o),
    ),
    "addmm_inplace": Product(
        "ik,kj->ij", lambda _, a, b: a.new_ones(a.shape[0], b.shape[1]).addmm_(a, b).sub_(1), MATRIX
    ),
    "bmm": Product("bik,bkj->bij", lambda t, a, b: t.bmm(a, b), BATCH, lambda t, o, a, b: t.bmm(a, b, out=o)),
    "bmm_transposed": Product("bki,bjk->bij", lambda t, a, b: t.bmm(a.transpose(1, 2), b.mT), BATCH),
    "baddbmm": Product(
        "bik,bkj->bij",
        lambda t, a, b: t.baddbmm(a.new_ones(1, 1, 15), a, b, beta=3, alpha=2) * 0.5 - 1.5,
        BATCH,
        lambda _, o, a, b: o.zero_().baddbmm_(a, b),
    ),
    "addbmm": Product(
        "bik,bkj->ij", lambda t, a, b: t.addbmm(a.new_ones(1), a, b) - 1, {**BATCH, "i": 37, "j": 28, "b": 3}
    ),
    "matmul_broadcast": Product("bik,kj->bij", lambda _, a, b: a @ b, BATCH),
    "matmul_broadcast_left": Product("ik,bkj->bij", lambda _, a, b: a @ b, BATCH),
    "matmul_vector": Product("bik,k->bi", lambda _, a, b: a @ b, {"b": 29, "i": 37, "k": 5}),
    "mv": Product("ik,k->i", lambda t, a, b: t.mv(a, b), {"i": 1033, "k": 7}, lambda t, o, a, b: t.mv(a, b, out=o)),
    "addmv": Product(
        "ik,k->i",
        lambda t, a, b: t.addmv(a.new_ones(1), a, b, beta=2, alpha=2) * 0.5 - 1,
        {"i": 1033, "k": 7},
        lambda _, o, a, b: o.zero_().addmv_(a, b),
    ),
    "dot": Product("k,k->", lambda t, a, b: t.dot(a, b), {"k": 67}, lambda t, o, a, b: t.dot(a, b, out=o)),
    "vdot": Product("k,k->", lambda t, a, b: t.vdot(a, b), {"k": 67}),
    "inner": Product("ik,jk->ij", lambda t, a, b: t.inner(a, b), MATRIX),
    "outer": Product("i,j->ij", lambda t, a, b: t.outer(a, b), {"i": 33, "j": 31}),
    "addr": Product(
        "i,j->ij",
        lambda t, a, b: t.addr(a.new_full((1, 1), 8), a, b) - 8,
        {"i": 33, "j": 31},
        lambda _, o, a, b: o.zero_().addr_(a, b),
    ),
    "linear": Product("ik,jk->ij", lambda t, a, b: t.nn.functional.linear(a, b), MATRIX),
    "linear_bias": Product(
        "ik,jk->ij",
        lambda t, a, b: t.nn.functional.linear(a, b, a.new_full((b.shape[0],), 3)) - 3,
        MATRIX,
    ),
    "linear_batch": Product("bik,jk->bij", lambda t, a, b: t.nn.functional.linear(a, b), BATCH),
    "bilinear": Product(
        "bi,oij,bj->bo", lambda t, a, w, b: t.nn.functional.bilinear(a, b, w), {"b": 9, "i": 3, "j": 3, "o": 113}
    ),
    "einsum": Product(
        "bik,bjk,i->bj", lambda t, a, b, c: t.einsum("bik,bjk,i->bj", a, b, c), {"b": 29, "i": 3, "j": 37, "k": 1}
    ),
    "tensordot": Product(
        "aik,kib->ab", lambda t, a, b: t.tensordot(a, b, ([1, 2], [1, 0])), {"a": 33, "i": 3, "k": 1, "b": 31}
    ),
    "multi_dot": Product(
        "ik,kl,lj->ij", lambda t, *factors: t.linalg.multi_dot(factors), {"i": 33, "k": 3, "l": 3, "j": 31}
    ),
    "kron": Product("ij,kl->ikjl", lambda t, a, b: t.kron(a, b).reshape(7, 6, 5, 5), {"i": 7, "j": 5, "k": 6, "l": 5}),
}


def _draw(context: Context, count: int, salt: object) -> tuple[float, ...]:
    """Draw odd integers: an odd number of their products never sums to 0, where a relative error would hide."""
    values = (-3.0, -1.0, 1.0, 3.0) if context.format.digits >= 24 else (-1.0, 1.0)
    return tuple(context.rng(salt).choices(values, k=count))


CORE, REST = passes.parted(PRODUCTS, ("mm", "addmm", "bmm", "mv", "dot", "linear_bias"))


@check(oracle=INTEGERS, level="quick", dtypes=FLOATS, each=CORE)
@check(oracle=INTEGERS, dtypes=("float32",), each=REST)
def product(context: Context, row: Product) -> None:
    """{row} of small integers and its gradients are exact."""
    groups, result = products.parse(row.spec)
    factors = tuple(_draw(context, products.size(group, row.sizes), i) for i, group in enumerate(groups))
    upstream = _draw(context, products.size(result, row.sizes), "upstream")
    right, *gradients = products.contract(row.spec, tuple(row.sizes.items()), factors, upstream)
    tensors = [
        context.tensor(values).reshape([row.sizes[name] for name in group]) for values, group in zip(factors, groups)
    ]
    output, found = passes.backward(context, lambda *leaves: row.apply(context.torch, *leaves), tensors, upstream)
    context.exact(output, right, what="product")
    for i, (got, expected) in enumerate(zip(found, gradients)):
        context.exact(got, expected, what=f"gradient by factor {i + 1}")
    if row.out is not None:
        into = context.torch.empty_like(output.detach())
        row.out(context.torch, into, *tensors)
        context.exact(into, right, what="product into a given tensor")


EDGES = (1, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129)
DEEP = ((33, 1024, 35), (64, 1000, 64), (17, 4097, 9), (1, 2048, 130), (130, 300, 1), (257, 65, 255))


def _rank_one(context: Context, m: int, k: int, n: int, top: int = 3) -> tuple[list[float], ...]:
    """Draw a, b, c, d of A = a b^T and B = c d^T, with b . c far from 0."""
    rng = context.rng(m, k, n)
    positive = [float(v) for v in range(1, top + 1)]
    signed = [-v for v in positive] + positive
    return rng.choices(signed, k=m), rng.choices(positive, k=k), rng.choices(positive, k=k), rng.choices(signed, k=n)


def _sizes(context: Context) -> list[tuple[int, int, int]]:
    """Choose shapes: every edge on every side once, cubes as well at full, a few when quick or in float64."""
    mixed = list(zip(EDGES, EDGES[5:] + EDGES[:5], EDGES[10:] + EDGES[:10]))
    if context.at_least("full"):
        return [*mixed, *((s, s, s) for s in EDGES), *DEEP]
    few = not context.at_least("default") or context.dtype_name == "float64"
    return [*mixed[::5], *DEEP[:2]] if few else [*mixed, *DEEP]


@check(oracle="rank-one factors: (a b^T)(c d^T) = (b . c) a d^T, exact integers", level="quick", dtypes=FLOATS[:2])
def shapes(context: Context) -> None:
    """Matrix products are exact in every shape around the edges of tiles and blocks, for deep sums too."""
    torch = context.torch
    for m, k, n in _sizes(context):
        a, b, c, d = _rank_one(context, m, k, n)
        inner = sum(p * q for p, q in zip(b, c))
        left = context.tensor(a)[:, None] * context.tensor(b)
        right = context.tensor(c)[:, None] * context.tensor(d)
        scaled = [inner * q for q in d]
        expected = [p * q for p in a for q in scaled]
        context.exact(torch.mm(left, right), expected, what=f"{m} x {k} x {n}")
        if (m, k, n) in DEEP or context.at_least("full"):
            context.exact(
                torch.mm(left.t().contiguous().t(), right.t().contiguous().t()),
                expected,
                what=f"{m} x {k} x {n}, columns first",
            )
            batch = torch.bmm(left.expand(3, m, k), right.expand(3, k, n))
            context.exact(batch, expected * 3, what=f"{m} x {k} x {n}, batch of 3")
            if m == 33:
                context.exact(left @ right[:, 0], [p * inner * d[0] for p in a], what=f"{m} x {k} times a vector")


@check(
    oracle="13-bit integers, which TF32, float16 and bfloat16 cannot hold", level="quick", dtypes=("float32",), lax=True
)
def precise(context: Context) -> None:
    """float32 products are computed in float32, unless something less was allowed."""
    torch, rng = context.torch, context.rng()
    n = 65
    a = [[float(rng.choice((-1, 1)) * (4097 + 2 * rng.randint(0, 1900))) for _ in range(n)] for _ in range(n)]
    d = [float(rng.choice((-1, 1))) for _ in range(n)]
    left, row = context.tensor(a), context.tensor(d)
    right = context.tensor([1.0] * n)[:, None] * row
    sums = [sum(line) for line in a]
    expected = [s * q for s in sums for q in d]
    for what, multiply in PRECISE.items():
        lax = precision.allowed(torch)
        got = context.values(multiply(torch, left, right))
        if lax and got != expected:
            context.note(f"float32 {what} runs in lower precision here, as allowed by {', '.join(lax)}")
            with precision.full(torch):
                got = context.values(multiply(torch, left, right))
        context.exact(got, expected, what=f"{what}: 13-bit integers, sums below 2**20")


PRECISE: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "mm": lambda _, a, b: a @ b,
    "addmm": lambda t, a, b: t.addmm(a.new_zeros(1), a, b),
    "bmm": lambda t, a, b: t.bmm(a[None], b[None]),
    "linear": lambda t, a, b: t.nn.functional.linear(a, b.t()),
    "second factor": lambda _, a, b: (b.t() @ a.t()).t(),
    "einsum": lambda t, a, b: t.einsum("ik,kj->ij", a, b),
}


@check(oracle="sums of ones", level="quick", dtypes=FLOATS)
def accumulates(context: Context) -> None:
    """Long sums of products do not stall in a narrow accumulator."""
    torch = context.torch
    n = 4096
    ones = context.tensor([1.0] * n)
    for what, got in (
        ("dot", torch.dot(ones, ones)),
        ("mv", torch.mv(ones[None].expand(3, n), ones)),
        ("mm", torch.mm(ones[None].expand(3, n), ones[:, None].expand(n, 5))),
        ("linear", torch.nn.functional.linear(ones.expand(2, n), ones.expand(3, n))),
        ("sum", ones.sum()),
        ("sum over a dim", ones.expand(3, n).sum(1)),
    ):
        context.exact(got, [float(n)] * got.numel(), what=f"{what} of {n} ones")


@check(oracle="the documented meaning of beta = 0", dtypes=("float32",))
def ignores_input(context: Context) -> None:
    """With beta = 0 what is added to counts for nothing, NaN included."""
    torch, rng = context.torch, context.rng()
    a, b = ([[float(rng.randint(1, 5)) for _ in range(7)] for _ in range(7)] for _ in "ab")
    expected = [sum(p * q for p, q in zip(row, column)) for row in a for column in zip(*b)]
    left, right = context.tensor(a), context.tensor(b)
    nothing = torch.full_like(left, float("nan"))
    context.exact(torch.addmm(nothing, left, right, beta=0), expected, what="addmm")
    context.exact(torch.baddbmm(nothing[None], left[None], right[None], beta=0), expected, what="baddbmm")
    context.exact(torch.addmv(nothing[0], left, right[:, 0], beta=0), expected[::7], what="addmv")
    context.exact(torch.addbmm(nothing, left[None], right[None], beta=0), expected, what="addbmm")
    empty = torch.mm(left[:, :0], right[:0])
    context.exact(empty, [0.0] * 49, what="a product over an empty dim is zero")
    sparse = left.to_sparse()
    context.exact(torch.sparse.mm(sparse, right), expected, what="sparse times dense")


@check(oracle="the same call, bit by bit", dtypes=("float32",))
def repeats(context: Context) -> None:
    """The same product gives the same exact integers every time."""
    rng = context.rng()
    n = 48
    a, b = ([[float(rng.randint(-9, 9)) for _ in range(n)] for _ in range(n)] for _ in "ab")
    columns: Sequence[Any] = list(zip(*b))
    expected = [sum(p * q for p, q in zip(row, column)) for row in a for column in columns]
    left, right = context.tensor(a), context.tensor(b)
    for _ in range(200 if context.at_least("full") else 20):
        got = context.values(left @ right)
        if got != expected:
            break
    context.exact(got, expected, what="products of the same matrices, over and over")


@check(
    oracle=INTEGERS,
    dtypes=("float32",),
    each={name: PRODUCTS[name] for name in ("mm", "bmm", "linear", "mv", "einsum")},
)
def double_backward(context: Context, row: Product) -> None:
    """Differentiating the gradient of {row} again, as a gradient penalty does, is exact."""
    torch = context.torch
    groups, result = products.parse(row.spec)
    values = [_draw(context, products.size(group, row.sizes), i) for i, group in enumerate((*groups, result))]
    direction = _draw(context, len(values[0]), "direction")
    # <gradient by the first factor, direction> is the same product with the direction in the first one's place.
    right, _, *slopes = products.contract(row.spec, tuple(row.sizes.items()), (direction, *values[1:-1]), values[-1])
    first, *others = (
        context.tensor(v).reshape([row.sizes[n] for n in group]).requires_grad_()
        for v, group in zip(values, (*groups, result))
    )
    output = row.apply(torch, first, *others[:-1])
    by_first = torch.autograd.grad(output, first, others[-1], create_graph=True)[0]
    second = torch.autograd.grad(by_first, others, context.tensor(direction).reshape(first.shape))
    for i, (got, expected) in enumerate(zip(second, (*slopes, right))):
        context.exact(got, expected, what=f"penalty by operand {i + 2}")
