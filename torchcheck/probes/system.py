"""The operating system as the target's process sees it: version, C library, WSL, container, Windows settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torchcheck.facts import System
from torchcheck.host import Host
from torchcheck.probes import Asked, _platform

WINDOWS = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
FILE_SYSTEM = r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem"
RUNTIMES = r"HKLM\SOFTWARE\Microsoft\VisualStudio\14.0\VC\Runtimes"
MACOS_NAMES = {
    "11": "Big Sur", "12": "Monterey", "13": "Ventura", "14": "Sonoma", "15": "Sequoia", "26": "Tahoe"
}  # fmt: skip
CONTAINER_FILES = {
    "/var/run/secrets/kubernetes.io": "kubernetes",
    "/run/.containerenv": "podman",
    "/.dockerenv": "docker",
    "/.singularity.d": "apptainer",
    "/.flatpak-info": "flatpak",
}
CONTAINER_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "kubernetes", "APPTAINER_CONTAINER": "apptainer", "SINGULARITY_CONTAINER": "apptainer"
}  # fmt: skip
CGROUP_WORDS = {
    "kubepods": "kubernetes",
    "docker": "docker",
    "libpod": "podman",
    "lxc": "lxc",
    "containerd": "containerd",
}


def probe(asked: Asked) -> dict[str, Any]:
    """Describe the system, and what of it deserves a note."""
    host: Host = asked.host
    said = asked.target.inspection if asked.target else {}
    kind = host.machine().get("os")
    describe = {"windows": _windows, "macos": _macos}.get(str(kind), _linux)
    return describe(host, said)


def _linux(host: Host, said: Mapping[str, Any]) -> dict[str, Any]:
    release = os_release(host.read("/etc/os-release") or host.read("/usr/lib/os-release") or "")
    kernel = str(host.machine().get("release") or "")
    system = System(
        os="linux",
        version=release.get("VERSION_ID"),
        name=release.get("PRETTY_NAME") or release.get("NAME"),
        machine=_platform.machine(host, said),
        libc=_platform.libc(host, said),
        wsl="microsoft" in kernel.lower(),
        container=container(host),
        rosetta=False,
        long_paths=None,
        vc_redist=None,
        kernel=kernel or None,
    )
    notes = (
        [f"L4T: {tegra.strip().splitlines()[0]}"]
        if (tegra := (host.read("/etc/nv_tegra_release") or "").strip())
        else []
    )
    if system.wsl and "wsl2" not in kernel.lower() and kernel.endswith("-Microsoft"):
        notes.append("this is WSL 1, which has no GPU: `wsl --set-version` makes it WSL 2")
    return {"system": system, "notes": tuple(notes)}


def os_release(text: str) -> dict[str, str]:
    """Read os-release(5): shell-like assignments, values perhaps quoted."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): re.sub(r"\\(.)", r"\1", value.strip().strip("\"'")) for key, _, value in pairs}


def container(host: Host) -> str | None:
    """Name the kind of container that we are in; the orchestrator before the engine."""
    if found := next((kind for name, kind in CONTAINER_VARIABLES.items() if host.env(name)), None):
        return found
    if found := next((kind for path, kind in CONTAINER_FILES.items() if host.kind(path)), None):
        return found
    # systemd's convention, for the first process and for all: lxc, systemd-nspawn, oci …
    if said := host.env("container") or (host.read("/run/systemd/container") or "").strip():
        return said
    groups = host.read("/proc/1/cgroup") or ""
    return next((kind for word, kind in CGROUP_WORDS.items() if word in groups), None)


def _macos(host: Host, said: Mapping[str, Any]) -> dict[str, Any]:
    version = _platform.macos_version(host) or said.get("macos")
    machine = _platform.machine(host, said)
    name = MACOS_NAMES.get(str(version).split(".", maxsplit=1)[0])
    apple = _platform.sysctl(host, "hw.optional.arm64") == "1"
    system = System(
        os="macos",
        version=version,
        name=f"macOS {name}" if name else "macOS",
        machine=machine,
        libc=None,
        wsl=False,
        container=None,
        rosetta=apple and machine == "x86_64",
        long_paths=None,
        vc_redist=None,
        kernel=host.machine().get("release"),
    )
    return {"system": system}


def _windows(host: Host, said: Mapping[str, Any]) -> dict[str, Any]:
    known = (host.registry(WINDOWS) or {}).get("values", {})
    paths = (host.registry(FILE_SYSTEM) or {}).get("values", {})
    version = host.machine().get("version") or f"10.0.{known.get('CurrentBuild', '')}"
    system = System(
        os="windows",
        version=version,
        name=windows_name(known),
        machine=_platform.machine(host, said),
        libc=None,
        wsl=False,
        container=None,
        rosetta=False,
        long_paths=paths.get("LongPathsEnabled") == 1,
        vc_redist=vc_redist(host, said),
        kernel=None,
    )
    emulated = system.machine == "x86_64" and str(host.machine().get("machine")).lower() == "arm64"
    return {
        "system": system,
        "notes": ("this Windows runs on ARM, where Python for x64 is emulated",) if emulated else (),
    }


def windows_name(known: dict[str, Any]) -> str | None:
    """Write "Windows 11 Pro 24H2"; the registry of Windows 11 goes on calling itself Windows 10."""
    product, build = str(known.get("ProductName") or ""), str(known.get("CurrentBuild") or "")
    if not product:
        return None
    if build.isdecimal() and int(build) >= 22000:
        product = product.replace("Windows 10", "Windows 11")
    return f"{product} {known.get('DisplayVersion') or known.get('ReleaseId') or ''}".strip()


def vc_redist(host: Host, said: Mapping[str, Any]) -> str | None:
    """Give the version of the Visual C++ runtime that torch's DLLs load, or None.

    The installer's registry entry first; a copied msvcp140.dll without one works as well, such as conda's.
    """
    machine = str(_platform.machine(host, said))
    family = {"x86_64": "x64", "arm64": "arm64"}.get(machine, "x86")
    known = (host.registry(f"{RUNTIMES}\\{family}") or {}).get("values", {})
    if known.get("Installed", 1) == 1 and (found := re.match(r"v?(\d+\.\d+\.\d+)", str(known.get("Version") or ""))):
        return found[1]
    places = [f"{host.env('SystemRoot') or 'C:/Windows'}/System32", *([said["prefix"]] if "prefix" in said else [])]
    versions = (host.version(f"{place}/msvcp140.dll".replace("/", "\\")) for place in places)
    version = next((version for version in versions if version), None)
    return re.sub(r"\.0$", "", version) if version else None
