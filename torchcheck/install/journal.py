"""The journal of an installation: written before the first change, removed by success, read by whoever comes next.

It lives in the target (`site-packages/.torchcheck/`), so it goes where the environment goes. Paths in it are relative
to site-packages, which keeps it right when the environment is moved.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FOLDER = ".torchcheck"
UNFINISHED = ".new"
NAMES = ("journal.json", "journal.json" + UNFINISHED)
SCHEMA = 1


@dataclass(frozen=True)
class Kept:
    """A file as it was: a hard link or copy named `as_` among the kept ones, or the target of a symbolic link."""

    path: str
    as_: str = ""
    link: str | None = None


@dataclass(frozen=True)
class Journal:
    """What was there, what will be there, and all that is needed to undo the difference.

    `worked` says that what was there is to come back when the new does not prove itself. `stage` is "changing" while
    the installer runs and "proving" after it. `new` are the files that the planned wheels bring, `strays` the
    remains of earlier uninstallations that were there before.
    """

    started: str
    before: Mapping[str, Mapping[str, Any]]
    planned: Mapping[str, str]
    worked: bool
    stage: str = "changing"
    kept: tuple[Kept, ...] = ()
    new: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    schema: int = SCHEMA


def place(purelib: str) -> str:
    """Give the folder that holds the lock, the journal, the kept files and the incoming wheels."""
    return os.path.join(purelib, FOLDER)


def path(purelib: str) -> str:
    """Give the path of the journal."""
    return os.path.join(place(purelib), NAMES[0])


def write(purelib: str, journal: Journal) -> None:
    """Write the journal so that a reader sees either the old one or the whole new one, also after a loss of power."""
    final = path(purelib)
    with open(final + UNFINISHED, "w", encoding="utf-8") as stream:
        json.dump(asdict(journal), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(final + UNFINISHED, final)
    sync_folder(os.path.dirname(final))


def read(purelib: str) -> Journal | None:
    """Read the journal that an interrupted installation left, or None.

    Raises:
        ValueError: there is one, but not one that this version can read.
    """
    try:
        with open(path(purelib), encoding="utf-8") as stream:
            data = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError("a journal of another version of torchcheck")
    if not all(isinstance(data.get(name), list) for name in ("kept", "new", "strays")):
        raise ValueError("it is no journal: its lists are none")
    try:
        kept = tuple(Kept(**entry) for entry in data["kept"])
        found = Journal(**{**data, "kept": kept, "new": tuple(data["new"]), "strays": tuple(data["strays"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no journal ({error})") from error
    if not _is_sound(found):
        raise ValueError("it is no journal: it holds what no journal holds")
    return found


def _is_sound(journal: Journal) -> bool:
    """Say whether all members are of their types: the file may have been written by anybody."""
    texts = [journal.started, journal.stage, *journal.new, *journal.strays]
    for entry in journal.kept:
        texts += [entry.path, entry.as_, "" if entry.link is None else entry.link]
    if not isinstance(journal.planned, dict) or not isinstance(journal.worked, bool):
        return False
    return all(isinstance(text, str) for text in (*texts, *journal.planned, *journal.planned.values()))


def remove(purelib: str) -> None:
    """Remove the journal: from here on, what is there is what is meant to be there."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path(purelib))
    sync_folder(place(purelib))


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable (POSIX; NTFS journals them by itself)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
