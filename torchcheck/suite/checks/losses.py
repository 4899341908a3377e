"""Every loss of `torch.nn`: all reductions, options and conventions, value and gradient."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import losses as oracle
from ..oracles.tape import backward, leaves, total
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

FORMULA = "the documented formula in float64, with its running error"
ROWS = 7


@dataclass(frozen=True)
class Field:
    """One input of a loss: its shape (the batch first), how an element is drawn, and what it is."""

    shape: tuple[int, ...]
    draw: Callable[[random.Random], Any]
    role: str = "leaf"  # "leaf" and "shared" are differentiated; "shared" has no batch
    dtype: str | None = None


def _leaf(*shape: int, low: float = -2.0, high: float = 2.0, role: str = "leaf") -> Field:
    """Make an input of multiples of 1/64, which bfloat16 holds; `shape` is that of one row."""
    return Field((ROWS, *shape), lambda rng: rng.randint(math.ceil(low * 64), math.floor(high * 64)) / 64, role)


def _between(*shape: int) -> Field:
    """Odd multiples of 1/128: never at a margin, where the derivative of `clamp` has changed between releases."""
    return Field((ROWS, *shape), lambda rng: rng.randrange(-255, 256, 2) / 128)


def _data(*shape: int, low: float = -2.0, high: float = 2.0) -> Field:
    return _leaf(*shape, low=low, high=high, role="data")


def _choice(*shape: int, of: Sequence[float], dtype: str | None = None) -> Field:
    return Field((ROWS, *shape), lambda rng: rng.choice(of), "data", dtype)


SIGNS = (-1.0, 1.0)
CLASSES = _choice(of=range(5), dtype="int64")
SOME = _choice(of=(0, 1, 2, 3, 4, 2), dtype="int64")
PAIR = (_leaf(5), _leaf(5))
LOGITS = (_leaf(5), _data(5, low=0, high=1))
WEIGHT = [0.5, 1.5, 0.25, 2.0, 1.0]


@dataclass(frozen=True)
class Case:
    """One configuration of a loss.

    Attributes:
        module: name in `torch.nn`.
        terms: the oracle.
        fields: inputs, in order.
        options: arguments of both; lists become tensors.
        shape: further arguments of the oracle alone.
        reductions: beside "none".
    """

    module: str
    terms: oracle.Loss
    fields: tuple[Field, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, int] = field(default_factory=dict)
    reductions: tuple[str, ...] = ("sum", "mean")


def _targets(rng: random.Random) -> list[int]:
    count = rng.randint(1, 4)
    return (rng.sample(range(5), count) + [-1] + [0] * 5)[:5]


CASES: dict[str, Case] = {
    "l1": Case("L1Loss", oracle.l1, PAIR),
    "mse": Case("MSELoss", oracle.mse, PAIR),
    "smooth_l1": Case("SmoothL1Loss", oracle.smooth_l1, PAIR),
    "smooth_l1_beta": Case("SmoothL1Loss", oracle.smooth_l1, PAIR, {"beta": 0.375}),
    "huber": Case("HuberLoss", oracle.huber, PAIR),
    "huber_delta": Case("HuberLoss", oracle.huber, PAIR, {"delta": 1.5}),
    "bce": Case("BCELoss", oracle.bce, (_leaf(5, low=0.1, high=0.9), _data(5, low=0, high=1))),
    "bce_weight": Case(
        "BCELoss", oracle.bce, (_leaf(5, low=0.1, high=0.9), _data(5, low=0, high=1)), {"weight": WEIGHT}
    ),
    "bce_with_logits": Case("BCEWithLogitsLoss", oracle.bce_with_logits, LOGITS),
    "bce_with_logits_weights": Case(
        "BCEWithLogitsLoss",
        oracle.bce_with_logits,
        LOGITS,
        {"weight": WEIGHT, "pos_weight": [3.0, 0.5, 1.0, 2.0, 0.25]},
    ),
    "kl_div": Case(
        "KLDivLoss", oracle.kl_div, (_leaf(5), _data(5, low=0, high=1)), reductions=("sum", "mean", "batchmean")
    ),
    "kl_div_log_target": Case(
        "KLDivLoss", oracle.kl_div, (_leaf(5), _data(5)), {"log_target": True}, reductions=("sum", "mean", "batchmean")
    ),
    "poisson_nll": Case("PoissonNLLLoss", oracle.poisson_nll, (_leaf(5), _choice(5, of=(0.0, 1.0, 2.0, 5.0)))),
    "poisson_nll_full": Case(
        "PoissonNLLLoss",
        oracle.poisson_nll,
        (_leaf(5, low=0.5, high=3), _choice(5, of=(0.0, 1.0, 2.0, 5.0))),
        {"log_input": False, "full": True, "eps": 0.125},
    ),
    "gaussian_nll": Case("GaussianNLLLoss", oracle.gaussian_nll, (*PAIR, _leaf(5, low=0.2, high=3))),
    "gaussian_nll_full": Case(
        "GaussianNLLLoss", oracle.gaussian_nll, (*PAIR, _leaf(5, low=0.2, high=3)), {"full": True}
    ),
    "hinge_embedding": Case("HingeEmbeddingLoss", oracle.hinge_embedding, (_between(5), _choice(5, of=SIGNS))),
    "hinge_embedding_margin": Case(
        "HingeEmbeddingLoss", oracle.hinge_embedding, (_between(5), _choice(5, of=SIGNS)), {"margin": 0.5}
    ),
    "soft_margin": Case("SoftMarginLoss", oracle.soft_margin, (_leaf(5), _choice(5, of=SIGNS))),
    "nll": Case("NLLLoss", oracle.nll, (_leaf(5), CLASSES)),
    "nll_weight_ignored": Case("NLLLoss", oracle.nll, (_leaf(5), SOME), {"weight": WEIGHT, "ignore_index": 2}),
    "nll_2d": Case(
        "NLLLoss",
        oracle.nll,
        (_leaf(5, 2, 3), _choice(2, 3, of=range(5), dtype="int64")),
        {"weight": WEIGHT, "ignore_index": 1},
        {"positions": 6},
    ),
    "nll_loss2d": Case(
        "NLLLoss2d", oracle.nll, (_leaf(5, 2, 3), _choice(2, 3, of=range(5), dtype="int64")), shape={"positions": 6}
    ),
    "cross_entropy": Case("CrossEntropyLoss", oracle.cross_entropy, (_leaf(5), CLASSES)),
    "cross_entropy_weight_ignored": Case(
        "CrossEntropyLoss", oracle.cross_entropy, (_leaf(5), SOME), {"weight": WEIGHT, "ignore_index": 2}
    ),
    "cross_entropy_smoothing": Case(
        "CrossEntropyLoss",
        oracle.cross_entropy,
        (_leaf(5), SOME),
        {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.25},
    ),
    "cross_entropy_positions": Case(
        "CrossEntropyLoss",
        oracle.cross_entropy,
        (_leaf(5, 3), _choice(3, of=range(5), dtype="int64")),
        {"label_smoothing": 0.125},
        {"positions": 3},
    ),
    "cross_entropy_probabilities": Case(
        "CrossEntropyLoss",
        oracle.cross_entropy,
        (_leaf(5), _data(5, low=0, high=1)),
        {"weight": WEIGHT, "label_smoothing": 0.25},
    ),
    "linear_cross_entropy": Case(
        "LinearCrossEntropyLoss",
        oracle.linear_cross_entropy,
        (_leaf(3), Field((5, 3), lambda rng: rng.randint(-128, 128) / 64, "shared"), SOME),
        {"in_features": 3, "num_classes": 5, "ignore_index": 2},
    ),
    "multi_label_margin": Case(
        "MultiLabelMarginLoss",
        oracle.multi_label_margin,
        (_leaf(5), Field((ROWS,), _targets, "data", "int64")),
    ),
    "multi_label_soft_margin": Case(
        "MultiLabelSoftMarginLoss",
        oracle.multi_label_soft_margin,
        (_leaf(5), _choice(5, of=(0.0, 1.0))),
        {"weight": WEIGHT},
    ),
    "multi_margin": Case("MultiMarginLoss", oracle.multi_margin, (_leaf(5), CLASSES)),
    "multi_margin_squared": Case(
        "MultiMarginLoss", oracle.multi_margin, (_leaf(5), CLASSES), {"p": 2, "margin": 0.75, "weight": WEIGHT}
    ),
    "cosine_embedding": Case("CosineEmbeddingLoss", oracle.cosine_embedding, (*PAIR, _choice(of=SIGNS))),
    "cosine_embedding_margin": Case(
        "CosineEmbeddingLoss", oracle.cosine_embedding, (*PAIR, _choice(of=SIGNS)), {"margin": 0.25}
    ),
    "margin_ranking": Case(
        "MarginRankingLoss", oracle.margin_ranking, (_leaf(), _between(), _choice(of=SIGNS)), {"margin": 0.5}
    ),
    "triplet_margin": Case("TripletMarginLoss", oracle.triplet_margin, (*PAIR, _leaf(5))),
    "triplet_margin_swap": Case(
        "TripletMarginLoss", oracle.triplet_margin, (*PAIR, _leaf(5)), {"margin": 2.0, "p": 3.0, "swap": True}
    ),
    "triplet_margin_with_distance": Case(
        "TripletMarginWithDistanceLoss", oracle.triplet_margin, (*PAIR, _leaf(5)), {"margin": 1.5, "swap": True}
    ),
}
# What has a check of its own below.
APART = {"ctc": "CTCLoss"}
NOT_COVERED: dict[str, str] = {}


CORE, REST = passes.parted(
    CASES, ("l1", "mse", "smooth_l1", "bce_with_logits", "nll", "cross_entropy", "cross_entropy_smoothing")
)


def _needs(row: Case) -> list[str]:
    return [f"torch.nn.{row.module}"]


@check(oracle=FORMULA, level="quick", dtypes=FLOATS[:3], each=CORE, needs=_needs)
@check(oracle=FORMULA, dtypes=("float32",), more=("float64",), each=REST, needs=_needs)
def loss(context: Context, row: Case) -> None:
    """The loss {row} and its gradients are those of its formula, under every reduction."""
    drawn, answers = _answers(context.ident.split(".")[1], context.rng().random())
    for answer in answers:
        lanes = 4124 if "nll" in context.ident else 1031  # nine tenths of its gradients are zeros, where nothing shows
        copies = 1 + (lanes if context.at_least("default") else 1) // len(answer.value)
        times = copies if answer.reduction == "none" else 1
        output, found = _run(context, row, drawn, answer.reduction, times, answer.upstream)
        what = answer.reduction
        passes.judge_period(context, output, answer.value, cancel=answer.error, bound=4.0, what=f"{what}: value")
        roles = [f.role for f in row.fields if f.role != "data"]
        for i, (got, role, (slope, error)) in enumerate(zip(found, roles, answer.slopes)):
            n = times if role == "shared" else 1
            passes.judge_period(
                context,
                got,
                [n * v for v in slope],
                cancel=passes.copied(error, n),
                bound=4.0,
                what=f"{what}: gradient by input {i + 1}",
            )


@dataclass(frozen=True)
class Answer:
    """What is right under one reduction: the value and the gradients by each leaf, with their errors."""

    reduction: str
    upstream: list[float]
    value: list[float]
    error: list[float]
    slopes: list[tuple[list[float], list[float]]]


@functools.lru_cache(maxsize=2)
def _answers(name: str, salt: float) -> tuple[list[list[Any]], list[Answer]]:
    """Draw the inputs and work the answers out, once for all dtypes."""
    row, rng = CASES[name], random.Random(salt)  # noqa: S311 - test data
    drawn = [oracle.flat([f.draw(rng) for _ in range(math.prod(f.shape))]) for f in row.fields]
    inputs = [leaves(values) if f.role != "data" else values for f, values in zip(row.fields, drawn)]
    differentiated = [nums for nums, f in zip(inputs, row.fields) if f.role != "data"]
    terms, denominator = row.terms(row.options, *inputs, **row.shape)
    whole, answers = total(terms), []
    for reduction in ("none", *row.reductions):
        divisor = {"none": 1.0, "sum": 1.0, "mean": denominator or 1.0, "batchmean": float(ROWS)}[reduction]
        wanted = terms if reduction == "none" else [whole * (1 / divisor)]
        upstream = [rng.choice((-1.5, -0.75, 0.5, 1.25)) for _ in wanted]
        backward(wanted, upstream)
        slopes = [([n.adjoint for n in nums], [n.adjoint_error for n in nums]) for nums in differentiated]
        answers.append(Answer(reduction, upstream, [t.value for t in wanted], [t.error for t in wanted], slopes))
    return drawn, answers


def _run(
    context: Context, row: Case, drawn: Sequence[Any], reduction: str, times: int, upstream: Sequence[float]
) -> tuple[Any, list[Any]]:
    """Call torch's module on `times` copies of the batch."""
    torch = context.torch
    options = {k: context.tensor(v) if isinstance(v, list) else v for k, v in row.options.items()}
    module = getattr(torch.nn, row.module)(reduction=reduction, **options).to(context.device)
    tensors = [_tensor(context, f, values, times) for f, values in zip(row.fields, drawn)]
    at = [i for i, f in enumerate(row.fields) if f.role != "data"]

    def call(*differentiated: Any) -> Any:
        given = list(tensors)
        for i, tensor in zip(at, differentiated):
            given[i] = tensor
        if row.fields[1].role == "shared":
            weight = given.pop(1)
            return torch.func.functional_call(module, {"linear.weight": weight}, tuple(given))
        return module(*given)

    with precision.full(torch):
        return passes.backward(context, call, [tensors[i] for i in at], upstream)


