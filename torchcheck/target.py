"""Which interpreter we talk about: found by the rules of the command line, and inspected without importing torch.

Every question goes through the host, so all of it can be replayed; paths are handled as the recorded system has them.
"""

from __future__ import annotations

import ntpath
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torchcheck.errors import TargetError, TorchcheckError, UsageError
from torchcheck.facts import Python
from torchcheck.host import Host

INSPECT_TIMEOUT = 30.0
"""Seconds for an interpreter to describe itself; a cold network file system needs some of them."""
OLDEST = (3, 8)
"""The oldest Python that any wheel of torch 2 is for."""
PROVABLE = (3, 9)
"""The oldest Python whose grammar the suite is written in."""


@dataclass(frozen=True)
class Distribution:
    """One installed distribution, as its metadata and its installer describe it."""

    name: str
    version: str
    path: str
    installer: str | None = None
    direct_url: str | None = None


@dataclass(frozen=True)
class Target:
    """An interpreter that answered, and the environment that it installs into.

    Args:
        python: absolute path to start it by (links are not followed: in a venv they are what makes it one).
        facts: what is known of it, as reports show it.
        paths: its `sysconfig.get_paths()` (purelib, platlib, scripts, data …).
        packages: canonical name to version; torch, torchvision and torchaudio with their local label.
        distributions: all that are installed, in the order of `sys.path`; a name that stands twice is a duplicate.
        broken: leftovers of failed installations (`~orch…`, metadata without a name).
        found_by: how it was chosen: "--python", "VIRTUAL_ENV", "CONDA_PREFIX", ".venv", "own".
        inspection: everything that it said (see native/interpreter.py).
    """

    python: str
    facts: Python
    paths: Mapping[str, str]
    packages: Mapping[str, str]
    distributions: tuple[Distribution, ...]
    broken: tuple[str, ...]
    found_by: str
    inspection: Mapping[str, Any]

    def demand_proof(self) -> None:
        """Refuse a Python that the suite cannot run in.

        Raises:
            TargetError: it is older than the suite's grammar.
        """
        found = re.match(r"(\d+)\.(\d+)", str(self.facts.version))
        if found and (int(found[1]), int(found[2])) < PROVABLE:
            oldest = f"{PROVABLE[0]}.{PROVABLE[1]}"
            message = f"{self.python} is Python {self.facts.version}; torch can be proved on {oldest} or newer."
            hint = "Make an environment with a newer Python, or use `torchcheck install --no-verify` here."
            raise TargetError(message, hint, code="python-too-old")

    def duplicates(self) -> dict[str, list[Distribution]]:
        """Group distributions that are installed more than once: the first of each wins at import."""
        grouped: dict[str, list[Distribution]] = {}
        for one in self.distributions:
            grouped.setdefault(one.name, []).append(one)
        return {name: found for name, found in grouped.items() if len(found) > 1}


def find(host: Host, python: str | None = None) -> Target:
    """Find the target: `python`, else the active environment, else `.venv`, else the interpreter that runs torchcheck.

    A conda base environment counts as active only after `.venv`, since shells activate it by themselves.

    Raises:
        UsageError: `python` names nothing that can be a Python.
        TargetError: there is no environment to use, or what there is does not answer.
    """
    return next(_found(host, python))


def _found(host: Host, python: str | None) -> Iterator[Target]:
    if python is not None:
        yield inspect(host, _named(host, python), "--python")
    if active := host.env("VIRTUAL_ENV"):
        yield inspect(host, _of_environment(host, active, "VIRTUAL_ENV"), "VIRTUAL_ENV")
    conda = host.env("CONDA_PREFIX")
    base = host.env("CONDA_DEFAULT_ENV") in {"base", "root"}
    if conda and not base:
        yield inspect(host, _of_environment(host, conda, "CONDA_PREFIX"), "CONDA_PREFIX")
    paths = _paths(host)
    local = paths.join(host.machine().get("cwd") or "", ".venv")
    if host.kind(local) == "dir":
        yield inspect(host, _of_environment(host, local, ".venv"), ".venv")
    if conda and base:
        yield inspect(host, _of_environment(host, conda, "CONDA_PREFIX"), "CONDA_PREFIX")
    own = inspect(host, str(host.machine().get("executable") or ""), "own")
    if reason := _not_ours(own):
        hint = "Make an environment: `torchcheck install --venv .venv`, or name an interpreter: `--python PATH`."
        raise TargetError(f"No environment is active, there is no .venv here, and {reason}.", hint, code="no-target")
    yield own


def _not_ours(own: Target) -> str:
    """Say why the interpreter that runs torchcheck is not one to install into, or ""."""
    environment, python = own.facts.environment, own.python
    if environment == "pipx":
        return f"torchcheck itself runs in an environment that holds only it ({own.facts.prefix})"
    if own.facts.externally_managed:
        return f"{python} belongs to the operating system (PEP 668)"
    return "" if own.facts.writable else f"{python} may not be written by you"


def _paths(host: Host) -> ModuleType:
    return ntpath if host.machine().get("os") == "windows" else posixpath


def _interpreters(host: Host, folder: str) -> list[str]:
    """Where an environment keeps its interpreter, by system; conda on Windows has it at the top."""
    paths = _paths(host)
    names = (
        ["bin/python", "bin/python3"]
        if paths is posixpath
        else ["Scripts\\python.exe", "python.exe", "bin\\python.exe"]
    )
    return [str(paths.join(folder, name)) for name in names]


