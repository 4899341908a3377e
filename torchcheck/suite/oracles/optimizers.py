"""What every optimizer of `torch.optim` does, written from its paper in plain numbers.

A reference follows predetermined gradients (an open loop: an error of torch's cannot feed back into what it is judged
by) and gives where the parameters are after each step, with the state that the optimizer keeps. Lanes are independent
but for Adafactor, Muon and L-BFGS. The functions use `+ - * / **`, comparisons and a square root alone, so that they
run on any number type: float64 beside torch, 50-digit Decimal in the tests of this file.

Where papers and PyTorch differ, PyTorch's documented convention stands here and is named: it is what users train with.
Defaults are the documented ones, written down here on their own, so that a changed default shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Lanes = list[Any]


@dataclass(frozen=True)
class Path:
    """Where an optimizer went: `points[t]` after step t + 1, and the state it holds at the end, by torch's names."""

    points: list[Lanes]
    state: dict[str, Lanes]


def follow(name: str, start: Sequence[Any], gradients: Sequence[Sequence[Any]], options: dict[str, Any]) -> Path:
    """Follow `gradients` (one list of lanes a step) from `start` with the optimizer `name` of `ELEMENTWISE`.

    `options` are torch's keyword arguments; `lr` may be a sequence with one rate a step, `maximize` turns the sign.
    """
    rest = dict(options)
    if rest.pop("maximize", False):
        gradients = [[-g for g in step] for step in gradients]
    return ELEMENTWISE[name](start, gradients, **rest)


def sgd(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    number: Any = float,
) -> Path:
    """Gradient descent with heavy-ball or Nesterov momentum (Sutskever et al. 2013, §2).

    PyTorch's convention: the rate multiplies the whole velocity, and the first velocity is the gradient, undamped.
    """
    mu, keep, decay = number(momentum), 1 - number(dampening), number(weight_decay)
    p, buffer, points = [number(x) for x in start], None, []
    for rate, step in zip(_rates(lr, gradients, number), gradients):
        g = [number(x) + decay * y for x, y in zip(step, p)]
        if momentum:
            buffer = g if buffer is None else [mu * b + keep * x for b, x in zip(buffer, g)]
            g = [x + mu * b for x, b in zip(g, buffer)] if nesterov else buffer
        p = [y - rate * x for y, x in zip(p, g)]
        points.append(p)
    return Path(points, {} if buffer is None else {"momentum_buffer": buffer})


def adam(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    decoupled_weight_decay: bool = False,
    number: Any = float,
) -> Path:
    """Adam (Kingma & Ba 2015, algorithm 1), AMSGrad (Reddi et al. 2018), decoupled decay (Loshchilov & Hutter 2019).

    PyTorch's convention: epsilon is added after the bias correction of the root, sqrt(v / (1 - b2^t)) + eps, and
    AMSGrad keeps the maximum of the uncorrected second moment.
    """
    sqrt, (b1, b2), e, decay = _root(number), map(number, betas), number(eps), number(weight_decay)
    p, points = [number(x) for x in start], []
    m, v, top = ([number(0)] * len(p) for _ in range(3))
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        p, g = _decayed(p, step, rate, decay, decoupled=decoupled_weight_decay)
        m = [b1 * a + (1 - b1) * x for a, x in zip(m, g)]
        v = [b2 * a + (1 - b2) * x * x for a, x in zip(v, g)]
        top = [max(a, b) for a, b in zip(top, v)] if amsgrad else v
        size, root = rate / (1 - b1**t), sqrt(1 - b2**t)
        p = [y - size * a / (sqrt(b) / root + e) for y, a, b in zip(p, m, top)]
        points.append(p)
    return Path(points, {"exp_avg": m, "exp_avg_sq": v, **({"max_exp_avg_sq": top} if amsgrad else {})})


