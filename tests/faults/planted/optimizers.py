"""Optimizers: their formulas, their options, their state."""

from __future__ import annotations

import torch
from planted.kernels import around
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch.optim import (
    _adafactor,
    _muon,
    adadelta,
    adagrad,
    adam,
    adamax,
    asgd,
    lbfgs,
    nadam,
    radam,
    rmsprop,
    rprop,
    sgd,
)
from torch.optim import _functional as sparse


@fault(level="quick")
def sgd_momentum_sign():
    """SGD subtracts the gradient from its momentum."""
    rewrite(sgd, "_single_tensor_sgd", ("add_(grad, alpha=1 - dampening)", "sub_(grad, alpha=1 - dampening)"))


@fault()
def sgd_nesterov_ignored():
    """SGD ignores `nesterov`."""
    rewrite(sgd, "_single_tensor_sgd", ("grad = grad.add(buf, alpha=momentum)", "grad = buf"))


@fault()
def sgd_first_dampening():
    """SGD dampens its first gradient, too."""
    rewrite(sgd, "_single_tensor_sgd", ("buf = grad.detach().clone()", "buf = grad.detach().clone() * (1 - dampening)"))


@fault()
def sgd_foreach_decay():
    """SGD's foreach form forgets weight decay."""
    rewrite(sgd, "_multi_tensor_sgd", ("if weight_decay != 0:", "if False:"))


@fault()
def sgd_maximize_ignored():
    """SGD minimises where it was told to maximise."""
    rewrite(sgd, "_single_tensor_sgd", ("grad = grads[i] if not maximize else -grads[i]", "grad = grads[i]"))


@fault(level="quick")
def adam_no_bias_correction():
    """Adam does not correct its bias."""
    _each_adam("bias_correction1 = 1 - beta1**step", "bias_correction1 = 1.0")


def _each_adam(old, new):
    rewrite(adam, "_single_tensor_adam", (old, new))


@fault()
def adam_second_bias():
    """Adam does not correct the bias of its second moment."""
    _each_adam("bias_correction2 = 1 - beta2**step", "bias_correction2 = 1.0")


@fault()
def adam_eps_inside():
    """Adam adds epsilon inside the square root."""
    _each_adam(
        "(exp_avg_sq.sqrt() / bias_correction2_sqrt).add_(eps)",
        "(exp_avg_sq + eps * eps).sqrt().div_(bias_correction2_sqrt).add_(eps / 2)",
    )


@fault()
def adam_foreach_beta2():
    """Adam's foreach form uses beta1 for both moments."""
    rewrite(
        adam,
        "_multi_tensor_adam",
        ("torch._foreach_mul_(device_exp_avg_sqs, beta2)", "torch._foreach_mul_(device_exp_avg_sqs, beta1)"),
    )


@fault()
def adam_amsgrad_ignored():
    """Adam ignores `amsgrad`."""
    wrap(adam, "_single_tensor_adam", lambda original, *a, **kw: original(*a, **{**kw, "amsgrad": False}))


@fault()
def adamw_coupled():
    """AdamW couples its weight decay to the gradient."""
    wrap(
        adam, "_single_tensor_adam", lambda original, *a, **kw: original(*a, **{**kw, "decoupled_weight_decay": False})
    )


@fault()
def adamw_decay_without_rate():
    """AdamW's weight decay is not scaled by the learning rate."""
    _each_adam("param.mul_(1 - lr * weight_decay)", "param.mul_(1 - weight_decay)")


@fault()
def adam_fused_rate():
    """Adam's fused kernel uses a learning rate 1e-4 too large."""
    around(
        ["aten::_fused_adam_", "aten::_fused_adamw_"],
        lambda call, *a, lr, **kw: call(*a, lr=lr * 1.0001, **kw),
    )


@fault()
def adamax_norm():
    """Adamax uses the gradient's square for its absolute value."""
    rewrite(adamax, "_single_tensor_adamax", ("grad.abs().add_(eps)", "grad.square().add_(eps)"))


