"""What an installation may touch: the folders of its target, whatever a RECORD, a wheel or a journal names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchcheck.install.journal import Journal

KEYS = ("purelib", "platlib", "scripts", "data", "include")


class Bounds:
    """The folders of a target."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        """Take the target's sysconfig paths."""
        self._roots = {_real(paths[key]).rstrip(os.sep) + os.sep for key in KEYS if paths.get(key)}
        self._folders: dict[str, bool] = {}

    def hold(self, path: str) -> bool:
        """Say whether an absolute path lies within, with every link above it followed."""
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir) or "\0" in path:
            return False
        if folder not in self._folders:
            real = _real(folder) + os.sep
            self._folders[folder] = any(real.startswith(root) for root in self._roots)
        return self._folders[folder]

    def check(self, journal: Journal, purelib: str) -> None:
        """Refuse a journal that could not have been written here: it would have files outside of the target touched.

        Raises:
            ValueError: with what is wrong.
        """
        links = {_real_name(purelib, entry.path) for entry in journal.kept if entry.link is not None}
        for name in (*(entry.path for entry in journal.kept), *journal.new):
            path = os.path.normpath(os.path.join(purelib, name))
            if not self.hold(path):
                raise ValueError(f"it names a file outside of this environment ({name[:200]!r})")
            if _through(_real_name(purelib, name), links):
                raise ValueError(f"it names a file behind a link ({name[:200]!r})")
        for entry in journal.kept:
            if entry.link is None and not entry.as_.isdecimal():
                raise ValueError(f"it names a kept file that is none ({entry.as_[:200]!r})")


def _real(folder: str) -> str:
    return os.path.normcase(os.path.realpath(folder))


def _real_name(purelib: str, name: str) -> str:
    folder, last = os.path.split(os.path.normpath(os.path.join(purelib, name)))
    return os.path.join(_real(folder), os.path.normcase(last))


def _through(path: str, links: set[str]) -> bool:
    """Say whether a path leads through one of the links that will be put back."""
    while links and (folder := os.path.dirname(path)) != path:
        if folder in links:
            return True
        path = folder
    return False
