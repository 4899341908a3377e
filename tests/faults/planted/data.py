"""Data, samplers, checkpoints on disk, initialisation, mixed precision."""

from __future__ import annotations

import torch
import torch.utils.data
from planted.kernels import around
from planted.registry import fault
from planted.sources import rewrite, wrap
from torch import nn
from torch.nn import init
from torch.optim import lr_scheduler
from torch.utils import data
from torch.utils.data import sampler
from torch.utils.data.distributed import DistributedSampler


@fault()
def scaler_interval():
    """GradScaler grows a step too early."""
    around(
        ["aten::_amp_update_scale_"],
        lambda call, scale, tracker, found, growth, backoff, interval: call(
            scale, tracker, found, growth, backoff, interval - 1
        ),
    )


@fault()
def scaler_backoff():
    """GradScaler backs off to half, whatever was asked for."""
    around(
        ["aten::_amp_update_scale_"],
        lambda call, scale, tracker, found, growth, backoff, interval: call(
            scale, tracker, found, growth, 0.5, interval
        ),
    )


@fault()
def scaler_state():
    """GradScaler's state forgets how long it has not grown."""
    wrap(
        torch.amp.GradScaler,
        "state_dict",
        lambda original, self: {**original(self), "_growth_tracker": 0},
    )


@fault()
def scaler_unscales_twice():
    """GradScaler unscales again in `step` what the user has unscaled."""
    rewrite(torch.amp.GradScaler, "step", ('optimizer_state["stage"] is OptState.READY', "True"))


@fault()
def scaler_disabled():
    """A disabled GradScaler scales the loss all the same."""
    wrap(torch.amp.GradScaler, "scale", lambda original, self, x: original(self, x) if self._enabled else x * 65536.0)


@fault()
def scaler_other_optimizer():
    """GradScaler skips all optimizers once one has infinite gradients."""
    seen = []

    def wrapper(original, self, optimizer, state, *a, **kw):
        bad = any(v.item() for v in state["found_inf_per_device"].values())
        seen.append(bad)
        return None if any(seen[-2:]) else original(self, optimizer, state, *a, **kw)

    wrap(torch.amp.GradScaler, "_maybe_opt_step", wrapper)


@fault()
def autocast_softmax():
    """Autocast computes softmax in the lower precision."""
    wrap(
        torch,
        "softmax",
        lambda original, x, *a, **kw: original(
            x.bfloat16() if torch.is_autocast_enabled("cpu") and x.dtype == torch.float32 else x, *a, **kw
        ),
    )


@fault()
def autocast_cache():
    """Autocast's cache keeps the weights of the last iteration."""
    wrap(torch, "clear_autocast_cache", lambda original: None)


@fault()
def autocast_nested_off():
    """An autocast that is disabled inside another one stays on."""
    made = torch.amp.autocast_mode.autocast
    wrap(made, "__init__", lambda original, self, *a, enabled=True, **kw: original(self, *a, enabled=True, **kw))


@fault()
def loader_keeps_last():
    """A DataLoader gives the last batch although it was told to drop it."""
    rewrite(data.BatchSampler, "__init__", ("self.drop_last = drop_last", "self.drop_last = False"))


@fault()
def loader_generator():
    """A shuffled DataLoader does not use its generator."""
    rewrite(sampler.RandomSampler, "__init__", ("self.generator = generator", "self.generator = None"))


@fault()
def weighted_with_replacement():
    """A weighted sampler without replacement repeats itself."""
    rewrite(sampler.WeightedRandomSampler, "__init__", ("self.replacement = replacement", "self.replacement = True"))


@fault()
def weighted_uniformly():
    """A weighted sampler draws uniformly."""
    wrap(
        sampler.WeightedRandomSampler,
        "__init__",
        lambda original, self, weights, *a, **kw: original(self, [1.0] * len(weights), *a, **kw),
    )


