"""Break four optimizers of a real torch, each in another way. For tests alone."""

from __future__ import annotations

import ctypes
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


def after(torch):
    """Break them as soon as torch has been imported (local_after.py)."""
    optim = torch.optim
    optim.Rprop.step = lambda *_, **__: ctypes.string_at(0)
    optim.Adadelta.step = lambda *_, **__: time.sleep(3600)
    optim.NAdam.step = _raise
    optim.Adamax.step = _wrong(optim.Adamax.step)
