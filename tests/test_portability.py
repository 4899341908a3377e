"""What one system alone has stands under a guard, held by reading the sources of package and tests.

mypy as win32 and darwin finds missing names in what it checks; this also looks at the tests, at paths in texts, at
encodings left to the machine, and at calls that exist everywhere and mean something else on Windows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE = ROOT / "torchcheck"

POSIX_MODULES = {
    "_posixsubprocess", "crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog",
    "termios", "tty",
}  # fmt: skip
# What the standard library has on POSIX alone (typeshed's `if sys.platform != "win32"`), and what Windows has in name
# only: `os.kill` ends a process at once, `os.rename` fails where there is a file already.
POSIX_NAMES = {
    "os": r"""
        (?:CLD|CLONE|EFD|EX(?!_OK$)|GRND|MFD|PIDFD|POSIX|PRIO|RTLD|RWF|SCHED|SPLICE|ST|XATTR)_\w+|F_(?:LOCK|TEST|TLOCK|ULOCK)|
        AT_\w+|NODEV|STATX_\w+|statx\w*|TFD_\w+|timerfd_\w+|_clearenv|grantpt|ptsname|unlockpt|O_(?:ACCMODE|ASYNC|CLOEXEC|DIRECT|DIRECTORY|DSYNC|FSYNC|LARGEFILE|NDELAY|NOATIME|NOCTTY|NOFOLLOW|NONBLOCK|PATH|
        RSYNC|SYNC|TMPFILE)|P_(?:ALL|PGID|PID|PIDFD)|SEEK_(?:DATA|HOLE)|NGROUPS_MAX|
        W(?:CONTINUED|COREDUMP|EXITED|EXITSTATUS|IFCONTINUED|IFEXITED|IFSIGNALED|IFSTOPPED|NOHANG|NOWAIT|STOPPED|
        STOPSIG|TERMSIG|UNTRACED)|
        chown|chroot|confstr(?:_names)?|copy_file_range|ctermid|environb|eventfd\w*|fchdir|fchmod|fchown|fdatasync|fork|
        forkpty|fpathconf|fstatvfs|fwalk|get(?:egid|envb|euid|gid|grouplist|groups|loadavg|pgid|pgrp|priority|random|
        resgid|resuid|sid|uid|xattr)|initgroups|kill|killpg|lchown|listxattr|lockf|login_tty|major|makedev|memfd_create|
        minor|mkfifo|mknod|nice|openpty|pathconf(?:_names)?|pidfd_open|pipe2|posix_\w+|pread|preadv|pwrite|pwritev|
        readv|register_at_fork|removexattr|rename|sched_\w+|sendfile|set(?:egid|euid|gid|groups|ns|pgid|pgrp|priority|
        regid|resgid|resuid|reuid|sid|uid|xattr)|spawn[lv]pe?|splice|statvfs|struct_rusage|sync|sysconf(?:_names)?|
        tcgetpgrp|tcsetpgrp|ttyname|uname|unshare|wait|wait3|wait4|waitid|waitid_result|writev
    """,
    "signal": r"""
        ITIMER_\w+|ItimerError|SIG_(?:BLOCK|UNBLOCK|SETMASK)|Sigmasks|alarm|getitimer|pause|pidfd_send_signal|
        pthread_\w+|setitimer|siginterrupt|sigpending|sigtimedwait|sigwait|sigwaitinfo|struct_siginfo|
        SIG(?!ABRT$|BREAK$|FPE$|ILL$|INT$|SEGV$|TERM$|_)[A-Z]\w*
    """,
    "time": r"CLOCK_\w+|clock_(?:get|set)\w+|pthread_getcpuclockid|tzset",
    "socket": r"AF_(?!INET6?$|UNSPEC$|APPLETALK$|DECnet$|IPX$|IRDA$|LINK$|SNA$|BLUETOOTH$|HYPERV$|SYSTEM$|NS$)\w+|"
    r"SO_REUSEPORT|SOCK_(?:CLOEXEC|NONBLOCK)|MSG_(?:DONTWAIT|NOSIGNAL)|SCM_\w+|send_fds|recv_fds|sethostname",
    "select": r"E?POLL\w*|e?poll|PIPE_BUF|kqueue|kevent",
    "mmap": r"MADV_\w+|MAP_\w+|PROT_\w+",
    "locale": r"nl_langinfo|LC_MESSAGES|CODESET",
}
POSIX_OPTIONS = {"preexec_fn", "pass_fds", "umask"}
"""Options of subprocess that Windows refuses."""
POSIX_PATH = re.compile(r"/(?:dev|etc|proc|root|run|sys|tmp|usr|var)(?:/[^\s'\"`]*)?")


@dataclass(frozen=True)
class Source:
    """One file, as a tree whose nodes know their parents."""

    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def marks(self) -> set[str]:
        """Names that stand for `pytest.mark.skipif` of a platform, and those of whole modules and classes."""
        return {
            target.id
            for node in self.tree.body
            if isinstance(node, ast.Assign) and _asks(ast.unparse(node.value))
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    @cached_property
    def elsewhere(self) -> bool:
        """Say whether Windows does not get beyond the head of a test module: `pytestmark`, or a skip of the module."""
        skipped = any("allow_module_level" in ast.unparse(node) for node in self.tree.body if _is_guard(node))
        return skipped or "pytestmark" in self.marks

    def guarded(self, node: ast.AST) -> bool:
        """Say whether Windows does not come to a node: under a test of the platform, or behind a return in one."""
        if self.elsewhere:
            return True
        while node in self.parents:
            above = self.parents[node]
            if isinstance(above, ast.BoolOp) and node is not above.values[0]:
                answer = windows_only(above.values[0])
                if answer is not None and answer is isinstance(above.op, ast.Or):
                    return True
            if isinstance(above, ast.If | ast.IfExp) and node is not above.test:
                in_body = node in above.body if isinstance(above, ast.If) else node is above.body
                answer = windows_only(above.test)
                if answer is not None and answer is not in_body:
                    return True
            if isinstance(above, ast.FunctionDef | ast.ClassDef) and any(map(self._skips, above.decorator_list)):
                return True
            if any(_leaves(statement) for statement in _before(node, above)):
                return True
            node = above
        return False

    def _skips(self, decorator: ast.expr) -> bool:
        text = ast.unparse(decorator)
        return ("skipif" in text and _asks(text)) or text in self.marks


def _asks(text: str) -> bool:
    return "sys.platform" in text or "os.name" in text


def windows_only(test: ast.expr) -> bool | None:
    """Say whether only Windows passes a test (True), never does (False), or whether it does not ask for it (None)."""
    text = ast.unparse(test)
    if isinstance(test, ast.BoolOp):
        answers = [windows_only(value) for value in test.values]
        # One "never on Windows" is enough in an `and`; an `or` that begins with "on Windows" leaves it for sure.
        wanted = not isinstance(test.op, ast.And)
        return wanted if wanted in answers else None
    if text in {"sys.platform == 'win32'", "os.name == 'nt'"} or text == "sys.platform != 'linux'":
        return True
    if re.fullmatch(r"sys\.platform != 'win32'|os\.name != 'nt'|sys\.platform == '(?!win32)\w+'", text):
        return False
    return None


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and windows_only(node.test) is True


def _leaves(statement: ast.stmt) -> bool:
    """Say whether Windows does not get beyond a statement: it returns, raises or skips there."""
    if not (isinstance(statement, ast.If) and windows_only(statement.test) is True):
        return False
    last = statement.body[-1]
    return isinstance(last, ast.Return | ast.Raise | ast.Continue) or "skip(" in ast.unparse(last)


def _before(node: ast.AST, above: ast.AST) -> list[ast.stmt]:
    body = getattr(above, "body", None)
    return body[: body.index(node)] if isinstance(body, list) and node in body else []


Found = Iterator[tuple[ast.AST, str]]


def names(source: Source) -> Found:
    """Find uses of what POSIX alone has."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if _is_posix(node.value.id, node.attr):
                yield node, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names if alias.name in POSIX_MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if node.module in POSIX_MODULES:
                yield node, str(node.module)
            yield from ((node, alias.name) for alias in node.names if _is_posix(node.module or "", alias.name))
        elif isinstance(node, ast.keyword) and node.arg in POSIX_OPTIONS:
            yield node.value, f"{node.arg}="
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("add_signal_handler", ".rename")):
            yield node, f"{ast.unparse(node.func)}()"


