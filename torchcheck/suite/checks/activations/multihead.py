"""MultiheadAttention, its masks and options, against attention written out in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...oracles import tape
from ...oracles.multihead import Mask, Weights, attend
from ...passes import judge, judge_gradient
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

ORACLE = "softmax(Q K^T / sqrt d) V and the chain rule in plain float64"
SIZE, HEADS, LENGTH, MEMORY, BATCH = 6, 2, 3, 5, 2
INF = math.inf
CAUSAL = [[0.0 if j <= i else -INF for j in range(MEMORY)] for i in range(LENGTH)]
SOFT = [[(3 * i - 2 * j) / 8 for j in range(MEMORY)] for i in range(LENGTH)]
PADDED = [[0, 0, 1, 0, 1], [0, 0, 0, 0, 1]]


@dataclass(frozen=True)
class Options:
    """One way to use the module."""

    name: str
    made: dict[str, Any] = field(default_factory=dict)
    mask: Mask | None = None
    boolean: bool = False
    padding: Sequence[Sequence[int]] | None = None
    call: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Options("multihead_plain"),
    Options("multihead_without_bias", {"bias": False, "batch_first": True}),
    Options("multihead_causal", {"batch_first": True}, CAUSAL, boolean=True),
    Options(
        "multihead_causal_without_weights", {"batch_first": True}, CAUSAL, boolean=True, call={"need_weights": False}
    ),
    Options("multihead_float_mask", {}, SOFT, call={"average_attn_weights": False}),
    Options("multihead_padding", {}, padding=PADDED),
    Options("multihead_padding_without_weights", {}, SOFT, padding=PADDED, call={"need_weights": False}),
    Options("multihead_extra_key_and_zero", {"add_bias_kv": True, "add_zero_attn": True}, SOFT, padding=PADDED),
    Options("multihead_other_sizes", {"kdim": 4, "vdim": 7, "batch_first": True}),
)


class Trial:
    """A module with weights that both sides know, and the inputs."""

    def __init__(self, context: Context, options: Options) -> None:
        self.context = context
        self.options = options
        self.rng = context.rng(options.name)
        self.module = context.torch.nn.MultiheadAttention(SIZE, HEADS, **options.made)
        self.module = self.module.to(context.device, context.dtype)
        self.known = {name: self._fill(parameter) for name, parameter in self.module.named_parameters()}
        sizes = (SIZE, options.made.get("kdim", SIZE), options.made.get("vdim", SIZE))
        lengths = (LENGTH, MEMORY, MEMORY)
        self.inputs = [
            [[tape.leaves(self._draw(size)) for _ in range(length)] for _ in range(BATCH)]
            for size, length in zip(sizes, lengths)
        ]

    def _draw(self, count: int) -> list[float]:
        return [value / 64 for value in self.rng.choices(range(-96, 97), k=count)]

    def _fill(self, parameter: Any) -> list[Any]:
        """Give a parameter new values, and its rows as leaves."""
        columns = parameter.shape[-1]
        rows = [tape.leaves(self._draw(columns)) for _ in range(parameter.numel() // columns)]
        with self.context.torch.no_grad():
            held = self.context.tensor([[n.value for n in row] for row in rows])
            parameter.copy_(held.reshape(parameter.shape))
        return rows

    def weights(self) -> Weights:
        """Give the parameters to the oracle."""
        known = self.known
        one = {name: rows[0] for name, rows in known.items()}
        parts = [known[f"{part}_proj_weight"] for part in "qkv"] if "q_proj_weight" in known else []
        return Weights(
            known.get("in_proj_weight", []),
            one.get("in_proj_bias"),
            known["out_proj.weight"],
            one.get("out_proj.bias"),
            one.get("bias_k"),
            one.get("bias_v"),
            parts,
        )

    def tensors(self) -> list[Any]:
        """Give query, key and value as leaf tensors in the module's layout."""
        made = [
            self.context.tensor([[[n.value for n in row] for row in rows] for rows in batch]) for batch in self.inputs
        ]
        first = self.options.made.get("batch_first", False)
        return [(t if first else t.transpose(0, 1).contiguous()).requires_grad_() for t in made]

    def batch_first(self, tensor: Any) -> Any:
        """Put the batch's dimension first."""
        return tensor if self.options.made.get("batch_first", False) else tensor.transpose(0, 1)

    def expected(self) -> tuple[list[Any], list[Any]]:
        """Ask the oracle: the outputs and the shares of each sequence."""
        outputs, shares = [], []
        for batch, (q, k, v) in enumerate(zip(*self.inputs)):
            mask = [list(row) for row in self.options.mask or [[0.0] * len(k)] * len(q)]
            if self.options.padding:
                mask = [[-INF if p else m for m, p in zip(row, self.options.padding[batch])] for row in mask]
            zero = self.options.made.get("add_zero_attn", False)
            out, share = attend(q, k, v, self.weights(), heads=HEADS, mask=mask, zero=zero)
            outputs.append(out)
            shares.append(share)
        return outputs, shares

    def masks(self) -> dict[str, Any]:
        """Give the masks as torch takes them."""
        torch, device, masks = self.context.torch, self.context.device, {}
        if self.options.mask:
            held = torch.tensor(self.options.mask, dtype=self.context.dtype).to(device)
            masks["attn_mask"] = held == -INF if self.options.boolean else held
        if self.options.padding:
            # Both masks must be of one type: torch warns of a boolean one beside one of numbers.
            if self.options.mask and not self.options.boolean:
                held = self.context.tensor([[-INF if p else 0.0 for p in row] for row in self.options.padding])
            else:
                held = torch.tensor(self.options.padding).to(device).bool()
            masks["key_padding_mask"] = held
        return masks


