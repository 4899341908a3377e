"""One self-contained page: nothing is loaded from elsewhere, and no value in it can become markup."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from torchcheck import __version__
from torchcheck.report.document import cleaned
from torchcheck.report.matrix import Matrix, Row, matrix
from torchcheck.report.pictures import Figures, Line, Picture, errors, pictures
from torchcheck.report.render.charts import COLOURS, Curve, finite, lines
from torchcheck.report.render.markdown import URL, rows
from torchcheck.report.tally import BAD, tally, topics

Data = Mapping[str, Any]
ORDER = (*BAD, "known", "pass", "skip")
VERDICTS = {"pass": "Proven", "fail": "Wrong results", "unusable": "Nothing could be verified"}
SLOWEST = 12
"""How many of the slowest checks are listed."""
MOST_COLUMNS = 40
"""How many checks the matrix of ranks shows, those first that most ranks did not pass."""


def verification(data: Data, figures: Figures) -> str:
    """Write a verification as a page."""
    return _page({"facts": {}, "diagnoses": data.get("diagnoses") or [], "verify": data}, figures)


def report(data: Data, figures: Figures | None = None) -> str:
    """Write a report as a page."""
    return _page(data, figures or {})


def _page(data: Data, figures: Figures) -> str:
    loader = PackageLoader("torchcheck.report.render", "pages")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(figure=_figure, seconds=_seconds, linked=_linked)
    data, figures = cleaned(data), cleaned(figures)
    script = _source(loader, environment, "page.js")
    facts = {section: list(rows(members)) for section, members in data["facts"].items()}
    return environment.get_template("page.html").render(
        version=__version__,
        style=Markup(_source(loader, environment, "page.css")),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        facts={section: shown for section, shown in facts.items() if shown},
        diagnoses=data["diagnoses"],
        headline=_headline(data),
        verify=data["verify"],
        **_verified(data["verify"] or {}, figures),
    )


def _source(loader: PackageLoader, environment: Environment, name: str) -> str:
    return loader.get_source(environment, name)[0].strip()


def _headline(data: Data) -> tuple[str, str]:
    """Give the verdict in words, and the class that colours it."""
    wrong = sum(d["severity"] == "error" for d in data["diagnoses"])
    if data["verify"] and (data["verify"]["verdict"] != "pass" or not wrong):
        verdict = data["verify"]["verdict"]
        return VERDICTS[verdict], "good" if verdict == "pass" else "bad"
    if wrong:
        return f"{wrong} problem{'s' if wrong > 1 else ''} found", "bad"
    return "Nothing wrong was found", "good"


def _verified(verify: Data, figures: Figures) -> dict[str, Any]:
    """Give what the page says of a verification, part by part; empty parts where there was none."""
    checks: Sequence[Data] = verify.get("checks", [])
    devices = list(dict.fromkeys(check["device"] or "" for check in checks))
    return {
        "devices": devices,
        "failures": sorted((c for c in checks if c["status"] in BAD), key=lambda c: ORDER.index(c["status"])),
        "reasons": list(_reasons(checks)),
        "topics": list(_topics(checks, devices)),
        "slowest": _slowest(checks),
        "groups": _groups(checks),
        "choices": _choices(checks),
        "ranks": _ranks(matrix(verify.get("ranks") or [])),
        "errors": errors(figures),
        "pictures": [(topic, [_drawn(picture) for picture in found]) for topic, found in pictures(figures)],
    }


def _reasons(checks: Iterable[Data]) -> Iterator[dict[str, Any]]:
    """Say each reason for skipping, and each known defect, once, with the checks that it is about."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for check in checks:
        if check["status"] in ("known", "skip"):
            text = str(check["detail"] or "").removeprefix("known defect of this torch: ")
            why, _, seen = text.partition(" Seen here: ")
            key = (check["status"], why, check["hint"] or "")
            found.setdefault(key, []).append(_name(check) + (f": {seen}" if seen else ""))
    for (status, why, hint), names in sorted(found.items()):
        yield {"status": status, "why": why, "hint": hint, "checks": names}


