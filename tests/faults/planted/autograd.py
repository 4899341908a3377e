"""The autograd engine, reductions and the movement of elements."""

from __future__ import annotations

import torch
from planted.kernels import after, around, scaled
from planted.registry import fault
from planted.sources import wrap


@fault(level="quick")
def sum_drops_last():
    """A sum over a dimension leaves out the last element when the length is no multiple of 16."""

    def wrapper(call, x, dim=None, keepdim=False, **named):
        if not dim or len(dim) != 1 or x.shape[dim[0]] % 16 == 0 or x.shape[dim[0]] < 2 or not x.is_floating_point():
            return call(x, dim, keepdim, **named)
        return call(x.narrow(dim[0], 0, x.shape[dim[0]] - 1), dim, keepdim, **named)

    around(["aten::sum.dim_IntList"], wrapper)


@fault()
def sum_in_order():
    """A sum of float32 adds one after the other: it loses bits on long vectors."""

    def wrapper(call, x, *args, **named):
        if x.dtype != torch.float32 or x.dim() != 1 or x.numel() < 64 or x.numel() > 1 << 21:
            return call(x, *args, **named)
        return torch.tensor(_chain(x.tolist()))

    around(["aten::sum"], wrapper)


def _chain(values):
    from array import array

    total = array("f", [0.0])
    for value in values:
        total[0] += value
    return total[0]


@fault()
def mean_divides_by_n_minus_1():
    """A mean over a dimension divides by n - 1."""

    def change(out, x, dim=None, *_, **__):
        n = x.numel() // max(out.numel(), 1)
        return out * n / (n - 1) if n > 1 else out

    after("mean", change)


@fault()
def embedding_duplicates():
    """An embedding's gradient counts each index once."""

    def wrapper(call, grad, indices, number, padding, scale):
        flat, rows = indices.reshape(-1), grad.reshape(-1, grad.shape[-1])
        made = torch.zeros(number, grad.shape[-1], dtype=grad.dtype)
        made[flat] = rows
        if padding >= 0:
            made[padding] = 0
        return made

    around("embedding_dense_backward", wrapper)


@fault()
def embedding_padding():
    """An embedding's padding row gets a gradient."""
    around("embedding_dense_backward", lambda call, grad, i, n, padding, scale: call(grad, i, n, -1, scale))


@fault()
def scatter_add_lost():
    """Scatter_add loses one contribution in eight."""

    def wrapper(call, x, dim, index, source, **out):
        source = source.clone()
        source.reshape(-1)[7::8] = 0
        return call(x, dim, index, source, **out)

    around("scatter_add", wrapper)


@fault()
def index_put_not_accumulating():
    """Index_put with accumulate=True overwrites."""

    def wrapper(call, x, indices, values, accumulate=False, *rest):
        return call(x, indices, values, False, *rest)

    around(["aten::_index_put_impl_", "aten::index_put_"], wrapper)


@fault()
def index_add_alpha():
    """Index_add ignores alpha."""
    around("index_add", lambda call, x, dim, index, source, *, alpha=1, **out: call(x, dim, index, source, **out))


@fault()
def index_select_off_by_one():
    """Index_select takes the row before the last where the last was asked for."""

    def wrapper(call, x, dim, index, **out):
        return call(x, dim, torch.where(index == x.shape[dim] - 1, (index - 1).clamp(min=0), index), **out)

    around("index_select", wrapper)


@fault()
def gather_negative():
    """Gather reads along the wrong dimension of square matrices."""

    def wrapper(call, x, dim, index, **named):
        square = x.dim() == 2 and x.shape[0] == x.shape[1]
        return call(x, 1 - (dim % 2), index, **named) if square else call(x, dim, index, **named)

    around(["aten::gather"], wrapper)


@fault()
def cumsum_block():
    """Cumsum forgets what came before element 1,024."""

    def change(out, x, dim, *_, **__):
        if not x.dim() or x.shape[dim] <= 1024:
            return out
        head, tail = out.split([1024, x.shape[dim] - 1024], dim)
        return torch.cat([head, tail - head.narrow(dim, 1023, 1)], dim)

    after("cumsum", change)


@fault()
def cat_swapped():
    """Cat of three tensors of the same shape swaps the last two."""

    def wrapper(call, tensors, dim=0, **out):
        tensors = list(tensors)
        if len(tensors) == 3 and tensors[1].shape == tensors[2].shape:
            tensors = [tensors[0], tensors[2], tensors[1]]
        return call(tensors, dim, **out)

    around(["aten::cat"], wrapper)


@fault(level="quick")
def accumulation_lost():
    """Backward overwrites a parameter's gradient where it should add."""
    engine = torch.autograd.backward

    def backward(tensors, *args, **kwargs):
        leaves = [p for p in _leaves(tensors) if p.grad is not None]
        for leaf in leaves:
            leaf.grad = None
        return engine(tensors, *args, **kwargs)

    torch.autograd.backward = backward


def _leaves(tensors):
    stack = [t.grad_fn for t in ([tensors] if isinstance(tensors, torch.Tensor) else tensors) if t.grad_fn is not None]
    seen = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        stack.extend(parent for parent, _ in node.next_functions if parent is not None)