@cache
def _posix(module: str) -> re.Pattern[str]:
    return re.compile("".join(POSIX_NAMES[module].split()))


def _is_posix(module: str, name: str) -> bool:
    return module in POSIX_NAMES and _posix(module).fullmatch(name) is not None


def paths(source: Source) -> Found:
    """Find paths that POSIX alone has, in texts that are nothing but a path; what is only shown or asked is none."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and POSIX_PATH.fullmatch(node.value):
            yield node, node.value


TEXT_CALLS = {"read_text": 0, "write_text": 1}
OPENERS = {"open", "os.fdopen", "io.open", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile"}
RUNNERS = re.compile(r"(?:subprocess\.)?(?:run|Popen|check_output|check_call|call)|(?:\w+\.)?(?:run|popen)")


def encodings(source: Source) -> Found:
    """Find texts that are read or written in whatever encoding the machine prefers (cp1252 on Windows)."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and not any(k.arg in {"encoding", None} for k in node.keywords):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            if last in TEXT_CALLS and "." in called and len(node.args) <= TEXT_CALLS[last]:
                yield node, f"{last}() without encoding"
            elif (called in OPENERS or last == "open") and not _binary(called, node):
                yield node, f"{called}() without encoding"
            elif any(k.arg in {"text", "universal_newlines"} and ast.unparse(k.value) == "True" for k in node.keywords):
                yield node, f"{called}(text=True) without encoding"


