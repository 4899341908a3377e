"""One check for every way in which a check itself can end."""

from __future__ import annotations

from torchcheck_suite.registry import check


@check(oracle="none", level="quick")
def wrong(context):
    """Two and two are five."""
    context.hint = "learn to add"
    context.exact([4.0, 1.0], [5.0, 1.0], what="sum", given=[2.0, 1.0])


@check(oracle="none", level="quick")
def empty(context):
    """Nothing is compared."""


@check(oracle="none", level="quick")
def skipped(context):
    """It does not apply."""
    context.skip("not here")


@check(oracle="none", level="quick")
def gave_up(context):
    """A wrong number is not forgiven because the check gave up after it."""
    context.exact([1], [2], what="one")
    context.skip("not here")


@check(oracle="none", level="quick")
def broken(context):
    """The check itself is broken."""
    return 1 / 0


@check(oracle="none", level="quick")
def raised(context):
    """Torch raises."""
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@check(oracle="none", level="quick")
def lacking(context):
    """Torch has no such kernel."""
    raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")


@check(oracle="none", level="quick", needs=("torch.optim.Muon",))
def needs_torch(context):
    """It needs what this torch does not have."""


@check(oracle="none", level="quick", needs=("no_such_module_anywhere",))
def needs_module(context):
    """It needs what is not installed."""


@check(oracle="none", level="quick")
def not_finite(context):
    """A NaN where a number is due."""
    context.close([float("nan"), 1.0], [1.0, 1.0], bound=1.0, what="value")


@check(oracle="none", level="quick")
def chatty(context):
    """It keeps figures and notes."""
    context.figure("curve", [1, 2])
    context.note("a remark")
    context.true(True, what="so it is")
