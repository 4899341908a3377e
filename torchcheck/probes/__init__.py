"""From a host to facts: one module a topic, found by scanning, so that adding a topic is adding a file.

A topic has `probe(asked: Asked) -> Partial`: members of `facts.Facts` by their name, as far as it knows them. What two
topics both tell is joined: GPUs and notes in the order of the modules' names, drivers by vendor. A topic that raises
costs only itself: it becomes a note. Every byte comes from the host; what has a leading underscore is shared.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torchcheck.facts import UNKNOWN, Facts, from_json, to_json
from torchcheck.host import Answer, Host
from torchcheck.target import Target

TorchMode = Literal["import", "metadata", "skip"]
Partial = Mapping[str, Any]
IMPORT_TIMEOUT = 120.0
"""Seconds that `import torch` may take; from a cold network file system it takes tens of them."""


@dataclass(frozen=True)
class Asked:
    """What a topic is given: the host, the target (None: only the machine is of interest), and how to look at torch."""

    host: Host
    target: Target | None = None
    torch: TorchMode = "import"
    timeout: float = IMPORT_TIMEOUT


def probe(host: Host, target: Target | None, *, torch: TorchMode = "import", timeout: float = IMPORT_TIMEOUT) -> Facts:
    """Collect the facts of a machine and a target interpreter.

    Args:
        host: whom to ask.
        target: the interpreter, or None for the machine alone.
        torch: "import" runs `import torch` in the target (seconds), "metadata" reads its version.py, "skip" neither.
        timeout: seconds that the import may take.
    """
    asked = Asked(Remembering(host), target, torch, timeout)
    found: dict[str, Any] = {}
    for name in topics():
        try:
            part = importlib.import_module(f"{__name__}.{name}").probe(asked)
        except Exception as error:  # noqa: BLE001 (one topic's surprise must not cost the others)
            part = {"notes": (f"{name}: {type(error).__name__}: {error}",)}
        found = join(found, part)
    return printable(Facts(**found))


def printable(facts: Facts) -> Facts:
    """Replace bytes of file names and variables that are no text, which no report could print."""
    document = json.dumps(to_json(facts), ensure_ascii=False)
    clean = document.encode("utf-8", "replace").decode()
    return facts if clean == document else from_json(json.loads(clean))


def topics() -> list[str]:
    """Names of the modules that hold a topic."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def join(known: Partial, new: Partial) -> dict[str, Any]:
    """Add what one topic tells to what is known."""
    joined = dict(known)
    for name, value in new.items():
        before = joined.get(name, UNKNOWN)
        if before is UNKNOWN:
            joined[name] = value
        elif isinstance(value, tuple):
            joined[name] = before + value
        else:
            changes = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            joined[name] = dataclasses.replace(before, **{k: v for k, v in changes.items() if v is not UNKNOWN})
    return joined


class Remembering(Host):
    """Ask each question once: the topics share many."""

    def __init__(self, host: Host) -> None:
        """Ask `host` for what is not known yet."""
        self._host = host
        self._known: dict[str, Answer] = {}

    def ask(self, operation: str, *arguments: Any) -> Answer:
        """Answer from memory, or ask."""
        key = repr((operation, arguments))
        if key not in self._known:
            self._known[key] = self._host.ask(operation, *arguments)
        return self._known[key]
