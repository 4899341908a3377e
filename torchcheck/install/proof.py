"""Remember in the target that its torch was proven, so that asking again costs nothing while nothing has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchcheck import __version__
from torchcheck.facts import to_json
from torchcheck.install import installed, journal

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.target import Target


def fingerprint(target: Target, facts: Facts) -> dict[str, Any]:
    """Give what a proof depends on: the family's files, the interpreter, the driver, the GPUs, and the suite."""
    dists = installed.read(target.paths, installed.FAMILY)
    return {
        "torchcheck": __version__,
        "python": to_json(target.facts).get("version"),
        "family": {name: [dist.version, *_stamp(dist.info)] for name, dist in sorted(dists.items())},
        "drivers": to_json(facts.drivers),
        "gpus": [{"name": gpu.get("name"), "pci_id": gpu.get("pci_id")} for gpu in to_json(facts.gpus or ())],
    }


def remember(target: Target, facts: Facts, verdict: Mapping[str, Any]) -> None:
    """Keep a passed proof; where the target may not be written to, the next run proves it anew."""
    path = _path(target)
    try:
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"of": fingerprint(target, facts), "verdict": dict(verdict)}), encoding="utf-8")
        part.replace(path)
    except OSError:
        path.unlink(missing_ok=True)


def recall(target: Target, facts: Facts) -> dict[str, Any] | None:
    """Give the verdict of a proof that still holds: same files, same interpreter, same driver; else None."""
    try:
        kept = json.loads(_path(target).read_text(encoding="utf-8"))
        return dict(kept["verdict"]) if kept["of"] == fingerprint(target, facts) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _path(target: Target) -> Path:
    return Path(journal.place(target.paths["purelib"])) / "proof.json"


def _stamp(folder: str) -> list[int]:
    """Tell one installation of the same version from another: size and time of its RECORD."""
    try:
        found = os.stat(os.path.join(folder, "RECORD"))
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
