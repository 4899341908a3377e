"""What is wrapped around modules: hooks, parametrisations, normed weights, pruning, folding, moves, frozen parts."""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import passes, trajectory
from ..registry import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..context import Context

RULES = "the documented rules"
FLOAT32 = ("float32",)


def _layer(context: Context, weight: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> Any:
    torch = context.torch
    layer = torch.nn.Linear(len(weight[0]), len(weight), bias=bias is not None).to(context.device, context.dtype)
    with torch.no_grad():
        layer.weight.copy_(context.tensor([list(row) for row in weight]))
        if bias is not None:
            layer.bias.copy_(context.tensor(list(bias)))
    return layer


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def hooks(context: Context) -> None:
    """Module hooks, before and after, forward and back, see what flows and change it by what they return."""
    torch = context.torch
    layer = _layer(context, [[2.0, 3.0]])
    seen: list[Any] = []

    def forward(x: Any, **named: Any) -> Any:
        return type(layer).forward(layer, x * named.get("times", 1))

    layer.forward = forward
    x = context.tensor([[1.0, 1.0]])

    def run(**named: Any) -> tuple[float, list[float]]:
        leaf = x.detach().requires_grad_()
        out = layer(leaf, **named)
        (by,) = torch.autograd.grad(out.sum(), leaf)
        return float(out.detach().sum()), context.values(by)

    context.exact(run(), (5.0, [2.0, 3.0]), what="without hooks")
    add: Any
    for what, add, right in (
        ("forward pre-hook", lambda: layer.register_forward_pre_hook(lambda _, a: (a[0] * 2,)), (10.0, [4.0, 6.0])),
        (
            "forward pre-hook, one value",
            lambda: layer.register_forward_pre_hook(lambda _, a: a[0] * 4),
            (20.0, [8.0, 12.0]),
        ),
        (
            "forward hook",
            lambda: layer.register_forward_hook(lambda _, a, out: out * 3 + a[0].sum()),
            (17.0, [7.0, 10.0]),
        ),
        (
            "full backward hook",
            lambda: layer.register_full_backward_hook(lambda _, g, out: (g[0] * 5 + out[0],)),
            (5.0, [11.0, 16.0]),
        ),
        (
            "full backward pre-hook",
            lambda: layer.register_full_backward_pre_hook(lambda _, out: (out[0] * 7,)),
            (5.0, [14.0, 21.0]),
        ),
        (
            "hook that returns nothing",
            lambda: layer.register_forward_hook(lambda *a: seen.append(len(a))),
            (5.0, [2.0, 3.0]),
        ),
    ):
        handle = add()
        context.exact(run(), right, what=what)
        handle.remove()
        context.exact(run(), (5.0, [2.0, 3.0]), what=f"after the {what} is removed")
    context.exact(seen, [3], what="arguments of a forward hook")
    handle = layer.register_forward_pre_hook(
        lambda _, given, named: (given, {"times": named["times"] * 2}), with_kwargs=True
    )
    context.exact(run(times=3), (30.0, [12.0, 18.0]), what="pre-hook with keyword arguments")
    handle.remove()
    handle = layer.register_forward_hook(lambda *given: given[-1] + given[-2]["times"], with_kwargs=True)
    context.exact(run(times=3), (18.0, [6.0, 9.0]), what="hook with keyword arguments")
    handle.remove()
    order: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_: order.append("second")),
        layer.register_forward_hook(lambda *_: order.append("first"), prepend=True),
    ]
    run()
    context.exact(order, ["first", "second"], what="order of hooks")
    for handle in handles:
        handle.remove()
    if not hasattr(leaf := context.tensor([1.0, 2.0], grad=True), "register_post_accumulate_grad_hook"):
        return
    kept: list[list[float]] = []
    leaf.register_post_accumulate_grad_hook(lambda p: kept.append(context.values(p.grad)))
    (leaf * context.tensor([3.0, 4.0])).sum().backward()
    (leaf * context.tensor([1.0, 1.0])).sum().backward()
    context.exact(kept, [[3.0, 4.0], [4.0, 5.0]], what="post-accumulate hooks")


