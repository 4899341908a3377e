"""Who the user and the machine are, so that reports can leave it out."""

from __future__ import annotations

from collections.abc import Iterable

from torchcheck.host import Host
from torchcheck.report.redact import Identity

USERS = ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "LNAME")
HOSTS = ("HOSTNAME", "COMPUTERNAME", "HOST")
HOMES = ("HOME", "USERPROFILE")


def identify(host: Host) -> Identity:
    """Ask a machine for the names that its reports must not carry."""
    homes = _set(host.env(name) for name in HOMES)
    users = _set([*(host.env(name) for name in USERS), *(_last(home) for home in homes)])
    node = host.machine().get("node")
    hosts = _set([*(host.env(name) for name in HOSTS), host.read("/etc/hostname"), node])
    return Identity(users, tuple({name for h in hosts for name in (h, h.partition(".")[0])}), homes)


def _set(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value).strip() for value in values if value and str(value).strip()))


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
