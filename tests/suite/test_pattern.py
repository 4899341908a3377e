"""Patterns of numbers: their bytes, and that no wrong one among many passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcheck.suite.compare import FORMATS
from torchcheck.suite.pattern import Pattern, decode, encode


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(st.floats(-60000, 60000), max_size=40))
def test_bytes_and_back(name, numbers):
    held = [FORMATS[name].round(x) for x in numbers]
    assert decode(encode(held, FORMATS[name]), FORMATS[name]) == held


@pytest.mark.parametrize("name", FORMATS)
@given(place=st.integers(0, 1999), sign=st.sampled_from([-1, 1]))
def test_one_wrong_number_is_seen_wherever_it_stands(name, place, sign):
    fmt = FORMATS[name]
    expected = [fmt.round(1.0 + k / 64) for k in range(13)]
    pattern = Pattern(fmt, expected, expected, [2 * fmt.u * x for x in expected], 2.0)
    numbers = (expected * 160)[:2000]
    assert pattern.holds(encode(numbers, fmt))
    numbers[place] += sign * 4 * fmt.ulp(numbers[place])
    assert not pattern.holds(encode(numbers, fmt))


def test_exact_results_allow_nothing():
    fmt = FORMATS["float32"]
    pattern = Pattern(fmt, [1.0], [1.0], [0.0], 0.0)
    assert pattern.fits([1.0, 1.0])
    assert not pattern.fits([1.0, 1.0 + fmt.ulp(1.0)])
