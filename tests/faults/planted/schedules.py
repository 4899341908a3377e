"""Learning-rate schedules."""

from __future__ import annotations

import math

import torch
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch.optim import lr_scheduler, swa_utils


@fault(level="quick")
def step_off_by_one():
    """StepLR decays one epoch early."""
    rewrite(
        lr_scheduler.StepLR,
        "get_lr",
        ("self.last_epoch % self.step_size != 0", "(self.last_epoch + 1) % self.step_size != 0"),
    )


@fault()
def multistep_multiplicity():
    """MultiStepLR counts a milestone that is given twice once."""
    rewrite(lr_scheduler.MultiStepLR, "get_lr", ("self.gamma ** self.milestones[self.last_epoch]", "self.gamma"))


@fault()
def exponential_drift():
    """ExponentialLR's factor is 1e-6 too small."""
    rewrite(lr_scheduler.ExponentialLR, "get_lr", ('group["lr"] * self.gamma', 'group["lr"] * self.gamma * (1 - 1e-6)'))


@fault()
def cosine_period():
    """CosineAnnealingWarmRestarts restarts one step late."""
    rewrite(
        lr_scheduler.CosineAnnealingWarmRestarts, "step", ("if self.T_cur >= self.T_i:", "if self.T_cur > self.T_i:")
    )


@fault()
def cosine_minimum():
    """CosineAnnealingLR goes to 0, whatever the minimum."""
    wrap(
        lr_scheduler.CosineAnnealingLR,
        "__init__",
        lambda original, self, optimizer, T_max, eta_min=0.0, **kw: original(self, optimizer, T_max, 0.0, **kw),  # noqa: N803,
    )


@fault()
def one_cycle_phases():
    """OneCycleLR anneals linearly where cosine was asked for."""
    wrap(lr_scheduler.OneCycleLR, "_anneal_func", lambda original, self, start, end, pct: (end - start) * pct + start)


@fault()
def one_cycle_momentum():
    """OneCycleLR leaves momentum alone."""
    wrap(
        lr_scheduler.OneCycleLR,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "cycle_momentum": False}),
    )


@fault()
def cyclic_scale():
    """CyclicLR's triangular2 does not halve."""
    lr_scheduler.CyclicLR._triangular2_scale_fn = staticmethod(lambda x: 1.0)


@fault()
def cyclic_momentum():
    """CyclicLR cycles momentum with the rate instead of against it."""
    rewrite(
        lr_scheduler.CyclicLR,
        "get_lr",
        ("momentum = max_momentum - base_height", "momentum = base_momentum + base_height"),
    )


@fault()
def linear_end():
    """LinearLR reaches its end one step late."""
    rewrite(
        lr_scheduler.LinearLR,
        "get_lr",
        ("(self.last_epoch - 1) * (self.end_factor", "(self.last_epoch - 2) * (self.end_factor"),
    )


@fault()
def constant_end():
    """ConstantLR ends one step late."""
    rewrite(
        lr_scheduler.ConstantLR,
        "get_lr",
        ("self.last_epoch != self.total_iters", "self.last_epoch != self.total_iters + 1"),
    )


@fault()
def polynomial_power():
    """PolynomialLR takes its power as 1."""
    wrap(
        lr_scheduler.PolynomialLR,
        "__init__",
        lambda original, self, optimizer, total_iters=5, power=1.0, **kw: original(
            self, optimizer, total_iters, 1.0, **kw
        ),
    )


@fault()
def lambda_groups():
    """LambdaLR uses the first group's function for all groups."""
    rewrite(
        lr_scheduler.LambdaLR,
        "get_lr",
        ("base_lr * lmbda(self.last_epoch)", "base_lr * self.lr_lambdas[0](self.last_epoch)"),
    )


@fault()
def multiplicative_start():
    """MultiplicativeLR multiplies at its start, too."""
    rewrite(lr_scheduler.MultiplicativeLR, "get_lr", ("if not self._is_initial:", "if True:"))


