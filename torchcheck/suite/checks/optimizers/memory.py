"""What an optimizer remembers, entry by entry, through saving and loading; what it clears; who is told."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from ... import trajectory
from ...context import Context
from ...registry import check
from .lifecycle import CASES, GROUPED, Case, Loop

# More steps than 8 bits of significand count: 1,001 needs 10.
STEPS = 1001
# Factors that torch keeps in float32, and casts when it loads them (a known defect: optimizers.*.resumes_single).
CAST = ("mu_product", "eta", "mu")


def _pickled(_: Any, state: Any) -> Any:
    return pickle.loads(pickle.dumps(state))  # noqa: S301 - our own


def _saved(torch: Any, state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def _twice(torch: Any, state: Any) -> Any:
    """Load into another optimizer in between."""
    return _saved(torch, _pickled(torch, state))


WAYS: Mapping[str, Callable[[Any, Any], Any]] = {
    "copied": lambda _, state: copy.deepcopy(state),
    "pickled": _pickled,
    "saved and loaded safely": _saved,
    "pickled, then saved": _twice,
}


@check(
    oracle="the state that was saved",
    dtypes=("bfloat16",),
    more=("float16", "float32", "float64"),
    each=GROUPED,
    needs=lambda case: case.needs,
)
@trajectory.unthreaded
def remembers(context: Context, row: Case) -> None:
    """Every entry of {row}'s state, and every option, keeps value, dtype and shape on its way through a file."""
    one = Loop(context, row, row.options)
    for t in (1, 2):
        one.step(t)
    for state in one.optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].fill_(STEPS) if hasattr(state["step"], "fill_") else STEPS
    kept = copy.deepcopy(one.optimizer.state_dict())
    others = []
    ways = dict(WAYS) if context.at_least("full") else {"saved and loaded safely": _saved}
    for way, through in ways.items():
        other = Loop(context, row, row.other)
        saved = through(context.torch, one.optimizer.state_dict())
        other.optimizer.load_state_dict(saved)
        _alike(context, other.optimizer.state_dict(), kept, way)
        others.append((way, other))
    others[0][1].optimizer.load_state_dict(copy.deepcopy(others[-1][1].optimizer.state_dict()))
    wide = Loop(context, row, row.other)
    wide.params = [p.detach().double().requires_grad_() for p in wide.params]
    wide.optimizer = getattr(context.torch.optim, row.cls)(wide.params, **row.other)
    wide.optimizer.load_state_dict(copy.deepcopy(kept))
    _alike(context, wide.optimizer.state_dict(), kept, "into parameters of float64", dtype=context.torch.float64)
    for _, other in others:
        for p, q in zip(other.params, one.params):
            p.detach().copy_(q.detach())
        other.step(3)
    one.step(3)
    for way, other in others:
        if not row.coarse:
            context.exact(other.lanes(), one.lanes(), what=f"{way}: the next step")


def _alike(context: Context, got: Any, want: Any, way: str, dtype: Any = None) -> None:
    """Compare two states of an optimizer; entries as wide as the parameters may have another dtype."""
    names = ["params", *[name for name in want["param_groups"][0] if name != "params"]]
    for a, b in zip(got["param_groups"], want["param_groups"]):
        context.exact([str(a.get(name)) for name in names], [str(b[name]) for name in names], what=f"{way}: options")
    context.exact(sorted(got["state"]), sorted(want["state"]), what=f"{way}: parameters with a state")
    for i, entries in want["state"].items():
        context.exact([*got["state"].get(i, {})], [*entries], what=f"{way}: names of entries")
        for name, value in entries.items():
            found = got["state"][i][name]
            if name in CAST or not hasattr(value, "dtype"):
                continue
            right = value.dtype if dtype is None or name == "step" else dtype
            facts, due = [str(found.dtype), tuple(found.shape)], [str(right), tuple(value.shape)]
            context.exact(facts, due, what=f"{way}: dtype and shape of {name}")
            context.exact(found, context.values(value), what=f"{way}: {name}")


