"""State dicts: what they hold, how they are loaded, in place or assigned, strictly or not, tied, hooked and pickled."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "the documented rules of state dicts"
FLOAT32 = ("float32",)
W, V = [[1.0, -2.0], [3.0, 4.0]], [[5.0, 6.0], [-7.0, 8.0]]


def _net(context: Context) -> Any:
    """Make linear, (linear, norm): the second weight is the first's, one parameter frozen, one buffer passing."""
    nn = context.torch.nn
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))).to(context.device)
    net[1][0].weight = net[0].weight
    net[0].bias.requires_grad_(False)
    net.register_buffer("passing", context.tensor([1.0]), persistent=False)
    net[1].register_buffer("lasting", context.tensor([2.0]))
    return net


def _assigns(torch: Any) -> tuple[dict[str, bool], ...]:
    return ({}, {"assign": False}, {"assign": True}) if hasattr(torch, "export") else ({},)  # 2.1


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def loading(context: Context) -> None:
    """Loading keeps every parameter itself, its flag, dtype and ties, or takes what is given when it is assigned."""
    torch = context.torch
    for options in _assigns(torch):
        assign = options.get("assign", False)
        source, target = _net(context), _net(context)
        with torch.no_grad():
            for i, tensor in enumerate([*source.parameters(), *source.buffers()]):
                tensor.fill_(i + 3)
        source[0].bias.requires_grad_(True)
        held = {**dict(target.named_parameters()), **dict(target.named_buffers())}
        wanted = {name: p.requires_grad for name, p in target.named_parameters()}
        target[0].weight.grad = context.tensor(V)
        state = source.state_dict()
        numbers = {name: context.values(t) for name, t in state.items()}
        target.eval()
        gave = target.load_state_dict(state, **options)
        what = str(options)
        context.exact(
            len([*gave.missing_keys, *gave.unexpected_keys]), 0, what=f"nothing missing or unexpected, {what}"
        )
        now = {**dict(target.named_parameters()), **dict(target.named_buffers())}
        for name, tensor in now.items():
            same = tensor is held.get(name)
            context.true(
                same != assign or name == "passing",
                what=f"{name} is {'what was given' if assign else 'itself'}, {what}",
            )
            right = numbers.get(name, [1.0])
            context.exact(tensor, right, what=f"{name}, {what}")
            if name in wanted:
                context.true(type(tensor) is torch.nn.Parameter, what=f"{name} is a parameter, {what}")
                context.exact(tensor.requires_grad, wanted[name], what=f"requires_grad of {name}, {what}")
        context.exact(
            int(target[1][1].num_batches_tracked), numbers["1.1.num_batches_tracked"][0], what=f"counter, {what}"
        )
        context.true(target[1].training is False, what=f"the mode stays, {what}")
        if not assign:
            context.true(target[1][0].weight is target[0].weight, what=f"what is tied stays so, {what}")
            context.exact(target[0].weight.grad, [v for row in V for v in row], what=f"gradients stay, {what}")
            with torch.no_grad():
                state["0.bias"].add_(50)
            context.exact(target[0].bias, numbers["0.bias"], what=f"memory is its own, {what}")
        low = {k: v.to(torch.float64) if v.is_floating_point() else v for k, v in state.items()}
        target.load_state_dict(low, **options)
        dtype = str(torch.float64 if assign else torch.float32)
        context.exact(str(target[0].bias.dtype), dtype, what=f"dtype after loading float64, {what}")
    net = _net(context)
    state = net.state_dict()
    context.true(state["0.weight"].data_ptr() == net[0].weight.data_ptr(), what="a state dict shares memory")
    with torch.no_grad():
        net[0].weight.fill_(9.0)
    context.exact(state["0.weight"], [9.0] * 4, what="a state dict follows its module")
    context.exact(state["1.0.weight"], [9.0] * 4, what="under both names")
    order = torch.nn.Linear(2, 2).to(context.device)
    strided = context.tensor(V).t().contiguous().t()
    order.load_state_dict({"bias": context.tensor([1.0, 2.0]), "weight": strided})
    context.exact(order.weight, [v for row in V for v in row], what="another order and strides")
    context.true(order.weight.is_contiguous(), what="strides stay when it is loaded in place")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def strictness(context: Context) -> None:
    """What is missing, strange or of another shape is named in full, refused, or left out, and the rest is loaded."""
    torch = context.torch
    zero = {k: torch.zeros_like(v) for k, v in _net(context).state_dict().items()}
    part = {k: v for k, v in zero.items() if k not in ("1.0.bias", "1.lasting")}
    part.update({"strange": zero["0.bias"], "1.1.odd": zero["0.bias"]})
    for strict in (True, False):
        net = _net(context)
        kept = context.values(net[1][0].bias)
        if strict:
            said = ""
            try:
                net.load_state_dict(part)
            except RuntimeError as error:
                said = str(error)
            for name in ("1.0.bias", "1.lasting", "strange", "1.1.odd"):
                context.true(f'"{name}"' in said, what=f"{name} is named")
        else:
            gave = net.load_state_dict(part, strict=False)
            context.exact(sorted(gave.missing_keys), ["1.0.bias", "1.lasting"], what="names that are missing")
            context.exact(sorted(gave.unexpected_keys), ["1.1.odd", "strange"], what="names that are strange")
            context.exact(net[1][0].bias, kept, what="what is missing stays")
            context.exact(net[0].weight, [0.0] * 4, what="the rest is loaded")
            context.exact(net[1].lasting, [2.0], what="a buffer that is missing stays")
        for name, wrong in (("0.bias", torch.zeros(3)), ("1.lasting", torch.zeros(2)), ("0.bias", torch.zeros(2, 1))):
            given = {**zero, name: wrong}
            context.raises(
                RuntimeError,
                net.load_state_dict,
                given,
                strict=strict,
                what=f"another shape of {name}, strict={strict}",
            )
        context.raises(TypeError, net.load_state_dict, [1], strict=strict, what=f"a list is no state, strict={strict}")
    state = _net(context).state_dict()
    names = ["lasting" in state, "1.lasting" in state, "passing" in state, "1.0.weight" in state]
    context.exact(names, [False, True, False, True], what="buffers that last, and names that are tied, are in a state")
    layer = torch.nn.Linear(2, 2, bias=False).to(context.device)
    layer.register_buffer("none", None)
    layer.register_parameter("empty", None)
    context.exact([*layer.state_dict()], ["weight"], what="what is None is not")
    holder: dict[str, Any] = {"before": 1}
    gave = layer.state_dict(destination=holder, prefix="model.")
    context.exact([*gave], ["before", "model.weight"], what="a destination and a prefix")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def state_hooks(context: Context) -> None:
    """Hooks of states and extra state are called for every module with its prefix, and what they change is used."""
    torch = context.torch
    nn = torch.nn
    told: list[Any] = []

    class Extra(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(context.tensor([1.0, 2.0]))
            self.steps = 7

        def get_extra_state(self) -> Any:
            return {"steps": self.steps}

        def set_extra_state(self, state: Any) -> None:
            self.steps = state["steps"] * 10

    net, inner = nn.Sequential(nn.Sequential(Extra())), None
    inner = net[0][0]
    add_pre = getattr(inner, "register_state_dict_pre_hook", None)  # 2.0
    if add_pre is not None:
        add_pre(lambda _, prefix, keep: told.append(("saving", prefix, keep)))
    saved = inner._register_state_dict_hook(lambda _, state, prefix, __: state.update({f"{prefix}more": 5}))  # noqa: SLF001
    state = net.state_dict(keep_vars=True)
    context.exact(sorted(state), ["0.0._extra_state", "0.0.more", "0.0.weight"], what="names in a state")
    context.exact([state["0.0._extra_state"]["steps"], state["0.0.more"]], [7, 5], what="what a hook and a module add")
    if add_pre is not None:
        context.exact(told, [("saving", "0.0.", True)], what="what a hook before saving is told")
    saved.remove()
    context.true("0.0.more" not in net.state_dict(), what="a hook of states that was removed")
    told.clear()

    def rename(state: Any, prefix: str, *_: Any) -> None:
        told.append(("loading", prefix))
        state[f"{prefix}weight"] = state.pop(f"{prefix}old") * 2

    loads = getattr(inner, "register_load_state_dict_pre_hook", None)  # 2.5
    before = loads(lambda _, *given: rename(*given)) if loads else inner._register_load_state_dict_pre_hook(rename)  # noqa: SLF001
    inner.register_load_state_dict_post_hook(
        lambda module, keys: told.append(("loaded", module is inner, len(keys[0])))
    )
    given = {"0.0.old": context.tensor([3.0, 4.0]), "0.0._extra_state": {"steps": 2}}
    net.load_state_dict(given)
    context.exact(told, [("loading", "0.0."), ("loaded", True, 0)], what="hooks of loading")
    context.exact(inner.weight, [6.0, 8.0], what="what a hook before loading made")
    context.exact(inner.steps, 20, what="extra state is set")
    context.exact(sorted(given), ["0.0._extra_state", "0.0.old"], what="what was given stays")
    before.remove()
    net.load_state_dict({"0.0.weight": context.tensor([1.0, 1.0])}, strict=False)
    context.exact(inner.weight, [1.0, 1.0], what="after that hook is removed")
    inner.register_load_state_dict_post_hook(lambda _, keys: keys.missing_keys.clear())
    gave = net.load_state_dict({})
    context.exact(len(gave.missing_keys), 0, what="a hook after loading that forgives")


@check(oracle="the bytes and ties that were saved", level="quick", devices="cpu")
@trajectory.unthreaded
def through_files(context: Context) -> None:
    """Modules and states that were saved, pickled or copied have their numbers, ties, flags, mode, hooks and dtypes."""
    torch = context.torch

    def saved(value: Any, **options: Any) -> Any:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        buffer.seek(0)
        return torch.load(buffer, **options)

    ways: dict[str, Callable[[Any], Any]] = {
        "pickle": lambda value: pickle.loads(pickle.dumps(value)),  # noqa: S301 - ours
        "deepcopy": copy.deepcopy,
        "torch.save": lambda value: saved(value, weights_only=False),
    }
    net = _net(context)
    net[1][1].half()
    net[1].eval()
    net[0].weight.grad = context.tensor(V)
    with torch.no_grad():
        net[0].weight.copy_(context.tensor(W))
    for name, way in ways.items():
        made = way(net)
        for key, tensor in net.named_parameters():
            other = made.get_parameter(key)
            facts = [other.dtype == tensor.dtype, other.requires_grad == tensor.requires_grad, other is not tensor]
            context.exact(facts, [True] * 3, what=f"{key} by {name}: dtype, flag, itself")
            context.exact(other, context.values(tensor), what=f"{key} by {name}")
        context.true(made[1][0].weight is made[0].weight, what=f"ties by {name}")
        context.exact(
            [m.training for m in made.modules()], [m.training for m in net.modules()], what=f"modes by {name}"
        )
        context.exact([*made.state_dict()], [*net.state_dict()], what=f"names by {name}")
        context.true(
            "passing" not in made.state_dict() and made.passing is not net.passing, what=f"a passing buffer by {name}"
        )
        with torch.no_grad():
            made[0].weight.fill_(5.0)
        context.exact(made[1][0].weight, [5.0] * 4, what=f"what is tied changes together, {name}")
        context.exact(net[0].weight, [v for row in W for v in row], what=f"the original stays, {name}")
    leaf = context.tensor(W, grad=True)
    leaf.grad = context.tensor(V)
    made = copy.deepcopy(leaf)
    context.exact(made.grad, [v for row in V for v in row], what="the gradient of a tensor is copied")
    context.true(made.grad.data_ptr() != leaf.grad.data_ptr(), what="into memory of its own")
    for options in ({"weights_only": True}, {"weights_only": False}):
        state = saved(net.state_dict(), **options)
        with torch.no_grad():
            state["0.weight"].fill_(6.0)
        context.exact(state["1.0.weight"], [6.0] * 4, what=f"tied names share memory in a file, {options}")
        context.exact(str(state["1.1.weight"].dtype), "torch.float16", what=f"dtype in a file, {options}")
        context.true(type(state["0.bias"]) is torch.Tensor, what=f"a state holds tensors, {options}")
        fresh = _net(context)
        fresh.load_state_dict(state)
        context.exact(fresh[1][0].weight, [6.0] * 4, what=f"a loaded file, {options}")
    held = [torch.nn.Parameter(context.tensor(W)), torch.nn.Parameter(context.tensor(V), requires_grad=False)]
    again = saved({"held": held, "twice": held[0]}, weights_only=True)
    flags = [type(p) is torch.nn.Parameter and p.requires_grad for p in again["held"]]
    context.exact(flags, [True, False], what="flags of saved parameters")
    context.true(again["twice"] is again["held"][0], what="what is saved twice is one")
    context.raises(RuntimeError, copy.deepcopy, held[0] * 2, what="a result of a graph is not copied deeply")
