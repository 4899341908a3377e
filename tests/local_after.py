"""An environment in which something happens to torch right after its import, in every process."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "after_torch"


def after_torch(file: Path) -> dict[str, str]:
    """Give the variables by which `after(torch)` of a file is called; they go over those of the environment."""
    paths = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "TORCHCHECK_AFTER_TORCH": str(file.resolve())}
