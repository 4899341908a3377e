"""Start child processes that can be ended for sure, with everything that they started themselves.

The one module that starts and kills. A child leads a group of its own (a session on POSIX, a process group on
Windows), so a Ctrl-C in the terminal reaches torchcheck alone, which then ends the child in an orderly way. Programs
are named by absolute paths: nothing is looked up in the current folder or on a PATH that others may write to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from torchcheck.host import Ran

if TYPE_CHECKING:
    import psutil

OUTPUT_LIMIT = 16 << 20
"""Bytes of output after which a program is taken for one that never stops talking."""
_GRACE = 2.0

Process = subprocess.Popen[bytes]


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> Process:
    """Start a program in a group of its own; `env` replaces the environment (None: ours).

    Raises:
        ValueError: the program is not named by an absolute path.
        OSError: it cannot be started (missing, not executable, made for another machine).
    """
    if not Path(argv[0]).is_absolute():
        raise ValueError(f"a program is started by its absolute path, not as {argv[0]!r}")
    if sys.platform == "win32":
        return subprocess.Popen(
            list(argv),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    return subprocess.Popen(
        list(argv), env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )


@contextlib.contextmanager
def started(argv: Sequence[str], **options: object) -> Iterator[Process]:
    """Start a program as `start` does and see to it that nothing of it is left at the end, whatever happens."""
    process = start(argv, **options)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        kill_tree(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a broken pipe: what it was to flush has no reader any more
                    pipe.close()


def kill_tree(process: Process) -> None:
    """End a process of `start` and all its descendants at once, and reap it; harmless when it has ended already."""
    family = _descendants(process.pid) if process.poll() is None else []
    if sys.platform != "win32":
        # Also reaches orphans: they keep the group when their parent is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for member in family:  # Windows, and children that opened a session of their own
        _kill(member)
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel (a hung driver): not ours to wait for
        process.wait(_GRACE)


def _descendants(pid: int) -> list[psutil.Process]:
    """List what a living process started; psutil is slow to import, and an ended one has no children any more."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(member: psutil.Process) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):  # it ended by itself
        member.kill()


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: bytes = b"",
) -> Ran:
    """Run a program to its end, or for `timeout` seconds, and give what it wrote (UTF-8, bad bytes replaced)."""
    try:
        process = start(argv, env=env, cwd=cwd, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        return Ran(None, "", str(error), _refusal(error))
    try:
        done = _Pumped(process, stdin)
        failure = done.wait(timeout)
    finally:
        kill_tree(process)
    out, err = done.text()
    return Ran(None if failure else process.returncode, out, err, failure)


def _refusal(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "missing"
    if isinstance(error, PermissionError):
        return "denied"
    # ENOEXEC; Windows error 193: not a program of this machine. ValueError: a relative path, or a NUL in an argument.
    known = isinstance(error, OSError) and (error.errno == errno.ENOEXEC or getattr(error, "winerror", 0) == 193)
    return "invalid" if known or isinstance(error, ValueError) else "denied"


class _Pumped:
    """Threads that keep a child's pipes moving, up to `OUTPUT_LIMIT` bytes each."""

    def __init__(self, process: Process, stdin: bytes) -> None:
        self._process = process
        self._chunks: tuple[list[bytes], list[bytes]] = ([], [])
        self._flooded = threading.Event()
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        jobs = [threading.Thread(target=self._drain, args=job, daemon=True) for job in zip(pipes, self._chunks)]  # noqa: B905
        if process.stdin is not None:
            jobs.append(threading.Thread(target=self._feed, args=(process.stdin, stdin), daemon=True))
        self._threads = jobs
        for job in jobs:
            job.start()

    def wait(self, timeout: float) -> str | None:
        """Wait for the end; say why there was none: "timeout" or "flood"."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return "flood" if self._flooded.is_set() else "timeout"
        return "flood" if self._flooded.is_set() else None

    def text(self) -> tuple[str, str]:
        """Give both outputs; a descendant that escaped and holds a pipe open is not waited for."""
        for thread in self._threads:
            thread.join(_GRACE)
        out, err = (b"".join(list(chunks)).decode("utf-8", "replace") for chunks in self._chunks)
        return out.replace("\r\n", "\n"), err.replace("\r\n", "\n")

    def _drain(self, pipe: IO[bytes], chunks: list[bytes]) -> None:
        size = 0
        with contextlib.suppress(OSError, ValueError), pipe:
            while chunk := os.read(pipe.fileno(), 1 << 16):
                chunks.append(chunk)
                size += len(chunk)
                if size > OUTPUT_LIMIT:
                    self._flooded.set()
                    self._process.kill()
                    return

    def _feed(self, pipe: IO[bytes], data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:  # a child that does not read its input is its own business
            pipe.write(data)
