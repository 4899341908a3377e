"""One layer, many ways to call it: layouts, modes, sizes, frozen inputs and precisions change nothing but rounding.

Other checks hold the plain call to account; here every other way to make the same call is held to the plain one in
float64. A kernel that is chosen by layout, by size, by dtype, by whether a gradient is asked for or how it comes in is
met in each of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..compare import FORMATS
from ..pattern import raw_bytes
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

PLAIN = "the plain call in float64, which other checks hold to account"


@dataclass(frozen=True)
class Call:
    """A function of a batch and of weights.

    Attributes:
        run: (torch, batch, *weights) -> output.
        batch: shape of the batch; its first dim is cut, repeated and judged sample by sample.
        weights: shapes of what all samples share.
        joint: samples depend on each other: the batch cannot be repeated.
        low: most that half precision may be off, in u of the largest result (half of it in the result itself): 8 for
            one formula, 16 where weights or a slope are rounded as well, 32 for several layers; 0 leaves it out.
        first: values of the batch are drawn around 0, or (when False) between 1 and 1.75.
        many: the default level, too, goes beyond one thread's share of rows.
        needs: dotted attributes of torch, without which it is skipped.
    """

    run: Callable[..., Any]
    batch: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...] = ()
    joint: bool = False
    low: float = 8.0
    first: bool = True
    many: bool = False
    needs: tuple[str, ...] = ()


def _f(torch: Any) -> Any:
    return torch.nn.functional


def _multihead(torch: Any, x: Any, w: Any, b: Any, o: Any, c: Any) -> Any:
    y = x.transpose(0, 1)
    made = _f(torch).multi_head_attention_forward(
        y, y, y, 8, 2, w, b, None, None, False, 0.0, o, c, training=False, need_weights=False
    )
    return made[0].transpose(0, 1)


IMAGE, VOLUME, LINE, ROWS = (2, 4, 7, 6), (2, 4, 4, 5, 3), (2, 4, 9), (3, 5, 12)
CALLS = {
    "linear": Call(lambda t, x, w, b: _f(t).linear(x, w, b), ROWS, ((7, 12), (7,)), many=True),
    "linear_rows": Call(lambda t, x, w, b: _f(t).linear(x, w, b), (5, 12), ((7, 12), (7,))),
    "matmul": Call(lambda _, x, w: x @ w, ROWS, ((12, 6),)),
    "bmm": Call(lambda t, x: t.bmm(x, x.mT), ROWS),
    "bilinear": Call(lambda t, x, w: _f(t).bilinear(x, x, w), (5, 6), ((4, 6, 6),)),
    "conv1d": Call(lambda t, x, w, b: _f(t).conv1d(x, w, b, 1, 1), LINE, ((6, 4, 3), (6,))),
    "conv1d_stride": Call(lambda t, x, w: _f(t).conv1d(x, w, None, 3), LINE, ((6, 4, 2),)),
    "conv2d": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b, 1, 1), IMAGE, ((6, 4, 3, 3), (6,)), many=True),
    "conv2d_one": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b), IMAGE, ((6, 4, 1, 1), (6,))),
    "conv2d_stride": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b, 2, 1), IMAGE, ((6, 4, 3, 3), (6,))),
    "conv2d_stride_3": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b, 3), IMAGE, ((6, 4, 3, 3), (6,))),
    "conv2d_groups": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b, 1, 1, 1, 2), IMAGE, ((6, 2, 3, 3), (6,))),
    "conv2d_depthwise": Call(lambda t, x, w, b: _f(t).conv2d(x, w, b, 1, 1, 1, 4), IMAGE, ((4, 1, 3, 3), (4,))),
    "conv2d_dilation": Call(lambda t, x, w: _f(t).conv2d(x, w, None, 1, 2, 2), IMAGE, ((6, 4, 3, 3),)),
    "conv2d_dilated_groups": Call(lambda t, x, w: _f(t).conv2d(x, w, None, 2, 2, 2, 2), IMAGE, ((6, 2, 3, 3),)),
    "conv2d_same": Call(lambda t, x, w: _f(t).conv2d(x, w, padding="same"), IMAGE, ((6, 4, 3, 3),)),
    "conv3d": Call(lambda t, x, w, b: _f(t).conv3d(x, w, b, 1, 1), VOLUME, ((5, 4, 2, 3, 2), (5,))),
    "conv3d_stride_groups": Call(
        lambda t, x, w: _f(t).conv3d(x, w, None, (2, 1, 1), 1, 1, 2), VOLUME, ((4, 2, 2, 3, 2),)
    ),
    "conv_transpose1d": Call(lambda t, x, w: _f(t).conv_transpose1d(x, w, None, 2, 1, 1), LINE, ((4, 5, 3),)),
    "conv_transpose2d": Call(lambda t, x, w, b: _f(t).conv_transpose2d(x, w, b, 2, 1, 1), IMAGE, ((4, 5, 3, 3), (5,))),
    "conv_transpose2d_groups": Call(
        lambda t, x, w: _f(t).conv_transpose2d(x, w, None, 2, 1, 0, 2), IMAGE, ((4, 3, 3, 3),)
    ),
    "conv_transpose3d": Call(lambda t, x, w: _f(t).conv_transpose3d(x, w, None, 2), VOLUME, ((4, 3, 2, 2, 2),)),
    "max_pool1d": Call(lambda t, x: _f(t).max_pool1d(x, 3, 2, 1), LINE),
    "max_pool2d": Call(lambda t, x: _f(t).max_pool2d(x, 3, 2, 1), IMAGE, many=True),
    "max_pool2d_ceil_dilated": Call(lambda t, x: _f(t).max_pool2d(x, 2, 2, 1, 2, ceil_mode=True), IMAGE),
    "max_pool3d": Call(lambda t, x: _f(t).max_pool3d(x, 2, 1), VOLUME),
    "avg_pool1d": Call(lambda t, x: _f(t).avg_pool1d(x, 3, 2, 1), LINE),
    "avg_pool2d": Call(lambda t, x: _f(t).avg_pool2d(x, 3, 2, 1), IMAGE, many=True),
    "avg_pool2d_divisor": Call(lambda t, x: _f(t).avg_pool2d(x, 3, 2, 1, True, False, 5), IMAGE),
    "avg_pool3d": Call(lambda t, x: _f(t).avg_pool3d(x, 2, 1, 1), VOLUME),
    "adaptive_avg_pool2d": Call(lambda t, x: _f(t).adaptive_avg_pool2d(x, (3, 4)), IMAGE),
    "adaptive_max_pool2d": Call(lambda t, x: _f(t).adaptive_max_pool2d(x, (3, 4)), IMAGE),
    "lp_pool2d": Call(lambda t, x: _f(t).lp_pool2d(x, 3.0, 2), IMAGE, first=False),
    "layer_norm": Call(lambda t, x, w, b: _f(t).layer_norm(x, (12,), w, b), ROWS, ((12,), (12,)), many=True),
    "layer_norm_two": Call(lambda t, x: _f(t).layer_norm(x, (7, 6)), IMAGE),
    "rms_norm": Call(
        lambda t, x, w: _f(t).rms_norm(x, (12,), w, 0.01),
        ROWS,
        ((12,),),
        many=True,
        needs=("torch.nn.functional.rms_norm",),
    ),
    "group_norm": Call(lambda t, x, w, b: _f(t).group_norm(x, 2, w, b), IMAGE, ((4,), (4,)), many=True),
    "instance_norm": Call(lambda t, x, w, b: _f(t).instance_norm(x, weight=w, bias=b), IMAGE, ((4,), (4,)), joint=True),
    "batch_norm": Call(
        lambda t, x, w, b: _f(t).batch_norm(x, None, None, w, b, training=True), IMAGE, ((4,), (4,)), joint=True
    ),
    "batch_norm_rows": Call(
        lambda t, x, w, b: _f(t).batch_norm(x, None, None, w, b, training=True), (9, 12), ((12,), (12,)), joint=True
    ),
    "batch_norm_eval": Call(
        lambda t, x, m, v, w, b: (
            _f(t).batch_norm(x, m.detach(), v.detach().abs() + 0.5, w, b) + 0 * (m.sum() + v.sum())
        ),
        IMAGE,
        ((4,), (4,), (4,), (4,)),
    ),
    "local_response_norm": Call(lambda t, x: _f(t).local_response_norm(x, 3, 0.5, 0.75, 2.0), IMAGE, low=16.0),
    "normalize": Call(lambda t, x: _f(t).normalize(x, dim=-1), ROWS, low=16.0),
    "softmax": Call(lambda _, x: x.softmax(-1), ROWS, many=True),
    "softmax_inner": Call(lambda _, x: x.softmax(1), ROWS),
    "log_softmax": Call(lambda _, x: x.log_softmax(-1), ROWS, many=True),
    "log_softmax_inner": Call(lambda _, x: x.log_softmax(1), ROWS),
    "attention": Call(lambda t, x: _f(t).scaled_dot_product_attention(x, x, x), (2, 2, 5, 8), low=16.0, many=True),
    "attention_causal": Call(
        lambda t, x: _f(t).scaled_dot_product_attention(x, x, x, is_causal=True), (2, 2, 5, 8), low=16.0
    ),
    "attention_bias": Call(
        lambda t, x, m: _f(t).scaled_dot_product_attention(x, x, x, m), (2, 2, 5, 8), ((5, 5),), low=16.0
    ),
    "multihead": Call(_multihead, (2, 5, 8), ((24, 8), (24,), (8, 8), (8,)), low=32.0),
    "lstm": Call(
        lambda t, x, *w: t.lstm(x, _state(t, x, 2), list(w), True, 1, 0.0, False, False, True)[0],
        ROWS,
        ((24, 12), (24, 6), (24,), (24,)),
        low=32.0,
    ),
    "gru": Call(
        lambda t, x, *w: t.gru(x, _state(t, x, 1)[0], list(w), True, 1, 0.0, False, False, True)[0],
        ROWS,
        ((18, 12), (18, 6), (18,), (18,)),
        low=32.0,
    ),
    "rnn": Call(
        lambda t, x, *w: t.rnn_tanh(x, _state(t, x, 1)[0], list(w), True, 1, 0.0, False, False, True)[0],
        ROWS,
        ((6, 12), (6, 6), (6,), (6,)),
        low=32.0,
    ),
    "prelu": Call(lambda t, x, w: _f(t).prelu(x, w), IMAGE, ((4,),), many=True),
    "glu": Call(lambda t, x: _f(t).glu(x, 1), IMAGE, many=True),
    "pixel_shuffle": Call(lambda t, x: _f(t).pixel_shuffle(x, 2), IMAGE),
    "pixel_unshuffle": Call(lambda t, x: _f(t).pixel_unshuffle(x, 3), (2, 2, 6, 3)),
    "unfold": Call(lambda t, x: _f(t).unfold(x, 2, 2, 1, 2), IMAGE),
    "fold": Call(lambda t, x: _f(t).fold(x, (4, 4), 2, 1, 0, 1), (2, 12, 9)),
    "pad_constant": Call(lambda t, x: _f(t).pad(x, (1, 2, 3, 1), value=0.75), IMAGE),
    "pad_crop": Call(lambda t, x: _f(t).pad(x, (-1, 2, 1, -2), value=-0.5), IMAGE),
    "pad_reflect": Call(lambda t, x: _f(t).pad(x, (1, 2, 2, 1), "reflect"), IMAGE),
    "pad_replicate": Call(lambda t, x: _f(t).pad(x, (1, 2, 2, 1), "replicate"), IMAGE),
    "pad_circular": Call(lambda t, x: _f(t).pad(x, (1, 2, 2, 1), "circular"), IMAGE),
    "pad_replicate_volume": Call(lambda t, x: _f(t).pad(x, (1, 2, 2, 1, 1, 1), "replicate"), VOLUME),
    "pad_reflect_line": Call(lambda t, x: _f(t).pad(x, (2, 3), "reflect"), LINE),
    "nearest": Call(lambda t, x: _f(t).interpolate(x, (5, 9)), IMAGE),
    "bilinear_image": Call(lambda t, x: _f(t).interpolate(x, (5, 9), mode="bilinear"), IMAGE, many=True, low=16.0),
    "bilinear_antialias": Call(
        lambda t, x: _f(t).interpolate(x, (3, 4), mode="bilinear", antialias=True), IMAGE, low=0.0
    ),
    "bicubic": Call(lambda t, x: _f(t).interpolate(x, (5, 9), mode="bicubic", align_corners=True), IMAGE, low=16.0),
    "trilinear": Call(lambda t, x: _f(t).interpolate(x, (3, 7, 4), mode="trilinear"), VOLUME, low=16.0),
    "linear_line": Call(lambda t, x: _f(t).interpolate(x, 13, mode="linear"), LINE, low=16.0),
    "relu": Call(lambda t, x: _f(t).relu(x), IMAGE, many=True),
    "gelu": Call(lambda t, x: _f(t).gelu(x), IMAGE, low=16.0, many=True),
    "silu": Call(lambda t, x: _f(t).silu(x), IMAGE, low=16.0, many=True),
    "sigmoid": Call(lambda _, x: x.sigmoid(), IMAGE, low=16.0, many=True),
    "tanh": Call(lambda _, x: x.tanh(), IMAGE, low=16.0, many=True),
    "exp": Call(lambda _, x: x.exp(), IMAGE, many=True),
    "sqrt": Call(lambda _, x: x.sqrt(), IMAGE, first=False),
    "mul_add": Call(lambda t, x, w: t.addcmul(x, x, w), ROWS, ((5, 12),)),
    "divide": Call(lambda _, x, w: w / (x + 1), ROWS, ((5, 12),), first=False),
    "cat": Call(lambda t, x: t.cat((x, x * 2, -x), 1), IMAGE, many=True),
    "stack": Call(lambda t, x: t.stack((x, x * 2), 2), IMAGE),
    "where": Call(lambda t, x, w: t.where(x.detach() > 0, x * w, w - x), ROWS, ((5, 12),), many=True),
    "sum": Call(lambda _, x: x.sum((1, 3)), IMAGE, many=True),
    "mean": Call(lambda _, x: x.mean((2, 3)), IMAGE, many=True),
    "mean_channels": Call(lambda _, x: x.mean(1), IMAGE),
    "var": Call(lambda _, x: x.var(-1), ROWS, low=32.0),
    "amax": Call(lambda _, x: x.amax((2, 3)), IMAGE),
    "cumsum": Call(lambda _, x: x.cumsum(1), ROWS, low=16.0, many=True),
    "flip": Call(lambda _, x: x.flip((1, 3)), IMAGE),
    "roll": Call(lambda _, x: x.roll((1, -2), (1, 3)), IMAGE),
    "permute": Call(lambda _, x: x.permute(0, 3, 1, 2).reshape(x.shape[0], 6, 28), IMAGE),
    "index": Call(lambda t, x: x[:, t.tensor([2, 0, 2, 3], device=x.device)], IMAGE),
    "gather": Call(
        lambda t, x: x.gather(1, t.tensor([[[1], [0], [1]]], device=x.device).expand(x.shape[0], 3, 12)), ROWS
    ),
    "mse": Call(
        lambda t, x, y: _f(t).mse_loss(x, y.expand_as(x), reduction="none"), ROWS, ((5, 12),), low=16.0, many=True
    ),
    "smooth_l1": Call(
        lambda t, x, y: _f(t).smooth_l1_loss(x, y.expand_as(x), reduction="none", beta=0.5),
        ROWS,
        ((5, 12),),
        low=16.0,
        many=True,
    ),
    "huber": Call(
        lambda t, x, y: _f(t).huber_loss(x, y.expand_as(x), reduction="none", delta=0.5), ROWS, ((5, 12),), low=16.0
    ),
    "cross_entropy": Call(
        lambda t, x: _f(t).cross_entropy(x, _classes(t, x), reduction="none", label_smoothing=0.1),
        (6, 5),
        low=16.0,
        many=True,
    ),
    "cross_entropy_image": Call(lambda t, x: _f(t).cross_entropy(x, _classes(t, x), reduction="none"), IMAGE, low=16.0),
    "bce_with_logits": Call(
        lambda t, x: _f(t).binary_cross_entropy_with_logits(x, t.full_like(x, 0.25), reduction="none"),
        ROWS,
        low=16.0,
        many=True,
    ),
    "kl_div": Call(lambda t, x: _f(t).kl_div(x, t.full_like(x, 0.25), reduction="none"), ROWS),
}


def _classes(torch: Any, x: Any) -> Any:
    shape = (x.shape[0], *x.shape[2:])
    count = x[:, 0].numel() // x.shape[0]
    one = torch.arange(count, device=x.device) % x.shape[1]
    return one.repeat(x.shape[0]).reshape(shape)


def _state(torch: Any, x: Any, count: int) -> list[Any]:
    return [torch.full((1, x.shape[0], 6), 0.25, dtype=x.dtype, device=x.device)] * count


def _gapped(torch: Any, x: Any) -> Any:
    return torch.stack((x, x + 1), -1)[..., 0]


def _turned(_: Any, x: Any) -> Any:
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def _shifted(torch: Any, x: Any) -> Any:
    return torch.cat((x.new_zeros(1), x.reshape(-1)))[1:].reshape(x.shape)


def _last(torch: Any, x: Any) -> Any:
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return x if form is None else x.contiguous(memory_format=form)


LAYOUTS: dict[str, Callable[[Any, Any], Any]] = {
    "with gaps": _gapped,
    "transposed": _turned,
    "not aligned": _shifted,
    "channels last": _last,
}
# float32 in blocks and vectors of any width: sums of at most some hundred products here.
BOUND = 64.0


@dataclass
class Plain:
    """The plain call: inputs, upstream, output and gradients, as float64 tensors and as numbers."""

    inputs: list[Any]
    upstream: Any
    output: list[float]
    gradients: list[list[float]]
    shape: tuple[int, ...]


_made: dict[tuple[int, int], Plain] = {}


def _plain(context: Context, row: Call) -> Plain:
    """Give the plain call of a run's seed; made once for all who compare with it."""
    asked = (context.seed, id(row))
    if asked not in _made:
        _made[asked] = _draw(context, row)
    return _made[asked]


