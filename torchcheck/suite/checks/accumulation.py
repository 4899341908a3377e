"""Long sums in half precision: what is added up one by one is held in something wider, and rounded once at the end.

11/8 added to itself in bfloat16 is 10 % too much from 32 on, in float16 from 256 on (a tie, always to the same side),
and nothing from 512 and 4,096 on. Even spread over a hundred lanes, 32,768 terms would show that. Where torch does add
in the narrow format (`index_add`, gradients of embeddings, of layer normalisation over rows) it promises no more.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import trajectory
from ..registry import check

if TYPE_CHECKING:
    from ..context import Context

COUNT = 2**15
ONE = 1.375
SQUARED = 0.75  # squares to 9/16, which drifts likewise
SUM = COUNT * ONE
LN2, LN4 = math.log(2), math.log(4)
LOW = ("bfloat16", "float16")


class Long(NamedTuple):
    """A sum of `COUNT` equal terms.

    `bound` is in u: 1 for the rounding at the end, and more where a term, rounded to the format, is not exact.
    """

    call: Callable[[Any, Fill], Any]
    right: float
    bound: float = 2.0


Fill = Callable[..., Any]
"""(value, *shape) -> a tensor in half precision that is full of it."""


def _f(t: Any) -> Any:
    return t.nn.functional


def _pair(full: Fill, *shape: int) -> Any:
    """Give 11/8 and -11/8 in turn, along the last dim."""
    x = full(ONE, *shape).clone()
    x[..., 1::2] = -ONE
    return x


def _slope(call: Callable[..., Any], leaf: Any) -> Any:
    """Pull 11/8 back through `call`."""
    leaf = leaf.clone().requires_grad_()
    output = call(leaf)
    output.backward((output.detach() * 0 + ONE).expand_as(output))
    return leaf.grad


def _classes(t: Any, full: Fill, *shape: int) -> Any:
    return t.zeros(shape, dtype=t.int64, device=full(0.0, 1).device)


SUMS: dict[str, Long] = {
    "sum": Long(lambda _, full: full(ONE, COUNT).sum(), SUM),
    "sum of columns": Long(lambda _, full: full(ONE, COUNT, 3).sum(0), SUM),
    "sum of rows": Long(lambda _, full: full(ONE, 2, COUNT).sum(1), SUM),
    "sum over two dims": Long(lambda _, full: full(ONE, 64, 3, COUNT // 64).sum((0, 2)), SUM),
    "sum of what is expanded": Long(lambda _, full: full(ONE, 1).expand(COUNT).sum(), SUM),
    "mean": Long(lambda _, full: full(ONE, COUNT).mean(), ONE),
    "mean of columns": Long(lambda _, full: full(ONE, COUNT, 3).mean(0), ONE),
    "nansum": Long(lambda _, full: full(ONE, COUNT).nansum(), SUM),
    "nanmean": Long(lambda _, full: full(ONE, COUNT).nanmean(), ONE, 4.0),
    "logsumexp": Long(lambda _, full: full(0.0, COUNT).logsumexp(0), math.log(COUNT), 4.0),
    "var": Long(lambda _, full: _pair(full, COUNT).var(unbiased=False), ONE**2),
    "var of rows": Long(lambda _, full: _pair(full, 2, COUNT).var(1, unbiased=False), ONE**2),
    "std": Long(lambda _, full: _pair(full, COUNT).std(unbiased=False), ONE),
    "var_mean": Long(lambda t, full: t.var_mean(_pair(full, COUNT), unbiased=False)[0], ONE**2),
    "vector_norm": Long(lambda t, full: t.linalg.vector_norm(full(ONE, COUNT)), ONE * math.sqrt(COUNT)),
    "vector_norm of columns": Long(
        lambda t, full: t.linalg.vector_norm(full(ONE, COUNT, 3), dim=0), ONE * math.sqrt(COUNT)
    ),
    "vector_norm of order 1": Long(lambda t, full: t.linalg.vector_norm(full(ONE, COUNT), 1), SUM),
    "vector_norm of order 3": Long(lambda t, full: t.linalg.vector_norm(full(ONE, COUNT), 3), ONE * COUNT ** (1 / 3)),
    "softmax": Long(lambda _, full: full(0.0, 2, COUNT).softmax(1)[:, :5] * COUNT, 1.0),
    "softmax of columns": Long(lambda _, full: full(0.0, COUNT, 3).softmax(0)[:5] * COUNT, 1.0),
    "log_softmax": Long(lambda _, full: full(0.0, 2, COUNT).log_softmax(1)[:, :5], -math.log(COUNT)),
    "log_softmax of columns": Long(lambda _, full: full(0.0, COUNT, 3).log_softmax(0)[:5], -math.log(COUNT)),
    "dot": Long(lambda t, full: t.dot(full(ONE, COUNT), full(1.0, COUNT)), SUM),
    "mv": Long(lambda t, full: t.mv(full(ONE, 3, COUNT), full(1.0, COUNT)), SUM),
    "mm": Long(lambda t, full: t.mm(full(ONE, 3, COUNT), full(1.0, COUNT, 2)), SUM),
    "mm of transposed": Long(lambda t, full: t.mm(full(ONE, COUNT, 3).t(), full(1.0, 2, COUNT).t()), SUM),
    "bmm": Long(lambda t, full: t.bmm(full(ONE, 2, 3, COUNT), full(1.0, 2, COUNT, 2)), SUM),
    "einsum": Long(lambda t, full: t.einsum("ik,k->i", full(ONE, 2, COUNT), full(1.0, COUNT)), SUM),
    "linear": Long(lambda t, full: _f(t).linear(full(ONE, 2, COUNT), full(1.0, 3, COUNT), full(0.0, 3)), SUM),
    "pairwise_distance": Long(
        lambda t, full: _f(t).pairwise_distance(full(ONE, 2, COUNT), full(0.0, 2, COUNT), eps=0.0),
        ONE * math.sqrt(COUNT),
    ),
    "cosine_similarity": Long(
        lambda t, full: _f(t).cosine_similarity(full(ONE, COUNT), full(SQUARED, COUNT), 0), 1.0, 8.0
    ),
    "normalize": Long(lambda t, full: _f(t).normalize(full(1.0, 2, 2**14), dim=1)[:, :5] * 128, 1.0, 4.0),
}
LOSSES: dict[str, Long] = {
    "mse_loss": Long(lambda t, full: _f(t).mse_loss(full(SQUARED, COUNT), full(0.0, COUNT)), SQUARED**2),
    "mse_loss, sum": Long(
        lambda t, full: _f(t).mse_loss(full(SQUARED, COUNT), full(0.0, COUNT), reduction="sum"), COUNT * SQUARED**2
    ),
    "l1_loss": Long(lambda t, full: _f(t).l1_loss(full(ONE, COUNT), full(0.0, COUNT)), ONE),
    "l1_loss, sum": Long(lambda t, full: _f(t).l1_loss(full(ONE, COUNT), full(0.0, COUNT), reduction="sum"), SUM),
    "smooth_l1_loss": Long(lambda t, full: _f(t).smooth_l1_loss(full(1.875, COUNT), full(0.0, COUNT)), ONE),
    "smooth_l1_loss, sum": Long(
        lambda t, full: _f(t).smooth_l1_loss(full(1.875, COUNT), full(0.0, COUNT), reduction="sum"), SUM
    ),
    "huber_loss": Long(lambda t, full: _f(t).huber_loss(full(1.875, COUNT), full(0.0, COUNT)), ONE),
    "huber_loss, sum": Long(
        lambda t, full: _f(t).huber_loss(full(1.875, COUNT), full(0.0, COUNT), reduction="sum"), SUM
    ),
    "binary_cross_entropy": Long(
        lambda t, full: _f(t).binary_cross_entropy(full(0.5, COUNT), full(0.0, COUNT)), LN2, 4.0
    ),
    "binary_cross_entropy, sum": Long(
        lambda t, full: _f(t).binary_cross_entropy(full(0.5, COUNT), full(0.0, COUNT), reduction="sum"),
        COUNT * LN2,
        4.0,
    ),
    "binary_cross_entropy_with_logits": Long(
        lambda t, full: _f(t).binary_cross_entropy_with_logits(full(0.0, COUNT), full(0.0, COUNT)), LN2, 8.0
    ),
    "kl_div": Long(lambda t, full: _f(t).kl_div(full(-ONE, COUNT), full(1.0, COUNT)), ONE, 4.0),
    "kl_div, batchmean": Long(
        lambda t, full: _f(t).kl_div(full(-ONE, COUNT, 1), full(1.0, COUNT, 1), reduction="batchmean"), ONE, 4.0
    ),
    "poisson_nll_loss": Long(
        lambda t, full: _f(t).poisson_nll_loss(full(ONE, COUNT), full(0.0, COUNT), log_input=False), ONE, 4.0
    ),
    "gaussian_nll_loss": Long(
        lambda t, full: _f(t).gaussian_nll_loss(full(1.5, COUNT), full(0.0, COUNT), full(1.0, COUNT)), 1.125, 8.0
    ),
    "hinge_embedding_loss": Long(lambda t, full: _f(t).hinge_embedding_loss(full(ONE, COUNT), full(1.0, COUNT)), ONE),
    "soft_margin_loss": Long(lambda t, full: _f(t).soft_margin_loss(full(0.0, COUNT), full(1.0, COUNT)), LN2, 8.0),
    "margin_ranking_loss": Long(
        lambda t, full: _f(t).margin_ranking_loss(full(ONE, COUNT), full(0.0, COUNT), full(-1.0, COUNT)), ONE
    ),
    "multilabel_soft_margin_loss": Long(
        lambda t, full: _f(t).multilabel_soft_margin_loss(full(0.0, COUNT, 2), full(1.0, COUNT, 2)), LN2, 8.0
    ),
    "cosine_embedding_loss": Long(
        lambda t, full: _f(t).cosine_embedding_loss(full(1.0, COUNT, 1), full(1.0, COUNT, 1), full(-1.0, COUNT)),
        1.0,
        8.0,
    ),
    "triplet_margin_loss": Long(
        lambda t, full: _f(t).triplet_margin_loss(*[full(1.0, COUNT, 1)] * 3, margin=ONE), ONE, 8.0
    ),
    "nll_loss": Long(lambda t, full: _f(t).nll_loss(full(-ONE, COUNT, 2), _classes(t, full, COUNT)), ONE),
    "nll_loss, sum": Long(
        lambda t, full: _f(t).nll_loss(full(-ONE, COUNT, 2), _classes(t, full, COUNT), reduction="sum"), SUM
    ),
    "nll_loss, weight": Long(
        lambda t, full: _f(t).nll_loss(full(-ONE, COUNT, 2), _classes(t, full, COUNT), full(ONE, 2)), ONE, 4.0
    ),
    "nll_loss of images": Long(
        lambda t, full: _f(t).nll_loss(full(-ONE, 2, 2, 128, 128), _classes(t, full, 2, 128, 128)), ONE
    ),
    "cross_entropy": Long(lambda t, full: _f(t).cross_entropy(full(0.0, COUNT, 4), _classes(t, full, COUNT)), LN4, 8.0),
    "cross_entropy, smoothing": Long(
        lambda t, full: _f(t).cross_entropy(full(0.0, 2**13, 4), _classes(t, full, 2**13), label_smoothing=0.5),
        LN4,
        8.0,
    ),
    "cross_entropy of probabilities": Long(
        lambda t, full: _f(t).cross_entropy(full(0.0, 2**13, 4), full(0.25, 2**13, 4)), LN4, 8.0
    ),
    "cross_entropy over many classes": Long(
        lambda t, full: _f(t).cross_entropy(full(0.0, 2, COUNT), _classes(t, full, 2)), math.log(COUNT), 8.0
    ),
}
LAYERS: dict[str, Long] = {
    "layer_norm": Long(lambda t, full: _f(t).layer_norm(_pair(full, 2, COUNT), (COUNT,))[:, ::2], 1.0, 4.0),
    "group_norm": Long(lambda t, full: _f(t).group_norm(_pair(full, 1, 2, COUNT), 1)[..., ::2], 1.0, 4.0),
    "batch_norm": Long(
        lambda t, full: _f(t).batch_norm(_pair(full, 3, COUNT).t(), None, None, training=True)[::2], 1.0, 4.0
    ),
    "batch_norm of images": Long(
        lambda t, full: _f(t).batch_norm(_pair(full, 2, 3, 128, 128), None, None, training=True)[..., ::2], 1.0, 4.0
    ),
    "instance_norm": Long(lambda t, full: _f(t).instance_norm(_pair(full, 1, 2, COUNT))[..., ::2], 1.0, 4.0),
    "rms_norm": Long(lambda t, full: _f(t).rms_norm(full(ONE, 2, COUNT), (COUNT,)), 1.0, 4.0),
    "avg_pool1d": Long(lambda t, full: _f(t).avg_pool1d(full(ONE, 1, 2, COUNT), COUNT), ONE),
    "avg_pool2d": Long(lambda t, full: _f(t).avg_pool2d(full(ONE, 2, 3, 128, 128), 128), ONE),
    "adaptive_avg_pool2d": Long(lambda t, full: _f(t).adaptive_avg_pool2d(full(ONE, 2, 3, 128, 128), 1), ONE),
    "adaptive_avg_pool2d, halves": Long(lambda t, full: _f(t).adaptive_avg_pool2d(full(ONE, 2, 3, 256, 128), 2), ONE),
    "adaptive_avg_pool3d": Long(lambda t, full: _f(t).adaptive_avg_pool3d(full(ONE, 1, 2, 32, 32, 32), 1), ONE),
    "conv1d over channels": Long(lambda t, full: _f(t).conv1d(full(ONE, 1, COUNT, 1), full(1.0, 1, COUNT, 1)), SUM),
    "attention over keys": Long(
        lambda t, full: _f(t).scaled_dot_product_attention(
            full(0.0, 1, 1, 2, 8), full(0.0, 1, 1, COUNT, 8), full(ONE, 1, 1, COUNT, 8)
        ),
        ONE,
        4.0,
    ),
    "bag of embeddings": Long(
        lambda t, full: _f(t).embedding_bag(
            _classes(t, full, COUNT), full(ONE, 3, 2), _classes(t, full, 1), mode="sum"
        ),
        SUM,
    ),
    "gradient by linear's weight": Long(
        lambda t, full: _slope(lambda w: _f(t).linear(full(1.0, COUNT, 2), w), full(1.0, 3, 2)), SUM
    ),
    "gradient by linear's bias": Long(
        lambda t, full: _slope(lambda b: _f(t).linear(full(1.0, COUNT, 2), full(1.0, 3, 2), b), full(1.0, 3)), SUM
    ),
    "gradient by an addend": Long(lambda _, full: _slope(lambda b: full(1.0, COUNT, 3) + b, full(1.0, 3)), SUM),
    "gradient by a column": Long(lambda _, full: _slope(lambda b: full(1.0, 2, COUNT) + b, full(1.0, 2, 1)), SUM),
    "gradient by a factor": Long(lambda _, full: _slope(lambda b: full(1.0, COUNT, 3) * b, full(1.0, 3)), SUM),
    "gradient by what is expanded": Long(lambda _, full: _slope(lambda b: b.expand(COUNT), full(1.0, 1)), SUM),
    "gradient by what is repeated": Long(lambda _, full: _slope(lambda b: b.repeat(COUNT), full(1.0, 3)), SUM),
    "gradient by a convolution's bias": Long(
        lambda t, full: _slope(
            lambda b: _f(t).conv2d(full(1.0, 2, 1, 128, 128), full(1.0, 3, 1, 1, 1), b), full(1.0, 3)
        ),
        SUM,
    ),
    "gradient by a convolution's weight": Long(
        lambda t, full: _slope(lambda w: _f(t).conv2d(full(1.0, 2, 1, 128, 128), w), full(1.0, 3, 1, 1, 1)), SUM
    ),
    "gradient by batch norm's bias": Long(
        lambda t, full: _slope(
            lambda b: _f(t).batch_norm(_pair(full, 2, 3, 128, 128), None, None, full(1.0, 3), b, training=True),
            full(1.0, 3),
        ),
        SUM,
    ),
    "gradient by prelu's slope": Long(
        lambda t, full: _slope(lambda w: _f(t).prelu(full(-1.0, COUNT), w), full(0.5, 1)), -SUM
    ),
}
TABLES = {"sums": SUMS, "losses": LOSSES, "layers": LAYERS}


@check(oracle="n equal terms", dtypes=LOW, each=TABLES)
@trajectory.unthreaded
def widens(context: Context, table: dict[str, Long]) -> None:
    """Half precision {row} of 32,768 terms are added up in something wider."""
    torch = context.torch
    full = functools.lru_cache(maxsize=None)(
        lambda value, *shape: torch.full(shape, value, dtype=context.dtype, device=context.device)
    )
    for what, row in table.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # kl_div's mean, and half precision where it is slow
                got = row.call(torch, full)
        except (RuntimeError, AttributeError) as error:
            if "not implemented for" not in str(error) and "rms_norm" not in str(error):
                raise
            context.note(f"{what}: {error}")
            continue
        few = got.reshape(-1)[:: max(got.numel() // 8, 1)]  # all are sums of the same numbers
        context.close(few, [row.right] * few.numel(), bound=row.bound, what=what)
