"""The activations of `torch.nn`, their derivatives, and how far a sound kernel may be off: float64 and `math` alone.

Formulas and conventions at the kinks are those of PyTorch's documentation. A bound counts the roundings of the formula
that the kernel evaluates (Higham, Accuracy and Stability of Numerical Algorithms, §3.1): each +, -, * costs one unit
roundoff u, each library function E of its ulps, and one ulp is at most two u. K (`cancel`) is the magnitude of what
cancels inside the formula: there the error is absolute, C * u * K, not relative to the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from ..compare import FORMATS, Format

Argument = Union[float, str]
Arguments = Mapping[str, Argument]
Function = Callable[..., float]
SQRT_2, SQRT_2_PI = math.sqrt(2.0), math.sqrt(2.0 / math.pi)
# Klambauer et al., Self-Normalizing Neural Networks (2017), eq. 14: as PyTorch documents them.
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@dataclass(frozen=True)
class Library:
    """Largest errors, in ulp, of the mathematical functions that kernels call on one kind of device."""

    exp: float
    expm1: float
    log1p: float
    tanh: float
    erf: float
    div: float


# CPU: SLEEF u10 (1.0), its exp_u20 (2.0), libm of glibc, musl, UCRT and Apple in tail lanes; erf also by Abramowitz and
# Stegun 7.1.26 (1.5e-7 absolute, 2.5 u). CUDA: CUDA C++ Programming Guide, "Mathematical Functions", and LLVM libc's
# conformance tables for HIP. XPU: the OpenCL full profile. MPS: Metal Shading Language specification,
# precise:: functions.
LIBRARIES = {
    "cpu": Library(exp=2.0, expm1=2.0, log1p=2.0, tanh=2.5, erf=3.0, div=0.5),
    "cuda": Library(exp=2.0, expm1=2.0, log1p=2.0, tanh=2.0, erf=2.0, div=2.0),
    "xpu": Library(exp=3.0, expm1=3.0, log1p=2.0, tanh=5.0, erf=16.0, div=2.5),
    "mps": Library(exp=4.0, expm1=8.0, log1p=4.0, tanh=5.0, erf=16.0, div=2.5),
}
# What accelerators are allowed at least, their kernels being out of sight: 16 u is 1e-6 in float32.
ALLOWANCE = {"cpu": 0.0, "cuda": 16.0, "xpu": 32.0, "mps": 32.0}


def curvature(row: Activation, x: float, arguments: Arguments) -> float:
    """Give f''(x) by Richardson's extrapolation of central differences of f', to 1e-9 where f is smooth within 0.02.

    With h = 0.01 the error is h^4 f^(6) / 480 < 1e-9 for the functions here, and rounding adds 1e-16 / h.
    """

    def difference(h: float) -> float:
        return (row.slope(x + h, **arguments) - row.slope(x - h, **arguments)) / (2.0 * h)

    return (4.0 * difference(0.005) - difference(0.01)) / 3.0


@dataclass(frozen=True)
class Results:
    """Exact results, how far each may be off in absolute terms, and the number of roundings that this stands for."""

    values: Sequence[float]
    reach: Sequence[float]
    bound: float


@dataclass(frozen=True)
class Accuracy:
    """How exact one direction of an activation is.

    Attributes:
        roundings: C in units of u, from the errors of the library's functions; 0 when the result is exact.
        cancel: K at x; a function of x and the arguments.
        stored: roundings to the storage format when it is narrower than the arithmetic (float16, bfloat16).
        stored_cancel: K of what is rounded to that format on the way (a saved result, the steps of a composite).
    """

    roundings: Callable[[Library], float]
    cancel: Function = lambda x, **_: 0.0  # noqa: ARG005
    stored: float = 1.0
    stored_cancel: Function = lambda x, **_: 0.0  # noqa: ARG005

    def bound(self, fmt: Format, kind: str) -> float:
        """C on a kind of device ("cpu", "cuda"): roundings of the arithmetic, or those to a narrow storage format."""
        units = self.roundings(LIBRARIES.get(kind, LIBRARIES["xpu"]))
        if units == 0.0 or fmt.digits < 24:
            return 4.0 if units and kind == "mps" else self.stored
        # In float64 the oracle commits the same errors as the kernel.
        return max(units, ALLOWANCE.get(kind, 32.0)) * (2.0 if fmt.name == "float64" else 1.0)

    def reach(
        self, xs: Sequence[float], ys: Sequence[float], fmt: Format, kind: str, arguments: Arguments
    ) -> list[float]:
        """How far from each y = f(x), in absolute terms, a sound result may be."""
        bound = self.bound(fmt, kind)
        if bound == 0.0:
            return [0.0] * len(xs)
        # Metal's tanh and exp of half precision are exact in absolute terms only.
        least = 1.0 if kind == "mps" else 0.0
        wide = FORMATS["float32"] if fmt.digits < 24 else fmt
        c, cancel = self.bound(wide, kind), self.cancel
        u, tiny = c * wide.u, c * wide.tiny
        # Results below the smallest normal number may be flushed, and SiLU's is x times such a one.
        reach = [u * (abs(y) + max(cancel(x, **arguments), least)) + tiny * (1.0 + abs(x)) for x, y in zip(xs, ys)]
        if wide is fmt:
            return reach
        stored, u = self.stored_cancel, bound * fmt.u
        flushed = bound * (fmt.tiny if kind != "cpu" else 2.0 * fmt.tiny * fmt.u)
        return [r + u * (abs(y) + max(stored(x, **arguments), least)) + flushed for r, x, y in zip(reach, xs, ys)]


EXACT = Accuracy(lambda e: 0.0, stored=0.0)  # noqa: ARG005 - a selection, no arithmetic
TWO = Accuracy(lambda e: 2.0, stored=2.0)  # noqa: ARG005 - a constant rounded, then multiplied
ONE = Accuracy(lambda e: 1.0)  # noqa: ARG005 - one correctly rounded operation


def periods(
    row: Activation, arguments: Arguments, fmt: Format, kind: str, *, xs: Sequence[float], gs: Sequence[float]
) -> tuple[Results, Results]:
    """Give f(x) and g f'(x) for each x and upstream gradient g, and how far each may be off."""
    y = [row.value(x, **arguments) for x in xs]
    slopes = [row.slope(x, **arguments) for x in xs]
    forward = row.forward.reach(xs, y, fmt, kind, arguments)
    backward = row.backward.reach(xs, slopes, fmt, kind, arguments)
    # g is exact; its product with f' is one more rounding.
    product = 0.0 if row.backward is EXACT or fmt.digits < 24 else fmt.u
    gradient = [g * v for g, v in zip(gs, slopes)]
    return (
        Results(y, forward, row.forward.bound(fmt, kind)),
        Results(
            gradient,
            [abs(g) * (r + product * abs(v)) for g, r, v in zip(gs, backward, slopes)],
            row.backward.bound(fmt, kind),
        ),
    )


