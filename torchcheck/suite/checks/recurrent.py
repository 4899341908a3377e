"""Recurrent layers and cells: outputs, last states, and backpropagation through time."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import recurrent as oracle
from ..oracles.tape import Num, backward, leaves
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from ..context import Context

THROUGH_TIME = "the recurrence in plain float64, with its running error"
INPUT, HIDDEN, STEPS, SEQUENCES = 3, 4, 4, 2
BOUND = 1.0  # errors that add up in the worst way over all steps and copies; sound ones reach half of it, rarely


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer: its module in `torch.nn`, the oracle's cell, and its arguments."""

    module: str
    cell: str
    options: Mapping[str, Any] = field(default_factory=dict)
    lengths: tuple[int, ...] = (STEPS,) * SEQUENCES

    @property
    def layers(self) -> int:
        """How many are stacked."""
        return int(self.options.get("num_layers", 1))

    @property
    def both(self) -> bool:
        """Whether it runs backward in time as well."""
        return bool(self.options.get("bidirectional", False))

    @property
    def out(self) -> int:
        """Size of a hidden state."""
        return int(self.options.get("proj_size", HIDDEN))


LAYERS = {
    "rnn": Recurrent("RNN", "RNN"),
    "rnn_relu": Recurrent("RNN", "RNN_relu", {"nonlinearity": "relu", "bias": False, "batch_first": False}),
    "gru": Recurrent("GRU", "GRU"),
    "gru_two_layers_both_ways": Recurrent("GRU", "GRU", {"num_layers": 2, "bidirectional": True}),
    "lstm": Recurrent("LSTM", "LSTM"),
    "lstm_two_layers_both_ways": Recurrent("LSTM", "LSTM", {"num_layers": 2, "bidirectional": True}),
    "lstm_projection": Recurrent("LSTM", "LSTM", {"proj_size": 2}),
    "lstm_packed": Recurrent("LSTM", "LSTM", {"bidirectional": True}, (4, 2)),
    "gru_packed": Recurrent("GRU", "GRU", {}, (3, 4)),
}
CORE, REST = passes.parted(LAYERS, ("rnn", "gru", "lstm"))


@dataclass(frozen=True)
class Answer:
    """Inputs, and (values, errors) of what is right: outputs, last states, gradients by name."""

    inputs: dict[str, list[float]]
    upstream: list[float]
    outputs: tuple[list[float], list[float]]
    ends: list[tuple[list[float], list[float]]]
    slopes: dict[str, tuple[list[float], list[float]]]


def _pair(nums: Sequence[Num], *, adjoint: bool = False) -> tuple[list[float], list[float]]:
    if adjoint:
        return [n.adjoint for n in nums], [n.adjoint_error for n in nums]
    return [n.value for n in nums], [n.error for n in nums]


@functools.lru_cache(maxsize=2)
def _answer(name: str, shapes: tuple[tuple[str, int], ...], salt: float) -> Answer:
    row, rng = LAYERS[name], random.Random(salt)  # noqa: S311 - test data
    draw = functools.partial(passes.dyadic, rng)
    inputs = {parameter: draw(count, 56) for parameter, count in shapes}
    directions = row.layers * (2 if row.both else 1)
    inputs["x"] = draw(SEQUENCES * STEPS * INPUT, 96)
    inputs["h"] = draw(directions * SEQUENCES * row.out, 64)
    if row.module == "LSTM":
        inputs["c"] = draw(directions * SEQUENCES * HIDDEN, 64)
    upstream = draw(SEQUENCES * STEPS * row.out * (2 if row.both else 1), 96)
    nums = {key: leaves(values) for key, values in inputs.items()}

    def cut(key: str, at: int, size: int) -> list[Num]:
        return nums[key][at * size : (at + 1) * size] if key in nums else []

    outputs: list[Num] = []
    ends: list[list[oracle.State]] = []
    seeds: list[float] = []
    for s, length in enumerate(row.lengths):
        xs = [cut("x", s * STEPS + t, INPUT) for t in range(length)]
        states = [
            (cut("h", d * SEQUENCES + s, row.out), cut("c", d * SEQUENCES + s, HIDDEN)) for d in range(directions)
        ]
        ys, last = oracle.run(row.cell, xs, states, nums, layers=row.layers, both=row.both)
        width = len(ys[0])
        outputs += [v for y in ys for v in y] + [Num(0.0) for _ in range((STEPS - length) * width)]
        ends.append(last)
        seeds += upstream[s * STEPS * width : s * STEPS * width + length * width] + [0.0] * ((STEPS - length) * width)
    backward(outputs, seeds)
    states_of = [[v for d in range(directions) for last in ends for v in last[d][part]] for part in (0, 1)]
    slopes = {key: _pair(parts, adjoint=True) for key, parts in nums.items()}
    return Answer(inputs, seeds, _pair(outputs), [_pair(part) for part in states_of if part], slopes)


