"""The references of the optimizers: against 50 digits, against closed forms, and that every option moves something."""

import decimal
import math
import random
from decimal import Decimal
from fractions import Fraction

import pytest

from torchcheck.suite.checks.optimizers import formulas, joint, lifecycle, listing
from torchcheck.suite.oracles import optimizers as oracle

decimal.getcontext().prec = 50
ROWS = [(row, options) for row in formulas.OPTIMIZERS for options in row.options]
IDS = [f"{row.name}-{i}" for row in formulas.OPTIMIZERS for i, _ in enumerate(row.options)]
# torch.optim.__all__ of torch 2.13.
LISTED = {
    "Adafactor",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Adamax",
    "AdamW",
    "ASGD",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
}


def problem(steps=10, lanes=12, seed=1):
    rng = random.Random(seed)
    sizes = [0.0, 1e-9, *(10 ** rng.uniform(-2, 1) for _ in range(lanes - 2))]
    start = [0.0 if i % 3 == 0 else rng.gauss(0, 1) for i in range(lanes)]
    return start, [[size * rng.gauss(0, 1) for size in sizes] for _ in range(steps)]


def farthest(path, exact):
    """Largest difference of two paths, in float64 roundings of the largest point and movement."""
    points = [[0.0] * len(path.points[0]), *path.points]
    size = max(abs(x) for point in points for x in point)
    return max(
        abs(float(Decimal(a) - b))
        for p, q in zip(path.points, exact.points, strict=True)
        for a, b in zip(p, q, strict=True)
    ) / (size * 2.0**-53)


def test_every_optimizer_is_in_exactly_one_place():
    tables = [*(row.cls for row in formulas.OPTIMIZERS), *listing.JOINT, *listing.NOT_COVERED]
    assert sorted(tables) == sorted(LISTED)
    assert {case.cls for case in lifecycle.CASES} == LISTED - {"Optimizer"}


@pytest.mark.parametrize(("row", "options"), ROWS, ids=IDS)
def test_float64_follows_fifty_digits(row, options):
    start, gradients = problem()
    path = oracle.follow(row.cls, start, gradients, options)
    exact = oracle.follow(row.cls, start, gradients, {**options, "number": Decimal})
    assert farthest(path, exact) < 64


@pytest.mark.parametrize(("row", "options"), ROWS, ids=IDS)
def test_every_option_moves_something(row, options):
    start, gradients = problem()
    path = oracle.follow(row.cls, start, gradients, options)
    for name in options:
        if name == "lr":
            continue
        bare = oracle.follow(row.cls, start, gradients, {k: v for k, v in options.items() if k != name})
        assert (bare.points, bare.state) != (path.points, path.state), f"{name} could be ignored unnoticed"


def test_every_argument_of_a_reference_is_used_by_some_row():
    for row in formulas.OPTIMIZERS:
        reference = oracle.ELEMENTWISE[row.cls]
        reference = oracle.adam if reference is oracle.adamw else reference
        arguments = set(reference.__kwdefaults__) - {"number", "decoupled_weight_decay"}
        used = {name for options in row.options for name in options}
        assert arguments <= used, f"{row.cls}: no options use {arguments - used}"


def test_adam_under_a_constant_gradient_goes_the_rate_each_step():
    path = oracle.follow("Adam", [0.0, 0.0], [[3.0, -0.25]] * 5, {"lr": 0.1, "eps": 0.0})
    for t, point in enumerate(path.points, 1):
        assert point == pytest.approx([-0.1 * t, 0.1 * t], rel=1e-12)


def test_adagrad_under_a_constant_gradient_slows_with_the_root():
    path = oracle.follow("Adagrad", [0.0], [[2.0]] * 4, {"lr": 1.0, "eps": 0.0})
    assert path.points[-1][0] == pytest.approx(-sum(1 / math.sqrt(t) for t in range(1, 5)), rel=1e-14)


def test_momentum_adds_up_to_its_geometric_series():
    path = oracle.follow("SGD", [Fraction(0)], [[Fraction(1)]] * 6, {"lr": 1.0, "momentum": 0.5, "number": Fraction})
    assert path.points[-1][0] == -sum(2 - Fraction(1, 2**k) for k in range(6))


def test_radam_rectifies_from_the_sixth_step_on():
    path = oracle.follow("RAdam", [0.0], [[4.0]] * 7, {"lr": 1.0})
    moves = [a[0] - b[0] for a, b in zip(path.points, [[0.0], *path.points[:-1]], strict=True)]
    assert moves[:5] == pytest.approx([-4.0] * 5)
    assert all(abs(move) < 1 for move in moves[5:])


