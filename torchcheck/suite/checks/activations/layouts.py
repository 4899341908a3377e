"""The elementwise activations on views, on sizes around block edges, and at the ends of the number line."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...compare import FORMATS
from ...oracles.activations import POINTWISE, Activation, curvature
from ...pattern import raw_bytes
from ...registry import FLOATS, check
from .pointwise import ORACLE, module, needs, told
from .samples import sample

if TYPE_CHECKING:
    from ...context import Context

# SIMD registers hold 2 to 32 numbers and kernels unroll them up to four times; 2^k and its neighbours show the seams.
SIZES = tuple(sorted({*range(1, 19), *(2**k + d for k in range(5, 12) for d in (-1, 0, 1))}))
# The seams of threads (32,768) and of accelerators' blocks and grids.
LARGE = tuple(2**k + d for k in (12, 13, 14, 15, 16, 17) for d in (-1, 0, 1))


def dtypes(context: Context) -> Iterator[Context]:
    """Give this check's context for float32, and for every other dtype at the full level."""
    for name in FLOATS if context.at_least("full") else ("float32",):
        with_dtype = copy.copy(context)  # shares the list of comparisons
        with_dtype.dtype_name = name
        yield with_dtype


@check(oracle=ORACLE, each=POINTWISE, needs=needs)
def layouts(context: Context, row: Activation) -> None:
    """{row} is right on strided, transposed, channels-last and offset views, on one number and on none."""
    for own in dtypes(context):
        case = sample(own, row)
        call = module(own, row, case.arguments)
        for view in VIEWS:
            name, x, g = view[0], lay(own, case.xs, view), lay(own, case.gs, view)
            leaf = x.detach().requires_grad_()
            y = call(leaf)
            case.forward.judge(own, y, x, f"{own.dtype_name} value, {name}")
            for upstream, how in ((g, "upstream alike"), (g.contiguous(), "upstream contiguous"))[
                : 2 - g.is_contiguous()
            ]:
                (gradient,) = own.torch.autograd.grad(y, leaf, upstream, retain_graph=True)
                case.backward.judge(own, gradient, x, f"{own.dtype_name} gradient, {name}, {how}")
        empty = own.tensor([], grad=True)
        call(empty).sum().backward()
        own.true(list(empty.grad.shape) == [0], what="no elements give no gradients")


# name, shape, strides, offset of the first element
VIEWS = (
    ("every second element", (541,), (2,), 0),
    ("transposed", (23, 21), (1, 23), 0),
    ("channels last", (2, 5, 7, 9), (315, 1, 45, 5), 0),
    ("columns of a wider matrix", (17, 29), (41, 1), 3),
    ("one element off alignment", (541,), (1,), 1),
    ("one number", (), (), 0),
)


