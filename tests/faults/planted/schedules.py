"""Learning-rate schedules."""

from __future__ import annotations

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
        lambda original, self, optimizer, T_max, eta_min=0.0, **kw: original(self, optimizer, T_max, 0.0, **kw),
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
                a.lerp_(p, decay)

        return update

    swa_utils.get_ema_multi_avg_fn = averaged