@check(
    oracle="what the documentation promises", level="quick", dtypes=("float32",), each=CASES, needs=lambda c: c.needs
)
@trajectory.unthreaded
def clears(context: Context, row: Case) -> None:
    """{row}'s zero_grad clears every gradient of every group, dtype and layout, or takes it away, as it is asked."""
    torch = context.torch
    kinds: list[dict[str, bool]] = [{}]
    kinds += [{name: True} for name in ("foreach", "fused") if not trajectory.lacking(context, row.cls, [name])]
    shape = (2, 3) if row.kind == "matrix" else (3,)
    for flags in kinds:
        for keep in (True, False):
            low = (torch.float32, torch.float64, torch.bfloat16)
            params = [torch.ones(*shape, device=context.device, dtype=low[i % 3]).requires_grad_() for i in range(7)]
            groups = params if row.kind == "closure" else [{"params": params[:5]}, {"params": params[5:]}]
            try:
                optimizer = getattr(torch.optim, row.cls)(groups, lr=0.5, **flags)
            except RuntimeError as error:
                context.note(f"{row.cls} refuses {flags}: {str(error).partition(chr(10))[0]}")
                continue
            for i, p in enumerate(params):
                # The third has none; the gradients of the fourth and the last have a graph of their own.
                p.grad = None if i == 2 else torch.full_like(p.detach(), 2.0 + i)
            leaf = params[3].detach().clone().requires_grad_()
            params[3].grad, params[6].grad = leaf * 2, params[6].grad.requires_grad_()
            held = [p.grad for p in params]
            optimizer.zero_grad(set_to_none=not keep)
            what = f"{flags or 'as is'}, set_to_none={not keep}"
            left = [None if p.grad is None else context.values(p.grad) for p in params]
            zeros = [0.0] * params[0].numel()
            context.true(left == [zeros if keep and i != 2 else None for i in range(7)], what=what, got=left)
            if keep:
                graphs = [p.grad is not None and (p.grad.requires_grad or p.grad.grad_fn) for p in params]
                context.true(not any(graphs), what=f"{what}: gradients are cut off from their graph", got=graphs)
                context.true(
                    all(p.grad is g for p, g in zip(params, held)),
                    what=f"{what}: the gradients are those that were there",
                )
            context.exact(trajectory.lanes(context, params), [1.0] * 7 * len(zeros), what=f"{what}: parameters")


@check(
    oracle="what the documentation promises",
    devices="once",
    needs=("torch.optim.Optimizer.register_state_dict_pre_hook",),
)
@trajectory.unthreaded
def state_hooks(context: Context) -> None:
    """Hooks around saving and loading an optimizer's state run in their order, and what they return is used."""
    torch, told = context.torch, []
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.5, momentum=0.5)
    p.grad = torch.ones(2)
    optimizer.step()

    def note(name: str) -> Callable[..., None]:
        return lambda *_: told.append(name)

    def marked(_: Any, state: Any) -> Any:
        told.append("saved")
        return {**state, "mark": 7}

    def unmarked(_: Any, state: Any) -> Any:
        told.append(f"loading {state.get('mark')}")
        state = copy.deepcopy(state)
        state["param_groups"][0]["lr"] = 0.125
        return state

    handles = [
        optimizer.register_state_dict_pre_hook(note("saving")),
        optimizer.register_state_dict_post_hook(marked),
        optimizer.register_state_dict_pre_hook(note("saving first"), prepend=True),
        optimizer.register_load_state_dict_pre_hook(unmarked),
        optimizer.register_load_state_dict_post_hook(note("loaded")),
        optimizer.register_load_state_dict_post_hook(note("loaded first"), prepend=True),
    ]
    state = optimizer.state_dict()
    context.exact(state.get("mark"), 7, what="what a hook adds to a state")
    optimizer.load_state_dict(state)
    context.exact(optimizer.param_groups[0]["lr"], 0.125, what="what a hook puts in the place of a state")
    context.exact(state["param_groups"][0]["lr"], 0.5, what="the state that was loaded")
    want = ["saving first", "saving", "saved", "loading 7", "loaded first", "loaded"]
    context.exact(told, want, what="hooks in their order")
    for handle in handles:
        handle.remove()
    optimizer.load_state_dict(optimizer.state_dict())
    context.exact(told, want, what="hooks after they were removed")
    optimizer.step()
    # Momentum 1, then 1.5: 1 - 0.5 - 0.125 * 1.5.
    context.exact(p, [0.3125] * 2, what="the step with the rate that a hook gave")