def adamw(
    start: Sequence[Any], gradients: Sequence[Sequence[Any]], *, weight_decay: float = 1e-2, **options: Any
) -> Path:
    """Adam with decoupled decay (Loshchilov & Hutter 2019, algorithm 2): p shrinks first, by lr * weight_decay."""
    return adam(start, gradients, weight_decay=weight_decay, decoupled_weight_decay=True, **options)


def adamax(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    number: Any = float,
) -> Path:
    """Adam with the infinity norm (Kingma & Ba 2015, algorithm 2); PyTorch adds epsilon to |g| inside the maximum."""
    (b1, b2), e, decay = map(number, betas), number(eps), number(weight_decay)
    p, points = [number(x) for x in start], []
    m, norm = [number(0)] * len(p), [number(0)] * len(p)
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        p, g = _decayed(p, step, rate, decay)
        m = [b1 * a + (1 - b1) * x for a, x in zip(m, g)]
        norm = [max(b2 * a, abs(x) + e) for a, x in zip(norm, g)]
        size = rate / (1 - b1**t)
        p = [y - size * a / b for y, a, b in zip(p, m, norm)]
        points.append(p)
    return Path(points, {"exp_avg": m, "exp_inf": norm})


def nadam(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    number: Any = float,
) -> Path:
    """Adam with Nesterov momentum and Dozat's momentum schedule mu_t = b1 (1 - 0.96^(t psi) / 2) (Dozat 2016)."""
    sqrt, (b1, b2), e, decay = _root(number), map(number, betas), number(eps), number(weight_decay)
    psi, half, base = number(momentum_decay), number(1) / 2, number(0.96)
    p, points, product = [number(x) for x in start], [], number(1)
    m, v = [number(0)] * len(p), [number(0)] * len(p)
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        p, g = _decayed(p, step, rate, decay, decoupled=decoupled_weight_decay)
        mu, after = (b1 * (1 - half * base ** (k * psi)) for k in (t, t + 1))
        product *= mu
        m = [b1 * a + (1 - b1) * x for a, x in zip(m, g)]
        v = [b2 * a + (1 - b2) * x * x for a, x in zip(v, g)]
        now, ahead, correction = rate * (1 - mu) / (1 - product), rate * after / (1 - product * after), 1 - b2**t
        p = [y - (now * x + ahead * a) / (sqrt(b / correction) + e) for y, x, a, b in zip(p, g, m, v)]
        points.append(p)
    return Path(points, {"exp_avg": m, "exp_avg_sq": v, "mu_product": [product]})


def radam(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    number: Any = float,
) -> Path:
    """Rectified Adam (Liu et al. 2020, algorithm 2); PyTorch rectifies where rho_t > 5 and adds eps to sqrt(v)."""
    sqrt, (b1, b2), e, decay = _root(number), map(number, betas), number(eps), number(weight_decay)
    limit = 2 / (1 - b2) - 1
    p, points = [number(x) for x in start], []
    m, v = [number(0)] * len(p), [number(0)] * len(p)
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        p, g = _decayed(p, step, rate, decay, decoupled=decoupled_weight_decay)
        m = [b1 * a + (1 - b1) * x for a, x in zip(m, g)]
        v = [b2 * a + (1 - b2) * x * x for a, x in zip(v, g)]
        correction, size = 1 - b2**t, rate / (1 - b1**t)
        rho = limit - 2 * t * b2**t / correction
        if rho > 5:
            size *= sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) * sqrt(correction)
            p = [y - size * a / (sqrt(b) + e) for y, a, b in zip(p, m, v)]
        else:
            p = [y - size * a for y, a in zip(p, m)]
        points.append(p)
    return Path(points, {"exp_avg": m, "exp_avg_sq": v})


