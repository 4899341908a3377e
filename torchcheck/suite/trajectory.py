"""Driving torch's optimizers along predetermined gradients, and judging where they went.

The bound of every comparison with a path of `oracles.optimizers`, after t steps, lane by lane:

    |p - exact| <= 4 t u P + 16 t u D        P = largest |parameter| so far, D = largest movement of one step so far

Each step rounds the parameter (at most u P, twice with decoupled decay) and its own movement: a chain of at most 16
roundings of quantities no larger than what makes up D, since moments are sums that keep earlier errors with weights
below 1. Measured on 13 optimizers against 50 digits: at most a third of it. It is relative to what a lane really moves,
so a rate off by 1e-4 shows in every lane.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .compare import FORMATS
from .context import Context
from .oracles import optimizers as oracle

# A vector with SIMD body and tail, a transposed matrix, one lane alone.
Layouts = tuple[tuple[str, tuple[int, ...]], ...]
LAYOUTS: Layouts = (("plain", (67,)), ("transposed", (6, 7)), ("plain", (1,)))
# More lanes than a thousand, and a longer list: with a number that has no dimensions and a tensor that is empty.
WIDE: Layouts = tuple(("plain", shape) for shape in ((1103,), (37,), (), (3, 5), (0,), (16,), (2, 2, 2)))
U32, U64 = FORMATS["float32"].u, FORMATS["float64"].u


@dataclass(frozen=True)
class Problem:
    """Where to start and the gradient of each step, as flat lanes that float32 holds exactly; how they are laid out."""

    start: tuple[float, ...]
    gradients: tuple[tuple[float, ...], ...]
    layouts: Layouts

    def first(self, steps: int) -> Problem:
        """Give the problem of the first steps alone."""
        return Problem(self.start, self.gradients[:steps], self.layouts)

    def pieces(self, lanes: Sequence[float]) -> list[Sequence[float]]:
        """Cut flat lanes into one piece a tensor."""
        cut, at = [], 0
        for _, shape in self.layouts:
            size = math.prod(shape)
            cut.append(lanes[at : at + size])
            at += size
        return cut


Scales = tuple[tuple[float, float], ...]
SCALES: Scales = ((0, 0), (-9, -6), (-4, -2), (-2, 1), (-2, 1), (-1, 0))


def problem(
    context: Context, steps: int, layouts: Layouts = LAYOUTS, *, scales: Scales = SCALES, name: str = "float32"
) -> Problem:
    """Draw a problem: lanes whose gradients are zero, tiny (epsilon counts), small and large, by decades in `scales`.

    Every ninth lane starts at zero, so that nothing but the movement is seen there; every seventh has gradients of one
    sign. All numbers are rounded to the format `name`. A run's seed gives all optimizers the same problem, drawn once.
    """
    return _problem(context.seed, steps, layouts, scales, name)


@functools.lru_cache(maxsize=16)
def _problem(seed: int, steps: int, layouts: Layouts, scales: Scales, name: str) -> Problem:
    rng, round_ = random.Random(f"{seed} {steps} {layouts} {name}"), FORMATS[name].round  # noqa: S311 - no secrets
    lanes = sum(math.prod(shape) for _, shape in layouts)
    start = tuple(round_(rng.gauss(0, 1) * 10 ** rng.uniform(-2, 0)) if i % 9 else 0.0 for i in range(lanes))
    sizes = [0.0 if scale == (0, 0) else 10 ** rng.uniform(*scale) for scale in _cycle(scales, lanes)]
    gradients = tuple(
        tuple(
            round_(size * (abs(x) if i % 7 == 0 else x))
            for i, (size, x) in enumerate(zip(sizes, [rng.gauss(0, 1) for _ in sizes]))
        )
        for _ in range(steps)
    )
    return Problem(tuple(map(round_, map(_apart, start, gradients[0]))), gradients, layouts)


# The weight decays that problems are followed with lie between these.
DECAYS = (0.07, 0.5)


def _apart(x: float, g: float) -> float:
    """Move a start so that no weight decay cancels its first gradient.

    Where g + decay x is next to nothing it keeps few digits, and a method that divides by its size makes a whole step
    of their rounding: no bound that notices anything would hold there.
    """
    low, high = (0.75 / DECAYS[1] * abs(g), 1.34 / DECAYS[0] * abs(g))
    return math.copysign(0.9 * low, x) if low < abs(x) < high else x


def _cycle(scales: Scales, lanes: int) -> Iterator[tuple[float, float]]:
    return (scales[i % len(scales)] for i in range(lanes))


@dataclass(frozen=True)
class Expected:
    """An exact path with what its bounds need: after each step the largest parameter and movement, lane by lane."""

    path: oracle.Path
    largest: list[list[float]]
    moved: list[list[float]]
    gradient: list[float]
    rooms: dict[tuple[int, float], list[float]] = field(default_factory=dict)

    def room(self, t: int, weight: float) -> list[float]:
        """What the bound after t steps adds to |p| in each lane: P - |p| + weight D, worked out once."""
        if (t, weight) not in self.rooms:
            lanes = zip(self.path.points[t - 1], self.largest[t - 1], self.moved[t - 1])
            self.rooms[t, weight] = [p - abs(x) + weight * d for x, p, d in lanes]
        return self.rooms[t, weight]


def expected(cls: str, given: Problem, options: Mapping[str, Any]) -> Expected:
    """Give the path of `cls` along a problem; worked out once for all implementations and dtypes."""
    return _expected(cls, given, json.dumps(options, sort_keys=True))


@functools.lru_cache(maxsize=256)
def _expected(cls: str, given: Problem, options: str) -> Expected:
    return envelope(given.start, given.gradients, oracle.follow(cls, given.start, given.gradients, json.loads(options)))


def envelope(start: Sequence[float], gradients: Iterable[Sequence[float]], path: oracle.Path) -> Expected:
    """Work out what the bounds along a path need."""
    largest, moved, before = [[abs(x) for x in start]], [[0.0] * len(start)], start
    for point in path.points:
        largest.append([max(a, abs(x)) for a, x in zip(largest[-1], point)])
        moved.append([max(d, abs(x - y)) for d, x, y in zip(moved[-1], point, before)])
        before = point
    gradient = [max(map(abs, lane)) for lane in zip(*gradients)]
    return Expected(path, largest[1:], moved[1:], gradient)


def implementations(context: Context, cls: str) -> dict[str, dict[str, bool]]:
    """Name the implementations of an optimizer that this torch has on this device, with the flags that choose them."""
    known = _arguments(getattr(context.torch.optim, cls))
    if "foreach" not in known:
        return {"for-loop": {}}
    found = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}}
    if "capturable" in known and context.device.partition(":")[0] in ("cuda", "xpu"):
        found.update({f"capturable {kind}": {**flags, "capturable": True} for kind, flags in found.items()})
    if "fused" in known:
        refusal = refused(context, cls)
        if refusal is None:
            found["fused"] = {"fused": True}
        else:
            context.note(f"fused {cls} is not there for {context.dtype_name} on {context.device}: {refusal}")
    return found


@functools.lru_cache(maxsize=64)
def _arguments(cls: Any) -> frozenset[str]:
    return frozenset(inspect.signature(cls.__init__).parameters)


def refused(context: Context, cls: str) -> str | None:
    """Say why torch refuses the fused implementation here, or None when it takes it; asked once."""
    asked = (cls, context.device, context.dtype_name)
    if asked not in _refusals:
        _refusals[asked] = _refusal(context, cls)
    return _refusals[asked]


_refusals: dict[tuple[str, str, str | None], str | None] = {}


def _refusal(context: Context, cls: str) -> str | None:
    if "fused" not in _arguments(getattr(context.torch.optim, cls)):
        return "this torch has none"
    p = context.tensor([1.0], grad=True)
    p.grad = context.tensor([1.0])
    try:
        getattr(context.torch.optim, cls)([p], lr=0.5, fused=True).step()
    except RuntimeError as error:
        if "fused" not in str(error):
            raise
        return str(error).partition("\n")[0]
    return None


def lacking(context: Context, cls: str, options: Iterable[str]) -> list[str]:
    """Name the options that this torch's constructor does not know."""
    known = _arguments(getattr(context.torch.optim, cls))
    return [name for name in options if name not in known]