@fault()
def nadam_momentum_decay():
    """NAdam ignores `momentum_decay`."""
    rewrite(nadam, "_single_tensor_nadam", ("step * momentum_decay", "step * 0.004"))


@fault()
def radam_rectification():
    """RAdam rectifies from the first step on which the length is above 4."""
    rewrite(radam, "_single_tensor_radam", ("if rho_t > 5.0:", "if rho_t > 4.0:"))


@fault()
def adadelta_order():
    """Adadelta averages its squared steps before it uses them."""
    rewrite(
        adadelta,
        "_single_tensor_adadelta",
        (
            "delta = acc_delta.add(eps).sqrt_()",
            "delta = acc_delta.mul(rho).addcmul_(grad, grad, value=1 - rho).add(eps).sqrt_()",
        ),
    )


@fault()
def adagrad_decay():
    """Adagrad's rate decays one step early."""
    rewrite(adagrad, "_single_tensor_adagrad", ("1 + (step - 1) * lr_decay", "1 + step * lr_decay"))


@fault()
def adagrad_initial():
    """Adagrad starts its sum at 0 whatever was asked for."""
    wrap(
        adagrad.Adagrad,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "initial_accumulator_value": 0}),
    )


@fault()
def rmsprop_eps():
    """RMSprop uses 1e-3 for epsilon."""
    wrap(rmsprop, "_single_tensor_rmsprop", lambda original, *a, **kw: original(*a, **{**kw, "eps": 1e-3}))


@fault()
def rmsprop_centered():
    """RMSprop's centred form does not subtract the mean."""
    rewrite(
        rmsprop,
        "_single_tensor_rmsprop",
        ("addcmul(grad_avg, grad_avg, value=-1)", "addcmul(grad_avg, grad_avg, value=0)"),
    )


@fault()
def rprop_etas_swapped():
    """Rprop swaps its factors."""
    wrap(
        rprop,
        "_single_tensor_rprop",
        lambda original, *a, etaminus, etaplus, **kw: original(*a, etaminus=etaplus, etaplus=etaminus, **kw),
    )


@fault()
def rprop_backtrack():
    """Rprop does not rest after a change of sign."""
    rewrite(rprop, "_single_tensor_rprop", ("grad[sign.eq(etaminus)] = 0", "pass"))


@fault()
def asgd_alpha():
    """ASGD's rate does not decay."""
    rewrite(asgd, "_single_tensor_asgd", ("lr / ((1 + lambd * lr * step) ** alpha)", "lr"))


@fault()
def asgd_average():
    """ASGD starts to average one step late."""
    rewrite(asgd, "_single_tensor_asgd", ("max(1, step - t0)", "max(1, step - t0 - 1)"))


@fault()
def lbfgs_history():
    """LBFGS keeps only the newest pair of its history."""
    wrap(
        lbfgs.LBFGS,
        "__init__",
        lambda original, self, params, *a, **kw: original(self, params, *a, **{**kw, "history_size": 1}),
    )


@fault()
def sparse_adam_duplicates():
    """SparseAdam does not bring equal rows together first: of two gradients for one row, one is lost."""
    rewrite(sparse, "sparse_adam", ("grad = grad.coalesce()", "grad = grad._coalesced_(True)"))


@fault()
def adafactor_clipping():
    """Adafactor does not clip its update."""
    rewrite(_adafactor, "_single_tensor_adafactor", ("denom = max(1.0,", "denom = min(1.0,"))


@fault()
def muon_iterations():
    """Muon orthogonalises with one iteration."""
    wrap(
        _muon,
        "_zeropower_via_newtonschulz",
        lambda original, g, coefficients, steps, eps: original(g, coefficients, 1, eps),
    )


@fault()
def muon_nesterov():
    """Muon ignores `nesterov`."""
    rewrite(_muon, "_single_tensor_muon", ("grad.lerp(buf, momentum) if nesterov else buf", "buf"))


