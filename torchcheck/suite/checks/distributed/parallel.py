"""Training over many ranks gives the gradients of the whole batch: DDP, FSDP2, tensor parallelism."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...context import Context
from ...registry import check
from .collectives import group

ORACLE = "the gradient of the whole batch in whole numbers, by hand in plain Python"
INPUTS, HIDDEN, OUTPUTS, BATCH = 6, 8, 4, 3
Matrix = list[list[int]]


def _matrix(rows: int, columns: int, salt: int) -> Matrix:
    return [[(3 * i + 5 * j + salt * (i + 1) + i * j) % 5 - 2 for j in range(columns)] for i in range(rows)]


def _batch(rank: int) -> tuple[Matrix, Matrix]:
    """Give one rank's inputs, and the weights of its outputs in the loss."""
    return _matrix(BATCH, INPUTS, 2 * rank + 1), _matrix(BATCH, OUTPUTS, 3 * rank + 2)


def _gradients(ranks: Sequence[int], width: int = HIDDEN) -> tuple[list[int], list[int]]:
    """Differentiate sum(g * (relu(x W1') W2')) over the batches of `ranks`, by hand; two gradients, flat."""
    first, second = _matrix(width, INPUTS, 1), _matrix(OUTPUTS, width, 2)
    one = [[0] * INPUTS for _ in range(width)]
    two = [[0] * width for _ in range(OUTPUTS)]
    for rank in ranks:
        for x, g in zip(*_batch(rank)):
            before = [sum(w * v for w, v in zip(row, x)) for row in first]
            hidden = [max(0, value) for value in before]
            for o in range(OUTPUTS):
                for h in range(width):
                    two[o][h] += g[o] * hidden[h]
            for h in range(width):
                back = sum(g[o] * second[o][h] for o in range(OUTPUTS)) if before[h] > 0 else 0
                for i in range(INPUTS):
                    one[h][i] += back * x[i]
    return [v for row in one for v in row], [v for row in two for v in row]


def _model(context: Context, width: int = HIDDEN) -> Any:
    nn = context.torch.nn
    model = nn.Sequential(nn.Linear(INPUTS, width, bias=False), nn.ReLU(), nn.Linear(width, OUTPUTS, bias=False))
    model = model.to(context.device)
    with context.torch.no_grad():
        model[0].weight.copy_(context.tensor(_matrix(width, INPUTS, 1), dtype="float32"))
        model[2].weight.copy_(context.tensor(_matrix(OUTPUTS, width, 2), dtype="float32"))
    return model


def _backward(context: Context, model: Any, rank: int, scale: int) -> None:
    """Differentiate this rank's part of the loss, times `scale`: the mean over as many ranks is then their sum."""
    x, g = (context.tensor(part, dtype="float32") for part in _batch(rank))
    (scale * (model(x) * g).sum()).backward()


def _judge(
    context: Context, weights: Sequence[Any], expected: Sequence[list[int]], what: str, *, among: int = 1
) -> None:
    """Compare gradients, whole numbers that were divided by `among` ranks on the way.

    By a power of two they are divided exactly. Otherwise each rank's part, which was multiplied before, is rounded
    twice and added: at most two roundings for each summand, and one for each sum.
    """
    for name, weight, values in zip(("first", "second"), weights, expected):
        grad = weight.grad
        whole = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        told = f"{what}: gradient of the {name} weight"
        if among & (among - 1) == 0:
            context.exact(whole, [float(v) for v in values], what=told)
        else:
            context.close(whole, values, bound=among + 4, what=told, cancel=_most(among), dtype="float32")


def _most(world: int) -> float:
    """Bound the magnitudes of all ranks' parts of a gradient, added up."""
    return float(world * max(abs(v) for rank in range(world) for part in _gradients([rank]) for v in part))


@check(oracle=ORACLE, level="quick", devices="ranks", needs=["torch.nn.parallel.DistributedDataParallel"])
def ddp(context: Context) -> None:
    """DistributedDataParallel: every rank holds the gradient of the whole batch, with one bucket or many."""
    _, rank, world = group(context)
    ddp_of = context.torch.nn.parallel.DistributedDataParallel
    for what, options in (
        ("one bucket", {}),
        ("a bucket for each weight", {"bucket_cap_mb": 1e-5}),
        ("gradients as views of buckets", {"gradient_as_bucket_view": True}),
        ("static graph", {"static_graph": True}),
    ):
        model = ddp_of(_model(context), **options)
        for step in ("first step", "second step"):  # buckets are rebuilt after the first
            model.zero_grad()
            _backward(context, model, rank, world)
            weights = [model.module[0].weight, model.module[2].weight]
            _judge(context, weights, _gradients(range(world)), f"{what}, {step}", among=world)