def _tensor(context: Context, f: Field, values: Sequence[Any], times: int) -> Any:
    if f.role == "shared":
        return context.tensor(values).reshape(f.shape)
    made = passes.tiled(context, values, times * len(values), dtype=f.dtype)
    return made.reshape(f.shape[0] * times, *f.shape[1:], *([5] if len(values) > math.prod(f.shape) else []))


EXTREMES: Mapping[str, tuple[str, Sequence[Any], Sequence[float], Sequence[float]]] = {
    # loss: (what, (input, target), values, gradients); at most one rounding away
    "bce": ("BCELoss", ([0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]), [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, -1e12, 1e12]),
    "bce_with_logits": (
        "BCEWithLogitsLoss",
        ([1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]),
        [0.0, 0.0, 1e4, 1e4],
        [0.0, 0.0, 1.0, -1.0],
    ),
    "soft_margin": ("SoftMarginLoss", ([80.0, -80.0], [1.0, 1.0]), [0.0, 80.0], [0.0, -1.0]),
    "l1": ("L1Loss", ([2.0, 3.0], [2.0, 1.0]), [0.0, 2.0], [0.0, 1.0]),
    "smooth_l1": ("SmoothL1Loss", ([2.0, 3.0, 1e30], [2.0, 2.0, 0.0]), [0.0, 0.5, 1e30], [0.0, 1.0, 1.0]),
    "huber": ("HuberLoss", ([2.0, 3.0, 1e30], [2.0, 2.0, 0.0]), [0.0, 0.5, 1e30], [0.0, 1.0, 1.0]),
    "hinge_embedding": ("HingeEmbeddingLoss", ([0.5, 2.0], [-1.0, -1.0]), [0.5, 0.0], [-1.0, 0.0]),
    "kl_div": ("KLDivLoss", ([-1.0, -2.0], [0.0, 1.0]), [0.0, 2.0], [0.0, -1.0]),
}