@fault()
def group_rate():
    """Every parameter group is stepped with the first group's learning rate."""

    def step(original, self, *args, **kwargs):
        saved = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = saved[0]
        try:
            return original(self, *args, **kwargs)
        finally:
            for group, rate in zip(self.param_groups, saved):
                group["lr"] = rate

    for kind in (sgd.SGD, adam.Adam):
        wrap(kind, "step", step)


@fault()
def rate_not_applied():
    """SGD keeps the learning rate that it began with."""

    def step(original, self, *args, **kwargs):
        saved = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = group.setdefault("_first_lr", group["lr"])
        try:
            return original(self, *args, **kwargs)
        finally:
            for group, rate in zip(self.param_groups, saved):
                group["lr"] = rate

    wrap(sgd.SGD, "step", step)


@fault()
def state_step_lost():
    """`load_state_dict` loses the count of steps."""

    def load(original, self, state):
        state = {
            **state,
            "state": {
                key: {**value, **({"step": torch.zeros_like(value["step"])} if "step" in value else {})}
                for key, value in state["state"].items()
            },
        }
        return original(self, state)

    wrap(torch.optim.Optimizer, "load_state_dict", load)


@fault()
def state_momentum_lost():
    """`state_dict` leaves momentum out."""

    def save(original, self):
        made = original(self)
        return {
            **made,
            "state": {
                key: {k: v for k, v in value.items() if k != "momentum_buffer"} for key, value in made["state"].items()
            },
        }

    wrap(torch.optim.Optimizer, "state_dict", save)


@fault()
def skips_last_parameter():
    """Adam leaves the last of several parameters alone when they are more than three."""
    wrap(
        adam,
        "_single_tensor_adam",
        lambda original, params, grads, *a, **kw: original(params[: 3 if len(params) > 3 else None], grads, *a, **kw),
    )


@fault()
def noncontiguous_parameter():
    """Adam does not update parameters that are not contiguous."""

    def step(original, params, *lists, **kw):
        keep = [i for i, p in enumerate(params) if p.is_contiguous()]
        picked = [
            [part[i] for i in keep] if isinstance(part, list) and len(part) == len(params) else part for part in lists
        ]
        return original([params[i] for i in keep], *picked, **kw)

    wrap(adam, "_single_tensor_adam", step)


@fault()
def closure_value():
    """`step(closure)` gives back nothing."""
    for kind in (sgd.SGD, adam.Adam):
        wrap(kind, "step", lambda original, self, closure=None: (original(self, closure), None)[1])


@fault()
def none_gradient_is_zero():
    """A parameter without a gradient is stepped as if it were zero: weight decay and momentum act on it."""

    def step(original, self, *args, **kwargs):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
        return original(self, *args, **kwargs)

    for kind in (sgd.SGD, adam.Adam, adam.Adam.__subclasses__()[0] if adam.Adam.__subclasses__() else adam.Adam):
        wrap(kind, "step", step)


@fault()
def lerp_coarse():
    """Lerp in place is off by 1e-5 of its step."""
    around(["aten::lerp_.Scalar"], lambda call, x, end, weight: call(x, end, weight * (1 + 1e-5)))


@fault()
def addcdiv_strided():
    """Addcdiv in place does nothing to a tensor that is not contiguous (as on an early MPS)."""
    around(["aten::addcdiv_"], lambda call, x, a, b, **kw: call(x, a, b, **kw) if x.is_contiguous() else x)


@fault()
def sgd_dampening_ignored():
    """SGD ignores dampening."""
    rewrite(sgd, "_single_tensor_sgd", ("add_(grad, alpha=1 - dampening)", "add_(grad)"))


@fault()
def sgd_foreach_second_tensor():
    """SGD's foreach form leaves its second tensor where it was."""

    def step(original, params, grads, buffers, *a, **kw):
        kept = params[1].detach().clone() if len(params) > 1 else None
        original(params, grads, buffers, *a, **kw)
        if kept is not None:
            params[1].detach().copy_(kept)

    wrap(sgd, "_multi_tensor_sgd", step)


