"""Running a piece of torch forward and back, and judging both against an oracle.

Lanes are many and oracles are slow, so data is periodic: the oracle works one period out, and torch gets it repeated
until SIMD bodies, tails, blocks and thread boundaries have all been through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import Context
    from .oracles.tape import Num

# How much further than a CPU's an accelerator's elementary functions may be off: CUDA's programming guide promises
# 1-2 ulp where SLEEF has 1, OpenCL (XPU) 3-5, Metal 4.
ALLOWANCE = {"cpu": 1.0, "cuda": 2.0, "xpu": 4.0, "mps": 4.0}


def allowance(context: Context) -> float:
    """Give the factor by which this device's bounds are wider than a CPU's."""
    return ALLOWANCE.get(context.device.partition(":")[0], 4.0)


def backward(
    context: Context, function: Callable[..., Any], inputs: Sequence[Any], upstream: Sequence[float] | None = None
) -> tuple[Any, list[Any]]:
    """Call `function` on fresh leaves and pull `upstream` (flat; ones if None) back through it.

    Returns:
        The output and the gradient of each input.
    """
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = function(*leaves)
    given = context.torch.ones_like(output)
    if upstream is not None:
        given = context.tensor(upstream, dtype=output.dtype).reshape(output.shape)
    return output, list(context.torch.autograd.grad(output, leaves, given))


def judge(
    context: Context, got: Any, expected: Sequence[Num], *, what: str, bound: float = 4.0, repeats: int = 1
) -> None:
    """Compare a tensor with the values of an oracle's numbers, repeated, within their own error bounds."""
    context.close(
        got,
        [n.value for n in expected] * repeats,
        cancel=[n.error for n in expected] * repeats,
        bound=bound * allowance(context),
        what=what,
    )


def judge_gradient(
    context: Context,
    got: Any,
    leaves: Sequence[Num],
    *,
    what: str,
    bound: float = 4.0,
    repeats: int = 1,
    times: int = 1,
) -> None:
    """Compare a gradient with the adjoints of an oracle's leaves.

    Args:
        context: the check's context.
        got: the gradient.
        leaves: the oracle's inputs, after its backward sweep.
        what: what is compared.
        bound: how many of the oracle's error bounds are allowed.
        repeats: how often the period stands in the data.
        times: how many equal contributions a shared parameter sums up.
    """
    context.close(
        got,
        [times * n.adjoint for n in leaves] * repeats,
        cancel=[times * (1 if times == 1 else 4) * n.adjoint_error for n in leaves] * repeats,
        bound=bound * allowance(context),
        what=what,
    )


def period(values: Sequence[Any], length: int) -> list[Any]:
    """Repeat `values` cyclically up to `length` elements."""
    return (list(values) * (length // len(values) + 1))[:length]
