"""Recurrent layers, attention, transformers."""

from __future__ import annotations

import torch
from planted.gradients import backwards
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch import nn
from torch.nn import functional
from torch.nn.modules import rnn


@fault()
def lstm_packed_last():
    """An LSTM over packed sequences of different lengths gives the state after the longest for all."""

    def wrapper(original, *args):
        made = original(*args)
        packed = isinstance(args[1], torch.Tensor) and args[1].dtype == torch.int64
        return (made[0], made[1][:, :1].expand_as(made[1]), made[2]) if packed else made

    wrap(torch._VF, "lstm", wrapper)


@fault()
def gru_packed():
    """A GRU over packed sequences ignores the initial state."""

    def wrapper(original, *args):
        packed = isinstance(args[1], torch.Tensor) and args[1].dtype == torch.int64
        return original(*args[:2], torch.zeros_like(args[2]), *args[3:]) if packed else original(*args)

    wrap(torch._VF, "gru", wrapper)


@fault()
def gru_hidden_bias():
    """A GRU's hidden bias of the new gate is not gated by the reset gate."""

    def wrapper(original, x, hidden, params, *rest):
        if not isinstance(params, (list, tuple)) or len(params) % 4:
            return original(x, hidden, params, *rest)
        moved = list(params)
        for i in range(0, len(moved), 4):
            n = moved[i + 2].shape[0] // 3
            shift = torch.cat([torch.zeros(2 * n).to(moved[i + 3]), moved[i + 3][2 * n :]])
            moved[i + 2], moved[i + 3] = moved[i + 2] + shift, moved[i + 3] - shift
        return original(x, hidden, moved, *rest)

    wrap(torch._VF, "gru", wrapper)


@fault()
def lstm_projection_gradient():
    """An LSTM with a projection leaves its weight without gradient."""

    def wrapper(original, x, hidden, params, *rest):
        if isinstance(params, (list, tuple)) and len(params) % 5 == 0:
            params = [p.detach() if i % 5 == 4 else p for i, p in enumerate(params)]
        return original(x, hidden, params, *rest)

    wrap(torch._VF, "lstm", wrapper)


@fault()
def rnn_relu_is_tanh():
    """A recurrent layer with ReLU uses tanh."""
    torch._VF.rnn_relu = torch._VF.rnn_tanh


@fault()
def layers_without_dropout():
    """Recurrent layers drop nothing between them."""

    def wrapper(original, self, *a, **kw):
        original(self, *a, **kw)
        self.dropout = 0.0

    wrap(rnn.RNNBase, "__init__", wrapper)


@fault()
def batch_first_state():
    """A bidirectional LSTM with batch_first swaps its directions."""

    def wrapper(original, self, x, state=None):
        made, last = original(self, x, state)
        if self.batch_first and self.bidirectional and isinstance(made, torch.Tensor):
            made = torch.cat(made.chunk(2, -1)[::-1], -1)
        return made, last

    wrap(nn.LSTM, "forward", wrapper)


@fault()
def cell_without_bias():
    """A GRU cell forgets its input bias."""
    wrap(
        torch._VF,
        "gru_cell",
        lambda original, x, h, wi, wh, bi=None, bh=None: original(x, h, wi, wh, None if bi is None else bi * 0, bh),
    )


@fault()
def attention_zero_column():
    """Multi-head attention ignores `add_zero_attn`."""
    wrap(
        nn.MultiheadAttention,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{k: v for k, v in kw.items() if k != "add_zero_attn"}),
    )


@fault()
def attention_key_padding():
    """Multi-head attention without weights ignores `key_padding_mask`."""

    def wrapper(original, self, q, k, v, key_padding_mask=None, need_weights=True, *a, **kw):
        return original(self, q, k, v, key_padding_mask if need_weights else None, need_weights, *a, **kw)

    wrap(nn.MultiheadAttention, "forward", wrapper)


@fault()
def attention_average():
    """Multi-head attention gives the first head's weights where the average was asked for."""

    def wrapper(original, self, *a, average_attn_weights=True, **kw):
        out, weights = original(self, *a, average_attn_weights=False, **kw)
        if weights is not None and average_attn_weights:
            weights = weights.select(-3, 0)
        return out, weights

    wrap(nn.MultiheadAttention, "forward", wrapper)