def _binary(called: str, node: ast.Call) -> bool:
    """Say whether a file is opened for bytes, or whether an `open` is not one of a text file."""
    at = 1 if called in {"open", "io.open", "os.fdopen"} else 0
    given = [k.value for k in node.keywords if k.arg == "mode"] + node.args[at : at + 1]
    if called in {"os.open", "webbrowser.open", "tarfile.open", "Image.open"} or "urlopen" in called:
        return True
    if not given:
        return called.startswith("tempfile.") or bool(at == 0 and node.args)
    mode = given[0].value if isinstance(given[0], ast.Constant) else ""
    return not isinstance(mode, str) or "b" in mode or not re.fullmatch(r"[rwax+t]+", mode)


def sources(place: Path) -> list[Source]:
    return [Source(path) for path in sorted(place.rglob("*.py"))]


# What is not run on Windows, with the reason; a folder or a file.
ELSEWHERE = {
    "tests/bench": "figures are taken on Linux",
    "tests/fake_torch": "each dies in its own way, where the tests that use it say so",
    "tests/faults": "the faults share one interpreter by fork(2); test_faults.py skips itself",
    "tests/fleet/wrong.py": "the ranks are forks of one interpreter; test_faults.py skips itself",
    "tests/fleet/planted.py": "the same",
    "tests/local_chaos.py": "for tests/chaos/run and test_endings.py, which are for Linux",
    "tests/chaos/deaf.py": "for tests/chaos/run, which is for Linux",
}
# Places whose paths are asked of a host, shown to a person, or looked for in a text: no file of this machine.
ASKED = ("probes", "doctor", "report", "wheels", "identity.py")


def _bad(sources: list[Source], find: object, root: Path) -> set[str]:
    assert callable(find)
    return {
        f"{source.path.relative_to(root).as_posix()}:{getattr(node, 'lineno', 0)} {name}"
        for source in sources
        for node, name in find(source)
        if not source.guarded(node)
    }


def of_tests() -> list[Source]:
    found = sources(TESTS)
    away = [ROOT / place for place in ELSEWHERE]
    return [s for s in found if not any(s.path == place or place in s.path.parents for place in away)]


def test_what_posix_alone_has_stands_under_a_guard() -> None:
    assert not _bad(sources(PACKAGE), names, PACKAGE)


def test_paths_of_posix_stand_under_a_guard() -> None:
    found = [s for s in sources(PACKAGE) if s.path.relative_to(PACKAGE).parts[0] not in ASKED]
    assert not _bad(found, paths, PACKAGE)


def test_every_text_has_an_encoding() -> None:
    assert not _bad(sources(PACKAGE), encodings, PACKAGE)
    assert not _bad(of_tests(), encodings, ROOT)


def test_tests_use_what_posix_alone_has_only_where_windows_skips_them() -> None:
    assert not _bad(of_tests(), names, ROOT)


