"""Every branch of one system is known and reached: what is decided there by recordings, what is asked there by itself.

A branch is a use of `sys.platform` or `os.name`. What it decides is a function of values and is tested here, on every
system, with what a Windows said; the door itself, which only asks, is tested where it can be opened.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from torchcheck import live, processes
from torchcheck.cli import _interrupt_ourselves
from torchcheck.cli.launching import NETWORK
from torchcheck.host import Replay
from torchcheck.install import durable, journal, survey, uv, venv
from torchcheck.install.constraints import advice
from torchcheck.native import display_adapters, interpreter
from torchcheck.probes import probe
from torchcheck.probes.torch import death
from torchcheck.suite.checks import promises
from torchcheck.suite.checks.training import compiled, data, distributed
from torchcheck.suite.context import Skip
from torchcheck.suite.meeting import store_options
from torchcheck.target import find
from torchcheck.verify import deaths
from torchcheck.wheels.web import certificates

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "torchcheck"
WINDOWS = pytest.mark.skipif(sys.platform != "win32", reason="a door of Windows: it can be opened there alone")
HERE = "tests/test_windows.py"

# Each function that asks for the system it runs on, and the test that goes through what it does for Windows. Tests of
# doors run on Windows alone, or (*) do there what they do everywhere, in CI.
BRANCHES = {
    "cli/__init__.py:_interrupt_ourselves": f"{HERE}:test_a_ctrl_c_is_raised_again",
    "cli/advice.py:install_command": "tests/test_shells.py:test_a_word_is_quoted_for_its_shell",
    "cli/installing.py:_data": f"{HERE}:test_constraints_are_set_as_powershell_does",
    "cli/launching.py:_environment": f"{HERE}:test_torchrun_is_told_of_the_network",
    "install/durable.py:flush": f"{HERE}:test_nothing_is_flushed_by_name",
    "install/journal.py:sync_folder": f"{HERE}:test_nothing_is_flushed_by_name",
    "install/pip.py:_version": "tests/test_shells.py:test_a_word_is_quoted_for_its_shell",
    "install/survey.py:before": "tests/install/test_preflight.py:test_a_process_that_has_a_library_loaded_is_named",
    "install/survey.py:holders": f"{HERE}:test_macos_does_not_tell_who_holds_a_file",
    "install/uv.py:program": f"{HERE}:test_uv_is_a_program_of_its_system",
    "install/venv.py:python_of": f"{HERE}:test_the_interpreter_of_an_environment",
    "live.py:": "tests/probes/test_live.py:test_a_name_out_of_the_pci_id_database",
    "live.py:_kernel": f"{HERE}:test_a_windows_describes_itself",
    "live.py:_processors": f"{HERE}:test_the_doors_of_the_live_host",
    "live.py:_registry": f"{HERE}:test_a_key_of_the_registry",
    "live.py:_which": f"{HERE}:test_places_of_a_program_on_the_path_of_windows",
    "live.py:machine": f"{HERE}:test_systems_are_named",
    "live.py:resources": f"{HERE}:test_instruction_sets",
    "native/display_adapters.py:present": f"{HERE}:test_identifiers_of_devices",
    "native/interpreter.py:describe": "tests/target/test_find.py:test_every_python_that_is_here",  # *
    "native/interpreter.py:libc": "tests/target/test_find.py:test_every_python_that_is_here",  # *
    "native/interpreter.py:machine": f"{HERE}:test_the_family_of_a_processor",
    "native/interpreter.py:macos": "tests/target/test_find.py:test_every_python_that_is_here",  # *
    "native/interpreter.py:writable": f"{HERE}:test_a_folder_that_takes_a_file",
    "native/nvml.py:ask": "tests/probes/test_live.py:test_a_replay_of_this_machine_tells_the_same",  # *
    "processes.py:kill_tree": f"{HERE}:test_a_family_is_found_by_its_parents",
    "processes.py:start": f"{HERE}:test_a_child_leads_a_group",
    "suite/checks/environment.py:_openmp": f"{HERE}:test_what_linux_alone_tells",
    "suite/checks/promises.py:worker_functions": f"{HERE}:test_checks_that_fork_say_so",
    "suite/checks/training/compiled.py:_need_compiler": f"{HERE}:test_compilers",
    "suite/checks/training/data.py:workers": f"{HERE}:test_checks_that_fork_say_so",
    "suite/checks/training/distributed.py:data_parallel": f"{HERE}:test_checks_that_fork_say_so",
    "suite/introspect.py:libraries": f"{HERE}:test_what_linux_alone_tells",
    "suite/meeting.py:open_store": f"{HERE}:test_a_store_is_asked_for_without_libuv",
    "suite/nvml.py:": f"{HERE}:test_the_library_of_nvidia_is_looked_for_by_its_name",
    "suite/worker.py:_quieten": "tests/suite/test_runner.py:test_a_death_is_named_and_the_rest_goes_on",  # *
    "wheels/offers.py:": "tests/test_shells.py:test_every_command_in_a_sentence_is_one_of_each_shell_of_windows",
    "wheels/web.py:_context": f"{HERE}:test_certificates",
}


def branches() -> Iterator[str]:
    """Name each function that asks which system it runs on, "" for a module itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function, node in _within(tree, ""):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.platform", "os.name"}:
                yield f"{path.relative_to(PACKAGE).as_posix()}:{function}"