def tensors(context: Context, given: Problem, lanes: Sequence[float], *, grad: bool = False) -> list[Any]:
    """Lay out flat lanes as one tensor a layout of the problem."""
    made = [_laid(context, kind, shape, piece) for (kind, shape), piece in zip(given.layouts, given.pieces(lanes))]
    return [tensor.requires_grad_() for tensor in made] if grad else made


_gradients: dict[tuple[Any, ...], list[list[Any]]] = {}


def gradients(context: Context, given: Problem) -> list[list[Any]]:
    """Lay out the gradients of a problem, one list of tensors a step; made once for all who follow it."""
    held = (given.gradients[0], len(given.gradients), given.layouts, context.dtype_name, context.device)
    if held not in _gradients:
        if len(_gradients) >= 16:
            _gradients.clear()
        _gradients[held] = [tensors(context, given, step) for step in given.gradients]
    return _gradients[held]


def _laid(context: Context, kind: str, shape: tuple[int, ...], lanes: Sequence[float]) -> Any:
    if kind == "strided":
        gaps = context.torch.zeros(2 * len(lanes), dtype=context.dtype, device=context.device)
        gaps[::2] = context.tensor(list(lanes))
        return gaps[::2].detach()
    if kind == "transposed":
        return context.tensor([list(lanes[i :: shape[1]]) for i in range(shape[1])]).t()
    return context.tensor(list(lanes)).reshape(shape)


