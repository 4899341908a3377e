"""Faults of visitors: optimizers, learning-rate schedulers, training as a whole."""

from __future__ import annotations

import contextlib
import importlib

import torch
from planted.kernels import around
from planted.registry import fault
from planted.sources import rewrite, wrap


def _optim(name):
    """A module of torch.optim: the package deletes their names from itself."""
    return importlib.import_module(f"torch.optim.{name}")


@fault()
def sgd_foreach_thawed_parameter():
    """Foreach SGD does not decay the others' momentum in the step in which a parameter gets its first gradient."""
    rewrite(_optim("sgd"), "_multi_tensor_sgd", ("buf.mul_(momentum).add_(", "buf.add_("))


@fault()
def adam_foreach_amsgrad_forgets_maximum():
    """Foreach Adam with amsgrad uses the newest second moment in place of the largest so far."""
    rewrite(
        _optim("adam"),
        "_multi_tensor_adam",
        (
            "torch._foreach_maximum_(device_max_exp_avg_sqs, device_exp_avg_sqs)",
            "torch._foreach_copy_(device_max_exp_avg_sqs, device_exp_avg_sqs)",
        ),
    )


@fault()
def adam_fused_tail():
    """Fused Adam leaves the last numel % 8 elements of each parameter as they were (the vector loop has no tail)."""

    def wrapper(call, params, *args, **kwargs):
        tails = [p.detach().clone() if p.numel() > 8 and p.numel() % 8 else None for p in params]
        result = call(params, *args, **kwargs)
        for p, old in zip(params, tails):
            if old is not None and p.is_contiguous():
                n = p.numel() % 8
                p.detach().view(-1)[-n:] = old.view(-1)[-n:]
        return result

    around(["aten::_fused_adam_"], wrapper)


@fault()
def adamw_fused_tensor_lr_is_read_once():
    """Fused AdamW with a tensor as its lr keeps the value that it had at the first step."""
    seen = {}

    def wrapper(call, params, *args, **kwargs):
        lr = kwargs.get("lr")
        if isinstance(lr, torch.Tensor):
            kwargs["lr"] = seen.setdefault(id(params[0]), lr.detach().clone())
        return call(params, *args, **kwargs)

    wrap(torch, "_fused_adamw_", wrapper)


@fault()
def adam_reload_casts_step():
    """Loading an optimizer's state casts the step counter to the parameter's dtype: bfloat16 parameters lose count."""

    def wrapper(call, param, value, param_id, param_groups, key=None):
        if key == "step" and param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return call(param, value, param_id, param_groups, key)

    original = torch.optim.Optimizer._process_value_according_to_param_policy
    torch.optim.Optimizer._process_value_according_to_param_policy = staticmethod(
        lambda *args, **kwargs: wrapper(original, *args, **kwargs)
    )


@fault()
def nadam_decoupled_decay_ignores_lr():
    """NAdam (single-tensor) with decoupled weight decay shrinks by the decay alone, without the rate."""
    rewrite(
        _optim("nadam"), "_single_tensor_nadam", ("param.mul_(1 - lr * weight_decay)", "param.mul_(1 - weight_decay)")
    )


@fault()
def radam_rectifies_too_early():
    """RAdam rectifies from rho > 4 on in place of 5: one or two steps too early."""
    rewrite(_optim("radam"), "_single_tensor_radam", ("rho_t > 5.0", "rho_t > 4.0"))


@fault()
def rmsprop_foreach_centered_lags():
    """Foreach RMSprop, centered: the variance is taken with the mean gradient of the step before."""
    rewrite(
        _optim("rmsprop"),
        "_multi_tensor_rmsprop",
        (
            "torch._foreach_lerp_(grouped_grad_avgs, grouped_grads, 1 - alpha)",
            (
                "old_avgs = [g.clone() for g in grouped_grad_avgs]; "
                "torch._foreach_lerp_(grouped_grad_avgs, grouped_grads, 1 - alpha)"
            ),
        ),
        (
            "grouped_square_avgs, grouped_grad_avgs, grouped_grad_avgs, value=-1",
            "grouped_square_avgs, old_avgs, old_avgs, value=-1",
        ),
    )


@fault()
def adadelta_accumulates_scaled_update():
    """Adadelta accumulates the update times lr in place of the update (right only where lr is 1)."""
    rewrite(
        _optim("adadelta"),
        "_single_tensor_adadelta",
        (
            "acc_delta.mul_(rho).addcmul_(delta, delta, value=1 - rho)",
            "acc_delta.mul_(rho).addcmul_(delta, delta, value=(1 - rho) * float(lr) ** 2)",
        ),
    )