def adadelta(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    number: Any = float,
) -> Path:
    """Adadelta (Zeiler 2012, algorithm 1), times a rate that the paper has not."""
    sqrt, r, e, decay = _root(number), number(rho), number(eps), number(weight_decay)
    p, points = [number(x) for x in start], []
    square, moved = [number(0)] * len(p), [number(0)] * len(p)
    for rate, step in zip(_rates(lr, gradients, number), gradients):
        p, g = _decayed(p, step, rate, decay)
        square = [r * a + (1 - r) * x * x for a, x in zip(square, g)]
        delta = [sqrt(b + e) / sqrt(a + e) * x for a, b, x in zip(square, moved, g)]
        moved = [r * b + (1 - r) * d * d for b, d in zip(moved, delta)]
        p = [y - rate * d for y, d in zip(p, delta)]
        points.append(p)
    return Path(points, {"square_avg": square, "acc_delta": moved})


def adagrad(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    number: Any = float,
) -> Path:
    """Adagrad (Duchi et al. 2011, diagonal form) with a rate that falls as lr / (1 + (t - 1) lr_decay)."""
    sqrt, slow, e, decay = _root(number), number(lr_decay), number(eps), number(weight_decay)
    p, points = [number(x) for x in start], []
    total = [number(initial_accumulator_value)] * len(p)
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients)):
        p, g = _decayed(p, step, rate, decay)
        total = [a + x * x for a, x in zip(total, g)]
        size = rate / (1 + t * slow)
        p = [y - size * x / (sqrt(a) + e) for y, x, a in zip(p, g, total)]
        points.append(p)
    return Path(points, {"sum": total})


def rmsprop(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    number: Any = float,
) -> Path:
    """RMSprop (Hinton 2012, lecture 6e), centred (Graves 2013, eq. 38-45); PyTorch adds epsilon outside the root."""
    sqrt, a, e = _root(number), number(alpha), number(eps)
    mu, decay = number(momentum), number(weight_decay)
    p, points = [number(x) for x in start], []
    square, mean, buffer = ([number(0)] * len(p) for _ in range(3))
    for rate, step in zip(_rates(lr, gradients, number), gradients):
        p, g = _decayed(p, step, rate, decay)
        square = [a * s + (1 - a) * x * x for s, x in zip(square, g)]
        if centered:
            mean = [a * s + (1 - a) * x for s, x in zip(mean, g)]
        move = [x / (sqrt(s - c * c) + e) for x, s, c in zip(g, square, mean)]
        buffer = [mu * b + d for b, d in zip(buffer, move)]
        p = [y - rate * b for y, b in zip(p, buffer)]
        points.append(p)
    state = {"square_avg": square}
    state.update({"momentum_buffer": buffer} if momentum else {}, **({"grad_avg": mean} if centered else {}))
    return Path(points, state)


def rprop(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-2,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    number: Any = float,
) -> Path:
    """Rprop without weight backtracking (Igel & Hüsken 2000, iRprop-): after a change of sign a lane rests one step."""
    (less, more), (low, high) = map(number, etas), map(number, step_sizes)
    p, points = [number(x) for x in start], []
    size, last = [_rates(lr, gradients, number)[0]] * len(p), [number(0)] * len(p)
    for step in gradients:
        g = [number(x) for x in step]
        turn = [x * y for x, y in zip(g, last)]
        size = [min(max(s * (more if w > 0 else less if w < 0 else 1), low), high) for s, w in zip(size, turn)]
        last = [number(0) if w < 0 else x for w, x in zip(turn, g)]
        p = [y - s * ((x > 0) - (x < 0)) for y, s, x in zip(p, size, last)]
        points.append(p)
    return Path(points, {"step_size": size, "prev": last})


def asgd(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    lr: Any = 1e-2,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    number: Any = float,
) -> Path:
    """Averaged gradient descent (Polyak & Juditsky 1992) with the schedule eta_t = lr / (1 + lambd lr t)^alpha.

    Bottou's decay term lambd shrinks the parameters even where the gradient is zero; averaging starts after t0.
    """
    shrink, power, begin, decay = number(lambd), number(alpha), number(t0), number(weight_decay)
    p, points, mu = [number(x) for x in start], [], number(1)
    mean, eta = p, _rates(lr, gradients, number)[0]
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        p, g = _decayed(p, step, rate, decay)
        p = [y * (1 - shrink * eta) - eta * x for y, x in zip(p, g)]
        mean = [a + (y - a) * mu for a, y in zip(mean, p)]
        eta, mu = rate / (1 + shrink * rate * t) ** power, 1 / max(number(1), t - begin)
        points.append(p)
    return Path(points, {"ax": mean, "eta": [eta], "mu": [mu]})