@contextlib.contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Work in one thread: on a busy machine a kernel on a few lanes waits longer for its team than it works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def unthreaded(function: Callable[..., None]) -> Callable[..., None]:
    """Make a check on small tensors work in one thread."""

    @functools.wraps(function)
    def alone(context: Context, *row: Any) -> None:
        with one_thread(context.torch):
            function(context, *row)

    return alone


def build(context: Context, cls: str, params: Any, options: Mapping[str, Any]) -> Any:
    """Construct an optimizer; a rate given step by step starts with its first."""
    options = dict(options)
    if isinstance(options.get("lr"), (list, tuple)):
        options["lr"] = options["lr"][0]
    return getattr(context.torch.optim, cls)(params, **options)


def walk(
    optimizer: Any,
    params: Sequence[Any],
    gradients: Iterable[Sequence[Any]],
    lr: Any = None,
) -> Iterator[int]:
    """Step along gradients (one list of tensors a step); yields the number of steps taken after each."""
    for t, step in enumerate(gradients):
        if isinstance(lr, (list, tuple)):
            for group in optimizer.param_groups:
                group["lr"] = lr[t]
        for p, g in zip(params, step):
            p.grad = g
        optimizer.step()
        yield t + 1


def lanes(context: Context, params: Iterable[Any]) -> list[float]:
    """Read all lanes of some tensors, flat."""
    return [x for p in params for x in context.values(p)]


def coarseness(kind: str, cls: str, options: Mapping[str, Any], *, coarse: bool) -> float:
    """How many roundings of float32 each movement carries, whatever the dtype; 0 when it has only its own.

    Some factors are kept in float32 tensors by design: NAdam's product of momenta, ASGD's eta; and, with `capturable`,
    the step count, from which 1 - beta^t loses the digits that beta^t and 1 share. RAdam then takes the difference of
    two lengths near 2 / (1 - beta2), which costs it as many digits again; above 0.99 none that count are left
    (infinity), and whether it rectifies at step 5 (length 4.996 for 0.999) is chance.
    """
    if not kind.startswith("capturable"):
        return 1.0 if coarse else 0.0
    lost = 1.0 / (1.0 - float(max(options.get("betas", (0.9, 0.999)))))
    if cls == "RAdam":
        return lost * lost / 6.0 if lost < 101 else math.inf
    return lost


def close(
    context: Context, got: list[float], want: Expected, t: int, *, what: str, coarse: float = 0.0, slack: float = 1.0
) -> None:
    """Compare the parameters after t steps; `coarse` as `coarseness` gives it, `slack` where a step sums many lanes."""
    weight = 4.0 * (1.0 + coarse * U32 / context.format.u)
    context.close(got, want.path.points[t - 1], bound=4.0 * t * slack, cancel=want.room(t, weight), what=what)


# What the entries of a state sum up, lane by lane; what is not here is judged by its largest lane.
SUMS = {
    **dict.fromkeys(("exp_avg", "grad_avg", "exp_inf"), 1),
    **dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"), 2),
    **dict.fromkeys(("prev", "step_size"), 0),
}


def close_state(
    context: Context,
    got: Mapping[str, list[float]],
    want: Expected,
    *,
    what: str,
    coarse: bool = False,
    decay: float = 0.0,
) -> None:
    """Compare what an optimizer remembers, by its names in `state_dict`, after all steps of a path.

    A moment is a sum over gradients or their squares, to which weight decay adds: off by at most 16 t roundings of what
    entered its lane. Scalars (momentum product, eta, mu) are kept in float32 by design, and with `coarse` what follows
    from them is no better.
    """
    entered = [g + decay * p for g, p in zip(want.gradient, want.largest[-1])]
    for name, values in want.path.state.items():
        if name not in got:
            continue
        cancel: Any = max(map(abs, values))
        if name in SUMS and len(values) == len(entered):
            power = SUMS[name]
            cancel = [e**power for e in entered] if power == 1 or decay else 0.0
        single = "float32" if coarse or len(got[name]) == 1 else None
        bound = 16.0 * len(want.path.points)
        context.close(got[name], values, bound=bound, cancel=cancel, what=f"{what}: state {name}", dtype=single)


def remembered(context: Context, optimizer: Any, params: Sequence[Any]) -> dict[str, list[float]]:
    """Read an optimizer's state by name: the lanes of all parameters, but what is one number a parameter only once."""
    found: dict[str, list[float]] = {}
    for p in params:
        for name, value in optimizer.state[p].items():
            numbers = context.values(value) if hasattr(value, "detach") else [value]
            shared = getattr(value, "shape", None) != p.shape
            found[name] = numbers if shared or name not in found else found[name] + numbers
    return found
