"""The gradient scaler in every way a loop uses it: accumulating, clipping, with several optimizers, resumed, off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...registry import check
from .amp import autocast, lower

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...context import Context

POWERS = "powers of two, exactly"
GRADIENT = [(i % 13 - 6) / 8 for i in range(37)]


def _scaler(context: Context, **options: Any) -> Any:
    torch, kind = context.torch, context.device.partition(":")[0]
    if hasattr(getattr(torch, "amp", None), "GradScaler"):
        return torch.amp.GradScaler(kind, **options)
    if kind != "cuda":
        context.skip("this torch has a GradScaler for CUDA only")
    return torch.cuda.amp.GradScaler(**options)


def _parameter(context: Context) -> Any:
    return context.tensor([float(i + 1) for i in range(len(GRADIENT))], grad=True)


def _loss(context: Context, p: Any, gradient: list[float] | None = None) -> Any:
    return (p * context.tensor(gradient or GRADIENT)).sum()


@check(oracle=POWERS, level="quick", dtypes=("float32",))
def scale_policy(context: Context) -> None:
    """The scale grows by its factor after its interval of good steps, backs off by its own, and resumes."""
    scaler = _scaler(context, init_scale=256.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=3)
    p = _parameter(context)
    optimizer = context.torch.optim.SGD([p], lr=0.5)
    held, scales = 256.0, []
    good = 0
    plan = [True] * 4 + [False, True, True, False, False] + [True] * 7
    for i, fine in enumerate(plan):
        if i == 11:  # in the middle of an interval
            state = scaler.state_dict()
            context.exact(
                [state["scale"], state["growth_factor"], state["backoff_factor"], state["growth_interval"]],
                [held, 4.0, 0.25, 3],
                what="state",
            )
            context.exact(state["_growth_tracker"], good, what="good steps in the state")
            scaler = _scaler(context)
            scaler.load_state_dict(state)
        optimizer.zero_grad()
        scaler.scale(_loss(context, p, None if fine else [math.inf, *GRADIENT[1:]])).backward()
        scaler.step(optimizer)
        scaler.update()
        good = good + 1 if fine else 0
        held = held * 4 if good == 3 else held if fine else held / 4
        good = 0 if good == 3 else good
        scales.append((scaler.get_scale(), held))
    context.exact([a for a, _ in scales], [b for _, b in scales], what="scale after each step")
    right = [i + 1 - 0.5 * sum(plan) * g for i, g in enumerate(GRADIENT)]
    context.exact(p, right, what="parameter after all good steps")
    scaler.update(new_scale=64.0)
    context.exact(scaler.get_scale(), 64.0, what="update(new_scale)")


@check(oracle=POWERS, level="quick", dtypes=("float32",))
def accumulating(context: Context) -> None:
    """Gradients that are accumulated, unscaled and clipped before the step move parameters as without a scaler."""
    torch = context.torch
    ends = []
    for scaled in (False, True):
        scaler = _scaler(context, init_scale=1024.0, enabled=scaled)
        p = _parameter(context)
        optimizer = torch.optim.SGD([p], lr=0.5, momentum=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            for part in (0.5, 0.25, 0.25):
                scaler.scale(_loss(context, p) * part).backward()
            scaler.unscale_(optimizer)
            context.exact(p.grad, GRADIENT, what=f"accumulated gradient, {scaled=}")
            torch.nn.utils.clip_grad_value_([p], 0.5)
            context.exact(p.grad, [max(-0.5, min(0.5, g)) for g in GRADIENT], what=f"clipped gradient, {scaled=}")
            scaler.step(optimizer)
            scaler.update()
        ends.append(context.values(p))
    context.exact(ends[1], ends[0], what="parameters with and without a scaler")
    velocity, right = [0.0] * len(GRADIENT), [float(i + 1) for i in range(len(GRADIENT))]
    for _ in range(3):
        velocity = [v / 2 + max(-0.5, min(0.5, g)) for v, g in zip(velocity, GRADIENT)]
        right = [x - v / 2 for x, v in zip(right, velocity)]
    context.exact(ends[1], right, what="parameters")
    scaler = _scaler(context, init_scale=8.0)
    p = _parameter(context)
    optimizer = torch.optim.SGD([p], lr=0.5)
    scaler.scale(_loss(context, p)).backward()
    scaler.unscale_(optimizer)
    context.raises(RuntimeError, scaler.unscale_, optimizer, what="unscaling twice is refused")
    scaler.step(optimizer)
    context.raises(RuntimeError, scaler.step, optimizer, what="stepping twice before update is refused")


@check(oracle=POWERS, level="quick", dtypes=("float32",))
def several(context: Context) -> None:
    """One scaler minds several optimizers: each is skipped for its own infinities alone, the scale for any of them."""
    torch = context.torch
    scaler = _scaler(context, init_scale=16.0, growth_interval=100)
    one, two = _parameter(context), _parameter(context)
    first, second = torch.optim.SGD([one], lr=0.5), torch.optim.SGD([two], lr=0.25)
    bad = [*GRADIENT[:-1], -math.inf]
    scaler.scale(_loss(context, one, bad) + _loss(context, two)).backward()
    returned = [scaler.step(first), scaler.step(second)]
    scaler.update()
    start = [float(i + 1) for i in range(len(GRADIENT))]
    context.exact(one, start, what="parameter with an infinite gradient")
    context.exact(two, [x - g / 4 for x, g in zip(start, GRADIENT)], what="parameter beside it")
    context.exact(scaler.get_scale(), 8.0, what="scale after an infinity in one of two")
    context.true(returned[0] is None, what="a skipped step returns nothing")
    for order in ((first, second), (second, first)):
        for optimizer in order:
            optimizer.zero_grad()
        scaler.scale(_loss(context, one) + _loss(context, two)).backward()
        for optimizer in order:
            scaler.step(optimizer)
        scaler.update()
    context.exact(one, [x - g for x, g in zip(start, GRADIENT)], what="first parameter after two good steps")
    both = scaler.scale([_loss(context, one), (_loss(context, two),)])
    context.exact(float(both[1][0].detach()), 8.0 * float(_loss(context, two)), what="scale of nested losses")
    off = _scaler(context, enabled=False)
    loss = _loss(context, one)
    context.true(
        off.scale(loss) is loss or float(off.scale(loss)) == float(loss), what="a disabled scaler scales nothing"
    )
    context.exact(off.get_scale(), 1.0, what="scale of a disabled scaler")
    context.exact(off.state_dict(), {}, what="state of a disabled scaler")


@check(oracle=POWERS, dtypes=("float32",))
def fused(context: Context) -> None:
    """A fused optimizer unscales inside its kernel: it moves as the others do, and is skipped like them."""
    torch = context.torch
    for name in ("SGD", "Adam", "AdamW", "Adagrad"):
        try:
            getattr(torch.optim, name)([_parameter(context)], lr=0.5, fused=True)
        except (TypeError, RuntimeError) as error:
            context.note(f"fused {name}: {error}")
            continue
        ends = []
        for options in ({"fused": True}, {"foreach": False}):
            scaler = _scaler(context, init_scale=64.0, growth_interval=2)
            p = _parameter(context)
            optimizer = getattr(torch.optim, name)([p], lr=0.5, **options)
            for bad in (False, True, False, False):
                optimizer.zero_grad()
                scaler.scale(_loss(context, p, [math.nan, *GRADIENT[1:]] if bad else None)).backward()
                scaler.step(optimizer)
                scaler.update()
            ends.append(p)
            context.exact(scaler.get_scale(), 64.0, what=f"{name} {options}: scale after a skip and a growth")
        # Both follow one formula; the kernel may contract and reorder a few roundings a step.
        context.close(ends[0], context.values(ends[1]), bound=64.0, cancel=1.0, what=f"fused {name} beside the loop")
    if not context.comparisons:
        context.skip("this torch has no fused optimizer here")


def _kinds(torch: Any) -> dict[str, Callable[..., Any]]:
    functional = torch.nn.functional
    return {
        "linear": functional.linear,
        "matmul": lambda x, w: x @ w.mT,
        "bmm": lambda x, w: torch.bmm(x[None], w.mT[None]),
        "addmm": lambda x, w: torch.addmm(x.new_zeros(9), x, w.mT),
        "conv1d": lambda x, w: functional.conv1d(x[None].mT, w[:, :, None]),
        "attention": lambda x, _: functional.scaled_dot_product_attention(x[None], x[None], x[None]),
    }


@check(oracle="the documented table of autocast", level="quick", needs=("torch.autocast",))
def autocast_table(context: Context) -> None:
    """Autocast lowers products and keeps the rest; nested, disabled, cached and left, each block rules itself."""
    torch = context.torch
    rng = context.rng()
    x, w = (context.tensor([[rng.uniform(-1, 1) for _ in range(8)] for _ in range(9)], dtype="float32") for _ in "xw")
    w.requires_grad_()
    name = lower(context)[0]
    low = getattr(torch, name)
    for what, call in _kinds(torch).items():
        with autocast(context, name):
            inside = call(x, w).dtype
            with autocast(context, name, enabled=False):
                off = call(x, w).dtype
                with autocast(context, name):
                    again = call(x, w).dtype
            after = call(x, w).dtype
        outside = call(x, w).dtype
        context.exact(
            [str(v) for v in (inside, off, again, after, outside)],
            [str(v) for v in (low, torch.float32, low, low, torch.float32)],
            what=f"dtypes of {what}: inside, disabled, enabled again, after, outside",
        )
    functional = torch.nn.functional
    with autocast(context, name):
        kept = {
            "softmax": torch.softmax(x, -1),
            "Tensor.softmax": x.softmax(-1),
            "F.softmax": functional.softmax(x, -1),
            "log_softmax": functional.log_softmax(x, -1),
            "layer_norm": functional.layer_norm(x, (8,)),
            "mse_loss": functional.mse_loss(x, x + 1),
            "cross_entropy": functional.cross_entropy(x, torch.zeros(9, dtype=torch.long, device=x.device)),
            "sum": x.sum(),
            "exp": x.exp(),
            "prod": x.prod(),
            "norm": x.norm(),
            "relu": x.relu(),
            "sigmoid": x.sigmoid(),
        }
        bits = {key: context.values(value) for key, value in kept.items()}
        whole = (torch.arange(4, device=x.device) @ torch.arange(4, device=x.device)).dtype if x.is_cpu else torch.int64
        double = (x.double() @ w.double().mT).dtype
    context.exact(
        {key: str(value.dtype) for key, value in kept.items()},
        dict.fromkeys(kept, "torch.float32"),
        what="dtypes of what stays in float32",
    )
    context.exact(str(whole), "torch.int64", what="integers stay integers")
    context.exact(str(double), "torch.float64", what="float64 stays float64")
    plain = {
        "softmax": torch.softmax(x, -1),
        "Tensor.softmax": x.softmax(-1),
        "F.softmax": functional.softmax(x, -1),
        "log_softmax": functional.log_softmax(x, -1),
        "layer_norm": functional.layer_norm(x, (8,)),
        "exp": x.exp(),
        "sigmoid": x.sigmoid(),
    }
    for key, value in plain.items():
        context.close(
            bits[key], context.values(value), bound=8.0, cancel=1.0, dtype="float32", what=f"{key} under autocast"
        )
    with autocast(context, name):
        before = context.values(functional.linear(x, w))
        with torch.no_grad():
            w.mul_(-2.0)
        cached = context.values(functional.linear(x, w))
    with autocast(context, name):
        renewed = context.values(functional.linear(x, w))
    context.exact(renewed, [-2 * v for v in before], what="weights that changed are cast anew in the next block")
    context.true(
        cached in (renewed, before), what="inside a block the cast weight is the old or the new one, nothing else"
    )
    y = torch.autograd.grad(functional.linear(x, w).sum(), w)[0].dtype
    context.exact(str(y), "torch.float32", what="gradient outside")