def _draw(context: Context, row: Call) -> Plain:
    """Draw numbers that bfloat16 holds and make the plain call in float64, on the CPU."""
    torch, rng = context.torch, random.Random(context.seed)  # noqa: S311 - test data
    drawn = []
    for number, shape in enumerate((row.batch, *row.weights)):
        size = 1
        for n in shape:
            size *= n
        low = 64 if number == 0 and not row.first else -56
        pool = [v / 64 for v in range(low, 57 if low < 0 else 113) if v % 16]
        # All different inside a run of numbers, so that no maximum is a tie.
        many = [v for _ in range(size // len(pool) + 1) for v in rng.sample(pool, len(pool))]
        drawn.append(torch.tensor(many[:size], dtype=torch.float64).reshape(shape))
    leaves = [x.clone().requires_grad_() for x in drawn]
    output = row.run(torch, *leaves)
    weights = [rng.choice((-1.5, -1.0, 0.5, 1.0)) for _ in range(output.numel())]
    upstream = torch.tensor(weights, dtype=torch.float64).reshape(output.shape)
    found = torch.autograd.grad(output, leaves, upstream, allow_unused=True)
    gradients = [[0.0] * x.numel() if g is None else context.values(g) for x, g in zip(drawn, found)]
    return Plain(drawn, upstream, context.values(output.contiguous()), gradients, tuple(output.shape))


def _close(context: Context, got: Any, right: Sequence[float], what: str, bound: float, name: str) -> None:
    """Compare within `bound` roundings of the largest number that the plain call gave."""
    context.close(
        got,
        right,
        bound=bound * passes.allowance(context),
        cancel=max(map(abs, right), default=0.0),
        floor=FORMATS[name].tiny,
        what=what,
        dtype=name,
    )


def _cast(context: Context, x: Any, name: str) -> Any:
    return x.to(getattr(context.torch, name)).to(context.device)


@check(oracle=PLAIN, dtypes=("float32",), each=CALLS, needs=lambda row: row.needs)
def varies(context: Context, row: Call) -> None:
    """{row} gives the same whatever the layout, the mode, what is frozen, how a gradient comes in and how many rows."""
    torch = context.torch
    plain = _plain(context, row)
    inputs = [_cast(context, x, "float32") for x in plain.inputs]
    upstream = _cast(context, plain.upstream, "float32")
    full = context.at_least("full")
    with precision.full(torch):
        with trajectory.one_thread(torch):
            for what, given in _arrangements(context, inputs):
                _arranged(context, row, plain, given, what, upstream)
            _modes(context, row, plain, inputs)
            _expanded(context, row, inputs)
            if full:
                _frozen(context, row, plain, inputs, upstream)
        if not row.joint and (full or row.many):
            _many(context, row, plain, inputs, upstream)


def _arranged(context: Context, row: Call, plain: Plain, given: list[Any], what: str, upstream: Any) -> None:
    """Call with inputs laid out in some way; pull a gradient with gaps back, at the full level a plain one too."""
    torch = context.torch
    leaves = [x.detach().requires_grad_() for x in given]
    output = row.run(torch, *leaves)
    _close(context, output, plain.output, f"result, {what}", BOUND, "float32")
    ways = [("gradient with gaps", _gapped(torch, upstream)), ("plain gradient", upstream)]
    usual = ways[1:] if what.startswith("weights") else ways[:1]
    for how, g in ways if context.at_least("full") else usual:
        found = torch.autograd.grad(output, leaves, g, retain_graph=True, allow_unused=True)
        for i, (by, right) in enumerate(zip(found, plain.gradients)):
            if by is not None:
                _close(context, by, right, f"gradient by input {i}, {what}, {how}", BOUND, "float32")


def _arrangements(context: Context, inputs: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Lay out the batch, then the weights: in every way at the full level, else in the two that skip most."""
    torch = context.torch
    images = inputs[0].dim() >= 4
    for name, lay in LAYOUTS.items():
        usual = name in ("transposed", "channels last") or context.at_least("full")
        if usual and (images or name != "channels last"):
            yield f"batch {name}", [lay(torch, inputs[0]), *inputs[1:]]
        if len(inputs) > 1 and (name == "with gaps" or context.at_least("full")):
            yield f"weights {name}", [inputs[0], *(lay(torch, x) for x in inputs[1:])]


def _modes(context: Context, row: Call, plain: Plain, inputs: list[Any]) -> None:
    torch = context.torch
    for name, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        with mode():
            output = row.run(torch, *inputs)
            _close(context, output, plain.output, f"result under {name}", BOUND, "float32")
            given = [_last(torch, inputs[0]) if inputs[0].dim() >= 4 else _turned(torch, inputs[0]), *inputs[1:]]
            _close(context, row.run(torch, *given), plain.output, f"strided result under {name}", BOUND, "float32")


def _frozen(context: Context, row: Call, plain: Plain, inputs: list[Any], upstream: Any) -> None:
    """Ask for one gradient at a time."""
    for i in range(len(inputs) if len(inputs) > 1 else 0):
        leaf = inputs[i].detach().requires_grad_()
        output = row.run(context.torch, *inputs[:i], leaf, *inputs[i + 1 :])
        (by,) = context.torch.autograd.grad(output, leaf, upstream, allow_unused=True)
        if by is not None:
            _close(context, by, plain.gradients[i], f"gradient by input {i} alone", BOUND, "float32")


def _expanded(context: Context, row: Call, inputs: list[Any]) -> None:
    """Pull one number, expanded, back: as `sum().backward()` does."""
    torch = context.torch
    ends = []
    for name in ("float64", "float32"):
        if name == "float64" and context.device != "cpu":
            leaves = [x.detach().cpu().double().requires_grad_() for x in inputs]
        else:
            leaves = [x.detach().to(getattr(torch, name)).requires_grad_() for x in inputs]
        output = row.run(torch, *leaves)
        given = torch.ones_like(output) if name == "float64" else output.new_ones(()).expand(output.shape)
        ends.append(torch.autograd.grad(output, leaves, given, allow_unused=True))
    # A sum of softmax is constant: its gradient is rounding of what cancels, whose size is 1.
    for i, (right, got) in enumerate(zip(*ends)):
        if got is not None:
            numbers = context.values(right)
            context.close(
                got,
                numbers,
                bound=BOUND * passes.allowance(context),
                cancel=1.0 + max(map(abs, numbers)),
                what=f"gradient by input {i} of the sum",
            )


def _many(context: Context, row: Call, plain: Plain, inputs: list[Any], upstream: Any) -> None:
    """Repeat the batch until there is more than one thread's share of it."""
    rows = inputs[0].numel() // inputs[0].shape[-1]
    times = 40_000 // min(len(plain.output), inputs[0].numel()) + 1
    one = [1] * (inputs[0].dim() - 1)
    batch = inputs[0].repeat(times, *one).requires_grad_()
    weights = [x.detach().requires_grad_() for x in inputs[1:]]
    output = row.run(context.torch, batch, *weights)
    given = upstream.repeat(times, *[1] * (upstream.dim() - 1))
    by_x, *by_w = context.torch.autograd.grad(output, [batch, *weights], given, allow_unused=True)
    for what, got, right in (("result", output, plain.output), ("gradient", by_x, plain.gradients[0])):
        first = got[: len(got) // times]
        if raw_bytes(got) == raw_bytes(first) * times:  # the usual case: one stands for all
            _close(context, first, right, f"{what} of {times} batches", BOUND, "float32")
        else:
            _close(context, got, right * times, f"{what} of {times} batches", BOUND, "float32")
    for i, (by, right) in enumerate(zip(by_w, plain.gradients[1:])):
        if by is not None:
            # A sum of n terms errs by at most n u of their magnitudes (Higham §4.2); equal terms round alike.
            scaled = [v * times for v in right]
            _close(
                context, by, scaled, f"gradient by input {i + 1} of {times} batches", BOUND + times * rows, "float32"
            )


@check(
    oracle=PLAIN,
    dtypes=("bfloat16", "float16"),
    each={k: v for k, v in CALLS.items() if v.low},
    needs=lambda row: row.needs,
)
def lowers(context: Context, row: Call) -> None:
    """{row} in half precision is the plain call, to its precision, gradients included."""
    torch, name = context.torch, context.dtype_name or "bfloat16"
    plain = _plain(context, row)
    upstream = _cast(context, plain.upstream, name)
    ways = (("", None), ("channels last", _last), ("transposed", _turned))
    for what, lay in ways if context.at_least("full") else ways[:1]:
        if what == "channels last" and plain.inputs[0].dim() < 4:
            continue
        inputs = [_cast(context, x, name) for x in plain.inputs]
        if lay is not None:
            inputs[0] = lay(torch, inputs[0])
        leaves = [x.detach().requires_grad_() for x in inputs]
        output = row.run(torch, *leaves)
        _close(context, output, plain.output, f"result {what}".strip(), row.low / 2, name)
        found = torch.autograd.grad(output, leaves, upstream, allow_unused=True)
        for i, (by, right) in enumerate(zip(found, plain.gradients)):
            if by is not None:
                _close(context, by, right, f"gradient by input {i} {what}".strip(), row.low, name)
