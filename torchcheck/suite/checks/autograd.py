"""The autograd engine: graphs, hooks, guards, checkpoints, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import passes
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

POLYNOMIAL = "derivatives of polynomials at integers, exact"
RULES = "the documented rules of autograd"
FLOAT32 = ("float32",)


@check(oracle=POLYNOMIAL, level="quick", dtypes=FLOAT32)
def grad(context: Context) -> None:
    """autograd.grad gives derivatives without touching .grad, and None for what is unused."""
    torch = context.torch
    x, y = passes.integers(context, 5, "x"), passes.integers(context, 5, "y")
    a, b, unused = context.tensor(x, grad=True), context.tensor(y, grad=True), context.tensor(1.0, grad=True)
    by_a, by_b, by_none = torch.autograd.grad((a * a * b).sum(), (a, b, unused), allow_unused=True)
    context.exact(by_a, [2 * p * q for p, q in zip(x, y)], what="d(a*a*b)/da")
    context.exact(by_b, [p * p for p in x], what="d(a*a*b)/db")
    context.true(by_none is None and a.grad is None, what="unused inputs get None and .grad stays empty")
    context.raises(RuntimeError, torch.autograd.grad, a.sum(), b, what="an unused input is an error unless allowed")
    context.raises(RuntimeError, (a * b).backward, what="a vector needs its upstream gradient")
    (a * b).backward(context.tensor(y), inputs=[a])
    context.exact(a.grad, [q * q for q in y], what="upstream gradient of a vector")
    context.true(b.grad is None, what="backward(inputs=) leaves the others alone")
    middle = a * 3
    middle.retain_grad()
    (middle * b).sum().backward()
    context.exact(middle.grad, y, what="retain_grad of a non-leaf")
    context.exact(a.grad, [q * q + 3 * q for q in y], what="the leaf behind it accumulates")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
def guards(context: Context) -> None:
    """no_grad, detach and inference_mode cut the graph; in-place changes of what backward needs are caught."""
    torch = context.torch
    a = context.tensor(passes.integers(context, 5), grad=True)
    with torch.no_grad():
        context.true(not (a * 2).requires_grad, what="no_grad records nothing")
        with torch.enable_grad():
            context.true((a * 2).requires_grad, what="enable_grad inside records again")
    context.true((a * 2).requires_grad, what="recording is back after no_grad")
    with torch.inference_mode():
        frozen = a * 2
    context.true(frozen.is_inference() and not frozen.requires_grad, what="inference_mode makes inference tensors")
    context.raises(RuntimeError, lambda: (frozen * a).sum().backward(), what="inference tensors cannot be saved")
    (a * a.detach()).sum().backward()
    context.exact(a.grad, context.values(a), what="detach stops one of two paths")
    middle = a * 2
    cut = middle.detach()
    context.true(not cut.requires_grad and cut.grad_fn is None, what="detach of a result has no graph")
    by_a = torch.autograd.grad((middle * cut).sum(), a)[0]
    context.exact(by_a, [2 * v for v in context.values(middle)], what="detach of a result stops one of two paths")
    context.true(not a.data.requires_grad, what=".data has no graph")
    with torch.set_grad_enabled(False):
        context.true(not (a * 2).requires_grad, what="set_grad_enabled(False) records nothing")
    context.raises(RuntimeError, a.add_, 1, what="a leaf that requires grad cannot be changed in place")
    changes: tuple[tuple[str, Callable[[Any], Any]], ...] = (
        ("add_", lambda t: t.add_(1)),
        ("an index assignment", lambda t: t.__setitem__(0, 9.0)),
    )
    for name, spoil in changes:
        saved = a * 1
        product = saved * saved
        spoil(saved)
        context.raises(RuntimeError, product.sum().backward, what=f"{name} on a saved tensor is caught")
    view = (a * 1)[1:]
    squared = view.exp()
    squared.mul_(2)
    context.raises(RuntimeError, squared.sum().backward, what="mul_ on the saved output of exp is caught")
    before = a._version  # noqa: SLF001
    with torch.no_grad():
        a.add_(1)
    context.exact(a._version, before + 1, what="version counter after one change")  # noqa: SLF001


@check(oracle=POLYNOMIAL, dtypes=FLOAT32)
def inplace(context: Context) -> None:
    """Legal in-place operations, on views and bases too, differentiate exactly."""
    x, y = passes.integers(context, 6, "x"), passes.integers(context, 6, "y")
    a, b = context.tensor(x, grad=True), context.tensor(y, grad=True)
    base = a * 2
    base[1:4] *= b[1:4]
    base.add_(b)
    base[0] = 0.0
    base.backward(context.tensor([1.0, 2, 3, 4, 5, 6]))
    inner = [1, 2, 3]
    context.exact(
        base, [0.0, *[2 * x[i] * y[i] + y[i] if i in inner else 2 * x[i] + y[i] for i in range(1, 6)]], what="value"
    )
    context.exact(
        a.grad, [0.0, *[2 * (i + 1) * (y[i] if i in inner else 1) for i in range(1, 6)]], what="gradient by a"
    )
    context.exact(
        b.grad, [0.0, *[(i + 1) * (2 * x[i] + 1 if i in inner else 1) for i in range(1, 6)]], what="gradient by b"
    )


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
def hooks(context: Context) -> None:
    """Tensor, module and post-accumulate hooks run once each, in order, and their results are used."""
    torch = context.torch
    x = passes.integers(context, 4)
    order: list[str] = []

    def seen(name: str, result: Any) -> Any:
        order.append(name)
        return result

    a = context.tensor(x, grad=True)
    b = a * 2
    b.register_hook(lambda g: seen("tensor", g * 5))
    removed = b.register_hook(lambda g: g * 100)
    removed.remove()
    layer = torch.nn.Linear(4, 1, bias=False, device=context.device)
    with torch.no_grad():
        layer.weight.fill_(3)
    layer.register_forward_pre_hook(lambda _, args: seen("pre", (args[0] + 1,)))
    layer.register_forward_hook(lambda _, __, out: seen("forward", out * 2))
    layer.register_full_backward_pre_hook(lambda _, g: seen("backward pre", (g[0] * 7,)))
    layer.register_full_backward_hook(lambda _, given, __: seen("backward", (given[0] * 11,)))
    late = getattr(layer.weight, "register_post_accumulate_grad_hook", None)  # torch 2.1
    found: list[Any] = []
    if late is not None:
        late(lambda p: found.append(context.values(p.grad)))
    out = layer(b)
    out.backward(context.tensor([1.0]))
    if late is not None:
        context.exact(found, [14 * (2 * v + 1) for v in x], what="gradient that the post-accumulate hook sees")
    context.exact(order, ["pre", "forward", "backward pre", "backward", "tensor"], what="order of the hooks")
    context.exact(out, 2 * 3 * sum(2 * v + 1 for v in x), what="output after the forward hooks")
    context.exact(a.grad, [1 * 7 * 2 * 3 * 11 * 5 * 2.0] * 4, what="gradient after the backward hooks")
    context.exact(layer.weight.grad, [14 * (2 * v + 1) for v in x], what="gradient by the weight")


@check(oracle=POLYNOMIAL, dtypes=FLOAT32, level="quick")
def custom_function(context: Context) -> None:
    """A custom autograd.Function's backward is used as written, once and twice differentiated."""
    torch = context.torch

    class Cube(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, t: Any, scale: int) -> Any:
            ctx.save_for_backward(t)
            ctx.scale = scale
            return scale * t**3

        @staticmethod
        def backward(ctx: Any, given: Any) -> Any:
            (t,) = ctx.saved_tensors
            return given * ctx.scale * 3 * t**2, None

    x = passes.integers(context, 5)
    a = context.tensor(x, grad=True)
    out = Cube.apply(a, 2)
    first = torch.autograd.grad(out.sum(), a, create_graph=True)[0]
    context.exact(out, [2 * v**3 for v in x], what="forward")
    context.exact(first, [6 * v * v for v in x], what="backward")
    context.exact(torch.autograd.grad(first.sum(), a)[0], [12 * v for v in x], what="double backward")