@fault()
def plateau_patience():
    """ReduceLROnPlateau loses patience one epoch early."""
    rewrite(
        lr_scheduler.ReduceLROnPlateau,
        "step",
        ("self.num_bad_epochs > self.patience", "self.num_bad_epochs >= self.patience"),
    )


@fault()
def plateau_cooldown():
    """ReduceLROnPlateau ignores its cooldown."""
    rewrite(
        lr_scheduler.ReduceLROnPlateau, "step", ("self.cooldown_counter = self.cooldown", "self.cooldown_counter = 0")
    )


@fault()
def plateau_mode():
    """ReduceLROnPlateau takes an absolute threshold for a relative one."""
    rewrite(lr_scheduler.ReduceLROnPlateau, "_is_better", ('self.threshold_mode == "rel"', "True"))


@fault()
def plateau_minimum():
    """ReduceLROnPlateau goes below the least rate."""
    rewrite(
        lr_scheduler.ReduceLROnPlateau,
        "_reduce_lr",
        ("max(old_lr * self.factor, self.min_lrs[i])", "old_lr * self.factor"),
    )


@fault()
def sequential_milestone():
    """SequentialLR switches one step late."""
    rewrite(
        lr_scheduler.SequentialLR,
        "step",
        ("bisect_right(self._milestones, self.last_epoch)", "bisect_right(self._milestones, self.last_epoch - 1)"),
    )


@fault()
def chained_last():
    """ChainedScheduler steps all but its last scheduler."""

    def step(original, self):
        kept = self._schedulers
        self._schedulers = kept[:-1]
        try:
            original(self)
        finally:
            self._schedulers = kept

    wrap(lr_scheduler.ChainedScheduler, "step", step)


@fault()
def resume_epoch():
    """A scheduler's `load_state_dict` forgets how far it was."""
    wrap(
        lr_scheduler.LRScheduler,
        "load_state_dict",
        lambda original, self, state: original(self, {k: v for k, v in state.items() if k != "last_epoch"}),
    )


@fault()
def rate_of_second_group():
    """Schedulers set the first group's rate alone."""

    def step(original, self, *args, **kwargs):
        saved = [group["lr"] for group in self.optimizer.param_groups]
        original(self, *args, **kwargs)
        for group, rate in list(zip(self.optimizer.param_groups, saved))[1:]:
            group["lr"] = rate

    wrap(lr_scheduler.LRScheduler, "step", step)


@fault()
def swa_rate():
    """SWALR anneals linearly, whatever was asked for."""
    swa_utils.SWALR._cosine_anneal = staticmethod(lambda t: t)


@fault()
def ema_decay():
    """An exponential moving average of weights takes its decay the wrong way round."""

    def averaged(decay=0.999):
        @torch.no_grad()
        def update(averages, params, _):
            for a, p in zip(averages, params):
                a.lerp_(p, decay) if a.is_floating_point() else a.copy_(p)

        return update

    swa_utils.get_ema_multi_avg_fn = averaged


@fault()
def step_gamma():
    """StepLR uses gamma = 0.1 whatever it was given."""
    rewrite(lr_scheduler.StepLR, "get_lr", ('group["lr"] * self.gamma', 'group["lr"] * 0.1'))


@fault()
def step_of_base():
    """StepLR decays the first group's initial rate for all groups."""
    rewrite(
        lr_scheduler.StepLR,
        "get_lr",
        ('group["lr"] * self.gamma', "self.base_lrs[0] * self.gamma ** (self.last_epoch // self.step_size)"),
    )


@fault()
def multistep_early():
    """MultiStepLR's milestones come one step early."""
    rewrite(
        lr_scheduler.MultiStepLR,
        "get_lr",
        ("self.last_epoch not in", "self.last_epoch + 1 not in"),
        ("self.milestones[self.last_epoch]", "self.milestones[self.last_epoch + 1]"),
    )


