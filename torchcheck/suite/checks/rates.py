"""What a learning rate does on quadratics, as the theory predicts it: contraction, thresholds, overshoot, speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..context import Context
from ..oracles import descent
from ..oracles import optimizers as oracle
from ..registry import check
from .optimizers.formulas import OPTIMIZERS, Optimizer

CURVATURES = (0.5, 1.0, 3.0, 7.0, 10.0)
THEORY = "closed form along each eigenvector"


def descend(
    context: Context, curvatures: Sequence[float], steps: int, *, cls: str = "SGD", start: float = 1.0, **options: Any
) -> list[list[float]]:
    """Minimise half the sum of curvature x^2 by backpropagation; gives x after 0, 1, … steps."""
    weights = context.tensor(list(curvatures))
    x = context.tensor([start] * len(curvatures), grad=True)
    optimizer = getattr(context.torch.optim, cls)([x], **options)
    path = [context.values(x)]
    for _ in range(steps):
        optimizer.zero_grad()
        ((weights * x * x).sum() * 0.5).backward()
        optimizer.step()
        path.append(context.values(x))
    return path


def _judge(context: Context, path: list[list[float]], curvatures: Sequence[float], what: str, **options: Any) -> None:
    """Compare a whole path with its closed form, within what its roundings may amount to."""
    for i, curvature in enumerate(curvatures):
        along = descent.direction(curvature, **options)
        want = [along.at(t) for t in range(len(path))]
        room = [error - abs(x) for error, x in zip(along.error(len(path) - 1), want)]
        context.close([x[i] for x in path], want, bound=1.0, cancel=room, what=f"{what}, curvature {curvature:g}")


@check(oracle=THEORY, level="quick", dtypes=("float32", "float64"))
def contraction(context: Context) -> None:
    """Gradient descent shrinks each eigen-direction by 1 - lr * curvature a step, below and above the overshoot."""
    steps, rates = (20, (0.01, 0.05, 0.09, 0.15, 0.199)) if context.at_least("default") else (6, (0.05, 0.199))
    for lr in rates:
        path = descend(context, CURVATURES, steps, lr=lr)
        _judge(context, path, CURVATURES, f"lr {lr:g}", lr=lr)
    shares = [0.1, 0.5, 0.9, 1.0, 1.1]
    seen = [descend(context, [10.0], 1, lr=share * 0.2)[1][0] for share in shares]
    context.figure("contraction", {"lr / limit": shares, "factor": seen, "theory": [1 - 2 * s for s in shares]})


@dataclass(frozen=True)
class Setting:
    """Options of SGD whose largest stable rate theory knows."""

    name: str
    options: Mapping[str, Any]


SETTINGS = (
    Setting("plain", {}),
    Setting("decayed", {"weight_decay": 2.0}),
    Setting("heavy_ball", {"momentum": 0.5}),
    Setting("dampened", {"momentum": 0.6, "dampening": 0.4}),
    Setting("nesterov", {"momentum": 0.7, "nesterov": True}),
)


@check(oracle=THEORY, level="quick", each=SETTINGS)
def threshold(context: Context, row: Setting) -> None:
    """With {row} options SGD contracts 1 % below the largest stable learning rate and diverges 1 % above it."""
    steps = 32 if context.at_least("default") else 20
    limit = descent.limit(CURVATURES[-1], **row.options)
    for share in (0.99, 1.01):
        lr = share * limit
        path = descend(context, CURVATURES, steps, lr=lr, **row.options)
        along = descent.direction(CURVATURES[-1], lr=lr, **row.options)
        _judge(context, path, CURVATURES, f"lr {share:g} of the limit", lr=lr, **row.options)
        grew = abs(path[-1][-1]) > abs(path[steps // 2][-1])
        context.exact(grew, share > 1, what=f"growth along the steepest direction at {share:g} of the limit")
        theory = [abs(along.at(t)) for t in range(len(path))]
        context.figure(f"{share:g} of the limit", {"distance": [abs(x[-1]) for x in path], "theory": theory})


@check(oracle=THEORY)
def optimum(context: Context) -> None:
    """Polyak's momentum is critically damped, contracts by (√κ-1)/(√κ+1), beats the best plain rate as predicted."""
    low, high, goal = 1.0, 25.0, 1e-3
    lr, momentum = descent.best_momentum(low, high)
    balls = descend(context, (low, high), 40, lr=lr, momentum=momentum)
    plain = descend(context, (low, high), 90, lr=2 / (low + high))
    _judge(context, balls, (low, high), "momentum", lr=lr, momentum=momentum)
    _judge(context, plain, (low, high), "plain", lr=2 / (low + high))
    ends = [descent.direction(c, lr=lr, momentum=momentum) for c in (low, high)]
    want = next(t for t in range(100) if all(abs(end.at(s)) <= goal for end in ends for s in range(t, 40)))
    context.exact(_arrival(balls, goal), want, what="steps of the best momentum to 1e-3")
    context.exact(
        _arrival(plain, goal), descent.steps_to((high - low) / (high + low), goal), what="steps of the best plain rate"
    )
    context.figure(
        "distance", {"momentum": [max(map(abs, x)) for x in balls], "plain": [max(map(abs, x)) for x in plain]}
    )


