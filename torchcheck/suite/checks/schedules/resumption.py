"""Schedulers that stop anywhere and resume, jump to an epoch, or set rates that tensors hold."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from typing import Any

from ...context import Context
from ...registry import check
from .formulas import BASES, FACTORS, SCHEDULES, Schedule, Training, _compare, _needs

# Schedulers within schedulers whose rates have no closed form here: what they hold must still come back.
NESTED = (
    Schedule(
        "chained_sequences",
        "ChainedScheduler",
        lambda m, o: m.ChainedScheduler(
            [
                m.SequentialLR(o, [m.LinearLR(o, start_factor=0.1, total_iters=4), m.StepLR(o, 2, 0.5)], [4]),
                m.ExponentialLR(o, 0.9),
            ]
        ),
        lambda *_: 0.0,
    ),
    Schedule(
        "sequential_cycles",
        "SequentialLR",
        lambda m, o: m.SequentialLR(
            o,
            [
                m.CyclicLR(o, 0.01, 0.1, step_size_up=2, cycle_momentum=False),
                m.OneCycleLR(o, 0.4, total_steps=20, cycle_momentum=False),
            ],
            [7],
        ),
        lambda *_: 0.0,
    ),
)


@check(oracle="the schedule that was not interrupted", devices="once", each=(*SCHEDULES, *NESTED), needs=_needs)
def resumes(context: Context, row: Schedule) -> None:
    """Scheduler {row}, stopped early, anywhere or late, comes back with all that it holds and goes on bit for bit."""
    cuts = sorted({1, 5, context.rng().randrange(6, row.steps - 3), row.steps - 3})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, saved, went = Training(context, row), {}, [_held(Training(context, row))]
        for t in range(1, row.steps + 1):
            one.advance(t)
            went.append(_held(one))
            if t in cuts:
                saved[t] = pickle.dumps((one.scheduler.state_dict(), one.optimizer.state_dict()))
        for cut in cuts:
            states = pickle.loads(saved[cut])  # noqa: S301 - our own
            other = Training(context, row)
            if cut % 2:
                other.optimizer.load_state_dict(states[1])
            other.scheduler.load_state_dict(states[0])
            if not cut % 2:
                other.optimizer.load_state_dict(states[1])
            context.exact(
                _plain(other.scheduler.state_dict()), _plain(states[0]), what=f"state after loading that of step {cut}"
            )
            resumed = [_held(other)]
            for t in range(cut + 1, min(cut + 8, row.steps) + 1):
                other.advance(t)
                resumed.append(_held(other))
            right = went[cut : cut + len(resumed)]
            context.exact(resumed, right, what=f"rates, and what get_last_lr tells, after resuming at step {cut}")


def _held(training: Training) -> list[float]:
    """Give all that a schedule moves, and what it tells; a plateau tells nothing before its first step."""
    told = getattr(training.scheduler, "_last_lr", training.rates)
    return [*training.rates, *(training.momenta if training.row.momentum else []), *map(float, told)]


def _plain(state: Any) -> str:
    """Write a state out, but for functions (held by reference, or left out) and what is not there."""
    if isinstance(state, dict):
        known = sorted(key for key in state if state[key] is not None)
        return "{" + ", ".join(f"{key}: {_plain(state[key])}" for key in known) + "}"
    if isinstance(state, (list, tuple)):
        return "[" + ", ".join(map(_plain, state)) + "]"
    return "function" if callable(state) else repr(state)


@check(oracle="closed form of the schedule", devices="once", each=SCHEDULES, needs=_needs)
def tensor_rate(context: Context, row: Schedule) -> None:
    """Scheduler {row} writes into the tensors that an optimizer holds its rates in, and never puts others there."""
    if not hasattr(context.torch, "export"):
        context.skip("before torch 2.1 a rate was no tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training = Training(context, row, tensor=True)
        groups = training.optimizer.param_groups
        held, rates, told = [group["lr"] for group in groups], [], []
        for t in range(1, row.steps + 1):
            training.advance(t)
            told.append(getattr(training.scheduler, "_last_lr", None))
            rates.append(training.rates)
    if hasattr(context.torch.optim.lr_scheduler, "_update_param_group_val"):  # 2.8: before, some put new ones there
        same = [group["lr"] is tensor for group, tensor in zip(groups, held)]
        context.exact(same, [True, True], what="the rates are the tensors that were given")
    for group, base in enumerate(BASES):
        want = [row.rate(t, base, group) for t in range(1, row.steps + 1)]
        _compare(context, [rate[group] for rate in rates], want, base, f"rate of group {group} after each step")
    # Plateaus had no such list before torch 2.2.
    if told[-1] is not None:
        context.exact([*map(float, told[-1])], rates[-1], what="get_last_lr at the end")


class Falling:
    """A factor that is an object: it has a state of its own."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, t: int) -> float:
        """Give the factor of an epoch."""
        return self.factor**t


