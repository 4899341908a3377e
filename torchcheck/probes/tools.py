"""Compilers and their like, which building extensions and torch.compile need; asked only when torch is asked too."""

from __future__ import annotations

import re
from typing import Any

from torchcheck.host import Host
from torchcheck.probes import Asked

TOOLS = {
    "gcc": (r"gcc[^\n]*?(\d+\.\d+(?:\.\d+)?)", "--version"),
    "clang": (r"clang version (\d+\.\d+(?:\.\d+)?)", "--version"),
    "cmake": (r"cmake version (\S+)", "--version"),
    "ninja": (r"^(\d\S*)", "--version"),
    "nvcc": (r"release [\d.]+, V(\S+)", "--version"),
    "hipcc": (r"HIP version: (\S+)", "--version"),
    "icpx": (r"Compiler (\S+)", "--version"),
    "cl": (r"(?:Version|Versión) (\d+\.\d+\.\d+)", ""),
}
"""Program to the pattern of its version and the argument that makes it tell."""
CUDNN_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/cuda/lib64")
APPLE_TOOLS = "/Library/Developer/CommandLineTools"


def probe(asked: Asked) -> dict[str, Any]:
    """Ask each tool on PATH for its version."""
    if asked.torch != "import":
        return {}
    host = asked.host
    # Where they are not installed, macOS's own clang, gcc and cl are stubs that open a window.
    stubs = (
        host.machine().get("os") == "macos"
        and host.kind(APPLE_TOOLS) != "dir"
        and host.kind("/Applications/Xcode.app") != "dir"
    )
    names = [name for name in TOOLS if not (stubs and name in {"gcc", "clang"})]
    found = {name: version(host, name) for name in names} | {"cudnn": cudnn(host)}
    return {"tools": {name: known for name, known in found.items() if known}}


def cudnn(host: Host) -> str | None:
    """Give the version of a cuDNN that is installed in the system, beside the one that torch's wheels bring."""
    places = (host.link(f"{folder}/libcudnn.so.{major}") for folder in CUDNN_FOLDERS for major in (9, 8))
    found = next((re.search(r"libcudnn\.so\.(\d+\.\d+\.\d+)$", place) for place in places if place), None)
    return found[1] if found else None


def version(host: Host, name: str) -> str | None:
    """Give the version of one tool, or None when it is not on PATH or does not tell."""
    path = host.which(name)
    if path is None and name == "nvcc":
        path = next((place for place in ("/usr/local/cuda/bin/nvcc",) if host.kind(place) == "file"), None)
    if path is None:
        return None
    pattern, argument = TOOLS[name]
    ran = host.run([path, argument] if argument else [path], timeout=10)
    found = re.search(pattern, ran.out or ran.err, re.MULTILINE)
    return found[1] if found else None
