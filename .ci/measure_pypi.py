"""Write torchcheck/wheels/data/pypi.json anew from what PyPI lists; to be run after a release of the torch family.

For each release: upload date, Requires-Python, and per platform the Python tags with the oldest system that their
wheels accept (glibc or macOS) and the size of the largest wheel. Yanked files are left out. Nothing else is derived
here; what a listing cannot tell (kernels, backends, pairings) stands in backends.json with its own sources.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

from packaging.version import Version

FIRST = {"torch": "2.0.0", "torchvision": "0.15.1", "torchaudio": "2.0.1"}
OLDEST_GLIBC = {"manylinux1": "2.17", "manylinux2014": "2.17"}  # tagged manylinux1, built on CentOS 7
SYSTEMS = {
    "manylinux.*_x86_64": "linux_x86_64",
    "manylinux.*_aarch64": "linux_aarch64",
    "win_amd64": "windows_x86_64",
    "win_arm64": "windows_arm64",
    "macosx_.*_arm64": "macos_arm64",
    "macosx_.*_x86_64": "macos_x86_64",
}


def main() -> None:
    """Ask PyPI and write the file."""
    releases = {package: measure(package) for package in FIRST}
    document = {"source": "https://pypi.org/simple (PEP 691), read by .ci/measure_pypi.py", "releases": releases}
    path = Path(__file__).parent.parent / "torchcheck" / "wheels" / "data" / "pypi.json"
    lines = json.dumps(document).replace('{"version"', '\n{"version"')  # one release a line, so that a diff can be read
    path.write_text(lines + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}: {sum(map(len, releases.values()))} releases\n")


def measure(package: str) -> list[dict[str, object]]:
    """Give one row per release, oldest first."""
    request = urllib.request.Request(
        f"https://pypi.org/simple/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - https, written above
        listing = json.load(answer)
    rows: dict[str, dict[str, object]] = {}
    for file in listing["files"]:
        add(rows, file, Version(FIRST[package]))
    return [rows[version] for version in sorted(rows, key=Version)]


def add(rows: dict[str, dict[str, object]], file: dict[str, object], first: Version) -> None:
    """Add one file to its release's row."""
    name = str(file["filename"])
    if not name.endswith(".whl") or file.get("yanked") or Version(name.split("-")[1]) < first:
        return
    version, (interpreter, abi, platform) = name.split("-")[1], name[: -len(".whl")].split("-")[-3:]
    system = next(system for pattern, system in SYSTEMS.items() if re.fullmatch(pattern, platform.split(".")[0]))
    row = rows.setdefault(
        version,
        {
            "version": version,
            "uploaded": str(file["upload-time"])[:10],
            "requires_python": file["requires-python"] or "",
            "wheels": {},
        },
    )
    wheels: dict[str, dict[str, object]] = row["wheels"]  # type: ignore[assignment]
    tags = wheels.setdefault(system, {"size": 0, "tags": {}})
    tags["size"] = max(int(str(tags["size"])), int(str(file["size"])))
    python = interpreter if abi == "none" or interpreter.startswith("py") else abi
    minima: dict[str, str] = tags["tags"]  # type: ignore[assignment]
    pythons = {*minima.get(minimum(platform), "").split(), python}
    minima[minimum(platform)] = " ".join(sorted(pythons, key=lambda tag: (int(re.sub(r"\D", "", tag)), tag)))


def minimum(platform: str) -> str:
    """Give the oldest glibc or macOS that a platform tag accepts, "" where there is no such bound."""
    first = platform.partition(".")[0]
    if found := re.match(r"(?:manylinux|macosx)_(\d+)_(\d+)_", first):
        return ".".join(found.groups())
    return OLDEST_GLIBC.get(first.split("_")[0], "")


if __name__ == "__main__":
    main()
