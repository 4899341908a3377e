"""Gradient descent on a quadratic, solved: what a learning rate and a momentum do along each eigen-direction.

Along an eigenvector of the Hessian with eigenvalue `curvature` the iterates of (S)GD with momentum obey
x[t+1] = a x[t] - b x[t-1], whose solution is a sum of powers of the roots of r^2 = a r - b (Polyak 1964; Nesterov 1983;
Goh 2017, "Why momentum really works"). Weight decay adds to the curvature.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Direction:
    """One eigen-direction under one setting: its recurrence and its first step."""

    a: float
    b: float
    first: float
    steep: float

    @property
    def roots(self) -> tuple[complex, complex]:
        """The two roots of the characteristic polynomial."""
        half = cmath.sqrt(self.a * self.a / 4 - self.b)
        return self.a / 2 + half, self.a / 2 - half

    @property
    def radius(self) -> float:
        """Asymptotic factor of contraction a step: the larger root."""
        return max(map(abs, self.roots))

    def at(self, t: int, start: float = 1.0) -> float:
        """Where the iterate stands after t steps from `start`, in closed form."""
        if self.b == 0:
            return start * self.first * self.a ** (t - 1) if t else start
        return start * (self._impulse(t) * self.first - self.b * self._impulse(t - 1)) if t else start

    def _impulse(self, t: int) -> float:
        """Solution with x[0] = 0, x[1] = 1: (r1^t - r2^t) / (r1 - r2), or t r^(t-1) for a double root."""
        one, two = self.roots
        if abs(one - two) < 1e-7:
            return t * (self.a / 2) ** (t - 1) if t else 0.0
        return ((one**t - two**t) / (one - two)).real

    def error(self, steps: int, start: float = 1.0) -> list[float]:
        """Rounding error in units of u that each iterate may carry, from x[0] on.

        Step k rounds gradient, velocity and position: at most eight roundings of what the step combines, positions and
        `steep` times them. The recurrence carries an error on as an impulse; velocities make it two-dimensional, hence
        the doubled response.
        """
        path = [abs(self.at(t, start)) for t in range(steps + 1)]
        local = [0.0] + [
            8
            * (
                (1 + abs(self.a) + self.steep) * path[t - 1]
                + (abs(self.b) + self.steep) * path[max(t - 2, 0)]
                + path[t]
            )
            for t in range(1, steps + 1)
        ]
        reply = [1.0] + [2 * abs(self._carried(t)) for t in range(1, steps + 1)]
        return [sum(local[k] * reply[t - k] for k in range(1, t + 1)) for t in range(steps + 1)]

    def _carried(self, t: int) -> float:
        return self.a**t if self.b == 0 else abs(self._impulse(t + 1)) + abs(self.b * self._impulse(t))


def direction(
    curvature: float,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Direction:
    """Give the recurrence along an eigenvector, for torch's SGD (whose first velocity is the gradient, undamped)."""
    steep = lr * (curvature + weight_decay)
    if nesterov:
        return Direction((1 + momentum) * (1 - steep), momentum * (1 - steep), 1 - (1 + momentum) * steep, steep)
    return (
        Direction(1 + momentum - (1 - dampening) * steep, momentum, 1 - steep, steep)
        if momentum
        else Direction(1 - steep, 0.0, 1 - steep, steep)
    )


def limit(
    curvature: float,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> float:
    """Give the largest stable learning rate: where a root reaches -1. Without options 2 / curvature."""
    steepest = curvature + weight_decay
    if nesterov:
        return 2 * (1 + momentum) / ((1 + 2 * momentum) * steepest)
    return 2 * (1 + momentum) / ((1 - (dampening if momentum else 0.0)) * steepest)


def best_momentum(low: float, high: float) -> tuple[float, float]:
    """Give Polyak's optimal (lr, momentum) between two curvatures; both then contract by (√κ-1)/(√κ+1) a step."""
    root = math.sqrt(high / low)
    return (2 / (math.sqrt(low) + math.sqrt(high))) ** 2, ((root - 1) / (root + 1)) ** 2


def steps_to(factor: float, goal: float) -> int:
    """How many steps of a contraction by `factor` bring 1 to at most `goal`."""
    return math.ceil(math.log(goal) / math.log(abs(factor)))
