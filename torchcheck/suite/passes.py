"""Running a piece of torch forward and back, and judging both against an oracle.

Lanes are many and oracles are slow, so data is periodic: the oracle works one period out, and torch gets it repeated
until SIMD bodies, tails, blocks and thread boundaries have all been through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .pattern import raw_bytes

if TYPE_CHECKING:
    import random

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
    """Call `function` on fresh leaves and pull `upstream` (flat, or a period of it; ones if None) back through it.

    Returns:
        The output and the gradient of each input.
    """
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = function(*leaves)
    if upstream is None:
        given = context.torch.ones_like(output)
    else:
        given = tiled(context, upstream, output.numel(), dtype=output.dtype).reshape(output.shape)
    return output, list(context.torch.autograd.grad(output, leaves, given))


def layouts(context: Context, x: Any) -> Iterator[tuple[str, Any]]:
    """Give the same numbers laid out in memory as kernels may meet them: packed, with gaps, channels last."""
    yield "", x
    if context.at_least("default") and context.dtype_name == "float32":
        yield ", strided", context.torch.stack((x, x), -1)[..., 0]
        if x.dim() == 4:
            yield ", channels last", x.contiguous(memory_format=context.torch.channels_last)


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
        cancel=copied([n.adjoint_error for n in leaves], times) * repeats,
        bound=bound * allowance(context),
        what=what,
    )


def copied(errors: Sequence[float], times: int) -> list[float]:
    """Give the errors of sums of `times` equal terms: they round alike, so n additions err like n u (Higham §4.2).

    An adjoint's error holds at least twice the magnitudes it was summed from; a quarter of n of it covers n roundings.
    """
    return [times * (1 + (times / 4 if times > 1 else 0)) * e for e in errors]


def judge_period(
    context: Context,
    got: Any,
    expected: Sequence[float],
    *,
    bound: float,
    what: str,
    cancel: Any = 0.0,
    floor: float | None = None,
) -> None:
    """Compare periodic data with one period: where every period has the same bits, the first stands for all."""
    one = len(expected)
    if _repeats(got, one):
        numbers = context.values(got.view(-1)[:one])
    else:
        numbers = context.values(got)
        expected = period(expected, len(numbers))
        cancel = cancel if isinstance(cancel, float) else period(cancel, len(numbers))
    if bound:
        context.close(numbers, expected, bound=bound * allowance(context), cancel=cancel, floor=floor, what=what)
    else:
        context.exact(numbers, expected, what=what)


def _repeats(got: Any, length: int) -> bool:
    """Say whether a tensor's bytes repeat themselves after `length` elements."""
    if not got.is_contiguous() or got.numel() <= length:
        return False
    raw, first = raw_bytes(got), length * got.element_size()
    return bool(raw == (raw[:first] * (len(raw) // first + 1))[: len(raw)])


def tiled(context: Context, values: Sequence[Any], length: int, *, dtype: Any = None) -> Any:
    """Put `length` elements on the device, `values` over and over."""
    made = context.tensor(values, dtype=dtype)
    return made.repeat(length // len(values) + 1)[:length] if len(values) < length else made


def dyadic(rng: random.Random, count: int, top: int, low: int | None = None) -> list[float]:
    """Draw multiples of 1/64 between `low` (else -top) and `top`, in 64ths: below 256 of them, bfloat16 holds each."""
    return [v / 64 for v in rng.choices(range(-top if low is None else low, top + 1), k=count)]


def integers(context: Context, count: int, *salt: object) -> list[float]:
    """Draw small integers other than 0."""
    return context.rng(*salt).choices((-3.0, -2.0, -1.0, 1.0, 2.0, 3.0), k=count)


def parted(table: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide a table into the named rows and the others."""
    named = {name: table[name] for name in names}
    return named, {name: row for name, row in table.items() if name not in named}


def period(values: Sequence[Any], length: int) -> list[Any]:
    """Repeat `values` cyclically up to `length` elements."""
    return (list(values) * (length // len(values) + 1))[:length]
