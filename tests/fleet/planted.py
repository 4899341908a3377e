"""Ways for torch.distributed to be wrong, each planted in the process of a rank that has just imported torch.

A fault is one function of (torch, rank, world); its docstring says what is wrong. It is planted on every rank, and
decides itself which of them it touches.
"""

from __future__ import annotations

import contextlib

FAULTS = {}


def fault(function):
    FAULTS[function.__name__] = function
    return function


def wrap(owner, name, wrapper):
    """Put `wrapper(original, *args, **kwargs)` in the place of a function or method."""
    original = getattr(owner, name)

    def replacement(*args, **kwargs):
        return wrapper(original, *args, **kwargs)

    replacement.__name__ = name
    setattr(owner, name, replacement)


def after(owner, name, change):
    """Let `change(result, *args, **kwargs)` act after a function has returned; its result is given on."""

    def then(original, *args, **kwargs):
        result = original(*args, **kwargs)
        change(result, *args, **kwargs)
        return result

    wrap(owner, name, then)


# Collectives.


@fault
def all_reduce_drops_a_rank(torch, rank, world):
    """The last rank's contribution to a sum is lost."""

    def reduce(original, tensor, op=torch.distributed.ReduceOp.SUM, *args, **kw):
        if rank == world - 1 and op == torch.distributed.ReduceOp.SUM:
            tensor.zero_()
        return original(tensor, op, *args, **kw)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_tail(torch, rank, world):
    """A large reduction leaves its last element as it was."""

    def reduce(original, tensor, *args, **kw):
        last = tensor.flatten()[-1:].clone() if tensor.numel() > 32_768 else None
        work = original(tensor, *args, **kw)
        if last is not None:
            if work is not None:
                work.wait()
            tensor.view(-1)[-1:] = last
        return work

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_async_takes_the_maximum(torch, rank, world):
    """An asynchronous sum gives the maximum."""

    def reduce(original, tensor, op=torch.distributed.ReduceOp.SUM, group=None, async_op=False):
        sums = async_op and op == torch.distributed.ReduceOp.SUM
        return original(tensor, torch.distributed.ReduceOp.MAX if sums else op, group, async_op)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_one_rank_keeps_its_own(torch, rank, world):
    """One rank does not get the result of a reduction."""

    def reduce(original, tensor, *args, **kw):
        own = tensor.clone()
        work = original(tensor, *args, **kw)
        if rank == 1 and work is None:
            tensor.copy_(own)
        return work

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_of_integers_through_float32(torch, rank, world):
    """Sums of int64 go through float32: large numbers lose their last digits."""

    def reduce(original, tensor, *args, **kw):
        if tensor.dtype != torch.int64:
            return original(tensor, *args, **kw)
        rounded = tensor.float()
        work = original(rounded, *args, **kw)
        if work is not None:
            work.wait()
        tensor.copy_(rounded)
        return work

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_of_float32_through_bfloat16(torch, rank, world):
    """Sums of float32 go through bfloat16."""

    def reduce(original, tensor, *args, **kw):
        if tensor.dtype != torch.float32:
            return original(tensor, *args, **kw)
        tensor.copy_(tensor.bfloat16())
        return original(tensor, *args, **kw)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_loses_nan(torch, rank, world):
    """A rank's NaN counts as 0 in a sum: the others never learn that it diverged."""

    def reduce(original, tensor, *args, **kw):
        if tensor.is_floating_point():
            tensor.nan_to_num_(0.0, None, None) if tensor.isnan().any() else None
        return original(tensor, *args, **kw)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def all_reduce_in_a_group_takes_all(torch, rank, world):
    """A reduction in a subgroup averages by the size of the whole."""

    def change(_, tensor, *args, group=None, **kw):
        if group is not None and group.size() < world:
            tensor *= group.size() / world

    after(torch.distributed, "all_reduce", change)


@fault
def reduce_scatter_neighbour(torch, rank, world):
    """reduce_scatter gives each rank its neighbour's part."""

    def change(original, output, parts, *args, **kw):
        return original(output, [*parts[1:], parts[0]], *args, **kw)

    wrap(torch.distributed, "reduce_scatter", change)


