"""Groups of some of the ranks, and meshes: who is in which, under which number, and what stays among them."""

from __future__ import annotations

from typing import Any

from ...context import Context
from ...oracles import ranks
from ...registry import check
from .collectives import group

ORACLE = "membership by rank arithmetic"


@check(oracle=ORACLE, devices="ranks")
def subgroups(context: Context) -> None:
    """Groups of some of the ranks reduce among themselves alone."""
    distributed, rank, world = group(context)
    groups = [distributed.new_group(list(range(parity, world, 2))) for parity in (0, 1) if parity < world]
    tensor = context.tensor([rank, 1], dtype="float32")
    distributed.all_reduce(tensor, group=groups[rank % 2])
    members = range(rank % 2, world, 2)
    context.exact(tensor, [float(sum(members)), float(len(members))], what="sum of the ranks, and how many")


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.get_global_rank", "numpy"])
def numbering(context: Context) -> None:
    """In a group ranks have numbers of their own; sources and targets are named by those of the whole."""
    distributed, rank, world = group(context)
    members = list(range(world // 2, world))
    part = distributed.new_group(members)
    if rank not in members:
        context.exact(distributed.get_rank(part), -1, what="rank of one that is not in the group")
        return
    context.exact(distributed.get_rank(part), members.index(rank), what="rank in the group")
    context.exact(distributed.get_world_size(part), len(members), what="size of the group")
    numbers = [distributed.get_global_rank(part, index) for index in range(len(members))]
    context.exact(numbers, members, what="ranks of the whole by those of the group")
    for source in (members[0], members[-1]):
        sent = context.tensor(ranks.whole(rank, 17, 2), dtype="float32")
        distributed.broadcast(sent, source, group=part)
        context.exact(sent, ranks.whole(source, 17, 2), what=f"broadcast from rank {source}")
    parts = [context.torch.zeros(5, device=context.device) for _ in members]
    distributed.all_gather(parts, context.tensor(ranks.whole(rank, 5), dtype="float32"), group=part)
    expected = [v for member in members for v in ranks.whole(member, 5)]
    context.exact([v for one in parts for v in context.values(one)], expected, what="gathered in the group")
    got: list[Any] = [None] * len(members)
    distributed.all_gather_object(got, {"rank": rank}, group=part)
    context.true(got == [{"rank": member} for member in members], what="objects of the group", got=str(got)[:200])


@check(oracle=ORACLE, devices="ranks", needs=["torch.distributed.device_mesh.init_device_mesh"])
def meshes(context: Context) -> None:
    """A mesh of two dimensions puts each rank into its row and its column, and they reduce apart."""
    distributed, rank, world = group(context)
    init = context.torch.distributed.device_mesh.init_device_mesh
    kind = context.device.partition(":")[0]
    for rows in [n for n in range(1, world + 1) if world % n == 0]:
        columns = world // rows
        mesh = init(kind, (rows, columns), mesh_dim_names=("dp", "tp"))
        row, column = divmod(rank, columns)
        context.exact(list(mesh.get_coordinate()), [row, column], what=f"place in a mesh of {rows} x {columns}")
        for name, members in (
            ("dp", [r * columns + column for r in range(rows)]),
            ("tp", [row * columns + c for c in range(columns)]),
        ):
            tensor = context.tensor([1 << (rank % 20), 1], dtype="int64")
            distributed.all_reduce(tensor, group=mesh.get_group(name))
            expected = [sum(1 << (member % 20) for member in members), len(members)]
            context.exact(tensor, expected, what=f"sum along {name} of {rows} x {columns}")
