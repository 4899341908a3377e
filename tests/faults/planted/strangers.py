"""A second set, of all kinds: does what was built for the others help against faults that nobody had in mind?"""

from __future__ import annotations

import copy

import torch
import torch.utils.data
from planted.gradients import backwards
from planted.kernels import after, around
from planted.registry import fault
from planted.sources import wrap
from torch import linalg, nn
from torch.nn import functional
from torch.optim import lr_scheduler


@fault()
def softmax_dtype():
    """Softmax with a dtype casts its result, not its input."""
    wrap(
        functional,
        "softmax",
        lambda original, x, dim=None, _stacklevel=3, dtype=None: (
            original(x, dim) if dtype is None else original(x, dim).to(dtype)
        ),
    )


@fault()
def gumbel_soft():
    """Gumbel softmax is soft where one-hot samples were asked for."""
    wrap(functional, "gumbel_softmax", lambda original, x, tau=1, hard=False, **kw: original(x, tau, False, **kw))


@fault()
def hardswish_in_place():
    """Hardswish in place leaves its input as it is."""
    around(["aten::hardswish_"], lambda call, x: x)


@fault()
def relu_gradient_float16():
    """ReLU's gradient in float16 is 1 % too small."""
    after("threshold_backward", lambda out, *_, **__: out * 0.99 if out.dtype == torch.float16 else out)


@fault()
def logit_eps():
    """Logit ignores eps."""
    around(["aten::logit"], lambda call, x, eps=None: call(x))


@fault()
def conv_one_image():
    """A convolution's weight gradient is 0.1 % too large for a batch of one."""

    def wrapper(call, g, x, *rest):
        by_x, by_w, by_b = call(g, x, *rest)
        return by_x, by_w * 1.001 if by_w is not None and x.shape[0] == 1 else by_w, by_b

    around(["aten::convolution_backward"], wrapper)


@fault()
def batch_norm_large():
    """Batch normalisation of more than 1,024 elements a channel is 0.1 % too large."""
    after(["aten::native_batch_norm"], lambda out, x, *_: out * 1.001 if x.numel() > 1024 * x.shape[1] else out)


@fault()
def layer_norm_plain_gradient():
    """Layer normalisation's gradient is 1 % too large where there is no weight."""

    def wrapper(call, g, x, shape, mean, rstd, w, *rest):
        by_x, by_w, by_b = call(g, x, shape, mean, rstd, w, *rest)
        return by_x * 1.01 if w is None and by_x is not None else by_x, by_w, by_b

    around(["aten::native_layer_norm_backward"], wrapper)


@fault()
def group_norm_single():
    """Group normalisation with a group for each channel is 0.1 % too large."""
    after(
        ["aten::native_group_norm"], lambda out, x, w, b, n, c, hw, group, eps: out * 1.001 if group == c > 1 else out
    )


@fault()
def pool_indices_channels_last():
    """Max pooling's indices of a channels-last image are those of the first channel."""

    def wrapper(original, x, *a, **kw):
        made = original(x, *a, **kw)
        if isinstance(made, tuple) and x.dim() == 4 and not x.is_contiguous():
            return made[0], made[1][:, :1].expand_as(made[1]).contiguous()
        return made

    for name in ("max_pool2d_with_indices",):
        wrap(functional, name, wrapper)


@fault()
def avg_pool_ceil():
    """Average pooling with `ceil_mode` divides its last window by the whole window."""

    def wrapper(original, x, kernel_size, stride=None, padding=0, ceil_mode=False, *rest, **kw):
        made = original(x, kernel_size, stride, padding, ceil_mode, *rest, **kw)
        if not ceil_mode:
            return made
        made = made.clone()
        made[..., -1] *= 0.75
        return made

    wrap(functional, "avg_pool2d", wrapper)


@fault()
def area_is_nearest():
    """Interpolation "area" is "nearest"."""

    def wrapper(original, x, size=None, scale_factor=None, mode="nearest", *rest, **kw):
        return original(x, size, scale_factor, "nearest" if mode == "area" else mode, *rest, **kw)

    wrap(functional, "interpolate", wrapper)


@fault()
def sparse_duplicates():
    """Coalescing a sparse tensor keeps the last of equal indices."""

    def wrapper(call, x):
        made = call(x)
        if made._nnz() < x._nnz():
            made._values().mul_(0.5)
        return made

    wrap(torch.Tensor, "coalesce", wrapper)


@fault()
def ignored_sum():
    """Cross entropy's sum counts ignored targets as class 0."""
    original = torch._C._nn.cross_entropy_loss

    def planted(x, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0):
        if reduction == 2 and not target.is_floating_point():
            target = target.masked_fill(target == ignore_index, 0)
        return original(x, target, weight, reduction, ignore_index, label_smoothing)

    torch._C._nn.cross_entropy_loss = planted


@fault()
def bce_sum():
    """Binary cross entropy's sum is its mean."""
    around(
        ["aten::binary_cross_entropy"],
        lambda call, x, y, w=None, reduction=1: call(x, y, w, 1 if reduction == 2 else reduction),
    )


