"""Give torch a further device, "other", as soon as it has been imported.

Python imports `sitecustomize` at start-up when this folder is on PYTHONPATH. Its tensors hold CPU tensors and say that
they are elsewhere; an operation on tensors of two devices raises, as it does for a GPU. So a machine without a GPU
shows whether every operand of a check is on the device that is being proven.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from pathlib import Path


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Find torch as everybody would, and register the device at the end of its import."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_register(module):
                execute(module)
                sys.path.append(str(Path(__file__).parent))
                import other_backend  # noqa: F401 - importing it registers the device

                sys.path.pop()

            spec.loader.exec_module = then_register
        return spec


sys.meta_path.insert(0, _AfterTorch())
