"""The references of the activations: against 50 digits, against differences of themselves, and at their kinks."""

import decimal
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcheck.suite.compare import FORMATS
from torchcheck.suite.oracles import activations as oracle
from torchcheck.suite.oracles import softmax

ROWS = {row.name: row for row in oracle.POINTWISE}
CASES = [(row, arguments) for row in oracle.POINTWISE for arguments in row.arguments]
IDS = [f"{row.name}{sorted(arguments.items())}" for row, arguments in CASES]
ONE, TWO = Decimal(1), Decimal(2)
# torch.nn.modules.activation.__all__ of torch 2.13.
LISTED = {
    "Threshold",
    "ReLU",
    "RReLU",
    "Hardtanh",
    "ReLU6",
    "Sigmoid",
    "Hardsigmoid",
    "Tanh",
    "SiLU",
    "Mish",
    "Hardswish",
    "ELU",
    "CELU",
    "SELU",
    "GLU",
    "GELU",
    "Hardshrink",
    "LeakyReLU",
    "LogSigmoid",
    "Softplus",
    "Softshrink",
    "MultiheadAttention",
    "PReLU",
    "Softsign",
    "Tanhshrink",
    "Softmin",
    "Softmax",
    "Softmax2d",
    "LogSoftmax",
}


def sigmoid(x):
    return ONE / (ONE + (-x).exp())


def tanh(x):
    return TWO * sigmoid(TWO * x) - ONE


def erf(x):
    """Maclaurin's series: for |x| < 5, 100 digits leave 50."""
    total, term, n = Decimal(0), x, 0
    while abs(term) > Decimal(10) ** -80:
        total += term / (2 * n + 1)
        n += 1
        term *= -x * x / n
    return TWO * total / PI.sqrt()


PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")


def softplus(x):
    return (ONE + x.exp()).ln()


def scaled_softplus(x, beta=1.0, threshold=20.0):
    return x if beta * float(x) > threshold else softplus(x * Decimal(beta)) / Decimal(beta)


def gelu(x, approximate="none"):
    if approximate == "none":
        return x * (ONE + erf(x / TWO.sqrt())) / 2
    return x * (ONE + tanh((TWO / PI).sqrt() * (x + Decimal("0.044715") * x**3))) / 2


def elu(x, alpha=1.0):
    return x if x > 0 else Decimal(alpha) * (x.exp() - 1)


def celu(x, alpha=1.0):
    return x if x > 0 else Decimal(alpha) * ((x / Decimal(alpha)).exp() - 1)


def selu(x):
    return Decimal("1.0507009873554804934193349852946") * elu(x, Decimal("1.6732632423543772848170429916717"))


PRECISE = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * tanh(softplus(x)),
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "gelu": gelu,
    "log_sigmoid": lambda x: -softplus(-x),
    "softplus": scaled_softplus,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - tanh(x),
    "hardswish": lambda x: x * min(max(x + 3, Decimal(0)), Decimal(6)) / 6,
    "hardsigmoid": lambda x: min(max(x + 3, Decimal(0)), Decimal(6)) / 6,
}


@pytest.mark.parametrize("name", PRECISE)
def test_values_agree_with_fifty_digits(name):
    row, fmt = ROWS[name], FORMATS["float64"]
    points = (
        [k / 7 for k in range(-45, 46)] + [2.0**-k for k in range(3, 30, 4)] + [-(2.0**-k) for k in range(3, 30, 4)]
    )
    with decimal.localcontext() as local:
        local.prec = 100
        for arguments in row.arguments:
            for x in points:
                right = float(PRECISE[name](Decimal(x), **arguments))
                (reach,) = row.forward.reach(
                    [x], [right], fmt, "cpu", arguments
                )  # half is the kernel's, half the oracle's
                assert abs(row.value(x, **arguments) - right) <= reach / 2, (x, arguments)


@pytest.mark.parametrize(("row", "arguments"), CASES, ids=IDS)
def test_slopes_are_the_derivatives_of_the_values(row, arguments):
    kinks = (0.0, *row.kinks(**arguments))
    for x in [k / 16 + 1 / 97 for k in range(-160, 160)]:
        if min(abs(x - kink) for kink in kinks) < 0.02:
            continue
        halves = [(row.value(x + h, **arguments) - row.value(x - h, **arguments)) / (2 * h) for h in (0.01, 0.005)]
        assert row.slope(x, **arguments) == pytest.approx((4 * halves[1] - halves[0]) / 3, abs=2e-8), x


