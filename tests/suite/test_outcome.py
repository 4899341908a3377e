"""From events to a verdict: pure, so every case is a few lines of data."""

from __future__ import annotations

import json
import math

import pytest

from torchcheck.errors import Exit
from torchcheck.verify import outcome

HELLO = {"event": "hello", "torch": "2.13.0", "devices": ["cpu"], "lacking": {}, "level": "default", "plan": []}
BYE = {"event": "bye", "seconds": 1.5, "interrupted": False, "notes": []}


def result(status, ident="a.b", **more):
    made = dict.fromkeys(("measured", "bound", "unit", "hint", "dtype"))
    return (
        {"event": "result", "id": ident, "title": "t", "device": "cpu", "detail": "", "seconds": 0.1, "status": status}
        | made
        | more
    )


def verdict(*statuses, hello=HELLO, bye=BYE, **options):
    results = [result(status, f"check.{i}") for i, status in enumerate(statuses)]
    return outcome.summarize([hello, *results, bye], **options)


@pytest.mark.parametrize(
    ("statuses", "strict", "expected", "code"),
    [
        (["pass", "skip"], False, "pass", Exit.OK),
        (["pass", "known"], False, "pass", Exit.OK),
        (["pass", "known"], True, "fail", Exit.FAILED),
        (["pass", "fail"], False, "fail", Exit.FAILED),
        (["pass", "error"], False, "fail", Exit.FAILED),
        (["pass", "crash"], False, "fail", Exit.FAILED),
        (["pass", "timeout"], False, "fail", Exit.FAILED),
        (["skip", "skip"], False, "unusable", Exit.NO_PLAN),
        ([], False, "unusable", Exit.NO_PLAN),
    ],
)
def test_verdicts(statuses, strict, expected, code):
    found = verdict(*statuses, strict=strict)
    assert (found.verdict, found.exit_code) == (expected, code)


@pytest.mark.parametrize("status", ["fail", "crash", "timeout", "error"])
def test_a_torch_that_cannot_be_imported(status):
    events = [HELLO, result(status, "environment.import"), result("skip"), BYE]
    assert outcome.summarize(events).exit_code == Exit.NO_PLAN


def test_a_device_that_was_asked_for_and_is_not_there():
    found = verdict("pass", hello={**HELLO, "lacking": {"cuda": "no driver"}})
    assert found.verdict == "unusable"
    assert "no driver" in found.notes


def test_interruption_wins():
    assert verdict("pass", bye={**BYE, "interrupted": True}).exit_code == Exit.INTERRUPTED


def test_a_run_that_was_cut_off_still_counts():
    found = outcome.summarize([HELLO, result("pass"), result("fail", "c.d")])
    assert found.counts == {"pass": 1, "fail": 1}
    assert found.verdict == "fail"


def test_a_second_result_for_the_same_check_is_not_counted():
    assert outcome.summarize([HELLO, result("pass"), result("fail"), BYE]).counts == {"pass": 1}


def test_json_holds_no_numbers_that_json_lacks():
    events = [HELLO, result("fail", measured=math.inf, bound=math.nan, figures={"x": [1]}), BYE]
    document = outcome.summarize(events).as_json()
    text = json.dumps(document, allow_nan=False)
    check = json.loads(text)["checks"][0]
    assert (check["measured"], check["bound"]) == ("inf", "nan")
    assert list(check) == [
        "id",
        "title",
        "device",
        "dtype",
        "status",
        "measured",
        "bound",
        "unit",
        "detail",
        "hint",
        "seconds",
    ]
    assert document["counts"] == {"fail": 1}