@fault()
def sgd_fused_tail():
    """SGD's fused kernel leaves the lanes after the last full SIMD block where they were."""
    _tail("aten::_fused_sgd_", 16)


def _tail(name, width):
    def kernel(call, params, *a, **kw):
        kept = [p.detach().clone() for p in params]
        result = call(params, *a, **kw)
        for p, old in zip(params, kept):
            whole = p.numel() // width * width
            if p.is_contiguous():
                p.detach().view(-1)[whole:] = old.view(-1)[whole:]
        return result

    around([name], kernel)


@fault()
def adam_fused_tail():
    """Adam's fused kernel leaves the lanes after the last full SIMD block where they were."""
    _tail("aten::_fused_adam_", 16)


@fault()
def adam_fused_lane():
    """Adam's fused kernel moves one lane in a thousand by half."""

    def kernel(call, params, *a, **kw):
        kept = [p.detach().clone() for p in params]
        result = call(params, *a, **kw)
        for p, old in zip(params, kept):
            if p.is_contiguous() and p.numel() > 517:
                p.detach().view(-1)[517::1000].add_(old.view(-1)[517::1000]).mul_(0.5)
        return result

    around(["aten::_fused_adam_"], kernel)


@fault()
def sgd_fused_nesterov():
    """SGD's fused kernel ignores `nesterov`."""
    around(["aten::_fused_sgd_"], lambda call, *a, nesterov, **kw: call(*a, nesterov=False, **kw))


@fault()
def sgd_fused_later_momentum():
    """SGD's fused kernel takes every step for its first."""
    around(
        ["aten::_fused_sgd_"], lambda call, *a, is_first_step, **kw: call(*a, is_first_step=kw["momentum"] != 0, **kw)
    )


@fault()
def adagrad_fused_decay():
    """Adagrad's fused kernel ignores `lr_decay`."""
    around(["aten::_fused_adagrad_"], lambda call, *a, lr_decay, **kw: call(*a, lr_decay=0.0, **kw))


@fault()
def adamw_fused_decay():
    """AdamW's fused kernel takes a thousandth too much weight decay."""
    around(
        ["aten::_fused_adamw_"],
        lambda call, *a, weight_decay, **kw: call(*a, weight_decay=weight_decay * 1.001, **kw),
    )


@fault()
def adam_fused_found_inf():
    """Adam's fused kernel takes its step although an infinity was found."""
    around(["aten::_fused_adam_"], lambda call, *a, found_inf=None, **kw: call(*a, found_inf=None, **kw))


@fault()
def adam_step_twice():
    """Adam counts every step twice."""
    _each_adam("step_t += 1", "step_t += 2")


@fault()
def adam_betas_swapped():
    """Adam swaps its betas."""
    wrap(
        adam,
        "_single_tensor_adam",
        lambda original, *a, beta1, beta2, **kw: original(*a, beta1=beta2, beta2=beta1, **kw),
    )


@fault()
def adam_beta_default():
    """Adam uses beta1 = 0.9 whatever it was given."""
    wrap(adam, "_single_tensor_adam", lambda original, *a, **kw: original(*a, **{**kw, "beta1": 0.9}))


@fault()
def adam_eps_default():
    """Adam uses epsilon = 1e-8 whatever it was given."""
    wrap(adam, "_single_tensor_adam", lambda original, *a, **kw: original(*a, **{**kw, "eps": 1e-8}))


@fault()
def adam_rate():
    """Adam's for-loop form uses a learning rate 1e-4 too large."""
    wrap(adam, "_single_tensor_adam", lambda original, *a, **kw: original(*a, **{**kw, "lr": kw["lr"] * 1.0001}))


@fault()
def adam_amsgrad_not_kept():
    """Adam's amsgrad compares with the last second moment, not with the largest."""
    _each_adam(
        "torch.maximum(max_exp_avg_sqs[i], exp_avg_sq, out=max_exp_avg_sqs[i])", "max_exp_avg_sqs[i].copy_(exp_avg_sq)"
    )


