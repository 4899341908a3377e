"""Run an installer and follow what it says, line by line; it and its children end with us."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

from torchcheck import processes
from torchcheck.errors import InstallError
from torchcheck.install import constraints

Event = dict[str, object]
Listener = Callable[[Event], None]
PATHS_IN_ENV = ("PIP_CONFIG_FILE", "PIP_CONSTRAINT", "PIP_CERT", "PIP_FIND_LINKS", "UV_CONSTRAINT", "UV_FIND_LINKS")


def ignore(_event: Event) -> None:
    """Listen to nothing."""


def follow(argv: Sequence[str], cwd: str, env: Mapping[str, str], on_line: Callable[[str], None]) -> tuple[int, str]:
    """Run a program to its end in a folder of ours (never the user's: a `pip.py` there would be run).

    Returns:
        Its exit code, and all that it said (standard output and error as they came).
    """
    said: list[str] = []
    try:
        with processes.started(argv, cwd=cwd, env=env, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                said.append(line)
                on_line(line)
            code = process.wait()
    except OSError as error:
        raise InstallError(f"{argv[0]} cannot be started: {error.strerror}.", code="installer-not-started") from error
    return code, "\n".join(said)


def environment(staging: str, **more: str) -> dict[str, str]:
    """Give the user's environment (proxies, certificates and pip's settings stay) with ours on top.

    Our own constraints are left out: they hold off others, not the one who wrote them.
    Temporary files go to the staging folder: it lies on the disk that was measured, and is cleaned up by us.
    """
    env = dict(os.environ)
    for name in PATHS_IN_ENV:
        words = [word for word in env.pop(name, "").split(" ") if word and not word.endswith(constraints.NAME)]
        if words:
            env[name] = " ".join(os.path.abspath(word) if os.path.exists(word) else word for word in words)
    temporary = os.path.join(staging, "tmp")
    os.makedirs(temporary, exist_ok=True)
    ours = {"TMPDIR": temporary, "TEMP": temporary, "TMP": temporary, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return {**env, **ours, **more}
