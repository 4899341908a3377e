"""The yardstick itself, against exact arithmetic and the bits that `struct` packs."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcheck.suite import compare
from torchcheck.suite.compare import FORMATS

NARROW = ["float32", "bfloat16", "float16"]
CODES = {"float32": ("<f", "<I"), "float16": ("<e", "<H")}
numbers = st.floats(allow_nan=False, allow_infinity=False)


def nearest(x: float, fmt: compare.Format) -> Fraction:
    """Round exactly: the multiple of the spacing at |x| that is nearest, ties to even."""
    exact = Fraction(x)
    exponent = max(math.frexp(x)[1] - 1, fmt.emin) if x else fmt.emin
    step = Fraction(2) ** (exponent - fmt.digits + 1)
    return round(exact / step) * step  # round() of a Fraction: half to even


@pytest.mark.parametrize("name", NARROW)
@given(numbers)
def test_rounding_is_to_nearest_even(name, x):
    fmt = FORMATS[name]
    rounded, exact = fmt.round(x), nearest(x, fmt)
    if abs(exact) > Fraction(fmt.largest):
        assert rounded == math.copysign(math.inf, x)
    else:
        assert Fraction(rounded) == exact
        assert math.copysign(1, rounded) == math.copysign(1, x)


@pytest.mark.parametrize("name", ["float32", "float16"])
@given(numbers)
def test_rounding_agrees_with_struct(name, x):
    code = CODES[name][0]
    try:
        packed = struct.unpack(code, struct.pack(code, x))[0]
    except OverflowError:
        packed = math.copysign(math.inf, x)
    assert FORMATS[name].round(x) == packed


@pytest.mark.parametrize("name", ["float32", "float16"])
@given(data=st.data())
def test_ulp_is_the_distance_to_the_next_number(name, data):
    code, integer = CODES[name]
    fmt = FORMATS[name]
    width = 8 * struct.calcsize(integer)
    infinity = ((1 << (width - fmt.digits)) - 1) << (fmt.digits - 1)
    bits = data.draw(st.integers(0, infinity - 2))
    here, following = (struct.unpack(code, struct.pack(integer, b))[0] for b in (bits, bits + 1))
    assert fmt.ulp(here) == following - here


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_formats_are_ieee_754s(name):
    fmt = FORMATS[name]
    assert fmt.round(fmt.largest) == fmt.largest
    assert fmt.u == fmt.ulp(1.0) / 2
    assert fmt.tiny == 2.0**fmt.emin


@given(st.lists(numbers, min_size=1, max_size=20), st.integers(0, 19), st.integers(2, 1000))
def test_one_wrong_element_is_found_where_it_is(values, index, units):
    fmt, index = FORMATS["float32"], index % len(values)
    expected = [fmt.round(math.remainder(v, 1e6)) or 1.0 for v in values]
    got = list(expected)
    got[index] += units * fmt.u * abs(expected[index])
    if got[index] == expected[index]:
        return
    found = compare.close(got, expected, what="x", fmt=fmt, bound=1.0, given=values)
    assert not found.ok
    assert (found.where, found.wrong, found.given) == (index, 1, values[index])
    assert found.measured == pytest.approx(units, rel=1e-6)
    assert compare.close(got, expected, what="x", fmt=fmt, bound=units * 1.001).ok


@given(st.lists(st.floats(), max_size=10))
def test_equal_lists_are_equal_whatever_they_hold(values):
    assert compare.exact(values, list(values), what="x").wrong == 0
    assert compare.close(values, list(values), what="x", fmt=FORMATS["float64"], bound=0.0).wrong == 0


SPECIAL = [
    (math.nan, math.nan, True),
    (math.nan, 1.0, False),
    (1.0, math.nan, False),
    (math.inf, math.inf, True),
    (-math.inf, math.inf, False),
    (math.inf, 65520.0, True),  # rounds to infinity in float16
    (math.inf, 65519.0, False),
    (1.0, math.inf, False),
]


@pytest.mark.parametrize(("got", "expected", "right"), SPECIAL)
def test_special_values(got, expected, right):
    assert compare.close([got, 1.0], [expected, 1.0], what="x", fmt=FORMATS["float16"], bound=1e30).ok == right


def test_nothing_compared_is_not_right():
    assert not compare.close([], [], what="x", fmt=FORMATS["float32"], bound=1.0).ok
    assert not compare.exact([], [], what="x").ok


def test_another_number_of_elements_is_wrong():
    assert not compare.close([1.0], [1.0, 1.0], what="x", fmt=FORMATS["float32"], bound=1.0).ok
    assert not compare.exact([1, 2], [1], what="x").ok


def test_signed_zero_counts_where_it_is_asked_for():
    assert compare.exact([-0.0], [0.0], what="x").ok
    assert not compare.exact([-0.0], [0.0], what="x", signed_zero=True).ok


def test_cancellation_widens_the_bound_element_by_element():
    fmt = FORMATS["float32"]
    assert not compare.close([1e-9], [0.0], what="x", fmt=fmt, bound=1.0).ok
    assert compare.close([1e-9], [0.0], what="x", fmt=fmt, bound=1.0, cancel=1.0).ok
    assert not compare.close([1e-9, 1e-9], [0.0, 0.0], what="x", fmt=fmt, bound=1.0, cancel=[1.0, 0.0]).ok


@given(st.lists(st.integers(1, 4), max_size=4))
def test_flat_is_row_major(shape):
    count = math.prod(shape)
    nested: list | int = list(range(count)) if shape else 0
    for length in reversed(shape[1:]):
        nested = [nested[i : i + length] for i in range(0, len(nested), length)]
    assert compare.flat(nested) == list(range(count))