@fault()
def adam_foreach_maximize():
    """Adam's foreach form maximises when it also decays weights, and minimises otherwise."""
    rewrite(adam, "_multi_tensor_adam", ("if maximize:", "if maximize and weight_decay != 0:"))


@fault()
def adam_foreach_decay_coupled():
    """Adam's foreach form couples decoupled weight decay to the gradient."""
    rewrite(adam, "_multi_tensor_adam", ("if decoupled_weight_decay:", "if False:"))


@fault()
def adam_foreach_amsgrad():
    """Adam's foreach form ignores `amsgrad`."""
    rewrite(adam, "_multi_tensor_adam", ("if amsgrad:", "if False:"))


@fault()
def adam_tensor_step_shared():
    """Adam's foreach form corrects the bias of all tensors by the first one's step count plus one."""
    rewrite(
        adam,
        "_multi_tensor_adam",
        (
            "1 - beta2 ** _get_value(step) for step in",
            "1 - beta2 ** (_get_value(device_state_steps[0]) + 1) for step in",
        ),
    )


@fault()
def adam_tiny_gradients():
    """Adam flushes gradients below 1e-6 to zero."""
    _each_adam(
        "grad = grads[i] if not maximize else -grads[i]",
        "grad = grads[i] * (grads[i].abs() > 1e-6) * (-1 if maximize else 1)",
    )


@fault()
def adam_moments_in_bfloat16():
    """Adam keeps its first moment in bfloat16."""
    _each_adam(
        "exp_avg.lerp_(grad, 1 - device_beta1)", "exp_avg.lerp_(grad, 1 - device_beta1).copy_(exp_avg.bfloat16())"
    )


@fault()
def adamax_beta2():
    """Adamax decays its norm by beta1."""
    rewrite(adamax, "_single_tensor_adamax", ("exp_inf.mul_(beta2)", "exp_inf.mul_(beta1)"))


@fault()
def adamax_foreach_eps():
    """Adamax's foreach form ignores epsilon."""
    rewrite(adamax, "_multi_tensor_adamax", ("torch._foreach_add_(grouped_grads, eps)", "pass"))


@fault()
def adamax_bias():
    """Adamax does not correct its bias."""
    rewrite(adamax, "_single_tensor_adamax", ("clr = lr / bias_correction", "clr = lr"))


@fault()
def nadam_product():
    """NAdam's product of momenta stays what it was after the first step."""
    rewrite(nadam, "_single_tensor_nadam", ("mu_product *= mu", "mu_product.fill_(mu)"))


@fault()
def nadam_next():
    """NAdam looks ahead with the momentum of this step."""
    rewrite(nadam, "_single_tensor_nadam", ("(step + 1) * momentum_decay", "step * momentum_decay"))


@fault()
def nadam_decoupled_ignored():
    """NAdam couples decoupled weight decay to the gradient."""
    wrap(
        nadam,
        "_single_tensor_nadam",
        lambda original, *a, **kw: original(*a, **{**kw, "decoupled_weight_decay": False}),
    )


@fault()
def nadam_foreach_second_moment():
    """NAdam's foreach form does not correct the bias of its second moment."""
    rewrite(nadam, "_multi_tensor_nadam", ("torch._foreach_div_(exp_avg_sq_sqrt, bias_correction_sqrt)", "pass"))


@fault()
def radam_bias():
    """RAdam does not correct the bias of its first moment."""
    rewrite(
        radam,
        "_single_tensor_radam",
        ("bias_corrected_exp_avg = exp_avg / bias_correction1", "bias_corrected_exp_avg = exp_avg"),
    )


@fault()
def radam_rectifier():
    """RAdam's rectifying factor has no square root."""
    rewrite(radam, "_single_tensor_radam", (") ** 0.5", ") ** 1.0"))


@fault()
def radam_foreach_threshold():
    """RAdam's foreach form rectifies where the length is above 6."""
    rewrite(radam, "_multi_tensor_radam", ("if rho_t > 5", "if rho_t > 6"))


