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
    """Give whole numbers in -2…2, no rank's like its neighbour's: sums are exact in every dtype."""
    return _tiled([(7 * i + 13 * rank + 5 * salt + i * rank) % 5 - 2 for i in range(PERIOD)], size)


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