@fault
def reduce_scatter_tensor_offset(torch, rank, world):
    """reduce_scatter of one tensor begins one element late."""
    wrap(
        torch.distributed,
        "reduce_scatter_tensor",
        lambda original, out, given, *args, **kw: original(out, given.roll(1), *args, **kw),
    )


@fault
def all_gather_swaps_the_last_two(torch, rank, world):
    """all_gather gives the last two ranks' parts in each other's place."""

    def change(_, parts, *args, **kw):
        held = parts[-1].clone()
        parts[-1].copy_(parts[-2])
        parts[-2].copy_(held)

    after(torch.distributed, "all_gather", change)


@fault
def all_gather_into_tensor_interleaved(torch, rank, world):
    """all_gather into one tensor interleaves the ranks' elements."""

    def change(_, out, given, *args, **kw):
        out.copy_(out.view(world, -1).t().reshape(out.shape))

    after(torch.distributed, "all_gather_into_tensor", change)


@fault
def broadcast_from_the_first(torch, rank, world):
    """broadcast takes rank 0 for its source, whatever was asked for."""

    def change(original, tensor, src=None, group=None, async_op=False, **kw):
        return original(tensor, 0 if group is None else src, group, async_op, **kw)

    wrap(torch.distributed, "broadcast", change)


@fault
def broadcast_cut(torch, rank, world):
    """broadcast of more than 32,768 elements leaves the rest."""

    def change(original, tensor, src=None, *args, **kw):
        own = tensor.clone()
        work = original(tensor, src, *args, **kw)
        if work is None and tensor.numel() > 32_768:
            tensor.view(-1)[32_768:] = own.view(-1)[32_768:]
        return work

    wrap(torch.distributed, "broadcast", change)


@fault
def reduce_takes_the_maximum(torch, rank, world):
    """reduce with SUM brings the maximum."""
    wrap(
        torch.distributed,
        "reduce",
        lambda original, tensor, dst=None, op=None, *args, **kw: original(
            tensor, dst, torch.distributed.ReduceOp.MAX, *args, **kw
        ),
    )


@fault
def scatter_rotated(torch, rank, world):
    """scatter gives each rank the next one's part."""

    def change(original, tensor, parts=None, *args, **kw):
        return original(tensor, parts and [*parts[1:], parts[0]], *args, **kw)

    wrap(torch.distributed, "scatter", change)


@fault
def gather_forgets_one(torch, rank, world):
    """gather leaves the second rank's part at zero."""

    def change(_, tensor, parts=None, *args, **kw):
        if parts:
            parts[1].zero_()

    after(torch.distributed, "gather", change)


@fault
def all_to_all_in_reverse(torch, rank, world):
    """all_to_all_single puts the parts down in reverse."""

    def change(_, out, *args, **kw):
        if not args[1:] and out.numel() % world == 0:
            out.copy_(out.view(world, -1).flip(0).reshape(out.shape))

    after(torch.distributed, "all_to_all_single", change)


@fault
def all_to_all_list_diagonal(torch, rank, world):
    """all_to_all of lists forgets the rank's own part."""

    def change(_, out, *args, **kw):
        out[rank].zero_()

    after(torch.distributed, "all_to_all", change)


