"""The classes of `torch.nn`: each is the function that another check proves, or says why it is not looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..registry import check
from . import losses, normalisation, recurrent

if TYPE_CHECKING:
    from ..context import Context

# class: (arguments, shape of the input, (functional, module, input) -> the same by the function alone)
Row = tuple[tuple[Any, ...], tuple[int, ...], Callable[[Any, Any, Any], Any]]
FUNCTIONS: dict[str, Row] = {
    "Identity": ((7,), (3, 5), lambda _, __, x: x),
    "Flatten": ((1,), (2, 3, 4), lambda _, __, x: x.reshape(2, 12)),
    "Unflatten": ((1, (2, 3)), (2, 6), lambda _, __, x: x.reshape(2, 2, 3)),
    "Linear": ((5, 3), (4, 5), lambda f, m, x: f.linear(x, m.weight, m.bias)),
    "Conv1d": ((4, 6, 3, 2, 1, 2, 2), (2, 4, 11), lambda f, m, x: f.conv1d(x, m.weight, m.bias, 2, 1, 2, 2)),
    "Conv2d": ((4, 6, 3, 2, 1, 2, 2), (2, 4, 9, 8), lambda f, m, x: f.conv2d(x, m.weight, m.bias, 2, 1, 2, 2)),
    "Conv3d": ((2, 4, 2, 1, 1, 1, 2), (2, 2, 4, 5, 3), lambda f, m, x: f.conv3d(x, m.weight, m.bias, 1, 1, 1, 2)),
    "ConvTranspose1d": (
        (4, 6, 3, 2, 1, 1, 2),
        (2, 4, 7),
        lambda f, m, x: f.conv_transpose1d(x, m.weight, m.bias, 2, 1, 1, 2),
    ),
    "ConvTranspose2d": (
        (4, 6, 3, 2, 1, 1, 2),
        (2, 4, 5, 6),
        lambda f, m, x: f.conv_transpose2d(x, m.weight, m.bias, 2, 1, 1, 2),
    ),
    "ConvTranspose3d": (
        (2, 4, 2, 2, 0, 1, 2),
        (2, 2, 3, 2, 3),
        lambda f, m, x: f.conv_transpose3d(x, m.weight, m.bias, 2, 0, 1, 2),
    ),
    "MaxPool1d": ((3, 2, 1), (2, 3, 11), lambda f, _, x: f.max_pool1d(x, 3, 2, 1)),
    "MaxPool2d": ((3, 2, 1), (2, 3, 8, 9), lambda f, _, x: f.max_pool2d(x, 3, 2, 1)),
    "MaxPool3d": ((2, 1, 1), (2, 3, 4, 3, 4), lambda f, _, x: f.max_pool3d(x, 2, 1, 1)),
    "AvgPool1d": ((3, 2, 1), (2, 3, 11), lambda f, _, x: f.avg_pool1d(x, 3, 2, 1)),
    "AvgPool2d": ((3, 2, 1), (2, 3, 8, 9), lambda f, _, x: f.avg_pool2d(x, 3, 2, 1)),
    "AvgPool3d": ((2, 1, 1), (2, 3, 4, 3, 4), lambda f, _, x: f.avg_pool3d(x, 2, 1, 1)),
    "AdaptiveMaxPool1d": ((4,), (2, 3, 11), lambda f, _, x: f.adaptive_max_pool1d(x, 4)),
    "AdaptiveMaxPool2d": (((4, 3),), (2, 3, 8, 9), lambda f, _, x: f.adaptive_max_pool2d(x, (4, 3))),
    "AdaptiveMaxPool3d": (((2, 3, 2),), (2, 3, 4, 5, 4), lambda f, _, x: f.adaptive_max_pool3d(x, (2, 3, 2))),
    "AdaptiveAvgPool1d": ((4,), (2, 3, 11), lambda f, _, x: f.adaptive_avg_pool1d(x, 4)),
    "AdaptiveAvgPool2d": (((4, 3),), (2, 3, 8, 9), lambda f, _, x: f.adaptive_avg_pool2d(x, (4, 3))),
    "AdaptiveAvgPool3d": (((2, 3, 2),), (2, 3, 4, 5, 4), lambda f, _, x: f.adaptive_avg_pool3d(x, (2, 3, 2))),
    "LPPool1d": ((2, 3), (2, 3, 12), lambda f, _, x: f.lp_pool1d(x, 2.0, 3)),
    "LPPool2d": ((2, 3), (2, 3, 6, 9), lambda f, _, x: f.lp_pool2d(x, 2.0, 3)),
    "LPPool3d": ((2, 2), (2, 3, 4, 2, 4), lambda f, _, x: f.lp_pool3d(x, 2.0, 2)),
    "ReflectionPad1d": (((2, 1),), (2, 3, 5), lambda f, _, x: f.pad(x, (2, 1), "reflect")),
    "ReflectionPad2d": (((2, 1, 1, 3),), (2, 3, 5, 4), lambda f, _, x: f.pad(x, (2, 1, 1, 3), "reflect")),
    "ReflectionPad3d": (((2, 1) * 3,), (2, 3, 3, 4, 5), lambda f, _, x: f.pad(x, (2, 1) * 3, "reflect")),
    "ReplicationPad1d": (((2, 1),), (2, 3, 5), lambda f, _, x: f.pad(x, (2, 1), "replicate")),
    "ReplicationPad2d": (((2, 1, 1, 3),), (2, 3, 5, 4), lambda f, _, x: f.pad(x, (2, 1, 1, 3), "replicate")),
    "ReplicationPad3d": (((2, 1) * 3,), (2, 3, 3, 4, 5), lambda f, _, x: f.pad(x, (2, 1) * 3, "replicate")),
    "CircularPad1d": (((2, 1),), (2, 3, 5), lambda f, _, x: f.pad(x, (2, 1), "circular")),
    "CircularPad2d": (((2, 1, 1, 3),), (2, 3, 5, 4), lambda f, _, x: f.pad(x, (2, 1, 1, 3), "circular")),
    "CircularPad3d": (((2, 1) * 3,), (2, 3, 3, 4, 5), lambda f, _, x: f.pad(x, (2, 1) * 3, "circular")),
    "ConstantPad1d": (((2, 1), 3.5), (2, 3, 5), lambda f, _, x: f.pad(x, (2, 1), value=3.5)),
    "ConstantPad2d": (((2, 1, 1, 3), 3.5), (2, 3, 5, 4), lambda f, _, x: f.pad(x, (2, 1, 1, 3), value=3.5)),
    "ConstantPad3d": (((2, 1) * 3, 3.5), (2, 3, 3, 4, 5), lambda f, _, x: f.pad(x, (2, 1) * 3, value=3.5)),
    "ZeroPad1d": (((2, 1),), (2, 3, 5), lambda f, _, x: f.pad(x, (2, 1))),
    "ZeroPad2d": (((2, 1, 1, 3),), (2, 3, 5, 4), lambda f, _, x: f.pad(x, (2, 1, 1, 3))),
    "ZeroPad3d": (((2, 1) * 3,), (2, 3, 3, 4, 5), lambda f, _, x: f.pad(x, (2, 1) * 3)),
    "PixelShuffle": ((3,), (2, 18, 2, 3), lambda f, _, x: f.pixel_shuffle(x, 3)),
    "PixelUnshuffle": ((3,), (2, 2, 6, 9), lambda f, _, x: f.pixel_unshuffle(x, 3)),
    "ChannelShuffle": ((2,), (2, 6, 3, 3), lambda f, _, x: f.channel_shuffle(x, 2)),
    "Unfold": (((2, 3), 1, 1, 2), (2, 3, 5, 6), lambda f, _, x: f.unfold(x, (2, 3), 1, 1, 2)),
    "Fold": (((5, 6), (2, 3)), (2, 18, 16), lambda f, _, x: f.fold(x, (5, 6), (2, 3))),
    "Upsample": ((None, 2), (2, 3, 4), lambda f, _, x: f.interpolate(x, scale_factor=2)),
    "UpsamplingNearest2d": ((None, 2), (2, 3, 4, 3), lambda f, _, x: f.interpolate(x, scale_factor=2)),
    "UpsamplingBilinear2d": (
        (None, 2),
        (2, 3, 4, 3),
        lambda f, _, x: f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    ),
    "CosineSimilarity": ((1,), (4, 6), lambda f, _, x: f.cosine_similarity(x, x.flip(0), 1)),
    "PairwiseDistance": ((3.0,), (4, 6), lambda f, _, x: f.pairwise_distance(x, x.flip(0), 3.0)),
    "Bilinear": ((6, 6, 3), (4, 6), lambda f, m, x: f.bilinear(x, x.flip(0), m.weight, m.bias)),
    "LazyLinear": ((3,), (4, 5), lambda f, m, x: f.linear(x, m.weight, m.bias)),
    "LazyConv1d": ((6, 3), (2, 4, 9), lambda f, m, x: f.conv1d(x, m.weight, m.bias)),
    "LazyConv2d": ((6, 3), (2, 4, 5, 6), lambda f, m, x: f.conv2d(x, m.weight, m.bias)),
    "LazyConv3d": ((6, 2), (2, 4, 3, 4, 3), lambda f, m, x: f.conv3d(x, m.weight, m.bias)),
    "LazyConvTranspose1d": ((6, 3), (2, 4, 5), lambda f, m, x: f.conv_transpose1d(x, m.weight, m.bias)),
    "LazyConvTranspose2d": ((6, 3), (2, 4, 5, 4), lambda f, m, x: f.conv_transpose2d(x, m.weight, m.bias)),
    "LazyConvTranspose3d": ((6, 2), (2, 4, 3, 4, 3), lambda f, m, x: f.conv_transpose3d(x, m.weight, m.bias)),
    "LazyBatchNorm1d": ((), (6, 5), lambda f, m, x: f.batch_norm(x, None, None, m.weight, m.bias, True)),
    "LazyBatchNorm2d": ((), (3, 5, 2, 2), lambda f, m, x: f.batch_norm(x, None, None, m.weight, m.bias, True)),
    "LazyBatchNorm3d": ((), (3, 5, 2, 2, 2), lambda f, m, x: f.batch_norm(x, None, None, m.weight, m.bias, True)),
    "LazyInstanceNorm1d": ((), (3, 5, 4), lambda f, _, x: f.instance_norm(x)),
    "LazyInstanceNorm2d": ((), (3, 5, 2, 3), lambda f, _, x: f.instance_norm(x)),
    "LazyInstanceNorm3d": ((), (3, 5, 2, 3, 2), lambda f, _, x: f.instance_norm(x)),
}
PAIRED = {"CosineSimilarity", "PairwiseDistance", "Bilinear"}


@check(
    oracle="the functions of torch.nn.functional, each proven by itself",
    dtypes=("float32",),
    each={name.lower(): name for name in FUNCTIONS},
    needs=lambda name: (f"torch.nn.{name}",),
)
def calls_its_function(context: Context, name: str) -> None:
    """The module {row} passes its arguments and parameters on to its function, and makes the shapes it should."""
    arguments, shape, by_hand = FUNCTIONS[name]
    torch, rng = context.torch, context.rng()
    module = getattr(torch.nn, name)(*arguments).to(context.device)
    x = context.tensor([rng.randint(-96, 160) / 64 for _ in range(math.prod(shape))]).reshape(shape)
    got = module(x, x.flip(0)) if name in PAIRED else module(x)
    right = by_hand(torch.nn.functional, module, x)
    context.exact(tuple(got.shape), tuple(right.shape), what="shape")
    # The same kernel in the same shape; another algorithm may be chosen, a few roundings apart.
    context.close(got, context.values(right), bound=64.0, cancel=1.0, what="output")


DROPOUTS = {"elements": ("Dropout", 0), "1d": ("Dropout1d", 1), "2d": ("Dropout2d", 2), "3d": ("Dropout3d", 3)}


@check(
    oracle="the law of dropout: 0 with probability p, else x / (1 - p)",
    level="quick",
    dtypes=("float32",),
    each=DROPOUTS,
)
def dropout(context: Context, row: tuple[str, int]) -> None:
    """Dropout ({row}) zeroes a share p, scales the rest, passes gradients alike, and does nothing in eval."""
    (name, dims), p = row, 0.25
    count = 1024 if dims else 4096
    torch = context.torch
    layer = getattr(torch.nn, name)(p)
    inside = (1, count) if dims == 0 else (16, count // 16, *(2,) * min(dims, 1), *(1,) * (dims - 1))
    x = torch.full(inside, 3.0, device=context.device, requires_grad=True)
    output = layer(x)
    output.sum().backward()
    values, slopes = context.values(output), context.values(x.grad)
    context.exact(sorted(set(values)), [0.0, 4.0], what="values")
    context.close(slopes, [v / 3 for v in values], bound=2.0, what="gradient")
    size = 2 ** min(dims, 1)
    whole = [values[i : i + size] for i in range(0, len(values), size)]
    context.exact(sum(len(set(channel)) > 1 for channel in whole), 0, what="channels dropped in part")
    dropped = sum(channel[0] == 0 for channel in whole) / count
    context.within(
        abs(dropped - p), 6 * math.sqrt(p * (1 - p) / count), what="share dropped", unit="", got=dropped, expected=p
    )
    layer.eval()
    context.true(layer(x) is x or context.values(layer(x)) == context.values(x), what="evaluation changes nothing")
    context.exact(torch.nn.functional.dropout(x, 0.0), context.values(x), what="p = 0 drops nothing")


@check(
    oracle="the law of Klambauer et al. 2017: mean and variance kept",
    dtypes=("float32",),
    each={"alpha": "AlphaDropout", "feature_alpha": "FeatureAlphaDropout"},
)
def alpha_dropout(context: Context, row: str) -> None:
    """{row} sends dropped elements to the negative limit of SELU and rescales."""
    p, limit = 0.25, 1.7580993408473766
    a = 1 / math.sqrt((limit * limit * p + 1) * (1 - p))
    layer = getattr(context.torch.nn, row)(p)
    values = context.values(layer(context.torch.full((8, 512), 0.5, device=context.device)))
    high, low = a * 0.5 + limit * a * p, limit * a * p - limit * a
    nearest = [high if abs(got - high) < abs(got - low) else low for got in values]
    context.close(values, nearest, bound=8.0, cancel=2.0, what="values")
    share = sum(v == low for v in nearest) / len(values)
    context.within(
        abs(share - p), 6 * math.sqrt(p * (1 - p) / 4096), what="share dropped", unit="", got=share, expected=p
    )


@check(oracle="the documented rules of containers", dtypes=("float32",))
def containers(context: Context) -> None:
    """Modules hand on mode, parameters and state, and a state dict restores them exactly."""
    nn = context.torch.nn

    def make() -> Any:
        return nn.Sequential(nn.Linear(3, 4), nn.ModuleDict({"a": nn.ModuleList([nn.BatchNorm1d(4)])})["a"][0])

    net, other = make().to(context.device), make().to(context.device)
    net.eval()
    context.true(not any(m.training for m in net.modules()), what="eval reaches every module")
    net.train()
    context.true(all(m.training for m in net.modules()), what="train reaches every module")
    context.exact([n for n, _ in net.named_parameters()], ["0.weight", "0.bias", "1.weight", "1.bias"], what="names")
    net(context.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]]))
    other.load_state_dict(net.state_dict())
    for key, value in net.state_dict().items():
        context.exact(other.state_dict()[key], context.values(value), what=f"{key} restored")
    halved = net.half()
    context.true(all(p.dtype == context.torch.float16 for p in halved.parameters()), what="half() reaches all")
    held = nn.ParameterList([nn.Parameter(context.tensor([1.0])), nn.Parameter(context.tensor([2.0]))])
    named = nn.ParameterDict({"x": held[0]})
    context.exact(
        [len(list(held.parameters())), len(list(named.parameters()))], [2, 1], what="parameters of containers"
    )


def _activation(torch: Any) -> Iterator[str]:
    yield from torch.nn.modules.activation.__all__


# Which check proves a class, where it is not one of the tables above.
ELSEWHERE: Mapping[str, str] = {
    **{case.module: "losses" for case in losses.CASES.values()},
    **dict.fromkeys(losses.APART.values(), "losses"),
    **{row.module: "normalisation" for row in normalisation.NORMS.values()},
    **{row.module: "recurrent" for row in recurrent.LAYERS.values()},
    **{module: "recurrent" for module, _ in recurrent.CELLS.values()},
    **dict.fromkeys((name for name, _ in DROPOUTS.values()), "modules.dropout"),
    **dict.fromkeys(("AlphaDropout", "FeatureAlphaDropout"), "modules.alpha_dropout"),
    **dict.fromkeys(
        ("Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"), "modules.containers"
    ),
    **dict.fromkeys(("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"), "pooling.unpooling"),
    **dict.fromkeys(("Embedding", "EmbeddingBag"), "embedding"),
    **dict.fromkeys(("TransformerEncoder", "TransformerEncoderLayer"), "transformer"),
    "LocalResponseNorm": "normalisation.local_response",
}
NOT_COVERED: Mapping[str, str] = {
    "AdaptiveLogSoftmaxWithLoss": "a composition of Linear, log_softmax and gather, each proven by itself",
    "CrossMapLRN2d": "legacy code of Torch7, superseded by LocalResponseNorm",
    "Container": "deprecated name of Module",
    "DataParallel": "superseded by DistributedDataParallel, which the training checks run",
    "FractionalMaxPool2d": "its windows are drawn at random inside the kernel, in no documented order",
    "FractionalMaxPool3d": "its windows are drawn at random inside the kernel, in no documented order",
    "RNNBase": "abstract",
    "RNNCellBase": "abstract",
    "SyncBatchNorm": "needs several processes with an accelerator each",
    "Transformer": "the encoder layer is proven; the rest is the same attention, feed-forward and norms",
    "TransformerDecoder": "a stack of decoder layers",
    "TransformerDecoderLayer": "the same attention, feed-forward and norms as the encoder layer",
}


@check(oracle="the tables of the checks", devices="once")
def coverage(context: Context) -> None:
    """Every class of torch.nn is proven by a check, or says why it is not."""
    nn = context.torch.nn
    public = [
        name for name in dir(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    ]
    known = {*FUNCTIONS, *ELSEWHERE, *NOT_COVERED, *_activation(context.torch)}
    new = sorted(set(public) - known)
    if new:
        context.note("not looked at, new in this torch: " + ", ".join(new))
    context.true(len(public) > 100, what="torch.nn lists its classes", got=len(public))
    twice = sorted(set(NOT_COVERED) & {*FUNCTIONS, *ELSEWHERE})
    context.true(not twice, what="no class is both covered and not", got=twice or True)
