"""Ranks that share a host's CPU deal out its checks: together they run all, and what is basic each runs."""

from __future__ import annotations

import pytest

from torchcheck.suite import plan
from torchcheck.suite.registry import all_checks


@pytest.mark.parametrize("level", ["quick", "default", "full"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_all_checks_are_run_and_few_of_them_twice(level, ranks):
    chosen = plan.choose(all_checks(), level=level)
    shares = [plan.deal(chosen, number, ranks) for number in range(ranks)]
    assert {check.id for share in shares for check in share} == {check.id for check in chosen}
    everybody = [check for check in chosen if plan.is_for_all_ranks(check)]
    assert everybody
    assert all(check in share for share in shares for check in everybody)
    assert sum(map(len, shares)) <= len(chosen) + (ranks - 1) * len(everybody)
    assert max(map(len, shares)) - min(map(len, shares)) <= len(everybody) + 1