def _topics(checks: Iterable[Data], devices: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Count by topic, and within it by device."""
    found = topics(checks)
    longest = max((tally(members).seconds for members in found.values()), default=0.0) or 1.0
    for topic, members in sorted(found.items()):
        counts = [tally(c for c in members if (c["device"] or "") == device) for device in devices]
        took = tally(members).seconds
        yield {"name": topic, "counts": counts, "seconds": took, "share": 100 * took / longest}


def _slowest(checks: Iterable[Data]) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """Give the checks that took longest: the name, and by device the seconds and their percentage of the longest."""
    took: dict[str, dict[str, float]] = {}
    for check in checks:
        name = " ".join(filter(None, (check["id"], check["dtype"])))
        took.setdefault(name, {})[check["device"] or ""] = check["seconds"]
    slow = sorted(took.items(), key=lambda item: -max(item[1].values()))[:SLOWEST]
    longest = max((max(times.values()) for _, times in slow), default=0.0) or 1.0
    return [(name, {device: (s, 100 * s / longest) for device, s in times.items()}) for name, times in slow]


def _groups(checks: Iterable[Data]) -> list[list[Data]]:
    """Put the results of one check together; the worst first."""
    found: dict[str, list[Data]] = {}
    for check in checks:
        found.setdefault(check["id"], []).append(check)
    members = [sorted(group, key=lambda c: ORDER.index(c["status"])) for group in found.values()]
    return sorted(members, key=lambda group: ORDER.index(group[0]["status"]))


def _choices(checks: Iterable[Data]) -> dict[str, list[str]]:
    """Give what the table can be filtered by, where there is a choice."""
    everything = list(checks)
    names = {
        "topic": [c["id"].partition(".")[0] for c in everything],
        "status": [c["status"] for c in everything],
        "device": [c["device"] or "" for c in everything],
        "dtype": [c["dtype"] or "" for c in everything],
    }
    found = {name: sorted(filter(None, set(values))) for name, values in names.items()}
    return {name: values for name, values in found.items() if len(values) > 1}


def _ranks(ranks: Matrix) -> dict[str, Any]:
    """Give the matrix by host; a host whose ranks are all well has no rows of its own."""
    often = Counter(check for row in ranks.rows for check in row.cells)
    columns = [check for check, _ in often.most_common(MOST_COLUMNS)]
    hosts = [_host(name, list(rows)) for name, rows in groupby(ranks.rows, key=lambda row: row.host)]
    return {"columns": columns, "hosts": hosts, "left_out": len(ranks.columns) - len(columns), "count": len(ranks.rows)}


def _host(name: str, rows: list[Row]) -> dict[str, Any]:
    odd = [row for row in rows if row.status != "pass" or row.cells or row.told]
    return {"name": name, "count": len(rows), "odd": odd, "seconds": max(row.seconds for row in rows)}


def _drawn(picture: Picture) -> dict[str, Any]:
    """Draw a picture once for each device, all on the same axes."""
    made = {device: [_curve(line) for line in found] for device, found in picture.devices.items()}
    curves = {device: [curve for curve in found if curve.points] for device, found in made.items()}
    everything = [curve for found in curves.values() for curve in found]
    drawn = [(device, Markup(lines(found, everything)), _told(found)) for device, found in curves.items() if found]  # noqa: S704 - ours
    names = {curve.group % COLOURS: curve.name for curve in everything if not curve.right}
    return {"name": picture.name, "devices": drawn, "names": names if len(names) > 1 else {}}


def _curve(line: Line) -> Curve:
    return Curve(line.name, finite(line.x, line.y), line.right, line.group)


def _told(curves: Iterable[Curve]) -> str:
    """Say in words what a picture shows, for those who do not see it."""
    return "; ".join(
        f"{curve.name or 'curve'} from {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g} "
        f"in {len(curve.points)} points"
        for curve in curves
    )


def _name(check: Data) -> str:
    return " ".join(filter(None, (check["id"], check["device"], check["dtype"])))


def _linked(text: object) -> Markup:
    """Make links of the addresses in a text."""
    link = Markup('<a rel="noreferrer" href="{0}">{0}</a>')
    return Markup("").join(link.format(part) if i % 2 else escape(part) for i, part in enumerate(URL.split(str(text))))


def _figure(number: object) -> str:
    """Write a measured number: three digits; words ("inf") as they are, nothing for None."""
    if number is None:
        return ""
    return f"{number:.3g}" if isinstance(number, int | float) else str(number)


def _seconds(number: float) -> str:
    return f"{number:.3f}" if number < 10 else f"{number:.1f}"
