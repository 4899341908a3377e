"""Whole numbers that depend on the rank, and what every collective must make of them, without torch.

Element i of a rank's data repeats with `PERIOD`, so that the expected values of a large tensor cost one period.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

PERIOD = 60


def _tiled(period: Sequence[int], size: int) -> list[int]:
    return (list(period) * (size // PERIOD + 1))[:size]


def whole(rank: int, size: int, salt: int = 0) -> list[int]:
    """Give whole numbers in -2…2, other ones for every rank and salt: sums are exact in every dtype.

    They are mixed by a multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4), not by a rule that repeats
    with the rank: what goes to the wrong rank, or comes twice, must show.
    """
    return _tiled([_mixed(i, rank, salt) % 5 - 2 for i in range(PERIOD)], size)


def _mixed(i: int, rank: int, salt: int) -> int:
    return ((i + 61 * rank + 60_013 * salt + 1) * 2_654_435_761 % 2**32) >> 15


def wide(rank: int, world: int, size: int, bits: int) -> list[int]:
    """Give whole numbers of up to `bits` bits, odd where they are large, whose sums over the ranks have no more.

    Of each element one rank holds a large part and the others 1, 0 or -1: the sum is exact in a format of `bits` bits,
    and in none that has fewer.
    """
    large = (1 << bits) - 1 - 2 * world
    return [
        (large - 2 * (i % 7)) * (-1 if i % 3 == 1 else 1) if i % world == rank else _mixed(i, rank, 1) % 3 - 1
        for i in range(size)
    ]


def factors(rank: int, size: int) -> list[int]:
    """Give -1, 1, and 2 on the first six ranks: products are at most 64 in size."""
    return _tiled(
        [
            (2 if (i + rank) % 3 == 0 and rank < 6 else 1) * (-1 if (i * (rank + 1) + rank) % 4 == 0 else 1)
            for i in range(PERIOD)
        ],
        size,
    )


def bits(rank: int, size: int) -> list[int]:
    """Give seven-bit patterns that differ between ranks in single bits and in many."""
    return _tiled([(37 * i + 101 * rank + (1 << (rank % 7))) % 128 for i in range(PERIOD)], size)


def reduced(step: Callable[[int, int], int], data: Callable[[int, int], list[int]], world: int, size: int) -> list[int]:
    """Combine all ranks' data element by element."""
    columns = zip(*(data(rank, PERIOD) for rank in range(world)))
    return _tiled([reduce(step, column) for column in columns], size)


def gathered(world: int, size: int, salt: int = 0) -> list[int]:
    """Put all ranks' data behind each other."""
    return [value for rank in range(world) for value in whole(rank, size, salt)]
