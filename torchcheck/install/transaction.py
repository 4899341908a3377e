"""Install a plan so that the target ends as it was or as planned, whatever happens in between.

The long part (resolving, downloading) leaves the target untouched. Before the short part that changes it, every file
that will be replaced is kept and a journal is written; success removes the journal. Whoever finds a journal undoes
what it describes first: that is `recover`.

When the new installation does not prove itself: what was there before comes back if it worked (exit code 4). If nothing
was there, or what was there did not work either, there is nothing better to put back, so the new one stays and the
result says that it is unproven (exit code 1).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from filelock import FileLock, Timeout

from torchcheck.errors import InstallError, TargetError, TorchcheckError
from torchcheck.install import backup, constraints, installed, journal, survey
from torchcheck.install.incoming import Incoming
from torchcheck.install.streaming import Listener, ignore

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan

Installer = Literal["pip", "uv"]
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
LEFT = ("before", "incoming")
"""Folders beside the journal: files as they were, and what was fetched."""


class FrontEnd(Protocol):
    """What a transaction needs from an installer."""

    def fetch(self, arguments: Sequence[str], again: Sequence[str] = ()) -> list[Incoming]:
        """Get everything that an installation would change, and the pins in `again`; the target stays untouched."""

    def change(self, incoming: Sequence[Incoming]) -> None:
        """Install what was fetched, without the network."""


@dataclass(frozen=True)
class Installed:
    """What became of an installation.

    `outcome` is "unchanged" (all was in place), "installed", or "unproven" (installed, failed its proof, and nothing
    better was there to put back). `changed` maps what changed to versions before and after (None: not there);
    `conflicts` are requirements of other packages that are no longer met.
    """

    outcome: Literal["unchanged", "installed", "unproven"]
    changed: Mapping[str, tuple[str | None, str | None]]
    conflicts: tuple[str, ...] = ()
    constraints: str | None = None
    recovered: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give JSON-able data."""
        changed = {name: {"before": before, "after": after} for name, (before, after) in self.changed.items()}
        said = {"outcome": self.outcome, "changed": changed, "conflicts": list(self.conflicts)}
        return {**said, "constraints": self.constraints, "recovered": self.recovered}


def apply(
    plan: Plan,
    target: Target,
    *,
    installer: Installer = "pip",
    verify: Callable[[], bool] | None = None,
    worked: bool | None = None,
    facts: Facts | None = None,
    on_event: Listener = ignore,
) -> Installed:
    """Install a plan into a target, prove it, and keep it or put back what was there.

    Args:
        plan: what to install; its `command` holds the arguments for the installer.
        target: where.
        installer: "pip" or "uv".
        verify: proves the new installation; None: it is not proven.
        worked: whether what is there now works; None: it is taken to, if any of the family is there.
        facts: what is known of the machine, for the judgement of what stands in the way.
        on_event: hears what happens, as dictionaries with the key "event".

    Raises:
        InstallError: it failed, and what was there before is back.
        TargetError: the target cannot be used, or has no fitting wheels; untouched.
        UnreachableError: an index cannot be reached; the target is untouched.
    """
    purelib = target.paths["purelib"]
    pending = os.path.exists(journal.path(purelib))
    if not pending and in_place(plan, target):
        return Installed("unchanged", {}, constraints=_pinned(plan, target))
    with locked(target, on_event):
        told = undo_pending(target, on_event)
        if in_place(plan, target):
            return Installed("unchanged", {}, constraints=_pinned(plan, target), recovered=told)
        situation, warned = survey.before(plan, target, facts, installer), set[str]()
        survey.demand(situation, on_event, warned)
        with _staging(purelib) as staging:
            front = front_end(installer, target, staging, on_event)
            on_event({"event": "phase", "phase": "fetch"})
            incoming = front.fetch(arguments(plan, target), broken(plan, target))
            survey.demand(survey.fetched(situation, incoming), on_event, warned)
            before = installed.read(target.paths)
            proven = _Change(target, incoming, worked, on_event).carry_out(front, verify)
        after = installed.read(target.paths)
        written = _pinned(plan, target) if proven else constraints.path(target)
    lost = set(_conflicts(after, target)) - set(_conflicts(before, target))
    outcome: Literal["installed", "unproven"] = "installed" if proven else "unproven"
    return Installed(outcome, _differences(before, after), tuple(sorted(lost)), written, told)


