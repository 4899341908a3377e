"""Layers, losses and attention."""

from __future__ import annotations

import torch
from planted.kernels import after, around, overloads, scaled
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch.nn import functional


@fault()
def batch_norm_running_var():
    """Batch normalisation's running variance is the biased one."""

    def wrapper(call, x, weight, bias, mean, var, training, momentum, eps, *rest):
        before = None if var is None else var.clone()
        result = call(x, weight, bias, mean, var, training, momentum, eps, *rest)
        n = x.numel() / x.shape[1]
        if training and var is not None and n > 1:
            fresh = (var - (1 - momentum) * before) / momentum
            var.copy_((1 - momentum) * before + momentum * fresh * (n - 1) / n)
        return result

    around("native_batch_norm", wrapper)


@fault()
def batch_norm_momentum():
    """Batch normalisation takes momentum the wrong way round."""
    around(
        "native_batch_norm",
        lambda call, x, w, b, mean, var, training, momentum, *rest: call(
            x, w, b, mean, var, training, 1 - momentum, *rest
        ),
    )


@fault()
def batch_norm_eval_uses_batch():
    """Batch normalisation in eval uses the batch's own statistics."""

    def wrapper(call, x, w, b, mean, var, training, momentum, eps):
        if training or x.numel() == x.shape[1]:
            return call(x, w, b, mean, var, training, momentum, eps)
        return call(x, w, b, None, None, True, momentum, eps)

    around(["aten::native_batch_norm"], wrapper)


@fault()
def batch_norm_backward_mean():
    """Batch normalisation's gradient forgets that the mean depends on the input."""

    def wrapper(call, grad, x, *rest):
        by_x, by_w, by_b = call(grad, x, *rest)
        if by_x is not None:
            by_x = by_x + 1e-3 * by_x.abs().mean()
        return by_x, by_w, by_b

    around("native_batch_norm_backward", wrapper)


@fault()
def layer_norm_eps():
    """Layer normalisation adds 1e-3 for whatever epsilon was asked for."""
    around(["aten::native_layer_norm"], lambda call, x, shape, w, b, eps: call(x, shape, w, b, 1e-3))


@fault()
def layer_norm_backward_weight():
    """Layer normalisation's weight gradient misses the last row."""

    def wrapper(call, grad, x, shape, mean, rstd, *rest):
        by_x, by_w, by_b = call(grad, x, shape, mean, rstd, *rest)
        if by_w is not None and mean.numel() > 1:
            rows = (x - mean) * rstd
            last = (grad * rows).reshape(-1, *shape)[-1]
            by_w = by_w - last
        return by_x, by_w, by_b

    around(["aten::native_layer_norm_backward"], wrapper)


@fault()
def group_norm_groups():
    """Group normalisation normalises over all channels."""
    around(
        ["aten::native_group_norm"],
        _one_group,
    )


def _one_group(call, x, w, b, n, c, hw, group, eps):
    out, mean, rstd = call(x, w, b, n, c, hw, 1, eps)
    return out, mean.expand(n, group).contiguous(), rstd.expand(n, group).contiguous()


@fault()
def dropout_scale():
    """Dropout forgets the factor 1 / (1 - p)."""
    wrap(
        functional,
        "dropout",
        lambda original, x, p=0.5, training=True, inplace=False: original(x, p, training) * (1 - p if training else 1),
    )


@fault()
def dropout_in_eval():
    """Dropout drops in eval, too."""
    wrap(functional, "dropout", lambda original, x, p=0.5, training=True, inplace=False: original(x, p, True, inplace))


@fault()
def dropout_rate():
    """Dropout drops 10 % more than it was asked to."""
    wrap(
        functional,
        "dropout",
        lambda original, x, p=0.5, training=True, inplace=False: original(x, min(p * 1.1, 1.0), training, inplace),
    )


@fault()
def lstm_forget_gate():
    """An LSTM swaps its input and forget gates."""
    original = torch._VF.lstm

    def lstm(x, hidden, params, *rest):
        return (
            original(x, hidden, [_swapped(p) for p in params], *rest)
            if isinstance(params, (list, tuple))
            else original(x, hidden, params, *rest)
        )

    torch._VF.lstm = lstm


def _swapped(p):
    gates = p.chunk(4, 0)
    return torch.cat([gates[1], gates[0], gates[2], gates[3]], 0)


@fault()
def gru_reset_after():
    """A GRU gives its update gate's complement."""
    original = torch._VF.gru

    def gru(x, hidden, params, *rest):
        if not isinstance(params, (list, tuple)):
            return original(x, hidden, params, *rest)
        flipped = []
        for p in params:
            r, z, n = p.chunk(3, 0)
            flipped.append(torch.cat([r, -z, n], 0))
        return original(x, hidden, flipped, *rest)

    torch._VF.gru = gru


@fault()
def cross_entropy_ignore_index():
    """Cross entropy's mean divides by all targets, the ignored ones too."""

    def wrapper(call, x, target, weight, reduction, ignore, **out):
        loss, total = call(x, target, weight, reduction, ignore, **out)
        if reduction == 1 and weight is None and (target == ignore).any():
            loss = loss * total / target.numel()
        return loss, total

    around(["aten::nll_loss_forward"], wrapper)


@fault()
def nll_weight_ignored():
    """The class weights of a negative log likelihood do not count in its gradient."""

    def wrapper(call, grad, x, target, weight, reduction, ignore, total, **out):
        return call(
            grad, x, target, torch.ones_like(weight) if weight is not None else None, reduction, ignore, total, **out
        )

    around(["aten::nll_loss_backward"], wrapper)


