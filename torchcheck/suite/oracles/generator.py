"""Random numbers that can be foretold, and the laws that the others must follow.

torch's generator on the CPU is the Mersenne Twister MT19937 (Matsumoto and Nishimura, ACM TOMACS 8 (1998)), seeded by
its `init_genrand`; CPython's `random` is the same generator with another seeding, so it can be set to the same state.
What is made of the 32-bit words (ATen/core/DistributionsHelper.h, ATen/native/cpu/DistributionTemplates.h) has been
the same from torch 1.6 on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

WORDS = 624


def twister(seed: int) -> random.Random:
    """Give MT19937 as `init_genrand(seed)` sets it up; torch uses the seed's lowest 32 bits."""
    state = [seed & 0xFFFFFFFF]
    for i in range(1, WORDS):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    made = random.Random()  # noqa: S311 - the generator under test
    made.setstate((3, (*state, WORDS), None))
    return made


def _word(source: random.Random) -> int:
    return source.getrandbits(32)


def _double(source: random.Random) -> float:
    """53 of 64 bits; the first word is the high one."""
    return (((_word(source) << 32) | _word(source)) & (2**53 - 1)) / 2**53


def uniform32(source: random.Random, count: int) -> list[float]:
    """`torch.rand(count)`: 24 of each word's bits."""
    return [(_word(source) & (2**24 - 1)) / 2**24 for _ in range(count)]


def uniform64(source: random.Random, count: int) -> list[float]:
    """`torch.rand(count, dtype=torch.float64)`."""
    return [_double(source) for _ in range(count)]


def integers(source: random.Random, count: int, below: int) -> list[int]:
    """`torch.randint(below, (count,))` for `below` under 2^28: each word modulo `below`."""
    return [_word(source) % below for _ in range(count)]


def permutation(source: random.Random, count: int) -> list[int]:
    """`torch.randperm(count)`: Fisher and Yates, from the front."""
    order = list(range(count))
    for i in range(count - 1):
        j = i + _word(source) % (count - i)
        order[i], order[j] = order[j], order[i]
    return order


def normal32(source: random.Random, count: int) -> tuple[list[float], list[float]]:
    """`torch.randn(count)` for a multiple of 16: Box and Muller on blocks of 16, and each number's radius."""
    numbers, radii = uniform32(source, count), [0.0] * count
    for block in range(0, count, 16):
        for j in range(block, block + 8):
            radius = math.sqrt(-2.0 * math.log(1.0 - numbers[j]))
            angle = 2.0 * math.pi * numbers[j + 8]
            numbers[j], numbers[j + 8] = radius * math.cos(angle), radius * math.sin(angle)
            radii[j] = radii[j + 8] = radius
    return numbers, radii


def distance(numbers: Sequence[float], law: Callable[[float], float]) -> float:
    """Kolmogorov's distance between numbers and a distribution function."""
    ordered, n = sorted(numbers), len(numbers)
    return max(max((i + 1) / n - law(x), law(x) - i / n) for i, x in enumerate(ordered))


def distance_bound(count: int, chance: float = 1e-12) -> float:
    """What the distance exceeds with a probability below `chance` (Dvoretzky, Kiefer, Wolfowitz; Massart 1990)."""
    return math.sqrt(math.log(2.0 / chance) / (2.0 * count))


def pairs(source: random.Random, count: int) -> list[float]:
    """Normal numbers one by one, as fewer than 16 of them (and log_normal_) are drawn: Box and Muller on 53 bits."""
    found: list[float] = []
    while len(found) < count:
        turn, away = _double(source), _double(source)
        radius, angle = math.sqrt(-2.0 * math.log1p(-away)), 2.0 * math.pi * turn
        found += [radius * math.cos(angle), radius * math.sin(angle)]
    return found[:count]


def wide_integers(source: random.Random, count: int, low: int, high: int) -> list[int]:
    """`torch.randint(low, high, (count,))` for ranges from 2^28 on: two words each, the first one high."""
    return [low + ((_word(source) << 32) | _word(source)) % (high - low) for _ in range(count)]


def chosen(source: random.Random, weights: Sequence[float], count: int) -> list[int]:
    """`torch.multinomial(weights, count, replacement=True)`: 53 bits each, looked up in the running sum."""
    total, so_far, running = sum(weights), 0.0, []
    for w in weights:
        so_far += w
        running.append(so_far / total)
    return [next(i for i, edge in enumerate(running) if u <= edge) for u in uniform64(source, count)]


def ranked(source: random.Random, weights: Sequence[float], count: int) -> list[int]:
    """`torch.multinomial(weights, count)`: the largest weights over exponential numbers, the largest first."""
    scores = [w / -math.log1p(-u) for w, u in zip(weights, uniform64(source, len(weights)))]
    return sorted(range(len(weights)), key=lambda i: -scores[i])[:count]
