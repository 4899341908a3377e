"""Sharded tensors and what is trained with them: layouts, steps, clipping, checkpoints that are read otherwise."""

from __future__ import annotations

import math
import shutil
from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import group
from .data_parallel import RATE
from .parallel import HIDDEN, INPUTS, ORACLE, _backward, _gradients, _matrix, _model, _most
from .sharing import common_folder, load_alone

ROWS, COLUMNS = 5, 7
"""Neither is divisible by most numbers of ranks: the last of them hold less, or nothing."""


def _mesh(context: Context) -> Any:
    kind, world = context.device.partition(":")[0], context.torch.distributed.get_world_size()
    return context.torch.distributed.device_mesh.init_device_mesh(kind, (world,))


def _whole(salt: int) -> list[int]:
    return ranks.whole(0, ROWS * COLUMNS, salt)


@check(
    oracle="whole numbers, cut up in plain Python",
    devices="ranks",
    needs=["torch.distributed.tensor.distribute_tensor"],
)
def layouts_of_shards(context: Context) -> None:
    """A tensor cut along either dimension is put together as it was, and what is partial is added up."""
    distributed, rank, world = group(context)
    tensors, mesh = distributed.tensor, _mesh(context)
    flat = _whole(1)
    # The first rank's data counts: the others bring wrong numbers.
    given = context.tensor(flat if rank == 0 else [9] * len(flat), dtype="float32").reshape(ROWS, COLUMNS)
    for placement in (tensors.Shard(0), tensors.Shard(1), tensors.Replicate()):
        sharded = tensors.distribute_tensor(given.clone(), mesh, [placement])
        context.exact(sharded.full_tensor(), flat, what=f"{placement}: put together")
        for other in (tensors.Shard(1), tensors.Shard(0), tensors.Replicate()):
            moved = sharded.redistribute(mesh, [other])
            context.exact(moved.full_tensor(), flat, what=f"{placement} to {other}")
    length = math.ceil(ROWS / world)
    own = [v for row in range(rank * length, min(ROWS, (rank + 1) * length)) for v in flat[row * COLUMNS :][:COLUMNS]]
    local = context.values(tensors.distribute_tensor(given, mesh, [tensors.Shard(0)]).to_local())
    context.true(local == own, what="this rank's rows, which may be none", got=str(local), expected=str(own))
    part = context.tensor(ranks.whole(rank, 12, 3), dtype="float32")
    partial = tensors.DTensor.from_local(part, mesh, [tensors.Partial()])
    expected = [sum(column) for column in zip(*(ranks.whole(r, 12, 3) for r in range(world)))]
    context.exact(partial.full_tensor(), expected, what="partial sums")


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.fsdp.fully_shard"])
def fsdp2_trains(context: Context) -> None:
    """fully_shard: after a step all ranks compute with the new weights, and gradients do not add up unasked."""
    _, rank, world = group(context)
    model = _sharded(context)
    optimizer = context.torch.optim.SGD(model.parameters(), lr=RATE)
    x = context.tensor(_matrix(4, INPUTS, 3), dtype="float32")
    context.exact(model(x), _by_hand(_matrix(HIDDEN, INPUTS, 1), _matrix(4, HIDDEN, 2)), what="output before the step")
    _backward(context, model, rank, world)
    optimizer.step()
    first, second = _gradients(range(world))
    one = _stepped(_matrix(HIDDEN, INPUTS, 1), first)
    two = _stepped(_matrix(4, HIDDEN, 2), second)
    for name, weight, rows in (("first", model[0].weight, one), ("second", model[2].weight, two)):
        flat, what = [v for row in rows for v in row], f"{name} weight after the step"
        context.close(weight.full_tensor(), flat, bound=world + 6, what=what, cancel=RATE * _most(world))
    context.close(model(x), _by_hand(one, two), bound=64, what="output after the step", cancel=_magnitude(one, two))


def _sharded(context: Context) -> Any:
    model, mesh = _model(context), _mesh(context)
    for part in (model[0], model[2], model):
        context.torch.distributed.fsdp.fully_shard(part, mesh=mesh)
    return model


def _stepped(start: list[list[int]], gradient: list[int]) -> list[list[float]]:
    width = len(start[0])
    return [[v - RATE * gradient[i * width + j] for j, v in enumerate(row)] for i, row in enumerate(start)]


def _by_hand(one: Any, two: Any) -> list[float]:
    hidden = [[max(0.0, sum(w * v for w, v in zip(row, x))) for row in one] for x in _matrix(4, INPUTS, 3)]
    return [float(sum(w * v for w, v in zip(row, h))) for h in hidden for row in two]


