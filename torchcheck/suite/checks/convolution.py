"""Convolutions and their transposes: forward, and backward to input, weight and bias, exact on integers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import passes, precision
from ..oracles import convolution as oracle
from ..oracles.convolution import Geometry
from ..registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..context import Context

DEFINITION = "the definition, in exact integers"
ROUNDING = 16.0  # allowed on accelerators, in u of |W| * |X|: Winograd and FFT algorithms round on the way

PLAIN = Geometry(2, (4, 6), (7, 9), (3, 2), (1, 1), (0, 0), (1, 1))
CASES = {
    "conv1d": Geometry(3, (4, 6), (19,), (3,), (1,), (0,), (1,)),
    "conv1d_stride_dilation": Geometry(2, (4, 6), (24,), (4,), (2,), (3,), (2,), 2),
    "conv1d_depthwise": Geometry(3, (6, 12), (19,), (3,), (1,), (1,), (1,), 6),
    "conv2d": PLAIN,
    "conv2d_3x3": Geometry(2, (3, 7), (8, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
    "conv2d_1x1": Geometry(2, (9, 8), (7, 9), (1, 1), (1, 1), (0, 0), (1, 1)),
    "conv2d_5x5": Geometry(1, (2, 3), (9, 11), (5, 5), (1, 1), (2, 2), (1, 1)),
    "conv2d_stride": Geometry(2, (3, 5), (11, 13), (3, 3), (2, 3), (1, 2), (1, 1)),
    "conv2d_dilation": Geometry(2, (3, 5), (10, 11), (3, 2), (1, 1), (2, 1), (2, 3)),
    "conv2d_groups": Geometry(2, (6, 9), (7, 9), (2, 3), (1, 1), (1, 1), (1, 1), 3),
    "conv2d_depthwise": Geometry(2, (8, 8), (9, 8), (3, 3), (1, 1), (1, 1), (1, 1), 8),
    "conv2d_multiplier": Geometry(2, (4, 12), (8, 7), (3, 3), (2, 1), (1, 1), (1, 1), 4),
    "conv3d": Geometry(2, (2, 4), (4, 5, 6), (2, 3, 2), (1, 1, 1), (1, 0, 1), (1, 1, 1)),
    "conv3d_groups": Geometry(2, (4, 4), (4, 6, 5), (3, 2, 3), (2, 1, 1), (1, 1, 1), (1, 2, 1), 2),
}
CORE, REST = passes.parted(CASES, ("conv1d", "conv2d", "conv2d_groups"))
# The same geometries seen from the output; (case, output_padding)
TRANSPOSED = {
    "conv_transpose1d": ("conv1d_stride_dilation", (1,)),
    "conv_transpose2d": ("conv2d", (0, 0)),
    "conv_transpose2d_stride": ("conv2d_stride", (0, 2)),
    "conv_transpose2d_groups": ("conv2d_groups", (0, 0)),
    "conv_transpose2d_dilation": ("conv2d_dilation", (0, 0)),
    "conv_transpose3d": ("conv3d_groups", (1, 0, 0)),
}


def _numbers(context: Context, count: int, salt: str) -> list[float]:
    values = (-3, -2, -1, 1, 2, 3) if context.format.digits >= 24 else (-1, 1)
    return [float(v) for v in context.rng(salt).choices(values, k=count)]


def judge(context: Context, got: Any, expected: Sequence[float], magnitude: Sequence[float], what: str) -> None:
    """Compare exactly on a CPU, within the rounding of fast algorithms elsewhere."""
    if context.device == "cpu":
        context.exact(got, expected, what=what)
    else:
        context.close(got, expected, cancel=magnitude, bound=ROUNDING, what=what)


def _contract(context: Context, positions: oracle.Taps, *values: Sequence[float]) -> Iterator[tuple[Any, Any]]:
    """Give output and gradients, each with the sums of absolute values where those are needed."""
    right = oracle.contract(positions, *values)
    if context.device == "cpu":
        return zip(right, ((), (), ()))
    return zip(right, oracle.contract(positions, *([abs(v) for v in part] for part in values)))


def _run(
    context: Context, positions: oracle.Taps, shapes: Sequence[Any], applies: Mapping[str, Any], times: int
) -> None:
    """Run a convolution on integers, `times` copies of the batch, against the list of its products."""
    x_shape, w_shape, y_shape = shapes
    x, w = _numbers(context, math.prod(x_shape), "x"), _numbers(context, math.prod(w_shape), "w")
    b, upstream = _numbers(context, y_shape[1], "b"), _numbers(context, math.prod(y_shape), "upstream")
    (y, of_y), (by_x, of_x), (by_w, of_w) = _contract(context, positions, x, w, upstream)
    y, by_b = oracle.bias(y, upstream, b, math.prod(y_shape[2:]))
    right = (
        ("output", y * times, of_y * times),
        ("gradient by the input", by_x * times, of_x * times),
        ("gradient by the weight", [times * v for v in by_w], [times * v for v in of_w]),
        ("gradient by the bias", [times * v for v in by_b], [3.0 * times * len(upstream)] * len(b)),
    )
    batch = passes.tiled(context, x, times * len(x)).reshape(times * x_shape[0], *x_shape[1:])
    inputs = [batch, context.tensor(w).reshape(w_shape), context.tensor(b)]
    for how, apply in applies.items():
        with precision.full(context.torch):
            output, found = passes.backward(context, apply, inputs, upstream)
        context.exact(tuple(output.shape), (times * y_shape[0], *y_shape[1:]), what=f"shape{how}")
        for (what, expected, magnitude), got in zip(right, (output, *found)):
            judge(context, got, expected, magnitude, what + how)


def _times(context: Context) -> int:
    return 3 if context.format.digits >= 24 and context.at_least("default") else 1


@check(oracle=DEFINITION, level="quick", dtypes=FLOATS, each=CORE)
@check(oracle=DEFINITION, dtypes=("float32",), each=REST)
def convolves(context: Context, row: Geometry) -> None:
    """{row} and its gradients are those of the definition."""
    function = getattr(context.torch.nn.functional, f"conv{len(row.size)}d")

    def apply(x: Any, w: Any, b: Any) -> Any:
        return function(x, w, b, row.stride, row.padding, row.dilation, row.groups)

    _run(context, oracle.taps(row), row.shapes, {"": apply}, _times(context))


@check(oracle=DEFINITION, dtypes=("float32",), each=TRANSPOSED)
def transposes(context: Context, row: tuple[str, tuple[int, ...]]) -> None:
    """{row} and its gradients are those of the definition."""
    case, output_padding = row
    g = CASES[case]
    function = getattr(context.torch.nn.functional, f"conv_transpose{len(g.size)}d")

    def apply(x: Any, w: Any, b: Any) -> Any:
        return function(x, w, b, g.stride, g.padding, output_padding, g.groups, g.dilation)

    large, weight, small = g.shapes
    _run(context, oracle.transposed(oracle.taps(g)), (small, weight, large), {"": apply}, _times(context))


@check(oracle=DEFINITION, dtypes=("float32",))
def batches(context: Context) -> None:
    """A convolution of a large batch gives every image its due."""
    g = Geometry(1, (3, 5), (7, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    positions, times = oracle.taps(g), 37
    x, w, up = (_numbers(context, math.prod(shape), key) for shape, key in zip(g.shapes, "xwg"))
    function = context.torch.nn.functional.conv2d
    batch = passes.tiled(context, x, times * len(x)).reshape(times, *g.shapes[0][1:])
    with precision.full(context.torch):
        output, found = passes.backward(
            context, lambda a, b: function(a, b, padding=1), [batch, context.tensor(w).reshape(g.shapes[1])], up
        )
    right = oracle.contract(positions, x, w, up)
    size = oracle.contract(positions, *([abs(v) for v in part] for part in (x, w, up)))
    # Batches of 16 and more may go through NNPACK's Winograd, which rounds on the way.
    for what, got, expected, magnitude, n in zip(
        ("output", "gradient by the input", "gradient by the weight"), (output, *found), right, size, (1, 1, times)
    ):
        wanted, sums = [n * v for v in expected], [n * v for v in magnitude]
        passes.judge_period(context, got, wanted, cancel=sums, bound=ROUNDING, what=what)


@check(oracle=DEFINITION, dtypes=("float32",))
def layouts(context: Context) -> None:
    """Channels-last and sliced inputs give the same convolution."""
    torch = context.torch
    function = torch.nn.functional.conv2d
    last = {"memory_format": torch.channels_last}
    for case in ("conv2d_3x3", "conv2d_groups"):
        g = CASES[case]

        def channels_last(x: Any, w: Any, b: Any, g: Geometry = g) -> Any:
            return function(x.contiguous(**last), w.contiguous(**last), b, g.stride, g.padding, g.dilation, g.groups)

        def sliced(x: Any, w: Any, b: Any, g: Geometry = g) -> Any:
            x, w = (torch.stack((t, t), -1)[..., 0] for t in (x, w))
            return function(x, w, b, g.stride, g.padding, g.dilation, g.groups)

        _run(context, oracle.taps(g), g.shapes, {", channels last": channels_last, ", sliced": sliced}, 1)


@check(oracle=DEFINITION, dtypes=("float32",))
def padding_modes(context: Context) -> None:
    """Conv modules pad with zeros, "same", reflections, copies of the edge and around the edge."""
    torch = context.torch
    g = Geometry(2, (3, 5), (8, 9), (3, 3), (1, 1), (0, 0), (1, 1))
    inside = Geometry(2, (3, 5), (6, 7), (3, 3), (1, 1), (0, 0), (1, 1))
    x = _numbers(context, math.prod(inside.shapes[0]), "x")
    w = _numbers(context, math.prod(g.shapes[1]), "w")
    upstream = _numbers(context, math.prod(g.shapes[2]), "upstream")
    for mode, outside in PADDED.items():
        rows = [outside(i, 6) for i in range(-1, 7)]
        columns = [outside(i, 7) for i in range(-1, 8)]
        source = [
            None if r is None or c is None else (plane * 6 + r) * 7 + c
            for plane in range(6)
            for r in rows
            for c in columns
        ]
        padded = [0.0 if s is None else x[s] for s in source]
        y, by_padded, _ = oracle.contract(oracle.taps(g), padded, w, upstream)
        by_x = [0.0] * len(x)
        for s, value in zip(source, by_padded):
            if s is not None:
                by_x[s] += value
        layer = torch.nn.Conv2d(
            3, 5, 3, padding="same", padding_mode=mode, bias=False, device=context.device, dtype=context.dtype
        )
        with torch.no_grad():
            layer.weight.copy_(context.tensor(w).reshape(g.shapes[1]))
        output, (found,) = passes.backward(context, layer, [context.tensor(x).reshape(inside.shapes[0])], upstream)
        size = [3 * 27.0] * len(y)
        judge(context, output, y, size, f"{mode}: output")
        judge(context, found, by_x, [size[0]] * len(x), f"{mode}: gradient by the input")


PADDED: Mapping[str, Callable[[int, int], int | None]] = {
    "zeros": lambda i, n: i if 0 <= i < n else None,
    "reflect": lambda i, n: -i if i < 0 else i if i < n else 2 * n - 2 - i,
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


@check(oracle="separable data: sums over channels factor out, exact integers", level="quick", dtypes=("float32",))
def wide(context: Context) -> None:
    """Convolutions over many channels, as networks have them, are exact with their gradients."""
    inner, outer, size = 48, 72, (9, 10)
    g = Geometry(1, (1, 1), size, (3, 3), (1, 1), (1, 1), (1, 1))
    a, b = _numbers(context, inner, "a"), [abs(v) for v in _numbers(context, inner, "b")]
    d, e = _numbers(context, outer, "d"), _numbers(context, outer, "e")
    s, t, r = (_numbers(context, n, salt) for n, salt in ((90, "s"), (9, "t"), (90, "r")))
    a = [abs(v) for v in a]
    e = [math.copysign(v, w) for v, w in zip(e, d)]
    y, by_s, by_t = oracle.contract(oracle.taps(g), s, t, r)
    ab, de = sum(p * q for p, q in zip(a, b)), sum(p * q for p, q in zip(d, e))
    tensor = context.tensor
    x = (tensor(a)[:, None] * tensor(s)).reshape(1, inner, *size)
    w = (tensor(d)[:, None, None] * tensor(b)[:, None] * tensor(t)).reshape(outer, inner, 3, 3)
    upstream = [p * q for p in e for q in r]
    with precision.full(context.torch):
        output, (by_x, by_w) = passes.backward(
            context, lambda p, q: context.torch.nn.functional.conv2d(p, q, padding=1), [x, w], upstream
        )
    judge(context, output, [p * ab * v for p in d for v in y], [3.0 * ab * 81] * output.numel(), "output")
    judge(context, by_x, [p * de * v for p in b for v in by_s], [3.0 * de * 81] * x.numel(), "gradient by the input")
    expected = [p * q * v for p in e for q in a for v in by_t]
    judge(context, by_w, expected, [9.0 * 810] * w.numel(), "gradient by the weight")


@check(
    oracle="13-bit integers, which TF32, float16 and bfloat16 cannot hold", level="quick", dtypes=("float32",), lax=True
)
def precise(context: Context) -> None:
    """float32 convolutions are computed in float32, unless something less was allowed."""
    torch, rng = context.torch, context.rng()
    g = Geometry(2, (8, 16), (9, 9), (1, 1), (1, 1), (0, 0), (1, 1))
    x = [float(rng.choice((-1, 1)) * (4097 + 2 * rng.randint(0, 1900))) for _ in range(math.prod(g.shapes[0]))]
    w = _signs(rng.choices((-1, 1), k=math.prod(g.shapes[1])))
    upstream = _signs(rng.choices((-1, 1), k=math.prod(g.shapes[2])))
    y, _, by_w = oracle.contract(oracle.taps(g), x, w, upstream)
    given = [context.tensor(x).reshape(g.shapes[0]), context.tensor(w).reshape(g.shapes[1])]

    def run() -> list[list[float]]:
        output, found = passes.backward(context, torch.nn.functional.conv2d, given, upstream)
        return [context.values(output), context.values(found[1])]

    got, lax = run(), precision.allowed(torch)
    if lax and got != [y, by_w]:
        context.note(f"float32 convolutions run in lower precision here, as allowed by {', '.join(lax)}")
        with precision.full(torch):
            got = run()
    context.exact(got[0], y, what="1x1 convolution of 13-bit integers")
    context.exact(got[1], by_w, what="its gradient by the weight")


def _signs(values: Sequence[int]) -> list[float]:
    return [float(v) for v in values]


@check(oracle="a convolution is linear in input, weight and upstream gradient; exact integers", dtypes=("float32",))
def double_backward(context: Context) -> None:
    """Differentiating a convolution's gradient again, as a gradient penalty does, is exact."""
    torch = context.torch
    for case in ("conv2d_3x3", "conv2d_groups", "conv1d_stride_dilation"):
        g = CASES[case]
        function = getattr(torch.nn.functional, f"conv{len(g.size)}d")
        shapes = dict(zip(("x", "w", "g"), g.shapes))
        x, w, up = (_numbers(context, math.prod(shape), key) for key, shape in shapes.items())
        v = _numbers(context, len(x), "v")
        # <dL/dx, v> = <y(v, w), up>: linear in w and in up.
        y, _, by_w = oracle.contract(oracle.taps(g), v, w, up)
        a, b, c = (context.tensor(n).reshape(s).requires_grad_() for n, s in zip((x, w, up), shapes.values()))
        with precision.full(torch):
            output = function(a, b, None, g.stride, g.padding, g.dilation, g.groups)
            by_x = torch.autograd.grad(output, a, c, create_graph=True)[0]
            second = torch.autograd.grad(by_x, (b, c), context.tensor(v).reshape(g.shapes[0]))
        size = [9.0 * len(up)] * len(w)
        judge(context, second[0], by_w, size, f"{case}: penalty by the weight")
        judge(context, second[1], y, [9.0 * len(w)] * len(y), f"{case}: penalty by the upstream gradient")