def test_rprop_rests_after_a_change_of_sign():
    path = oracle.follow("Rprop", [0.0], [[1.0], [1.0], [-1.0], [-1.0]], {"lr": 1.0})
    assert [p[0] for p in path.points] == pytest.approx([-1.0, -2.2, -2.2, -1.6])


def test_asgd_averages_after_its_start():
    path = oracle.follow("ASGD", [0.0], [[1.0]] * 4, {"lr": 1.0, "lambd": 0.0, "t0": 1.0})
    assert path.state["ax"] == pytest.approx([(-3 - 4) / 2])


def test_sparse_adam_on_every_lane_is_adam_without_epsilon():
    start, gradients = problem(steps=4)
    gradients = [[g or 1.0 for g in step] for step in gradients]
    dense = oracle.follow("Adam", start, gradients, {"lr": 0.1, "eps": 0.0})
    sparse = oracle.sparse_adam(start, [dict(enumerate(step)) for step in gradients], lr=0.1, eps=0.0)
    for a, b in zip(dense.points, sparse.points, strict=True):
        assert a == pytest.approx(b, rel=1e-12)


@pytest.mark.parametrize("options", joint.FACTORED)
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2), (1,)])
def test_adafactor_follows_fifty_digits(options, shape):
    start, gradients = problem(steps=4, lanes=max(math.prod(shape), 2))
    start, gradients = start[-math.prod(shape) :], [step[-math.prod(shape) :] for step in gradients]
    full = {"eps": (1e-7, 1e-3), "shape": shape, **options}
    path = oracle.adafactor(start, gradients, **full)
    assert farthest(path, oracle.adafactor(start, gradients, **full, number=Decimal)) < 256


def test_adafactor_factors_a_rank_one_second_moment_exactly():
    rows, columns = (1.0, 2.0, 4.0), (3.0, 1.0)
    gradient = [r * c for r in rows for c in columns]
    path = oracle.adafactor([1.0] * 6, [gradient], shape=(3, 2), eps=(0.0, 1e-3), lr=0.5)
    assert path.points[0] == pytest.approx([0.5] * 6)  # every lane moves by the rate, as its square is its own estimate


@pytest.mark.parametrize("row", joint.MUONS, ids=lambda row: row.name)
def test_muon_follows_fifty_digits(row):
    start, gradients = problem(steps=2, lanes=6)
    gradients = [[g or 0.5 for g in step] for step in gradients]
    options = {**row.options, "shape": (2, 3)}
    path = oracle.muon(start, gradients, **options)
    assert farthest(path, oracle.muon(start, gradients, **options, number=Decimal)) < 2**16


def test_newton_schulz_turns_singular_values_into_one():
    matrix = [[2.0, 0.0, 0.0], [0.0, -0.5, 0.0]]
    made = oracle.newton_schulz(matrix, (2.0, -1.5, 0.5), 30, 1e-7)
    assert made[0] == pytest.approx([1.0, 0.0, 0.0])
    assert made[1] == pytest.approx([0.0, -1.0, 0.0])


def test_lbfgs_follows_fifty_digits_and_arrives():
    def valley(x):
        d = [a - k for k, a in enumerate(x)]
        return sum((k + 1) * v * v for k, v in enumerate(d)) / 2, [(k + 1) * v for k, v in enumerate(d)]

    floats, digits = oracle.Quasi([5.0, -3.0, 2.0]), oracle.Quasi([Decimal(5), Decimal(-3), Decimal(2)])
    for _ in range(3):
        oracle.lbfgs(floats, valley, max_iter=3, lr=1.0, tolerance_grad=0.0, tolerance_change=0.0)
        oracle.lbfgs(digits, valley, max_iter=3, lr=Decimal(1), tolerance_grad=Decimal(0), tolerance_change=Decimal(0))
        assert floats.point == pytest.approx([float(x) for x in digits.point], abs=1e-9)
    assert floats.point == pytest.approx([0.0, 1.0, 2.0], abs=1e-3)


def test_quasi_newton_direction_satisfies_the_secant_equation():
    memory = oracle.Quasi([1.0, 2.0], gradient=[4.0, 3.0], last=[-0.5, 0.25])
    gradient = [1.0, 2.0]
    oracle.direction(memory, gradient)
    y, s = memory.pairs[-1]
    # H y = s: with the gradient y, the direction is -s.
    again = oracle.Quasi([1.0, 2.0], pairs=[(y, s)], scale=memory.scale)
    assert oracle.direction(again, y) == pytest.approx([-x for x in s])
