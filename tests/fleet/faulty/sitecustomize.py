"""Make one rank wrong, dead, mute or foreign: $TORCHCHECK_FLEET_FAULT is `KIND:RANK[:CHECK]`. For tests alone.

Python imports `sitecustomize` at start-up when this folder is on PYTHONPATH. Only the process that computes for the
rank is touched: the one that runs `rank.py`.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time


class _AfterTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader, execute = spec.loader, spec.loader.exec_module

        def then_break(module):
            execute(module)
            _break(module, *os.environ["TORCHCHECK_FLEET_FAULT"].split(":"))

        loader.exec_module = then_break
        return spec


def _break(torch, kind, _rank, name=""):
    if kind == "bits":
        _flip(torch)
    elif kind == "version":
        torch.__version__ = "1.0.0+other"
    elif kind == "slow":
        _slow(torch)
    elif kind in ACTS:
        _at(torch, name, ACTS[kind])


def _flip(torch):
    """Flip the lowest bit of one element of every product that is large enough."""
    multiply = torch.Tensor.__matmul__

    def wrong(a, b):
        made = multiply(a, b)
        if made.numel() > 100 and made.dtype == torch.float32 and not made.requires_grad:
            made.view(torch.int32).view(-1)[77] ^= 1
        return made

    torch.Tensor.__matmul__ = wrong


def _slow(torch):
    sine = torch.sin

    def late(x):
        time.sleep(0.05)
        return sine(x)

    torch.sin = late


def _at(torch, name, act):
    """Act when a function of torch.distributed is called."""
    from torch import distributed

    called = getattr(distributed, name)

    def then(*arguments, **named):
        act()
        return called(*arguments, **named)

    setattr(distributed, name, then)


def _crash():
    import ctypes

    ctypes.string_at(0)


def _raise():
    raise RuntimeError("planted")


ACTS = {"exit": lambda: os._exit(3), "hang": lambda: time.sleep(3600), "segfault": _crash, "raise": _raise}

_fault = os.environ.get("TORCHCHECK_FLEET_FAULT", "")
_started = sys.orig_argv[1] if len(getattr(sys, "orig_argv", [])) > 1 else ""
if _fault and _started.endswith("rank.py") and os.environ.get("RANK") == _fault.split(":")[1]:
    sys.meta_path.insert(0, _AfterTorch())
