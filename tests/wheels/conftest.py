"""What the tests of wheels share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # score_plan, which also runs by itself


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is read from indexes out of the user's own cache."""
    monkeypatch.setenv("TORCHCHECK_CACHE_DIR", str(tmp_path / "cache"))
