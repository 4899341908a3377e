"""Losses against formulas written another way, and their gradients against differences."""

import itertools
import math
import random

import pytest

from torchcheck.suite.oracles import losses, tape
from torchcheck.suite.oracles.tape import Num


def _value(terms):
    return [t.value for t in terms[0]]


def _softmax(row):
    raised = [math.exp(v) for v in row]
    return [v / sum(raised) for v in raised]


def test_cross_entropy_is_minus_log_of_softmax_at_the_target():
    x = [0.5, -1.0, 2.0, 1.0, 0.0, 3.0]
    got = losses.cross_entropy({"weight": [1.0, 2.0, 0.5]}, tape.leaves(x), [2, 0], 3)
    wanted = [-0.5 * math.log(_softmax(x[:3])[2]), -1.0 * math.log(_softmax(x[3:])[0])]
    assert _value(got) == pytest.approx(wanted)
    assert got[1] == 1.5


def test_smoothing_mixes_the_target_with_the_uniform_distribution():
    x, eps = [0.5, -1.0, 2.0], 0.3
    p = _softmax(x)
    mixed = [eps / 3, eps / 3 + 1 - eps, eps / 3]
    wanted = -sum(m * math.log(v) for m, v in zip(mixed, p, strict=True))
    assert _value(losses.cross_entropy({"label_smoothing": eps}, tape.leaves(x), [1], 3)) == pytest.approx([wanted])
    probabilities = losses.cross_entropy({"label_smoothing": eps}, tape.leaves(x), [0.0, 1.0, 0.0], 3)
    assert _value(probabilities) == pytest.approx([wanted])


def test_ignored_targets_weigh_nothing():
    terms, weight = losses.nll({"ignore_index": 1}, tape.leaves([-1.0, -2.0, -3.0, -4.0]), [1, 0], 2)
    assert [t.value for t in terms] == [0.0, 3.0]
    assert weight == 1.0


def test_binary_losses_agree_with_each_other():
    rng = random.Random(1)
    x, y = [rng.uniform(-4, 4) for _ in range(9)], [rng.random() for _ in range(9)]
    logits = losses.bce_with_logits({}, tape.leaves(x), y)
    plain = losses.bce({}, tape.leaves([1 / (1 + math.exp(-v)) for v in x]), y)
    assert _value(logits) == pytest.approx(_value(plain))


def test_smooth_l1_is_huber_divided_by_its_threshold():
    x, y = tape.leaves([0.1, 3.0, -2.0]), tape.leaves([0.0, 1.0, 1.0])
    smooth, huber = losses.smooth_l1({"beta": 0.5}, x, y), losses.huber({"delta": 0.5}, x, y)
    assert _value(smooth) == pytest.approx([v / 0.5 for v in _value(huber)])


def test_divergence_of_a_distribution_from_itself_is_nothing():
    p = [0.2, 0.3, 0.5]
    assert sum(_value(losses.kl_div({}, tape.leaves([math.log(v) for v in p]), p))) == pytest.approx(0, abs=1e-15)


def test_margins():
    assert _value(losses.multi_margin({"p": 2}, tape.leaves([1.0, 0.5, 3.0]), [0], 3)) == pytest.approx(
        [(0.25 + 9) / 3]
    )
    many = losses.multi_label_margin({}, tape.leaves([1.0, 0.5, 3.0]), [0, -1, 0], 3)
    assert _value(many) == pytest.approx([(0.5 + 3) / 3])
    assert _value(losses.margin_ranking({"margin": 0.5}, tape.leaves([1, 2]), tape.leaves([2, 1]), [1, 1])) == [1.5, 0]
    assert _value(losses.cosine_embedding({}, tape.leaves([3, 4]), tape.leaves([4, 3]), [1], 2)) == pytest.approx(
        [0.04]
    )


def test_triplets_swap_to_the_nearer_negative():
    anchor, near, far = (tape.leaves(v) for v in ([0.0], [1.0], [3.0]))
    assert _value(losses.triplet_margin({"margin": 5}, anchor, near, far, 1)) == pytest.approx([3.0])
    assert _value(losses.triplet_margin({"margin": 5, "swap": True}, anchor, near, far, 1)) == pytest.approx([4.0])


def _collapse(path, blank):
    return [label for label, _ in itertools.groupby(path) if label != blank]


@pytest.mark.parametrize(
    ("target", "frames", "blank"), [([1, 2], 4, 0), ([1, 1], 4, 0), ([2], 3, 1), ([0, 2, 0], 4, 1)]
)
def test_ctc_sums_the_probability_of_every_alignment(target, frames, blank):
    rng = random.Random(frames)
    x = [rng.uniform(-1, 1) for _ in range(frames * 3)]
    rows = [_softmax(x[t * 3 : t * 3 + 3]) for t in range(frames)]
    paths = itertools.product(range(3), repeat=frames)
    total = sum(
        math.prod(row[s] for row, s in zip(rows, p, strict=True)) for p in paths if _collapse(p, blank) == target
    )
    terms, _ = losses.ctc({"blank": blank}, tape.leaves(x), target, [frames], [len(target)], 3)
    assert terms[0].value == pytest.approx(-math.log(total))


def test_an_impossible_alignment_costs_infinity_or_nothing():
    x = tape.leaves([0.1, 0.2, 0.3] * 2)
    assert losses.ctc({}, x, [1, 1], [2], [2], 3)[0][0].value == math.inf
    assert losses.ctc({"zero_infinity": True}, x, [1, 1], [2], [2], 3)[0][0].value == 0


GRADIENTS = {
    "cross_entropy": lambda x: losses.cross_entropy({"label_smoothing": 0.2, "weight": [1, 2, 3, 1, 1]}, x, [3, 1], 5),
    "poisson": lambda x: losses.poisson_nll({"full": True}, x, [1.0, 2.0] * 5),
    "gaussian": lambda x: losses.gaussian_nll({}, x[:4], x[4:8], [x[8] * x[8] + 1, x[9] * x[9] + 1] * 2),
    "multi_label_soft_margin": lambda x: losses.multi_label_soft_margin({}, x, [1.0, 0.0] * 5, 5),
    "triplet": lambda x: losses.triplet_margin({"p": 3.0, "margin": 9.0}, x[:3], x[3:6], x[6:9], 3),
    "ctc": lambda x: losses.ctc({}, x[:9], [1], [3], [1], 3),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_differences_of_values(name):
    rng = random.Random(name)
    x = [rng.uniform(-1.5, 1.5) for _ in range(10)]
    weights = [1.0, -2.0, 0.5, 3.0, 1.5] * 2

    def whole(values):
        return sum(w * t.value for w, t in zip(weights, GRADIENTS[name](tape.leaves(values))[0], strict=False))

    leaves = tape.leaves(x)
    terms = GRADIENTS[name](leaves)[0]
    tape.backward(terms, weights[: len(terms)])
    h = 1e-5
    for i, leaf in enumerate(leaves):
        up, down = ([v + (s * h if j == i else 0) for j, v in enumerate(x)] for s in (1, -1))
        assert leaf.adjoint == pytest.approx((whole(up) - whole(down)) / (2 * h), rel=1e-5, abs=1e-7)


def test_flat_joins_lists():
    assert losses.flat([[1, 2], 3, [4]]) == [1, 2, 3, 4]
    assert isinstance(losses.log_softmax([Num(1.0)])[0], Num)
