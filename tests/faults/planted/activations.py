"""Activations, forward and backward."""

from __future__ import annotations

import torch
from planted import kernels
from planted.kernels import after, around, lanes, scaled, truncated
from planted.registry import fault


@fault(level="quick")
def relu_backward_scaled():
    """ReLU's gradient is 0.1 % too large."""
    scaled("threshold_backward", 1.001)


@fault(level="quick")
def relu_passes_small_negatives():
    """ReLU lets through what is between -1/64 and 0."""
    around(
        ["aten::relu"],
        lambda call, x: _leaky(x),
    )


def _leaky(x):
    return torch.where((x < 0) & (x <= -1 / 64), torch.zeros_like(x), x)


@fault()
def relu_gradient_at_zero():
    """ReLU's gradient at 0 is 1."""
    around("threshold_backward", lambda call, g, x, t: torch.where(x >= t, g, torch.zeros_like(g)))


@fault()
def gelu_backward_sign():
    """GELU's gradient has the wrong sign in front of x phi(x)."""

    def change(out, grad, x, *, approximate="none"):
        if approximate != "none":
            return out
        cdf = 0.5 * (1 + torch.erf(x * 2**-0.5))
        return grad * cdf * 2 - out

    after("gelu_backward", change)


@fault()
def gelu_is_its_approximation():
    """GELU uses the tanh approximation where the exact form was asked for."""
    around("gelu", lambda call, x, *a, approximate="none": call(x, *a, approximate="tanh"))


@fault()
def tanh_in_bfloat16():
    """Tanh is computed through bfloat16."""
    after("tanh", lambda out, *_, **__: out.to(torch.bfloat16).to(out.dtype))


@fault()
def sigmoid_in_tf32():
    """Sigmoid keeps ten bits of its significand."""
    truncated("sigmoid", 10)


@fault()
def sigmoid_saturates_early():
    """Sigmoid is 1 from 8 on."""
    after("sigmoid", lambda out, x, *_, **__: torch.where(out > 0.9996, torch.ones_like(out), out))


@fault()
def elu_backward_without_alpha():
    """ELU's gradient ignores alpha."""

    def wrapper(call, grad, alpha, scale, input_scale, is_result, x, *rest, **named):
        return call(grad, 1.0, scale, input_scale, is_result, x, *rest, **named)

    around("elu_backward", wrapper)


@fault()
def softplus_without_beta():
    """Softplus ignores beta."""
    around("softplus", lambda call, x, beta=1, threshold=20, **out: call(x, 1, threshold, **out))


@fault()
def softplus_threshold_low():
    """Softplus turns linear at half its threshold."""
    around("softplus", lambda call, x, beta=1, threshold=20, **out: call(x, beta, threshold / 2, **out))


@fault()
def softmax_backward_last_column():
    """Softmax's gradient leaves the sum out in the last column."""

    def change(out, grad, output, dim, dtype, *_, **__):
        right = out.clone()
        index = [slice(None)] * out.dim()
        index[dim] = -1
        right[tuple(index)] = (grad * output)[tuple(index)]
        return right

    after("_softmax_backward_data", change)


@fault()
def softmax_without_shift():
    """Softmax does not subtract the maximum: it overflows."""

    def wrapper(call, x, dim, half, **out):
        power = torch.exp(x)
        return power / power.sum(dim, keepdim=True)

    around(["aten::_softmax"], wrapper)


@fault()
def softmax_long_rows():
    """Softmax of rows longer than 1,024 sums 1,024 of them."""

    def change(out, x, dim, *_, **__):
        n = x.shape[dim] if x.dim() else 1
        if n <= 1024:
            return out
        part = torch.softmax(x.double(), dim).narrow(dim, 0, 1024).sum(dim, keepdim=True)
        return (out.double() / part).to(out.dtype)

    after("_softmax", change)


@fault()
def log_softmax_coarse():
    """Log-softmax is off by 3e-6 relative."""
    scaled("_log_softmax", 1 + 3e-6)


@fault()
def prelu_weight_gradient_halved():
    """PReLU's weight gets half of its gradient."""

    def wrapper(call, grad, x, weight):
        by_input, by_weight = call(grad, x, weight)
        return by_input, by_weight * 0.5

    around("_prelu_kernel_backward", wrapper)


