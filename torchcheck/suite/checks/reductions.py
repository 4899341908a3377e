"""Sums, products, extremes, moments, norms: over rows, columns and everything, at every length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes
from ..oracles.normalisation import moments
from ..oracles.tape import Num, absolute, backward, dot, exp, leaves, log, power, sqrt, total
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

TAPE = "the formula in float64, with its running error"
PERIOD = 5  # rows that differ; the rest repeats them


@dataclass(frozen=True)
class Reduction:
    """A reduction of rows.

    Attributes:
        apply: (torch, rows) -> one number, or as many, a row.
        rule: the same on the tape's numbers, one row.
        low: lower end of the inputs, in 64ths.
        high: upper end.
        columns: length of a row; odd, with SIMD bodies and tails.
        rows: of the tensor: enough for a thousand results.
    """

    apply: Callable[[Any, Any], Any]
    rule: Callable[[Sequence[Num]], list[Num]]
    low: int = -96
    high: int = 160
    columns: int = 37
    rows: int = 1031


def _variance(xs: Sequence[Num], correction: int) -> Num:
    return moments(xs)[1] * (len(xs) / (len(xs) - correction))


def _norm(xs: Sequence[Num], p: float) -> Num:
    if p == 1:
        return total([absolute(x) for x in xs])
    if p == 2:
        return sqrt(dot(xs, xs))
    return power(total([power(absolute(x), p) for x in xs]), 1 / p)


def _product(xs: Sequence[Num]) -> Num:
    found = xs[0]
    for x in xs[1:]:
        found = found * x
    return found


def _log_sum(xs: Sequence[Num]) -> Num:
    top = max(x.value for x in xs)
    return log(total([exp(x - top) for x in xs])) + top


def _scan(rule: Callable[[Sequence[Num]], Num]) -> Callable[[Sequence[Num]], list[Num]]:
    return lambda xs: [rule(xs[: i + 1]) for i in range(len(xs))]


REDUCTIONS = {
    "sum": Reduction(lambda _, x: x.sum(1), lambda xs: [total(xs)]),
    "mean": Reduction(lambda _, x: x.mean(1), lambda xs: [total(xs) * (1 / len(xs))]),
    "columns": Reduction(lambda _, x: x.t().contiguous().sum(0), lambda xs: [total(xs)]),
    "column_means": Reduction(lambda _, x: x.t().contiguous().mean(0), lambda xs: [total(xs) * (1 / len(xs))]),
    "prod": Reduction(lambda _, x: x.prod(1), lambda xs: [_product(xs)], 32, 110, 11),
    "var": Reduction(lambda _, x: x.var(1), lambda xs: [_variance(xs, 1)]),
    "var_biased": Reduction(lambda _, x: x.var(1, unbiased=False), lambda xs: [_variance(xs, 0)]),
    "std": Reduction(lambda _, x: x.std(1), lambda xs: [sqrt(_variance(xs, 1))]),
    "var_mean": Reduction(lambda t, x: t.stack(t.var_mean(x, 1), 1), lambda xs: [_variance(xs, 1), moments(xs)[0]]),
    "norm_1": Reduction(lambda t, x: t.linalg.vector_norm(x, 1, dim=1), lambda xs: [_norm(xs, 1)]),
    "norm_2": Reduction(lambda t, x: t.linalg.vector_norm(x, dim=1), lambda xs: [_norm(xs, 2)]),
    "norm_3": Reduction(lambda _, x: x.norm(3, 1), lambda xs: [_norm(xs, 3)]),
    "norm_inf": Reduction(
        lambda t, x: t.linalg.vector_norm(x, math.inf, dim=1),
        lambda xs: [absolute(max(xs, key=lambda x: abs(x.value)))],
    ),
    "frobenius": Reduction(
        lambda t, x: t.linalg.matrix_norm(x.reshape(-1, 5, 7)), lambda xs: [_norm(xs, 2)], columns=35
    ),
    "logsumexp": Reduction(lambda _, x: x.logsumexp(1), lambda xs: [_log_sum(xs)]),
    "logcumsumexp": Reduction(lambda _, x: x.logcumsumexp(1), _scan(_log_sum), columns=7, rows=151),
    "cumprod": Reduction(lambda _, x: x.cumprod(1), _scan(_product), 32, 110, 7, 151),
    "amax": Reduction(lambda _, x: x.amax(1), lambda xs: [max(xs, key=lambda x: x.value)]),
    "amin": Reduction(lambda _, x: x.amin(1), lambda xs: [min(xs, key=lambda x: x.value)]),
    "cosine_similarity": Reduction(
        lambda t, x: t.nn.functional.cosine_similarity(x[:, :18], x[:, 18:], dim=1),
        lambda xs: [dot(xs[:18], xs[18:]) / sqrt(dot(xs[:18], xs[:18]) * dot(xs[18:], xs[18:]))],
        columns=36,
    ),
    "normalize": Reduction(
        lambda t, x: t.nn.functional.normalize(x, dim=1), lambda xs: [x / _norm(xs, 2) for x in xs], columns=7, rows=151
    ),
    "pairwise_distance": Reduction(
        lambda t, x: t.nn.functional.pairwise_distance(x[:, :18], x[:, 18:], eps=0.0),
        lambda xs: [_norm([a - b for a, b in zip(xs[:18], xs[18:])], 2)],
        columns=36,
    ),
    "cdist_1": Reduction(
        lambda t, x: t.cdist(x[:, None, :5], x[:, 5:].reshape(-1, 3, 5), p=1.0),
        lambda xs: [_norm([a - b for a, b in zip(xs[:5], xs[i : i + 5])], 1) for i in (5, 10, 15)],
        columns=20,
        rows=401,
    ),
    "cdist": Reduction(
        lambda t, x: t.cdist(x[:, None, :5], x[:, 5:].reshape(-1, 3, 5), compute_mode="donot_use_mm_for_euclid_dist"),
        lambda xs: [_norm([a - b for a, b in zip(xs[:5], xs[i : i + 5])], 2) for i in (5, 10, 15)],
        columns=20,
        rows=401,
    ),
}
CORE, REST = passes.parted(REDUCTIONS, ("sum", "mean", "columns", "var", "norm_2"))


@check(oracle=TAPE, level="quick", dtypes=FLOATS, each=CORE)
@check(oracle=TAPE, dtypes=("float32",), more=("float64",), each=REST)
def reduces(context: Context, row: Reduction) -> None:
    """{row} and its gradient are those of its formula, row by row."""
    rng = context.rng()
    # All different inside a row, so that extremes are where they are without doubt.
    x = [v / 64 for _ in range(PERIOD) for v in rng.sample(range(row.low, row.high), row.columns)]
    xs = leaves(x)
    y = [v for i in range(0, len(xs), row.columns) for v in row.rule(xs[i : i + row.columns])]
    upstream = [rng.choice((-1.5, -0.75, 0.5, 1.25)) for _ in y]
    backward(y, upstream)
    wide = context.format.digits >= 24 and context.at_least("default")
    rows = row.rows if wide else 11
    given = passes.tiled(context, x, rows * row.columns).reshape(rows, row.columns)
    values, errors = [n.value for n in y], [n.error for n in y]
    slopes, slope_errors = [n.adjoint for n in xs], [n.adjoint_error for n in xs]
    several = context.ident.split(".")[1] in CORE or context.at_least("full")
    for how, laid in passes.layouts(context, given) if several else [("", given)]:
        output, (by_x,) = passes.backward(context, lambda t: row.apply(context.torch, t), [laid], upstream)
        passes.judge_period(context, output, values, cancel=errors, bound=2.0, what=f"value{how}")
        passes.judge_period(context, by_x, slopes, cancel=slope_errors, bound=2.0, what=f"gradient{how}")


@check(oracle="sums and extremes of integers, exact", dtypes=("float32",))
def dims(context: Context) -> None:
    """Reductions over several dims at once, and of expanded and permuted tensors, take the right elements."""
    rng, shape = context.rng(), (9, 11, 13)
    values = [float(v) for v in rng.sample(range(-700, 700), math.prod(shape))]
    at = dict(zip(itertools.product(*map(range, shape)), values))
    x = context.tensor(values).reshape(shape)
    for over in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (-1, 0), (0, 1, 2)):
        gone = {d % 3 for d in over}
        groups: dict[tuple[int, ...], list[float]] = {}
        for index, v in at.items():
            groups.setdefault(tuple(i for d, i in enumerate(index) if d not in gone), []).append(v)
        for what, got, rule in (
            ("sum", x.sum(over), math.fsum),
            ("permuted sum", x.permute(2, 0, 1).sum([(d % 3 + 1) % 3 for d in over]), math.fsum),
            ("amax", x.amax(over), max),
            ("amin", x.amin(over, keepdim=True), min),
            ("count", (x > 0).sum(over), lambda part: sum(v > 0 for v in part)),
        ):
            right = [rule(part) for part in groups.values()]
            if what == "permuted sum" and len(gone) == 1:
                right = _permuted(groups, rule, gone)
            context.exact(got, right, what=f"{what} over {over}")


def _permuted(
    groups: Mapping[tuple[int, ...], list[float]], rule: Callable[[list[float]], float], gone: set[int]
) -> list[float]:
    """Order the results as they stand after dim 2 has moved to the front."""
    last_first = gone != {2}
    return [rule(groups[key]) for key in sorted(groups, key=lambda k: k[::-1] if last_first else k)]


LENGTHS = (*range(1, 70), 127, 128, 129, 255, 257, 511, 513, 1000, 1023, 1024, 1025, 2047, 4097)
LONG = (32767, 32768, 32769, 65537)


@check(oracle="n times a constant", level="quick", dtypes=FLOATS)
def constants(context: Context) -> None:
    """Long sums and means of a constant do not drift, as adding one after the other would."""
    held = context.format.round(0.1)
    n = 65537 if context.dtype_name != "float16" else 4099
    x = context.tensor([held]).expand(n).contiguous()
    pair = context.torch.stack((x, x), 1)
    # Blocked sums round some 2 log2(n) times in turn, and carry a constant's systematic rounding as far.
    for what, got, right in (
        ("sum", x.sum(), [n * held]),
        ("mean", x.mean(), [held]),
        ("sum of columns", pair.sum(0), [n * held] * 2),
        ("mean of rows", pair.t().contiguous().mean(1), [held] * 2),
    ):
        context.close(got, right, bound=64.0 if context.format.digits >= 24 else 2.0, what=what)
    if context.format.digits < 24:  # sums beyond the format, which the wider accumulator holds
        large = context.format.round(min(context.format.largest * 0.9, 1e30))
        loud = context.tensor([large]).expand(4096)
        context.close(loud.mean(), [large], bound=2.0, what="mean of numbers whose sum overflows")
    # In the widest format of the device: Metal has no float64.
    wide, name = (x.float(), "float32") if context.device.startswith("mps") else (x.double(), "float64")
    context.close(wide.sum(), [n * held], bound=64.0, dtype=name, what="wide sum")


@check(oracle="the documented conventions", dtypes=("float32",))
def ties(context: Context) -> None:
    """Of several largest elements argmax and max name the first, and NaN wins."""
    torch = context.torch
    x = context.tensor([[1.0, 7.0, 3.0, 7.0, 7.0, 0.0] * 9] * 3)
    context.exact(x.argmax(1), [1] * 3, what="argmax over a dim")
    context.exact(x.max(1)[1], [1] * 3, what="index of max over a dim")
    context.exact(x.min(1)[1], [5] * 3, what="index of min over a dim")
    context.exact(x[0].argmax(), 1, what="argmax of everything")
    context.exact((-x).argmin(1), [1] * 3, what="argmin over a dim")
    poisoned = x.clone()
    poisoned[:, 20] = math.nan
    for what, got in (
        ("max", poisoned.max()),
        ("amax", poisoned.amax(1)[0]),
        ("min over a dim", poisoned.min(1)[0][0]),
        ("sum", poisoned.sum()),
        ("mean", poisoned.mean(1)[0]),
        ("maximum", torch.maximum(poisoned, x)[0, 20]),
        ("clamp", poisoned.clamp(0, 1)[0, 20]),
    ):
        context.exact(got, [math.nan], what=f"{what} with a NaN")
    context.exact(poisoned.argmax(1), [20] * 3, what="argmax finds the NaN")
    context.exact(torch.nansum(poisoned, 1), [sum(context.values(x[0])) - 3.0] * 3, what="nansum leaves it out")


def _pattern(n: int) -> list[float]:
    """Small integers without a period that a block would have."""
    return [float(i * 37 % 19 - 8 + (i % 5 == 0)) for i in range(n)]


@check(oracle="sums and extremes of integers, exact", level="quick", dtypes=("float32",))
def lengths(context: Context) -> None:
    """Sums, extremes and their places are exact at every length around SIMD widths, blocks and thread shares."""
    torch = context.torch
    pattern = _pattern(LONG[-1])
    whole = context.tensor(pattern)
    few = not context.at_least("default")
    for n in (*LENGTHS[:: 3 if few else 1], *LONG[:: 3 if few else 1]):
        values, x = pattern[:n], whole[:n]
        middle = n - 1 - n // 3
        spiked = x.clone()
        spiked[middle], spiked[n // 4] = 100.0, -100.0 if n // 4 != middle else 100.0
        right = math.fsum(values)
        pair = torch.stack((x, x), 1)
        context.exact(
            [x.sum().item(), *pair.sum(0).tolist(), *pair.t().sum(1).tolist(), *pair.t().contiguous().sum(1).tolist()],
            [right] * 7,
            what=f"sums of {n}",
        )
        context.exact(
            [spiked.max().item(), spiked.argmax().item(), spiked.max(0)[1].item()],
            [100.0, middle, middle],
            what=f"maximum of {n}",
        )
        if n // 4 != middle:
            context.exact([spiked.amin().item(), spiked.argmin().item()], [-100.0, n // 4], what=f"minimum of {n}")
        hit = spiked > 99
        context.exact(
            [hit.any().item(), hit.all().item(), hit.sum().item(), torch.count_nonzero(hit).item()],
            [True, n == 1, 1, 1],
            what=f"any, all and count of {n}",
        )


@check(oracle="integers, exact", level="quick", dtypes=("float32",))
def long_tensors(context: Context) -> None:
    """Elementwise kernels and copies are exact beyond what one thread takes, in every lane."""
    torch = context.torch
    for n in LONG if context.at_least("full") else LONG[2:3]:
        values = _pattern(n)
        x = context.tensor(values)
        y = x.flip(0).contiguous()
        turned = values[::-1]
        for what, got, right in (
            ("mul", x * y, [a * b for a, b in zip(values, turned)]),
            ("add", x + y, [a + b for a, b in zip(values, turned)]),
            ("sub", x - y, [a - b for a, b in zip(values, turned)]),
            ("div", x / 4, [a / 4 for a in values]),
            ("scaled in place", x.clone().mul_(2).add_(1), [2 * a + 1 for a in values]),
            ("cat", torch.cat((x, y)), values + turned),
            ("maximum", torch.maximum(x, y), list(map(max, values, turned))),
            ("cumsum", x.cumsum(0), _running(values)),
            ("strided copy", torch.stack((x, y), 1)[:, 1].contiguous(), turned),
            ("sort", x.sort()[0], sorted(values)),
            ("topk", x.topk(100)[0], sorted(values, reverse=True)[:100]),
            ("flip", x.flip(0), turned),
            ("fill", torch.full_like(x, 3.0), [3.0] * n),
        ):
            context.exact(got, right, what=f"{what} of {n}")
        leaf = x.clone().requires_grad_()
        (leaf * leaf * y).sum().backward()
        context.exact(leaf.grad, [2 * a * b for a, b in zip(values, turned)], what=f"gradient of x*x*y of {n}")
        context.exact(leaf.detach().sum(), math.fsum(values), what=f"sum of {n}")


def _running(values: Sequence[float]) -> list[float]:
    found, so_far = [], 0.0
    for v in values:
        so_far += v
        found.append(so_far)
    return found


@check(oracle="integers, exact", dtypes=("int64", "int32", "uint8"))
def integer_sums(context: Context) -> None:
    """Sums, products and means of integers are exact, in int64 where torch promises it."""
    torch = context.torch
    n = 1031
    values = [i * 31 % 200 for i in range(n)]
    x = context.tensor(values)
    context.exact(x.sum(), sum(values), what="sum")
    context.exact(x.sum().dtype == torch.int64, True, what="the sum is an int64")
    context.exact(x.reshape(-1, 1).expand(n, 3).sum(0), [sum(values)] * 3, what="sum over rows")
    context.exact(x.cumsum(0)[-1], sum(values), what="cumsum")
    context.exact(x[:8].clamp(min=1).prod(), math.prod(max(v, 1) for v in values[:8]), what="product")
    context.exact(x.max(), max(values), what="maximum")
    context.exact(x.double().mean(), [sum(values) / n], what="mean")
    context.exact(x.unique(), sorted(set(values)), what="unique")
    context.exact(torch.bincount(x.long())[:200], [values.count(i) for i in range(200)], what="bincount")
