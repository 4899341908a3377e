"""DataLoader and its parts: every sample once, in order or shuffled, from workers with seeds of their own."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import random
import sys
from typing import TYPE_CHECKING, Any

from ...registry import check
from .randomness import deviation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...context import Context

Pair = collections.namedtuple("Pair", "first second")  # noqa: PYI024 - collate must take plain ones too


class Numbers:
    """A dataset of n samples: the index, its square, and what the worker that made it saw."""

    def __init__(self, n: int) -> None:
        """Hold n samples."""
        self.n = n

    def __len__(self) -> int:
        """Give n."""
        return self.n

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Make a sample; in a worker, tell its id, seeds and random numbers."""
        import torch

        info = torch.utils.data.get_worker_info()
        return {
            "index": index,
            "square": float(index * index),
            "tensor": torch.full((3,), float(index)),
            "pair": Pair(index, [index + 1, "x"]),
            "worker": -1 if info is None else info.id,
            "seed": -1 if info is None else info.seed,
            "drawn": int(torch.randint(2**31 - 1, (1,))),
            "python": random.getrandbits(31),
        }


def stream(torch: Any) -> Any:
    """Make an iterable dataset that shares its numbers out between workers."""

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[int]:
            info = torch.utils.data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            yield from range(first, 23, step)

    return Stream()


def _indices(loader: Any) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


def _flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


@check(oracle="counting", level="quick", devices="cpu")
def loader(context: Context) -> None:
    """A DataLoader gives every sample once, in order, in batches of the size asked for, collated by kind."""
    data = context.torch.utils.data
    numbers = Numbers(23)
    batches = list(data.DataLoader(numbers, batch_size=5))
    context.exact(
        [b["index"].tolist() for b in batches], [[*range(i, min(i + 5, 23))] for i in range(0, 23, 5)], what="batches"
    )
    last = batches[-1]
    context.exact(
        [str(last["index"].dtype), str(last["square"].dtype)], ["torch.int64", "torch.float64"], what="dtypes"
    )
    context.exact(last["square"], [400.0, 441.0, 484.0], what="numbers of a batch")
    context.exact(last["tensor"], [20.0] * 3 + [21.0] * 3 + [22.0] * 3, what="tensors of a batch")
    context.exact(last["pair"].first, [20, 21, 22], what="named tuples of a batch")
    context.exact(last["pair"].second[0], [21, 22, 23], what="lists of a batch")
    context.exact(last["pair"].second[1], ["x", "x", "x"], what="texts of a batch")
    context.exact(
        _flat(_indices(data.DataLoader(numbers, batch_size=5, drop_last=True))), [*range(20)], what="drop_last"
    )
    context.exact(
        [len(data.DataLoader(numbers, batch_size=5, drop_last=d)) for d in (False, True)], [5, 4], what="length"
    )
    single = [sample["index"] for sample in data.DataLoader(numbers, batch_size=None)]
    context.exact(single, [*range(23)], what="without batches")
    given = data.DataLoader(numbers, batch_sampler=[[3, 1], [22, 0, 7]])
    context.exact(_indices(given), [[3, 1], [22, 0, 7]], what="a batch sampler's own batches")
    context.exact(
        [b.tolist() for b in data.DataLoader(stream(context.torch), batch_size=10)][-1],
        [20, 21, 22],
        what="iterable dataset",
    )
    joined = data.ConcatDataset([Numbers(3), Numbers(2)])
    context.exact([joined[i]["index"] for i in range(5)], [0, 1, 2, 0, 1], what="ConcatDataset")
    table = data.TensorDataset(context.torch.arange(6), context.torch.arange(6) * 2)
    x, y = next(iter(data.DataLoader(table, batch_size=4)))
    context.exact([x.tolist(), y.tolist()], [[0, 1, 2, 3], [0, 2, 4, 6]], what="TensorDataset")