@fault()
def adadelta_rho():
    """Adadelta averages its steps with 0.9 whatever rho is."""
    rewrite(
        adadelta,
        "_single_tensor_adadelta",
        (
            "acc_delta.mul_(rho).addcmul_(delta, delta, value=1 - rho)",
            "acc_delta.mul_(0.9).addcmul_(delta, delta, value=0.1)",
        ),
    )


@fault()
def adadelta_foreach_eps():
    """Adadelta's foreach form forgets epsilon in the denominator."""
    rewrite(
        adadelta,
        "_multi_tensor_adadelta",
        ("torch._foreach_add(device_square_avgs, eps)", "torch._foreach_add(device_square_avgs, 0.0)"),
    )


@fault()
def adadelta_rate():
    """Adadelta ignores its rate."""
    rewrite(adadelta, "_single_tensor_adadelta", ("param.add_(delta, alpha=-lr)", "param.add_(delta, alpha=-1.0)"))


@fault()
def adagrad_eps():
    """Adagrad ignores epsilon."""
    rewrite(adagrad, "_single_tensor_adagrad", ("state_sum.sqrt().add_(eps)", "state_sum.sqrt().add_(1e-10)"))


@fault()
def adagrad_foreach_decay():
    """Adagrad's foreach form decays weights only when it maximises."""
    rewrite(adagrad, "_multi_tensor_adagrad", ("if weight_decay != 0:", "if weight_decay != 0 and maximize:"))


@fault()
def adagrad_sparse():
    """Adagrad forgets the squares of sparse gradients."""
    rewrite(
        adagrad,
        "_single_tensor_adagrad",
        ("state_sum.add_(_make_sparse(grad, grad_indices, grad_values.pow(2)))", "pass"),
    )


@fault()
def rmsprop_momentum():
    """RMSprop multiplies its momentum by the rate's square root."""
    rewrite(rmsprop, "_single_tensor_rmsprop", ("buf.mul_(momentum)", "buf.mul_(momentum * momentum)"))


@fault()
def rmsprop_alpha():
    """RMSprop uses alpha = 0.99 whatever it was given."""
    wrap(rmsprop, "_single_tensor_rmsprop", lambda original, *a, **kw: original(*a, **{**kw, "alpha": 0.99}))


@fault()
def rmsprop_foreach_centered():
    """RMSprop's foreach form is never centred."""
    wrap(rmsprop, "_multi_tensor_rmsprop", lambda original, *a, **kw: original(*a, **{**kw, "centered": False}))


@fault()
def rprop_bounds():
    """Rprop lets its steps grow beyond their bound."""
    rewrite(rprop, "_single_tensor_rprop", ("clamp_(step_size_min, step_size_max)", "clamp_(step_size_min, 1e9)"))


@fault()
def rprop_floor():
    """Rprop lets its steps shrink beyond their bound."""
    rewrite(rprop, "_single_tensor_rprop", ("clamp_(step_size_min, step_size_max)", "clamp_(0, step_size_max)"))


@fault()
def rprop_previous():
    """Rprop never stores the gradient it compares signs with."""
    rewrite(rprop, "_single_tensor_rprop", ("prev.copy_(grad)", "pass"))


@fault()
def rprop_foreach_maximize():
    """Rprop's foreach form minimises where it was told to maximise."""
    wrap(rprop, "_multi_tensor_rprop", lambda original, *a, **kw: original(*a, **{**kw, "maximize": False}))


@fault()
def asgd_lambda():
    """ASGD ignores its decay term."""
    rewrite(asgd, "_single_tensor_asgd", ("param.mul_(1 - lambd * eta_value)", "pass"))


@fault()
def asgd_rate_early():
    """ASGD's rate is one step ahead."""
    rewrite(asgd, "_single_tensor_asgd", ("(1 + lambd * lr * step)", "(1 + lambd * lr * (step + 1))"))