JUMPING = ("lambda", "step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine", "restarts")


@check(
    oracle="closed form of the schedule",
    devices="once",
    each=[row for row in SCHEDULES if row.name in JUMPING],
    needs=_needs,
)
def jumps(context: Context, row: Schedule) -> None:
    """Scheduler {row} told an epoch sets that epoch's rate, forwards and back, and steps on from there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training, epochs, rates = Training(context, row), (7, 8, 2, 4), []
        for epoch in epochs:
            training.scheduler.step(epoch)
            rates.append(training.rates)
        for _ in range(2):
            training.scheduler.step()
            rates.append(training.rates)
    for group, base in enumerate(BASES):
        want = [row.rate(t, base, group) for t in (*epochs, 5, 6)]
        _compare(
            context, [rate[group] for rate in rates], want, base, f"rate of group {group} in epochs 7, 8, 2, 4, 5, 6"
        )


@check(oracle="the factors themselves", devices="once")
def factors(context: Context) -> None:
    """Schedulers save factors that are objects; a state brings its own settings; a plateau minds groups added later."""
    row = dataclasses.replace(SCHEDULES[0], make=lambda m, o: m.LambdaLR(o, [Falling(0.5), FACTORS[1]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = Training(context, row)
        one.advance(1)
        state = pickle.loads(pickle.dumps(one.scheduler.state_dict()))  # noqa: S301 - our own
        other = Training(
            context, dataclasses.replace(row, make=lambda m, o: m.LambdaLR(o, [Falling(0.75), FACTORS[1]]))
        )
        other.scheduler.load_state_dict(state)
        other.advance(2)
        context.close(
            other.rates,
            [0.1 * 0.25, BASES[1] / 3],
            bound=4.0,
            dtype="float64",
            what="rates by a factor whose state was loaded",
        )
        fast = Training(context, dataclasses.replace(row, make=lambda m, o: m.StepLR(o, 2, gamma=0.5)))
        slow = Training(context, dataclasses.replace(row, make=lambda m, o: m.StepLR(o, 5, gamma=0.1)))
        slow.scheduler.load_state_dict(fast.scheduler.state_dict())
        for t in (1, 2):
            slow.advance(t)
        context.exact(slow.rates, [base * 0.5 for base in BASES], what="rates by the settings of a loaded state")
        context.true("optimizer" not in fast.scheduler.state_dict(), what="a state leaves the optimizer out")
        grown = Training(
            context, dataclasses.replace(row, make=lambda m, o: m.ReduceLROnPlateau(o, factor=0.5, patience=0))
        )
        grown.optimizer.add_param_group({"params": [context.torch.zeros(1, requires_grad=True)], "lr": 0.5})
        if hasattr(grown.scheduler, "min_lrs") and len(grown.scheduler.min_lrs) == len(BASES):
            grown.scheduler.min_lrs = [0.0] * 3
        for metric in (1.0, 2.0):
            grown.scheduler.step(metric)
        context.exact(grown.rates, [0.05, 0.015, 0.25], what="rates of three groups, one of them added later")
        starts = [group["initial_lr"] for group in one.optimizer.param_groups]
        context.exact(starts, [*BASES], what="the rates that groups began with")
        context.exact(one.scheduler.base_lrs, [*BASES], what="the rates that the scheduler began with")
