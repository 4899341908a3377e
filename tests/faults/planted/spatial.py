"""Images: convolution, pooling, normalisation, resampling, padding; and embeddings."""

from __future__ import annotations

import torch
from planted.elements import _dense, _strided
from planted.gradients import backwards
from planted.kernels import after, around, scaled
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch.nn import functional
from torch.nn.modules import batchnorm


def _channels_last(x):
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


@fault()
def conv_groups_dilation():
    """A convolution's weight gradient is 1 % too large when it has groups and dilation both."""

    def wrapper(call, g, x, w, sizes, stride, padding, dilation, transposed, out, groups, mask):
        by_x, by_w, by_b = call(g, x, w, sizes, stride, padding, dilation, transposed, out, groups, mask)
        if by_w is not None and groups > 1 and max(dilation) > 1:
            by_w = by_w * 1.01
        return by_x, by_w, by_b

    around(["aten::convolution_backward"], wrapper)


@fault()
def conv_channels_last_bias():
    """A convolution's bias gets half of its gradient when the image is channels-last."""

    def wrapper(call, g, x, *rest):
        by_x, by_w, by_b = call(g, x, *rest)
        return by_x, by_w, by_b * 0.5 if by_b is not None and _channels_last(x) else by_b

    around(["aten::convolution_backward"], wrapper)


@fault()
def conv_bfloat16_stride_three():
    """A convolution in bfloat16 with stride 3 is 5 % too large."""
    after(
        ["aten::convolution"],
        lambda out, x, w, b, stride, *_: out * 1.05 if x.dtype == torch.bfloat16 and 3 in stride else out,
    )


@fault()
def conv_transpose_groups():
    """A transposed convolution with groups and stride both swaps its last two output channels."""

    def change(out, x, w, b, stride, padding, dilation, transposed, extra, groups):
        if not transposed or groups == 1 or max(stride) == 1 or out.shape[1] < 2:
            return out
        order = [*range(out.shape[1] - 2), out.shape[1] - 1, out.shape[1] - 2]
        return out[:, order]

    after(["aten::convolution"], change)


@fault()
def pad_reflect_replicates():
    """Reflecting padding of images repeats the border."""
    around(["aten::reflection_pad2d"], lambda call, x, pad: torch.ops.aten.replication_pad2d(x, pad))


@fault()
def conv_same_even_kernel():
    """A convolution with padding "same" and an even kernel pads on the wrong side."""

    def wrapper(original, x, w, b=None, stride=1, padding=0, *rest, **kw):
        if padding == "same" and w.shape[-1] % 2 == 0 and not rest and not kw:
            made = original(functional.pad(x, (1, 0)), w, b, stride, "valid")
            return made if x.dim() < 4 else original(functional.pad(x, (1, 0, 1, 0)), w, b, stride, "valid")
        return original(x, w, b, stride, padding, *rest, **kw)

    for name in ("conv1d", "conv2d"):
        wrap(functional, name, wrapper)


@fault()
def conv3d_last_slice():
    """A three-dimensional convolution's last slice is 0.1 % too large."""

    def change(out, x, *_):
        if x.dim() != 5:
            return out
        out = out.clone()
        out[:, :, -1] *= 1.001
        return out

    after(["aten::convolution"], change)


@fault()
def conv_weight_view():
    """A convolution reads the memory of a strided weight as if it were dense."""

    def wrapper(call, x, w, *rest):
        return call(x, _dense(w) if _strided(w) and not _channels_last(w) else w, *rest)

    around(["aten::convolution"], wrapper)


@fault()
def conv_transposed_image():
    """A convolution reads the memory of an image whose height and width were swapped as if it were dense."""

    def wrapper(call, x, *rest):
        return call(_dense(x) if _strided(x) and not _channels_last(x) else x, *rest)

    around(["aten::convolution"], wrapper)


