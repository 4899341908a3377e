"""The page in a real browser: nothing is loaded from elsewhere, no script fails, the filter filters."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from torchcheck.report.render import html

EVIL = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>\"'&"


def result(ident: str, status: str, **more: Any) -> dict[str, Any]:
    shape = {"id": ident, "title": f"{ident} is right", "device": "cpu", "dtype": "float32", "status": status}
    return {**shape, "measured": 1.5, "bound": 4.0, "unit": "u", "detail": EVIL, "hint": EVIL, "seconds": 0.25, **more}


CHECKS = [result("activations.gelu.forward", "pass"), result("backprop.mlp", "fail"), result("rates.speed", "skip")]
VERIFY = {
    "verdict": "fail",
    "level": "quick",
    "devices": ["cpu"],
    "counts": {"pass": 1, "fail": 1, "skip": 1},
    "seconds": 1.0,
    "torch": "2.13.0",
    "checks": CHECKS,
}
DIAGNOSIS = {
    "code": "x",
    "severity": "error",
    "title": EVIL,
    "evidence": [EVIL],
    "why": EVIL,
    "fix": [EVIL],
    "link": "",
}
FIGURES = {
    "rates.speed/cpu": {EVIL: [1.0, 0.5, 0.25], "two": {"rate": [1, 2], "closed form": [1, 2]}},
    "activations.gelu.forward/cpu/float32": {"error": {"direction": "forward", "measured": 1.5, "bound": 4.0}},
    "schedules.step/cpu": {
        "three": {"x": [0.0, 1.0], "a": [1e-9, 1.0], "b": [float("inf"), 2.0]},
        "none": {"a": "text"},
    },
}


def page() -> str:
    facts = {"system": {"os": "linux", "name": EVIL}, "gpus": [{"name": EVIL, "memory": 1}], "packages": {EVIL: EVIL}}
    return html.report({"facts": facts, "diagnoses": [DIAGNOSIS], "verify": VERIFY}, FIGURES)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.sources, self.handlers = 0, [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.sources += [
            v for k, v in attrs if k in ("src", "href", "xlink:href", "data") and v and not v.startswith("#")
        ]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]


def test_no_value_becomes_markup_and_nothing_comes_from_elsewhere() -> None:
    elements = Elements()
    elements.feed(page())
    assert elements.scripts == 1
    assert elements.sources == []
    assert elements.handlers == []
    assert not re.search(r"@import|url\((?!['\"]?#)", page())


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if not found:
        pytest.skip("no Chromium: apt install chromium")
    return found


PROBE = """
<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "load"));
addEventListener("DOMContentLoaded", () => {
  const rows = () => [...document.querySelectorAll("#rows tr")].filter(row => !row.hidden).length;
  const seen = [rows()];
  const name = document.getElementById("name"), status = document.getElementById("status");
  name.value = "gelu cpu"; name.dispatchEvent(new Event("input")); seen.push(rows());
  name.value = ""; name.dispatchEvent(new Event("input"));
  status.value = "fail"; status.dispatchEvent(new Event("change")); seen.push(rows());
  const loaded = performance.getEntriesByType("resource").filter(r => !r.name.includes("favicon")).length;
  document.body.dataset.probe = JSON.stringify({seen, errors, loaded, title: document.title,
    charts: document.querySelectorAll("figure svg").length, wide: document.documentElement.scrollWidth});
});
</script>"""


def test_it_works_in_a_browser(tmp_path: Path) -> None:
    import json

    program, asked = browser(), []
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    made = policy.sub("", page()).replace("<head>", "<head>" + PROBE)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(made.encode() if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
        argv = [program, *flags.split(), "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
        argv += ["--window-size=390,800", "--dump-dom", f"http://127.0.0.1:{server.server_port}/"]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
        server.shutdown()
    found = re.search(r'data-probe="([^"]*)"', shown)
    assert found, shown[:2000]
    said = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert said["seen"] == [3, 1, 1]
    assert said["errors"] == []
    assert said["loaded"] == 0
    assert said["title"] == "torchcheck: Wrong results"
    assert said["charts"] >= 4
    assert set(asked) <= {"/", "/favicon.ico"}
