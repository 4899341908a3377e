"""Every loss of `torch.nn`, term by term, in plain Python on the tape's numbers.

A loss takes its inputs as flat lists (leaves as `Num`, data as numbers) and gives its terms before reduction, and what
"mean" divides their sum by. Formulas are those of PyTorch's documentation; what it leaves open (ignored targets weigh
nothing, smoothing weighs every class, `log` is cut at -100) follows it as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .tape import Num, absolute, dot, exp, log, log1p, power, relu, sqrt, total

Terms = tuple[list[Num], float]
Options = Mapping[str, Any]
Loss = Callable[..., Terms]
ZERO = 0.0


def rows(flat: Sequence[Any], columns: int) -> list[list[Any]]:
    """Cut a flat list into rows."""
    return [list(flat[i : i + columns]) for i in range(0, len(flat), columns)]


def flat(parts: Sequence[Any]) -> list[Any]:
    """Join the lists among the parts."""
    return [v for part in parts for v in (part if isinstance(part, list) else [part])]


def by_class(flat: Sequence[Any], classes: int, positions: int) -> list[list[Any]]:
    """Take (batch, classes, positions) apart: for each (batch, position), its classes."""
    images = rows(flat, classes * positions)
    return [[image[c * positions + k] for c in range(classes)] for image in images for k in range(positions)]


def log_softmax(xs: Sequence[Num]) -> list[Num]:
    """x - max - log(sum(exp(x - max))): the shift by a constant changes no derivative."""
    top = max(x.value for x in xs)
    shifted = [x - top for x in xs]
    norm = log(total([exp(x) for x in shifted]))
    return [x - norm for x in shifted]


def softplus_of_negative(x: Num) -> Num:
    """log(1 + exp(-x)), from the side that does not overflow."""
    return log1p(exp(-x)) if x.value >= 0 else log1p(exp(x)) - x


def _rounded(value: float) -> Num:
    """Make a constant that a kernel computes itself, an ulp or two off."""
    return Num(value, 4 * abs(value))


def _each(terms: list[Num]) -> Terms:
    return terms, float(len(terms))


def l1(_: Options, x: Sequence[Num], y: Sequence[Num]) -> Terms:
    """|x - y|."""
    return _each([absolute(a - b) for a, b in zip(x, y)])


def mse(_: Options, x: Sequence[Num], y: Sequence[Num]) -> Terms:
    """(x - y)**2."""
    return _each([(a - b) * (a - b) for a, b in zip(x, y)])


def smooth_l1(options: Options, x: Sequence[Num], y: Sequence[Num]) -> Terms:
    """d**2 / (2 beta) where |d| < beta, else |d| - beta / 2."""
    beta = options.get("beta", 1.0)
    gaps = [a - b for a, b in zip(x, y)]
    return _each([d * d * (0.5 / beta) if abs(d.value) < beta else absolute(d) - 0.5 * beta for d in gaps])


def huber(options: Options, x: Sequence[Num], y: Sequence[Num]) -> Terms:
    """d**2 / 2 where |d| <= delta, else delta (|d| - delta / 2)."""
    delta = options.get("delta", 1.0)
    gaps = [a - b for a, b in zip(x, y)]
    return _each([d * d * 0.5 if abs(d.value) <= delta else (absolute(d) - 0.5 * delta) * delta for d in gaps])


def bce(options: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """-w (y log x + (1 - y) log(1 - x))."""
    w = options.get("weight") or [1.0]
    return _each([(log(a) * -t + log1p(-a) * (t - 1)) * w[i % len(w)] for i, (a, t) in enumerate(zip(x, y))])


def bce_with_logits(options: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """-w (p y log s(x) + (1 - y) log(1 - s(x)))."""
    w, p = options.get("weight") or [1.0], options.get("pos_weight") or [1.0]
    terms = []
    for i, (a, t) in enumerate(zip(x, y)):
        positive = softplus_of_negative(a) * (t * p[i % len(p)])
        terms.append((positive + softplus_of_negative(-a) * (1 - t)) * w[i % len(w)])
    return _each(terms)


def kl_div(options: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """t (log t - x), with t = exp(y) under log_target."""
    if options.get("log_target"):
        return _each([(-a + t) * _rounded(math.exp(t)) for a, t in zip(x, y)])
    return _each([(-a + _rounded(math.log(t))) * t if t > 0 else a * 0 for a, t in zip(x, y)])


def poisson_nll(options: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """exp(x) - t x, or x - t log(x + eps); with `full` Stirling's t log t - t + log(2 pi t) / 2 where t > 1."""
    if options.get("log_input", True):
        terms = [exp(a) - a * t for a, t in zip(x, y)]
    else:
        terms = [a - log(a + options.get("eps", 1e-8)) * t for a, t in zip(x, y)]
    if options.get("full"):
        extra = [t * math.log(t) - t + 0.5 * math.log(2 * math.pi * t) if t > 1 else ZERO for t in y]
        terms = [a + _rounded(b) for a, b in zip(terms, extra)]
    return _each(terms)


