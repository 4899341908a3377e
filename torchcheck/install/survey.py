"""Look at the target for what `preflight` judges: free space, files in use, who installed what."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torchcheck.errors import InstallError, TargetError
from torchcheck.facts import UNKNOWN, Disk, Facts, System
from torchcheck.install import installed
from torchcheck.install.incoming import Incoming
from torchcheck.install.preflight import Situation, judge, longest_path
from torchcheck.live import system_of

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan


def before(plan: Plan, target: Target, facts: Facts | None, installer: str) -> Situation:
    """Survey the target before anything is fetched."""
    site = target.paths["purelib"]
    known = facts or Facts(system=System(os=system_of(sys.platform)), python=target.facts)  # type: ignore[arg-type]
    there = installed.read(target.paths, installed.FAMILY)
    free = _free(site)
    return Situation(
        facts=replace(
            known, disk=replace(known.disk if facts else Disk(), target_free=UNKNOWN if free is None else free)
        ),
        plan=plan,
        site=site,
        installer=installer,
        holders=holders(os.path.join(target.paths["platlib"], name) for name in there)
        if sys.platform == "win32"
        else (),
        owners={name: dist.installer for name, dist in there.items()},
        permitted=os.environ.get("PIP_BREAK_SYSTEM_PACKAGES", "").lower() in {"1", "true", "yes", "on"},
        root=sys.platform != "win32" and os.geteuid() == 0,
    )


def fetched(situation: Situation, incoming: Sequence[Incoming]) -> Situation:
    """Survey again, when it is known what will be unpacked where."""
    paths = tuple(path for item in incoming for path in item.paths)
    free = _free(situation.site)
    disk = replace(situation.facts.disk, target_free=UNKNOWN if free is None else free)
    return replace(
        situation,
        facts=replace(situation.facts, disk=disk),
        unpacked=sum(item.unpacked for item in incoming),
        longest=longest_path(paths, situation.site),
    )


def demand(situation: Situation, tell: Callable[[dict[str, object]], None], told: set[str]) -> None:
    """Tell what was found, and stop where it stands in the way; `told` are the warnings that were given already.

    Raises:
        TargetError: the first blocking problem.
        InstallError: the disk is full.
    """
    for problem in judge(situation):
        if problem.blocking:
            kind = InstallError if problem.code == "disk-full" else TargetError
            raise kind(f"{problem.message} Nothing was changed.", problem.hint, code=problem.code)
        if problem.code not in told:
            told.add(problem.code)
            tell({"event": "warning", **problem.as_json()})


def _free(site: str) -> int | None:
    try:
        return shutil.disk_usage(site).free
    except OSError:
        return None


def holders(folders: Iterable[str]) -> tuple[str, ...]:
    """Name the processes that have loaded libraries below `folders`; what may not be asked is passed over."""
    inside = tuple(os.path.normcase(os.path.realpath(folder)) + os.sep for folder in folders)
    found: list[str] = []
    if sys.platform == "darwin" or not inside:  # macOS does not tell
        return ()
    import psutil

    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error, OSError):
            maps = process.memory_maps(grouped=True)
            if process.pid != os.getpid() and any(os.path.normcase(m.path).startswith(inside) for m in maps):
                found.append(f"{process.info['name']} (process {process.pid})")
    return tuple(found)
