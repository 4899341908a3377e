"""Steps that have no rounding: fractions, and rates that double."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ... import trajectory
from ...context import Context
from ...oracles import optimizers as oracle
from ...registry import check
from .lifecycle import CASES, Case, Loop

# Numbers in eighths, rates and momenta that are powers of two: as many steps as the significand of float32 holds.
DYADIC: Mapping[str, tuple[dict[str, Any], int]] = {
    "plain": ({"lr": 0.25}, 12),
    "momentum": ({"lr": 0.25, "momentum": 0.5, "dampening": 0.5}, 8),
    "nesterov": ({"lr": 0.125, "momentum": 0.5, "nesterov": True, "maximize": True}, 8),
    "decayed": ({"lr": 0.25, "momentum": 0.5, "weight_decay": 0.25}, 3),
}


@check(oracle="rational arithmetic", dtypes=("float32",), each=DYADIC)
def fractions(context: Context, row: tuple[dict[str, Any], int]) -> None:
    """SGD ({row}) with dyadic numbers takes steps that are exact, bit for bit, in every implementation."""
    options, steps = row
    rng, count = context.rng(), 37
    start = [rng.randint(-40, 40) / 8 for _ in range(count)]
    gradients = [[rng.randint(-40, 40) / 8 for _ in range(count)] for _ in range(steps)]
    path = oracle.follow("SGD", start, gradients, {**options, "number": Fraction})
    for kind, flags in trajectory.implementations(context, "SGD").items():
        p = context.tensor(start, grad=True)
        optimizer = trajectory.build(context, "SGD", [p], {**options, **flags})
        for t in trajectory.walk(optimizer, [p], [[context.tensor(g)] for g in gradients]):
            context.exact(p, [float(x) for x in path.points[t - 1]], what=f"{kind}: step {t}", given=start)


@check(oracle="doubling is exact", level="quick", dtypes=("float32",), each=CASES, needs=lambda row: row.needs)
def doubling(context: Context, row: Case) -> None:
    """Twice a learning rate moves {row}'s first step from zero exactly twice as far, bit for bit."""
    ends = []
    for lr in (2.0**-6, 2.0**-5):
        loop = Loop(context, row, {**row.options, "lr": lr}, start=0.0)
        loop.step(1)
        ends.append(loop.lanes())
    context.true(any(ends[0]), what="the step moves something", got=ends[0][:4])
    context.exact(ends[1], [2.0 * x for x in ends[0]], what="first step at twice the rate")


@check(oracle="the definition of a derivative", dtypes=("float32",), needs=("torch.optim.SGD",))
def differentiable(context: Context) -> None:
    """A differentiable step of SGD passes gradients through itself: 1 - lr * curvature to where it began."""
    torch, lr, curvatures = context.torch, 0.25, [1.0, 2.0, 5.0]
    start = context.tensor([1.0, -3.0, 0.5], grad=True)
    p, w = start.clone(), context.tensor(curvatures)
    p.retain_grad()
    p.grad = w * start
    torch.optim.SGD([p], lr=lr, differentiable=True).step()
    context.exact(p, [x * (1 - lr * c) for x, c in zip([1.0, -3.0, 0.5], curvatures)], what="the step")
    p.sum().backward()
    context.exact(start.grad, [1 - lr * c for c in curvatures], what="derivative of the step by its start")