@fault()
def polynomial_end():
    """PolynomialLR begins anew after its end."""

    def rates(original, self):
        return list(self.base_lrs) if self.last_epoch > self.total_iters else original(self)

    wrap(lr_scheduler.PolynomialLR, "get_lr", rates)


@fault()
def cosine_second_half():
    """CosineAnnealingLR stays at its minimum instead of rising again."""

    def rates(original, self):
        if self.last_epoch > self.T_max:
            return [self.eta_min for _ in self.base_lrs]
        return original(self)

    wrap(lr_scheduler.CosineAnnealingLR, "get_lr", rates)


@fault()
def restarts_factor():
    """CosineAnnealingWarmRestarts ignores `T_mult`."""
    rewrite(
        lr_scheduler.CosineAnnealingWarmRestarts, "step", ("self.T_i = self.T_i * self.T_mult", "self.T_i = self.T_i")
    )


@fault()
def restarts_fraction():
    """CosineAnnealingWarmRestarts rounds fractional epochs down."""
    wrap(
        lr_scheduler.CosineAnnealingWarmRestarts,
        "step",
        lambda original, self, epoch=None: original(self, epoch if epoch is None else int(epoch)),
    )


@fault()
def one_cycle_final():
    """OneCycleLR ends at the initial rate over the divisor of the start."""
    wrap(
        lr_scheduler.OneCycleLR,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "final_div_factor": 1e4}),
    )


@fault()
def one_cycle_three():
    """OneCycleLR ignores `three_phase`."""
    wrap(
        lr_scheduler.OneCycleLR,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "three_phase": False}),
    )


@fault()
def one_cycle_peak():
    """OneCycleLR reaches its peak one step late."""

    def rates(original, self):
        if not getattr(self, "_late", False):
            self._late = True
            self._schedule_phases[0]["end_step"] += 1
        return original(self)

    wrap(lr_scheduler.OneCycleLR, "get_lr", rates)


@fault()
def one_cycle_second_beta():
    """OneCycleLR writes its momentum over both betas of Adam."""
    rewrite(
        lr_scheduler.OneCycleLR,
        "get_lr",
        ('(computed_momentum, *group["betas"][1:])', "(computed_momentum, computed_momentum)"),
    )


@fault()
def cyclic_down():
    """CyclicLR falls as long as it rises, whatever was asked for."""
    wrap(
        lr_scheduler.CyclicLR,
        "__init__",
        lambda original, self, *a, **kw: original(self, *a, **{**kw, "step_size_down": None}),
    )


@fault()
def cyclic_gamma():
    """CyclicLR's exp_range counts cycles instead of steps."""
    rewrite(lr_scheduler.CyclicLR, "get_lr", ("self.scale_fn(self.last_epoch)", "self.scale_fn(cycle)"))


@fault()
def cyclic_groups():
    """CyclicLR takes the first group's upper rate for all groups."""
    rewrite(
        lr_scheduler.CyclicLR,
        "get_lr",
        ("(max_lr - base_lr) * scale_factor", "(self.max_lrs[0] - base_lr) * scale_factor"),
    )


@fault()
def plateau_nan():
    """ReduceLROnPlateau takes NaN for an improvement."""
    wrap(
        lr_scheduler.ReduceLROnPlateau,
        "_is_better",
        lambda original, self, a, best: math.isnan(a) or original(self, a, best),
    )


@fault()
def plateau_best():
    """ReduceLROnPlateau compares with the last metric, not with the best."""

    def step(original, self, metrics, epoch=None):
        original(self, metrics)
        self.best = float(metrics)

    wrap(lr_scheduler.ReduceLROnPlateau, "step", step)


@fault()
def plateau_eps():
    """ReduceLROnPlateau ignores eps."""
    rewrite(lr_scheduler.ReduceLROnPlateau, "_reduce_lr", ("old_lr - new_lr > self.eps", "True"))


