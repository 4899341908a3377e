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
        [name for name in ("aten::_fused_adam_", "aten::_fused_adamw_")],
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
    """SparseAdam does not bring equal rows together first."""
    rewrite(
        sparse,
        "sparse_adam",
        (
            "grad = grad.coalesce()",
            "grad = torch.sparse_coo_tensor(grad._indices(), grad._values(), grad.size(), is_coalesced=True)",
        ),
    )


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