@dataclass(frozen=True)
class Activation:
    """One elementwise activation.

    Attributes:
        name: as in the ids of checks.
        module: class in `torch.nn`.
        value: f(x, **arguments).
        slope: f'(x, **arguments), at a kink what torch documents.
        arguments: constructor arguments to try; the first are torch's defaults.
        kinks: where f' jumps, a function of the arguments.
        forward: accuracy of f.
        backward: accuracy of f'.
        jumps: kinks at which torch's own gradient differs between versions: judged apart from all other inputs.
        low: infimum of f, as a function of the arguments.
        high: supremum of f.
        infinities: limits of f at -inf and +inf, as a function of the arguments.
        indefinite: whether the formula gives inf * 0 or inf / inf there, so that NaN may stand for a limit.
    """

    name: str
    module: str
    value: Function
    slope: Function
    arguments: tuple[Arguments, ...] = ({},)
    kinks: Callable[..., tuple[float, ...]] = lambda **_: ()
    forward: Accuracy = EXACT
    backward: Accuracy = EXACT
    low: Callable[..., float] = lambda **_: -math.inf
    high: Callable[..., float] = lambda **_: math.inf
    infinities: Callable[..., tuple[float, float]] = lambda **_: (0.0, math.inf)
    indefinite: bool = False
    jumps: tuple[float, ...] = ()


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    z = math.exp(x)
    return z / (1.0 + z)


