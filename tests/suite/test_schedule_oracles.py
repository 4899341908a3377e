"""The closed forms of the schedules, and that the checks' rows would notice an option that is ignored."""

import math

import pytest

from torchcheck.suite.checks.schedules import formulas as schedules
from torchcheck.suite.oracles import descent
from torchcheck.suite.oracles import schedules as oracle

# torch.optim.lr_scheduler.__all__ of torch 2.13.
LISTED = {
    "LambdaLR",
    "MultiplicativeLR",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "SequentialLR",
    "CosineAnnealingLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
    "CyclicLR",
    "CosineAnnealingWarmRestarts",
    "OneCycleLR",
    "PolynomialLR",
    "LRScheduler",
}


def test_every_scheduler_is_in_exactly_one_table():
    covered = {row.cls for row in schedules.SCHEDULES if "." not in row.cls}
    assert covered | set(schedules.NOT_COVERED) == LISTED
    assert not covered & set(schedules.NOT_COVERED)


@pytest.mark.parametrize("row", schedules.SCHEDULES, ids=lambda row: row.name)
def test_rates_are_no_constant_and_never_negative(row):
    for group, base in enumerate(schedules.BASES):
        rates = [row.rate(t, base, group) for t in range(row.steps + 1)]
        assert len(set(rates)) > 1
        assert min(rates) >= 0


def test_steps_count_milestones_with_their_multiplicity():
    assert [oracle.multistep(t, 1.0, (2, 2, 3), 0.5) for t in range(5)] == [1.0, 1.0, 0.25, 0.125, 0.125]
    assert [oracle.step(t, 1.0, 2, 0.5) for t in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_restarts_begin_at_the_top_and_grow():
    rates = [oracle.restarts(t, 1.0, 2, 2) for t in range(15)]
    assert [t for t, rate in enumerate(rates) if rate == 1.0] == [0, 2, 6, 14]
    assert oracle.restarts(2.5, 1.0, 2, 2) == pytest.approx(oracle.cosine(0.5, 1.0, 4))


def test_a_cycle_rises_to_its_top_and_falls_to_its_base():
    rates = [oracle.cyclic(t, 1.0, 5.0, 4, 2) for t in range(7)]
    assert rates == [1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 1.0]
    assert oracle.cyclic(10, 1.0, 5.0, 4, 2, "triangular2") == 3.0


def test_one_cycle_begins_peaks_and_ends_where_it_should():
    ends, values = [3.0, 9.0], [0.1, 1.0, 0.01]
    rates = [oracle.one_cycle(t, ends, values, oracle.half_cosine) for t in range(10)]
    assert (rates[0], rates[3], rates[9]) == (pytest.approx(0.1), pytest.approx(1.0), pytest.approx(0.01))
    assert sorted(rates[:4]) == rates[:4]
    assert sorted(rates[3:], reverse=True) == rates[3:]


def test_a_plateau_is_left_after_more_than_its_patience():
    assert oracle.plateau([1.0] * 4, 1.0, patience=1, factor=0.5) == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert oracle.plateau([1.0, math.nan, math.nan], 1.0, patience=1, factor=0.5)[-1] == 0.5
    assert oracle.plateau([1.0] * 9, 1.0, patience=0, factor=0.5, cooldown=3)[-1] == 0.25
    assert oracle.plateau([1.0] * 9, 1.0, patience=0, factor=0.5, min_lr=0.4)[-1] == 0.4


DEFAULTS = {
    "patience": 10,
    "threshold": 1e-4,
    "threshold_mode": "rel",
    "cooldown": 0,
    "min_lr": 0.0,
    "eps": 1e-8,
    "factor": 0.1,
    "mode": "min",
}


def test_every_option_of_every_plateau_shows():
    used = set()
    for options, feed in _plateaus():
        for name in options:
            rates = oracle.plateau(feed, 0.1, **{**options, name: DEFAULTS[name]})
            if options[name] != DEFAULTS[name]:
                used.add(name)
                assert rates != oracle.plateau(feed, 0.1, **options), f"{name} of {options} could be ignored unnoticed"
    assert used == set(DEFAULTS)


def _plateaus():
    for row in schedules.SCHEDULES:
        if row.cls == "ReduceLROnPlateau":
            cells = dict(
                zip(row.make.__code__.co_freevars, (c.cell_contents for c in row.make.__closure__), strict=True)
            )
            options = dict(cells["options"])
            options["min_lr"] = options["min_lr"][0] if isinstance(options.get("min_lr"), list) else 0.0
            yield options, row.feed


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.5},
        {"momentum": 0.6, "dampening": 0.4},
        {"momentum": 0.7, "nesterov": True},
        {"weight_decay": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("curvature", [0.5, 3.0, 10.0])
def test_closed_forms_solve_torchs_own_recursion(options, curvature):
    lr, momentum, damp = 0.15, options.get("momentum", 0.0), options.get("dampening", 0.0)
    along, x, buffer = descent.direction(curvature, lr=lr, **options), 1.0, None
    for t in range(1, 30):
        g = (curvature + options.get("weight_decay", 0.0)) * x
        buffer = g if buffer is None else momentum * buffer + (1 - damp) * g
        x -= lr * (g + momentum * buffer if options.get("nesterov") else buffer if momentum else g)
        assert along.at(t) == pytest.approx(x, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.5}, {"momentum": 0.6, "dampening": 0.4}, {"momentum": 0.7, "nesterov": True}],
    ids=str,
)
def test_the_limit_is_where_a_root_leaves_the_unit_circle(options):
    limit = descent.limit(10.0, **options)
    assert descent.direction(10.0, lr=limit, **options).radius == pytest.approx(1.0, abs=1e-9)
    assert descent.direction(10.0, lr=0.99 * limit, **options).radius < 1
    assert descent.direction(10.0, lr=1.01 * limit, **options).radius > 1


def test_the_best_momentum_is_critically_damped_at_both_ends():
    lr, momentum = descent.best_momentum(1.0, 25.0)
    for curvature in (1.0, 25.0):
        one, two = descent.direction(curvature, lr=lr, momentum=momentum).roots
        assert abs(one - two) < 1e-6
        assert abs(one) == pytest.approx((5 - 1) / (5 + 1), rel=1e-6)


def test_steps_to_a_goal():
    assert descent.steps_to(0.5, 0.25) == 2
    assert descent.steps_to(-0.5, 0.2) == 3
