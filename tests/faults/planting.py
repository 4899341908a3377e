"""Plant the fault that $TORCHCHECK_FAULT names in a torch that has just been imported (local_after.py)."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path


def after(_torch):
    """Plant; without a name, do nothing."""
    name = os.environ.get("TORCHCHECK_FAULT")
    if not name:
        return
    sys.path.append(str(Path(__file__).resolve().parent))
    said = "planted"
    try:
        from planted import registry

        registry.plant(name)
    except Exception:  # noqa: BLE001 - torch stays sound, and whoever planted learns why
        said = traceback.format_exc()
    finally:
        sys.path.pop()
    report = os.environ.get("TORCHCHECK_FAULT_REPORT")
    if report:
        Path(report).write_text(said, encoding="utf-8")
    elif said != "planted":
        sys.stderr.write(said)
