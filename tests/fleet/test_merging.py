"""One result of many ranks', the odd one out, and the stragglers: from reports as plain data."""

from __future__ import annotations

import random

import pytest

from torchcheck.verify import fleet, rank_rows, verdict
from torchcheck.verify.outcome import summarize
from torchcheck.verify.pseudonyms import Pseudonyms

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
    rows = rank_rows.rank_rows(fleet.Fleet(4, dict(enumerate(digests("x", "x", "y", "x")))))
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


def test_hosts_and_gpus_have_other_names_the_same_everywhere():
    uuid = "GPU-12345678-1234-1234-1234-123456789abc"
    reports = [report(rank, host=("alpha", "beta.site")[rank // 2], uuid=uuid) for rank in range(4)]
    reports[3]["results"] = [bad("a.one", "fail", "beta.site refused alphabet; see alpha")]
    told = verdict.tell(fleet.Fleet(4, dict(enumerate(reports))), PLAN, {})
    names = Pseudonyms(told.ranks)
    hidden = names.hide(told.as_json())
    assert [row["host"] for row in hidden["ranks"]] == ["host-1", "host-1", "host-2", "host-2"]
    assert {row["uuid"] for row in hidden["ranks"]} == {"…9abc"}
    detail = next(event["detail"] for event in hidden["events"] if event["id"] == "a.one")
    assert detail == "rank 3 (host-2, cuda:3, …9abc): host-2 refused alphabet; see host-1"
    assert Pseudonyms(told.ranks, hiding=False).hide(told.as_json()) == told.as_json()


def test_a_host_called_like_a_word_of_the_report_is_hidden_where_it_is_a_host():
    names = Pseudonyms([{"rank": 0, "host": "gpu"}])
    assert names.hide({"host": "gpu", "detail": "no gpu there"}) == {"host": "host-1", "detail": "no gpu there"}


def test_only_variables_that_steer_the_backend_are_shown():
    env = {"NCCL_DEBUG": "INFO", "NCCL_TOPO_FILE": "/home/me/topology.xml", "NCCL_COMM_ID": "10.0.0.1:9"}
    rows = rank_rows.rank_rows(fleet.Fleet(1, {0: report(0, env=env)}))
    assert rows[0]["env"] == {"NCCL_DEBUG": "INFO"}


def test_variables_that_differ_between_ranks_are_told():
    reports = [
        report(r, env={"NCCL_ALGO": "Ring" if r != 2 else "Tree", "CUDA_VISIBLE_DEVICES": str(r)}) for r in range(4)
    ]
    told = verdict.tell(fleet.Fleet(4, dict(enumerate(reports))), PLAN, {})
    assert told.notes == ("NCCL_ALGO is 'Ring' on most ranks and 'Tree' on rank 2",)


def test_what_was_heard_is_told_when_rank_0_is_lost():
    identities = [{**report(rank)["identity"], "torch": "2"} for rank in range(2)]
    heard = [
        {"event": "hello", "world": 3, "ranks": identities, "plan": [fleet.arrival_item(), *PLAN]},
        *({**bad("a.one", "pass"), "event": "result", "rank": rank, "title": "t"} for rank in range(2)),
        {**bad("a.two", "fail", "broken"), "event": "result", "rank": 1, "title": "t"},
    ]
    told = verdict.of_events(heard, "rank 0 was lost", 3.0)
    arrival, one, two = told.events
    assert arrival["status"] == "fail"
    assert arrival["detail"].startswith("rank 0 was lost; rank 2 never arrived")
    assert (one["status"], one["detail"]) == ("pass", "2 of 3 ranks; wrong")
    assert two["detail"] == "rank 1 (node0, cuda:1): broken"
    assert verdict.of_events([], "rank 0 was lost", 3.0) is None


def test_of_many_that_fail_the_one_that_did_not_only_lose_touch_is_named():
    lost = bad("a.one", "fail", "RuntimeError: Connection closed by peer [10.0.0.1]:45")
    reports = [report(0, [lost], passed=()), report(1, [bad("a.one", "fail", "ValueError: no")], passed=())]
    assert (
        merged(reports)["a.one"]["detail"] == "rank 1 (node0, cuda:1): ValueError: no; 1 other rank lost touch with it"
    )


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
