"""One result of many ranks', the odd one out, and the stragglers: from reports as plain data."""

from __future__ import annotations

import random

import pytest

from torchcheck.verify import fleet
from torchcheck.verify.outcome import summarize

PLAN = [{"id": ident, "title": "t", "device": "cuda", "dtype": None} for ident in ("a.one", "a.two")]


def report(rank, results=(), passed=("a.one", "a.two"), figures=None, ended="", host="", **identity):
    who = {"rank": rank, "host": host or f"node{rank // 4}", "device": f"cuda:{rank % 4}", "name": "GPU", **identity}
    return {
        "identity": who,
        "passed": [[ident, None] for ident in passed],
        "results": list(results),
        "figures": figures or {},
        "ended": ended,
        "seconds": 1.0,
    }


def bad(ident, status, detail="wrong"):
    return {"id": ident, "device": "cuda", "dtype": None, "status": status, "detail": detail, "hint": None}


def merged(reports, world=None, missing=None):
    told = fleet.Fleet(world or len(reports), dict(enumerate(reports)), missing or {})
    return {event["id"]: event for event in fleet.merge(told, PLAN, {})}


def test_all_well_is_one_pass_a_check():
    results = merged([report(rank) for rank in range(8)])
    assert {event["status"] for event in results.values()} == {"pass"}
    assert results["a.one"]["detail"] == "8 of 8 ranks"
    assert list(results) == ["distributed.ranks", "a.one", "a.two"]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (["fail", "pass"], "fail"),
        (["skip", "pass"], "pass"),
        (["skip", "skip"], "skip"),
        (["known", "pass"], "known"),
        (["fail", "crash", "error"], "crash"),
        (["timeout", "fail", "fail"], "timeout"),
    ],
)
def test_the_worst_rank_decides_and_is_named(found, status):
    reports = [
        report(r, [bad("a.one", s)] if s != "pass" else [], passed=("a.one", "a.two") if s == "pass" else ("a.two",))
        for r, s in enumerate(found)
    ]
    event = merged(reports)["a.one"]
    assert event["status"] == status
    if status in ("fail", "crash", "timeout", "known"):
        assert event["detail"].startswith(f"rank {found.index(status)} (node0, cuda:{found.index(status)}): wrong")


def test_who_lost_touch_with_a_dead_rank_is_not_blamed():
    dead = report(1, [bad("a.one", "crash", "SIGSEGV")], passed=(), ended="SIGSEGV in a.one")
    event = merged([report(0, [bad("a.one", "fail")], passed=()), dead])["a.one"]
    assert event["detail"] == "rank 1 (node0, cuda:1): SIGSEGV; 1 other rank lost touch with it"


def test_a_rank_that_never_reported_is_named_with_where_it_was_last_seen():
    event = merged([report(0)], world=3, missing={1: "", 2: "a.one"})["distributed.ranks"]
    assert event["status"] == "fail"
    assert "rank 1 never arrived" in event["detail"]
    assert "rank 2 never arrived or was lost; last seen at a.one" in event["detail"]
    assert (event["measured"], event["bound"]) == (1, 3)


def digests(*values):
    return [report(r, figures={"a.two": {"digest": v, "fastest": 0.01}}) for r, v in enumerate(values)]


def test_the_odd_one_out_fails_its_first_differing_check():
    event = merged(digests("x", "x", "y", "x"))["a.two"]
    assert event["status"] == "fail"
    assert event["detail"].startswith("rank 2 (node0, cuda:2): its bits differ from those of 3 of 4 ranks")
    rows = fleet.ranks_json(fleet.Fleet(4, dict(enumerate(digests("x", "x", "y", "x")))))
    assert [row["first_difference"] for row in rows] == [None, None, "a.two", None]
    assert [row["status"] for row in rows] == ["pass", "pass", "fail", "pass"]


def test_of_two_that_differ_neither_is_blamed_alone():
    assert "no more than half agree" in merged(digests("x", "y"))["a.two"]["detail"]


def test_other_models_may_have_other_bits():
    reports = digests("x", "x", "y")
    reports[2]["identity"]["name"] = "another GPU"
    assert merged(reports)["a.two"]["status"] == "pass"


def test_what_differs_is_found_among_any_number_of_ranks():
    rng = random.Random(1)
    for _ in range(50):
        world = rng.randint(3, 40)
        odd = set(rng.sample(range(world), rng.randint(0, (world - 1) // 2)))
        told = fleet.Fleet(world, dict(enumerate(digests(*(f"{r}" if r in odd else "x" for r in range(world))))))
        assert set(fleet.odd_ones(told).get("a.two", ())) == odd


def timed(times):
    return fleet.Fleet(
        len(times), {r: report(r, figures={"a.two": {"digest": "x", "fastest": t}}) for r, t in enumerate(times)}
    )


def test_a_straggler_is_slower_than_the_spread_explains():
    assert fleet.stragglers(timed([1.0, 1.01, 0.99, 1.02, 2.0])) == {4: pytest.approx(1.98, rel=0.01)}
    assert fleet.stragglers(timed([1.0, 1.4, 0.7, 1.2, 1.6])) == {}
    assert fleet.stragglers(timed([1.0, 1.0, 3.0])) == {}, "three ranks have no spread worth the name"


def test_a_thousand_normal_ranks_have_no_straggler():
    rng = random.Random(7)
    assert fleet.stragglers(timed([rng.gauss(1.0, 0.05) for _ in range(1000)])) == {}


def test_the_uuid_is_shown_by_its_end_alone():
    told = fleet.Fleet(1, {0: report(0, uuid="GPU-12345678-1234-1234-1234-123456789abc")})
    assert fleet.ranks_json(told)[0]["uuid"] == "…9abc"
    assert "12345678" not in repr(fleet.ranks_json(told))


def test_the_merged_events_sum_up_to_a_verdict():
    events = [{"event": "hello", "devices": ["cuda"]}, *merged(digests("x", "x", "y")).values()]
    result = summarize([*events, {"event": "bye", "seconds": 1.0}])
    assert (result.verdict, result.exit_code, result.counts) == ("fail", 1, {"pass": 2, "fail": 1})


def test_a_report_holds_what_passed_by_name_alone():
    one = {"event": "result", "title": "t", "id": "a", "dtype": "float32", "status": "pass", "figures": {"digest": "x"}}
    two = {"event": "result", "title": "t", "id": "b", "dtype": None, "status": "fail", "detail": "wrong"}
    made = fleet.report_of({"host": "h"}, [one, two], "", 1.23456)
    assert made["passed"] == [["a", "float32"]]
    assert made["results"] == [{"id": "b", "dtype": None, "status": "fail", "detail": "wrong"}]
    assert made["figures"] == {"a": {"digest": "x"}}
