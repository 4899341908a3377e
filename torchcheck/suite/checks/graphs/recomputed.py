"""Checkpoints: segments that backward computes again, with the draws, the mode and the arguments they had."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ... import passes, trajectory
from ...registry import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...context import Context

EXACT = "polynomials at integers, exact"
FLOAT32 = ("float32",)
X, Y, G = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [1.0, 2.0, -1.0]


def _draw(context: Context, count: int) -> Any:
    return context.torch.rand(count, device=context.device)


@check(oracle="the same draws without checkpoints", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def draws_again(context: Context) -> None:
    """A segment computed again has the draws it had; draws before, between and after it are those of no checkpoint."""
    from torch.utils import checkpoint as api

    torch = context.torch
    sizes = (5, 7, 3, 7, 4, 6)  # before, in the first segment, between, in the second, before and after backward

    def stream(more: int) -> list[list[float]]:
        torch.manual_seed(context.seed + 7)
        drawn = [context.values(_draw(context, n)) for n in sizes[:5]]
        for _ in range(more):
            _draw(context, 7)
        return [*drawn, context.values(_draw(context, sizes[5]))]

    for reentrant in (True, False):
        for keep in (None, True, False):
            options = {} if keep is None else {"preserve_rng_state": keep}
            expected = stream(2 if keep is False else 0)
            torch.manual_seed(context.seed + 7)
            got: list[Any] = []
            masks: list[Any] = []

            def segment(t: Any, masks: list[Any] = masks) -> Any:
                masks.append(_draw(context, 7))
                return t * masks[-1] * 2

            leaf = context.tensor([1.0] * 7, grad=True)
            got.append(_draw(context, 5))
            first = api.checkpoint(segment, leaf * 1, use_reentrant=reentrant, **options)
            got += [masks[-1], _draw(context, 3)]
            second = api.checkpoint(segment, leaf * 1, use_reentrant=reentrant, **options)
            got += [masks[-1], _draw(context, 4)]
            (first + 3 * second).sum().backward()
            got.append(_draw(context, 6))
            what = f"use_reentrant={reentrant}, preserve_rng_state={keep}"
            for name, numbers, right in zip(
                ("before", "in the first segment", "between", "in the second", "before backward", "after backward"),
                got,
                expected,
            ):
                context.exact(numbers, right, what=f"draws {name}, {what}")
            again = [context.values(m) for m in masks[2:]]
            context.exact(len(again), 2, what=f"segments computed again, {what}")
            if keep is not False:
                context.exact(sorted(again), sorted((expected[1], expected[3])), what=f"draws again, {what}")
                slopes = [2 * (context.format.round(a + 3 * b)) for a, b in zip(expected[1], expected[3])]
                context.close(leaf.grad, slopes, bound=8.0, what=f"gradient, {what}")


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def segments(context: Context) -> None:
    """Checkpoints take several inputs and outputs, keywords and structures, and are computed again when needed."""
    from torch.utils import checkpoint as api

    torch = context.torch
    grad = torch.autograd.grad
    calls: list[tuple[bool, str]] = []
    w = context.tensor(Y, grad=True)

    def segment(a: Any, word: str, b: Any, frozen: Any, *, times: float = 1.0, also: Any = None) -> Any:
        calls.append((torch.is_grad_enabled(), word))
        made = a * b * w * times
        return {"out": made + (0 if also is None else also * also), "word": word}, [frozen * a, None]

    g = context.tensor(G)
    for asked in (1, 2):
        a, b, also = (context.tensor(v, grad=True) for v in (X, G, [2.0, 3.0, 4.0]))
        frozen = context.tensor([10.0, 20.0, 30.0])
        calls.clear()
        made, (other, none) = api.checkpoint(
            segment, a, "word", b, frozen, use_reentrant=False, times=2.0, also=also * 1
        )
        context.exact([made["word"], none is None], ["word", True], what="what is no tensor comes through")
        right = [2 * p * q * r + s * s for p, q, r, s in zip(X, G, Y, (2, 3, 4))]
        context.exact(made["out"], right, what="output")
        out = made["out"] * g + other
        for _ in range(asked):
            by = grad(out.sum(), (a, b, w, also), retain_graph=True)
            slopes = (
                [2 * q * r * k + f for q, r, k, f in zip(G, Y, G, (10, 20, 30))],
                [2 * p * r * k for p, r, k in zip(X, Y, G)],
                [2 * p * q * k for p, q, k in zip(X, G, G)],
                [2 * s * k for s, k in zip((2, 3, 4), G)],
            )
            for name, got, slope in zip(("a", "b", "w", "a keyword"), by, slopes):
                context.exact(got, slope, what=f"gradient by {name}, asked for {asked} times")
        context.true(len(calls) >= 2 and all(on for on, _ in calls), what="the segment is computed again, and recorded")


def _counted(calls: list[int], result: Any) -> Any:
    calls.append(1)
    return result


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def nested_segments(context: Context) -> None:
    """Checkpoints inside checkpoints, under no_grad, differentiated twice and left by errors do what plain calls do."""
    from torch.utils import checkpoint as api

    torch = context.torch
    grad = torch.autograd.grad
    calls: list[int] = []
    x, w = context.tensor(X, grad=True), context.tensor(Y, grad=True)
    counts = {"outer": 0, "inner": 0}

    def inner(t: Any) -> Any:
        counts["inner"] += 1
        return (t * t).exp() * w

    def outer(t: Any) -> Any:
        counts["outer"] += 1
        return api.checkpoint(inner, t * 2, use_reentrant=False) * t

    plain = [context.values(v) for v in grad((((x * 2) ** 2).exp() * w * x).sum(), (x, w))]
    got = grad(api.checkpoint(outer, x, use_reentrant=False).sum(), (x, w))
    for by, slope in zip(got, plain):
        context.close(by, slope, bound=64.0, what="gradient of a checkpoint inside a checkpoint")
    context.true(counts["outer"] == 2 and counts["inner"] in (2, 3), what="how often they ran", got=str(counts))
    with torch.no_grad():
        quiet = api.checkpoint(lambda t: _counted(calls, t * 2), x, use_reentrant=False)
    context.exact([len(calls), quiet.requires_grad], [1, False], what="under no_grad it is a plain call")
    quick = api.checkpoint(lambda t: t * t, x, use_reentrant=False)
    second = grad(grad(quick.sum(), x, create_graph=True)[0].sum(), x)[0]
    context.exact(second, [2.0] * 3, what="second derivative through a checkpoint")

    def fails(t: Any) -> Any:
        if len(calls) > 5:
            raise KeyError("refused")
        calls.extend([1] * 5)
        return t.exp()

    calls.clear()
    out = api.checkpoint(fails, x, use_reentrant=False)
    calls.append(1)
    context.raises(KeyError, out.sum().backward, what="an error while computing again is raised")
    (x * 3).sum().backward()
    context.exact(x.grad, [3.0] * 3, what="gradient after that error")


@check(oracle="counting", dtypes=FLOAT32, needs=("torch.export",))
@trajectory.unthreaded
def segment_options(context: Context) -> None:
    """Early stop, contexts of one's own and the comparison of shapes of a checkpoint do what they say."""
    from torch.utils import checkpoint as api

    torch = context.torch
    x = context.tensor(X, grad=True)
    for stop, right_count in ((True, 3), (False, 4)):
        steps: list[int] = []

        def long(t: Any, steps: list[int] = steps) -> Any:
            steps.append(1)
            t = t.sin()
            steps.append(2)  # nothing is saved from here on
            return t + 1

        with api.set_checkpoint_early_stop(stop):
            out = api.checkpoint(long, x, use_reentrant=False)
        out.sum().backward()
        context.exact(len(steps), right_count, what=f"steps with early stop {stop}")
    shapes = [3]

    def grows(t: Any) -> Any:
        shapes[0] -= 1
        return t[: shapes[0]].sin()

    out = api.checkpoint(grows, x, use_reentrant=False)
    context.raises(Exception, out.sum().backward, what="other shapes when computed again are noticed")
    modes = {"first": 0, "again": 0}

    @contextlib.contextmanager
    def counted(name: str) -> Iterator[None]:
        modes[name] += 1
        yield

    out = api.checkpoint(torch.sin, x, use_reentrant=False, context_fn=lambda: (counted("first"), counted("again")))
    seen = dict(modes)
    out.sum().backward()
    context.exact([seen["first"], seen["again"], modes["again"]], [1, 0, 1], what="contexts of one's own")