def _magnitude(one: Any, two: Any) -> float:
    largest = max(abs(v) for row in one for v in row) * 2 * INPUTS
    return float(largest * max(abs(v) for row in two for v in row) * HIDDEN)


@check(
    oracle="the norm of the whole gradient in plain Python",
    devices="ranks",
    needs=["torch.distributed.fsdp.fully_shard"],
)
def clipping(context: Context) -> None:
    """Clipping sharded gradients goes by the norm of the whole, on every rank alike."""
    _, rank, world = group(context)
    model = _sharded(context)
    _backward(context, model, rank, world)
    flat = [[float(v) for v in part] for part in _gradients(range(world))]
    norm = math.sqrt(sum(v * v for part in flat for v in part))
    got = context.torch.nn.utils.clip_grad_norm_(model.parameters(), norm / 2)
    got = got.full_tensor() if hasattr(got, "full_tensor") else got
    # A sum of squares over as many elements as the weights have, its root, and one product for each gradient.
    bound = sum(map(len, flat)) + 8
    context.close(got.reshape(1), [norm], bound=bound, what="norm", dtype="float32")
    for name, weight, part in zip(("first", "second"), (model[0].weight, model[2].weight), flat):
        clipped = [v / 2 for v in part]  # clip_grad_norm_ adds 1e-6 to the norm
        context.close(weight.grad.full_tensor(), clipped, bound=bound + 32, what=f"{name} gradient", dtype="float32")


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.fsdp.MixedPrecisionPolicy"])
def fsdp2_half(context: Context) -> None:
    """fully_shard in bfloat16 with gradients reduced in float32: small whole numbers lose nothing."""
    _, rank, world = group(context)
    torch, fsdp = context.torch, context.torch.distributed.fsdp
    policy = fsdp.MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = torch.nn.Linear(INPUTS, 1, bias=False).to(context.device)
    with torch.no_grad():
        model.weight.copy_(context.tensor(ranks.whole(0, INPUTS, 2), dtype="float32").reshape(1, INPUTS))
    fsdp.fully_shard(model, mesh=_mesh(context), mp_policy=policy)
    x = context.tensor(ranks.whole(rank, INPUTS, 5), dtype="float32").reshape(1, INPUTS)
    out = model(x)
    context.true(out.dtype == torch.bfloat16, what="computed in bfloat16", got=str(out.dtype))
    dot = sum(a * b for a, b in zip(ranks.whole(0, INPUTS, 2), ranks.whole(rank, INPUTS, 5)))
    context.exact(out, [float(dot)], what="output")
    out.sum().backward()
    gradient = model.weight.grad.full_tensor()
    context.true(gradient.dtype == torch.float32, what="gradients are float32", got=str(gradient.dtype))
    mean = [sum(column) / world for column in zip(*(ranks.whole(r, INPUTS, 5) for r in range(world)))]
    context.close(gradient, mean, bound=2 * world + 2, what="gradient", cancel=2.0, dtype="float32")


@check(
    oracle="the numbers that were saved",
    devices="ranks",
    needs=["torch.distributed.tensor.distribute_tensor", "torch.distributed.checkpoint.save", "numpy"],
)
def resharding(context: Context) -> None:
    """A checkpoint of sharded tensors is read in another layout, and whole by one rank alone."""
    distributed, rank, _ = group(context)
    tensors, checkpoint, mesh = distributed.tensor, distributed.checkpoint, _mesh(context)
    folder = common_folder(context)
    flat = ranks.wide(0, 1, ROWS * COLUMNS, 24)
    whole = context.tensor(flat, dtype="float32").reshape(ROWS, COLUMNS)
    try:
        rows = tensors.distribute_tensor(whole, mesh, [tensors.Shard(0)])
        checkpoint.save({"weight": rows}, checkpoint_id=folder)
        for placement in (tensors.Shard(0), tensors.Shard(1), tensors.Replicate()):
            empty = tensors.distribute_tensor(context.torch.zeros_like(whole), mesh, [placement])
            wanted = {"weight": empty}
            checkpoint.load(wanted, checkpoint_id=folder)
            context.exact(wanted["weight"].full_tensor(), flat, what=f"read as {placement}")
        if rank == 0:
            alone = {"weight": context.torch.zeros_like(whole)}
            load_alone(context, alone, folder)
            context.exact(alone["weight"], flat, what="read by one rank")
    finally:
        distributed.barrier()
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
