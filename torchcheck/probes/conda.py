"""What conda installed into the target: version, build and channel of each package, which pip does not know."""

from __future__ import annotations

import json
import re
from typing import Any

from torchcheck.facts import UNKNOWN
from torchcheck.probes import Asked

CHANNEL = re.compile(r"(?:https?://[^/]+/|^)((?:[\w.-]+/)*?[\w.-]+)(?:/(?:noarch|linux-\w+|osx-\w+|win-\w+))?/?$")


def probe(asked: Asked) -> dict[str, Any]:
    """Read conda-meta, one file a package."""
    target = asked.target
    if target is None or target.facts.environment != "conda":
        return {}
    windows = asked.host.machine().get("os") == "windows"
    folder = f"{target.facts.prefix}\\conda-meta" if windows else f"{target.facts.prefix}/conda-meta"
    names = [name for name in asked.host.list(folder) or () if name.endswith(".json")]
    texts = (asked.host.read(f"{folder}\\{name}" if windows else f"{folder}/{name}") for name in names)
    return {"conda": dict(filter(None, map(package, texts))) if names else UNKNOWN}


def package(text: str | None) -> tuple[str, str] | None:
    """Give name and "version build channel" of one file of conda-meta; None when it is broken."""
    try:
        known = json.loads(text or "")
        return str(
            known["name"]
        ), f"{known['version']} {known['build']} {channel(str(known.get('channel', '')))}".strip()
    except (ValueError, KeyError, TypeError):
        return None


def channel(address: str) -> str:
    """Name a channel without host, platform and credentials: "https://conda.anaconda.org/conda-forge/noarch"."""
    found = CHANNEL.search(address)
    return found[1] if found else ""
