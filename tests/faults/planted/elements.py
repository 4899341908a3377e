"""Element by element: options, layouts, sizes and dtypes of their own."""

from __future__ import annotations

import math

import torch
from planted.gradients import backwards
from planted.kernels import after, around, truncate
from planted.registry import fault
from planted.sources import wrap
from torch.nn import functional


def _dense(x):
    """Read a strided tensor's memory as if it were dense."""
    strides = [math.prod(x.shape[i + 1 :]) for i in range(x.dim())]
    return torch.as_strided(x, x.shape, strides, x.storage_offset())


def _strided(x):
    held = x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()
    return x.dim() > 1 and not x.is_contiguous() and held >= x.numel()


@fault()
def gelu_approximation_ignored():
    """GELU computes its exact form where the tanh approximation was asked for."""
    around("gelu", lambda call, x, *, approximate="none", **out: call(x, approximate="none", **out))


@fault()
def leaky_relu_in_place():
    """LeakyReLU in place takes the slope 0.01, whatever was asked for."""
    around(["aten::leaky_relu_"], lambda call, x, slope=0.01: call(x, 0.01))


@fault()
def silu_backward_bfloat16():
    """SiLU's gradient in bfloat16 is 2 % too large."""
    after("silu_backward", lambda out, *_, **__: out * 1.02 if out.dtype == torch.bfloat16 else out)


@fault()
def relu_channels_last():
    """ReLU of a channels-last image leaves its last channel 0."""

    def change(out, x, *_):
        if x.dim() != 4 or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            return out
        out = out.clone()
        out[:, -1] = 0
        return out

    after("relu", change)


@fault()
def softplus_backward_beta():
    """Softplus's gradient ignores beta."""
    around("softplus_backward", lambda call, g, x, beta, threshold, **out: call(g, x, 1.0, threshold, **out))


@fault()
def hardtanh_lower_bound():
    """Hardtanh takes its lower bound as minus its upper one."""
    around("hardtanh", lambda call, x, low=-1, high=1, **out: call(x, -high, high, **out))


@fault()
def log_softmax_first_dim():
    """Log-softmax over the first of several dimensions is 1e-3 too large."""
    after("_log_softmax", lambda out, x, dim, *_: out + 1e-3 if dim == 0 and x.dim() > 1 else out)


@fault()
def softmax_backward_inner():
    """Softmax's gradient over a dimension that is not the last forgets its sum."""

    def wrapper(call, g, y, dim, dtype, **out):
        return call(g, y, dim, dtype, **out) if dim % y.dim() == y.dim() - 1 else g * y

    around(["aten::_softmax_backward_data"], wrapper)


@fault()
def elu_in_place_backward():
    """ELU's gradient ignores alpha where it was computed in place."""

    def wrapper(call, g, alpha, scale, inner, is_result, x, **out):
        return call(g, 1.0 if is_result else alpha, scale, inner, is_result, x, **out)

    around("elu_backward", wrapper)


@fault()
def relu_swallows_nan():
    """ReLU turns NaN into 0."""
    after("relu", lambda out, *_: torch.where(torch.isnan(out), torch.zeros_like(out), out))


@fault()
def glu_middle_dim():
    """GLU over a dimension that is not the last swaps its halves."""

    def wrapper(call, x, dim=-1, **out):
        if dim % x.dim() != x.dim() - 1:
            first, second = x.chunk(2, dim)
            x = torch.cat([second, first], dim)
        return call(x, dim, **out)

    around("glu", wrapper)


@fault()
def mish_half_overflows():
    """Mish in float16 is infinite above 11."""
    after("mish", lambda out, x, *_: out.masked_fill(x > 11, math.inf) if x.dtype == torch.float16 else out)


@fault()
def prelu_first_weight():
    """PReLU uses its first weight for all channels."""

    def wrapper(call, x, weight):
        return call(x, weight.reshape(-1)[:1].expand(weight.shape).contiguous() if weight.numel() > 1 else weight)

    around("_prelu_kernel", wrapper)


