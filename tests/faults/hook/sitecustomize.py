"""Plant the fault that $TORCHCHECK_FAULT names as soon as torch has been imported; without it, do nothing.

Python imports `sitecustomize` at start-up when this folder is on PYTHONPATH. torch itself stays as it was installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import traceback
from pathlib import Path


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Find torch as everybody would, and plant the fault at the end of its import."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def then_plant(module):
                execute(module)
                _plant(os.environ["TORCHCHECK_FAULT"])

            loader.exec_module = then_plant
        return spec


def _plant(name):
    sys.path.append(str(Path(__file__).resolve().parents[1]))
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


if os.environ.get("TORCHCHECK_FAULT"):
    sys.meta_path.insert(0, _AfterTorch())
