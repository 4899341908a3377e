"""The Transformer encoder layer: training path, inference fast path, gradients."""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import transformer as oracle
from ..oracles.tape import backward, leaves
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

FORMULA = "the layer in plain float64, with its running error"
COPIES = 35  # of the sequence: a thousand lanes
WIDTH, HEADS, INNER, LENGTH, EPS = 6, 2, 7, 5, 2.0**-10
BOUND = (
    0.25  # of errors that add up in the worst way over some twenty layers of sums; sound ones reach a hundredth of it
)
# Name in the state dict: how many numbers, and between which bounds (in 64ths).
PARAMETERS = {
    "self_attn.in_proj_weight": (3 * WIDTH * WIDTH, -48, 48),
    "self_attn.in_proj_bias": (3 * WIDTH, -32, 32),
    "self_attn.out_proj.weight": (WIDTH * WIDTH, -48, 48),
    "self_attn.out_proj.bias": (WIDTH, -32, 32),
    "linear1.weight": (INNER * WIDTH, -48, 48),
    "linear1.bias": (INNER, -32, 32),
    "linear2.weight": (WIDTH * INNER, -48, 48),
    "linear2.bias": (WIDTH, -32, 32),
    "norm1.weight": (WIDTH, 32, 96),
    "norm1.bias": (WIDTH, -32, 32),
    "norm2.weight": (WIDTH, 32, 96),
    "norm2.bias": (WIDTH, -32, 32),
}
PLACES = {"norm_first": True, "norm_last": False}
UNPADDED = [True] * LENGTH
PADDED = [True, True, True, False, False]


def _draw(rng: random.Random, count: int, low: int, high: int) -> list[float]:
    return passes.dyadic(rng, count, high, low)


@check(oracle=FORMULA, dtypes=("float32",), more=("float64",), each=PLACES)
def encoder_layer(context: Context, norm_first: bool) -> None:
    """A Transformer encoder layer ({row}) is right on its training and its inference path, and so are its gradients."""
    rng = context.rng()
    values = {name: _draw(rng, *bounds) for name, bounds in PARAMETERS.items()}
    x, upstream = _draw(rng, LENGTH * WIDTH, -96, 96), _draw(rng, LENGTH * WIDTH, -96, 96)
    numbers = {name: leaves(v) for name, v in values.items()}
    xs = leaves(x)
    rows = [xs[i : i + WIDTH] for i in range(0, len(xs), WIDTH)]
    right = {
        which: [v for row in oracle.encoder_layer(rows, numbers, HEADS, keys, EPS, norm_first=norm_first) for v in row]
        for which, keys in (("", UNPADDED), (", padded", PADDED))
    }
    layer = _layer(context, values, norm_first)
    batch = context.tensor(x).reshape(1, LENGTH, WIDTH).repeat(COPIES, 1, 1)
    batch.requires_grad_()
    with precision.full(context.torch):
        output = layer(batch)
        output.backward(context.tensor(upstream).reshape(1, LENGTH, WIDTH).repeat(COPIES, 1, 1))
        backward(right[""], upstream)
        passes.judge(context, output, right[""], what="training path", repeats=COPIES, bound=BOUND)
        passes.judge_gradient(context, batch.grad, xs, what="gradient by the input", repeats=COPIES, bound=BOUND)
        for name, p in layer.named_parameters():
            passes.judge_gradient(context, p.grad, numbers[name], what=f"gradient by {name}", times=COPIES, bound=1.0)
        _infer(context, layer.eval(), batch.detach(), right)


def _layer(context: Context, values: dict[str, list[float]], norm_first: bool) -> Any:
    layer = context.torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, INNER, dropout=0.0, layer_norm_eps=EPS, batch_first=True, norm_first=norm_first
    ).to(context.device, context.dtype)
    with context.torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_(context.tensor(values[name]).reshape(p.shape))
    return layer


def _infer(context: Context, layer: Any, batch: Any, right: dict[str, list[Any]]) -> None:
    """Run evaluation with and without gradients, and with padded keys."""
    torch = context.torch
    padding = context.tensor([[not used for used in PADDED]] * COPIES, dtype="bool")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors announce themselves as a prototype
        passes.judge(context, layer(batch), right[""], what="inference path", repeats=COPIES, bound=BOUND)
        kept = layer(batch, src_key_padding_mask=padding)[:, : sum(PADDED)]
        stack = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=True).to(context.device).eval()
        nested = stack(batch, src_key_padding_mask=padding)[:, : sum(PADDED)]
    wanted = right[", padded"][: sum(PADDED) * WIDTH]
    passes.judge(context, kept, wanted, what="inference path with padded keys", repeats=COPIES, bound=BOUND)
    passes.judge(context, nested, wanted, what="encoder with padded keys", repeats=COPIES, bound=BOUND)
    passes.judge(context, layer(batch), right[""], what="evaluation with gradients", repeats=COPIES, bound=BOUND)
