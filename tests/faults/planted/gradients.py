"""Leave a function's result as it is and change the gradient that flows back through one of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from planted.sources import wrap


class Through(torch.autograd.Function):
    """The identity, with a gradient of one's own."""

    @staticmethod
    def forward(ctx, x, change):
        """Hand the argument on."""
        ctx.change = change
        ctx.save_for_backward(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        """Hand the changed gradient on."""
        return ctx.change(gradient, *ctx.saved_tensors), None


def backwards(
    owner: Any,
    names: str,
    change: Callable[[Any, Any], Any],
    *,
    at: int = 0,
    when: Callable[..., bool] = lambda *_, **__: True,
) -> None:
    """Pass argument number `at` of functions through `change(gradient, argument)`, `when(*args, **kwargs)` says so."""

    def wrapper(original, *args, **kwargs):
        chosen = args[at] if len(args) > at else None
        if isinstance(chosen, torch.Tensor) and chosen.requires_grad and when(*args, **kwargs):
            args = (*args[:at], Through.apply(chosen, change), *args[at + 1 :])
        return original(*args, **kwargs)

    for name in names.split():
        wrap(owner, name, wrapper)
