"""What a training loop asks of every optimizer: groups, missing gradients, saving, closures, hooks, zeroing."""

from __future__ import annotations

import functools
import importlib
import math
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import trajectory
from ...context import Context
from ...registry import check


@dataclass(frozen=True)
class Case:
    """An optimizer as a loop drives it.

    Attributes:
        name: as it stands in the id.
        cls: name in `torch.optim`.
        options: hyperparameters, none of them the default.
        other: others for a second group; none equal to `options`.
        kind: what gradients it takes: "dense", "matrix", "sparse", or "closure" for one that evaluates by itself.
        coarse: it keeps a factor of its steps in float32, whatever the dtype.
    """

    name: str
    cls: str
    options: Mapping[str, Any]
    other: Mapping[str, Any]
    kind: str = "dense"
    coarse: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """What torch must have."""
        return (f"torch.optim.{self.cls}",)


_MOMENTS = {"lr": 0.0625, "betas": (0.75, 0.9), "eps": 1e-3, "weight_decay": 0.125}
_OTHERS = {"lr": 0.25, "betas": (0.5, 0.8), "eps": 1e-2, "weight_decay": 0.25}
CASES = (
    Case("sgd", "SGD", {"lr": 0.0625, "momentum": 0.75}, {"lr": 0.25, "momentum": 0.5, "weight_decay": 0.125}),
    Case("adam", "Adam", {**_MOMENTS, "amsgrad": True}, _OTHERS),
    Case("adamw", "AdamW", _MOMENTS, {**_OTHERS, "amsgrad": True}),
    Case("adamax", "Adamax", _MOMENTS, _OTHERS),
    Case("nadam", "NAdam", {**_MOMENTS, "momentum_decay": 0.1}, {**_OTHERS, "momentum_decay": 0.5}, coarse=True),
    Case("radam", "RAdam", _MOMENTS, _OTHERS),
    Case(
        "adadelta",
        "Adadelta",
        {"lr": 0.5, "rho": 0.75, "eps": 1e-2, "weight_decay": 0.125},
        {"lr": 0.25, "rho": 0.5, "eps": 1e-3},
    ),
    Case(
        "adagrad",
        "Adagrad",
        {"lr": 0.0625, "lr_decay": 0.125, "eps": 1e-3},
        {"lr": 0.25, "lr_decay": 0.5, "weight_decay": 0.125, "eps": 1e-2},
    ),
    Case(
        "rmsprop",
        "RMSprop",
        {"lr": 0.0625, "alpha": 0.75, "momentum": 0.5, "centered": True},
        {"lr": 0.25, "alpha": 0.5, "weight_decay": 0.125, "eps": 1e-2},
    ),
    Case(
        "rprop",
        "Rprop",
        {"lr": 0.0625, "etas": (0.5, 1.25), "step_sizes": (2.0**-10, 1.0)},
        {"lr": 0.25, "etas": (0.25, 1.5)},
    ),
    Case(
        "asgd",
        "ASGD",
        {"lr": 0.0625, "lambd": 0.125, "alpha": 0.5, "t0": 1.0},
        {"lr": 0.25, "lambd": 0.25, "t0": 2.0, "weight_decay": 0.125},
    ),
    Case(
        "sparseadam",
        "SparseAdam",
        {"lr": 0.0625, "betas": (0.75, 0.9), "eps": 1e-3},
        {"lr": 0.25, "betas": (0.5, 0.8), "eps": 1e-2},
        kind="sparse",
    ),
    Case(
        "adafactor",
        "Adafactor",
        {"lr": 0.0625, "beta2_decay": -0.5, "weight_decay": 0.125},
        {"lr": 0.25, "d": 2.0, "eps": (1e-3, 1e-2)},
    ),
    Case(
        "muon",
        "Muon",
        {"lr": 0.0625, "momentum": 0.75, "weight_decay": 0.125},
        {"lr": 0.25, "momentum": 0.5, "nesterov": False, "ns_steps": 3},
        kind="matrix",
    ),
    Case("lbfgs", "LBFGS", {"lr": 0.5, "max_iter": 2, "history_size": 3}, {"lr": 0.25, "max_iter": 3}, kind="closure"),
)
GROUPED = tuple(case for case in CASES if case.kind != "closure")
SHAPES = {"dense": ((5, 4), (3,)), "closure": ((5, 4), (3,)), "matrix": ((5, 4), (3, 6)), "sparse": ((6, 3), (4, 2))}


