"""The page in a real browser: nothing is loaded from elsewhere, no script fails, the filter filters."""

from __future__ import annotations

import http.server
import json
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


DEVICES = ("cpu", "cuda:0", "cuda:1")
RANKS = json.loads((Path(__file__).parent / "ranks.json").read_text(encoding="utf-8"))
CHECKS = [result("activations.gelu.forward", "pass", device=device) for device in DEVICES]
CHECKS += [result("activations.gelu.forward", "pass", device="cpu", dtype="bfloat16")]
CHECKS += [result("backprop.mlp", "fail", device="cuda:1"), result("rates.speed", "skip"), result("losses.l1", "known")]
VERIFY = {
    "verdict": "fail",
    "level": "quick",
    "devices": list(DEVICES),
    "counts": {"pass": 4, "fail": 1, "known": 1, "skip": 1},
    "seconds": 1.0,
    "torch": "2.13.0",
    "notes": [EVIL],
    "checks": CHECKS,
    "ranks": [
        *RANKS,
        {**RANKS[0], "rank": 99, "host": EVIL, "device": EVIL, "ended": EVIL, "not_passed": {EVIL: "fail"}},
    ],
}
DIAGNOSIS = {
    "code": "x",
    "severity": "error",
    "title": EVIL,
    "evidence": [EVIL, "see https://docs.pytorch.org/a_b?c=d&e=f."],
    "why": EVIL,
    "fix": [EVIL],
    "link": "",
}
CURVES = {"torch": [3.0, 2.0, 1.0], "exact": [3.0, 2.0, 1.0]}
FIGURES = {
    **{f"rates.adam.training/{device}/float64": {"loss": CURVES} for device in DEVICES},
    "training.relu.depth/cpu/float32": {"norm": {"layer": [0, 1], "torch": [1e-9, 1.0], "theory": [1e-9, "inf"]}},
    "schedules.step.follows/cpu": {
        "group 0": {"rate": [0.1, 0.05], "closed form": [0.1, 0.05]},
        "group 1": {"rate": [0.2, 0.1], "closed form": [0.2, 0.1]},
    },
    "activations.gelu.forward/cpu/float32": {"error": {"direction": "forward", "measured": 1.5, "bound": 4.0}},
    "activations.gelu.forward/cuda:0/float32": {"error": {"direction": "forward", "measured": 9.0, "bound": 4.0}},
    "elsewhere.x/cpu": {EVIL: [1.0, 1.0], "none": {"a": "text"}, "empty": []},
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
    assert set(elements.sources) == {"https://docs.pytorch.org/a_b?c=d&e=f"}, "a link, which loads nothing"
    assert elements.handlers == []
    assert not re.search(r"@import|url\((?!['\"]?#)", page())


def test_devices_stand_side_by_side_on_the_same_axes() -> None:
    (figure,) = re.findall(r'<figure class="many"><figcaption>adam.*?</figure>', page(), re.DOTALL)
    drawn = re.findall(
        r'aria-label="adam on ([^:]+(?::\d)?): ([^"]*)"><svg.*?<g class="y">(.*?)</g>', figure, re.DOTALL
    )
    assert [device for device, _, _ in drawn] == list(DEVICES)
    assert len({axis for _, _, axis in drawn}) == 1
    assert drawn[0][1] == "torch from 3 to 1 in 3 points; exact from 3 to 1 in 3 points"


def test_a_far_off_device_does_not_leave_the_axes() -> None:
    off = {"rates.adam.training/cuda:1/float64": {"loss": {"torch": [9.0, 9.0, 9.0], "exact": CURVES["exact"]}}}
    made = html.verification(VERIFY, {**FIGURES, **off})
    (figure,) = re.findall(r"<figcaption>adam.*?</figure>", made, re.DOTALL)
    paths = re.findall(r'<path class="t0" d="M[\d.]+ (-?[\d.]+) L', figure)
    assert len(paths) == 3
    assert float(paths[2]) < float(paths[0]) < html_height()


def html_height() -> int:
    from torchcheck.report.render.charts import HEIGHT

    return HEIGHT


def test_errors_stand_beside_their_bounds_by_dtype_and_device() -> None:
    (row,) = re.findall(r"<code>activations.gelu.forward</code><td.*?\n", page())
    assert re.findall(r'class="n bar( over)?" style="--p:(\d+)%">([\d.]+) <small>of (\d+)', row) == [
        ("", "38", "1.5", "4"),
        (" over", "100", "9", "4"),
    ]


def test_the_matrix_shows_the_ranks_that_are_not_well_by_host() -> None:
    (matrix,) = re.findall(r'<table class="matrix">.*?</table>', page(), re.DOTALL)
    hosts = re.findall(r'<th scope="rowgroup">([^<]*)<td(?: class="pass")?>(\d+ of \d+) well', matrix)
    assert dict(hosts[:-1]) == {
        "no host": "0 of 1",
        "node0": "3 of 4",
        "node1": "2 of 3",
        "node2": "3 of 4",
        "node3": "4 of 4",
    }
    assert "bits differ from distributed.bits on" in matrix
    assert "rank 12" not in matrix, "a rank that is well on a host that is well"
    assert matrix.count('class="crash"') == 2


def test_a_picture_of_values_far_apart_has_powers_of_ten() -> None:
    (figure,) = re.findall(r"<figcaption>relu.*?</figure>", page(), re.DOTALL)
    assert ">10⁻⁹<" in figure
    assert "NaN" not in figure


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if not found:
        pytest.skip("no Chromium: apt install chromium")
    return found


PROBE = """
<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "load"));
addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll("#rows tbody tr")].filter(row => row.offsetParent);
  const named = () => rows().filter(row => row.querySelector("th")).length;
  const seen = [], see = () => seen.push([rows().length, named()]);
  const set = (id, value) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event("input", {bubbles: true}));
    see();
  };
  see(); set("text", "gelu"); set("device", "cuda:1"); set("device", ""); set("dtype", "bfloat16"); set("dtype", "");
  set("text", ""); set("status", "fail"); set("status", ""); set("topic", "rates"); set("topic", "");
  document.querySelector('a[data-status="known"]').click(); see();
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true, cancelable: true}));
  const loaded = performance.getEntriesByType("resource").filter(r => !r.name.includes("favicon")).length;
  const nameless = [...document.querySelectorAll("input, select, button, [role=img], [role=region]")]
    .filter(e => !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute("aria-label")).length;
  document.body.dataset.probe = JSON.stringify({seen, errors, loaded, nameless, title: document.title,
    focus: document.activeElement.id, said: document.getElementById("shown").textContent,
    charts: document.querySelectorAll("figure svg").length,
    wide: document.documentElement.scrollWidth, room: document.documentElement.clientWidth});
});
</script>"""


def test_it_works_in_a_browser(tmp_path: Path) -> None:
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
        shown = subprocess.run(argv, capture_output=True, encoding="locale", check=True, timeout=120).stdout
        server.shutdown()
    found = re.search(r'data-probe="([^"]*)"', shown)
    assert found, shown[:2000]
    said = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert said["seen"] == [
        [7, 4],
        [4, 1],
        [1, 1],
        [4, 1],
        [1, 1],
        [4, 1],
        [7, 4],
        [1, 1],
        [7, 4],
        [1, 1],
        [7, 4],
        [1, 1],
    ]
    assert said["errors"] == []
    assert said["loaded"] == 0
    assert said["nameless"] == 0
    assert said["focus"] == "text"
    assert said["said"] == "1 of 7 results"
    assert said["title"] == "torchcheck: Wrong results"
    assert said["charts"] == 6
    assert said["wide"] <= said["room"], "a phone need not scroll sideways"
    assert set(asked) <= {"/", "/favicon.ico"}


def test_its_own_policy_lets_its_own_script_run(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    argv = [browser(), *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120, encoding="utf-8").stdout
    assert "7 of 7 results" in shown
    assert "<title>torchcheck: Wrong results</title>" in shown