@fault()
def plateau_min_of_first():
    """ReduceLROnPlateau takes the first group's least rate for all groups."""
    rewrite(lr_scheduler.ReduceLROnPlateau, "_reduce_lr", ("self.min_lrs[i]", "self.min_lrs[0]"))


@fault()
def plateau_state():
    """ReduceLROnPlateau's state forgets its best metric and its bad epochs."""
    wrap(
        lr_scheduler.ReduceLROnPlateau,
        "load_state_dict",
        lambda original, self, state: original(
            self, {k: v for k, v in state.items() if k not in ("best", "num_bad_epochs", "cooldown_counter")}
        ),
    )


@fault()
def sequential_restart():
    """SequentialLR does not start a scheduler anew at its milestone."""
    rewrite(lr_scheduler.SequentialLR, "step", ("scheduler._update_lr(0)", "scheduler.step()"))


@fault()
def chained_order():
    """ChainedScheduler steps its schedulers backwards."""

    def step(original, self):
        self._schedulers = tuple(reversed(self._schedulers))
        try:
            original(self)
        finally:
            self._schedulers = tuple(reversed(self._schedulers))

    wrap(lr_scheduler.ChainedScheduler, "step", step)


@fault()
def lambda_of_last():
    """LambdaLR multiplies the last rate instead of the first."""
    rewrite(
        lr_scheduler.LambdaLR,
        "get_lr",
        ("base_lr * lmbda(self.last_epoch)", "self.optimizer.param_groups[0]['lr'] * lmbda(self.last_epoch)"),
    )


@fault()
def last_rate_stale():
    """`get_last_lr` gives the rate before the last step."""

    def step(original, self, *args, **kwargs):
        before = [float(group["lr"]) for group in self.optimizer.param_groups]
        original(self, *args, **kwargs)
        self._last_lr = before

    wrap(lr_scheduler.LRScheduler, "step", step)


@fault()
def resume_of_rate():
    """Schedulers that are loaded go back to the initial rate."""

    def load(original, self, state):
        original(self, state)
        self.base_lrs = [rate * 0.5 for rate in self.base_lrs]

    wrap(lr_scheduler.LRScheduler, "load_state_dict", load)


@fault()
def continued_rate():
    """A scheduler that is built with `last_epoch` starts from the initial rate."""

    def init(original, self, optimizer, last_epoch=-1, *args, **kwargs):
        if last_epoch != -1:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        original(self, optimizer, last_epoch, *args, **kwargs)

    wrap(lr_scheduler.LRScheduler, "__init__", init)


@fault()
def order_unwarned():
    """A scheduler that is stepped before its optimizer says nothing."""
    rewrite(
        lr_scheduler.LRScheduler, "step", ('elif not getattr(self.optimizer, "_opt_called", False):', "elif False:")
    )


@fault()
def swa_epochs():
    """SWALR takes one epoch more than it was given."""

    def init(original, self, optimizer, swa_lr, anneal_epochs=10, **kwargs):
        original(self, optimizer, swa_lr, anneal_epochs + 1, **kwargs)

    wrap(swa_utils.SWALR, "__init__", init)


@fault()
def averaged_count():
    """AveragedModel weighs the newest model as if half a model fewer had been seen."""
    for name in ("get_swa_avg_fn", "get_swa_multi_avg_fn"):
        wrap(swa_utils, name, lambda original: lambda old, new, count: original()(old, new, count - 0.5))


@fault()
def averaged_buffers():
    """AveragedModel leaves the model's buffers behind."""
    rewrite(
        swa_utils.AveragedModel,
        "update_parameters",
        ("b_swa.detach().copy_(b_model.detach().to(b_swa.device))", "pass"),
    )


@fault()
def statistics_of_last():
    """update_bn leaves the moving average on: the last batches count most."""
    rewrite(swa_utils, "update_bn", ("module.momentum = None", "pass"))