def sparse_adam(
    start: Sequence[Any],
    gradients: Sequence[dict[int, Any]],
    *,
    lr: Any = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    maximize: bool = False,
    number: Any = float,
) -> Path:
    """Lazy Adam: each step gives the lanes that have a gradient, {lane: gradient}; the others keep value and moments.

    PyTorch's convention: the step counts for the whole tensor, and epsilon is not bias-corrected.
    """
    sqrt, (b1, b2), e, sign = _root(number), map(number, betas), number(eps), -1 if maximize else 1
    p, points = [number(x) for x in start], []
    m, v = [number(0)] * len(p), [number(0)] * len(p)
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        size, p = rate * sqrt(1 - b2**t) / (1 - b1**t), list(p)
        for i, x in step.items():
            g = sign * number(x)
            m[i], v[i] = b1 * m[i] + (1 - b1) * g, b2 * v[i] + (1 - b2) * g * g
            p[i] -= size * m[i] / (sqrt(v[i]) + e)
        points.append(p)
    return Path(points, {"exp_avg": m, "exp_avg_sq": v})


def adafactor(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    shape: tuple[int, ...],
    eps: tuple[float, float],
    lr: Any = 1e-2,
    beta2_decay: float = -0.8,
    d: float = 1.0,
    weight_decay: float = 0.0,
    maximize: bool = False,
    number: Any = float,
) -> Path:
    """Adafactor (Shazeer & Stern 2018, algorithm 4) of one tensor of `shape`, its lanes in row-major order.

    PyTorch's conventions: the rate caps the relative step, min(lr, 1/sqrt(t)); decay is decoupled; eps[0] (the dtype's
    machine epsilon when the user gives none) bounds the mean of the rows and, squared, the estimated second moment.
    """
    sqrt, sign, power = _root(number), -1 if maximize else 1, number(beta2_decay)
    low, small, clip, decay = number(eps[0]), number(eps[1]), number(d), number(weight_decay)
    p, points = [number(x) for x in start], []
    rows = cols = flat = None
    for t, (rate, step) in enumerate(zip(_rates(lr, gradients, number), gradients), 1):
        g = [sign * number(x) for x in step]
        fresh, size = number(t) ** power, min(rate, 1 / sqrt(number(t))) * max(small, _rms(p, sqrt))
        p = [y * (1 - rate * decay) for y in p]
        squares = [x * x for x in g]
        if len(shape) > 1:
            rows, cols = (
                _blend(rows, _row_means(squares, shape), fresh),
                _blend(cols, _col_means(squares, shape), fresh),
            )
            estimate = _outer(rows, cols, shape, low)
        else:
            estimate = flat = _blend(flat, squares, fresh)
        update = [x / sqrt(max(s, low * low)) for x, s in zip(g, estimate)]
        size /= max(number(1), _rms(update, sqrt) / clip)
        p = [y - size * x for y, x in zip(p, update)]
        points.append(p)
    return Path(points, {"variance": flat} if flat is not None else {"row_var": rows or [], "col_var": cols or []})


