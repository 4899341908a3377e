"""Who is a straggler: a margin from the spread of all, and how often it accuses nobody wrongly."""

from __future__ import annotations

import math
import random

import pytest

from torchcheck.verify.stragglers import FLOOR, stragglers


def timed(times, name="GPU"):
    return {
        rank: {"identity": {"name": name}, "figures": {"a": {"fastest": t / 2}, "b": {"fastest": t / 2}}}
        for rank, t in enumerate(times)
    }


@pytest.mark.parametrize(
    ("times", "slow"),
    [
        ([1.0, 1.01, 0.99, 1.02, 2.0], {4: 1.98}),
        ([1.0, 1.4, 0.7, 1.2, 1.6], {}),  # the spread explains it
        ([1.0, 1.0, 3.0], {}),  # three ranks have no spread worth the name
        ([1.0] * 7 + [1.2], {}),  # less than the floor
        ([1.0] * 7 + [1.3], {7: 1.3}),
        ([1.0] * 6 + [2.0, 3.0], {6: 2.0, 7: 3.0}),  # two of eight do not move the median
        ([0.5] + [1.0] * 7, {}),  # a fast one is no straggler
        ([], {}),
    ],
)
def test_a_straggler_is_slower_than_the_spread_explains(times, slow):
    assert stragglers(timed(times)) == {rank: pytest.approx(value, rel=0.01) for rank, value in slow.items()}


def test_models_are_measured_apart():
    both = timed([1.0] * 5) | {rank + 5: one for rank, one in timed([4.0] * 5, "an older GPU").items()}
    assert stragglers(both) == {}


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("ranks", [4, 8, 16, 64])
@pytest.mark.parametrize("law", ["normal", "log-normal"])
def test_a_run_in_which_nobody_is_slow_is_rarely_told_of_a_straggler(law, ranks, spread):
    """At most 5 runs in 1,000, with times that scatter by up to 10 %."""
    rng = random.Random(f"{law}{ranks}{spread}")
    draw = {"normal": lambda: rng.gauss(1.0, spread), "log-normal": lambda: math.exp(rng.gauss(0.0, spread))}[law]
    assert sum(bool(stragglers(timed([draw() for _ in range(ranks)]))) for _ in range(1000)) <= 5


@pytest.mark.parametrize("ranks", [8, 64])
def test_who_is_twice_as_slow_is_found_where_times_scatter_by_five_percent(ranks):
    rng = random.Random(ranks)
    found = 0
    for _ in range(300):
        times = [rng.gauss(1.0, 0.05) for _ in range(ranks)]
        times[3] *= 2
        found += 3 in stragglers(timed(times))
    assert found >= 270, "nine in ten at least"


def test_a_thousand_normal_ranks_have_no_straggler():
    rng = random.Random(7)
    assert stragglers(timed([rng.gauss(1.0, 0.05) for _ in range(1000)])) == {}
    assert FLOOR == 0.25
