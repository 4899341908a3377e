"""The tape against finite differences in fractions and decimals, and its error bounds against real roundings."""

import math
import random
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from torchcheck.suite.compare import FORMATS
from torchcheck.suite.oracles import tape
from torchcheck.suite.oracles.tape import Num

UNARY = {
    "exp": (tape.exp, math.exp, (-2, 2)),
    "log": (tape.log, math.log, (0.2, 5)),
    "log1p": (tape.log1p, math.log1p, (-0.5, 5)),
    "sqrt": (tape.sqrt, math.sqrt, (0.2, 5)),
    "sin": (tape.sin, math.sin, (-3, 3)),
    "cos": (tape.cos, math.cos, (-3, 3)),
    "tanh": (tape.tanh, math.tanh, (-3, 3)),
    "sigmoid": (tape.sigmoid, lambda x: 1 / (1 + math.exp(-x)), (-6, 6)),
    "relu": (tape.relu, lambda x: max(x, 0.0), (-3, 3)),
    "absolute": (tape.absolute, abs, (-3, 3)),
    "cube": (lambda x: tape.power(x, 3), lambda x: x**3, (0.2, 3)),
    "reciprocal": (lambda x: 1 / x, lambda x: 1 / x, (0.3, 4)),
}


@pytest.mark.parametrize("name", UNARY)
def test_value_and_derivative_of_every_function(name):
    function, value, (low, high) = UNARY[name]
    rng = random.Random(name)
    for _ in range(20):
        x = rng.uniform(low, high)
        leaf = Num(x)
        result = function(leaf)
        tape.backward([result], [1.0])
        h = 1e-5
        slope = (8 * (value(x + h) - value(x - h)) - (value(x + 2 * h) - value(x - 2 * h))) / (12 * h)
        assert result.value == pytest.approx(value(x), rel=1e-14)
        assert leaf.adjoint == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_rational_functions_have_the_exact_derivative_of_fractions():
    rng = random.Random(7)
    for _ in range(20):
        a, b, c = (Fraction(rng.randint(1, 40), 8) for _ in "abc")
        function = lambda x, y, z: (x * y - z) / (x + y * z) + x * x * z - 3  # noqa: E731
        leaves = tape.leaves([a, b, c])
        result = function(*leaves)
        tape.backward([result], [1.0])
        h = Fraction(1, 10**9)
        for i, leaf in enumerate(leaves):
            up, down = ([v + (s * h if j == i else 0) for j, v in enumerate((a, b, c))] for s in (1, -1))
            slope = (function(*up) - function(*down)) / (2 * h)
            assert leaf.adjoint == pytest.approx(float(slope), rel=1e-12)


def test_sums_and_dots_add_up_and_share_what_flows_back():
    xs, ys, start = tape.leaves([1, 2, 3]), tape.leaves([4, -5, 6]), Num(10.0)
    result = tape.dot(xs, ys, start) + tape.total(xs)
    tape.backward([result], [2.0])
    assert result.value == 4 - 10 + 18 + 10 + 6
    assert [x.adjoint for x in xs] == [10, -8, 14]
    assert [y.adjoint for y in ys] == [2, 4, 6]
    assert start.adjoint == 2


def test_a_second_sweep_starts_afresh():
    x = Num(3.0)
    y = x * x
    for _ in range(2):
        tape.backward([y], [1.0])
    assert x.adjoint == 6


def _evaluate(number, one):
    """A formula with cancellation: (a*b - c*d) / sqrt(a + b) summed over three scalings."""
    a, b, c, d = number
    terms = [(a * b * s - c * d) / one.sqrt(a + b * s) for s in (1, 2, 4)]
    return one.add(terms)


class _Rounded:
    """Arithmetic that rounds after every step, to a narrow format."""

    def __init__(self, value, fmt):
        self.value, self.fmt = fmt.round(value), fmt

    def _with(self, other, operation):
        other = other.value if isinstance(other, _Rounded) else other
        return _Rounded(operation(self.value, other), self.fmt)

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._with(other, lambda a, b: a / b)

    @staticmethod
    def sqrt(x):
        return _Rounded(math.sqrt(x.value), x.fmt)

    @staticmethod
    def add(terms):
        return terms[0] + terms[1] + terms[2]


class _Taped:
    sqrt = staticmethod(tape.sqrt)
    add = staticmethod(tape.total)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_the_error_bound_covers_arithmetic_that_rounds_every_step(name):
    fmt, rng, closest = FORMATS[name], random.Random(3), 0.0
    for _ in range(300):
        numbers = [fmt.round(rng.uniform(0.5, 4)) for _ in range(4)]
        exact = _evaluate(tape.leaves(numbers), _Taped)
        rough = _evaluate([_Rounded(v, fmt) for v in numbers], _Rounded)
        closest = max(closest, abs(rough.value - exact.value) / (fmt.u * exact.error))
    assert 0.05 < closest <= 1.05  # it holds, and is no wild exaggeration


def test_growth_is_that_of_any_order_for_short_sums_and_of_the_square_root_for_long_ones():
    assert tape.growth(5) == 5
    assert tape.growth(400) == 80


def test_exp_and_log_agree_with_forty_digits():
    getcontext().prec = 40
    for x in (0.3, 1.7, 4.4):
        assert tape.exp(Num(x)).value == pytest.approx(float(Decimal(x).exp()), rel=4e-16)
        assert tape.log(Num(x)).value == pytest.approx(float(Decimal(x).ln()), rel=4e-16)
