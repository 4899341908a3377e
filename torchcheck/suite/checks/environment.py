"""The torch that is installed: that it can be imported, is what it says it is, and sees its devices."""

from __future__ import annotations

import importlib
from pathlib import Path

from ..context import Context
from ..devices import present
from ..registry import check


@check(oracle="the import system", level="quick", devices="once")
def import_(context: Context) -> None:
    """Torch can be imported, from an installed package."""
    torch = importlib.import_module("torch")
    file = getattr(torch, "__file__", None)
    context.true(file, what="torch is a package with code, not an empty folder of that name", got=str(file))
    context.true(hasattr(torch, "tensor"), what="torch is whole: it has torch.tensor")
    context.note(f"torch {getattr(torch, '__version__', 'without a version')} from {Path(str(file)).parent}")


@check(oracle="torch's own list of devices, read in a process that may die of it", level="quick", devices="once")
def devices(context: Context) -> None:
    """Torch can list the devices of this machine."""
    found = present(context.torch)
    context.true(found, what="there is a device", got=", ".join(found))