@check(oracle=THROUGH_TIME, level="quick", dtypes=FLOATS[:2], each=CORE)
@check(oracle=THROUGH_TIME, dtypes=("float32",), each=REST)
def layer(context: Context, row: Recurrent) -> None:
    """{row} gives outputs, last states and gradients through time of its recurrence."""
    torch = context.torch
    options = {"batch_first": True, **row.options}
    made = getattr(torch.nn, row.module)(INPUT, HIDDEN, **options).to(context.device, context.dtype)
    shapes = tuple((name, p.numel()) for name, p in made.named_parameters())
    answer = _answer(context.ident.split(".")[1], shapes, context.rng().random())
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(context.tensor(answer.inputs[name]).reshape(p.shape))
    copies = 64 if context.at_least("default") and len(set(row.lengths)) == 1 else 1
    x, states = _tensors(context, row, answer, copies)
    state = tuple(states) if row.module == "LSTM" else states[0]
    with precision.full(torch):
        output, ends = _call(torch, made, row, x, state)
        given = passes.tiled(context, answer.upstream, output.numel()).reshape(output.shape)
        (output * given).sum().backward()
    _judge(context, output, answer.outputs, "outputs")
    for what, got, expected in zip(("last hidden", "last cell"), ends, answer.ends):
        _judge_states(context, got, expected, what)
    _judge(context, x.grad, answer.slopes["x"], "gradient by the input")
    for key, got in zip("hc", states):
        _judge_states(context, got.grad, answer.slopes[key], f"gradient by the first {key}")
    for name, p in made.named_parameters():
        values, errors = answer.slopes[name]
        _judge(context, p.grad, ([copies * v for v in values], passes.copied(errors, copies)), f"gradient by {name}")


def _judge(context: Context, got: Any, expected: tuple[list[float], list[float]], what: str) -> None:
    passes.judge_period(context, got, expected[0], cancel=expected[1], bound=BOUND, what=what)


def _judge_states(context: Context, got: Any, expected: tuple[list[float], list[float]], what: str) -> None:
    """Judge states layer by layer: inside one, the copies of the batch are periods."""
    size = len(expected[0]) // got.shape[0]
    for i in range(got.shape[0]):
        values, errors = (part[i * size : (i + 1) * size] for part in expected)
        _judge(context, got[i], (values, errors), f"{what}, layer {i}")


def _tensors(context: Context, row: Recurrent, answer: Answer, copies: int) -> tuple[Any, list[Any]]:
    """Repeat the sequences `copies` times: inputs (batch first) and first states (batch second)."""
    x = passes.tiled(context, answer.inputs["x"], copies * len(answer.inputs["x"]))
    states = []
    for key, width in (("h", row.out), ("c", HIDDEN)):
        if key in answer.inputs:
            held = context.tensor(answer.inputs[key]).reshape(-1, SEQUENCES, width).repeat(1, copies, 1)
            states.append(held.requires_grad_())
    return x.reshape(copies * SEQUENCES, STEPS, INPUT).requires_grad_(), states


def _call(torch: Any, made: Any, row: Recurrent, x: Any, state: Any) -> tuple[Any, Sequence[Any]]:
    if not made.batch_first:
        output, ends = made(x.transpose(0, 1), state)
        output = output.transpose(0, 1)
    elif len(set(row.lengths)) == 1:
        output, ends = made(x, state)
    else:
        api = torch.nn.utils.rnn
        packed = api.pack_padded_sequence(x, row.lengths, batch_first=True, enforce_sorted=False)
        output, ends = made(packed, state)
        output = api.pad_packed_sequence(output, batch_first=True, total_length=STEPS)[0]
    return output, ends if isinstance(ends, tuple) else (ends,)


CELLS = {"rnn_cell": ("RNNCell", "RNN"), "gru_cell": ("GRUCell", "GRU"), "lstm_cell": ("LSTMCell", "LSTM")}


@check(oracle=THROUGH_TIME, dtypes=("float32",), more=("float64",), each=CELLS)
def cell(context: Context, row: tuple[str, str]) -> None:
    """{row} makes one step of its recurrence, forward and backward."""
    module, kind = row
    rng, torch = context.rng(), context.torch
    made = getattr(torch.nn, module)(INPUT, HIDDEN).to(context.device, context.dtype)
    draw = functools.partial(passes.dyadic, rng)
    values = {name: draw(p.numel(), 56) for name, p in made.named_parameters()}
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(context.tensor(values[name]).reshape(p.shape))
    nums = {name: leaves(v) for name, v in values.items()}
    x, h, c = draw(INPUT, 96), draw(HIDDEN, 64), draw(HIDDEN, 64)
    xs, hs, cs = leaves(x), leaves(h), leaves(c)
    new = oracle.CELLS[kind](xs, (hs, cs), nums)
    upstream = draw(HIDDEN, 96)
    backward(new[0], upstream)
    copies = 257
    inputs = [context.tensor([v] * copies, grad=True) for v in (x, h, c)]
    state = tuple(inputs[1:]) if kind == "LSTM" else inputs[1]
    with precision.full(torch):
        result = made(inputs[0], state)
        output = result[0] if kind == "LSTM" else result
        output.backward(context.tensor([upstream] * copies))
    _judge(context, output, _pair(new[0]), "hidden")
    if kind == "LSTM":
        _judge(context, result[1], _pair(new[1]), "cell")
    for what, tensor, parts in zip(("input", "hidden", "cell"), inputs, (xs, hs, cs)):
        if tensor.grad is not None:
            _judge(context, tensor.grad, _pair(parts, adjoint=True), f"gradient by the {what}")
    for name, p in made.named_parameters():
        slopes, errors = _pair(nums[name], adjoint=True)
        _judge(context, p.grad, ([copies * v for v in slopes], passes.copied(errors, copies)), f"gradient by {name}")