def recover(target: Target, *, wait: bool = True, on_event: Listener = ignore) -> str | None:
    """Undo an installation that was interrupted, if there is one, and say what happened; None: all is well.

    An installation that still runs is waited for, or with `wait=False` left alone.
    """
    purelib = target.paths["purelib"]
    if not any(os.path.exists(os.path.join(journal.place(purelib), name)) for name in (*LEFT, *journal.NAMES)):
        return None
    try:
        with locked(target, on_event, wait=wait and os.path.exists(journal.path(purelib))):
            return undo_pending(target, on_event)
    except Timeout:
        return None


def undo_pending(target: Target, on_event: Listener = ignore) -> str | None:
    """Do what `recover` does, under a lock that is held already."""
    purelib = target.paths["purelib"]
    try:
        entry = journal.read(purelib)
    except (OSError, ValueError, TypeError, KeyError) as error:
        hint = f"Look into {journal.place(purelib)}; `before` holds the files as they were."
        raise TargetError(f"The journal of an interrupted installation is unreadable: {error}.", hint) from error
    staging = os.path.join(journal.place(purelib), "incoming")
    if os.path.exists(staging):
        _end_orphans(staging)
    if entry is None:
        _clear(purelib)
        return None
    wanted = ", ".join(f"{name} {version}" for name, version in entry.planned.items())
    story = f"An installation of {wanted}, begun {entry.started}, was interrupted"
    on_event({"event": "phase", "phase": "recover", "text": story})
    if entry.stage == "proving" and not entry.worked:
        _commit(purelib)
        return f"{story} after all was installed; it has not been proven yet."
    _undo(target, entry)
    return f"{story}; what was there before is back."


def _end_orphans(staging: str) -> None:
    """End an installer that outlived the torchcheck which started it: its command line names our staging folder."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(staging in word for word in process.cmdline()):
                process.kill()
                process.wait(5)


def in_place(plan: Plan, target: Target) -> bool:
    """Say whether exactly the planned versions are installed, with all their files (no process is started)."""
    wanted = _wanted(plan)
    there = installed.read(target.paths, wanted)
    same = all(name in there and there[name].version == version for name, version in wanted.items())
    return same and not any(installed.damaged(dist) for dist in there.values())


def broken(plan: Plan, target: Target) -> list[str]:
    """Pin what is there in the planned version, but with files that are gone or cut: it is to be installed again."""
    wanted = _wanted(plan)
    there = installed.read(target.paths, wanted)
    same = [dist for name, dist in there.items() if dist.version == wanted[name]]
    return [f"{dist.name}==={dist.version}" for dist in same if installed.damaged(dist)]


def _wanted(plan: Plan) -> dict[str, str]:
    return {installed.normal(name): version for name, version in plan.packages.items() if version}


def _pinned(plan: Plan, target: Target) -> str | None:
    return constraints.write(target, _wanted(plan))


def arguments(plan: Plan, target: Target) -> list[str]:
    """Give what follows `pip install` in the plan's command; pins become `===` where pip would take another build.

    pip takes an installed 2.15.0+cpu for a planned 2.15.0 (PEP 440: a label is ignored when none is asked for).
    """
    command = list(plan.command)
    words = command[command.index("install") + 1 :]
    there = installed.read(target.paths, installed.FAMILY)
    return [_exact(word, there) if "==" in word and not word.startswith("-") else word for word in words]


def _exact(word: str, there: Mapping[str, installed.Dist]) -> str:
    name, _, version = word.partition("==")
    have = there.get(installed.normal(name))
    hidden = have and "+" in have.version and "+" not in version and have.version.partition("+")[0] == version
    return f"{name}==={version}" if hidden else word


def front_end(installer: Installer, target: Target, staging: str, on_event: Listener) -> FrontEnd:
    """Make the front-end of an installer."""
    if installer == "uv":
        from torchcheck.install.uv import Uv

        return Uv(target, staging, on_event)
    from torchcheck.install.pip import Pip

    return Pip(target, staging, on_event)


@contextlib.contextmanager
def locked(target: Target, on_event: Listener = ignore, *, wait: bool = True) -> Iterator[None]:
    """Hold the target's lock: one installation at a time; others wait and say so.

    Raises:
        Timeout: another holds it, and `wait` is false.
        TargetError: the target may not be written to.
    """
    folder = journal.place(target.paths["purelib"])
    try:
        os.makedirs(folder, exist_ok=True)
        lock = FileLock(os.path.join(folder, "lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            on_event({"event": "waiting", "text": "Another torchcheck installs into this environment; waiting for it."})
            lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise _disk_error(error) from error
        hint = "Make a virtual environment of your own: torchcheck install --venv .venv"
        raise TargetError(f"The target may not be written to: {error}.", hint, code="not-writable") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _staging(purelib: str) -> Iterator[str]:
    """Give an empty folder on the target's disk for what is fetched."""
    folder = os.path.join(journal.place(purelib), "incoming")
    _discard(folder)
    try:
        os.makedirs(folder)
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _disk_error(error) from error
    finally:
        if journal.read(purelib) is None:
            _discard(folder)


