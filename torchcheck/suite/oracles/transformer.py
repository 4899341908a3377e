"""A Transformer encoder layer in plain Python on the tape: attention, feed-forward, residuals, layer norms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .normalisation import moments
from .tape import Num, dot, exp, relu, sqrt, total

Rows = list[list[Num]]
Parameters = Mapping[str, list[Num]]


def linear(x: Rows, weight: Sequence[Num], bias: Sequence[Num]) -> Rows:
    """Apply x W^T + b row by row; the weight is flat, out x in."""
    width = len(x[0])
    lines = [weight[i : i + width] for i in range(0, len(weight), width)]
    return [[dot(row, line, b) for line, b in zip(lines, bias)] for row in x]


def softmax(xs: Sequence[Num]) -> list[Num]:
    """exp(x - max) / sum."""
    top = max(x.value for x in xs)
    raised = [exp(x - top) for x in xs]
    scale = 1 / total(raised)
    return [r * scale for r in raised]


def attention(x: Rows, parameters: Parameters, heads: int, keys: Sequence[bool]) -> Rows:
    """Multi-head self-attention over the keys that are not padding."""
    width = len(x[0])
    projected = linear(x, parameters["self_attn.in_proj_weight"], parameters["self_attn.in_proj_bias"])
    depth = width // heads
    out: Rows = [[] for _ in x]
    for h in range(heads):
        q, k, v = ([row[s + h * depth : s + (h + 1) * depth] for row in projected] for s in (0, width, 2 * width))
        k, v = ([row for row, used in zip(part, keys) if used] for part in (k, v))
        columns = [list(column) for column in zip(*v)]
        for row, into in zip(q, out):
            p = softmax([dot(row, key) * (1 / math.sqrt(depth)) for key in k])
            into += [dot(p, column) for column in columns]
    return linear(out, parameters["self_attn.out_proj.weight"], parameters["self_attn.out_proj.bias"])


def layer_norm(x: Rows, weight: Sequence[Num], bias: Sequence[Num], eps: float) -> Rows:
    """(x - mean) / sqrt(var + eps) * weight + bias, row by row."""
    out = []
    for row in x:
        mean, var = moments(row)
        scale = 1 / sqrt(var + eps)
        out.append([(v - mean) * scale * w + b for v, w, b in zip(row, weight, bias)])
    return out


def encoder_layer(
    x: Rows, parameters: Parameters, heads: int, keys: Sequence[bool], eps: float, *, norm_first: bool
) -> Rows:
    """Attention and feed-forward with ReLU, each added to its input, normalised after or before."""

    def norm(rows: Rows, which: str) -> Rows:
        return layer_norm(rows, parameters[f"{which}.weight"], parameters[f"{which}.bias"], eps)

    def attend(rows: Rows) -> Rows:
        return attention(rows, parameters, heads, keys)

    def feed(rows: Rows) -> Rows:
        inner = linear(rows, parameters["linear1.weight"], parameters["linear1.bias"])
        active = [[relu(v) for v in row] for row in inner]
        return linear(active, parameters["linear2.weight"], parameters["linear2.bias"])

    if norm_first:
        x = _add(x, attend(norm(x, "norm1")))
        return _add(x, feed(norm(x, "norm2")))
    x = norm(_add(x, attend(x)), "norm1")
    return norm(_add(x, feed(x)), "norm2")


def _add(a: Rows, b: Rows) -> Rows:
    return [[p + q for p, q in zip(*rows)] for rows in zip(a, b)]