@fault()
def soft_margin_weights():
    """The multi-label soft margin loss ignores its weights."""
    wrap(
        functional,
        "multilabel_soft_margin_loss",
        lambda original, x, y, weight=None, *a, **kw: original(x, y, None, *a, **kw),
    )


@fault()
def triplet_distance():
    """The triplet loss with a distance of one's own uses the Euclidean one."""
    wrap(
        functional,
        "triplet_margin_with_distance_loss",
        lambda original, a, p, n, *, distance_function=None, **kw: original(a, p, n, **kw),
    )


@fault()
def sparse_adam_maximize():
    """SparseAdam ignores `maximize`."""
    wrap(torch.optim.SparseAdam, "__init__", lambda original, self, *a, maximize=False, **kw: original(self, *a, **kw))


@fault()
def frozen_state_ids():
    """An optimizer's state forgets the parameter before one that never had a gradient."""

    def wrapper(original, self):
        made = original(self)
        known = set(made["state"])
        gone = [i for i in known if i + 1 not in known and i + 1 < sum(len(g["params"]) for g in made["param_groups"])]
        return {**made, "state": {k: v for k, v in made["state"].items() if k not in gone}}

    wrap(torch.optim.Optimizer, "state_dict", wrapper)


@fault()
def sequential_third():
    """SequentialLR never comes to its third scheduler."""

    def wrapper(original, self, optimizer, schedulers, milestones, **kw):
        if len(schedulers) > 2:
            milestones = [milestones[0], *[10**6 + i for i in range(len(milestones) - 1)]]
        return original(self, optimizer, schedulers, milestones, **kw)

    wrap(lr_scheduler.SequentialLR, "__init__", wrapper)


@fault()
def cyclic_iterations():
    """CyclicLR with a scale of one's own applies it to cycles, never to iterations."""
    wrap(
        lr_scheduler.CyclicLR,
        "__init__",
        lambda original, self, *a, scale_mode="cycle", **kw: original(self, *a, scale_mode="cycle", **kw),
    )


@fault()
def clip_mixed():
    """Clip_grad_norm_ leaves gradients in bfloat16 out of its norm."""

    def wrapper(original, parameters, *a, **kw):
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        kept = [p for p in parameters if p.grad is None or p.grad.dtype != torch.bfloat16]
        return original(kept or parameters, *a, **kw)

    for owner in (nn.utils, nn.utils.clip_grad):
        wrap(owner, "clip_grad_norm_", wrapper)


@fault()
def unfold_gradient():
    """The gradient of overlapping windows (Tensor.unfold) counts each element once."""
    backwards(torch.Tensor, "unfold", lambda g, _: g.clamp(-5, 5))


@fault()
def repeat_gradient():
    """The gradient of a repeated matrix counts its copies along the first dimension once."""
    backwards(torch.Tensor, "repeat", lambda g, _: g / 2)


@fault()
def view_write_gradient():
    """Writing into a part of a tensor leaves a gradient for what was overwritten."""

    def wrapper(original, self, index, value):
        if not self.requires_grad or self.is_leaf or not isinstance(index, int):
            return original(self, index, value)
        before = self[index].clone()
        return original(self, index, value + (before - before.detach()))

    wrap(torch.Tensor, "__setitem__", wrapper)


@fault()
def checkpoint_autocast():
    """Checkpointing recomputes without the autocast that was on."""
    from torch.utils import checkpoint

    wrap(
        checkpoint,
        "_get_autocast_kwargs",
        lambda original, *a, **kw: (
            {"enabled": False, "dtype": torch.bfloat16, "cache_enabled": True},
            {"enabled": False, "dtype": torch.bfloat16, "cache_enabled": True},
        ),
    ) if hasattr(checkpoint, "_get_autocast_kwargs") else None


@fault()
def worker_init():
    """A DataLoader does not call worker_init_fn."""
    wrap(
        torch.utils.data.DataLoader,
        "__init__",
        lambda original, self, *a, worker_init_fn=None, **kw: original(self, *a, **kw),
    )


@fault()
def seed_fixed():
    """`torch.seed()` always gives the same seed."""
    wrap(torch, "seed", lambda original: torch.manual_seed(1) and 1)


@fault()
def deep_copy_shares():
    """A deep copy of a module shares its buffers."""
    original = copy.deepcopy

    def deepcopy(x, memo=None, *a):
        made = original(x, memo, *a)
        if isinstance(x, nn.Module) and isinstance(made, nn.Module):
            for mine, theirs in zip(x.modules(), made.modules()):
                theirs._buffers.update(mine._buffers)
        return made

    copy.deepcopy = deepcopy


@fault()
def attention_long():
    """Attention over more than 512 keys is 0.1 % too large."""
    wrap(
        functional,
        "scaled_dot_product_attention",
        lambda original, q, k, *a, **kw: original(q, k, *a, **kw) * (1.001 if k.shape[-2] > 512 else 1),
    )


