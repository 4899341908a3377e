"""What every test may ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from local_index import LocalIndex

ROOT = Path(__file__).parent.parent
# A busy machine is no defect of what is tested; each test has pytest-timeout.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow") or os.environ.get("TORCHCHECK_SLOW"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def torch_python() -> str:
    """Give the path of an interpreter that has torch: $TORCHCHECK_TEST_PYTHON, else the one that runs the tests."""
    python = os.environ.get("TORCHCHECK_TEST_PYTHON", sys.executable)
    asked = [python, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('torch') is None)"]
    if subprocess.run(asked, check=False, timeout=60).returncode:
        pytest.skip(f"no torch in {python}: run `torchcheck install`, or set TORCHCHECK_TEST_PYTHON")
    return python


@pytest.fixture
def local_index() -> Iterator[LocalIndex]:
    """Give a running, empty package index on the loopback interface (see tests/local_index.py)."""
    with LocalIndex() as index:
        yield index


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment with nothing in it; give its folder (with a space and an umlaut in its path)."""
    folder = tmp_path_factory.mktemp("Prüf stand") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    return folder
