"""The generic mutator: every operator that the suite calls, wrong by a little."""

from __future__ import annotations

from typing import Any

import torch
from planted import kernels
from torch.utils._python_dispatch import TorchDispatchMode

changed = 0
"""Results of which this mutant has changed a number, in this process."""


def mutant(name: str) -> None:
    """Plant "aten::mm:uniform"."""
    operator, _, kind = name.rpartition(":")
    kernels.around([operator], lambda call, *args, **kwargs: _spoil(call(*args, **kwargs), kind, args, kwargs))


def _spoil(result: Any, kind: str, args: tuple, kwargs: dict) -> Any:
    if isinstance(result, float):
        return _count(_number(result, kind), result)
    if isinstance(result, torch.Tensor):
        return _tensor(result, kind, args, kwargs)
    if isinstance(result, (tuple, list)):
        return type(result)(_spoil(part, kind, args, kwargs) for part in result)
    if result is None and args and isinstance(args[0], (tuple, list)):  # _foreach_add_ and its like write into a list
        for tensor in args[0]:
            _tensor(tensor, kind, args[0], {})
    return result


def _number(value: float, kind: str) -> float:
    return {"uniform": value * (1 + 1e-4), "lane": value + 1e-3 * (abs(value) or 1.0)}.get(kind, value)


def _count(made: Any, given: Any) -> Any:
    global changed  # noqa: PLW0603
    changed += not (torch.equal(made, given) if isinstance(made, torch.Tensor) else made == given)
    return made


def _tensor(tensor: Any, kind: str, args: Any, kwargs: dict) -> Any:
    if not tensor.is_floating_point() or tensor.is_sparse or not tensor.numel():
        return tensor
    if kind == "uniform":
        made = tensor * (1 + 1e-4)
    else:
        flat = tensor.contiguous().clone().reshape(-1)
        lanes = flat[{"lane": 0, "inner": 517}[kind] :: 1000]
        lanes += 1e-3 * torch.where(lanes == 0, torch.ones_like(lanes), lanes.abs())
        made = flat.reshape(tensor.shape)
    made = _count(made.to(tensor.dtype), tensor)
    if any(tensor is value for value in (*args, *kwargs.values())):
        return tensor.copy_(made)
    return made


class Recorder(TorchDispatchMode):
    """Note the operators with a floating result that are called inside a `with`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name + (f".{function._schema.overload_name}" if function._schema.overload_name else "")
        if name.startswith("aten::") and name not in self.seen and _is_floating(result, args):
            self.seen.add(name)
        return result


def _is_floating(result: Any, args: tuple) -> bool:
    if isinstance(result, torch.Tensor):
        return result.is_floating_point()
    if isinstance(result, (tuple, list)):
        return any(_is_floating(part, ()) for part in result)
    if result is None and args and isinstance(args[0], (tuple, list)):
        return _is_floating(args[0], ())
    return isinstance(result, float)