@pytest.mark.parametrize(
    ("name", "arguments", "x", "value", "slope"),
    [
        ("threshold", {"threshold": 0.1, "value": 20.0}, 0.1, 20.0, 0.0),
        ("relu", {}, 0.0, 0.0, 0.0),
        ("rrelu_eval", {}, 0.0, 0.0, 11 / 48),
        ("hardtanh", {}, -1.0, -1.0, 0.0),
        ("hardtanh", {}, 1.0, 1.0, 0.0),
        ("relu6", {}, 0.0, 0.0, 0.0),
        ("relu6", {}, 6.0, 6.0, 0.0),
        ("hardsigmoid", {}, 3.0, 1.0, 0.0),
        ("hardsigmoid", {}, -3.0, 0.0, 0.0),
        ("hardswish", {}, -3.0, 0.0, 0.0),
        ("hardswish", {}, 3.0, 3.0, 1.0),
        ("elu", {"alpha": 0.7}, 0.0, 0.0, 0.7),
        ("celu", {"alpha": 0.7}, 0.0, 0.0, 1.0),
        ("selu", {}, 0.0, 0.0, 1.7580993408473766),
        ("hardshrink", {}, 0.5, 0.0, 0.0),
        ("softshrink", {}, -0.5, 0.0, 0.0),
        ("leaky_relu", {}, 0.0, 0.0, 0.01),
        ("softplus", {"beta": 2.0, "threshold": 3.0}, 1.5, math.log1p(math.exp(3.0)) / 2, 0.9525741268224334),
    ],
)
def test_conventions_at_kinks(name, arguments, x, value, slope):
    assert ROWS[name].value(x, **arguments) == pytest.approx(value, abs=1e-15)
    assert ROWS[name].slope(x, **arguments) == pytest.approx(slope, abs=1e-15)


@pytest.mark.parametrize(("row", "arguments"), CASES, ids=IDS)
def test_values_stay_in_the_range_and_reach_the_limits(row, arguments):
    values = [row.value(k / 8, **arguments) for k in range(-800, 801)]
    assert row.low(**arguments) <= min(values)
    assert max(values) <= row.high(**arguments)
    for x, limit in zip((-1e6, 1e6), row.infinities(**arguments), strict=True):
        found = row.value(x, **arguments)
        if math.isinf(limit):
            assert abs(found) > 1e3
            assert math.copysign(1, found) == math.copysign(1, limit)
        else:
            assert found == pytest.approx(limit, abs=2e-6)


def test_every_listed_activation_is_covered_once():
    assert oracle.COVERED.isdisjoint(oracle.NOT_COVERED)
    assert oracle.COVERED | set(oracle.NOT_COVERED) == LISTED
    assert all(reason.strip() for reason in oracle.NOT_COVERED.values())
    assert len({row.name for row in oracle.POINTWISE}) == len(oracle.POINTWISE)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "xpu", "mps", "a device of tomorrow"])
@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16", "float16"])
def test_bounds_still_tell_a_thousandth_and_a_narrower_format(kind, name):
    fmt = FORMATS[name]
    for row, arguments in CASES:
        (reach,) = row.forward.reach([1.7], [row.value(1.7, **arguments)], fmt, kind, arguments)
        narrower = {"float64": 2.0**-24, "float32": 2.0**-11}.get(name, 0.1)
        assert reach < narrower, (row.name, arguments)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=12), st.data())
def test_softmax_is_a_distribution_and_its_gradient_sums_to_zero(row, data):
    shares = softmax.softmax(row)
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-15)
    assert [math.log(p) for p in shares] == pytest.approx(softmax.log_softmax(row), abs=1e-12)
    g = data.draw(st.lists(st.floats(-4, 4), min_size=len(row), max_size=len(row)))
    gradient, _ = softmax.judge_softmax_slope(row, g, softmax.Units.of(FORMATS["float64"], "cpu"))
    assert math.fsum(gradient) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("family", softmax.FAMILY, ids=lambda family: family.name)
def test_softmax_gradients_are_differences_of_values(family):
    units = softmax.Units.of(FORMATS["float64"], "cpu")
    row, g, h = [0.3, -1.1, 2.0, 0.9], [1.5, -0.5, 0.25, 2.0], 1e-5
    gradient, _ = family.backward(row, g, units)
    for i in range(len(row)):
        ends = []
        for step in (h, -h):
            moved = [x + step * (j == i) for j, x in enumerate(row)]
            ends.append(math.fsum(a * b for a, b in zip(g, family.forward(moved, units)[0], strict=True)))
        assert gradient[i] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-9)
