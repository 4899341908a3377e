"""Derivatives along directions: forward mode in its levels and through every kind of function, vjp, jvp, linearize."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check
from .slopes import PLACES

if TYPE_CHECKING:
    from ...context import Context

EXACT = "derivatives of polynomials at integers, exact"
FLOAT32 = ("float32",)
X, Y = [1.0, -2.0, 3.0, -1.0], [4.0, 5.0, -6.0, 2.0]
S, T = [2.0, -1.0, 3.0, 1.0], [-3.0, 1.0, 2.0, 4.0]
Numbers = list[float]


def _matrix(a: Numbers, b: Numbers) -> Numbers:
    """Multiply two 2 x 2 matrices that are laid out flat."""
    return [a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]]


def _added(p: Numbers, q: Numbers) -> Numbers:
    return [u + v for u, v in zip(p, q)]


def _squares(a: Any, b: Any) -> Any:
    return a.view(2, 2), b.view(2, 2)


def _in_place(a: Any, b: Any) -> Any:
    made = a.clone()
    made.mul_(b)
    made[1:3] += b[:2]
    return made


# name: (function of two tensors, what it gives of the tangents s of a and t of b at X and Y)
CALLS: dict[str, tuple[Callable[[Any, Any, Any], Any], Callable[[Numbers, Numbers], Numbers]]] = {
    "add": (lambda _, a, b: a + b * 2, lambda s, t: [u + 2 * v for u, v in zip(s, t)]),
    "subtract": (lambda _, a, b: 1 - a - b, lambda s, t: [-u - v for u, v in zip(s, t)]),
    "multiply": (lambda _, a, b: a * b, lambda s, t: [u * q + p * v for u, v, p, q in zip(s, t, X, Y)]),
    "square": (lambda _, a, b: a**2 + b.square(), lambda s, t: [2 * (p * u + q * v) for u, v, p, q in zip(s, t, X, Y)]),
    "sum": (lambda _, a, b: (a * b).sum(), lambda s, t: [sum(u * q + p * v for u, v, p, q in zip(s, t, X, Y))]),
    "dot": (lambda t, a, b: t.dot(a, b), lambda s, t: [sum(u * q + p * v for u, v, p, q in zip(s, t, X, Y))]),
    "outer": (
        lambda t, a, b: t.outer(a[:2], b[:2]),
        lambda s, t: [s[i] * Y[j] + X[i] * t[j] for i in (0, 1) for j in (0, 1)],
    ),
    "matmul": (lambda t, a, b: t.matmul(*_squares(a, b)), lambda s, t: _added(_matrix(s, Y), _matrix(X, t))),
    "linear": (
        lambda t, a, b: t.nn.functional.linear(a.view(2, 2), b.view(2, 2).t(), a[:2]),
        lambda s, t: _added(_added(_matrix(s, Y), _matrix(X, t)), [*s[:2], *s[:2]]),
    ),
    "addmm": (
        lambda t, a, b: t.addmm(b.view(2, 2), *_squares(a, b), beta=3, alpha=2),
        lambda s, t: [3 * v + 2 * w for v, w in zip(t, _added(_matrix(s, Y), _matrix(X, t)))],
    ),
    "cat": (lambda t, a, b: t.cat((a[:1], b, a[2:])), lambda s, t: [s[0], *t, *s[2:]]),
    "stack": (lambda t, a, b: t.stack((a, b), 1), lambda s, t: [v for pair in zip(s, t) for v in pair]),
    "where": (lambda t, a, b: t.where(a > 0, a, b), lambda s, t: [s[0], t[1], s[2], t[3]]),
    "index": (
        lambda t, a, b: a[t.tensor([3, 0, 0], device=a.device)] * b[1],
        lambda s, t: [s[i] * Y[1] + X[i] * t[1] for i in (3, 0, 0)],
    ),
    "maximum": (lambda t, a, b: t.maximum(a, b), lambda s, t: [u if p > q else v for u, v, p, q in zip(s, t, X, Y)]),
    "relu": (lambda _, a, b: a.relu() + b.clamp(-5, 4.5), lambda s, t: [s[0] + t[0], 0.0, s[2], t[3]]),
    "abs": (lambda _, a, b: a.abs() - b, lambda s, t: [u * (1 if p > 0 else -1) - v for u, v, p in zip(s, t, X)]),
    "cumsum": (lambda _, a, b: (a - b).cumsum(0), lambda s, t: [sum(s[: i + 1]) - sum(t[: i + 1]) for i in range(4)]),
    "prod": (lambda _, a, b: a.prod() * b[0], lambda s, t: [sum(6 / p * u for p, u in zip(X, s)) * 4 + 6 * t[0]]),
    "mean": (
        lambda _, a, b: a.mean() + b.view(2, 2).mean(0),
        lambda s, t: [sum(s) / 4 + (t[i] + t[i + 2]) / 2 for i in (0, 1)],
    ),
    "expand": (lambda _, a, b: a.expand(2, 4) * b, lambda s, t: [u * q + p * v for u, v, p, q in zip(s, t, X, Y)] * 2),
    "permute": (
        lambda _, a, b: a.view(2, 2).t().reshape(4) * b.flip(0),
        lambda s, t: [s[i] * Y[3 - k] + X[i] * t[3 - k] for k, i in enumerate((0, 2, 1, 3))],
    ),
    "in place": (
        lambda _, a, b: _in_place(a, b),
        lambda s, t: [s[i] * Y[i] + X[i] * t[i] + (t[i - 1] if i in (1, 2) else 0) for i in range(4)],
    ),
    "detach": (lambda _, a, b: a.detach() * b + a, lambda s, t: [p * v + u for u, v, p in zip(s, t, X)]),
    "mse_loss": (
        lambda t, a, b: t.nn.functional.mse_loss(a, b, reduction="sum"),
        lambda s, t: [sum(2 * (p - q) * (u - v) for u, v, p, q in zip(s, t, X, Y))],
    ),
    "conv1d": (
        lambda t, a, b: t.nn.functional.conv1d(a.view(1, 1, 4), b[:2].view(1, 1, 2)).flatten(),
        lambda s, t: [s[i] * Y[0] + s[i + 1] * Y[1] + X[i] * t[0] + X[i + 1] * t[1] for i in range(3)],
    ),
    "gather": (
        lambda t, a, b: a.gather(0, t.tensor([2, 2, 1], device=a.device)) + b[:3],
        lambda s, t: [s[2] + t[0], s[2] + t[1], s[1] + t[2]],
    ),
}


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.jvp",))
@trajectory.unthreaded
def along(context: Context) -> None:
    """Tangents of one argument, of the other and of both go through every kind of function as its derivative says."""
    torch, func = context.torch, context.torch.func
    x, y, s, t = (context.tensor(v) for v in (X, Y, S, T))
    ahead = torch.autograd.forward_ad
    none = [0.0] * 4
    for number, (name, (call, rule)) in enumerate(CALLS.items()):
        right = rule(S, T)
        context.exact([*map(sum, zip(rule(S, none), rule(none, T)))], right, what=f"the oracle is linear, {name}")
        if name in ("multiply", "cat", "in place"):
            value, got = func.jvp(lambda a, b, call=call: call(torch, a, b), (x, y), (s, t))
            context.exact(got, right, what=f"func.jvp of both, {name}")
            context.exact(value, context.values(call(torch, x, y)), what=f"value beside it, {name}")
        first, second = ("the first", (s, None), rule(S, none)), ("the second", (None, t), rule(none, T))
        alone = (first, second) if context.at_least("full") else ((first, second)[number % 2],)
        for what, tangents, expected in (*alone, ("both", (s, t), right)):
            with ahead.dual_level():
                duals = [v if d is None else ahead.make_dual(v, d) for v, d in zip((x, y), tangents)]
                found = ahead.unpack_dual(call(torch, *duals)).tangent
                flat = [0.0] * len(expected) if found is None else context.values(found)
            context.exact(flat, expected, what=f"tangent of {what}, {name}")


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.vjp",))
@trajectory.unthreaded
def products(context: Context) -> None:
    """vjp, jvp and linearize take several arguments, outputs and structures, in every mode, and more than once."""
    torch, func = context.torch, context.torch.func
    x, y, s, t = (context.tensor(v) for v in (X, Y, S, T))

    def two(a: Any, b: Any) -> Any:
        return a * b, {"sum": (a * a).sum()}

    first = [a * b for a, b in zip(X, Y)]
    ahead = [u * b + a * v for a, b, u, v in zip(X, Y, S, T)]
    for place, mode in PLACES.items():
        with mode(torch):
            (value, held), pull = func.vjp(two, x, y)
            context.exact(value, first, what=f"value of vjp{place}")
            context.exact(held["sum"], sum(a * a for a in X), what=f"second value of vjp{place}")
            for k in (1.0, -2.0):
                by_x, by_y = pull((s * k, {"sum": context.tensor(k)}))
                context.exact(by_x, [k * (u * b + 2 * a) for a, b, u in zip(X, Y, S)], what=f"vjp by the first{place}")
                context.exact(by_y, [k * u * a for a, u in zip(X, S)], what=f"vjp by the second{place}")
            value, pull, more = func.vjp(lambda a: (a * a, a.sum()), x, has_aux=True)
            context.exact(
                [*pull(s)[0].tolist(), float(more)],
                [*(2 * a * u for a, u in zip(X, S)), sum(X)],
                what=f"vjp with has_aux{place}",
            )
            for tangents, right in (
                ((s, t), ahead),
                ((s, t * 0), [u * b for b, u in zip(Y, S)]),
                ((s * 0, t), [a * v for a, v in zip(X, T)]),
            ):
                (value, held), (got, also) = func.jvp(two, (x, y), tangents)
                context.exact(got, right, what=f"jvp{place}")
                slope = sum(2 * a * u for a, u in zip(X, context.values(tangents[0])))
                context.exact(
                    [float(held["sum"]), float(also["sum"])],
                    [sum(a * a for a in X), slope],
                    what=f"jvp, second output{place}",
                )
    value, got, more = func.jvp(lambda a: (a * a, a.sum()), (x,), (s,), has_aux=True)
    context.exact(
        [*got.tolist(), float(more)],
        [*(2 * a * u for a, u in zip(X, S)), sum(X)],
        what="jvp with has_aux",
    )
    along = func.jvp(func.grad(lambda a: (a**3).sum()), (x,), (s,))[1]
    context.exact(along, [6 * a * u for a, u in zip(X, S)], what="forward over reverse")
    along = func.grad(lambda a: func.jvp(lambda b: (b**3).sum(), (a,), (s,))[1])(x)
    context.exact(along, [6 * a * u for a, u in zip(X, S)], what="reverse over forward")
    along = func.jvp(lambda a: func.jvp(lambda b: b**3, (a,), (s,))[1], (x,), (t,))[1]
    context.exact(along, [6 * a * u * v for a, u, v in zip(X, S, T)], what="forward over forward")


@check(oracle=EXACT, level="full", dtypes=FLOAT32, needs=("torch.func.linearize",))
@trajectory.unthreaded
def linearized(context: Context) -> None:
    """linearize gives the value and a function of directions that can be called again."""
    x, y, s, t = (context.tensor(v) for v in (X, Y, S, T))
    value, push = context.torch.func.linearize(lambda a, b: a * b, x, y)
    context.exact(value, [a * b for a, b in zip(X, Y)], what="value of linearize")
    ahead = [u * b + a * v for a, b, u, v in zip(X, Y, S, T)]
    for k in (1.0, 3.0):
        context.exact(push(s * k, t * k), [k * v for v in ahead], what=f"{k} times the direction")


@check(oracle=EXACT, dtypes=FLOAT32)
@trajectory.unthreaded
def levels(context: Context) -> None:
    """Dual numbers end with their level, live through no_grad, views and modules, and meet reverse mode."""
    torch, ahead = context.torch, context.torch.autograd.forward_ad
    x, s = context.tensor(X), context.tensor(S)
    with ahead.dual_level():
        dual = ahead.make_dual(x, s)
        plain = ahead.unpack_dual(x * 2)
        context.true(plain.tangent is None, what="what is no dual has no tangent")
        context.exact(ahead.unpack_dual(dual).primal, X, what="primal")
        with torch.no_grad():
            context.exact(ahead.unpack_dual(dual * 3).tangent, [3 * u for u in S], what="tangent under no_grad")
        view = (dual * 1)[1:3]
        view.mul_(5)
        context.exact(ahead.unpack_dual(view).tangent, [5 * u for u in S[1:3]], what="tangent of a view, in place")
        empty = torch.zeros_like(x)
        empty.copy_(dual)
        context.exact(ahead.unpack_dual(empty).tangent, S, what="tangent of what a dual was copied into")
        base = torch.zeros_like(x)
        base[1:] = dual[:3] * 2
        context.exact(ahead.unpack_dual(base).tangent, [0.0, *(2 * u for u in S[:3])], what="tangent of an assignment")
        layer = torch.nn.Linear(4, 1, bias=False).to(context.device)
        with torch.no_grad():
            layer.weight.fill_(2.0)
        context.exact(ahead.unpack_dual(layer(dual)).tangent, [2 * sum(S)], what="tangent through a module")
        leaf = context.tensor(X, grad=True)
        tangent = ahead.unpack_dual(ahead.make_dual(leaf, s) ** 3).tangent
        (by,) = torch.autograd.grad(tangent.sum(), leaf)
        context.exact(by, [6 * a * u for a, u in zip(X, S)], what="gradient of a tangent")
        context.raises(RuntimeError, ahead.make_dual, x, s[:2], what="a tangent of another shape is refused")
    context.true(
        ahead.unpack_dual(dual).tangent is None if hasattr(torch, "func") else True, what="no tangent after its level"
    )
    with ahead.dual_level():
        context.true(ahead.unpack_dual(x * dual).tangent is None, what="nor in the next level")
    context.raises(Exception, ahead.make_dual, x, s, what="no dual outside a level")
