"""Checks for the runner's tests: they run on a fake torch, and exactly one of them calls the kernel that breaks."""

from __future__ import annotations

from torchcheck_suite.registry import check


@check(oracle="itself", level="quick")
def before(context):
    """A tensor gives back what it was given."""
    context.exact(context.torch.tensor([1.0, 2.0]), [1.0, 2.0], what="elements")


@check(oracle="itself", level="quick")
def kernel(context):
    """The kernel doubles."""
    context.exact(context.torch.kernel([1.0, 2.0]), [2.0, 4.0], what="doubled")


@check(oracle="itself", level="quick", dtypes=("float32", "float64"))
def after(context):
    """A tensor still gives back what it was given."""
    context.exact(context.torch.tensor([3.0]), [3.0], what="elements")


@check(oracle="itself", level="full")
def deep(context):
    """Only the full level comes here."""
    context.true(True, what="it ran")