def muon(
    start: Sequence[Any],
    gradients: Sequence[Sequence[Any]],
    *,
    shape: tuple[int, int],
    lr: Any = 1e-3,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    number: Any = float,
) -> Path:
    """Muon (Jordan et al. 2024) of one matrix of `shape`, lanes in row-major order; the iteration in full precision.

    torch iterates in bfloat16: what it gives agrees with this to that precision only. The rate is scaled by
    sqrt(max(1, rows / columns)), or by 0.2 sqrt(max(rows, columns)) to match AdamW (Liu et al. 2025, "Moonlight").
    """
    mu, decay, sqrt, (r, c) = number(momentum), number(weight_decay), _root(number), shape
    scale = (
        number(0.2) * sqrt(number(max(r, c)))
        if adjust_lr_fn == "match_rms_adamw"
        else sqrt(max(number(1), number(r) / c))
    )
    p, points = [number(x) for x in start], []
    buffer = [number(0)] * len(p)
    for rate, step in zip(_rates(lr, gradients, number), gradients):
        g = [number(x) for x in step]
        buffer = [mu * b + (1 - mu) * x for b, x in zip(buffer, g)]
        update = [(1 - mu) * x + mu * b for x, b in zip(g, buffer)] if nesterov else buffer
        matrix = [update[i * c : (i + 1) * c] for i in range(r)]
        moved = _flat(newton_schulz(matrix, [number(k) for k in ns_coefficients], ns_steps, number(eps), sqrt))
        p = [y * (1 - rate * decay) - rate * scale * o for y, o in zip(p, moved)]
        points.append(p)
    return Path(points, {"momentum_buffer": buffer})


def newton_schulz(
    matrix: list[Lanes], coefficients: Sequence[Any], steps: int, eps: Any, sqrt: Callable[[Any], Any] = math.sqrt
) -> list[Lanes]:
    """Drive the singular values of a matrix towards 1 by X <- a X + (b XX' + c (XX')^2) X, from X / |X|_F."""
    if len(matrix) > len(matrix[0]):
        return transposed(newton_schulz(transposed(matrix), coefficients, steps, eps, sqrt))
    a, b, c = coefficients
    norm = max(sqrt(sum(x * x for row in matrix for x in row)), eps)
    x = [[v / norm for v in row] for row in matrix]
    for _ in range(steps):
        gram = product(x, transposed(x))
        poly = [[b * u + c * v for u, v in zip(*rows)] for rows in zip(gram, product(gram, gram))]
        x = [[a * u + v for u, v in zip(*rows)] for rows in zip(x, product(poly, x))]
    return x


@dataclass
class Quasi:
    """What L-BFGS carries from one iteration to the next, and how often it evaluated."""

    point: Lanes
    pairs: list[tuple[Lanes, Lanes]] = field(default_factory=list)
    gradient: Lanes | None = None
    last: Lanes | None = None
    scale: Any = 1
    iterations: int = 0
    evaluations: int = 0


def lbfgs(
    memory: Quasi,
    evaluate: Callable[[Lanes], tuple[Any, Lanes]],
    *,
    lr: Any = 1.0,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_size: int = 100,
) -> Any:
    """Take one step (up to `max_iter` iterations) of limited-memory BFGS without a line search; moves `memory`.

    Two-loop recursion of Nocedal (Nocedal & Wright 2006, algorithm 7.4) with the scaling of eq. 7.20. PyTorch's
    conventions, from minFunc: the very first step is min(1, 1 / |g|_1) times the rate, a pair is kept when y.s > 1e-10,
    at most 1.25 `max_iter` evaluations, and the last iteration evaluates no more.

    Returns:
        The loss before the step.
    """
    limit, evaluations = max_iter * 5 // 4 if max_eval is None else max_eval, 1
    loss, g = evaluate(memory.point)
    first = loss
    memory.evaluations += 1
    if max(map(abs, g)) <= tolerance_grad:
        return first
    for turn in range(1, max_iter + 1):
        memory.iterations += 1
        heading = direction(memory, g, history_size)
        length = lr if memory.iterations > 1 else min(1, 1 / sum(map(abs, g))) * lr
        if dot(g, heading) > -tolerance_change:
            break
        before, move = loss, [length * d for d in heading]
        memory.point = [x + m for x, m in zip(memory.point, move)]
        memory.gradient, memory.last = g, move
        if turn == max_iter:
            break
        loss, g = evaluate(memory.point)
        evaluations += 1
        memory.evaluations += 1
        flat = max(map(abs, g)) <= tolerance_grad or max(map(abs, move)) <= tolerance_change
        if flat or evaluations >= limit or abs(loss - before) < tolerance_change:
            break
    return first


