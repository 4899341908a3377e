"""Which checks run, on which devices and in which dtypes: the list of items that a run consists of."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .registry import LEVELS, Check

IMPORT = "environment.import"
ENUMERATE = "environment.devices"
PREPARATION = (IMPORT, ENUMERATE)
EVERYBODY = ("arithmetic", "matmul", "reductions", "backprop", "movement")
"""What every rank proves itself of a CPU that it shares: at the quick level, since each may sit on another core."""
COMPILING = (
    "optimizers",
    "rates",
    "schedules",
    *(f"training.*.{name}" for name in ("trajectory", "learns", "resuming")),
    *(f"training.{name}" for name in ("accumulating", "amp_training", "closed_form", "compile_*", "copies")),
    *(f"training.{name}" for name in ("*data_parallel", "gradient_scaler", "modes", "same_seed", "scale_policy")),
    *(f"training.{name}" for name in ("fused", "several", "state_dict", "*.two_scaled")),
    "activations.softsign.double_backward",
    "autograd.checkpointing",
    "constraints.*.orthogonal",
    "derivatives.function_transforms",
    *(f"graphs.{name}" for name in ("draws_again", "*segment*", "transformed_functions")),
    "promises.cyclic_scales",
    "promises.recomputed_autocast",
    "pruning.*.prunes",
    "transforms",
    "wrappers.segments",
)
"""Checks whose first call makes torch import its compiler (0.5 s, in which nothing is compiled), as optimizers do."""


@dataclass(frozen=True)
class Item:
    """One check on one device in one dtype (None where the check chooses its own)."""

    check: Check
    device: str
    dtype: str | None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells this item from all others of a run."""
        return (self.check.id, self.device, self.dtype)

    def as_json(self) -> dict[str, Any]:
        """Give the item as it stands in the plan of a `hello`."""
        return {
            "id": self.check.id,
            "title": self.check.title,
            "device": self.device,
            "dtype": self.dtype,
            "timeout": self.check.timeout,
        }


def matches(ident: str, globs: Iterable[str]) -> bool:
    """Say whether an id is meant by one of the globs; `optimizers` means all that is below it."""
    return any(fnmatch.fnmatchcase(ident, glob) or ident.startswith(glob + ".") for glob in globs)


def choose(checks: Iterable[Check], *, level: str, select: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Check]:
    """Keep the checks of a level that were selected and not skipped."""
    depth = LEVELS.index(level)
    within = [check for check in checks if LEVELS.index(check.level) <= depth]
    if level == "quick":
        within = [dataclasses.replace(check, dtypes=_fewest(check.dtypes)) for check in within]
    if level == "full":
        within = [dataclasses.replace(check, dtypes=check.dtypes + check.more) for check in within]
    wanted = [check for check in within if not select or matches(check.id, select)]
    return [check for check in wanted if not matches(check.id, skip)]


def _fewest(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """Keep what models are trained in; float64 and float16 are for the levels above, unless a check has no other."""
    return tuple(dtype for dtype in dtypes if dtype not in ("float64", "float16")) or dtypes


def deal(checks: Sequence[Check], number: int, of: int) -> list[Check]:
    """Deal checks out to the ranks that share a host's CPU: all of them prove it wholly, and `EVERYBODY` each."""
    return [check for index, check in enumerate(checks) if index % of == number or is_for_all_ranks(check)]


def is_for_all_ranks(check: Check) -> bool:
    """Say whether every rank runs a check itself, also of a CPU that it shares."""
    return check.level == LEVELS[0] and matches(check.id, EVERYBODY)


def items(checks: Iterable[Check], devices: Sequence[str]) -> list[Item]:
    """Make the items, in the order of their checks.

    A check for "each" device is repeated on every one, a check for the CPU runs when the CPU is among them, and a
    check that means no device is shown as the CPU's, once.
    """
    made: list[Item] = []
    for check in checks:
        cpu = [device for device in devices if device == "cpu"]
        places = {"each": list(devices), "cpu": cpu, "once": ["cpu"], "rank": [], "ranks": []}[check.devices]
        made += [Item(check, place, dtype) for place in places for dtype in (check.dtypes or (None,))]
    return made


def ordered(items: Iterable[Item]) -> list[Item]:
    """Put items in the order in which they run; a second worker, which has the CPU's alone, comes from the end.

    Accelerators are first. What takes long (it has a limit of its own) stands at either end of the CPU's, never where
    the two meet; and at the second worker's end is what only one of them should pay for: the compiler's import.
    """

    def place(item: Item) -> tuple[bool, bool, bool]:
        compiling, long = matches(item.check.id, COMPILING), item.check.timeout is not None
        return item.device == "cpu", compiling, long if compiling or item.device != "cpu" else not long

    return sorted(items, key=place)


def items_of_ranks(checks: Iterable[Check], device: str) -> list[Item]:
    """Make the items that only a run over many ranks has: what each does for comparison, and what all do together."""
    shared = [check for check in checks if check.devices in ("rank", "ranks")]
    return [Item(check, device, dtype) for check in shared for dtype in (check.dtypes or (None,))]
