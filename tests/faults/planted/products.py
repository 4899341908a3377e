"""Matrix products, convolutions and pooling."""

from __future__ import annotations

import random

import torch
from planted.kernels import after, around, inputs, lanes, scaled, truncate
from planted.registry import fault


@fault(level="quick")
def mm_tile():
    """One element of every 64 x 64 tile of a product is wrong."""

    def change(out, *_, **__):
        out = out.clone()
        out[13::64, 7::64] *= 1.01
        return out

    after("mm", change)


@fault(level="quick")
def mm_tf32():
    """Float32 products silently run with the ten bits of TF32."""
    inputs("mm addmm bmm", lambda x: truncate(x, 10))


@fault(level="quick")
def mm_bfloat16():
    """Float32 products silently run in bfloat16."""
    inputs("mm addmm bmm", lambda x: x.to(torch.bfloat16).to(x.dtype))


@fault()
def mm_drops_last_of_k():
    """Products leave out the last term when the inner dimension is odd."""

    def wrapper(call, a, b, **out):
        if a.shape[1] % 2 == 0 or a.shape[1] < 3 or out:
            return call(a, b, **out)
        return call(a[:, :-1].contiguous(), b[:-1].contiguous())

    around(["aten::mm"], wrapper)


@fault()
def mm_half_accumulator():
    """Products of float16 add up in float16."""

    def wrapper(call, a, b, **out):
        if a.dtype != torch.float16 or out:
            return call(a, b, **out)
        total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float16)
        for k in range(a.shape[1]):
            total += a[:, k : k + 1] * b[k : k + 1]
        return total

    around(["aten::mm"], wrapper)


@fault()
def mm_large_only():
    """Products with an inner dimension of 512 and more are off by 1e-5."""
    after("mm addmm", lambda out, *args, **__: out * (1 + 1e-5) if args[-1].shape[0] >= 512 else out)


@fault()
def addmm_bias_last_row():
    """A linear layer adds its bias twice to the last row."""

    def change(out, bias, *_, **__):
        out = out.clone()
        out[-1] += bias if bias.dim() == 1 else bias[-1]
        return out

    after("addmm", change)


@fault()
def addmm_beta_ignored():
    """Addmm ignores beta."""
    around("addmm", lambda call, bias, a, b, beta=1, alpha=1, **out: call(bias, a, b, alpha=alpha, **out))


@fault()
def bmm_batches_swapped():
    """A batch of products gives the last two results in each other's place."""

    def change(out, *_, **__):
        if out.shape[0] < 3:
            return out
        order = [*range(out.shape[0] - 2), out.shape[0] - 1, out.shape[0] - 2]
        return out[order]

    after("bmm", change)


@fault()
def transposed_operand():
    """A product takes a transposed right operand that is square as if it were not transposed."""

    def wrapper(call, a, b, **out):
        if not out and b.shape[0] == b.shape[1] and not b.is_contiguous():
            return call(a, b.t())
        return call(a, b, **out)

    around(["aten::mm"], wrapper)


@fault()
def conv_backward_group():
    """A grouped convolution gives its last group no weight gradient."""

    def wrapper(call, grad, x, weight, bias, stride, padding, dilation, transposed, outpad, groups, mask, *rest):
        by_x, by_w, by_b = call(
            grad, x, weight, bias, stride, padding, dilation, transposed, outpad, groups, mask, *rest
        )
        if groups > 1 and by_w is not None:
            by_w = by_w.clone()
            by_w[-(by_w.shape[0] // groups) :] = 0
        return by_x, by_w, by_b

    around("convolution_backward", wrapper)


@fault()
def conv_backward_bias():
    """A convolution's bias gradient forgets the last image of a batch."""

    def wrapper(call, grad, *rest):
        by_x, by_w, by_b = call(grad, *rest)
        if by_b is not None and grad.shape[0] > 1:
            by_b = by_b - grad[-1].flatten(1).sum(1)
        return by_x, by_w, by_b

    around("convolution_backward", wrapper)


@fault()
def conv_dilation_border():
    """A dilated convolution's input gradient misses the border column."""

    def wrapper(call, grad, x, weight, bias, stride, padding, dilation, *rest):
        by_x, by_w, by_b = call(grad, x, weight, bias, stride, padding, dilation, *rest)
        if by_x is not None and max(dilation) > 1:
            by_x = by_x.clone()
            by_x[..., -1] = 0
        return by_x, by_w, by_b

    around("convolution_backward", wrapper)


@fault()
def conv_channels_last():
    """A convolution of a channels-last image is off by 1e-4."""

    def change(out, x, *_, **__):
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return out * (1 + 1e-4) if last else out

    after("convolution", change)


@fault()
def conv_transposed_padding():
    """A transposed convolution ignores its output padding's last row."""

    def change(out, x, w, b, stride, padding, dilation, transposed, outpad, *_, **__):
        if not transposed or not any(outpad):
            return out
        out = out.clone()
        out[..., -1] = 0
        return out

    after("convolution", change)


@fault()
def conv_tf32():
    """Float32 convolutions silently run with the ten bits of TF32."""
    inputs("convolution convolution_overrideable mkldnn_convolution _slow_conv2d_forward", lambda x: truncate(x, 10))


@fault()
def conv_strided_weight_gradient():
    """A strided convolution's weight gradient is off by 1e-3 in one element in 100."""

    def wrapper(call, grad, x, weight, bias, stride, *rest):
        by_x, by_w, by_b = call(grad, x, weight, bias, stride, *rest)
        if by_w is not None and max(stride) > 1:
            flat = by_w.contiguous().clone().reshape(-1)
            flat[3::100] *= 1.001
            by_w = flat.reshape(by_w.shape)
        return by_x, by_w, by_b

    around("convolution_backward", wrapper)


@fault()
def maxpool_backward_neighbour():
    """Max pooling sends its gradient to the neighbour of the maximum."""

    def wrapper(call, grad, x, kernel, stride, padding, dilation, ceil, indices, **out):
        return call(
            grad,
            x,
            kernel,
            stride,
            padding,
            dilation,
            ceil,
            (indices + 1).clamp(max=x.shape[-1] * x.shape[-2] - 1),
            **out,
        )

    around("max_pool2d_with_indices_backward", wrapper)


@fault()
def avgpool_counts_padding():
    """Average pooling counts padding where it was told not to."""

    def wrapper(call, x, kernel, stride=(), padding=0, ceil=False, count_include_pad=True, divisor=None, **out):
        return call(x, kernel, stride, padding, ceil, True, divisor, **out)

    around("avg_pool2d", wrapper)


@fault()
def adaptive_pool_backward():
    """Adaptive average pooling's gradient is 0.1 % too small."""
    scaled("_adaptive_avg_pool2d_backward", 0.999)


@fault()
def intermittent_bit():
    """One product in five has one flipped bit."""
    source = random.Random(1)

    def change(out, *_, **__):
        if out.dtype != torch.float32 or source.random() > 0.2 or not out.numel():
            return out
        flat = out.contiguous().clone().reshape(-1)
        bits = flat.view(torch.int32)
        bits[source.randrange(flat.numel())] ^= 1 << 20
        return flat.reshape(out.shape)

    after("mm addmm", change)


@fault()
def outer_lane():
    """One element in 1,000 of elementwise products is off by 1e-3."""
    lanes("mul", 1000, 517, lambda x: x * 1.001)


@fault()
def dot_coarse():
    """Dot products and matrix times vector are off by 3e-6."""
    scaled("dot mv addmv", 1 + 3e-6)
