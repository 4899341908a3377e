"""Error texts that name their cause: the table of signatures, applied."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding
from torchcheck.doctor.registry import rule
from torchcheck.doctor.signatures import SIGNATURES


@rule
def signature(e: Evidence) -> Iterator[Finding]:
    """The error text is a known one."""
    system = (e.facts.system.os or "")[:1]
    for row in SIGNATURES:
        if system and system not in row.systems:
            continue
        match = e.search(row.pattern)
        if match and not (row.unless and e.search(row.unless)):
            yield Finding(row.code, row.weight, (e.quote(match),), from_log=True)
