"""Two processes that train together: collectives are exact, and DistributedDataParallel averages gradients."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RANKS, PATIENCE = 2, 90.0
NUMBERS = 2_003


def _given(rank: int) -> list[float]:
    return [float((7 * i + 13 * rank) % 61 - 30) for i in range(NUMBERS)]


def member(rank: int, store: str, answers: Any) -> None:
    """Be one of the processes, and put (rank, what was found or the error) into `answers`."""
    try:
        found: Any = _collect(rank, store)
    except Exception:  # noqa: BLE001 - whatever it was goes to the process that judges
        found = traceback.format_exc(limit=3)
    answers.put((rank, found))
    answers.close()
    answers.join_thread()
    # gloo can abort at exit after all results were right ("terminate called without an active exception").
    os._exit(0)


def _collect(rank: int, store: str) -> dict[str, Any]:
    from datetime import timedelta

    import torch

    dist = torch.distributed
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, RANKS),  # by path: a URL would have its blanks quoted, and not unquoted
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=PATIENCE / 2),
    )
    found: dict[str, Any] = {"rank": [dist.get_rank(), dist.get_world_size()]}
    for name in ("SUM", "MAX", "MIN"):
        x = torch.tensor(_given(rank))
        dist.all_reduce(x, op=getattr(dist.ReduceOp, name))
        found[name] = x.tolist()
    x = torch.tensor(_given(rank))
    dist.broadcast(x, src=1)
    found["broadcast"] = x.tolist()
    parts = [torch.zeros(NUMBERS) for _ in range(RANKS)]
    dist.all_gather(parts, torch.tensor(_given(rank)))
    found["all_gather"] = [v for part in parts for v in part.tolist()]
    dist.barrier()
    return {**found, **_train(torch, rank)}


def _train(torch: Any, rank: int) -> dict[str, Any]:
    model = torch.nn.Linear(6, 4)
    with torch.no_grad():  # each begins elsewhere: DDP gives all of them what rank 0 has
        for parameter in model.parameters():
            parameter.fill_(0.5 + rank)
    ddp = torch.nn.parallel.DistributedDataParallel(model)
    found = {"start": model.weight.tolist()[0]}
    x = torch.tensor([[float((i + j + rank) % 5 - 2) for j in range(6)] for i in range(8)])
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.0625)
    for step in range(2):
        optimizer.zero_grad()
        ddp(x).sum().backward()
        found[f"gradient {step}"] = model.weight.grad.tolist()
        optimizer.step()
    found["weight"] = model.weight.tolist()
    optimizer.zero_grad()
    with ddp.no_sync():
        ddp(x).sum().backward()
    found["own"] = model.weight.grad.tolist()
    ddp(x).sum().backward()
    found["accumulated"] = model.weight.grad.tolist()
    return found


def _run(method: str) -> dict[int, Any]:
    """Run the processes, and give what each found."""
    start: Any = multiprocessing.get_context(method)
    with tempfile.TemporaryDirectory(prefix="torchcheck ") as folder:
        answers = start.Queue()
        arguments = (str(Path(folder) / "store"), answers)
        processes = [start.Process(target=member, args=(rank, *arguments), daemon=True) for rank in range(RANKS)]
        for process in processes:
            process.start()
        try:
            return dict(answers.get(timeout=PATIENCE) for _ in processes)
        except queue.Empty:
            return dict.fromkeys(range(RANKS), f"no answer within {PATIENCE:g} s")
        finally:
            for process in processes:
                process.join(1)
                process.kill()
                process.join(5)


def _judge(context: Context, found: dict[int, Any]) -> None:
    both = [_given(rank) for rank in range(RANKS)]
    columns = [[float(sum((i + j + rank) % 5 - 2 for i in range(8))) for j in range(6)] for rank in range(RANKS)]
    mean = [sum(column) / 2 for column in zip(*columns)]
    for rank, got in sorted(found.items()):
        if isinstance(got, str):
            context.true(False, what=f"rank {rank} works", got=got)
            continue
        for name, right in (
            ("rank", [rank, RANKS]),
            ("SUM", [sum(pair) for pair in zip(*both)]),
            ("MAX", [max(pair) for pair in zip(*both)]),
            ("MIN", [min(pair) for pair in zip(*both)]),
            ("broadcast", both[1]),
            ("all_gather", both[0] + both[1]),
            ("start", [0.5] * 6),
            ("gradient 0", [mean] * 4),
            ("gradient 1", [mean] * 4),
            ("weight", [[0.5 - 2 * 0.0625 * g for g in mean]] * 4),
            ("own", [columns[rank]] * 4),
            # Without synchronisation the own gradient stays; the next backward averages all that has come together.
            ("accumulated", [[2 * g for g in mean]] * 4),
        ):
            context.exact(got[name], right, what=f"rank {rank}: {name}")


@check(oracle="small integers, exactly", devices="cpu", timeout=150, needs=("torch.distributed.is_available",))
def data_parallel(context: Context) -> None:
    """Two processes reduce, broadcast and gather exactly, and DistributedDataParallel averages their gradients."""
    _need(context)
    if sys.platform != "linux":
        context.skip("processes are forked on Linux only; the full level starts them anew")
    # The first optimizer makes torch import its compiler's front end: once here rather than in every process.
    context.torch.optim.SGD([context.torch.zeros(1)], lr=1.0)
    _judge(context, _run("fork"))


@check(
    oracle="small integers, exactly",
    level="full",
    devices="cpu",
    timeout=240,
    needs=("torch.distributed.is_available",),
)
def spawned_data_parallel(context: Context) -> None:
    """Two processes that are started anew do the same."""
    _need(context)
    _judge(context, _run("spawn"))


def _need(context: Context) -> None:
    dist = context.torch.distributed
    if not dist.is_available() or not getattr(dist, "is_gloo_available", lambda: True)():
        context.skip("this torch is built without torch.distributed and gloo")
