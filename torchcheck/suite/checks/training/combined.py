"""A scaler over two optimizers, unscaled or not, of every implementation; gradients that add up in half precision."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ... import trajectory
from ...compare import FORMATS
from ...context import Context
from ...registry import check
from .scaling import POWERS, _scaler

GRADIENTS = ([0.5, -0.25, 4.0, 1.0, -2.0], [8.0, -0.125])
KINDS: dict[str, dict[str, bool]] = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


@check(oracle=POWERS, level="quick", dtypes=("float32",), each={name: name for name in KINDS})
@trajectory.unthreaded
def two_scaled(context: Context, row: str) -> None:
    """Two {row} optimizers under a scaler are unscaled once, clipped or not; an infinity in either halves the scale."""
    if row == "fused" and (why := trajectory.refused(context, "SGD")):
        context.skip(f"fused SGD is not there on {context.device}: {why}")
    for unscaled, bad in itertools.product(((), (0,), (1,), (0, 1)), (None, 0, 1)):
        _two_scaled(context, KINDS[row], unscaled, bad)


def _two_scaled(context: Context, flags: dict[str, bool], unscaled: tuple[int, ...], bad: int | None) -> None:
    """Take one step with two optimizers of two parameters each; an infinity is in the second one's gradient."""
    torch, rates = context.torch, (0.5, 0.25)
    scaler = _scaler(context, init_scale=64.0, growth_interval=100)
    pairs = [[context.tensor([1.0] * len(g), grad=True) for g in GRADIENTS] for _ in rates]
    optimizers = [torch.optim.SGD(pair, lr=lr, **flags) for pair, lr in zip(pairs, rates)]
    what = f"unscaled before: {unscaled}, infinity in {bad}"
    given = [[GRADIENTS[0], [*GRADIENTS[1][:-1], math.inf] if i == bad else GRADIENTS[1]] for i in (0, 1)]
    losses = [(p * context.tensor(g)).sum() for pair, gs in zip(pairs, given) for p, g in zip(pair, gs)]
    scaler.scale(sum(losses)).backward()
    for i in unscaled:
        scaler.unscale_(optimizers[i])
        if i != bad:
            context.exact([context.values(p.grad) for p in pairs[i]], given[i], what=f"{what}: unscaled gradients")
        torch.nn.utils.clip_grad_value_(pairs[i], 2.0)
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    context.exact(scaler.get_scale(), 64.0 if bad is None else 32.0, what=f"{what}: scale")
    for i, lr in enumerate(rates):
        for p, g in zip(pairs[i], GRADIENTS):
            limited = [max(-2.0, min(2.0, v)) if i in unscaled else v for v in g]
            want = [1.0] * len(g) if i == bad else [1.0 - lr * v for v in limited]
            context.exact(p, want, what=f"{what}: parameters of optimizer {i}")


def _ways(torch: Any) -> dict[str, Any]:
    def backward(p: Any, g: Any) -> Any:
        p.grad = p.detach().clone()
        leaf = p.detach().clone().requires_grad_()
        leaf.grad = p.detach().clone()
        (leaf * g).sum().backward()
        return leaf.grad

    return {
        "backward": backward,
        "add_": lambda p, g: p.detach().clone().add_(g),
        "+=": lambda p, g: p.detach().clone().__iadd__(g),
        "add": torch.add,
        "out=": lambda p, g: torch.add(p, g, out=torch.empty_like(p)),
        "sub_": lambda p, g: p.detach().clone().sub_(-g),
        "foreach": lambda p, g: _first(torch, [p.detach().clone()], [g]),
        "strided": lambda p, g: torch.stack([p, p], -1)[..., 0].add_(g),
    }


def _first(torch: Any, held: list[Any], given: list[Any]) -> Any:
    torch._foreach_add_(held, given)
    return held[0]


@check(oracle="the exact sum, rounded once", level="quick", dtypes=("bfloat16", "float16", "float32"))
@trajectory.unthreaded
def added_up(context: Context) -> None:
    """Gradients that are added up in place round to nearest at every step, ties to even, in every spelling."""
    rng, fmt = context.rng(), context.format
    start = [fmt.round(rng.uniform(-4, 4)) for _ in range(67)]
    # The last lanes are halfway between two neighbours, above an even and above an odd one.
    ties = [1.0, 1.0 + 2 * fmt.u]
    steps = [[fmt.round(rng.uniform(-1, 1) * 2 ** rng.randint(-6, 0)) for _ in start] + [fmt.u] * 2 for _ in range(4)]
    for name, call in _ways(context.torch).items():
        held = context.tensor([*start, *ties])
        for t, step in enumerate(steps, 1):
            before = context.values(held)
            held = call(held, context.tensor(step)).detach().clone()
            want = [fmt.round(FORMATS["float32"].round(a + b)) for a, b in zip(before, step)]
            context.exact(held, want, what=f"{name}: sum after step {t}")
