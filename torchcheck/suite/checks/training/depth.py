"""What depth does to gradients: sigmoids make them vanish, weights above 1 make them explode, He's start keeps them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...compare import Format
from ...oracles import tape
from ...passes import judge, judge_gradient
from ...registry import FLOATS, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...context import Context

WIDTH, LAYERS = 10, 12


@dataclass(frozen=True)
class Unit:
    """A kind of layer: its activation, on the tape and in torch, and the largest slope that it has."""

    name: str
    module: str
    formula: Callable[[tape.Num], tape.Num]
    steepest: float


UNITS = (
    Unit("sigmoid", "Sigmoid", tape.sigmoid, 0.25),
    Unit("tanh", "Tanh", tape.tanh, 1.0),
    Unit("relu", "ReLU", tape.relu, 1.0),
)


@check(oracle="the chain rule on plain float64 numbers", level="quick", dtypes=("float64", "float32"), each=UNITS)
def depth(context: Context, row: Unit) -> None:
    """Gradients through twelve layers of {row} shrink from layer to layer just as the chain rule says."""
    rng = context.rng()
    matrices = [
        [[context.format.round(rng.uniform(-0.75, 0.75)) for _ in range(WIDTH)] for _ in range(WIDTH)]
        for _ in range(LAYERS)
    ]
    start = [context.format.round(rng.uniform(-1.0, 1.0)) for _ in range(WIDTH)]
    seeds = [context.format.round(rng.uniform(1.0, 2.0)) for _ in range(WIDTH)]
    exact = [tape.leaves(start)]
    for matrix in matrices:
        rows = [tape.leaves(line) for line in matrix]
        exact.append([row.formula(tape.dot(exact[-1], line)) for line in rows])
    tape.backward(exact[-1], seeds)
    found = [context.tensor(start, grad=True)]
    for matrix in matrices:
        layer = context.torch.nn.Linear(WIDTH, WIDTH, bias=False).to(context.device, context.dtype)
        with context.torch.no_grad():
            layer.weight.copy_(context.tensor(matrix))
        found.append(getattr(context.torch.nn, row.module)()(layer(found[-1])))
        found[-1].retain_grad()
    found[-1].backward(context.tensor(seeds))
    judge(context, found[-1], exact[-1], what="output of the last layer")
    for layer, (got, right) in enumerate(zip(found, exact)):
        judge_gradient(context, got.grad, right, what=f"gradient at layer {layer}")
    norms = [math.hypot(*context.values(h.grad)) for h in found]
    theory = [math.hypot(*(leaf.adjoint for leaf in right)) for right in exact]
    context.figure("gradient norm", {"layer": list(range(LAYERS + 1)), "torch": norms, "theory": theory})
    for layer, matrix in enumerate(matrices):
        # ||W^T D g|| <= steepest * ||W||_F * ||g||, for a diagonal D of slopes.
        most = row.steepest * math.hypot(*(w for line in matrix for w in line)) * norms[layer + 1]
        context.within(norms[layer], most * 1.001, what=f"theory's bound at layer {layer}", unit="norm of the gradient")


def _layers(context: Context, kind: str, weight: float, bias: float, count: int) -> Any:
    """Make layers whose matrix is a permutation times `weight`."""
    nn, layers = context.torch.nn, []
    for _ in range(count):
        layer = nn.Linear(WIDTH, WIDTH).to(context.device, context.dtype)
        rows = [[weight * (j == (3 * i + 1) % WIDTH) for j in range(WIDTH)] for i in range(WIDTH)]
        with context.torch.no_grad():
            layer.weight.copy_(context.tensor(rows))
            layer.bias.copy_(context.tensor([bias] * WIDTH))
        layers += [layer, getattr(nn, kind)()]
    return nn.Sequential(*layers)


def _through(context: Context, kind: str, weight: float, bias: float, start: float, count: int) -> tuple[Any, Any]:
    x = context.tensor([start] * WIDTH, grad=True)
    y = _layers(context, kind, weight, bias, count)(x)
    y.backward(context.tensor([1.0] * WIDTH))
    return y, x.grad


def _lasting(fmt: Format, bits: int) -> int:
    """Say through how many layers a gradient that loses (or gains) `bits` a layer stays a normal number."""
    return min(40, (-fmt.emin if fmt.name == "float16" else 100) // bits)


@check(oracle="powers of two, exactly", level="quick", dtypes=FLOATS)
def powers(context: Context) -> None:
    """A centred sigmoid quarters the gradient at every layer, tanh keeps it, weights of 2 double it: exactly."""
    fmt = context.format
    # sigmoid(0) = 1/2 and its slope there 1/4; with a bias of -1/2 every layer sees 0 again.
    count = _lasting(fmt, 2)
    _, gradient = _through(context, "Sigmoid", 1.0, -0.5, 0.5, count)
    context.exact(gradient, [0.25**count] * WIDTH, what=f"gradient through {count} sigmoids")
    y, gradient = _through(context, "Tanh", 1.0, 0.0, 0.0, 30)
    context.exact(gradient, [1.0] * WIDTH, what="gradient through 30 tanh")
    context.exact(y, [0.0] * WIDTH, what="30 tanh of 0")
    count = _lasting(fmt, 1)
    y, gradient = _through(context, "ReLU", 2.0, 0.0, 1.0, count)
    context.exact(gradient, [2.0**count] * WIDTH, what=f"gradient through {count} doubling layers")
    context.exact(y, [2.0**count] * WIDTH, what=f"value through {count} doubling layers")
    if fmt.name == "float16":
        _, gradient = _through(context, "Sigmoid", 1.0, -0.5, 0.5, 14)
        context.exact(gradient, [0.0] * WIDTH, what="float16 gradient vanishes through 14 sigmoids")
        _, gradient = _through(context, "ReLU", 2.0, 0.0, 0.0078125, 16)
        context.exact(gradient, [math.inf] * WIDTH, what="float16 gradient explodes through 16 doubling layers")


@check(oracle="He et al. 2015: Var(w) = 2 / n keeps E h^2; 1 / n halves it at every layer")
def he_initialisation(context: Context) -> None:
    """ReLU layers that start as He proposes keep the size of what goes through, forward and back; Xavier's halve it."""
    torch, width, layers = context.torch, 256, 10
    for name, factor in (("kaiming_normal_", 1.0), ("kaiming_uniform_", 1.0), ("xavier_normal_", 0.5)):
        x = torch.randn(64, width, device=context.device).requires_grad_()
        h = x
        for _ in range(layers):
            layer = torch.nn.Linear(width, width, bias=False).to(context.device)
            options = {"nonlinearity": "relu"} if name.startswith("kaiming") else {}
            getattr(torch.nn.init, name)(layer.weight, **options)
            h = torch.relu(layer(h))
        g = torch.randn(64, width, device=context.device)
        (back,) = torch.autograd.grad(h, x, g)
        # ||h||^2 of one layer has a relative deviation of at most sqrt(5 / n) around its mean (one direction; what the
        # samples share), so the logarithm after L layers is within 8 sqrt(5 L / n), and its mean within 5 L / 2 n.
        room = 8 * math.sqrt(5 * layers / width) + 2.5 * layers / width
        for what, after, before in (("values", h, x), ("gradients", back, g)):
            ratio = _square(context.values(after)) / _square(context.values(before))
            off = abs(math.log(ratio / factor**layers))
            context.within(off, room, what=f"{name}, {what}", unit="logarithm of the ratio", got=ratio)


def _square(values: Sequence[float]) -> float:
    return math.fsum(v * v for v in values)
