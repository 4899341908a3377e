"""Which optimizers there are, and which of them are compared."""

from __future__ import annotations

from ...context import Context
from ...registry import check
from .formulas import OPTIMIZERS

JOINT = ("Adafactor", "LBFGS", "Muon", "SparseAdam")
# Public names of `torch.optim` that are not compared, and why.
NOT_COVERED = {"Optimizer": "the base class of the others, without a step of its own"}


@check(oracle="the list of public names", level="quick", devices="once")
def coverage(context: Context) -> None:
    """Every public optimizer of this torch is compared with a formula, or said not to be."""
    module = context.torch.optim
    there = {n for n, item in vars(module).items() if isinstance(item, type) and issubclass(item, module.Optimizer)}
    here = {row.cls for row in OPTIMIZERS} | set(JOINT) | set(NOT_COVERED)
    if new := sorted(there - here):
        context.note(f"not covered: {', '.join(new)}")
    common = {row.cls for row in OPTIMIZERS} | {"LBFGS", "SparseAdam"}
    context.true(there >= common, what="the optimizers that every torch has are there", got=sorted(there))
