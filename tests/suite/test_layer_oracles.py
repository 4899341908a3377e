"""Oracles of layers against brute force written another way, and against the tape."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from torchcheck.suite.oracles import (
    attention,
    convolution,
    elementary,
    linear_algebra,
    mlp,
    moves,
    normalisation,
    products,
    recurrent,
    resampling,
    tape,
    windows,
)
from torchcheck.suite.oracles.convolution import Geometry


def _draw(seed, count, top=5):
    rng = random.Random(seed)
    return [float(rng.randint(-top, top)) for _ in range(count)]


def test_moves_follow_positions_forward_and_back():
    grid = moves.positions(2, 3)
    assert grid == [[0, 1, 2], [3, 4, 5]]
    rule = moves.flatten([moves.transpose(grid)[1], [(0, 5), ()]])
    assert moves.forward(rule, [10, 11, 12, 13, 14, 15]) == [11, 14, 25, 0]
    assert moves.backward(rule, 6, [1, 2, 4, 8]) == [4, 1, 0, 0, 2, 4]


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_gradients_of_the_mlp_by_hand_are_the_tape_s(activation):
    rng = random.Random(activation)
    sizes, batch = (3, 5, 4, 2), 3
    weights = [[[rng.uniform(-1, 1) for _ in range(i)] for _ in range(o)] for i, o in itertools.pairwise(sizes)]
    biases = [[rng.uniform(-1, 1) for _ in range(o)] for o in sizes[1:]]
    x = [[rng.uniform(-1, 1) for _ in range(3)] for _ in range(batch)]
    upstream = [[rng.uniform(-1, 1) for _ in range(2)] for _ in range(batch)]
    found = mlp.backpropagate(x, weights, biases, activation, upstream)
    function = {"tanh": tape.tanh, "relu": tape.relu, "sigmoid": tape.sigmoid}[activation]
    ws = [[tape.leaves(row) for row in w] for w in weights]
    bs = [tape.leaves(b) for b in biases]
    xs = rows = [tape.leaves(row) for row in x]
    for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
        rows = [[tape.dot(row, line, c) for line, c in zip(w, b, strict=True)] for row in rows]
        rows = [[function(v) for v in row] for row in rows] if i < 2 else rows
    tape.backward([v for row in rows for v in row], [v for row in upstream for v in row])
    for nums, values in ((ws, found.weights), (xs, found.x), (bs, found.biases)):
        assert [n.adjoint for n in _leaves(nums)] == pytest.approx(list(_leaves(values)), rel=1e-12, abs=1e-12)
    assert [n.value for n in _leaves(rows)] == pytest.approx(list(_leaves(found.output)), rel=1e-12)


def _leaves(nested):
    for part in nested:
        if isinstance(part, list):
            yield from _leaves(part)
        else:
            yield part


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(2, (4, 6), (5, 7), (3, 2), (2, 1), (1, 0), (1, 2), 2),
        Geometry(1, (3, 3), (9,), (4,), (2,), (3,), (2,), 3),
        Geometry(1, (2, 2), (3, 4, 3), (2, 2, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2)),
    ],
)
def test_convolution_is_the_nested_loops(geometry):
    x_shape, w_shape, y_shape = geometry.shapes
    x, w = _draw(1, math.prod(x_shape)), _draw(2, math.prod(w_shape))
    g = _draw(3, math.prod(y_shape))
    y, by_x, by_w = convolution.contract(convolution.taps(geometry), x, w, g)
    at_x, at_w, at_y = ({i: k for k, i in enumerate(normalisation.indices(s))} for s in (x_shape, w_shape, y_shape))
    outer, per_in = geometry.channels[1], geometry.channels[0] // geometry.groups
    for (b, oc, *out), position in at_y.items():
        total = 0.0
        for ic, *k in itertools.product(range(per_in), *map(range, geometry.kernel)):
            place = [
                o * s - p + i * d
                for o, s, p, i, d in zip(out, geometry.stride, geometry.padding, k, geometry.dilation, strict=True)
            ]
            if all(0 <= v < n for v, n in zip(place, geometry.size, strict=True)):
                channel = oc // (outer // geometry.groups) * per_in + ic
                total += x[at_x[(b, channel, *place)]] * w[at_w[(oc, ic, *k)]]
        assert y[position] == total
    # Bilinear: <y(x, w), g> = <x, by_x> = <w, by_w>.
    inner = sum(a * b for a, b in zip(y, g, strict=True))
    assert sum(a * b for a, b in zip(x, by_x, strict=True)) == inner
    assert sum(a * b for a, b in zip(w, by_w, strict=True)) == inner
    back = convolution.contract(convolution.transposed(convolution.taps(geometry)), g, w, x)
    assert back[0] == by_x


def test_contraction_is_einsum_by_loops():
    sizes = (("b", 2), ("i", 3), ("k", 4), ("j", 2))
    a, b, g = tuple(_draw(1, 24)), tuple(_draw(2, 16)), tuple(_draw(3, 12))
    out, by_a, by_b = products.contract("bik,bkj->bij", sizes, (a, b), g)
    for n, i, j in itertools.product(range(2), range(3), range(2)):
        assert out[(n * 3 + i) * 2 + j] == sum(a[(n * 3 + i) * 4 + k] * b[(n * 4 + k) * 2 + j] for k in range(4))
    for n, i, k in itertools.product(range(2), range(3), range(4)):
        assert by_a[(n * 3 + i) * 4 + k] == sum(g[(n * 3 + i) * 2 + j] * b[(n * 4 + k) * 2 + j] for j in range(2))
    assert sum(p * q for p, q in zip(by_b, b, strict=True)) == sum(p * q for p, q in zip(out, g, strict=True))


def test_attention_by_hand_is_the_tape_s():
    rng = random.Random(5)
    q, k, v, g = ([[rng.uniform(-1, 1) for _ in range(4)] for _ in range(n)] for n in (3, 5, 5, 3))
    mask = [[rng.uniform(-1, 1) for _ in range(5)] for _ in range(3)]
    mask[1][2] = -math.inf
    found = attention.attend(q, k, v, g, 0.7, mask)
    qs, ks, vs = ([tape.leaves(row) for row in part] for part in (q, k, v))
    out = []
    for i, row in enumerate(qs):
        keep = [j for j in range(5) if mask[i][j] > -math.inf]
        raised = [tape.exp(tape.dot(row, ks[j]) * 0.7 + mask[i][j]) for j in keep]
        norm = tape.total(raised)
        out += [tape.dot([r / norm for r in raised], [vs[j][c] for j in keep]) for c in range(4)]
    tape.backward(out, [v for row in g for v in row])
    assert [n.value for n in out] == pytest.approx(list(_leaves(found.output[0])), rel=1e-12)
    for nums, (values, errors) in ((qs, found.query), (ks, found.key), (vs, found.value)):
        assert [n.adjoint for n in _leaves(nums)] == pytest.approx(list(_leaves(values)), rel=1e-11, abs=1e-13)
        assert all(e > 0 for e in _leaves(errors))


def test_standardised_groups_have_mean_zero_variance_one_and_orthogonal_gradients():
    x = tape.leaves(_draw(4, 24, 40))
    groups = normalisation.group_by((2, 3, 4), lambda i: i[1])
    y = normalisation.standardise(x, groups, 0.0)
    for group in groups:
        assert sum(y[i].value for i in group) == pytest.approx(0, abs=1e-12)
        assert sum(y[i].value ** 2 for i in group) == pytest.approx(len(group))
    tape.backward(y, _draw(5, 24))
    for group in groups:  # the output ignores shift and scale of the input, so its gradient is orthogonal to both
        assert sum(x[i].adjoint for i in group) == pytest.approx(0, abs=1e-12)
        assert sum(x[i].adjoint * x[i].value for i in group) == pytest.approx(0, abs=1e-10)


def test_one_step_of_each_cell_by_other_means():
    sigmoid = lambda v: 1 / (1 + math.exp(-v))  # noqa: E731
    p = {"weight_ih": [0.5, -0.25, 0.75, 1.0], "weight_hh": [0.3, -0.6, 0.2, 0.9], "bias_ih": [0.1, 0.2, -0.3, 0.4]}
    p["bias_hh"] = [0.05, -0.15, 0.25, 0.35]
    x, h, c = 1.5, -0.5, 0.75
    gates = [
        w * x + b + u * h + d
        for w, b, u, d in zip(*(p[k] for k in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")), strict=True)
    ]
    i, f, o = (sigmoid(gates[k]) for k in (0, 1, 3))
    cell = f * c + i * math.tanh(gates[2])
    nums = {k: tape.leaves(v) for k, v in p.items()}
    hs, cs = recurrent.lstm(tape.leaves([x]), (tape.leaves([h]), tape.leaves([c])), nums)
    assert cs[0].value == pytest.approx(cell)
    assert hs[0].value == pytest.approx(o * math.tanh(cell))
    three = {k: v[:3] for k, v in nums.items()}
    r, z = sigmoid(gates[0]), sigmoid(gates[1])
    n = math.tanh(0.75 * x - 0.3 + r * (0.2 * h + 0.25))
    (new,), _ = recurrent.gru(tape.leaves([x]), (tape.leaves([h]), []), three)
    assert new.value == pytest.approx((1 - z) * n + z * h)


def test_a_bidirectional_layer_runs_each_way_over_all_steps():
    p = {f"{k}_l0{d}": tape.leaves([v]) for d in ("", "_reverse") for k, v in (("weight_ih", 1.0), ("weight_hh", 1.0))}
    xs = [tape.leaves([v]) for v in (1.0, 2.0, 4.0)]
    ys, ends = recurrent.run("RNN_relu", xs, [(tape.leaves([0.0]), [])] * 2, p, layers=1, both=True)
    assert [[n.value for n in y] for y in ys] == [[1, 7], [3, 6], [7, 4]]
    assert [end[0][0].value for end in ends] == [7, 7]


def test_windows_and_their_sizes():
    assert windows.windows(5, 3, 2, 1) == [[0, 1], [1, 2, 3], [3, 4]]
    assert windows.windows(6, 3, 2, 1, ceil=True) == [[0, 1], [1, 2, 3], [3, 4, 5], [5]]
    assert windows.out_length(4, 2, 3, 1, ceil=True) == 2
    assert windows.padded_sizes(6, 3, 2, 1, ceil=True) == [3, 3, 3, 2]
    assert windows.adaptive(7, 3) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert windows.product([[[0, 1]], [[1], [2]]], (2, 3)) == [[1, 4], [2, 5]]


@pytest.mark.parametrize("corners", [False, True])
def test_interpolation_reproduces_constants_lines_and_its_own_points(corners):
    for kind, n, m in ((resampling.linear, 5, 9), (resampling.cubic, 7, 4), (resampling.cubic, 6, 11)):
        for i, row in enumerate(kind(n, m, corners=corners)):
            assert sum(c for _, c in row) == pytest.approx(1)
            at = i * (n - 1) / (m - 1) if corners else (i + 0.5) * n / m - 0.5
            if kind is resampling.linear:
                assert sum(c * p for p, c in row) == pytest.approx(min(max(at, 0), n - 1))
            if at == round(at):  # an interpolation goes through its points
                assert max(row, key=lambda pair: pair[1]) == (round(at), 1)


def test_a_map_and_its_transpose_are_adjoint():
    rows = windows.outer([resampling.linear(3, 5), resampling.pad(4, 2, 3, "reflect")], (3, 4))
    x, g = _draw(1, 12), _draw(2, len(rows))
    y, _ = windows.apply(rows, x)
    back, _ = windows.apply(windows.transpose(rows, 12), g)
    assert sum(a * b for a, b in zip(y, g, strict=True)) == pytest.approx(
        sum(a * b for a, b in zip(x, back, strict=True))
    )


def test_matrices_come_with_their_inverse_and_determinant():
    rng = random.Random(9)
    for _ in range(20):
        a, inverse, det = linear_algebra.invertible(rng)
        assert linear_algebra.matmul(a, inverse) == linear_algebra.diagonal([1.0] * 4)
        assert _determinant([[Fraction(v) for v in row] for row in a]) == det
        q = linear_algebra.orthogonal(rng)
        assert linear_algebra.matmul(q, linear_algebra.transpose(q)) == linear_algebra.diagonal([1.0] * 4)


def _determinant(a):
    if len(a) == 1:
        return a[0][0]
    minors = ([row[:j] + row[j + 1 :] for row in a[1:]] for j in range(len(a)))
    return sum((-1) ** j * a[0][j] * _determinant(minor) for j, minor in enumerate(minors))


def test_the_fourier_sum_of_a_wave_is_one_line_and_goes_back():
    n = 12
    wave = [complex(math.cos(2 * math.pi * 3 * k / n), math.sin(2 * math.pi * 3 * k / n)) for k in range(n)]
    found = linear_algebra.fourier(wave)
    assert [round(abs(v), 10) for v in found] == [n if k == 3 else 0 for k in range(n)]
    assert [v / n for v in linear_algebra.fourier(found, 1)] == pytest.approx(wave)


@pytest.mark.parametrize("name", [n for n, row in elementary.UNARY.items() if row.slope and n not in elementary.EXACT])
def test_derivatives_of_elementary_functions(name):
    row, rng, h = elementary.UNARY[name], random.Random(name), 1e-5
    for _ in range(20):
        x = rng.uniform(row.low + 0.01, row.high - 0.01)
        slope = row.slope(tape.Num(x), tape.Num(row.value(x))).value
        around = [row.value(x + k * h) for k in (-2, -1, 1, 2)]
        wanted = (around[0] - 8 * around[1] + 8 * around[2] - around[3]) / (12 * h)
        assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "atan2", "hypot", "logaddexp", "xlogy"])
def test_derivatives_of_functions_of_two(name):
    row, rng, h = elementary.BINARY[name], random.Random(name), 1e-5
    for _ in range(20):
        a, b = (rng.uniform(max(row.low, 0.3), row.high) for _ in "ab")
        slopes = [s(tape.Num(a), tape.Num(b), tape.Num(row.value(a, b))).value for s in row.slopes]
        assert slopes[0] == pytest.approx((row.value(a + h, b) - row.value(a - h, b)) / (2 * h), rel=1e-5, abs=1e-7)
        assert slopes[1] == pytest.approx((row.value(a, b + h) - row.value(a, b - h)) / (2 * h), rel=1e-5, abs=1e-7)
