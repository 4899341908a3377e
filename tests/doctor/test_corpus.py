"""The doctor names the cause of reported failures, does no harm, and leaves healthy machines alone."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
from scoring import cases, healthy, judge, problems, score

from torchcheck.doctor import all_codes, diagnose
from torchcheck.facts import Facts, from_json

EVERY = cases("failures", "healthy", "own", "composed", "reports")
NOISE = "epoch {0}: loss 0.{0:04d}, accuracy 0.9{0}, lr 1e-3, 12{0} it/s"


@pytest.mark.parametrize("name", ["failures", "own", "composed", "reports"])
def test_the_cause_comes_first(name):
    total = score(cases(name))
    assert total.first / total.decided >= 0.95, total.missed
    assert total.three / total.decided >= 0.97, total.missed


def test_what_cannot_be_decided_is_not_decided():
    total = score(EVERY)
    assert total.undecidable >= 40
    assert total.restrained == total.undecidable, total.missed


def test_no_advice_that_does_harm_and_no_false_alarm():
    total = score(EVERY)
    assert total.healthy >= 30
    assert not total.forbidden
    assert not total.alarms


def test_every_code_has_cases():
    expected = {code for case in EVERY for code in case["expect"]}
    assert {code.code for code in all_codes()} - expected <= {"cause-unknown"}


def coloured(text: str) -> str:
    return "\n".join(f"\x1b[31m{line}\x1b[0m\x1b[K" for line in text.split("\n"))


def windows_lines(text: str) -> str:
    return text.replace("\n", "\r\n")


def in_noise(text: str) -> str:
    before = "\n".join(NOISE.format(number) for number in range(10_000))
    after = "\n".join(NOISE.format(number) for number in range(2_000))
    return f"{before}\n{text}\n{after}"


def timestamped(text: str) -> str:
    return "\n".join(f"2026-03-04 10:11:12,345 {line}" for line in text.split("\n"))


@pytest.mark.parametrize("change", [coloured, windows_lines, in_noise])
def test_the_form_of_a_text_changes_nothing(change: Callable[[str], str]):
    for case in EVERY if change is not in_noise else random.Random(4).sample(EVERY, 12):
        if case["log"]:
            changed = diagnose(from_json(case["facts"]), change(case["log"]))
            assert [d.code for d in changed][:1] == [d.code for d in judge(case)][:1], case["id"]


WORDS = {
    "The specified module could not be found.": "Das angegebene Modul wurde nicht gefunden.",
    "A dynamic link library (DLL) initialization routine failed.": "动态链接库(DLL)初始化例程失败。",
    "The paging file is too small for this operation to complete": "Die Auslagerungsdatei ist zu klein.",
    "%1 is not a valid Win32 application.": "%1 ist keine zul\u00e4ssige Win32-Anwendung.",
    "No space left on device": "\u8bbe\u5907\u4e0a\u6ca1\u6709\u7a7a\u95f4",
    "Permission denied": "\u6743\u9650\u4e0d\u591f",
    "Access is denied": "Zugriff verweigert",
}


def test_translated_windows_messages_mean_the_same():
    changed = 0
    for case in EVERY:
        log = case["log"]
        for words, other in WORDS.items():
            log = log.replace(words, other).replace(other, other.encode().decode("cp1252", errors="replace"))
        error = dict(case["facts"].get("torch", {}))
        if log != case["log"] and "error" not in error:
            changed += 1
            assert [d.code for d in diagnose(from_json(case["facts"]), log)][:1] == [d.code for d in judge(case)][:1], (
                case["id"]
            )
    assert changed >= 5


@pytest.mark.parametrize("part", ["facts", "log"])
def test_half_of_a_case_does_no_harm(part):
    for case in EVERY:
        half = {**case, "log": ""} if part == "facts" else {**case, "facts": {}}
        harm = [problem for problem in problems(half) if part == "facts" or not healthy(case)]
        assert part == "log" or not harm, (case["id"], harm)
        if healthy(case) and part == "log":
            assert not [d for d in judge(half) if d.severity == "error"], case["id"]


def test_the_order_of_facts_does_not_matter():
    for case in EVERY[:40]:
        facts = from_json(dict(reversed(case["facts"].items())))
        assert diagnose(facts, case["log"]) == judge(case)


def test_evidence_fix_and_reason_are_always_there():
    for case in EVERY:
        for diagnosis in judge(case):
            assert diagnosis.evidence, (case["id"], diagnosis.code)
            assert all(diagnosis.evidence)
            assert diagnosis.why
            assert diagnosis.fix or diagnosis.code == "environment-ok", (case["id"], diagnosis.code)


def test_a_machine_of_which_nothing_is_known_is_not_called_broken():
    assert [d.code for d in diagnose(Facts())] == ["cause-unknown"]


def test_the_answer_is_json():
    for case in EVERY[:20]:
        for diagnosis in judge(case):
            assert set(diagnosis.as_json()) == {f.name for f in dataclasses.fields(diagnosis)}


def test_cases_are_well_formed():
    known = {code.code for code in all_codes()}
    for case in EVERY:
        assert {*case["expect"], *case["forbid"], *case.get("may", ())} <= known, case["id"]
        assert case["expect"] or "may" in case
    assert len({case["id"] for case in EVERY}) == len(EVERY)