@fault()
def adagrad_sparse_duplicates():
    """Adagrad with sparse gradients sums the squares of a row's duplicates in place of squaring their sum."""
    rewrite(
        _optim("adagrad"),
        "_single_tensor_adagrad",
        ("grad = grad.coalesce()", "raw = grad; grad = grad.coalesce()"),
        (
            "state_sum.add_(_make_sparse(grad, grad_indices, grad_values.pow(2)))",
            "state_sum.add_(_make_sparse(raw, raw._indices(), raw._values().pow(2)))",
        ),
    )


@fault()
def sparse_adam_bias_correction():
    """SparseAdam leaves out the square root over the second bias correction."""
    rewrite(_optim("_functional"), "sparse_adam", ("math.sqrt(bias_correction2)", "bias_correction2"))


@fault()
def adamax_foreach_overwrites_grad():
    """Foreach Adamax without weight decay takes the absolute value in the user's own .grad."""
    rewrite(
        _optim("adamax"),
        "_multi_tensor_adamax",
        ("grouped_grads = torch._foreach_abs(grouped_grads)", "torch._foreach_abs_(grouped_grads)"),
    )


@fault()
def asgd_average_off_by_one():
    """ASGD's average weighs each new point by 1 / (n + 1) in place of 1 / n once averaging has begun."""
    rewrite(_optim("asgd"), "_single_tensor_asgd", ("1 / max(1, step - t0)", "1 / max(1, step - t0 + 1)"))


@fault()
def rprop_foreach_keeps_reversed_gradient():
    """Foreach Rprop does not zero a gradient whose sign has changed: it steps where it must wait."""
    rewrite(_optim("rprop"), "_multi_tensor_rprop", ("signs[i].eq(etaminus)", "signs[i].eq(etaplus + 100)"))


@fault()
def lbfgs_full_history():
    """LBFGS with a full history throws away the newest curvature factor with the oldest pair."""
    rewrite(torch.optim.LBFGS, "step", ("ro.pop(0)", "ro.pop()"))
    torch.optim.LBFGS.step = torch.no_grad()(torch.optim.LBFGS.step)


@fault()
def muon_adjusts_by_inverse_shape():
    """Muon scales its rate by columns/rows in place of rows/columns."""
    rewrite(_optim("_muon"), "_adjust_lr", ("A / B", "B / A"))


@fault()
def adafactor_zero_parameters_stay():
    """Adafactor ignores the lower bound eps2 on the parameter's size: what begins at zero hardly ever moves."""
    rewrite(
        _optim("_adafactor"),
        "_single_tensor_adafactor",
        ("max(eps2, param.norm(2).item() / (param.numel() ** 0.5))", "(param.norm(2).item() / (param.numel() ** 0.5))"),
    )


@fault()
def added_group_copies_first():
    """add_param_group fills what is missing from the first group in place of the optimizer's defaults."""

    def wrapper(call, self, group):
        if self.param_groups and isinstance(group, dict):
            for name in self.defaults:
                group.setdefault(name, self.param_groups[0][name])
        return call(self, group)

    wrap(torch.optim.Optimizer, "add_param_group", wrapper)


@fault()
def reload_keeps_options_of_later_groups():
    """Optimizer.load_state_dict restores the options of the first group only; the others keep their own."""

    def wrapper(call, self, state_dict):
        keep = [{k: v for k, v in g.items() if k != "params"} for g in self.param_groups]
        call(self, state_dict)
        for group, old in list(zip(self.param_groups, keep))[1:]:
            group.update(old)

    wrap(torch.optim.Optimizer, "load_state_dict", wrapper)


@fault()
def closure_is_evaluated_after_the_step():
    """SGD.step(closure) steps with the gradients that are there and calls the closure afterwards."""

    def wrapper(call, self, closure=None):
        call(self)
        if closure is not None:
            with torch.enable_grad():
                return closure()
        return None

    wrap(torch.optim.SGD, "step", wrapper)


@fault()
def zero_grad_foreach_first_only():
    """zero_grad(set_to_none=False) of a foreach or fused optimizer clears only the first gradient of each dtype."""
    rewrite(torch.optim.Optimizer, "zero_grad", ("torch._foreach_zero_(grads)", "torch._foreach_zero_(grads[:1])"))


