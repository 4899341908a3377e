"""What holds the numbers is nothing to an optimizer: complex parameters, images, long vectors."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import passes, trajectory
from ...context import Context
from ...registry import check
from .formulas import FORMULA, OPTIMIZERS, Optimizer

LANES = 48
STEPS = 3
LONG = 70_003  # beyond the 65,536 elements of a chunk of the foreach kernels, and no multiple of anything


def _complex(context: Context, lanes: Sequence[float]) -> Any:
    return context.torch.view_as_complex(context.tensor(list(lanes)).reshape(-1, 2))


def _channels_last(context: Context, lanes: Sequence[float]) -> Any:
    image = context.tensor(list(lanes)).reshape(2, 3, 2, 4)
    return image.contiguous(memory_format=context.torch.channels_last)


def _permuted(context: Context, lanes: Sequence[float]) -> Any:
    """Lay 3 x 4 x 4 numbers out with the first dim moving fastest."""
    return context.tensor(list(lanes)).reshape(3, 4, 4).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _long(context: Context, lanes: Sequence[float]) -> Any:
    return passes.tiled(context, list(lanes), LONG)


# name: (parameter, gradient, implementations that may take it)
HELD: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[str, ...]]] = {
    "complex": (_complex, _complex, ("for-loop", "foreach")),
    "channels last": (_channels_last, _channels_last, ()),
    "permuted": (_permuted, _permuted, ()),
    "long": (_long, _long, ()),
}


def _needs(row: Optimizer) -> tuple[str, ...]:
    return (f"torch.optim.{row.cls}",)


@check(oracle=FORMULA, dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
def held(context: Context, row: Optimizer) -> None:
    """Complex parameters of {row} move as pairs of real ones, images channels last and long vectors as plain ones."""
    given = trajectory.problem(context, STEPS, (("plain", (LANES,)),), scales=((-2, 1), (-1, 0), (-3, 0)))
    options = row.options[1]
    if missing := trajectory.lacking(context, row.cls, options):
        options = {name: value for name, value in options.items() if name not in missing}
    want = trajectory.expected(row.cls, given, options)
    recent = hasattr(context.torch, "export")  # 2.1, from which on all of them take complex parameters
    for what, (parameter, gradient, kinds) in HELD.items():
        for kind, flags in trajectory.implementations(context, row.cls).items():
            coarse = trajectory.coarseness(kind, row.cls, options, coarse=row.coarse)
            if (kinds and not (recent and kind in kinds)) or math.isinf(coarse):
                continue
            moved = _walk(context, row, {**options, **flags}, given, parameter, gradient)
            if moved is None:
                continue
            numbers = context.torch.view_as_real(moved) if moved.is_complex() else moved
            weight = 4.0 * (1.0 + coarse)  # the bound of trajectory.close, in float32
            passes.judge_period(
                context,
                numbers,
                want.path.points[-1],
                bound=4.0 * STEPS,
                cancel=want.room(STEPS, weight),
                what=f"{kind}, {what}",
            )


def _walk(
    context: Context,
    row: Optimizer,
    options: Mapping[str, Any],
    given: trajectory.Problem,
    parameter: Callable[..., Any],
    gradient: Callable[..., Any],
) -> Any:
    """Walk along a problem and give the parameter; None when this torch refuses it."""
    p = parameter(context, given.start).requires_grad_()
    steps = [[gradient(context, step)] for step in given.gradients]
    optimizer = trajectory.build(context, row.cls, [p], options)
    try:
        for _ in trajectory.walk(optimizer, [p], steps, options.get("lr")):
            pass
    except RuntimeError as error:
        if "omplex" not in str(error):
            raise
        context.note(f"{row.cls} refuses: {str(error).partition(chr(10))[0]}")
        return None
    return p.detach()


@check(oracle="the optimizer that goes on", dtypes=("float32",), each=OPTIMIZERS, needs=_needs)
def twins(context: Context, row: Optimizer) -> None:
    """Parameters of one shape each get their own state of {row} back, whatever groups they are in."""
    layouts = (("plain", (5,)),) * 3
    given = trajectory.problem(context, 4, layouts, scales=((-1, 0), (-2, 1)))
    options = {k: v for k, v in row.options[1].items() if not trajectory.lacking(context, row.cls, [k])}
    gradients = trajectory.gradients(context, given)

    def build() -> tuple[Any, list[Any]]:
        params = trajectory.tensors(context, given, given.start, grad=True)
        return trajectory.build(context, row.cls, [{"params": params[:2]}, {"params": params[2:]}], options), params

    one, params = build()
    for _ in trajectory.walk(one, params, gradients[:2]):
        pass
    saved = pickle.loads(pickle.dumps(one.state_dict()))  # noqa: S301 - our own
    other, copies = build()
    other.load_state_dict(saved)
    with context.torch.no_grad():
        for p, q in zip(copies, params):
            p.copy_(q)
    for optimizer, moved in ((one, params), (other, copies)):
        for _ in trajectory.walk(optimizer, moved, gradients[2:]):
            pass
    if row.coarse:  # its factors in float32 go through the number that a state holds
        context.close(trajectory.lanes(context, copies), trajectory.lanes(context, params), bound=8.0, what="twins")
    else:
        context.exact(trajectory.lanes(context, copies), trajectory.lanes(context, params), what="twins after loading")
