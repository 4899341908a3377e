"""What `verify --junit` writes fits the schemas in use, and readers that know nothing of us read the same out of it."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st
from local_after import after_torch

from torchcheck.report.render import junit
from torchcheck.verify.outcome import STATUSES

HERE = Path(__file__).parent
SCHEMA = xmlschema.XMLSchema(HERE / "junit.xsd")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
# As `verify` over four hosts writes them: rank 2 computes other bits, 5 crashed, 7 never came, 9 is slow.
RANKS = json.loads((HERE / "ranks.json").read_text(encoding="utf-8"))
BROKEN = ("sgd", "rprop", "adadelta", "nadam", "adamax")
SELECT = (
    *(f"rates.{name}.training" for name in BROKEN),
    "attention.nan",
    "companions.torchvision",
    "environment.import",
)


def element_of(status: str) -> str | None:
    return junit.KINDS.get(status)


def check(ident: str, status: str, **more: object) -> dict[str, object]:
    shape = {
        "id": ident,
        "title": "It is right",
        "device": "cpu",
        "dtype": "float32",
        "status": status,
        "measured": 2.0,
    }
    return {**shape, "bound": 1.0, "unit": "u", "detail": "", "hint": None, "seconds": 1e-6, **more}


def document(checks: list[dict[str, object]], **more: object) -> dict[str, object]:
    devices = list(dict.fromkeys(str(c["device"]) for c in checks))
    shape = {"verdict": "fail", "level": "quick", "devices": devices, "seconds": 1.0, "torch": "2.13.0", "notes": []}
    return {**shape, "counts": Counter(c["status"] for c in checks), "checks": checks, **more}


@pytest.fixture(scope="module")
def written(torch_python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A file that a real run wrote, on a torch whose optimizers break in every way, and the run's document."""
    folder = tmp_path_factory.mktemp("junit")
    argv = [sys.executable, "-m", "torchcheck", "verify", "--python", torch_python, "--timeout", "3", "--json"]
    argv += [word for glob in SELECT for word in ("--select", glob)]
    argv += ["--junit", str(folder / "out.xml"), "--html", str(folder / "out.html"), "--github"]
    env = {**os.environ, **after_torch(HERE / "broken.py"), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    ran = subprocess.run(argv, capture_output=True, check=False, timeout=300, env=env, cwd=folder)
    assert ran.returncode == 1, ran.stderr.decode("utf-8", "replace")[-2000:]
    return folder / "out.xml", json.loads(ran.stdout)["data"]


def test_a_real_run_in_which_everything_happens_is_valid(written) -> None:
    file, data = written
    statuses = {c["id"]: c["status"] for c in data["checks"]}
    assert statuses["rates.rprop.training"] == "crash"
    assert statuses["rates.adadelta.training"] == "timeout"
    assert statuses["rates.adamax.training"] == "fail"
    assert statuses["rates.sgd.training"] == "pass"
    assert {statuses["rates.nadam.training"], statuses["attention.nan"]} & {"error", "fail", "known"}
    SCHEMA.validate(file)


def test_junitparser_reads_what_the_document_says(written) -> None:
    from junitparser import Error, Failure, JUnitXml, Skipped

    file, data = written
    kinds = {Failure: "failure", Error: "error", Skipped: "skipped"}
    read = {}
    for suite in JUnitXml.fromfile(str(file)):
        for case in suite:
            found = [kinds[type(result)] for result in case.result]
            assert len(found) <= 1
            read[f"{case.classname}.{case.name}"] = found[0] if found else None
    told = {
        f"torchcheck.{c['id']}[{','.join(filter(None, (c['device'], c['dtype'])))}]": element_of(c["status"])
        for c in data["checks"]
    }
    assert read == told
    verify = subprocess.run([sys.executable, "-m", "junitparser", "verify", str(file)], check=False)
    assert verify.returncode == 1, "junitparser's own gate fails, since checks failed"


def test_junit2html_shows_every_case(written) -> None:
    pytest.importorskip("junit2htmlreport")
    from junit2htmlreport.parser import Junit

    file, data = written
    suites = Junit(str(file)).suites
    cases = [case for suite in suites for group in suite.classes.values() for case in group.cases]
    assert len(cases) == len(data["checks"])
    outcomes = Counter(case.outcome() for case in cases)
    want = Counter(element_of(c["status"]) or "passed" for c in data["checks"])
    assert outcomes["failed"] == want["failure"] + want["error"]
    assert outcomes["skipped"] == want["skipped"]
    assert "red" in Junit(str(file)).html()


def test_the_page_and_the_summary_of_that_run_hold_nothing_that_is_obeyed(written) -> None:
    for name in ("out.html", "summary.md"):
        text = (written[0].parent / name).read_text(encoding="utf-8")
        assert not re.search("[\x00\x1b\ud800\u202e]", text)
        assert "<b>&amp; " not in text


texts = st.text(st.characters(exclude_categories=()), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, st.sampled_from(STATUSES), st.floats(0, 1e9)), min_size=1, max_size=4))
def test_whatever_a_check_says_the_file_is_valid_and_says_it(said) -> None:
    checks = [
        check(f"a.b{i}", status, detail=detail, hint=hint or None, seconds=seconds)
        for i, (detail, hint, status, seconds) in enumerate(said)
    ]
    text = junit.verification(document(checks, notes=[said[0][0]]), NOW)
    SCHEMA.validate(text)
    for case, (detail, _, status, _) in zip(ET.fromstring(text).iter("testcase"), said, strict=True):
        if element_of(status):
            shown = case.find(element_of(status)).text or ""
            lines = junit.xml_text(detail).replace("\r\n", "\n").replace("\r", "\n")  # as XML reads line ends
            assert lines in shown


