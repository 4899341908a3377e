"""Real processes that really die: each death has a name, and the rest of the checks still ran."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import psutil
import pytest

from torchcheck.errors import Exit, TargetError
from torchcheck.verify import outcome, runner

REST = {"tiny.before": "pass", "tiny.after/float32": "pass", "tiny.after/float64": "pass"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals have these names on POSIX alone")


def worker_pids():
    return [p.pid for p in psutil.Process().children(recursive=True) if "worker.py" in " ".join(p.cmdline())]


def test_a_sound_torch_passes(verify):
    run = verify("sound")
    assert run.statuses == {**REST, "tiny.kernel": "pass"}
    assert run.outcome.verdict == "pass"
    assert run.outcome.exit_code == Exit.OK
    assert [e["event"] for e in run.events[:2]] == ["hello", "start"]
    assert run.events[-1]["event"] == "bye"
    assert run.events[0]["devices"] == ["cpu"]


def test_levels_include_the_levels_below(verify):
    assert "tiny.deep" in verify("sound", level="full").results


def test_selecting_and_skipping(verify):
    assert list(verify("sound", "tiny.*", skip=("*.after", "tiny.kernel")).results) == ["tiny.before"]


def test_what_matches_nothing_proves_nothing(verify):
    run = verify("sound", "no_such_check")
    assert run.outcome.verdict == "unusable"
    assert run.outcome.notes == ("no check of this level matches the selection",)


@pytest.mark.parametrize(
    ("kind", "status", "word", "evidence"),
    [
        pytest.param("segfault", "crash", "SIGSEGV (segmentation fault)", "about to read address 0", marks=posix),
        pytest.param("abort", "crash", "SIGABRT (abort)", "terminate called without an active", marks=posix),
        pytest.param("oom", "crash", "SIGKILL (killed, probably for lack of memory)", "", marks=posix),
        ("exits", "crash", "exit code 0", ""),
    ],
)
def test_a_death_is_named_and_the_rest_goes_on(verify, kind, status, word, evidence):
    run = verify(kind)
    assert run.statuses == {**REST, "tiny.kernel": status}
    assert word in run.results["tiny.kernel"]["detail"]
    assert evidence in run.results["tiny.kernel"]["detail"]
    assert run.outcome.verdict == "fail"
    assert run.outcome.exit_code == Exit.FAILED


def test_a_hang_is_ended_and_shows_where_it_hung(verify):
    run = verify("hang", timeout=3.0)
    assert run.statuses == {**REST, "tiny.kernel": "timeout"}
    assert "no answer after 3 s" in run.results["tiny.kernel"]["detail"]
    assert "in kernel" in run.results["tiny.kernel"]["detail"]  # the stack that faulthandler left in the log
    assert not worker_pids()


def test_garbage_on_stdout_goes_to_the_log(verify):
    assert verify("garbage").statuses == {**REST, "tiny.kernel": "pass"}


def test_a_slow_import_with_a_banner_is_waited_for(verify):
    run = verify("slow_import", "tiny", "environment.import")
    assert run.outcome.verdict == "pass"
    assert run.results["environment.import"]["seconds"] >= 1


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("import_error", "fail", "libtorch_cpu.so"),
        pytest.param("import_segfault", "crash", "SIGSEGV", marks=posix),
        ("import_hang", "timeout", "no answer"),
        ("import_exits", "crash", "exit code 0"),
        ("", "fail", "No module named 'torch'"),
    ],
)
def test_a_torch_that_cannot_be_imported_is_unusable(verify, kind, status, word):
    run = verify(kind, timeout=3.0)
    importing = run.results.pop("environment.import")
    assert importing["status"] == status
    assert word in importing["detail"]
    assert {r["detail"] for r in run.results.values()} == {"not run: torch cannot be imported"}
    assert run.statuses == dict.fromkeys([*REST, "tiny.kernel"], "skip")
    assert run.outcome.verdict == "unusable"
    assert run.outcome.exit_code == Exit.NO_PLAN


@posix
def test_a_driver_that_kills_whoever_asks_leaves_the_cpu(verify):
    run = verify("enumerate_segfault")
    assert run.statuses == {**REST, "tiny.kernel": "pass", "environment.devices": "crash"}
    assert run.outcome.verdict == "fail"


def test_a_device_that_is_not_there_is_said_so(verify):
    run = verify("sound", devices=("cuda",))
    assert set(run.statuses.values()) == {"skip"}
    assert "cuda" in run.results["tiny.kernel"]["detail"]
    assert run.outcome.verdict == "unusable"


def test_a_lost_accelerator_context_ends_with_its_worker(verify):
    run = verify("poisoned", devices=("cuda",))
    assert run.statuses == {**REST, "tiny.kernel": "fail"}
    assert "illegal memory access" in run.results["tiny.kernel"]["detail"]


@posix
def test_a_worker_killed_from_outside_in_mid_check(verify):
    def kill(event):
        if event["event"] == "start" and event["id"] == "tiny.kernel":
            time.sleep(0.3)
            os.kill(worker_pids()[0], signal.SIGKILL)

    run = verify("hang", on_event=kill)
    assert run.statuses == {**REST, "tiny.kernel": "crash"}
    assert "SIGKILL" in run.results["tiny.kernel"]["detail"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill(2) to send a Ctrl-C with")
def test_ctrl_c_gives_the_results_so_far(verify):
    def interrupt(event):
        if event["event"] == "start" and event["id"] == "tiny.kernel":
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    run = verify("hang", on_event=interrupt)
    assert run.status("tiny.before") == "pass"
    assert run.status("tiny.kernel") == "skip"
    assert run.results["tiny.kernel"]["detail"] == "not run: interrupted"
    assert run.outcome.exit_code == Exit.INTERRUPTED
    assert not worker_pids()


def test_a_file_of_the_users_does_not_shadow_the_standard_library(verify, tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert verify("sound", "child", "tiny").outcome.verdict == "pass"


def test_checks_may_spawn_processes(verify):
    assert verify("sound", "child").statuses == {"child.spawn": "pass"}


def test_every_way_for_a_check_to_end(verify):
    run = verify("sound", "judged")
    assert run.statuses == {
        "judged.wrong": "fail",
        "judged.empty": "error",
        "judged.skipped": "skip",
        "judged.gave_up": "fail",
        "judged.broken": "error",
        "judged.raised": "fail",
        "judged.lacking": "skip",
        "judged.needs_torch": "skip",
        "judged.needs_module": "skip",
        "judged.not_finite": "fail",
        "judged.chatty": "pass",
    }
    wrong = run.results["judged.wrong"]
    assert wrong["detail"] == "sum: expected 5.0, got 4.0 at element 0 of 2 (input 2.0); 1 of 2 wrong"
    assert wrong["hint"] == "learn to add"
    assert "ZeroDivisionError" in run.results["judged.broken"]["detail"]
    assert "torch.optim.Muon" in run.results["judged.needs_torch"]["detail"]
    assert run.results["judged.chatty"]["detail"].endswith("a remark")
    assert run.results["judged.chatty"]["figures"] == {"curve": [1, 2]}
    assert json.loads(json.dumps(run.outcome.as_json(), allow_nan=False))["verdict"] == "fail"


@pytest.mark.parametrize("kind", ["sound", "exits"])
def test_two_workers_share_the_work(verify, kind):
    alone, shared = verify(kind, workers=1), verify(kind, workers=2)
    assert shared.statuses == alone.statuses
    results = [event for event in shared.events if event["event"] == "result"]
    assert len(results) == len(shared.results)  # what both ran is told once
    assert shared.events[0]["event"] == "hello"
    assert shared.events[-1]["event"] == "bye"


def test_an_interpreter_that_is_none_proves_nothing(tmp_path):
    with pytest.raises(TargetError, match="cannot be started"):
        runner.run(str(tmp_path / "no-such-python"), runner.Job(), lambda _: None)


@posix
def test_a_program_that_is_no_python(tmp_path):
    events = []
    runner.run("/bin/echo", runner.Job(timeout=5), events.append)
    told = outcome.summarize(events)
    assert told.verdict == "unusable"
    assert "died without running anything" in told.notes[0]