@fault()
def leaky_relu_slope():
    """LeakyReLU's slope is 0.01, whatever was asked for."""
    around("leaky_relu", lambda call, x, slope=0.01, **out: call(x, 0.01, **out))


@fault()
def hardswish_tail_lanes():
    """Hardswish is wrong in the last elements, which do not fill a vector."""

    def change(out, *_, **__):
        tail = out.numel() % 8
        if not tail:
            return out
        flat = out.contiguous().clone().reshape(-1)
        flat[-tail:] *= 1.002
        return flat.reshape(out.shape)

    after("hardswish", change)


@fault()
def mish_backward_lane():
    """One element in 1,000 of Mish's gradient is off by 1e-3."""
    lanes("mish_backward", 1000, 517, lambda x: x * 1.001)


@fault()
def silu_backward_uniform():
    """SiLU's gradient is 1e-5 too large."""
    scaled("silu_backward", 1 + 1e-5)


@fault()
def hardtanh_backward_at_bounds():
    """Hardtanh passes gradients at its bounds."""
    around(
        "hardtanh_backward",
        lambda call, g, x, low, high, **_: torch.where((x >= low) & (x <= high), g, torch.zeros_like(g)),
    )


@fault()
def softshrink_shifted():
    """Softshrink's threshold is 1e-4 off."""
    around(
        "softshrink",
        lambda call, x, lambd=0.5, **out: call(x, (lambd if isinstance(lambd, float) else 0.5) + 1e-4, **out),
    )


@fault()
def glu_halves_swapped():
    """GLU takes the sigmoid of the first half."""

    def wrapper(call, x, dim=-1, **out):
        first, second = x.chunk(2, dim)
        return call(torch.cat([second, first], dim), dim, **out)

    around(["aten::glu"], wrapper)


@fault()
def rrelu_range():
    """RReLU draws its slopes from half of the range."""

    def wrapper(call, x, noise, lower=0.125, upper=1 / 3, training=False, generator=None, **out):
        return call(x, noise, lower, (lower + upper) / 2, training, generator, **out)

    around([name for name in kernels.overloads("rrelu_with_noise") if "functional" not in name], wrapper)


@fault()
def logsigmoid_cancels():
    """LogSigmoid is log(sigmoid(x)): it loses everything for large negative x."""
    around(
        ["aten::log_sigmoid_forward"],
        lambda call, x: (torch.log(torch.sigmoid(x)), call(x)[1]),
    )


@fault()
def strided_activation():
    """SiLU of a transposed matrix reads its memory as if it were not."""

    def wrapper(call, x, **out):
        if out or x.is_contiguous():
            return call(x, **out)
        return call(x.contiguous().reshape(-1).flip(0).reshape(x.shape))

    around(["aten::silu"], wrapper)


@fault()
def large_tensor_block():
    """Sigmoid leaves what lies beyond 32,768 elements with the rounding of bfloat16."""

    def change(out, *_, **__):
        if out.numel() <= 32768:
            return out
        flat = out.contiguous().clone().reshape(-1)
        flat[32768:] = flat[32768:].to(torch.bfloat16).to(out.dtype)
        return flat.reshape(out.shape)

    after("sigmoid", change)


@fault()
def nan_swallowed():
    """Hardtanh turns NaN into its lower bound."""
    after(
        "hardtanh",
        lambda out, x, low=-1, high=1, *_, **__: torch.where(torch.isnan(out), torch.full_like(out, float(low)), out),
    )


@fault()
def half_tanh_overflows():
    """Tanh in float16 gives NaN above 10."""
    after(
        "tanh",
        lambda out, *_, **__: (
            torch.where(out.float().abs() > 0.9999, out * float("nan"), out) if out.dtype == torch.float16 else out
        ),
    )


@fault()
def inplace_relu_keeps_input():
    """ReLU in place leaves its input as it is."""
    around(["aten::relu_"], lambda call, x: x)


@fault()
def selu_constant():
    """SELU's scale is 1.05."""

    def wrapper(call, x, alpha=1, scale=1, input_scale=1, **out):
        return call(x, alpha, 1.05 if scale != 1 else scale, input_scale, **out)

    around("elu", wrapper)


@fault()
def celu_divides():
    """CELU forgets to divide by alpha inside the exponential."""
    around(
        ["aten::elu", "aten::elu.out"],
        lambda call, x, alpha=1, scale=1, input_scale=1, **out: call(x, alpha, scale, 1, **out),
    )
