"""How a gradient comes in: channels last, transposed, sliced, expanded with strides of 0; nothing but memory differs.

A backward kernel reads the gradient of its output as it finds it in memory. What that is depends on what was done with
the output: a sum hands back one number for all, a slice a part of something larger, an image network channels last.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..registry import check
from . import variations
from .variations import CALLS, IMAGE, LINE, PLAIN, ROWS, VOLUME, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context


def _f(torch: Any) -> Any:
    return torch.nn.functional


def _at(t: Any, x: Any, *places: int) -> Any:
    return t.tensor(places).to(x.device)


def _grid(t: Any, x: Any, *shape: int) -> Any:
    count = math.prod(shape)
    return (
        (t.arange(count, device=x.device, dtype=x.dtype) * 7 % 13 / 8 - 0.78).reshape(1, *shape).expand(len(x), *shape)
    )


def _unpool(t: Any, x: Any) -> Any:
    places = t.arange(x[0, 0].numel(), device=x.device).reshape(x.shape[2:]) * 2
    return _f(t).max_unpool2d(x, places.expand(x.shape), 2)


def _fractional(t: Any, x: Any) -> Any:
    samples = x.new_full((x.shape[0], x.shape[1], 2), 0.4)
    return _f(t).fractional_max_pool2d(x, 2, (3, 4), _random_samples=samples)


def _signs(t: Any, x: Any) -> Any:
    return t.arange(x.shape[-1], device=x.device, dtype=x.dtype) % 2 * 2 - 1


def _square(t: Any, x: Any) -> Any:
    """Make well-conditioned square matrices of rows."""
    return x[..., :5] + 4 * t.eye(5, device=x.device, dtype=x.dtype)


WORDS = (3, 1, 0, 3, 2, 3)
TABLE = (5, 12)
MORE: dict[str, Call] = {
    "adaptive_avg_pool1d": Call(lambda t, x: _f(t).adaptive_avg_pool1d(x, 4), LINE),
    "adaptive_avg_pool3d": Call(lambda t, x: _f(t).adaptive_avg_pool3d(x, (2, 3, 2)), VOLUME),
    "adaptive_max_pool1d": Call(lambda t, x: _f(t).adaptive_max_pool1d(x, 4), LINE),
    "adaptive_max_pool3d": Call(lambda t, x: _f(t).adaptive_max_pool3d(x, (2, 3, 2)), VOLUME),
    "global_avg_pool": Call(lambda t, x: _f(t).adaptive_avg_pool2d(x, 1), IMAGE),
    "fractional_max_pool2d": Call(_fractional, IMAGE),
    "max_unpool2d": Call(_unpool, (2, 4, 3, 4)),
    "grid_sample": Call(lambda t, x: _f(t).grid_sample(x, _grid(t, x, 3, 5, 2), align_corners=False), IMAGE),
    "grid_sample_bicubic": Call(
        lambda t, x: _f(t).grid_sample(x, _grid(t, x, 3, 5, 2), "bicubic", align_corners=False), IMAGE
    ),
    "grid_sample_volume": Call(lambda t, x: _f(t).grid_sample(x, _grid(t, x, 2, 3, 2, 3), align_corners=False), VOLUME),
    "affine_grid": Call(lambda t, x: _f(t).affine_grid(x, (x.shape[0], 1, 3, 4), align_corners=False), (3, 2, 3)),
    "nearest_line": Call(lambda t, x: _f(t).interpolate(x, 14), LINE),
    "nearest_volume": Call(lambda t, x: _f(t).interpolate(x, (3, 7, 4)), VOLUME),
    "nearest_exact": Call(lambda t, x: _f(t).interpolate(x, (5, 9), mode="nearest-exact"), IMAGE),
    "bilinear_corners": Call(lambda t, x: _f(t).interpolate(x, (5, 9), mode="bilinear", align_corners=True), IMAGE),
    "bicubic_antialias": Call(lambda t, x: _f(t).interpolate(x, (4, 3), mode="bicubic", antialias=True), IMAGE),
    "reflect_volume": Call(lambda t, x: _f(t).pad(x, (1, 2, 2, 1, 1, 1), "reflect"), VOLUME, needs=("torch.export",)),
    "replicate_line": Call(lambda t, x: _f(t).pad(x, (2, 3), "replicate"), LINE),
    "embedding": Call(lambda t, w: _f(t).embedding(_at(t, w, *WORDS), w), TABLE, joint=True),
    "embedding_frequent": Call(
        lambda t, w: _f(t).embedding(_at(t, w, *WORDS), w, padding_idx=1, scale_grad_by_freq=True), TABLE, joint=True
    ),
    "bag_sum": Call(
        lambda t, w: _f(t).embedding_bag(_at(t, w, *WORDS), w, _at(t, w, 0, 2, 2), mode="sum"), TABLE, joint=True
    ),
    "bag_mean": Call(
        lambda t, w: _f(t).embedding_bag(_at(t, w, *WORDS), w, _at(t, w, 0, 2, 2), mode="mean"), TABLE, joint=True
    ),
    "bag_max": Call(
        lambda t, w: _f(t).embedding_bag(_at(t, w, *WORDS), w, _at(t, w, 0, 2, 2), mode="max"), TABLE, joint=True
    ),
    "bag_weighted": Call(
        lambda t, w, s: _f(t).embedding_bag(_at(t, w, *WORDS), w, _at(t, w, 0, 2, 2), mode="sum", per_sample_weights=s),
        TABLE,
        ((6,),),
        joint=True,
    ),
    "windows": Call(lambda _, x: x.unfold(2, 3, 2), LINE),
    "diagonal": Call(lambda _, x: x.diagonal(1, 2, 3), IMAGE),
    "select": Call(lambda _, x: x.select(1, 2), IMAGE),
    "slice": Call(lambda _, x: x[:, 1:, ::2], IMAGE),
    "index_select": Call(lambda t, x: x.index_select(1, _at(t, x, 2, 0, 2)), IMAGE),
    "masked_select": Call(lambda t, x: x.masked_select(_signs(t, x) > 0), ROWS, joint=True),
    "masked_fill": Call(lambda t, x: x.masked_fill(_signs(t, x) > 0, 2.0), ROWS),
    "take_along_dim": Call(lambda t, x: x.take_along_dim(_at(t, x, 2, 0)[None, :, None], 1), ROWS),
    "scatter_add": Call(
        lambda t, x: x.new_zeros(x.shape).scatter_add(2, (_at(t, x, *range(12)) * 5 % 7).expand(x.shape), x), ROWS
    ),
    "index_add": Call(lambda t, x, y: x.index_add(1, _at(t, x, 2, 0, 2), y.expand(len(x), 3, 12)), ROWS, ((3, 12),)),
    "max_of_dim": Call(lambda _, x: x.max(1)[0], ROWS),
    "median": Call(lambda _, x: x.median(-1)[0], ROWS),
    "kthvalue": Call(lambda _, x: x.kthvalue(3, -1)[0], ROWS),
    "sort": Call(lambda _, x: x.sort(-1)[0], ROWS),
    "topk": Call(lambda _, x: x.topk(4, 1)[0], ROWS),
    "cummax": Call(lambda _, x: x.cummax(1)[0], ROWS),
    "cumprod": Call(lambda _, x: x.cumprod(1), ROWS, first=False),
    "logcumsumexp": Call(lambda _, x: x.logcumsumexp(1), ROWS),
    "logsumexp": Call(lambda _, x: x.logsumexp((1, 3)), IMAGE),
    "prod": Call(lambda _, x: x.prod(1), ROWS, first=False),
    "std": Call(lambda _, x: x.std((1, 2)), IMAGE),
    "norm": Call(lambda t, x: t.linalg.vector_norm(x, dim=(1, 2)), IMAGE),
    "norm_1": Call(lambda t, x: t.linalg.vector_norm(x, 1, dim=1), IMAGE),
    "norm_inf": Call(lambda t, x: t.linalg.vector_norm(x, math.inf, dim=-1), ROWS),
    "renorm": Call(lambda _, x: x.renorm(2, 0, 0.5), ROWS),
    "weight_norm": Call(lambda t, v, g: t._weight_norm(v, g, 0), (5, 12), ((5, 1),)),  # noqa: SLF001 - its one name
    "cdist": Call(lambda t, x: t.cdist(x, x.flip(1) + 3), ROWS),
    "cdist_1": Call(lambda t, x: t.cdist(x, x.flip(1) + 3, p=1.0), ROWS),
    "cosine_similarity": Call(lambda t, x: _f(t).cosine_similarity(x, x.flip(1), -1), ROWS),
    "pairwise_distance": Call(lambda t, x: _f(t).pairwise_distance(x, x.flip(1) + 3), ROWS),
    "tril": Call(lambda _, x: x.tril(1), ROWS),
    "expand": Call(lambda _, x: x[:, :, None].expand(*x.shape[:2], 3, 12), ROWS),
    "repeat": Call(lambda _, x: x.repeat(1, 2, 3), ROWS),
    "repeat_interleave": Call(lambda _, x: x.repeat_interleave(2, 1), ROWS),
    "split": Call(lambda t, x: t.cat(x.split((2, 3, 7), -1)[::-1], -1), ROWS),
    "unbind": Call(lambda t, x: t.stack(x.unbind(1)[::-1], 1), ROWS),
    "rot90": Call(lambda _, x: x.rot90(1, (2, 3)), IMAGE),
    "trace": Call(lambda t, x: t.stack([m.trace() for m in x]), ROWS),
    "fft": Call(lambda t, x: t.view_as_real(t.fft.rfft(x)), ROWS),
    "inverse_fft": Call(lambda t, x: t.fft.irfft(t.complex(x, x)), ROWS),
    "inverse": Call(lambda t, x: t.linalg.inv(_square(t, x)), ROWS),
    "solve": Call(lambda t, x: t.linalg.solve(_square(t, x), x), ROWS),
    "triangular_solve": Call(lambda t, x: t.linalg.solve_triangular(_square(t, x).tril(), x, upper=False), ROWS),
    "cholesky": Call(lambda t, x: t.linalg.cholesky(_square(t, x) @ _square(t, x).mT), ROWS),
    "det": Call(lambda t, x: t.linalg.det(_square(t, x)), ROWS),
    "einsum": Call(lambda t, x, w: t.einsum("bik,jk->bji", x, w), ROWS, ((4, 12),)),
    "addmm": Call(lambda t, x, w, b: t.addmm(b, x, w), (5, 12), ((12, 7), (7,))),
    "baddbmm": Call(lambda t, x, b: t.baddbmm(b, x, x.mT), ROWS, ((5, 5),)),
    "mv": Call(lambda t, x, v: t.mv(x, v), (5, 12), ((12,),)),
    "outer": Call(lambda t, x, v: t.outer(x, v), (5,), ((7,),)),
    "tensordot": Call(lambda t, x, w: t.tensordot(x, w, 1), ROWS, ((12, 4),)),
    "elu": Call(lambda t, x: _f(t).elu(x, 0.7), IMAGE),
    "celu": Call(lambda t, x: _f(t).celu(x, 0.7), IMAGE),
    "selu": Call(lambda t, x: _f(t).selu(x), IMAGE),
    "leaky_relu": Call(lambda t, x: _f(t).leaky_relu(x, 0.3), IMAGE),
    "rrelu": Call(lambda t, x: _f(t).rrelu(x), IMAGE),
    "hardtanh": Call(lambda t, x: _f(t).hardtanh(x, -0.4, 0.6), IMAGE),
    "relu6": Call(lambda t, x: _f(t).relu6(x * 8), IMAGE),
    "hardswish": Call(lambda t, x: _f(t).hardswish(x * 4), IMAGE),
    "hardsigmoid": Call(lambda t, x: _f(t).hardsigmoid(x * 4), IMAGE),
    "mish": Call(lambda t, x: _f(t).mish(x), IMAGE),
    "softplus": Call(lambda t, x: _f(t).softplus(x, 2.0, 1.5), IMAGE),
    "softshrink": Call(lambda t, x: _f(t).softshrink(x, 0.3), IMAGE),
    "hardshrink": Call(lambda t, x: _f(t).hardshrink(x, 0.3), IMAGE),
    "threshold": Call(lambda t, x: _f(t).threshold(x, 0.1, 0.2), IMAGE),
    "logsigmoid": Call(lambda t, x: _f(t).logsigmoid(x), IMAGE),
    "gelu_tanh": Call(lambda t, x: _f(t).gelu(x, approximate="tanh"), IMAGE),
    "log_softmax_image": Call(lambda _, x: x.log_softmax(1), IMAGE),
    "softmax_image": Call(lambda _, x: x.softmax(1), IMAGE),
    "clamp": Call(lambda _, x: x.clamp(-0.4, 0.5), IMAGE),
    "maximum": Call(lambda t, x, w: t.maximum(x, w), ROWS, ((5, 12),)),
    "lerp": Call(lambda t, x, w: t.lerp(x, w, 0.3), ROWS, ((5, 12),)),
    "atan2": Call(lambda t, x, w: t.atan2(x, w), ROWS, ((5, 12),), first=False),
    "pow": Call(lambda t, x, w: t.pow(x, w), ROWS, ((5, 12),), first=False),
    "hypot": Call(lambda t, x, w: t.hypot(x, w), ROWS, ((5, 12),), first=False),
    "logaddexp": Call(lambda t, x, w: t.logaddexp(x, w), ROWS, ((5, 12),)),
    "erf": Call(lambda _, x: x.erf(), IMAGE),
    "rsqrt": Call(lambda _, x: x.rsqrt(), IMAGE, first=False),
    "log": Call(lambda _, x: x.log(), IMAGE, first=False),
    "abs": Call(lambda _, x: x.abs(), IMAGE),
    "soft_margin": Call(lambda t, x: _f(t).soft_margin_loss(x, _signs(t, x).expand_as(x), reduction="none"), ROWS),
    "bce": Call(
        lambda t, x: _f(t).binary_cross_entropy(x / 2, t.full_like(x, 0.25), reduction="none"), ROWS, first=False
    ),
    "l1": Call(lambda t, x, y: _f(t).l1_loss(x, y.expand_as(x), reduction="none"), ROWS, ((5, 12),)),
    "multi_margin": Call(
        lambda t, x: _f(t).multi_margin_loss(x, _at(t, x, 1, 0, 3, 2, 2), reduction="none"), (5, 6), joint=True
    ),
    "multi_label_margin": Call(
        lambda t, x: _f(t).multilabel_margin_loss(x, _at(t, x, 1, 0, -1, 2, 2, 0).expand(5, 6), reduction="none"),
        (5, 6),
        joint=True,
    ),
    "nll": Call(lambda t, x: _f(t).nll_loss(x, _at(t, x, 1, 0, 3, 2, 2), reduction="none"), (5, 6), joint=True),
    "ctc": Call(
        lambda t, x: _f(t).ctc_loss(x.log_softmax(2), _at(t, x, 1, 2, 3, 1, 2), (7, 6, 7), (2, 1, 2), reduction="none"),
        (7, 3, 4),
        joint=True,
    ),
    "lstm_cell": Call(lambda t, x, i, h: t.lstm_cell(x, (x[:, :6], x[:, 6:]), i, h)[0], (5, 12), ((24, 12), (24, 6))),
    "gru_cell": Call(lambda t, x, i, h: t.gru_cell(x, x[:, :6], i, h), (5, 12), ((18, 12), (18, 6))),
    "lstm_of_steps": Call(
        lambda t, x, *w: t.lstm(
            x, [x.new_full((1, x.shape[1], 6), 0.25)] * 2, list(w), True, 1, 0.0, False, False, False
        )[0],
        ROWS,
        ((24, 12), (24, 6), (24,), (24,)),
        joint=True,
    ),
}
ALL = {**CALLS, **MORE}


def _sliced(t: Any, g: Any) -> Any:
    return t.cat((g[..., :1] + 1, g, g), -1)[..., 1 : 1 + g.shape[-1]]


def _apart(t: Any, g: Any) -> Any:
    return t.stack((g, g + 1))[0] if g.dim() < 2 else t.cat((g, g + 1), 1)[:, : g.shape[1]]


# Layouts of a gradient; then, of one whose numbers are the same over some dims, which strides of 0 say.
LAID: dict[str, Callable[[Any, Any], Any]] = {
    "channels last": variations._last,  # noqa: SLF001 - one way to lay out for all
    "transposed": variations._turned,  # noqa: SLF001
    "out of longer rows": _sliced,
    "out of more channels": _apart,
}
EXPANDED: dict[str, Callable[[Any, Any], Any]] = {
    "the same for all of the batch": lambda _, g: g[:1].expand(g.shape),
    "the same along rows": lambda _, g: g[..., :1].expand(g.shape),
}


@check(oracle=PLAIN, dtypes=("float32",), each=ALL, needs=lambda row: row.needs)
@trajectory.unthreaded
def arrives(context: Context, row: Call) -> None:
    """{row} reads the gradient that comes in right, however it lies in memory."""
    torch = context.torch
    plain = variations._plain(context, row)  # noqa: SLF001
    leaves = [variations._cast(context, x, "float32").requires_grad_() for x in plain.inputs]  # noqa: SLF001
    upstream = variations._cast(context, plain.upstream, "float32")  # noqa: SLF001
    with precision.full(torch):
        output = row.run(torch, *leaves)
        for what, lay in LAID.items():
            laid = lay(torch, upstream)
            if not laid.is_contiguous() or what == "out of more channels":
                _pull(context, output, leaves, laid, plain.gradients, what)
        if output.dim():
            wide = [x.detach().requires_grad_() for x in plain.inputs]
            far = row.run(torch, *wide)
            for what, lay in EXPANDED.items():
                given = lay(torch, plain.upstream).contiguous()
                right = torch.autograd.grad(far, wide, given, retain_graph=True, allow_unused=True)
                numbers = [[] if g is None else context.values(g) for g in right]
                _pull(context, output, leaves, lay(torch, upstream), numbers, what)


def _pull(
    context: Context, output: Any, leaves: Sequence[Any], laid: Any, right: Sequence[list[float]], what: str
) -> None:
    try:
        found = context.torch.autograd.grad(output, leaves, laid, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        context.note(f"a gradient {what} is refused: {error}")  # affine_grid before torch 2.4
        return
    for i, (got, leaf, expected) in enumerate(zip(found, leaves, right)):
        if got is not None:
            # Of a constant gradient all may cancel (softmax passes nothing on, normalisation the mean): as many terms
            # of the size of 1 as there are outputs to an input.
            terms = 1.0 + output.numel() / leaf.numel()
            context.close(
                got,
                expected,
                bound=variations.BOUND * passes.allowance(context),
                cancel=terms + max(map(abs, expected), default=0.0),
                what=f"gradient by input {i}, coming {what}",
            )