def softplus(x: float) -> float:
    """log(1 + e^x), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def normal_cdf(x: float) -> float:
    """Distribution function of the standard normal law."""
    return 0.5 * math.erfc(-x / SQRT_2)


def normal_pdf(x: float) -> float:
    """Density of the standard normal law."""
    return math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _tanh_slope(x: float) -> float:
    """1 - tanh(x)^2 = 4 z / (1 + z)^2 with z = e^-2|x|: nothing cancels."""
    z = math.exp(-2.0 * abs(x))
    return 4.0 * z / (1.0 + z) ** 2


def _mish(x: float) -> float:
    """Give x tanh(log(1 + e^x)) = x n (n + 2) / (n (n + 2) + 2) with n = e^x."""
    if x > 40.0:
        return x
    n = math.exp(x)
    return x * (n * (n + 2.0) / (n * (n + 2.0) + 2.0))


def _mish_slope(x: float) -> float:
    if x > 40.0:
        return 1.0
    n = math.exp(x)
    d = n * (n + 2.0) + 2.0
    return n * (n + 2.0) / d + x * (4.0 * (1.0 + n) ** 2 / d**2) * sigmoid(x)


def _hardswish_slope(x: float) -> float:
    if x <= -3.0:
        return 0.0
    return (2.0 * x + 3.0) / 6.0 if x < 3.0 else 1.0


def _elu(x: float, alpha: float = 1.0) -> float:
    return x if x > 0 else alpha * math.expm1(x)


def _celu(x: float, alpha: float = 1.0) -> float:
    return x if x > 0 else alpha * math.expm1(x / alpha)


def _gelu(x: float, approximate: str = "none") -> float:
    if approximate == "none":
        return x * normal_cdf(x)
    return x * _tanh_cdf(x)


def _tanh_cdf(x: float) -> float:
    """(1 + tanh(a)) / 2 = sigmoid(2 a) with a = sqrt(2/pi) (x + 0.044715 x^3): nothing cancels."""
    return sigmoid(_clamp(2.0 * SQRT_2_PI * (x + 0.044715 * x**3), -745.0, 745.0))


def _gelu_slope(x: float, approximate: str = "none") -> float:
    if approximate == "none":
        return normal_cdf(x) + x * normal_pdf(x)
    s = _tanh_cdf(x)
    return s + x * s * _tanh_cdf(-x) * 2.0 * SQRT_2_PI * (1.0 + 3.0 * 0.044715 * x * x)


def _gelu_slope_cancel(x: float, approximate: str = "none") -> float:
    # With tanh, 1 - t^2 carries an absolute error until t is 1 to the last bit (|a| < 20), times x a'(x) / 2.
    if approximate == "none" or abs(x) > 10.0:
        return 1.0
    return 1.0 + abs(x) * 0.8 * (1.0 + 0.135 * x * x)


def _softplus(x: float, beta: float = 1.0, threshold: float = 20.0) -> float:
    return x if beta * x > threshold else softplus(beta * x) / beta


def _softplus_slope(x: float, beta: float = 1.0, threshold: float = 20.0) -> float:
    return 1.0 if beta * x > threshold else sigmoid(beta * x)


def _softshrink(x: float, lambd: float = 0.5) -> float:
    return x - lambd if x > lambd else x + lambd if x < -lambd else 0.0


def _rrelu_slope(lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> float:
    return (lower + upper) / 2.0


def _silu_slope(x: float) -> float:
    return sigmoid(x) * (1.0 + x * sigmoid(-x))


def _one(x: float, **_: Argument) -> float:  # noqa: ARG001
    return 1.0


def _magnitude(x: float, **_: Argument) -> float:
    return abs(x)


def _below_zero(x: float, alpha: float = 1.0) -> float:
    # Kernels before torch 2.5 evaluate exp(x) - 1: there 1 cancels.
    return abs(alpha) if x <= 0 else 0.0


def _logistic(e: Library) -> float:
    return 2 * e.exp + 1 + 2 * e.div


def _exponential(e: Library) -> float:
    # alpha, its product and scale's; expm1, or exp and the subtraction.
    return 2 * max(e.expm1, e.exp) + 4


def _both_logs(e: Library) -> float:
    # exp, log1p, the sum, beta on both sides.
    return 2 * e.exp + 2 * e.log1p + 2 * e.div + 2


def _mish_factor(e: Library) -> float:
    return 2 * (e.exp + e.log1p + e.tanh)


def _unbounded(**_: Argument) -> tuple[float, float]:
    return -math.inf, math.inf


def _alpha_above(alpha: float = 1.0) -> float:
    return -alpha


ELU_BACKWARD = Accuracy(_exponential, _below_zero)

POINTWISE: tuple[Activation, ...] = (
    Activation(
        "threshold",
        "Threshold",
        lambda x, threshold, value: x if x > threshold else value,
        lambda x, threshold, **_: 1.0 if x > threshold else 0.0,
        ({"threshold": 0.125, "value": 20.0}, {"threshold": -1.5, "value": -7.0}),
        lambda threshold, **_: (threshold,),
        infinities=lambda value, **_: (value, math.inf),
    ),
    Activation(
        "relu", "ReLU", lambda x: max(x, 0.0), lambda x: 1.0 if x > 0 else 0.0, kinks=lambda: (0.0,), low=lambda: 0.0
    ),
    Activation(
        "rrelu_eval",
        "RReLU",
        lambda x, **bounds: x if x >= 0 else x * _rrelu_slope(**bounds),
        lambda x, **bounds: 1.0 if x > 0 else _rrelu_slope(**bounds),
        ({}, {"lower": 0.1, "upper": 0.7}),
        lambda **_: (0.0,),
        TWO,
        TWO,
        infinities=_unbounded,
    ),
    Activation(
        "hardtanh",
        "Hardtanh",
        lambda x, min_val=-1.0, max_val=1.0: _clamp(x, min_val, max_val),
        lambda x, min_val=-1.0, max_val=1.0: 1.0 if min_val < x < max_val else 0.0,
        ({}, {"min_val": -0.75, "max_val": 2.5}),
        lambda min_val=-1.0, max_val=1.0: (min_val, max_val),
        low=lambda min_val=-1.0, **_: min_val,
        high=lambda max_val=1.0, **_: max_val,
        infinities=lambda min_val=-1.0, max_val=1.0: (min_val, max_val),
    ),
    Activation(
        "relu6",
        "ReLU6",
        lambda x: _clamp(x, 0.0, 6.0),
        lambda x: 1.0 if 0.0 < x < 6.0 else 0.0,
        kinks=lambda: (0.0, 6.0),
        low=lambda: 0.0,
        high=lambda: 6.0,
        infinities=lambda: (0.0, 6.0),
    ),
    Activation(
        "sigmoid",
        "Sigmoid",
        sigmoid,
        lambda x: sigmoid(x) * sigmoid(-x),
        forward=Accuracy(_logistic),
        # From the saved result: g s (1 - s), where s is off by its own error. In half precision s, 1 - s and both
        # products may each be rounded: u (K + 3 |g s (1 - s)|) with K = |g| s, at most 2 u of what both come to.
        backward=Accuracy(lambda e: _logistic(e) + 3, sigmoid, 2.0, sigmoid),
        low=lambda: 0.0,
        high=lambda: 1.0,
        infinities=lambda: (0.0, 1.0),
    ),
    Activation(
        "hardsigmoid",
        "Hardsigmoid",
        lambda x: _clamp(x + 3.0, 0.0, 6.0) / 6.0,
        lambda x: 1.0 / 6.0 if -3.0 < x < 3.0 else 0.0,
        kinks=lambda: (-3.0, 3.0),
        forward=Accuracy(lambda e: 2 + 2 * e.div, _one, 1.0),
        backward=Accuracy(lambda e: 1 + 2 * e.div),
        low=lambda: 0.0,
        high=lambda: 1.0,
        infinities=lambda: (0.0, 1.0),
    ),
    Activation(
        "tanh",
        "Tanh",
        math.tanh,
        _tanh_slope,
        forward=Accuracy(lambda e: 2 * e.tanh),
        # From the saved result: 1 - y^2, y off by 2 E.
        backward=Accuracy(lambda e: 4 * e.tanh + 3, _one, 1.25, _one),
        low=lambda: -1.0,
        high=lambda: 1.0,
        infinities=lambda: (-1.0, 1.0),
    ),
    Activation(
        "silu",
        "SiLU",
        lambda x: x * sigmoid(x),
        _silu_slope,
        forward=Accuracy(lambda e: _logistic(e) + 1),
        backward=Accuracy(lambda e: 2 * _logistic(e) + 4, lambda x: sigmoid(x) * (1.0 + abs(x))),
        low=lambda: -0.2785,
        indefinite=True,
    ),
    Activation(
        "mish",
        "Mish",
        _mish,
        _mish_slope,
        forward=Accuracy(lambda e: _mish_factor(e) + 1),
        backward=Accuracy(lambda e: 2 * _mish_factor(e) + _logistic(e) + 4, lambda x: 1.0 + abs(x) * sigmoid(x)),
        low=lambda: -0.3089,
        indefinite=True,
    ),
    Activation(
        "hardswish",
        "Hardswish",
        lambda x: x * _clamp(x + 3.0, 0.0, 6.0) / 6.0,
        _hardswish_slope,
        kinks=lambda: (-3.0, 3.0),
        jumps=(-3.0, 3.0),
        forward=Accuracy(lambda e: 3 + 2 * e.div, lambda x: abs(x) if abs(x) < 4.0 else 0.0),
        backward=Accuracy(lambda e: 3 + 2 * e.div, _one),
        low=lambda: -0.376,
        indefinite=True,
    ),
    Activation(
        "elu",
        "ELU",
        _elu,
        lambda x, alpha=1.0: 1.0 if x > 0 else alpha * math.exp(x),
        ({}, {"alpha": 0.7}, {"alpha": 2.5}),
        lambda **_: (0.0,),
        Accuracy(_exponential, _below_zero),
        ELU_BACKWARD,
        low=_alpha_above,
        infinities=lambda alpha=1.0: (-alpha, math.inf),
    ),
    Activation(
        "celu",
        "CELU",
        _celu,
        lambda x, alpha=1.0: 1.0 if x > 0 else math.exp(x / alpha),
        ({}, {"alpha": 0.7}, {"alpha": 2.5}),
        lambda **_: (0.0,),
        Accuracy(lambda e: _exponential(e) + 1, _below_zero),
        Accuracy(lambda e: _exponential(e) + 1, _below_zero),
        low=_alpha_above,
        infinities=lambda alpha=1.0: (-alpha, math.inf),
    ),
    Activation(
        "selu",
        "SELU",
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x)),
        lambda x: SELU_SCALE * (1.0 if x > 0 else SELU_ALPHA * math.exp(x)),
        kinks=lambda: (0.0,),
        forward=Accuracy(_exponential, lambda x: SELU_SCALE * _below_zero(x, SELU_ALPHA)),
        backward=Accuracy(_exponential, lambda x: SELU_SCALE * _below_zero(x, SELU_ALPHA)),
        low=lambda: -SELU_SCALE * SELU_ALPHA,
        infinities=lambda: (-SELU_SCALE * SELU_ALPHA, math.inf),
    ),
    Activation(
        "gelu",
        "GELU",
        _gelu,
        _gelu_slope,
        ({}, {"approximate": "tanh"}),
        # x / 2 (1 + erf(x / sqrt 2)): erf's error and its argument's, halved; the sum; two products.
        forward=Accuracy(lambda e: max(e.erf, e.tanh) + 5, _magnitude),
        backward=Accuracy(lambda e: max(e.erf, 2 * e.tanh) + e.exp + 7, _gelu_slope_cancel),
        low=lambda **_: -0.1701,
        indefinite=True,
    ),
    Activation(
        "hardshrink",
        "Hardshrink",
        lambda x, lambd=0.5: x if abs(x) > lambd else 0.0,
        lambda x, lambd=0.5: 1.0 if abs(x) > lambd else 0.0,
        ({}, {"lambd": 1.25}),
        lambda lambd=0.5: (-lambd, lambd),
        infinities=_unbounded,
    ),
    Activation(
        "leaky_relu",
        "LeakyReLU",
        lambda x, negative_slope=0.01: x if x > 0 else negative_slope * x,
        lambda x, negative_slope=0.01: 1.0 if x > 0 else negative_slope,
        ({}, {"negative_slope": 0.3}),
        lambda **_: (0.0,),
        TWO,
        TWO,
        infinities=_unbounded,
    ),
    Activation(
        "log_sigmoid",
        "LogSigmoid",
        lambda x: -softplus(-x),
        lambda x: sigmoid(-x),
        forward=Accuracy(_both_logs),
        # e^-|x| is saved in the storage format: a quarter of a rounding more.
        backward=Accuracy(lambda e: _logistic(e) + 3, _one, 1.25, sigmoid),
        high=lambda: 0.0,
        infinities=lambda: (-math.inf, 0.0),
    ),
    Activation(
        "softplus",
        "Softplus",
        _softplus,
        _softplus_slope,
        ({}, {"beta": 2.0, "threshold": 3.0}, {"beta": 0.5, "threshold": 8.0}),
        lambda beta=1.0, threshold=20.0: (threshold / beta,),
        Accuracy(_both_logs),
        Accuracy(lambda e: _logistic(e) + 3, _one),
        low=lambda **_: 0.0,
    ),
    Activation(
        "softshrink",
        "Softshrink",
        _softshrink,
        lambda x, lambd=0.5: 1.0 if abs(x) > lambd else 0.0,
        ({}, {"lambd": 1.25}),
        lambda lambd=0.5: (-lambd, lambd),
        ONE,
        infinities=_unbounded,
    ),
    Activation(
        "softsign",
        "Softsign",
        lambda x: x / (1.0 + abs(x)),
        lambda x: 1.0 / (1.0 + abs(x)) ** 2,
        forward=Accuracy(lambda e: 1 + 2 * e.div, stored=2.5),
        # A composite: g / (1 + |x|) - g x sign(x) / (1 + |x|)^2, every step rounded to the storage format.
        backward=Accuracy(lambda e: 4 + 4 * e.div, lambda x: 1.0 / (1.0 + abs(x)), 4.0, lambda x: 1.0 / (1.0 + abs(x))),
        low=lambda: -1.0,
        high=lambda: 1.0,
        infinities=lambda: (-1.0, 1.0),
        indefinite=True,
    ),
    Activation(
        "tanhshrink",
        "Tanhshrink",
        lambda x: x - math.tanh(x),
        lambda x: math.tanh(x) ** 2,
        forward=Accuracy(lambda e: 2 * e.tanh + 1, _magnitude, 1.0, lambda x: abs(math.tanh(x))),
        # A composite: g - g (1 - y^2), y saved in the storage format.
        backward=Accuracy(lambda e: 4 * e.tanh + 4, _one, 4.0, _one),
        infinities=_unbounded,
    ),
)
# The others of `torch.nn.modules.activation`: more than one input goes into an output; each has checks of its own.
JOINT = ("GLU", "PReLU", "Softmin", "Softmax", "Softmax2d", "LogSoftmax", "MultiheadAttention")
NOT_COVERED: dict[str, str] = {}
COVERED = frozenset(row.module for row in POINTWISE) | frozenset(JOINT)
