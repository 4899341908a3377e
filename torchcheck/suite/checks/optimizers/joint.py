"""Optimizers whose lanes depend on each other, and those for sparse gradients, against their formulas in float64."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import trajectory
from ...compare import FORMATS
from ...context import Context
from ...oracles import optimizers as oracle
from ...registry import check

FORMULA = "the paper's formula in float64"
SHAPES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("plain", (67,)),
    ("transposed", (6, 9)),
    ("plain", (2, 3, 4)),
    ("plain", (1,)),
)
# More than a thousand lanes in a matrix and in a vector.
BROAD: tuple[tuple[str, tuple[int, ...]], ...] = (("plain", (21, 53)), ("plain", (1013,)))
FACTORED: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 0.2, "beta2_decay": -0.6, "eps": (1e-4, 0.05), "d": 1.5, "weight_decay": 0.1, "maximize": True},
    {"lr": 0.5, "eps": (0.2, 0.3)},
)


@check(oracle=FORMULA, dtypes=("float32", "float64"), needs=("torch.optim.Adafactor",))
def adafactor(context: Context) -> None:
    """Adafactor takes the steps of its formula on vectors, matrices and stacks of matrices, however implemented."""
    given = trajectory.problem(context, 3, SHAPES, scales=((0, 0), (-4, -2), (-2, 1), (-1, 0)))
    machine = FORMATS[str(context.dtype_name)].u * 2
    with trajectory.one_thread(context.torch):
        for options in FACTORED[: None if context.at_least("default") else 2]:
            _factored(context, given, options, {"eps": (machine, 1e-3), **options})
    if context.dtype_name == "float32" or context.at_least("full"):
        broad = trajectory.problem(context, 1, BROAD, scales=((-2, 1), (-1, 0)))
        _factored(context, broad, FACTORED[1], FACTORED[1])


def _factored(context: Context, given: trajectory.Problem, options: dict[str, Any], full: dict[str, Any]) -> None:
    gradients = [trajectory.tensors(context, given, step) for step in given.gradients]
    paths = _factored_paths(given, tuple(sorted(full.items())))
    for kind, flags in trajectory.implementations(context, "Adafactor").items():
        params = trajectory.tensors(context, given, given.start, grad=True)
        optimizer = trajectory.build(context, "Adafactor", params, {**options, **flags})
        what = f"{kind}, {options or 'defaults'}"
        for t in trajectory.walk(optimizer, params, gradients):
            for p, want in zip(params, paths):
                name = f"{what}: step {t} of shape {tuple(p.shape)}"
                # Means and norms of up to 1,113 lanes, summed in vectors and pairs, add few roundings to a movement.
                trajectory.close(context, context.values(p), want, t, what=name, coarse=0.0, slack=2.0)
        for p, want in zip(params, paths):
            state = {k: context.values(v) for k, v in optimizer.state[p].items()}
            trajectory.close_state(context, state, want, what=f"{what}, shape {tuple(p.shape)}")
            context.exact(state["step"], [float(len(given.gradients))], what=f"{what}: step count")


@functools.lru_cache(maxsize=16)
def _factored_paths(given: trajectory.Problem, options: tuple[tuple[str, Any], ...]) -> list[trajectory.Expected]:
    paths = []
    cut = [given.pieces(step) for step in given.gradients]
    for i, (start, (_, shape)) in enumerate(zip(given.pieces(given.start), given.layouts)):
        gradients = [pieces[i] for pieces in cut]
        path = oracle.adafactor(start, gradients, shape=shape, **dict(options))
        paths.append(trajectory.envelope(start, gradients, path))
    return paths


@dataclass(frozen=True)
class Orthogonal:
    """Options of Muon, and how far each step may be off: relative to an element, or to the whole matrix's norm."""

    name: str
    options: Mapping[str, Any]
    element: float = 0.0
    matrix: float = 0.0


