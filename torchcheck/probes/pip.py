"""Where pip looks for packages: its configuration files and variables, read as pip reads them, credentials removed."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from typing import Any

from torchcheck.facts import UNKNOWN, Pip
from torchcheck.host import Host
from torchcheck.probes import Asked
from torchcheck.probes.env import without_credentials

SECTIONS = ("global", "install")
"""Sections that count for `pip install`, the later ones override."""
OURS = "torchcheck-constraints.txt"
"""What `torchcheck install` leaves in a target, for PIP_CONSTRAINT (see install/constraints.py)."""
LISTS = {"extra-index-url": "extra_index_urls", "find-links": "find_links"}


def probe(asked: Asked) -> dict[str, Any]:
    """Read pip's configuration for the target."""
    host: Host = asked.host
    files, settings = read(host, asked.target.facts.prefix or None if asked.target else None)
    lists = {field: tuple(map(without_credentials, settings.get(name, "").split())) for name, field in LISTS.items()}
    lists["constraints"] = tuple(_lines(host, constraints(settings)))
    index = without_credentials(settings["index-url"]) if "index-url" in settings else None
    pip = Pip(index_url=index, config_files=tuple(files), **lists)
    notes = ("pip is configured with no-index: only find-links count",) if _true(settings.get("no-index")) else ()
    return {"pip": pip if files or settings or asked.target else UNKNOWN, "notes": notes}


def constraints(settings: dict[str, str]) -> list[str]:
    """Give the constraints files of others; ours keeps what is installed from others, not from ourselves."""
    return [place for place in settings.get("constraint", "").split() if not place.endswith(OURS)]


def _lines(host: Host, places: list[str]) -> Iterator[str]:
    """Give the requirements that constraints files hold; of one that cannot be read (an address, say) its name."""
    for place in places:
        text = host.read(place)
        if text is None:
            yield without_credentials(place)
        else:
            yield from filter(None, (line.partition("#")[0].strip() for line in text.splitlines()))


def read(host: Host, prefix: str | None) -> tuple[list[str], dict[str, str]]:
    """Give the files that exist and the settings that hold in the end: files in pip's order, then PIP_ variables."""
    settings: dict[str, str] = {}
    files = []
    for path in places(host, prefix):
        text = host.read(path)
        if text is not None:
            files.append(path)
            settings |= parse(text)
    variables = {
        name[4:].lower().replace("_", "-"): value for name, value in host.environ().items() if name[:4] == "PIP_"
    }
    # As pip does, an empty variable counts as not set.
    return files, settings | {name: value for name, value in variables.items() if value and name != "config-file"}


def places(host: Host, prefix: str | None) -> Iterator[str]:
    """List where pip looks, least important first (pip's documentation, "Configuration")."""
    chosen = host.env("PIP_CONFIG_FILE")
    if chosen in {"/dev/null", "nul"}:
        return
    yield from {"windows": _windows, "macos": _macos}.get(str(host.machine().get("os")), _linux)(host)
    if prefix:
        yield f"{prefix}\\pip.ini" if host.machine().get("os") == "windows" else f"{prefix}/pip.conf"
    if chosen:
        yield chosen


def _linux(host: Host) -> Iterator[str]:
    home = host.machine().get("home") or ""
    for folder in reversed((host.env("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")):
        yield f"{folder}/pip/pip.conf"
    yield "/etc/pip.conf"
    yield f"{home}/.pip/pip.conf"
    yield (host.env("XDG_CONFIG_HOME") or f"{home}/.config") + "/pip/pip.conf"


def _macos(host: Host) -> Iterator[str]:
    home = host.machine().get("home") or ""
    yield "/Library/Application Support/pip/pip.conf"
    yield f"{home}/.pip/pip.conf"
    own = f"{home}/Library/Application Support/pip"
    yield f"{own}/pip.conf" if host.kind(own) == "dir" else f"{home}/.config/pip/pip.conf"


def _windows(host: Host) -> Iterator[str]:
    home = host.machine().get("home") or ""
    yield (host.env("ProgramData") or r"C:\ProgramData") + r"\pip\pip.ini"
    yield rf"{home}\pip\pip.ini"
    yield (host.env("APPDATA") or home) + r"\pip\pip.ini"


def parse(text: str) -> dict[str, str]:
    """Read one file; a broken one gives nothing (pip itself will say so loudly)."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text.removeprefix("\ufeff"))
    except configparser.Error:
        return {}
    found: dict[str, str] = {}
    for section in SECTIONS:
        if parser.has_section(section):
            found |= {name.lower().replace("_", "-"): value for name, value in parser.items(section) if value}
    return found


def _true(text: str | None) -> bool:
    return (text or "").lower() in {"1", "true", "yes", "on", "y", "t"}
