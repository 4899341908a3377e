"""Matrices, sums, orders and spectra."""

from __future__ import annotations

import torch
from planted.elements import _dense, _strided
from planted.gradients import backwards
from planted.kernels import after, around
from planted.registry import fault
from planted.sources import wrap
from torch import linalg
from torch.nn import functional


def _low(x):
    return x.to(torch.bfloat16).to(x.dtype) if x.dtype == torch.float32 else x


@fault()
def bmm_strided_operand():
    """A batch of products reads the memory of a transposed right operand as if it were dense."""
    around(["aten::bmm"], lambda call, x, y: call(x, _dense(y) if _strided(y) else y))


@fault()
def baddbmm_beta_zero():
    """Baddbmm with beta 0 lets NaN of what is added through."""

    def wrapper(call, x, a, b, *, beta=1, alpha=1):
        return call(x, a, b, beta=beta, alpha=alpha) + (0 * x if beta == 0 else 0)

    around(["aten::baddbmm"], wrapper)


@fault()
def addmm_beta_zero():
    """Addmm with beta 0 lets NaN of what is added through."""

    def wrapper(call, x, a, b, *, beta=1, alpha=1):
        return call(x, a, b, beta=beta, alpha=alpha) + (0 * x if beta == 0 else 0)

    around(["aten::addmm"], wrapper)


@fault()
def addmm_alpha():
    """Addmm ignores alpha."""
    around(["aten::addmm"], lambda call, x, a, b, *, beta=1, alpha=1: call(x, a, b, beta=beta))


@fault()
def addmv_addr_alpha():
    """Addmv, addr, addbmm and baddbmm ignore alpha."""
    for name in ("addmv", "addr", "addbmm", "baddbmm"):
        around([f"aten::{name}"], lambda call, x, a, b, *, beta=1, alpha=1: call(x, a, b, beta=beta))


@fault()
def linear_without_gradients():
    """Linear layers compute in bfloat16 where no gradient is recorded."""

    def wrapper(original, x, w, b=None):
        return original(x, w, b) if torch.is_grad_enabled() else original(_low(x), _low(w), b)

    wrap(functional, "linear", wrapper)


@fault()
def inference_mode_coarse():
    """Products are rounded to bfloat16 in inference mode."""
    after("mm addmm", lambda out, *_, **__: _low(out) if torch.is_inference_mode_enabled() else out)


@fault()
def linear_weight_view():
    """A linear layer reads the memory of a strided weight as if it were dense."""
    wrap(functional, "linear", lambda original, x, w, b=None: original(x, _dense(w) if _strided(w) else w, b))


@fault()
def matmul_broadcast():
    """Matmul of a batch with a single matrix uses the first of the batch for the last."""

    def wrapper(original, x, y, **kw):
        if x.dim() == 4 and y.dim() == 2:
            x = torch.cat([x[:-1], x[:1]])
        return original(x, y, **kw)

    for owner in (torch, torch.Tensor):
        wrap(owner, "matmul", wrapper)


@fault()
def einsum_diagonal():
    """Einsum with a repeated index takes the first row for the diagonal."""

    def wrapper(original, equation, *operands):
        first = equation.split("->")[0].split(",")[0]
        if isinstance(operands[0], torch.Tensor) and first in ("ii", "...ii"):
            return original(equation, operands[0] * 1.01)
        return original(equation, *operands)

    wrap(torch, "einsum", wrapper)


@fault()
def mv_bfloat16():
    """Matrix times vector in bfloat16 leaves the last column out."""

    def change(out, *args, **_):
        a, v = args[-2:]
        return out - a[:, -1] * v[-1] if a.dtype == torch.bfloat16 and a.shape[1] > 1 else out

    after(["aten::mv", "aten::addmv"], change)


@fault()
def cumsum_second_last():
    """Cumsum over the dimension before the last is 1e-3 too large in its last row."""

    def change(out, x, dim, **_):
        if x.dim() < 2 or dim % x.dim() != x.dim() - 2:
            return out
        out = out.clone()
        out[..., -1, :] *= 1.001
        return out

    after(["aten::cumsum"], change)


