"""Samplers, splits and collation, sample by sample: the orders that a seed decides are known beforehand."""

from __future__ import annotations

import collections
import itertools
import math
from typing import TYPE_CHECKING, Any

from ...oracles import generator
from ...registry import check
from .randomness import TWISTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...context import Context

Pair = collections.namedtuple("Pair", "x y")  # noqa: PYI024 - collate must take plain ones too


def _generator(context: Context, seed: int) -> Any:
    made = context.torch.Generator()
    made.manual_seed(seed)
    return made


@check(oracle=TWISTER, level="quick", devices="cpu")
def orders(context: Context) -> None:
    """Each sampler gives the order of its generator: shuffled, with replacement, by weight, of a subset, in batches."""
    torch, data = context.torch, context.torch.utils.data
    seed = context.rng().getrandbits(31)
    n = 53
    numbers = list(range(n))
    shuffled = generator.permutation(generator.twister(seed), n)
    context.exact(
        list(data.RandomSampler(numbers, generator=_generator(context, seed))), shuffled, what="RandomSampler"
    )
    twice = list(data.RandomSampler(numbers, num_samples=2 * n + 5, generator=_generator(context, seed)))
    source = generator.twister(seed)
    passes = [generator.permutation(source, n) for _ in range(3)]
    context.exact(twice, [*passes[0], *passes[1], *passes[2][:5]], what="RandomSampler, more than there are")
    drawn = data.RandomSampler(numbers, replacement=True, num_samples=45, generator=_generator(context, seed))
    right = generator.integers(generator.twister(seed), 64, n)
    context.exact([len(drawn), len(list(drawn))], [45, 45], what="RandomSampler with replacement: length")
    drawn = data.RandomSampler(numbers, replacement=True, num_samples=45, generator=_generator(context, seed))
    context.exact(list(drawn), right[:45], what="RandomSampler with replacement")
    subset = [3, 1, 4, 15, 9, 26, 5]
    order = generator.permutation(generator.twister(seed), len(subset))
    got = list(data.SubsetRandomSampler(subset, generator=_generator(context, seed)))
    context.exact(got, [subset[i] for i in order], what="SubsetRandomSampler")
    weights = [1.0, 2.0, 0.0, 5.0, 0.5, 3.0]
    got = list(data.WeightedRandomSampler(weights, 40, generator=_generator(context, seed)))
    context.exact(got, generator.chosen(generator.twister(seed), weights, 40), what="WeightedRandomSampler")
    for count in (1, 5):
        got = list(data.WeightedRandomSampler(weights, count, replacement=False, generator=_generator(context, seed)))
        context.true(
            len(set(got)) == count and 2 not in got, what=f"WeightedRandomSampler, {count} without replacement", got=got
        )
        context.exact(
            torch.multinomial(torch.tensor(weights, dtype=torch.double), count, generator=_generator(context, seed)),
            got,
            what="multinomial of the same weights",
        )
    for last in (False, True):
        made = data.BatchSampler(data.SequentialSampler(numbers), 10, last)
        right_batches = [numbers[i : i + 10] for i in range(0, n, 10)]
        right_batches = right_batches[:-1] if last else right_batches
        context.exact(list(map(tuple, made)), list(map(tuple, right_batches)), what=f"BatchSampler, drop_last={last}")
        context.exact(len(made), len(right_batches), what=f"length of BatchSampler, drop_last={last}")
        loader = data.DataLoader(numbers, 10, shuffle=True, drop_last=last, generator=_generator(context, seed))
        batches = [tuple(b.tolist()) for b in loader]
        context.exact([len(b) for b in batches], [10] * 5 + ([] if last else [3]), what=f"batches, drop_last={last}")
        context.exact(len(loader), len(batches), what=f"length of a DataLoader, drop_last={last}")
        both = [[tuple(b.tolist()) for b in loader] for _ in range(2)]
        context.true(both[0] != both[1], what=f"the next epoch has another order, drop_last={last}")
        again = data.DataLoader(numbers, 10, shuffle=True, drop_last=last, generator=_generator(context, seed))
        torch.manual_seed(seed + 1 + last)
        context.exact([tuple(b.tolist()) for b in again], batches, what=f"one generator, one order, drop_last={last}")


@check(oracle="the documented division of samples among ranks", level="quick", devices="cpu")
def ranks(context: Context) -> None:
    """DistributedSampler gives each rank its share: disjoint, padded from the front, of one order an epoch."""
    torch = context.torch
    if not torch.distributed.is_available():
        context.skip("this torch has no torch.distributed")
    from torch.utils.data.distributed import DistributedSampler  # type: ignore[import-not-found,unused-ignore]

    seed = context.rng().getrandbits(20)
    for n, size, last, shuffle in itertools.product((12, 13, 2), (3, 5), (False, True), (False, True)):
        if last and n < size:
            continue
        for epoch in (0, 3):
            order = (
                context.values(torch.randperm(n, generator=_generator(context, seed + epoch)))
                if shuffle
                else list(range(n))
            )
            if shuffle:
                known = generator.permutation(generator.twister(seed + epoch), n)
                context.exact(order, known, what="randperm of a generator")
            share = math.ceil((n - size) / size) if last and n % size else math.ceil(n / size)
            order = order[: share * size] if last else (order * size)[: share * size]
            for rank in range(size):
                made = DistributedSampler(
                    list(range(n)), num_replicas=size, rank=rank, shuffle=shuffle, seed=seed, drop_last=last
                )
                made.set_epoch(epoch)
                what = f"rank {rank} of {size}, {n} samples, {shuffle=}, drop_last={last}, epoch {epoch}"
                context.exact(list(made), order[rank::size], what=what)
                context.exact(len(made), share, what=f"length: {what}")


