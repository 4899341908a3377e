"""The closed table of diagnosis codes: what each means, its whole story, and what to do about it.

The table is `data/codes.json`. A code is stable: never renamed, never reused. A new one is a row there, a rule or a
signature that yields it, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torchcheck.doctor.diagnosis import Severity

Step = tuple[str, str]


@dataclass(frozen=True)
class Code:
    """One row of the table.

    Attributes:
        code: the slug.
        section: heading under which it is listed.
        severity: severity when an error text shows the failure.
        title: the cause in a few words.
        why: why that is a problem, one or two sentences.
        story: what `doctor --explain` tells beyond: how it comes about, how to tell it, what not to do.
        fix: steps in the order in which to try them, each with its scope; templates, see `remedies`.
        link: where it is documented, or "".
        hinted: severity when only the facts hint at it; None when that makes no difference.
    """

    code: str
    section: str
    severity: Severity
    title: str
    why: str
    story: str
    fix: tuple[Step, ...]
    link: str = ""
    hinted: Severity | None = None


def explain(code: str) -> Code:
    """Give the row of one code.

    Raises:
        KeyError: there is no such code.
    """
    return _table()[code]


def all_codes() -> tuple[Code, ...]:
    """Give every code, in the order of the table."""
    return tuple(_table().values())


@cache
def _table() -> dict[str, Code]:
    rows = json.loads((Path(__file__).parent / "data" / "codes.json").read_text(encoding="utf-8"))
    return {row["code"]: Code(**row | {"fix": tuple((scope, step) for scope, step in row["fix"])}) for row in rows}
