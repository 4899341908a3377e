"""A known defect excuses exactly what it describes."""

from __future__ import annotations

import pytest

from torchcheck.suite import known
from torchcheck.suite.compare import Comparison
from torchcheck.suite.known import Defect

ROW = Defect(
    "optimizers.sgd.*",
    "fused SGD leaves lanes alone",
    "use foreach",
    since="2.12",
    fixed="2.14",
    dtypes=("bfloat16",),
    devices=("cpu",),
    what="fused*",
    at_most=100.0,
)


def wrong(what="fused: step 1", measured=50.0):
    return Comparison(what, 10, 3, measured, 4.0, "u")


def applies(ident="optimizers.sgd.half", version="2.13.0+cpu", device="cpu", dtype="bfloat16"):
    return known.applicable(ident, version=version, device=device, dtype=dtype, table=[ROW]) == [ROW]


@pytest.mark.parametrize("version", ["2.12.0", "2.12.1+cu130", "2.13.0", "2.13.1.dev20260101+cpu"])
def test_versions_that_have_it(version):
    assert applies(version=version)


@pytest.mark.parametrize("version", ["2.11.0", "2.14.0", "2.14.0a0+git1234", "3.0"])
def test_versions_that_do_not(version):
    assert not applies(version=version)


def test_other_checks_devices_and_dtypes_are_not_excused():
    assert applies()
    assert not applies(ident="optimizers.adam.half")
    assert not applies(device="cuda:0")
    assert not applies(dtype="float32")
    assert not applies(dtype=None)


def test_it_excuses_what_it_describes():
    assert known.explain([wrong()], [ROW]) == [ROW]
    assert known.explain([wrong(), wrong("fused: step 2")], [ROW]) == [ROW]


def test_it_excuses_nothing_else():
    assert known.explain([wrong("foreach: step 1")], [ROW]) is None
    assert known.explain([wrong(), wrong("foreach: step 1")], [ROW]) is None
    assert known.explain([wrong(measured=101.0)], [ROW]) is None
    assert known.explain([wrong(measured=float("nan"))], [ROW]) is None


def test_every_row_says_what_to_do_and_where_it_is_told():
    for row in known.DEFECTS:
        assert row.why
        assert row.advice
        assert not row.link or row.link.startswith("https://")
        assert not (row.since and row.fixed) or known.version_of(row.since) < known.version_of(row.fixed)
