"""Virtual environments to be broken, and the doctor's command run on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from typing_extensions import Self

PYPI = "https://pypi.org/simple"
LEFT_OUT = ("__pycache__", "pip", "pip-*")


class Environment:
    """A virtual environment of its own; files may be links to another's: unlink before you write."""

    def __init__(self, folder: Path, base: str = sys.executable, *options: str) -> None:
        subprocess.run([base, "-m", "venv", "--without-pip", *options, folder], check=True, timeout=120)
        self.folder, self.base = folder, base
        self.python = folder / "bin" / "python"
        self.packages = Path(self.says("import sysconfig; print(sysconfig.get_path('purelib'))"))

    @classmethod
    def copy(cls, folder: Path, base: str, *left_out: str) -> Self:
        """Link all that stands in another environment's site-packages, except what is left out."""
        environment = cls(folder, base)
        asked = [base, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = subprocess.run(asked, check=True, capture_output=True, encoding="locale", timeout=60).stdout.strip()
        ignored = shutil.ignore_patterns(*LEFT_OUT, *left_out)
        shutil.copytree(site, environment.packages, copy_function=_link, dirs_exist_ok=True, ignore=ignored)
        return environment

    def says(self, code: str) -> str:
        """Give what a line of Python prints."""
        ran = subprocess.run([self.python, "-c", code], check=True, capture_output=True, encoding="locale", timeout=300)
        return ran.stdout.strip()

    def fails(self, code: str, before: Sequence[str] = (), cwd: Path | None = None, **env: str) -> str:
        """Run a line of Python that must fail, and give all that it wrote."""
        ran = run([*before, str(self.python), "-c", code], cwd=cwd, **env)
        assert ran.returncode, ran.stdout
        return ran.stdout + ran.stderr

    def cut(self, name: str, size: int) -> None:
        """Keep only the beginning of a file."""
        place = self.packages / name
        with place.open("rb") as stream:
            start = stream.read(size)
        place.unlink()
        place.write_bytes(start)

    def version(self, name: str) -> str:
        """Give the version of an installed package."""
        return self.says(f"import importlib.metadata as m; print(m.version({name!r}))")

    def install(self, *wanted: str) -> None:
        """Install from PyPI, without dependencies."""
        self._fetch("install", "--no-compile", "--target", str(self.packages), *wanted)

    def unpack(self, wanted: str, folder: Path) -> None:
        """Unpack a wheel of PyPI somewhere."""
        self._fetch("download", "--dest", str(folder), wanted)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)

    def _fetch(self, command: str, *words: str) -> None:
        """Run the pip of the interpreter that this was made with: it suits its version."""
        words = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", *words)
        given = ["--isolated", command, "--only-binary=:all:", "--index-url", PYPI, *words]
        ran = run([self.base, "-m", "pip", *given], PIP_CONFIG_FILE=os.devnull)
        if ran.returncode:
            pytest.skip(f"PyPI did not give {words[-1]}: {ran.stderr.strip().splitlines()[-1]}")


def _link(source: str, place: str) -> None:
    try:
        os.link(os.path.realpath(source), place)
    except OSError:
        shutil.copy2(source, place)


def run(words: Sequence[str], cwd: Path | None = None, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with variables added."""
    return subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | env,
        input=text,
        capture_output=True,
        encoding="locale",
        timeout=400,
        check=False,
    )


def torchcheck(*words: str, before: Sequence[str] = (), text: str = "", **env: str) -> dict[str, Any]:
    """Run a command of torchcheck with --json; give its document."""
    ran = run([*before, sys.executable, "-m", "torchcheck", *words, "--json"], text=text, **env)
    document: dict[str, Any] = json.loads(ran.stdout)
    assert document["exit_code"] == ran.returncode, ran.stderr
    return document


def doctor(
    environment: Environment | None, *words: str, before: Sequence[str] = (), log: str = "", **env: str
) -> list[Mapping[str, Any]]:
    """Run the doctor on an environment, perhaps with a text; give its diagnoses."""
    target = ["--python", str(environment.python)] if environment else []
    given = ["--log", "-"] if log else []
    document = torchcheck("doctor", *target, *given, *words, before=before, text=log, **env)
    assert not document["errors"], document
    found: list[Mapping[str, Any]] = document["data"]["diagnoses"]
    return found


def codes(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the codes of diagnoses, most likely first."""
    return [diagnosis["code"] for diagnosis in found]


def mounted(*commands: str) -> list[str]:
    """Give the words that run a program where these mounts hold, and for it alone; skip where that is not allowed."""
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        pytest.skip("mounts of a process's own are Linux's, by unshare of util-linux")
    words = [unshare, "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    script = " && ".join([*commands, 'exec "$@"'])
    ran = run([*words, "sh", "-c", script, "sh", "true"])
    if ran.returncode:
        pytest.skip(f"no mounts of one's own here: {ran.stderr.strip()}")
    return [*words, "sh", "-c", script, "sh"]
