"""What a check is, and the one table that all of them are in.

A check is a function of one `Context`. Its id is its module's name and its own (`backprop.mlp`), with the name of a
table's row between them when it is made once a row (`activations.gelu.backward`); an underscore that ends a name, as
Python's keywords need it, is not part of it. The first line of its docstring is
its title; `{row}` in it becomes the row's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .context import Context

LEVELS = ("quick", "default", "full")
FLOATS = ("float64", "float32", "bfloat16", "float16")


class Row(Protocol):
    """An entry of a table that checks are made from."""

    @property
    def name(self) -> str:
        """Name as it stands in the id: lower case, digits, underscores."""
        ...


@dataclass(frozen=True)
class Check:
    """One thing that is proven.

    Attributes:
        id: stable public name.
        title: one sentence that is true when the check passes.
        oracle: where the expected values come from, in a few words.
        run: the function; it compares through its context and returns nothing.
        level: the cheapest level that includes it: "quick", "default" or "full".
        dtypes: dtype names that it is repeated for, or () when it chooses its own.
        devices: "each" to run on every selected device, "cpu" for the CPU alone, "once" when no device is meant; with
            `--nproc` or under torchrun only: "rank" for every rank by itself, "ranks" for all of them together.
        needs: names of modules, or dotted attributes of torch (`torch.optim.Muon`), without which it is skipped.
        timeout: seconds of its own, when the general limit is too short; else None.
        more: dtype names that it is repeated for at the full level alone.
        lax: float32 stays as the user set it (TF32, bfloat16); other checks compute it in full on accelerators.
    """

    id: str
    title: str
    oracle: str
    run: Callable[[Context], None]
    level: str
    dtypes: tuple[str, ...]
    devices: str
    needs: tuple[str, ...]
    timeout: float | None
    more: tuple[str, ...] = ()
    lax: bool = False


_checks: dict[str, Check] = {}


def check(
    *,
    oracle: str,
    level: str = "default",
    dtypes: Iterable[str] = (),
    devices: str = "each",
    needs: Iterable[str] | Callable[[Any], Iterable[str]] = (),
    each: Iterable[Row] | Mapping[str, Any] | None = None,
    timeout: float | None = None,
    more: Iterable[str] = (),
    lax: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a check; with `each`, as one check for every row of a table.

    Without `each` the function is called as `f(context)`, with it as `f(context, row)`.

    Args:
        oracle: where the expected values come from, in a few words.
        level: the cheapest level that includes the check.
        dtypes: dtype names to repeat it for; the context then has `dtype`.
        devices: "each", "cpu", "once", "rank" or "ranks".
        needs: modules or dotted torch attributes it cannot do without; may be a function of the row.
        each: rows with a `name`, or a mapping of name to row.
        timeout: seconds of its own.
        more: dtype names that only the full level repeats it for.
        lax: leave float32 in the precision that the user allowed, also on an accelerator.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        module = _topic(function.__module__)
        title = (function.__doc__ or "").strip().partition("\n")[0]
        for name, row in _rows(each):
            run = function if row is None else _bound(function, row)
            wanted = tuple(needs(row)) if callable(needs) else tuple(needs)
            ident = ".".join(part for part in (module, name, function.__name__.rstrip("_")) if part)
            if ident in _checks:
                raise ValueError(f"two checks are called {ident}")
            _checks[ident] = Check(
                ident,
                title.replace("{row}", name),
                oracle,
                run,
                level,
                tuple(dtypes),
                devices,
                wanted,
                timeout,
                tuple(more),
                lax,
            )
        return function

    return register


def _rows(each: Iterable[Row] | Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if each is None:
        return [("", None)]
    if isinstance(each, Mapping):
        return list(each.items())
    return [(row.name, row) for row in each]


def _topic(module: str) -> str:
    """Name the module of `checks` that a function is from; a package there is one topic, whatever its parts."""
    return module.partition(".checks.")[2].partition(".")[0] or module.rpartition(".")[2]


def _bound(function: Callable[..., None], row: Any) -> Callable[[Context], None]:
    return lambda context: function(context, row)


def all_checks() -> list[Check]:
    """Import every module of `checks` and return the checks in the order they were defined."""
    package = importlib.import_module(__package__ + ".checks")
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        try:
            importlib.import_module(f"{package.__name__}.{found.name}")
        except Exception as error:  # noqa: BLE001, PERF203 - one topic that cannot be read must not silence the others
            _checks[found.name] = _unreadable(found.name, error)
    return list(_checks.values())


def _unreadable(topic: str, error: Exception) -> Check:
    """Stand in for a module of checks that cannot be imported: its one check says so."""

    def run(_: Context) -> None:
        raise error

    return Check(topic, f"The checks of {topic} can be read.", "none", run, "quick", (), "once", (), None)
