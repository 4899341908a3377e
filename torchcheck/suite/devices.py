"""Which devices this torch has, by the names that it calls them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KINDS = ("cuda", "xpu", "mps")
"""The kinds of device that torch itself has; one more may be registered by a package beside it."""


def present(torch: Any) -> list[str]:
    """List every device: "cpu" first, then "cuda:0" (ROCm's too), "xpu:0", "mps", "npu:0"."""
    return ["cpu", *(device for kind in _kinds(torch) for device in _of_kind(torch, kind))]


def _kinds(torch: Any) -> list[str]:
    """Name torch's own kinds of device, and the one that a package beside it registered, if one did."""
    name = getattr(getattr(torch, "_C", None), "_get_privateuse1_backend_name", lambda: "")()
    return [*KINDS, name] if hasattr(torch, name or " ") else [*KINDS]


def _of_kind(torch: Any, kind: str) -> list[str]:
    if kind == "mps":
        backend = getattr(torch.backends, "mps", None)
        return ["mps"] if backend is not None and backend.is_available() else []
    module = getattr(torch, kind, None)
    if module is None or not module.is_available():
        return []
    return [f"{kind}:{index}" for index in range(module.device_count())]


def resolve(torch: Any, asked: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Turn what was asked for ("all", "cpu", "cuda", "cuda:1") into devices.

    Returns:
        The devices that are there, and for each that is not, why.
    """
    if list(asked) == ["cpu"]:
        return ["cpu"], {}
    there = present(torch)
    found: list[str] = []
    lacking: dict[str, str] = {}
    for name in asked:
        kind = "cuda" + name[4:] if name.startswith("rocm") else name
        hits = there if kind == "all" else [d for d in there if d == kind or d.startswith(kind + ":")]
        found += [device for device in hits if device not in found]
        if not hits:
            lacking[name] = _reason(torch, kind)
    return found, lacking


def _reason(torch: Any, kind: str) -> str:
    """Ask torch itself why there is no such device; its answer names the driver or the build."""
    family = kind.partition(":")[0]
    seen = _of_kind(torch, family) if family in _kinds(torch) else []
    if seen:
        return f"this torch sees {', '.join(seen)}, not {kind}"
    try:
        torch.zeros(1, device=kind)
    except Exception as error:  # noqa: BLE001 - whatever it says is the answer
        return f"this torch sees no {family} device: {str(error).strip().partition(chr(10))[0]}"
    return f"this torch does not list {kind} among its devices"