@fault()
def version_counter():
    """Changing a tensor in place after it was saved for backward goes unnoticed."""
    allowed = torch.autograd.graph.allow_mutation_on_saved_tensors()
    allowed.__enter__()
    torch.autograd.graph._planted = allowed  # kept: it ends when it is collected


@fault()
def no_grad_ignored():
    """`torch.no_grad` records gradients all the same."""
    torch.no_grad.__enter__ = lambda self: setattr(self, "prev", torch.is_grad_enabled()) or None


@fault()
def detach_keeps_graph():
    """`detach` stays connected to the graph."""
    torch.Tensor.detach = lambda self: (
        self.view_as(self) if self.requires_grad and not self.is_leaf else torch._C.TensorBase.detach(self)
    )


@fault()
def hooks_not_called():
    """Hooks on tensors are taken and never called."""
    wrap(torch.Tensor, "register_hook", lambda original, self, hook: original(self, lambda grad: None))


@fault()
def hook_result_ignored():
    """What a tensor's hook returns is not used as its gradient."""
    wrap(torch.Tensor, "register_hook", lambda original, self, hook: original(self, lambda grad: (hook(grad), None)[1]))


@fault()
def retain_grad_noop():
    """`retain_grad` retains nothing."""
    torch.Tensor.retain_grad = lambda self: None


@fault()
def checkpoint_forgets_seed():
    """Checkpointing recomputes dropout with other random numbers."""
    import torch.utils.checkpoint

    wrap(
        torch.utils.checkpoint,
        "checkpoint",
        lambda original, *args, preserve_rng_state=True, **kw: original(*args, preserve_rng_state=False, **kw),
    )


@fault()
def clip_norm_per_tensor():
    """Clip_grad_norm_ clips each gradient by its own norm."""

    def wrapper(original, parameters, max_norm, *args, **kwargs):
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        return torch.stack([original([p], max_norm, *args, **kwargs) for p in parameters]).norm()

    wrap(torch.nn.utils, "clip_grad_norm_", wrapper)
    wrap(torch.nn.utils.clip_grad, "clip_grad_norm_", wrapper)


@fault()
def clip_norm_wrong_norm():
    """Clip_grad_norm_ measures the largest entry whatever norm was asked for."""

    def wrapper(original, parameters, max_norm, norm_type=2.0, **kwargs):
        return original(parameters, max_norm, float("inf"), **kwargs)

    wrap(torch.nn.utils, "clip_grad_norm_", wrapper)
    wrap(torch.nn.utils.clip_grad, "clip_grad_norm_", wrapper)


@fault()
def double_backward_of_tanh():
    """The second derivative of tanh misses a factor of 2 (its first derivative is right)."""
    around("tanh_backward", lambda call, grad, y, **out: call(grad, y, **out))
    wrapped = torch.Tensor.tanh

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = wrapped(x.detach())
            ctx.save_for_backward(x)
            return y

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            y = wrapped(x)
            once = 1 - y * y
            return grad * (once.detach() + 0.5 * (once - once.detach()))

    torch.tanh = torch.Tensor.tanh = torch.nn.functional.tanh = lambda x: Tanh.apply(x)  # noqa: PLW0108 - a method, too


@fault()
def pow_backward():
    """The gradient of x ** n is n x ** n."""
    original = torch.Tensor.pow

    class Pow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, n):
            ctx.save_for_backward(x)
            ctx.n = n
            return original(x, n)

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.n * original(ctx.saved_tensors[0], ctx.n), None

    def power(x, n):
        return Pow.apply(x, n) if isinstance(x, torch.Tensor) and isinstance(n, (int, float)) else original(x, n)

    torch.pow = torch.Tensor.pow = torch.Tensor.__pow__ = power


@fault()
def exp_coarse():
    """Exp is off by 3e-6, as fast arithmetic leaves it."""
    scaled("exp", 1 + 3e-6)


@fault()
def log_coarse():
    """Log is off by 1e-5."""
    scaled("log", 1 + 1e-5)


@fault()
def rsqrt_estimate():
    """Rsqrt and sqrt are a 12-bit estimate."""
    after("rsqrt sqrt", lambda out, *_, **__: out * (1 + 2**-13))


@fault()
def division_estimate():
    """Division multiplies with a 14-bit reciprocal."""
    after("div", lambda out, *_, **__: out * (1 - 2**-15))


@fault()
def subnormals_flushed():
    """Subnormal numbers are flushed to zero."""
    torch.set_flush_denormal(True)


@fault()
def copy_truncates():
    """Copies between dtypes cut instead of rounding."""

    def change(out, x, *_, **__):
        if x.dtype != torch.float32 or out.dtype != torch.bfloat16:
            return out
        return (x.contiguous().view(torch.int32) & -65536).view(torch.float32).to(torch.bfloat16)

    after("_to_copy", change)


@fault()
def argmax_last():
    """Argmax gives the last of several maxima, max over a dimension too."""
    around(["aten::max.dim"], lambda call, x, dim, keepdim=False: _last(call, x, dim, keepdim))


def _last(call, x, dim, keepdim):
    values, indices = call(x.flip(dim), dim, keepdim)
    return values, x.shape[dim] - 1 - indices
