"""For CI systems: JUnit XML, one test case a check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verification(data: Mapping[str, Any]) -> str:
    """Write a verification as JUnit XML.

    A wrong result is a failure; a crash, a timeout and an error of the check itself are errors; a documented defect of
    this torch is a skipped test that says so, since it does not fail the verdict either.
    """
    suite = TestSuite("torchcheck")
    for name in ("verdict", "level"):
        suite.add_property(name, str(data[name]))
    for check in data["checks"]:
        suite.add_testcase(_case(check))
    suite.time = data["seconds"]
    xml = JUnitXml("torchcheck")
    xml.add_testsuite(suite)
    text: bytes = xml.tostring()  # type: ignore[no-untyped-call]  # junitparser annotates in part
    return text.decode("utf-8")


def _case(check: Mapping[str, Any]) -> TestCase:
    topic, _, name = check["id"].partition(".")
    where = ",".join(filter(None, [check["device"], check["dtype"]]))
    case = TestCase(f"{name}[{where}]" if where else name, f"torchcheck.{topic}", check["seconds"])
    message = xml_text("\n".join(str(part) for part in (check["detail"], check["hint"]) if part))
    kinds = {"fail": Failure, "error": Error, "crash": Error, "timeout": Error, "skip": Skipped, "known": Skipped}
    if check["status"] in kinds:
        kind = kinds[check["status"]](message.partition("\n")[0], check["status"])
        kind.text = message
        case.result = [kind]
    return case


def xml_text(text: str) -> str:
    """Replace what XML 1.0 cannot carry at all (control characters, lone surrogates)."""
    return NO_XML.sub("\ufffd", text)
