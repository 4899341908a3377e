"""What a user allowed float32 to be computed in, and switching that off.

TF32 and bfloat16 products are no defect where they were asked for, and a wrong answer where they were not. torch has
two generations of switches: `fp32_precision` (2.9 and later) and the `allow_tf32` flags before it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

# Owner below torch.backends, attribute, value that means IEEE float32. Convolutions and RNNs in cuDNN default to TF32.
NEW = tuple(
    (owner, "fp32_precision", "ieee")
    for owner in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
)
OLD = (("cuda.matmul", "allow_tf32", False), ("cudnn", "allow_tf32", False))


def _has(owner: Any, attribute: str) -> bool:
    """Say whether a switch is there (torch 2.0 raises AssertionError for one that is not)."""
    try:
        return hasattr(owner, attribute)
    except AssertionError:
        return False


def _owner(torch: Any, path: str) -> Any:
    """Give what holds a switch, None where this torch has no such thing."""
    owner = torch.backends
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner


def _switches(torch: Any) -> list[tuple[str, Any, str, Any]]:
    """Find (name, owner, attribute, value for IEEE) of what this torch has."""
    table = NEW if _has(_owner(torch, "cuda.matmul"), "fp32_precision") else OLD
    found = []
    for path, attribute, value in table:
        owner = _owner(torch, path)
        if owner is not None and _has(owner, attribute):
            found.append((f"torch.backends.{path}.{attribute}", owner, attribute, value))
    return found


def allowed(torch: Any) -> list[str]:
    """List the switches that let float32 be computed in less, as `name = value`."""
    lax = [
        f"{name} = {getattr(owner, attribute)!r}"
        for name, owner, attribute, value in _switches(torch)
        if getattr(owner, attribute) not in (value, "none")
    ]
    if torch.get_float32_matmul_precision() != "highest":
        lax.append(f"torch.get_float32_matmul_precision() = {torch.get_float32_matmul_precision()!r}")
    return lax


@contextlib.contextmanager
def full(torch: Any) -> Iterator[None]:
    """Compute float32 in float32 inside the block; afterwards everything is as it was."""
    switches = _switches(torch)
    before = [getattr(owner, attribute) for _, owner, attribute, _ in switches]
    older = _older(torch)
    try:
        for call, value, _ in older:
            call(value)
        for _, owner, attribute, value in switches:
            setattr(owner, attribute, value)
        yield
    finally:
        for call, _, value in older:
            call(value)
        for (_, owner, attribute, _), value in zip(switches, before):
            setattr(owner, attribute, value)


def _older(torch: Any) -> list[tuple[Callable[[Any], None], Any, Any]]:
    """Give (setter, strictest value, value now) of what goes along with the newer switches.

    Whoever reads an older switch of float32 inside would raise otherwise; and cuBLAS may add up the parts of a half
    precision product in half precision, which torch allows it by default.
    """
    found: list[tuple[Callable[[Any], None], Any, Any]] = []
    # A user who set the two generations apart meets the RuntimeError already; then only the new ones are set.
    with contextlib.suppress(RuntimeError, AttributeError):
        found.append((torch.set_float32_matmul_precision, "highest", torch.get_float32_matmul_precision()))
    for path, attribute in (
        ("cudnn", "allow_tf32"),
        ("cuda.matmul", "allow_fp16_reduced_precision_reduction"),
        ("cuda.matmul", "allow_bf16_reduced_precision_reduction"),
    ):
        owner = _owner(torch, path)
        with contextlib.suppress(RuntimeError, AttributeError, AssertionError):
            found.append((functools.partial(setattr, owner, attribute), False, getattr(owner, attribute)))
    return found
