"""The references for training: the twister, the laws, the plain-Python trainer."""

import dataclasses
import math
import random

import pytest

from torchcheck.suite.oracles import generator, training


def test_twister_gives_the_published_sequence():
    # First outputs of MT19937 for init_genrand(5489), the default seed: C++ [rand.predef] fixes the 10,000th.
    source = generator.twister(5489)
    words = [source.getrandbits(32) for _ in range(10_000)]
    assert words[:3] == [3499211612, 581869302, 3890346734]
    assert words[-1] == 4123659995


def test_seeds_are_taken_modulo_two_to_the_32():
    assert generator.uniform32(generator.twister(7), 5) == generator.uniform32(generator.twister(2**32 + 7), 5)


def test_permutations_are_complete():
    assert sorted(generator.permutation(generator.twister(3), 100)) == list(range(100))


def test_normal_numbers_are_normal():
    numbers, radii = generator.normal32(generator.twister(1), 16_000)
    assert abs(math.fsum(numbers)) / 16_000 < 0.06
    assert abs(math.fsum(x * x for x in numbers) / 16_000 - 1) < 0.1
    assert all(abs(x) <= r for x, r in zip(numbers, radii, strict=True))


def test_distance_sees_a_shift_and_passes_the_law():
    rng = random.Random(5)
    numbers = [rng.random() for _ in range(5000)]
    bound = generator.distance_bound(5000)
    assert generator.distance(numbers, lambda x: x) < bound
    assert generator.distance([min(1.0, x * 1.12) for x in numbers], lambda x: x) > bound


@pytest.mark.parametrize("task", training.TASKS, ids=lambda task: task.name)
def test_gradients_are_differences_of_losses(task):
    weights = task.start()
    plain = dataclasses.replace(task, steps=1, momentum=0.0, decay=0.0, rate=1.0)
    flat = [p for rows in weights for row in rows for p in row]
    step = [p for rows in training.train(plain, weights).weights for row in rows for p in row]
    for i in range(len(flat)):
        ends = []
        for h in (1e-5, -1e-5):
            numbers = iter([p + h * (j == i) for j, p in enumerate(flat)])
            moved = [[[next(numbers) for _ in row] for row in rows] for rows in weights]
            ends.append(training.train(plain, moved).losses[0])
        assert flat[i] - step[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("task", training.TASKS, ids=lambda task: task.name)
def test_tasks_are_learned_and_well_conditioned(task):
    path, growth = training.solve(task)
    assert path.losses[-1] < min(task.reaches, path.losses[0])
    assert growth < 100  # otherwise no bound on a float32 training would mean anything


def test_momentum_and_decay_follow_their_formulas():
    task = dataclasses.replace(training.TASKS[0], steps=2, momentum=0.5, decay=0.25, rate=0.125)
    weights = [[[1.0, 2.0, -1.0]], [[0.5]]]
    first = training.train(dataclasses.replace(task, steps=1), weights).weights
    plain = dataclasses.replace(task, steps=1, momentum=0.0, decay=0.0, rate=1.0)

    def gradient(at):
        return [p - q for p, q in zip(flat(at), flat(training.train(plain, at).weights), strict=True)]

    def flat(rows):
        return [p for part in rows for row in part for p in row]

    g1 = [g + 0.25 * p for g, p in zip(gradient(weights), flat(weights), strict=True)]
    assert flat(first) == pytest.approx([p - 0.125 * g for p, g in zip(flat(weights), g1, strict=True)])
    g2 = [g + 0.25 * p + 0.5 * m for g, p, m in zip(gradient(first), flat(first), g1, strict=True)]
    second = flat(training.train(task, weights).weights)
    assert second == pytest.approx([p - 0.125 * g for p, g in zip(flat(first), g2, strict=True)])


def test_least_squares_has_no_gradient():
    task = training.TASKS[0]
    right = training.least_squares(task)
    residuals = [
        math.fsum(w * x for w, x in zip(right, [*row, 1.0], strict=True)) - y
        for row, y in zip(task.inputs, task.targets, strict=True)
    ]
    for column in zip(*[[*row, 1.0] for row in task.inputs], strict=True):
        assert math.fsum(r * x for r, x in zip(residuals, column, strict=True)) == pytest.approx(0.0, abs=1e-10)