def numbers(nested: Any) -> list[tape.Num]:
    """Flatten nested lists of tape numbers."""
    return [n for part in nested for n in numbers(part)] if isinstance(nested, list) else [nested]


@check(oracle=ORACLE, level="quick", dtypes=("float64", "float32"), each=VARIANTS)
def attention(context: Context, row: Options) -> None:
    """MultiheadAttention ({row}) gives the right outputs, shares, and gradients of inputs and weights."""
    trial = Trial(context, row)
    outputs, shares = trial.expected()
    tensors = trial.tensors()
    out, found = trial.module(*tensors, **trial.masks(), **row.call)
    judge(context, trial.batch_first(out), numbers(outputs), what="outputs")
    if found is not None:
        averaged = row.call.get("average_attn_weights", True)
        by_head = [_mean(share) for share in shares] if averaged else shares
        judge(context, found, numbers(by_head), what="shares")
    flat = numbers(outputs)
    seeds = [trial.rng.choice((-1, 1)) * trial.rng.randint(8, 63) / 8 for _ in flat]
    upstream = context.tensor(seeds).reshape(trial.batch_first(out).shape)
    trial.batch_first(out).backward(upstream)
    tape.backward(flat, seeds)
    for name, tensor, right in zip(("query", "key", "value"), tensors, trial.inputs):
        judge_gradient(context, trial.batch_first(tensor.grad), numbers(right), what=f"gradient of the {name}")
    for name, parameter in trial.module.named_parameters():
        judge_gradient(context, parameter.grad, numbers(trial.known[name]), what=f"gradient of {name}")


@check(oracle=ORACLE, level="quick", dtypes=("float64", "float32"), needs=("torch.nn.MultiheadAttention",))
def attention_in_eval(context: Context) -> None:
    """MultiheadAttention gives in eval, on its fast path, what it gives in training; dropout acts in training alone."""
    for options in (Options("self", {"batch_first": True, "dropout": 0.5}), Options("self_slow", {"dropout": 0.5})):
        trial = Trial(context, options)
        trial.inputs = [trial.inputs[1]] * 3
        outputs, _ = trial.expected()
        x = trial.tensors()[0]
        module = trial.module.eval()
        with context.torch.no_grad():
            for weights in (True, False):
                out, _ = module(x, x, x, need_weights=weights)
                judge(context, trial.batch_first(out), numbers(outputs), what=f"{options.name}, need_weights={weights}")
            context.torch.manual_seed(context.seed)
            _, shares = module.train()(x, x, x, average_attn_weights=False)
        # Each of 100 shares is 0 or doubled: none, or all of them, once in 1e29 runs.
        values = context.values(shares)
        context.true(0 < sum(v == 0 for v in values) < len(values), what="dropout acts on shares in training")


def _mean(share: list[list[list[tape.Num]]]) -> list[list[tape.Num]]:
    return [
        [tape.total([head[i][j] for head in share]) * (1.0 / len(share)) for j in range(len(share[0][i]))]
        for i in range(len(share[0]))
    ]
