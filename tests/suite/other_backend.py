"""A device of its own kind, made of CPU memory: `torch.device("other:0")`.

Its tensors hold CPU tensors and say that they are elsewhere; an operation on tensors of two devices raises, as it does
for a GPU. So a machine without a GPU shows whether every operand of a check is on the device that is being proven.
A backend in Python needs what torch registers for one from 2.9 on (`torch.utils.backend_registration`). What it lacks
is said in test_other_device.py.
"""

from __future__ import annotations

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = "other"
MIXING = {
    "copy_",
    "_to_copy",
    "index",
    "index_put",
    "_index_put_impl_",
    "index_put_",
    "set_",
    "_pack_padded_sequence",
    "_ctc_loss",
    "_ctc_loss_backward",
}
"""Operators that take tensors of two devices on a GPU, too."""


LIBRARY = torch.library.Library("_", "IMPL")


class Module(backend_registration._DummyBackendModule):
    """What torch asks of `torch.other`."""

    def synchronize(self, device=None):
        """Nothing runs in the background."""


class Held(torch.Tensor):
    """A tensor on the other device; `raw` is where its elements are."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        """Wrap a CPU tensor."""
        shape = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "layout": raw.layout}
        device = torch.device(NAME, 0)
        made = torch.Tensor._make_wrapper_subclass(cls, raw.size(), dtype=raw.dtype, device=device, **shape)
        made.raw = raw
        return made

    def tolist(self):
        """Fetch the elements; torch has no way to for a subclass."""
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Run an operator, below autograd."""
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """Run an operator on what the tensors hold, and hold what comes out."""
    name = func._schema.name.partition("::")[2]
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    held = [t for t in tensors if isinstance(t, Held)]
    if held and name not in MIXING:
        refuse_strangers(func, tensors)
    device = kwargs.get("device")
    here = bool(held) if device is None else torch.device(device).type == NAME
    plain = {**kwargs, **({"device": torch.device("cpu")} if device is not None else {})}
    out = compute(func, name, *tree_map(unwrapped, (args, plain)))
    if name == "copy_" and not isinstance(args[0], Held):
        return args[0]
    if not here:
        return out
    known = {id(t.raw): t for t in held}
    out = tree_map(lambda t: known[id(t)] if id(t) in known else wrapped(t), out)
    aliasing = any(value.alias_info is not None for value in func._schema.returns)
    return return_and_correct_aliasing(func, args, kwargs, out) if held and aliasing else out


def refuse_strangers(func, tensors):
    """Raise what a GPU's operator raises for an operand that is elsewhere."""
    for tensor in tensors:
        if not isinstance(tensor, Held) and tensor.dim():
            text = "Expected all tensors to be on the same device, but found at least two devices"
            raise RuntimeError(f"{text}, {NAME}:0 and {tensor.device}! ({func})")


def compute(func, name, args, kwargs):
    """Run it on the CPU; convolution has a form of its own for devices that torch does not know."""
    if name == "convolution_overrideable":
        return torch.ops.aten.convolution.default(*args, **kwargs)
    if name == "convolution_backward_overrideable":
        gradient, image, weight, stride, padding, dilation, transposed, output_padding, groups, mask = args
        bias = [weight.shape[1] * groups if transposed else weight.shape[0]] if mask[2] else None
        shape = (stride, padding, dilation, transposed, output_padding, groups, mask)
        return torch.ops.aten.convolution_backward.default(gradient, image, weight, bias, *shape)
    return func(*args, **kwargs)


def wrapped(value):
    """Hold a tensor on this device; leave anything else."""
    return Held(value) if isinstance(value, torch.Tensor) and not isinstance(value, Held) else value


def unwrapped(value):
    """Give what a tensor of this device holds."""
    return value.raw if isinstance(value, Held) else value


def after(_torch):
    """Register the device; what it is registered by must live as long as the process."""
    backend_registration._setup_privateuseone_for_python_backend(rename=NAME, backend_module=Module())
    LIBRARY.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
