"""Training as a whole: randomness, precision, checkpoints, data, processes."""

from __future__ import annotations

import torch
import torch.utils.data
from planted.kernels import after, around
from planted.registry import fault
from planted.sources import rewrite, wrap


@fault()
def seed_ignored():
    """`manual_seed` ignores its argument."""
    original = torch.default_generator.manual_seed
    wrap(torch, "manual_seed", lambda _, seed: original(1234))


@fault()
def seed_noop():
    """`manual_seed` does nothing."""
    wrap(torch, "manual_seed", lambda _, seed: torch.default_generator)


@fault()
def normal_variance():
    """Normal numbers have a standard deviation of 1.02."""
    after(["aten::normal_"], lambda out, *_, **__: out * 1.02)
    wrap(torch, "randn", lambda original, *a, **kw: original(*a, **kw) * 1.02)


@fault()
def uniform_range():
    """Uniform numbers never exceed 0.98."""
    after(["aten::uniform_"], lambda out, x, low=0, high=1, **__: low + (out - low) * 0.98)
    wrap(torch, "rand", lambda original, *a, **kw: original(*a, **kw) * 0.98)


@fault()
def bernoulli_bias():
    """Bernoulli numbers are 1 a little too often."""

    def wrapper(call, x, p=0.5, **kw):
        return call(x, min(p * 1.05, 1.0), **kw) if isinstance(p, float) else call(x, p, **kw)

    around(["aten::bernoulli_.float"], wrapper)


@fault()
def permutation_fixed():
    """Random permutations leave the first element where it is."""

    def fixed(original, n, *args, **kw):
        made = original(n, *args, **kw)
        where = (made == 0).nonzero()
        if n and len(where):
            made[where[0, 0]], made[0] = made[0].clone(), 0
        return made

    wrap(torch, "randperm", fixed)


@fault()
def generator_state():
    """`set_rng_state` restores nothing."""
    torch.set_rng_state = lambda state: None
    torch.random.set_rng_state = lambda state: None


@fault()
def scaler_no_skip():
    """GradScaler steps although gradients are infinite."""
    wrap(
        torch.amp.GradScaler,
        "_maybe_opt_step",
        lambda original, self, optimizer, state, *a, **kw: optimizer.step(*a, **kw),
    )


@fault()
def scaler_never_grows():
    """GradScaler never raises its scale."""
    around(
        ["aten::_amp_update_scale_"],
        lambda call, scale, tracker, found, growth, backoff, interval: call(
            scale, tracker, found, 1.0, backoff, interval
        ),
    )


@fault()
def scaler_unscale():
    """GradScaler divides by twice its scale."""

    def wrapper(call, tensors, found, inverse):
        return call(tensors, found, inverse * 0.5)

    around(["aten::_amp_foreach_non_finite_check_and_unscale_"], wrapper)


@fault()
def autocast_off():
    """Autocast does nothing."""
    torch.amp.autocast.__enter__ = lambda self: self
    torch.amp.autocast.__exit__ = lambda self, *args: False


@fault()
def save_rounds():
    """Saving a checkpoint rounds float32 to bfloat16."""

    def rounded(value):
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            return value.detach().to(torch.bfloat16).to(torch.float32)
        if isinstance(value, dict):
            return type(value)((key, rounded(item)) for key, item in value.items())
        return value

    wrap(torch, "save", lambda original, value, *a, **kw: original(rounded(value), *a, **kw))


@fault()
def load_keeps_old():
    """Loading a state dict leaves buffers as they were."""

    def load(original, self, state, *args, **kw):
        names = {name for name, _ in self.named_buffers()}
        own = self.state_dict()
        return original(self, {k: own[k] if k in names else v for k, v in state.items()}, *args, **kw)

    wrap(torch.nn.Module, "load_state_dict", load)


