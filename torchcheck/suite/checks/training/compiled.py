"""torch.compile: the compiled model gives the same numbers and trains the same way."""

from __future__ import annotations

import math
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from ...compare import FORMATS
from ...oracles.training import TASKS, solve
from ...registry import check
from .convergence import Trainer, reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...context import Context


def _need_compiler(context: Context) -> None:
    """Skip where the compiler has nothing to compile with, and say what is missing."""
    torch, kind = context.torch, context.device.partition(":")[0]
    if sys.version_info >= (3, 14) and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        context.skip("this torch does not compile on Python 3.14")
    if kind == "cpu":
        names = _compilers(sys.platform, os.environ)
        if not any(map(shutil.which, names)):
            context.skip(f"torch.compile needs a C++ compiler on the CPU; none of {', '.join(names)} found")
    elif kind in ("cuda", "xpu"):
        try:
            import triton  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            context.skip(f"torch.compile needs triton on {kind}; it is not installed")
    else:
        context.skip(f"torch.compile is not judged on {kind}")


def _compilers(platform: str, environ: Mapping[str, str]) -> list[str]:
    """Name what torch.compile would call: CXX's before the usual ones, Microsoft's alone on Windows."""
    named = [environ["CXX"]] if environ.get("CXX") else []
    return [*named, *(["cl"] if platform == "win32" else ["c++", "g++", "clang++"])]


def _compile(context: Context, function: Any) -> Any:
    compiled = context.torch.compile(function)

    def run(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except Exception as error:
            if any(word in str(error) for word in ("compiler", "Compiler", "InvalidCxx", "Python.h", "omp.h")):
                context.skip(f"torch.compile found no working compiler: {str(error).splitlines()[0][:300]}")
            raise

    return run


@check(oracle="math, number by number", level="full", timeout=300, needs=("torch.compile",))
def compile_elementwise(context: Context) -> None:
    """Compiled elementwise code, with a reduction, gives the numbers of its formula, forward and backward."""
    _need_compiler(context)
    torch = context.torch
    rng = context.rng()
    xs = [rng.uniform(-4, 4) for _ in range(1031)]
    xs = [FORMATS["float32"].round(x) for x in xs]

    def formula(x: Any) -> Any:
        return torch.relu(torch.sin(x) + torch.tanh(x)) * torch.sigmoid(x) + torch.log1p(torch.exp(-x))

    def exact(x: float) -> float:
        return max(math.sin(x) + math.tanh(x), 0.0) / (1 + math.exp(-x)) + math.log1p(math.exp(-x))

    x = context.tensor(xs, grad=True)
    y = _compile(context, formula)(x)
    # sin, tanh, their sum, sigmoid, product; exp, log1p; the last sum: below 24 roundings of numbers up to 2.
    context.close(y, [exact(v) for v in xs], bound=24.0, cancel=2.0, what="compiled values", given=xs)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    slopes = [_slope(exact, v) for v in xs]
    far = max(
        abs(a - b) for a, b, v in zip(context.values(gradient), slopes, xs) if abs(math.sin(v) + math.tanh(v)) > 0.02
    )
    # Differences over 1e-5 carry 1e-10 of curvature and 1e-11 of rounding; float32 24 roundings of numbers up to 3.
    context.within(far, 24 * 3 * FORMATS["float32"].u, what="compiled gradient", unit="absolute error")


def _slope(f: Callable[[float], float], x: float) -> float:
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5


@check(oracle="the same training in plain Python", level="full", timeout=300, needs=("torch.compile",))
def compile_training(context: Context) -> None:
    """A compiled model trains along the same path as in plain Python."""
    _need_compiler(context)
    task = next(row for row in TASKS if row.name == "wave")
    trainer = Trainer(context, task)
    model = _compile(context, trainer.model)
    nn = context.torch.nn
    losses = []
    for _ in range(task.steps):
        trainer.optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(trainer.x), trainer.y)
        loss.backward()
        trainer.optimizer.step()
        losses.append(float(loss.detach()))
    path, growth = solve(task)
    far = reach(context, task, path, growth)
    context.close(losses, path.losses[:-1], bound=1.0, floor=far, what="losses of the compiled model")


@check(oracle="integers, exact", level="full", timeout=300, needs=("torch.compile",))
def compile_mutations(context: Context) -> None:
    """Compiled code writes back what it changes in place: inputs, views of them, buffers, running statistics."""
    _need_compiler(context)
    torch, nn = context.torch, context.torch.nn

    class Counting(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2, momentum=0.5)
            self.register_buffer("seen", torch.zeros(2))

        def forward(self, x: Any) -> Any:
            self.seen.add_(x.detach().sum(0))
            return self.norm(x) + self.seen

    model = Counting().to(context.device)
    run = _compile(context, model)
    # Each column has mean 4 and, of three numbers, variance 4; then mean 8 and variance 16.
    for t, factor in enumerate((1.0, 2.0), 1):
        x = context.tensor([[2.0 * factor, 6.0 * factor], [4.0 * factor] * 2, [6.0 * factor, 2.0 * factor]], grad=True)
        run(x).sum().backward()
        what = f"after call {t}"
        context.exact(model.seen, [12.0, 36.0][t - 1 : t] * 2, what=f"a buffer that adds up, {what}")
        context.close(model.norm.running_mean, [[2.0, 5.0][t - 1]] * 2, bound=8.0, what=f"running mean {what}")
        context.close(model.norm.running_var, [[2.5, 9.25][t - 1]] * 2, bound=16.0, what=f"running variance {what}")
        context.exact(model.norm.num_batches_tracked, [t], what=f"count of batches {what}")

    def change(a: Any, b: Any) -> Any:
        a.mul_(2)
        b[1:].add_(1)
        b.view(-1)[0] = 7
        return a + b

    a, b = context.tensor([1.0, 2.0, 3.0]), context.tensor([4.0, 5.0, 6.0])
    for want in ([9.0, 10.0, 13.0], [11.0, 15.0, 20.0]):
        context.exact(_compile(context, change)(a, b), want, what="what comes out of changed inputs")
    context.exact(a, [4.0, 8.0, 12.0], what="an input that was changed")
    context.exact(b, [7.0, 7.0, 8.0], what="an input whose views were changed")
