"""Make one rank wrong, dead, mute or foreign: $TORCHCHECK_FLEET_FAULT is `KIND:RANK[:CHECK]`. For tests alone.

It happens to a torch that has just been imported (local_after.py).
"""

from __future__ import annotations

import os
import sys
import time


def after(torch):
    """Touch the process that computes for the rank, the one that runs `rank.py`, and no other."""
    fault = os.environ["TORCHCHECK_FLEET_FAULT"].split(":")
    started = sys.orig_argv[1] if len(getattr(sys, "orig_argv", [])) > 1 else ""
    if started.endswith("rank.py") and os.environ.get("RANK") == fault[1]:
        _break(torch, *fault)


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