@fault()
def loader_drops_last():
    """A DataLoader drops the last batch when it is not full."""
    rewrite(torch.utils.data.BatchSampler, "__init__", ("self.drop_last = drop_last", "self.drop_last = True"))


@fault()
def loader_repeats():
    """A shuffled DataLoader draws with replacement."""

    def draw(original, self):
        n = len(self.data_source)
        yield from torch.randint(n, (n,)).tolist()

    wrap(torch.utils.data.RandomSampler, "__iter__", draw)


@fault()
def workers_share_seed():
    """All workers of a DataLoader have the same seed."""
    from torch.utils.data import dataloader
    from torch.utils.data._utils import worker

    def loop(original, kind, dataset, index, result, done, auto, collate, drop, seed, init, number, *rest):
        return original(kind, dataset, index, result, done, auto, collate, drop, 7, init, number, *rest)

    wrap(worker, "_worker_loop", loop)
    dataloader._utils.worker._worker_loop = worker._worker_loop


@fault()
def collate_order():
    """Batches come with their samples in reverse."""
    from torch.utils.data import dataloader
    from torch.utils.data._utils import collate

    original = collate.default_collate
    collate.default_collate = lambda batch: original(batch[::-1])
    dataloader.default_collate = collate.default_collate
    torch.utils.data.default_collate = collate.default_collate
    dataloader._utils.collate.default_collate = collate.default_collate


@fault()
def memory_shared():
    """`clone` shares memory with its original when it holds more than 64 elements."""
    wrap(
        torch.Tensor,
        "clone",
        lambda original, self, **kw: (
            self.view_as(self) if self.numel() > 64 and self.is_contiguous() else original(self, **kw)
        ),
    )


@fault()
def threads_race():
    """Sums of more than 100,000 elements sometimes lose a block."""
    import random

    source = random.Random(3)
    around(
        ["aten::sum"],
        lambda call, x, **kw: (
            call(x[1000:], **kw) if x.dim() == 1 and x.numel() > 100_000 and source.random() < 0.5 else call(x, **kw)
        ),
    )


@fault()
def ddp_no_sync():
    """Distributed training never brings its gradients together."""
    import torch.distributed as dist

    if dist.is_available():
        wrap(
            torch.nn.parallel.DistributedDataParallel, "forward", lambda original, self, *a, **kw: self.module(*a, **kw)
        )


@fault()
def all_reduce_averages():
    """All_reduce gives the average for the sum."""
    import torch.distributed as dist

    def reduce(original, tensor, *args, **kw):
        work = original(tensor, *args, **kw)
        tensor /= dist.get_world_size()
        return work

    if dist.is_available():
        wrap(dist, "all_reduce", reduce)


@fault(level="full")
def compiled_relu():
    """The compiler's ReLU is wrong."""
    from torch._inductor import config

    config.cpp.inject_relu_bug_TESTING_ONLY = "accuracy"
    config.force_disable_caches = True


@fault()
def bfloat16_steps_lost():
    """Additions in bfloat16 round towards zero."""

    def change(out, x, y, *_, alpha=1, **__):
        if out.dtype != torch.bfloat16 or not isinstance(y, torch.Tensor) or x.dtype != torch.bfloat16:
            return out
        exact = x.float() + alpha * y.float()
        return (exact.contiguous().view(torch.int32) & -65536).view(torch.float32).to(torch.bfloat16)

    after(["aten::add.Tensor"], change)


@fault()
def image_of_numpy():
    """Tensors made from NumPy arrays with negative strides or columns first are transposed."""
    wrap(
        torch,
        "from_numpy",
        lambda original, array: (
            original(array.copy().reshape(-1)[::-1].copy().reshape(array.shape)) if array.ndim > 1 else original(array)
        ),
    )


@fault(unseen="a slower kernel with the same results is no error of arithmetic")
def slow_only():
    """Products take a millisecond longer."""
    import time

    around(["aten::mm"], lambda call, *a, **kw: (time.sleep(0.001), call(*a, **kw))[1])
