"""Hooks of modules: of every kind several, chained and in order, with keywords, after errors, global, and removed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "integers, by the documented rules of hooks"
FLOAT32 = ("float32",)
A, B = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0]
GA, GB = [2.0, -1.0, 1.0], [3.0, 1.0, -2.0]


def _pair(torch: Any) -> Any:
    """Make a module of two inputs and two outputs: (3 a + b) k and a - 2 b."""

    def forward(_: Any, a: Any, b: Any, k: float = 1.0) -> Any:
        return (3 * a + b) * k, a - 2 * b

    return type("Pair", (torch.nn.Module,), {"forward": forward})()


# What a hook does to the first and the second of a pair, and whether it gives one back.
STEPS: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (lambda u: u + 1, lambda v: v * 2),
    (lambda u: u * 5, lambda v: v - 3),
    (lambda u: u - 7, lambda v: v + 10),
)
# kind: (method of a module, global function, how a hook gets its pair and gives it back)
KINDS: dict[str, tuple[str, str, Callable[[Callable[[Any], Any]], Callable[..., Any]]]] = {
    "forward pre": (
        "register_forward_pre_hook",
        "register_module_forward_pre_hook",
        lambda change: lambda _, given: change(given),
    ),
    "forward": (
        "register_forward_hook",
        "register_module_forward_hook",
        lambda change: lambda _, __, out: change(out),
    ),
    "full backward": (
        "register_full_backward_hook",
        "register_module_full_backward_hook",
        lambda change: lambda _, gives, __: change(gives),
    ),
    "full backward pre": (
        "register_full_backward_pre_hook",
        "register_module_full_backward_pre_hook",
        lambda change: lambda _, comes: change(comes),
    ),
}


def _counter(seen: list[int]) -> Callable[[Any], None]:
    return lambda pair: seen.append(len(pair))


def _changed(first: list[float], second: list[float], steps: list[int]) -> tuple[list[float], list[float]]:
    for n in steps:
        one, two = STEPS[n]
        first, second = [one(v) for v in first], [two(v) for v in second]
    return first, second


def _expected(kind: str, steps: list[int]) -> list[list[float]]:
    """Give both outputs and both gradients when the pair of one kind is changed by the steps, in order."""
    a, b = _changed(A, B, steps) if kind == "forward pre" else (A, B)
    slope_a = slope_b = 1.0
    if kind == "forward pre":
        slope_a, slope_b = (5.0 if 1 in steps else 1.0), (2.0 if 0 in steps else 1.0)
    out: tuple[list[float], list[float]] = [3 * p + q for p, q in zip(a, b)], [p - 2 * q for p, q in zip(a, b)]
    ga, gb = GA, GB
    if kind == "forward":
        out = _changed(*out, steps)
        ga = [v * (5.0 if 1 in steps else 1.0) for v in ga]
        gb = [v * (2.0 if 0 in steps else 1.0) for v in gb]
    if kind == "full backward pre":
        ga, gb = _changed(ga, gb, steps)
    by = [slope_a * (3 * u + v) for u, v in zip(ga, gb)], [slope_b * (u - 2 * v) for u, v in zip(ga, gb)]
    if kind == "full backward":
        by = _changed(*by, steps)
    return [*out, *by]


def _run(context: Context, module: Any, *, twice: bool = False) -> list[list[float]]:
    a, b = context.tensor(A, grad=True), context.tensor(B, grad=True)
    out = module(a, b)
    given = [context.tensor(GA), context.tensor(GB)]
    if twice:
        context.torch.autograd.grad(out, (a, b), given, retain_graph=True)
    by = context.torch.autograd.grad(out, (a, b), given)
    return [context.values(t) for t in (*out, *by)]


@check(oracle=RULES, level="quick", dtypes=FLOAT32, needs=("torch.func",))
@trajectory.unthreaded
def chained(context: Context) -> None:
    """Hooks of every kind, several on one module or on all, get what the one before gave, in order, until removed."""
    torch = context.torch
    registers = torch.nn.modules.module
    for kind, (method, everywhere, make) in KINDS.items():

        def step(n: int, make: Any = make) -> Any:
            one, two = STEPS[n]
            return make(lambda pair: (one(pair[0]), two(pair[1])))

        module = _pair(torch)
        seen: list[int] = []
        add = getattr(module, method)
        context.exact(_run(context, module), _expected(kind, []), what=f"{kind}: no hooks")
        handles = [add(step(0)), add(make(_counter(seen))), add(step(1))]
        context.exact(_run(context, module), _expected(kind, [0, 1]), what=f"{kind}: two hooks, chained")
        if backward := "backward" in kind:
            context.exact(_run(context, module, twice=True), _expected(kind, [0, 1]), what=f"{kind}: the second time")
        context.exact(seen, [2] * (3 if backward else 1), what=f"{kind}: calls of a hook that returns nothing")
        handles.append(add(step(2), prepend=True))
        context.exact(_run(context, module), _expected(kind, [2, 0, 1]), what=f"{kind}: one put before them")
        handles[0].remove()
        context.exact(_run(context, module), _expected(kind, [2, 1]), what=f"{kind}: the first removed")
        with handles[2]:
            pass
        context.exact(_run(context, module), _expected(kind, [2]), what=f"{kind}: one left by its with block")
        overall = getattr(registers, everywhere, None)
        if overall is None:
            continue
        handle = overall(step(0))
        try:
            got, other = _run(context, module), _run(context, _pair(torch))
        finally:
            handle.remove()
        context.exact(got, _expected(kind, [0, 2]), what=f"{kind}: one of all modules, before its own")
        context.exact(other, _expected(kind, [0]), what=f"{kind}: one of all modules, on another")
        context.exact(_run(context, module), _expected(kind, [2]), what=f"{kind}: after it is removed")


@check(oracle=RULES, level="quick", dtypes=FLOAT32, needs=("torch.func",))
@trajectory.unthreaded
def order(context: Context) -> None:
    """Hooks of all kinds run in their order through nested modules; frozen inputs, errors and copies keep them."""
    torch = context.torch
    nn = torch.nn
    told: list[str] = []

    def watch(module: Any, name: str) -> None:
        module.register_forward_pre_hook(lambda *_: told.append(f"pre {name}"))
        module.register_forward_hook(lambda *_: told.append(f"post {name}"))
        module.register_full_backward_pre_hook(lambda *_: told.append(f"back {name}"))
        module.register_full_backward_hook(lambda *_: told.append(f"done {name}"))

    inner, other = nn.Linear(3, 3, bias=False).to(context.device), nn.Linear(3, 1, bias=False).to(context.device)
    net = nn.Sequential(inner, other)
    for module, name in ((net, "net"), (inner, "inner"), (other, "other")):
        watch(module, name)
    net(context.tensor(A, grad=True)).sum().backward()
    ahead = ["pre net", "pre inner", "post inner", "pre other", "post other", "post net"]
    back = ["back net", "back other", "done other", "back inner", "done inner", "done net"]
    context.exact(told, ahead + back, what="order through nested modules")
    told.clear()
    with torch.no_grad():
        net(context.tensor(A))
    context.exact(told, ahead, what="order under no_grad")
    seen: list[Any] = []
    frozen = nn.Linear(3, 1, bias=False).to(context.device)
    frozen.register_full_backward_hook(
        lambda _, gives, comes: seen.append((gives[0] is None, context.values(comes[0])))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of just that
        frozen(context.tensor(A)).backward(context.tensor([2.0]))
    context.exact(seen, [(True, [2.0])], what="a backward hook of a module whose input needs no gradient")
    context.exact(frozen.weight.grad, [2 * v for v in A], what="gradient by its weight")
    pair = _pair(torch)
    pair.register_full_backward_hook(lambda _, gives, comes: seen.append([context.values(gives[0]), len(comes)]))
    pair(context.tensor(A, grad=True), context.tensor(B))[0].backward(context.tensor(GA))
    context.exact(seen[1:], [[[3 * v for v in GA], 2]], what="gradients that the hook of a pair sees")
    kept: list[Any] = []
    module = _pair(torch)
    module.register_forward_pre_hook(
        lambda _, args, named: ((args[0] * 2, args[1]), {"k": named["k"] + 1}), with_kwargs=True
    )
    module.register_forward_pre_hook(lambda _, args: (args[0] + 1, args[1]))
    module.register_forward_hook(lambda *given: kept.append((len(given), dict(given[2]))), with_kwargs=True)
    module.register_forward_hook(lambda _, __, out: out[0])
    got = module(context.tensor(A), context.tensor(B), k=2.0)
    context.exact(got, [3 * (3 * (2 * p + 1) + q) for p, q in zip(A, B)], what="with and without keywords, chained")
    context.exact(kept, [(4, {"k": 3.0})], what="keywords that a forward hook sees")
    copied = copy.deepcopy(inner)
    told.clear()
    copied(context.tensor(A))
    context.exact(told, ["pre inner", "post inner"], what="hooks of a copy")


@check(oracle=RULES, dtypes=FLOAT32, needs=("torch.export",))
@trajectory.unthreaded
def after_errors(context: Context) -> None:
    """A forward hook that is always called is called after an error too, once, and the error is raised."""
    torch = context.torch
    told: list[str] = []

    def forward(_: Any, x: Any) -> Any:
        if x.sum() > 0:
            raise KeyError("refused")
        return x * 2

    module = type("Failing", (torch.nn.Module,), {"forward": forward})()
    module.register_forward_hook(lambda *_: told.append("usual"))
    module.register_forward_hook(lambda *_: told.append("always"), always_call=True)
    context.raises(KeyError, module, context.tensor([1.0]), what="the error is raised")
    context.exact(told, ["always"], what="what is called after an error")
    told.clear()
    context.exact(module(context.tensor([-1.0])), [-2.0], what="output without an error")
    context.exact(told, ["usual", "always"], what="what is called without an error")
    handle = module.register_forward_pre_hook(lambda _, given: given["refused"])
    context.raises(TypeError, module, context.tensor([-1.0]), what="an error in a hook before is raised")
    handle.remove()
    context.exact(module(context.tensor([-1.0])), [-2.0], what="output after the hook is removed")
    names: list[Any] = []
    registers = torch.nn.modules.module
    handles = [
        registers.register_module_parameter_registration_hook(lambda _, name, __: names.append(name)),
        registers.register_module_buffer_registration_hook(lambda _, name, __: names.append(name)),
        registers.register_module_module_registration_hook(lambda _, name, __: names.append(name)),
    ]
    try:
        holder = torch.nn.Module()
        holder.weight = torch.nn.Parameter(torch.zeros(1))
        holder.register_buffer("steps", torch.zeros(1))
        holder.inner = torch.nn.Module()
    finally:
        for handle in handles:
            handle.remove()
    holder.more = torch.nn.Module()
    context.exact(names, ["weight", "steps", "inner"], what="hooks of what is registered")
