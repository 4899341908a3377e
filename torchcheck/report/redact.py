r"""Take out of a report what identifies a person or opens a door, and nothing else.

Names are matched as whole words and whole path segments, never inside other words: a user called `art` leaves `start`
alone. Words that the report itself is made of (`linux`, `torch`, `root`) are no names even if a user is called so; as
a folder below /home, /Users or C:\Users they are replaced all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# fmt: off
VOCABULARY = frozenset([
    "aarch64", "accelerator", "active", "add", "admin", "administrator", "all", "amd", "apple", "arch", "arm",
    "arm64", "auto", "backend", "base", "bin", "bool", "build", "checks", "clang", "code", "command", "compute",
    "conda", "container", "core", "cpu", "cpython", "cuda", "data", "default", "device", "devices", "diagnoses",
    "dir", "disk", "docker", "driver", "drivers", "dtype", "embedded", "env", "error", "errors", "facts", "fail",
    "false", "file", "flags", "float32", "for", "free", "from", "full", "gcc", "gpu", "gpus", "guest", "hip",
    "home", "host", "id", "import", "in", "inf", "install", "intel", "is", "lib", "linux", "list", "local",
    "machine", "macos", "memory", "microsoft", "missing", "mps", "name", "nan", "no", "none", "not", "null",
    "numpy", "nvidia", "of", "ok", "on", "once", "os", "out", "packages", "pass", "path", "pip", "pipx", "plan",
    "port", "posix", "public", "pypy", "python", "quick", "report", "result", "rocm", "root", "run", "scripts",
    "seconds", "shm", "site", "skip", "status", "store", "swap", "system", "test", "tests", "text", "the", "this",
    "time", "timeout", "title", "to", "torch", "torchaudio", "torchcheck", "torchvision", "total", "true", "unit",
    "unknown", "user", "users", "value", "venv", "verify", "version", "wheel", "whl", "win", "windows", "wsl",
    "x86", "x86_64", "xpu",
])
# fmt: on
SECRET_NAME = re.compile(r"(?i)(token|secret|passw|credential|api_?key|access_?key|private|auth|cookie|session)")
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)[^\s/@:'\"]*(?::[^\s/@'\"]*)?@"), "<credentials>@"),
    (
        re.compile(r"(?<=[?&])((?:[\w-]*(?:token|key|sig|secret|password|auth)[\w-]*)=)[^\s&#'\"]+", re.IGNORECASE),
        r"\1<secret>",
    ),
    (
        re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|pypi-|npm_|xox[abprs]-|sk-|AKIA|ASIA)[\w-]{12,}"),
        "<token>",
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"), "<token>"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._-]{12,}"), r"\1 <token>"),
    (
        re.compile(r"(?i)\b((?:[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key|credential))s?\s*[=:]\s*)[^\s,;&'\"]+"),
        r"\1<secret>",
    ),
    (re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}\b"), "<email>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"), "<mac>"),
    (re.compile(r"(?i)\b(serial(?: ?(?:number|no\.?))?\s*[:=]\s*)\w+"), r"\1<serial>"),
    # A Windows user's folder may hold spaces; elsewhere a space ends the path.
    (re.compile(r"(?i)([A-Z]:[\\/]+Users[\\/]+)([^\\/:;,'\"<>|\r\n]+)(?=[\\/])"), r"\1<user>"),
    (
        re.compile(r"(?i)((?:/home/|/Users/|[A-Z]:[\\/]+Users[\\/]+|[\\/]c[\\/]Users[\\/]+))([^\\/\s:;,'\"<>|]+)"),
        r"\1<user>",
    ),
)


@dataclass(frozen=True)
class Identity:
    """What identifies the person and the machine; each is replaced by a word for what it was."""

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()

    @cached_property
    def patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """All that is replaced, in order: homes (longest first), then what anybody's secrets look like, then names."""
        homes = [(_path(home), "~") for home in sorted(self.homes, key=len, reverse=True) if len(home) > 1]
        users = [(_word(user), "<user>") for user in self.users if _identifies(user)]
        hosts = [(_word(host), "<host>") for host in self.hosts if _identifies(host)]
        return (*homes, *PATTERNS, *users, *hosts)


def redact(value: Any, identity: Identity) -> Any:
    """Redact every text in JSON-able data, keys of objects too; numbers and structure stay."""
    if isinstance(value, str):
        return redact_text(value, identity)
    if isinstance(value, Mapping):
        return {redact_text(str(key), identity): _member(str(key), member, identity) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, identity) for item in value]
    return value


def redact_text(text: str, identity: Identity) -> str:
    """Redact a text."""
    for pattern, replacement in identity.patterns:
        text = pattern.sub(replacement, text)
    return text


def _member(key: str, member: Any, identity: Identity) -> Any:
    if isinstance(member, str) and member and SECRET_NAME.search(key):
        return "<redacted>"
    return redact(member, identity)


def _identifies(name: str) -> bool:
    return len(name) > 1 and name.lower() not in VOCABULARY and not name.isdigit()


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", re.IGNORECASE)


def _path(home: str) -> re.Pattern[str]:
    parts: Iterable[str] = (re.escape(part) for part in re.split(r"[\\/]+", home.rstrip("\\/")))
    return re.compile(r"[\\/]+".join(parts) + r"(?=[\\/\s:;,'\")\]]|$)", re.IGNORECASE)