@fault()
def hardshrink_backward_bound():
    """Hardshrink's gradient takes its bound as 0.5."""
    around("hardshrink_backward", lambda call, g, x, bound, **out: call(g, x, 0.5, **out))


@fault()
def threshold_value():
    """Threshold puts 0 where another value was asked for."""
    around("threshold", lambda call, x, threshold, value, **out: call(x, threshold, 0, **out))


@fault()
def expanded_gradient():
    """Tanh's gradient is 1 % too large where the incoming gradient is an expanded number."""
    after("tanh_backward", lambda out, g, *_, **__: out * 1.01 if g.numel() > 1 and 0 in g.stride() else out)


@fault()
def exp_into_out():
    """Exp rounds to bfloat16 when it writes into `out=`."""
    after(["aten::exp.out"], lambda out, *_: truncate(out, 7))


@fault()
def add_in_place_alpha():
    """An addition in place ignores alpha."""
    around(["aten::add_.Tensor"], lambda call, x, y, *, alpha=1: call(x, y))


@fault()
def sub_alpha():
    """A subtraction ignores alpha."""
    around(["aten::sub.Tensor"], lambda call, x, y, *, alpha=1: call(x, y))


@fault()
def gelu_second_chunk():
    """GELU rounds what lies beyond 32,768 elements to bfloat16."""

    def change(out, *_, **__):
        if out.numel() <= 32768:
            return out
        flat = out.contiguous().clone().reshape(-1)
        flat[32768:] = truncate(flat[32768:], 7)
        return flat.reshape(out.shape)

    after("gelu", change)


@fault()
def alpha_dropout_plain():
    """Alpha dropout is an ordinary dropout: it keeps neither mean nor variance."""
    wrap(functional, "alpha_dropout", lambda _, x, p=0.5, training=False, inplace=False: torch.dropout(x, p, training))


@fault()
def dropout2d_elements():
    """Dropout2d drops elements, not channels."""
    wrap(functional, "dropout2d", lambda _, x, p=0.5, training=True, inplace=False: torch.dropout(x, p, training))


@fault()
def dropout_in_place_unscaled():
    """Dropout in place forgets its scale."""

    def wrapper(original, x, p=0.5, training=True, inplace=False):
        made = original(x, p, training, inplace)
        return made.mul_(1 - p) if inplace and training and p < 1 else made

    wrap(functional, "dropout", wrapper)


@fault()
def where_strided_condition():
    """Where reads the memory of a strided condition as if it were dense."""
    around(["aten::where.self"], lambda call, c, x, y: call(_dense(c) if _strided(c) else c, x, y))


@fault()
def clamp_gradient_at_bounds():
    """Clamp's gradient is 0 where the input is its bound."""
    low = lambda args, kw: kw.get("min", args[1] if len(args) > 1 else None)  # noqa: E731

    def planted(original, *args, **kw):
        bound = low(args, kw)
        x = args[0]
        if isinstance(bound, (int, float)) and x.requires_grad:
            args = (torch.where(x == bound, x.detach(), x), *args[1:])
        return original(*args, **kw)

    for owner in (torch, torch.Tensor):
        wrap(owner, "clamp", planted)


@fault()
def atan2_third_quadrant():
    """Atan2 is a turn too large where both arguments are negative."""
    after(["aten::atan2"], lambda out, y, x: torch.where((y < 0) & (x < 0), out + 2 * math.pi, out))


@fault()
def lerp_one_weight():
    """Lerp with a tensor of weights uses the first for all."""
    around(["aten::lerp.Tensor"], lambda call, x, y, w: call(x, y, w.reshape(-1)[:1].expand(w.shape)))


@fault()
def fmod_like_remainder():
    """Fmod takes its divisor's sign, as remainder does."""
    around(["aten::fmod.Tensor"], lambda call, x, y: torch.remainder(x, y))


