"""What a check is given: torch, a device, seeds of its own, and the ways to compare.

A check never decides how it is judged: it hands what torch gave and what is right to one of the methods below, and the
worker makes the result. A check that compared nothing is an error, never a pass.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from . import compare
from .compare import FORMATS, Comparison, Format


class Skip(Exception):  # noqa: N818 - it is no error
    """Raised by `Context.skip`: the check does not apply here, and says why."""


class Context:
    """One check's surroundings.

    Attributes:
        torch: the target's torch module.
        device: the device as torch names it: "cpu", "cuda:0", "mps".
        dtype_name: the dtype that this run is for ("float32"), or None when the check chooses its own.
        level: "quick", "default" or "full".
        seed: the run's seed; use `rng` instead of it.
        options: what the job asks of single checks, by name (`seconds` of a soak).
        comparisons: what was compared so far.
        figures: named data for plots, as `figure` took it.
    """

    def __init__(
        self,
        torch: Any,
        *,
        ident: str = "",
        device: str = "cpu",
        dtype: str | None = None,
        level: str = "default",
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up for one check on one device and dtype."""
        self.torch = torch
        self.ident = ident
        self.device = device
        self.dtype_name = dtype
        self.level = level
        self.seed = seed
        self.options = dict(options or {})
        self.comparisons: list[Comparison] = []
        self.notes: list[str] = []
        self.hint: str | None = None
        self.figures: dict[str, Any] = {}

    @property
    def dtype(self) -> Any:
        """The torch dtype of this run (float32 when the check chooses its own)."""
        return getattr(self.torch, self.dtype_name or "float32")

    @property
    def float32(self) -> Any:
        """The torch dtype that a fresh process computes in (None in a torch too broken to have one)."""
        return getattr(self.torch, "float32", None)

    @property
    def format(self) -> Format:
        """The binary format of this run's dtype."""
        return FORMATS[self.dtype_name or "float32"]

    def at_least(self, level: str) -> bool:
        """Say whether this run is at `level` or above it."""
        levels = ("quick", "default", "full")
        return levels.index(self.level) >= levels.index(level)

    def rng(self, *salt: object) -> random.Random:
        """Give a generator that depends on the run's seed, this check's id and `salt` alone."""
        text = repr((self.seed, self.ident, *salt))
        return random.Random(zlib.crc32(text.encode()))  # noqa: S311 - test data, not secrets

    def tensor(self, values: Any, *, dtype: str | Any | None = None, grad: bool = False) -> Any:
        """Put nested lists of numbers on the device in this run's dtype (or `dtype`, by name or torch's own)."""
        if isinstance(dtype, str):
            dtype = getattr(self.torch, dtype)
        made = self.torch.tensor(values, dtype=dtype or self.dtype).to(self.device)
        return made.requires_grad_() if grad else made

    def values(self, tensor: Any) -> list[Any]:
        """Read a tensor's elements as plain numbers, flat in row-major order, exactly as they are held."""
        held = tensor.detach().cpu()
        # A view costs nothing, where nested lists cost more than many a check; torch is not asked to move elements.
        return compare.flat((held.view(-1) if held.dim() > 1 and held.is_contiguous() else held).tolist())

    def close(
        self,
        got: Any,
        expected: Sequence[float],
        *,
        bound: float,
        what: str,
        cancel: Sequence[float] | float = 0.0,
        floor: float | None = None,
        given: Sequence[Any] | None = None,
        dtype: str | None = None,
    ) -> Comparison:
        """Compare within `bound * (u * (|expected| + cancel) + floor)`; see `compare.close`.

        Args:
            got: a tensor, or a flat list of numbers.
            expected: a flat list of float64.
            bound: how many units are allowed; its derivation stands beside the caller.
            what: what is compared, in a few words ("gradient of the weight").
            cancel: K, the magnitude of what cancels inside the formula: one for all, or one an element.
            floor: absolute part before multiplication; the smallest normal of the format when None.
            given: inputs, to show the one that went wrong.
            dtype: name of the format that counts, when it is not this run's.
        """
        fmt = FORMATS[dtype] if dtype else self.format
        numbers = got if isinstance(got, list) else self.values(got)
        floor = fmt.tiny if floor is None else floor
        return self._keep(
            compare.close(numbers, expected, what=what, fmt=fmt, bound=bound, cancel=cancel, floor=floor, given=given)
        )

    def exact(
        self, got: Any, expected: Any, *, what: str, given: Sequence[Any] | None = None, signed_zero: bool = False
    ) -> Comparison:
        """Compare for equality: a tensor or flat list with a flat list, or any two plain values."""
        numbers = self.values(got) if hasattr(got, "detach") else compare.flat(got)
        return self._keep(
            compare.exact(numbers, compare.flat(expected), what=what, given=given, signed_zero=signed_zero)
        )

    def within(
        self, value: float, bound: float, *, what: str, unit: str, expected: Any = None, got: Any = None
    ) -> Comparison:
        """Compare one figure with the most that it may be."""
        return self._keep(compare.within(value, bound, what=what, unit=unit, expected=expected, got=got))

    def true(self, fact: object, *, what: str, got: Any = None, expected: Any = True) -> Comparison:
        """Record something that is so or not so; `what` is true when the check passes."""
        right = bool(fact)
        shown = (expected if right else False) if got is None else got
        return self._keep(
            Comparison(what, 1, 0 if right else 1, 0.0 if right else 1.0, 0.0, "elements", shown, expected)
        )

    def raises(self, kinds: Any, function: Any, *arguments: Any, what: str, **named: Any) -> Comparison:
        """Record that calling a function raises one of `kinds`."""
        try:
            function(*arguments, **named)
        except kinds as error:
            return self.true(True, what=what, got=type(error).__name__)
        return self.true(False, what=what, got="no error", expected=getattr(kinds, "__name__", str(kinds)))

    def skip(self, why: str) -> NoReturn:
        """End the check: it does not apply here."""
        raise Skip(why)

    def note(self, text: str) -> None:
        """Say something that belongs to the result whatever its verdict."""
        self.notes.append(text)

    def figure(self, name: str, data: Any) -> None:
        """Keep JSON-able data that a report draws (loss curves, schedules, errors against bounds)."""
        self.figures[name] = data

    def _keep(self, comparison: Comparison) -> Comparison:
        self.comparisons.append(comparison)
        return comparison
