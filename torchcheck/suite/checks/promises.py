"""Small promises of the documentation: functions of one's own are called, copies are copies, options are not lost."""

from __future__ import annotations

import copy
import functools
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import Context

LN = 2.0**-10


@check(oracle="a triangle wave in plain Python", devices="cpu")
@trajectory.unthreaded
def cyclic_scales(context: Context) -> None:
    """CyclicLR applies a function of one's own to cycles or to iterations, as it was asked."""
    torch = context.torch
    up, down, low, high = 3, 5, 0.125, 1.0
    scales: dict[str, tuple[Callable[[float], float], Callable[[int, int], float]]] = {
        "cycle": (lambda n: 1 / (1 + n), lambda _, cycle: 1 / (1 + cycle)),
        "iterations": (lambda n: 1 / (1 + n), lambda step, _: 1 / (1 + step)),
    }
    for mode, (own, scale) in scales.items():
        optimizer = torch.optim.SGD([context.tensor([1.0], grad=True)], lr=1.0)
        schedule = torch.optim.lr_scheduler.CyclicLR(
            optimizer, low, high, up, down, scale_fn=own, scale_mode=mode, cycle_momentum=False
        )
        got, right = [], []
        for step in range(2 * (up + down) + 3):
            at, cycle = step % (up + down), step // (up + down) + 1
            height = at / up if at <= up else (up + down - at) / down
            right.append(low + (high - low) * height * scale(step, cycle))
            got.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        # A dozen roundings of numbers below 2 in float64; heights are differences of such.
        context.close(got, right, bound=32.0, cancel=2.0, dtype="float64", what=f"rates, scale_mode={mode!r}")


def _absolute(a: Any, b: Any) -> Any:
    return (a - b).abs().sum(-1)


def _largest(a: Any, b: Any) -> Any:
    return (a - b).abs().amax(-1)


@check(oracle="the loss in integers", level="quick", dtypes=("float32",))
@trajectory.unthreaded
def own_distances(context: Context) -> None:
    """The triplet loss takes a distance of one's own, swaps with it, and has its margin and reduction."""
    torch, rng = context.torch, context.rng()
    functional = torch.nn.functional
    rows = [[[float(rng.randint(-5, 5)) for _ in range(4)] for _ in range(6)] for _ in range(3)]
    a, p, n = (context.tensor(r) for r in rows)
    distances: tuple[tuple[Callable[[Any, Any], Any], Callable[[list[float], list[float]], float]], ...] = (
        (_absolute, lambda x, y: sum(abs(u - v) for u, v in zip(x, y))),
        (_largest, lambda x, y: max(abs(u - v) for u, v in zip(x, y))),
    )
    for distance, own in distances:
        for swap in (False, True):
            right = []
            for x, y, z in zip(*rows):
                far = min(own(x, z), own(y, z)) if swap else own(x, z)
                right.append(max(own(x, y) - far + 2.0, 0.0))
            options = {"distance_function": distance, "margin": 2.0, "swap": swap}
            for reduction, expected in (("none", right), ("sum", [sum(right)])):
                what = f"{distance.__name__[1:]}, swap={swap}, {reduction}"
                got = functional.triplet_margin_with_distance_loss(a, p, n, reduction=reduction, **options)
                context.exact(got, expected, what=what)
                module = torch.nn.TripletMarginWithDistanceLoss(reduction=reduction, **options)
                context.exact(module(a, p, n), expected, what=f"module, {what}")


@check(oracle="arithmetic", dtypes=("float32",))
@trajectory.unthreaded
def mixed_norms(context: Context) -> None:
    """Clipping by the norm counts gradients of all dtypes, and scales each in its own."""
    torch = context.torch
    clip = torch.nn.utils.clip_grad_norm_
    kinds = ("float32", "bfloat16", "float16")
    # 1, 2, 4, 10: 11 squared is 1 + 4 + 16 + 100.
    for pieces in (((3.0,), (4.0,), (12.0,)), ((1.0, 2.0), (4.0,), (10.0,))):
        norm = math.sqrt(sum(v * v for piece in pieces for v in piece))
        for foreach in (None, False, True):
            parameters = [context.tensor([0.0] * len(p), dtype=k, grad=True) for p, k in zip(pieces, kinds)]
            for parameter, piece in zip(parameters, pieces):
                parameter.grad = context.tensor(piece, dtype=parameter.dtype)
            what = f"{norm:g}, foreach={foreach}"
            total = clip(parameters, norm / 4, foreach=foreach)
            # Norms of single dtypes may be held in it: three significands of 8 digits or more, one of which rounds.
            context.close(total, [norm], bound=2.0, dtype="bfloat16", what=f"norm of gradients of three dtypes, {what}")
            for parameter, piece, kind in zip(parameters, pieces, kinds):
                context.close(
                    parameter.grad, [v / 4 for v in piece], bound=4.0, dtype="bfloat16", what=f"{kind} gradient, {what}"
                )
                context.true(parameter.grad.dtype == parameter.dtype, what=f"the gradient stays {kind}, {what}")


