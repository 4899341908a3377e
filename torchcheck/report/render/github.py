"""For GitHub Actions: annotations in the log, and a step summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torchcheck.report.document import printable
from torchcheck.report.render import markdown

ANNOTATION = {"fail": "error", "error": "error", "crash": "error", "timeout": "error", "known": "warning"}


def workflow_commands(data: Mapping[str, Any]) -> Iterator[str]:
    """Give a workflow command for every result that somebody should look at."""
    for check in data["checks"]:
        level = ANNOTATION.get(check["status"])
        if level:
            where = "/".join(filter(None, [check["device"], check["dtype"]]))
            message = "\n".join(str(p) for p in (f"[{where}] {check['status']}", check["detail"], check["hint"]) if p)
            yield f"::{level} title={_property(check['id'])}::{_data(message)}"


def summary(data: Mapping[str, Any]) -> str:
    """Write the step summary: verdict, what failed and what to do."""
    return "\n".join(["## torchcheck", "", *markdown.verification(data), ""])


def _data(text: str) -> str:
    """Escape a message as the runner's toolkit does."""
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
