"""Backpropagation through multilayer perceptrons, against gradients worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..oracles import mlp
from ..oracles.tape import growth
from ..passes import allowance
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

HAND = "the chain rule written out in plain float64"
INTEGERS = "the chain rule in exact integers"


def _matrix(rng: random.Random, rows: int, columns: int, top: int, scale: int = 1) -> list[list[float]]:
    """Multiples of 1/scale up to top/scale, which every format up to bfloat16 holds when top < 256."""
    values = [value / scale for value in range(-top, top + 1)]
    return [rng.choices(values, k=columns) for _ in range(rows)]


def _network(context: Context, weights: Sequence[Any], biases: Sequence[Any], activation: str) -> Any:
    nn = context.torch.nn
    layers: list[Any] = []
    for w, b in zip(weights, biases):
        layer = nn.Linear(len(w[0]), len(w), dtype=context.dtype, device=context.device)
        with context.torch.no_grad():
            layer.weight.copy_(context.tensor(w))
            layer.bias.copy_(context.tensor(b))
        layers += [layer, {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}[activation]()]
    return nn.Sequential(*layers[:-1])


def _draw(rng: random.Random, sizes: Sequence[int], top: int, scale: int) -> tuple[list[Any], list[Any]]:
    weights = [_matrix(rng, o, i, top, scale) for i, o in zip(sizes, sizes[1:])]
    return weights, [_matrix(rng, 1, o, top, scale)[0] for o in sizes[1:]]


def _run(context: Context, net: Any, x: Any, upstream: Any) -> list[tuple[str, Any]]:
    """Forward and backward; the quantities in the order of `_expected`."""
    given = context.tensor(x, grad=True)
    output = net(given)
    output.backward(context.tensor(upstream))
    named = [("output", output), ("gradient by the input", given.grad)]
    return named + [(f"gradient by {name}", p.grad) for name, p in net.named_parameters()]


def _expected(found: mlp.Gradients) -> list[Any]:
    pairs = [part for pair in zip(found.weights, found.biases) for part in pair]
    return [found.output, found.x, *pairs]


def _flat(nested: Any) -> list[float]:
    return [v for row in nested for v in (row if isinstance(row, list) else [row])]


# name: (activation, layer sizes, batch)
NETWORKS = {
    "linear_tanh_linear": ("tanh", (7, 33, 5), 9),
    "linear_relu_linear": ("relu", (7, 33, 5), 9),
    "deep_tanh": ("tanh", (5, 9, 17, 8, 3), 6),
    "deep_sigmoid": ("sigmoid", (6, 12, 12, 4), 5),
}


@check(oracle=HAND, level="quick", dtypes=FLOATS, each=NETWORKS)
def gradients(context: Context, row: tuple[str, tuple[int, ...], int]) -> None:
    """Every gradient of the network {row} is the one that the chain rule gives by hand."""
    activation, sizes, batch = row
    rng = context.rng()
    weights, biases = _draw(rng, sizes, 48, 64)
    x, upstream = _matrix(rng, batch, sizes[0], 90, 64), _matrix(rng, batch, sizes[-1], 90, 64)
    found = _run(context, _network(context, weights, biases, activation), x, upstream)
    right = _expected(mlp.backpropagate(x, weights, biases, activation, upstream))
    sizes_of = _expected(mlp.backpropagate(x, weights, biases, activation, upstream, size=True))
    # Each of the n products adds its own growth to what came in; slopes enter with their bound 1.
    bound = len(sizes) * growth(max(sizes)) * allowance(context)
    for (what, got), expected, scale in zip(found, right, sizes_of):
        context.close(got, _flat(expected), cancel=_flat(scale), bound=bound, what=what)


@check(oracle=INTEGERS, level="quick", dtypes=FLOATS)
def integers(context: Context) -> None:
    """Gradients of Linear-ReLU-Linear on small integers are exact to the last bit."""
    rng = context.rng()
    wide = context.dtype_name == "float32"
    sizes, batch, top = ((33, 65, 17), 31, 9) if wide else ((5, 7, 3), 4, 1)
    weights, biases = _draw(rng, sizes, top, 1)
    x, upstream = _matrix(rng, batch, sizes[0], top, 1), _matrix(rng, batch, sizes[-1], top, 1)
    right = _expected(mlp.backpropagate(x, weights, biases, "relu", upstream))
    for (what, got), expected in zip(_run(context, _network(context, weights, biases, "relu"), x, upstream), right):
        context.exact(got, _flat(expected), what=what)


@check(oracle=INTEGERS, dtypes=("float32",))
def sum_of_squares(context: Context) -> None:
    """The loss sum((net(x) - y)**2), its gradients and one dyadic step down them are exact on integers."""
    rng = context.rng()
    sizes = (5, 9, 4)
    weights, biases = _draw(rng, sizes, 3, 1)
    x, y = _matrix(rng, 6, 5, 3), _matrix(rng, 6, 4, 3)
    output = mlp.backpropagate(x, weights, biases, "relu", y).output
    residual = [[o - t for o, t in zip(*rows)] for rows in zip(output, y)]
    right = mlp.backpropagate(x, weights, biases, "relu", [[2 * r for r in row] for row in residual])
    net = _network(context, weights, biases, "relu")
    loss = context.torch.nn.functional.mse_loss(net(context.tensor(x)), context.tensor(y), reduction="sum")
    loss.backward()
    context.exact(loss, sum(r * r for r in _flat(residual)), what="loss")
    for (name, p), was, by in zip(net.named_parameters(), _expected_parameters(weights, biases), _expected(right)[2:]):
        context.exact(p.grad, _flat(by), what=f"gradient by {name}")
        with context.torch.no_grad():
            p.sub_(0.125 * p.grad)
        context.exact(p, [v - 0.125 * g for v, g in zip(_flat(was), _flat(by))], what=f"{name} after a step")


def _expected_parameters(weights: Sequence[Any], biases: Sequence[Any]) -> list[Any]:
    return [part for pair in zip(weights, biases) for part in pair]


@check(oracle=INTEGERS, dtypes=("float32",))
def accumulation(context: Context) -> None:
    """Several backward calls add up in .grad, micro-batches give the gradient of the whole, zero_grad clears."""
    rng = context.rng()
    weights, biases = _draw(rng, (5, 8, 3), 3, 1)
    x, upstream = _matrix(rng, 8, 5, 3), _matrix(rng, 8, 3, 3)
    right = _expected(mlp.backpropagate(x, weights, biases, "relu", upstream))[2:]
    net = _network(context, weights, biases, "relu")
    for part in (slice(0, 3), slice(3, 8)):
        net(context.tensor(x[part])).backward(context.tensor(upstream[part]))
    for (name, p), expected in zip(net.named_parameters(), right):
        context.exact(p.grad, _flat(expected), what=f"{name}: micro-batches of 3 and 5 against the batch of 8")
    output = net(context.tensor(x))
    output.backward(context.tensor(upstream), retain_graph=True)
    output.backward(context.tensor(upstream))
    for (name, p), expected in zip(net.named_parameters(), right):
        context.exact(p.grad, [3 * v for v in _flat(expected)], what=f"{name}: three times the gradient")
    context.raises(RuntimeError, output.sum().backward, what="a freed graph cannot be gone through again")
    net.zero_grad(set_to_none=False)
    context.exact(
        [v for p in net.parameters() for v in context.values(p.grad)], [0.0] * 75, what="zero_grad(set_to_none=False)"
    )
    net.zero_grad(set_to_none=True)
    context.true(all(p.grad is None for p in net.parameters()), what="zero_grad(set_to_none=True) leaves None")


@check(oracle=INTEGERS, dtypes=("float32",))
def shared_parameters(context: Context) -> None:
    """A weight used twice gets the sum of both gradients, and a frozen one gets none."""
    rng = context.rng()
    w, x, upstream = _matrix(rng, 6, 6, 3), _matrix(rng, 4, 6, 3), _matrix(rng, 4, 6, 3)
    zeros = [0.0] * 6
    right = mlp.backpropagate(x, [w, w], [zeros, zeros], "relu", upstream)
    weight = context.tensor(w, grad=True)
    linear = context.torch.nn.functional.linear
    linear(linear(context.tensor(x), weight).relu(), weight).backward(context.tensor(upstream))
    both = [a + b for a, b in zip(_flat(right.weights[0]), _flat(right.weights[1]))]
    context.exact(weight.grad, both, what="gradient of the shared weight")
    frozen = context.tensor(w)
    tuned = context.tensor(w, grad=True)
    linear(linear(context.tensor(x), frozen).relu(), tuned).backward(context.tensor(upstream))
    context.exact(tuned.grad, _flat(right.weights[1]), what="gradient beside a frozen weight")
    context.true(frozen.grad is None, what="the frozen weight has no gradient")
