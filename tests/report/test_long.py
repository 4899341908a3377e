"""Facts from elsewhere without end: what is shown of them has one, and says so."""

from __future__ import annotations

import pytest

from torchcheck.cli.output import show
from torchcheck.report.render import html, markdown
from torchcheck.report.render.terminal import reported

SAID = "which --json shows"


def report(gpus: int) -> dict:
    facts = {"system": {"os": "linux"}, "gpus": [{"vendor": "nvidia", "name": f"GPU {n}"} for n in range(gpus)]}
    return {"facts": facts, "diagnoses": [], "verify": None}


def text(data: dict) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=100, color_system=None, highlight=False)
    show(console, reported.report(data))
    return console.file.getvalue()


@pytest.mark.parametrize("render", [text, markdown.report, html.report])
def test_a_report_shows_so_many_facts_and_counts_the_others(render) -> None:
    shown = markdown.ROWS // 2
    few, many = render(report(shown)), render(report(10 * shown))
    assert f"GPU {shown - 1}" in few
    assert SAID not in few
    assert f"GPU {shown - 1}" in many
    assert f"GPU {shown}" not in many
    assert f"{9 * markdown.ROWS} more, {SAID}" in many
