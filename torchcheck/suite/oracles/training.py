"""Training of a small network in plain Python: forward, the chain rule by hand, gradient descent with momentum.

With z = x V^T + b, h = tanh z, o = h W^T + c and N numbers in the targets y:

    mean square      L = sum (o - y)^2 / N               dL/do = 2 (o - y) / N
    cross entropy    L = sum log(1 + e^o) - y o over N   dL/do = (sigmoid(o) - y) / N
    penalty          L + s sum |h|  or  L + s sum h^2    dL/dh += s sign(h)  or  2 s h
    descent          g += decay p;  m = momentum m + g;  p -= rate m
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from ..compare import FORMATS
from .activations import sigmoid, softplus

Rows = list[list[float]]


@dataclass(frozen=True)
class Task:
    """Something to learn.

    Attributes:
        name: as in the ids of checks.
        inputs: one tuple a sample.
        targets: one number a sample.
        hidden: hidden units; 0 for a linear model.
        loss: "square" or "entropy".
        steps: of descent over all samples.
        rate: learning rate.
        momentum: of the heavy ball.
        decay: coupled weight decay.
        penalty: "absolute" or "square" of the hidden values, or "".
        strength: of the penalty.
        reaches: the loss that must be reached.
        seed: of the initial weights: one that this task can be learned from.
    """

    name: str
    inputs: tuple[tuple[float, ...], ...]
    targets: tuple[float, ...]
    hidden: int
    loss: str
    steps: int
    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    penalty: str = ""
    strength: float = 0.0
    reaches: float = math.inf
    seed: int = 1

    def start(self) -> list[Rows]:
        """Draw initial weights and biases that float32 holds: V, b, W, c, or W, c of a linear model."""
        rng = random.Random(self.seed)  # noqa: S311 - test data
        width = len(self.inputs[0])
        shapes = (
            [(self.hidden, width), (1, self.hidden), (1, self.hidden), (1, 1)] if self.hidden else [(1, width), (1, 1)]
        )
        return [[[FORMATS["float32"].round(rng.uniform(-1, 1)) for _ in range(n)] for _ in range(m)] for m, n in shapes]


@dataclass(frozen=True)
class Path:
    """What training went through.

    Attributes:
        losses: before each step and after the last one.
        penalties: sum of |h|, or of h^2, likewise.
        weights: at the end.
        largest: largest weight, or movement of one, on the way.
    """

    losses: list[float]
    penalties: list[float]
    weights: list[Rows]
    largest: float


def train(task: Task, weights: list[Rows]) -> Path:
    """Train from given weights."""
    moments: list[list[float]] = []
    losses, penalties, largest = [], [], 0.0
    for step in range(task.steps + 1):
        loss, penalty, gradients = _gradients(task, weights)
        losses.append(loss)
        penalties.append(penalty)
        if step == task.steps:
            break
        flat = [p for rows in weights for row in rows for p in row]
        g = [d + task.decay * p for d, p in zip(gradients, flat)]
        moments = [[task.momentum * m + d for m, d in zip(moments[0], g)]] if moments else [g]
        flat = [p - task.rate * m for p, m in zip(flat, moments[0])]
        largest = max(largest, *map(abs, flat))
        weights = _shaped(weights, flat)
    return Path(losses, penalties, weights, largest)


def _shaped(like: list[Rows], flat: Sequence[float]) -> list[Rows]:
    numbers = iter(flat)
    return [[[next(numbers) for _ in row] for row in rows] for rows in like]


def _gradients(task: Task, weights: list[Rows]) -> tuple[float, float, list[float]]:
    """Give the loss, the penalised sum, and the gradient of every weight, flat in the order of the weights."""
    *first, outer, last = weights
    n = len(task.targets)
    h = [_hidden(x, first) if first else list(x) for x in task.inputs]
    outputs = [math.fsum(map(mul, row, outer[0])) + last[0][0] for row in h]
    pairs = list(zip(outputs, task.targets))
    if task.loss == "square":
        loss, slopes = math.fsum((o - y) ** 2 for o, y in pairs) / n, [2 * (o - y) / n for o, y in pairs]
    else:
        loss, slopes = math.fsum(softplus(o) - y * o for o, y in pairs) / n, [(sigmoid(o) - y) / n for o, y in pairs]
    penalty = math.fsum(v * v if task.penalty == "square" else abs(v) for row in h for v in row) if first else 0.0
    loss += task.strength * penalty
    by_outer = [math.fsum(map(mul, slopes, column)) for column in zip(*h)]
    tail = [*by_outer, math.fsum(slopes)]
    if not first:
        return loss, penalty, tail
    back = [[_penalised(task, s * w, v) * (1 - v * v) for w, v in zip(outer[0], row)] for s, row in zip(slopes, h)]
    columns = list(zip(*back))
    inputs = list(zip(*task.inputs))
    by_inner = [math.fsum(map(mul, column, x)) for column in columns for x in inputs]
    return loss, penalty, [*by_inner, *(math.fsum(column) for column in columns), *tail]


def _hidden(x: Sequence[float], first: list[Rows]) -> list[float]:
    return [math.tanh(math.fsum(map(mul, x, row)) + bias) for row, bias in zip(first[0], first[1][0])]


def _penalised(task: Task, slope: float, v: float) -> float:
    if task.penalty == "absolute":
        return slope + task.strength * ((v > 0) - (v < 0))
    return slope + 2 * task.strength * v if task.penalty else slope


@functools.lru_cache(maxsize=None)
def solve(task: Task) -> tuple[Path, float]:
    """Train from the start, and measure by how much a small change of the start can grow on the way.

    Returns:
        The path, and the growth: the largest change of a loss or a final weight, over the change of the start.
    """
    start = task.start()
    path = train(task, start)
    rng, tiny = random.Random(2), 1e-8  # noqa: S311 - test data
    moved = [[[p + tiny * rng.choice((-1, 1)) for p in row] for row in rows] for rows in start]
    other = train(task, moved)
    flat = [[p for rows in weights for row in rows for p in row] for weights in (path.weights, other.weights)]
    changes = [abs(a - b) for a, b in zip(path.losses + flat[0], other.losses + flat[1])]
    return path, max(1.0, max(changes) / tiny)


CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
_ARC = tuple(math.pi * k / 9 for k in range(10))
MOONS = tuple((round(math.cos(t) * 64) / 64, round(math.sin(t) * 64) / 64) for t in _ARC) + tuple(
    (round((1 - math.cos(t)) * 64) / 64, round((0.5 - math.sin(t)) * 64) / 64) for t in _ARC
)
LINE = tuple((k / 8,) for k in range(-12, 13))
WAVE = tuple(math.sin(2 * x) for (x,) in LINE)
PLANE = tuple((float(a), float(b), float(a * b % 5 - 2)) for a in range(-2, 3) for b in range(-1, 3))
HEIGHT = tuple(1.5 * a - 0.5 * b + 0.25 * c + 3 + ((3 * i) % 7 - 3) / 8 for i, (a, b, c) in enumerate(PLANE))

TASKS = (
    Task("least_squares", PLANE, HEIGHT, 0, "square", 300, 0.1),
    Task("xor", CORNERS, (0.0, 1.0, 1.0, 0.0), 4, "entropy", 160, 0.5, 0.75, reaches=0.02),
    Task("moons", MOONS, (0.0,) * 10 + (1.0,) * 10, 6, "entropy", 60, 0.5, 0.9, reaches=0.05, seed=2),
    Task("wave", LINE, WAVE, 6, "square", 80, 0.0625, 0.875, reaches=0.02),
    Task("weight_decay", LINE, WAVE, 6, "square", 60, 0.0625, 0.5, decay=0.125),
    Task("l1_activations", LINE, WAVE, 6, "square", 60, 0.03125, penalty="absolute", strength=0.015625),
    Task("l2_activations", LINE, WAVE, 6, "square", 60, 0.03125, penalty="square", strength=0.015625),
)


def least_squares(task: Task) -> list[float]:
    """Give the weights and the bias of smallest mean square, by Gauss's elimination of the normal equations."""
    rows = [[*x, 1.0] for x in task.inputs]
    size = len(rows[0])
    system = [
        [math.fsum(row[i] * row[j] for row in rows) for j in range(size)]
        + [math.fsum(row[i] * y for row, y in zip(rows, task.targets))]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(system[k][i]))
        system[i], system[pivot] = system[pivot], system[i]
        for k in range(size):
            if k != i:
                factor = system[k][i] / system[i][i]
                system[k] = [a - factor * b for a, b in zip(system[k], system[i])]
    return [system[i][size] / system[i][i] for i in range(size)]