@fault()
def maxpool_ceil():
    """Max pooling with `ceil_mode` gives its last column the first element of its window."""

    def wrapper(call, x, kernel, stride=(), padding=0, dilation=1, ceil=False, **out):
        values, where = call(x, kernel, stride, padding, dilation, ceil, **out)
        if ceil:
            values = values.clone()
            values[..., -1] *= 1.01
        return values, where

    around(["aten::max_pool2d_with_indices"], wrapper)


@fault()
def maxpool_dilated_gradient():
    """Max pooling's gradient is 1 % too large where its window is dilated."""

    def change(out, g, x, kernel, stride, padding, dilation, *_, **__):
        return out * 1.01 if max(dilation) > 1 else out

    after(["aten::max_pool2d_with_indices_backward"], change)


@fault()
def avgpool_divisor_gradient():
    """Average pooling's gradient ignores `divisor_override`."""

    def wrapper(call, g, x, kernel, stride, padding, ceil, count, divisor, **out):
        return call(g, x, kernel, stride, padding, ceil, count, None, **out)

    around(["aten::avg_pool2d_backward"], wrapper)


@fault()
def adaptive_uneven():
    """Adaptive average pooling is 0.1 % too large where the sizes do not divide."""

    def change(out, x, size, *_, **__):
        return out * 1.001 if any(n % m for n, m in zip(x.shape[-2:], out.shape[-2:])) else out

    after(["aten::_adaptive_avg_pool2d"], change)


@fault()
def lp_pool_order():
    """Lp pooling takes 2 for its p."""
    for name in ("lp_pool1d", "lp_pool2d"):
        wrap(functional, name, lambda original, x, norm_type, *rest, **kw: original(x, 2.0, *rest, **kw))


@fault()
def unpool_duplicates():
    """Max unpooling puts the negated value where it was told to put a value in the last place."""

    def change(out, x, where, *_):
        out = out.clone()
        out[..., -1] = -out[..., -1]
        return out

    after(["aten::max_unpool2d"], change)


@fault()
def batch_norm_eval_gradient():
    """Batch normalisation's gradient in eval is 1 % too large."""

    def wrapper(call, g, x, w, mean, var, save_mean, save_var, train, *rest):
        by_x, by_w, by_b = call(g, x, w, mean, var, save_mean, save_var, train, *rest)
        return by_x if train or by_x is None else by_x * 1.01, by_w, by_b

    around(["aten::native_batch_norm_backward"], wrapper)


@fault()
def batch_norm_cumulative():
    """Batch normalisation without a momentum takes 0.1 for the average over all batches."""
    old = "1.0 / float(self.num_batches_tracked)"
    rewrite(batchnorm._BatchNorm, "forward", (old, "0.1"))


@fault()
def batch_norm_channels_last():
    """Batch normalisation of a channels-last image is 0.1 % too large."""
    after(["aten::native_batch_norm"], lambda out, x, *_: out * 1.001 if _channels_last(x) else out)


@fault()
def group_norm_channels_last_gradient():
    """Group normalisation's weight gradient is 1 % too large where the image is channels-last."""

    def wrapper(call, g, x, *rest):
        by_x, by_w, by_b = call(g, x, *rest)
        return by_x, by_w * 1.01 if by_w is not None and (_channels_last(x) or _channels_last(g)) else by_w, by_b

    around(["aten::native_group_norm_backward"], wrapper)


@fault()
def layer_norm_many_rows():
    """Layer normalisation's weight gradient is 0.1 % too large where there are more than 128 rows."""

    def wrapper(call, g, x, shape, mean, *rest):
        by_x, by_w, by_b = call(g, x, shape, mean, *rest)
        return by_x, by_w * 1.001 if by_w is not None and mean.numel() > 128 else by_w, by_b

    around(["aten::native_layer_norm_backward"], wrapper)


@fault()
def layer_norm_long_row():
    """Layer normalisation of rows longer than 1,024 is 0.1 % too large."""
    after(["aten::native_layer_norm"], lambda out, x, shape, *_: out * 1.001 if shape[-1] > 1024 else out)


