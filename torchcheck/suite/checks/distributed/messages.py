"""From one rank to another: send and receive, barriers, objects."""

from __future__ import annotations

import time

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import SIZES, group

ORACLE = "whole numbers that depend on the sender"


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=("float32", "int64"), more=("bfloat16", "uint8"))
def send_and_receive(context: Context) -> None:
    """What a rank sends its neighbour arrives whole, around the ring."""
    distributed, rank, world = group(context)
    if world == 1:
        context.skip("one rank has nobody to send to")
    following, previous = (rank + 1) % world, (rank - 1) % world
    for size in SIZES:
        sent = context.tensor([value + 2 for value in ranks.whole(rank, size)])
        got = context.torch.zeros_like(sent)
        if rank % 2 == 0 and rank != world - 1:  # who sends first has a neighbour who receives first
            distributed.send(sent, following)
            distributed.recv(got, previous)
        else:
            distributed.recv(got, previous)
            distributed.send(sent, following)
        context.exact(got, [value + 2 for value in ranks.whole(previous, size)], what=f"{size} elements")


@check(oracle=ORACLE, level="quick", devices="ranks", dtypes=("float32", "int64"), more=("bfloat16", "uint8"))
def both_ways_at_once(context: Context) -> None:
    """Asynchronous messages to both neighbours, in one batch, arrive at the right one."""
    distributed, rank, world = group(context)
    if world == 1:
        context.skip("one rank has nobody to send to")
    following, previous = (rank + 1) % world, (rank - 1) % world
    for size in SIZES:
        out = context.tensor([value + 2 for value in ranks.whole(rank, size)])
        back = context.tensor([value + 2 for value in ranks.whole(rank, size, 3)])
        left, right = context.torch.zeros_like(out), context.torch.zeros_like(out)
        first = [(distributed.isend, out, following), (distributed.irecv, left, previous)]
        second = [(distributed.isend, back, previous), (distributed.irecv, right, following)]
        for pair in (first, second):
            posted = [distributed.P2POp(operation, tensor, peer) for operation, tensor, peer in pair]
            for work in distributed.batch_isend_irecv(posted):
                work.wait()
        context.exact(left, [v + 2 for v in ranks.whole(previous, size)], what=f"{size} from the rank before")
        context.exact(right, [v + 2 for v in ranks.whole(following, size, 3)], what=f"{size} from the rank after")


@check(oracle="the clocks of the ranks that did not wait", level="quick", devices="ranks")
def barrier(context: Context) -> None:
    """No rank leaves a barrier before the last has come."""
    distributed, rank, world = group(context)
    late = 0.2 if rank == world - 1 else 0.0
    distributed.barrier()
    began = time.monotonic()
    time.sleep(late)
    distributed.barrier()
    waited = time.monotonic() - began
    context.true(waited >= 0.1, what="the barrier held until the last rank came", got=round(waited, 3))


@check(oracle="plain Python objects", level="quick", devices="ranks")
def objects(context: Context) -> None:
    """Python objects are gathered, broadcast and scattered as they are."""
    distributed, rank, world = group(context)
    told = [{"rank": r, "text": "äöü" * r, "numbers": list(range(r * 50))} for r in range(world)]
    got: list[object] = [None] * world
    distributed.all_gather_object(got, told[rank])
    context.true(got == told, what="all_gather_object", got=str(got)[:200], expected=str(told)[:200])
    given = [told[-1], "one"] if rank == 0 else [None, None]
    distributed.broadcast_object_list(given, src=0)
    context.true(given == [told[-1], "one"], what="broadcast_object_list", got=str(given)[:200])
    mine: list[object] = [None]
    distributed.scatter_object_list(mine, told if rank == 0 else None, src=0)
    context.true(mine == [told[rank]], what="scatter_object_list", got=str(mine)[:200])


@check(oracle="membership by rank arithmetic", devices="ranks")
def subgroups(context: Context) -> None:
    """Groups of some of the ranks reduce among themselves alone."""
    distributed, rank, world = group(context)
    groups = [distributed.new_group(list(range(parity, world, 2))) for parity in (0, 1) if parity < world]
    tensor = context.tensor([rank, 1], dtype="float32")
    distributed.all_reduce(tensor, group=groups[rank % 2])
    members = range(rank % 2, world, 2)
    context.exact(tensor, [float(sum(members)), float(len(members))], what="sum of the ranks, and how many")
