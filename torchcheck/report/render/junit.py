"""For CI systems: JUnit XML, one test case a check, a test suite for each device and each host.

What is written fits both schemas in use, that of the Ant task (strict about order and attributes, no zone in a time)
and that of the Jenkins xUnit plugin: see tests/report/junit.xsd.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from torchcheck.report.matrix import Matrix, matrix

Data = Mapping[str, Any]
NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A wrong result is a failure; a crash, a timeout and an error of the check itself are errors; a documented defect of
# this torch is a skipped test that says so, since it does not fail the verdict either.
KINDS = {"fail": "failure", "error": "error", "crash": "error", "timeout": "error", "missing": "error"}
KINDS |= {"skip": "skipped", "known": "skipped"}
LOCAL = "localhost"
"""The schemas' word for a host that is not named."""


@dataclass(frozen=True)
class Case:
    """One test case: `text` says what was seen, where `status` is not "pass"."""

    topic: str
    name: str
    seconds: float
    status: str
    text: str = ""


def verification(data: Data, when: dt.datetime) -> str:
    """Write a verification as JUnit XML.

    Args:
        data: the `data` of `verify --json`.
        when: the time of the run, with its zone.
    """
    root = Element("testsuites")
    said = "; ".join([f"verdict: {data['verdict']}", f"level: {data['level']}", *map(str, data.get("notes") or ())])
    for number, (name, host, cases) in enumerate(_suites(data)):
        suite = SubElement(root, "testsuite", _attributes(name, host, cases, when))
        suite.set("id", str(number))
        properties = SubElement(suite, "properties")
        for key in ("verdict", "level", "torch"):
            SubElement(properties, "property", name=key, value=xml_text(str(data.get(key) or "none")))
        for case in cases:
            _write(suite, case)
        SubElement(suite, "system-out").text = xml_text(said)
        SubElement(suite, "system-err")
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + tostring(root, encoding="unicode") + "\n"


def _suites(data: Data) -> Iterator[tuple[str, str, list[Case]]]:
    """Give a suite's name, host and cases: devices first, then the ranks by host."""
    by_device: dict[str, list[Case]] = {device: [] for device in data["devices"]}
    for check in data["checks"]:
        by_device.setdefault(check["device"] or "none", []).append(_case(check))
    yield from ((f"torchcheck.{device}", LOCAL, cases) for device, cases in by_device.items() if cases)
    ranks = matrix(data.get("ranks") or [])
    for host, rows in groupby(ranks.rows, key=lambda row: row.host):
        yield f"torchcheck.ranks.{host}", host, [case for row in rows for case in _rank_cases(ranks, row)]


def _case(check: Data) -> Case:
    topic, _, name = check["id"].partition(".")
    where = ",".join(filter(None, [check["device"], check["dtype"]]))
    told = [check["detail"], check["hint"]]
    if check["status"] == "fail" and check["measured"] is not None:
        told.insert(1, f"measured {check['measured']} {check['unit'] or ''}, allowed {check['bound']}")
    text = "\n".join(str(part) for part in told if part)
    return Case(topic, f"{name}[{where}]" if where else name, check["seconds"], check["status"], text)


def _rank_cases(ranks: Matrix, row: Any) -> Iterator[Case]:
    """Give a rank's own case, and one for each check that any rank did not pass."""
    yield Case(f"ranks.{row.host}", f"{row.name}", row.seconds, row.status, row.told)
    for column in ranks.columns:
        status = row.cells.get(column, "pass")
        yield Case(f"ranks.{row.host}", f"{row.name} {column}", 0.0, status, f"{status} on {row.name} of {row.host}")


def _attributes(name: str, host: str, cases: Iterable[Case], when: dt.datetime) -> dict[str, str]:
    kinds = [KINDS.get(case.status) for case in cases]
    return {
        "name": xml_text(name),
        "package": "torchcheck",
        "timestamp": when.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
        "hostname": xml_text(host),
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": _seconds(sum(case.seconds for case in cases)),
    }


def _write(suite: Element, case: Case) -> None:
    named = {"name": case.name, "classname": f"torchcheck.{case.topic}"}
    element = SubElement(suite, "testcase", {key: xml_text(value) for key, value in named.items()})
    element.set("time", _seconds(case.seconds))
    if case.status in KINDS:
        text = xml_text(case.text)
        first = text.partition("\n")[0]
        SubElement(element, KINDS[case.status], message=first, type=case.status).text = text


def _seconds(number: float) -> str:
    """Write seconds as a decimal: the schemas know no exponents."""
    return f"{number:.6f}"


def xml_text(text: str) -> str:
    """Replace what XML 1.0 cannot carry at all (control characters, lone surrogates)."""
    return NO_XML.sub("\ufffd", text)