@check(oracle="counting, and the twister's permutation", level="quick", devices="cpu")
def splits(context: Context) -> None:
    """random_split, Subset, ConcatDataset, ChainDataset and StackDataset give the samples that were meant."""
    torch, data = context.torch, context.torch.utils.data
    seed = context.rng().getrandbits(31)
    numbers = list(range(100, 123))
    order = generator.permutation(generator.twister(seed), 23)
    # Of fractions what is left over goes around, from the first part on: 11.5, 6.9, 4.6 are 11, 6, 4 and two more.
    for lengths, sizes in (([10, 8, 5], [10, 8, 5]), ([0.5, 0.3, 0.2], [12, 7, 4])):
        parts = data.random_split(numbers, lengths, generator=_generator(context, seed))
        context.exact([len(part) for part in parts], sizes, what=f"sizes of random_split {lengths}")
        held = [i for part in parts for i in part]
        context.exact(held, [100 + i for i in order], what=f"random_split {lengths}")
    subset = data.Subset(numbers, [5, 0, 22])
    context.exact([subset[i] for i in range(3)], [105, 100, 122], what="Subset")
    joined = data.ConcatDataset([numbers[:3], numbers[3:4], numbers[4:9]])
    context.exact([joined[i] for i in range(9)], numbers[:9], what="ConcatDataset")
    context.exact([joined[-i] for i in range(1, 10)], numbers[:9][::-1], what="ConcatDataset from the end")
    context.exact(joined.cumulative_sizes, [3, 4, 9], what="sizes of ConcatDataset")
    context.raises(ValueError, joined.__getitem__, -10, what="ConcatDataset refuses what lies before its first")
    context.exact(len(joined + numbers[:2]), 11, what="sum of datasets")

    class Few(data.IterableDataset):  # type: ignore[misc,name-defined]
        def __init__(self, n: int) -> None:
            self.n = n

        def __iter__(self) -> Iterator[int]:
            return iter(range(self.n))

    chain = data.ChainDataset([Few(3), Few(2)])
    context.exact(list(chain), [0, 1, 2, 0, 1], what="ChainDataset")
    context.exact([b.tolist() for b in data.DataLoader(Few(5), 2, drop_last=True)], [[0, 1], [2, 3]], what="drop_last")
    if hasattr(data, "StackDataset"):
        stacked = data.StackDataset(numbers, numbers[::-1])
        context.exact(stacked[2], (102, 120), what="StackDataset")
    tensors = data.TensorDataset(torch.arange(5), torch.arange(5) * 3)
    context.exact([int(v) for v in tensors[-2]], [3, 9], what="TensorDataset")
    context.exact(len(tensors), 5, what="length of TensorDataset")


@check(oracle="the documented rules of default_collate", level="quick", devices="cpu")
def collates(context: Context) -> None:
    """default_collate keeps dtypes, keys, nesting, order and texts, and default_convert keeps containers."""
    torch = context.torch
    from torch.utils.data import default_collate, default_convert  # type: ignore[import-not-found,unused-ignore]

    batch = [
        {
            "float": i + 0.1,
            "int": 2**40 + i,
            "bool": i % 2 == 0,
            "text": f"t{i}",
            "bytes": b"b%d" % i,
            "tensor": torch.full((2, 3), float(i), dtype=torch.float16),
            "list": [i, [i * 2.5, "n"]],
            "tuple": (i, -i),
            "pair": Pair(i, {"deep": i * i}),
        }
        for i in range(3)
    ]
    got = default_collate(batch)
    context.exact(sorted(got), sorted(batch[0]), what="keys")
    for name, dtype, right in (
        ("float", "float64", [0.1, 1.1, 2.1]),
        ("int", "int64", [2**40, 2**40 + 1, 2**40 + 2]),
        ("bool", "bool", [True, False, True]),
        ("tensor", "float16", [0.0] * 6 + [1.0] * 6 + [2.0] * 6),
    ):
        context.exact(str(got[name].dtype), f"torch.{dtype}", what=f"dtype of {name}")
        context.exact(got[name], right, what=f"numbers of {name}")
    context.exact(tuple(got["tensor"].shape), (3, 2, 3), what="shape of stacked tensors")
    context.exact([*got["text"], *got["bytes"]], ["t0", "t1", "t2", b"b0", b"b1", b"b2"], what="texts and bytes")
    context.exact(got["list"][1][0], [0.0, 2.5, 5.0], what="nested lists")
    context.exact([*got["list"][1][1]], ["n"] * 3, what="nested texts")
    context.exact(got["tuple"][1], [0, -1, -2], what="tuples")
    context.exact(type(got["pair"]).__name__, "Pair", what="named tuples")
    context.exact(got["pair"].y["deep"], [0, 1, 4], what="mappings inside named tuples")
    context.raises(RuntimeError, default_collate, [[1, 2], [3]], what="lists of unequal lengths are refused")
    context.raises(RuntimeError, default_collate, [torch.zeros(2), torch.zeros(3)], what="unequal tensors are refused")
    context.raises(TypeError, default_collate, [object()], what="what it does not know is refused")
    kept = default_convert({"x": [1, torch.tensor(2)], "y": "text"})
    context.exact([kept["x"][0], int(kept["x"][1]), kept["y"]], [1, 2, "text"], what="default_convert")
    table = [(torch.tensor([float(i)]), i) for i in range(7)]
    x, y = next(iter(torch.utils.data.DataLoader(table, 7, collate_fn=lambda rows: tuple(zip(*rows)))))
    context.exact([float(v) for v in x] + list(y), [*map(float, range(7)), *range(7)], what="a collate_fn of one's own")
