"""Score the doctor on a corpus; `cases/README.md` says what a case holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchcheck.doctor import Diagnosis, diagnose
from torchcheck.facts import from_json

CASES = Path(__file__).parent / "cases"
Case = dict[str, Any]


def cases(*names: str) -> list[Case]:
    """Read corpora by name."""
    texts = ((CASES / f"{name}.jsonl").read_text(encoding="utf-8") for name in names)
    return [json.loads(line) for text in texts for line in text.splitlines()]


def judge(case: Case) -> list[Diagnosis]:
    """Diagnose a case, once for all tests that ask for it."""
    text = json.dumps([case["facts"], case["log"]])
    if text not in _answers:
        _answers[text] = diagnose(from_json(case["facts"]), case["log"])
    return _answers[text]


_answers: dict[str, list[Diagnosis]] = {}


def healthy(case: Case) -> bool:
    return case["expect"] == ["environment-ok"]


@dataclass
class Score:
    """Counts, and the cases that were missed."""

    decided: int = 0
    first: int = 0
    three: int = 0
    undecidable: int = 0
    restrained: int = 0
    healthy: int = 0
    missed: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)


def score(corpus: Iterable[Case], answer: Callable[[Case], list[Diagnosis]] = judge) -> Score:
    """Score as the corpus prescribes: top-1, top-3, forbidden, restraint, false alarms."""
    total = Score()
    for case in corpus:
        found = answer(case)
        said = [d.code for d in found]
        line = f"{case['id']}: expected {case['expect'] or 'restraint'}, got {[(d.code, d.severity) for d in found]}"
        if any(d.code in case["forbid"] and d.severity != "note" for d in found):
            total.forbidden.append(line)
        if healthy(case):
            total.healthy += 1
            total.alarms += [line] * any(d.severity == "error" for d in found)
        elif case["expect"]:
            total.decided += 1
            total.first += said[0] in case["expect"]
            total.three += bool(set(said[:3]) & set(case["expect"]))
            total.missed += [line] * (said[0] not in case["expect"])
        else:
            total.undecidable += 1
            kept = all(d.severity != "error" or d.code in case["may"] for d in found)
            total.restrained += kept
            total.missed += [line] * (not kept)
    return total


def problems(case: Case) -> Iterator[str]:
    """Say what of one case's answer does harm, whatever is right."""
    found = judge(case)
    yield from (f"forbidden: {d.code}" for d in found if d.code in case["forbid"] and d.severity != "note")
    if healthy(case):
        yield from (f"false alarm: {d.code}" for d in found if d.severity == "error")