@fault()
def random_sampler_count():
    """A random sampler with replacement draws as many as there are, not as many as it was told."""
    wrap(
        sampler.RandomSampler,
        "__init__",
        lambda original, self, source, replacement=False, num_samples=None, generator=None: original(
            self, source, replacement, None, generator
        ),
    )


@fault()
def subset_sampler_order():
    """A random sampler of a subset keeps its order."""
    wrap(sampler.SubsetRandomSampler, "__iter__", lambda original, self: iter(self.indices))


@fault()
def distributed_epoch():
    """A distributed sampler shuffles every epoch alike."""
    wrap(DistributedSampler, "set_epoch", lambda original, self, epoch: None)


@fault()
def distributed_padding():
    """A distributed sampler pads with its last sample."""
    rewrite(
        DistributedSampler, "__iter__", ("indices += indices[:padding_size]", "indices += [indices[-1]] * padding_size")
    )


@fault()
def distributed_blocks():
    """A distributed sampler gives rank r the samples of rank r + 1 at its end."""
    rewrite(
        DistributedSampler,
        "__iter__",
        ("indices = indices[self.rank : self.total_size : self.num_replicas]", "indices = indices[: self.num_samples]"),
    )


@fault()
def distributed_drop_last():
    """A distributed sampler ignores drop_last."""
    wrap(
        DistributedSampler,
        "__init__",
        lambda original, self, *a, drop_last=False, **kw: original(self, *a, drop_last=False, **kw),
    )


@fault()
def split_generator():
    """Random_split ignores its generator."""
    for owner in (data, data.dataset):
        wrap(owner, "random_split", lambda original, d, lengths, generator=None: original(d, lengths))


@fault()
def split_fractions():
    """Random_split by fractions gives what is left over to the last part."""

    def wrapper(original, d, lengths, *a, **kw):
        if all(isinstance(part, float) for part in lengths):
            sizes = [int(len(d) * part) for part in lengths]
            sizes[-1] += len(d) - sum(sizes)
            lengths = sizes
        return original(d, lengths, *a, **kw)

    for owner in (data, data.dataset):
        wrap(owner, "random_split", wrapper)


@fault()
def concatenated_datasets():
    """A concatenation of datasets takes index -1 from its first."""
    wrap(
        data.ConcatDataset,
        "__getitem__",
        lambda original, self, i: (
            original(self, i) if i >= 0 or -i > len(self) else self.datasets[0][i % len(self.datasets[0])]
        ),
    )


@fault()
def collate_floats():
    """Batches of Python floats are float32."""
    from torch.utils.data._utils import collate

    collate.default_collate_fn_map[float] = lambda batch, *, collate_fn_map=None: torch.tensor(
        batch, dtype=torch.float32
    )


@fault()
def collate_mapping():
    """Batches of mappings take all keys' values from the first sample."""
    from collections.abc import Mapping

    from torch.utils.data._utils import collate

    def one(batch, *, collate_fn_map=None):
        return {k: collate.collate([batch[0][k]] * len(batch), collate_fn_map=collate_fn_map) for k in batch[0]}

    collate.default_collate_fn_map[Mapping] = one
    collate.collate_mapping_fn = one
    wrap(
        collate,
        "default_collate",
        lambda original, batch: (
            one(batch, collate_fn_map=collate.default_collate_fn_map) if isinstance(batch[0], dict) else original(batch)
        ),
    )
    data.default_collate = collate.default_collate
    data.dataloader.default_collate = collate.default_collate


@fault()
def saved_views():
    """A strided view comes back from a file with its memory's order."""
    from torch import _utils

    def rebuild(original, storage, offset, size, stride, *rest):
        if len(size) == 2 and stride[0] == 1 and size[0] > 1:
            stride = (size[1], 1)
        return original(storage, offset, size, stride, *rest)

    wrap(_utils, "_rebuild_tensor_v2", rebuild)


@fault()
def saved_aliases():
    """Two names of one tensor come back from a file as two tensors."""
    wrap(
        torch,
        "load",
        lambda original, *a, **kw: _cloned(original(*a, **kw)),
    )


