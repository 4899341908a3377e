"""Break five optimizers of a real torch, each in another way. For tests alone.

Python imports `sitecustomize` at start-up when this folder is on PYTHONPATH.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import sys
import time

SAID = "\x00\x1b[31mred\x1b[0m ]]> <b>&amp; \U0001f525 \ud800 \u202eback\r\n| `code` |"


def _raise(*_, **__):
    raise RuntimeError(SAID)


def _wrong(step):
    def stepped(self, *arguments, **named):
        made = step(self, *arguments, **named)
        for group in self.param_groups:
            for p in group["params"]:
                p.data.mul_(1.01)
        return made

    return stepped


class _AfterTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader, execute = spec.loader, spec.loader.exec_module

        def then_break(module):
            execute(module)
            optim = module.optim
            optim.Rprop.step = lambda *_, **__: ctypes.string_at(0)
            optim.Adadelta.step = lambda *_, **__: time.sleep(3600)
            optim.NAdam.step = _raise
            optim.Adamax.step = _wrong(optim.Adamax.step)

        loader.exec_module = then_break
        return spec


sys.meta_path.insert(0, _AfterTorch())
