"""Learning-rate schedulers: each sets the rate of its closed form, and the optimizer moves by exactly that rate.

Bound: 1e-9 of the rate plus 1e-12 of the initial one. torch carries most rates from step to step by products of
cosines and powers; on correct ones this was measured to lose at most 1e-11 of the rate over 1,000 steps and never more
than 3e-13 of the initial rate.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...compare import FORMATS
from ...context import Context
from ...oracles import schedules as oracle
from ...registry import check

BASES = (0.1, 0.03)
U = FORMATS["float64"].u
# Falls that beat one threshold and not the other (2 % of 0.5 against 0.02) or the last metric and not the best, NaN.
FALLS = (1.0, 0.9, 0.9, 0.91, 0.895, 0.95, 0.8, math.nan, 0.8, 0.81, 0.7999, 0.5, 0.485, 0.6, 0.55, 0.6)
METRICS = (*FALLS, 0.55, 0.6, 0.5, 0.4, 0.348, 0.36, 0.35, 0.34, 0.33)


@dataclass(frozen=True)
class Schedule:
    """A scheduler with arguments, and the rate that it must set.

    Attributes:
        name: as it stands in the id.
        cls: name in `torch.optim.lr_scheduler` (or in `swa_utils`).
        make: (module, optimizer) -> scheduler.
        rate: (t, initial rate, number of the group) -> rate after t steps.
        steps: how many steps are taken.
        momentum: (t, number of the group) -> momentum or beta1, when the schedule moves it.
        optimizer: the one that is scheduled.
        feed: argument of each `step`, when it takes one.
    """

    name: str
    cls: str
    make: Callable[[Any, Any], Any]
    rate: Callable[[int, float, int], float]
    steps: int = 24
    momentum: Callable[[int, int], float] | None = None
    optimizer: str = "SGD"
    feed: Sequence[float] | None = None


def _plateau(name: str, **options: Any) -> Schedule:
    feed = [1.5 - metric if options.get("mode") == "max" else metric for metric in METRICS]
    lows = options.get("min_lr", 0.0)

    def rate(t: int, base: float, group: int) -> float:
        low = lows[group] if isinstance(lows, list) else lows
        return oracle.plateau(feed[:t], base, **{**options, "min_lr": low})[-1]

    return Schedule(
        name,
        "ReduceLROnPlateau",
        lambda m, o: m.ReduceLROnPlateau(o, **options),
        rate,
        steps=len(METRICS),
        feed=feed,
    )


TOPS, DIVISOR, FINAL = (0.5, 0.2), 20.0, 1e3


def _one_cycle(name: str, pct: float, *, three: bool, strategy: str, optimizer: str, steps: int = 24) -> Schedule:
    anneal = oracle.half_cosine if strategy == "cos" else oracle.straight
    ends = [pct * steps - 1, *([2 * pct * steps - 2] if three else []), steps - 1]

    def rate(t: int, _: float, group: int) -> float:
        top, low = TOPS[group], TOPS[group] / DIVISOR
        return oracle.one_cycle(t, ends, [low, top, *([low] if three else []), low / FINAL], anneal)

    def momentum(t: int, _: int) -> float:
        return oracle.one_cycle(t, ends, [0.95, 0.85, *([0.95] if three else []), 0.95], anneal)

    def make(m: Any, o: Any) -> Any:
        return m.OneCycleLR(
            o,
            list(TOPS),
            total_steps=steps,
            pct_start=pct,
            anneal_strategy=strategy,
            three_phase=three,
            div_factor=DIVISOR,
            final_div_factor=FINAL,
        )

    return Schedule(name, "OneCycleLR", make, rate, steps=steps - 1, momentum=momentum, optimizer=optimizer)


def _cyclic(name: str, mode: str, *, down: int, optimizer: str = "SGD") -> Schedule:
    gamma = 0.97 if mode == "exp_range" else 1.0
    lows, tops = [0.01, 0.02], [0.1, 0.4]

    def make(m: Any, o: Any) -> Any:
        return m.CyclicLR(
            o,
            lows,
            tops,
            step_size_up=4,
            step_size_down=down,
            mode=mode,
            gamma=gamma,
            base_momentum=0.7,
            max_momentum=0.9,
        )

    return Schedule(
        name,
        "CyclicLR",
        make,
        lambda t, _, g: oracle.cyclic(t, lows[g], tops[g], 4, down, mode, gamma),
        momentum=lambda t, _: oracle.cyclic(t, 0.9, 0.7, 4, down, mode, gamma),
        optimizer=optimizer,
    )


FACTORS = (lambda t: 0.9**t + 0.1, lambda t: 1.0 / (1 + t))
TURNS = (lambda t: 0.5 if t % 3 else 1.5, lambda t: 0.95 if t else 1.0)

SCHEDULES = (
    Schedule("lambda", "LambdaLR", lambda m, o: m.LambdaLR(o, list(FACTORS)), lambda t, b, g: b * FACTORS[g](t)),
    Schedule(
        "multiplicative",
        "MultiplicativeLR",
        lambda m, o: m.MultiplicativeLR(o, list(TURNS)),
        lambda t, b, g: b * math.prod(TURNS[g](i) for i in range(1, t + 1)),
    ),
    Schedule("step", "StepLR", lambda m, o: m.StepLR(o, 5, gamma=0.3), lambda t, b, _: oracle.step(t, b, 5, 0.3)),
    Schedule(
        "multistep",
        "MultiStepLR",
        lambda m, o: m.MultiStepLR(o, [3, 7, 7, 20], gamma=0.5),
        lambda t, b, _: oracle.multistep(t, b, (3, 7, 7, 20), 0.5),
    ),
    Schedule(
        "constant",
        "ConstantLR",
        lambda m, o: m.ConstantLR(o, factor=0.25, total_iters=4),
        lambda t, b, _: oracle.constant(t, b, 0.25, 4),
    ),
    Schedule(
        "linear",
        "LinearLR",
        lambda m, o: m.LinearLR(o, start_factor=0.2, end_factor=0.8, total_iters=9),
        lambda t, b, _: oracle.linear(t, b, 0.2, 0.8, 9),
    ),
    Schedule(
        "exponential",
        "ExponentialLR",
        lambda m, o: m.ExponentialLR(o, 0.9),
        lambda t, b, _: oracle.exponential(t, b, 0.9),
    ),
    Schedule(
        "polynomial",
        "PolynomialLR",
        lambda m, o: m.PolynomialLR(o, total_iters=10, power=2.5),
        lambda t, b, _: oracle.polynomial(t, b, 10, 2.5),
    ),
    Schedule(
        "cosine",
        "CosineAnnealingLR",
        lambda m, o: m.CosineAnnealingLR(o, 7, eta_min=0.005),
        lambda t, b, _: oracle.cosine(t, b, 7, 0.005),
    ),
    Schedule(
        "restarts",
        "CosineAnnealingWarmRestarts",
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.002),
        lambda t, b, _: oracle.restarts(t, b, 3, 2, 0.002),
    ),
    Schedule(
        "restarts_even",
        "CosineAnnealingWarmRestarts",
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 5),
        lambda t, b, _: oracle.restarts(t, b, 5, 1),
    ),
    Schedule(
        "restarts_fractional",
        "CosineAnnealingWarmRestarts",
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 2, T_mult=3, eta_min=0.002),
        lambda t, b, _: oracle.restarts(0.75 * t, b, 2, 3, 0.002),
        feed=[0.75 * t for t in range(1, 25)],
    ),
    _cyclic("cyclic", "triangular", down=6),
    _cyclic("cyclic_halved", "triangular2", down=4, optimizer="Adam"),
    _cyclic("cyclic_exponential", "exp_range", down=3),
    _one_cycle("one_cycle", 0.3, three=False, strategy="cos", optimizer="SGD"),
    _one_cycle("one_cycle_linear", 0.25, three=False, strategy="linear", optimizer="Adam"),
    _one_cycle("one_cycle_three", 0.4, three=True, strategy="cos", optimizer="SGD"),
    _plateau("plateau", patience=1, factor=0.5, min_lr=[0.004, 0.001]),
    _plateau("plateau_absolute", patience=2, factor=0.6, threshold=0.02, threshold_mode="abs", cooldown=2),
    _plateau("plateau_max", mode="max", patience=0, factor=0.7, threshold=0.1, cooldown=1, eps=2e-3),
    _plateau("plateau_max_absolute", mode="max", patience=1, factor=0.6, threshold=0.05, threshold_mode="abs"),
    Schedule(
        "sequential",
        "SequentialLR",
        lambda m, o: m.SequentialLR(
            o,
            [m.LinearLR(o, start_factor=0.1, total_iters=4), m.CosineAnnealingLR(o, 9), m.ExponentialLR(o, 0.8)],
            [4, 12],
        ),
        lambda t, b, _: (
            oracle.linear(t, b, 0.1, 1.0, 4)
            if t < 4
            else oracle.cosine(t - 4, b, 9)
            if t < 12
            else oracle.exponential(t - 12, b, 0.8)
        ),
    ),
    Schedule(
        "sequential_restarts",
        "SequentialLR",
        lambda m, o: m.SequentialLR(
            o,
            [m.LinearLR(o, start_factor=0.1, total_iters=4), m.CosineAnnealingWarmRestarts(o, 3, T_mult=2)],
            [4],
        ),
        lambda t, b, _: oracle.linear(t, b, 0.1, 1.0, 4) if t < 4 else oracle.restarts(t - 4, b, 3, 2),
    ),
    Schedule(
        "sequential_steps",
        "SequentialLR",
        lambda m, o: m.SequentialLR(
            o,
            [
                m.ConstantLR(o, factor=0.1, total_iters=99),
                m.MultiStepLR(o, [2, 5, 5], gamma=0.5),
                m.LambdaLR(o, list(FACTORS)),
                m.PolynomialLR(o, total_iters=5, power=2.0),
            ],
            [3, 10, 17],
        ),
        lambda t, b, g: (
            oracle.constant(t, b, 0.1, 99)
            if t < 3
            else oracle.multistep(t - 3, b, (2, 5, 5), 0.5)
            if t < 10
            else b * FACTORS[g](t - 10)
            if t < 17
            else oracle.polynomial(t - 17, b, 5, 2.0)
        ),
    ),
    Schedule(
        "chained",
        "ChainedScheduler",
        lambda m, o: m.ChainedScheduler([m.ConstantLR(o, factor=0.1, total_iters=3), m.ExponentialLR(o, 0.9)]),
        lambda t, b, _: oracle.constant(t, 1.0, 0.1, 3) * oracle.exponential(t, b, 0.9),
    ),
    Schedule(
        "chained_three",
        "ChainedScheduler",
        lambda m, o: m.ChainedScheduler(
            [
                m.LinearLR(o, start_factor=0.25, total_iters=4),
                m.MultiStepLR(o, [6, 9], gamma=0.3),
                m.ExponentialLR(o, 0.95),
            ]
        ),
        lambda t, b, _: (
            oracle.linear(t, 1.0, 0.25, 1.0, 4) * oracle.multistep(t, 1.0, (6, 9), 0.3) * oracle.exponential(t, b, 0.95)
        ),
    ),
    Schedule(
        "chained_order",
        "ChainedScheduler",
        lambda m, o: m.ChainedScheduler([m.LambdaLR(o, FACTORS[1]), m.ExponentialLR(o, 0.9)]),
        lambda t, b, _: b * FACTORS[1](t) * (0.9 if t else 1.0),
    ),
    Schedule(
        "averaging",
        "swa_utils.SWALR",
        lambda m, o: m.SWALR(o, [0.02, 0.05], anneal_epochs=6),
        lambda t, b, g: oracle.averaging(t, b, (0.02, 0.05)[g], 6, oracle.half_cosine),
    ),
    Schedule(
        "averaging_linear",
        "swa_utils.SWALR",
        lambda m, o: m.SWALR(o, [0.02, 0.05], anneal_epochs=5, anneal_strategy="linear"),
        lambda t, b, g: oracle.averaging(t, b, (0.02, 0.05)[g], 5, oracle.straight),
    ),
)
# Public names of `torch.optim.lr_scheduler` that have no row above, and why.
NOT_COVERED = {"LRScheduler": "the base class of the others, without a schedule of its own"}
# Those that a user builds with `last_epoch` when the scheduler itself was not saved.
# A cosine with restarts forgets its place in the cycle, and the composite ones take no `last_epoch`.
RESTARTABLE = (
    "LambdaLR",
    "MultiplicativeLR",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "PolynomialLR",
    "CosineAnnealingLR",
    "CyclicLR",
    "OneCycleLR",
)


def _needs(row: Schedule) -> tuple[str, ...]:
    return (f"torch.optim.{row.cls}" if "." in row.cls else f"torch.optim.lr_scheduler.{row.cls}",)


class _Late:
    """A module of schedulers that are built with `last_epoch`."""

    def __init__(self, module: Any, last_epoch: int) -> None:
        self.module, self.last_epoch = module, last_epoch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(getattr(self.module, name), last_epoch=self.last_epoch)


class Training:
    """An optimizer of two groups with one parameter each, under a scheduler."""

    def __init__(self, context: Context, row: Schedule, *, tensor: bool = False, after: Training | None = None) -> None:
        """Build both; with `tensor` the rates are tensors; `after` another, go on where its optimizer stands."""
        torch = context.torch
        self.row, self.params = row, [torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in BASES]
        groups = [
            {"params": [p], "lr": torch.tensor(b, dtype=torch.float64) if tensor else b}
            for p, b in zip(self.params, BASES)
        ]
        options = {"momentum": 0.6} if row.optimizer == "SGD" and row.momentum else {}
        self.optimizer = getattr(torch.optim, row.optimizer)(groups, lr=0.7, **options)
        home = torch.optim.swa_utils if row.cls.startswith("swa_utils") else torch.optim.lr_scheduler
        if after is not None:
            self.optimizer.load_state_dict(after.optimizer.state_dict())
            home = _Late(home, after.scheduler.last_epoch - 1)
        try:
            self.scheduler: Any = row.make(home, self.optimizer)
        except ValueError as error:
            if row.optimizer == "SGD" or "momentum" not in str(error):
                raise
            context.skip(f"this torch's {row.cls} does not cycle betas: {error}")

    @property
    def rates(self) -> list[float]:
        """The rates that the optimizer holds now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    @property
    def momenta(self) -> list[float]:
        """The momenta (or first betas) that the optimizer holds now."""
        return [float(g["betas"][0] if "betas" in g else g["momentum"]) for g in self.optimizer.param_groups]

    @property
    def second_betas(self) -> list[float]:
        """What no schedule may touch: the second betas of the groups, or their weight decays where they have none."""
        return [float(g["betas"][1] if "betas" in g else g["weight_decay"]) for g in self.optimizer.param_groups]

    def displace(self, context: Context) -> list[float]:
        """Take a step from zero with a gradient of one and no past: how far each group's parameter went."""
        self.optimizer.state.clear()
        for p in self.params:
            p.detach().zero_()
            p.grad = context.torch.ones_like(p)
        self.optimizer.step()
        return [-context.values(p)[1] for p in self.params]

    def advance(self, t: int) -> None:
        """Take scheduler step number t, counted from 1."""
        if self.row.feed is None:
            self.scheduler.step()
        else:
            self.scheduler.step(self.row.feed[t - 1])


