"""vmap: which dims are mapped, of what structures, where they come out, in which chunks and with which draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "the same function, row by row in plain Python"
FLOAT32 = ("float32",)
A = [[1.0, 2.0, 3.0], [4.0, -5.0, 6.0]]
B = [10.0, 20.0]
C = [7.0, 8.0, 9.0]
T = [list(column) for column in zip(*A)]


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.vmap",))
@trajectory.unthreaded
def dims(context: Context) -> None:
    """in_dims and out_dims of every form choose what is mapped and where it comes out; what does not fit is refused."""
    torch, vmap = context.torch, context.torch.func.vmap
    a, b, c = (context.tensor(v) for v in (A, B, C))
    summed = [sum(row) for row in A]
    cases: dict[str, tuple[Callable[[], Any], list[float]]] = {
        "rows": (lambda: vmap(lambda u: u.sum())(a), summed),
        "columns, counted from the end": (lambda: vmap(lambda u: u.sum(), in_dims=-1)(a), [sum(r) for r in T]),
        "rows beside numbers": (lambda: vmap(lambda u, v: u.sum() * v)(a, b), [s * v for s, v in zip(summed, B)]),
        "columns beside a vector": (
            lambda: vmap(lambda u, v: u * v, in_dims=(1, 0))(a, c),
            [x * v for r, v in zip(T, C) for x in r],
        ),
        "rows beside a whole": (
            lambda: vmap(lambda u, v: (u * v).sum(), in_dims=(0, None))(a, c),
            [sum(x * v for x, v in zip(r, C)) for r in A],
        ),
        "a whole beside numbers": (
            lambda: vmap(lambda u, v: u.sum() + v, in_dims=(None, 0))(a, b),
            [sum(summed) + v for v in B],
        ),
        "a number of Python": (
            lambda: vmap(lambda u, k: u.sum() * k, in_dims=(0, None))(a, 3),
            [3 * s for s in summed],
        ),
        "a dict": (lambda: vmap(lambda d: d["u"].sum() + d["v"])({"u": a, "v": b}), [s + v for s, v in zip(summed, B)]),
        "dims of a dict": (
            lambda: vmap(lambda d: d["u"].sum() + d["v"], in_dims=({"u": 1, "v": None},))({"u": a, "v": b[1]}),
            [sum(r) + B[1] for r in T],
        ),
        "dims of a list": (
            lambda: vmap(lambda d, v: d[0].sum() + d[1].sum() + v, in_dims=([0, None], 0))([a, c], b),
            [s + sum(C) + v for s, v in zip(summed, B)],
        ),
        "a keyword, which is whole": (
            lambda: vmap(lambda u, v: u.sum() + v)(a, v=b),
            [s + v for s in summed for v in B],
        ),
        "out at 1": (lambda: vmap(lambda u: u * 2, out_dims=1)(a), [2 * x for r in T for x in r]),
        "out at the end": (
            lambda: vmap(lambda u: u[:, None] * c, out_dims=-1)(a),
            [r[i] * v for i in range(3) for v in C for r in A],
        ),
        "columns in and out": (
            lambda: vmap(lambda u: u.cumsum(0), in_dims=1, out_dims=1)(a),
            [*A[0], *(x + y for x, y in zip(*A))],
        ),
        "a constant": (lambda: vmap(lambda _: c * 2)(a), [2 * v for v in C] * 2),
        "no dim out": (lambda: vmap(lambda _: c * 2, out_dims=None)(a), [2 * v for v in C]),
        "nested": (
            lambda: vmap(lambda u: vmap(lambda x, y: x * y, (0, None))(u, b))(a),
            [x * v for r in A for x in r for v in B],
        ),
        "nested, both whole": (
            lambda: vmap(lambda x: vmap(lambda y: x * y)(c))(b),
            [x * y for x in B for y in C],
        ),
        "nested, out at 1 and 1": (
            lambda: vmap(vmap(lambda u, v: u * v, (0, None)), (0, 0), 1)(a, b),
            [r[i] * v for i in range(3) for r, v in zip(A, B)],
        ),
        "in place": (lambda: vmap(lambda u, v: u.clone().mul_(v))(a, b), [x * v for r, v in zip(A, B) for x in r]),
        "of what is made inside": (
            lambda: vmap(lambda u: torch.zeros(3, device=u.device).add(u))(a),
            [x for r in A for x in r],
        ),
        "of a matrix product": (
            lambda: vmap(lambda u, v: u @ v, (None, 0))(a, context.tensor([C, A[0]])),
            [sum(x * y for x, y in zip(r, v)) for v in (C, A[0]) for r in A],
        ),
        "of a choice": (
            lambda: vmap(lambda u, v: torch.where(u > v / 4, u, v))(a, b),
            [x if x > v / 4 else v for r, v in zip(A, B) for x in r],
        ),
        "of a method that sorts": (
            lambda: vmap(lambda u: u.sort(descending=True)[0])(a),
            [x for r in A for x in sorted(r)[::-1]],
        ),
    }
    for name, (call, right) in cases.items():
        context.exact(call(), right, what=name)
    for chunk in (1, 2, 3):
        got = vmap(lambda u, v: (u * v, {"sum": u.sum()}), (1, 0), (0, 0), chunk_size=chunk)(a, c)
        context.exact(got[0], [x * v for r, v in zip(T, C) for x in r], what=f"in chunks of {chunk}")
        context.exact(got[1]["sum"], [sum(r) for r in T], what=f"a structure in chunks of {chunk}")
    first, held = vmap(lambda u, v: (u * v, {"v": v, "u": u}), out_dims=(1, {"v": 0, "u": -1}))(a, b)
    context.exact(first, [r[i] * v for i in range(3) for r, v in zip(A, B)], what="first of several outputs")
    context.exact(held["v"], B, what="second of several outputs")
    context.exact(held["u"], [x for r in T for x in r], what="third of several outputs")
    refused: dict[str, Callable[[], Any]] = {
        "sizes that differ": lambda: vmap(lambda u, v: u.sum() + v)(a, c),
        "a dim that is not there": lambda: vmap(lambda u: u, in_dims=2)(a),
        "nothing mapped": lambda: vmap(lambda u: u, in_dims=None)(a),
        "a choice by Python": lambda: vmap(lambda u: u if u.sum() > 0 else -u)(a),
        "a number by item": lambda: vmap(lambda u: u * u.sum().item())(a),
        "what is mapped into what is not": lambda: vmap(lambda u: torch.zeros(3, device=u.device).add_(u))(a),
    }
    for name, call in refused.items():
        context.raises((ValueError, RuntimeError, IndexError), call, what=f"{name} is refused")


@check(oracle="equal rows, different rows", dtypes=FLOAT32, needs=("torch.func.vmap",))
@trajectory.unthreaded
def draws(context: Context) -> None:
    """Draws inside vmap are refused, the same for all or different for each, as asked, and are those of the seed."""
    torch, vmap = context.torch, context.torch.func.vmap
    x = context.tensor([[1.0] * 16] * 3)
    half = torch.full((16,), 0.5, device=context.device)
    # Where the mapped tensor itself is drawn for, torch refuses "the same".
    calls: dict[str, tuple[Callable[[Any], Any], bool]] = {
        "rand_like": (torch.rand_like, False),
        "randn": (lambda u: torch.randn(16, device=u.device) + u * 0, True),
        "bernoulli": (lambda u: torch.bernoulli(u / 2), False),
        "bernoulli of a whole": (lambda u: torch.bernoulli(half) + u, True),
        "dropout": (lambda u: torch.nn.functional.dropout(u, 0.5), False),
        "uniform_": (lambda u: u.clone().uniform_(), False),
        "randint": (lambda u: torch.randint(0, 1000, (16,), device=u.device) + u, True),
        "randperm": (lambda u: torch.randperm(16, device=u.device) + u, True),
    }
    for name, (call, alike) in calls.items():
        context.raises(RuntimeError, vmap(call), x, what=f"{name} is refused unless it is allowed")
        for asked, count in (("same", 1), ("different", 3)) if alike else (("different", 3),):
            torch.manual_seed(context.seed + 3)
            rows = vmap(call, randomness=asked)(x)
            context.exact(len({tuple(row) for row in rows.tolist()}), count, what=f"different rows of {name}, {asked}")
            torch.manual_seed(context.seed + 3)
            again = vmap(call, randomness=asked)(x)
            context.exact(again, context.values(rows), what=f"{name} again from the seed, {asked}")
