"""What was last read from an index, kept with its date in the user's cache folder (door: file)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchcheck.wheels.builds import Build, WheelFile

FORMAT = 1
FOLDER = "TORCHCHECK_CACHE_DIR"
"""Environment variable that names another folder than the user's cache folder."""


@dataclass(frozen=True)
class Read:
    """What one asking of an index gave."""

    asked: str
    backends: tuple[str, ...]
    builds: tuple[Build, ...]


def load(root: str, system: str) -> Read | None:
    """Give what was read last from an index for a platform; None when nothing was, or it cannot be understood."""
    try:
        document = json.loads(_path(root, system).read_text(encoding="utf-8"))
        if document["format"] != FORMAT or (document["root"], document["system"]) != (root, system):
            return None
        return Read(str(document["asked"]), tuple(document["backends"]), tuple(map(_build, document["builds"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def save(root: str, system: str, asked: str, backends: Iterable[str], builds: Iterable[Build]) -> None:
    """Keep what was read; other backends that were read before stay. A cache that cannot be written is no failure."""
    if "@" in root:  # a password, which has no place in a cache
        return
    fresh = set(backends)
    before = load(root, system)
    kept = [b for b in (before.builds if before else ()) if b.backend not in fresh]
    document = {
        "format": FORMAT,
        "root": root,
        "system": system,
        "asked": asked,
        "backends": sorted(fresh | set(before.backends if before else ())),
        "builds": [asdict(b) for b in (*kept, *builds)],
    }
    path = _path(root, system)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
        Path(name).replace(path)
    except OSError:
        return


def _path(root: str, system: str) -> Path:
    import platformdirs

    folder = os.environ.get(FOLDER) or platformdirs.user_cache_dir("torchcheck", appauthor=False)
    digest = hashlib.sha256(f"{root} {system}".encode()).hexdigest()[:16]
    return Path(folder) / "indexes" / f"{digest}.json"


def _build(row: dict[str, Any]) -> Build:
    files = tuple((str(tag), WheelFile(**file)) for tag, file in row["files"])
    kernels = None if row["kernels"] is None else tuple(map(str, row["kernels"]))
    return Build(**(row | {"files": files, "kernels": kernels, "pythons": tuple(map(str, row["pythons"]))}))
