"""Trees of modules: what is found in them, in which order, and what acts on all of it, however deep and shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "the documented rules of modules"
FLOAT32 = ("float32",)


def _deep(context: Context) -> Any:
    """Make a tree four levels deep in every kind of container, one leaf of which is met three times."""
    nn = context.torch.nn
    shared = nn.Linear(1, 2)
    inner = nn.ModuleDict({"drop": nn.Dropout(0.5), "list": nn.ModuleList([nn.Sequential(nn.BatchNorm1d(2)), shared])})
    net = nn.Module()
    net.own = nn.Parameter(context.torch.ones(3))
    net.first, net.middle = shared, nn.Sequential(nn.Module(), nn.Dropout(0.5))
    net.middle[0].holder, net.middle[0].again = inner, shared
    net.values = nn.ParameterList([nn.Parameter(context.torch.ones(1)), nn.Parameter(context.torch.ones(2))])
    net.named = nn.ParameterDict({"a": nn.Parameter(context.torch.ones(1)), "b": nn.Parameter(context.torch.ones(1))})
    net.register_buffer("steps", context.torch.zeros((), dtype=context.torch.int64))
    return net.to(context.device)


MODULES = ["", "first", "middle", "middle.0", "middle.0.holder", "middle.0.holder.drop", "middle.0.holder.list"]
MODULES += ["middle.0.holder.list.0", "middle.0.holder.list.0.0", "middle.1", "values", "named"]
NORM = "middle.0.holder.list.0.0."
PARAMETERS = ["own", "first.weight", "first.bias", f"{NORM}weight", f"{NORM}bias"]
PARAMETERS += ["values.0", "values.1", "named.a", "named.b"]
BUFFERS = ["steps", *(f"{NORM}{name}" for name in ("running_mean", "running_var", "num_batches_tracked"))]
TWICE = ["middle.0.holder.list.1", "middle.0.again"]


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def names(context: Context) -> None:
    """Modules, parameters and buffers are found once each, in order, with prefixes, levels and repeats as asked."""
    net = _deep(context)
    context.exact([n for n, _ in net.named_modules()], MODULES, what="named_modules")
    context.exact([n for n, _ in net.named_parameters()], PARAMETERS, what="named_parameters")
    context.exact([n for n, _ in net.named_buffers()], BUFFERS, what="named_buffers")
    context.exact(len([*net.modules()]), len(MODULES), what="modules")
    for what, found, listed in (
        ("parameters", net.parameters(), net.named_parameters()),
        ("buffers", net.buffers(), net.named_buffers()),
        ("modules", net.modules(), net.named_modules()),
        ("children", net.children(), net.named_children()),
    ):
        context.true(all(a is b for a, (_, b) in zip(found, listed)), what=f"{what} are those with names")
    context.exact([n for n, _ in net.named_children()], ["first", "middle", "values", "named"], what="named_children")
    context.exact([n for n, _ in net.named_parameters(recurse=False)], ["own"], what="parameters of one level")
    context.exact([n for n, _ in net.named_buffers(recurse=False)], ["steps"], what="buffers of one level")
    context.exact([n for n, _ in net.named_parameters(prefix="m")], [f"m.{n}" for n in PARAMETERS], what="a prefix")
    every = [n for n, _ in net.named_modules(remove_duplicate=False)]
    context.exact(sorted(every), sorted([*MODULES, *TWICE]), what="modules under all their names")
    if "remove_duplicate" in net.named_parameters.__code__.co_varnames:
        every = [n for n, _ in net.named_parameters(remove_duplicate=False)]
        more = [f"{n}.{p}" for n in TWICE for p in ("weight", "bias")]
        context.exact(sorted(every), sorted([*PARAMETERS, *more]), what="parameters under all their names")
    for name in PARAMETERS:
        if "." in name and not name.startswith(("values", "named")):
            context.true(net.get_parameter(name) is dict(net.named_parameters())[name], what=f"get_parameter({name})")
    context.true(net.get_buffer(BUFFERS[1]) is dict(net.named_buffers())[BUFFERS[1]], what="get_buffer")
    for call, name in ((net.get_submodule, "middle.9"), (net.get_parameter, "first.none"), (net.get_buffer, "own")):
        context.raises(AttributeError, call, name, what=f"{name} is not there")
    seen: list[Any] = []
    net.apply(seen.append)
    context.true(seen[-1] is net and seen[0] is net.first, what="apply comes to children first")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def registered(context: Context) -> None:
    """What is registered, replaced, emptied or deleted is found or not; what does not belong there is refused."""
    torch = context.torch
    nn = torch.nn
    holder = nn.Module()
    holder.register_parameter("p", nn.Parameter(torch.ones(1)))
    holder.register_buffer("b", torch.ones(1))
    holder.add_module("m", nn.Linear(1, 1))
    refused: dict[str, Callable[[], Any]] = {
        "a tensor for a parameter": lambda: setattr(holder, "p", torch.ones(1)),
        "a parameter under a used name": lambda: holder.register_parameter("m", nn.Parameter(torch.ones(1))),
        "a result for a parameter": lambda: holder.register_parameter("q", nn.Parameter(torch.ones(1)) * 2),
        "a number for a buffer": lambda: setattr(holder, "b", 3),
        "a dot in a name": lambda: holder.register_buffer("a.b", torch.ones(1)),
        "no name": lambda: holder.add_module("", nn.Identity()),
        "a number for a module": lambda: setattr(holder, "m", 3),
        "no module": lambda: holder.add_module("x", 3),
        "an attribute that is not there": lambda: holder.missing,
    }
    for what, call in refused.items():
        context.raises((TypeError, KeyError, AttributeError), call, what=f"{what} is refused")
    holder.p, holder.b, held = None, context.tensor([5.0]), holder.m
    context.exact(
        [len([*holder.parameters()]), float(holder.b)], [2, 5.0], what="a parameter that is None, a new buffer"
    )
    holder.m = nn.Identity()
    holder.n = held
    del holder.b
    context.exact([n for n, _ in holder.named_modules()], ["", "m", "n"], what="modules after one was replaced")
    context.exact([n for n, _ in holder.named_parameters()], ["n.weight", "n.bias"], what="parameters after that")
    context.exact(len([*holder.buffers()]), 0, what="buffers after one was deleted")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def modes(context: Context) -> None:
    """train, eval and requires_grad_ reach all levels of a tree or of a part, and nothing else."""
    net = _deep(context)
    for part in (net, net.middle, net.middle[0].holder):
        for call, mode in ((part.eval, False), (part.train, True)):
            net.train(not mode)
            context.true(call() is part, what="the module comes back")
            inside = {id(m) for m in part.modules()}
            right = [mode if id(m) in inside else not mode for m in net.modules()]
            context.exact([m.training for m in net.modules()], right, what=f"modes after training={mode}")
    net.train()
    net.train(mode=False)
    context.exact([m.training for m in net.modules()], [False] * len(MODULES), what="modes after train(mode=False)")
    context.raises(ValueError, net.train, "yes", what="a mode that is no truth value is refused")
    held = dict(net.named_parameters())
    for on in (False, True):
        context.true(net.requires_grad_(on) is net, what="requires_grad_ gives the module back")
        context.exact([p.requires_grad for p in held.values()], [on] * len(held), what=f"requires_grad_({on})")
    net.middle.requires_grad_(False)
    frozen = [n for n, p in net.named_parameters() if not p.requires_grad]
    context.exact(frozen, PARAMETERS[1:5], what="what a part's requires_grad_(False) freezes")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def casts(context: Context) -> None:
    """Casts, moves and zero_grad reach all levels, gradients too, keep parameters themselves, ties and counters."""
    torch, net = context.torch, _deep(context)
    held = dict(net.named_parameters())
    for p in held.values():
        p.grad = torch.ones_like(p)
    changes: dict[str, tuple[Callable[[], Any], Any]] = {
        "half": (net.half, torch.float16),
        "double": (net.double, torch.float64),
        "bfloat16": (net.bfloat16, torch.bfloat16),
        "float": (net.float, torch.float32),
        "type": (lambda: net.type(torch.float64), torch.float64),
        "to(dtype)": (lambda: net.to(torch.float16), torch.float16),
        "to(dtype=, non_blocking=)": (lambda: net.to(dtype=torch.float32, non_blocking=True), torch.float32),
        "to(tensor)": (lambda: net.to(context.tensor([1.0], dtype="float64")), torch.float64),
        "to(device)": (lambda: net.to(context.device), torch.float64),
        "to(device, dtype)": (lambda: net.to(context.device, torch.float32), torch.float32),
    }
    for what, (call, dtype) in changes.items():
        context.true(call() is net, what=f"{what} gives the module back")
        now = dict(net.named_parameters())
        context.true(all(now[n] is p for n, p in held.items()), what=f"{what} keeps the parameters themselves")
        kinds = {str(t.dtype) for p in now.values() for t in (p, p.grad)}
        context.exact(sorted(kinds), [str(dtype)], what=f"dtypes of parameters and gradients after {what}")
        floats = {str(b.dtype) for b in net.buffers() if b.is_floating_point()}
        context.exact(sorted(floats), [str(dtype)], what=f"dtypes of buffers after {what}")
        if what == "type":
            net.steps = net.steps.long()
            net.get_submodule(NORM[:-1]).num_batches_tracked = torch.zeros((), dtype=torch.int64, device=context.device)
        context.exact(str(net.steps.dtype), "torch.int64", what=f"dtype of a counter after {what}")
        context.true(net.first is net.middle[0].again, what=f"what is shared stays so after {what}")
    context.exact(net.own, [1.0] * 3, what="numbers after all casts")
    context.exact(net.own.grad, [1.0] * 3, what="gradients after all casts")
    context.raises(TypeError, net.to, torch.int64, what="a cast to integers is refused")
    net.zero_grad(set_to_none=False)
    context.exact([float(p.grad.sum()) for p in held.values()], [0.0] * len(held), what="zero_grad(set_to_none=False)")
    net.middle.zero_grad()
    empty = [n for n, p in net.named_parameters() if p.grad is None]
    context.exact(empty, PARAMETERS[1:5], what="a part's zero_grad")
    net.zero_grad()
    context.exact([p.grad is None for p in held.values()], [True] * len(held), what="zero_grad gives None")
    image = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (2, 2))).to(context.device)
    weight = context.values(image[0].weight)
    image.to(memory_format=torch.channels_last)
    context.exact(image[0].weight, weight, what="numbers after to(memory_format=)")
    last = image[0].weight.is_contiguous(memory_format=torch.channels_last)
    context.true(last, what="layout after to(memory_format=)")
    hollow = torch.nn.Linear(2, 2, device="meta")
    hollow.weight.requires_grad_(False)
    context.raises(NotImplementedError, hollow.to, context.device, what="what has no numbers is not copied")
    hollow.to_empty(device=context.device)
    flags = [hollow.weight.is_meta, hollow.weight.requires_grad, hollow.bias.requires_grad]
    context.exact(flags, [False, False, True], what="flags after to_empty")


def _told(holder: Any) -> list[float]:
    return [float(p.detach().sum()) for p in holder.parameters()]


@check(oracle="lists and dicts of Python", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def containers(context: Context) -> None:
    """Containers of modules are changed as lists and dicts of Python are, and are called and counted after it."""
    nn = context.torch.nn

    def scale(k: float) -> Any:
        layer = nn.Linear(1, 1, bias=False).to(context.device)
        nn.init.constant_(layer.weight, k)
        return layer

    def run(net: Any) -> float:
        return float(net(context.tensor([1.0])).detach())

    a, b, c, d, e = (scale(k) for k in (2.0, 3.0, 5.0, 7.0, 11.0))
    net = nn.Sequential(a, b)
    net.append(c)
    context.exact([_told(net), [run(net)]], [[2.0, 3.0, 5.0], [30.0]], what="append")
    net.insert(1, d)
    context.exact(_told(net), [2.0, 7.0, 3.0, 5.0], what="insert")
    net.extend([e])
    context.exact([n for n, _ in net.named_children()], list("01234"), what="names after extend")
    del net[1]
    context.exact([n for n, _ in net.named_children()], list("0123"), what="names after del")
    context.exact([_told(net), [run(net)]], [[2.0, 3.0, 5.0, 11.0], [330.0]], what="del")
    gone = net.pop(-1)
    context.exact([_told(net), [float(gone.weight.detach())]], [[2.0, 3.0, 5.0], [11.0]], what="pop")
    context.exact([_told(net[1:]), _told(net[::2]), [run(net[:2])]], [[3.0, 5.0], [2.0, 5.0], [6.0]], what="slices")
    context.true(net[1:][0] is net[1] and net[-1] is c, what="slices hold the modules themselves")
    net[0] = d
    context.exact([len(net), *_told(net)], [3, 7.0, 3.0, 5.0], what="assignment")
    context.exact(_told(net + nn.Sequential(e)), [7.0, 3.0, 5.0, 11.0], what="a sum of sequences")
    context.raises(IndexError, lambda: net[5], what="no such place")
    held = nn.ModuleList([a, b])
    held += [c]
    held.insert(0, d)
    held[1] = e
    context.exact([_told(held), [len(held)]], [[7.0, 11.0, 3.0, 5.0], [4]], what="a list of modules")
    context.exact(
        [_told(held[1:3]), [held.pop(0) is d, a in held, e in held]], [[11.0, 3.0], [1, 0, 1]], what="its parts"
    )
    named = nn.ModuleDict({"x": a})
    named["y"], named["a"] = b, c
    named.update({"x": d, "z": e})
    context.exact([*named], ["x", "y", "a", "z"], what="order of a dict of modules")
    context.exact(
        [_told(named), [named.pop("y") is b, "y" in named, len(named)]],
        [[7.0, 3.0, 5.0, 11.0], [1, 0, 3]],
        what="a dict",
    )


@check(oracle="lists and dicts of Python", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def parameter_containers(context: Context) -> None:
    """Lists and dicts of parameters are changed as those of Python are, and have gradients and states."""
    nn = context.torch.nn
    values = nn.ParameterList([nn.Parameter(context.tensor([v])) for v in (1.0, 2.0)])
    values.append(nn.Parameter(context.tensor([3.0]), requires_grad=False))
    values[0] = nn.Parameter(context.tensor([4.0]))
    values.extend([context.tensor([5.0])])
    context.exact([_told(values), [len(values)]], [[4.0, 2.0, 3.0, 5.0], [4]], what="a list of parameters")
    kinds = [isinstance(p, nn.Parameter) and p.requires_grad for p in values]
    context.exact(kinds, [True, True, False, True], what="tensors become parameters in it")
    context.exact([float(p.detach()) for p in values[1:3]], [2.0, 3.0], what="a slice of it")
    sums = sum(p * (i + 1) for i, p in enumerate(values))
    sums.sum().backward()
    context.exact(
        [None if p.grad is None else float(p.grad) for p in values], [1.0, 2.0, None, 4.0], what="its gradients"
    )
    table = nn.ParameterDict({"w": nn.Parameter(context.tensor([1.0]))})
    table["v"] = nn.Parameter(context.tensor([2.0]))
    table.update({"w": nn.Parameter(context.tensor([6.0]))})
    context.exact([_told(table), [*map(len, table.keys())]], [[6.0, 2.0], [1, 1]], what="a dict of parameters")
    other = nn.ParameterDict({"w": nn.Parameter(context.tensor([0.0])), "v": nn.Parameter(context.tensor([0.0]))})
    other.load_state_dict(table.state_dict())
    context.exact([float(other["w"].detach()), float(other["v"].detach())], [6.0, 2.0], what="its state")


LAZY = {
    "LazyLinear": ((2,), (3, 4), (2, 4)),
    "LazyConv1d": ((2, 3), (1, 5, 6), (2, 5, 3)),
    "LazyConv2d": ((2, 2), (1, 3, 4, 4), (2, 3, 2, 2)),
}


@check(oracle="the documented shapes and the law of their first numbers", dtypes=FLOAT32)
@trajectory.unthreaded
def lazy(context: Context) -> None:
    """Lazy layers take their shape from what they meet first or from a state, and become plain ones."""
    torch, nn = context.torch, context.torch.nn
    torch.manual_seed(context.seed)
    for name, (arguments, shape, right) in LAZY.items():
        layer = getattr(nn, name)(*arguments).to(context.device)
        context.true(layer.has_uninitialized_params(), what=f"{name} has no numbers at first")
        layer(torch.ones(shape, device=context.device))
        context.exact([*layer.weight.shape], [*right], what=f"shape of {name}")
        context.exact(type(layer).__name__, name[4:], what=f"what {name} becomes")
        limit = math.prod(right[1:]) ** -0.5
        most = float(layer.weight.detach().abs().max())
        context.true(0.0 < most <= limit * (1 + 2.0**-20), what=f"numbers of {name} are drawn for its width", got=most)
    loaded = nn.LazyLinear(2).to(context.device)
    loaded.load_state_dict(nn.Linear(3, 2).to(context.device).state_dict())
    context.exact([*loaded.weight.shape], [2, 3], what="a lazy layer takes its shape from a state")
