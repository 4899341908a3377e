"""Recurrent layers in plain Python on the tape: the backward sweep is backpropagation through time.

Gates in torch's order: LSTM i, f, g, o; GRU r, z, n, with the reset gate inside the hidden part of n
(Hochreiter, Schmidhuber 1997; Cho et al. 2014; torch.nn documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .tape import Num, dot, relu, sigmoid, tanh

Vector = list[Num]
State = tuple[Vector, Vector]  # hidden and, for an LSTM, cell
Parameters = Mapping[str, Vector]


def linear(x: Vector, weight: Vector, bias: Vector | None) -> Vector:
    """Apply W x + b; the weight is flat, out x in."""
    width = len(x)
    lines = [weight[i : i + width] for i in range(0, len(weight), width)]
    return [dot(line, x, b) for line, b in zip(lines, bias or [None] * len(lines))]  # type: ignore[list-item]


def _gates(x: Vector, h: Vector, p: Parameters, suffix: str) -> tuple[Vector, Vector]:
    return (
        linear(x, p[f"weight_ih{suffix}"], p.get(f"bias_ih{suffix}")),
        linear(h, p[f"weight_hh{suffix}"], p.get(f"bias_hh{suffix}")),
    )


def rnn_tanh(x: Vector, state: State, p: Parameters, suffix: str = "") -> State:
    """tanh(W x + b + U h + c)."""
    a, b = _gates(x, state[0], p, suffix)
    return [tanh(u + v) for u, v in zip(a, b)], []


def rnn_relu(x: Vector, state: State, p: Parameters, suffix: str = "") -> State:
    """max(0, W x + b + U h + c)."""
    a, b = _gates(x, state[0], p, suffix)
    return [relu(u + v) for u, v in zip(a, b)], []


def gru(x: Vector, state: State, p: Parameters, suffix: str = "") -> State:
    """(1 - z) n + z h, with n = tanh(W x + b + r (U h + c))."""
    h = state[0]
    a, b = _gates(x, h, p, suffix)
    size = len(h)
    r, z = ([sigmoid(u + v) for u, v in zip(a[s : s + size], b[s : s + size])] for s in (0, size))
    n = [tanh(u + k * v) for u, v, k in zip(a[2 * size :], b[2 * size :], r)]
    return [(1.0 - k) * new + k * old for k, new, old in zip(z, n, h)], []


def lstm(x: Vector, state: State, p: Parameters, suffix: str = "") -> State:
    """c = f c + i g, h = o tanh(c); with a projection h is multiplied by it."""
    h, c = state
    a, b = _gates(x, h, p, suffix)
    size = len(c)
    parts = [[u + v for u, v in zip(a[s : s + size], b[s : s + size])] for s in range(0, 4 * size, size)]
    i, f, o = ([sigmoid(v) for v in parts[k]] for k in (0, 1, 3))
    g = [tanh(v) for v in parts[2]]
    c = [keep * old + let * new for keep, old, let, new in zip(f, c, i, g)]
    h = [out * tanh(v) for out, v in zip(o, c)]
    projection = p.get(f"weight_hr{suffix}")
    return (linear(h, projection, None) if projection else h), c


CELLS: dict[str, Callable[..., State]] = {"RNN": rnn_tanh, "RNN_relu": rnn_relu, "GRU": gru, "LSTM": lstm}


def run(
    cell: str, xs: Sequence[Vector], states: Sequence[State], p: Parameters, *, layers: int, both: bool
) -> tuple[list[Vector], list[State]]:
    """Run one sequence through stacked, maybe bidirectional layers.

    Args:
        cell: a key of `CELLS`.
        xs: one vector per time step.
        states: the first states, layer by layer, forward before backward.
        p: torch's names ("weight_ih_l0", "weight_ih_l0_reverse") to flat numbers.
        layers: how many.
        both: run backward in time as well.

    Returns:
        The outputs of the last layer and the last state of each layer and direction.
    """
    step = CELLS[cell]
    ends: list[State] = []
    for layer in range(layers):
        outputs: list[Vector] = [[] for _ in xs]
        for direction in range(2 if both else 1):
            state = states[len(ends)]
            order = range(len(xs)) if direction == 0 else range(len(xs) - 1, -1, -1)
            for t in order:
                state = step(xs[t], state, p, f"_l{layer}" + ("_reverse" if direction else ""))
                outputs[t] = outputs[t] + state[0]
            ends.append(state)
        xs = outputs
    return list(xs), ends
