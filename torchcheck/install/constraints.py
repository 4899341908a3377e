"""A constraints file in the target that keeps other packages from replacing the torch family.

The most frequent silent breakage: `pip install fastai` swaps a +cpu build for a CUDA build of several gigabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torchcheck.install import installed

if TYPE_CHECKING:
    from torchcheck.target import Target

NAME = "torchcheck-constraints.txt"
HEAD = """# Written by torchcheck: the builds that were chosen for this machine.
# pip keeps them when told so:  pip install -c "{path}" PACKAGE
# or for all that pip does:     PIP_CONSTRAINT={setting}    (uv: UV_CONSTRAINT)
"""


def path(target: Target) -> str | None:
    """Give the path of the target's constraints file, or None when there is none."""
    where = _place(target)
    return where if os.path.isfile(where) else None


def write(target: Target, names: Iterable[str]) -> str | None:
    """Pin what is installed of `names`; give the file's path (None: its folder takes no files)."""
    there = installed.read(target.paths, [installed.normal(name) for name in names])
    where = _place(target)
    pins = "".join(f"{dist.name}=={dist.version}\n" for dist in sorted(there.values(), key=lambda d: d.name))
    text = HEAD.format(path=where, setting=setting(where)) + pins
    try:
        if _read(where) == text:
            return where
        with open(where + ".new", "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(where + ".new", where)
    except OSError:
        return None
    return where


def advice(where: str, *, windows: bool) -> list[str]:
    """Say how to use the file: the commands to type, for one installation and for all that follow."""
    value = f'"{setting(where)}"'
    everywhere = f"$env:PIP_CONSTRAINT = {value}" if windows else f"export PIP_CONSTRAINT={value}"
    return [f'pip install -c "{where}" PACKAGE', everywhere]


def setting(where: str) -> str:
    """Write the path as pip takes it from a variable: split at spaces, so one with spaces becomes a file: address."""
    return Path(where).as_uri() if " " in where else where


def _read(where: str) -> str | None:
    try:
        with open(where, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return None


def _place(target: Target) -> str:
    return os.path.join(target.paths["data"], NAME)
