"""What the doctor says: one cause, with its evidence and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Diagnosis:
    """One likely cause.

    Args:
        code: the stable slug (see `codes`).
        severity: error (torch or the accelerator cannot work), warning (works, but will bite), note (worth knowing).
        title: the cause in a few words.
        evidence: what was seen, one sentence each, most telling first.
        why: why that is a problem.
        fix: commands to paste, or actions, in the order in which to try them.
        link: where the cause is documented, or "".
    """

    code: str
    severity: Severity
    title: str
    evidence: tuple[str, ...]
    why: str
    fix: tuple[str, ...]
    link: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the shape that `diagnoses` has in every JSON document."""
        return {
            "code": self.code,
            "severity": self.severity,
            "title": self.title,
            "evidence": list(self.evidence),
            "why": self.why,
            "fix": list(self.fix),
            "link": self.link,
        }
