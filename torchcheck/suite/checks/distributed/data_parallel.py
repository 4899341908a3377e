"""Data parallelism beyond the mean gradient: where ranks begin, buffers, hooks, uneven inputs, sharded optimizers."""

from __future__ import annotations

from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import group
from .parallel import ORACLE, _backward, _gradients, _judge, _model, _most

DDP = "torch.nn.parallel.DistributedDataParallel"
RATE = 0.0625
"""A power of two: steps of whole gradients are exact."""


def _weights(model: Any) -> list[Any]:
    module = getattr(model, "module", model)
    return [module[0].weight, module[2].weight]


def _bare(context: Context, size: int, values: list[int]) -> Any:
    """Make a layer of one output without bias, whose gradient is its input."""
    model = context.torch.nn.Linear(size, 1, bias=False).to(context.device)
    with context.torch.no_grad():
        model.weight.copy_(context.tensor(values, dtype="float32").reshape(1, size))
    return model


@check(oracle="what the first rank holds", level="quick", devices="ranks", needs=[DDP])
def ddp_begins_alike(context: Context) -> None:
    """All ranks begin with the first one's weights and buffers, and have its buffers in every step."""
    _, rank, _ = group(context)
    torch = context.torch

    class Counting(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = _bare(context, 9, ranks.whole(rank, 9, 3))
            self.register_buffer("seen", context.tensor(ranks.whole(rank, 5, 4), dtype="float32"))

        def forward(self, x: Any) -> Any:
            return self.layer(x) + self.seen.sum()

    model = torch.nn.parallel.DistributedDataParallel(Counting())
    context.exact(model.module.layer.weight, ranks.whole(0, 9, 3), what="weight at the start")
    context.exact(model.module.seen, ranks.whole(0, 5, 4), what="buffer at the start")
    model.module.seen.copy_(context.tensor(ranks.whole(rank, 5, 6), dtype="float32"))
    model(context.tensor(ranks.whole(rank, 9, 7), dtype="float32").reshape(1, 9)).sum().backward()
    context.exact(model.module.seen, ranks.whole(0, 5, 6), what="buffer in a step")


@check(oracle="sums of whole numbers of 23 bits", devices="ranks", needs=[DDP])
def ddp_keeps_bits(context: Context) -> None:
    """Gradients are brought together in all of their precision."""
    _, rank, world = group(context)
    bits = 23 - world.bit_length()
    held = [ranks.wide(r, world, 301, bits) for r in range(world)]
    model = context.torch.nn.parallel.DistributedDataParallel(_bare(context, 301, [1] * 301))
    (model(context.tensor(held[rank], dtype="float32").reshape(1, 301)).sum() * world).backward()
    total = [sum(column) for column in zip(*held)]
    # Each rank's part is divided before or after the sum, whichever the torch does: one rounding of each summand.
    context.close(model.module.weight.grad, total, bound=2 * world + 2, what="gradient", cancel=2.0**bits)


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.algorithms.ddp_comm_hooks.default_hooks"])
def ddp_hooks(context: Context) -> None:
    """Hooks that compress gradients average them as plain DDP does; small whole numbers lose nothing."""
    _, rank, world = group(context)
    hooks = context.torch.distributed.algorithms.ddp_comm_hooks.default_hooks
    for name in ("allreduce_hook", "fp16_compress_hook", "bf16_compress_hook"):
        if not hasattr(hooks, name) or (name.startswith("bf16") and context.device == "cpu"):
            continue
        model = context.torch.nn.parallel.DistributedDataParallel(_model(context))
        model.register_comm_hook(None, getattr(hooks, name))
        _backward(context, model, rank, world)
        expected = _gradients(range(world))
        # What is divided by the number of ranks before it is summed is rounded once for each of them.
        dtype = {"fp16_compress_hook": "float16", "bf16_compress_hook": "bfloat16"}.get(name, "float32")
        for weight, values in zip(_weights(model), expected):
            what, cancel = f"{name}: gradient", _most(world)
            context.close(weight.grad, values, bound=2 * world + 4, what=what, cancel=cancel, dtype=dtype)


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.algorithms.join.Join"])
def ddp_uneven(context: Context) -> None:
    """With `join` ranks whose data has ended hold nobody up; the mean is over all of them, or those that go on."""
    _, rank, world = group(context)
    for over_all in (True, False):
        model = context.torch.nn.parallel.DistributedDataParallel(_model(context))
        with model.join(divide_by_initial_world_size=over_all):
            for step in range(rank + 1):
                model.zero_grad()
                going = range(step, world)  # rank r has r + 1 batches
                _backward(context, model, rank, world if over_all else len(going))
                what = f"{'all' if over_all else 'those that go on'}, step {step + 1}"
                _judge(context, _weights(model), _gradients(going), what, among=world if over_all else len(going))


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.optim.ZeroRedundancyOptimizer"])
def sharded_optimizer(context: Context) -> None:
    """ZeroRedundancyOptimizer: each rank steps a part of the weights, and all hold all of them afterwards."""
    _, _, world = group(context)
    torch = context.torch
    model = torch.nn.parallel.DistributedDataParallel(_model(context))
    optimizer = torch.distributed.optim.ZeroRedundancyOptimizer(
        model.parameters(), optimizer_class=torch.optim.SGD, lr=RATE, momentum=0.5
    )
    begun = [context.values(weight) for weight in _weights(model)]
    for step, moved in ((1, 1.0), (2, 2.5)):  # with momentum 1/2 the second step moves 1.5 gradients more
        model.zero_grad()
        for weight, gradient in zip(_weights(model), _gradients(range(world))):
            weight.grad = context.tensor(gradient, dtype="float32").reshape(weight.shape)
        optimizer.step()
        for name, weight, start, gradient in zip(("first", "second"), _weights(model), begun, _gradients(range(world))):
            expected = [s - RATE * moved * g for s, g in zip(start, gradient)]
            context.exact(weight, expected, what=f"{name} weight after step {step}")


@check(
    oracle="means of whole numbers",
    devices="ranks",
    needs=["torch.distributed.algorithms.model_averaging.utils.average_parameters"],
)
def averaged_models(context: Context) -> None:
    """Averaging the models of all ranks gives each the mean of every weight."""
    distributed, rank, world = group(context)
    utils = context.torch.distributed.algorithms.model_averaging.utils
    model = _bare(context, 33, [world * v for v in ranks.whole(rank, 33, 2)])
    utils.average_parameters(model.parameters(), distributed.group.WORLD)
    expected = [sum(column) for column in zip(*(ranks.whole(r, 33, 2) for r in range(world)))]
    context.close(model.weight, expected, bound=2 * world + 2, what="weight", cancel=2.0 * world)


@check(oracle="statistics of the whole batch in plain Python", devices="ranks", needs=["torch.nn.SyncBatchNorm"])
def batch_norm(context: Context) -> None:
    """SyncBatchNorm normalises by the mean and variance of all ranks' samples."""
    _, rank, world = group(context)
    if context.device == "cpu":
        context.skip("SyncBatchNorm takes an accelerator")
    samples = [ranks.whole(r, 8, 9) for r in range(world)]
    layer = context.torch.nn.SyncBatchNorm(1, affine=False, momentum=1.0).to(context.device)
    layer(context.tensor(samples[rank], dtype="float32").reshape(8, 1))
    every = [v for part in samples for v in part]
    mean = sum(every) / len(every)
    variance = sum((v - mean) ** 2 for v in every) / (len(every) - 1)
    context.close(layer.running_mean, [mean], bound=4 * world + 16, what="mean", cancel=2.0, dtype="float32")
    context.close(layer.running_var, [variance], bound=8 * world + 32, what="variance", cancel=4.0, dtype="float32")
