"""Run a command of torchcheck under a bad condition, and judge what it did (Linux).

A verdict is a list of what is wrong; none means: a right answer or a clear error, in time, and nothing left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from local_index import LocalIndex
from local_wheels import sympy_wheels, trio

TESTS = Path(__file__).resolve().parent
CODES = {0, 1, 2, 3, 4, 5, 130}
"""What a command may say: 70 is a defect, anything else a death."""
MARK = "TORCHCHECK_CHAOS"
PATIENCE = 120.0
OLD = ("2.14.1", "0.29.1", "2.11.0")
NEW = ("2.15.0", "0.29.2", "2.11.0")
QUIET = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1", "PIP_CONSTRAINT": ""}


@dataclass(frozen=True)
class Condition:
    """How a command is run: what stands before it, what its environment is, what is done to it."""

    name: str
    shell: str = "{command}"  # {folder}: the folder of the run; {command}: the quoted command
    env: Mapping[str, str | None] = field(default_factory=dict)
    act: Callable[[subprocess.Popen[bytes]], None] | None = None
    codes: frozenset[int] = frozenset(CODES)
    speechless: bool = False  # stdout does not reach anybody
    needs: str = ""  # a program
    early: bool = False  # may come before torchcheck listens: the shell's code for that signal is right too
    text: bool = False  # what a person reads, not the JSON document
    index: str = ""  # an address instead of the bench's index
    faults: tuple[tuple[str, str, object], ...] = ()  # what the bench's index does: see local_index


@dataclass
class Ran:
    """What became of a command."""

    code: int | None
    out: str
    err: str
    seconds: float
    wrong: list[str] = field(default_factory=list)


class Bench:
    """A folder with an index and a template of a target, for many runs."""

    def __init__(self, folder: Path, index: LocalIndex, resets: str) -> None:
        """Make the template: an environment in which the previous release is installed."""
        self.folder, self.index, self.resets = folder, index, resets
        for versions in (OLD, NEW):
            index.add("whl/cpu", *trio(*versions, "cpu"))
        index.add("whl/cpu", *sympy_wheels())
        self.template = folder / "template"
        subprocess.run([sys.executable, "-m", "venv", self.template], check=True, timeout=300)
        wanted = [f"{name}=={version}+cpu" for name, version in zip(("torch", "torchvision", "torchaudio"), OLD)]  # noqa: B905
        where = ("--index-url", index.url("whl/cpu"), "--no-input", "-q", "--disable-pip-version-check")
        pip = [self.template / "bin" / "python", "-m", "pip", "install", *where, *wanted]
        subprocess.run(pip, check=True, timeout=300, env={**os.environ, **QUIET})

    def target(self, name: str) -> Path:
        """Copy the template."""
        made = self.folder / name / "target"
        shutil.copytree(self.template, made, symlinks=True)
        return made

    @contextmanager
    def misbehaving(self, condition: Condition) -> Iterator[None]:
        """Let the index do what a condition wants of it."""
        for pattern, kind, value in condition.faults:
            self.index.fault(
                pattern, kind, value.replace("{root}", self.index.root) if isinstance(value, str) else value
            )
        try:
            yield
        finally:
            self.index.forgive()

    def words(self, command: str, target: Path, index_url: str = "") -> list[str]:
        """Give the words of a command for a target."""
        python = str(target / "bin" / "python")
        index = ("--backend", "cpu", "--index-url", index_url or self.index.url("whl"))
        return {
            "plan": ["plan", "--json", *index, "--python", python],
            "report": ["report", "--json", "--no-torch", "--python", python],
            "doctor": ["doctor", "--json", "--no-torch", "--python", python],
            "install": ["install", "--json", "--yes", "--no-verify", *index, "--python", python],
            "verify": ["verify", "--json", "--select", "environment", "--python", python],
        }[command]


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Give a bench in an empty folder."""
    with LocalIndex() as index, resetting() as resets:
        yield Bench(folder, index, resets)


