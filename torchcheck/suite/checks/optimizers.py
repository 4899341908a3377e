"""The steps of every optimizer of `torch.optim`, implementation by implementation, against its paper's formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import trajectory
from ..context import Context
from ..registry import check

# Rates that change while training, as a schedule changes them: each step must use its own.
RATES = (0.1, 0.1, 0.05, 0.2, 0.05, 0.02, 0.02, 0.1, 0.01, 0.04)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer whose lanes are independent, and the options that its steps are compared for.

    Attributes:
        name: as it stands in the id.
        cls: name in `torch.optim`.
        options: the first ones are its defaults (but for the rate that some torch versions ask for), the second uses as
            many options as go together: the two that a quick run takes.
        half: options that move 8-bit and 11-bit significands well, or None.
        coarse: torch keeps a factor of the movement in float32, whatever the dtype (NAdam's product of momenta, ASGD's
            eta): float64 is only as accurate as that, by design.
    """

    name: str
    cls: str
    options: tuple[Mapping[str, Any], ...]
    half: Mapping[str, Any] | None = None
    coarse: bool = False


OPTIMIZERS = (
    Optimizer(
        "sgd",
        "SGD",
        (
            {"lr": 0.1},
            {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.07, "maximize": True},
            {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
            {"lr": RATES, "momentum": 0.7},
            {"lr": 0.1, "weight_decay": 0.5, "maximize": True},
        ),
        half={"lr": 0.25, "momentum": 0.5, "weight_decay": 0.125},
    ),
    Optimizer(
        "adam",
        "Adam",
        (
            {},
            {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True, "maximize": True},
            {"lr": RATES, "betas": (0.7, 0.9), "amsgrad": True},
            {"lr": 0.05, "betas": (0.8, 0.6), "weight_decay": 0.2},
            {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.2, "decoupled_weight_decay": True},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.125},
    ),
    Optimizer(
        "adamw",
        "AdamW",
        (
            {},
            {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3, "amsgrad": True, "maximize": True},
            {"lr": RATES, "betas": (0.7, 0.9), "weight_decay": 0.2},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.125},
    ),
    Optimizer(
        "adamax",
        "Adamax",
        (
            {},
            {"lr": 0.05, "betas": (0.8, 0.6), "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "betas": (0.7, 0.9)},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125},
    ),
    Optimizer(
        "nadam",
        "NAdam",
        (
            {},
            {
                "lr": 0.05,
                "betas": (0.8, 0.95),
                "eps": 1e-3,
                "weight_decay": 0.1,
                "momentum_decay": 0.1,
                "maximize": True,
            },
            {"lr": RATES, "betas": (0.7, 0.9), "momentum_decay": 0.5},
            {"lr": 0.05, "weight_decay": 0.2, "decoupled_weight_decay": True},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125},
        coarse=True,
    ),
    Optimizer(
        "radam",
        "RAdam",
        (
            {},
            {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "betas": (0.7, 0.99)},
            {"lr": 0.05, "weight_decay": 0.2, "decoupled_weight_decay": True},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125},
    ),
    Optimizer(
        "adadelta",
        "Adadelta",
        (
            {},
            {"lr": 0.5, "rho": 0.8, "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "rho": 0.6, "eps": 1e-3},
        ),
        half={"lr": 1.0, "rho": 0.5, "eps": 0.125},
    ),
    Optimizer(
        "adagrad",
        "Adagrad",
        (
            {},
            {
                "lr": 0.1,
                "lr_decay": 0.2,
                "weight_decay": 0.1,
                "initial_accumulator_value": 0.3,
                "eps": 1e-2,
                "maximize": True,
            },
            {"lr": RATES, "lr_decay": 0.05},
        ),
        half={"lr": 0.25, "lr_decay": 0.5, "eps": 0.125, "weight_decay": 0.125},
    ),
    Optimizer(
        "rmsprop",
        "RMSprop",
        (
            {},
            {
                "lr": 0.02,
                "alpha": 0.8,
                "eps": 1e-2,
                "weight_decay": 0.1,
                "momentum": 0.7,
                "centered": True,
                "maximize": True,
            },
            {"lr": RATES, "alpha": 0.9, "centered": True},
            {"lr": 0.02, "alpha": 0.7, "momentum": 0.8},
        ),
        half={"lr": 0.25, "alpha": 0.5, "eps": 0.125, "momentum": 0.5},
    ),
    Optimizer(
        "rprop",
        "Rprop",
        (
            {},
            {"lr": 0.02, "etas": (0.4, 1.3), "step_sizes": (0.015, 0.035), "maximize": True},
            {"lr": 0.1, "etas": (0.7, 1.5)},
        ),
        half={"lr": 0.25, "etas": (0.5, 1.25)},
    ),
    Optimizer(
        "asgd",
        "ASGD",
        (
            {},
            {"lr": 0.1, "lambd": 0.2, "alpha": 0.6, "t0": 3.0, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "lambd": 0.1, "t0": 1.0},
        ),
        half={"lr": 0.25, "lambd": 0.125},
        coarse=True,
    ),
)


def _needs(row: Optimizer) -> tuple[str, ...]:
    return (f"torch.optim.{row.cls}",)


@check(
    oracle="the paper's formula in float64, lane by lane",
    level="quick",
    dtypes=("float32", "float64"),
    each=OPTIMIZERS,
    needs=_needs,
)
def steps(context: Context, row: Optimizer) -> None:
    """Every implementation of {row} takes the steps of its formula, whatever its options."""
    marks = (1, 2, 10) if context.at_least("default") else (1, 2, 3)
    given = trajectory.problem(context.rng(), marks[-1])
    gradients = [trajectory.tensors(context, given, step) for step in given.gradients]
    for options in row.options[: None if context.at_least("default") else 2]:
        if missing := trajectory.lacking(context, row.cls, options):
            context.note(f"this torch's {row.cls} has no {', '.join(missing)}")
            continue
        want = trajectory.expected(row.cls, given, options)
        for kind, flags in trajectory.implementations(context, row.cls).items():
            params, idle = trajectory.tensors(context, given, given.start, grad=True), context.tensor([1.0], grad=True)
            optimizer = trajectory.build(context, row.cls, [params[0], idle, *params[1:]], {**options, **flags})
            what = f"{kind}, {options or 'defaults'}"
            for t in trajectory.walk(optimizer, params, gradients, options.get("lr")):
                if t in marks:
                    got = trajectory.lanes(context, params)
                    trajectory.close(context, got, want, t, what=f"{what}: step {t}", coarse=row.coarse)
            context.exact(idle, [1.0], what=f"{what}: the parameter without a gradient")
