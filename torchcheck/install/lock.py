"""Pinned and hashed requirements for `plan --lock FILE`: what plain `pip install --require-hashes -r FILE` takes."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from torchcheck.errors import TargetError
from torchcheck.install.pip import Pip
from torchcheck.install.streaming import Listener, ignore

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan


def resolve(plan: Plan, target: Target, *, on_event: Listener = ignore) -> list[str]:
    """Resolve a plan for its target and give the lines of a requirements file, the index first.

    The target is not changed, and what is installed in it plays no part: the file is for an empty environment.

    Raises:
        TargetError: pip is too old (it needs `--report`, pip 22.2), or a file has no hash.
        TorchcheckError: with what pip's complaint means.
    """
    words = plan.command[plan.command.index("install") + 1 :]
    with tempfile.TemporaryDirectory(prefix="torchcheck-") as staging:
        found = Pip(target, os.path.realpath(staging), on_event).resolve(words, "--ignore-installed")
    where = [word for word in words if word in plan.pip_arguments]
    return [*_options(where), *sorted(_line(item) for item in found)]


def _options(words: list[str]) -> list[str]:
    """Write arguments of a command as options of a requirements file: one a line, with its value."""
    lines: list[str] = []
    for word in words:
        if word.startswith("-"):
            lines.append(word)
        elif lines:
            lines[-1] += f" {word}"
    return lines


def _line(item: dict[str, Any]) -> str:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if not digest:
        hint = "Use an index that publishes hashes."
        raise TargetError(f"The index gives no hash for {name} {version}.", hint, code="no-hash")
    return f"{name}=={version} --hash=sha256:{digest}"