def _arrival(path: list[list[float]], goal: float) -> int:
    """First step from which on all directions stay within `goal`."""
    late = [t for t, x in enumerate(path) if max(map(abs, x)) > goal]
    return late[-1] + 1 if late else 0


@check(oracle=THEORY, level="quick")
def speed(context: Context) -> None:
    """A smaller learning rate converges slower by exactly the predicted number of steps."""
    goal = 1e-3
    for lr in (0.2, 0.1, 0.05) if context.at_least("default") else (0.2,):
        want = descent.steps_to(1 - lr, goal)
        path = descend(context, (1.0,), want + 1, lr=lr)
        context.exact(_arrival(path, goal), want, what=f"steps to 1e-3 at lr {lr:g}")
        theory = [(1 - lr) ** t for t in range(len(path))]
        context.figure(f"lr {lr:g}", {"distance": [x[0] for x in path], "theory": theory})


@check(oracle=THEORY, level="quick")
def overshoot(context: Context) -> None:
    """Below 1/curvature an iterate keeps its sign, at it lands on the minimum exactly, above crosses each step."""
    for lr, signs in ((0.2, [1, 1, 1, 1]), (0.25, [1, 0, 0, 0]), (0.3, [1, -1, 1, -1])):
        path = descend(context, (4.0,), 3, lr=lr)
        got = [(x[0] > 0) - (x[0] < 0) for x in path]
        context.exact(got, signs, what=f"signs at lr {lr:g} for curvature 4")


@check(oracle=THEORY)
def rotated(context: Context) -> None:
    """On a Hessian with rotated axes each eigenvector contracts by its own factor."""
    lr, (c, s), curvatures = 0.15, (0.6, 0.8), (2.0, 11.0)
    axes = ((c, s), (-s, c))
    hessian = [[sum(k * v[i] * v[j] for k, v in zip(curvatures, axes)) for j in (0, 1)] for i in (0, 1)]
    matrix, x = context.tensor(hessian), context.tensor([1.0, 0.5], grad=True)
    begin = [v[0] + 0.5 * v[1] for v in axes]
    optimizer = context.torch.optim.SGD([x], lr=lr)
    for t in range(1, 9):
        optimizer.zero_grad()
        (x @ (matrix @ x) * 0.5).backward()
        optimizer.step()
        point = context.values(x)
        for axis, k, x0 in zip(axes, curvatures, begin):
            along = axis[0] * point[0] + axis[1] * point[1]
            # A matrix entry and its products round by 4 u of |H| |x| a step; nothing here grows.
            context.close(
                [along], [x0 * (1 - lr * k) ** t], bound=16.0 * t, cancel=4.0, what=f"step {t} along curvature {k:g}"
            )


RATES: Mapping[str, dict[str, Any]] = {
    "SGD": {"lr": 0.15, "momentum": 0.6},
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1},
    "Adamax": {"lr": 0.1},
    "NAdam": {"lr": 0.1},
    "RAdam": {"lr": 0.1},
    "Adadelta": {"lr": 4.0, "rho": 0.5, "eps": 1e-3},
    "Adagrad": {"lr": 0.3},
    "RMSprop": {"lr": 0.05},
    "Rprop": {"lr": 0.1},
    "ASGD": {"lr": 0.15},
}


@check(oracle="the same training in plain float64, gradients worked out by hand", dtypes=("float64",), each=OPTIMIZERS)
def training(context: Context, row: Optimizer) -> None:
    """Training a quadratic by backpropagation with {row} takes the whole course of losses that its formula takes."""
    curvatures, options, steps = (0.5, 2.0, 5.0), RATES[row.cls], 16
    path = descend(context, curvatures, steps, cls=row.cls, start=2.0, **options)
    want = [[2.0] * 3]
    gradients: list[list[float]] = []
    for _ in range(steps):
        gradients.append([c * x for c, x in zip(curvatures, want[-1])])
        want.append(oracle.follow(row.cls, want[0], gradients, options).points[-1])
    losses = [[sum(c * x * x for c, x in zip(curvatures, point)) / 2 for point in course] for course in (path, want)]
    context.figure("loss", {"torch": losses[0], "reference": losses[1]})
    context.true(losses[1][-1] < 0.7 * losses[1][0], what="the reference trains", got=losses[1][-1])
    # An error of one step is carried on as the training's own steps are, none of which grows: 2^10 u is ample.
    dtype = "float32" if row.coarse else "float64"
    for t in (1, 5, steps):
        context.close(path[t], want[t], bound=2.0**10, cancel=2.0, what=f"position after step {t}", dtype=dtype)