@check(oracle="counting; the hypergeometric and binomial laws", level="quick", devices="cpu")
def shuffling(context: Context) -> None:
    """Shuffling gives every sample once in an order that the seed decides; samplers follow their weights."""
    torch, data = context.torch, context.torch.utils.data
    numbers = list(range(500))

    def order(seed: int, **options: Any) -> list[int]:
        source = torch.Generator()
        source.manual_seed(seed)
        return [int(i) for i in data.DataLoader(numbers, batch_size=None, generator=source, **options)]

    first = order(1, shuffle=True)
    context.exact(sorted(first), numbers, what="every sample once")
    context.true(first != numbers, what="in another order")
    context.exact(order(1, shuffle=True), first, what="the same seed, the same order")
    context.true(order(2, shuffle=True) != first, what="another seed, another order")
    torch.manual_seed(5)
    shuffled = data.DataLoader(numbers, batch_size=50, shuffle=True)
    epochs = [_flat([b.tolist() for b in shuffled]) for _ in range(2)]
    context.true(epochs[0] != epochs[1], what="another order in the next epoch")
    # Fixed points of a permutation: Poisson of mean 1; 25 or more once in 1e26.
    context.within(sum(i == j for i, j in enumerate(first)), 25, what="samples left in place", unit="samples")
    place = sum(i * j for i, j in enumerate(first)) / 500
    # Spearman: the sum of i * pi(i) has mean n (n-1)^2 / 4 and variance about n^5 / 144.
    deviation(context, place, 499**2 / 4, (500**5 / 144) ** 0.5 / 500, "correlation of place and sample")
    drawn = list(data.RandomSampler(numbers, replacement=True, num_samples=2000))
    context.exact([len(drawn)], [2000], what="samples drawn with replacement")
    missing = 500 - len(set(drawn))
    deviation(context, missing, 500 * 0.998**2000, 3.4, "samples never drawn, of 500 in 2,000")
    chosen = list(data.WeightedRandomSampler([1.0, 0.0, 3.0], 4000))
    context.exact([chosen.count(1)], [0], what="samples of weight 0")
    deviation(context, chosen.count(2), 3000.0, 750**0.5, "samples of weight 3 of 4")
    context.exact(sorted(data.SubsetRandomSampler([7, 9, 300])), [7, 9, 300], what="SubsetRandomSampler")
    parts = data.random_split(numbers, [300, 150, 50], generator=torch.Generator().manual_seed(3))
    context.exact([len(part) for part in parts], [300, 150, 50], what="lengths of random_split")
    context.exact(sorted(i for part in parts for i in part), numbers, what="random_split: every sample once")


def _with_workers(context: Context, method: str) -> None:
    """Load with two worker processes, two epochs."""
    data = context.torch.utils.data
    context.torch.manual_seed(17)
    loader = data.DataLoader(
        Numbers(60), batch_size=4, num_workers=2, multiprocessing_context=method, persistent_workers=True, timeout=60
    )
    seeds = []
    for epoch in (1, 2):
        batches = list(loader)
        context.exact(
            [b["index"].tolist() for b in batches],
            [[*range(i, i + 4)] for i in range(0, 60, 4)],
            what=f"order, epoch {epoch}",
        )
        context.exact(
            [v for b in batches for v in b["square"].tolist()], [float(i * i) for i in range(60)], what="values"
        )
        by = {w: [b for b in batches if int(b["worker"][0]) == w] for w in (0, 1)}
        context.exact([int(b["worker"][0]) for b in batches], [i % 2 for i in range(15)], what="workers take turns")
        seeds += [int(batch[0]["seed"][0]) for batch in by.values()]
        for name in ("drawn", "python"):
            numbers = [v for b in batches for v in b[name].tolist()]
            context.exact([len(set(numbers))], [60], what=f"random numbers ({name}) differ between samples and workers")
    context.exact([len(set(seeds[:2]))], [2], what="workers have seeds of their own")
    if method == "fork":  # a class made inside a function cannot be sent to a new process
        shared = data.DataLoader(stream(context.torch), batch_size=4, num_workers=2, multiprocessing_context=method)
        again = [_seeds(context, method, seed) for seed in (18, 19, 18)]
        context.true(again[0] != again[1], what="another seed gives workers other seeds")
        context.exact(again[2], again[0], what="the same seed gives workers the same numbers")
        whole = sorted(i for b in shared for i in b.tolist())
        context.exact(whole, [*range(23)], what="iterable dataset, each number once")
    with contextlib.suppress(AttributeError):
        loader._iterator._shutdown_workers()  # noqa: SLF001 - ends the processes now, not at garbage collection


def _seeds(context: Context, method: str, seed: int) -> list[int]:
    context.torch.manual_seed(seed)
    options = {"num_workers": 1, "multiprocessing_context": method, "timeout": 60}
    (batch,) = context.torch.utils.data.DataLoader(Numbers(3), batch_size=3, **options)
    return [int(v) for name in ("seed", "drawn", "python") for v in batch[name]]


@check(oracle="counting", devices="cpu", timeout=120)
def workers(context: Context) -> None:
    """Forked worker processes give every sample once, in order, with seeds of their own."""
    if sys.platform != "linux":
        context.skip("worker processes are forked on Linux only; the full level starts them anew")
    _with_workers(context, "fork")


@check(oracle="counting", level="full", devices="cpu", timeout=180)
def spawned_workers(context: Context) -> None:
    """Worker processes that are started anew give every sample once, in order, with seeds of their own."""
    if "spawn" not in multiprocessing.get_all_start_methods():
        context.skip("this system cannot spawn processes")
    _with_workers(context, "spawn")


@check(oracle="the same bytes on the other side", level="quick", devices="each")
def to_device(context: Context) -> None:
    """Batches reach the device unchanged, from pinned memory too where there is any."""
    torch, data = context.torch, context.torch.utils.data
    numbers = [[float(i), float(-i)] for i in range(70)]
    table = data.TensorDataset(torch.tensor(numbers))
    pin = context.device.startswith("cuda")
    got = [b.to(context.device, non_blocking=pin) for (b,) in data.DataLoader(table, batch_size=16, pin_memory=pin)]
    context.exact([v for b in got for v in context.values(b)], [v for pair in numbers for v in pair], what="numbers")
