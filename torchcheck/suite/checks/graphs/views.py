"""Views: changed in place through any, a base and its other views follow, in numbers, versions and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import passes, trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "elements counted by hand, integers"
RULES = "the documented rules of views and versions"
FLOAT32 = ("float32",)
# Views of a base of 2 x 3 x 2, and which of its twelve elements they show, in order.
ALL = list(range(12))
VIEWS: dict[str, tuple[Callable[[Any], Any], list[int]]] = {
    "index": (lambda t: t[1], ALL[6:]),
    "slice": (lambda t: t[:, 1:], [2, 3, 4, 5, 8, 9, 10, 11]),
    "slice with steps": (lambda t: t[:, ::2, 1:], [1, 5, 7, 11]),
    "slice with None and an ellipsis": (lambda t: t[None, ..., 1], [1, 3, 5, 7, 9, 11]),
    "select": (lambda t: t.select(1, 1), [2, 3, 8, 9]),
    "narrow": (lambda t: t.narrow(1, 0, 2), [0, 1, 2, 3, 6, 7, 8, 9]),
    "view": (lambda t: t.view(3, 4), ALL),
    "view(-1)": (lambda t: t.view(-1)[5:], ALL[5:]),
    "view_as": (lambda t: t.view_as(t.new_zeros(4, 3)), ALL),
    "reshape": (lambda t: t.reshape(6, 2), ALL),
    "flatten": (lambda t: t.flatten(1), ALL),
    "unflatten": (lambda t: t.view(12).unflatten(0, (4, 3)), ALL),
    "unsqueeze": (lambda t: t.unsqueeze(1), ALL),
    "squeeze": (lambda t: t[:, :1].squeeze(1), [0, 1, 6, 7]),
    "transpose": (lambda t: t.transpose(0, 1), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]),
    "permute": (lambda t: t.permute(2, 0, 1), [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]),
    "t of a row": (lambda t: t[0].t(), [0, 2, 4, 1, 3, 5]),
    "mT": (lambda t: t.mT, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]),
    "movedim": (lambda t: t.movedim(2, 0), [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]),
    "diagonal": (lambda t: t.diagonal(0, 0, 1), [0, 8, 1, 9]),
    "unfold": (lambda t: t.unfold(1, 1, 2), [0, 1, 4, 5, 6, 7, 10, 11]),
    "as_strided": (lambda t: t.as_strided((2, 2), (6, 2), 1), [1, 3, 7, 9]),
    "detached dims": (lambda t: t.expand(2, 3, 2)[0], ALL[:6]),
    "a view of a view of a view": (lambda t: t.permute(1, 0, 2)[1:].reshape(2, 2, 2)[:, 1], [8, 9, 10, 11]),
}


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def changed_in_place(context: Context) -> None:
    """A view of every kind, changed in place, changes its base, other views and versions, and gradients follow."""
    x, g, f = (passes.integers(context, 12, salt) for salt in "xgf")
    upstream = context.tensor(g).reshape(2, 3, 2)
    for name, (view, shown) in VIEWS.items():
        a, b = context.tensor(x, grad=True), context.tensor(f[: len(shown)], grad=True)
        base = (a * 1).reshape(2, 3, 2)
        before, version = view(base), base._version  # noqa: SLF001
        other = base[1, 2]
        seen = view(base)
        seen.mul_(b.view(seen.shape)).add_(5)
        factors = [1.0] * 12
        for i, k in zip(shown, f):
            factors[i] = k
        right = [v * k + (5 if i in shown else 0) for i, (v, k) in enumerate(zip(x, factors))]
        context.exact(base, right, what=f"base after a change, {name}")
        context.exact(before, [right[i] for i in shown], what=f"an older view after it, {name}")
        context.exact(other, right[10:], what=f"another view after it, {name}")
        versions = {t._version for t in (base, before, seen, other)}  # noqa: SLF001
        context.exact(sorted(versions), [version + 2], what=f"one version for all, {name}")
        base.mul_(2)
        context.exact(seen, [2 * right[i] for i in shown], what=f"view after its base changed, {name}")
        (view(base).sum() + (base * upstream).sum() + before.sum()).backward()
        weights = [2 * (k + 2 * (i in shown)) for i, k in enumerate(g)]
        context.exact(a.grad, [w * k for w, k in zip(weights, factors)], what=f"gradient by the base, {name}")
        context.exact(b.grad, [weights[i] * x[i] for i in shown], what=f"gradient by what came in, {name}")


ASSIGN: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda t, b: t.__setitem__(1, b[0]),
    "slice": lambda t, b: t.__setitem__((slice(None), slice(0, 2)), b[:2]),
    "list of places": lambda t, b: t.__setitem__((0, [2, 0]), b[:2]),
    "mask": lambda t, b: t.__setitem__(t.new_tensor([[0, 1, 1], [1, 0, 0]]) > 0, b),
    "copy_": lambda t, b: t.copy_(b),
    "copy_ of a view": lambda t, b: t[1].copy_(b),
    "fill_": lambda t, b: t[:, 1].fill_(b.sum()),
    "zero_": lambda t, _: t[0].zero_(),
    "masked_fill_": lambda t, _: t.masked_fill_(t.new_tensor([[0, 1, 1], [1, 0, 0]]) > 0, 9.0),
    "index_fill_": lambda t, _: t.index_fill_(1, t.new_tensor([0, 2]).long(), 9.0),
    "index_copy_": lambda t, b: t.index_copy_(0, t.new_tensor([1]).long(), b[None]),
    "index_add_": lambda t, b: t.index_add_(0, t.new_tensor([1, 1]).long(), b.expand(2, 3)),
    "scatter_": lambda t, b: t.scatter_(1, t.new_tensor([[2], [0]]).long(), b[1:, None]),
    "scatter_add_": lambda t, b: t.scatter_add_(1, t.new_tensor([[2], [2]]).long(), b[1:, None]),
}
# Assignments into 2 x 3: for each element what is kept of it, and what of b (three numbers) comes in, with its slope.
KEEP = [1.0] * 6
INTO: dict[str, tuple[list[float], Callable[[list[float]], list[float]], list[list[float]]]] = {
    "index": ([1, 1, 1, 0, 0, 0], lambda b: [0, 0, 0, *[b[0]] * 3], [[0, 0, 0, 1, 1, 1], [0] * 6, [0] * 6]),
    "slice": ([0, 0, 1, 0, 0, 1], lambda b: [*b[:2], 0] * 2, [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0] * 6]),
    "list of places": (
        [0, 1, 0, 1, 1, 1],
        lambda b: [b[1], 0, b[0], 0, 0, 0],
        [[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6],
    ),
    "mask": (
        [1, 0, 0, 0, 1, 1],
        lambda b: [0, *b, 0, 0],
        [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]],
    ),
    "copy_": ([0] * 6, lambda b: b * 2, [[1, 0, 0] * 2, [0, 1, 0] * 2, [0, 0, 1] * 2]),
    "copy_ of a view": (
        [1, 1, 1, 0, 0, 0],
        lambda b: [0, 0, 0, *b],
        [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]],
    ),
    "fill_": ([1, 0, 1] * 2, lambda b: [0, sum(b), 0] * 2, [[0, 1, 0] * 2] * 3),
    "zero_": ([0, 0, 0, 1, 1, 1], lambda _: [0] * 6, [[0] * 6] * 3),
    "masked_fill_": ([1, 0, 0, 0, 1, 1], lambda _: [0, 9, 9, 9, 0, 0], [[0] * 6] * 3),
    "index_fill_": ([0, 1, 0] * 2, lambda _: [9, 0, 9] * 2, [[0] * 6] * 3),
    "index_copy_": (
        [1, 1, 1, 0, 0, 0],
        lambda b: [0, 0, 0, *b],
        [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]],
    ),
    "index_add_": (
        KEEP,
        lambda b: [0, 0, 0, *[2 * v for v in b]],
        [[0, 0, 0, 2, 0, 0], [0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 2]],
    ),
    "scatter_": (
        [1, 1, 0, 0, 1, 1],
        lambda b: [0, 0, b[1], b[2], 0, 0],
        [[0] * 6, [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]],
    ),
    "scatter_add_": (KEEP, lambda b: [0, 0, b[1], 0, 0, b[2]], [[0] * 6, [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]),
}


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def assigned(context: Context) -> None:
    """Assignments of every spelling into a tensor cut the gradient of what they replace and lead that of the new."""
    x, b, g = passes.integers(context, 6, "x"), passes.integers(context, 3, "b"), passes.integers(context, 6, "g")
    for name, (keep, come, slopes) in INTO.items():
        for turned in (False, True):
            leaf, new = context.tensor(x, grad=True), context.tensor(b, grad=True)
            held = (leaf * 1).reshape(2, 3)
            target = held.t().clone().t() if turned else held
            version = target._version  # noqa: SLF001
            ASSIGN[name](target, new)
            what = f"{name}{', transposed' if turned else ''}"
            context.exact(target, [v * k + n for v, k, n in zip(x, keep, come(b))], what=f"value, {what}")
            context.true(target._version > version, what=f"version, {what}")  # noqa: SLF001
            target.backward(context.tensor(g).reshape(2, 3))
            context.exact(leaf.grad, [k * q for k, q in zip(keep, g)], what=f"gradient of the old, {what}")
            if any(map(any, slopes)):
                right = [sum(s * q for s, q in zip(row, g)) for row in slopes]
                context.exact(new.grad, right, what=f"gradient of the new, {what}")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def versions(context: Context) -> None:
    """What shares memory shares its version, .data has its own; what would give wrong gradients is refused."""
    torch = context.torch
    x = [1.0, -2.0, 3.0, 4.0]
    takes: tuple[tuple[str, Callable[[Any], Any], bool], ...] = (
        ("detach()", lambda t: t.detach(), True),
        ("detach_() of a copy", lambda t: t.detach()[:], True),
        (".data", lambda t: t.data, False),
        ("a view under no_grad", lambda t: _quietly(torch, lambda: t[1:]), True),
        ("clone()", lambda t: t.detach().clone(), False),
    )
    for what, take, shared in takes:
        a = context.tensor(x, grad=True)
        saved = a * 2
        square = saved * saved
        part = take(saved)
        with torch.no_grad():
            part.add_(1)
        context.exact(saved._version, int(shared), what=f"version after a change of {what}")  # noqa: SLF001
        if shared:
            context.raises(RuntimeError, square.sum().backward, what=f"a change of {what} is noticed by backward")
        elif what == "clone()":
            square.sum().backward()
            context.exact(a.grad, [8 * v for v in x], what="gradient after a change of a copy")
    changes: tuple[tuple[str, Callable[[Any], Any]], ...] = (
        ("under no_grad", lambda t: _quietly(torch, lambda: t.mul_(2))),
        ("of a view", lambda t: t[:1].mul_(2)),
        ("by out=", lambda t: _quietly(torch, lambda: torch.add(t.detach(), 1, out=t.detach()))),
        ("by copy_", lambda t: t.copy_(t.detach() + 1)),
        ("by +=", lambda t: t.__iadd__(1)),
        ("by a foreach function", lambda t: _quietly(torch, lambda: torch._foreach_add_([t], 1.0))),
        ("by addcdiv_", lambda t: _quietly(torch, lambda: t.addcdiv_(t, t + 9, value=-1.0))),
        ("by an initializer", lambda t: torch.nn.init.constant_(t, 2.0)),
    )
    for what, change in changes:
        saved = context.tensor(x, grad=True) * 1
        out = saved.exp() * saved
        change(saved)
        context.raises(RuntimeError, out.sum().backward, what=f"a change {what} is noticed by backward")
        source = context.tensor(x, grad=True)
        saved = source * 1
        out = saved.exp() * 2
        change(saved)
        out.sum().backward()
        right = [2 * math.exp(v) for v in x]  # exp saves its result
        context.close(source.grad, right, bound=6.0, what=f"gradient after a change {what} of what nobody saved")
    leaf = context.tensor(x, grad=True)
    refused: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("a leaf in place", lambda: leaf.mul_(2)),
        ("a view of a leaf in place", lambda: leaf[1:].mul_(2)),
        ("one of unbind's views in place", lambda: (leaf * 1).unbind()[0].mul_(2)),
        ("one of chunk's views in place", lambda: (leaf * 1).chunk(2)[0].mul_(2)),
        ("one of split's views in place", lambda: (leaf * 1).split(2)[1].mul_(2)),
        ("an expanded tensor in place", lambda: (leaf[0] * 1).expand(3).mul_(2)),
        ("a view that no_grad made, in place", lambda: _quietly(torch, lambda: leaf[1:]).mul_(2)),
        ("out= that needs a gradient", lambda: torch.add(leaf, 1, out=leaf * 1)),
    )
    for what, call in refused:
        context.raises(RuntimeError, call, what=f"{what} is refused")
    context.exact(leaf, x, what="the leaf after all that was refused")


def _quietly(torch: Any, call: Callable[[], Any]) -> Any:
    with torch.no_grad():
        return call()
