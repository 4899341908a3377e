"""The short part of an installation, which changes the target: keep, install, prove, and make it final or undo it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from torchcheck.errors import InstallError, TorchcheckError
from torchcheck.install import backup, installed, journal
from torchcheck.install.bounds import Bounds
from torchcheck.install.disk import FULL, disk_error
from torchcheck.install.durable import Flushing, flush
from torchcheck.install.incoming import Incoming
from torchcheck.install.streaming import Listener

if TYPE_CHECKING:
    from torchcheck.target import Target

LEFT = ("before", "incoming")
"""Folders beside the journal: files as they were, and what was fetched."""


class FrontEnd(Protocol):
    """What a transaction needs from an installer."""

    def fetch(self, arguments: Sequence[str], again: Sequence[str] = ()) -> list[Incoming]:
        """Get everything that an installation would change, and the pins in `again`; the target stays untouched."""

    def change(self, incoming: Sequence[Incoming]) -> None:
        """Install what was fetched, without the network."""


class Change:
    """The short part: keep, write the journal, install, prove, and make the result final or undo it."""

    def __init__(self, target: Target, incoming: Sequence[Incoming], worked: bool | None, on_event: Listener) -> None:
        self._target = target
        self._purelib = target.paths["purelib"]
        self._bounds = Bounds(target.paths)
        self._incoming = incoming
        self._tell = on_event
        self._before = installed.read(target.paths)
        family = any(name in self._before for name in installed.FAMILY)
        self._worked = family if worked is None else worked and family

    def carry_out(self, front: FrontEnd, verify: Callable[[], bool] | None) -> bool:
        """Install; say whether the proof succeeded (without one: True)."""
        self._tell({"event": "phase", "phase": "keep"})
        entry = self._keep()
        try:
            planned = {item.name: item.version for item in self._incoming}
            self._tell({"event": "phase", "phase": "change", "packages": planned})
            front.change(self._incoming)
            entry = replace(entry, stage="proving")
            journal.write(self._purelib, entry)
            flushing = Flushing(self._purelib) if entry.kept else None
            proven = self._prove(verify)
            if flushing:  # before the journal goes that could repair what a loss of power takes
                flushing.wait()
        except BaseException as error:
            self._fail(entry, error)
            raise
        commit(self._purelib)
        return proven

    def _keep(self) -> journal.Journal:
        """Keep what will be replaced and write the journal; a full disk ends it here, with nothing changed."""
        paths = [path for path in dict.fromkeys(self._affected()) if self._bounds.hold(path)]
        new = [path for item in self._incoming for path in item.paths if self._bounds.hold(path)]
        roots = installed.folders(self._target.paths)
        folders = {os.path.dirname(path) for path in paths}
        try:
            discard(os.path.join(journal.place(self._purelib), "before"))
            entry = journal.Journal(
                started=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
                before={name: dist.as_json() for name, dist in self._before.items()},
                planned={item.name: item.version for item in self._incoming},
                worked=self._worked,
                kept=backup.keep(paths, self._purelib),
                new=tuple(backup.relative(path, self._purelib) for path in new),
                strays=tuple(backup.relative(path, self._purelib) for path in backup.strays(folders, roots)),
            )
            journal.write(self._purelib, entry)
        except OSError as error:
            discard(os.path.join(journal.place(self._purelib), "before"))
            if error.errno not in FULL:
                raise
            raise disk_error(error) from error
        return entry

    def _affected(self) -> Iterator[str]:
        for item in self._incoming:
            if item.name in self._before:
                yield from installed.files(self._before[item.name])
            yield from item.paths
            for root in installed.folders(self._target.paths):  # `setup.py develop`, the way torch is built from source
                yield os.path.join(root, f"{item.name}.egg-link")
                yield os.path.join(root, "easy-install.pth")

    def _prove(self, verify: Callable[[], bool] | None) -> bool:
        if verify is None:
            return True
        self._tell({"event": "phase", "phase": "verify"})
        proven = verify()
        if not proven and self._worked:
            hint = "Find out why with `torchcheck doctor`, or ask for another version with --torch."
            raise InstallError("What was installed does not prove itself.", hint, code="not-proven")
        return proven

    def _fail(self, entry: journal.Journal, error: BaseException) -> None:
        """Put back what was there; an interrupted proof of a first installation is no reason to remove it."""
        if isinstance(error, KeyboardInterrupt) and entry.stage == "proving" and not entry.worked:
            commit(self._purelib)
            return
        self._tell({"event": "phase", "phase": "restore"})
        undo(self._target, entry)
        if isinstance(error, TorchcheckError):
            error.message += " What was there before is back." if entry.kept else " Nothing is left of it."


def undo(target: Target, entry: journal.Journal) -> None:
    """Put back what was there; what cannot be put back yet stays kept, and the journal with it."""
    purelib = target.paths["purelib"]
    try:
        backup.restore(entry, installed.folders(target.paths))
        flush(purelib)
    except OSError as error:
        hint = "Close the programs that use this environment, see that the disk has room, and run torchcheck again."
        message = f"What was there before could not be put back yet: {error}. It is kept, nothing of it is lost."
        raise InstallError(message, hint, code="not-restored") from error
    commit(purelib)


def commit(purelib: str) -> None:
    """Make final what is there now: without a journal nothing will be undone."""
    journal.remove(purelib)
    clear(purelib)


def clear(purelib: str) -> None:
    """Remove what an installation leaves beside its journal."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(journal.path(purelib) + journal.UNFINISHED)
    for name in LEFT:
        discard(os.path.join(journal.place(purelib), name))


def discard(folder: str) -> None:
    """Remove a folder of ours, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
