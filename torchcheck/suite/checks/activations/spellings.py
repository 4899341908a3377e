"""Every way to call an activation: module, function, method, in place, into a given tensor, and the bare kernels.

Each is an entry of its own in torch's dispatcher: what is wrong with one cannot be seen through the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...oracles.activations import POINTWISE, Activation, Arguments
from ...registry import check
from .pointwise import ORACLE, module, needs, told
from .samples import Sample, sample

if TYPE_CHECKING:
    from ...context import Context

# Enough to meet one element in a thousand several times; from the default level on past the seam of threads.
ELEMENTS = {"quick": 4_127, "default": 40_031, "full": 70_047}
Call = Callable[..., Any]
Positional = tuple[Any, ...]


@dataclass(frozen=True)
class Kernel:
    """The operators of `torch.ops.aten` behind one activation.

    Attributes:
        name: forward operator; `<name>_` is the one in place.
        inputs: what follows the tensor, from the constructor's arguments.
        backward: operator of the gradient; "" when it is a composite of others.
        gradient: the arguments of `backward`, from (g, x, y, *inputs).
        named: inputs that are passed by name.
    """

    name: str
    inputs: Callable[..., Positional] = lambda **_: ()
    backward: str = ""
    gradient: Callable[..., Positional] = lambda g, x, y, *inputs: (g, x, *inputs)  # noqa: ARG005
    named: tuple[str, ...] = ()


def _from_result(g: Any, x: Any, y: Any) -> Positional:  # noqa: ARG001
    return g, y


def _elu_gradient(g: Any, x: Any, y: Any, *inputs: float) -> Positional:  # noqa: ARG001
    return g, *inputs, False, x


# SELU and CELU have no operator of their own for the gradient; theirs is ELU's.
KERNELS = {
    "threshold": Kernel(
        "threshold",
        lambda threshold, value: (threshold, value),
        "threshold_backward",
        lambda g, x, y, threshold, value: (g, x, threshold),  # noqa: ARG005
    ),
    "relu": Kernel("relu", backward="threshold_backward", gradient=lambda g, x, y: (g, y, 0)),  # noqa: ARG005
    "rrelu_eval": Kernel("rrelu", lambda lower=1 / 8, upper=1 / 3: (lower, upper)),
    "hardtanh": Kernel("hardtanh", lambda min_val=-1.0, max_val=1.0: (min_val, max_val), "hardtanh_backward"),
    "relu6": Kernel("relu6"),
    "sigmoid": Kernel("sigmoid", backward="sigmoid_backward", gradient=_from_result),
    "hardsigmoid": Kernel("hardsigmoid", backward="hardsigmoid_backward"),
    "tanh": Kernel("tanh", backward="tanh_backward", gradient=_from_result),
    "silu": Kernel("silu", backward="silu_backward"),
    "mish": Kernel("mish", backward="mish_backward"),
    "hardswish": Kernel("hardswish", backward="hardswish_backward"),
    "elu": Kernel("elu", lambda alpha=1.0: (alpha, 1.0, 1.0), "elu_backward", _elu_gradient),
    "celu": Kernel("celu", lambda alpha=1.0: (alpha,)),
    "selu": Kernel("selu"),
    "gelu": Kernel("gelu", lambda approximate="none": (approximate,), "gelu_backward", named=("approximate",)),
    "hardshrink": Kernel("hardshrink", lambda lambd=0.5: (lambd,), "hardshrink_backward"),
    "leaky_relu": Kernel(
        "leaky_relu",
        lambda negative_slope=0.01: (negative_slope,),
        "leaky_relu_backward",
        lambda g, x, y, slope: (g, x, slope, False),  # noqa: ARG005
    ),
    "log_sigmoid": Kernel("log_sigmoid"),
    "softplus": Kernel("softplus", lambda beta=1.0, threshold=20.0: (beta, threshold), "softplus_backward"),
    "softshrink": Kernel("softshrink", lambda lambd=0.5: (lambd,), "softshrink_backward"),
}
FUNCTIONS = {"rrelu_eval": "rrelu", "log_sigmoid": "logsigmoid"}


@check(oracle=ORACLE, level="quick", each=POINTWISE, needs=needs)
def spellings(context: Context, row: Activation) -> None:
    """{row} gives the same value through its function, method, operator, in place and into a given tensor."""
    for variant in range(len(row.arguments)):
        case = sample(context, row, variant)
        x = case.inputs(context, elements(context, variant))
        for name, call in _forward(context, row, case.arguments):
            case.forward.judge(context, call(x.clone()), x, f"{name}{told(case.arguments)}")


@check(oracle=ORACLE, level="quick", each=POINTWISE, needs=needs)
def gradient_spellings(context: Context, row: Activation) -> None:
    """{row} gives the same gradient through backward(), after working in place, and from its gradient operator."""
    for variant in range(len(row.arguments)):
        case = sample(context, row, variant)
        n = elements(context, variant)
        x, g = case.inputs(context, n), case.upstream(context, n)
        for name, gradient in _backward(context, case, x, g):
            case.backward.judge(context, gradient, x, f"gradient, {name}{told(case.arguments)}")


def elements(context: Context, variant: int) -> int:
    """Say how many elements to try."""
    return ELEMENTS["quick" if variant else context.level]


def _forward(context: Context, row: Activation, arguments: Arguments) -> Iterator[tuple[str, Call]]:
    torch = context.torch
    if _in_place(torch, row):
        yield f"{row.module}(inplace=True)", module(context, row, arguments, inplace=True)
    plain = FUNCTIONS.get(row.name, row.name)
    places = (("torch", torch), ("functional", torch.nn.functional), ("Tensor", torch.Tensor))
    for (place, namespace), name in ((place, name) for place in places for name in (plain, plain + "_")):
        function = getattr(namespace, name, None)
        if function is not None:
            yield f"{place}.{name}", lambda x, call=function: call(x, **arguments)
    yield from _operators(torch, row, arguments)


def _operators(torch: Any, row: Activation, arguments: Arguments) -> Iterator[tuple[str, Call]]:
    kernel = KERNELS.get(row.name)
    if kernel is None:
        return
    positional, named = _split(kernel, arguments)
    for name in (kernel.name, kernel.name + "_"):
        packet = getattr(torch.ops.aten, name, None)
        for overload in () if packet is None else packet.overloads():
            operator = getattr(packet, overload)
            if overload == "default":
                yield f"aten.{name}", lambda x, call=operator: call(x, *positional, **named)
            elif overload == "out":
                yield f"aten.{name}.out", lambda x, call=operator: call(x, *positional, **named, out=_filled(x))


def _backward(context: Context, case: Sample, x: Any, g: Any) -> Iterator[tuple[str, Any]]:
    torch, row = context.torch, case.row
    leaf = x.clone().requires_grad_()
    module(context, row, case.arguments)(leaf).backward(g)
    yield "accumulated by backward()", leaf.grad
    if _in_place(torch, row):
        leaf = x.clone().requires_grad_()
        y = module(context, row, case.arguments, inplace=True)(leaf.clone())
        yield "after working in place", torch.autograd.grad(y, leaf, g)[0]
    kernel = KERNELS.get(row.name)
    packet = getattr(torch.ops.aten, kernel.backward, None) if kernel and kernel.backward else None
    if kernel is None or packet is None:
        return
    positional, named = _split(kernel, case.arguments)
    inputs = kernel.gradient(g, x, module(context, row, case.arguments)(x), *positional)
    for overload in packet.overloads():
        out = {} if overload == "default" else {overload: _filled(x)}
        yield f"aten.{kernel.backward}.{overload}", getattr(packet, overload)(*inputs, **named, **out)


def _split(kernel: Kernel, arguments: Arguments) -> tuple[Positional, dict[str, Any]]:
    values = kernel.inputs(**arguments)
    return (values, {}) if not kernel.named else ((), dict(zip(kernel.named, values)))


def _in_place(torch: Any, row: Activation) -> bool:
    return "inplace" in inspect.signature(getattr(torch.nn, row.module)).parameters


def _filled(x: Any) -> Any:
    """Make a tensor like x full of NaN: what a kernel does not write shows."""
    return x.new_full(x.shape, float("nan"))
