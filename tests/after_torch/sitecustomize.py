"""Call `after(torch)` of the file that $TORCHCHECK_AFTER_TORCH names once torch has been imported. For tests alone.

Python imports `sitecustomize` at start-up when this folder is on PYTHONPATH; local_after.py makes such an environment.
torch itself stays as it was installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Find torch as everybody would, and do what is asked for at the end of its import."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def then(module):
                execute(module)
                _load(os.environ["TORCHCHECK_AFTER_TORCH"]).after(module)

            loader.exec_module = then
        return spec


def _load(file):
    spec = importlib.util.spec_from_file_location("torchcheck_after_torch", file)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if os.environ.get("TORCHCHECK_AFTER_TORCH"):
    sys.meta_path.insert(0, _AfterTorch())
