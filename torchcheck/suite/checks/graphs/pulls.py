"""Asking for gradients: every spelling of backward and grad adds up, keeps, frees, orders and refuses as it should."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "derivatives of polynomials at integers, exact"
FLOAT32 = ("float32",)
X, Y = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0]
G = [1.0, 2.0, -1.0]
# Spellings of backward: (torch, output, gradient, leaves that it is asked for).
SPELLINGS: dict[str, Callable[..., Any]] = {
    "Tensor.backward": lambda _, out, g, __: out.backward(g),
    "Tensor.backward, by name": lambda _, out, g, __: out.backward(gradient=g, retain_graph=False),
    "of a sum": lambda _, out, g, __: (out * g).sum().backward(),
    "autograd.backward": lambda t, out, g, __: t.autograd.backward(out, g),
    "autograd.backward, lists": lambda t, out, g, __: t.autograd.backward([out], [g]),
    "autograd.backward, one of them a scalar": lambda t, out, g, __: t.autograd.backward(
        [out, (out * 0).sum()], [g, None]
    ),
    "Tensor.backward(inputs=list)": lambda _, out, g, leaves: out.backward(g, inputs=leaves),
    "Tensor.backward(inputs=tuple)": lambda _, out, g, leaves: out.backward(g, inputs=tuple(leaves)),
    "autograd.backward(inputs=)": lambda t, out, g, leaves: t.autograd.backward(out, g, inputs=leaves),
    "inputs one by one": lambda _, out, g, leaves: [
        out.backward(g, retain_graph=leaf is not leaves[-1], inputs=leaf) for leaf in leaves
    ],
}


def _detached(torch: Any, out: Any, g: Any, leaves: list[Any]) -> None:
    """Keep the graph of the gradients, and cut it, so that nothing holds itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of just that
        torch.autograd.backward(out, g, create_graph=True, inputs=leaves)
    for leaf in leaves:
        leaf.grad = leaf.grad.detach()


SPELLINGS["create_graph=True"] = _detached


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def adds_up(context: Context) -> None:
    """Every spelling of backward adds to the gradients that are there: none, one's own, frozen or of another layout."""
    torch = context.torch
    g = context.tensor(G)
    for name, pull in SPELLINGS.items():
        x, y, other = (context.tensor(v, grad=True) for v in (X, Y, X))
        x.grad = own = context.tensor([100.0, 200.0, 300.0])
        y.grad = torch.stack((own, own), 1)[:, 0] * 1  # a gradient that was there
        for times in (1, 2, 3):
            pull(torch, x * x * y, g, [x, y])
            by_x = [h + times * 2 * a * b * k for h, a, b, k in zip((100, 200, 300), X, Y, G)]
            by_y = [h + times * a * a * k for h, a, k in zip((100, 200, 300), X, G)]
            context.exact(x.grad, by_x, what=f"gradient by x after {times} calls, {name}")
            context.exact(y.grad, by_y, what=f"gradient by y after {times} calls, {name}")
        context.true(other.grad is None and not x.grad.requires_grad, what=f"nothing else changes, {name}")
        if name != "create_graph=True":
            context.true(x.grad is own, what=f"a gradient that is there is added to in place, {name}")
        y.grad = None
        pull(torch, x * 0 + y * 3, g, [x, y])
        context.exact(y.grad, [3 * k for k in G], what=f"gradient after it was set to None, {name}")


