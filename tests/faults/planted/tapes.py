"""What is recorded and what comes back: hooks, modes, functional derivatives, clipping, checkpoints in memory."""

from __future__ import annotations

import torch
from planted.gradients import backwards
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch.autograd import functional as derivatives
from torch.nn import functional
from torch.nn import utils as nn_utils
from torch.nn.modules import module
from torch.utils import checkpoint


@fault()
def full_backward_hook():
    """What a module's backward hook returns is not used."""
    wrap(
        torch.nn.Module,
        "register_full_backward_hook",
        lambda original, self, hook, *a, **kw: original(self, lambda *args: (hook(*args), None)[1], *a, **kw),
    )


@fault()
def forward_pre_hook():
    """What a module's forward pre-hook returns is not used."""
    wrap(
        torch.nn.Module,
        "register_forward_pre_hook",
        lambda original, self, hook, **kw: original(self, lambda *args: (hook(*args), None)[1], **kw),
    )


@fault()
def forward_hook_keywords():
    """A forward hook that asked for keyword arguments gets none."""

    def wrapper(original, self, hook, *, with_kwargs=False, **kw):
        if not with_kwargs:
            return original(self, hook, **kw)
        return original(self, lambda m, a, _, out: hook(m, a, {}, out), with_kwargs=True, **kw)

    wrap(torch.nn.Module, "register_forward_hook", wrapper)


@fault()
def clip_largest():
    """Clip_grad_norm_ with the largest entry clips by the 2-norm."""
    for owner in (nn_utils, nn_utils.clip_grad):
        wrap(
            owner,
            "clip_grad_norm_",
            lambda original, params, most, norm_type=2.0, *a, **kw: original(params, most, 2.0, *a, **kw),
        )


@fault()
def clip_value_above():
    """Clip_grad_value_ clips from above alone."""

    def clip(_, parameters, clip_value, foreach=None):
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else parameters
        for p in parameters:
            if p.grad is not None:
                p.grad.data.clamp_(max=clip_value)

    for owner in (nn_utils, nn_utils.clip_grad):
        wrap(owner, "clip_grad_value_", clip)


@fault()
def clip_non_finite():
    """Clip_grad_norm_ ignores error_if_nonfinite."""
    for owner in (nn_utils, nn_utils.clip_grad):
        wrap(
            owner,
            "clip_grad_norm_",
            lambda original, p, most, kind=2.0, error_if_nonfinite=False, foreach=None: original(p, most, kind),
        )


@fault()
def clip_foreach_off():
    """Clip_grad_norm_ with foreach=False returns the norm and clips nothing."""

    def wrapper(original, parameters, most, kind=2.0, error_if_nonfinite=False, foreach=None):
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        if foreach is False:
            return nn_utils.get_total_norm([p.grad for p in parameters if p.grad is not None], kind)
        return original(parameters, most, kind, error_if_nonfinite, foreach)

    for owner in (nn_utils, nn_utils.clip_grad):
        wrap(owner, "clip_grad_norm_", wrapper)


@fault()
def zero_grad_in_place():
    """Zero_grad with set_to_none=False leaves the gradients."""

    def wrapper(original, self, set_to_none=True):
        return original(self, set_to_none) if set_to_none else None

    wrap(torch.optim.Optimizer, "zero_grad", wrapper)
    wrap(torch.nn.Module, "zero_grad", wrapper)


@fault()
def hessian_diagonal():
    """The functional Hessian is transposed Jacobian of half of the gradient."""

    def halved(made):
        return tuple(halved(part) for part in made) if isinstance(made, tuple) else made * 0.5

    wrap(derivatives, "hessian", lambda original, *a, **kw: halved(original(*a, **kw)))


@fault()
def jacobian_transposed():
    """The functional Jacobian of a square map is transposed."""

    def wrapper(original, *a, **kw):
        made = original(*a, **kw)
        return made.mT if isinstance(made, torch.Tensor) and made.dim() == 2 else made

    wrap(derivatives, "jacobian", wrapper)


