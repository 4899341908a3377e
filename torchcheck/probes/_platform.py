"""What both the system and an interpreter's wheel tags depend on: processor family, C library, version of macOS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torchcheck.facts import UNKNOWN, Unknown
from torchcheck.host import Host

MACHINES = {"amd64": "x86_64", "x64": "x86_64", "i386": "x86", "i486": "x86", "i586": "x86", "i686": "x86"}
LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
"""glibc versions whose manylinux tags had names of their own first (PEP 600)."""
FIRST_GLIBC = {"x86_64": 5, "i686": 5}
"""The oldest glibc 2.x that manylinux knows for a processor family, else 2.17."""


def machine(host: Host, said: Mapping[str, Any] | None = None) -> str | Unknown:
    """Name the processor family as facts do: x86_64, aarch64 (Linux), arm64 (macOS, Windows), x86."""
    # On Windows for ARM an x64 Python is emulated, and whether it is told so depends on its version.
    known = {"win-amd64": "x86_64", "win-arm64": "arm64"}.get(str((said or {}).get("platform")))
    name = str(known or (said or {}).get("machine") or host.machine().get("machine") or "").lower()
    name = MACHINES.get(name, name)
    if name in {"arm64", "aarch64"}:
        name = "aarch64" if host.machine().get("os") == "linux" else "arm64"
    return name or UNKNOWN


def sysctl(host: Host, name: str) -> str | None:
    """Ask macOS's kernel for one value."""
    ran = host.run(["/usr/sbin/sysctl", "-n", name], timeout=5)
    return ran.out.strip() or None if ran.ok else None


def macos_version(host: Host) -> str | None:
    """Give the real version of macOS; Python built for an old SDK is told 10.16."""
    return sysctl(host, "kern.osproductversion")


def libc(host: Host, said: Mapping[str, Any] | None = None) -> str | None:
    """Name the C library with its version: "glibc 2.35", "musl 1.2.4"; None off Linux."""
    if host.machine().get("os") != "linux":
        return None
    name = (said or {}).get("libc") or host.machine().get("libc")
    if name and name != "musl":
        return str(name)
    loaders = [entry for entry in host.list("/lib") or [] if re.fullmatch(r"ld-musl-[\w.]+\.so\.1", entry)]
    if not loaders:
        return str(name) if name else None
    # The loader, started without arguments, says its version on stderr.
    found = re.search(r"^Version (\S+)", host.run([f"/lib/{loaders[0]}"], timeout=5).err, re.MULTILINE)
    return f"musl {found[1]}" if found else "musl"


def tags(host: Host, said: Mapping[str, Any]) -> tuple[str, ...] | Unknown:
    """List the platform tags of wheels that an interpreter takes, best first, as pip would compute them inside it."""
    platform = str(said.get("platform", ""))
    if platform.startswith("win"):
        return (platform.replace("-", "_"),)
    if platform.startswith("macosx"):
        return tuple(_macos(host, said))
    family = platform.partition("-")[2].replace("-", "_")
    if platform.startswith("linux") and family:
        family = {"x86_64": "i686", "aarch64": "armv8l"}.get(family, family) if said.get("bits") == 32 else family
        return (*_linux(libc(host, said) or "", family), f"linux_{family}")
    return UNKNOWN


def _macos(host: Host, said: Mapping[str, Any]) -> Iterator[str]:
    from packaging.tags import mac_platforms

    parts = re.findall(r"\d+", macos_version(host) or str(said.get("macos") or "10.9"))
    version = (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    return mac_platforms(version, "arm64" if said.get("machine") == "arm64" else "x86_64")


def _linux(name: str, family: str) -> Iterator[str]:
    found = re.match(r"(glibc|musl) (\d+)\.(\d+)", name)
    if not found:
        return
    major, minor = int(found[2]), int(found[3])
    if found[1] == "musl":
        yield from (f"musllinux_{major}_{number}_{family}" for number in range(minor, -1, -1))
        return
    for number in range(minor, FIRST_GLIBC.get(family, 17) - 1, -1):
        yield f"manylinux_{major}_{number}_{family}"
        if (major, number) in LEGACY_MANYLINUX:
            yield f"{LEGACY_MANYLINUX[major, number]}_{family}"
