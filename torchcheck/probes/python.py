"""The target interpreter: version, kind of environment, may it be installed into, wheel tags, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchcheck.facts import UNKNOWN, Python, Unknown
from torchcheck.host import Host
from torchcheck.probes import Asked, _platform

if TYPE_CHECKING:
    from torchcheck.target import Target

FAMILY = ("torch", "torchvision", "torchaudio")


def probe(asked: Asked) -> dict[str, Any]:
    """Repeat what was found out when the target was chosen, and what looks wrong in it."""
    target = asked.target
    if target is None:
        return {}
    faults: dict[str, Any] = {
        "ssl": target.inspection.get("ssl", UNKNOWN),
        "leftovers": target.broken[:5] or UNKNOWN,
        "copies": copies(target) or UNKNOWN,
        "damaged": (damage(asked) if asked.torch == "import" else {}) or UNKNOWN,
    }
    found = replace(target.facts, **faults)
    return {"python": found, "packages": target.packages, "notes": tuple(remarks(found))}


def damage(asked: Asked) -> dict[str, str]:
    """Compare the files of the torch family with RECORD, by size: ten thousand files in a tenth of a second."""
    said = asked.host.python(asked.target.python, "native/interpreter", "--files") if asked.target else {}
    return {name: ", ".join(files[:5]) for name, files in said.get("damaged", {}).items()}


def copies(target: Target) -> dict[str, str]:
    """Name the places of what of the torch family stands more than once: by metadata, torch also by its folder."""
    twins = {name: found for name, found in target.duplicates().items() if name in FAMILY}
    places = {name: ", ".join(f"{one.path} ({one.version})" for one in found) for name, found in twins.items()}
    folders = [one["path"] for one in target.inspection.get("family", ()) if one.get("name") == "torch"]
    return places | ({"torch": ", ".join(folders)} if len(folders) > 1 and "torch" not in places else {})


def remarks(found: Python) -> Iterator[str]:
    """Say what of an environment bites later: damage, twins, leftovers, a Python without ssl."""
    for name, files in (found.damaged or {}).items():
        yield f"files of {name} are missing or changed: {files}"
    for name, places in (found.copies or {}).items():
        yield f"{name} stands more than once on sys.path, the first wins: {places}"
    if found.leftovers:
        yield f"leftovers of failed installations: {', '.join(found.leftovers)}"
    if found.ssl is False:
        yield "this Python has no ssl module: pip cannot use https"


def describe(host: Host, executable: str, said: Mapping[str, Any]) -> Python:
    """Put into facts what native/interpreter.py answered in the target."""
    installed = packages(said)
    return Python(
        version=said["version"],
        implementation=said.get("implementation", UNKNOWN),
        bits=said.get("bits", UNKNOWN),
        free_threaded=said.get("free_threaded", UNKNOWN),
        executable=executable,
        environment=environment(host, said),
        externally_managed=said.get("managed", UNKNOWN),
        pip=installed.get("pip"),
        in_path_order=tuple(said["path"]) if "path" in said else UNKNOWN,
        prefix=said.get("prefix", UNKNOWN),
        site_packages=said.get("paths", {}).get("purelib", UNKNOWN),
        writable=said.get("writable", UNKNOWN),
        platform_tags=_platform.tags(host, said),
        build=said.get("build", UNKNOWN),
        system_site=_sees_the_system(said.get("pyvenv")),
    )


def _sees_the_system(pyvenv: str | None) -> bool | Unknown:
    """Read from pyvenv.cfg whether the packages of the Python below are visible too; only a venv has that file."""
    if pyvenv is None:
        return UNKNOWN
    return bool(re.search(r"(?im)^\s*include-system-site-packages\s*=\s*true\s*$", pyvenv))


def environment(host: Host, said: Mapping[str, Any]) -> str:
    """Name the kind of environment; one that belongs to a single application (pipx, uv tool) is "pipx"."""
    prefix, base = str(said.get("prefix", "")), str(said.get("base_prefix", ""))
    places = f"{prefix}\n{base}".replace("\\", "/").lower()
    if said.get("marks") or "/pipx/venvs/" in places or "/uv/tools/" in places:
        return "pipx"
    if said.get("conda"):
        return "conda"
    if said.get("pyvenv") is not None or prefix != base:
        return "venv"
    if said.get("embedded"):
        return "embedded"
    if "/windowsapps/" in places or "pythonsoftwarefoundation.python" in places:
        return "store"
    home = str(host.machine().get("home") or "").replace("\\", "/").lower().rstrip("/")
    return "user" if home and places.startswith(home + "/") else "system"


def packages(said: Mapping[str, Any]) -> dict[str, str]:
    """Map name to version of what is installed; the first on `sys.path` wins, as at import.

    The torch family has the version that its own version.py states, since metadata on PyPI hides the local label
    ("2.15.0" for a wheel that is 2.15.0+cu132).
    """
    found: dict[str, str] = {}
    for one in said.get("distributions", ()):
        found.setdefault(one["name"], one["version"])
    for copy in said.get("family", ()):
        stated = copy.get("values", {}).get("__version__", "")
        public = re.split(r"\+", found.get(copy["name"], ""))[0]
        if public and stated.split("+")[0] == public:
            found[copy["name"]] = stated
    return found
