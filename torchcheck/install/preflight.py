"""What stands in the way of an installation, found before anything is changed (pure: values in, problems out).

One function a problem. `blocking` problems stop the installation; the others are told and it goes on.
"""

from __future__ import annotations

import ntpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torchcheck import shells
from torchcheck.facts import Facts

if TYPE_CHECKING:
    from torchcheck.wheels.plan import Plan

LONGEST_PATH = 259
"""Characters of a path that Windows takes without long path support (MAX_PATH less the closing NUL)."""
LONGEST_IN_TORCH = 128
"""Characters of the longest path in a wheel of torch (2.15.0, counted: a licence in its .dist-info)."""
UNPACKED = 4
"""Bytes on the disk for each byte of a wheel (measured: torch 2.13.0+cpu 3.9, torch 2.15.0 with CUDA 2.2)."""
MARGIN = 64 << 20
VC_REDIST = "winget install --id Microsoft.VCRedist.2015+.x64"
OWN_64 = "Name a 64-bit Python: torchcheck install --python PATH"
OWN_ENVIRONMENT = "torchcheck install --venv .venv"


@dataclass(frozen=True)
class Problem:
    """One thing in the way; `hint` is what to type."""

    code: str
    message: str
    hint: str
    blocking: bool = True

    def as_json(self) -> dict[str, str]:
        """Give the shape of a plan's blocker."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True)
class Situation:
    """All that is judged.

    `site` is the target's site-packages, `sizes` what was fetched (download and unpacked bytes; None: not yet),
    `longest` the longest path below site-packages (0: not known yet), `holders` the programs that use torch's files,
    `owners` the installers of the family's packages, `permitted` says that the user lifts PEP 668.
    """

    facts: Facts
    plan: Plan
    site: str
    installer: str = "pip"
    unpacked: int | None = None
    longest: int = 0
    holders: tuple[str, ...] = ()
    owners: Mapping[str, str | None] = field(default_factory=dict)
    permitted: bool = False
    root: bool = False

    @property
    def windows(self) -> bool:
        """Say whether the target is on Windows."""
        return self.facts.system.os == "windows"


Check = Callable[[Situation], Problem | None]
CHECKS: list[Check] = []


def judge(situation: Situation) -> list[Problem]:
    """Find all problems, blocking ones first."""
    found = [problem for check in CHECKS if (problem := check(situation))]
    return sorted(found, key=lambda problem: not problem.blocking)


def _check(function: Check) -> Check:
    CHECKS.append(function)
    return function


@_check
def _bits(s: Situation) -> Problem | None:
    if s.facts.python.bits != 32:
        return None
    hint = "py -3.12-64 -m venv .venv   (after installing a 64-bit Python from python.org)" if s.windows else OWN_64
    return Problem("python-32-bit", "This Python is a 32-bit one; torch has wheels for 64-bit Python only.", hint)


@_check
def _pip(s: Situation) -> Problem | None:
    if s.installer != "pip" or s.facts.python.pip is not None:
        return None
    python = shells.call(str(s.facts.python.executable or "python"), shells.usual(windows=s.windows))
    else_ = (
        "or use --installer uv" if s.windows else "Debian, Ubuntu: sudo apt install python3-pip; or use --installer uv"
    )
    hint = f"{python} -m ensurepip --upgrade   ({else_})"
    return Problem("no-pip", "The target has no pip.", hint)


@_check
def _managed(s: Situation) -> Problem | None:
    if not s.facts.python.externally_managed or s.permitted or s.facts.python.environment in {"venv", "conda"}:
        return None
    message = "This Python is managed by the operating system, which forbids to install into it (PEP 668)."
    return Problem("externally-managed", message, OWN_ENVIRONMENT)


@_check
def _writable(s: Situation) -> Problem | None:
    if s.facts.python.writable is not False:
        return None
    return Problem("not-writable", f"You may not write to {s.site}.", OWN_ENVIRONMENT)


@_check
def _space(s: Situation) -> Problem | None:
    have, download = s.facts.disk.target_free, s.plan.download_bytes
    need = s.unpacked if s.unpacked is not None else download * (UNPACKED + 1) if download else None
    if not have and have != 0:
        return None
    if need is None or have >= need + MARGIN:
        return None
    hint = "Free some space, or use another disk: torchcheck install --venv DIR"
    message = f"The disk of the target has {_size(have)} free; the installation needs about {_size(need + MARGIN)}."
    return Problem("disk-full", message, hint)


@_check
def _cache(s: Situation) -> Problem | None:
    have, download = s.facts.disk.cache_free, s.plan.download_bytes
    if s.unpacked is not None or not download or not isinstance(have, int) or have >= download:
        return None
    message = f"The disk of pip's cache has {_size(have)} free, the download is {_size(download)}: it cannot be cached."
    hint = (
        '$env:PIP_NO_CACHE_DIR = "1"   (in cmd: set PIP_NO_CACHE_DIR=1)' if s.windows else "export PIP_NO_CACHE_DIR=1"
    )
    return Problem("cache-full", message, hint, blocking=False)


@_check
def _long_paths(s: Situation) -> Problem | None:
    if not s.windows or s.facts.system.long_paths is not False:
        return None
    longest = s.longest or LONGEST_IN_TORCH if "torch" in s.plan.packages else s.longest
    length = len(s.site) + 1 + longest
    if length <= LONGEST_PATH:
        return None
    key = r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem"
    hint = f"reg add {key} /v LongPathsEnabled /t REG_DWORD /d 1 /f   (as administrator; or use a shorter folder)"
    message = f"Paths of {length} characters would be needed below {s.site}; without long paths Windows takes 259."
    return Problem("long-paths", message, hint)


@_check
def _runtime(s: Situation) -> Problem | None:
    if not s.windows or s.facts.system.vc_redist is not None:
        return None
    message = "The Microsoft Visual C++ runtime is missing: torch's DLLs will not load (WinError 126)."
    return Problem("vc-runtime-missing", message, VC_REDIST, blocking=False)


@_check
def _in_use(s: Situation) -> Problem | None:
    if not s.holders:
        return None
    message = f"Files of torch in the target are in use by {', '.join(s.holders)}; Windows does not replace such files."
    if not s.windows:
        message = (
            f"{', '.join(s.holders)} runs with the torch that will be replaced; it may fail when it loads more of it."
        )
    return Problem("files-in-use", message, "Close these programs and try again.", blocking=s.windows)


@_check
def _conda(s: Situation) -> Problem | None:
    if s.facts.python.environment != "conda":
        return None
    owned = [name for name, owner in s.owners.items() if owner == "conda"]
    if owned:
        message = f"{', '.join(owned)} was installed by conda; pip would break it while conda believes it to be whole."
        return Problem("conda-owned", message, "conda remove pytorch torchvision torchaudio   (then once more)")
    message = "This is a conda environment: pip installs beside conda, and a later `conda install` may undo it."
    prefix = str(s.facts.python.prefix or "")
    name = "conda create -n torch python=3.12   (one environment for this alone; then: conda activate torch)"
    hint = name if _base(prefix) else "Install with conda first what is to come from conda."
    return Problem("conda", message, hint, blocking=False)


def _base(prefix: str) -> bool:
    return "envs" not in prefix.replace("\\", "/").split("/")


@_check
def _store(s: Situation) -> Problem | None:
    if s.facts.python.environment != "store":
        return None
    message = "This is the Python of the Microsoft Store: it redirects folders, and its paths are long."
    return Problem(
        "store-python",
        message,
        "py -m venv .venv   (with a Python of python.org; then: torchcheck install --venv .venv)",
        blocking=False,
    )


@_check
def _shared(s: Situation) -> Problem | None:
    if s.facts.python.environment not in {"system", "user", "pipx"}:
        return None
    whose = {
        "system": "for everybody on this machine",
        "user": "for all projects of this user",
        "pipx": "of a tool of pipx",
    }
    who = ", as root" if s.root else ""
    message = f"The target is no virtual environment but the Python {whose[str(s.facts.python.environment)]}{who}."
    return Problem("shared-python", message, OWN_ENVIRONMENT, blocking=False)


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"


def longest_path(paths: tuple[str, ...], site: str) -> int:
    """Count the characters of the longest path below site-packages (Windows paths)."""
    return max((len(ntpath.normpath(path)) - len(ntpath.normpath(site)) - 1 for path in paths), default=0)
