"""What only accelerators have: copies from one to another, and their backend against the CPU's."""

from __future__ import annotations

from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import group

SIZE = 100_003


def _kind(context: Context) -> str:
    if context.device == "cpu":
        context.skip("the ranks have no accelerator")
    return context.device.partition(":")[0]


@check(oracle="the numbers that were copied", level="quick", devices="ranks")
def peers(context: Context) -> None:
    """Every pair of this host's accelerators that a rank sees copies exactly, and says whether it does so directly."""
    torch, kind = context.torch, _kind(context)
    module, own = getattr(torch, kind), torch.device(context.device)
    others = [index for index in range(module.device_count()) if index != own.index]
    if not others:
        context.skip("this rank sees one accelerator")
    can = getattr(module, "can_device_access_peer", None)
    values = ranks.whole(own.index, SIZE)
    mine = context.tensor(values, dtype="int64")
    direct = {}
    for index in others:
        direct[str(index)] = bool(can(own.index, index)) if can else None
        there = mine.to(f"{kind}:{index}")
        context.exact(there, values, what=f"copied to {kind}:{index}")
        context.exact((there + 1).to(own), [v + 1 for v in values], what=f"copied back from {kind}:{index}")
    context.figure("peer_access", direct)
    through = [index for index, possible in direct.items() if possible is False]
    if through:
        context.note(f"{context.device} reaches {', '.join(through)} through the host: no peer access")


@check(oracle="gloo on the CPU, and whole numbers in plain Python", level="quick", devices="ranks")
def against_gloo(context: Context) -> None:
    """The accelerator's backend and gloo give the same bits for whole numbers, and the exact ones."""
    kind = _kind(context)
    distributed, rank, world = group(context)
    if not getattr(distributed, "is_gloo_available", lambda: True)():
        context.skip("this torch has no gloo")
    slow = distributed.new_group(backend="gloo")
    for name in ("SUM", "MIN", "MAX"):
        op = getattr(distributed.ReduceOp, name)
        values = ranks.whole(rank, SIZE, 1)
        fast, plain = context.tensor(values, dtype="float32"), context.torch.tensor(values, dtype=context.torch.float32)
        distributed.all_reduce(fast, op)
        distributed.all_reduce(plain, op, group=slow)
        context.exact(fast, context.values(plain), what=f"{name} on {kind} and on the CPU")
    parts: list[Any] = [context.torch.zeros(SIZE, device=context.device) for _ in range(world)]
    distributed.all_gather(parts, context.tensor(ranks.whole(rank, SIZE, 2), dtype="float32"))
    expected = ranks.gathered(world, SIZE, 2)
    context.exact([v for part in parts for v in context.values(part)], expected, what=f"gathered on {kind}")