@check(oracle="memory of their own", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def own_memory(context: Context) -> None:
    """Gradients share memory neither with each other nor with what was given, and have their leaf's dtype and shape."""
    torch = context.torch
    sums: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, int]]] = {
        "a sum": (lambda a, b: a + b, (1, 1)),
        "a difference and a view": (lambda a, b: a.view(1, 3)[0] - b, (1, -1)),
        "the leaf twice": (lambda a, b: a + a + b.expand(3), (2, 1)),
        "a copy": (lambda a, b: a.clone() + b.contiguous(), (1, 1)),
        "a sum in place": (lambda a, b: a.clone().add_(b), (1, 1)),
    }
    for name, (call, slopes) in sums.items():
        x, y, g = context.tensor(X, grad=True), context.tensor(Y, grad=True), context.tensor(G)
        out = call(x, y)
        out.retain_grad()
        out.backward(g)
        right = [[s * k for k in G] for s in slopes]
        for spoil in (g, x.grad, out.grad):
            kept = [context.values(t) for t in (x.grad, y.grad)]
            spoil.add_(1000)
            now = [context.values(t) for t in (x.grad, y.grad)]
            expected = [[v + 1000 for v in kept[0]] if spoil is x.grad else kept[0], kept[1]]
            context.exact(now, expected, what=f"gradients after another changed, {name}")
        context.exact([kept[1]], right[1:], what=f"gradient by y, {name}")
        x.grad = None
        call(x, y).backward(context.tensor(G))
        context.exact(x.grad, right[0], what=f"gradient by x, the second time, {name}")
    low = context.tensor([1.5, -2.0], dtype="bfloat16", grad=True)
    high = context.tensor([4.0, 8.0], grad=True)
    (low.float() * high + low).sum().backward()
    context.exact(low.grad, [5.0, 9.0], what="gradient of a leaf in bfloat16")
    context.exact(high.grad, [1.5, -2.0], what="gradient of a leaf in float32")
    context.exact(str(low.grad.dtype), "torch.bfloat16", what="dtype of a gradient")
    image = context.tensor([[[[float(i + 2 * j + 5 * c) for i in range(3)] for j in range(2)] for c in range(2)]])
    leaf = image.contiguous(memory_format=torch.channels_last).requires_grad_()
    for times in (1, 2):
        (leaf * image).transpose(1, 3).backward(torch.full((1, 3, 2, 2), 2.0, device=context.device))
        context.exact(
            leaf.grad, [2 * times * v for v in context.values(image)], what="gradient of a channels-last leaf"
        )


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def asked_for(context: Context) -> None:
    """autograd.grad gives what was asked for, in its order, of leaves, results and outputs, and touches no .grad."""
    torch = context.torch
    grad = torch.autograd.grad
    x, y, z = (context.tensor(v, grad=True) for v in (X, Y, G))
    g, h = context.tensor(G), context.tensor([2.0, -3.0, 1.0])
    middle = x * y
    first, second = middle * middle, middle * z
    by_m = [2 * a * b * k + c * w for a, b, c, k, w in zip(X, Y, G, G, (2, -3, 1))]
    right = {
        "middle": by_m,
        "x": [m * b for m, b in zip(by_m, Y)],
        "y": [m * a for m, a in zip(by_m, X)],
        "z": [a * b * w for a, b, w in zip(X, Y, (2, -3, 1))],
        "first": G,
        "second": [2.0, -3.0, 1.0],
    }
    held = {"middle": middle, "x": x, "y": y, "z": z, "first": first, "second": second}
    for names in (("x", "y", "z"), ("z", "x"), ("middle", "y"), ("first", "x", "second"), ("x", "z", "x")):
        for graph in (False, True):
            got = grad([first, second], [held[n] for n in names], [g, h], retain_graph=True, create_graph=graph)
            for name, by in zip(names, got):
                context.exact(by, right[name], what=f"by {name} of {names}, create_graph={graph}")
                wanted = graph and name not in ("first", "second")
                context.true(by.requires_grad == wanted, what=f"graph of {name} of {names}, create_graph={graph}")
    context.true(all(t.grad is None for t in (x, y, z)), what="autograd.grad fills no .grad")
    context.exact(grad(x.sum() * 2, x)[0], [2.0] * 3, what="of a scalar")
    context.exact(grad((x.sum(), y * y), y, (None, h))[0], [16.0, -30.0, -12.0], what="None for a scalar")
    cube = context.tensor(X, grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cycle, which is cut below
        (cube**3).sum().backward(create_graph=True)
    slope, cube.grad = cube.grad, None
    context.exact(grad(slope.sum(), cube)[0], [6 * v for v in X], what="second derivative by backward(create_graph=)")
    # Every second derivative of x x y + y y z, by pairs.
    f = (x * x * y + y * y * z).sum()
    slopes = grad(f, (x, y, z), create_graph=True)
    mixed: list[list[Any]] = [
        [[2 * b for b in Y], [2 * a for a in X], None],
        [[2 * a for a in X], [2 * c for c in G], [2 * b for b in Y]],
        [None, [2 * b for b in Y], None],
    ]
    for i, slope in enumerate(slopes):
        got = grad(slope.sum(), (x, y, z), retain_graph=True, allow_unused=True)
        for j, (by, expected) in enumerate(zip(got, mixed[i])):
            if expected is None:
                empty = by is None or not any(context.values(by))
                context.true(empty, what=f"second derivative {i}, {j} is none or zero")
            else:
                context.exact(by, expected, what=f"second derivative {i}, {j}")
    if hasattr(torch, "export"):  # 2.1
        got = grad(slopes[0].sum(), (z, x), materialize_grads=True)
        context.exact(got[0], [0.0] * 3, what="what is unused, materialised")
        context.exact(got[1], [2 * b for b in Y], what="beside what is used")
        leaf = context.tensor(X, dtype="float64", grad=True)
        (none,) = grad(x * 2, leaf, g, materialize_grads=True)
        context.exact([str(none.dtype), *none.shape], ["torch.float64", 3], what="dtype and shape of zeros")
    rows = torch.eye(3, device=context.device)
    by_x, by_y = grad(x * x * y, (x, y), rows, is_grads_batched=True)
    diagonal = [[2 * a * b for a, b in zip(X, Y)], [a * a for a in X]]
    for by, d, name in ((by_x, diagonal[0], "x"), (by_y, diagonal[1], "y")):
        whole = [d[i] if i == j else 0.0 for i in range(3) for j in range(3)]
        context.exact(by, whole, what=f"batched gradients of two inputs, by {name}")


@check(oracle="the documented rules of autograd", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def kept_and_refused(context: Context) -> None:
    """A graph is freed unless it is kept; what has no gradient, another shape or no graph any more is refused."""
    torch = context.torch
    grad, g = torch.autograd.grad, context.tensor(G)

    def fresh() -> tuple[Any, Any, Any]:
        x, y = context.tensor(X, grad=True), context.tensor(Y, grad=True)
        return x, y, x * y

    for name, pull in SPELLINGS.items():
        if name in ("of a sum", "create_graph=True"):
            continue
        x, y, out = fresh()
        pull(torch, out, g, [x, y])
        context.raises(RuntimeError, out.backward, g, what=f"the graph is freed by {name}")
    choices: list[tuple[dict[str, bool], bool]] = [
        ({}, False),
        ({"retain_graph": False}, False),
        ({"retain_graph": True}, True),
        ({"create_graph": True}, True),
        ({"create_graph": True, "retain_graph": False}, False),
    ]
    for options, keeps in choices:
        x, y, out = fresh()
        grad(out, x, g, **options)
        if keeps:
            context.exact(grad(out, y, g)[0], [a * k for a, k in zip(X, G)], what=f"again after grad({options})")
        else:
            context.raises(RuntimeError, grad, out, y, g, what=f"the graph is freed by grad({options})")
    x, y, out = fresh()
    frozen = context.tensor(X)
    for what, call in (
        ("a vector without a gradient", out.backward),
        ("a gradient of another shape", lambda: out.backward(context.tensor([1.0, 2.0]))),
        ("a frozen input", lambda: grad(out, frozen, g)),
        ("a result that needs no gradient", lambda: (frozen * 2).sum().backward()),
        ("an unused input", lambda: grad(out, context.tensor(X, grad=True), g)),
        ("fewer gradients than outputs", lambda: torch.autograd.backward([out, out], [g])),
        ("no inputs", lambda: out.backward(g, inputs=[])),
        ("a gradient of another shape, set", lambda: setattr(x, "grad", context.tensor([1.0]))),
        ("a gradient of another dtype, set", lambda: setattr(x, "grad", context.tensor(X, dtype="float64"))),
        ("integers that want a gradient", lambda: torch.zeros(2, dtype=torch.int64).requires_grad_()),
    ):
        context.raises((RuntimeError, TypeError, ValueError), call, what=f"{what} is refused")
    out.backward(g)
    context.exact(x.grad, [b * k for b, k in zip(Y, G)], what="gradient after all that was refused")
    found: list[Any] = []

    def other() -> None:
        found.append(torch.is_grad_enabled())
        left, _, product = fresh()
        product.backward(g)
        found.append(context.values(left.grad))

    with torch.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    context.exact(found[:1], [True], what="a thread has a mode of its own")
    context.exact(found[1:], [b * k for b, k in zip(Y, G)], what="gradient in a thread")
