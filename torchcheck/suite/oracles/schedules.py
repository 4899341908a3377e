"""The learning rate of every scheduler of `torch.optim.lr_scheduler` in closed form.

`t` counts the calls of `scheduler.step()`, `base` is a group's initial rate. Each function gives one rate from t alone:
nothing is carried from step to step, so that an error of torch's recursions cannot repeat itself here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def constant(t: float, base: float, factor: float, total: int) -> float:
    """ConstantLR: a factor until `total` steps are done."""
    return base * (factor if t < total else 1.0)


def linear(t: float, base: float, start: float, end: float, total: int) -> float:
    """LinearLR: the factor goes from `start` to `end` in `total` steps."""
    return base * (start + (end - start) * min(t, total) / total)


def exponential(t: float, base: float, gamma: float) -> float:
    """ExponentialLR: base gamma^t."""
    return float(base * gamma**t)


def step(t: int, base: float, size: int, gamma: float) -> float:
    """StepLR: times gamma every `size` steps."""
    return base * float(gamma ** (t // size))


def multistep(t: int, base: float, milestones: Sequence[int], gamma: float) -> float:
    """MultiStepLR: times gamma at each milestone reached; one that stands there twice counts twice."""
    return base * gamma ** sum(t >= milestone for milestone in milestones)


def polynomial(t: float, base: float, total: int, power: float) -> float:
    """PolynomialLR: base (1 - t / total)^power, zero afterwards."""
    return base * float((1.0 - min(t, total) / total) ** power)


def cosine(t: float, base: float, period: float, low: float = 0.0) -> float:
    """CosineAnnealingLR (Loshchilov & Hutter 2017, eq. 5 without restarts): goes on beyond `period`, upwards again."""
    return low + (base - low) * (1.0 + math.cos(math.pi * t / period)) / 2.0


def restarts(t: float, base: float, first: int, factor: int, low: float = 0.0) -> float:
    """CosineAnnealingWarmRestarts (Loshchilov & Hutter 2017, eq. 5), each cycle is `factor` times as long.

    `t` may be a fraction.
    """
    length = first
    while t >= length:
        t -= length
        length *= factor
    return cosine(t, base, length, low)


def triangle(t: float, up: int, down: int) -> tuple[float, int]:
    """Height in [0, 1] within a cycle that rises for `up` and falls for `down` steps, and the cycle's number from 1."""
    cycle, rest = divmod(t, up + down)
    return (rest / up if rest <= up else (up + down - rest) / down), int(cycle) + 1


def cyclic(t: int, base: float, top: float, up: int, down: int, mode: str = "triangular", gamma: float = 1.0) -> float:
    """CyclicLR (Smith 2017, §3): triangles between `base` and `top`, halved each cycle, or shrunk by gamma^t."""
    height, cycle = triangle(t, up, down)
    scale = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": gamma**t}[mode]
    return base + (top - base) * height * scale


def one_cycle(
    t: int, ends: Sequence[float], values: Sequence[float], anneal: Callable[[float, float, float], float]
) -> float:
    """OneCycleLR (Smith & Topin 2018): from values[i] to values[i + 1] in the phase that ends at step ends[i]."""
    begin = 0.0
    for i, end in enumerate(ends):
        if t <= end or i == len(ends) - 1:
            return anneal(values[i], values[i + 1], (t - begin) / (end - begin))
        begin = end
    raise ValueError("a cycle has at least one phase")


def half_cosine(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along half a cosine."""
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0


def straight(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along a line."""
    return start + (end - start) * share


def averaging(t: int, base: float, target: float, epochs: int, anneal: Callable[[float, float, float], float]) -> float:
    """SWALR: anneal from `base` to `target` in `epochs` steps, and stay."""
    return anneal(base, target, min(1.0, t / epochs) if epochs else min(1.0, float(t)))


def plateau(
    metrics: Sequence[float],
    base: float,
    *,
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
) -> list[float]:
    """ReduceLROnPlateau as its documentation tells it: the rate before the first and after each metric.

    A metric is better when it beats best * (1 - threshold) ("min", "rel"), best * (1 + threshold) ("max", "rel") or the
    best by the threshold ("abs"); after more than `patience` others the rate shrinks, if by more than `eps`, and for
    `cooldown` metrics none is counted as bad. NaN is never better.
    """
    sign = 1.0 if mode == "min" else -1.0
    best, bad, rest, rates = math.inf * sign, 0, 0, [base]
    for metric in metrics:
        goal = best * (1.0 - sign * threshold) if threshold_mode == "rel" else best - sign * threshold
        if sign * metric < sign * goal:
            best, bad = metric, 0
        else:
            bad += 1
        if rest:
            rest, bad = rest - 1, 0
        rate = rates[-1]
        if bad > patience:
            lower, bad, rest = max(rate * factor, min_lr), 0, cooldown
            rate = lower if rate - lower > eps else rate
        rates.append(rate)
    return rates