@pytest.mark.parametrize("place", ELSEWHERE)
def test_what_is_left_out_is_there(place: str) -> None:
    assert (ROOT / place).exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os\nos.fork()", ["os.fork"]),
        ("import fcntl", ["fcntl"]),
        ("from signal import SIGKILL, SIGTERM", ["SIGKILL"]),
        ("os.rename(a, b)", ["os.rename", "os.rename()"]),
        ("path.rename(b)", ["path.rename()"]),
        ("os.kill(1, signal.SIGHUP)", ["os.kill", "signal.SIGHUP"]),
        ("socket.AF_INET; socket.AF_UNIX", ["socket.AF_UNIX"]),
        ("select.poll(); select.select", ["select.poll"]),
        ("time.tzset(); time.monotonic()", ["time.tzset"]),
        ("subprocess.Popen(a, preexec_fn=f)", ["preexec_fn="]),
        ("if sys.platform == 'win32':\n    os.killpg(1, 2)", ["os.killpg"]),
        ("if sys.platform != 'win32':\n    os.killpg(1, 2)", []),
        ("if sys.platform == 'linux':\n    os.killpg(1, 2)\nelse:\n    os.getuid()", ["os.getuid"]),
        ("if sys.platform == 'win32':\n    pass\nelse:\n    os.getuid()", []),
        ("if sys.platform != 'win32' and x:\n    os.getuid()", []),
        ("if sys.platform != 'win32' or x:\n    os.getuid()", ["os.getuid"]),
        ("if sys.platform == 'win32' or x:\n    pytest.skip('no')\nos.getuid()", []),
        ("x = sys.platform != 'win32' and os.getuid()", []),
        ("x = sys.platform == 'win32' or os.getuid()", []),
        ("x = sys.platform == 'win32' and os.getuid()", ["os.getuid"]),
        ("def f():\n    if sys.platform == 'win32':\n        return 1\n    return os.getuid()", []),
        ("def f():\n    if sys.platform == 'win32':\n        print()\n    return os.getuid()", ["os.getuid"]),
        ("@pytest.mark.skipif(sys.platform == 'win32', reason='x')\ndef f():\n    os.getuid()", []),
        ("P = pytest.mark.skipif(sys.platform == 'win32', reason='x')\n@P\ndef f():\n    os.getuid()", []),
        ("pytestmark = [pytest.mark.skipif(sys.platform == 'win32', reason='x')]\nos.getuid()", []),
        ("if sys.platform != 'linux':\n    pytest.skip('x', allow_module_level=True)\nos.getuid()", []),
    ],
)
def test_the_guard_is_seen(text: str, expected: list[str], tmp_path: Path) -> None:
    assert sorted(_found(text, names, tmp_path)) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("open('a')", 1), ("open('a', 'rb')", 0), ("open('a', encoding='utf-8')", 0), ("path.open()", 1),
        ("path.open('wb')", 0), ("path.open('w')", 1), ("path.read_text()", 1), ("path.read_text('utf-8')", 0),
        ("path.write_text('x')", 1), ("path.write_text('x', encoding='utf-8')", 0), ("os.open('a', 0)", 0),
        ("os.fdopen(1, 'w')", 1), ("os.fdopen(1, 'wb')", 0), ("tempfile.TemporaryFile()", 0), ("urlopen('x')", 0),
        ("subprocess.run(a, text=True)", 1), ("subprocess.run(a, text=True, encoding='utf-8')", 0),
        ("subprocess.run(a, **more)", 0), ("opener.open(request)", 0),
    ],
)  # fmt: skip
def test_a_missing_encoding_is_seen(text: str, number: int, tmp_path: Path) -> None:
    assert len(_found(text, encodings, tmp_path)) == number


@pytest.mark.parametrize(
    ("text", "number"), [("'/tmp'", 1), ("'/dev/shm'", 1), ("'see /tmp'", 0), ("'/tmpx'", 0), ("f('/proc/self')", 1)]
)
def test_a_path_of_posix_is_seen(text: str, number: int, tmp_path: Path) -> None:
    assert len(_found(text, paths, tmp_path)) == number


def _found(text: str, find: object, folder: Path) -> list[str]:
    (folder / "source.py").write_text(text, encoding="utf-8")
    source = Source(folder / "source.py")
    assert callable(find)
    return [name for node, name in find(source) if not source.guarded(node)]


def test_the_names_are_those_of_typeshed() -> None:
    """Compare with what the type checker knows, where it is installed."""
    mypy = pytest.importorskip("mypy")
    stubs = Path(mypy.__file__).parent / "typeshed" / "stdlib"
    for module, file in {"os": "os/__init__", "signal": "signal", "time": "time", "select": "select"}.items():
        tree = ast.parse((stubs / f"{file}.pyi").read_text(encoding="utf-8"))
        unknown = {n for n in _defined(tree.body, "linux") - _defined(tree.body, "win32") if not _is_posix(module, n)}
        assert not unknown, module
        # What Windows has in name only, or of late (fchmod: 3.13), is ours to forbid; all else that it has may be used.
        assert {n for n in _defined(tree.body, "win32") if _is_posix(module, n)} <= {"kill", "rename", "fchmod"}, module


def _defined(statements: list[ast.stmt], platform: str) -> set[str]:
    found: set[str] = set()
    for node in statements:
        if isinstance(node, ast.If):
            answer = _answer(node.test, platform)
            found |= _defined(node.body, platform) if answer is not False else set()
            found |= _defined(node.orelse, platform) if answer is not True else set()
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found - {"__all__"}


def _answer(test: ast.expr, platform: str) -> bool | None:
    """Judge a stub's test of the platform; None for one that asks for a version."""
    if isinstance(test, ast.BoolOp):
        answers = [_answer(value, platform) for value in test.values]
        stop = isinstance(test.op, ast.Or)
        return stop if stop in answers else None if None in answers else not stop
    found = re.fullmatch(r"sys\.platform (==|!=) '(\w+)'", ast.unparse(test))
    return (found[2] == platform) is (found[1] == "==") if found else None
