"""Real environments, a real pip, and a real index to install from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_index import LocalIndex
from local_targets import RELEASES, family, plan_of, python_in, target_of
from local_wheels import sympy_wheels, trio

from torchcheck.target import Target


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide this machine's settings of pip and uv from pip and uv; keep caches apart."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VIRTUAL_ENV"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("uv-cache")))
    monkeypatch.setenv("UV_NO_CONFIG", "1")


@pytest.fixture(scope="module")
def stocked() -> Iterator[LocalIndex]:
    """Give an index with two releases for two backends."""
    with LocalIndex() as index:
        for backend in ("cpu", "cu130"):
            for release in RELEASES:
                index.add(f"whl/{backend}", *trio(*release, backend))
            index.add(f"whl/{backend}", *sympy_wheels())
        yield index


@pytest.fixture
def index(stocked: LocalIndex) -> Iterator[LocalIndex]:
    """Give the stocked index, behaving."""
    stocked.forgive()
    yield stocked
    stocked.forgive()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one environment with pip, to be copied from: ten times as fast as making each.

    $TORCHCHECK_TEST_PIP names another pip than the one that Python brings (`pip==22.0.4`).
    """
    folder = tmp_path_factory.mktemp("pristine") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    if wanted := os.environ.get("TORCHCHECK_TEST_PIP"):
        pip = [str(python_in(folder)), "-m", "pip", "install", "-q", wanted]
        env = {name: value for name, value in os.environ.items() if name not in {"PIP_CONFIG_FILE", "PIP_CACHE_DIR"}}
        subprocess.run(pip, check=True, timeout=300, env=env)
    return folder


@pytest.fixture(scope="session")
def with_torch(pristine: Path) -> Path:
    """Make an environment with the older release for the processor, to be copied from."""
    folder = pristine.parent / "with torch"
    copy(pristine, folder)
    with LocalIndex() as index:
        index.add("whl/cpu", *trio(*RELEASES[0], "cpu"), *sympy_wheels())
        plan = plan_of(str(python_in(folder)), family(0, "cpu"), "--index-url", index.url("whl/cpu"))
        env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
        subprocess.run([*plan.command, "-q"], check=True, timeout=120, env=env)
    return folder


def copy(source: Path, target: Path) -> None:
    """Copy an environment by hard links: nothing here writes into existing files."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


@pytest.fixture
def make_target(pristine: Path, tmp_path: Path) -> Callable[[], Target]:
    """Give a maker of fresh environments, with a space and other letters in their path."""

    def make() -> Target:
        folder = tmp_path / f"mon env é{sum(1 for _ in tmp_path.iterdir())}"
        copy(pristine, folder)
        return target_of(python_in(folder))

    return make


@pytest.fixture
def target(make_target: Callable[[], Target]) -> Target:
    return make_target()


@pytest.fixture
def torch_target(with_torch: Path, tmp_path: Path) -> Target:
    """Give an environment with torch 2.14.1+cpu and its companions."""
    folder = tmp_path / "mon env à torch"
    copy(with_torch, folder)
    return target_of(python_in(folder))
