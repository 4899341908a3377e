"""uv as the installer: the same plan and the same transaction as with pip."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torchcheck.errors import UsageError
from torchcheck.install import installed
from torchcheck.install.complaints import understand
from torchcheck.install.incoming import Incoming
from torchcheck.install.pip import PAUSES, sources
from torchcheck.install.streaming import Listener, environment, follow

if TYPE_CHECKING:
    from torchcheck.target import Target

TRANSLATED: dict[str, tuple[str, ...]] = {"--pre": ("--prerelease=allow",), "--no-warn-script-location": ()}
"""What `pip install` and `uv pip install` say differently."""


def program(platform: str = sys.platform) -> str:
    """Find uv: beside our own interpreter, on the PATH (never in the current folder), or where its installer puts it.

    Raises:
        UsageError: there is none.
    """
    name = "uv.exe" if platform == "win32" else "uv"
    on_path = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)]
    usual = [os.path.expanduser(os.path.join("~", *parts)) for parts in ((".local", "bin"), (".cargo", "bin"))]
    for folder in (os.path.dirname(sys.executable), *on_path, *usual):
        found = os.path.join(folder, name)
        if os.path.realpath(folder) != os.path.realpath(os.getcwd()) and os.access(found, os.X_OK):
            return found
    hint = "Install it (https://docs.astral.sh/uv/), or use --installer pip."
    raise UsageError("There is no uv on this machine.", hint, code="no-uv")


class Uv:
    """Drive uv for a target."""

    def __init__(self, target: Target, staging: str, on_event: Listener) -> None:
        """Work in `staging`, a folder on the target's disk; nothing runs yet."""
        self._target = target
        self._staging = staging
        self._tell = on_event
        self._uv = program()
        self._sources: list[str] = []

    def fetch(self, arguments: Sequence[str], again: Sequence[str] = ()) -> list[Incoming]:
        """Resolve, then unpack what would be installed into a scratch folder: that fills uv's cache.

        `again` are exact pins of what is there, but damaged.

        Raises:
            TorchcheckError: with what uv's complaint means; the target is untouched.
        """
        words = [new for word in arguments for new in TRANSLATED.get(word, (word,))]
        self._sources = sources(words)
        said = self._run("--dry-run", *words)
        pins = [f"{name}==={version}" for name, version in re.findall(r"(?m)^ [+~] (\S+)==(\S+)", said)]
        pins += again
        if not pins:
            return []
        scratch = os.path.join(self._staging, "scratch")
        self._run("--target", scratch, "--no-deps", *self._sources, "--requirement", self._listed(pins))
        dists = installed.read({"purelib": scratch, "platlib": scratch})
        return [_incoming(dist, scratch, self._target.paths) for dist in dists.values()]

    def change(self, incoming: Sequence[Incoming]) -> None:
        """Install from uv's cache, without the network.

        Raises:
            TorchcheckError: with what uv's complaint means; the target may be half changed.
        """
        pins = self._listed([item.pin for item in incoming])
        self._run("--offline", "--no-deps", "--reinstall", *self._sources, "--requirement", pins)

    def _listed(self, lines: Sequence[str]) -> str:
        listing = os.path.join(self._staging, "uv.txt")
        with open(listing, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
        return listing

    def _run(self, *arguments: str) -> str:
        argv = [self._uv, "pip", "install", "--python", self._target.python, "--no-progress", *arguments]
        for pause in (*PAUSES, None):
            code, said = follow(argv, self._staging, environment(self._staging), self._hear)
            if code == 0:
                return said
            error, again = understand(said)
            if pause is None or not again:
                raise error
            self._tell({"event": "retry", "code": error.code, "message": error.message, "seconds": pause})
            time.sleep(pause)
        raise AssertionError("the loop returns or raises")

    def _hear(self, line: str) -> None:
        self._tell({"event": "log", "text": line})


def _incoming(dist: installed.Dist, scratch: str, paths: Mapping[str, str]) -> Incoming:
    """Say where the files of a scratch installation will be in the target; programs and data have two candidates."""
    names = [os.path.relpath(path, scratch) for path in installed.files(dist)]
    sizes = [
        os.path.getsize(os.path.join(scratch, name)) for name in names if os.path.isfile(os.path.join(scratch, name))
    ]
    homes = dict.fromkeys([paths["purelib"], paths["platlib"], paths["data"]])
    placed = [os.path.join(home, name) for name in names for home in homes]
    programs = [os.path.basename(name) for name in names if os.path.dirname(name) in {"bin", "Scripts"}]
    placed += [os.path.join(paths["scripts"], name) for name in programs]
    return Incoming(installed.normal(dist.name), dist.version, tuple(placed), sum(sizes), dist.requires)
