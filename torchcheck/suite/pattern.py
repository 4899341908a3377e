"""Short patterns of numbers, repeated over large tensors, and read back byte by byte.

An oracle in plain Python costs a microsecond a number, a kernel a nanosecond. So the oracle is asked for one period of
a pattern, the tensor holds as many periods as it takes to cross every SIMD and thread boundary, and each period of the
result must be within the bounds of the first; bytes that repeat need no second look. The period is prime, so each
number meets every SIMD lane.
"""

from __future__ import annotations

import ctypes
import dataclasses
import operator
import struct
import sys
from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import compare

if TYPE_CHECKING:
    from .compare import Format
    from .context import Context

WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
LITTLE = sys.byteorder == "little"


def encode(numbers: Sequence[float], fmt: Format) -> bytes:
    """Give the bytes of numbers that `fmt` holds exactly, as this machine orders them."""
    if fmt.name == "bfloat16":
        wide = array("f", numbers).tobytes()
        start = 2 if LITTLE else 0
        out = bytearray(2 * len(numbers))
        out[0::2], out[1::2] = wide[start::4], wide[start + 1 :: 4]
        return bytes(out)
    if fmt.name == "float16":
        return struct.pack(f"={len(numbers)}e", *numbers)
    return array("d" if fmt.name == "float64" else "f", numbers).tobytes()


def decode(raw: bytes, fmt: Format) -> list[float]:
    """Give the numbers that bytes hold."""
    if fmt.name == "float16":
        return list(struct.unpack(f"={len(raw) // 2}e", raw))
    numbers = array("d" if fmt.name == "float64" else "f")
    if fmt.name == "bfloat16":
        wide, start = bytearray(2 * len(raw)), 2 if LITTLE else 0
        wide[start::4], wide[start + 1 :: 4] = raw[0::2], raw[1::2]
        raw = bytes(wide)
    numbers.frombytes(raw)
    return numbers.tolist()


def rounded(numbers: Sequence[float], fmt: Format) -> list[float]:
    """Round numbers to the nearest that `fmt` holds."""
    if fmt.name == "bfloat16":
        return [fmt.round(x) for x in numbers]
    return decode(encode(numbers, fmt), fmt)


def raw_bytes(tensor: Any) -> bytes:
    """Copy a tensor's elements out of memory, without an operator of torch beyond the copy to the CPU."""
    held = tensor.detach().cpu().contiguous()
    return ctypes.string_at(held.data_ptr(), held.numel() * held.element_size()) if held.numel() else b""


def repeated(context: Context, numbers: Sequence[float], elements: int) -> Any:
    """Make a contiguous tensor of `elements` that repeats `numbers`, in this run's dtype and on its device."""
    period = encode(numbers, context.format)
    width = WIDTHS[context.format.name]
    raw = bytearray((period * (elements // len(numbers) + 1))[: elements * width])
    return context.torch.frombuffer(raw, dtype=context.dtype).to(context.device)


@dataclasses.dataclass(frozen=True)
class Pattern:
    """One period: inputs, exact results, and how far each may be off.

    Attributes:
        given: inputs, shown when one goes wrong.
        expected: exact results.
        reach: absolute error that is allowed, element by element; 0 where the result is exact.
        bound: the roundings that `reach` stands for, to show the error in the same units.
        low: smallest result allowed.
        high: largest result allowed.
    """

    fmt: Format
    given: Sequence[Any]
    expected: Sequence[float]
    reach: Sequence[float]
    bound: float
    low: list[float] = dataclasses.field(init=False)
    high: list[float] = dataclasses.field(init=False)
    _judged: dict[bytes, compare.Comparison] = dataclasses.field(init=False, default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Work out the interval that each result may lie in."""
        object.__setattr__(self, "low", [e - r for e, r in zip(self.expected, self.reach)])
        object.__setattr__(self, "high", [e + r for e, r in zip(self.expected, self.reach)])

    def __len__(self) -> int:
        return len(self.expected)

    @cached_property
    def cancel(self) -> list[float]:
        """The K of `compare.close` with which `bound * u * (|expected| + K)` is the reach."""
        unit = self.bound * self.fmt.u
        return [r / unit - abs(e) if unit else 0.0 for e, r in zip(self.expected, self.reach)]

    def fits(self, numbers: Sequence[float]) -> bool:
        """Say whether numbers, from the start of the period on, all lie in their intervals."""
        times = (len(numbers) - 1) // len(self) + 1
        low, high = (self.low, self.high) if times <= 1 else (self.low * times, self.high * times)
        return all(map(operator.le, low, numbers)) and all(map(operator.le, numbers, high))

    def judge(self, context: Context, tensor: Any, like: Any, what: str) -> bool:
        """Compare a tensor of any layout, element by element in row-major order, with the pattern.

        Its shape and dtype must be those of `like`.
        """
        held = (str(tensor.dtype), list(tensor.shape))
        if held != (str(like.dtype), list(like.shape)):
            context.exact([repr(held)], [repr((str(like.dtype), list(like.shape)))], what=f"{what}: dtype and shape")
        elif tensor.is_contiguous() and tensor.numel():
            self._judge_bytes(context, raw_bytes(tensor), what)
        else:
            self._record(context, context.values(tensor), what)
        return context.comparisons[-1].ok

    def holds(self, raw: bytes) -> bool:
        """Say whether the bytes of a contiguous result are all within bounds; periods of equal bytes are read once."""
        size = len(self) * WIDTHS[self.fmt.name]
        first = raw[:size]
        if first in self._judged and raw == (first * (len(raw) // size + 1))[: len(raw)]:
            return True
        odd = [0, *(at for at in range(size, len(raw), size) if raw[at : at + size] != first)]
        return all(self.fits(decode(raw[at : at + size], self.fmt)) for at in odd)

    def _judge_bytes(self, context: Context, raw: bytes, what: str) -> None:
        width = WIDTHS[self.fmt.name]
        if not self.holds(raw):
            return self._record(context, decode(raw, self.fmt), what)
        first = raw[: len(self) * width]
        if first not in self._judged:  # most spellings of one call give the same bits
            self._judged[first] = self._compare(decode(first, self.fmt), what)
        right = dataclasses.replace(self._judged[first], what=what, elements=len(raw) // width)
        return context.comparisons.append(right)

    def _record(self, context: Context, numbers: Sequence[float], what: str) -> None:
        if len(numbers) > len(self) and self.fits(numbers):
            comparison = dataclasses.replace(self._compare(numbers[: len(self)], what), elements=len(numbers))
        else:
            comparison = self._compare(numbers, what)
        context.comparisons.append(comparison)

    def _compare(self, numbers: Sequence[float], what: str) -> compare.Comparison:
        times, count = len(numbers) // len(self) + 1, len(numbers)
        return compare.close(
            numbers,
            (list(self.expected) * times)[:count],
            what=what,
            fmt=self.fmt,
            bound=self.bound,
            cancel=(self.cancel * times)[:count],
            given=(list(self.given) * times)[:count],
        )
