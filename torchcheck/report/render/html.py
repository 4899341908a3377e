"""One self-contained page: nothing is loaded from elsewhere, and no value in it can become markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from torchcheck import __version__
from torchcheck.report.document import cleaned
from torchcheck.report.render.charts import Figures, charts
from torchcheck.report.render.markdown import flatten

Data = Mapping[str, Any]
ORDER = ("fail", "crash", "timeout", "error", "known", "pass", "skip")
VERDICTS = {"pass": "Proven", "fail": "Wrong results", "unusable": "Nothing could be verified"}


def verification(data: Data, figures: Figures) -> str:
    """Write a verification as a page."""
    return _page({"facts": {}, "diagnoses": [], "verify": data}, figures)


def report(data: Data, figures: Figures | None = None) -> str:
    """Write a report as a page."""
    return _page(data, figures or {})


def _page(data: Data, figures: Figures) -> str:
    loader = PackageLoader("torchcheck.report.render", "pages")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data, checks = cleaned(data), (data["verify"] or {}).get("checks", [])
    drawn = [(topic, title, Markup(svg)) for topic, title, svg in charts(figures, checks)]  # noqa: S704 - ours, by ElementTree
    return environment.get_template("report.html").render(
        version=__version__,
        facts={section: list(flatten(members)) for section, members in data["facts"].items()},
        diagnoses=data["diagnoses"],
        verify=data["verify"],
        checks=sorted(checks, key=lambda check: ORDER.index(check["status"])),  # what failed first
        headline=_headline(data),
        charts=drawn,
    )


def _headline(data: Data) -> tuple[str, str]:
    """Give the verdict in words, and the class that colours it."""
    errors = sum(d["severity"] == "error" for d in data["diagnoses"])
    if data["verify"] and (data["verify"]["verdict"] != "pass" or not errors):
        verdict = data["verify"]["verdict"]
        return VERDICTS[verdict], "good" if verdict == "pass" else "bad"
    if errors:
        return f"{errors} problem{'s' if errors > 1 else ''} found", "bad"
    return "Nothing wrong was found", "good"