@functools.lru_cache(maxsize=256)
def _drawn(seed: int, t: int, i: int, count: int) -> list[float]:
    rng = random.Random(f"{seed} {t} {i}")  # noqa: S311 - test data, not secrets
    return [rng.gauss(0, 1) for _ in range(count)]


class Loop:
    """Parameters, their optimizer, and gradients that depend on step and parameter alone."""

    def __init__(
        self,
        context: Context,
        case: Case,
        options: Mapping[str, Any],
        *,
        start: float | None = None,
        only: int | None = None,
    ) -> None:
        """Build both; every lane begins at `start` or at random; `only` one of the two parameters, or both."""
        self.context, self.case = context, case
        self.params = [self._begin(i, shape, start) for i, shape in enumerate(SHAPES[case.kind])]
        chosen = self.params if only is None else [self.params[only]]
        self.optimizer = getattr(context.torch.optim, case.cls)(chosen, **options)

    def _begin(self, i: int, shape: Sequence[int], start: float | None) -> Any:
        count = math.prod(shape)
        flat = _drawn(self.context.seed, 0, i, count) if start is None else [start] * count
        return self.context.tensor(flat).reshape(tuple(shape)).requires_grad_()

    def gradient(self, t: int, i: int) -> Any:
        """Give the gradient of parameter i in step t."""
        p, drawn = self.params[i], _drawn(self.context.seed, t, i, math.prod(SHAPES[self.case.kind][i]))
        if self.case.kind == "sparse":
            rows, width = [t % p.shape[0], (t + 2) % p.shape[0]], p.shape[1]
            values = self.context.tensor([drawn[:width], drawn[width : 2 * width]])
            index = self.context.torch.tensor([rows], device=self.context.device)
            return self.context.torch.sparse_coo_tensor(index, values, p.shape)
        return self.context.tensor(drawn).reshape(p.shape)

    def closure(self) -> Any:
        """Evaluate a loss that is different for every lane, and its gradient."""
        self.optimizer.zero_grad()
        loss = sum((((p - i - 1) ** 2) * (1.0 + p.detach().abs())).sum() for i, p in enumerate(self.params))
        loss.backward()
        return loss

    def step(self, t: int, skip: int | None = None) -> None:
        """Take step t; parameter `skip` has no gradient in it."""
        if self.case.kind == "closure":
            self.optimizer.step(self.closure)
            return
        for i, p in enumerate(self.params):
            p.grad = None if i == skip else self.gradient(t, i)
        self.optimizer.step()

    def lanes(self, i: int | None = None) -> list[float]:
        """Read all lanes, or those of one parameter."""
        return trajectory.lanes(self.context, self.params if i is None else [self.params[i]])


def _each(cases: Sequence[Case]) -> dict[str, Any]:
    return {"dtypes": ("float32",), "each": cases, "needs": lambda case: case.needs}


@check(oracle="the run that was not interrupted", **{**_each(CASES), "dtypes": ("float64",)})
def resumes(context: Context, row: Case) -> None:
    """{row}, saved after three steps and loaded into a fresh one, goes on bit for bit as if it had never stopped."""
    _resume(context, row)


@check(oracle="the run that was not interrupted", level="full", **{**_each(CASES), "dtypes": ("float32", "bfloat16")})
def resumes_single(context: Context, row: Case) -> None:
    """{row} with parameters of single or half precision resumes bit for bit as well."""
    _resume(context, row)