@check(oracle=EXACT, dtypes=FLOAT32)
@trajectory.unthreaded
def reentrant_segments(context: Context) -> None:
    """Reentrant checkpoints, one after another and in a sequence, give exact gradients and leave the mode as it was."""
    from torch.utils import checkpoint as api

    torch = context.torch
    x, w = context.tensor(X, grad=True), context.tensor(Y, grad=True)
    modes: list[bool] = []

    def segment(a: Any, k: float, b: Any) -> Any:
        modes.append(torch.is_grad_enabled())
        return a * b * w * k, a.detach() * 2

    with torch.no_grad():
        frozen = x * 1
    for _ in range(2):
        out, other = api.checkpoint(segment, x, 2.0, x * 1, use_reentrant=True)
        (out + other).backward(context.tensor(G))
    context.exact(modes, [False, True] * 2, what="mode at first and again")
    context.exact(x.grad, [2 * 4 * a * b * k for a, b, k in zip(X, Y, G)], what="gradient by the input, twice")
    context.exact(w.grad, [2 * 2 * a * a * k for a, k in zip(X, G)], what="gradient by a weight, twice")
    context.true(not frozen.requires_grad and torch.is_grad_enabled(), what="the mode is as it was")
    context.raises(
        RuntimeError,
        lambda: torch.autograd.grad(api.checkpoint(torch.sin, x, use_reentrant=True).sum(), x),
        what="autograd.grad through a reentrant checkpoint is refused",
    )
    factors = [passes.integers(context, 3, i) for i in range(5)]
    weights = [context.tensor(f, grad=True) for f in factors]
    parts = [lambda t, w=w: t * w for w in weights]
    for reentrant in (True, False):
        for count in (1, 2, 3, 4, 5):
            leaf = context.tensor(X, grad=True)
            out = api.checkpoint_sequential(parts, count, leaf, use_reentrant=reentrant)
            out.backward(context.tensor(G))
            whole = [1.0] * 3
            for f in factors:
                whole = [p * v for p, v in zip(whole, f)]
            what = f"{count} parts of a sequence, use_reentrant={reentrant}"
            context.exact(out, [v * p for v, p in zip(X, whole)], what=f"output of {what}")
            context.exact(leaf.grad, [k * p for k, p in zip(G, whole)], what=f"gradient by the input of {what}")
            for f, weight in zip(factors, weights):
                right = [v * k * p / u for v, k, p, u in zip(X, G, whole, f)]
                context.exact(weight.grad, right, what=f"gradient by a weight of {what}")
                weight.grad = None