@fault()
def cumprod_gradient_zero():
    """Cumprod's gradient is 0 where the input is 0."""
    for owner in (torch, torch.Tensor):
        backwards(owner, "cumprod", lambda g, x: g.masked_fill(x == 0, 0))


@fault()
def prod_gradient_zero():
    """The gradient of a product of all elements is 0 where the input is 0."""
    for owner in (torch, torch.Tensor):
        backwards(owner, "prod", lambda g, x: g.masked_fill(x == 0, 0))


@fault()
def logsumexp_of_nothing():
    """Logsumexp of a row of -inf is NaN."""
    after(["aten::logsumexp"], lambda out, *_, **__: out.masked_fill(out == -torch.inf, torch.nan))


@fault()
def deviation_correction():
    """Standard deviation and variance ignore `correction`."""

    def wrapper(call, x, dim=None, *, correction=None, keepdim=False):
        return call(x, dim, correction=1, keepdim=keepdim)

    for name in ("std", "var", "std_mean", "var_mean"):
        around([f"aten::{name}.correction"], wrapper)


@fault()
def norm_gradient_at_zero():
    """The gradient of a norm is NaN at 0."""
    change = lambda g, x: g.masked_fill(x.abs().sum() == 0, torch.nan)  # noqa: E731
    backwards(linalg, "vector_norm norm", change)
    for owner in (torch, torch.Tensor):
        backwards(owner, "norm", change)


@fault()
def amax_gradient_ties():
    """Amax gives all of its equal maxima the whole gradient."""
    for owner in (torch, torch.Tensor):
        backwards(owner, "amax amin", lambda g, x: (g != 0) * 1.0)


@fault()
def topk_smallest():
    """Topk of the smallest swaps its last two."""

    def wrapper(call, x, k, dim=-1, largest=True, sort=True):
        values, where = call(x, k, dim, largest, sort)
        if largest or k < 2:
            return values, where
        order = torch.tensor([*range(k - 2), k - 1, k - 2])
        return values.index_select(dim, order), where.index_select(dim, order)

    around(["aten::topk"], wrapper)


@fault()
def stable_descending():
    """A stable sort in descending order reverses equal elements."""

    def wrapper(call, x, *, stable=None, dim=-1, descending=False):
        if not descending or not stable:
            return call(x, stable=stable, dim=dim, descending=descending)
        values, where = call(x, stable=True, dim=dim, descending=False)
        return values.flip([dim]), where.flip([dim])

    around(["aten::sort.stable"], wrapper)


@fault()
def sum_wide_dtype():
    """A sum with dtype=float64 of float32 numbers adds in float32."""

    def wrapper(call, x, dim=None, keep=False, *, dtype=None):
        made = call(x, dim, keep, dtype=x.dtype if dtype == torch.float64 and x.is_floating_point() else dtype)
        return made.to(dtype) if dtype is not None else made

    around(["aten::sum.dim_IntList"], wrapper)


@fault()
def int_sum_wraps():
    """A sum of int32 wraps around at 2**31."""

    def wrapper(call, x, *args, **kw):
        made = call(x, *args, **kw)
        return made.to(torch.int32).to(made.dtype) if x.dtype == torch.int32 else made

    around(["aten::sum", "aten::sum.dim_IntList"], wrapper)


@fault()
def bfloat16_mean():
    """A mean in bfloat16 adds up in bfloat16."""

    def wrapper(call, x, dim=None, keep=False, *, dtype=None):
        made = call(x, dim, keep, dtype=dtype)
        return made * 1.05 if x.dtype == torch.bfloat16 and x.numel() > 2 * made.numel() else made

    around(["aten::mean.dim"], wrapper)