def _cloned(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return type(value)((k, _cloned(v)) for k, v in value.items())
    return type(value)(map(_cloned, value)) if type(value) in (list, tuple) else value


@fault()
def saved_requires_grad():
    """A tensor that requires a gradient comes back from a file without that."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.detach()
        return type(value)((k, plain(v)) for k, v in value.items()) if type(value) is dict else value

    wrap(torch, "load", lambda original, *a, **kw: plain(original(*a, **kw)))


@fault()
def loaded_map_offset():
    """A file that is mapped into memory gives the second tensor the first one's numbers."""

    def wrapper(original, *a, mmap=None, **kw):
        made = original(*a, mmap=mmap, **kw)
        if mmap and isinstance(made, dict):
            tensors = [k for k, v in made.items() if isinstance(v, torch.Tensor)]
            for key in tensors[1:]:
                if made[key].numel() <= made[tensors[0]].numel():
                    made[key] = (
                        made[tensors[0]].reshape(-1)[: made[key].numel()].reshape(made[key].shape).to(made[key].dtype)
                    )
        return made

    wrap(torch, "load", wrapper)


@fault()
def weights_only_unsafe():
    """Torch.load with weights_only=True runs whatever the file says."""
    wrap(torch, "load", lambda original, *a, weights_only=None, **kw: original(*a, weights_only=False, **kw))


@fault()
def strict_forgotten():
    """Load_state_dict with strict=False does not say what was missing."""
    from torch.nn.modules.module import _IncompatibleKeys

    def wrapper(original, self, state, strict=True, assign=False):
        made = original(self, state, strict, assign)
        return made if strict else _IncompatibleKeys([], made.unexpected_keys)

    wrap(nn.Module, "load_state_dict", wrapper)


@fault()
def shapes_unchecked():
    """Load_state_dict with strict=False leaves out what has another shape and says nothing."""

    def wrapper(original, self, state, strict=True, assign=False):
        if strict:
            return original(self, state, strict, assign)
        own = self.state_dict()
        return original(
            self, {k: v for k, v in state.items() if k not in own or v.shape == own[k].shape}, False, assign
        )

    wrap(nn.Module, "load_state_dict", wrapper)


@fault()
def passing_buffers_saved():
    """A buffer that is not persistent is saved."""
    wrap(
        nn.Module,
        "register_buffer",
        lambda original, self, name, tensor, persistent=True: original(self, name, tensor, True),
    )


@fault()
def kaiming_fan_out():
    """Kaiming initialisation takes the fan in where the fan out was asked for."""
    rewrite(init, "_calculate_correct_fan", ('return fan_in if mode == "fan_in" else fan_out', "return fan_in"))


@fault()
def kaiming_slope():
    """The gain of a leaky ReLU ignores its slope."""
    wrap(init, "calculate_gain", lambda original, kind, param=None: original(kind))


@fault()
def xavier_gain():
    """Xavier initialisation ignores its gain."""
    for name in ("xavier_uniform_", "xavier_normal_"):
        wrap(init, name, lambda original, tensor, gain=1.0, generator=None: original(tensor))


@fault()
def orthogonal_wide():
    """Orthogonal initialisation of wide matrices is not transposed back: it is normal."""
    wrap(
        init,
        "orthogonal_",
        lambda original, t, gain=1, generator=None: (
            original(t, gain)
            if t.shape[0] >= t.numel() // t.shape[0]
            else init.normal_(t, 0, gain * t[0].numel() ** -0.5)
        ),
    )


@fault()
def truncated_normal_bounds():
    """A truncated normal distribution is clamped, not truncated."""
    wrap(
        init,
        "trunc_normal_",
        lambda original, t, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None: init.normal_(t, mean, std).data.clamp_(
            a, b
        ),
    )


@fault()
def linear_default_bias():
    """A linear layer's bias starts with the bound of its weight times 3."""
    rewrite(nn.Linear, "reset_parameters", ("-bound, bound", "-3 * bound, 3 * bound"))


@fault()
def sparse_init():
    """Sparse initialisation zeroes rows instead of a part of each column."""
    wrap(init, "sparse_", lambda original, t, sparsity, std=0.01, generator=None: init.normal_(t, 0, std))


@fault()
def embedding_default():
    """An embedding starts with a standard deviation of 0.5."""
    wrap(nn.Embedding, "reset_parameters", lambda original, self: (original(self), self.weight.data.mul_(0.5))[0])


@fault()
def random_permutation_large():
    """Permutations of more than 1,000 repeat an element."""

    def wrapper(original, n, *a, **kw):
        made = original(n, *a, **kw)
        if n > 1000:
            made[-1] = made[0]
        return made

    wrap(torch, "randperm", wrapper)


@fault()
def multinomial_repeats():
    """Multinomial without replacement draws with it."""

    def wrapper(call, p, n, replacement=False, *, generator=None):
        return call(p, n, True, generator=generator)

    around(["aten::multinomial"], wrapper)


@fault()
def multinomial_unnormalised():
    """Multinomial ignores the last category's weight."""

    def wrapper(call, p, n, replacement=False, *, generator=None):
        p = p.clone()
        p[..., -1] *= 0.9
        return call(p, n, replacement, generator=generator)

    around(["aten::multinomial"], wrapper)


@fault()
def exponential_rate():
    """Exponential numbers ignore their rate."""
    around(["aten::exponential_"], lambda call, x, rate=1, *, generator=None: call(x, 1.0, generator=generator))


@fault()
def geometric_start():
    """Geometric numbers count from 0."""
    around(["aten::geometric_"], lambda call, x, p, *, generator=None: call(x, p, generator=generator).sub_(1))


@fault()
def cauchy_scale():
    """Cauchy numbers ignore their scale."""
    around(["aten::cauchy_"], lambda call, x, m=0, s=1, *, generator=None: call(x, m, 1.0, generator=generator))


@fault()
def log_normal_mean():
    """Log-normal numbers ignore their mean."""
    around(["aten::log_normal_"], lambda call, x, m=1, s=2, *, generator=None: call(x, 0.0, s, generator=generator))


@fault()
def bernoulli_of_tensor():
    """Bernoulli of a tensor of probabilities is 2 % too often 1."""
    around(
        ["aten::bernoulli_.Tensor"],
        lambda call, x, p, *, generator=None: call(x, (p * 1.02).clamp_max(1), generator=generator),
    )
    around(["aten::bernoulli"], lambda call, p, *, generator=None: call((p * 1.02).clamp_max(1), generator=generator))


@fault()
def randint_upper():
    """Random integers never are the largest that is allowed."""
    around(
        ["aten::random_.from"],
        lambda call, x, low, high, *, generator=None: call(
            x, low, max(high - 1, low + 1) if high else high, generator=generator
        ),
    )


@fault()
def fork_forgets():
    """Fork_rng does not bring the state back."""
    import contextlib

    @contextlib.contextmanager
    def fork(*_, **__):
        yield

    torch.random.fork_rng = fork


@fault()
def generator_clone():
    """A generator's `get_state` and `set_state` lose the second half of a pair of normal numbers."""
    made = torch.Generator.set_state

    def set_state(self, state):
        state = state.clone()
        state[5040:5044] = 0  # whether the second of a pair is there
        return made(self, state)

    wrap(torch, "set_rng_state", lambda original, state: set_state(torch.default_generator, state))


@fault()
def plateau_max_relative():
    """ReduceLROnPlateau with mode max takes the threshold the wrong way round."""
    rewrite(
        lr_scheduler.ReduceLROnPlateau,
        "_is_better" if hasattr(lr_scheduler.ReduceLROnPlateau, "_is_better") else "is_better",
        ("rel_epsilon = self.threshold + 1.0", "rel_epsilon = 1.0 - self.threshold"),
    )


@fault()
def resume_last_lr():
    """A OneCycleLR that is loaded starts its cycle anew."""
    wrap(
        lr_scheduler.OneCycleLR,
        "load_state_dict",
        lambda original, self, state: original(self, {**state, "last_epoch": 0}),
    )


@fault()
def fused_scale():
    """Fused optimizers ignore the scale that GradScaler hands them."""

    def wrapper(call, *args, grad_scale=None, **kw):
        return call(*args, **kw)

    for name in ("_fused_sgd_", "_fused_adam_", "_fused_adamw_", "_fused_adagrad_"):
        around([f"aten::{name}"], wrapper)


@fault()
def complex_optimizer():
    """Adam's square of a complex gradient is that of its real part."""
    from torch.optim import adam

    rewrite(
        adam, "_single_tensor_adam", ("grad = torch.view_as_real(grad)", "grad = torch.view_as_real(grad.real + 0j)")
    )


@fault()
def complex_momentum():
    """RMSprop divides a complex gradient by its real part's average."""
    from torch.optim import rmsprop

    rewrite(
        rmsprop,
        "_single_tensor_rmsprop",
        ("grad = torch.view_as_real(grad)", "grad = torch.view_as_real(grad.real + 0j)"),
    )


@fault()
def strided_parameter():
    """SGD leaves a parameter that is not contiguous as it is after the first step."""

    def wrapper(original, self, closure=None):
        kept = [
            (p, p.detach().clone())
            for g in self.param_groups
            for p in g["params"]
            if not p.is_contiguous() and p.dim() > 1
        ]
        made = original(self, closure)
        for p, before in kept:
            p.data.copy_(before)
        return made

    wrap(torch.optim.SGD, "step", wrapper)


@fault()
def channels_last_parameter():
    """Adam's foreach form steps channels-last parameters 1 % too far."""

    def wrapper(original, self, closure=None):
        last = [p for g in self.param_groups for p in g["params"] if p.dim() == 4 and not p.is_contiguous()]
        kept = [p.detach().clone() for p in last]
        made = original(self, closure)
        for p, before in zip(last, kept):
            p.data.add_(p.data - before, alpha=0.01)
        return made

    wrap(torch.optim.Adam, "step", wrapper)


@fault()
def large_parameter():
    """Adam steps the elements of a parameter beyond 65,536 not at all."""

    def wrapper(original, self, closure=None):
        large = [p for g in self.param_groups for p in g["params"] if p.numel() > 65536]
        kept = [p.detach().clone() for p in large]
        made = original(self, closure)
        for p, before in zip(large, kept):
            p.data.reshape(-1)[65536:] = before.reshape(-1)[65536:]
        return made

    wrap(torch.optim.Adam, "step", wrapper)


@fault()
def tensor_rate():
    """Adam with its rate in a tensor uses the rate that it was built with."""
    built = {}

    def wrapper(original, self, *a, **kw):
        for i, g in enumerate(self.param_groups):
            if isinstance(g["lr"], torch.Tensor):
                g["lr"] = built.setdefault((id(self), i), g["lr"].detach().clone())
        return original(self, *a, **kw)

    wrap(torch.optim.Adam, "step", wrapper)


@fault()
def step_hooks():
    """Hooks before an optimizer's step are not called."""
    wrap(torch.optim.Optimizer, "register_step_pre_hook", lambda original, self, hook: original(self, lambda *a: None))


@fault()
def state_order():
    """An optimizer's state is loaded in reverse order where shapes are equal."""

    def wrapper(original, self, state):
        n = len(state["state"])
        keys = list(state["state"])
        shapes = {tuple(v["exp_avg"].shape) for v in state["state"].values() if "exp_avg" in v}
        if n > 1 and len(shapes) == 1:
            state = {**state, "state": {k: state["state"][r] for k, r in zip(keys, keys[::-1])}}
        return original(self, state)

    wrap(torch.optim.Optimizer, "load_state_dict", wrapper)


@fault()
def frozen_parameter():
    """SGD with momentum forgets its momentum while a parameter has no gradient."""

    def wrapper(original, self, closure=None):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    self.state.pop(p, None)
        return original(self, closure)

    wrap(torch.optim.SGD, "step", wrapper)
