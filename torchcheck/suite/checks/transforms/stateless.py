"""Modules as functions of their parameters: functional_call, tied names, buffers, and stacked ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "matrix products of integers, exact"
FLOAT32 = ("float32",)
NEEDS = ("torch.func.functional_call",)
W, V = [[1.0, -2.0], [3.0, 4.0]], [[2.0, 1.0], [-1.0, 3.0]]
X = [5.0, -1.0]


def _product(w: list[list[float]], x: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, x)) for row in w]


def _layer(context: Context, w: list[list[float]]) -> Any:
    layer = context.torch.nn.Linear(2, 2, bias=False).to(context.device)
    with context.torch.no_grad():
        layer.weight.copy_(context.tensor(w))
    return layer


@check(oracle=EXACT, dtypes=FLOAT32, needs=NEEDS)
@trajectory.unthreaded
def calls(context: Context) -> None:
    """functional_call uses what it is given, in every form, and leaves the module as it was, also after an error."""
    torch = context.torch
    call, nn = torch.func.functional_call, torch.nn
    x, new = context.tensor(X), context.tensor(V)
    net = nn.Sequential(_layer(context, W), nn.ModuleDict({"deep": _layer(context, W)})["deep"])
    held = [*net.parameters()]
    chained = _product(W, _product(V, X))
    context.exact(call(net, {"0.weight": new}, (x,)), chained, what="one parameter replaced")
    context.exact(call(net, {"0.weight": new}, x), chained, what="one argument without a tuple")
    both = ({"0.weight": new}, {"1.weight": new})
    context.exact(call(net, both, (x,)), _product(V, _product(V, X)), what="parameters in two dicts")
    context.exact(call(net, {}, (x,)), _product(W, _product(W, X)), what="nothing replaced")
    leaf = context.tensor(V, grad=True)
    call(net, {"0.weight": leaf}, (x,)).sum().backward()
    ahead = [W[0][j] + W[1][j] for j in (0, 1)]
    context.exact(leaf.grad, [a * b for a in ahead for b in X], what="gradient by what was given")
    context.true(net[0].weight.grad is None, what="no gradient by what was replaced")
    right = [v for _ in (0, 1) for v in _product(V, X)]
    context.exact(net[1].weight.grad, right, what="gradient by what was not replaced")

    class Failing(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = _layer(context, W)
            self.register_buffer("count", context.tensor([1.0]))

        def forward(self, x: Any, *, times: float = 1.0, fail: bool = False) -> Any:
            if fail:
                raise KeyError("refused")
            self.count += 1
            return self.inner(x) * times

    module = Failing()
    inner, count = module.inner.weight, context.tensor([10.0])
    got = call(module, {"inner.weight": new, "count": count}, (x,), {"times": 3.0})
    context.exact(got, [3 * v for v in _product(V, X)], what="keyword arguments")
    context.exact([float(count), float(module.count)], [11.0, 1.0], what="the buffer that was given is changed")
    given = {"inner.weight": new, "count": count}
    context.raises(KeyError, call, module, given, (x,), {"fail": True}, what="an error inside is raised")
    context.true(module.inner.weight is inner, what="the parameter is back after an error")
    context.exact(module(x), _product(W, X), what="the module after an error")
    context.exact(float(module.count), 2.0, what="its buffer after an error")
    context.true(all(p is q for p, q in zip(held, net.parameters())), what="parameters are the ones they were")
    context.exact([*net.state_dict()], ["0.weight", "1.weight"], what="names after calls")
    strict = {"0.weight": new, "stranger": new}
    for what, broken in (("a name that is not there", strict), ("a name that is missing", {"0.weight": new})):
        context.raises(RuntimeError, call, net, broken, (x,), strict=True, what=f"strict: {what} is refused")
    context.exact(net(x), _product(W, _product(W, X)), what="the module after it was refused")


@check(oracle=EXACT, dtypes=FLOAT32, needs=NEEDS)
@trajectory.unthreaded
def tied(context: Context) -> None:
    """Names of one shared parameter are replaced together, or not, as asked."""
    torch, call = context.torch, context.torch.func.functional_call
    x, new, other = context.tensor(X), context.tensor(V), context.tensor([[1.0, 0.0], [0.0, 2.0]])
    net = torch.nn.Sequential(_layer(context, W), _layer(context, W))
    net[1].weight = net[0].weight
    once, twice = _product(W, _product(V, X)), _product(V, _product(V, X))
    for given, right in (
        ({"0.weight": new}, twice),
        ({"1.weight": new}, twice),
        ({"0.weight": new, "1.weight": new}, twice),
    ):
        context.exact(call(net, given, (x,)), right, what=f"tied, {sorted(given)}")
    context.exact(call(net, {"0.weight": new}, (x,), tie_weights=False), once, what="not tied")
    apart = call(net, {"0.weight": new, "1.weight": other}, (x,), tie_weights=False)
    context.exact(apart, _product([[1.0, 0.0], [0.0, 2.0]], _product(V, X)), what="not tied, two given")
    context.raises(ValueError, call, net, {"0.weight": new, "1.weight": other}, (x,), what="two for one are refused")
    context.true(net[0].weight is net[1].weight, what="what is shared stays shared")
    leaf = context.tensor(V, grad=True)
    call(net, {"0.weight": leaf}, (x,)).sum().backward()
    first = _product(V, X)
    sums = [V[0][j] + V[1][j] for j in (0, 1)]
    right = [first[j] + sums[i] * X[j] for i in (0, 1) for j in (0, 1)]
    context.exact(leaf.grad, right, what="gradient by what is used twice")


@check(oracle=EXACT, dtypes=FLOAT32, needs=("torch.func.stack_module_state",))
@trajectory.unthreaded
def ensembles(context: Context) -> None:
    """States of models are stacked, mapped, differentiated per model and per sample, and are no longer the models'."""
    torch, func = context.torch, context.torch.func
    models = [_layer(context, W), _layer(context, V)]
    for i, model in enumerate(models):
        model.register_buffer("shift", context.tensor([float(i + 1)]))
    parameters, buffers = func.stack_module_state(models)
    context.exact([*parameters, *buffers], ["weight", "shift"], what="names")
    context.exact(parameters["weight"], [v for w in (W, V) for row in w for v in row], what="stacked parameters")
    context.exact(buffers["shift"], [1.0, 2.0], what="stacked buffers")
    flags = [parameters["weight"].requires_grad, parameters["weight"].is_leaf, buffers["shift"].requires_grad]
    context.exact(flags, [True, True, False], what="flags of what is stacked")

    def run(held: Any, other: Any, x: Any) -> Any:
        return func.functional_call(models[0], (held, other), (x,)) + other["shift"]

    x = context.tensor(X)
    right = [v + i + 1 for i, w in enumerate((W, V)) for v in _product(w, X)]
    context.exact(func.vmap(run, (0, 0, None))(parameters, buffers, x), right, what="two models, one input")
    rows = [X, [1.0, 3.0]]
    right = [v + i + 1 for i, (w, row) in enumerate(zip((W, V), rows)) for v in _product(w, row)]
    got = func.vmap(run)(parameters, buffers, context.tensor(rows))
    context.exact(got, right, what="two models, each its input")
    got.sum().backward()
    context.exact(
        parameters["weight"].grad, [v for row in rows for _ in (0, 1) for v in row], what="gradients by model"
    )
    context.true(all(m.weight.grad is None for m in models), what="the models have none")
    context.raises(RuntimeError, func.stack_module_state, [], what="no models are refused")
    odd = [models[0], models[1].eval()]
    context.raises(RuntimeError, func.stack_module_state, odd, what="models in two modes are refused")
    state = {"weight": models[0].weight.detach()}

    def loss(held: Any, x: Any) -> Any:
        return (func.functional_call(models[0], held, (x,)) ** 2).sum()

    each = func.vmap(func.grad(loss), (None, 0))(state, context.tensor(rows))["weight"]
    outs = [_product(W, row) for row in rows]
    right = [2 * o * v for out, row in zip(outs, rows) for o in out for v in row]
    context.exact(each, right, what="gradients by sample")
    if hasattr(torch, "export"):  # 2.1
        chunks = func.vmap(func.grad(loss), (None, 0), chunk_size=1)(state, context.tensor(rows))["weight"]
        context.exact(chunks, right, what="gradients by sample, in chunks")