def direction(memory: Quasi, g: Lanes, history_size: int = 100) -> Lanes:
    """Take the last movement into `memory` and give the direction of descent from gradient `g` (two-loop recursion)."""
    if memory.gradient is not None and memory.last is not None:
        y = [a - b for a, b in zip(g, memory.gradient)]
        if dot(y, memory.last) > 1e-10:
            memory.pairs = [*memory.pairs, (y, memory.last)][-history_size:]
            memory.scale = dot(y, memory.last) / dot(y, y)
    q, weights = [-x for x in g], []
    for y, s in reversed(memory.pairs):
        weights.append(dot(s, q) / dot(y, s))
        q = [a - weights[-1] * b for a, b in zip(q, y)]
    q = [memory.scale * x for x in q]
    for (y, s), weight in zip(memory.pairs, reversed(weights)):
        back = weight - dot(y, q) / dot(y, s)
        q = [a + back * b for a, b in zip(q, s)]
    return q


def dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b))


def product(a: list[Lanes], b: list[Lanes]) -> list[Lanes]:
    """Matrix product."""
    columns = transposed(b)
    return [[dot(row, column) for column in columns] for row in a]


def transposed(a: list[Lanes]) -> list[Lanes]:
    """Transpose of a matrix."""
    return [list(column) for column in zip(*a)]


def _root(number: Any) -> Callable[[Any], Any]:
    return math.sqrt if number is float else number.sqrt


def _rates(lr: Any, gradients: Sequence[Any], number: Any) -> Lanes:
    return [number(x) for x in lr] if isinstance(lr, (list, tuple)) else [number(lr)] * len(gradients)


def _decayed(p: Lanes, step: Sequence[Any], rate: Any, decay: Any, *, decoupled: bool = False) -> tuple[Lanes, Lanes]:
    """Apply weight decay: to the gradient (an L2 penalty), or to the parameters themselves when decoupled."""
    number = type(decay)
    g = [number(x) for x in step]
    if decay == 0:
        return p, g
    if decoupled:
        return [y * (1 - rate * decay) for y in p], g
    return p, [x + decay * y for x, y in zip(g, p)]


def _rms(values: Lanes, sqrt: Callable[[Any], Any]) -> Any:
    return sqrt(sum(x * x for x in values) / len(values))


def _blend(old: Lanes | None, new: Lanes, share: Any) -> Lanes:
    return [share * x for x in new] if old is None else [(1 - share) * a + share * x for a, x in zip(old, new)]


def _row_means(values: Lanes, shape: tuple[int, ...]) -> Lanes:
    width = shape[-1]
    return [sum(values[i : i + width]) / width for i in range(0, len(values), width)]


def _col_means(values: Lanes, shape: tuple[int, ...]) -> Lanes:
    height, width = shape[-2:]
    area = height * width
    return [
        sum(values[block + j : block + area : width]) / height
        for block in range(0, len(values), area)
        for j in range(width)
    ]


def _outer(rows: Lanes, cols: Lanes, shape: tuple[int, ...], low: Any) -> Lanes:
    height, width = shape[-2:]
    estimate: Lanes = []
    for k in range(len(rows) // height):
        block, across = rows[k * height : (k + 1) * height], cols[k * width : (k + 1) * width]
        mean = max(sum(block) / height, low)
        estimate += [r * c / mean for r in block for c in across]
    return estimate


def _flat(matrix: list[Lanes]) -> Lanes:
    return [x for row in matrix for x in row]


ELEMENTWISE: dict[str, Callable[..., Path]] = {
    "SGD": sgd,
    "Adam": adam,
    "AdamW": adamw,
    "Adamax": adamax,
    "NAdam": nadam,
    "RAdam": radam,
    "Adadelta": adadelta,
    "Adagrad": adagrad,
    "RMSprop": rmsprop,
    "Rprop": rprop,
    "ASGD": asgd,
}