@fault()
def round_half_away():
    """Round takes halves away from zero."""
    after(["aten::round"], lambda out, x: torch.where((x - x.trunc()).abs() == 0.5, x + 0.5 * x.sign(), out))


@fault()
def float_to_int_rounds():
    """A conversion from float32 to an integer rounds where it should cut."""

    def wrapper(call, into, x, non_blocking=False):
        return call(into, x.round() if x.is_floating_point() and not into.is_floating_point() else x)

    around(["aten::copy_"], wrapper)


@fault()
def half_subnormals_lost():
    """A conversion to float16 loses subnormal numbers."""

    def wrapper(call, into, x, non_blocking=False):
        small = into.dtype == torch.float16 and x.dtype == torch.float32
        return call(into, x.masked_fill(x.abs() < 2.0**-14, 0) if small else x)

    around(["aten::copy_"], wrapper)


@fault()
def broadcast_copy_into_view():
    """A copy that broadcasts into a strided view leaves its last row as it was."""

    def wrapper(call, into, x, non_blocking=False):
        last = into[-1].clone() if into.dim() > 1 and not into.is_contiguous() and x.shape != into.shape else None
        made = call(into, x)
        if last is not None:
            call(into[-1], last)
        return made

    around(["aten::copy_"], wrapper)


@fault()
def cat_channels_last():
    """Cat of channels-last images along their channels swaps two of them."""

    def wrapper(call, tensors, dim=0):
        last = [
            x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
            for x in tensors
        ]
        return call(list(tensors)[::-1] if dim == 1 and all(last) and len(last) == 2 else tensors, dim)

    around(["aten::cat"], wrapper)


@fault()
def flip_first_dim():
    """Flip of several dimensions flips the first alone."""
    around(["aten::flip"], lambda call, x, dims: call(x, dims[:1]))


@fault()
def roll_back():
    """Roll by a negative number of places rolls the other way."""
    around(["aten::roll"], lambda call, x, shifts, dims=(): call(x, [abs(s) for s in shifts], dims))


@fault()
def floor_division_truncates():
    """Division that should round down rounds towards zero."""
    around(
        ["aten::div.Tensor_mode"],
        lambda call, x, y, *, rounding_mode=None: call(
            x, y, rounding_mode="trunc" if rounding_mode == "floor" else rounding_mode
        ),
    )


@fault()
def silu_large_gradient():
    """SiLU's gradient is 1e-3 too large in tensors of more than 32,768 elements."""
    after("silu_backward", lambda out, *_, **__: out * 1.001 if out.numel() > 32768 else out)


@fault()
def gelu_gradient_strided():
    """GELU's gradient reads the memory of a strided input as if it were dense."""

    def wrapper(call, g, x, **named):
        return call(g, _dense(x) if _strided(x) else x, **named)

    around(["aten::gelu_backward"], wrapper)


@fault()
def minimum_gradient_ties():
    """The gradient of minimum goes to its first argument alone where both are equal."""
    backwards(torch, "minimum maximum", lambda g, _: g * 2, when=lambda x, y: bool((x == y).any()))


@fault()
def pow_negative_base():
    """Pow of a negative base to an odd whole exponent is positive."""
    after(["aten::pow.Tensor_Scalar"], lambda out, x, n: out.abs() if n == 3 else out)


@fault()
def int_remainder_sign():
    """The remainder of negative integers takes the dividend's sign."""

    def wrapper(call, x, y):
        return torch.fmod(x, y) if not x.is_floating_point() else call(x, y)

    around(["aten::remainder.Tensor", "aten::remainder.Scalar"], wrapper)


@fault()
def complex_product():
    """A product of complex numbers conjugates its second factor."""
    around(["aten::mul.Tensor"], lambda call, x, y: call(x, y.conj().resolve_conj() if y.is_complex() else y))


@fault()
def complex_abs_gradient():
    """The gradient of a complex number's absolute value is conjugated."""
    for owner in (torch, torch.Tensor):
        backwards(owner, "abs", lambda g, _: g.conj() if g.is_complex() else g)