@check(oracle="the same segment without checkpointing", dtypes=("float32",))
@trajectory.unthreaded
def recomputed_autocast(context: Context) -> None:
    """A checkpointed segment is computed again under the autocast that was on, and outside it without."""
    from torch.utils import checkpoint as api

    torch, rng = context.torch, context.rng()
    kind = context.device.partition(":")[0]
    w, x = ([[rng.randint(-127, 127) / 64 for _ in range(8)] for _ in range(8)] for _ in "wx")

    def run(enabled: bool, wrap: Callable[[Callable[[Any], Any], Any], Any]) -> tuple[list[str], list[Any]]:
        weight, leaf = context.tensor(w, grad=True), context.tensor(x, grad=True)
        seen = []

        def segment(t: Any) -> Any:
            # The product of a product needs the first one again, rounded as it was.
            made = torch.mm(torch.mm(t, weight), weight)
            seen.append(str(made.dtype))
            return made.float() * made.float()

        with torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled):
            out = wrap(segment, leaf)
        by = torch.autograd.grad if wrap is plain else None
        if by is not None:
            return seen, [out, *by(out.sum(), [leaf, weight])]
        out.sum().backward()
        return seen, [out, leaf.grad, weight.grad]

    def plain(segment: Callable[[Any], Any], leaf: Any) -> Any:
        return segment(leaf)

    for enabled in (True, False):
        right = run(enabled, plain)[1]
        for reentrant in (True, False):
            seen, got = run(enabled, functools.partial(api.checkpoint, use_reentrant=reentrant))
            what = f"autocast {'on' if enabled else 'off'}, use_reentrant={reentrant}"
            context.exact(seen, [f"torch.{'bfloat16' if enabled else 'float32'}"] * 2, what=f"dtypes, {what}")
            for name, g, e in zip(("output", "gradient", "gradient of the weight"), got, right):
                context.exact(g, context.values(e), what=f"{name}, {what}")


@check(oracle="counting", devices="cpu", timeout=120)
def worker_functions(context: Context) -> None:
    """A DataLoader calls the functions of one's own: of each worker at its start, of each batch, of the sampler."""
    if sys.platform != "linux":
        context.skip("worker processes are forked on Linux only")
    data = context.torch.utils.data
    told: dict[str, int] = {}

    class Told(data.Dataset):  # type: ignore[misc, name-defined] # torch is no base class that mypy knows
        def __len__(self) -> int:
            return 8

        def __getitem__(self, i: int) -> int:
            return 100 * told.get("worker", -1) + i

    loader = data.DataLoader(
        Told(),
        batch_size=2,
        num_workers=2,
        multiprocessing_context="fork",
        timeout=60,
        worker_init_fn=lambda worker: told.update(worker=worker + 1),
        collate_fn=lambda batch: [*batch, len(batch)],
        sampler=[7, 6, 5, 4, 3],
    )
    right = [[107, 106, 2], [205, 204, 2], [103, 1]]
    context.exact(list(loader), right, what="batches of 2 workers, numbered by their init function")
    context.exact([len(told)], [0], what="workers called it, not this process")


def _seeded(seed: Callable[[], int], told: Callable[[], int], draw: Callable[[], Any]) -> tuple[int, int, list[float]]:
    return seed(), told(), draw().tolist()


@check(oracle="64 random bits do not repeat", level="quick", devices="cpu")
def fresh_seeds(context: Context) -> None:
    """Seeds that the system draws differ, are told, and are those that numbers come from."""
    torch = context.torch
    before = torch.get_rng_state()
    try:
        for name, seed, told, draw in (
            ("torch.seed", torch.seed, torch.initial_seed, lambda: torch.rand(4)),
            ("Generator.seed", (own := torch.Generator()).seed, own.initial_seed, lambda: torch.rand(4, generator=own)),
        ):
            drawn = [_seeded(seed, told, draw) for _ in range(3)]
            context.exact([len({s for s, _, _ in drawn})], [3], what=f"{name}: different seeds of three")
            context.exact([t for _, t, _ in drawn], [s for s, _, _ in drawn], what=f"{name}: what initial_seed says")
            context.exact([len({tuple(n) for _, _, n in drawn})], [3], what=f"{name}: different numbers")
            again = torch.Generator().manual_seed(drawn[0][0])
            context.exact(
                torch.rand(4, generator=again), drawn[0][2], what=f"{name}: numbers of the seed that was told"
            )
    finally:
        torch.set_rng_state(before)