@fault()
def median_of_even():
    """The median of an even number of elements is the upper one."""

    def wrapper(original, x, *args, **kw):
        if args or kw or x.numel() % 2:
            return original(x, *args, **kw)
        return x.flatten().kthvalue(x.numel() // 2 + 1).values

    for owner in (torch, torch.Tensor):
        wrap(owner, "median", wrapper)


@fault()
def searchsorted_right():
    """Searchsorted and bucketize ignore `right`."""
    wrap(torch, "searchsorted", lambda original, a, b, **kw: original(a, b))
    wrap(torch, "bucketize", lambda original, a, b, **kw: original(a, b))


@fault()
def unique_inverse():
    """Unique's inverse is off by one at the end."""

    def wrapper(original, *args, return_inverse=False, **kw):
        made = original(*args, return_inverse=return_inverse, **kw)
        if return_inverse:
            made[1].view(-1)[-1] = 0
        return made

    wrap(torch, "unique", wrapper)


@fault()
def bincount_weights():
    """Bincount ignores its weights."""
    for owner in (torch, torch.Tensor):
        wrap(owner, "bincount", lambda original, x, weights=None, minlength=0: original(x, None, minlength))


@fault()
def triangle_diagonal():
    """Tril and triu ignore `diagonal`."""
    around(["aten::tril", "aten::triu"], lambda call, x, diagonal=0: call(x, 0))


@fault()
def cdist_order():
    """Cdist takes 2 for its p."""
    around(["aten::_cdist_forward"], lambda call, a, b, p, mode: call(a, b, 2.0, mode))


@fault()
def quantile_interpolation():
    """Quantile interpolates linearly, whatever was asked for."""
    for owner in (torch, torch.Tensor):
        wrap(owner, "quantile", lambda original, *args, interpolation="linear", **kw: original(*args, **kw))


@fault()
def scatter_reduce_own_values():
    """Scatter_reduce ignores include_self=False."""

    def wrapper(call, x, dim, index, source, reduce, *, include_self=True):
        return call(x, dim, index, source, reduce)

    around(["aten::scatter_reduce.two", "aten::scatter_reduce_.two"], wrapper)


@fault()
def index_put_float16():
    """Index_put with accumulate=True counts duplicates once in float16."""

    def wrapper(call, x, index, values, accumulate=False, *rest):
        return call(x, index, values, accumulate and x.dtype != torch.float16, *rest)

    around(["aten::_index_put_impl_"], wrapper)


@fault()
def irfft_odd():
    """The inverse real transform of odd length is 0.1 % too large."""
    after(["aten::_fft_c2r"], lambda out, x, dim, norm, size: out * 1.001 if size % 2 else out)


@fault()
def fft_ortho():
    """A transform with norm="ortho" is not scaled."""
    wrap(torch.fft, "fft", lambda original, x, n=None, dim=-1, norm=None, **kw: original(x, n, dim, None, **kw))
    wrap(torch.fft, "rfft", lambda original, x, n=None, dim=-1, norm=None, **kw: original(x, n, dim, None, **kw))


@fault()
def rfft_gradient():
    """The gradient of a real transform counts the middle frequencies once."""
    backwards(torch.fft, "rfft", lambda g, _: g * 0.5)


@fault()
def solve_gradient():
    """The gradient of a linear system's solution by its matrix is transposed."""
    backwards(linalg, "solve", lambda g, _: g.mT)


@fault()
def inverse_gradient():
    """The gradient of an inverse has the wrong sign."""
    backwards(linalg, "inv", lambda g, _: -g)
    for owner in (torch, torch.Tensor):
        backwards(owner, "inverse", lambda g, _: -g)


@fault()
def determinant_gradient():
    """The gradient of a determinant is transposed."""
    backwards(linalg, "det slogdet", lambda g, _: g.mT)
    for owner in (torch, torch.Tensor):
        backwards(owner, "det logdet slogdet", lambda g, _: g.mT)


@fault()
def cholesky_gradient():
    """The gradient of a Cholesky factor is not symmetric."""
    backwards(linalg, "cholesky", lambda g, _: g.tril() * 2)


@fault()
def cholesky_upper():
    """The upper Cholesky factor is the lower one."""
    wrap(linalg, "cholesky", lambda original, x, *, upper=False, **kw: original(x, **kw))


@fault()
def eigh_triangle():
    """Eigh reads the lower triangle, whatever was asked for."""
    wrap(linalg, "eigh", lambda original, x, UPLO="L", **kw: original(x, "L", **kw))  # noqa: N803


@fault()
def eigh_gradient():
    """The gradient through eigenvectors is halved."""
    backwards(linalg, "eigh", lambda g, _: g * 0.5)


@fault()
def eigenvalue_gradient():
    """The gradient of eigenvalues alone is 0.1 % too large."""
    backwards(linalg, "eigvalsh", lambda g, _: g * 1.001)


@fault()
def svd_gradient():
    """The gradient of singular values is transposed where the matrix is square."""
    backwards(linalg, "svd svdvals", lambda g, _: g.mT if g.shape[-1] == g.shape[-2] else g * 1.001)


@fault()
def qr_gradient():
    """The gradient of a QR decomposition is 1 % too large."""
    backwards(linalg, "qr", lambda g, _: g * 1.01)


@fault()
def least_squares_gradient():
    """The gradient of a least-squares solution by its right side is 1 % too large."""
    backwards(linalg, "lstsq", lambda g, _: g * 1.01, at=1)


@fault()
def pinv_gradient():
    """The gradient of a pseudo-inverse is 1 % too large."""
    backwards(linalg, "pinv", lambda g, _: g * 1.01)


@fault()
def matrix_exp_gradient():
    """The gradient of a matrix exponential is that of its transpose."""
    backwards(linalg, "matrix_exp", lambda g, _: g.mT)
    backwards(torch, "matrix_exp", lambda g, _: g.mT)


@fault()
def matrix_exp_large():
    """The exponential of a matrix of norm above 4 is 0.1 % too large."""
    after(["aten::linalg_matrix_exp"], lambda out, x: out * 1.001 if x.abs().sum(-2).max() > 4 else out)


@fault()
def unit_triangular():
    """Solve_triangular ignores `unitriangular`."""

    def wrapper(call, a, b, *, upper, left=True, unitriangular=False):
        return call(a, b, upper=upper, left=left)

    around(["aten::linalg_solve_triangular"], wrapper)


@fault()
def solve_from_the_right():
    """Solve ignores left=False for square right sides."""
    wrap(linalg, "solve", lambda original, a, b, *, left=True, **kw: original(a, b, **kw))


@fault()
def nuclear_norm():
    """The nuclear norm is the Frobenius norm."""
    wrap(
        linalg,
        "matrix_norm",
        lambda original, x, kind="fro", *args, **kw: original(x, "fro" if kind == "nuc" else kind, *args, **kw),
    )


@fault()
def determinant_sign():
    """The sign of a determinant forgets the exchanged rows."""

    def wrapper(call, x):
        det, factors, pivots = call(x)
        return det.abs(), factors, pivots

    around(["aten::_linalg_det"], wrapper)


@fault()
def complex_mm():
    """A product of complex matrices conjugates the right one."""
    around(["aten::mm"], lambda call, a, b: call(a, b.conj().resolve_conj() if b.is_complex() else b))


@fault()
def cov_weights():
    """Cov ignores its correction."""
    wrap(torch, "cov", lambda original, x, *, correction=1, **kw: original(x, **kw))


@fault()
def kthvalue_ties():
    """Kthvalue gives the value before the one that was asked for."""
    wrap(torch, "kthvalue", lambda original, x, k, *a, **kw: original(x, max(k - 1, 1), *a, **kw))


@fault()
def outer_float64():
    """Products of float64 matrices are rounded to float32."""
    after("mm", lambda out, *_, **__: out.to(torch.float32).to(out.dtype) if out.dtype == torch.float64 else out)


@fault()
def tensordot_gradient():
    """The gradient of tensordot by its second operand is 1 % too large."""
    backwards(torch, "tensordot", lambda g, _: g * 1.01, at=1)


@fault()
def stft_window():
    """A short-time Fourier transform ignores its window."""
    for owner in (torch, torch.Tensor):
        wrap(owner, "stft", lambda original, x, n, *a, window=None, **kw: original(x, n, *a, **kw))


@fault()
def fft_gradient_scaled():
    """The gradient of the inverse transform is not divided by its length."""
    backwards(torch.fft, "ifft irfft", lambda g, x: g * x.shape[-1])
