"""What installers say, word for word (complaints.json), and what it means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from torchcheck.install.complaints import COMPLAINTS, understand

SAID = json.loads((Path(__file__).parent / "complaints.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", SAID, ids=[f"{number} {row['code']}" for number, row in enumerate(SAID)])
def test_a_complaint_is_understood(row: dict[str, object]) -> None:
    error, _ = understand("\n".join(map(str, row["said"])))  # type: ignore[call-overload]
    assert (error.code, error.exit_code) == (row["code"], row["exit_code"])
    assert error.message
    assert not re.search(r"\{\w+\}", error.message + error.hint), "a place in the text was not filled"


def test_every_complaint_has_a_sample_and_a_remedy() -> None:
    assert {complaint.code for complaint in COMPLAINTS} <= {row["code"] for row in SAID}
    assert all(complaint.hint for complaint in COMPLAINTS)