@check(oracle="memory of their own", level="quick")
@trajectory.unthreaded
def deep_copies(context: Context) -> None:
    """A deep copy of a module has the numbers of the original, and parameters and buffers of its own."""
    torch = context.torch
    nn = torch.nn
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 2))).to(context.device)
    model[2].register_buffer("steps", context.tensor([5.0]))
    model[2][0].weight.requires_grad_(requires_grad=False)
    model(context.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0]])).sum().backward()
    made = copy.deepcopy(model)

    def told(owner: Any) -> dict[str, Any]:
        return {**dict(owner.named_parameters()), **dict(owner.named_buffers())}

    theirs, mine = told(model), told(made)
    context.exact(sorted(mine), sorted(theirs), what="names")
    kept = {name: context.values(tensor) for name, tensor in theirs.items()}
    with torch.no_grad():
        for name, tensor in theirs.items():
            context.true(mine[name].requires_grad == tensor.requires_grad, what=f"requires_grad of {name}")
            tensor.add_(3)
    for name, tensor in mine.items():
        context.exact(tensor, kept[name], what=f"{name} of the copy after the original changed")
    tied = nn.ModuleList([nn.Linear(2, 2)] * 2)
    pair = copy.deepcopy(tied)
    context.true(pair[0].weight is pair[1].weight, what="what was shared inside is shared inside the copy")
    context.true(pair[0].weight is not tied[0].weight, what="and with nobody else")


@check(oracle="mean and variance of what a layer norm gives", dtypes=("float32",))
@trajectory.unthreaded
def last_norms(context: Context) -> None:
    """Transformer encoders and decoders end in the norm that they were given, whose rows have its mean and variance."""
    torch = context.torch
    nn, width = torch.nn, 8
    options = {"dim_feedforward": 16, "dropout": 0.0, "batch_first": True, "norm_first": True}
    x = context.tensor([[[v / 8 for v in passes.integers(context, width, i, j)] for j in range(5)] for i in range(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nested tensors, which norm_first rules out
        for name, layers, stack in (
            ("encoder", nn.TransformerEncoderLayer, nn.TransformerEncoder),
            ("decoder", nn.TransformerDecoderLayer, nn.TransformerDecoder),
        ):
            norm = nn.LayerNorm(width, eps=LN)
            nn.init.constant_(norm.weight, 3.0)
            nn.init.constant_(norm.bias, 5.0)
            layer = layers(width, 2, **options)
            model = stack(layer, 2, norm=norm).to(context.device)
            for mode in (True, False):
                model.train(mode)
                inputs = (x, x) if name == "decoder" else (x,)
                rows = model(*inputs).detach().reshape(-1, width).tolist()
                inner = x
                for part in model.layers:
                    inner = part(inner, x) if name == "decoder" else part(inner)
                given = inner.detach().reshape(-1, width).tolist()
                means = [math.fsum(v) / width for v in given]
                spread = [math.fsum((v - m) ** 2 for v in row) / width for row, m in zip(given, means)]
                right = [3 * (v - m) / math.sqrt(s + LN) + 5 for row, m, s in zip(given, means, spread) for v in row]
                # The fast path of evaluation may fuse what the layers alone round: 2 layers of some ten roundings.
                got = [v for row in rows for v in row]
                context.close(got, right, bound=256.0, cancel=16.0, what=f"{name}, training={mode}")


@check(oracle="the places of maxima in plain Python", level="quick", dtypes=("float32",))
@trajectory.unthreaded
def pooled_places(context: Context) -> None:
    """Max pooling's indices name the maximum of each window, in every spelling and layout."""
    torch, rng = context.torch, context.rng()
    functional, size, window = torch.nn.functional, 6, 2
    image = [[[float(v) for v in rng.sample(range(-50, 50), size * size)] for _ in range(3)] for _ in range(2)]
    x = context.tensor(image).reshape(2, 3, size, size)
    places = [
        max(
            ((i * window + p) * size + j * window + q for p in range(window) for q in range(window)),
            key=plane.__getitem__,
        )
        for planes in image
        for plane in planes
        for i in range(size // window)
        for j in range(size // window)
    ]
    spread = torch.stack((x, x), -1)[..., 0]
    module = torch.nn.MaxPool2d(window, return_indices=True)
    for layout, held in (
        ("", x),
        (", strided", spread),
        (", channels last", x.contiguous(memory_format=torch.channels_last)),
        (", transposed", x.transpose(2, 3).contiguous().transpose(2, 3)),
    ):
        for name, call in (
            ("module", module),
            ("functional", lambda t: functional.max_pool2d(t, window, return_indices=True)),
            ("with_indices", lambda t: functional.max_pool2d_with_indices(t, window)),
            ("adaptive", lambda t: functional.adaptive_max_pool2d(t, size // window, return_indices=True)),
            ("adaptive_with_indices", lambda t: functional.adaptive_max_pool2d_with_indices(t, size // window)),
        ):
            values, where = call(held)
            context.exact(where, places, what=f"places, {name}{layout}")
            context.exact(x.flatten(2).gather(2, where.flatten(2)), context.values(values), what=f"{name}{layout}")
            back = functional.max_unpool2d(values.contiguous(), where.contiguous(), window)
            context.exact(
                [int((back != 0).sum()), float((back * (back - x)).abs().sum())],
                [int((values != 0).sum()), 0.0],
                what=f"unpooling, {name}{layout}",
            )