@fault
def receive_half(torch, rank, world):
    """recv leaves the second half of a large message."""

    def change(original, tensor, *args, **kw):
        own = tensor.clone()
        result = original(tensor, *args, **kw)
        if tensor.numel() > 1000:
            tensor.view(-1)[tensor.numel() // 2 :] = own.view(-1)[tensor.numel() // 2 :]
        return result

    wrap(torch.distributed, "recv", change)


@fault
def tags_ignored(torch, rank, world):
    """recv takes the oldest message, whatever its tag."""
    wrap(torch.distributed, "recv", lambda original, *args, tag=0, **kw: original(*args, tag=1 if tag else 0, **kw))


@fault
def barrier_open(torch, rank, world):
    """A barrier holds nobody."""
    wrap(torch.distributed, "barrier", lambda original, *args, **kw: None)


@fault
def monitored_barrier_open(torch, rank, world):
    """A monitored barrier notices nobody's absence."""
    wrap(torch.distributed, "monitored_barrier", lambda original, *args, **kw: None)


@fault
def objects_rotated(torch, rank, world):
    """all_gather_object gives the objects of the ranks after."""

    def change(_, objects, *args, **kw):
        objects[:] = [*objects[1:], objects[0]]

    after(torch.distributed, "all_gather_object", change)


@fault
def objects_of_the_first(torch, rank, world):
    """scatter_object_list gives all ranks the first one's object."""

    def change(original, out, given=None, *args, **kw):
        return original(out, given and [given[0]] * world, *args, **kw)

    wrap(torch.distributed, "scatter_object_list", change)


@fault
def gather_object_to_the_wrong_rank(torch, rank, world):
    """gather_object gives the objects in reverse."""

    def change(original, obj=None, objects=None, *args, **kw):
        obj = kw.pop("object", obj)
        result = original(obj, objects, *args, **kw)
        if objects:
            objects.reverse()
        return result

    wrap(torch.distributed, "gather_object", change)


# Data parallelism.


def hooked(torch, hook):
    """Give every DDP model a communication hook."""
    ddp = torch.nn.parallel.DistributedDataParallel

    def change(_, self, *args, **kw):
        self.register_comm_hook(None, hook)

    after(ddp, "__init__", change)


def reduced(torch, bucket, scale):
    future = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0] * scale)


def done(torch, tensor):
    future = torch.futures.Future()
    future.set_result(tensor)
    return future


@fault
def ddp_divides_twice(torch, rank, world):
    """DDP divides gradients by the number of ranks twice."""
    hooked(torch, lambda _, bucket: reduced(torch, bucket, 1 / world**2))


@fault
def ddp_sums(torch, rank, world):
    """DDP sums gradients instead of averaging them."""
    hooked(torch, lambda _, bucket: reduced(torch, bucket, 1.0))


@fault
def ddp_first_bucket_alone(torch, rank, world):
    """DDP brings together the first bucket alone."""
    hooked(
        torch,
        lambda _, bucket: reduced(torch, bucket, 1 / world) if bucket.index() == 0 else done(torch, bucket.buffer()),
    )


@fault
def ddp_bucket_reversed(torch, rank, world):
    """DDP puts a bucket's gradients back in another order."""
    hooked(
        torch, lambda _, bucket: done(torch, bucket.buffer().flip(0)) if world == 1 else _flipped(torch, bucket, world)
    )


def _flipped(torch, bucket, world):
    future = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0].flip(0) / world)


@fault
def ddp_rounds_gradients(torch, rank, world):
    """DDP compresses gradients to bfloat16, unasked."""
    hooked(torch, lambda _, bucket: _rounded(torch, bucket, world))


def _rounded(torch, bucket, world):
    bucket.buffer().copy_(bucket.buffer().bfloat16())
    return reduced(torch, bucket, 1 / world)


@fault
def ddp_no_sync_synchronises(torch, rank, world):
    """no_sync does nothing: gradients are brought together in every step."""
    torch.nn.parallel.DistributedDataParallel.no_sync = lambda self: contextlib.nullcontext()


@fault
def ddp_keeps_each_start(torch, rank, world):
    """DDP does not give all ranks the first one's weights."""
    import torch.nn.parallel.distributed as module

    wrap(module, "_sync_module_states", lambda original, *args, **kw: None)


@fault
def ddp_keeps_each_buffer(torch, rank, world):
    """DDP does not give all ranks the first one's buffers before a step."""
    torch.nn.parallel.DistributedDataParallel._sync_buffers = lambda self: None


@fault
def ddp_join_weighs_all(torch, rank, world):
    """With uneven inputs the average is over all ranks, as if those that had ended still gave gradients."""
    wrap(
        torch.nn.parallel.DistributedDataParallel,
        "join",
        lambda original, self, divide_by_initial_world_size=True, *args, **kw: original(self, True, *args, **kw),
    )


@fault
def ddp_half_precision_hook(torch, rank, world):
    """The fp16 compression hook sums instead of averaging."""
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    def hook(group, bucket):
        tensor = bucket.buffer().half()
        future = torch.distributed.all_reduce(tensor, async_op=True).get_future()
        return future.then(lambda done: bucket.buffer().copy_(done.value()[0]))

    default_hooks.fp16_compress_hook = hook