def test_devices_are_suites_and_a_time_has_no_exponent_and_no_zone() -> None:
    checks = [check("a.b", "pass"), check("a.b", "crash", device="cuda:0"), check("a.b", "known", device="cuda:1")]
    text = junit.verification(document(checks), NOW)
    SCHEMA.validate(text)
    suites = list(ET.fromstring(text))
    assert [s.get("name") for s in suites] == ["torchcheck.cpu", "torchcheck.cuda:0", "torchcheck.cuda:1"]
    assert [(s.get("failures"), s.get("errors"), s.get("skipped")) for s in suites] == [
        ("0", "0", "0"),
        ("0", "1", "0"),
        ("0", "0", "1"),
    ]
    assert {s.get("timestamp") for s in suites} == {"2026-01-02T01:04:05"}
    assert suites[0].find("testcase").get("time") == "0.000001"


def test_a_fleet_is_a_suite_for_each_host_and_a_case_for_each_rank_and_check_that_somebody_failed() -> None:
    text = junit.verification(document([check("a.b", "pass")], ranks=RANKS), NOW)
    SCHEMA.validate(text)
    suites = {s.get("hostname"): s for s in ET.fromstring(text)}
    assert list(suites) == ["localhost", "node0", "node1", "no host", "node2", "node3"]
    cases = {
        f"{host} {c.get('name')}": [e.tag for e in c] for host, suite in suites.items() for c in suite.iter("testcase")
    }
    assert cases["node0 rank 2 (cuda:2, NVIDIA H100, …02ab) distributed.bits"] == ["failure"]
    assert cases["node1 rank 5 (cuda:1, NVIDIA H100, …05ab)"] == ["error"]
    assert cases["node1 rank 5 (cuda:1, NVIDIA H100, …05ab) distributed.ddp"] == ["error"]
    assert cases["node1 rank 5 (cuda:1, NVIDIA H100, …05ab) distributed.bits"] == []
    assert cases["no host rank 7"] == ["error"]
    assert cases["node3 rank 12 (cuda:0, NVIDIA H100, …12ab)"] == []
    assert {suite.get("tests") for host, suite in suites.items() if host.startswith("node")} == {"16", "12"}
