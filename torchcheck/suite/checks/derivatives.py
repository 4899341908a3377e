"""Derivatives of derivatives: create_graph, Hessians, function transforms, gradient penalties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles import elementary, losses, normalisation, transformer
from ..oracles.tape import Num, backward, dot, leaves, sqrt
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

POLYNOMIAL = "derivatives of polynomials at integers, exact"
RULES = "the documented rules of autograd"
FLOAT32 = ("float32",)


@check(oracle=POLYNOMIAL, level="quick", dtypes=FLOAT32)
def double_backward(context: Context) -> None:
    """Second and third derivatives through create_graph are those of the polynomial."""
    torch = context.torch
    x = passes.integers(context, 7)
    a = context.tensor(x, grad=True)
    first = torch.autograd.grad((a**4).sum(), a, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), a, create_graph=True)[0]
    third = torch.autograd.grad(second.sum(), a)[0]
    for order, got, expected in ((1, first, [4 * v**3 for v in x]), (2, second, [12 * v * v for v in x])):
        context.exact(got, expected, what=f"derivative {order} of x**4")
    context.exact(third, [24 * v for v in x], what="derivative 3 of x**4")
    penalty = (torch.autograd.grad((a * a * a).sum(), a, create_graph=True)[0] ** 2).sum()
    penalty.backward()
    context.exact(a.grad, [36 * v**3 for v in x], what="gradient of the gradient penalty |3x**2|**2")


@check(oracle=POLYNOMIAL, dtypes=FLOAT32)
def hessian(context: Context) -> None:
    """Jacobian, Hessian, jvp, vjp, hvp and vmap of known functions are exact."""
    torch = context.torch
    n = 4
    x, v = passes.integers(context, n, "x"), passes.integers(context, n, "v")
    a, w = context.tensor(x), context.tensor(v)
    api = torch.autograd.functional
    # f = (sum x)**2 + sum x**3: Hessian 2 + diag(6x)
    function = lambda t: t.sum() ** 2 + (t**3).sum()  # noqa: E731
    full = [2.0 + (6 * x[i] if i == j else 0) for i in range(n) for j in range(n)]
    product = [2 * sum(v) + 6 * p * q for p, q in zip(x, v)]
    context.exact(api.hessian(function, a), full, what="functional.hessian")
    context.exact(api.hvp(function, a, w)[1], product, what="functional.hvp")
    context.exact(api.vhp(function, a, w)[1], product, what="functional.vhp")
    outer = lambda t: t * t.sum()  # noqa: E731
    jacobian = [x[i] + (sum(x) if i == j else 0) for i in range(n) for j in range(n)]
    context.exact(api.jacobian(outer, a), jacobian, what="functional.jacobian")
    context.exact(api.vjp(outer, a, w)[1], [sum(p * q for p, q in zip(x, v)) + sum(x) * q for q in v], what="vjp")
    context.exact(api.jvp(outer, a, w)[1], [p * sum(v) + sum(x) * q for p, q in zip(x, v)], what="jvp")


@check(oracle=POLYNOMIAL, dtypes=FLOAT32, needs=("torch.func.jacrev", "torch.func.vmap"))
def function_transforms(context: Context) -> None:
    """torch.func: grad, jacrev, jacfwd, hessian, jvp and vmap of known functions are exact."""
    func = context.torch.func
    n = 4
    x, v = passes.integers(context, n, "x"), passes.integers(context, n, "v")
    a, w = context.tensor(x), context.tensor(v)
    function = lambda t: t.sum() ** 2 + (t**3).sum()  # noqa: E731
    outer = lambda t: t * t.sum()  # noqa: E731
    slope = [2 * sum(x) + 3 * p * p for p in x]
    full = [2.0 + (6 * x[i] if i == j else 0) for i in range(n) for j in range(n)]
    jacobian = [x[i] + (sum(x) if i == j else 0) for i in range(n) for j in range(n)]
    context.exact(func.grad(function)(a), slope, what="func.grad")
    context.exact(func.hessian(function)(a), full, what="func.hessian")
    context.exact(func.jacrev(outer)(a), jacobian, what="func.jacrev")
    context.exact(func.jacfwd(outer)(a), jacobian, what="func.jacfwd")
    context.exact(func.jvp(outer, (a,), (w,))[1], [p * sum(v) + sum(x) * q for p, q in zip(x, v)], what="func.jvp")
    both = context.torch.stack((a, w))
    slopes = slope + [2 * sum(v) + 3 * p * p for p in v]
    context.exact(func.vmap(func.grad(function))(both), slopes, what="per-sample gradients by vmap")


TWICE = (
    "exp",
    "log",
    "log1p",
    "expm1",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sigmoid",
    "erf",
    "reciprocal",
    "square",
    "atan",
    "asin",
    "sinh",
    "cosh",
)


@check(
    oracle="differences of the derivative's formula in float64",
    dtypes=("float32",),
    more=("float64",),
    each={n: n for n in TWICE},
)
def second_derivative(context: Context, name: str) -> None:
    """The second derivative of {row} is right, and so is a gradient penalty through it."""
    torch, row, rng = context.torch, elementary.UNARY[name], context.rng()
    assert row.slope is not None
    formula = row.slope

    def slope(x: float) -> float:
        return formula(Num(x), Num(row.value(x))).value

    middle, half = (row.low + row.high) / 2, 0.4 * (row.high - row.low)
    pool = [context.format.round(middle + half * rng.uniform(-1, 1)) for _ in range(41)]
    h = 1e-3 * min(1.0, half)
    around = [[slope(x + k * h) for k in (-3, -2, -1, 1, 2, 3)] for x in pool]
    # Central differences of order 6; what they leave is below 1e-9 of the derivatives around.
    right = [(-a + 9 * b - 45 * c + 45 * d - 9 * e + f) / (60 * h) for a, b, c, d, e, f in around]
    floor = 1e-7 * max(map(abs, right)) if context.dtype_name == "float64" else 0.0
    leaf = passes.tiled(context, pool, 1031).clone().requires_grad_()
    first = torch.autograd.grad(getattr(torch, name)(leaf).sum(), leaf, create_graph=True)[0]
    second = torch.autograd.grad((first * 0.5).sum(), leaf)[0]
    one = 1.0 if name in ("tanh", "sigmoid") else 0.0  # their derivatives cancel from 1
    size = [abs(r) / 2 + max(map(abs, a)) + one for r, a in zip(right, around)]
    passes.judge_period(
        context, second, [r / 2 for r in right], bound=16.0, cancel=size, floor=floor, what="second derivative"
    )


def _layer_norm(xs: Sequence[Num]) -> list[Num]:
    return normalisation.standardise(xs, [list(range(len(xs)))], 0.25)


# name: (in torch, on the tape); the second derivative comes from differences of the tape's first
CURVED: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Sequence[Num]], Sequence[Num]]]] = {
    "layer_norm": (lambda t, x: t.nn.functional.layer_norm(x, (9,), eps=0.25), _layer_norm),
    "batch_norm": (
        lambda t, x: t.nn.functional.batch_norm(x[:, None], None, None, training=True, eps=0.25)[:, 0],
        _layer_norm,
    ),
    "group_norm": (lambda t, x: t.nn.functional.group_norm(x[None], 1, eps=0.25)[0], _layer_norm),
    "log_softmax": (lambda _, x: x.log_softmax(0), losses.log_softmax),
    "softmax": (lambda _, x: x.softmax(0), transformer.softmax),
    "logsumexp": (lambda _, x: x.logsumexp(0), lambda xs: [xs[0] - losses.log_softmax(xs)[0]]),
    "cross_entropy": (
        lambda t, x: t.nn.functional.cross_entropy(x[None], t.tensor([2], device=x.device)),
        lambda xs: [-losses.log_softmax(xs)[2]],
    ),
    "bce_with_logits": (
        lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x, t.full_like(x, 0.25), reduction="none"),
        lambda xs: losses.bce_with_logits({}, xs, [0.25] * 9)[0],
    ),
    "norm": (lambda _, x: x.norm(), lambda xs: [sqrt(dot(xs, xs))]),
    "std": (lambda _, x: x.std(), lambda xs: [sqrt(normalisation.moments(xs)[1] * (9 / 8))]),
    "cosine": (
        lambda t, x: t.nn.functional.cosine_similarity(x[:4], x[4:8], 0),
        lambda xs: [dot(xs[:4], xs[4:8]) / sqrt(dot(xs[:4], xs[:4]) * dot(xs[4:8], xs[4:8]))],
    ),
}


@check(oracle="differences of the tape's gradients in float64", dtypes=("float64",), each=CURVED)
def curvature(context: Context, row: Any) -> None:
    """The gradient of {row} differentiates again to its Hessian."""
    apply, rule = row
    torch, rng = context.torch, context.rng()
    x, v = ([rng.uniform(0.2, 1.5) * rng.choice((-1, 1)) for _ in range(9)] for _ in "xv")
    weights = [rng.uniform(0.5, 1.5) for _ in range(9)]

    def slopes(at: float) -> list[float]:
        nums = leaves(a + at * b for a, b in zip(x, v))
        backward(rule(nums), weights)
        return [n.adjoint for n in nums]

    h = 1e-3
    around = [slopes(k * h) for k in (-3, -2, -1, 1, 2, 3)]
    right = [(-a + 9 * b - 45 * c + 45 * d - 9 * e + f) / (60 * h) for a, b, c, d, e, f in zip(*around)]
    leaf = context.tensor(x, grad=True)
    output = apply(torch, leaf)
    given = context.tensor(weights)[: output.numel()].reshape(output.shape)
    first = torch.autograd.grad(output, leaf, given, create_graph=True)[0]
    second = torch.autograd.grad(first, leaf, context.tensor(v))[0]
    # What differences of order 6 and rounding divided by h leave, of second derivatives of size 1.
    context.close(second, right, bound=1.0, floor=1e-7 * (1 + max(map(abs, right))), what="Hessian times a vector")
