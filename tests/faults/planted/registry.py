"""The table of faults: each is one function that breaks torch in one way, in a process that has just imported it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One way for torch to be wrong.

    Attributes:
        name: group and function, "optimizers.sgd_momentum_sign".
        what: what is wrong, in one sentence.
        plant: does it.
        level: the cheapest level of verify that must notice.
        unseen: why no check can notice it; "" when one must.
    """

    name: str
    what: str
    plant: Callable[[], None]
    level: str
    unseen: str

    @property
    def group(self) -> str:
        """The topic that it belongs to."""
        return self.name.partition(".")[0]


_faults: dict[str, Fault] = {}


def fault(*, level: str = "default", unseen: str = "") -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as a fault; its docstring says what is wrong."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        _faults[name] = Fault(name, (function.__doc__ or "").strip(), function, level, unseen)
        return function

    return register


def corpus() -> dict[str, Fault]:
    """Every fault by name, without planting any (and without torch)."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in {"registry", "kernels", "sources", "mutants", "gradients"}:
            importlib.import_module(f"planted.{path.stem}")
    return _faults


def plant(name: str) -> None:
    """Plant one fault, or a mutant ("mutant:aten::mm:uniform"), in this process, where torch has been imported."""
    if name.startswith("mutant:"):
        importlib.import_module("planted.mutants").mutant(name.partition(":")[2])
        return
    importlib.import_module(f"planted.{name.partition('.')[0]}")
    _faults[name].plant()
