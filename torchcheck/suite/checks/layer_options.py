"""Options that layers take and seldom get: masks and their gradients, dropout inside, defaults, norms, padding."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

from .. import passes, precision, trajectory
from ..registry import check
from .training.randomness import deviation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import Context

FLOAT32 = ("float32",)


def _draw(context: Context, *shape: int, salt: object = "") -> Any:
    rng = context.rng(salt)
    return context.tensor([rng.choice((-6, -3, -1, 2, 4, 5)) / 4 for _ in range(math.prod(shape))]).reshape(shape)


@check(oracle="the formula of softmax attention in float64", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def attention_masks(context: Context) -> None:
    """A mask of numbers biases attention and gets its gradient; one of truths hides; causal begins at the first key."""
    torch, functional = context.torch, context.torch.nn.functional
    n, m, d = 3, 5, 4
    q, k, v = (_draw(context, 1, 1, rows, d, salt=name) for name, rows in (("q", n), ("k", m), ("v", m)))
    bias, g = _draw(context, n, m, salt="bias"), _draw(context, 1, 1, n, d, salt="g")
    qs, ks, vs, bs, gs = ([*t.reshape(-1, t.shape[-1]).tolist()] for t in (q, k, v, bias, g))
    truths = [[(3 * i + 2 * j) % 4 != 0 for j in range(m)] for i in range(n)]
    causal = [[j <= i for j in range(m)] for i in range(n)]
    hidden = context.tensor(truths, dtype="bool")
    for what, shift, named in (
        ("numbers", bs, {"attn_mask": bias}),
        ("truths", [[0.0 if t else -math.inf for t in row] for row in truths], {"attn_mask": hidden}),
        ("causal", [[0.0 if t else -math.inf for t in row] for row in causal], {"is_causal": True}),
        ("numbers, scale", bs, {"attn_mask": bias, "scale": 0.25}),
    ):
        if "scale" in named and not hasattr(torch, "export"):  # 2.1
            continue
        scale = named.get("scale", 1 / math.sqrt(d))
        out, by_bias = [], []
        for i in range(n):
            logits = [scale * sum(map(float.__mul__, qs[i], ks[j])) + shift[i][j] for j in range(m)]
            powers = [math.exp(x - max(logits)) for x in logits]
            p = [x / math.fsum(powers) for x in powers]
            out += [sum(p[j] * vs[j][c] for j in range(m)) for c in range(d)]
            back = [sum(map(float.__mul__, gs[i], vs[j])) for j in range(m)]
            mean = sum(map(float.__mul__, p, back))
            by_bias += [p[j] * (back[j] - mean) for j in range(m)]
        calls: list[tuple[str, dict[str, Any]]] = [("by name", dict(named))]
        for name, options in calls:
            leaf = bias.detach().requires_grad_()
            if "attn_mask" in options and options["attn_mask"] is bias:
                options["attn_mask"] = leaf
            got = functional.scaled_dot_product_attention(q, k, v, **options)
            context.close(got, out, bound=32.0, cancel=4.0, what=f"{what}, {name}")
            if "attn_mask" in options and options["attn_mask"] is leaf:
                (by,) = torch.autograd.grad(got, leaf, g)
                context.close(by, by_bias, bound=32.0, cancel=8.0, what=f"{what}, {name}: gradient by the mask")
    leaf = bias.detach().requires_grad_()
    positional = functional.scaled_dot_product_attention(q, k, v, leaf)
    (by,) = torch.autograd.grad(positional, leaf, g)
    named_leaf = bias.detach().requires_grad_()
    (other,) = torch.autograd.grad(
        functional.scaled_dot_product_attention(q, k, v, attn_mask=named_leaf), named_leaf, g
    )
    context.close(by, context.values(other), bound=8.0, cancel=4.0, what="gradient by a mask that is given by place")
    for size in (1, 4):
        square = torch.nn.Transformer.generate_square_subsequent_mask(size)
        right = [0.0 if j <= i else -math.inf for i in range(size) for j in range(size)]
        context.exact(square, right, what=f"generate_square_subsequent_mask({size})")


@check(oracle="what is hidden has no influence, and what is shown has", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def hidden(context: Context) -> None:
    """Padding and attention masks of attention, encoder and decoder layers hide what they say, and that alone."""
    torch, nn = context.torch, context.torch.nn
    torch.manual_seed(context.seed)
    n, m, width = 4, 5, 8
    x, y = _draw(context, 2, n, width, salt="x"), _draw(context, 2, m, width, salt="y")
    pad = context.tensor([[False] * (m - 2) + [True] * 2, [False] * m], dtype="bool")
    causal = torch.triu(torch.ones(n, n, dtype=torch.bool, device=x.device), 1)
    mha = nn.MultiheadAttention(width, 2, batch_first=True).to(context.device)
    decoder = nn.TransformerDecoderLayer(width, 2, 16, 0.0, batch_first=True).to(context.device)
    encoder = nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=True).to(context.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about nested tensors
        stack = nn.TransformerEncoder(encoder, 2).to(context.device)
    last = torch.zeros(m, device=x.device, dtype=torch.bool)
    last[-2:] = True
    calls: dict[str, tuple[Callable[[Any], Any], Any, tuple[int, int], tuple[int, int]]] = {
        "attention, key padding": (lambda t: mha(x, t, t, key_padding_mask=pad)[0], y, (0, m - 1), (1, m - 1)),
        "attention, key padding, no weights": (
            lambda t: mha(x, t, t, key_padding_mask=pad, need_weights=False)[0],
            y,
            (0, m - 1),
            (1, m - 1),
        ),
        "attention, mask of truths": (
            lambda t: mha(x, t, t, attn_mask=last.expand(n, m), need_weights=False)[0],
            y,
            (0, m - 1),
            (0, 0),
        ),
        "attention, mask of numbers": (
            lambda t: mha(x, t, t, attn_mask=last.expand(n, m).float() * -1e9)[0],
            y,
            (0, m - 1),
            (0, 0),
        ),
        "decoder, memory padding": (lambda t: decoder(x, t, memory_key_padding_mask=pad), y, (0, m - 1), (1, m - 1)),
        "decoder, memory mask": (lambda t: decoder(x, t, memory_mask=last.expand(n, m)), y, (0, m - 1), (0, 0)),
        "decoder, target mask": (lambda t: decoder(t, y, tgt_mask=causal)[:, :-1], x, (0, n - 1), (0, 0)),
        "decoder, target padding": (
            lambda t: decoder(t, y, tgt_key_padding_mask=pad[:, 1:])[:, 0],
            x,
            (0, n - 1),
            (1, n - 1),
        ),
        "encoder, mask": (lambda t: encoder(t, src_mask=causal)[:, :-1], x, (0, n - 1), (0, 0)),
        "encoder, padding": (lambda t: encoder(t, src_key_padding_mask=pad)[:, 0], y, (0, m - 1), (1, m - 1)),
        "stack, padding": (lambda t: stack(t, src_key_padding_mask=pad)[:, 0], y, (0, m - 1), (1, m - 1)),
        "stack, mask": (lambda t: stack(t, mask=causal)[:, :-1], x, (0, n - 1), (0, 0)),
    }
    for name, (call, given, away, shown) in calls.items():
        for training in (True, False):
            for module in (mha, decoder, encoder, stack):
                module.train(training)
            with torch.set_grad_enabled(training), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                before = call(given)[away[0]]
                changed = given.clone()
                changed[away] += 3.0
                what = f"{name}, training={training}"
                context.exact(call(changed)[away[0]], context.values(before), what=f"{what}: what is hidden")
                changed = given.clone()
                changed[shown] += 3.0
                other = call(given)[shown[0]]
                moved = float((call(changed)[shown[0]] - other).abs().sum())
                context.true(moved > 1e-3, what=f"{what}: what is shown counts", got=moved)
    mha.eval()
    for padded in (None, pad):
        out, mean = mha(x, y, y, key_padding_mask=padded)
        _, each = mha(x, y, y, key_padding_mask=padded, average_attn_weights=False)
        plain = mha(x, y, y, key_padding_mask=padded, need_weights=False)[0]
        context.close(mean, context.values(each.mean(1)), bound=8.0, cancel=1.0, what="averaged weights")
        context.close(mean.sum(-1), [1.0] * (2 * n), bound=16.0, what="weights sum to 1")
        context.close(plain, context.values(out), bound=64.0, cancel=8.0, what="output without weights")
    extra = nn.MultiheadAttention(width, 2, batch_first=True, add_zero_attn=True, bias=False).to(context.device)
    zeros = extra(x, y * 0, y)[1]
    # The added key scores 0 like all others: every weight is 1 / (m + 1).
    context.close(zeros, [1 / (m + 1)] * zeros.numel(), bound=8.0, what="add_zero_attn adds one key that scores 0")
    context.exact(zeros.shape[-1], m + 1, what="columns with add_zero_attn")


@check(oracle="each law's exact values and its mean", dtypes=FLOAT32)
@trajectory.unthreaded
def inner_dropout(context: Context) -> None:
    """Attention and recurrent layers drop inside while they train, scale what they keep, and drop nothing in eval."""
    torch, nn = context.torch, context.torch.nn
    torch.manual_seed(context.seed)
    n, rows, p = 64, 2000, 0.25
    q = torch.zeros(1, 1, rows, 8, device=context.device)
    k, v = torch.zeros(1, 1, n, 8, device=context.device), torch.ones(1, 1, n, 8, device=context.device)
    out = context.values(torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p)[0, 0, :, 0])
    kept = [x * n * (1 - p) for x in out]
    context.within(max(abs(x - round(x)) for x in kept), 1e-3, what="kept weights are whole", unit="weights")
    sigma = math.sqrt(p / (1 - p) / n / rows)
    deviation(context, math.fsum(out) / rows, 1.0, sigma, "mean of attention with dropout")
    for p in (0.25, 0.5):
        layer = nn.RNN(1, 1, num_layers=2, dropout=p, nonlinearity="relu").to(context.device)
        with torch.no_grad():
            for name, w in layer.named_parameters():
                w.fill_(1.0 if name.startswith("weight_ih") else 0.0)
        x = torch.ones(3, 1500, 1, device=context.device)
        out = context.values(layer(x)[0])
        context.close(
            sorted(set(out)), [0.0, 1 / (1 - p)], bound=2.0, what=f"outputs of two layers with dropout {p} between them"
        )
        share = sum(v == 0 for v in out) / len(out)
        deviation(context, share, p, math.sqrt(p * (1 - p) / len(out)), f"share dropped, dropout={p}")
        context.exact(layer.eval()(x)[0], [1.0] * 4500, what=f"eval, dropout={p}")
    for cls in (nn.LSTM, nn.GRU):
        layer = cls(3, 4, num_layers=2, dropout=0.5).to(context.device)
        x = _draw(context, 5, 7, 3)
        first, second = context.values(layer(x)[0]), context.values(layer(x)[0])
        context.true(first != second, what=f"{cls.__name__} drops anew each time while it trains")
        layer.eval()
        context.exact(layer(x)[0], context.values(layer(x)[0]), what=f"{cls.__name__} drops nothing in eval")
    mha = nn.MultiheadAttention(8, 2, dropout=0.5).to(context.device)
    x = _draw(context, 5, 3, 8)
    context.true(
        context.values(mha(x, x, x)[0]) != context.values(mha(x, x, x)[0]),
        what="MultiheadAttention drops while it trains",
    )
    mha.eval()
    context.exact(mha(x, x, x)[0], context.values(mha(x, x, x)[0]), what="MultiheadAttention drops nothing in eval")


@check(oracle="the formula in float64, at values where epsilon counts", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def defaults(context: Context) -> None:
    """Norms of small numbers and of zeros show each layer's own epsilon, as function and module."""
    nn, functional = context.torch.nn, context.torch.nn.functional
    rows = [[2.0**-10, -(2.0**-11), 3 * 2.0**-11, -(2.0**-9)], [2.0**-8, 2.0**-9, -(2.0**-8), 0.0]]
    x = context.tensor(rows)

    def standard(eps: float, axis: str) -> list[float]:
        lines = rows if axis == "rows" else [list(c) for c in zip(*rows)]
        means = [sum(r) / len(r) for r in lines]
        spread = [sum((v - mu) ** 2 for v in r) / len(r) for r, mu in zip(lines, means)]
        done = [[(v - mu) / math.sqrt(s + eps) for v in r] for r, mu, s in zip(lines, means, spread)]
        return [v for r in (done if axis == "rows" else zip(*done)) for v in r]

    image = x.reshape(2, 4, 1).expand(2, 4, 3)
    cases: list[tuple[str, Any, list[float]]] = [
        ("layer_norm", functional.layer_norm(x, (4,)), standard(1e-5, "rows")),
        ("nn.LayerNorm", nn.LayerNorm(4).to(context.device)(x), standard(1e-5, "rows")),
        ("nn.LayerNorm, eps", nn.LayerNorm(4, eps=1e-3).to(context.device)(x), standard(1e-3, "rows")),
        ("group_norm", functional.group_norm(x[:, :, None], 1)[:, :, 0], standard(1e-5, "rows")),
        ("nn.GroupNorm, eps", nn.GroupNorm(1, 4, eps=1e-4).to(context.device)(x), standard(1e-4, "rows")),
        ("batch_norm", functional.batch_norm(x, None, None, training=True), standard(1e-5, "columns")),
        ("nn.BatchNorm1d, eps", nn.BatchNorm1d(4, eps=1e-4).to(context.device)(x), standard(1e-4, "columns")),
        ("nn.InstanceNorm1d", nn.InstanceNorm1d(4, eps=1e-3).to(context.device)(image), [0.0] * 24),
    ]
    if hasattr(functional, "rms_norm"):
        for name, eps, got in (
            ("rms_norm", 2.0**-23, functional.rms_norm(x, (4,))),
            ("nn.RMSNorm", 2.0**-23, nn.RMSNorm(4).to(context.device)(x)),
            ("rms_norm, eps", 1e-4, functional.rms_norm(x, (4,), None, 1e-4)),
            ("nn.RMSNorm, eps", 1e-4, nn.RMSNorm(4, eps=1e-4).to(context.device)(x)),
        ):
            right = [v / math.sqrt(sum(w * w for w in r) / 4 + eps) for r in rows for v in r]
            cases.append((name, got, right))
    for name, got, right in cases:
        context.close(got, right, bound=32.0, cancel=1.0, what=name)
    tracked = nn.InstanceNorm1d(4, track_running_stats=True, momentum=0.5).to(context.device)
    given = _draw(context, 3, 4, 8)
    tracked(given)
    mean, var = context.values(tracked.running_mean), context.values(tracked.running_var)
    flat = context.values(given)
    tracked.eval()
    right = [(v - mean[i // 8 % 4]) / math.sqrt(var[i // 8 % 4] + 1e-5) for i, v in enumerate(flat)]
    context.close(tracked(given), right, bound=32.0, cancel=4.0, what="instance norm in eval uses what it tracked")
    counted = nn.BatchNorm1d(2, momentum=None).to(context.device)
    batches = [[[1.0, 2.0], [3.0, 6.0]], [[5.0, 0.0], [9.0, 4.0]], [[-1.0, 1.0], [0.0, 2.0]]]
    for batch in batches:
        counted(context.tensor(batch))
    means = [sum((b[0][c] + b[1][c]) / 2 for b in batches) / 3 for c in (0, 1)]
    context.close(counted.running_mean, means, bound=8.0, cancel=8.0, what="momentum=None averages all batches")
    loss = functional.gaussian_nll_loss
    target, guess, small = context.tensor([1.0, 2.0]), context.tensor([1.5, 2.0]), context.tensor([0.0, 1e-9])
    for eps in (1e-6, 0.25):
        right = [0.5 * (math.log(eps) + (a - b) ** 2 / eps) for a, b in ((1.5, 1.0), (2.0, 2.0))]
        got = loss(guess, target, small, eps=eps, reduction="none")
        context.close(got, right, bound=32.0, cancel=16.0, what=f"gaussian_nll_loss with variances below eps={eps}")
    context.close(functional.normalize(x * 0 + 1e-20, dim=1, eps=0.5), [2e-20] * 8, bound=8.0, what="normalize, eps")
    context.close(
        functional.cosine_similarity(x, x, eps=1.0),
        [sum(v * v for v in r) for r in rows],
        bound=16.0,
        what="similarity, eps",
    )


@check(oracle="direct sums of integers, exact", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def paddings(context: Context) -> None:
    """Convolutions with padding "same", "valid" and in every padding mode pad where they should, layers included."""
    torch, nn, functional = context.torch, context.torch.nn, context.torch.nn.functional
    rng = context.rng()
    n = 9
    x = [float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(n)]
    for k, d in itertools.product((1, 2, 3, 4), (1, 2)):
        w = [float(rng.choice((-2, -1, 1, 2))) for _ in range(k)]
        total = d * (k - 1)
        left, right = total // 2, total - total // 2
        for mode in ("constant", "reflect", "replicate", "circular"):
            held = _padded(x, left, right, mode)
            out = [sum(w[j] * held[i + j * d] for j in range(k)) for i in range(n)]
            what = f"kernel {k}, dilation {d}, {mode}"
            for dims in (1, 2, 3):
                if dims == 3 and mode == "reflect" and not hasattr(torch, "export"):
                    continue
                layer = getattr(nn, f"Conv{dims}d")
                shape = [1] * (dims - 1)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # "same" with an even kernel copies its input
                    conv = layer(
                        1,
                        1,
                        (*shape, k),
                        dilation=(*shape, d),
                        padding="same",
                        bias=False,
                        padding_mode="zeros" if mode == "constant" else mode,
                    ).to(context.device)
                    with torch.no_grad():
                        conv.weight.copy_(context.tensor(w).reshape(conv.weight.shape))
                    given = context.tensor(x).reshape(1, 1, *shape, n)
                    context.exact(conv(given), out, what=f"Conv{dims}d, {what}")
                    if mode == "constant":
                        call = getattr(functional, f"conv{dims}d")
                        got = call(given, conv.weight, padding="same", dilation=(*shape, d))
                        context.exact(got, out, what=f"conv{dims}d, {what}")
                        if d == 1:
                            got = call(given, conv.weight, padding="same")
                            context.exact(got, out, what=f"conv{dims}d, {what}, nothing else said")
                        got = call(given, conv.weight, padding="valid", dilation=(*shape, d))
                        middle = [sum(w[j] * x[i + j * d] for j in range(k)) for i in range(n - total)]
                        context.exact(got, middle, what=f"conv{dims}d, valid, kernel {k}, dilation {d}")


@check(oracle="direct sums of integers, exact", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def margins(context: Context) -> None:
    """pad reflects, repeats, wraps, fills and crops each side of lines, images and matrices as asked."""
    functional, rng = context.torch.nn.functional, context.rng()
    n = 9
    x = [float(rng.choice((-3, -2, -1, 1, 2, 3))) for _ in range(n)]
    for mode, sides in itertools.product(("constant", "reflect", "replicate", "circular"), ((2, 1), (0, 3), (3, 0))):
        held = _padded(x, *sides, mode, fill=7.0)
        value = {"value": 7.0} if mode == "constant" else {}
        line = context.tensor(x).reshape(1, 1, n)
        context.exact(functional.pad(line, sides, mode, **value), held, what=f"pad {sides}, {mode}, of a line")
        image = context.tensor(x).reshape(1, 1, n, 1).expand(1, 1, n, 4)
        around = functional.pad(image, (1, 1, *sides), mode, **value)[0, 0, :, 2]
        context.exact(around, held, what=f"pad {sides}, {mode}, of the height of an image")
    square = context.tensor([[1.0, 2.0], [3.0, 4.0]])
    for pads, cells in (
        ((1, 0, 0, 1), [9, 1, 2, 9, 3, 4, 9, 9, 9]),
        ((-1, 1, 1, -1), [9, 9, 2, 9]),
        ((0, -1), [1, 3]),
    ):
        for fill in (9.0, -0.5):
            got = functional.pad(square, pads, value=fill)
            context.exact(got, [fill if v == 9 else float(v) for v in cells], what=f"pad {pads} with {fill}")


def _padded(x: Sequence[float], left: int, right: int, mode: str, fill: float = 0.0) -> list[float]:
    n = len(x)
    places = range(-left, n + right)
    if mode == "constant":
        return [x[i] if 0 <= i < n else fill for i in places]
    if mode == "replicate":
        return [x[min(max(i, 0), n - 1)] for i in places]
    if mode == "circular":
        return [x[i % n] for i in places]
    return [x[-i if i < 0 else 2 * (n - 1) - i if i >= n else i] for i in places]


@check(oracle="the documented rules, on rows whose norms are known", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def lookups(context: Context) -> None:
    """Embeddings and bags keep rows to a largest norm of every order, those that are looked up and no others."""
    functional = context.torch.nn.functional
    table = [[3.0, -4.0], [1.0, 1.0], [0.0, 0.5], [-6.0, 8.0]]
    index = context.tensor([0, 3, 0, 2], dtype="int64")
    for order, sizes in (
        (2.0, [5.0, 2**0.5, 0.5, 10.0]),
        (1.0, [7.0, 2.0, 0.5, 14.0]),
        (math.inf, [4.0, 1.0, 0.5, 8.0]),
    ):
        kept = [[v * min(1.0, 2.0 / (s + 1e-7)) if s > 2 else v for v in r] for r, s in zip(table, sizes)]
        right = [v for i in (0, 3, 0, 2) for v in kept[i]]
        weight = context.tensor(table)
        got = functional.embedding(index, weight, max_norm=2.0, norm_type=order)
        context.close(got, right, bound=8.0, cancel=1.0, what=f"embedding, max_norm of order {order}")
        renewed = [v for i in range(4) for v in (kept[i] if i in (0, 2, 3) else table[i])]
        context.close(weight, renewed, bound=8.0, cancel=1.0, what=f"its table afterwards, order {order}")
        bag = functional.embedding_bag(
            index,
            context.tensor(table),
            context.tensor([0, 2], dtype="int64"),
            max_norm=2.0,
            norm_type=order,
            mode="sum",
        )
        sums = [kept[0][c] + kept[3][c] for c in (0, 1)] + [kept[0][c] + kept[2][c] for c in (0, 1)]
        context.close(bag, sums, bound=8.0, cancel=4.0, what=f"embedding_bag, max_norm of order {order}")


@check(oracle="the documented rules, on small tables", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def bags(context: Context) -> None:
    """Bags of embeddings honour modes, offsets, padding and weights, and send gradients where they belong."""
    torch, nn, functional = context.torch, context.torch.nn, context.torch.nn.functional
    table = [[3.0, -4.0], [1.0, 1.0], [0.0, 0.5], [-6.0, 8.0]]
    index = context.tensor([0, 3, 0, 2], dtype="int64")
    rule: Any
    offsets = context.tensor([0, 3, 3], dtype="int64")
    many = context.tensor([0, 1, 3, 2, 2], dtype="int64")
    held_bags = [[0, 1, 3], [], [2, 2]]
    weights = [2.0, -1.0, 0.5, 3.0, 4.0]
    for mode, rule in (
        ("sum", lambda rows: [sum(c) for c in zip(*rows)]),
        ("mean", lambda rows: [sum(c) / len(c) for c in zip(*rows)]),
        ("max", lambda rows: [max(c) for c in zip(*rows)]),
    ):
        right = [v for b in held_bags for v in (rule([table[i] for i in b]) if b else [0.0, 0.0])]
        got = functional.embedding_bag(many, context.tensor(table), offsets, mode=mode)
        context.close(got, right, bound=4.0, cancel=1.0, what=f"embedding_bag, {mode}")
        ends = context.tensor([0, 3, 3, 5], dtype="int64")
        got = functional.embedding_bag(many, context.tensor(table), ends, mode=mode, include_last_offset=True)
        context.close(got, right, bound=4.0, cancel=1.0, what=f"embedding_bag, {mode}, include_last_offset")
        square = context.tensor([[0, 1], [3, 2]], dtype="int64")
        right = [v for b in ([0, 1], [3, 2]) for v in rule([table[i] for i in b])]
        for name, got in (
            ("embedding_bag", functional.embedding_bag(square, context.tensor(table), mode=mode)),
            ("EmbeddingBag", nn.EmbeddingBag.from_pretrained(context.tensor(table), mode=mode)(square)),
        ):
            context.close(got, right, bound=4.0, cancel=1.0, what=f"{name} of rows, {mode}")
        leaf = context.tensor(table, grad=True)
        out = functional.embedding_bag(many, leaf, offsets, mode=mode, padding_idx=1)
        used = [[i for i in b if i != 1] for b in held_bags]
        right = [v for b in used for v in (rule([table[i] for i in b]) if b else [0.0, 0.0])]
        context.close(out, right, bound=4.0, cancel=1.0, what=f"embedding_bag, {mode}, padding_idx")
        (by,) = torch.autograd.grad(out.sum(), leaf)
        if mode != "max":
            share = [sum((1.0 if mode == "sum" else 1 / len(b)) * b.count(i) for b in used if b) for i in range(4)]
            context.close(by, [s for s in share for _ in (0, 1)], bound=4.0, what=f"embedding_bag, {mode}: gradient")
    leaf, held = context.tensor(table, grad=True), context.tensor(weights, grad=True)
    out = functional.embedding_bag(many, leaf, offsets, mode="sum", per_sample_weights=held)
    right = [sum(weights[p] * table[i][c] for p, i in ((0, 0), (1, 1), (2, 3))) for c in (0, 1)]
    right += [0.0, 0.0, *(sum(weights[p] * table[2][c] for p in (3, 4)) for c in (0, 1))]
    context.close(out, right, bound=4.0, cancel=16.0, what="embedding_bag, per_sample_weights")
    by_table, by_weights = torch.autograd.grad(out.sum(), (leaf, held))
    context.close(
        by_weights, [sum(table[i]) for i in (0, 1, 3, 2, 2)], bound=4.0, cancel=8.0, what="gradient by the weights"
    )
    context.close(by_table, [2.0, 2.0, -1.0, -1.0, 7.0, 7.0, 0.5, 0.5], bound=4.0, what="gradient by the table")
    for scale, sparse in ((False, False), (True, False), (False, True)):
        leaf = context.tensor(table, grad=True)
        out = functional.embedding(index, leaf, padding_idx=2, scale_grad_by_freq=scale, sparse=sparse)
        out.sum().backward()
        got = leaf.grad.to_dense() if sparse else leaf.grad
        right = [1.0 if scale else 2.0] * 2 + [0.0] * 4 + [1.0] * 2
        context.exact(got, right, what=f"gradient, scale_grad_by_freq={scale}, sparse={sparse}")


@check(oracle="linear functions, which interpolation keeps; bilinear forms", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def volumes(context: Context) -> None:
    """Sampling of volumes keeps linear functions, gradients too; convolutions differentiate twice as bilinear forms."""
    torch, functional = context.torch, context.torch.nn.functional
    a, b, c, e = 2.0, -3.0, 0.5, 1.0
    depth, height, width = 3, 4, 5
    x = [a * k + b * j + c * i + e for i in range(depth) for j in range(height) for k in range(width)]
    rng = context.rng()
    for align in (False, True):
        places = [[rng.uniform(0.25, n - 1.25) for n in (width, height, depth)] for _ in range(11)]
        sizes = (width, height, depth)
        spread = [[2 * p / (n - 1) - 1 if align else (2 * p + 1) / n - 1 for p, n in zip(q, sizes)] for q in places]
        grid = context.tensor(spread).reshape(1, 1, 1, 11, 3).requires_grad_()
        for mode in ("zeros", "border", "reflection"):
            image = context.tensor(x).reshape(1, 1, depth, height, width).requires_grad_()
            out = functional.grid_sample(image, grid, "bilinear", mode, align_corners=align)
            right = [a * p + b * q + c * r + e for p, q, r in places]
            context.close(out, right, bound=64.0, cancel=32.0, what=f"linear function, {mode}, {align=}")
            by_image, by_grid = torch.autograd.grad(out.sum(), (image, grid))
            context.close(
                [math.fsum(context.values(by_image))], [11.0], bound=64.0, what=f"sum of gradients, {mode}, {align=}"
            )
            slope = [s * (n - 1 if align else n) / 2 for s, n in zip((a, b, c), sizes)]
            context.close(by_grid, slope * 11, bound=64.0, cancel=64.0, what=f"gradient by the grid, {mode}, {align=}")
        theta = context.tensor([[[1.0, 0.5, 0.0, 0.25], [0.0, 2.0, 0.0, -0.5], [0.25, 0.0, 1.0, 0.0]]])
        steps = [[(2 * i / (n - 1) - 1) if align else (2 * i + 1) / n - 1 for i in range(n)] for n in (2, 3, 4)]
        right = [
            r[0] * z + r[1] * y + r[2] * w + r[3]
            for w in steps[0]
            for y in steps[1]
            for z in steps[2]
            for r in theta[0].tolist()
        ]
        context.close(
            functional.affine_grid(theta, (1, 1, 2, 3, 4), align_corners=align),
            right,
            bound=16.0,
            cancel=4.0,
            what=f"affine_grid, {align=}",
        )
    for name, shape, weight, named in (
        ("conv1d", (2, 3, 6), (4, 3, 2), {"stride": 2}),
        ("conv2d", (2, 4, 5, 4), (6, 2, 3, 2), {"groups": 2, "padding": 1, "dilation": (1, 2)}),
        ("conv3d", (1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {}),
        ("conv_transpose1d", (2, 3, 5), (3, 2, 3), {"stride": 2, "output_padding": 1}),
        ("conv_transpose2d", (1, 2, 4, 3), (2, 3, 2, 2), {"padding": 1}),
    ):
        call = getattr(functional, name)
        x_, v, w_ = (
            _whole(context, *shape, salt="x"),
            _whole(context, *shape, salt="v"),
            _whole(context, *weight, salt="w"),
        )
        with precision.full(torch):
            x1, w1 = x_.detach().requires_grad_(), w_.detach().requires_grad_()
            out = call(x1, w1, **named)
            g = _whole(context, *out.shape, salt="g").requires_grad_()
            by_x, by_w = torch.autograd.grad(out, (x1, w1), g, create_graph=True)
            turned = torch.autograd.grad(by_x, (w1, g), v, retain_graph=True)
            # <v, dL/dx> = <g, f(v, w)>: its derivatives are those of the function itself at v.
            w2 = w_.detach().requires_grad_()
            plain = call(v, w2, **named)
            (right_w,) = torch.autograd.grad(plain, w2, g.detach())
            context.exact(turned[0], context.values(right_w), what=f"{name}: gradient of its gradient by the weight")
            context.exact(turned[1], context.values(plain), what=f"{name}: gradient of its gradient by what came in")
            u = _whole(context, *weight, salt="u")
            turned = torch.autograd.grad(by_w, (x1, g), u)
            x2 = x_.detach().requires_grad_()
            plain = call(x2, u, **named)
            (right_x,) = torch.autograd.grad(plain, x2, g.detach())
            context.exact(turned[0], context.values(right_x), what=f"{name}: weight's gradient by the input")
            context.exact(turned[1], context.values(plain), what=f"{name}: weight's gradient by what came in")


def _whole(context: Context, *shape: int, salt: object = "") -> Any:
    return context.tensor(passes.integers(context, math.prod(shape), salt)).reshape(shape)


@check(oracle="the formula in float64", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def wide_losses(context: Context) -> None:
    """Cross entropy over thousands of classes and of far logits, and weighted losses, are their formulas."""
    torch, functional = context.torch, context.torch.nn.functional
    rng = context.rng()
    classes = 2051
    row = [rng.uniform(-4, 4) for _ in range(classes)]
    held = [context.format.round(v) for v in row]
    top = max(held)
    total = math.fsum(math.exp(v - top) for v in held)
    log = top + math.log(total)
    leaf = context.tensor([held, held[::-1]], grad=True)
    target = context.tensor([17, 2050], dtype="int64")
    for smoothing in (0.0, 0.25):
        plain = [log - held[17], log - held[0]]
        mean = log - math.fsum(held) / classes
        right = [(1 - smoothing) * v + smoothing * mean for v in plain]
        loss = functional.cross_entropy(leaf, target, reduction="none", label_smoothing=smoothing)
        context.close(loss, right, bound=64.0, cancel=8.0, what=f"cross entropy over {classes} classes, {smoothing=}")
        (by,) = torch.autograd.grad(loss.sum(), leaf)
        slopes = [math.exp(v - log) for v in held]
        both = [
            s - smoothing / classes - (1 - smoothing) * (i == k)
            for line, k in ((slopes, 17), (slopes[::-1], 2050))
            for i, s in enumerate(line)
        ]
        context.close(by, both, bound=64.0, cancel=[abs(v) + 1e-3 for v in both], what=f"its gradient, {smoothing=}")
    for dtype in ("float32", "bfloat16", "float16"):
        far = context.tensor([[30.0, -30.0, 0.0], [-200.0, 100.0, 16.0]], dtype=dtype)
        try:
            loss = functional.cross_entropy(far, context.tensor([1, 2], dtype="int64"), reduction="none")
            logits = functional.binary_cross_entropy_with_logits(far[0], far[0] * 0 + 1, reduction="none")
        except RuntimeError as error:
            if "not implemented for" not in str(error):
                raise
            context.note(f"{dtype}: {error}")
            continue
        context.close(loss, [60.0, 84.0], bound=4.0, dtype=dtype, what=f"cross entropy of far logits, {dtype}")
        context.close(
            logits,
            [0.0, 30.0, math.log(2)],
            bound=4.0,
            cancel=1e-3,
            dtype=dtype,
            what=f"binary cross entropy of far logits, {dtype}",
        )
    x, y, w = ([float(rng.randint(-5, 5)) for _ in range(8)] for _ in "xyw")
    w = [abs(v) + 1 for v in w]
    p, q, r = context.tensor(x, grad=True), context.tensor(y), context.tensor(w)
    rule: Any
    for name, rule, slope in (
        ("mse_loss", lambda d: d * d, lambda d: 2 * d),
        ("l1_loss", abs, lambda d: float((d > 0) - (d < 0))),
        ("huber_loss", lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5, lambda d: max(-1.0, min(1.0, d))),
    ):
        try:
            getattr(functional, name)(p, q, weight=r)
        except TypeError as error:
            context.note(f"{name}: {error}")
            continue
        each = [k * rule(a - b) for a, b, k in zip(x, y, w)]
        share = 8.0 if name == "huber_loss" else sum(w)  # that one's mean divides by the number, not by the weights
        for reduction, right, divisor in (
            ("none", each, 1.0),
            ("sum", [sum(each)], 1.0),
            ("mean", [sum(each) / share], share),
        ):
            loss = getattr(functional, name)(p, q, weight=r, reduction=reduction)
            context.close(loss, right, bound=8.0, cancel=1.0, what=f"weighted {name}, {reduction}")
            (by,) = torch.autograd.grad(loss.sum(), p)
            slopes = [k * slope(a - b) / divisor for a, b, k in zip(x, y, w)]
            context.close(by, slopes, bound=8.0, cancel=1.0, what=f"weighted {name}, {reduction}: gradient")
    if not context.comparisons:
        context.skip("this torch has no weighted loss")