def _disk_error(error: OSError) -> InstallError:
    hint = "Free some space, or install into another disk: torchcheck install --venv DIR"
    return InstallError(f"The target's disk cannot take it: {error}. Nothing was changed.", hint, code="disk-full")


class _Change:
    """The short part: keep, write the journal, install, prove, and make the result final or undo it."""

    def __init__(self, target: Target, incoming: Sequence[Incoming], worked: bool | None, on_event: Listener) -> None:
        self._target = target
        self._purelib = target.paths["purelib"]
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
            proven = self._prove(verify)
            _make_durable(entry)
        except BaseException as error:
            self._fail(entry, error)
            raise
        _commit(self._purelib)
        return proven

    def _keep(self) -> journal.Journal:
        """Keep what will be replaced and write the journal; a full disk ends it here, with nothing changed."""
        paths = list(dict.fromkeys(self._affected()))
        roots = installed.folders(self._target.paths)
        folders = {os.path.dirname(path) for path in paths}
        try:
            _discard(os.path.join(journal.place(self._purelib), "before"))
            entry = journal.Journal(
                started=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
                before={name: dist.as_json() for name, dist in self._before.items()},
                planned={item.name: item.version for item in self._incoming},
                worked=self._worked,
                kept=backup.keep(paths, self._purelib),
                new=tuple(backup.relative(path, self._purelib) for item in self._incoming for path in item.paths),
                strays=tuple(backup.relative(path, self._purelib) for path in backup.strays(folders, roots)),
            )
            journal.write(self._purelib, entry)
        except OSError as error:
            _discard(os.path.join(journal.place(self._purelib), "before"))
            if error.errno not in FULL:
                raise
            raise _disk_error(error) from error
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
            _commit(self._purelib)
            return
        self._tell({"event": "phase", "phase": "restore"})
        _undo(self._target, entry)
        if isinstance(error, TorchcheckError):
            error.message += " What was there before is back." if entry.kept else " Nothing is left of it."


def _undo(target: Target, entry: journal.Journal) -> None:
    purelib = target.paths["purelib"]
    try:
        backup.restore(entry, installed.folders(target.paths))
        _make_durable(entry)
    except OSError as error:
        hint = "Close the programs that use this environment, see that the disk has room, and run torchcheck again."
        message = f"What was there before could not be put back yet: {error}. It is kept, nothing of it is lost."
        raise InstallError(message, hint, code="not-restored") from error
    _commit(purelib)


def _make_durable(entry: journal.Journal) -> None:
    """Bring to the disk what was written, before the journal that could repair it goes."""
    if sys.platform != "win32" and entry.kept:
        os.sync()


def _commit(purelib: str) -> None:
    journal.remove(purelib)
    _clear(purelib)


def _clear(purelib: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(journal.path(purelib) + journal.UNFINISHED)
    for name in LEFT:
        _discard(os.path.join(journal.place(purelib), name))


def _discard(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _differences(
    before: Mapping[str, installed.Dist], after: Mapping[str, installed.Dist]
) -> dict[str, tuple[str | None, str | None]]:
    pairs = {n: (_version(before, n), _version(after, n)) for n in sorted({*before, *after})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _version(dists: Mapping[str, installed.Dist], name: str) -> str | None:
    return dists[name].version if name in dists else None


def _conflicts(dists: Mapping[str, installed.Dist], target: Target) -> list[str]:
    return installed.conflicts(dists, markers(target))


def markers(target: Target) -> dict[str, str]:
    """Give the environment markers of the target: ours, with its Python (PEP 508)."""
    from packaging.markers import default_environment

    ours = {key: str(value) for key, value in default_environment().items()}
    version = str(target.facts.version or ours["python_full_version"])
    return {**ours, "python_full_version": version, "python_version": ".".join(version.split(".")[:2])}