@fault
def zero_optimizer_keeps_its_part(torch, rank, world):
    """ZeroRedundancyOptimizer does not give the others the weights that it updated."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    ZeroRedundancyOptimizer._sync_params = lambda self: None


@fault
def local_averaging_never(torch, rank, world):
    """Model averaging averages nothing."""
    from torch.distributed.algorithms.model_averaging import utils

    utils.average_parameters = lambda params, group: None
    utils.average_parameters_or_parameter_groups = lambda params, group: None


# Sharding.


@fault
def fsdp_sums(torch, rank, world):
    """FSDP2 sums gradients instead of averaging them."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group

    def after_backward(original, self, *args, **kw):
        result = original(self, *args, **kw)
        for param in self.fsdp_params:
            if param.sharded_param.grad is not None:
                param.sharded_param.grad.to_local().mul_(world)
        return result

    wrap(_fsdp_param_group.FSDPParamGroup, "finalize_backward", after_backward)


@fault
def fsdp_shard_offset(torch, rank, world):
    """FSDP2 gathers a weight with its shards rotated."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param

    def gathered(original, self, *args, **kw):
        result = original(self, *args, **kw)
        with torch.no_grad():
            for out in self.all_gather_outputs:
                out.copy_(out.roll(1))
        return result

    wrap(_fsdp_param.FSDPParam, "init_unsharded_param", gathered)


@fault
def tensor_gathered_in_reverse(torch, rank, world):
    """A sharded tensor's `full_tensor` has its parts in reverse."""
    from torch.distributed.tensor import DTensor

    def change(original, self, *args, **kw):
        return original(self, *args, **kw).flip(0)

    wrap(DTensor, "full_tensor", change)


@fault
def tensor_distributed_from_own(torch, rank, world):
    """`distribute_tensor` takes each rank's own data instead of the first one's."""
    from torch.distributed.tensor import DTensor

    def own(original, tensor, mesh=None, placements=None, **kw):
        replica = DTensor.from_local(tensor.detach(), mesh, [torch.distributed.tensor.Replicate()], run_check=False)
        return replica.redistribute(mesh, placements)

    wrap(torch.distributed.tensor, "distribute_tensor", own)


@fault
def norm_of_one_shard(torch, rank, world):
    """Gradients of sharded weights are clipped by the norm of the rank's own shard."""
    from torch.nn.utils import clip_grad

    def clip(original, parameters, max_norm, *args, **kw):
        parameters = list(parameters)
        locals_ = [p.grad.to_local() if hasattr(p.grad, "to_local") else p.grad for p in parameters]
        norm = torch.stack([g.norm() for g in locals_]).norm()
        for grad in locals_:
            grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    wrap(clip_grad, "clip_grad_norm_", clip)
    torch.nn.utils.clip_grad_norm_ = clip_grad.clip_grad_norm_


@fault
def mesh_turned(torch, rank, world):
    """A mesh of two dimensions gives the rank's place in the other one."""
    from torch.distributed.device_mesh import DeviceMesh

    def turned(original, self, *args, **kw):
        return original(self)[::-1] if self.ndim > 1 and not args else original(self, *args, **kw)

    wrap(DeviceMesh, "get_coordinate", turned)


@fault
def functional_gather_along_rows(torch, rank, world):
    """A functional all_gather ignores the dimension that it was to gather along."""
    from torch.distributed import _functional_collectives as functional

    def change(original, tensor, gather_dim, *args, **kw):
        return original(tensor, 0, *args, **kw)

    wrap(functional, "all_gather_tensor", change)


# Gradients through collectives.


@fault
def gradient_of_all_reduce(torch, rank, world):
    """The gradient of a sum over ranks is the rank's own."""
    from torch.distributed.nn import functional

    functional._AllReduce.backward = staticmethod(lambda ctx, grad: (None, None, grad))


@fault
def gradient_of_all_gather(torch, rank, world):
    """The gradient of all_gather is what the rank itself gave for its part."""
    from torch.distributed.nn import functional

    functional._AllGather.backward = staticmethod(lambda ctx, *grads: (None, grads[rank]))


# Data and checkpoints.


