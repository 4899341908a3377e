"""Children that hang, flood, breed and refuse; all of them real."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from torchcheck import processes

PARENT_OF_SLEEPER = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']{});"
    "print(child.pid, flush=True); time.sleep({})"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_output_and_exit_code():
    ran = processes.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), timeout=20)
    assert (ran.code, ran.out, ran.err, ran.failure) == (3, "out\n", "err\n", None)


def test_input_and_environment():
    code = "import os, sys; print(sys.stdin.read() + os.environ['ONE'])"
    ran = processes.run(python(code), timeout=20, stdin=b"a" * 300_000, env={"ONE": "b", "SYSTEMROOT": "C:\\Windows"})
    assert ran.out == "a" * 300_000 + "b\n"


def test_bytes_that_are_no_text_are_replaced():
    ran = processes.run(python("import sys; sys.stdout.buffer.write(b'\\xff\\xfeok')"), timeout=20)
    assert ran.out == "��ok"


def test_a_child_that_hangs_is_ended_with_its_children():
    started = time.monotonic()
    ran = processes.run(python(PARENT_OF_SLEEPER.format("", 60)), timeout=4)
    assert ran.failure == "timeout"
    assert ran.code is None
    assert time.monotonic() - started < 30
    assert gone(int(ran.out))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions; there children are found by their parent")
def test_a_grandchild_in_a_session_of_its_own_is_ended_too():
    ran = processes.run(python(PARENT_OF_SLEEPER.format(", start_new_session=True", 60)), timeout=4)
    assert gone(int(ran.out))


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_an_orphan_left_behind_by_a_child_that_ended_is_ended():
    ran = processes.run(python(PARENT_OF_SLEEPER.format("", 0)), timeout=20)
    assert ran.ok
    assert gone(int(ran.out))


def test_a_child_that_never_stops_talking_is_stopped(monkeypatch):
    monkeypatch.setattr(processes, "OUTPUT_LIMIT", 1 << 16)
    ran = processes.run(python("while True: print('y' * 1000)"), timeout=60)
    assert ran.failure == "flood"
    assert len(ran.out) < 1 << 18


def test_what_is_no_program(tmp_path):
    text = tmp_path / "text"
    text.write_text("no program", encoding="utf-8")
    assert processes.run([str(tmp_path / "nothing")], timeout=5).failure == "missing"
    assert processes.run([str(text)], timeout=5).failure in {"denied", "invalid"}
    assert processes.run([str(tmp_path)], timeout=5).failure in {"denied", "invalid"}
    if sys.platform != "win32":
        text.chmod(0o755)
        assert processes.run([str(text)], timeout=5).failure == "invalid"


def test_a_program_is_never_looked_up():
    assert processes.run(["python"], timeout=5).failure == "invalid"
    with pytest.raises(ValueError, match="absolute path"):
        processes.start(["python"])


def test_an_argument_with_nul_is_refused():
    assert processes.run([sys.executable, "a\0b"], timeout=5).failure == "invalid"


def test_nothing_is_left_when_the_block_is_left_early():
    with pytest.raises(KeyboardInterrupt), processes.started(python("import time; time.sleep(60)")) as process:
        raise KeyboardInterrupt
    assert process.returncode is not None
    assert gone(process.pid)


def test_a_started_process_can_be_talked_to():
    with processes.started(python("print(input())"), stdin=subprocess.PIPE) as process:
        assert process.communicate(b"hello\n", timeout=20)[0].split() == [b"hello"]


def test_killing_what_has_ended_is_harmless():
    with processes.started(python("pass")) as process:
        process.wait(20)
        processes.kill_tree(process)
        processes.kill_tree(process)
    assert process.returncode == 0