@check(oracle="limits of the documented formulas", dtypes=("float32",), each=EXTREMES)
def extremes(context: Context, row: Any) -> None:
    """The loss {row} stays finite and right where its formula is at its limits."""
    module, (x, y), values, slopes = row
    made = getattr(context.torch.nn, module)(reduction="none")
    output, (by_x,) = passes.backward(context, lambda t: made(t, context.tensor(y)), [context.tensor(x)])
    context.close(output, values, bound=8.0, cancel=1e-30, floor=1e-34, what="value")
    context.close(by_x, slopes, bound=8.0, floor=1e-34, what="gradient")


@check(oracle="limits of the documented formulas", dtypes=("float32",))
def all_ignored(context: Context) -> None:
    """Cross entropy of huge logits is finite, and the mean over nothing but ignored targets is NaN."""
    torch = context.torch
    function = torch.nn.functional.cross_entropy
    logits = context.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]])
    targets = context.tensor([1, 1], dtype="int64")
    output, (by_x,) = passes.backward(context, lambda t: function(t, targets, reduction="none"), [logits])
    context.close(output, [2e4, math.log(2)], bound=4.0, what="value")
    context.close(by_x, [1.0, -1.0, 0.0, 0.0, -0.5, 0.5], bound=4.0, what="gradient")
    nothing = context.tensor([-100, -100], dtype="int64")
    context.exact(function(logits, nothing), [math.nan], what="mean over no targets")
    context.exact(function(logits, nothing, reduction="sum"), [0.0], what="sum over no targets")