def _of_environment(host: Host, folder: str, source: str) -> str:
    found = next((path for path in _interpreters(host, folder) if host.kind(path) == "file"), None)
    if found:
        return found
    message = f"{source} is {folder}, where there is no Python"
    if host.link(_interpreters(host, folder)[0]):
        message = f"{source} is {folder}, whose Python is gone (it was made by one that has been removed or upgraded)"
    again = "py" if _paths(host) is ntpath else "python3"
    hint = f'Make it again: `{again} -m venv --clear "{folder}"`, or name an interpreter: `--python PATH`.'
    raise TargetError(message + ".", hint, code="broken-environment")


def _named(host: Host, python: str) -> str:
    """Resolve what the user gave to --python: a path, the folder of an environment, a name on PATH, or a version."""
    paths = _paths(host)
    here = str(host.machine().get("cwd") or "")
    expanded = paths.join(str(host.machine().get("home") or "~"), python[2:]) if python[:2] in {"~/", "~\\"} else python
    path = str(paths.normpath(paths.join(here, expanded))) if expanded else ""
    kind = host.kind(path) if path else None
    if kind == "dir":
        return _in_folder(host, path, python)
    if kind is None:
        return _on_path(host, python)
    if kind != "file":
        raise UsageError(f"--python {python}: that is no program.", _HINT_PYTHON, code="not-python")
    if not host.access(path, "x"):
        hint = "Name the interpreter itself, such as `--python .venv/bin/python`."
        raise UsageError(f"--python {python}: that file may not be executed.", hint, code="python-not-executable")
    return path


_HINT_PYTHON = "Name an interpreter or the folder of an environment, such as `--python .venv`."


def _in_folder(host: Host, folder: str, python: str) -> str:
    found = next((path for path in _interpreters(host, folder) if host.kind(path) == "file"), None)
    if found is None:
        raise UsageError(
            f"--python {python}: that folder holds no Python environment.", _HINT_PYTHON, code="not-python"
        )
    return found


def _on_path(host: Host, python: str) -> str:
    bare = python and not set(python) & set("/\\:")
    found = (_of_version(host, python) or host.which(python)) if bare else None
    if found is None:
        where = " in this folder or on PATH" if bare else ""
        raise UsageError(f"--python {python}: there is no such file{where}.", _HINT_PYTHON, code="python-not-found")
    return found


def _of_version(host: Host, wanted: str) -> str | None:
    """Find "3.12": the launcher knows on Windows, elsewhere the name says it."""
    if not re.fullmatch(r"\d\.\d+t?", wanted):
        return None
    if _paths(host) is posixpath:
        return host.which(f"python{wanted}")
    launcher = host.which("py")
    ran = host.run([launcher, f"-{wanted}", "-c", "import sys; print(sys.executable)"]) if launcher else None
    return ran.out.strip() or None if ran and ran.ok else None


def inspect(host: Host, python: str, found_by: str, *, check_files: bool = False) -> Target:
    """Let an interpreter describe itself.

    Args:
        host: the machine.
        python: absolute path of the interpreter.
        found_by: how it was chosen, for messages.
        check_files: also compare the files of the torch family with their RECORD (sizes only).

    Raises:
        UsageError: it was named by the user and is no Python.
        TargetError: it hangs, crashes, or is too old to be of use.
    """
    arguments = ["--files"] if check_files else []
    said = host.python(python, "native/interpreter", *arguments, timeout=INSPECT_TIMEOUT)
    version = re.match(r"(\d+)\.(\d+)", str(said.get("version")))
    if version is None:
        raise _silent(python, found_by, said)
    if (int(version[1]), int(version[2])) < OLDEST:
        newer = "py -3.12" if _paths(host) is ntpath else "python3.12"
        hint = f"Make an environment with a newer Python: `{newer} -m venv .venv`."
        message = f"{python} is Python {said['version']}; every wheel of torch needs {OLDEST[0]}.{OLDEST[1]} or newer."
        raise TargetError(message, hint, code="python-too-old")
    try:
        return of_inspection(host, python, found_by, said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # it speaks our language and talks nonsense
        raise _silent(python, found_by, {"error": "garbage", "detail": repr(error)}) from error


def _silent(python: str, found_by: str, said: Mapping[str, Any]) -> TorchcheckError:
    """Word why an interpreter gave no answer."""
    kind, lines = said.get("error"), str(said.get("detail") or "").strip().splitlines()
    last = f" It said: {lines[-1][:200]}" if lines else ""
    wrong = {
        "timeout": f"{python} did not answer within {INSPECT_TIMEOUT:.0f} seconds.",
        "flood": f"{python} prints without end; it is no Python.",
        "missing": f"{python} cannot be started: it, or the program that it needs, is not there.",
        "denied": f"{python} may not be started.{last}",
        "invalid": f"{python} is no program for this machine.",
        "crash": f"{python} crashed before it could say what it is (exit code {said.get('code')}).{last}",
        "garbage": f"{python} ran, but it does not answer as Python does.{last}",
    }
    message = wrong.get(str(kind), f"{python} gave no answer.")
    named = found_by == "--python" and kind not in {"timeout", "crash"}
    code = "python-hangs" if kind == "timeout" else "python-crashes" if kind == "crash" else "not-python"
    return (UsageError if named else TargetError)(message, _HINT_PYTHON, code=code)


def of_inspection(host: Host, python: str, found_by: str, said: Mapping[str, Any]) -> Target:
    """Put together a target from what its interpreter said."""
    from torchcheck.probes import python as interpreter

    known = tuple(
        Distribution(
            str(one["name"]), str(one["version"]), str(one["path"]), one.get("installer"), one.get("direct_url")
        )
        for one in said.get("distributions", ())
    )
    return Target(
        python=python,
        facts=interpreter.describe(host, python, said),
        paths=dict(said.get("paths", {})),
        packages=interpreter.packages(said),
        distributions=known,
        broken=tuple(said.get("broken", ())),
        found_by=found_by,
        inspection=said,
    )