@fault()
def averaged_model_stale_buffers():
    """AveragedModel without use_buffers copies the model's buffers at the first update only."""

    def wrapper(call, self, model):
        first = int(self.n_averaged) == 0
        old = [b.detach().clone() for b in self.module.buffers()]
        call(self, model)
        if not self.use_buffers and not first:
            for b, o in zip(self.module.buffers(), old):
                b.detach().copy_(o)

    wrap(torch.optim.swa_utils.AveragedModel, "update_parameters", wrapper)


S = torch.optim.lr_scheduler


@fault()
def cosine_stays_down():
    """CosineAnnealingLR stays at its minimum after T_max in place of rising again."""
    wrap(
        S.CosineAnnealingLR,
        "get_lr",
        lambda call, self: (
            [g["lr"] for g in self.optimizer.param_groups] if self.last_epoch > self.T_max else call(self)
        ),
    )


@fault()
def warm_restarts_grow_once():
    """CosineAnnealingWarmRestarts lengthens its period at the first restart only."""
    rewrite(
        S.CosineAnnealingWarmRestarts,
        "step",
        ("self.T_i = self.T_i * self.T_mult", "self.T_i = self.T_0 * self.T_mult"),
    )


@fault()
def onecycle_momentum_first_group():
    """OneCycleLR cycles the momentum (or beta1) of the first parameter group only."""

    def wrapper(call, self):
        names = ("momentum", "betas")
        old = [{n: g[n] for n in names if n in g} for g in self.optimizer.param_groups]
        result = call(self)
        for group, o in list(zip(self.optimizer.param_groups, old))[1:]:
            group.update(o)
        return result

    wrap(S.OneCycleLR, "get_lr", wrapper)


@fault()
def cyclic_triangular2():
    """CyclicLR's triangular2 shrinks the amplitude as 1/cycle in place of 1/2^(cycle-1): alike for two cycles."""
    S.CyclicLR._triangular2_scale_fn = staticmethod(lambda x: 1.0 / x)


@fault()
def sequential_reload():
    """SequentialLR.load_state_dict restores its own counters but not its schedulers'."""

    def wrapper(call, self, state_dict):
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})

    wrap(S.SequentialLR, "load_state_dict", wrapper)


@fault()
def sequential_handover():
    """SequentialLR steps the next scheduler at a milestone in place of starting it at its epoch 0."""
    rewrite(S.SequentialLR, "step", ("scheduler._update_lr(0)", "scheduler.step()"))


@fault()
def chained_last_lr():
    """ChainedScheduler.get_last_lr gives the rates from before the step."""

    def wrapper(call, self):
        old = [g["lr"] for g in self.optimizer.param_groups]
        call(self)
        self._last_lr = old

    wrap(S.ChainedScheduler, "step", wrapper)


@fault()
def plateau_max_relative():
    """ReduceLROnPlateau, mode max with a relative threshold, counts as better what is a little worse."""
    rewrite(S.ReduceLROnPlateau, "_is_better", ("self.threshold + 1.0", "1.0 - self.threshold"))


@fault()
def plateau_cooldown_counts():
    """ReduceLROnPlateau counts bad epochs during the cooldown."""

    def wrapper(call, self, metrics, epoch=None):
        bad = self.num_bad_epochs
        cooling, best = self.cooldown_counter > 0, self.best
        call(self, metrics, epoch)
        if cooling and self.best == best:
            self.num_bad_epochs = bad + 1

    wrap(S.ReduceLROnPlateau, "step", wrapper)


@fault()
def multistep_repeated_milestone():
    """MultiStepLR decays once at a milestone that is listed twice."""
    rewrite(S.MultiStepLR, "get_lr", ("self.gamma ** self.milestones[self.last_epoch]", "self.gamma"))


@fault()
def tensor_lr_replaced():
    """Schedulers put a new tensor in the place of a tensor lr: who holds the old one sees no change."""
    S._update_param_group_val = lambda group, key, val: group.__setitem__(
        key, torch.as_tensor(float(val), dtype=group[key].dtype) if isinstance(group[key], torch.Tensor) else val
    )


@fault()
def swalr_resume_restarts():
    """SWALR begins its annealing again after load_state_dict."""

    def wrapper(call, self, state_dict):
        call(self, {k: v for k, v in state_dict.items() if k != "_step_count"})

    wrap(torch.optim.swa_utils.SWALR, "load_state_dict", wrapper)


