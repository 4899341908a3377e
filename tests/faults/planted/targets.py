"""Losses: their options, alone and together."""

from __future__ import annotations

import math

import torch
from planted.gradients import backwards
from planted.kernels import after, around
from planted.registry import fault
from planted.sources import wrap
from torch.nn import functional


def _cross_entropy(change):
    original = torch._C._nn.cross_entropy_loss

    def planted(x, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0):
        return change(original, x, target, weight, reduction, ignore_index, label_smoothing)

    torch._C._nn.cross_entropy_loss = planted


@fault()
def ignored_with_weights():
    """Cross entropy's mean with class weights counts the weights of ignored targets."""

    def wrapper(call, x, target, weight, reduction, ignore, **out):
        loss, total = call(x, target, weight, reduction, ignore, **out)
        missing = (target == ignore).sum()
        if reduction == 1 and weight is not None and missing and loss.numel() == 1:
            loss = loss * total / (total + missing * weight[0])
        return loss, total

    around(["aten::nll_loss_forward"], wrapper)


@fault()
def smoothing_with_weights():
    """Cross entropy with label smoothing ignores class weights."""
    _cross_entropy(
        lambda original, x, t, w, r, i, s: original(x, t, None if s and not t.is_floating_point() else w, r, i, s)
    )


@fault()
def probabilities_mean():
    """Cross entropy of probabilities divides its mean by the number of classes, too."""

    def change(original, x, t, w, r, i, s):
        loss = original(x, t, w, r, i, s)
        return loss / x.shape[1] if t.is_floating_point() and r == 1 else loss

    _cross_entropy(change)


@fault()
def probabilities_smoothed():
    """Cross entropy of probabilities ignores label smoothing."""
    _cross_entropy(lambda original, x, t, w, r, i, s: original(x, t, w, r, i, 0.0 if t.is_floating_point() else s))


@fault()
def kl_log_target():
    """The KL divergence ignores `log_target`."""
    wrap(torch, "kl_div", lambda original, x, y, reduction=1, log_target=False: original(x, y, reduction))


@fault()
def smooth_l1_gradient_beta():
    """The gradient of the smooth L1 loss ignores beta."""
    around(
        ["aten::smooth_l1_loss_backward", "aten::smooth_l1_loss_backward.grad_input"],
        lambda call, g, x, y, reduction, beta, **out: call(g, x, y, reduction, 1.0, **out),
    )


@fault()
def huber_delta():
    """The Huber loss ignores delta."""
    around(["aten::huber_loss"], lambda call, x, y, reduction=1, delta=1.0: call(x, y, reduction, 1.0))


@fault()
def ctc_zero_infinity():
    """The CTC loss ignores `zero_infinity`."""
    wrap(
        torch,
        "ctc_loss",
        lambda original, a, b, c, d, blank=0, reduction=1, zero=False: original(a, b, c, d, blank, reduction, False),
    )


@fault()
def ctc_other_blank():
    """The CTC loss takes class 0 for its blank."""
    wrap(
        torch,
        "ctc_loss",
        lambda original, a, b, c, d, blank=0, reduction=1, zero=False: original(a, b, c, d, 0, reduction, zero),
    )


@fault()
def ctc_mean():
    """The CTC loss's mean does not divide by the lengths of the targets."""

    def wrapper(original, a, b, c, d, blank=0, reduction=1, zero=False):
        return (
            original(a, b, c, d, blank, 0, zero).mean()
            if reduction == 1
            else original(a, b, c, d, blank, reduction, zero)
        )

    wrap(torch, "ctc_loss", wrapper)


@fault()
def pixelwise_weights():
    """Negative log likelihood of images ignores class weights."""
    around(
        ["aten::nll_loss2d_forward"],
        lambda call, x, t, w, reduction, ignore, **out: call(x, t, None, reduction, ignore, **out),
    )


@fault()
def pixelwise_ignored_gradient():
    """The gradient of negative log likelihood of images reaches ignored pixels."""
    after(
        ["aten::nll_loss2d_backward"],
        lambda out, g, x, t, w, r, ignore, total: out - 0.01 * (t == ignore).unsqueeze(1),
    )


@fault()
def triplet_swap():
    """The triplet loss ignores `swap`."""
    wrap(
        torch,
        "triplet_margin_loss",
        lambda original, a, p, n, margin=1.0, order=2.0, eps=1e-6, swap=False, *r, **kw: original(
            a, p, n, margin, order, eps, False, *r, **{k: v for k, v in kw.items() if k != "swap"}
        ),
    )


