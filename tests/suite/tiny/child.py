"""A check that starts a process of its own, the way a DataLoader with workers does."""

from __future__ import annotations

import multiprocessing

from torchcheck_suite.registry import check


def _double(value):
    return 2 * value


@check(oracle="itself", level="quick")
def spawn(context):
    """A spawned process can import the check's module."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        context.exact(pool.map(_double, [1, 2]), [2, 4], what="doubled elsewhere")
