"""Recorded and composed machines, replayed: what a probe makes of each is written beside its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from torchcheck.facts import from_json, to_json
from torchcheck.host import Replay
from torchcheck.probes import probe
from torchcheck.target import find

MACHINES = Path(__file__).parent.parent / "machines"


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Say where `found` does not hold what is expected; members of objects that are not expected are passed over."""
    if isinstance(expected, dict) and isinstance(found, dict):
        missing = [f"{path}.{name} is unknown" for name in expected if name not in found]
        return missing + [
            d for name in expected if name in found for d in differences(expected[name], found[name], f"{path}.{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return [f"{path} has {len(found)} items, {len(expected)} expected: {found}"]
        return [
            d for i, (e, f) in enumerate(zip(expected, found, strict=True)) for d in differences(e, f, f"{path}[{i}]")
        ]
    return [] if expected == found else [f"{path} is {found!r}, expected {expected!r}"]


@pytest.mark.parametrize("name", sorted(path.stem for path in MACHINES.glob("*.json")))
def test_machine(name: str) -> None:
    case = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
    host = Replay(case["answers"])
    facts = to_json(probe(host, find(host), torch=case.get("torch", "metadata")))
    assert not differences(case["expect"], facts), case["about"]
    assert to_json(from_json(json.loads(json.dumps(facts)))) == facts
    assert "secret" not in json.dumps(facts)


def test_a_known_name_is_not_lost_where_an_expectation_is_not_met() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}) == [".a.b is 2, expected 1"]
    assert differences({"a": [1, 2]}, {"a": [1]}) == [".a has 1 items, 2 expected: [1]"]
    assert differences({"a": 1}, {}) == [".a is unknown"]