@check(oracle=POLYNOMIAL, dtypes=FLOAT32)
def saved_tensor_hooks(context: Context) -> None:
    """Hooks that pack and unpack saved tensors are used by backward."""
    torch = context.torch
    x = passes.integers(context, 5)
    a = context.tensor(x, grad=True)
    packed: list[Any] = []

    def pack(t: Any) -> Any:
        packed.append(t)
        return t.tolist()

    with torch.autograd.graph.saved_tensors_hooks(pack, context.tensor):
        product = a * a
    product.sum().backward()
    context.exact(a.grad, [2 * v for v in x], what="gradient from unpacked tensors")
    context.exact(len(packed), 2, what="tensors packed")


@check(oracle=RULES, dtypes=FLOAT32)
def anomaly(context: Context) -> None:
    """Anomaly detection names a backward that makes NaN, and changes nothing where there is none."""
    torch = context.torch
    a = context.tensor([0.0, 4.0], grad=True)
    with torch.autograd.detect_anomaly(check_nan=True):
        context.raises(RuntimeError, lambda: (a.sqrt() * 0).sum().backward(), what="NaN in backward raises")
        b = context.tensor([4.0], grad=True)
        b.sqrt().sum().backward()
    context.exact(b.grad, [0.25], what="gradient under anomaly detection")