@fault
def sampler_overlaps(torch, rank, world):
    """Two ranks see the same samples."""
    sampler = torch.utils.data.distributed.DistributedSampler

    def change(_, self, *args, **kw):
        self.rank = max(self.rank, 1) if self.num_replicas > 1 else self.rank

    after(sampler, "__init__", change)


@fault
def sampler_without_epoch(torch, rank, world):
    """A shuffled sampler gives one order in every epoch."""
    torch.utils.data.distributed.DistributedSampler.set_epoch = lambda self, epoch: None


@fault
def sampler_keeps_the_rest(torch, rank, world):
    """A sampler that is to drop the uneven rest repeats samples instead."""
    sampler = torch.utils.data.distributed.DistributedSampler

    def change(original, self, *args, drop_last=False, **kw):
        return original(self, *args, **kw)

    wrap(sampler, "__init__", change)


@fault
def checkpoint_rounds(torch, rank, world):
    """A distributed checkpoint holds numbers in bfloat16."""
    from torch.distributed import checkpoint

    def rounded(original, state, *args, **kw):
        made = {
            n: v.bfloat16().to(v.dtype) if torch.is_tensor(v) and v.is_floating_point() else v for n, v in state.items()
        }
        return original(made, *args, **kw)

    wrap(checkpoint, "save", rounded)


@fault
def checkpoint_of_shards_shifted(torch, rank, world):
    """A sharded tensor is loaded with each rank's part from its neighbour."""
    from torch.distributed import checkpoint

    def change(_, state, *args, **kw):
        for value in state.values():
            if hasattr(value, "to_local") and value.to_local().numel():
                value.to_local().copy_(value.to_local().roll(1, 0))

    after(checkpoint, "load", change)


# A second set, written when the checks had been made to notice all of the above.


@fault
def minimum_is_maximum_on_one_rank(torch, rank, world):
    """One rank takes the maximum for the minimum in what it gets."""
    distributed = torch.distributed

    def reduce(original, tensor, op=distributed.ReduceOp.SUM, *args, **kw):
        own = tensor.clone()
        work = original(tensor, op, *args, **kw)
        if op == distributed.ReduceOp.MIN and rank == world - 1:
            if work is not None:
                work.wait()
            torch.maximum(own, tensor, out=tensor)
        return work

    wrap(distributed, "all_reduce", reduce)


@fault
def product_without_the_sign(torch, rank, world):
    """A product loses its sign."""

    def change(_, tensor, op=torch.distributed.ReduceOp.SUM, *args, **kw):
        if op == torch.distributed.ReduceOp.PRODUCT:
            tensor.abs_()

    after(torch.distributed, "all_reduce", change)


@fault
def xor_is_or(torch, rank, world):
    """BXOR gives BOR."""
    ops = torch.distributed.ReduceOp

    def reduce(original, tensor, op=ops.SUM, *args, **kw):
        return original(tensor, ops.BOR if op == ops.BXOR else op, *args, **kw)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def one_element_in_ten_thousand(torch, rank, world):
    """One element in 10,000 of a sum is off by one on rank 1."""

    def change(work, tensor, *args, **kw):
        if rank == 1 and tensor.numel() > 9_999 and work is None:
            tensor.view(-1)[9_999] += 1

    after(torch.distributed, "all_reduce", change)


@fault
def stale_buffer(torch, rank, world):
    """The second of two sums of one size gives the first one's result again."""
    held = {}

    def change(work, tensor, *args, **kw):
        if work is None and tensor.numel() > 1000:
            key = (tensor.shape, tensor.dtype)
            if key in held:
                tensor.copy_(held[key])
            held.setdefault(key, tensor.clone())

    after(torch.distributed, "all_reduce", change)


@fault
def offset_views(torch, rank, world):
    """A part of a tensor behind an offset is reduced from the beginning of its memory."""

    def reduce(original, tensor, *args, **kw):
        if tensor.storage_offset():
            tensor = tensor.as_strided(tensor.shape, tensor.stride(), 0)
        return original(tensor, *args, **kw)

    wrap(torch.distributed, "all_reduce", reduce)