@check(oracle=ORACLE, devices="ranks", needs=["torch.nn.parallel.DistributedDataParallel"])
def ddp_no_sync(context: Context) -> None:
    """Under no_sync gradients stay the rank's own; the next step outside it brings all of them together."""
    _, rank, world = group(context)
    model = context.torch.nn.parallel.DistributedDataParallel(_model(context))
    weights = [model.module[0].weight, model.module[2].weight]
    with model.no_sync():
        _backward(context, model, rank, world)
    _judge(context, weights, [[world * v for v in part] for part in _gradients([rank])], "inside no_sync")
    _backward(context, model, rank, world)
    twice = [[2 * v for v in part] for part in _gradients(range(world))]
    _judge(context, weights, twice, "after no_sync", among=world)


@check(oracle=ORACLE, devices="ranks", needs=["torch.nn.parallel.DistributedDataParallel"])
def ddp_unused(context: Context) -> None:
    """A layer that some ranks do not use gets the gradient of those that do."""
    _, rank, world = group(context)
    torch = context.torch

    class Forked(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.used, self.sometimes = _model(context), _model(context)

        def forward(self, x: Any) -> Any:
            return self.used(x) + self.sometimes(x) if rank % 2 == 0 else self.used(x)

    model = torch.nn.parallel.DistributedDataParallel(Forked(), find_unused_parameters=True)
    _backward(context, model, rank, world)
    module = model.module
    _judge(
        context, [module.used[0].weight, module.used[2].weight], _gradients(range(world)), "used by all", among=world
    )
    even = _gradients(range(0, world, 2))
    sometimes = [module.sometimes[0].weight, module.sometimes[2].weight]
    _judge(context, sometimes, even, "used by every other rank", among=world)


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.fsdp.fully_shard"])
def fsdp2(context: Context) -> None:
    """fully_shard: sharded weights give the outputs and gradients of the whole ones."""
    _, rank, world = group(context)
    model = _model(context)
    mesh = context.torch.distributed.device_mesh.init_device_mesh(context.device.partition(":")[0], (world,))
    for part in (model[0], model[2], model):
        context.torch.distributed.fsdp.fully_shard(part, mesh=mesh)
    held = model[0].weight.to_local().numel()
    context.true(world == 1 or held < HIDDEN * INPUTS, what="each rank holds a part of the weight", got=held)
    _backward(context, model, rank, world)
    _judge(context, [model[0].weight, model[2].weight], _gradients(range(world)), "sharded", among=world)


@check(
    oracle=ORACLE,
    devices="ranks",
    needs=["torch.distributed.tensor.parallel.parallelize_module", "torch.distributed.device_mesh.init_device_mesh"],
)
def tensor_parallel(context: Context) -> None:
    """Columns of one layer and rows of the next on different ranks give what one rank gives."""
    _, _, world = group(context)
    parallel = context.torch.distributed.tensor.parallel
    mesh = context.torch.distributed.device_mesh.init_device_mesh(context.device.partition(":")[0], (world,))
    plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
    model = parallel.parallelize_module(_model(context, 2 * world), mesh, plan)
    x, g = (context.tensor(part, dtype="float32") for part in _batch(5))
    out = model(x)
    context.exact(out, [float(v) for row in _outputs(5, 2 * world) for v in row], what="output")
    (out * g).sum().backward()
    _judge(context, [model[0].weight, model[2].weight], _gradients([5], 2 * world), "split over the ranks")


def _outputs(rank: int, width: int) -> Matrix:
    first, second = _matrix(width, INPUTS, 1), _matrix(OUTPUTS, width, 2)
    hidden = [[max(0, sum(w * v for w, v in zip(row, x))) for row in first] for x in _batch(rank)[0]]
    return [[sum(w * v for w, v in zip(row, h)) for row in second] for h in hidden]
