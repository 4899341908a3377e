"""Pruning: every method, once and again, by counts and shares, in one tensor and in many, while training goes on."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from .. import trajectory
from ..context import Context
from ..registry import check

# Twelve magnitudes, all different: what is small is known.
ROWS = [[1.0, -5.0, 3.0, 12.0], [-2.0, 4.0, 6.0, -11.0], [7.0, -8.0, 9.0, 10.0]]
FLAT = [x for row in ROWS for x in row]


def _layer(context: Context, rows: list[list[float]] | None = None) -> Any:
    layer = context.torch.nn.Linear(4, 3).to(context.device)
    with context.torch.no_grad():
        layer.weight.copy_(context.tensor(rows or ROWS))
        layer.bias.copy_(context.tensor([3.0, -1.0, 2.0]))
    return layer


def _smallest(values: list[float], count: int, zeros: int = 0) -> list[float]:
    """Zero the smallest: so many of those that are not zero already."""
    order = sorted(range(len(values)), key=lambda i: abs(values[i]))[: count + zeros]
    return [0.0 if i in order else x for i, x in enumerate(values)]


def _without(rows: tuple[int, ...] = (), columns: tuple[int, ...] = ()) -> list[float]:
    return [0.0 if i in rows or j in columns else x for i, row in enumerate(ROWS) for j, x in enumerate(row)]


SCORES = [[float((5 * i + 7 * j) % 12) for j in range(4)] for i in range(3)]


def _lowest(count: int) -> list[float]:
    flat = [x for row in SCORES for x in row]
    order = sorted(range(12), key=lambda i: flat[i])[:count]
    return [0.0 if i in order else x for i, x in enumerate(FLAT)]


MASK = [[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]
MASKED = [x * m for row, mask in zip(ROWS, MASK) for x, m in zip(row, mask)]
Call = Callable[[Any, Any, Context], Any]
# name: (calls, one after the other, and the weight after each)
CASES: Mapping[str, list[tuple[Call, list[float]]]] = {
    "smallest_again": [
        (lambda p, m, _: p.l1_unstructured(m, "weight", 4), _smallest(FLAT, 4)),
        # Half of the eight that are left, not of twelve.
        (lambda p, m, _: p.l1_unstructured(m, "weight", 0.5), _smallest(FLAT, 8)),
        (lambda p, m, _: p.l1_unstructured(m, "weight", 3), _smallest(FLAT, 11)),
    ],
    "smallest_by_scores": [
        (lambda p, m, c: p.l1_unstructured(m, "weight", 5, importance_scores=c.tensor(SCORES)), _lowest(5)),
        (lambda p, m, c: p.l1_unstructured(m, "weight", 2, importance_scores=c.tensor(SCORES)), _lowest(7)),
    ],
    "rows_again": [
        # Lengths of rows by the 2-norm: 13.4, 13.3, 17.1; by the largest element 12, 11, 10.
        (lambda p, m, _: p.ln_structured(m, "weight", 1, n=2, dim=0), _without(rows=(1,))),
        (lambda p, m, _: p.ln_structured(m, "weight", 0.5, n=float("inf"), dim=0), _without(rows=(1, 2))),
    ],
    "columns_again": [
        # Sums of columns: 10, 17, 18, 33.
        (lambda p, m, _: p.ln_structured(m, "weight", 0.25, n=1, dim=1), _without(columns=(0,))),
        (lambda p, m, _: p.ln_structured(m, "weight", 1, n=1, dim=-1), _without(columns=(0, 1))),
    ],
    "mask_and_smallest": [
        (lambda p, m, c: p.custom_from_mask(m, "weight", c.tensor(MASK)), MASKED),
        (lambda p, m, _: p.l1_unstructured(m, "weight", 4), _smallest(MASKED, 4, zeros=3)),
        (
            lambda p, m, c: p.custom_from_mask(m, "weight", c.tensor([[0.0] * 4, [1.0] * 4, [1.0] * 4])),
            [0.0] * 4 + _smallest(MASKED, 4, zeros=3)[4:],
        ),
    ],
    "smallest_and_columns": [
        # What is left of the columns: 7; 5, 8; 6, 9; 12, 11, 10.
        (lambda p, m, _: p.l1_unstructured(m, "weight", 4), _smallest(FLAT, 4)),
        (
            lambda p, m, _: p.ln_structured(m, "weight", 1, n=1, dim=1),
            [x if i % 4 else 0.0 for i, x in enumerate(_smallest(FLAT, 4))],
        ),
    ],
    "none": [
        (lambda p, m, _: p.identity(m, "weight"), FLAT),
        (lambda p, m, _: p.l1_unstructured(m, "weight", 0), FLAT),
        (lambda p, m, _: p.l1_unstructured(m, "weight", 1.0), [0.0] * 12),
    ],
}


@check(oracle="integers, exact", level="quick", dtypes=("float32",), each=CASES)
@trajectory.unthreaded
def prunes(context: Context, row: list[tuple[Call, list[float]]]) -> None:
    """Pruned ({row}), again too, a weight keeps what should be kept, trains on under its mask, and can be made so."""
    prune = importlib.import_module("torch.nn.utils.prune")
    layer = _layer(context)
    for i, (call, right) in enumerate(row, 1):
        call(prune, layer, context)
        context.exact(layer.weight, right, what=f"weight pruned {i} times")
        context.exact(layer.weight_mask, [float(x != 0) for x in right], what=f"mask after {i} times")
        context.exact(layer.weight_orig, FLAT, what=f"the weight before, after {i} times")
    context.exact(layer.bias, [3.0, -1.0, 2.0], what="bias")
    context.true(prune.is_pruned(layer), what="a pruned layer is said to be pruned")
    twin = _layer(context)
    prune.identity(twin, "weight")
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    optimizer = context.torch.optim.SGD([*layer.parameters(), *twin.parameters()], lr=0.5)
    x = context.tensor([[2.0, 4.0, -2.0, 6.0]])
    (layer(x) + twin(x)).sum().backward()
    kept = [float(v != 0) for v in row[-1][1]]
    context.exact(layer.weight_orig.grad, [k * v for k, v in zip(kept, [2.0, 4.0, -2.0, 6.0] * 3)], what="gradient")
    optimizer.step()
    moved = [k * (w - 0.5 * v) for k, w, v in zip(kept, FLAT, [2.0, 4.0, -2.0, 6.0] * 3)]
    ones = context.tensor([[float(i == j) for j in range(4)] for i in range(4)])
    for what, model in (("layer", layer), ("layer that loaded its state", twin)):
        out = model(ones) - model.bias
        context.exact(out.t(), moved, what=f"the {what} uses the weight that was stepped, under its mask")
    prune.remove(layer, "weight")
    context.exact(layer.weight, moved, what="weight made permanent")
    context.exact(sorted(layer.state_dict()), ["bias", "weight"], what="names in the state then")
    context.true(not prune.is_pruned(layer), what="a layer is no longer said to be pruned")


RANDOM: Mapping[str, tuple[Call, Call]] = {
    "elements": (
        lambda p, m, _: p.random_unstructured(m, "weight", 5),
        lambda p, m, _: p.random_unstructured(m, "weight", 3),
    ),
    "rows": (
        lambda p, m, _: p.random_structured(m, "weight", 1, dim=0),
        lambda p, m, _: p.random_structured(m, "weight", 1, dim=0),
    ),
    "columns": (
        lambda p, m, _: p.random_structured(m, "weight", 1, dim=1),
        lambda p, m, _: p.random_structured(m, "weight", 2, dim=1),
    ),
}
LOST = {"elements": (5, 8), "rows": (4, 8), "columns": (3, 9)}


@check(oracle="counting", dtypes=("float32",), each={name: name for name in RANDOM})
@trajectory.unthreaded
def draws(context: Context, row: str) -> None:
    """Random pruning of {row} takes as many as it is told, whole ones, other ones again, different ones by the seed."""
    prune, seen = importlib.import_module("torch.nn.utils.prune"), set()
    for seed in range(5):
        context.torch.manual_seed(seed)
        layer = _layer(context)
        for i, call in enumerate(RANDOM[row]):
            call(prune, layer, context)
            mask = [context.values(line) for line in layer.weight_mask]
            lost = sum(line.count(0.0) for line in mask)
            context.exact(lost, LOST[row][i], what=f"elements lost, seed {seed}, after {i + 1} times")
            parts = mask if row == "rows" else [*zip(*mask)]
            if row != "elements":
                context.true(
                    all(len({*part}) == 1 for part in parts), what=f"whole {row} are lost, seed {seed}", got=mask
                )
        seen.add(str(mask))
    context.true(len(seen) > 1, what="seeds prune differently", got=len(seen))


@check(oracle="integers, exact", dtypes=("float32",))
@trajectory.unthreaded
def many(context: Context) -> None:
    """Global pruning takes the smallest of all tensors together, again from what is left; biases are pruned as well."""
    prune = importlib.import_module("torch.nn.utils.prune")
    one, two = _layer(context), _layer(context, [[x / 2 for x in row] for row in ROWS])
    places, whole = [(one, "weight"), (two, "weight"), (one, "bias")], [*FLAT, *(x / 2 for x in FLAT), 3.0, -1.0, 2.0]
    # Halves of even numbers are there twice: counts end where no two are alike.
    for amount, count in ((1, 1), (2.0 / 26, 3)):
        prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=amount)
        lost = sum(getattr(m, f"{n}_mask").numel() - int(getattr(m, f"{n}_mask").sum()) for m, n in places)
        context.exact(lost, count, what=f"elements lost of all, amount {amount}")
        got = [x for m, n in places for x in context.values(getattr(m, n))]
        largest = max(abs(w) for w, g in zip(whole, got) if g == 0)
        smallest = min(abs(g) for g in got if g != 0)
        context.true(largest <= smallest, what="the smallest of all are lost", got=(largest, smallest))
    one, two = _layer(context), _layer(context)
    scores = {
        (m, "weight"): context.tensor([[s + o for s in line] for line in SCORES]) for m, o in ((one, 0.5), (two, 6.0))
    }
    prune.global_unstructured([*scores], prune.L1Unstructured, importance_scores=scores, amount=9)
    ranked = sorted([(s + o, k) for k, o in ((0, 0.5), (1, 6.0)) for line in SCORES for s in line])[:9]
    lost = [12 - int(layer.weight_mask.sum()) for layer in (one, two)]
    context.exact(lost, [sum(k == i for _, k in ranked) for i in (0, 1)], what="elements lost of each, by scores")
    layer = _layer(context)
    prune.l1_unstructured(layer, "bias", 1)
    context.exact(layer.bias, [3.0, 0.0, 2.0], what="pruned bias")
    context.exact(layer.weight, FLAT, what="weight beside it")
    for amount in (13, 1.5, -1):
        context.raises(
            ValueError, prune.l1_unstructured, _layer(context), "weight", amount, what=f"{amount} is refused"
        )