@fault()
def func_jvp():
    """A forward-mode derivative is 1 % too large."""
    wrap(
        torch.func,
        "jvp",
        lambda original, *a, **kw: _steeper(*original(*a, **kw)),
    )


def _steeper(value, slope, *rest):
    return value, slope * 1.01, *rest


@fault()
def vmap_in_dims():
    """Vmap ignores `in_dims`."""
    wrap(torch, "vmap", lambda original, f, in_dims=0, *a, **kw: original(f, 0, *a, **kw))
    wrap(torch.func, "vmap", lambda original, f, in_dims=0, *a, **kw: original(f, 0, *a, **kw))


@fault()
def grad_unused():
    """Autograd.grad gives zeros for what was not used, where None was due."""

    def wrapper(original, outputs, inputs, *a, allow_unused=None, materialize_grads=False, **kw):
        return original(outputs, inputs, *a, materialize_grads=bool(allow_unused or materialize_grads), **kw)

    wrap(torch.autograd, "grad", wrapper)


@fault()
def grad_outputs_ignored():
    """Autograd.grad ignores grad_outputs of the second output."""

    def wrapper(original, outputs, inputs, grad_outputs=None, *a, **kw):
        if isinstance(grad_outputs, (tuple, list)) and len(grad_outputs) > 1:
            grad_outputs = (grad_outputs[0], *(torch.ones_like(g) for g in grad_outputs[1:]))
        return original(outputs, inputs, grad_outputs, *a, **kw)

    wrap(torch.autograd, "grad", wrapper)


@fault()
def backward_inputs():
    """Backward ignores `inputs`: every leaf gets its gradient."""
    wrap(
        torch.Tensor,
        "backward",
        lambda original, self, gradient=None, retain_graph=None, create_graph=False, inputs=None: original(
            self, gradient, retain_graph, create_graph
        ),
    )


@fault()
def checkpoint_reentrant():
    """Reentrant checkpointing recomputes with other random numbers."""
    wrap(
        checkpoint,
        "checkpoint",
        lambda original, f, *a, use_reentrant=None, **kw: original(
            f, *a, use_reentrant=use_reentrant, **({**kw, "preserve_rng_state": False} if use_reentrant else kw)
        ),
    )


@fault()
def checkpoint_segments():
    """Checkpoint_sequential leaves the last module out of what it checkpoints in three segments."""

    def wrapper(original, functions, segments, x, **kw):
        parts = list(functions)
        return original(torch.nn.Sequential(*(parts[:-1] if segments > 2 else parts)), segments, x, **kw)

    wrap(checkpoint, "checkpoint_sequential", wrapper)


@fault()
def saved_tensors_hooks():
    """Hooks for saved tensors get what was saved, and what they unpack is not used."""
    made = torch.autograd.graph.saved_tensors_hooks

    class Kept(made):
        def __init__(self, pack, unpack):
            super().__init__(lambda x: (x, pack(x)), lambda both: both[0])

    torch.autograd.graph.saved_tensors_hooks = Kept


@fault()
def inference_records():
    """Inference mode records what it computes."""

    class Nothing(torch.no_grad):
        def __init__(self, mode=True):
            super().__init__()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

    torch.inference_mode = Nothing


@fault()
def grad_enabled_nested():
    """Leaving `no_grad` turns recording on, also inside another `no_grad`."""
    torch.no_grad.__exit__ = lambda self, *_: torch._C._set_grad_enabled(True)


@fault()
def expand_gradient():
    """The gradient of an expanded tensor is that of its first copy, doubled."""

    def wrapper(original, self, *sizes):
        made = original(self, *sizes)
        return made if not self.requires_grad or made.dim() != 3 else original(self * 1.0, *sizes) * 1.0

    wrap(torch.Tensor, "expand", wrapper)
    backwards(torch.Tensor, "expand", lambda g, _: g * 1.01)


@fault()
def split_gradient():
    """The gradient of split parts misses the last."""

    def wrapper(original, self, *a, **kw):
        parts = original(self, *a, **kw)
        return (*parts[:-1], parts[-1].detach()) if self.requires_grad else parts

    for owner in (torch, torch.Tensor):
        wrap(owner, "split", wrapper)