def _within(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef) else function
        yield inside, child
        yield from _within(child, inside)


def test_every_branch_of_a_system_is_in_the_table() -> None:
    assert set(branches()) == set(BRANCHES)


@pytest.mark.parametrize("place", sorted(set(BRANCHES.values())))
def test_the_test_of_a_branch_is_there(place: str) -> None:
    path, _, name = place.partition(":")
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


# What Windows says, recorded.


def test_systems_are_named() -> None:
    assert [live.system_of(name) for name in ("win32", "darwin", "linux", "freebsd14")] == [
        "windows",
        "macos",
        "linux",
        "linux",
    ]


@pytest.mark.parametrize(
    ("key", "environ", "family"),
    [
        ({"values": {"PROCESSOR_ARCHITECTURE": "AMD64"}}, {"PROCESSOR_ARCHITECTURE": "AMD64"}, "AMD64"),
        # An x64 Python on Windows on Arm: the environment is the emulation's.
        ({"values": {"PROCESSOR_ARCHITECTURE": "ARM64"}}, {"PROCESSOR_ARCHITECTURE": "AMD64"}, "ARM64"),
        (None, {"PROCESSOR_ARCHITECTURE": "x86"}, "x86"),
        ({"values": {}}, {}, ""),
    ],
)
def test_a_windows_describes_itself(key: dict | None, environ: dict, family: str) -> None:
    assert live.windows((10, 0, 26100), key, environ) == ("10", "10.0.26100", family)


def test_instruction_sets() -> None:
    said = {37: 1, 38: 1, 39: 1, 40: 1, 41: 0}
    assert live.features(lambda number: said.get(number, 0)) == ["sse4_1", "sse4_2", "avx", "avx2"]
    assert live.features(lambda number: number == 19) == ["asimd"]


def test_places_of_a_program_on_the_path_of_windows() -> None:
    there = 'C:\\Windows\\System32;"C:\\Program Files\\NVIDIA";\\\\server\\share\\bin'
    path = f"{there};;.;tools;\\tools;C:tools;C:\\WORK\\"
    found = live.places("nvidia-smi", path, "C:\\work", windows=True)
    assert found == [
        "C:\\Windows\\System32\\nvidia-smi.exe",
        "C:\\Windows\\System32\\nvidia-smi",
        "C:\\Program Files\\NVIDIA\\nvidia-smi.exe",
        "C:\\Program Files\\NVIDIA\\nvidia-smi",
        "\\\\server\\share\\bin\\nvidia-smi.exe",
        "\\\\server\\share\\bin\\nvidia-smi",
    ]


def test_places_of_a_program_on_the_path_of_posix() -> None:
    assert live.places("uv", "/usr/bin::.:bin:/srv/:/opt/b", "/srv", windows=False) == ["/usr/bin/uv", "/opt/b/uv"]


def test_a_key_of_the_registry() -> None:
    named = [("ProductName", "Windows 10 Pro", 1), ("UBR", 4349, 4), ("qwMemorySize", b"\x00\x00\x00\x00\x02", 3)]
    assert live.entry([*named, ("Ids", ["a", "b"], 7)], ["0001", "0000"]) == {
        "values": {"ProductName": "Windows 10 Pro", "UBR": 4349, "qwMemorySize": "0000000002", "Ids": ["a", "b"]},
        "keys": ["0000", "0001"],
    }


