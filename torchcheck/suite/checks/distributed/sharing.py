"""Data and checkpoints shared by many ranks."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import group


@check(oracle="counting", level="quick", devices="ranks", needs=["numpy"])
def sampler(context: Context) -> None:
    """DistributedSampler gives every sample to exactly one rank, in another order each epoch."""
    distributed, rank, world = group(context)
    samplers = context.torch.utils.data.distributed
    data = range(world * 7)
    orders = []
    for epoch in (0, 1):
        sampler = samplers.DistributedSampler(data, num_replicas=world, rank=rank, shuffle=True, seed=3)
        sampler.set_epoch(epoch)
        parts: list[Any] = [None] * world
        distributed.all_gather_object(parts, list(sampler))
        context.exact(sorted(i for part in parts for i in part), list(data), what=f"samples of epoch {epoch}")
        orders.append(parts)
    context.true(orders[0] != orders[1], what="epochs differ in their order")
    uneven: list[Any] = [None] * world
    distributed.all_gather_object(uneven, list(samplers.DistributedSampler(range(world * 3 + 1), world, rank)))
    context.exact({len(part) for part in uneven} == {4}, True, what="equal parts where the samples do not divide")
    dropped: list[Any] = [None] * world
    fewer = samplers.DistributedSampler(range(world * 3 + 1), world, rank, shuffle=False, drop_last=True)
    distributed.all_gather_object(dropped, list(fewer))
    order = [list(range(r, world * 3, world)) if world > 1 else list(range(4)) for r in range(world)]
    context.exact(dropped, order, what="samples where the rest is dropped")
    context.exact(sorted({i for part in uneven for i in part}), list(range(world * 3 + 1)), what="none is left out")


@check(oracle="the numbers that were saved", devices="ranks", needs=["torch.distributed.checkpoint.save", "numpy"])
def checkpoint(context: Context) -> None:
    """A checkpoint that all ranks wrote is read by all, and by one alone."""
    distributed, rank, world = group(context)
    folder = common_folder(context)
    try:
        _save_and_load(context, folder)
    finally:
        distributed.barrier()
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    context.exact(distributed.get_world_size(), world, what="ranks afterwards")


def _save_and_load(context: Context, folder: str) -> None:
    import warnings

    distributed, rank, world = group(context)
    checkpoint = distributed.checkpoint
    state = {f"rank{rank}": context.tensor(ranks.whole(rank, 4099), dtype="float32"), "step": 7 + rank * 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(state, checkpoint_id=folder)
        other = (rank + 1) % world
        wanted: dict[str, Any] = {f"rank{other}": context.torch.zeros(4099, device=context.device), "step": 0}
        checkpoint.load(wanted, checkpoint_id=folder)
        context.exact(wanted[f"rank{other}"], ranks.whole(other, 4099), what="what the next rank saved")
        context.exact(wanted["step"], 7, what="a plain number")
        if rank == 0:
            alone = {f"rank{r}": context.torch.zeros(4099, device=context.device) for r in range(world)}
            load_alone(context, alone, folder)
            for r in range(world):
                context.exact(alone[f"rank{r}"], ranks.whole(r, 4099), what=f"part of rank {r}, read by one")


def load_alone(context: Context, wanted: dict[str, Any], folder: str) -> None:
    """Read a checkpoint on one rank, without the others; skip where this torch cannot."""
    load = context.torch.distributed.checkpoint.load
    if "no_dist" not in inspect.signature(inspect.unwrap(load)).parameters:
        context.skip("this torch reads checkpoints with all ranks alone; what all of them read was right")
    load(wanted, checkpoint_id=folder, no_dist=True)


def common_folder(context: Context) -> str:
    """Make a folder that all ranks see; ranks on hosts that share none have nothing to load."""
    distributed, rank, world = group(context)
    named = [tempfile.mkdtemp(prefix="torchcheck-") if rank == 0 else None]
    distributed.broadcast_object_list(named, src=0)
    folder = str(named[0])
    seen: list[Any] = [None] * world
    distributed.all_gather_object(seen, Path(folder).is_dir())
    if not all(seen):
        if rank == 0:
            Path(folder).rmdir()
        context.skip("the ranks' hosts share no temporary folder")
    return folder