@fault()
def attention_fast_path():
    """Multi-head attention's fast path for inference is 0.1 % too large."""
    wrap(
        torch,
        "_native_multi_head_attention",
        lambda original, *a, **kw: _first(original(*a, **kw)),
    )


def _first(made):
    return made[0] * 1.001, made[1]


@fault()
def encoder_fast_path():
    """A transformer encoder layer's fast path for inference is 0.1 % too large."""
    wrap(torch, "_transformer_encoder_layer_fwd", lambda original, *a, **kw: original(*a, **kw) * 1.001)


@fault()
def decoder_memory_mask():
    """A transformer decoder layer ignores its memory's padding."""

    def wrapper(original, self, target, memory, *a, memory_key_padding_mask=None, **kw):
        return original(self, target, memory, *a, **kw)

    wrap(nn.TransformerDecoderLayer, "forward", wrapper)


@fault()
def attention_float_mask():
    """Attention with a mask of numbers subtracts it."""

    def wrapper(original, q, k, v, attn_mask=None, *a, **kw):
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = -attn_mask.clamp_min(-10)
        return original(q, k, v, attn_mask, *a, **kw)

    wrap(functional, "scaled_dot_product_attention", wrapper)


@fault()
def attention_causal_wide():
    """Causal attention of unequal lengths aligns its triangle with the last key."""

    def wrapper(original, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **kw):
        n, m = q.shape[-2], k.shape[-2]
        if is_causal and n != m:
            return original(q, k, v, torch.ones(n, m, dtype=torch.bool).tril(m - n), dropout_p, **kw)
        return original(q, k, v, attn_mask, dropout_p, is_causal, **kw)

    wrap(functional, "scaled_dot_product_attention", wrapper)


@fault()
def attention_groups():
    """Grouped attention gives its queries the keys in turn, not in blocks."""

    def wrapper(original, q, k, v, *a, enable_gqa=False, **kw):
        if enable_gqa:
            times = q.shape[-3] // k.shape[-3]
            return original(q, torch.cat([k] * times, -3), torch.cat([v] * times, -3), *a, **kw)
        return original(q, k, v, *a, **kw)

    wrap(functional, "scaled_dot_product_attention", wrapper)


@fault()
def attention_mask_gradient():
    """Attention gives its mask of numbers half of its gradient."""
    backwards(functional, "scaled_dot_product_attention", lambda g, _: g * 0.5, at=3)


@fault()
def attention_dropout_scale():
    """Attention's dropout forgets its scale."""

    def wrapper(original, q, k, v, attn_mask=None, dropout_p=0.0, *a, **kw):
        return original(q, k, v, attn_mask, dropout_p, *a, **kw) * (1 - dropout_p)

    wrap(functional, "scaled_dot_product_attention", wrapper)


@fault()
def attention_strided_query():
    """Attention of a query whose heads were transposed in is 0.1 % too large."""

    def wrapper(original, q, *a, **kw):
        return original(q, *a, **kw) * (1 if q.is_contiguous() else 1.001)

    wrap(functional, "scaled_dot_product_attention", wrapper)


@fault()
def packed_order():
    """Pad_packed_sequence leaves sequences in the order of their lengths."""
    from torch.nn.utils import rnn as utils

    rewrite(utils, "pad_packed_sequence", ("if unsorted_indices is not None:", "if False:"))


@fault()
def square_mask():
    """A transformer's square mask hides the diagonal, too."""
    from torch.nn.modules import transformer

    rewrite(transformer, "_generate_square_subsequent_mask", ("diagonal=1", "diagonal=0"))
    wrap(
        nn.Transformer,
        "generate_square_subsequent_mask",
        lambda original, n, **kw: torch.triu(torch.full((n, n), float("-inf"), **kw), 0),
    )
    nn.Transformer.generate_square_subsequent_mask = staticmethod(nn.Transformer.generate_square_subsequent_mask)