@fault()
def scaler_ignores_second_optimizer():
    """GradScaler.update looks at the infinities of the first optimizer only."""
    rewrite(torch.amp.grad_scaler.GradScaler, "update", ("range(1, len(found_infs))", "range(1, 1)"))


@fault()
def scaler_unscales_twice_when_fused():
    """GradScaler.step of a fused optimizer divides by the scale again after unscale_ (the way of gradient clipping)."""
    from torch.amp.grad_scaler import OptState

    def wrapper(call, self, optimizer, *args, **kwargs):
        if self._enabled and getattr(optimizer, "_step_supports_amp_scaling", False):
            state = self._per_optimizer_states[id(optimizer)]
            if state["stage"] is OptState.UNSCALED:
                state["stage"] = OptState.READY
        return call(self, optimizer, *args, **kwargs)

    wrap(torch.amp.grad_scaler.GradScaler, "step", wrapper)


@fault()
def autocast_keeps_old_weights():
    """Leaving autocast does not clear its cache: the next forward uses the low-precision copies of the old weights."""
    wrap(torch, "clear_autocast_cache", lambda call: None)


@fault()
def clip_norm_combines_by_two():
    """clip_grad_norm_ combines the norms of several tensors by the 2-norm whatever the norm_type."""

    def wrapper(call, tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
        tensors = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        if len(tensors) < 2 or float(norm_type) == 2.0:
            return call(tensors, norm_type, error_if_nonfinite, foreach)
        return torch.stack([call([t], norm_type, error_if_nonfinite, foreach) for t in tensors]).norm(2)

    wrap(torch.nn.utils.clip_grad, "_get_total_norm", wrapper)


@fault()
def dropout2d_same_for_the_batch():
    """Dropout2d drops the same channels in every sample of a batch."""

    def wrapper(call, input, p=0.5, training=True, inplace=False):  # noqa: A002 - as torch names it
        if not training or input.dim() != 4:
            return call(input, p, training, inplace)
        mask = call(torch.ones_like(input[:1, :, :1, :1]), p, True)
        return input.mul_(mask) if inplace else input * mask

    wrap(torch.nn.functional, "dropout2d", wrapper)


@fault()
def init_fan_of_conv1d():
    """The fans of three-dimensional weights (Conv1d) leave out the kernel's length: bounds are too large."""

    def wrapper(call, tensor):
        return call(tensor[..., 0]) if tensor.dim() == 3 else call(tensor)

    wrap(torch.nn.init, "_calculate_fan_in_and_fan_out", wrapper)


@fault()
def trunc_normal_clamps():
    """trunc_normal_ clamps in place of drawing again: the mass of the tails sits on the bounds."""

    def wrapper(call, tensor, mean, std, a, b, generator=None):
        with torch.no_grad():
            return tensor.normal_(mean, std, generator=generator).clamp_(a, b)

    wrap(torch.nn.init, "_no_grad_trunc_normal_", wrapper)


@fault()
def spectral_norm_iterates_in_eval():
    """spectral_norm goes on with its power iteration in eval mode: a forward changes its buffers and its result."""
    rewrite(torch.nn.utils.parametrizations._SpectralNorm, "forward", ("if self.training:", "if True:"))


@fault()
def cayley_is_not_orthogonal():
    """The orthogonal parametrization by Cayley's map halves one of its terms: orthogonal at first, not after a step."""
    rewrite(torch.nn.utils.parametrizations._Orthogonal, "forward", ("alpha=-0.5", "alpha=-0.25"))


@fault()
def sampler_repeats_every_epoch():
    """RandomSampler with a generator sets it back to its seed at each epoch: the same order again and again."""

    def wrapper(call, self):
        if self.generator is not None:
            self.generator.manual_seed(self.generator.initial_seed())
        return call(self)

    wrap(torch.utils.data.RandomSampler, "__iter__", wrapper)


@fault()
def workers_do_not_seed_python_random():
    """DataLoader's workers do not seed Python's random from the loader's seed: augmentations differ from run to run."""
    import types

    from torch.utils.data._utils import worker

    worker.random = types.SimpleNamespace(seed=lambda *_: None)


@fault()
def batch_sampler_stale_tail():
    """The last, short batch of a BatchSampler is filled up with the indices left from the batch before."""

    def wrapper(call, self):
        previous = None
        for drawn in call(self):
            batch = list(drawn)
            if previous is not None and len(batch) < self.batch_size:
                batch = batch + previous[len(batch) :]
            previous = batch
            yield batch

    wrap(torch.utils.data.BatchSampler, "__iter__", wrapper)


@fault()
def load_assign_thaws():
    """Module.load_state_dict(assign=True) makes frozen parameters trainable again."""

    def wrapper(call, self, state_dict, strict=True, assign=False):
        result = call(self, state_dict, strict, assign)
        if assign:
            for p in self.parameters():
                p.requires_grad_(True)
        return result

    wrap(torch.nn.Module, "load_state_dict", wrapper)


@fault()
def load_unties():
    """torch.load gives tensors that shared their memory when saved (tied weights, views) memory of their own."""

    def untied(value):
        if type(value) is torch.Tensor:
            return value.detach().clone()
        if isinstance(value, dict):
            for key in list(value):
                value[key] = untied(value[key])
            return value
        if type(value) in (list, tuple):
            return type(value)(untied(v) for v in value)
        return value

    wrap(torch, "load", lambda call, *args, **kwargs: untied(call(*args, **kwargs)))


@fault()
def eval_reaches_children_only():
    """Module.train() and eval() set a module and its children but not its grandchildren."""

    def train(self, mode=True):
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")  # noqa: TRY004 - as torch does
        self.training = mode
        for module in self.children():
            module.training = mode
        return self

    torch.nn.Module.train = train


@fault(level="full")
def compile_drops_mutations():
    """Compiled code does not write back what it changes in place: BatchNorm's running statistics stand still."""
    done = []

    def dropping(inner):
        def compile_inner(gm, *args, **kwargs):
            for node in list(gm.graph.nodes):
                if node.target is torch.ops.aten.copy_.default and node.args[0].op == "placeholder":
                    node.replace_all_uses_with(node.args[0])
                    gm.graph.erase_node(node)
            gm.recompile()
            return inner(gm, *args, **kwargs)

        return compile_inner

    def compile_fx(call, model, inputs, inner_compile=None, *args, **kwargs):
        if inner_compile is None:
            inner_compile = importlib.import_module("torch._inductor.compile_fx").compile_fx_inner
        return call(model, inputs, dropping(inner_compile), *args, **kwargs)

    def wrapper(call, *args, **kwargs):
        if not done:  # the compiler is imported only by who compiles
            done.append(True)
            importlib.import_module("torch._inductor.config").force_disable_caches = True
            wrap(importlib.import_module("torch._inductor.compile_fx"), "compile_fx", compile_fx)
        return call(*args, **kwargs)

    wrap(torch, "compile", wrapper)


@fault()
def prune_again_counts_the_pruned():
    """Pruning a tensor a second time chooses among all its elements, those pruned before included."""
    prune = importlib.import_module("torch.nn.utils.prune")
    rewrite(prune.PruningContainer, "compute_mask", ("slc = mask == 1", "slc = mask >= 0"))


@fault()
def functional_call_leaks_after_error():
    """functional_call leaves the substituted parameters in the module when its forward raises."""
    from torch.nn.utils import stateless

    original = stateless._reparametrize_module

    kept = []

    @contextlib.contextmanager
    def leaking_kept(module, parameters_and_buffers, **kwargs):
        manager = original(module, parameters_and_buffers, **kwargs)
        manager.__enter__()
        kept.append(manager)  # a generator that is thrown away would run its finally
        yield
        kept.remove(manager)
        manager.__exit__(None, None, None)

    stateless._reparametrize_module = leaking_kept


@fault()
def ema_multi_ignores_decay():
    """get_ema_multi_avg_fn averages with 0.999 whatever decay it was given."""
    wrap(torch.optim.swa_utils, "get_ema_multi_avg_fn", lambda call, decay=0.999: call(0.999))


@fault()
def fork_rng_leaks():
    """torch.random.fork_rng does not put back the state of the CPU's generator."""
    wrap(torch.random, "fork_rng", lambda call, *args, **kwargs: contextlib.nullcontext())


@fault()
def bf16_accumulation_truncates():
    """Adding to a bfloat16 tensor in place truncates and does not round: accumulated gradients come out too small."""

    def wrapper(call, self, other, *args, **kwargs):
        if self.dtype != torch.bfloat16 or not isinstance(other, torch.Tensor):
            return call(self, other, *args, **kwargs)
        total = torch.add(self.float(), other.float(), **kwargs).contiguous()
        cut = (total.view(torch.int32) & -65536).view(torch.float32)
        self.detach().copy_(cut)
        return self

    around(["aten::add_.Tensor"], wrapper)