@functools.lru_cache(maxsize=None)
def places(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> list[int]:
    """Give where in memory each element of a view lies, in row-major order."""
    found = [offset]
    for n, stride in zip(shape, strides):
        found = [place + i * stride for place in found for i in range(n)]
    return found


def lay(context: Context, period: Sequence[float], view: tuple[Any, ...]) -> Any:
    """Lay out a pattern as a view; what lies between its elements is NaN."""
    _, shape, strides, offset = view
    where = places(shape, strides, offset)
    held = [math.nan] * (max(where) + 1)
    for place, number in zip(where, itertools.cycle(period)):
        held[place] = number
    tensor = context.torch.tensor(held, dtype=context.dtype).to(context.device)
    return tensor.as_strided(shape, strides, offset)


@check(oracle=ORACLE, each=POINTWISE, needs=needs)
def sizes(context: Context, row: Activation) -> None:
    """{row} is right whatever the number of elements: around SIMD blocks, threads and powers of two."""
    for own in dtypes(context):
        case = sample(own, row)
        call = module(own, row, case.arguments)
        for n in SIZES + (LARGE if own.at_least("full") else ()):
            x = case.inputs(own, n).requires_grad_()
            y = call(x)
            (gradient,) = own.torch.autograd.grad(y, x, case.upstream(own, n))
            for pattern, result, what in ((case.forward, y, "value"), (case.backward, gradient, "gradient")):
                # One record a size would be hundreds: those that fit are counted together below.
                if result.shape != x.shape or result.dtype != x.dtype or not pattern.holds(raw_bytes(result)):
                    pattern.judge(own, result, x, f"{own.dtype_name} {what} of {n} elements")
    context.true(True, what="every size was compared")


@check(oracle="the limits of the formula; NaN in, NaN out", level="quick", dtypes=FLOATS, each=POINTWISE, needs=needs)
def specials(context: Context, row: Activation) -> None:
    """{row} keeps NaN, and is right at infinities, at signed zeros and very large numbers."""
    case = sample(context, row)
    limits = row.infinities(**case.arguments)
    huge = 2.0**60 if context.dtype_name != "float16" else 2.0**12
    fmt = FORMATS[context.dtype_name or "float32"]
    ends = [fmt.round(row.value(x, **case.arguments)) for x in (0.0, -0.0, huge, -huge, 0.75)]
    given = [math.nan, -math.inf, math.inf, 0.0, -0.0, huge, -huge, 0.75]
    expected = [math.nan, *map(fmt.round, limits), *ends]
    times = 9  # past any SIMD register, with a tail
    got = context.values(module(context, row, case.arguments)(context.tensor(given * times)))
    if row.indefinite:  # inf * 0: NaN may stand for the limit
        got = [e if math.isnan(g) and math.isinf(x) else g for g, e, x in zip(got, expected * times, given * times)]
    bound = row.forward.bound(fmt, context.device.partition(":")[0])
    context.close(
        got,
        expected * times,
        bound=max(bound, 1.0),
        cancel=1.0,
        what=f"special values{told(case.arguments)}",
        given=given * times,
    )
    _kinks(context, row)


def _kinks(context: Context, row: Activation) -> None:
    """Compare the gradient where it jumps, in SIMD lanes and in the tail."""
    for variant, arguments in enumerate(row.arguments):
        case = sample(context, row, variant)
        kinks = [kink for kink in row.kinks(**arguments) if context.format.round(kink) == kink] * 35
        if kinks:
            x = context.tensor(kinks, grad=True)
            (gradient,) = context.torch.autograd.grad(module(context, row, arguments)(x).sum(), x)
            context.close(
                gradient,
                [row.slope(kink, **arguments) for kink in kinks],
                bound=max(case.backward.bound, 1.0),
                cancel=1.0 if case.backward.bound else 0.0,
                what=f"gradient at kinks{told(arguments)}",
                given=kinks,
            )


@check(oracle="exact halves", level="quick", dtypes=FLOATS, devices="cpu")
def subnormals(context: Context) -> None:
    """Numbers below the smallest normal one are kept, not flushed to zero."""
    tiny = context.format.tiny
    xs = [-tiny / 2**k for k in (1, 2, 3, 4)] * 17
    context.hint = (
        "something set the processor to flush subnormals: torch.set_flush_denormal, or a library built with -ffast-math"
    )
    y = context.torch.nn.LeakyReLU(0.5)(context.tensor(xs))
    context.exact(y, [x / 2 for x in xs], what="LeakyReLU(0.5) of subnormals", given=xs)


@check(oracle="numerical second derivative of the formula", dtypes=("float64",), each=POINTWISE, needs=needs)
def double_backward(context: Context, row: Activation) -> None:
    """{row} can be differentiated twice, rightly."""
    torch = context.torch
    for variant in range(len(row.arguments)):
        case = sample(context, row, variant)
        kinks = row.kinks(**case.arguments)
        chosen = [x for x in case.xs if abs(x) < 8.0 and all(abs(x - kink) > 0.05 for kink in (0.0, *kinks))]
        x = context.tensor(chosen, grad=True)
        g = context.tensor(case.gs[: len(chosen)], grad=True)
        try:
            (first,) = torch.autograd.grad(module(context, row, case.arguments)(x), x, g, create_graph=True)
            found = torch.autograd.grad(first, (x, g), torch.ones_like(first), allow_unused=True)
        except RuntimeError as error:
            if "is not implemented" not in str(error) and "is not differentiable" not in str(error):
                raise
            context.skip(f"torch does not differentiate {row.module} twice")
        second = [0.0] * len(chosen) if found[0] is None else context.values(found[0])
        expected = [u * curvature(row, v, case.arguments) for u, v in zip(case.gs, chosen)]
        # The oracle's own error is 1e-9 (see curvature) times |g| < 8; 1e-7 tells 1 + 1e-6 from 1.
        far = max(abs(a - b) / (1.0 + abs(b)) for a, b in zip(second, expected))
        context.within(far, 1e-7, what=f"second derivative{told(case.arguments)}", unit="relative error")
        slopes = [row.slope(v, **case.arguments) for v in chosen]
        far = max(abs(a - b) / (1.0 + abs(b)) for a, b in zip(context.values(found[1]), slopes))
        context.within(far, 1e-7, what=f"derivative by the gradient{told(case.arguments)}", unit="relative error")
