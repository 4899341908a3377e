"""Lists in which not every parameter has a gradient in every step, groups that come later, options in tensors, NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ... import trajectory
from ...context import Context
from ...registry import check
from .formulas import FORMULA, OPTIMIZERS, Optimizer

# Who has a gradient in which of four steps: always, late, never, now and then, from the third on, only at first. A
# frozen parameter (f) asks for none until then.
ATTENDING = ("1111", "0111", "0000", "1010", "ff11", "1000", "1101")
# The second group is added after the first step, with options of its own.
ADDED = ("0101", "0111", "ff01", "0000", "0111")
SHAPES: tuple[tuple[int, ...], ...] = ((5,), (3,), (2,), (), (2, 2), (4,), (17,))


def _needs(row: Optimizer) -> tuple[str, ...]:
    return (f"torch.optim.{row.cls}",)


class Member:
    """A parameter, and the path that it must take: that of the steps in which it had a gradient, taken alone."""

    def __init__(
        self, context: Context, row: Optimizer, options: Mapping[str, Any], shape: tuple[int, ...], come: str
    ) -> None:
        layout = (("plain", shape),)
        drawn = trajectory.problem(context, len(come), layout, scales=((-1, 0), (-2, 1), (-3, 0)))
        attended = tuple(g for g, mark in zip(drawn.gradients, come) if mark == "1")
        given = trajectory.Problem(drawn.start, attended, layout)
        self.come, self.row, self.options = come, row, options
        self.want = trajectory.expected(row.cls, given, options) if attended else None
        self.start = drawn.start
        (self.tensor,) = trajectory.tensors(context, given, given.start)
        self.gradients = [context.tensor(list(g)).reshape(shape) for g in drawn.gradients]

    def prepare(self, t: int) -> None:
        """Have, or lack, the gradient of step t."""
        self.tensor.requires_grad_(self.come[t] != "f")
        self.tensor.grad = self.gradients[t] if self.come[t] == "1" else None

    def judge(self, context: Context, state: Mapping[str, Any], kind: str) -> None:
        """Compare with the path."""
        what, count = f"{kind}, {dict(self.options)}: gradients in steps {self.come}", self.come.count("1")
        if self.want is None:
            context.exact(self.tensor, list(self.start), what=f"{what}: stays")
            return
        coarse = trajectory.coarseness(kind, self.row.cls, self.options, coarse=self.row.coarse)
        if math.isinf(coarse):
            return
        trajectory.close(context, context.values(self.tensor), self.want, count, what=what, coarse=coarse)
        if "step" in state:
            context.exact(float(state["step"]), float(count), what=f"{what}: step count")


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
@trajectory.unthreaded
def attendance(context: Context, row: Optimizer) -> None:
    """Parameters of {row} with a gradient late, never or now and then move alone, in lists, groups added later too."""
    for kind, flags in trajectory.implementations(context, row.cls).items():
        first, second = (
            [Member(context, row, options, *who) for who in zip(SHAPES, marks)]
            for options, marks in zip(_pair(context, row), (ATTENDING, ADDED))
        )
        groups = [{"params": [m.tensor for m in members], **members[0].options} for members in (first, second)]
        for member in first:
            member.prepare(0)
        # Before torch 2.13 Adagrad took no group later (a known defect, which `added` shows).
        at_once = row.cls == "Adagrad"
        optimizer = getattr(context.torch.optim, row.cls)(groups if at_once else groups[:1], **flags, **_rate(row))
        try:
            for t in range(4):
                for member in (*first, *second):
                    member.prepare(t)
                optimizer.step()
                if t == 0 and not at_once:
                    optimizer.add_param_group(groups[1])
        except TypeError as error:
            what = f"{kind}: a step in which some have a gradient for the first time, and others not"
            context.true(False, what=what, got=f"TypeError: {error}")
            continue
        for member in (*first, *second):
            member.judge(context, optimizer.state.get(member.tensor, {}), kind)


def _pair(context: Context, row: Optimizer) -> Iterator[dict[str, Any]]:
    """Give two different sets of options that torch has; a rate that changes is left to others."""
    for options in row.options[1:3]:
        # Adagrad's accumulators all start as the constructor was told, whatever the group.
        fixed = [*trajectory.lacking(context, row.cls, options), "initial_accumulator_value"]
        known = {name: value for name, value in options.items() if name not in fixed}
        yield {**known, "lr": 0.1} if isinstance(known.get("lr"), tuple) else known


def _rate(row: Optimizer) -> dict[str, float]:
    return {"lr": 0.5} if row.cls == "SGD" else {}  # before torch 2.1 it had no default


RATES = (0.5, 0.125, 0.0625, 0.375)


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
@trajectory.unthreaded
def held_rate(context: Context, row: Optimizer) -> None:
    """A rate that {row} holds in a tensor counts in each step as it is then, in every implementation that takes one."""
    if not hasattr(context.torch, "export"):
        context.skip("before torch 2.1 not all implementations took a rate in a tensor")
    given = trajectory.problem(context, 4, (("plain", (19,)), ("plain", (3,))), scales=((-1, 0),))
    options = {**next(_pair(context, row)), "lr": RATES}
    want, gradients = trajectory.expected(row.cls, given, options), trajectory.gradients(context, given)
    for kind, flags in trajectory.implementations(context, row.cls).items():
        coarse = trajectory.coarseness(kind, row.cls, options, coarse=row.coarse)
        if math.isinf(coarse):
            continue
        params, rate = trajectory.tensors(context, given, given.start, grad=True), context.tensor(RATES[0])
        try:
            optimizer = trajectory.build(context, row.cls, params, {**options, **flags, "lr": rate})
        except (ValueError, TypeError, RuntimeError) as error:
            context.note(f"{kind} {row.cls} takes no rate in a tensor: {error}")
            continue
        for t, _ in enumerate(trajectory.walk(optimizer, params, gradients), 1):
            context.exact(rate, [RATES[t - 1]], what=f"{kind}, the rate itself after step {t}")
            if t == 2:
                optimizer.param_groups[0]["lr"] = rate = context.tensor(RATES[t])
            elif t < len(RATES):
                rate.fill_(RATES[t])
        # What is computed from a rate in float32 (rate over bias correction, decay) rounds a few times more.
        got = trajectory.lanes(context, params)
        trajectory.close(context, got, want, 4, what=f"{kind}, a rate in a tensor", coarse=coarse + 2.0)
    if not context.comparisons:
        context.skip("no implementation takes a rate in a tensor")


@check(oracle=FORMULA, dtypes=("float32",), each=[r for r in OPTIMIZERS if r.cls in ("Adam", "AdamW")])
@trajectory.unthreaded
def held_betas(context: Context, row: Optimizer) -> None:
    """Betas that {row} holds in tensors, beside a rate in one, move it as numbers do."""
    given = trajectory.problem(context, 3, (("plain", (19,)),), scales=((-1, 0),))
    betas, lr = (0.5, 0.75), 0.25
    for options in ({"lr": lr, "betas": betas}, {"lr": lr, "betas": betas, "amsgrad": True}):
        want, gradients = trajectory.expected(row.cls, given, options), trajectory.gradients(context, given)
        for kind, flags in trajectory.implementations(context, row.cls).items():
            params = trajectory.tensors(context, given, given.start, grad=True)
            tensors = tuple(context.tensor(beta) for beta in betas)
            held = {"lr": context.tensor(lr), "betas": tensors}
            try:
                optimizer = trajectory.build(context, row.cls, params, {**options, **flags, **held})
                for t in trajectory.walk(optimizer, params, gradients):
                    got = trajectory.lanes(context, params)
                    # 1 - beta^t in float32 loses the digit that beta^t and 1 share.
                    trajectory.close(context, got, want, t, what=f"{kind}, {options}: step {t}", coarse=8.0)
            except (ValueError, TypeError, RuntimeError, AssertionError) as error:
                context.note(f"{kind} {row.cls} takes no betas in tensors: {str(error).partition(chr(10))[0]}")
            else:
                context.exact([float(beta) for beta in tensors], [*betas], what=f"{kind}: the betas themselves")
    if not context.comparisons:
        context.skip("no implementation takes betas in tensors")


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
@trajectory.unthreaded
def poisoned(context: Context, row: Optimizer) -> None:
    """A NaN or an infinity in one lane of {row} spoils no other lane; a rate of zero moves nothing at all."""
    given = trajectory.problem(context, 3, (("plain", (37,)), ("plain", (3,))), scales=((-1, 0), (-2, 1)))
    options = next(_pair(context, row))
    want, gradients = trajectory.expected(row.cls, given, options), trajectory.gradients(context, given)
    bad = {1: math.nan, 20: math.inf, 36: math.nan, 38: -math.inf}
    for kind, flags in trajectory.implementations(context, row.cls).items():
        coarse = trajectory.coarseness(kind, row.cls, options, coarse=row.coarse)
        if math.isinf(coarse):
            continue
        spoilt = trajectory.tensors(context, given, [bad.get(i, g) for i, g in enumerate(given.gradients[1])])
        params = trajectory.tensors(context, given, given.start, grad=True)
        optimizer = trajectory.build(context, row.cls, params, {**options, **flags})
        for _ in trajectory.walk(optimizer, params, [gradients[0], spoilt, gradients[2]]):
            pass
        got = [want.path.points[2][i] if i in bad else x for i, x in enumerate(trajectory.lanes(context, params))]
        trajectory.close(context, got, want, 3, what=f"{kind}, lanes beside NaN and infinities", coarse=coarse)
        params = trajectory.tensors(context, given, given.start, grad=True)
        optimizer = trajectory.build(context, row.cls, params, {**options, **flags, "lr": 0.0})
        for _ in trajectory.walk(optimizer, params, gradients[:2]):
            pass
        if row.cls != "Rprop":  # its steps have a least size
            context.exact(trajectory.lanes(context, params), list(given.start), what=f"{kind}, steps at a rate of zero")


CLOSED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {"weight_decay": 0.0}),
    "adamax": ("Adamax", {}),
    "radam": ("RAdam", {}),
}


@check(oracle="closed form for a gradient that never changes", dtypes=("float32",), each=CLOSED)
@trajectory.unthreaded
def late(context: Context, row: tuple[str, Mapping[str, Any]]) -> None:
    """A step of {row} after a thousand or 2^24 others corrects its bias for all of them."""
    cls, options = row
    lr, (b1, b2), gradient = 0.125, (0.9, 0.999), [1.0, -1.0, 64.0, -0.015625, 3.0] * 4
    for kind, flags in trajectory.implementations(context, cls).items():
        if math.isinf(trajectory.coarseness(kind, cls, options, coarse=False)):
            continue
        for before in (7, 999, 2**24):
            p = context.tensor([0.0] * len(gradient), grad=True)
            optimizer = getattr(context.torch.optim, cls)([p], lr=lr, **options, **flags)
            p.grad = context.tensor(gradient)
            optimizer.step()
            state = optimizer.state[p]
            state["step"].fill_(float(before))
            for name, value in (
                ("exp_avg", [g * (1 - b1**before) for g in gradient]),
                ("exp_avg_sq", [g * g * (1 - b2**before) for g in gradient]),
                ("max_exp_avg_sq", [0.0] * len(gradient)),
                ("exp_inf", [abs(g) for g in gradient]),
            ):
                if name in state:
                    state[name].copy_(context.tensor(value))
            with context.torch.no_grad():
                p.zero_()
            optimizer.step()
            want = [-lr * g * _share(cls, before + 1, b2, abs(g)) for g in gradient]
            # Sixteen roundings; the moments put in are rounded, and where 1 - b^t is kept in float32 it loses what
            # b^t and 1 share, at most 1 / (1 - b2^8) = 2^7.
            room = 24.0 + 2.0**8 * (cls != "Adamax") * kind.startswith("capturable")
            context.close(p, want, bound=room, what=f"{kind}: step after {before} others")


def _share(cls: str, t: int, b2: float, size: float, eps: float = 1e-8) -> float:
    """Give what an unchanging gradient of some size is multiplied by in step t, beside the rate.

    RAdam adds its epsilon before the bias is corrected and multiplies by r_t (Liu et al. 2020, eq. 5 and algorithm 2).
    """
    if cls != "RAdam":
        return 1 / (size + eps)
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    short = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return short / (size + eps / math.sqrt(1 - b2**t))