def _resume(context: Context, row: Case) -> None:
    one = Loop(context, row, row.options)
    for t in range(1, 4):
        one.step(t)
    state = one.optimizer.state_dict()
    saved, kept = pickle.loads(pickle.dumps(state)), pickle.dumps(state)  # noqa: S301 - our own
    other = Loop(context, row, row.other)
    with context.torch.no_grad():
        for p, q in zip(other.params, one.params):
            p.copy_(q)
    other.optimizer.load_state_dict(saved)
    for name, value in row.options.items():
        got = other.optimizer.param_groups[0][name]
        context.true(got == value, what=f"{name} comes back", got=got, expected=value)
    context.true(
        pickle.dumps(other.optimizer.state_dict()) == kept or _same(context, one, other), what="state comes back"
    )
    for t in range(4, 7):
        for loop in (one, other):
            loop.step(t)
        if row.coarse and context.dtype_name == "float64":
            # Loading casts a factor that is kept in float32 to float64, in which it then grows more exactly.
            context.close(
                other.lanes(), one.lanes(), bound=64.0, cancel=1.0, what=f"parameters after step {t}", dtype="float32"
            )
        else:
            context.exact(other.lanes(), one.lanes(), what=f"parameters after step {t}")


def _same(context: Context, one: Loop, other: Loop) -> bool:
    """Compare two states entry by entry (equal states may be pickled differently)."""
    for p, q in zip(one.params, other.params):
        mine, theirs = one.optimizer.state[p], other.optimizer.state[q]
        if set(mine) != set(theirs):
            return False
        for name, value in mine.items():
            a, b = (context.values(v) if hasattr(v, "detach") else str(v) for v in (value, theirs[name]))
            if a != b:
                return False
    return True


@check(oracle="one optimizer for each group", **_each(GROUPED))
def groups(context: Context, row: Case) -> None:
    """Each parameter group of {row} follows its own options, and a changed rate counts at once."""
    for flags in ({}, {"foreach": True}) if _takes(context, row, "foreach") else ({},):
        alone = [Loop(context, row, {**options, **flags}, only=i) for i, options in enumerate((row.options, row.other))]
        both = Loop(context, row, row.options)
        named = [{"params": [p], **options} for p, options in zip(both.params, (row.options, row.other))]
        both.optimizer = getattr(context.torch.optim, row.cls)(named, **{"lr": 0.5, **flags})
        for t in range(1, 5):
            if t == 3:
                both.optimizer.param_groups[1]["lr"] = alone[1].optimizer.param_groups[0]["lr"] = 0.125
            for loop in (both, *alone):
                loop.step(t)
        for i in (0, 1):
            context.exact(both.lanes(i), alone[i].lanes(i), what=f"{flags or 'as is'}: group {i} beside one of its own")


def _takes(context: Context, row: Case, option: str) -> bool:
    return not trajectory.lacking(context, row.cls, [option])


@check(oracle="a group that has only what was named", **_each(GROUPED))
def added(context: Context, row: Case) -> None:
    """A group added to {row} with nothing but parameters takes the optimizer's own options; frozen ones never move."""
    loop, whole = Loop(context, row, row.options, only=0), Loop(context, row, row.options)
    frozen = context.tensor([[1.0, 2.0], [3.0, 4.0]])
    loop.optimizer.add_param_group({"params": [loop.params[1], frozen]})
    for t in range(1, 4):
        try:
            loop.step(t)
        except KeyError as error:
            context.true(False, what="the added group can be stepped", got=f"KeyError: {error}")
            return
        whole.step(t)
    context.exact(loop.lanes(), whole.lanes(), what="added group beside one group of both")
    context.exact(frozen, [1.0, 2.0, 3.0, 4.0], what="frozen parameter")


@check(oracle="the steps that had a gradient, taken alone", **_each(GROUPED))
def intermittent(context: Context, row: Case) -> None:
    """A parameter of {row} without a gradient in some step stays, and counts only the steps that it took."""
    loop, alone = Loop(context, row, row.options), Loop(context, row, row.options, only=0)
    for t in range(1, 5):
        before = loop.lanes(0)
        loop.step(t, skip=0 if t == 2 else None)
        if t == 2:
            context.exact(loop.lanes(0), before, what="parameter without a gradient")
        else:
            alone.step(t)
    context.exact(loop.lanes(0), alone.lanes(0), what="parameter that missed one step")


