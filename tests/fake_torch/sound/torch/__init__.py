"""A torch small enough for the runner's tests: one kernel, which works."""

from __future__ import annotations

__version__ = "2.99.0"
float32 = "float32"
float64 = "float64"


class Tensor:
    def __init__(self, values):
        self.values = values

    def to(self, device):
        return self

    def detach(self):
        return self

    def cpu(self):
        return self

    def dim(self):
        return 1

    def tolist(self):
        return list(self.values)


def tensor(values, dtype=None):
    return Tensor(values)


def zeros(count, dtype=None, device=None):
    return Tensor([0.0] * count)


def kernel(values):
    return Tensor([2.0 * value for value in values])


class _Backends:
    pass


backends = _Backends()
