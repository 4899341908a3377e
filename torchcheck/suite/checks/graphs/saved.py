"""What backward reads back: tensors that are packed and unpacked by hooks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

EXACT = "polynomials at integers, exact"
FLOAT32 = ("float32",)
X, Y, G = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [1.0, 2.0, -1.0]


@check(oracle=EXACT, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def packed(context: Context) -> None:
    """Hooks that pack what is saved nest, are met by every kind of function, and end with their block or its error."""
    torch = context.torch
    hooks = torch.autograd.graph.saved_tensors_hooks

    def scaled(k: float) -> Any:
        return hooks(lambda t: (k, t * k), lambda held: held[1])

    x, y = context.tensor(X, grad=True), context.tensor(Y, grad=True)

    class Own(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            a, b = ctx.saved_tensors
            return g * b, g * a

    for name, call in (("a product", lambda a, b: a * b), ("a Function", Own.apply)):
        with scaled(2):
            outer = call(x, y)
            with scaled(10):
                inner = call(x, y)
            last = call(x, y)
            with contextlib.suppress(KeyError), scaled(100):
                raise KeyError
            after = call(x, y)
        plain = call(x, y)
        for what, out, k in (
            ("outer", outer, 2),
            ("inner", inner, 10),
            ("outer again", last, 2),
            ("outer after an error", after, 2),
            ("none", plain, 1),
        ):
            for time in ("first", "second"):
                by_x, by_y = torch.autograd.grad(out, (x, y), context.tensor(G), retain_graph=True)
                context.exact(
                    by_x, [k * b * g for b, g in zip(Y, G)], what=f"by x of {name}, {what} hooks, {time} time"
                )
                context.exact(
                    by_y, [k * a * g for a, g in zip(X, G)], what=f"by y of {name}, {what} hooks, {time} time"
                )
    seen: list[int] = []
    with hooks(lambda t: _counted(seen, 1, t), lambda t: _counted(seen, -1, t)):
        out = x.exp() * y  # saved: the result of exp, it again, and y
        with torch.no_grad():
            x.exp() * y
    context.exact(sum(seen), 3, what="tensors packed")
    out.sum().backward()
    context.exact(sum(seen), 0, what="tensors unpacked")
    with torch.autograd.graph.disable_saved_tensors_hooks("closed"):
        context.raises(RuntimeError, lambda: _inside(scaled(2), lambda: x * y), what="hooks are refused where disabled")
    with scaled(3):
        again = x * y
    context.exact(torch.autograd.grad(again.sum(), x)[0], [3 * v for v in Y], what="and allowed after it")
    square = x * y
    square.grad_fn._raw_saved_other.register_hooks(lambda t: t * 7, lambda t: t)  # noqa: SLF001 - documented so
    context.exact(torch.autograd.grad(square.sum(), x)[0], [7 * v for v in Y], what="hooks of one saved tensor")

    def leaves() -> Any:
        raise KeyError("refused")

    with hooks(lambda t: t, lambda _: leaves()):
        out = x * y
    context.raises(KeyError, out.sum().backward, what="an error while unpacking is raised")


def _counted(seen: list[int], by: int, t: Any) -> Any:
    seen.append(by)
    return t


def _inside(guard: Any, call: Any) -> Any:
    with guard:
        return call()
