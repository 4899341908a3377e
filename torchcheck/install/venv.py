"""Make a virtual environment for `--venv DIR`."""

from __future__ import annotations

import os
import shutil
import sys

from torchcheck import processes
from torchcheck.errors import TargetError, UsageError

PATIENCE = 300.0


def python_of(folder: str) -> str:
    """Give the path of the interpreter in a virtual environment."""
    inside = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return os.path.join(os.path.abspath(folder), *inside)


def make(folder: str, python: str, *, installer: str = "pip") -> str:
    """Make a virtual environment, unless there is one; give the path of its interpreter.

    Args:
        folder: where; may hold spaces and any letters.
        python: the interpreter that it is made of (absolute path).
        installer: "uv" makes it with uv, and then without pip.

    Raises:
        UsageError: there is something else in that folder.
        TargetError: it cannot be made.
    """
    inside = python_of(folder)
    if os.path.isfile(os.path.join(folder, "pyvenv.cfg")) and os.path.isfile(inside):
        return inside
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        hint = "Name a folder that does not exist yet."
        raise UsageError(f"{folder} exists and is no virtual environment.", hint, code="venv-occupied")
    made = False
    try:
        ran = processes.run(_argv(os.path.abspath(folder), python, installer), timeout=PATIENCE)
        made = ran.ok and os.path.isfile(inside)
    finally:
        if not made:  # half an environment would be taken for a whole one the next time
            shutil.rmtree(folder, ignore_errors=True)
    if not made:
        raise _error(ran.out + ran.err, folder, python)
    return inside


def _argv(folder: str, python: str, installer: str) -> list[str]:
    if installer == "uv":
        from torchcheck.install.uv import program

        return [program(), "venv", "--python", python, folder]
    return [python, "-I", "-m", "venv", folder]  # -I: a `venv.py` in the current folder is not run


def _error(said: str, folder: str, python: str) -> TargetError:
    if "ensurepip" in said:
        hint = "sudo apt install python3-venv   (Debian, Ubuntu), or use uv: --installer uv"
        return TargetError(f"{python} comes without what makes virtual environments.", hint, code="no-venv")
    words = " ".join(said.split())[-300:]
    hint = "Check that its parent folder can be written to."
    return TargetError(f"The virtual environment {folder} could not be made: {words}", hint, code="venv-failed")