def _compare(context: Context, got: Sequence[float], want: Sequence[float], base: float, what: str) -> None:
    context.close(
        list(got),
        want,
        bound=1e-9 / U,
        floor=1e-3 * base * U,
        what=what,
        dtype="float64",
        given=range(len(want)),
    )


@check(
    oracle="closed form of the schedule; the step itself", level="quick", devices="once", each=SCHEDULES, needs=_needs
)
def follows(context: Context, row: Schedule) -> None:
    """Scheduler {row} sets the rate of its closed form after every step; the optimizer moves by exactly that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training = Training(context, row)
        rates, moved, momenta, others, last = [], [], [], [], []
        for t in range(row.steps + 1):
            if t:
                training.advance(t)
            rates.append(training.rates)
            moved.append(training.displace(context))
            momenta.append(training.momenta if row.momentum else [])
            others.append(training.second_betas)
            if hasattr(training.scheduler, "get_last_lr") and (t or row.cls != "ReduceLROnPlateau"):
                last.append([float(x) for x in training.scheduler.get_last_lr()])
    for group, base in enumerate(BASES):
        want = [row.rate(t, base, group) for t in range(row.steps + 1)]
        got = [rate[group] for rate in rates]
        _compare(context, got, want, base, f"rate of group {group} after each step")
        if row.optimizer == "SGD":
            context.exact([m[group] for m in moved], got, what=f"displacement of group {group} against its rate")
        if row.momentum:
            beta = [row.momentum(t, group) for t in range(row.steps + 1)]
            _compare(context, [m[group] for m in momenta], beta, 1.0, f"momentum of group {group} after each step")
        context.figure(f"group {group}", {"rate": got, "closed form": want})
    context.exact(others, [others[0]] * len(others), what="second betas, which no schedule moves")
    if last:  # a plateau had none before torch 2.2
        context.exact(last, rates[-len(last) :], what="get_last_lr against the rates of the groups")


@check(
    oracle="closed form of the schedule",
    devices="once",
    each=[row for row in SCHEDULES if row.cls in RESTARTABLE],
    needs=_needs,
)
def continues(context: Context, row: Schedule) -> None:
    """Scheduler {row}, built anew with `last_epoch` on a loaded optimizer, continues where the old one stood."""
    if not hasattr(context.torch.optim.lr_scheduler.LRScheduler, "_is_initial"):
        context.skip("before torch 2.10 a scheduler built with last_epoch set the next rate already")
    half = 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = Training(context, row)
        for t in range(1, half + 1):
            one.displace(context)
            one.advance(t)
        other = Training(context, row, after=one)
        rates = [other.rates]
        for t in range(half + 1, row.steps + 1):
            other.displace(context)
            other.advance(t)
            rates.append(other.rates)
    for group, base in enumerate(BASES):
        want = [row.rate(t, base, group) for t in range(half, row.steps + 1)]
        _compare(context, [rate[group] for rate in rates], want, base, f"rate of group {group} from step {half} on")


@check(oracle="what the documentation promises", level="quick", devices="once")
def warns(context: Context) -> None:
    """A scheduler stepped before its optimizer warns that a rate is skipped; in the right order it is silent."""
    for early in (True, False):
        training = Training(context, SCHEDULES[0])
        if not early:
            training.displace(context)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            training.scheduler.step()
        told = [str(w.message) for w in caught if "before `optimizer.step()`" in str(w.message)]
        context.exact(len(told), int(early), what=f"warnings when the scheduler steps {'first' if early else 'second'}")


@check(oracle="the list of public names", level="quick", devices="once")
def coverage(context: Context) -> None:
    """Every public scheduler of this torch is compared above, or said not to be."""
    module = context.torch.optim.lr_scheduler
    there = {name for name, item in vars(module).items() if _schedules(module, name, item)}
    here = {row.cls for row in SCHEDULES} | set(NOT_COVERED)
    if new := sorted(there - here):
        context.note(f"not covered: {', '.join(new)}")
    common = ("LambdaLR", "StepLR", "MultiStepLR", "CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau")
    context.true(there >= set(common), what="the schedulers that every torch has are there", got=sorted(there))


def _schedules(module: Any, name: str, item: Any) -> bool:
    """Say whether a name of the module is a public scheduler (ReduceLROnPlateau was no LRScheduler before 2.2)."""
    if name.startswith("_") or not isinstance(item, type):
        return False
    return issubclass(item, module.LRScheduler) or name == "ReduceLROnPlateau"
