"""After a failure: the likely causes, with the failure itself as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_facts

if TYPE_CHECKING:
    from torchcheck.cli.output import Output
    from torchcheck.target import Target

MOST = 3
NO_CAUSE = ("environment-ok", "verify-failed", "torch-missing")
"""Codes that only repeat what the failed command has said already."""


def causes(target: Target | None, verification: Mapping[str, Any] | None = None, log: str = "") -> list[dict[str, Any]]:
    """Diagnose the target with a failed verification, or an installer's text, as evidence.

    Returns:
        The likely causes as `doctor` gives them, most likely first; empty when it sees none.
    """
    from torchcheck.doctor import diagnose

    facts = live_facts(target, torch="import" if target and verification else "skip")
    found = diagnose(facts, log, verification, live=True)
    return [d.as_json() for d in found if d.severity == "error" and d.code not in NO_CAUSE][:MOST]


def tell(output: Output, found: list[dict[str, Any]]) -> None:
    """Show causes below a failure."""
    from torchcheck.cli.output import show
    from torchcheck.report.document import cleaned
    from torchcheck.report.render.terminal.reported import likely

    if found and not output.json:
        show(output.log, likely(cleaned(found)))
