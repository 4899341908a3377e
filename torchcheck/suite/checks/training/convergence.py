"""Whole trainings beside the same training in plain Python: every loss, and every weight at the end."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from ...oracles.training import TASKS, Path, Task, least_squares, solve
from ...registry import check
from ...trajectory import one_thread

if TYPE_CHECKING:
    from ...context import Context

SHORT = tuple(task for task in TASKS if task.name in ("xor", "l1_activations"))
LONG = tuple(task for task in TASKS if task not in SHORT)
ORACLE = "the same training in plain Python: forward, the chain rule by hand, gradient descent"


class Trainer:
    """A task in torch."""

    def __init__(self, context: Context, task: Task) -> None:
        self.context = context
        self.task = task
        nn = context.torch.nn
        width = len(task.inputs[0])
        self.hidden = nn.Sequential(nn.Linear(width, task.hidden), nn.Tanh()) if task.hidden else nn.Identity()
        self.outer = nn.Linear(task.hidden or width, 1)
        self.model = nn.Sequential(self.hidden, self.outer).to(context.device, context.dtype)
        with context.torch.no_grad():
            for parameter, rows in zip(self.model.parameters(), task.start()):
                parameter.copy_(context.tensor(rows).reshape(parameter.shape))
        self.criterion = nn.MSELoss() if task.loss == "square" else nn.BCEWithLogitsLoss()
        self.optimizer = context.torch.optim.SGD(
            self.model.parameters(), lr=task.rate, momentum=task.momentum, weight_decay=task.decay
        )
        self.x = context.tensor([list(x) for x in task.inputs])
        self.y = context.tensor([[y] for y in task.targets])

    def loss(self) -> tuple[Any, Any]:
        """Give the loss with its penalty, and the penalised sum."""
        h = self.hidden(self.x)
        penalty = (h * h).sum() if self.task.penalty == "square" else h.abs().sum()
        loss = self.criterion(self.outer(h), self.y)
        return loss + self.task.strength * penalty if self.task.penalty else loss, penalty

    def run(self, steps: int) -> tuple[list[float], list[float]]:
        """Train, and give the losses and the penalised sums before each step and after the last."""
        history = []
        with one_thread(self.context.torch):
            for _ in range(steps):
                self.optimizer.zero_grad()
                loss, penalty = self.loss()
                loss.backward()
                self.optimizer.step()
                history.append((loss.detach(), penalty.detach()))
            history.append(tuple(t.detach() for t in self.loss()))
        losses, penalties = ([float(t) for t in column] for column in zip(*history))
        return losses, penalties

    def weights(self) -> list[float]:
        """Give all weights, flat."""
        return [w for parameter in self.model.parameters() for w in self.context.values(parameter)]


def reach(context: Context, task: Task, path: Path, growth: float) -> float:
    """Say how far a sound training may drift from the exact one.

    A step moves a weight by at most 4 roundings of the largest weight too much or too little; each such error grows by
    at most `growth` on its way to the end (measured on the oracle itself), momentum repeats it 1 / (1 - momentum)
    times, and errors of either sign add up with the root of their number (Wilkinson's rule; 4 is ample for both).
    """
    return 4 * context.format.u * path.largest * growth * math.sqrt(task.steps / (1 - task.momentum))


@check(oracle=ORACLE, dtypes=("float32",), more=("float64",), level="quick", each=SHORT)
@check(oracle=ORACLE, dtypes=("float32",), more=("float64",), each=LONG)
def trajectory(context: Context, row: Task) -> None:
    """Training {row} goes step by step through the losses of the same training in plain Python."""
    path, growth = solve(row)
    trainer = Trainer(context, row)
    losses, penalties = trainer.run(row.steps)
    far = reach(context, row, path, growth)
    context.close(losses, path.losses, bound=1.0, floor=far, what="losses", given=range(row.steps + 1))
    flat = [w for rows in path.weights for line in rows for w in line]
    context.close(trainer.weights(), flat, bound=1.0, floor=far, what="weights at the end")
    every = max(1, row.steps // 40)
    context.figure(
        "loss", {"steps": list(range(0, row.steps + 1, every)), "torch": losses[::every], "exact": path.losses[::every]}
    )
    if row.penalty:
        many = far * len(row.targets) * row.hidden
        context.close(penalties, path.penalties, bound=1.0, floor=many, what="sum of the penalised values")
        context.true(
            penalties[-1] < 0.75 * penalties[0],
            what="the penalty shrinks what it is on",
            got=penalties[-1] / penalties[0],
            expected="below 0.75",
        )


@check(
    oracle="the target is what the same training reaches in plain Python",
    each=[t for t in TASKS if t.reaches < 1],
)
def learns(context: Context, row: Task) -> None:
    """A network learns {row}: the loss that can be reached is reached, and every sample is right."""
    trainer = Trainer(context, row)
    losses, _ = trainer.run(row.steps)
    context.within(losses[-1], row.reaches, what="loss at the end", unit="loss", expected=solve(row)[0].losses[-1])
    outputs = context.values(trainer.model(trainer.x))
    if row.loss == "entropy":
        right = sum((o > 0) == (y > 0.5) for o, y in zip(outputs, row.targets))
        context.exact([right], [len(row.targets)], what="samples on the right side")
    else:
        far = max(abs(o - y) for o, y in zip(outputs, row.targets))
        context.within(far, 4 * row.reaches**0.5, what="farthest sample", unit="absolute error")


@check(oracle="the normal equations, solved by elimination", dtypes=("float64", "float32"))
def closed_form(context: Context) -> None:
    """Gradient descent ends at the least-squares solution."""
    task = TASKS[0]
    trainer = Trainer(context, task)
    trainer.run(task.steps)
    path, growth = solve(task)
    right = least_squares(task)
    found = [w for rows in path.weights for line in rows for w in line]
    # What descent itself still lacks, and rounding.
    lacking = max(abs(a - b) for a, b in itertools.zip_longest(found, right))
    context.within(lacking, 1e-9, what="the exact descent has arrived", unit="absolute error")
    far = reach(context, task, path, growth) + lacking
    context.close(trainer.weights(), right, bound=1.0, floor=far, what="weights")
