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
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from filelock import Timeout

from torchcheck.errors import TargetError
from torchcheck.install import constraints, installed, journal, survey
from torchcheck.install.bounds import Bounds
from torchcheck.install.change import LEFT, Change, FrontEnd, clear, commit, discard, undo
from torchcheck.install.disk import FULL, disk_error
from torchcheck.install.locking import locked
from torchcheck.install.streaming import Listener, ignore
from torchcheck.install.wanted import arguments, broken, in_place, wanted

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan

Installer = Literal["pip", "uv"]


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
            proven = Change(target, incoming, worked, on_event).carry_out(front, verify)
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
        if entry is not None:
            Bounds(target.paths).check(entry, purelib)
    except (OSError, ValueError, TypeError, KeyError) as error:
        hint = f"Look into {journal.place(purelib)}; `before` holds the files as they were."
        raise TargetError(f"The journal of an interrupted installation is unreadable: {error}.", hint) from error
    staging = os.path.join(journal.place(purelib), "incoming")
    if os.path.exists(staging):
        _end_orphans(staging)
    if entry is None:
        clear(purelib)
        return None
    wanted = ", ".join(f"{name} {version}" for name, version in entry.planned.items())
    story = f"An installation of {wanted}, begun {entry.started}, was interrupted"
    on_event({"event": "phase", "phase": "recover", "text": story})
    if entry.stage == "proving" and not entry.worked:
        commit(purelib)
        return f"{story} after all was installed; it has not been proven yet."
    undo(target, entry)
    return f"{story}; what was there before is back."


def _end_orphans(staging: str) -> None:
    """End an installer that outlived the torchcheck which started it: its command line names our staging folder."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(staging in word for word in process.cmdline()):
                process.kill()
                process.wait(5)


def front_end(installer: Installer, target: Target, staging: str, on_event: Listener) -> FrontEnd:
    """Make the front-end of an installer."""
    if installer == "uv":
        from torchcheck.install.uv import Uv

        return Uv(target, staging, on_event)
    from torchcheck.install.pip import Pip

    return Pip(target, staging, on_event)


def _pinned(plan: Plan, target: Target) -> str | None:
    return constraints.write(target, wanted(plan))


@contextlib.contextmanager
def _staging(purelib: str) -> Iterator[str]:
    """Give an empty folder on the target's disk for what is fetched."""
    folder = os.path.join(journal.place(purelib), "incoming")
    discard(folder)
    try:
        os.makedirs(folder)
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise disk_error(error) from error
    finally:
        if journal.read(purelib) is None:
            discard(folder)


def _differences(
    before: Mapping[str, installed.Dist], after: Mapping[str, installed.Dist]
) -> dict[str, tuple[str | None, str | None]]:
    pairs = {n: (_version(before, n), _version(after, n)) for n in sorted({*before, *after})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _version(dists: Mapping[str, installed.Dist], name: str) -> str | None:
    return dists[name].version if name in dists else None


def _conflicts(dists: Mapping[str, installed.Dist], target: Target) -> list[str]:
    return installed.conflicts(dists, installed.markers(str(target.facts.version or "")))