def attempt(bench: Bench, command: str, condition: Condition) -> Ran:
    """Run one command under one condition."""
    name = f"{command}-{uuid.uuid4().hex[:8]}"
    target = bench.target(name)
    folder = target.parent
    for place in ("tmp", "home", "cache", "here"):
        (folder / place).mkdir()
    before = versions(target)
    words = [
        word for word in bench.words(command, target, condition.index) if not (condition.text and word == "--json")
    ]
    quoted = shlex.join([sys.executable, "-m", "torchcheck", *words])
    line = condition.shell.format(folder=shlex.quote(str(folder)), command=quoted, python=shlex.quote(sys.executable))
    mark = uuid.uuid4().hex
    env = _environment(folder, mark, condition, bench.resets)
    if command == "verify":  # the target's torch is a small fake without what the suite checks
        env["PYTHONPATH"] = str(TESTS / "fake_torch" / "sound")
    began = time.monotonic()
    process = subprocess.Popen(
        ["/bin/bash", "-c", line], cwd=folder / "here", env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        if condition.act:
            condition.act(process)
        out, err = (stream.decode("utf-8", "replace") for stream in process.communicate(timeout=PATIENCE))
        ran = Ran(process.returncode, out, err, time.monotonic() - began)
    except subprocess.TimeoutExpired:
        for member in psutil.process_iter():
            if _is_marked(member, mark):
                member.kill()
        process.communicate()
        ran = Ran(None, "", "", time.monotonic() - began, ["did not end"])
    ran.wrong += _wrong(ran, condition, command)
    ran.wrong += _left(folder, target, mark)
    ran.wrong += _lost(target, command, before, ran.code)
    shutil.rmtree(folder, ignore_errors=True)
    return ran


def _environment(folder: Path, mark: str, condition: Condition, resets: str) -> dict[str, str]:
    drop = ("VIRTUAL_ENV", "CONDA_PREFIX", "TORCHCHECK_FACTS", "COLUMNS")
    env = {name: value for name, value in os.environ.items() if name not in drop} | QUIET
    env |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    env |= {MARK: mark, "PYTHONPATH": ""}
    for name, value in condition.env.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value.format(folder=folder, resets=resets)
    return env


@contextmanager
def resetting() -> Iterator[str]:
    """Give the address of a server that answers every connection with a reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reset() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        threading.Thread(target=reset, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def _wrong(ran: Ran, condition: Condition, command: str) -> list[str]:
    if ran.code is None:
        return []
    if condition.early and ran.code == -signal.SIGTERM:
        return []
    wrong = [] if ran.code in condition.codes else [f"exit code {ran.code}"]
    wrong += ["a traceback"] * ("Traceback" in ran.err or ("Traceback" in ran.out and command != "verify"))
    if condition.text and ran.code != 130:
        wrong += ["not a word"] * (not (ran.out + ran.err).strip())
    elif not condition.speechless and ran.code != 130:
        try:
            document = json.loads(ran.out)
        except ValueError:
            return [*wrong, f"no JSON document: {ran.err[-200:]!r}"]
        wrong += ["its document says another code"] * (document["exit_code"] != ran.code)
        wrong += ["no word of why"] * (ran.code in {2, 3, 4, 5} and not (document["errors"] or document["data"]))
    return wrong


def _left(folder: Path, target: Path, mark: str) -> list[str]:
    """Say what was left: processes, temporary files, a journal."""
    deadline = time.monotonic() + 5
    while (alive := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [f"a process: {' '.join(process)[:80]}" for process in alive]
    left += [f"a file: {path.name}" for path in (folder / "tmp").iterdir()]
    for place in target.rglob(".torchcheck"):
        left += [f"in the target: {path.name}" for path in place.iterdir() if path.name not in {"lock", "proof.json"}]
    return left


def _marked(mark: str) -> list[list[str]]:
    return [process.cmdline() for process in psutil.process_iter() if _is_marked(process, mark)]


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has ended, or is another user's
        return False


def _lost(target: Path, command: str, before: Mapping[str, str], code: int | None) -> list[str]:
    """Say what of the target is neither as before nor as planned."""
    after = versions(target)
    planned = before | {name: f"{version}+cpu" for name, version in zip(("torch", "torchvision", "torchaudio"), NEW)}  # noqa: B905
    wrong = [] if after in (before, planned) else [f"the target is neither old nor new: {after}"]
    wrong += ["it says that it installed, and did not"] * (command == "install" and code == 0 and after != planned)
    return wrong + ["the target was changed"] * (command != "install" and after != before)


def versions(target: Path) -> dict[str, str]:
    """Give what is installed, with the version that its code has: half an installation shows."""
    found = {}
    for info in target.glob("lib/python*/site-packages/*.dist-info/METADATA"):
        name, _, version = info.parent.name.removesuffix(".dist-info").rpartition("-")
        found[name] = version
        code = info.parent.parent / name / "version.py"
        if code.is_file() and version not in code.read_text(encoding="utf-8"):
            found[name] = f"{version}, but its code is another's"
    return found


def send(number: int, after: float) -> Callable[[subprocess.Popen[bytes]], None]:
    """Send a signal to torchcheck itself, not to its children, after some seconds."""

    def act(process: subprocess.Popen[bytes]) -> None:
        time.sleep(after)
        for member in _ours(process):
            member.send_signal(number)

    return act


def pause(after: float, seconds: float) -> Callable[[subprocess.Popen[bytes]], None]:
    """Stop torchcheck for a while."""

    def act(process: subprocess.Popen[bytes]) -> None:
        time.sleep(after)
        stopped = _ours(process)
        for number, patience in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0)):
            for member in stopped:
                member.send_signal(number)
            time.sleep(patience)

    return act


def _ours(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Find torchcheck below the shell (which may have become it)."""
    ours = []
    with contextlib.suppress(psutil.Error):
        for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # a child that ended meanwhile
                ours += [one] if "torchcheck" in one.cmdline() and "bash" not in one.name() else []
    return ours[:1]  # below it may be a child that is not yet another program
