"""Modes: entered in every way, nested, left by errors, around functions and generators, they give back what was."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "the documented rules of modes"
FLOAT32 = ("float32",)
# Modes and what they make of (recording, inference mode); an empty place keeps what was there.
MODES: dict[str, tuple[Callable[[Any], Any], bool, Any]] = {
    "no_grad": (lambda t: t.no_grad(), False, None),
    "enable_grad": (lambda t: t.enable_grad(), True, None),
    "set_grad_enabled(True)": (lambda t: t.set_grad_enabled(True), True, None),
    "set_grad_enabled(False)": (lambda t: t.set_grad_enabled(False), False, None),
    "inference_mode": (lambda t: t.inference_mode(), False, True),
    "inference_mode(False)": (lambda t: t.inference_mode(False), True, False),
}


def _decorates(torch: Any, name: str) -> bool:
    """Say whether a mode can be a decorator: set_grad_enabled, made before its function, was on until torch 2.1."""
    return not name.startswith("set_") or "__call__" in vars(torch.set_grad_enabled)


class _Left(Exception):  # noqa: N818 - it is how a mode is left
    pass


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def nesting(context: Context) -> None:
    """Every mode inside every other holds, and ends with it, however it is left: by its end, by return, by an error."""
    torch = context.torch
    leaf = context.tensor([2.0], grad=True)

    def state() -> tuple[bool, bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), (leaf * 2).requires_grad

    def after(outer: tuple[bool, bool, bool], grad: bool, inference: Any) -> tuple[bool, bool, bool]:
        inside = outer[1] if inference is None else inference
        return grad, inside, grad and not inside

    plain = (True, False, True)
    context.exact(state(), plain, what="mode at the start")
    for outer, (make_outer, *marks_outer) in MODES.items():
        for inner, (make_inner, *marks_inner) in MODES.items():
            first = after(plain, *marks_outer)
            second = after(first, *marks_inner)
            seen = []
            with make_outer(torch):
                seen.append(state())
                with make_inner(torch):
                    seen.append(state())
                seen.append(state())
                with contextlib.suppress(_Left), make_inner(torch):
                    raise _Left
                seen.append(state())
                seen += [make_inner(torch)(state)(), state()] if _decorates(torch, inner) else [second, first]
                for _ in range(2):
                    with make_inner(torch):
                        break
                seen.append(state())
            seen.append(state())
            right = [first, second, first, first, second, first, first, plain]
            context.exact(seen, right, what=f"{inner} inside {outer}")
    for value in (False, True):
        torch.set_grad_enabled(value)
        context.exact(torch.is_grad_enabled(), value, what=f"set_grad_enabled({value}) called alone")
    guard = torch.no_grad()
    seen = []
    with guard:
        with torch.enable_grad(), contextlib.suppress(_Left), guard:
            raise _Left
        seen.append(torch.is_grad_enabled())
    seen.append(torch.is_grad_enabled())
    context.exact(seen[1:], [True], what="one guard, entered while it is entered")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def decorated(context: Context) -> None:
    """A mode around a function, a method or a generator holds inside and nowhere else, at every call and every step."""
    torch = context.torch
    on = torch.is_grad_enabled

    def fails() -> None:
        raise _Left

    def counts() -> Any:
        sent = yield on()
        try:
            yield (on(), sent)
        except _Left:
            yield (on(), "thrown")
        return (on(), "returned")

    class Holder:
        def method(self, factor: float, *, more: float = 0.0) -> tuple[bool, float]:
            return on(), factor + more

    for name, (make, grad, _) in MODES.items():
        if not _decorates(torch, name):
            continue
        outer = torch.no_grad if grad else torch.enable_grad
        with outer():
            wrapped = make(torch)(on)
            context.exact([wrapped(), on(), wrapped(), on()], [grad, not grad] * 2, what=f"a function under {name}")
            context.raises(_Left, make(torch)(fails), what=f"an error out of a function under {name}")
            context.exact(on(), not grad, what=f"mode after it, {name}")
            method = make(torch)(Holder.method)
            context.exact(method(Holder(), 1.0, more=2.0), (grad, 3.0), what=f"a method under {name}")
            context.exact(method.__name__, "method", what=f"name of a method under {name}")
            run = make(torch)(counts)()
            seen = [next(run), on(), run.send("sent"), on(), run.throw(_Left()), on()]
            right = [grad, not grad, (grad, "sent"), not grad, (grad, "thrown"), not grad]
            context.exact(seen, right, what=f"steps of a generator under {name}")
            ends = []
            try:
                next(run)
            except StopIteration as end:
                ends.append(end.value)
            context.exact(ends, [(grad, "returned")], what=f"end of a generator under {name}")
            half = make(torch)(counts)()
            next(half)
            half.close()
            context.exact(on(), not grad, what=f"mode after a generator was closed, {name}")
    if hasattr(torch, "export"):  # 2.1
        bare = torch.no_grad(on)
        context.exact([bare(), on()], [False, True], what="no_grad as a decorator without parentheses")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def inside_modes(context: Context) -> None:
    """What is made, changed, copied and asked for inside a mode is what it should be, inside and outside."""
    torch = context.torch
    x = [1.0, -2.0, 3.0]
    leaf = context.tensor(x, grad=True)
    with torch.no_grad():
        flags = [
            torch.ones(2, requires_grad=True).requires_grad,
            torch.nn.Parameter(context.tensor(x)).requires_grad,
            torch.nn.Linear(1, 1).weight.requires_grad,
            (leaf * 2).requires_grad,
            leaf.detach().requires_grad_().requires_grad,
            leaf.clone().requires_grad,
        ]
        context.exact(flags, [True, True, True, False, True, False], what="what needs a gradient under no_grad")
        leaf.mul_(2)
        with torch.enable_grad():
            out = leaf * leaf
        context.raises(RuntimeError, (leaf * 3).sum().backward, what="what no_grad made has no backward")
        out.backward(context.tensor(x))  # backward itself is not meant
    context.exact(leaf.grad, [4 * v * v for v in x], what="gradient by backward under no_grad")
    context.true(leaf.requires_grad and leaf.is_leaf, what="a leaf that was changed under no_grad stays one")
    with torch.inference_mode():
        made, view = context.tensor(x) * 2, leaf[1:]
        made.add_(1)
        inside = [made.is_inference(), view.is_inference(), made.clone().is_inference()]
        context.raises(RuntimeError, lambda: made._version, what="inference tensors have no version")  # noqa: SLF001
    context.exact(inside, [True, False, True], what="inference tensors inside the mode")
    plain = made.clone()
    context.exact(
        [plain.is_inference(), (made + 1).is_inference()], [False, False], what="and what is made of them outside"
    )
    (plain.requires_grad_() * made.clone()).sum().backward()
    context.exact(plain.grad, [2 * v + 1 for v in x], what="gradient beside a copy of an inference tensor")
    context.raises(RuntimeError, made.add_, 1, what="an inference tensor is not changed outside")
    context.raises(RuntimeError, made.requires_grad_, what="nor does it need a gradient")
    for name, enter, read in (
        ("detect_anomaly", lambda: torch.autograd.detect_anomaly(check_nan=False), torch.is_anomaly_enabled),
        ("set_detect_anomaly", lambda: torch.autograd.set_detect_anomaly(True), torch.is_anomaly_enabled),
        (
            "autocast",
            lambda: torch.autocast("cpu", dtype=torch.bfloat16),
            lambda: torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype == torch.bfloat16,
        ),
        (
            "autocast off inside on",
            lambda: _both(torch.autocast("cpu", dtype=torch.bfloat16), torch.autocast("cpu", enabled=False)),
            lambda: torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype == torch.float32 or None,
        ),
        ("device", lambda: torch.device("meta"), lambda: torch.empty(1).device.type == "meta"),
    ):
        if name == "device" and not hasattr(torch.device, "__enter__"):
            continue
        before, seen = read(), []
        with contextlib.suppress(_Left), _silent(), enter():
            seen.append(read())
            raise _Left
        context.exact([*seen, read()], [True, before], what=f"{name}, inside and after an error")


@contextlib.contextmanager
def _both(first: Any, second: Any) -> Iterator[None]:
    with first, second:
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