@check(oracle="what a closure is for", **_each(CASES))
def closures(context: Context, row: Case) -> None:
    """{row}'s step evaluates its closure with gradients enabled, even under no_grad, and returns its loss."""
    loop, calls = Loop(context, row, row.options), []

    def closure() -> Any:
        calls.append(context.torch.is_grad_enabled())
        if row.kind == "closure":
            return loop.closure()
        for i, p in enumerate(loop.params):
            p.grad = loop.gradient(1, i)
        return context.tensor([1.5])

    with context.torch.no_grad():
        loss = loop.optimizer.step(closure)
    twin = Loop(context, row, row.options)
    twin.step(1)
    context.exact(loop.lanes(), twin.lanes(), what="parameters after a step with a closure")
    context.true(all(calls) and calls, what="gradients are enabled in the closure", got=calls)
    if row.kind != "closure":
        context.exact(len(calls), 1, what="evaluations")
        context.true(loss is not None and float(loss) == 1.5, what="the loss is returned", got=loss, expected=1.5)


@check(oracle="the same rate as a number", **_each(CASES))
def tensor_rate(context: Context, row: Case) -> None:
    """A learning rate held in a tensor moves {row} as the same number does."""
    one, other = Loop(context, row, row.options), Loop(context, row, {**row.options, "lr": _scalar(context, row)})
    for t in range(1, 4):
        one.step(t)
        other.step(t)
    # The rate 2^-4 (or 2^-1) is exact in every format; what is computed from it may be rounded in another order.
    context.close(other.lanes(), one.lanes(), bound=48.0, cancel=1.0, what="parameters after three steps")


def _scalar(context: Context, row: Case) -> Any:
    return context.tensor(row.options["lr"])


