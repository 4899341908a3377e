"""Free space where an installation writes: the target, the temporary folder, pip's cache."""

from __future__ import annotations

from typing import Any

from torchcheck.facts import UNKNOWN, Disk
from torchcheck.host import Host
from torchcheck.probes import Asked


def probe(asked: Asked) -> dict[str, Any]:
    """Measure free space."""
    host: Host = asked.host
    purelib = asked.target.paths.get("purelib") if asked.target else None
    places = {"target_free": purelib, "temp_free": host.machine().get("temp"), "cache_free": pip_cache(host)}
    sizes = {name: host.free(place) if place else None for name, place in places.items()}
    return {"disk": Disk(**{name: UNKNOWN if size is None else size for name, size in sizes.items()})}


def pip_cache(host: Host) -> str | None:
    """Name the folder that pip caches wheels in (platformdirs' user_cache_dir), or None when caching is off."""
    if host.env("PIP_NO_CACHE_DIR") not in {None, "", "0", "false", "no", "off"}:
        return None
    if named := host.env("PIP_CACHE_DIR"):
        return named
    home = host.machine().get("home") or ""
    kind = host.machine().get("os")
    if kind == "windows":
        return f"{host.env('LOCALAPPDATA') or home}\\pip\\Cache"
    return f"{home}/Library/Caches/pip" if kind == "macos" else f"{host.env('XDG_CACHE_HOME') or f'{home}/.cache'}/pip"