@fault()
def asgd_foreach_average():
    """ASGD's foreach form averages nothing."""
    rewrite(asgd, "_multi_tensor_asgd", ("torch._foreach_addcmul_(grouped_axs, intermediate, grouped_mus)", "pass"))


@fault()
def sparse_adam_lazy():
    """SparseAdam decays the first moment of rows that have no gradient."""
    rewrite(
        sparse,
        "sparse_adam",
        ("old_exp_avg_values = exp_avg", "exp_avg.mul_(0.99)\n        old_exp_avg_values = exp_avg"),
    )


@fault()
def sparse_adam_eps():
    """SparseAdam corrects the bias of epsilon, too."""
    rewrite(
        sparse,
        "sparse_adam",
        ("sqrt_().add_(eps)", "sqrt_().add_(eps * (1 - beta2**step) ** 0.5)"),
    )


@fault()
def adafactor_rows():
    """Adafactor divides its estimate by the largest row instead of the mean."""
    rewrite(
        _adafactor,
        "_single_tensor_adafactor",
        ("row_var.mean(dim=-2, keepdim=True)", "row_var.amax(dim=-2, keepdim=True)"),
    )


@fault()
def adafactor_beta():
    """Adafactor's second moment decays by 0.8 whatever was asked for."""
    wrap(_adafactor, "_single_tensor_adafactor", lambda original, *a, **kw: original(*a, **{**kw, "beta2_decay": -0.8}))


@fault()
def adafactor_scale():
    """Adafactor does not scale by the size of its parameter."""
    rewrite(_adafactor, "_single_tensor_adafactor", ("max(eps2, param.norm(2).item() / (param.numel() ** 0.5))", "1.0"))


@fault()
def adafactor_foreach_decay():
    """Adafactor's foreach form ignores weight decay."""
    wrap(_adafactor, "_multi_tensor_adafactor", lambda original, *a, **kw: original(*a, **{**kw, "weight_decay": 0.0}))


@fault()
def muon_adjustment():
    """Muon scales its rate by columns over rows."""
    wrap(
        _muon,
        "_adjust_lr",
        lambda original, lr, how, shape: original(lr, how, shape[::-1] if how != "match_rms_adamw" else shape),
    )


@fault()
def muon_adjustment_ignored():
    """Muon ignores `adjust_lr_fn`."""
    wrap(_muon, "_adjust_lr", lambda original, lr, how, shape: original(lr, None, shape))


@fault()
def muon_decay():
    """Muon ignores weight decay."""
    wrap(_muon, "_single_tensor_muon", lambda original, *a, **kw: original(*a, **{**kw, "weight_decay": 0.0}))


@fault()
def muon_coefficients():
    """Muon ignores its coefficients."""
    wrap(
        _muon,
        "_zeropower_via_newtonschulz",
        lambda original, g, coefficients, steps, eps: original(g, (3.4445, -4.775, 2.0315), steps, eps),
    )


@fault()
def muon_momentum():
    """Muon uses momentum 0.95 whatever it was given."""
    wrap(_muon, "_single_tensor_muon", lambda original, *a, **kw: original(*a, **{**kw, "momentum": 0.95}))


@fault()
def lbfgs_scaling():
    """LBFGS does not scale its first estimate of the curvature."""
    rewrite(lbfgs.LBFGS, "step", ("H_diag = ys / y.dot(y)", "H_diag = 1"))


@fault()
def lbfgs_first_step():
    """LBFGS does not shorten its first step."""
    rewrite(lbfgs.LBFGS, "step", ("t = min(1.0, 1.0 / flat_grad.abs().sum()) * lr", "t = lr"))


@fault()
def lbfgs_line_search():
    """LBFGS's line search takes any point that is lower."""
    rewrite(lbfgs, "_strong_wolfe", ("abs(gtd_new) <= -c2 * gtd", "f_new <= f"))


@fault()
def lbfgs_evaluations():
    """LBFGS ignores `max_eval`."""
    rewrite(lbfgs.LBFGS, "step", ("if current_evals >= max_eval:", "if False:"))


