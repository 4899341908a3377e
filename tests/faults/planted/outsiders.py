"""Faults written without sight of the suite: activations, layers, losses, autograd and tensor operators."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from planted.kernels import after, around, truncate
from planted.registry import fault
from planted.sources import rewrite, wrap

LOW = (torch.float16, torch.bfloat16)


def _permuted(tensor):
    return not tensor.is_contiguous() and torch.empty_like(tensor).stride() == tensor.stride()


def _only(tensor_format, tensor):
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=tensor_format) and not tensor.is_contiguous()


@fault()
def tanh_backward_permuted() -> None:
    """The gradient of tanh reads a permuted output in the order of its memory (pytorch#175188)."""

    def wrapper(call, grad, output, **kwargs):
        if _permuted(output) and grad.stride() != output.stride():
            output = output.as_strided(output.shape, torch.empty(output.shape).stride())
        return call(grad, output, **kwargs)

    around("tanh_backward", wrapper)


@fault()
def gelu_tanh_low_precision() -> None:
    """GELU(approximate="tanh") computes the erf form in bfloat16 and float16."""

    def wrapper(call, x, *args, **kwargs):
        if x.dtype in LOW and kwargs.get("approximate") == "tanh":
            kwargs["approximate"] = "none"
        return call(x, *args, **kwargs)

    around("gelu", wrapper)


@fault()
def elu_inplace_backward() -> None:
    """The gradient of an in-place ELU, SELU or CELU takes the result for the input."""

    def wrapper(call, grad, alpha, scale, input_scale, is_result, saved, **kwargs):
        return call(grad, alpha, scale, input_scale, False, saved, **kwargs)

    around("elu_backward", wrapper)


@fault()
def log_softmax_short_rows() -> None:
    """log_softmax over rows of fewer than 16 elements does not subtract the maximum first, so that it overflows."""

    def change(out, x, dim, *_, **__):
        if x.dim() == 0 or x.shape[dim] >= 16:
            return out
        return x.to(out.dtype) - x.to(out.dtype).exp().sum(dim, keepdim=True).log()

    after("_log_softmax", change)


@fault()
def softmax_dtype_after() -> None:
    """F.softmax(x, dtype=...) casts the result instead of the input."""

    def wrapper(call, input, dim=None, _stacklevel=3, dtype=None):  # noqa: A002
        out = call(input, dim, _stacklevel)
        return out if dtype is None else out.to(dtype)

    wrap(F, "softmax", wrapper)


@fault()
def leaky_relu_at_zero() -> None:
    """The gradient of leaky ReLU at exactly 0 is 1 instead of the negative slope."""
    after("leaky_relu_backward", lambda out, grad, x, *_, **__: torch.where(x == 0, grad, out))


@fault()
def prelu_last_sample() -> None:
    """PReLU with one slope per channel leaves the last sample of the batch out of the slopes' gradient."""

    def wrapper(call, grad, x, weight):
        gx, gw = call(grad, x, weight)
        if x.dim() >= 2 and x.shape[0] > 1 and weight.numel() > 1:
            gw = gw.clone()
            gw[-1] = 0
        return gx, gw

    around("_prelu_kernel_backward", wrapper)


@fault()
def hardtanh_backward_symmetric() -> None:
    """The gradient of Hardtanh (and of ReLU6) uses -max_val for the lower limit."""

    def wrapper(call, grad, x, low, high, **kwargs):
        return call(grad, x, -high if high > 0 else low, high, **kwargs)

    around("hardtanh_backward", wrapper)


@fault()
def glu_backward_inner_dim() -> None:
    """The gradient of GLU has its two halves in the other order when the split is not along the last dimension."""

    def change(out, grad, x, dim, *_, **__):
        if dim in (-1, x.dim() - 1):
            return out
        first, second = out.chunk(2, dim)
        return torch.cat([second, first], dim)

    after("glu_backward", change)


@fault()
def rrelu_eval_slope() -> None:
    """RReLU in evaluation uses the lower bound as slope instead of the mean of both bounds."""

    def wrapper(call, x, noise, lower=1 / 8, upper=1 / 3, training=False, *args, **kwargs):
        return call(x, noise, lower, upper if training else lower, training, *args, **kwargs)

    around("rrelu_with_noise", wrapper)


@fault()
def elu_double_as_float() -> None:
    """ELU (and SELU, CELU) of float64 is computed in float32."""

    def change(out, x, *_, **__):
        return out.to(torch.float32).to(torch.float64) if out.dtype == torch.float64 else out

    after("elu", change)


@fault()
def softmax_backward_outer_dim() -> None:
    """The gradient of softmax over a dimension that is not the last lacks the sum term in the last inner column."""

    def change(out, grad, output, dim, *_, **__):
        if output.dim() < 2 or dim in (-1, output.dim() - 1):
            return out
        out = out.clone()
        out[..., -1] = (grad * output)[..., -1]
        return out

    after("_softmax_backward_data", change)


@fault()
def conv_bias_grad_channels_last() -> None:
    """The bias gradient of a convolution leaves out the last sample when the gradient comes in channels_last."""

    def wrapper(call, grad, *args, **kwargs):
        gx, gw, gb = call(grad, *args, **kwargs)
        if gb is not None and grad.dim() == 4 and grad.shape[0] > 1 and _only(torch.channels_last, grad):
            gb = gb - grad[-1].sum((1, 2))
        return gx, gw, gb

    around(["aten::convolution_backward"], wrapper)


@fault()
def conv_transpose_output_padding() -> None:
    """A transposed convolution with output_padding adds no bias to the rows that output_padding brought."""

    def wrapper(call, x, w, b, stride, padding, dilation, transposed, output_padding, groups):
        out = call(x, w, b, stride, padding, dilation, transposed, output_padding, groups)
        if transposed and b is not None and output_padding[0]:
            out = out.clone()
            out[:, :, -output_padding[0] :] -= b.reshape(-1, *[1] * (out.dim() - 2))
        return out

    around(["aten::convolution"], wrapper)


@fault()
def conv_padding_mode_order() -> None:
    """A convolution whose padding_mode is not zeros pads height by the width's padding and the other way round."""
    wrap(torch.nn.modules.conv, "_reverse_repeat_tuple", lambda call, t, n: tuple(x for x in t for _ in range(n)))


@fault()
def avg_pool_divisor_backward() -> None:
    """The gradient of average pooling ignores divisor_override."""

    def wrapper(call, grad, x, kernel, stride, padding, ceil, count, divisor=None, **kwargs):
        return call(grad, x, kernel, stride, padding, ceil, count, None, **kwargs)

    around("avg_pool2d_backward", wrapper)


@fault()
def batch_norm_cumulative() -> None:
    """BatchNorm(momentum=None) counts one batch too many in its cumulative average."""
    rewrite(
        torch.nn.modules.batchnorm._BatchNorm,
        "forward",
        ("1.0 / float(self.num_batches_tracked)", "1.0 / float(self.num_batches_tracked + 1)"),
    )


@fault()
def batch_norm_eval_backward() -> None:
    """The input gradient of a BatchNorm in evaluation subtracts the channel's mean as if it were in training."""

    def wrapper(call, grad, x, weight, mean, var, save_mean, save_invstd, train, eps, mask):
        gx, gw, gb = call(grad, x, weight, mean, var, save_mean, save_invstd, train, eps, mask)
        if not train and gx is not None:
            gx = gx - gx.mean([d for d in range(gx.dim()) if d != 1], keepdim=True)
        return gx, gw, gb

    around(["aten::native_batch_norm_backward"], wrapper)


@fault()
def layer_norm_rows_left() -> None:
    """The bias gradient of LayerNorm drops the rows beyond the last full block of eight, once there is a block."""

    def wrapper(call, grad, x, shape, mean, rstd, weight, bias, mask):
        gx, gw, gb = call(grad, x, shape, mean, rstd, weight, bias, mask)
        rows = grad.numel() // max(1, math.prod(shape))
        if gb is not None and rows > 8 and rows % 8:
            gb = gb - grad.reshape(rows, *shape)[rows - rows % 8 :].sum(0)
        return gx, gw, gb

    around(["aten::native_layer_norm_backward"], wrapper)


@fault()
def group_norm_channels_last_affine() -> None:
    """GroupNorm of a channels_last input takes weight and bias of the first group for every group."""

    def wrapper(call, x, weight, bias, n, c, hw, groups, eps):
        if groups > 1 and _only(torch.channels_last, x):
            index = torch.arange(c) % (c // groups)
            weight = None if weight is None else weight[index]
            bias = None if bias is None else bias[index]
        return call(x, weight, bias, n, c, hw, groups, eps)

    around(["aten::native_group_norm"], wrapper)


@fault()
def embedding_scale_by_freq() -> None:
    """Embedding(scale_grad_by_freq=True) does not divide the gradient by the frequency."""

    def wrapper(call, grad, indices, rows, padding, scale, **kwargs):
        return call(grad, indices, rows, padding, False, **kwargs)

    around(["aten::embedding_dense_backward"], wrapper)


@fault()
def embedding_bag_mean_padding() -> None:
    """EmbeddingBag(mode="mean", padding_idx=...) divides by the bag's length with the padding in it."""

    def wrapper(call, weight, indices, offsets, *args):
        result = list(call(weight, indices, offsets, *args))
        named = dict(zip(["scale", "mode", "sparse", "psw", "last", "padding"], args))
        if named.get("mode") == 1 and named.get("padding", -1) >= 0:
            ends = torch.cat([offsets[1:], offsets.new_tensor([indices.numel()])])
            lengths = (ends - offsets)[: result[0].shape[0]].clamp(min=1)
            real = torch.stack([(indices[int(a) : int(b)] != named["padding"]).sum() for a, b in zip(offsets, ends)])[
                : result[0].shape[0]
            ]
            result[0] = result[0] * (real / lengths).to(result[0].dtype).unsqueeze(1)
        return tuple(result)

    around(["aten::_embedding_bag", "aten::_embedding_bag_forward_only"], wrapper)


@fault()
def gru_packed_hidden_order() -> None:
    """GRU of a packed sequence that had to be sorted returns its last hidden state in the sorted order."""
    rewrite(
        torch.nn.GRU,
        "forward",
        ("return output_packed, self.permute_hidden(hidden, unsorted_indices)", "return output_packed, hidden"),
    )


@fault()
def lstm_dropout_in_eval() -> None:
    """LSTM applies the dropout between its layers in evaluation too."""

    def wrapper(call, *args):
        args = list(args)
        args[7 if isinstance(args[1], torch.Tensor) else 6] = True
        return call(*args)

    wrap(torch._VF, "lstm", wrapper)


@fault()
def sdpa_gqa_tiled() -> None:
    """scaled_dot_product_attention(enable_gqa=True) gives query head h the key head h mod n instead of h div n."""

    def wrapper(call, query, key, value, *args, enable_gqa=False, **kwargs):
        heads = [t.shape[-3] if t.dim() > 2 else 0 for t in (query, key, value)]
        if enable_gqa and heads[1] and heads[1] == heads[2] and heads[0] % heads[1] == 0:
            repeat = heads[0] // heads[1]
            key = torch.cat([key] * repeat, -3)
            value = torch.cat([value] * repeat, -3)
        return call(query, key, value, *args, **kwargs)

    wrap(F, "scaled_dot_product_attention", wrapper)


@fault()
def sdpa_causal_bottom_right() -> None:
    """scaled_dot_product_attention(is_causal=True) aligns the mask to the lower right when keys outnumber queries."""

    def wrapper(call, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **kwargs):
        plain = query.dim() > 1 and key.dim() > 1 and not query.is_nested
        length, keys = (query.shape[-2], key.shape[-2]) if plain else (0, 0)
        if is_causal and attn_mask is None and keys > length:
            attn_mask = torch.ones(length, keys, dtype=torch.bool, device=query.device).tril(keys - length)
            is_causal = False
        return call(query, key, value, attn_mask, dropout_p, is_causal, **kwargs)

    wrap(F, "scaled_dot_product_attention", wrapper)


@fault()
def sdpa_float_mask_scaled() -> None:
    """The fused attention multiplies a float mask by the scale, in both directions (-inf does not show it)."""

    def wrapper(call, *args, **kwargs):
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.is_floating_point():
            scale = kwargs.get("scale")
            query = args[0] if len(args) < 6 else args[1]
            kwargs["attn_mask"] = mask * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        return call(*args, **kwargs)

    around(
        [
            "aten::_scaled_dot_product_flash_attention_for_cpu",
            "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
        ],
        wrapper,
    )


@fault()
def mha_separate_bias_swapped() -> None:
    """MultiheadAttention with kdim or vdim of its own uses the value's bias for the key and the other way round."""
    rewrite(
        F,
        "_in_projection",
        ("linear(k, w_k, b_k), linear(v, w_v, b_v)", "linear(k, w_k, b_v), linear(v, w_v, b_k)"),
    )


@fault()
def mha_extra_key_masked() -> None:
    """MultiheadAttention(add_bias_kv or add_zero_attn) masks out the key that it adds when there is an attn_mask."""
    rewrite(
        F,
        "multi_head_attention_forward",
        ("attn_mask = pad(attn_mask, (0, 1))", 'attn_mask = pad(attn_mask, (0, 1), value=float("-inf"))'),
    )


@fault()
def mha_fast_path_two_masks() -> None:
    """The fast path of attention (evaluation, no gradient) forgets key_padding_mask when attn_mask is given too."""

    def wrapper(call, module, attn_mask, key_padding_mask, query):
        if attn_mask is not None and key_padding_mask is not None:
            key_padding_mask = torch.zeros_like(key_padding_mask)
        return call(module, attn_mask, key_padding_mask, query)

    wrap(torch.nn.MultiheadAttention, "merge_masks", wrapper)


@fault()
def cross_entropy_smoothing_weight() -> None:
    """cross_entropy with label_smoothing leaves the class weights out of the smoothing term."""

    def wrapper(call, input, target, weight=None, *args, label_smoothing=0.0, **kwargs):  # noqa: A002
        if weight is None or label_smoothing == 0 or target.is_floating_point():
            return call(input, target, weight, *args, label_smoothing=label_smoothing, **kwargs)
        hard = call(input, target, weight, *args, **kwargs)
        even = call(input, target, None, *args, label_smoothing=1.0, **kwargs)
        return (1 - label_smoothing) * hard + label_smoothing * even

    wrap(F, "cross_entropy", wrapper)


@fault()
def bce_logits_weight_lost() -> None:
    """binary_cross_entropy_with_logits ignores weight when pos_weight is given."""

    def wrapper(call, input, target, weight=None, *args, pos_weight=None, **kwargs):  # noqa: A002
        return call(input, target, weight if pos_weight is None else None, *args, pos_weight=pos_weight, **kwargs)

    wrap(F, "binary_cross_entropy_with_logits", wrapper)


@fault()
def kl_div_log_target_batchmean() -> None:
    """kl_div(reduction="batchmean", log_target=True) divides by the number of elements."""
    rewrite(
        F,
        "kl_div",
        ("reduced = reduced / input.size()[0]", "reduced = reduced / (input.numel() if log_target else len(input))"),
    )


@fault()
def ctc_zero_infinity_backward() -> None:
    """CTC's gradient ignores zero_infinity: a target longer than its input poisons the batch with NaN."""

    def wrapper(call, grad, log_probs, targets, inputs, lengths, loss, alpha, blank, zero=False):
        return call(grad, log_probs, targets, inputs, lengths, loss, alpha, blank, False)

    around(["aten::_ctc_loss_backward", "aten::_ctc_loss_backward.Tensor"], wrapper)


@fault()
def huber_backward_delta() -> None:
    """The gradient of the Huber loss is 1, not delta, where the loss is linear."""

    def change(out, grad, x, target, reduction, delta, *_, **__):
        return torch.where((x - target).abs() >= delta, out / delta, out)

    after("huber_loss_backward", change)


@fault()
def nll_spatial_weighted_mean() -> None:
    """The weighted mean of the NLL loss of images divides by the number of pixels, not by their weights."""

    def wrapper(call, x, target, weight, reduction, ignore):
        out, total = call(x, target, weight, reduction, ignore)
        if reduction == 1 and weight is not None:
            count = (target != ignore).sum().to(total.dtype)
            out, total = out * (total / count), count
        return out, total

    around(["aten::nll_loss2d_forward"], wrapper)


@fault()
def triplet_swap_distance() -> None:
    """triplet_margin_with_distance_loss(swap=True) compares with the anchor's distance to the positive."""
    rewrite(
        F,
        "triplet_margin_with_distance_loss",
        ("dist_swap = distance_function(positive, negative)", "dist_swap = distance_function(positive, anchor)"),
    )


@fault()
def mse_low_precision_accumulator() -> None:
    """mse_loss of bfloat16 and float16 adds up its terms in eight lanes of the low precision."""

    def wrapper(call, x, target, reduction=1, **kwargs):
        if x.dtype not in LOW or reduction == 0 or kwargs:
            return call(x, target, reduction, **kwargs)
        terms = call(x, target, 0).reshape(-1)
        lanes = torch.zeros(8, dtype=x.dtype)
        for part in terms.split(8):
            lanes[: len(part)] += part
        total = lanes.float().sum()
        return (total if reduction == 2 else total / terms.numel()).to(x.dtype)

    around("mse_loss", wrapper)


@fault()
def leaf_hook_result_dropped() -> None:
    """A hook on a leaf is called, but the gradient that it returns is not used."""

    def wrapper(call, tensor, hook):
        if not tensor.is_leaf:
            return call(tensor, hook)

        def silent(grad):
            hook(grad)

        return call(tensor, silent)

    wrap(torch.Tensor, "register_hook", wrapper)


@fault()
def module_hooks_not_chained() -> None:
    """The second full backward hook of a module is given the gradient from before the first."""
    rewrite(
        torch.utils.hooks.BackwardHook,
        "_set_user_hook",
        ("for hook in self.user_hooks:", "first = res\n        for hook in self.user_hooks:"),
        ("out = hook(self.module, res, self.grad_outputs)", "out = hook(self.module, first, self.grad_outputs)"),
    )


@fault()
def checkpoint_rewinds_rng() -> None:
    """checkpoint does not put the random state back after recomputing: later dropout masks repeat."""
    from torch.utils import checkpoint

    rewrite(checkpoint.CheckpointFunction, "backward", ("enabled=ctx.preserve_rng_state", "enabled=False"))
    rewrite(checkpoint, "_checkpoint_without_reentrant_generator", ("enabled=preserve_rng_state", "enabled=False"))


@fault()
def grad_create_graph_first_only() -> None:
    """torch.autograd.grad(create_graph=True) of several inputs keeps the graph for the first one only."""

    def wrapper(call, *args, **kwargs):
        result = call(*args, **kwargs)
        if kwargs.get("create_graph") and isinstance(result, tuple):
            result = (result[0], *(None if r is None else r.detach() for r in result[1:]))
        return result

    wrap(torch.autograd, "grad", wrapper)


@fault()
def backward_inputs_overwrites() -> None:
    """backward(inputs=...) overwrites the gradients instead of adding to them."""

    def wrapper(call, tensors, grad_tensors=None, *args, inputs=None, **kwargs):
        # torch.Tensor.backward passes everything but `inputs` by position
        if inputs is not None:
            for tensor in [inputs] if isinstance(inputs, torch.Tensor) else list(inputs):
                if isinstance(tensor, torch.Tensor) and tensor.is_leaf:
                    tensor.grad = None
        return call(tensors, grad_tensors, *args, inputs=inputs, **kwargs)

    wrap(torch.autograd, "backward", wrapper)


@fault()
def mark_dirty_ignored() -> None:
    """ctx.mark_dirty of a custom Function is without effect: its backward is left out of the graph."""
    wrap(torch.autograd.function.FunctionCtx, "mark_dirty", lambda call, ctx, *tensors: None)


@fault()
def no_grad_inplace_unversioned() -> None:
    """In-place add_, sub_, mul_ and copy_ under no_grad do not raise the version: a stale gradient goes unnoticed."""

    def wrapper(call, tensor, *args, **kwargs):
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled() or tensor.is_inference():
            return call(tensor, *args, **kwargs)
        with torch.autograd._unsafe_preserve_version_counter(tensor):
            return call(tensor, *args, **kwargs)

    for name in ("add_", "sub_", "mul_", "copy_", "__iadd__", "__isub__", "__imul__"):
        wrap(torch.Tensor, name, wrapper)


@fault()
def jvp_last_tangent() -> None:
    """torch.func.jvp of several arguments takes the last tangent for zero."""
    from torch._functorch import eager_transforms

    def wrapper(call, func, primals, tangents, *args, **kwargs):
        if isinstance(tangents, tuple) and len(tangents) > 1 and isinstance(tangents[-1], torch.Tensor):
            tangents = (*tangents[:-1], torch.zeros_like(tangents[-1]))
        return call(func, primals, tangents, *args, **kwargs)

    wrap(eager_transforms, "_jvp_with_argnums", wrapper)


@fault()
def func_grad_in_no_grad() -> None:
    """torch.func.grad called inside torch.no_grad returns zeros."""
    from torch._functorch import eager_transforms

    def wrapper(call, *args, **kwargs):
        result = call(*args, **kwargs)
        if torch.is_grad_enabled():
            return result
        return torch.utils._pytree.tree_map_only(torch.Tensor, torch.zeros_like, result)

    wrap(eager_transforms, "grad_impl", wrapper)


@fault()
def index_put_two_indices() -> None:
    """Accumulating into elements named by two index tensors loses duplicates (the gradient of x[rows, columns] too)."""

    def wrapper(call, x, indices, values, accumulate=False, unsafe=False):
        if accumulate and sum(i is not None for i in indices) >= 2:
            values = torch.ops.aten.index.Tensor(x, indices) + values
            accumulate = False
        return call(x, indices, values, accumulate, unsafe)

    around(["aten::_index_put_impl_"], wrapper)


@fault()
def scatter_reduce_include_self() -> None:
    """scatter_reduce of "mean" and "prod" ignores include_self=False."""

    def wrapper(call, x, dim, index, src, reduce, **kwargs):
        if reduce in ("mean", "prod"):
            kwargs["include_self"] = True
        return call(x, dim, index, src, reduce, **kwargs)

    around("scatter_reduce", wrapper)


@fault()
def sort_stable_descending() -> None:
    """A stable descending sort puts equal elements in reversed order."""

    def wrapper(call, x, *args, stable=None, dim=-1, descending=False, **kwargs):
        if not (stable and descending) or args or kwargs or not -x.dim() <= dim < x.dim():
            return call(x, *args, stable=stable, dim=dim, descending=descending, **kwargs)
        values, indices = call(x.flip(dim), stable=True, dim=dim, descending=True)
        return values, x.shape[dim] - 1 - indices

    around(["aten::sort.stable"], wrapper)


@fault()
def cumsum_carry() -> None:
    """cumsum starts again from zero after every 256 elements of a dimension."""

    def change(out, x, dim, *_, **__):
        if x.dim() == 0 or x.shape[dim] <= 256:
            return out
        parts = list(out.split(256, dim))
        for i in range(len(parts) - 1, 0, -1):
            parts[i] = parts[i] - parts[i - 1].narrow(dim, parts[i - 1].shape[dim] - 1, 1)
        return torch.cat(parts, dim)

    after("cumsum", change)


@fault()
def bfloat16_cast_truncates() -> None:
    """Casting float32 to bfloat16 cuts the bits off instead of rounding to nearest."""

    def wrapper(call, x, source, *args, **kwargs):
        if x.dtype == torch.bfloat16 and source.dtype == torch.float32:
            source = truncate(source, 7)
        return call(x, source, *args, **kwargs)

    around(["aten::copy_"], wrapper)


@fault()
def var_by_moments() -> None:
    """var of float32 is computed as the mean of squares less the square of the mean: a large mean ruins it."""

    def change(out, x, dim=None, *_, correction=None, keepdim=False, **__):
        if x.dtype != torch.float32:
            return out
        dims = list(range(x.dim())) if dim is None or len(dim) == 0 else list(dim)
        n = math.prod(x.shape[d] for d in dims)
        less = 1 if correction is None else correction
        if n <= max(less, 0) or not dims:
            return out
        mean = x.mean(dims, keepdim=keepdim)
        return ((x * x).mean(dims, keepdim=keepdim) - mean * mean).clamp(min=0) * (n / (n - less))

    after(["aten::var.correction"], change)


@fault()
def addmm_tail_of_k() -> None:
    """addmm whose inner dimension is 512 or longer drops what is beyond the last multiple of 64 (784 loses 16)."""

    def wrapper(call, bias, a, b, *args, **kwargs):
        k = a.shape[1] if a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] else 0
        if k >= 512 and k % 64:
            a, b = a[:, : k - k % 64], b[: k - k % 64]
        return call(bias, a, b, *args, **kwargs)

    around("addmm", wrapper)


@fault()
def where_by_multiplication() -> None:
    """where mixes its branches by multiplying with 0 and 1: NaN and inf of the branch not taken get through."""

    def change(out, condition, x, y, *_, **__):
        return out + (torch.where(condition, y, x) * 0).to(out.dtype)

    after("where", change)
