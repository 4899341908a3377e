"""Gradients of a multilayer perceptron, worked out by hand.

For z_l = a_{l-1} W_l^T + b_l, a_l = f(z_l) (the last layer linear) and a scalar L with upstream dL/dz_n = G:

    delta_n = G                     delta_l = (delta_{l+1} W_{l+1}) * f'(z_l)
    dL/dW_l = delta_l^T a_{l-1}     dL/db_l = sum over the batch of delta_l     dL/dx = delta_1 W_1

(Rumelhart, Hinton, Williams 1986.) With integers and ReLU every step is exact in Python and, below 2**24, in float32.
`size=True` gives the same sums of absolute values instead: what rounding errors scale with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul

Matrix = list[list[float]]

# name: (f, f' from the value f(z))
ACTIVATIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "tanh": (math.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: max(z, 0), lambda a: 1 if a > 0 else 0),
    "sigmoid": (lambda z: 1 / (1 + math.exp(-z)), lambda a: a * (1 - a)),
}


@dataclass
class Gradients:
    """What backpropagation gives: the output, and gradients by the input, each weight and each bias."""

    output: Matrix
    x: Matrix
    weights: list[Matrix]
    biases: list[list[float]]


def matmul_t(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> Matrix:
    """A @ B^T for lists of rows."""
    return [[sum(map(mul, row, other)) for other in b] for row in a]


def transpose(a: Sequence[Sequence[float]]) -> Matrix:
    """Rows to columns."""
    return [list(column) for column in zip(*a)]


def backpropagate(
    x: Matrix,
    weights: list[Matrix],
    biases: list[list[float]],
    activation: str,
    upstream: Matrix,
    *,
    size: bool = False,
) -> Gradients:
    """Run an MLP forward and back.

    Args:
        x: batch x features.
        weights: each out x in.
        biases: each out.
        activation: a key of `ACTIVATIONS`, used after every layer but the last.
        upstream: dL/d(output), batch x out.
        size: sum absolute values (of the true activations and slopes), for error bounds.
    """
    f, slope = ACTIVATIONS[activation]
    inputs = [x]
    output: Matrix = []
    for i, (w, b) in enumerate(zip(weights, biases)):
        output = [[v + c for v, c in zip(row, b)] for row in matmul_t(inputs[-1], w)]
        if i + 1 < len(weights):
            inputs.append([[f(v) for v in row] for row in output])
    slopes: list[Matrix] = [[[slope(v) for v in row] for row in a] for a in inputs[1:]]
    if size:
        inputs, weights, upstream = (
            [_magnitude(a) for a in inputs],
            [_magnitude(w) for w in weights],
            _magnitude(upstream),
        )
        last = matmul_t(inputs[-1], weights[-1])
        output = [[v + abs(c) for v, c in zip(row, biases[-1])] for row in last]
    delta = upstream
    by_weight: list[Matrix] = []
    by_bias: list[list[float]] = []
    for i in reversed(range(len(weights))):
        columns = transpose(delta)
        by_weight.insert(0, matmul_t(columns, transpose(inputs[i])))
        by_bias.insert(0, [sum(c) for c in columns])
        delta = matmul_t(delta, transpose(weights[i]))
        if i:
            delta = [[d * s for d, s in zip(row, line)] for row, line in zip(delta, slopes[i - 1])]
    return Gradients(output, delta, by_weight, by_bias)


def _magnitude(a: Matrix) -> Matrix:
    return [[abs(v) for v in row] for row in a]