@fault()
def packed_unsorted():
    """Packing sequences that are not sorted takes them for sorted ones of the same lengths."""
    from torch.nn.utils import rnn

    wrap(
        rnn,
        "pack_padded_sequence",
        lambda original, x, lengths, batch_first=False, enforce_sorted=True: original(
            x,
            lengths if enforce_sorted else torch.as_tensor(lengths).sort(descending=True)[0],
            batch_first,
            enforce_sorted,
        ),
    )


@fault()
def last_norm():
    """A transformer encoder leaves its last norm out."""
    wrap(
        nn.TransformerEncoder,
        "__init__",
        lambda original, self, layer, n, norm=None, *a, **kw: original(self, layer, n, None, *a, **kw),
    )


@fault()
def complex_solve():
    """A complex linear system is solved with the conjugated matrix."""
    wrap(linalg, "solve", lambda original, a, b, **kw: original(a.conj() if a.is_complex() else a, b, **kw))


@fault()
def complex_eigenvalues():
    """Eigenvalues of Hermitian matrices are those of their real parts."""
    wrap(linalg, "eigvalsh", lambda original, a, *r, **kw: original(a.real if a.is_complex() else a, *r, **kw))


@fault()
def sparse_product():
    """A sparse matrix times a dense one counts its last entry twice."""

    def wrapper(original, a, b, *rest):
        made = original(a, b, *rest)
        return made * 1.001 if a.is_sparse else made

    wrap(torch.sparse, "mm", wrapper)


@fault()
def sorted_nan():
    """A sort puts NaN first."""

    def wrapper(call, x, *, stable=None, dim=-1, descending=False):
        values, where = call(x, stable=stable, dim=dim, descending=descending)
        bad = torch.isnan(x).any() if x.is_floating_point() else False
        return (values.flip([dim]), where.flip([dim])) if bad else (values, where)

    around(["aten::sort.stable"], wrapper)


@fault()
def int8_saturates():
    """Additions of int8 saturate."""

    def wrapper(call, x, y, *, alpha=1):
        made = call(x, y, alpha=alpha)
        if x.dtype != torch.int8 or y.dtype != torch.int8:
            return made
        return (x.to(torch.int32) + y.to(torch.int32)).clamp(-128, 127).to(torch.int8)

    around(["aten::add.Tensor"], wrapper)


@fault()
def int_matmul():
    """Products of integer matrices leave their last term out."""
    around(
        ["aten::mm"],
        lambda call, a, b: (
            call(a, b) if a.is_floating_point() or a.is_complex() or a.shape[1] < 2 else call(a[:, :-1], b[:-1])
        ),
    )


@fault()
def sine_large():
    """Sine and cosine of arguments beyond 1,000 are off by 1e-4."""
    after("sin cos", lambda out, x, *_: torch.where(x.abs() > 1000, out + 1e-4, out))


@fault()
def log1p_near_zero():
    """Log1p is log(1 + x): it loses small numbers."""
    around(["aten::log1p"], lambda call, x: torch.log(1 + x))


@fault()
def erf_tail():
    """Erfc is 1 - erf: it loses its tail."""
    around(["aten::erfc"], lambda call, x: 1 - torch.erf(x))


@fault()
def softplus_bfloat16():
    """Softplus in bfloat16 is 2 % too large."""
    after("softplus", lambda out, *_, **__: out * 1.02 if out.dtype == torch.bfloat16 else out)


@fault()
def embedding_long():
    """An embedding's gradient in bfloat16 forgets the last index."""
    after(["aten::embedding_dense_backward"], lambda out, *_: out * 1.02 if out.dtype == torch.bfloat16 else out)


@fault()
def linear_gradient_low():
    """A product in float16 is computed with a significand of eight bits."""
    after("mm", lambda out, *_, **__: out.to(torch.bfloat16).to(out.dtype) if out.dtype == torch.float16 else out)


@fault()
def hidden_state_batch_first():
    """An LSTM with batch_first gives the state of the step before the last."""

    def wrapper(original, self, x, hx=None):
        out, state = original(self, x, hx)
        if self.batch_first and isinstance(x, torch.Tensor) and x.dim() == 3 and x.shape[1] > 1:
            state = original(self, x[:, :-1], hx)[1]
        return out, state

    wrap(nn.LSTM, "forward", wrapper)


@fault()
def promoted_half():
    """A float16 tensor times a float32 number without dimensions is a float32 tensor."""
    wrap(
        torch.Tensor,
        "__mul__",
        lambda original, self, other: (
            original(self.float(), other)
            if isinstance(other, torch.Tensor) and other.dim() == 0 and self.dtype == torch.float16 and self.dim()
            else original(self, other)
        ),
    )


@fault()
def gradient_of_index():
    """The gradient of indexing with a list counts an index that comes twice once in bfloat16."""

    def wrapper(call, x, index, values, accumulate=False, *rest):
        return call(x, index, values, accumulate and x.dtype != torch.bfloat16, *rest)

    around(["aten::_index_put_impl_"], wrapper)