@dataclass(frozen=True)
class Constant:
    """How far an optimizer goes in step t when the gradient g never changes: (t, g, lr) -> distance."""

    name: str
    cls: str
    options: Mapping[str, Any]
    distance: Callable[[int, float, float], float]


CONSTANTS = (
    Constant("sgd", "SGD", {}, lambda _, g, lr: lr * g),
    Constant("momentum", "SGD", {"momentum": 0.5}, lambda t, g, lr: lr * g * 2 * (1 - 0.5**t)),
    Constant("adam", "Adam", {}, lambda _, g, lr: lr * g / (abs(g) + 1e-8)),
    Constant("amsgrad", "Adam", {"amsgrad": True}, lambda _, g, lr: lr * g / (abs(g) + 1e-8)),
    Constant("adamw", "AdamW", {"weight_decay": 0.0}, lambda _, g, lr: lr * g / (abs(g) + 1e-8)),
    Constant("adamax", "Adamax", {}, lambda _, g, lr: lr * g / (abs(g) + 1e-8)),
    Constant("radam", "RAdam", {}, lambda _, g, lr: lr * g),
    Constant("adagrad", "Adagrad", {}, lambda t, g, lr: lr * math.copysign(1, g) / math.sqrt(t)),
    Constant("rmsprop", "RMSprop", {"alpha": 0.75}, lambda t, g, lr: lr * g / (abs(g) * math.sqrt(1 - 0.75**t) + 1e-8)),
    Constant("rprop", "Rprop", {}, lambda t, g, lr: lr * math.copysign(1, g) * 1.2 ** (t - 1)),
)


@check(oracle="closed form for a gradient that never changes", each=CONSTANTS, level="quick")
def constant_gradient(context: Context, row: Constant) -> None:
    """Under a constant gradient {row} goes in each step as far as its paper's fixed point says, whatever the scale."""
    lr, gradient, steps = 0.125, [1.0, -1.0, 64.0, -0.015625], 5
    x = context.tensor([0.0] * len(gradient), grad=True)
    optimizer = getattr(context.torch.optim, row.cls)([x], lr=lr, **row.options)
    for t in range(1, steps + 1):
        x.grad = context.tensor(gradient)
        optimizer.step()
        want = [-sum(row.distance(k, g, lr) for k in range(1, t + 1)) for g in gradient]
        # Five steps of at most 16 roundings, each relative to a movement of one sign; epsilon 1e-10 is below all that.
        context.close(x, want, bound=16.0 * t, what=f"position after step {t}")


@check(oracle="the inequality of Cauchy and Schwarz between the two moments")
def bounded(context: Context) -> None:
    """However the gradients jump, no step of Adam is longer than its moments allow; the first is the rate itself."""
    rng, lr, b1, b2 = context.rng(), 0.125, 0.9, 0.99
    x = context.tensor([0.0] * 64, grad=True)
    optimizer = context.torch.optim.Adam([x], lr=lr, betas=(b1, b2))
    before = context.values(x)
    for t in range(1, 13):
        x.grad = context.tensor([rng.gauss(0, 1) * 10 ** rng.uniform(-4, 4) for _ in range(64)])
        optimizer.step()
        after = context.values(x)
        longest = max(abs(a - b) for a, b in zip(after, before))
        before = after
        # |m|^2 <= v * sum of (b1^2 / b2)^k (1 - b1)^2 / (1 - b2); sixteen roundings, and those of positions below t lr.
        most = (1 - b1) * math.sqrt(sum((b1 * b1 / b2) ** k for k in range(t)) / (1 - b2))
        most *= lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        context.within(
            longest, most * (1 + (16 + 4 * t) * context.format.u), what=f"length of step {t}", unit="distance"
        )
        if t == 1:
            context.within(
                lr - longest, 16 * context.format.u * lr, what="first step short of the rate", unit="distance"
            )


@check(oracle="sum of the scheduled rates")
def warmup(context: Context) -> None:
    """A linear warm-up followed by a decay moves a parameter under a unit gradient by the sum of its rates."""
    x = context.tensor([0.0], grad=True)
    optimizer = context.torch.optim.SGD([x], lr=0.5)
    rates = [0.5 * min(1.0, (t + 1) / 8) * (0.5 if t >= 16 else 1.0) for t in range(24)]
    scheduler = context.torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: rates[min(t, 23)] / 0.5)
    for t in range(24):
        x.grad = context.tensor([1.0])
        optimizer.step()
        scheduler.step()
        context.close(x, [-sum(rates[: t + 1])], bound=2.0 * (t + 1), what=f"position after step {t + 1}")
    context.figure("warm-up", rates)