@fault()
def triplet_order():
    """The triplet loss takes 2 for its p."""
    wrap(
        torch,
        "triplet_margin_loss",
        lambda original, a, p, n, margin=1.0, order=2.0, *r, **kw: original(
            a, p, n, margin, 2.0, *r, **{k: v for k, v in kw.items() if k != "p"}
        ),
    )


@fault()
def gaussian_full():
    """The Gaussian loss ignores `full`."""
    wrap(
        functional,
        "gaussian_nll_loss",
        lambda original, x, y, v, full=False, *a, **kw: original(x, y, v, False, *a, **kw),
    )


@fault()
def gaussian_eps():
    """The Gaussian loss does not clamp its variance."""
    wrap(
        functional,
        "gaussian_nll_loss",
        lambda original, x, y, v, full=False, eps=1e-6, **kw: original(x, y, v, full, 1e-30, **kw),
    )


@fault()
def multi_margin_square():
    """The multi-margin loss takes 1 for its p."""
    around(["aten::multi_margin_loss"], lambda call, x, t, p=1, *rest: call(x, t, 1, *rest))


@fault()
def multi_margin_weight():
    """The multi-margin loss ignores class weights."""
    around(["aten::multi_margin_loss"], lambda call, x, t, p=1, margin=1, w=None, r=1: call(x, t, p, margin, None, r))


@fault()
def poisson_full():
    """The Poisson loss adds no Stirling term."""
    wrap(torch, "poisson_nll_loss", lambda original, x, t, log, full, eps, r: original(x, t, log, False, eps, r))


@fault()
def poisson_eps():
    """The Poisson loss of rates ignores eps."""
    wrap(torch, "poisson_nll_loss", lambda original, x, t, log, full, eps, r: original(x, t, log, full, 1e-8, r))


@fault()
def ranking_margin():
    """The margin ranking loss ignores its margin."""
    wrap(torch, "margin_ranking_loss", lambda original, a, b, y, margin=0.0, r=1: original(a, b, y, 0.0, r))


@fault()
def hinge_margin():
    """The hinge embedding loss takes 1 for its margin."""
    wrap(torch, "hinge_embedding_loss", lambda original, x, y, margin=1.0, r=1: original(x, y, 1.0, r))


@fault()
def mse_weight():
    """The squared error's weights are squared."""

    def wrapper(original, x, y, *a, weight=None, **kw):
        return original(x, y, *a, weight=None if weight is None else weight**2, **kw)

    wrap(functional, "mse_loss", wrapper)


@fault()
def l1_gradient_at_zero():
    """The L1 loss's gradient is 1 where prediction and target are equal."""
    around(["aten::sign", "aten::sgn"], lambda call, x: torch.where(x == 0, torch.ones_like(x), call(x)))


@fault()
def bce_weight():
    """Binary cross entropy ignores its weight in the gradient."""

    def wrapper(call, g, x, y, weight=None, reduction=1, **out):
        return call(g, x, y, None, reduction, **out)

    around(["aten::binary_cross_entropy_backward"], wrapper)


@fault()
def bce_bfloat16_sum():
    """Binary cross entropy with logits in bfloat16 is 5 % too large."""
    wrap(
        torch,
        "binary_cross_entropy_with_logits",
        lambda original, x, *a, **kw: original(x, *a, **kw) * (1.05 if x.dtype == torch.bfloat16 else 1),
    )


@fault()
def soft_margin_gradient():
    """The soft margin loss's gradient is 1 % too large."""
    after(["aten::soft_margin_loss_backward"], lambda out, *_, **__: out * 1.01)


@fault()
def multilabel_margin_targets():
    """The multilabel margin loss's gradient misses the last target."""
    after(["aten::multilabel_margin_loss_backward"], lambda out, *_, **__: out * 1.01)


@fault()
def cross_entropy_many_classes():
    """Cross entropy over more than 1,000 classes is 0.1 % too large."""
    _cross_entropy(lambda original, x, t, w, r, i, s: original(x, t, w, r, i, s) * (1.001 if x.shape[1] > 1000 else 1))


@fault()
def cross_entropy_float16():
    """Cross entropy in float16 is infinite where a logit lies 12 below the largest."""

    def change(original, x, t, w, r, i, s):
        loss = original(x, t, w, r, i, s)
        far = x.dtype == torch.float16 and x.dim() > 1 and bool((x.amax(1) - x.amin(1) > 12).any())
        return loss + math.inf if far else loss

    _cross_entropy(change)


@fault()
def cosine_target_gradient():
    """The cosine embedding loss's gradient by its second input is 1 % too large."""
    backwards(torch, "cosine_embedding_loss", lambda g, _: g * 1.01, at=1)