@pytest.mark.parametrize(
    ("environ", "family"),
    [
        ({"PROCESSOR_ARCHITECTURE": "x86", "PROCESSOR_ARCHITEW6432": "AMD64"}, "AMD64"),
        ({"PROCESSOR_ARCHITECTURE": "ARM64"}, "ARM64"),
        ({}, ""),
    ],
)
def test_the_family_of_a_processor(environ: dict[str, str], family: str) -> None:
    assert interpreter.processor(environ) == family


def test_a_folder_that_takes_a_file(tmp_path: Path) -> None:
    assert interpreter.may_create(str(tmp_path))
    assert not list(tmp_path.iterdir())
    assert not interpreter.may_create(str(tmp_path / "nothing"))


def test_identifiers_of_devices() -> None:
    text = (
        "PCI\\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\\4&1FC990D7&0&0008\0PCI\\VEN_8086&DEV_4680\\3&11583659&0&10\0\0"
    )
    assert display_adapters.identifiers(text) == [
        "PCI\\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\\4&1FC990D7&0&0008",
        "PCI\\VEN_8086&DEV_4680\\3&11583659&0&10",
    ]
    assert display_adapters.identifiers("\0") == []


def test_torchrun_is_told_of_the_network() -> None:
    assert NETWORK["win32"] == {"USE_LIBUV": "0"}
    assert {name for name in NETWORK if "GLOO_SOCKET_IFNAME" in NETWORK[name]} == {"linux", "darwin"}


@pytest.mark.parametrize(
    ("platform", "version", "options"),
    [
        ("win32", "2.15.0+cpu", {"use_libuv": False}),
        ("win32", "2.4.0", {"use_libuv": False}),
        ("win32", "2.3.1+cu121", {}),
        ("win32", "a nightly", {"use_libuv": False}),
        ("linux", "2.15.0+cu130", {}),
    ],
)
def test_a_store_is_asked_for_without_libuv(platform: str, version: str, options: dict) -> None:
    assert store_options(platform, version) == options


def test_compilers() -> None:
    assert compiled._compilers("win32", {}) == ["cl"]
    assert compiled._compilers("win32", {"CXX": "clang-cl"}) == ["clang-cl", "cl"]
    assert compiled._compilers("linux", {"CXX": ""}) == ["c++", "g++", "clang++"]


def test_constraints_are_set_as_powershell_does() -> None:
    assert advice("C:\\ab\\c.txt", windows=True)[1].startswith("$env:PIP_CONSTRAINT = ")
    assert advice("/a/c.txt", windows=False)[1] == 'export PIP_CONSTRAINT="/a/c.txt"'


def test_uv_is_a_program_of_its_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uv", "uv.exe"):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert uv.program("win32") == str(tmp_path / "uv.exe")
    assert uv.program("linux") == str(tmp_path / "uv")


@pytest.mark.parametrize(
    ("named", "platform", "usual", "chosen"),
    [
        (None, "darwin", None, "/etc/ssl/cert.pem"),
        (None, "darwin", "/opt/homebrew/etc/openssl@3/cert.pem", None),
        ("corporate.pem", "darwin", None, "corporate.pem"),
        (None, "win32", None, None),
        ("corporate.pem", "win32", None, "corporate.pem"),
    ],
)
def test_certificates(named: str | None, platform: str, usual: str | None, chosen: str | None) -> None:
    assert certificates(named, platform, usual) == chosen


def test_the_interpreter_of_an_environment(tmp_path: Path) -> None:
    assert Path(venv.python_of(str(tmp_path), "win32")) == tmp_path / "Scripts" / "python.exe"
    assert Path(venv.python_of(str(tmp_path), "linux")) == tmp_path / "bin" / "python"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0xC0000005, "0xC0000005 (access violation)"),
        (0xC0000409, "fast fail"),
        (0xC0000374, "heap corruption"),
        (0xC0000135, "a DLL was not found"),
        (0xC0FFEE00, "unhandled exception"),
        (0xC0000005 - (1 << 32), "0xC0000005 (access violation)"),
        (3, "exit code 3"),
    ],
)
def test_a_status_of_windows_is_named(code: int, words: str) -> None:
    assert words in deaths.of_code(code).text
    assert deaths.of_code(code).status == "crash"


