"""The steps of every optimizer of `torch.optim`, implementation by implementation, against its paper's formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ... import trajectory
from ...context import Context
from ...registry import check

# Rates that change while training, as a schedule changes them: each step must use its own.
RATES = (0.1, 0.05, 0.2, 0.02, 0.1, 0.05, 0.02, 0.1, 0.01, 0.04)


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
        decay: weight decay when none is given.
    """

    name: str
    cls: str
    options: tuple[Mapping[str, Any], ...]
    half: Mapping[str, Any] | None = None
    coarse: bool = False
    decay: float = 0.0


OPTIMIZERS = (
    Optimizer(
        "sgd",
        "SGD",
        (
            {"lr": 0.1},
            {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.07, "maximize": True},
            {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
            {"lr": RATES, "momentum": 0.7, "maximize": True},
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
            {"lr": RATES, "betas": (0.7, 0.9), "amsgrad": True, "maximize": True},
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
            {"lr": 0.05, "weight_decay": 0.0, "maximize": True},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.125},
    ),
    Optimizer(
        "adamax",
        "Adamax",
        (
            {},
            {"lr": 0.05, "betas": (0.8, 0.6), "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "betas": (0.7, 0.9), "maximize": True},
            {"lr": 0.05, "weight_decay": 0.2},
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
            {"lr": RATES, "betas": (0.7, 0.9), "momentum_decay": 0.5, "maximize": True},
            {"lr": 0.05, "weight_decay": 0.2, "decoupled_weight_decay": True},
            {"lr": 0.05, "weight_decay": 0.2},
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
            {"lr": RATES, "betas": (0.7, 0.99), "maximize": True},
            {"lr": 0.05, "weight_decay": 0.2, "decoupled_weight_decay": True},
            {"lr": 0.05, "weight_decay": 0.2},
        ),
        half={"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.125},
    ),
    Optimizer(
        "adadelta",
        "Adadelta",
        (
            {},
            {"lr": 0.5, "rho": 0.8, "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
            {"lr": RATES, "rho": 0.6, "eps": 1e-3, "maximize": True},
            {"weight_decay": 0.2},
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
            {"lr": RATES, "lr_decay": 0.05, "maximize": True},
            {"weight_decay": 0.2},
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
            {"lr": RATES, "alpha": 0.9, "centered": True, "maximize": True},
            {"lr": 0.02, "alpha": 0.7, "momentum": 0.8, "weight_decay": 0.2},
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
            {"lr": RATES, "lambd": 0.1, "t0": 1.0, "maximize": True},
            {"weight_decay": 0.2},
        ),
        half={"lr": 0.25, "lambd": 0.125},
        coarse=True,
    ),
)


def _needs(row: Optimizer) -> tuple[str, ...]:
    return (f"torch.optim.{row.cls}",)


FORMULA = "the paper's formula in float64, lane by lane"


@check(oracle=FORMULA, level="quick", dtypes=("float32", "float64"), each=OPTIMIZERS, needs=_needs)
def steps(context: Context, row: Optimizer) -> None:
    """Every implementation of {row} takes the steps of its formula, whatever its options, and remembers its state."""
    given = trajectory.problem(context, 10)
    single, usual = context.dtype_name == "float32", context.at_least("default")
    with trajectory.one_thread(context.torch):
        for i, options in enumerate(row.options if context.at_least("full") or (single and usual) else row.options[:2]):
            marks = (1, 2, 10) if single and usual and i < 2 else (1, 3)
            _compare(context, row, given, options, marks)


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
def lanes(context: Context, row: Optimizer) -> None:
    """Every implementation of {row} moves each of more than a thousand lanes as its formula says."""
    given = trajectory.problem(context, 2, trajectory.WIDE, scales=((-2, 1), (-1, 0), (-3, 0)))
    for i, options in enumerate(row.options):
        thorough = i < 2 or context.at_least("full")
        # What weight decay and maximising change is the path that the foreach form takes through its lists.
        kinds = () if thorough else ("foreach",)
        _compare(context, row, given, options, (2,) if thorough else (1,), kinds=kinds, remembers=thorough)


@check(oracle=FORMULA, level="full", dtypes=("float32", "float64"), each=OPTIMIZERS, needs=_needs)
def long(context: Context, row: Optimizer) -> None:
    """A hundred steps of every implementation of {row} end where its formula ends."""
    given = trajectory.problem(context, 100, (("plain", (19,)), ("plain", (5,))))
    with trajectory.one_thread(context.torch):
        for options in row.options[:2]:
            # An L2 penalty feeds parameters back into gradients: near zero a normalised step of that is unstable, and
            # enlarges any rounding in so many steps.
            free = {name: value for name, value in options.items() if name != "weight_decay"}
            _compare(context, row, given, free, (30, 100))


@check(
    oracle=FORMULA,
    dtypes=("bfloat16", "float16"),
    each=OPTIMIZERS,
    needs=_needs,
)
def half(context: Context, row: Optimizer) -> None:
    """Every implementation of {row} moves parameters of half precision as its formula says, to their precision."""
    given = trajectory.problem(
        context, 2, (("plain", (67,)), ("plain", (9,))), scales=((-0.6, 0.3),), name=str(context.dtype_name)
    )
    if row.half is not None:
        _compare(context, row, given, row.half, (1, 2))


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
def layouts(context: Context, row: Optimizer) -> None:
    """Every implementation of {row} pairs parameters with their gradients by position, however either is laid out."""
    for layout in (("strided", (19,)), ("transposed", (5, 7))):
        given = trajectory.problem(context, 2, (layout, ("plain", (3,))))
        plain = trajectory.Problem(given.start, given.gradients, (("plain", layout[1]), ("plain", (3,))))
        _compare(context, row, given, row.options[1], (2,), laid=plain, what=f"{layout[0]} parameter, plain gradient")


def _compare(
    context: Context,
    row: Optimizer,
    given: trajectory.Problem,
    options: Mapping[str, Any],
    marks: tuple[int, ...],
    *,
    laid: trajectory.Problem | None = None,
    what: str = "",
    kinds: tuple[str, ...] = (),
    remembers: bool = True,
) -> None:
    """Drive every implementation (or `kinds` of them) along a problem and compare it at the marked steps.

    Args:
        context: of the check.
        row: the optimizer.
        given: where to start, and the gradients.
        options: of the optimizer.
        marks: numbers of steps after which to compare; the last one ends the drive.
        laid: how gradients are laid out in memory, when otherwise than parameters.
        what: said in front of what was compared.
        kinds: implementations, when not all.
        remembers: compare the state at the end, too.
    """
    if missing := trajectory.lacking(context, row.cls, options):
        context.note(f"this torch's {row.cls} has no {', '.join(missing)}")
        options = {name: value for name, value in options.items() if name not in missing}
    given = given.first(marks[-1])
    want = trajectory.expected(row.cls, given, options)
    gradients = trajectory.gradients(context, laid or given)
    for kind, flags in trajectory.implementations(context, row.cls).items():
        coarse = trajectory.coarseness(kind, row.cls, options, coarse=row.coarse)
        if (kinds and kind not in kinds) or math.isinf(coarse):
            continue
        name = ", ".join(filter(None, [kind, what, str(dict(options) or "defaults")]))
        params, idle = trajectory.tensors(context, given, given.start, grad=True), context.tensor([1.0], grad=True)
        optimizer = trajectory.build(context, row.cls, [params[0], idle, *params[1:]], {**options, **flags})
        try:
            for t in trajectory.walk(optimizer, params, gradients, options.get("lr")):
                if t in marks:
                    got = trajectory.lanes(context, params)
                    trajectory.close(context, got, want, t, what=f"{name}: step {t}", coarse=coarse)
        except RuntimeError as error:
            if not laid or "layout" not in str(error):
                raise
            context.note(f"{kind} {row.cls} refuses a {what}: {str(error).partition(chr(10))[0]}")
            continue
        context.exact(idle, [1.0], what=f"{name}: the parameter without a gradient")
        if not remembers:
            continue
        state = trajectory.remembered(context, optimizer, params)
        trajectory.close_state(
            context,
            state,
            want,
            what=name,
            coarse=coarse > 0 and context.dtype_name == "float64",
            decay=options.get("weight_decay", row.decay),
        )
        if "step" in state:
            context.exact(state["step"], [float(len(given.gradients))], what=f"{name}: step count")