# torch iterates in bfloat16. Without iterations an element carries three roundings (cast, norm, quotient). An iteration
# multiplies what it got by at most |p'| of its polynomial (3.45 of the default one, at 0) and rounds three products
# anew: measured 0.005 of the matrix's norm after one, 0.047 after the default five, 0.008 where p' vanishes at 1.
MUONS = (
    Orthogonal(
        "momentum", {"lr": 0.5, "momentum": 0.6, "nesterov": False, "ns_steps": 0, "weight_decay": 0.2}, element=4
    ),
    Orthogonal("nesterov", {"lr": 0.5, "ns_steps": 0, "adjust_lr_fn": "match_rms_adamw"}, element=4),
    Orthogonal("epsilon", {"lr": 0.5, "momentum": 0.0, "ns_steps": 0, "eps": 32.0}, element=4),
    Orthogonal("one_iteration", {"lr": 0.5, "momentum": 0.8, "ns_steps": 1}, matrix=0.016),
    Orthogonal("converging", {"lr": 0.5, "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 6}, matrix=0.03),
    Orthogonal("defaults", {}, matrix=0.12),
)


@check(oracle=FORMULA, dtypes=("float32",), each=MUONS, needs=("torch.optim.Muon",))
def muon(context: Context, row: Orthogonal) -> None:
    """Muon with {row} orthogonalises its momentum as its formula says, to the precision that it works in."""
    for shape in ((6, 9), (9, 6)):
        given = trajectory.problem(context, 3, (("plain", shape),), scales=((-1, 0),))
        params = trajectory.tensors(context, given, given.start, grad=True)
        gradients = [trajectory.tensors(context, given, step) for step in given.gradients]
        optimizer = trajectory.build(context, "Muon", params, row.options)
        path = oracle.muon(given.start, given.gradients, shape=shape, **row.options)
        want = trajectory.envelope(given.start, given.gradients, path)
        points = [context.values(params[0])]
        for t in trajectory.walk(optimizer, params, gradients):
            points.append(context.values(params[0]))
            _orthogonal(context, row, points, [given.start, *path.points], t, f"{shape[0]}x{shape[1]}, step {t}")
        state = trajectory.remembered(context, optimizer, params)
        trajectory.close_state(context, state, want, what=f"{shape[0]}x{shape[1]}")


def _orthogonal(
    context: Context, row: Orthogonal, points: list[list[float]], path: Sequence[Sequence[float]], t: int, what: str
) -> None:
    """Compare the movement of step t: what decay leaves of the point before is taken off both."""
    keep = 1.0 - row.options.get("lr", 1e-3) * row.options.get("weight_decay", 0.1)
    got = [a - keep * b for a, b in zip(points[t], points[t - 1])]
    want = [a - keep * b for a, b in zip(path[t], path[t - 1])]
    largest = max(map(abs, [*points[t], *points[t - 1]]))
    if row.element:
        # The parameter itself is rounded in float32, three times a step.
        floor = 4 * largest * FORMATS["float32"].u
        context.close(got, want, bound=row.element, floor=floor, what=f"{what}: movement", dtype="bfloat16")
    else:
        off = sum((a - b) ** 2 for a, b in zip(got, want)) ** 0.5
        size = sum(b * b for b in want) ** 0.5
        context.within(off / size, row.matrix, what=f"{what}: distance of the movement", unit="of its norm")


SPARSE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "adam": ("SparseAdam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-2}),
    "adam_maximize": ("SparseAdam", {"lr": 0.1, "maximize": True}),
    "adam_defaults": ("SparseAdam", {}),
    "sgd": ("SGD", {"lr": 0.25}),
    "sgd_momentum": ("SGD", {"lr": 0.25, "momentum": 0.5}),
    "adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-2}),
}
ROWS, COLUMNS = 13, 5


@check(oracle=FORMULA, dtypes=("float32", "float64"), each=SPARSE)
def sparse(context: Context, row: tuple[str, dict[str, Any]]) -> None:
    """Sparse gradients ({row}), their duplicates added, move the rows they name as the formula says, and no others."""
    cls, options = row
    rng, steps = context.rng(), 4
    draws = [_sparse_gradient(rng) for _ in range(steps)]
    start = [float(round(rng.gauss(0, 8))) / 8 for _ in range(ROWS * COLUMNS)]
    dense = [[lanes.get(i, 0.0) for i in range(ROWS * COLUMNS)] for _, lanes in draws]
    if cls == "SparseAdam":
        path = oracle.sparse_adam(start, [lanes for _, lanes in draws], **options)
    else:
        path = oracle.follow(cls, start, dense, options)
    want = trajectory.envelope(start, dense, path)
    p = context.tensor([start[i * COLUMNS : (i + 1) * COLUMNS] for i in range(ROWS)], grad=True)
    optimizer = trajectory.build(context, cls, [p], options)
    for t, (entries, _) in enumerate(draws, 1):
        rows = context.torch.tensor([[i for i, _ in entries]], device=context.device)
        values = context.tensor([list(values) for _, values in entries])
        p.grad = context.torch.sparse_coo_tensor(rows, values, (ROWS, COLUMNS))
        optimizer.step()
        trajectory.close(context, context.values(p), want, t, what=f"{cls} {options}: step {t}", coarse=0.0)


def _sparse_gradient(rng: random.Random) -> tuple[list[tuple[int, list[float]]], dict[int, float]]:
    """Draw rows, some twice, with values whose sums are exact; also the same by lanes."""
    chosen = [rng.randrange(ROWS) for _ in range(5)]
    entries = [
        (i, [rng.randint(1, 40) * rng.choice((-1, 1)) / 8 for _ in range(COLUMNS)]) for i in [*chosen, chosen[0]]
    ]
    lanes: dict[int, float] = {}
    for i, values in entries:
        for j, value in enumerate(values):
            lanes[i * COLUMNS + j] = lanes.get(i * COLUMNS + j, 0.0) + value
    return entries, lanes


TARGET, WEIGHTS = (1.0, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0), (1.0, 2.0, 0.5, 3.0, 1.5, 0.75, 2.5)


QUASI: tuple[dict[str, Any], ...] = (
    {"lr": 0.5, "max_iter": 3, "history_size": 2},
    {"lr": 0.25, "max_iter": 5},
    {"lr": 0.5, "max_iter": 20, "tolerance_grad": 0.05},
    {"lr": 0.5, "max_iter": 9, "max_eval": 4},
    {"lr": 0.5, "max_iter": 40, "tolerance_change": 0.01},
)


def _valley(x: list[float]) -> tuple[float, list[float]]:
    """A convex valley, weighted squares and fourth powers of distances from a target: value and gradient."""
    d = [a - b for a, b in zip(x, TARGET)]
    value = sum(w * (e * e / 2 + e**4 / 16) for w, e in zip(WEIGHTS, d))
    return value, [w * (e + e**3 / 4) for w, e in zip(WEIGHTS, d)]


@check(oracle="two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) in float64", dtypes=("float64",))
def lbfgs(context: Context) -> None:
    """L-BFGS with a fixed step goes where the two-loop recursion goes, over several parameters, calls and histories."""
    torch, weights, target = context.torch, context.tensor(list(WEIGHTS)), context.tensor(list(TARGET))
    for options in QUASI:
        params = [context.tensor([0.0] * 3, grad=True), context.tensor([[0.0, 0.0], [0.0, 0.0]], grad=True)]
        optimizer, memory = torch.optim.LBFGS(params, **options), oracle.Quasi([0.0] * 7)

        def closure(optimizer: Any = optimizer, params: Any = params) -> Any:
            optimizer.zero_grad()
            d = torch.cat([params[0], params[1].reshape(-1)]) - target
            loss = (weights * (d * d / 2 + d**4 / 16)).sum()
            loss.backward()
            return loss

        for call in range(1, 4):
            first = float(optimizer.step(closure))
            want = oracle.lbfgs(memory, _valley, **options)
            what = f"{options}: call {call}"
            # Nearing the minimum, differences of gradients keep fewer digits: up to ten bits by the third call.
            context.close([first], [want], bound=2.0**12, cancel=1.0, what=f"{what}: loss returned")
            context.close(trajectory.lanes(context, params), memory.point, bound=2.0**12, cancel=1.0, what=what)
            state = optimizer.state[params[0]]
            context.exact(
                [state["func_evals"], state["n_iter"]], [memory.evaluations, memory.iterations], what=f"{what}: counts"
            )


def _banana(x: Sequence[float]) -> tuple[float, list[float]]:
    """Rosenbrock's function of two numbers, and its gradient."""
    a, b = 1.0 - x[0], x[1] - x[0] * x[0]
    return a * a + 100.0 * b * b, [-2.0 * a - 400.0 * x[0] * b, 200.0 * b]


@check(oracle="the strong Wolfe conditions (Nocedal & Wright 2006, eq. 3.7)", dtypes=("float64",))
def line_search(context: Context) -> None:
    """Each step of L-BFGS with line search goes along the quasi-Newton direction to a strong Wolfe point."""
    torch, x = context.torch, context.tensor([-1.2, 1.0], grad=True)
    optimizer = torch.optim.LBFGS([x], max_iter=1, max_eval=30, line_search_fn="strong_wolfe", history_size=10)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (1.0 - x[0]) ** 2 + 100.0 * (x[1] - x[0] * x[0]) ** 2
        loss.backward()
        return loss

    memory = oracle.Quasi(context.values(x))
    for step in range(1, 61):
        before, (value, slope) = memory.point, _banana(memory.point)
        if max(map(abs, slope)) < 1e-4:
            break
        heading = oracle.direction(memory, slope, 10)
        optimizer.step(closure)
        memory.point = context.values(x)
        move = [a - b for a, b in zip(memory.point, before)]
        memory.gradient, memory.last = slope, move
        after, end = _banana(memory.point)
        down, length = oracle.dot(slope, move), oracle.dot(move, move) ** 0.5
        context.true(after <= value + 1e-4 * down, what=f"step {step}: sufficient decrease", got=after, expected=value)
        context.within(
            abs(oracle.dot(end, move)), 0.9 * abs(down), what=f"step {step}: slope left", unit="of 0.9 of the slope"
        )
        # The direction is a sum of inner products over few lanes; near the minimum differences keep fewer digits.
        skew = abs(move[0] * heading[1] - move[1] * heading[0]) / (length * oracle.dot(heading, heading) ** 0.5)
        context.within(skew, 1e-6, what=f"step {step}: angle off the quasi-Newton direction", unit="rad")
    context.close(x, [1.0, 1.0], bound=2.0**40, what="minimum of Rosenbrock's function")