@fault()
def layer_norm_bfloat16_rows():
    """Layer normalisation in bfloat16 leaves out the mean of rows whose mean is large."""

    def wrapper(call, x, shape, w, b, eps):
        y, mean, rstd = call(x, shape, w, b, eps)
        return (y * 1.03 if x.dtype == torch.bfloat16 else y), mean, rstd

    around(["aten::native_layer_norm"], wrapper)


@fault()
def instance_norm_statistics():
    """Instance normalisation in eval ignores the statistics that it tracked."""

    def wrapper(original, x, mean=None, var=None, weight=None, bias=None, use_input_stats=True, *rest, **kw):
        return original(x, None, None, weight, bias, True, *rest, **kw)

    wrap(functional, "instance_norm", wrapper)


@fault()
def rms_norm_default():
    """RMS normalisation adds 1e-5 where its default is the dtype's smallest step."""
    wrap(
        functional,
        "rms_norm",
        lambda original, x, shape, weight=None, eps=None: original(x, shape, weight, 1e-5 if eps is None else eps),
    )


@fault()
def local_response_constant():
    """Local response normalisation ignores its constant k."""
    wrap(
        functional,
        "local_response_norm",
        lambda original, x, size, alpha=1e-4, beta=0.75, k=1.0: original(x, size, alpha, beta, 1.0),
    )


@fault()
def embedding_frequency():
    """An embedding's gradient is not divided by how often a row was used, though it was asked to be."""
    around(["aten::embedding_dense_backward"], lambda call, g, i, n, pad, scale: call(g, i, n, pad, False))


@fault()
def embedding_bag_largest():
    """The gradient of a bag's largest is halved."""

    def change(out, *args, **_):
        return out * 0.5 if args[7] == 2 else out

    after(["aten::_embedding_bag_dense_backward"], change)


@fault()
def embedding_bag_weights():
    """The gradient by a bag's weights is 1 % too large."""
    scaled("_embedding_bag_per_sample_weights_backward", 1.01)


@fault()
def embedding_norm_type():
    """An embedding's rows are kept to a largest norm of order 2, whatever was asked for."""
    around(["aten::embedding_renorm_"], lambda call, w, i, most, kind: call(w, i, most, 2.0))


@fault()
def bicubic_corners():
    """Bicubic interpolation ignores `align_corners`."""
    around(["aten::upsample_bicubic2d"], lambda call, x, size, align, *rest: call(x, size, False, *rest))


@fault()
def nearest_exact_is_nearest():
    """Interpolation "nearest-exact" is "nearest"."""
    around(["aten::_upsample_nearest_exact2d"], lambda call, x, size, *rest: torch.ops.aten.upsample_nearest2d(x, size))


@fault()
def antialias_ignored():
    """Interpolation ignores `antialias`."""
    wrap(
        functional,
        "interpolate",
        lambda original, *args, antialias=False, **kw: original(*args, antialias=False, **kw),
    )


@fault()
def trilinear_gradient():
    """Trilinear interpolation's gradient is 1 % too large."""
    scaled("upsample_trilinear3d_backward", 1.01)


@fault()
def bilinear_channels_last():
    """Bilinear interpolation of a channels-last image swaps its first two channels."""

    def change(out, x, *_):
        return out[:, [1, 0, *range(2, x.shape[1])]] if _channels_last(x) and x.shape[1] > 1 else out

    after(["aten::upsample_bilinear2d"], change)


@fault()
def interpolate_scale():
    """Interpolation by a scale factor computes with the ratio of the sizes."""
    wrap(
        functional,
        "interpolate",
        lambda original, x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute=None, **kw: (
            original(x, size, scale_factor, mode, align_corners, None if size else True, **kw)
        ),
    )


@fault()
def grid_reflection():
    """Grid sampling takes the border where it should reflect."""
    around(
        ["aten::grid_sampler_2d"],
        lambda call, x, grid, mode, padding, align: call(x, grid, mode, min(padding, 1), align),
    )