@check(oracle="polynomials at integers, exact", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def pulls(context: Context) -> None:
    """grad and backward take several outputs and gradients, inputs of choice, unused ones; vmap takes its dims."""
    torch = context.torch
    x, y = context.tensor([1.0, 2.0, 3.0], grad=True), context.tensor([4.0, 5.0, 6.0], grad=True)
    gs = [context.tensor(v) for v in ([1.0, -1.0, 2.0], [3.0, 0.5, -2.0])]
    outs = (x * x, x * y)
    by_x, by_y = torch.autograd.grad(outs, (x, y), gs, retain_graph=True)
    context.exact(by_x, [2.0 + 12.0, -4.0 + 2.5, 12.0 - 12.0], what="gradient by x of two outputs")
    context.exact(by_y, [3.0, 1.0, -6.0], what="gradient by y of two outputs")
    by_x, by_y = torch.autograd.grad(outs[0], (x, y), gs[1], retain_graph=True, allow_unused=True)
    context.true(by_y is None, what="an unused input has no gradient", got=by_y, expected=None)
    if hasattr(torch, "export"):  # 2.1
        _, by_y = torch.autograd.grad(outs[0], (x, y), gs[1], retain_graph=True, materialize_grads=True)
        context.exact(by_y, [0.0] * 3, what="a materialised gradient")
    context.raises(RuntimeError, torch.autograd.grad, outs[0], (y,), gs[1], True, what="an unused input is refused")
    torch.autograd.backward(outs, gs, retain_graph=True, inputs=[y])
    context.true(x.grad is None, what="backward(inputs=) leaves the others alone", got=x.grad, expected=None)
    context.exact(y.grad, [3.0, 1.0, -6.0], what="backward(inputs=)")
    outs[1].backward(gs[0], retain_graph=True, inputs=[x])
    context.exact(x.grad, [4.0, -5.0, 12.0], what="Tensor.backward(inputs=)")
    rows = torch.autograd.grad(outs[0], x, torch.diag(gs[0]), is_grads_batched=True)[0]
    context.exact(rows.diagonal(), [2.0, -4.0, 12.0], what="batched gradients")
    packed: list[Any] = []

    def pack(t: Any) -> Any:
        packed.append(1)
        return t * 2

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t * 5):
        product = x * y
    by_x, by_y = torch.autograd.grad(product.sum(), (x, y))
    context.exact(
        [*by_x.tolist(), *by_y.tolist()], [40.0, 50.0, 60.0, 10.0, 20.0, 30.0], what="what hooks pack and unpack"
    )
    with torch.autograd.graph.save_on_cpu():
        cube = x * x * x
    (by_x,) = torch.autograd.grad(cube.sum(), x)
    context.exact(by_x, [3.0, 12.0, 27.0], what="gradient through save_on_cpu")
    vmap = getattr(getattr(torch, "func", None), "vmap", None)
    if vmap is not None:
        a, b = context.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), context.tensor([10.0, 20.0, 30.0])
        for what, got, right in (
            ("over columns", vmap(lambda u: u.sum(), in_dims=1)(a), [5.0, 7.0, 9.0]),
            (
                "over columns beside a whole",
                vmap(lambda u, v: u * v.sum(), in_dims=(1, None))(a, b),
                [60.0, 240.0, 120.0, 300.0, 180.0, 360.0],
            ),
            ("columns with a vector", vmap(lambda u, v: u.sum() * v, in_dims=(1, 0))(a, b), [50.0, 140.0, 270.0]),
            ("out_dims", vmap(lambda u: u * 2, out_dims=1)(a), [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]),
            ("nested", vmap(vmap(lambda u: u * u))(a), [1.0, 4.0, 9.0, 16.0, 25.0, 36.0]),
            ("chunks", vmap(lambda u: u + 1, chunk_size=1)(b), [11.0, 21.0, 31.0]),
        ):
            context.exact(got, right, what=f"vmap, {what}")