@fault
def broadcast_objects_shortened(torch, rank, world):
    """broadcast_object_list cuts long texts."""

    def change(_, objects, *args, **kw):
        objects[:] = [o[:-1] if isinstance(o, str) and len(o) > 2 and rank else o for o in objects]

    after(torch.distributed, "broadcast_object_list", change)


@fault
def gather_to_first(torch, rank, world):
    """gather has the parts of the first two ranks in each other's place."""

    def change(_, tensor, parts=None, *args, **kw):
        if parts:
            held = parts[0].clone()
            parts[0].copy_(parts[1])
            parts[1].copy_(held)

    after(torch.distributed, "gather", change)


@fault
def uneven_parts_even(torch, rank, world):
    """all_to_all_single with uneven parts leaves the last element of each rank's result."""

    def change(_, out, given, outs=None, ins=None, *args, **kw):
        if outs:
            out[-1:] = 0

    after(torch.distributed, "all_to_all_single", change)


@fault
def coalesced_messages_swapped(torch, rank, world):
    """Messages in one batch reach the other neighbour."""
    distributed = torch.distributed

    def swapped(original, posted, *args, **kw):
        if len(posted) == 2 and posted[0].op is distributed.irecv:
            posted = posted[::-1]
        works = original(posted, *args, **kw)
        for work in works:
            work.wait()
        for one in posted:
            if one.op is distributed.irecv and one.tensor.numel() > 2:
                one.tensor.copy_(one.tensor.roll(1))
        return []

    wrap(distributed, "batch_isend_irecv", swapped)


@fault
def subgroup_of_one_more(torch, rank, world):
    """A new group has the rank after its last member in the last one's place."""

    def change(original, ranks=None, *args, **kw):
        if ranks and 1 < len(ranks) < world and ranks[-1] - 1 not in ranks:
            ranks = [*ranks[:-1], ranks[-1] - 1]
        return original(ranks, *args, **kw)

    wrap(torch.distributed, "new_group", change)


@fault
def group_rank_of_the_whole(torch, rank, world):
    """get_rank gives the number in the whole for any group."""
    wrap(torch.distributed, "get_rank", lambda original, group=None: original())


@fault
def ddp_forgets_accumulated(torch, rank, world):
    """What no_sync gathered is lost in the next step."""
    ddp = torch.nn.parallel.DistributedDataParallel

    def forward(original, self, *args, **kw):
        if self.require_backward_grad_sync and torch.is_grad_enabled():
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()
        return original(self, *args, **kw)

    wrap(ddp, "forward", forward)


@fault
def ddp_skips_small(torch, rank, world):
    """DDP does not bring together gradients of fewer than 40 elements."""

    def hook(_, bucket):
        own = [gradient.clone() for gradient in bucket.gradients()]

        def back(done):
            out = done.value()[0] / world
            start = 0
            for gradient in own:
                if gradient.numel() < 40:
                    out[start : start + gradient.numel()] = gradient.flatten()
                start += gradient.numel()
            return out

        return torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(back)

    hooked(torch, hook)


@fault
def ddp_one_rank_keeps_its_gradient(torch, rank, world):
    """One rank keeps its own gradient."""
    if rank != 1:
        return

    def hook(_, bucket):
        own = bucket.buffer().clone()
        future = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return future.then(lambda done: done.value()[0].copy_(own))

    hooked(torch, hook)


@fault
def ddp_last_step_again(torch, rank, world):
    """From the third step on a gradient is the mean of this step and the last."""
    held = {}

    def hook(_, bucket):
        def back(done):
            out = done.value()[0] / world
            key = bucket.index()
            count, last = held.get(key, (0, out))
            held[key] = (count + 1, out.clone())
            return (out + last) / 2 if count >= 2 and last.shape == out.shape else out

        return torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(back)

    hooked(torch, hook)


