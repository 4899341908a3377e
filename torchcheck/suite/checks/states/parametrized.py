"""Parametrised tensors: chained, cached, of several originals, with their states, copies, flags and removal."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "integers, exact"
FLOAT32 = ("float32",)
W = [1.0, -2.0, 3.0]


def _made(torch: Any, forward: Any, inverse: Any = None) -> Any:
    methods: dict[str, Any] = {"forward": lambda _, *x: forward(*x)}
    if inverse is not None:
        methods["right_inverse"] = lambda _, x: inverse(x)
    return type("Own", (torch.nn.Module,), methods)()


def _holder(context: Context) -> Any:
    nn = context.torch.nn
    holder = type("Holder", (nn.Module,), {"forward": lambda self, x: (self.w * x).sum()})()
    holder.w = nn.Parameter(context.tensor(W))
    return holder


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def chains(context: Context) -> None:
    """Parametrisations are applied in order, inverted in reverse, cached when asked, saved and copied."""
    torch = context.torch
    api = torch.nn.utils.parametrize
    holder = _holder(context)
    original = holder.w
    api.register_parametrization(holder, "w", _made(torch, lambda w: w * 2, lambda w: w / 2))
    context.exact(holder.w, W, what="the value stays where there is an inverse")
    api.register_parametrization(holder, "w", _made(torch, lambda w: w + 1, lambda w: w - 1))
    context.exact(holder.w, [v + 1 for v in W], what="a second one is applied to it")
    inner = holder.parametrizations.w.original
    context.exact(inner, [v / 2 for v in W], what="what is held: the inverse")
    context.true(inner is original, what="is the parameter itself")
    names = [n for n, _ in holder.named_parameters()]
    context.exact(names, ["parametrizations.w.original"], what="names of parameters")
    context.exact([*holder.state_dict()], names, what="names in a state")
    holder(context.tensor([1.0, 2.0, 3.0])).backward()
    context.exact(inner.grad, [2.0, 4.0, 6.0], what="gradient through both")
    holder.w = context.tensor([5.0, 7.0, 9.0])
    context.exact(inner, [2.0, 3.0, 4.0], what="an assignment goes through both inverses")
    context.true(holder.w is not holder.w, what="it is computed each time")
    with api.cached():
        context.true(holder.w is holder.w, what="and once where it is cached")
        with torch.no_grad():
            inner.add_(1)
        context.exact(holder.w, [5.0, 7.0, 9.0], what="what is cached stays")
    context.exact(holder.w, [7.0, 9.0, 11.0], what="and not longer")
    other = _holder(context)
    for forward in (lambda w: w * 2, lambda w: w + 1):
        api.register_parametrization(other, "w", _made(torch, forward))
    context.exact(other.w, [2 * v + 1 for v in W], what="without inverses the value changes")
    context.raises(
        (RuntimeError, NotImplementedError), setattr, other, "w", context.tensor(W), what="and is not assigned"
    )
    other.load_state_dict(holder.state_dict())
    context.exact(other.w, [7.0, 9.0, 11.0], what="a state of a parametrised module")
    made = copy.deepcopy(holder)
    with torch.no_grad():
        inner.mul_(0)
    context.exact(made.w, [7.0, 9.0, 11.0], what="a copy has its own")
    context.exact(holder.w, [1.0] * 3, what="which the original does not share")
    context.true(api.is_parametrized(made, "w") and not api.is_parametrized(made, "v"), what="is_parametrized")


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def changes(context: Context) -> None:
    """Parametrisations are removed with or without their effect, keep flags, and refuse what does not fit."""
    torch = context.torch
    api = torch.nn.utils.parametrize
    for leave, value in ((True, [2 * v for v in W]), (False, W)):
        gone = _holder(context)
        api.register_parametrization(gone, "w", _made(torch, lambda w: w * 2))
        api.remove_parametrizations(gone, "w", leave_parametrized=leave)
        context.exact(gone.w, value, what=f"after removal, leave_parametrized={leave}")
        facts = [type(gone.w) is torch.nn.Parameter, gone.w.requires_grad, api.is_parametrized(gone)]
        context.exact(facts, [True, True, False], what=f"a parameter again, leave_parametrized={leave}")
        context.exact([n for n, _ in gone.named_parameters()], ["w"], what="under its name")
    frozen = _holder(context)
    frozen.w.requires_grad_(False)
    api.register_parametrization(frozen, "w", _made(torch, lambda w: w * 3))
    context.true(not frozen.w.requires_grad, what="what is frozen stays so")
    shapes = _holder(context)
    cut = _made(torch, lambda w: w[:2])
    context.raises(ValueError, api.register_parametrization, shapes, "w", cut, what="another shape is refused")
    context.exact(shapes.w, W, what="and nothing is changed")
    api.register_parametrization(shapes, "w", cut, unsafe=True)
    context.exact(shapes.w, W[:2], what="unless it is allowed")
    context.raises(ValueError, api.register_parametrization, shapes, "none", cut, what="a name that is not there")
    shapes.half()
    context.exact(str(shapes.w.dtype), "torch.float16", what="dtype after half")


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def several(context: Context) -> None:
    """A tensor made of several parameters, a buffer, a shared parameter and a submodule's are parametrised like one."""
    torch = context.torch
    api, nn = torch.nn.utils.parametrize, torch.nn
    holder = _holder(context)
    split = _made(torch, lambda a, b: a * 10 + b, lambda w: (w * 0 + 2, w - 20))
    api.register_parametrization(holder, "w", split)
    context.exact(holder.w, W, what="a tensor made of two")
    names = [n for n, _ in holder.named_parameters()]
    context.exact(names, [f"parametrizations.w.original{i}" for i in (0, 1)], what="names of two")
    holder(context.tensor([1.0, 2.0, 3.0])).backward()
    parts = holder.parametrizations.w
    context.exact(parts.original0.grad, [10.0, 20.0, 30.0], what="gradient by the first")
    context.exact(parts.original1.grad, [1.0, 2.0, 3.0], what="gradient by the second")
    with torch.no_grad():
        parts.original0.fill_(1.0)
    context.exact(holder.w, [v - 10 for v in W], what="it follows one of them")
    api.remove_parametrizations(holder, "w")
    context.exact(holder.w, [v - 10 for v in W], what="after removal")
    still = nn.Module()
    still.register_buffer("b", context.tensor(W))
    api.register_parametrization(still, "b", _made(torch, lambda w: w * w))
    context.exact(still.b, [v * v for v in W], what="a buffer")
    context.exact([*still.state_dict()], ["parametrizations.b.original"], what="its name in a state")
    context.exact(len([*still.parameters()]), 0, what="it is no parameter")
    with_weight = nn.Module()
    with_weight.scale = nn.Parameter(context.tensor([4.0]))
    with_weight.forward = lambda w: w * with_weight.scale
    outer = _holder(context)
    api.register_parametrization(outer, "w", with_weight)
    context.exact(len([*outer.parameters()]), 2, what="parameters of a parametrisation count")
    outer(context.tensor([1.0, 1.0, 1.0])).backward()
    context.exact(with_weight.scale.grad, [sum(W)], what="gradient by its own parameter")
    context.exact(outer.parametrizations.w.original.grad, [4.0] * 3, what="gradient by what it scales")
    optimizer_sees = [p for p in outer.parameters() if p.grad is not None]
    context.exact(len(optimizer_sees), 2, what="parameters with gradients")
    alone = _holder(context)
    context.true(type(alone) is not type(outer) and not api.is_parametrized(alone), what="the class stays as it was")
