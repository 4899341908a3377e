"""The same deterministic work on every rank: the odd one out is the rank whose bits differ.

Each check leaves a digest of its bits (and its time) as figures; rank 0 compares those of all ranks of one model. What
is exact in whole numbers is judged by plain Python as well, so that two ranks are enough to say which one is wrong.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from ...context import Context
from ...oracles import linear
from ...registry import check

ROUNDS = {"quick": 3, "default": 8, "full": 50}
"""How often the same work is done: a fault that comes and goes is found by a rank's disagreement with itself."""

Work = Callable[[Any, Any], Any]


def _mlp(torch: Any, x: Any) -> Any:
    weight = (x / 64).requires_grad_()
    loss = torch.tanh(x @ weight).square().mean()
    loss.backward()
    return torch.cat([loss.detach().reshape(1), weight.grad.flatten()])


WORKS: dict[str, Work] = {
    "matmul": lambda _, x: x @ x.t(),
    "elementwise": lambda torch, x: torch.sin(x) * torch.exp(-x.abs() / 64) + torch.sqrt(x.abs()),
    "reductions": lambda torch, x: torch.cat([x.sum(0), x.mean(1), x.std().reshape(1), torch.logsumexp(x, 1)]),
    "convolution": lambda torch, x: torch.nn.functional.conv2d(x[None, None], x[None, None, :5, :5] / 8),
    "softmax": lambda torch, x: torch.softmax(x / 8, 1),
    "backward": _mlp,
    "sorting": lambda torch, x: torch.sort(x, dim=1).values.cumsum(1),
    "indexing": lambda _, x: x.t().contiguous()[:, ::3].flip(0),
}


def _side(context: Context) -> int:
    return 128 if context.device == "cpu" else 1024


def _numbers(context: Context, side: int) -> Any:
    """Make the same whole numbers on every rank, by arithmetic that rounds nowhere."""
    index = context.torch.arange(side * side, dtype=context.torch.int64)
    return ((index * 7919 + 104729) % 61 - 30).reshape(side, side).to(context.torch.float32).to(context.device)


def _digest(torch: Any, tensor: Any) -> str:
    raw = tensor.detach().cpu().contiguous().view(torch.int32).flatten().tolist()
    return hashlib.sha256(repr(raw).encode()).hexdigest()[:16]


@check(oracle="the same work on the other ranks", level="quick", devices="rank", each=WORKS)
def bits(context: Context, work: Work) -> None:
    """{row}: all ranks of one model compute the same bits, every time."""
    torch = context.torch
    x = _numbers(context, _side(context))
    digests, times = [], []
    for _ in range(ROUNDS[context.level]):
        began = time.perf_counter()
        result = work(torch, x)
        if context.device != "cpu":
            getattr(torch, context.device.partition(":")[0]).synchronize()
        times.append(time.perf_counter() - began)
        digests.append(_digest(torch, result))
    context.exact(len(set(digests)), 1, what=f"different results of {len(digests)} rounds of the same work")
    context.figure("digest", digests[0])
    context.figure("fastest", min(times))


@check(oracle="whole numbers, exact in any order", level="quick", devices="rank")
def products(context: Context) -> None:
    """This rank multiplies matrices of whole numbers exactly, every time."""
    side = 48
    x = _numbers(context, side)
    rows = [[float((7919 * (i * side + j) + 104729) % 61 - 30) for j in range(side)] for i in range(side)]
    expected = linear.flat(linear.matmul(rows, rows))
    for attempt in range(ROUNDS[context.level]):
        context.exact(x @ x, expected, what=f"product, round {attempt + 1}")
