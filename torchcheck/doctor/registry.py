"""Rules: one decorated function each, which reads evidence and yields findings."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from torchcheck.doctor.evidence import Evidence, Finding

Judge = Callable[[Evidence], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule; its id is module and name, its title the first line of its docstring."""

    id: str
    title: str
    judge: Judge


_rules: dict[str, Rule] = {}


def rule(judge: Judge) -> Judge:
    """Register a function as a rule."""
    name = f"{judge.__module__.rpartition('.')[2]}.{judge.__name__}"
    _rules[name] = Rule(name, (judge.__doc__ or "").strip().partition("\n")[0], judge)
    return judge


@cache
def rules() -> tuple[Rule, ...]:
    """Give every rule of the modules in `doctor.rules`, in the order of their names."""
    from torchcheck.doctor import rules as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(_rules.values())
