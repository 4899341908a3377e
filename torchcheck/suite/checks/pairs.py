"""Options together: the masks and modes of attention and of the transformer's layers, all combinations of them."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

from .. import precision, trajectory
from ..registry import check

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from ..context import Context

Matrix = list[list[float]]
INF = math.inf
BATCH, LENGTH, WIDTH, HEADS = 2, 4, 4, 2
DEPTH = WIDTH // HEADS
HIDDEN = [[j > i or (i, j) == (3, 1) for j in range(LENGTH)] for i in range(LENGTH)]
SOFT = [[(3 * i - 2 * j) / 4 for j in range(LENGTH)] for i in range(LENGTH)]
PADDED = [[False, True, False, False], [False, False, True, True]]
SOFT_PADDED = [[0.5, -1.0, 0.0, 0.25], [0.0, 0.75, -0.5, -1.5]]
# What a mask adds to the score of (sequence, head, query, key); None where it hides.
ATTENTION = {
    "": None,
    "truths": [[HIDDEN] * HEADS] * BATCH,
    "numbers": [[SOFT] * HEADS] * BATCH,
    "truths a head": [[HIDDEN, [[j == (i + 1) % 4 for j in range(4)] for i in range(4)]]] * BATCH,
    "numbers a head": [[SOFT, [[-v for v in row] for row in SOFT]]] * BATCH,
}
PADDING = {"": None, "truths": PADDED, "numbers": SOFT_PADDED}


def _score(mask: Any, *at: int) -> float:
    for i in at:
        if mask is None:
            return 0.0
        mask = mask[i]
    return (-INF if mask else 0.0) if isinstance(mask, bool) else float(mask)


def _linear(x: Matrix, weight: Matrix, bias: Sequence[float]) -> Matrix:
    return [[sum(map(float.__mul__, row, line)) + b for line, b in zip(weight, bias)] for row in x]


class Attention:
    """A module whose numbers are known, and its input."""

    def __init__(self, context: Context, *, first: bool) -> None:
        rng = context.rng("attention")
        self.context, self.first = context, first
        self.module = context.torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=first)
        self.module = self.module.to(context.device, context.dtype)

        def draw(rows: int) -> Matrix:
            return [[rng.randint(-48, 48) / 64 for _ in range(WIDTH)] for _ in range(rows)]

        self.inner, self.outer = draw(3 * WIDTH), draw(WIDTH)
        (self.inner_bias, self.outer_bias) = [v for row in draw(3) for v in row], draw(1)[0]
        known = (self.inner, self.inner_bias, self.outer, self.outer_bias)
        out = self.module.out_proj
        owners = (self.module.in_proj_weight, self.module.in_proj_bias, out.weight, out.bias)
        with context.torch.no_grad():
            for parameter, numbers in zip(owners, known):
                parameter.copy_(context.tensor(numbers))
        self.x = [draw(LENGTH) for _ in range(BATCH)]
        self.projected = [_linear(x, self.inner, self.inner_bias) for x in self.x]
        x = context.tensor(self.x)
        self.input = x if first else x.transpose(0, 1).contiguous()

    def expected(self, mask: Any, padding: Any) -> tuple[list[float], list[float]]:
        """Give the outputs, and the shares (sequence, head, query, key)."""
        outputs, shares = [], []
        for n, rows in enumerate(self.projected):
            joined: Matrix = [[] for _ in rows]
            for h in range(HEADS):
                q, k, v = ([row[s + h * DEPTH : s + (h + 1) * DEPTH] for row in rows] for s in (0, WIDTH, 2 * WIDTH))
                for i, query in enumerate(q):
                    logits = [
                        sum(map(float.__mul__, query, key)) / math.sqrt(DEPTH)
                        + _score(mask, n, h, i, j)
                        + _score(padding, n, j)
                        for j, key in enumerate(k)
                    ]
                    powers = [math.exp(z - max(logits)) for z in logits]
                    p = [e / math.fsum(powers) for e in powers]
                    shares += p
                    joined[i] += [sum(map(float.__mul__, p, column)) for column in zip(*v)]
            outputs += [z for row in _linear(joined, self.outer, self.outer_bias) for z in row]
        return outputs, shares

    def masks(self, mask: Any, padding: Any) -> dict[str, Any]:
        """Give the masks as torch takes them: one for all, where all are alike."""
        made: dict[str, Any] = {}
        for name, held in (("attn_mask", mask), ("key_padding_mask", padding)):
            if held is not None:
                if name == "attn_mask":
                    alike = held[0][0] is held[0][1]
                    held = held[0][0] if alike else [head for heads in held for head in heads]  # noqa: PLW2901
                flat = held
                while isinstance(flat, list):
                    flat = flat[0]
                made[name] = self.context.tensor(held, dtype="bool" if isinstance(flat, bool) else None)
        return made


def _modes(torch: Any) -> Iterator[tuple[str, bool, Any]]:
    yield "training", True, torch.enable_grad
    yield "eval", False, torch.enable_grad
    yield "eval under no_grad", False, torch.no_grad
    yield "eval under inference_mode", False, torch.inference_mode


def _averaged(shares: Sequence[float]) -> list[float]:
    step = LENGTH * LENGTH
    return [
        sum(shares[n * HEADS * step + h * step + i] for h in range(HEADS)) / HEADS
        for n in range(BATCH)
        for i in range(step)
    ]


@check(oracle="softmax attention in plain float64", dtypes=("float32",))
@trajectory.unthreaded
def masks(context: Context) -> None:
    """Attention honours two masks at once, of truths or numbers, whatever the mode and the weights asked for."""
    torch = context.torch
    for first in (True, False):
        trial = Attention(context, first=first)
        trial.module.requires_grad_(requires_grad=True)
        for (a, mask), (b, padding) in itertools.product(ATTENTION.items(), PADDING.items()):
            outputs, shares = trial.expected(mask, padding)
            given = trial.masks(mask, padding)
            for number, (mode, training, grad) in enumerate(_modes(torch)):
                trial.module.train(training)
                # Without weights in every mode; with them, averaged or not, in turn.
                asked = ({"need_weights": False}, {"average_attn_weights": (number + first) % 2 == 0})
                for options in asked if first or number % 2 else asked[:1]:
                    with grad(), precision.full(torch), warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of masks of two types, of nested tensors
                        got, found = trial.module(*[trial.input] * 3, **given, **options)
                    what = (
                        f"mask of {a or 'nothing'}, padding of {b or 'nothing'}, {mode}, {options}, batch_first={first}"
                    )
                    got = got if first else got.transpose(0, 1)
                    # Three products of 4 terms and a softmax, of numbers near 1.
                    context.close(got, outputs, bound=64.0, cancel=1.0, what=f"{what}: output")
                    if found is not None:
                        right = _averaged(shares) if options["average_attn_weights"] else shares
                        context.close(found, right, bound=64.0, cancel=1.0, what=f"{what}: weights")


def _encoded(layer: Any, x: Any, mask: Any, padding: Any) -> Any:
    """Compose an encoder layer of its parts."""

    def attend(y: Any) -> Any:
        return layer.self_attn(y, y, y, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]

    def feed(y: Any) -> Any:
        return layer.linear2(layer.activation(layer.linear1(y)))

    if layer.norm_first:
        x = x + attend(layer.norm1(x))
        return x + feed(layer.norm2(x))
    x = layer.norm1(x + attend(x))
    return layer.norm2(x + feed(x))


def _decoded(layer: Any, x: Any, y: Any, masks: dict[str, Any]) -> Any:
    """Compose a decoder layer of its parts."""

    def own(z: Any) -> Any:
        mask, padding = masks.get("tgt_mask"), masks.get("tgt_key_padding_mask")
        return layer.self_attn(z, z, z, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]

    def other(z: Any) -> Any:
        mask, padding = masks.get("memory_mask"), masks.get("memory_key_padding_mask")
        return layer.multihead_attn(z, y, y, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]

    def feed(z: Any) -> Any:
        return layer.linear2(layer.activation(layer.linear1(z)))

    if layer.norm_first:
        x = x + own(layer.norm1(x))
        x = x + other(layer.norm2(x))
        return x + feed(layer.norm3(x))
    x = layer.norm1(x + own(x))
    x = layer.norm2(x + other(x))
    return layer.norm3(x + feed(x))


PARTS = "its own parts, one after another, each proven by itself"


def _close(context: Context, got: Any, right: Any, what: str) -> None:
    # Layers of three norms, whose outputs are near 1: some ten roundings of each part, and what norms make of them.
    context.close(got, context.values(right.contiguous()), bound=512.0, cancel=1.0, what=what)


def _drawn(context: Context, rng: random.Random) -> Any:
    """Draw a batch of sequences."""
    return context.tensor(
        [[[rng.randint(-96, 96) / 64 for _ in range(WIDTH)] for _ in range(LENGTH)] for _ in range(BATCH)]
    )


@check(oracle=PARTS, dtypes=("float32",))
@trajectory.unthreaded
def encoders(context: Context) -> None:
    """Encoder layers and stacks honour two masks at once, in training and on the fast path of evaluation."""
    torch, nn = context.torch, context.torch.nn
    torch.manual_seed(context.seed)
    rng = context.rng()
    x = _drawn(context, rng)
    hidden, padded = context.tensor(HIDDEN, dtype="bool"), context.tensor(PADDED, dtype="bool")
    numbers = torch.zeros(LENGTH, LENGTH).masked_fill(hidden.cpu(), -INF).to(context.device)
    kept = [not p for row in PADDED for p in row]
    for norm_first, activation, bias in ((False, "relu", True), (True, "gelu", True), (False, "gelu", False)):
        more = {} if bias else {"bias": False}
        try:
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 6, 0.0, activation, batch_first=True, norm_first=norm_first, **more
            )
        except TypeError:  # bias before torch 2.1
            continue
        layer = layer.to(context.device)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.rand(parameter.shape).to(parameter) / 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack = nn.TransformerEncoder(layer, 2).to(context.device)
        for mask, padding in itertools.product((None, hidden, numbers), (None, padded)):
            layer.train()
            with torch.no_grad(), precision.full(torch):
                right = _encoded(layer, x, mask, padding)
                deep = x
                for part in stack.train().layers:
                    deep = _encoded(part, deep, mask, padding)
            for mode, training, grad in _modes(torch):
                layer.train(training)
                stack.train(training)
                with grad(), precision.full(torch), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    got = layer(x, src_mask=mask, src_key_padding_mask=padding)
                    both = stack(x, mask=mask, src_key_padding_mask=padding)
                masked = f"mask={'none' if mask is None else str(mask.dtype)}, padding={padding is not None}"
                what = f"{masked}, {mode}, {norm_first=}, {activation}, {bias=}"
                if padding is None:
                    _close(context, got, right, f"layer, {what}")
                    _close(context, both, deep, f"stack, {what}")
                    continue
                # What stands at padded places is not promised: nested tensors leave zeros there.
                for name, one, other in (("layer", got, right), ("stack", both, deep)):
                    rows = [r for r, keep in zip(one.reshape(-1, WIDTH).tolist(), kept) if keep]
                    wanted = [r for r, keep in zip(other.reshape(-1, WIDTH).tolist(), kept) if keep]
                    context.close(
                        [v for r in rows for v in r],
                        [v for r in wanted for v in r],
                        bound=512.0,
                        cancel=1.0,
                        what=f"{name}, {what}",
                    )


@check(oracle=PARTS, dtypes=("float32",))
@trajectory.unthreaded
def decoders(context: Context) -> None:
    """Decoder layers and the whole Transformer honour four masks at once, in every mode."""
    torch, nn = context.torch, context.torch.nn
    torch.manual_seed(context.seed)
    rng = context.rng()
    x, y = _drawn(context, rng), _drawn(context, rng)
    hidden, padded = context.tensor(HIDDEN, dtype="bool"), context.tensor(PADDED, dtype="bool")
    table = {
        "tgt_mask": hidden,
        "tgt_key_padding_mask": context.tensor([[False, False, False, True], [False] * 4], dtype="bool"),
        "memory_mask": context.tensor([[j == i for j in range(4)] for i in range(4)], dtype="bool"),
        "memory_key_padding_mask": padded,
    }
    for norm_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nested tensors
            whole = nn.Transformer(WIDTH, HEADS, 1, 2, 6, 0.0, batch_first=True, norm_first=norm_first)
        whole = whole.to(context.device)
        layer = whole.decoder.layers[0]
        for count in range(len(table) + 1):
            for names in itertools.combinations(table, count):
                given = {name: table[name] for name in names}
                whole.train()
                with torch.no_grad(), precision.full(torch):
                    right = _decoded(layer, x, y, given)
                for mode, training, grad in _modes(torch) if count in (2, 4) else list(_modes(torch))[2:3]:
                    layer.train(training)
                    with grad(), precision.full(torch):
                        _close(
                            context, layer(x, y, **given), right, f"layer, {', '.join(names)}, {mode}, {norm_first=}"
                        )
        whole.train()
        with torch.no_grad(), precision.full(torch):
            memory = whole.encoder.norm(_encoded(whole.encoder.layers[0], y, hidden, padded))
            deep = x
            for part in whole.decoder.layers:
                deep = _decoded(part, deep, memory, table)
            deep = whole.decoder.norm(deep)
        # Padded places of the memory are hidden from the decoder, whatever stands there.
        for mode, training, grad in _modes(torch):
            whole.train(training)
            with grad(), precision.full(torch), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = whole(y, x, src_mask=hidden, src_key_padding_mask=padded, **table)
            _close(context, got, deep, f"Transformer, {mode}, {norm_first=}")