@fault()
def grid_border_gradient():
    """The gradient by a grid does not vanish outside of the border."""

    def wrapper(call, g, x, grid, mode, padding, align, mask):
        by_x, by_grid = call(g, x, grid, mode, padding, align, mask)
        if by_grid is not None and padding == 1:
            by_grid = by_grid + (grid.abs() > 1).to(by_grid.dtype)
        return by_x, by_grid

    around(["aten::grid_sampler_2d_backward"], wrapper)


@fault()
def grid_volumes():
    """Grid sampling of volumes is 0.1 % too large."""
    scaled("grid_sampler_3d", 1.001)


@fault()
def grid_bicubic():
    """Bicubic grid sampling is bilinear."""
    around(
        ["aten::grid_sampler_2d"],
        lambda call, x, grid, mode, padding, align: call(x, grid, 0 if mode == 2 else mode, padding, align),
    )


@fault()
def affine_grid_corners():
    """An affine grid ignores `align_corners`."""
    wrap(functional, "affine_grid", lambda original, theta, size, align_corners=None: original(theta, size, False))


@fault()
def pixel_shuffle_order():
    """Pixel shuffle takes its channels in the wrong order."""

    def wrapper(original, x, factor):
        c = x.shape[-3] // factor**2
        lead = x.shape[:-3]
        parts = x.reshape(*lead, c, factor, factor, *x.shape[-2:]).transpose(-3, -4)
        return original(parts.reshape(x.shape), factor)

    for owner in (torch, functional):
        wrap(owner, "pixel_shuffle", wrapper)


@fault()
def fold_overlap():
    """Fold overwrites where windows overlap."""
    after(
        ["aten::col2im"], lambda out, x, size, kernel, dilation, padding, stride: out * 0.99 if stride < kernel else out
    )


@fault()
def unfold_dilation():
    """Unfold ignores its padding's value in the last column when it is dilated."""

    def change(out, x, kernel, dilation, padding, stride):
        if max(dilation) == 1:
            return out
        out = out.clone()
        out[..., -1] *= 0.5
        return out

    after(["aten::im2col"], change)


@fault()
def pad_circular_side():
    """Circular padding takes its left side from the left."""

    def wrapper(original, x, pad, mode="constant", value=None):
        made = original(x, pad, mode, value)
        if mode == "circular" and pad[0] > 0:
            made = made.clone()
            made[..., : pad[0]] = made[..., pad[0] : 2 * pad[0]]
        return made

    wrap(functional, "pad", wrapper)


@fault()
def pad_replicate_corner():
    """The gradient of repeating padding misses the corner."""

    def change(out, *_, **__):
        out = out.clone()
        out[..., 0, 0] *= 0.5
        return out

    after(["aten::replication_pad2d_backward"], change)


@fault()
def pad_constant_value():
    """Constant padding on both dimensions of an image pads with 0."""

    def wrapper(call, x, pad, value=0):
        return call(x, pad, 0 if len(pad) == 4 else value)

    around(["aten::constant_pad_nd"], wrapper)


@fault()
def conv_double_backward():
    """The gradient of a convolution's gradient by its weight is 1 % too large."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, g):
            return g.view_as(g)

        @staticmethod
        def backward(ctx, gg):
            return gg * 1.01

    for name in ("conv1d", "conv2d"):
        backwards(functional, name, lambda g, _: Twice.apply(g) if torch.is_grad_enabled() else g, at=1)
        backwards(torch, name, lambda g, _: Twice.apply(g) if torch.is_grad_enabled() else g, at=1)


@fault()
def channel_shuffle_groups():
    """Channel shuffle transposes its groups the wrong way round."""

    def wrapper(original, x, groups):
        return original(x, x.shape[1] // groups)

    for owner in (torch, functional):
        wrap(owner, "channel_shuffle", wrapper)