def gaussian_nll(options: Options, x: Sequence[Num], y: Sequence[Num], var: Sequence[Num]) -> Terms:
    """(log v + (x - y)**2 / v) / 2, plus log(2 pi) / 2 with `full`."""
    constant = 0.5 * math.log(2 * math.pi) if options.get("full") else ZERO
    return _each([(log(v) + (a - b) * (a - b) / v) * 0.5 + constant for a, b, v in zip(x, y, var)])


def hinge_embedding(options: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """x where y = 1, max(0, margin - x) where y = -1."""
    margin = options.get("margin", 1.0)
    return _each([a if t > 0 else relu(-a + margin) for a, t in zip(x, y)])


def soft_margin(_: Options, x: Sequence[Num], y: Sequence[float]) -> Terms:
    """log(1 + exp(-y x))."""
    return _each([softplus_of_negative(a * t) for a, t in zip(x, y)])


def nll(options: Options, x: Sequence[Num], y: Sequence[int], classes: int = 5, positions: int = 1) -> Terms:
    """-w[y] x[y]; the mean is by the weights of what is not ignored."""
    return _picked(options, by_class(x, classes, positions), y, 0.0)


def _picked(options: Options, logs: list[list[Num]], y: Sequence[int], smoothing: float) -> Terms:
    w = options.get("weight") or [1.0] * len(logs[0])
    ignored = options.get("ignore_index", -100)
    terms, denominator = [], 0.0
    for row, t in zip(logs, y):
        if t == ignored:
            terms.append(row[0] * 0)
            continue
        picked = row[t] * (-w[t] * (1 - smoothing))
        if smoothing:
            picked = picked + total([v * (-u * smoothing / len(row)) for v, u in zip(row, w)])
        terms.append(picked)
        denominator += w[t]
    return terms, denominator


def cross_entropy(options: Options, x: Sequence[Num], y: Sequence[Any], classes: int = 5, positions: int = 1) -> Terms:
    """Negative log-softmax at the target class, or weighted by target probabilities."""
    logs = [log_softmax(row) for row in by_class(x, classes, positions)]
    smoothing = options.get("label_smoothing", 0.0)
    if len(y) == len(logs):
        return _picked(options, logs, y, smoothing)
    w = options.get("weight") or [1.0] * classes
    terms = [
        total([v * (-u * (p * (1 - smoothing) + smoothing / classes)) for v, u, p in zip(row, w, wanted)])
        for row, wanted in zip(logs, by_class(y, classes, positions))
    ]
    return _each(terms)


def linear_cross_entropy(options: Options, x: Sequence[Num], weight: Sequence[Num], y: Sequence[int]) -> Terms:
    """Cross entropy of x W^T."""
    wide = rows(weight, options["in_features"])
    logits = [dot(row, line) for row in rows(x, options["in_features"]) for line in wide]
    return cross_entropy(options, logits, y, len(wide))


def multi_label_margin(_: Options, x: Sequence[Num], y: Sequence[int], classes: int = 5) -> Terms:
    """Sum of max(0, 1 - (x[target] - x[other])) / classes; targets end at the first -1."""
    terms = []
    for row, wanted in zip(rows(x, classes), rows(y, classes)):
        targets = wanted[: wanted.index(-1)] if -1 in wanted else wanted
        others = [i for i in range(classes) if i not in targets]
        terms.append(total([relu(row[i] - row[t] + 1) for t in targets for i in others]) * (1 / classes))
    return _each(terms)


def multi_label_soft_margin(options: Options, x: Sequence[Num], y: Sequence[float], classes: int = 5) -> Terms:
    """Mean over classes of w times the binary cross entropy of logits."""
    plain = bce_with_logits({"weight": options.get("weight")}, x, y)[0]
    return _each([total(row) * (1 / classes) for row in rows(plain, classes)])


def multi_margin(options: Options, x: Sequence[Num], y: Sequence[int], classes: int = 5) -> Terms:
    """Sum over the other classes of w[y] max(0, margin - x[y] + x[i])**p / classes."""
    margin, p, w = options.get("margin", 1.0), options.get("p", 1), options.get("weight") or [1.0] * classes
    terms = []
    for row, t in zip(rows(x, classes), y):
        hinges = [relu(row[i] - row[t] + margin) for i in range(classes) if i != t]
        terms.append(total([h * h if p == 2 else h for h in hinges]) * (w[t] / classes))
    return _each(terms)


def cosine_embedding(
    options: Options, a: Sequence[Num], b: Sequence[Num], y: Sequence[float], columns: int = 5
) -> Terms:
    """1 - cos where y = 1, max(0, cos - margin) where y = -1; 1e-12 is added to both squared norms."""
    terms = []
    for p, q, t in zip(rows(a, columns), rows(b, columns), y):
        cosine = dot(p, q) / sqrt((dot(p, p) + 1e-12) * (dot(q, q) + 1e-12))
        terms.append(1.0 - cosine if t > 0 else relu(cosine - options.get("margin", 0.0)))
    return _each(terms)


def margin_ranking(options: Options, a: Sequence[Num], b: Sequence[Num], y: Sequence[float]) -> Terms:
    """max(0, margin - y (a - b))."""
    return _each([relu((p - q) * -t + options.get("margin", 0.0)) for p, q, t in zip(a, b, y)])


def distance(a: Sequence[Num], b: Sequence[Num], p: float, eps: float = 1e-6) -> Num:
    """p-norm of a - b + eps."""
    gaps = [u - v + eps for u, v in zip(a, b)]
    if p == 1:
        return total([absolute(d) for d in gaps])
    if p == 2:
        return sqrt(dot(gaps, gaps))
    return power(total([power(absolute(d), p) for d in gaps]), 1 / p)


def triplet_margin(
    options: Options, anchor: Sequence[Num], near: Sequence[Num], far: Sequence[Num], columns: int = 5
) -> Terms:
    """max(0, d(anchor, near) - d(anchor, far) + margin); with `swap` far is nearer of anchor's and near's."""
    margin, p = options.get("margin", 1.0), options.get("p", 2.0)
    terms = []
    for a, b, c in zip(rows(anchor, columns), rows(near, columns), rows(far, columns)):
        apart = distance(a, c, p)
        if options.get("swap"):
            apart = min(apart, distance(b, c, p), key=lambda d: d.value)
        terms.append(relu(distance(a, b, p) - apart + margin))
    return _each(terms)


def _log_sum(terms: Sequence[Num]) -> Num:
    top = max(t.value for t in terms)
    return log(total([exp(t - top) for t in terms])) + top


def ctc(
    options: Options,
    x: Sequence[Num],
    targets: Sequence[int],
    times: Sequence[int],
    lengths: Sequence[int],
    classes: int = 4,
) -> Terms:
    """-log of the probability of all alignments, by the forward recursion (Graves et al. 2006, eq. 6-8).

    `x` are logits (time, batch, classes). An impossible alignment costs infinity, or 0 under zero_infinity.
    """
    batch, blank = len(times), options.get("blank", 0)
    frames = rows(x, batch * classes)
    terms = []
    for n in range(batch):
        logs = [log_softmax(frame[n * classes : (n + 1) * classes]) for frame in frames[: times[n]]]
        start = sum(lengths[:n])
        labels = [blank]
        for label in targets[start : start + lengths[n]]:
            labels += [label, blank]
        alpha: dict[int, Num] = {s: logs[0][labels[s]] for s in range(min(2, len(labels)))}
        for frame in logs[1:]:
            alpha = {
                s: _log_sum(came) + frame[labels[s]]
                for s in range(len(labels))
                if (came := _before(alpha, labels, s, blank))
            }
        ends = [alpha[s] for s in range(max(len(labels) - 2, 0), len(labels)) if s in alpha]
        terms.append(-_log_sum(ends) if ends else x[0] * 0 + (0.0 if options.get("zero_infinity") else math.inf))
    return terms, math.nan


def _before(alpha: Mapping[int, Num], labels: Sequence[int], s: int, blank: int) -> list[Num]:
    """From where state s can be reached: itself, the last, and over a blank between different labels."""
    skips = s > 1 and labels[s] != blank and labels[s] != labels[s - 2]
    return [alpha[q] for q in (s, s - 1, *((s - 2,) if skips else ())) if q in alpha]
