"""Gradients and Jacobians as transforms of functions: torch.func and torch.autograd.functional."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "derivatives of polynomials at integers, exact"
FLOAT32 = ("float32",)
X, Y, G = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [2.0, -1.0, 3.0]
VALUE = sum(a * a * b for a, b in zip(X, Y))
BY_X, BY_Y = [2 * a * b for a, b in zip(X, Y)], [a * a for a in X]


@contextlib.contextmanager
def _both(first: Any, second: Any) -> Any:
    with first, second:
        yield


# Where transforms are called: none of these is about them.
PLACES: dict[str, Callable[[Any], Any]] = {
    "": lambda _: contextlib.nullcontext(),
    " under no_grad": lambda t: t.no_grad(),
    " under no_grad and enable_grad": lambda t: _both(t.no_grad(), t.enable_grad()),
}


def _diagonal(values: list[float]) -> list[float]:
    return [v if i == j else 0.0 for i, v in enumerate(values) for j in range(len(values))]


def _named(context: Context, got: Any, right: list[list[float]], what: str) -> None:
    """Compare one tensor, or several in order."""
    parts = got if isinstance(got, (tuple, list)) else (got,)
    context.exact(len(parts), len(right), what=f"how many, {what}")
    for i, (part, values) in enumerate(zip(parts, right)):
        context.exact(part, values, what=f"{what}, {i}")


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.grad",))
@trajectory.unthreaded
def gradients(context: Context) -> None:
    """func.grad and grad_and_value take their arguments, structures and auxiliary results, nested and in every mode."""
    torch, func = context.torch, context.torch.func
    x, y = context.tensor(X), context.tensor(Y)

    def f(a: Any, b: Any, k: float = 1.0) -> Any:
        return (a * a * b).sum() * k

    def aux(a: Any, b: Any) -> Any:
        return f(a, b), {"product": a * b, "sums": [a.sum()]}

    def inner(a: Any) -> Any:
        return (func.grad(lambda c: (c**3).sum())(a) * a).sum()

    def outside(a: Any) -> Any:
        return func.grad(lambda c: (a * c * c).sum())(y).sum()

    slopes = {0: BY_X, 1: BY_Y, -1: BY_Y}
    for place, mode in PLACES.items():
        with mode(torch):
            for argnums in ((1, 0), None) if place else (None, 0, 1, (0, 1), (1, 0), (0,), -1):
                options = {} if argnums is None else {"argnums": argnums}
                asked = argnums if isinstance(argnums, tuple) else (argnums or 0,)
                right = [slopes[n] for n in asked]
                what = f"argnums={argnums}{place}"
                got = func.grad(f, **options)(x, y)
                context.true(isinstance(got, tuple) == isinstance(argnums, tuple), what=f"a tuple for a tuple, {what}")
                _named(context, got, right, f"grad, {what}")
                if place and argnums is None:
                    continue
                got, value = func.grad_and_value(f, **options)(x, y, k=2.0)
                _named(context, got, [[2 * v for v in part] for part in right], f"grad_and_value, {what}")
                context.exact(value, 2 * VALUE, what=f"value of grad_and_value, {what}")
                if argnums not in (None, (1, 0)):
                    continue
                got, more = func.grad(aux, has_aux=True, **options)(x, y)
                _named(context, got, right, f"grad with has_aux, {what}")
                context.exact(more["product"], [a * b for a, b in zip(X, Y)], what=f"auxiliary result, {what}")
                got, (value, more) = func.grad_and_value(aux, has_aux=True, **options)(x, y)
                context.exact(
                    [float(value), float(more["sums"][0])], [VALUE, sum(X)], what=f"value and auxiliary result, {what}"
                )
            got = func.grad(lambda held: (held["a"] * held["b"][0]).sum())({"a": x, "b": [y, x]})
            context.exact(got["a"], Y, what=f"gradient of a structure, first part{place}")
            context.exact(got["b"][0], X, what=f"gradient of a structure, second part{place}")
            context.exact(got["b"][1], [0.0] * 3, what=f"gradient of a structure, unused part{place}")
            twice = func.grad(inner)(x)
            context.exact(twice, [9 * a * a for a in X], what=f"a gradient inside a gradient{place}")
            mixed = func.grad(outside)(x)
            context.exact(mixed, [2 * b for b in Y], what=f"a gradient by what is outside{place}")
            context.true(not func.grad(f)(x, y).requires_grad, what=f"a gradient of constants has no graph{place}")

    def partly(a: Any) -> Any:
        with torch.no_grad():
            frozen = a * a
        return (frozen * a + a.detach() * a).sum()

    context.exact(func.grad(partly)(x), [a * a + a for a in X], what="no_grad and detach inside")
    leaf = context.tensor(X, grad=True)
    slope = func.grad(f)(leaf, y)
    context.exact(torch.autograd.grad(slope.sum(), leaf)[0], [2 * b for b in Y], what="autograd through func.grad")
    context.true(leaf.grad is None and x.grad is None, what="func.grad fills no .grad")
    context.raises(RuntimeError, func.grad(lambda a: a * 2), x, what="a gradient of a vector is refused")
    context.raises((RuntimeError, TypeError), func.grad(lambda _: 2.0), x, what="a gradient of no tensor is refused")
    kept = x.clone()
    func.grad(lambda a: a.clone().mul_(a).sum())(x)
    context.exact(x, context.values(kept), what="inputs after a change of a copy inside")


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.jacrev",))
@trajectory.unthreaded
def jacobians(context: Context) -> None:
    """jacrev, jacfwd and hessian take arguments, several outputs, auxiliary results and chunks, and they nest."""
    torch, func = context.torch, context.torch.func
    x, y = context.tensor(X), context.tensor(Y)

    def f(a: Any, b: Any) -> Any:
        return a * a * b

    def two(a: Any, b: Any) -> Any:
        return a * b, (a * a).sum()

    for name in ("jacrev", "jacfwd"):
        jacobian = getattr(func, name)
        for place in ("", " under no_grad"):
            with PLACES[place](torch):
                _named(context, jacobian(f)(x, y), [_diagonal(BY_X)], f"{name}{place}")
        _named(context, jacobian(f, argnums=1)(x, y), [_diagonal(BY_Y)], f"{name} by the second")
        right = [_diagonal(BY_Y), _diagonal(BY_X)]
        _named(context, jacobian(f, argnums=(1, 0))(x, y), right, f"{name} by both, turned")
        vector, number = jacobian(two, argnums=(0, 1))(x, y)
        _named(context, vector, [_diagonal(Y), _diagonal(X)], f"{name} of the first of two outputs")
        _named(context, number, [[2 * a for a in X], [0.0] * 3], f"{name} of the second of two outputs")
        got, more = jacobian(lambda a: (a * a, a.sum()), has_aux=True)(x)
        _named(context, (got, more), [_diagonal([2 * a for a in X]), [sum(X)]], f"{name} with has_aux")
        got = jacobian(lambda held: {"out": held["a"] * y})({"a": x})
        context.exact(got["out"]["a"], _diagonal(Y), what=f"{name} of structures")
    options = func.jacrev.__code__.co_varnames
    for chunk in (1, 2) if "chunk_size" in options else ():
        _named(context, func.jacrev(f, chunk_size=chunk)(x, y), [_diagonal(BY_X)], f"jacrev in chunks of {chunk}")
    # (sum a) sum(a b): by a twice b_i + b_j, by a and b [i = j] sum(a) + a_j, by b twice nothing.
    g = lambda a, b: a.sum() * (a * b).sum()  # noqa: E731
    aa = [p + q for p in Y for q in Y]
    ab = [a + sum(X) * (i == j) for i in range(3) for j, a in enumerate(X)]
    ba = [a + sum(X) * (i == j) for i, a in enumerate(X) for j in range(3)]
    for outer, inner in (("jacrev", "jacfwd"), ("jacfwd", "jacfwd")):
        nested = getattr(func, outer)(getattr(func, inner)(g))(x, y)
        _named(context, nested, [aa], f"{outer} of {inner}")
    _named(context, func.hessian(g)(x, y), [aa], "hessian")
    rows = func.hessian(g, argnums=(0, 1))(x, y)
    _named(context, [part for row in rows for part in row], [aa, ab, ba, [0.0] * 9], "hessian by both")
    leaf = context.tensor(X, grad=True)
    whole = func.jacrev(f)(leaf, y)
    context.exact(torch.autograd.grad(whole.sum(), leaf)[0], [2 * b for b in Y], what="autograd through jacrev")


@check(oracle=EXACT, dtypes=FLOAT32)
@trajectory.unthreaded
def functional(context: Context) -> None:
    """autograd.functional takes several inputs and outputs, keeps graphs on demand and is strict when asked."""
    torch, api = context.torch, context.torch.autograd.functional
    x, y, g = (context.tensor(v) for v in (X, Y, G))

    def f(a: Any, b: Any) -> Any:
        return a * a * b

    def two(a: Any, b: Any) -> Any:
        return a * b, a.sum() * 2

    g_x, g_y = [p * q for p, q in zip(BY_X, G)], [p * q for p, q in zip(BY_Y, G)]
    ways: tuple[dict[str, Any], ...] = ({}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"})
    for options in ways:
        rows = api.jacobian(two, (x, y), **options)
        right = [_diagonal(Y), _diagonal(X), [2.0] * 3, [0.0] * 3]
        _named(context, [part for row in rows for part in row], right, f"jacobian of two, {options}")
    h = lambda a, b: (a * a * b).sum() + (a.sum() * b).sum()  # noqa: E731
    right = [_diagonal([2 * b for b in Y]), [1.0 + (2 * a) * (i == j) for i, a in enumerate(X) for j in range(3)]]
    right += [[1.0 + (2 * a) * (i == j) for i in range(3) for j, a in enumerate(X)], [0.0] * 9]
    for options in ({}, {"vectorize": True}, {"vectorize": True, "outer_jacobian_strategy": "forward-mode"}):
        rows = api.hessian(h, (x, y), **options)
        _named(context, [part for row in rows for part in row], right, f"hessian by two, {options}")
    value, by = api.vjp(f, (x, y), g)
    _named(context, (value, *by), [[a * a * b for a, b in zip(X, Y)], g_x, g_y], "vjp by two")
    for tangents in ((g, y), (g, y * 0), (x * 0, g)):
        s, t = (context.values(v) for v in tangents)
        value, ahead = api.jvp(f, (x, y), tangents)
        right_ahead = [p * u + q * v for p, q, u, v in zip(BY_X, BY_Y, s, t)]
        _named(context, (value, ahead), [[a * a * b for a, b in zip(X, Y)], right_ahead], "jvp of two")
        products = [
            [2 * b * u + 2 * a * v + sum(t) for a, b, u, v in zip(X, Y, s, t)],
            [2 * a * u + sum(s) for a, u in zip(X, s)],
        ]
        if s == G:
            for name in ("hvp", "vhp"):
                _named(context, getattr(api, name)(h, (x, y), tangents)[1], products, f"{name} by two")
    cube = lambda t: t * t * t  # noqa: E731
    ones = context.tensor([1.0] * 3)
    ways_on: dict[str, Callable[[Any, bool], Any]] = {
        "jacobian": lambda leaf, on: api.jacobian(cube, leaf, create_graph=on),
        "hessian": lambda leaf, on: api.hessian(lambda t: (t**4).sum() / 4, leaf, create_graph=on),
        "vjp": lambda leaf, on: api.vjp(cube, leaf, ones, create_graph=on)[1],
        "jvp": lambda leaf, on: api.jvp(cube, leaf, ones, create_graph=on)[1],
    }
    for name, call in ways_on.items():
        leaf = context.tensor(X, grad=True)
        context.true(not call(leaf, False).requires_grad, what=f"{name} has no graph unless asked to")
        (by,) = torch.autograd.grad(call(leaf, True).sum(), leaf)
        context.exact(by, [6 * a for a in X], what=f"gradient through {name}")
        context.true(leaf.grad is None, what=f"{name} fills no .grad")
    cut = lambda t: t.detach() * 2  # noqa: E731
    context.raises(RuntimeError, api.jacobian, cut, x, strict=True, what="jacobian, strict, is told")
    context.raises(RuntimeError, api.vjp, cut, x, strict=True, what="vjp, strict, is told")
    context.exact(api.jacobian(cut, x), [0.0] * 9, what="what is not strict gives zeros")
