"""Replace compiled kernels of a stock torch, from Python.

`torch.library.get_kernel` (torch 2.9 and later) hands out the kernel that an operator has for the CPU, and
`torch.library.Library(…, "IMPL").impl` puts another in its place; Python's calls and autograd's own C++ reach it alike.
The faults below say what is done to a result; the originals do all the computing.
"""

from __future__ import annotations

import struct
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}
_library: Any = None
_inside = False


def overloads(*bases: str) -> list[str]:
    """Name every CPU overload of operators, with their in-place forms: "relu" gives relu, relu_, relu.out."""
    wanted = {f"aten::{base}{end}" for base in bases for end in ("", "_")}
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    known = set(torch._C._dispatch_get_all_op_names())
    named = [name for name in _all_overloads() if name.partition(".")[0] in wanted and name in known]
    found = [name for name in named if has(name, "CPU") or has(name, "CompositeExplicitAutograd")]
    if not found:
        raise LookupError(f"this torch has no CPU kernel for {bases}")
    return found


def _all_overloads() -> list[str]:
    schemas = torch._C._jit_get_all_schemas()
    return list(dict.fromkeys(s.name + (f".{s.overload_name}" if s.overload_name else "") for s in schemas))


def around(names: str | Iterable[str], wrapper: Callable[..., Any], key: str = "CPU") -> None:
    """Put `wrapper(call, *args, **kwargs)` in the place of kernels; `call` is the original.

    Args:
        names: overloads as `overloads` gives them, or base names in one string: "mm addmm".
        wrapper: what is done instead.
        key: the dispatch key.
    """
    for name in overloads(*names.split()) if isinstance(names, str) else names:
        _replace(name, wrapper, key)


def _replace(name: str, wrapper: Callable[..., Any], key: str) -> None:
    global _library  # noqa: PLW0603
    if _library is None:
        _library = torch.library.Library("aten", "IMPL")
    kernel = torch.library.get_kernel(name, key)
    wrapped = _number_to_tensor(name)

    def replacement(keyset, *args, **kwargs):
        global _inside  # noqa: PLW0603
        args, kwargs = wrapped(args, kwargs)

        def call(*a, **k):
            return kernel.call_boxed(keyset, *a, **k)

        if _inside:  # what the fault itself computes is not to be faulty
            return call(*args, **kwargs)
        _inside = True
        try:
            return own_errors(wrapper, call, *args, **kwargs)
        finally:
            _inside = False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _library.impl(name.removeprefix("aten::"), replacement, key, with_keyset=True)


def own_errors(wrapper: Callable[..., Any], call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a fault's wrapper; an error of its own making is told apart from one of torch's (`BrokenError`)."""
    try:
        return wrapper(call, *args, **kwargs)
    except BrokenError:
        raise
    except Exception as error:
        frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
        ours = Path(frame.f_code.co_filename).parent == Path(__file__).parent
        if ours and frame.f_code.co_name != "call":
            raise BrokenError(repr(error)) from error
        raise


class BrokenError(Exception):
    """The fault itself is broken: nothing is learnt from a check that meets it."""


def _number_to_tensor(name: str) -> Callable[[tuple, dict], tuple[tuple, dict]]:
    """Undo what the dispatcher does to 0-dim numbers on their way into Python: `x + 1` passes a tensor to C++."""
    base, _, overload = name.removeprefix("aten::").partition(".")
    schema = getattr(getattr(torch.ops.aten, base), overload or "default")._schema
    kinds = {argument.name: str(argument.type) for argument in schema.arguments}
    order = list(kinds)

    def fix(kind, value):
        if kind in ("Tensor", "Optional[Tensor]") and isinstance(value, (int, float, bool, complex)):
            return torch.scalar_tensor(value, dtype=NUMBERS[type(value)])
        return value

    def wrapped(args, kwargs):
        fixed = tuple(fix(kinds[order[i]], value) for i, value in enumerate(args))
        return fixed, {key: fix(kinds[key], value) for key, value in kwargs.items()}

    return wrapped


def after(names: str | Iterable[str], change: Callable[..., Any], key: str = "CPU") -> None:
    """Change floating results: `change(tensor, *args, **kwargs)` returns the tensor that is to be in its place.

    Of an operator with several results, the first is changed. In-place and `out=` forms are changed in place.
    """

    def wrapper(call, *args, **kwargs):
        result = call(*args, **kwargs)
        first, rest = (result[0], tuple(result[1:])) if isinstance(result, (tuple, list)) else (result, None)
        if not isinstance(first, torch.Tensor) or not first.is_floating_point():
            return result
        changed = change(first, *args, **{key: value for key, value in kwargs.items() if key != "out"})
        if any(first is value for value in (*args, *kwargs.values())):
            first.copy_(changed)
            return result
        return changed if rest is None else (changed, *rest)

    around(names, wrapper, key)


def scaled(names: str, factor: float) -> None:
    """Multiply results by a factor."""
    after(names, lambda out, *_, **__: out * factor)


def lanes(names: str, step: int, at: int, change: Callable[[Any], Any]) -> None:
    """Change every `step`-th element of the results, from index `at` on."""

    def change_lanes(out, *_, **__):
        flat = out.contiguous().clone().reshape(-1)
        flat[at::step] = change(flat[at::step])
        return flat.reshape(out.shape)

    after(names, change_lanes)


def truncated(names: str, bits: int) -> None:
    """Keep `bits` bits of the significand of float32 results, as TF32 (10) or bfloat16 (7) do."""
    after(names, lambda out, *_, **__: truncate(out, bits))


def truncate(tensor: Any, bits: int) -> Any:
    """Cut a float32 tensor's significand to `bits` bits after the leading one; other dtypes pass."""
    if tensor.dtype != torch.float32:
        return tensor
    mask = struct.unpack("<i", struct.pack("<I", (0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF))[0]
    return (tensor.contiguous().view(torch.int32) & mask).view(torch.float32).reshape(tensor.shape)


def inputs(names: str, change: Callable[[Any], Any]) -> None:
    """Change the floating tensors that kernels are given."""

    def wrapper(call, *args, **kwargs):
        return call(
            *(change(a) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args), **kwargs
        )

    around(
        [name for name in overloads(*names.split()) if name.partition(".")[0][-1] != "_" and "out" not in name], wrapper
    )