# options, targets of each sequence, frames of each sequence
CTC = {
    "plain": ({}, ([1, 2], [3], [2, 2, 1], [1, 3]), (6, 4, 7, 5)),
    "blank": ({"blank": 2}, ([1, 3], [0], [3, 3], [0, 1, 0]), (7, 7, 7, 7)),
    "zero_infinity": ({"zero_infinity": True}, ([1, 1, 1], [3], [2], [1, 2]), (4, 4, 7, 6)),
}


@check(
    oracle="forward recursion over alignments in float64, with its running error",
    dtypes=("float32",),
    more=("float64",),
    each=CTC,
)
def ctc(context: Context, row: Any) -> None:
    """CTC loss ({row}) and its gradient are those of the sum over all alignments, under every reduction."""
    options, targets, times = row
    torch, rng = context.torch, context.rng()
    lengths = [len(t) for t in targets]
    joined = [label for t in targets for label in t]
    values = [rng.randint(-128, 128) / 64 for _ in range(7 * 4 * 4)]
    logits = leaves(values)
    terms, _ = oracle.ctc(options, logits, joined, times, lengths)
    means = [t * (1 / (4 * n)) for t, n in zip(terms, lengths)]
    for reduction, wanted in (("none", terms), ("sum", [total(terms)]), ("mean", [total(means)])):
        upstream = [0.5 + 0.25 * i for i in range(len(wanted))]
        backward(wanted, upstream)
        module = torch.nn.CTCLoss(reduction=reduction, **options)

        def call(x: Any, module: Any = module) -> Any:
            labels = context.tensor(joined, dtype="int64")
            return module(x.log_softmax(2), labels, torch.tensor(times), torch.tensor(lengths))

        output, (found,) = passes.backward(context, call, [context.tensor(values).reshape(7, 4, 4)], upstream)
        passes.judge(context, output, wanted, what=reduction)
        passes.judge_gradient(context, found, logits, what=f"{reduction}: gradient")
