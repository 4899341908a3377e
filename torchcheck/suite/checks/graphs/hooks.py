"""Hooks on tensors and on nodes of the graph: chained, ordered, removed, and met by every way to ask for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "integers, by the documented rules of hooks"
FLOAT32 = ("float32",)
X = [1.0, -2.0, 3.0]
G = [1.0, 2.0, -1.0]


def _backward(_: Any, out: Any, x: Any, g: Any) -> Any:
    out.backward(g)
    return x.grad


def _several(torch: Any, out: Any, x: Any, g: Any) -> Any:
    torch.autograd.backward([out, out * 0], [g, g])
    return x.grad


def _inputs(_: Any, out: Any, x: Any, g: Any) -> Any:
    out.backward(g, inputs=[x])
    return x.grad


def _grad(torch: Any, out: Any, x: Any, g: Any) -> Any:
    return torch.autograd.grad(out, x, g)[0]


def _graph(torch: Any, out: Any, x: Any, g: Any) -> Any:
    return torch.autograd.grad(out, x, g, create_graph=True)[0]


def _twice(torch: Any, out: Any, x: Any, g: Any) -> Any:
    torch.autograd.grad(out, x, g, retain_graph=True)
    return torch.autograd.grad(out, x, g)[0]


# Ways to ask for the gradient of x, and how often its hooks are called.
WAYS: dict[str, tuple[Callable[..., Any], int]] = {
    "backward": (_backward, 1),
    "autograd.backward of two": (_several, 1),
    "backward(inputs=)": (_inputs, 1),
    "grad": (_grad, 1),
    "grad(create_graph=True)": (_graph, 1),
    "grad, the second time": (_twice, 2),
}


def _place(kind: str, x: Any) -> tuple[Any, Any, list[float], int]:
    """Give the tensor that is hooked, the result, the gradient that the first hook sees, and what follows it."""
    if kind == "leaf":  # used twice: its hook sees the sum
        return x, x * x, [2 * v * g for v, g in zip(X, G)], 1
    if kind == "leaf, by a view":
        return x, x.view(3, 1).t()[0] * 5, [5 * g for g in G], 1
    if kind == "result":
        held = x * 2
        return held, held * held, [4 * v * g for v, g in zip(X, G)], 2
    held = (x * 7).mul_(2)  # changed in place before it is hooked
    return held, held.clone() * 3, [3 * g for g in G], 14


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def tensor_hooks(context: Context) -> None:
    """What a hook of a leaf or a result returns goes to the next hook and on, however the gradient is asked for."""
    torch = context.torch
    g = context.tensor(G)
    for kind in ("leaf", "leaf, by a view", "result", "result, changed in place"):
        for way, (ask, calls) in WAYS.items():
            x = context.tensor(X, grad=True)
            held, out, first, after = _place(kind, x)
            seen: list[Any] = []
            held.register_hook(lambda by, seen=seen: seen.append(context.values(by)))
            gone = held.register_hook(lambda by: by * 1000)
            held.register_hook(lambda by: by * 3)
            held.register_hook(lambda by: by + 1)
            gone.remove()
            held.register_hook(lambda by, seen=seen: seen.append(context.values(by)))
            last = [3 * v + 1 for v in first]
            by = ask(torch, out, x, g)
            what = f"{kind}, {way}"
            context.exact(seen, [first, last] * calls, what=f"what the first and the last hook see, {what}")
            context.exact(by, [after * v for v in last], what=f"gradient after the hooks, {what}")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def hook_rules(context: Context) -> None:
    """Hooks before an in-place change see the gradient before it; retain_grad sees the last; errors are not lost."""
    torch = context.torch
    g = context.tensor(G)
    x = context.tensor(X, grad=True)
    held = x * 2
    held.retain_grad()
    held.register_hook(lambda by: by * 3)
    (held * 5).backward(g)
    if hasattr(torch, "compile"):  # 2.0: retain_grad comes last, wherever it was called
        context.exact(held.grad, [15 * v for v in G], what="retain_grad, after the hooks")
    context.exact(x.grad, [30 * v for v in G], what="gradient behind retain_grad")
    x = context.tensor(X, grad=True)
    held = x * 2
    order: list[str] = []
    held.register_hook(lambda by: _told(order, "before", by + 1))
    held.mul_(4)
    held.register_hook(lambda by: _told(order, "after", by * 3))
    held.backward(g)
    context.exact(order, ["after", "before"], what="order around a change in place")
    context.exact(x.grad, [(3 * v * 4 + 1) * 2 for v in G], what="gradient around a change in place")
    x = context.tensor(X, grad=True)
    x.register_hook(lambda by: by * by)
    (slope,) = torch.autograd.grad((x * x).sum(), x, create_graph=True)
    context.exact(slope, [4 * v * v for v in X], what="a hook that squares")
    context.exact(torch.autograd.grad(slope.sum(), x)[0], [64 * v * v for v in X], what="and is hooked again")
    context.raises(RuntimeError, context.tensor(X).register_hook, print, what="a tensor without gradient has no hooks")
    x = context.tensor(X, grad=True)

    def refuse(_: Any) -> None:
        raise KeyError("refused")

    handle = x.register_hook(refuse)
    context.raises(KeyError, (x * 2).sum().backward, what="a hook's error is raised")
    handle.remove()
    (x * 2).backward(g)
    context.exact(x.grad, [2 * v for v in G], what="gradient after a hook's error")
    inner: list[Any] = []

    def ask(by: Any) -> Any:
        with torch.enable_grad():
            own = by.detach().requires_grad_()
            inner.append(context.values(torch.autograd.grad((own * own).sum(), own)[0]))

    x = context.tensor(X, grad=True)
    x.register_hook(ask)
    (x * 2).backward(g)
    context.exact(inner, [[4 * v for v in G]], what="a backward pass inside a hook")


@check(oracle=RULES, level="quick", dtypes=FLOAT32, needs=("torch.Tensor.register_post_accumulate_grad_hook",))
@trajectory.unthreaded
def accumulate_hooks(context: Context) -> None:
    """Post-accumulate hooks see the sum after other hooks, may clear or change it, and are not for autograd.grad."""
    torch = context.torch
    g = context.tensor(G)
    x, other = context.tensor(X, grad=True), context.tensor(X, grad=True)
    order: list[str] = []
    seen: list[Any] = []
    first = x.register_post_accumulate_grad_hook(lambda p: seen.append(context.values(p.grad)))
    x.register_post_accumulate_grad_hook(lambda _: order.append("accumulated"))
    x.register_post_accumulate_grad_hook(_tenfold)
    x.register_hook(lambda by: _told(order, "tensor", by * 2))
    torch.autograd.grad(x * 3, x, g)
    context.exact([len(seen), x.grad is None], [0, True], what="nothing is accumulated by autograd.grad")
    (x * 3 + other).backward(g, inputs=[other])
    context.exact(len(seen), 0, what="nor by backward(inputs=) of another")
    order.clear()
    (x * 3).backward(g)
    context.exact(order, ["tensor", "accumulated"], what="order")
    context.exact(seen, [6 * v for v in G], what="what the hook sees")
    context.exact(x.grad, [60 * v for v in G], what="a gradient that its hook changed in place")
    (x * 3).backward(g, inputs=[x])
    context.exact(seen[1:], [66 * v for v in G], what="the sum of the old and the new, by backward(inputs=)")
    first.remove()
    x.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    (x * 3).backward(g)
    context.exact([len(seen), x.grad is None], [2, True], what="one hook removed, and one that clears the gradient")
    context.raises(
        RuntimeError, (x * 2).register_post_accumulate_grad_hook, print, what="a result has no post-accumulate hooks"
    )
    steps = [context.tensor(X, grad=True) for _ in range(2)]
    for leaf in steps:  # an optimizer's step inside the backward pass
        leaf.register_post_accumulate_grad_hook(_descend)
    for _ in range(2):
        (steps[0] * 2 + steps[1] * 4).backward(g)
    for leaf, slope in zip(steps, (2, 4)):
        context.exact(leaf, [v - 2 * 0.5 * slope * q for v, q in zip(X, G)], what="two steps inside backward")


def _told(order: list[str], name: str, result: Any) -> Any:
    order.append(name)
    return result


def _tenfold(p: Any) -> None:
    p.grad.mul_(10)


def _descend(p: Any) -> None:
    p.data.sub_(p.grad, alpha=0.5)
    p.grad = None


@check(oracle=RULES, dtypes=FLOAT32)
@trajectory.unthreaded
def node_hooks(context: Context) -> None:
    """Hooks of nodes, before and after, see their gradients and change them; those of many tensors see all of them."""
    torch = context.torch
    g = context.tensor(G)
    x, y = context.tensor(X, grad=True), context.tensor(X, grad=True)
    out = x * 2 + y
    product = next(fn for fn, _ in out.grad_fn.next_functions if "Mul" in fn.name())
    seen: list[Any] = []
    product.register_hook(lambda gave, _: (gave[0] * 3, *gave[1:]))
    product.register_hook(lambda gave, took: seen.append((context.values(gave[0]), context.values(took[0]))))
    product.register_prehook(lambda took: (took[0] + 1,))
    removed = product.register_prehook(lambda took: (took[0] * 100,))
    removed.remove()
    out.backward(g)
    context.exact(x.grad, [(v + 1) * 6 for v in G], what="gradient through hooks of a node")
    context.exact(seen, [([(v + 1) * 6 for v in G], [v + 1 for v in G])], what="what the last hook of a node sees")
    context.exact(y.grad, G, what="gradient past the node")
    every = getattr(torch.autograd.graph, "register_multi_grad_hook", None)
    if every is None:
        return
    unused = context.tensor(X, grad=True)
    met: list[Any] = []
    handle = every((x, y, unused), lambda grads: met.append([None if v is None else context.values(v) for v in grads]))
    (x * 2 + y).backward(g)
    context.exact(met, [[[2 * v for v in G], G, None]], what="a hook of three tensors, one of them unused")
    handle.remove()
    (x * 2 + y).backward(g)
    context.exact(len(met), 1, what="and after it is removed")
    if "mode" in every.__code__.co_varnames[: every.__code__.co_argcount + every.__code__.co_kwonlyargcount]:
        first: list[Any] = []
        any_ = every((x, unused), lambda by: first.append(context.values(by)), mode="any")
        (x * 4).backward(g)
        any_.remove()
        context.exact(first, [[4 * v for v in G]], what="a hook of any of two tensors")
