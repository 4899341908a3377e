"""Every parser, with inputs like those it takes gladly, changed (tests/chaos/fuzz/run does the same for longer)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_fuzz import PARSERS, clear, huge, mutated

SLOW = {"log", "collect_env", "worker-lines", *list(PARSERS)[list(PARSERS).index("nvidia-smi") :]}
"""They judge a whole machine, and show it in four ways."""
seeds = cache(lambda name: PARSERS[name].seeds())


@pytest.fixture(scope="module", autouse=True)
def cleared() -> Iterator[None]:
    yield
    clear()


@pytest.mark.parametrize("name", PARSERS)
def test_anything_is_read_or_refused(name: str) -> None:
    @settings(max_examples=4 if name in SLOW else 60, suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**32), raw=st.binary(max_size=100))
    def try_(number: int, raw: bytes) -> None:
        rng = random.Random(number)
        PARSERS[name].run(mutated(rng.choice(seeds(name)), rng, seeds(name)))
        PARSERS[name].run(raw)

    try_()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PARSERS)
def test_a_megabyte_ends(name: str) -> None:
    for _, data in huge(seeds(name)[0], 1_000_000):
        PARSERS[name].run(data)


def test_every_parser_takes_its_seeds() -> None:
    for name in PARSERS:
        assert seeds(name), name
        PARSERS[name].run(seeds(name)[0])
