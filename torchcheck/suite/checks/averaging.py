"""Averages of a model's weights (`torch.optim.swa_utils`) against the averages themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..context import Context
from ..registry import check

# Weights in eighths: their equal averages over 1, 2 and 4 models, and moving averages by halves, are exact.
WEIGHTS = [[[1.0, -2.0, 3.5], [0.25, 4.0, -1.5], [-6.0, 8.0, 2.0], [2.75, -1.0, 0.5]], [[5.0], [-3.0], [1.0], [2.0]]]


def _model(context: Context) -> Any:
    nn = context.torch.nn
    return nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1)).to(context.device)


def _set(context: Context, model: Any, step: int) -> None:
    """Put the weights (and a buffer) of one step into the model."""
    with context.torch.no_grad():
        model[0].weight.copy_(context.tensor([WEIGHTS[0][step]]))
        model[0].bias.copy_(context.tensor(WEIGHTS[1][step]))
        model[1].running_mean.fill_(float(step))


def _follow(context: Context, averaged: Any, expected: Callable[[list[float]], list[float]], what: str) -> None:
    """Show four models to an average; `expected` gives the average of a weight after each, from its values."""
    model = _model(context)
    for step in range(4):
        _set(context, model, step)
        averaged.update_parameters(model)
        got = [*context.values(averaged.module[0].weight), *context.values(averaged.module[0].bias)]
        columns = [[row[i] for row in WEIGHTS[0]] for i in range(3)] + [[row[0] for row in WEIGHTS[1]]]
        want = [expected(column)[step] for column in columns]
        # Each update rounds a difference, a quotient or product, and a sum.
        context.close(got, want, bound=4.0 * (step + 1), cancel=8.0, what=f"{what} after model {step + 1}")
    context.exact(averaged.n_averaged, [4], what=f"{what}: count of models")


def _equal(values: list[float]) -> list[float]:
    return [sum(values[: k + 1]) / (k + 1) for k in range(len(values))]


def _moving(decay: float) -> Callable[[list[float]], list[float]]:
    def averages(values: list[float]) -> list[float]:
        kept = [values[0]]
        for value in values[1:]:
            kept.append(decay * kept[-1] + (1 - decay) * value)
        return kept

    return averages


@check(oracle="the average in float64", dtypes=("float32",), needs=("torch.optim.swa_utils.get_swa_multi_avg_fn",))
def equal(context: Context) -> None:
    """AveragedModel holds the equal average of the models it saw, and the newest buffers."""
    averaged = context.torch.optim.swa_utils.AveragedModel(_model(context))
    _follow(context, averaged, _equal, "equal average")
    context.exact(averaged.module[1].running_mean, [3.0], what="buffer of the newest model")
    together = context.torch.optim.swa_utils.get_swa_multi_avg_fn()
    averaged = context.torch.optim.swa_utils.AveragedModel(_model(context), multi_avg_fn=together)
    _follow(context, averaged, _equal, "equal average, all at once")
    single = context.torch.optim.swa_utils.AveragedModel(
        _model(context), avg_fn=lambda old, new, count: old + (new - old) / (count + 1)
    )
    _follow(context, single, _equal, "average by a function of one's own")


@check(oracle="the average in float64", dtypes=("float32",), needs=("torch.optim.swa_utils.get_ema_avg_fn",))
def moving(context: Context) -> None:
    """AveragedModel holds the exponential moving average that it is asked for, of buffers too when told so."""
    utils, decay = context.torch.optim.swa_utils, 0.75
    for name, options in (
        ("one by one", {"avg_fn": utils.get_ema_avg_fn(decay)}),
        ("all at once", {"multi_avg_fn": utils.get_ema_multi_avg_fn(decay)}),
    ):
        averaged = utils.AveragedModel(_model(context), use_buffers=True, **options)
        _follow(context, averaged, _moving(decay), f"moving average, {name}")
        want = _moving(decay)([0.0, 1.0, 2.0, 3.0])[-1]
        context.close(averaged.module[1].running_mean, [want], bound=8.0, what=f"average of the buffer, {name}")


@check(oracle="mean and variance in float64", dtypes=("float32",), needs=("torch.optim.swa_utils.update_bn",))
def statistics(context: Context) -> None:
    """update_bn gives batch normalisation the mean over all batches of their means and variances."""
    torch = context.torch
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2)).to(context.device).eval()
    batches = [[[1.0, 2.0], [3.0, -2.0], [5.0, 6.0], [-1.0, 2.0]], [[0.5, 8.0], [2.5, 4.0], [1.0, -4.0], [4.0, 0.0]]]
    torch.optim.swa_utils.update_bn([context.tensor(batch) for batch in batches], model)
    means = [[sum(row[j] for row in batch) / 4 for batch in batches] for j in (0, 1)]
    spreads = [[sum((row[j] - m) ** 2 for row in batch) / 3 for batch, m in zip(batches, means[j])] for j in (0, 1)]
    # Sums of four small numbers, then an average of two.
    context.close(model[0].running_mean, [sum(m) / 2 for m in means], bound=16.0, what="running mean")
    context.close(model[0].running_var, [sum(v) / 2 for v in spreads], bound=16.0, what="running variance")
    context.true(not model.training, what="the model is left in the mode it was in")
    context.exact(model[0].momentum, 0.1, what="momentum is as before")