@fault()
def lbfgs_tolerance():
    """LBFGS ignores `tolerance_change`."""
    wrap(
        lbfgs.LBFGS,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "tolerance_change": 1e-9}),
    )


@fault()
def zero_grad_nothing():
    """`zero_grad` does nothing."""
    wrap(torch.optim.Optimizer, "zero_grad", lambda original, self, *a, **kw: None)


@fault()
def zero_grad_first_group():
    """`zero_grad` clears the first parameter group alone."""

    def clear(original, self, *args, **kwargs):
        kept = self.param_groups
        self.param_groups = kept[:1]
        try:
            original(self, *args, **kwargs)
        finally:
            self.param_groups = kept

    wrap(torch.optim.Optimizer, "zero_grad", clear)


@fault()
def added_group_defaults():
    """A group that is added takes the class's default momentum and decay, not the optimizer's."""

    def add(original, self, group):
        if self.param_groups:
            for name, value in (("momentum", 0), ("weight_decay", 0.0), ("betas", (0.9, 0.999))):
                if name in self.defaults:
                    group.setdefault(name, value)
        return original(self, group)

    wrap(torch.optim.Optimizer, "add_param_group", add)


@fault()
def loaded_options_lost():
    """`load_state_dict` keeps the options of the new optimizer."""

    def load(original, self, state):
        kept = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        original(self, state)
        for group, options in zip(self.param_groups, kept):
            group.update(options)

    wrap(torch.optim.Optimizer, "load_state_dict", load)


@fault()
def loaded_state_in_bfloat16():
    """`load_state_dict` rounds moments to bfloat16."""

    def load(original, self, state):
        original(self, state)
        for value in self.state.values():
            for tensor in value.values():
                if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.is_floating_point():
                    tensor.copy_(tensor.bfloat16())

    wrap(torch.optim.Optimizer, "load_state_dict", load)


@fault()
def loaded_state_in_float32():
    """`load_state_dict` rounds float64 moments to float32."""

    def load(original, self, state):
        original(self, state)
        for value in self.state.values():
            for tensor in value.values():
                if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.dtype == torch.float64:
                    tensor.copy_(tensor.float())

    wrap(torch.optim.Optimizer, "load_state_dict", load)


@fault()
def closure_without_gradients():
    """Adam evaluates its closure with gradients disabled."""

    def step(original, self, closure=None):
        if closure is None:
            return original(self)
        with torch.no_grad():
            loss = closure()
        original(self)
        return loss

    wrap(adam.Adam, "step", step)


@fault()
def closure_twice():
    """SGD evaluates its closure twice."""

    def step(original, self, closure=None):
        if closure is not None:
            closure()
        return original(self, closure)

    wrap(sgd.SGD, "step", step)


@fault()
def groups_share_second_options():
    """The last group's weight decay is used for all groups."""

    def step(original, self, *args, **kwargs):
        saved = [group.get("weight_decay") for group in self.param_groups]
        for group in self.param_groups:
            if "weight_decay" in group:
                group["weight_decay"] = saved[-1]
        try:
            return original(self, *args, **kwargs)
        finally:
            for group, value in zip(self.param_groups, saved):
                if "weight_decay" in group:
                    group["weight_decay"] = value

    wrap(rmsprop.RMSprop, "step", step)


@fault()
def gradients_changed():
    """Adam with `maximize` turns the sign of the gradients themselves."""

    def step(original, params, grads, *a, maximize, **kw):
        if maximize:
            for g in grads:
                g.neg_()
        return original(params, grads, *a, maximize=False, **kw)

    wrap(adam, "_single_tensor_adam", step)


@fault()
def half_precision_step():
    """SGD's for-loop form rounds its rate to bfloat16 for half-precision parameters."""

    def step(original, params, *a, lr, **kw):
        low = params and params[0].dtype in (torch.bfloat16, torch.float16)
        return original(params, *a, lr=lr * 1.03 if low else lr, **kw)

    wrap(sgd, "_single_tensor_sgd", step)
