"""Scaled dot-product attention on each of its paths, and the Transformer layer built on it."""

from __future__ import annotations

import contextlib
import functools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import attention as oracle
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

BY_HAND = "softmax(Q K^T) V and its gradients by hand in float64, with their error bounds"
REFUSED = re.compile("No available kernel|No viable backend")
# Worst cases add up in the bounds; sound kernels reach a sixteenth. Narrow formats accumulate in float32, so they are
# nearer still.
BOUND = {"float64": 0.5, "float32": 0.5, "bfloat16": 0.125, "float16": 0.125}
COPIES = 2  # of the batch, when there are thousands of lanes to meet


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        queries: length of Q.
        keys: length of K and V.
        depth: of Q and K.
        heads: of Q.
        shared: heads of Q per head of K and V.
        causal: mask the future.
        mask: "", "bool" or "float".
        scale: None for 1 / sqrt(depth).
        level: cheapest level that runs it.
    """

    queries: int
    keys: int
    depth: int = 8
    heads: int = 1
    shared: int = 1
    causal: bool = False
    mask: str = ""
    scale: float | None = None
    level: str = "default"


CASES = {
    "plain": Case(17, 19, heads=2, level="quick"),
    "causal": Case(33, 33, causal=True, level="quick"),
    "causal, 67 long": Case(67, 67, causal=True, level="full"),
    "causal, 37 long": Case(37, 37, depth=5, causal=True),
    "67 queries, 130 keys": Case(67, 130, level="full"),
    "many keys": Case(2, 521),
    "many queries": Case(131, 3),
    "causal, more keys": Case(11, 17, causal=True),
    "depth 16, scaled": Case(11, 13, depth=16, scale=0.3125),
    "bool mask": Case(13, 21, heads=2, mask="bool"),
    "float mask": Case(13, 24, heads=2, mask="float"),
    "grouped queries": Case(9, 11, heads=4, shared=2),
}
PATHS = {
    "default": "",
    "math": "MATH",
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
}


@dataclass(frozen=True)
class Answer:
    """Inputs and what is right for them, flat; `right` has (values, errors) of output, Q, K, V and the mask."""

    inputs: dict[str, list[float]]
    upstream: list[float]
    allowed: list[bool]
    right: list[tuple[list[float], list[float]]]


def _matrix(rng: random.Random, rows: int, columns: int) -> oracle.Matrix:
    return [passes.dyadic(rng, columns, 96) for _ in range(rows)]


@functools.lru_cache(maxsize=16)
def _answer(name: str, seed: int) -> Answer:
    case, rng = CASES[name], random.Random(f"{name} {seed}")  # noqa: S311 - test data
    scale = 1 / math.sqrt(case.depth) if case.scale is None else case.scale
    queries, keys, depth = case.queries, case.keys, case.depth
    q = [_matrix(rng, queries, depth) for _ in range(case.heads)]
    k, v = ([_matrix(rng, keys, depth) for _ in range(case.heads // case.shared)] for _ in "kv")
    upstream = [_matrix(rng, queries, depth) for _ in range(case.heads)]
    allowed = [[rng.random() < 0.7 or j == i % keys for j in range(keys)] for i in range(queries)]
    mask = _mask(rng, case, allowed)
    heads = [
        oracle.attend(q[h], k[h // case.shared], v[h // case.shared], upstream[h], scale, mask)
        for h in range(case.heads)
    ]
    parts = [[h.output for h in heads], [h.query for h in heads]]
    parts += [_shared([h.key for h in heads], case.shared), _shared([h.value for h in heads], case.shared)]
    parts.append([_summed([h.mask for h in heads])] if case.mask == "float" else [])
    right = [tuple(_flat([pair[side] for pair in part]) for side in (0, 1)) for part in parts]
    inputs = {"q": _flat(q), "k": _flat(k), "v": _flat(v)}
    if case.mask == "float" and mask is not None:
        inputs["mask"] = _flat([mask])
    return Answer(inputs, _flat(upstream), [bool(a) for row in allowed for a in row], right)  # type: ignore[arg-type]


def _mask(rng: random.Random, case: Case, allowed: list[list[bool]]) -> oracle.Matrix | None:
    if case.causal:
        return [[0.0 if j <= i else -math.inf for j in range(case.keys)] for i in range(case.queries)]
    if case.mask == "bool":
        return [[0.0 if a else -math.inf for a in row] for row in allowed]
    return _matrix(rng, case.queries, case.keys) if case.mask == "float" else None


def _flat(matrices: list[oracle.Matrix]) -> list[float]:
    return [v for matrix in matrices for row in matrix for v in row]


def _summed(pairs: list[oracle.Judged]) -> oracle.Judged:
    values, errors = zip(*pairs)
    return oracle.add(*((1.0, m) for m in values)), oracle.add(*((1.0, m) for m in errors))


def _shared(pairs: list[oracle.Judged], group: int) -> list[oracle.Judged]:
    """Add up what the queries of a group send back to the key and value they share."""
    return [_summed(pairs[i : i + group]) for i in range(0, len(pairs), group)]


@contextlib.contextmanager
def _path(context: Context, name: str) -> Iterator[None]:
    if not name:
        yield
        return
    api = context.torch.nn.attention
    with api.sdpa_kernel([getattr(api.SDPBackend, name)]):
        yield


def _needs(path: str) -> list[str]:
    return [f"torch.nn.attention.SDPBackend.{path}", "torch.nn.attention.sdpa_kernel"] if path else []


USUAL, CHOSEN = passes.parted(PATHS, ("default",))


@check(oracle=BY_HAND, level="quick", dtypes=FLOATS, each=USUAL)
@check(oracle=BY_HAND, dtypes=("float32", "bfloat16"), more=("float64", "float16"), each=CHOSEN, needs=_needs)
def attends(context: Context, path: str) -> None:
    """Attention on the path {row} gives output and gradients of its formula."""
    refused: list[str] = []
    for name, case in CASES.items():
        if context.at_least(case.level):
            answer = _answer(name, context.seed)
            try:
                with _path(context, path), precision.full(context.torch):
                    found = _run(context, case, answer)
            except (RuntimeError, TypeError) as error:
                if not isinstance(error, TypeError) and not REFUSED.search(str(error)):
                    raise
                refused.append(name)
                continue
            whats = ("output", "gradient by Q", "gradient by K", "gradient by V", "gradient by the mask")
            for what, got, (values, errors) in zip(whats, found, answer.right):
                passes.judge_period(
                    context, got, values, cancel=errors, bound=BOUND[context.format.name], what=f"{name}: {what}"
                )
    if not context.comparisons:
        context.skip("torch has no kernel for this path on this device and dtype")
    if refused:
        context.note("not offered here: " + ", ".join(refused))


def _run(context: Context, case: Case, answer: Answer) -> list[Any]:
    """Call torch on copies of the batch; the mask's gradient only without copies, since they share it."""
    copies = COPIES if context.format.digits >= 24 and "mask" not in answer.inputs else 1
    lengths = {"q": (case.heads, case.queries), "k": (case.heads // case.shared, case.keys)}
    lengths["v"] = lengths["k"]
    tensors = [
        passes.tiled(context, answer.inputs[name], copies * len(answer.inputs[name])).reshape(
            copies, *shape, case.depth
        )
        for name, shape in lengths.items()
    ]
    options: dict[str, Any] = {"is_causal": case.causal}
    if case.scale is not None:
        options["scale"] = case.scale
    if case.shared > 1:
        options["enable_gqa"] = True
    if case.mask == "bool":
        allowed = context.tensor(answer.allowed, dtype="bool").reshape(case.queries, case.keys)
        options["attn_mask"] = allowed
    if "mask" in answer.inputs:
        tensors.append(context.tensor(answer.inputs["mask"]).reshape(case.queries, case.keys))

    def call(q: Any, k: Any, v: Any, *mask: Any) -> Any:
        if mask:
            options["attn_mask"] = mask[0]
        return context.torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)

    output, gradients = passes.backward(context, call, tensors, answer.upstream)
    return [output, *gradients]


@check(oracle="NaN in, NaN out", dtypes=("float32",))
def nan(context: Context) -> None:
    """A NaN in a query, a key or a value reaches the rows that depend on it, and no other."""
    function = context.torch.nn.functional.scaled_dot_product_attention
    q, k, v = (context.tensor([[[[0.5, 0.25, 1.0, -1.0]] * 5]]) for _ in "qkv")
    poisoned = q.clone()
    poisoned[0, 0, 2] = math.nan
    rows = [[math.isnan(value) for value in row] for row in function(poisoned, k, v)[0, 0].tolist()]
    context.exact(rows[2], [True] * 4, what="a NaN query row")
    context.exact([any(row) for i, row in enumerate(rows) if i != 2], [False] * 4, what="the other rows")
    poisoned = v.clone()
    poisoned[0, 0, :, 1] = math.nan
    columns = [[math.isnan(value) for value in row] for row in function(q, k, poisoned)[0, 0].tolist()]
    context.exact(columns, [False, True, False, False] * 5, what="a NaN value column")
