"""From one rank to another: send and receive, barriers, objects."""

from __future__ import annotations

import time
from datetime import timedelta

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


@check(oracle="plain Python objects", level="quick", devices="ranks", needs=["numpy"])
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


@check(oracle="plain Python objects", devices="ranks", needs=["numpy"])
def objects_at_one(context: Context) -> None:
    """gather_object brings all objects to one rank, in the order of the ranks."""
    distributed, rank, world = group(context)
    got: list[object] | None = [None] * world if rank == world - 1 else None
    distributed.gather_object((rank, "ä" * rank), got, dst=world - 1)
    expected = [(r, "ä" * r) for r in range(world)]
    context.true(got is None or got == expected, what="gather_object", got=str(got)[:200], expected=str(expected)[:200])


@check(oracle=ORACLE, devices="ranks")
def tags(context: Context) -> None:
    """Messages under several tags are told apart, whatever the order in which they are asked for."""
    distributed, rank, world = group(context)
    if distributed.get_backend() != "gloo":
        context.skip(f"{distributed.get_backend()} has no tags")
    if world == 1:
        context.skip("one rank has nobody to send to")
    following, previous = (rank + 1) % world, (rank - 1) % world
    sent = [context.tensor(ranks.whole(rank, 21, tag), dtype="float32") for tag in (1, 2, 3)]
    works = [distributed.isend(tensor, following, tag=tag) for tag, tensor in enumerate(sent, 1)]
    for tag in (3, 1, 2):
        got = context.torch.zeros(21)
        distributed.recv(got, previous, tag=tag)
        context.exact(got, ranks.whole(previous, 21, tag), what=f"message with tag {tag}")
    for work in works:
        work.wait()


@check(
    oracle="the clocks of the ranks that did not wait", devices="ranks", needs=["torch.distributed.monitored_barrier"]
)
def monitored_barrier(context: Context) -> None:
    """A monitored barrier holds as well, and names the rank that does not come."""
    distributed, rank, world = group(context)
    if distributed.get_backend() != "gloo":
        context.skip("monitored_barrier is gloo's alone")
    if world == 1:
        context.skip("one rank waits for nobody")
    apart = distributed.new_group(list(range(world)))  # what is left of the failure stays in it
    distributed.barrier()
    began = time.monotonic()
    time.sleep(0.2 if rank == world - 1 else 0.0)
    distributed.monitored_barrier(apart, timeout=timedelta(seconds=30))
    context.true(time.monotonic() - began >= 0.1, what="it held until the last rank came")
    if rank == 0:
        told = ""
        try:
            distributed.monitored_barrier(apart, timeout=timedelta(seconds=0.5), wait_all_ranks=True)
        except RuntimeError as error:
            told = str(error)
        named = all(str(r) in told.partition("anks")[2] for r in range(1, world))
        context.true(named, what="the ranks that did not come are named", got=told[:200] or "no error")
    distributed.barrier()