@check(oracle="the same graph without checkpoints, exact integers", dtypes=FLOAT32)
def checkpointing(context: Context) -> None:
    """Checkpointed segments give exactly the gradients of plain ones, reentrant or not."""
    from torch.utils import checkpoint as api

    rng = context.rng()
    n = 6
    w = [[float(rng.randint(-2, 2)) for _ in range(n)] for _ in range(n)]
    x = passes.integers(context, n)
    hidden = [max(sum(p * q for p, q in zip(row, x)), 0) for row in w]
    out = [sum(p * q for p, q in zip(row, hidden)) for row in w]
    delta = [sum(w[i][j] for i in range(n)) * (hidden[j] > 0) for j in range(n)]
    by_x = [sum(delta[i] * w[i][j] for i in range(n)) for j in range(n)]
    by_w = [hidden[j] + delta[i] * x[j] for i in range(n) for j in range(n)]
    for reentrant in (True, False):
        weight, a = context.tensor(w, grad=True), context.tensor(x, grad=True)
        calls: list[int] = []

        def segment(t: Any, weight: Any = weight, calls: list[int] = calls) -> Any:
            calls.append(1)
            return context.torch.mv(weight, t)

        middle = api.checkpoint(segment, a, use_reentrant=reentrant).relu()
        end = api.checkpoint(segment, middle, use_reentrant=reentrant)
        end.sum().backward()
        kind = f"use_reentrant={reentrant}"
        context.exact(end, out, what=f"{kind}: output")
        context.exact(a.grad, by_x, what=f"{kind}: gradient by the input")
        context.exact(weight.grad, by_w, what=f"{kind}: gradient by the weight")
        context.exact(len(calls), 4, what=f"{kind}: each segment runs twice")
        noisy = context.tensor([1.0] * 1031, grad=True)
        drop = context.torch.nn.Dropout(0.5)
        kept = api.checkpoint(drop, noisy * 1, use_reentrant=reentrant)
        kept.sum().backward()
        context.exact(noisy.grad, context.values(kept), what=f"{kind}: the same dropout again in backward")


@check(oracle="the formula, on numbers whose norms are known", level="quick", dtypes=FLOAT32)
def clipping(context: Context) -> None:
    """Gradients are clipped by their common norm, whatever norm was asked for, and by value; small ones stay."""
    utils = context.torch.nn.utils
    grads = [[3.0, -4.0] * 300, [12.0] + [0.0] * 600]
    flat = [v for part in grads for v in part]
    norms = {2.0: math.sqrt(300 * 25 + 144), 1.0: 2112.0, math.inf: 12.0, 3.0: (300 * (27 + 64) + 1728) ** (1 / 3)}
    for kind, norm in norms.items():
        for foreach in (False, True) if kind == 2.0 else (None,):
            for most in (norm / 2, norm * 2):
                held = [context.tensor([0.0] * len(part), grad=True) for part in grads]
                for p, part in zip(held, grads):
                    p.grad = context.tensor(part)
                total = utils.clip_grad_norm_(held, most, kind, foreach=foreach)
                what = f"norm {kind}, foreach={foreach}, {'above' if most < norm else 'below'} the limit"
                context.close(total, [norm], bound=64.0, what=f"{what}: total")  # sums of 1201 terms
                scale = most / (norm + 1e-6) if most < norm else 1.0
                got = [v for p in held for v in context.values(p.grad)]
                context.close(
                    got, [v * scale for v in flat], bound=80.0 if scale < 1 else 1.0, what=f"{what}: gradients"
                )
    p = context.tensor([0.0] * 1031, grad=True)
    values = [float(v) for v in context.rng().choices((-7, -3, -1, 0, 2, 5), k=1031)]
    p.grad = context.tensor(values)
    utils.clip_grad_value_([p], 3.0)
    context.exact(p.grad, [min(max(v, -3.0), 3.0) for v in values], what="clipped by value")
    p.grad = context.tensor([math.nan] * 1031)
    context.raises(
        RuntimeError, utils.clip_grad_norm_, [p], 1.0, error_if_nonfinite=True, what="NaN is refused when asked to"
    )