def test_the_import_of_torch_dies_as_windows_says() -> None:
    assert death({"code": 0xC0000135, "detail": ""}) == "a DLL was not found (exit code 3221225781)"
    assert death({"code": 0xC0000374, "detail": "x\nlast words"}).endswith("(exit code 3221226356): last words")


# What is left out on Windows, or done in another way that this system has too.


@pytest.fixture
def as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


class Refusing:
    """Stands for a check's context of which nothing but its way out is used."""

    def skip(self, why: str) -> None:
        raise Skip(why)


@pytest.mark.parametrize("check", [data.workers, distributed.data_parallel, promises.worker_functions])
def test_checks_that_fork_say_so(check: object, as_windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_need", lambda _: None)
    with pytest.raises(Skip, match="forked on Linux only"):
        check(Refusing())  # type: ignore[operator]


def test_what_linux_alone_tells(as_windows: None) -> None:
    from torchcheck.suite import introspect
    from torchcheck.suite.checks import environment

    assert introspect.libraries(None) is None
    assert environment._openmp() == []


def test_nothing_is_flushed_by_name(as_windows: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sync", raising=False)
    monkeypatch.setattr(os, "open", None)
    durable.flush(str(tmp_path))
    journal.sync_folder(str(tmp_path / "nothing"))


def test_macos_does_not_tell_who_holds_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert survey.holders([str(ROOT)]) == ()


def test_a_ctrl_c_is_raised_again(as_windows: None) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupt_ourselves()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_family_is_found_by_its_parents(as_windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a group to be ended at once, every child is ended by itself."""
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        child = psutil.Process(int(process.stdout.readline()))
        processes.kill_tree(process)
    until = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.02)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert process.returncode


def test_every_function_for_windows_in_the_probes_is_reached_by_a_recorded_machine() -> None:
    wanted = {
        f"{path.name}:{node.name}"
        for path in (PACKAGE / "probes").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and "windows" in node.name
    }
    called: set[str] = set()

    def note(frame: object, event: str, _: object) -> None:
        code = getattr(frame, "f_code", None)
        if event == "call" and code is not None and "windows" in code.co_name:
            called.add(f"{Path(code.co_filename).name}:{code.co_name}")

    sys.setprofile(note)
    try:
        for path in sorted((ROOT / "tests" / "machines").glob("windows-*.json")):
            host = Replay.of_file(path)
            probe(host, find(host), torch="metadata")
    finally:
        sys.setprofile(None)
    assert len(wanted) > 5
    assert not wanted - called


# Doors: what only a Windows can answer.


@WINDOWS
def test_the_doors_of_the_live_host() -> None:
    machine = live.Live().machine()
    assert machine["os"] == "windows"
    assert machine["version"].startswith("10.0.")
    assert machine["machine"] in {"AMD64", "ARM64"}
    assert machine["processors"] > 0
    assert set(live.Live().resources()["features"]) <= set(live.PROCESSOR_FEATURES)
    assert live.Live().registry("HKCR\\.txt") is None
    assert str(live.Live().which("cmd")).lower().endswith("\\cmd.exe")


@WINDOWS
def test_devices_are_listed() -> None:
    said = live.Live().script("display_adapters")
    assert all(name.startswith("PCI\\") for name in said["present"])


@WINDOWS
def test_a_child_leads_a_group() -> None:
    """A Ctrl-Break for its group ends the child, and not us."""
    process = processes.start([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"])
    assert process.stdout
    process.stdout.read(1)
    process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", 1))
    assert process.wait(20)
    processes.kill_tree(process)


@WINDOWS
def test_the_library_of_nvidia_is_looked_for_by_its_name() -> None:
    from torchcheck.suite import nvml

    assert nvml.LIBRARY == "nvml.dll"
    if not Path(os.environ["SystemRoot"], "System32", "nvml.dll").exists():  # noqa: SIM112 (so Windows spells it)
        with pytest.raises(nvml.NvmlError):
            nvml.read("GPU-0")