@check(oracle="the same modules without checkpoints", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def segments(context: Context) -> None:
    """checkpoint_sequential in any number of segments, and checkpoints with keywords, change no output or gradient."""
    torch = context.torch
    from torch.utils import checkpoint as api

    layers = [_layer(context, passes_matrix(context, i), [1.0, -1.0, 2.0]) for i in range(5)]
    x = [[1.0, -2.0, 3.0]]
    net = torch.nn.Sequential(*layers)
    leaf = context.tensor(x, grad=True)
    plain = net(leaf)
    plain.sum().backward()
    right = [context.values(plain), context.values(leaf.grad), [context.values(m.weight.grad) for m in layers]]
    for count in (1, 2, 3, 5):
        net.zero_grad()
        leaf = context.tensor(x, grad=True)
        out = api.checkpoint_sequential(net, count, leaf, use_reentrant=False)
        out.sum().backward()
        got = [context.values(out), context.values(leaf.grad), [context.values(m.weight.grad) for m in layers]]
        for what, a, b in zip(("output", "gradient by the input", "gradients by the weights"), got, right):
            context.exact(a, b, what=f"{count} segments: {what}")
    leaf = context.tensor(x, grad=True)
    out = api.checkpoint(lambda t, times: t * times, leaf, use_reentrant=False, times=3.0)
    out.sum().backward()
    context.exact(leaf.grad, [3.0] * 3, what="checkpoint with keyword arguments")
    for reentrant in (False, True):
        noisy = context.tensor([1.0] * 257, grad=True)
        both = api.checkpoint(
            lambda t: torch.nn.functional.dropout(t, 0.5), noisy * 1, use_reentrant=reentrant, preserve_rng_state=True
        )
        torch.rand(3)
        both.sum().backward()
        context.exact(noisy.grad, context.values(both), what=f"dropout again, use_reentrant={reentrant}")


def passes_matrix(context: Context, salt: int) -> list[list[float]]:
    """Draw a 3 x 3 matrix of small integers."""
    flat = passes.integers(context, 9, salt)
    return [flat[i : i + 3] for i in (0, 3, 6)]


@check(oracle="the documented formulas in float64", level="quick", dtypes=FLOAT32)
def normed_weights(context: Context) -> None:
    """weight_norm, spectral_norm, orthogonal and parametrisations of one's own give their weights, and gradients."""
    with trajectory.one_thread(context.torch):
        _normed_weights(context)


def _normed_weights(context: Context) -> None:
    torch = context.torch
    v = [[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]]
    for dim, sizes in ((0, [5.0, 3.0]), (1, [math.sqrt(10), math.sqrt(20), 2.0]), (None, [math.sqrt(34)])):
        scaled = [
            [x / (sizes[i] if dim == 0 else sizes[j] if dim == 1 else sizes[0]) for j, x in enumerate(row)]
            for i, row in enumerate(v)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older of the two is deprecated
            made = [("utils", torch.nn.utils.weight_norm(_layer(context, v), dim=dim))]
        if hasattr(torch.nn.utils.parametrizations, "weight_norm"):
            made.append(("parametrizations", torch.nn.utils.parametrizations.weight_norm(_layer(context, v), dim=dim)))
        for name, layer in made:
            what = f"{name}.weight_norm, dim={dim}"
            context.close(
                layer(torch.eye(3, device=context.device)).t(), [x for row in v for x in row], bound=8.0, what=what
            )
            g = layer.weight_g if name == "utils" else layer.parametrizations.weight.original0
            context.close(g, sizes, bound=8.0, what=f"{what}: g")
            with torch.no_grad():
                g.mul_(2.0)
            out = layer(torch.eye(3, device=context.device)).t()
            context.close(out, [2 * x for row in v for x in row], bound=8.0, what=f"{what}: twice as long")
            (by,) = torch.autograd.grad(out.sum(), g)
            held = [0.0] * len(sizes)
            for i, row in enumerate(scaled):
                for j, x in enumerate(row):
                    held[i if dim == 0 else j if dim == 1 else 0] += x
            context.close(by, held, bound=8.0, cancel=4.0, what=f"{what}: gradient by g")
    largest = _spectral(v)
    layer = torch.nn.utils.parametrizations.spectral_norm(_layer(context, v), n_power_iterations=20)
    for _ in range(3):
        layer(torch.eye(3, device=context.device))
    # The second singular value over the first (0.35), to the power of twice 60 iterations, is far below 2^-24.
    context.close(layer.weight, [x / largest for row in v for x in row], bound=64.0, what="spectral_norm")
    layer.eval()
    before = context.values(layer.weight)
    context.exact(layer.weight, before, what="spectral_norm does not iterate in eval")
    layer = torch.nn.utils.parametrizations.orthogonal(
        _layer(context, [[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]])
    )
    turned = layer.weight @ layer.weight.t()
    context.close(turned, [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], bound=64.0, cancel=1.0, what="orthogonal")

    class Symmetric(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, w: Any) -> Any:
            return w.triu() + w.triu(1).t()

        def right_inverse(self, w: Any) -> Any:
            return w.triu()

    layer = _layer(context, [[1.0, 2.0], [7.0, 3.0]])
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    context.exact(layer.weight, [1.0, 2.0, 2.0, 3.0], what="a parametrisation of one's own")
    layer(context.tensor([[1.0, 10.0]])).sum().backward()
    context.exact(layer.parametrizations.weight.original.grad, [1.0, 11.0, 0.0, 10.0], what="its gradient")
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(2.0)
    context.exact(layer.weight, [2.0, 4.0, 4.0, 6.0], what="it follows its parameter")
    layer.weight = context.tensor([[5.0, 6.0], [6.0, 8.0]])
    context.exact(layer.weight, [5.0, 6.0, 6.0, 8.0], what="it takes a value")
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    context.exact(layer.weight, [5.0, 6.0, 6.0, 8.0], what="it stays when the parametrisation goes")


def _spectral(v: list[list[float]]) -> float:
    """Give the largest singular value of two rows: the root of the larger eigenvalue of V V^T."""
    a, b, c = (sum(x * y for x, y in zip(v[i], v[j])) for i, j in ((0, 0), (0, 1), (1, 1)))
    return math.sqrt((a + c + math.sqrt((a - c) ** 2 + 4 * b * b)) / 2)


@check(oracle="integers, exact; the formula of batch normalisation in float64", level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def rewrites(context: Context) -> None:
    """Pruning, folding, flattening, freezing, casting and moving change what they name and nothing else."""
    torch = context.torch
    prune = (
        torch.nn.utils.prune if hasattr(torch.nn.utils, "prune") else __import__("torch.nn.utils.prune").nn.utils.prune
    )
    w = [[1.0, -5.0, 3.0], [-2.0, 4.0, 6.0]]
    call: Any
    for what, call, right in (
        ("l1_unstructured", lambda m: prune.l1_unstructured(m, "weight", 2), [0, -5, 3, 0, 4, 6]),
        ("l1_unstructured, a share", lambda m: prune.l1_unstructured(m, "weight", 0.5), [0, -5, 0, 0, 4, 6]),
        ("ln_structured", lambda m: prune.ln_structured(m, "weight", 1, n=1, dim=1), [0, -5, 3, 0, 4, 6]),
        ("ln_structured, rows", lambda m: prune.ln_structured(m, "weight", 1, n=2, dim=0), [0, 0, 0, -2, 4, 6]),
        (
            "custom_from_mask",
            lambda m: prune.custom_from_mask(m, "weight", context.tensor([[1.0, 0, 1], [0, 1, 0]])),
            [1, 0, 3, 0, 4, 0],
        ),
    ):
        layer = _layer(context, w)
        call(layer)
        context.exact(layer.weight, [float(v) for v in right], what=f"prune.{what}")
        layer(context.tensor([[1.0, 1.0, 1.0]])).sum().backward()
        context.exact(layer.weight_orig.grad, [float(v != 0) for v in right], what=f"prune.{what}: gradient")
        prune.remove(layer, "weight")
        context.exact(layer.weight, [float(v) for v in right], what=f"prune.{what}, made permanent")
    conv, norm = torch.nn.Conv2d(2, 3, 1).to(context.device), torch.nn.BatchNorm2d(3, eps=0.25).to(context.device)
    rows, bias, mean, var = (
        [[1.0, 2.0], [-3.0, 1.0], [2.0, -1.0]],
        [1.0, 0.0, -2.0],
        [0.5, -1.0, 2.0],
        [0.75, 2.0, 3.75],
    )
    gain, shift = [2.0, 3.0, -1.0], [0.5, 1.0, -1.0]
    with torch.no_grad():
        conv.weight.copy_(context.tensor(rows).reshape(3, 2, 1, 1))
        conv.bias.copy_(context.tensor(bias))
        for target, values in (
            (norm.running_mean, mean),
            (norm.running_var, var),
            (norm.weight, gain),
            (norm.bias, shift),
        ):
            target.copy_(context.tensor(values))
    scale = [g / math.sqrt(v + 0.25) for g, v in zip(gain, var)]
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    context.close(folded.weight, [s * x for s, row in zip(scale, rows) for x in row], bound=8.0, what="folded weight")
    moved = [(b - m) * s + t for b, m, s, t in zip(bias, mean, scale, shift)]
    context.close(folded.bias, moved, bound=16.0, cancel=8.0, what="folded bias")
    linear = _layer(context, rows, bias)
    flat = torch.nn.BatchNorm1d(3, eps=0.25).to(context.device).eval()
    flat.load_state_dict(norm.state_dict())
    folded = torch.nn.utils.fusion.fuse_linear_bn_eval(linear.eval(), flat)
    context.close(folded.bias, moved, bound=16.0, cancel=8.0, what="folded bias of a linear layer")
    utils = torch.nn.utils
    layer = _layer(context, w, [7.0, 8.0])
    vector = utils.parameters_to_vector(layer.parameters())
    context.exact(vector, [1.0, -5.0, 3.0, -2.0, 4.0, 6.0, 7.0, 8.0], what="parameters_to_vector")
    utils.vector_to_parameters(context.tensor([float(i) for i in range(8)]), layer.parameters())
    context.exact(layer.weight, [float(i) for i in range(6)], what="vector_to_parameters, weight")
    context.exact(layer.bias, [6.0, 7.0], what="vector_to_parameters, bias")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
def moves(context: Context) -> None:
    """to, half, double, requires_grad_, zero_grad, apply and buffers of every kind act on all that they should."""
    with trajectory.one_thread(context.torch):
        _moves(context)


def _moves(context: Context) -> None:
    torch, nn = context.torch, context.torch.nn
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(context.device)
    net[0].register_buffer("passing", context.tensor([1.0]), persistent=False)
    net[0].register_buffer("lasting", context.tensor([2.0]))
    net[0].register_parameter("nothing", None)
    names = ["0.weight", "0.bias", "0.lasting", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    context.exact(sorted(net.state_dict()), sorted([*names, "1.num_batches_tracked"]), what="names in a state")
    context.exact(len([*net.buffers()]), 5, what="buffers, the passing one too")
    call: Any
    for what, call, dtype in (
        ("half", lambda m: m.half(), torch.float16),
        ("to(bfloat16)", lambda m: m.to(torch.bfloat16), torch.bfloat16),
        ("to(dtype=)", lambda m: m.to(dtype=torch.float16), torch.float16),
        ("float", lambda m: m.float(), torch.float32),
        ("to(device, dtype)", lambda m: m.to(context.device, torch.float32), torch.float32),
    ):
        call(net)
        held = {str(t.dtype) for t in [*net.parameters(), *net.buffers()] if t.dtype != torch.int64}
        context.exact(sorted(held), [str(dtype)], what=f"dtypes after {what}")
        context.exact(str(net[1].num_batches_tracked.dtype), "torch.int64", what=f"the counter after {what}")
    for dtype in (torch.float16, torch.float32):
        alone = nn.BatchNorm1d(3).to(context.device).to(dtype)
        held = {str(t.dtype) for t in [*alone.parameters(), alone.running_mean, alone.running_var]}
        context.exact(sorted(held), [str(dtype)], what=f"dtypes of a lone layer after to({dtype})")
    net.requires_grad_(False)
    context.exact([p.requires_grad for p in net.parameters()], [False] * 4, what="requires_grad_(False)")
    net.requires_grad_()
    context.exact([p.requires_grad for p in net.parameters()], [True] * 4, what="requires_grad_()")
    for keep in (True, False):
        net(torch.ones(5, 3, device=context.device)).sum().backward()
        net.zero_grad(set_to_none=not keep)
        left = [None if p.grad is None else float(p.grad.abs().sum()) for p in net.parameters()]
        context.exact(left, [0.0 if keep else None] * 4, what=f"zero_grad, set_to_none={not keep}")
    visited: list[str] = []
    net.apply(lambda m: visited.append(type(m).__name__))
    context.exact(visited, ["Linear", "BatchNorm1d", "Sequential"], what="apply, children first")
    context.exact(net.get_submodule("1") is net[1], True, what="get_submodule")
    context.exact(net.get_parameter("0.bias") is net[0].bias, True, what="get_parameter")
    tied = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    tied["b"].weight = tied["a"].weight
    context.exact(len([*tied.parameters()]), 1, what="a shared parameter counts once")
    context.exact(sorted(tied.state_dict()), ["a.weight", "b.weight"], what="and has both names")
    context.exact(
        [*dict(tied.named_parameters(remove_duplicate=False))], ["a.weight", "b.weight"], what="named twice on demand"
    )


@check(oracle="the bytes that were saved", level="quick", devices="cpu")
@trajectory.unthreaded
def checkpoints(context: Context) -> None:
    """Files mapped into memory, loaded safely or not, keep bits, flags, sharing and order; states fit or say so."""
    torch, nn = context.torch, context.torch.nn
    rng = context.rng()
    base = torch.tensor([rng.uniform(-3, 3) for _ in range(60)]).reshape(6, 10)
    whole = {
        "first": torch.arange(7.0),
        "leaf": torch.tensor([1.0, 2.0], requires_grad=True),
        "parameter": nn.Parameter(torch.tensor([3.0]), requires_grad=False),
        "base": base,
        "row": base[2],
        "columns": base[:, 1::3],
        "turned": base.t(),
        "complex": torch.tensor([1 + 2j, -3j]),
        "low": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "channels": torch.arange(48.0).reshape(2, 4, 3, 2).contiguous(memory_format=torch.channels_last),
    }
    with tempfile.TemporaryDirectory(prefix="torchcheck ") as folder:
        path = str(Path(folder) / "états.pt")
        torch.save(whole, path)
        ways: list[dict[str, Any]] = [{"weights_only": True}, {"weights_only": False}]
        if "mmap" in torch.load.__code__.co_varnames or torch.__version__ >= "2.1":
            ways.append({"weights_only": True, "mmap": True})
        for options in ways:
            found = torch.load(path, map_location="cpu", **options)
            for key, value in whole.items():
                got = found[key]
                what = f"{key}, {options}"
                context.exact(got.detach(), value.detach().tolist(), what=f"numbers of {what}")
                facts = [str(got.dtype), got.requires_grad, type(got).__name__, tuple(got.shape), got.stride()]
                right = [
                    str(value.dtype),
                    value.requires_grad,
                    type(value).__name__,
                    tuple(value.shape),
                    value.stride(),
                ]
                context.exact(facts, right, what=f"dtype, flag, type, shape and strides of {what}")
            with torch.no_grad():
                found["base"][2, 1] = 99.0
            shared = [float(found["row"][1]), float(found["columns"][2, 0]), float(found["turned"][1, 2])]
            context.exact(shared, [99.0] * 3, what=f"views share their memory, {options}")
            del found
    marks: list[int] = []
    buffer = io.BytesIO()
    torch.save({"x": _Marked(marks)}, buffer)
    buffer.seek(0)
    context.raises(Exception, torch.load, buffer, weights_only=True, what="weights_only refuses what is no data")
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    state = model.state_dict()
    lax = other.load_state_dict({"weight": state["weight"], "odd": state["bias"]}, strict=False)
    context.exact([*lax.missing_keys], ["bias"], what="strict=False names what is missing")
    context.exact([*lax.unexpected_keys], ["odd"], what="strict=False names what it does not know")
    context.exact(other.weight, state["weight"].tolist(), what="strict=False loads the rest")
    wrong = {"weight": torch.zeros(3, 3), "bias": torch.zeros(3)}
    for strict in (True, False):
        context.raises(
            RuntimeError, other.load_state_dict, wrong, strict=strict, what=f"another shape, strict={strict}"
        )
    if "assign" in nn.Module.load_state_dict.__code__.co_varnames:
        fresh = nn.Linear(2, 3, device="meta")
        fresh.load_state_dict(state, assign=True)
        context.true(
            fresh.weight.data_ptr() == state["weight"].data_ptr(), what="assign=True takes the tensors themselves"
        )
        context.exact(fresh.weight, state["weight"].tolist(), what="assign=True")
    nested = nn.Sequential(nn.Linear(1, 1), nn.ModuleDict({"deep": nn.BatchNorm1d(2)}))
    keys = [
        "x.0.weight",
        "x.0.bias",
        "x.1.deep.weight",
        "x.1.deep.bias",
        "x.1.deep.running_mean",
        "x.1.deep.running_var",
        "x.1.deep.num_batches_tracked",
    ]
    context.exact([*nested.state_dict(prefix="x.")], keys, what="prefix and order of a state's names")
    context.true(not any(v.requires_grad for v in nested.state_dict().values()), what="a state asks for no gradients")
    kept = nested.state_dict(keep_vars=True)
    context.true(kept["0.weight"] is nested[0].weight, what="keep_vars=True gives the parameters themselves")


class _Marked:
    """Something that is no data."""

    def __init__(self, marks: list[int]) -> None:
        self.marks = marks