@fault()
def label_smoothing_ignored():
    """Cross entropy ignores label smoothing."""
    original = torch._C._nn.cross_entropy_loss

    def cross_entropy_loss(x, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0):
        return original(x, target, weight, reduction, ignore_index, 0.0)

    torch._C._nn.cross_entropy_loss = cross_entropy_loss


@fault(level="quick")
def mse_factor():
    """The gradient of the squared error misses its factor of 2."""
    scaled("mse_loss_backward", 0.5)


@fault()
def smooth_l1_beta():
    """The smooth L1 loss ignores beta."""
    around("smooth_l1_loss", lambda call, x, y, reduction=1, beta=1.0, **out: call(x, y, reduction, 1.0, **out))


@fault()
def huber_backward_delta():
    """The Huber loss's gradient does not stop growing at delta."""
    around("huber_loss_backward", lambda call, g, x, y, reduction, delta, **out: call(g, x, y, reduction, 1e9, **out))


@fault()
def bce_clamp():
    """Binary cross entropy does not clamp its logarithm at -100."""
    after(
        "binary_cross_entropy",
        lambda out, x, y, *rest, **__: out * 1.01 if bool((x == 0).any() | (x == 1).any()) else out,
    )


@fault()
def bce_logits_pos_weight():
    """Binary cross entropy with logits ignores the weight of the positives."""
    original = torch.binary_cross_entropy_with_logits

    def loss(x, y, weight=None, pos_weight=None, reduction=1):
        return original(x, y, weight, None, reduction)

    torch.binary_cross_entropy_with_logits = loss


@fault()
def kl_div_batchmean():
    """The KL divergence's `batchmean` divides by all elements."""

    def wrapper(original, x, y, size_average=None, reduce=None, reduction="mean", log_target=False):
        return original(x, y, size_average, reduce, "mean" if reduction == "batchmean" else reduction, log_target)

    wrap(functional, "kl_div", wrapper)


@fault()
def ctc_blank():
    """The CTC loss's gradient is 1 % too large."""
    scaled("_ctc_loss_backward", 1.01)


@fault()
def triplet_margin():
    """The triplet loss's margin is 1, whatever was asked for."""
    wrap(
        torch,
        "triplet_margin_loss",
        lambda original, a, p, n, margin=1.0, *rest, **kw: original(a, p, n, 1.0, *rest, **kw),
    )


@fault()
def cosine_embedding():
    """The cosine embedding loss ignores its margin."""
    wrap(torch, "cosine_embedding_loss", lambda original, a, b, y, margin=0.0, *rest: original(a, b, y, 0.0, *rest))


@fault()
def attention_scale():
    """Attention scales by 1/D instead of 1/sqrt(D)."""
    original = functional.scaled_dot_product_attention

    def attention(q, k, v, *args, scale=None, **named):
        return original(q, k, v, *args, scale=1 / q.shape[-1] if scale is None else scale, **named)

    functional.scaled_dot_product_attention = attention


@fault()
def attention_causal():
    """Causal attention sees one position too far."""
    original = functional.scaled_dot_product_attention

    def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **named):
        if not is_causal:
            return original(q, k, v, attn_mask, dropout_p, False, **named)
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(1)
        return original(q, k, v, mask, dropout_p, False, **named)

    functional.scaled_dot_product_attention = attention


@fault()
def attention_backward_key():
    """Fused attention's gradient by the keys is 0.1 % too small."""

    def wrapper(call, *args, **named):
        by_q, by_k, by_v = call(*args, **named)
        return by_q, by_k * 0.999, by_v

    around(["aten::_scaled_dot_product_flash_attention_for_cpu_backward"], wrapper)


@fault()
def attention_mask_inverted():
    """Attention takes a boolean mask the other way round."""
    original = functional.scaled_dot_product_attention

    def attention(q, k, v, attn_mask=None, *args, **named):
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = ~attn_mask
        return original(q, k, v, attn_mask, *args, **named)

    functional.scaled_dot_product_attention = attention


@fault()
def linear_without_bias():
    """Linear layers forget their bias in eval mode."""

    def forward(self, x):
        return functional.linear(x, self.weight, self.bias if self.training else None)

    torch.nn.Linear.forward = forward


@fault()
def eval_keeps_training():
    """`eval()` leaves submodules in training."""

    def evaluate(self):
        self.training = False
        return self

    torch.nn.Module.eval = evaluate


@fault(level="quick")
def zero_grad_noop():
    """`zero_grad` clears nothing."""
    torch.optim.Optimizer.zero_grad = lambda self, set_to_none=True: None
    torch.nn.Module.zero_grad = lambda self, set_to_none=True: None


@fault()
def init_kaiming_gain():
    """Kaiming initialisation forgets the gain."""
    rewrite(torch.nn.init, "kaiming_normal_", ("std = gain / math.sqrt(fan)", "std = 1 / math.sqrt(fan)"))
    rewrite(torch.nn.init, "kaiming_uniform_", ("std = gain / math.sqrt(fan)", "std = 1 / math.sqrt(fan)"))


@fault()
def init_xavier_fans():
    """Xavier initialisation uses the fan in alone."""
    rewrite(torch.nn.init, "xavier_uniform_", ("2.0 / float(fan_in + fan_out)", "1.0 / float(fan_in)"))
    rewrite(torch.nn.init, "xavier_normal_", ("2.0 / float(fan_in + fan_out)", "1.0 / float(fan_in)"))


@fault()
def interpolate_corners():
    """Bilinear interpolation aligns corners where it was told not to."""
    names = [name for name in overloads("upsample_bilinear2d") if ".vec" not in name]
    around(names, lambda call, x, size, align, *rest, **out: call(x, size, True, *rest, **out))