@fault
def optimizer_parts_drift(torch, rank, world):
    """ZeroRedundancyOptimizer steps with half the rate on all ranks but the first."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    def change(_, self, *args, **kw):
        step = self.optim.step

        def half(*a, **k):
            before = [p.detach().clone() for group in self.optim.param_groups for p in group["params"]]
            result = step(*a, **k)
            with torch.no_grad():
                for p, old in zip([p for g in self.optim.param_groups for p in g["params"]], before, strict=True):
                    p.copy_((p + old) / 2)
            return result

        if rank:
            self.optim.step = half

    after(ZeroRedundancyOptimizer, "__init__", change)


@fault
def fsdp_weights_stale(torch, rank, world):
    """FSDP2 computes with the weights of the first step for ever."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param

    held = {}

    def gathered(original, self, *args, **kw):
        result = original(self, *args, **kw)
        for index, out in enumerate(self.all_gather_outputs):
            key = (id(self), index)
            if key in held:
                out.copy_(held[key])
            else:
                held[key] = out.clone()
        return result

    wrap(_fsdp_param.FSDPParam, "init_unsharded_param", gathered)


@fault
def fsdp_gradient_of_own_batch(torch, rank, world):
    """FSDP2 leaves out the last rank's gradient."""
    if rank == world - 1:
        backward = torch.Tensor.backward

        def scaled(self, *args, **kw):
            return backward(self * 0 if _in_fsdp() else self, *args, **kw)

        def _in_fsdp():
            import sys

            frame = sys._getframe(1)
            while frame:
                if frame.f_code.co_name.startswith("fsdp2"):
                    return True
                frame = frame.f_back
            return False

        torch.Tensor.backward = scaled


@fault
def rowwise_without_sum(torch, rank, world):
    """A row-parallel layer gives the rank's own part of the output."""
    from torch.distributed.tensor import DTensor

    def move(original, self, mesh=None, placements=None, **kw):
        if any(p.is_partial() for p in self.placements):
            return DTensor.from_local(self.to_local(), self.device_mesh, placements, run_check=False)
        return original(self, mesh, placements, **kw)

    wrap(DTensor, "redistribute", move)


@fault
def shards_last_rank_empty(torch, rank, world):
    """Redistributing from rows to columns leaves the last column at zero."""
    from torch.distributed.tensor import DTensor

    def move(original, self, *args, **kw):
        result = original(self, *args, **kw)
        if rank == world - 1 and result.to_local().dim() == 2 and any(p.is_shard(1) for p in result.placements):
            local = result.to_local()
            if local.numel():
                local.data[:, -1] = 0
        return result

    wrap(DTensor, "redistribute", move)


@fault
def checkpoint_of_the_step(torch, rank, world):
    """Loading a checkpoint leaves plain numbers as they were."""
    from torch.distributed import checkpoint

    def load(original, state, *args, **kw):
        held = {name: value for name, value in state.items() if isinstance(value, int)}
        original(state, *args, **kw)
        state.update(held)

    wrap(checkpoint, "load", load)


@fault
def checkpoint_of_the_first_alone(torch, rank, world):
    """A checkpoint holds what rank 0 has, also for the others."""
    from torch.distributed import checkpoint

    def save(original, state, *args, **kw):
        if rank:
            state = {
                n: torch.zeros_like(v) if torch.is_tensor(v) and type(v) is torch.Tensor else v
                for n, v in state.items()
            }
        return original(state, *args, **kw)

    wrap(checkpoint, "save", save)


@fault
def sampler_pads_with_the_first(torch, rank, world):
    """A sampler fills up uneven parts with the first sample again and again, in place of the next ones."""
    sampler = torch.utils.data.distributed.DistributedSampler

    def indices(original, self):
        return iter([0 if index == len(self.dataset) - 1 else index for index in original(self)])

    wrap(sampler, "__iter__", indices)


@fault
def sampler_seed_per_rank(torch, rank, world):
    """Each rank shuffles by a seed of its own: samples come twice, or never."""
    sampler = torch.utils.data.distributed.DistributedSampler

    def change(_, self, *args, **kw):
        self.seed += rank

    after(sampler, "__init__", change)


@fault
def functional_sum_as_mean(torch, rank, world):
    """A functional sum is a mean."""
    from torch.distributed import _functional_collectives as functional

    wrap(functional, "all_reduce", lambda original, tensor, *args, **kw: original(tensor, *args, **kw) / world)


@fault
def gradient_of_broadcast(torch, rank, world):
    """The gradient of a broadcast does not come back to its source."""
    from torch.distributed.nn import functional

    functional._Broadcast.backward = staticmethod(lambda ctx, grad: (None, None, grad))