@check(oracle="what the documentation promises", level="quick", dtypes=("float32",))
def zeroing(context: Context) -> None:
    """zero_grad takes gradients away, or fills them with zeros when asked to keep them; never touches parameters."""
    for keep in (False, True):
        p, q = context.tensor([1.0, 2.0], grad=True), context.tensor([3.0], grad=True)
        optimizer = context.torch.optim.SGD([{"params": [p]}, {"params": [q]}], lr=0.5)
        for x in (p, q):
            x.grad = context.torch.ones_like(x)
        optimizer.zero_grad(set_to_none=not keep)
        left = [None if x.grad is None else context.values(x.grad) for x in (p, q)]
        context.true(left == ([[0.0, 0.0], [0.0]] if keep else [None, None]), what=f"gradients, kept: {keep}", got=left)
        (p.sum() + q.sum()).backward()
        optimizer.step()
        context.exact(trajectory.lanes(context, [p, q]), [0.5, 1.5, 2.5], what=f"step after zeroing, kept: {keep}")
    p = context.tensor([1.0], grad=True)
    optimizer = context.torch.optim.SGD([p], lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        (3 * p).sum().backward()
    context.exact(p.grad, [3.0], what="gradient that was not accumulated")


@check(oracle="what the documentation promises", dtypes=("float32",))
def hooks(context: Context) -> None:
    """Hooks run before and after each step, those of one optimizer and those of all; removed ones no more."""
    p, told = context.tensor([1.0], grad=True), []
    optimizer = context.torch.optim.SGD([p], lr=0.5)

    def note(name: str) -> Callable[..., None]:
        return lambda *_: told.append((name, context.values(p)[0]))

    handles = [optimizer.register_step_pre_hook(note("before")), optimizer.register_step_post_hook(note("after"))]
    everywhere = importlib.import_module("torch.optim.optimizer")
    handles += [
        everywhere.register_optimizer_step_pre_hook(note("any before")),
        everywhere.register_optimizer_step_post_hook(note("any after")),
    ]
    try:
        p.grad = context.tensor([1.0])
        optimizer.step()
    finally:
        for handle in handles:
            handle.remove()
    optimizer.step()
    want = [("any before", 1.0), ("before", 1.0), ("after", 0.5), ("any after", 0.5)]
    context.true(
        sorted(told) == sorted(want), what="hooks called, with the parameter they saw", got=told, expected=want
    )


@check(oracle="the refusal of the documentation", devices="once")
def refusals(context: Context) -> None:
    """Optimizers refuse rates below zero, no parameters, parameters given twice, and a state that does not fit."""
    optim, torch = context.torch.optim, context.torch
    p = torch.zeros(2, requires_grad=True)
    for case in CASES:
        if hasattr(optim, case.cls) and case.cls not in ("LBFGS", "Muon"):
            context.raises(ValueError, getattr(optim, case.cls), [p], lr=-1.0, what=f"{case.cls} refuses lr -1")
    context.raises(ValueError, optim.SGD, [], lr=0.1, what="no parameters are refused")
    context.raises(ValueError, optim.SGD, [{"params": [p]}, {"params": [p]}], lr=0.1, what="a parameter in two groups")
    state = optim.SGD([p], lr=0.1).state_dict()
    both = optim.SGD([p, torch.zeros(1, requires_grad=True)], lr=0.1)
    context.raises(ValueError, both.load_state_dict, state, what="a state of other parameters is refused")


@check(
    oracle="a single dtype's optimizer",
    dtypes=("float64",),
    each=[c for c in GROUPED if c.kind != "sparse"],
    needs=lambda c: c.needs,
)
def mixed(context: Context, row: Case) -> None:
    """Parameters of two dtypes in one group of {row} move as each would in an optimizer of its own."""
    for flags in ({"foreach": False}, {"foreach": True}) if _takes(context, row, "foreach") else ({},):
        mixed_, alone = ([Loop(context, row, row.options, only=0) for _ in range(3)] for _ in range(2))
        loops = [_cast(context, loop, name) for loop, name in zip(mixed_, ("float32", "float64", "float32"))]
        singles = [_cast(context, loop, name) for loop, name in zip(alone, ("float32", "float64", "float32"))]
        build = getattr(context.torch.optim, row.cls)
        together = build(loops, **row.options, **flags)
        apart = [build([p], **row.options, **flags) for p in singles]
        for t in (1, 2):
            for k, (p, q) in enumerate(zip(loops, singles)):
                g = mixed_[k].gradient(t, 0) * 2.0**-30  # so small that an epsilon of the other dtype shows
                p.grad, q.grad = g.to(p.dtype), g.to(q.dtype)
            together.step()
            for optimizer in apart:
                optimizer.step()
        for k, (p, q) in enumerate(zip(loops, singles)):
            context.exact(
                p, context.values(q), what=f"{flags or 'as is'}: parameter {k} ({p.dtype}) beside its own optimizer"
            )


def _cast(context: Context, loop: Loop, name: str) -> Any:
    return loop.params[0].detach().to(getattr(context.torch, name)).requires_grad_()


@check(
    oracle="a step whose gradients were divided before",
    dtypes=("float32",),
    each=[c for c in CASES if c.cls in ("SGD", "Adam", "AdamW", "Adagrad")],
)
def scaled(context: Context, row: Case) -> None:
    """Fused {row} divides gradients by the scale that a GradScaler gives it, and takes no step when one is infinite."""
    if why := trajectory.refused(context, row.cls):
        context.skip(f"fused {row.cls} is not there on {context.device}: {why}")
    ends = []
    for scale, overflow in ((1.0, 0.0), (8.0, 0.0), (8.0, 1.0)):
        loop = Loop(context, row, {**row.options, "fused": True})
        begin = loop.lanes()
        for t in (1, 2):
            for i, p in enumerate(loop.params):
                p.grad = loop.gradient(t, i) * scale
            if scale > 1:
                loop.optimizer.grad_scale, loop.optimizer.found_inf = context.tensor(scale), context.tensor(overflow)
            loop.optimizer.step()
        ends.append((begin, loop.lanes()))
    context.exact(ends[1][1], ends[0][1], what="steps with gradients scaled by 8")
    context.exact(ends[2][1], ends[2][0], what="steps that found an infinity")
