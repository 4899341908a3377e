"""Keep files before they are replaced, and put them back byte for byte.

Keeping is a hard link where the file system has them: instant, and no space. Installers replace files, they do not
write into them; what is written into in place (`.pth` files, metadata) is copied instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence

from torchcheck.install.journal import Journal, Kept, place, sync_folder

REWRITTEN = (".pth", ".egg-link")


def keep(paths: Iterable[str], purelib: str) -> tuple[Kept, ...]:
    """Keep every file of `paths` that exists; the answer belongs into the journal.

    Raises:
        OSError: no space left, or no permission; nothing in the target has been touched.
    """
    folder = os.path.join(place(purelib), "before")
    os.makedirs(folder)
    kept = tuple(
        _keep(path, folder, str(number), purelib) for number, path in enumerate(paths) if os.path.lexists(path)
    )
    sync_folder(folder)
    return kept


def _keep(path: str, folder: str, name: str, purelib: str) -> Kept:
    there = relative(path, purelib)
    if os.path.islink(path):
        return Kept(there, link=os.readlink(path))
    _link_or_copy(path, os.path.join(folder, name))
    return Kept(there, name)


def _link_or_copy(source: str, target: str) -> None:
    if not source.endswith(REWRITTEN):
        with contextlib.suppress(OSError):  # no hard links here: FAT, some network and overlay file systems
            os.link(source, target)
            return
    shutil.copy2(source, target)
    with open(target, "rb") as stream:
        os.fsync(stream.fileno())


def relative(path: str, purelib: str) -> str:
    """Write a path as journals hold it."""
    try:
        return os.path.relpath(path, purelib)
    except ValueError:  # another drive
        return os.path.abspath(path)


def restore(journal: Journal, roots: Sequence[str]) -> None:
    """Make the target as it was before: remove what came, put back what went. Can be repeated after any interruption.

    `roots` are the site-packages folders, the one with the journal first.

    Raises:
        OSError: a file is in use or the disk is full; the journal stays, and so does all that is kept.
    """
    purelib = roots[0]
    before = {_absolute(entry.path, purelib): entry for entry in journal.kept}
    came = [path for name in journal.new if (path := _absolute(name, purelib)) not in before]
    touched = {os.path.dirname(path) for path in (*before, *came)}
    for path in [*came, *_compiled_since(came, before), *_metadata_since(touched, before)]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.remove(path)
    for path, entry in before.items():
        _put_back(path, entry, os.path.join(place(purelib), "before", entry.as_))
    for stray in strays(touched, roots):
        if relative(stray, purelib) not in journal.strays:
            shutil.rmtree(stray, ignore_errors=True) if os.path.isdir(stray) else os.remove(stray)
    _remove_empty(touched, roots)


def _absolute(path: str, purelib: str) -> str:
    return os.path.normpath(os.path.join(purelib, path))


def _compiled_since(came: Iterable[str], before: Iterable[str]) -> list[str]:
    from torchcheck.install.installed import compiled

    there = set(before)
    return [path for path in compiled([*came, *there]) if path not in there]


def _metadata_since(touched: Iterable[str], before: Container[str]) -> list[str]:
    """Find what an interrupted installer left in metadata folders: `INSTALLER0tnj9i5d.tmp`."""
    folders = [folder for folder in touched if folder.endswith(".dist-info")]
    inside = [os.path.join(at, name) for folder in folders for at, _, names in os.walk(folder) for name in names]
    return [path for path in inside if path not in before]


def _put_back(path: str, entry: Kept, kept: str) -> None:
    if entry.link is not None:
        if not (os.path.islink(path) and os.readlink(path) == entry.link):
            _clear(path)
            os.symlink(entry.link, path)
        return
    if os.path.isfile(path) and not os.path.islink(path) and os.path.samefile(path, kept):
        return
    _clear(path)
    _link_or_copy(kept, path + ".torchcheck")
    os.replace(path + ".torchcheck", path)


def _clear(path: str) -> None:
    """Make room for a file: its folder exists, and nothing that is not a plain file stands in its place."""
    _make_folder(os.path.dirname(path))
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.islink(path):
        os.remove(path)


def _make_folder(folder: str) -> None:
    if os.path.isfile(folder) or (os.path.islink(folder) and not os.path.isdir(folder)):
        os.remove(folder)
    os.makedirs(folder, exist_ok=True)


def strays(touched: Iterable[str], roots: Sequence[str]) -> Iterator[str]:
    """Find the folders that pip renames aside while it uninstalls: `~orch` beside `torch`."""
    wanted: dict[str, set[str]] = {}
    for folder in touched:
        while _below(folder, roots):
            wanted.setdefault(os.path.dirname(folder), set()).add(os.path.basename(folder))
            folder = os.path.dirname(folder)  # noqa: PLW2901 - climbing
    for parent, names in wanted.items():
        for name in os.listdir(parent) if os.path.isdir(parent) else ():
            if name.startswith("~") and any(_renamed(name, known) for known in names):
                yield os.path.join(parent, name)


def _renamed(name: str, known: str) -> bool:
    """Say whether pip's AdjacentTempDirectory would make `name` of `known` (leading characters replaced)."""
    rest = name.lstrip("~-.=%0123456789")
    return len(name) == len(known) and bool(rest) and known.endswith(rest)


def _remove_empty(touched: Iterable[str], roots: Sequence[str]) -> None:
    for folder in sorted(touched, key=len, reverse=True):
        cache = os.path.join(folder, "__pycache__")
        for empty in (cache, folder):
            _climb(empty, roots)


def _below(folder: str, roots: Sequence[str]) -> bool:
    return any(folder.startswith(root + os.sep) for root in roots)


def _climb(folder: str, roots: Sequence[str]) -> None:
    """Remove a folder and its parents below site-packages as far as they are empty."""
    while _below(folder, roots):
        try:
            os.rmdir(folder)
        except OSError:  # not empty, or not there
            return
        folder = os.path.dirname(folder)