@fault()
def complex_gradient():
    """The gradient by a complex leaf is conjugated."""
    backwards(torch, "view_as_real real", lambda g, _: g.conj().resolve_conj())
    backwards(torch.Tensor, "abs", lambda g, _: g.conj().resolve_conj() if g.is_complex() else g)


@fault()
def weight_norm_dimension():
    """Weight normalisation takes the norm over all dimensions."""
    wrap(torch, "_weight_norm", lambda original, v, g, dim=0: v * (g / v.norm()))


@fault()
def spectral_norm_iteration():
    """Spectral normalisation does not iterate: it divides by the norm along its first, random vector."""
    made = nn_utils.parametrizations._SpectralNorm
    wrap(made, "_power_method", lambda original, self, weight, n: None)


@fault()
def parameter_vector():
    """Vector_to_parameters fills the parameters in reverse order of size."""

    def back(_, vector, parameters):
        at = 0
        for p in parameters:
            p.data = vector[at : at + p.numel()].view(p.shape[::-1]).data.permute(*range(p.dim())[::-1]).contiguous()
            at += p.numel()

    for owner in (nn_utils, nn_utils.convert_parameters):
        wrap(owner, "vector_to_parameters", back)


@fault()
def fused_batch_norm():
    """Folding a batch normalisation into a convolution forgets epsilon."""
    from torch.nn.utils import fusion

    rewrite(fusion, "fuse_conv_bn_weights", ("bn_rv + bn_eps", "bn_rv"))
    rewrite(fusion, "fuse_linear_bn_weights", ("bn_rv + bn_eps", "bn_rv"))


@fault()
def parametrize_cached():
    """A parametrized weight keeps the value of the time when it was parametrized."""
    from torch.nn.utils import parametrize

    def wrapper(original, m, name, *a, **kw):
        made = original(m, name, *a, **kw)
        value = getattr(m, name).detach().clone()
        setattr(type(m), name, property(lambda self: value, lambda self, v: None))
        return made

    wrap(parametrize, "register_parametrization", wrapper)


@fault()
def prune_mask():
    """Pruning by magnitude prunes the largest."""
    from torch.nn.utils import prune

    rewrite(prune.L1Unstructured, "compute_mask", ("largest=False", "largest=True"))


@fault()
def requires_grad_of_module():
    """Module.requires_grad_(False) leaves biases to be trained."""

    def wrapper(_, self, requires_grad=True):
        for name, p in self.named_parameters():
            p.requires_grad_(requires_grad or name.endswith("bias"))
        return self

    wrap(module.Module, "requires_grad_", wrapper)


@fault()
def module_to_dtype():
    """Module.to(dtype) leaves buffers in their dtype."""

    def wrapper(original, self, *a, **kw):
        kept = {name: b for name, b in self._buffers.items() if b is not None}
        made = original(self, *a, **kw)
        if a and isinstance(a[0], torch.dtype):
            self._buffers.update(kept)
        return made

    wrap(module.Module, "to", wrapper)


@fault()
def normalize_gradient():
    """The gradient of `normalize` treats the norm as constant."""

    def wrapper(_, x, p=2.0, dim=1, eps=1e-12, out=None):
        return x / x.detach().norm(p, dim, keepdim=True).clamp_min(eps)

    wrap(functional, "normalize", wrapper)


@fault()
def cosine_similarity_eps():
    """Cosine similarity clamps no norm: it is NaN for a row of zeros."""

    def wrapper(_, a, b, dim=1, eps=1e-8):
        return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim))

    wrap(functional, "cosine_similarity", wrapper)


@fault()
def pairwise_distance_eps():
    """Pairwise distance forgets its epsilon."""
    for owner in (torch, functional):
        wrap(
            owner,
            "pairwise_distance",
            lambda original, a, b, p=2.0, eps=1e-6, keepdim=False: original(a, b, p, 0.0, keepdim),
        )
