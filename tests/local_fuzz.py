# ruff: noqa: E501 - inputs, each on a line
"""What reads things from outside, each as a function of bytes that raises when something is wrong with it.

A target returns, or raises what its parser is meant to raise (which it catches itself). Anything else is a defect: another
exception, a path outside, a character that steers a terminal, markup in a report.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from torchcheck import live, processes
from torchcheck.cli import gathering, reporting
from torchcheck.cli.output import show
from torchcheck.doctor import collect_env, diagnose
from torchcheck.doctor.log import read as read_log
from torchcheck.errors import TorchcheckError, UsageError
from torchcheck.facts import Facts, Python, from_json, to_json
from torchcheck.host import READ_LIMIT, Ran, Replay
from torchcheck.install import complaints, incoming, installed, journal, pip, proof
from torchcheck.install.bounds import Bounds
from torchcheck.install.downloads import Downloads
from torchcheck.probes import probe
from torchcheck.report.difference import differences
from torchcheck.report.document import cleaned, dump
from torchcheck.report.proof import judge
from torchcheck.report.render import github, html, junit, markdown
from torchcheck.report.render.terminal import planned, reported, verified
from torchcheck.target import Target, find
from torchcheck.verify import outcome, process
from torchcheck.verify.ledger import Ledger, is_sound
from torchcheck.wheels import assemble, builds, catalog, listing, remote
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.plan import plan
from torchcheck.wheels.request import Request
from torchcheck.wheels.rules import constraint_lines
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Page, Web, pip_settings

HERE = Path(__file__).resolve().parent
STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]0;owned\x07\x1b[2J\u202e<script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))![](http://x/y)"
TOKENS = tuple(
    text.encode()
    for text in (
        EVIL, "\x00", "\r", "\n\n", "../../etc/passwd", "/etc/passwd", "C:\\Windows", "\\\\server\\share", "[" * 60, "{" * 60,
        "9" * 400, "-1", "1e999", "NaN", "Infinity", "null", "true", "[]", "{}", '""', "0x", "²", "\u0661", "\ud7ff", "\ufeff",
        "%00", "&#x1b;", "]]>", "-->", "'", '"', "`", "|", "a" * 300, " " * 300, "1." * 80, "(" * 80, "torch", "torch==2.15.0+cu130",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """What is fuzzed: a function of bytes, and inputs that it takes gladly."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def shown(data: Mapping[str, Any], *renders: Callable[..., Any]) -> None:
    """Render data as the commands do, and look whether anything came through."""
    safe = cleaned(data)
    json.loads(dump(data))
    for render in renders:
        out = reporting_console()
        show(out, render(safe, True))
        assert not STEERING.search(out.file.getvalue()), f"{render.__name__} steers the terminal"


def reporting_console() -> Any:
    from rich.console import Console

    return Console(file=io.StringIO(), width=100, color_system=None, highlight=False)


def pages(data: Mapping[str, Any]) -> None:
    """Render a report as pages: what it holds is text there, never markup."""
    safe = cleaned(data)
    page = html.report(safe)
    for bad in ("<script>alert", "<img src=x", 'href="javascript:'):
        assert bad not in page, f"{bad} in HTML"
    page = rendered(markdown.report(safe))
    for bad in ("<script>alert", "<img", 'href="javascript:', 'href="http:'):
        assert bad not in page, f"{bad} in Markdown"


def rendered(text: str) -> str:
    """Render Markdown as issues do, and without the renderer's own caution about addresses."""
    from markdown_it import MarkdownIt  # rich brings it

    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    renderer.validateLink = lambda _url: True  # type: ignore[method-assign]
    return str(renderer.render(text))


def diagnosed(facts: Facts, log: str | bytes = "") -> None:
    found = [one.as_json() for one in diagnose(facts, log)]
    assert not [one for one in found if one["code"] == "internal-error"], found
    shown({"diagnoses": found}, reported.doctor)
    shown({"facts": to_json(facts), "diagnoses": found, "verify": None}, reported.report)
    pages({"facts": to_json(facts), "diagnoses": found, "verify": None})


@cache
def folder() -> Path:
    made = tempfile.TemporaryDirectory(prefix="torchcheck-fuzz-")
    folders.append(made)
    return Path(made.name)


folders: list[tempfile.TemporaryDirectory[str]] = []


def written(data: bytes, name: str = "given") -> str:
    (folder() / name).write_bytes(data)
    return str(folder() / name)


# What users hand in.


def machine_file(data: bytes) -> None:
    try:
        facts = gathering.recorded_facts(written(data))
    except UsageError as error:
        shown({"message": error.message})
        return
    assert facts is not None
    diagnosed(facts)
    with contextlib.suppress(TorchcheckError):
        request = Request().checked()
        made = plan(facts, request, catalog.offers(Machine(facts).system, request.root))
        shown(made.as_json(), planned.plan)


def two_reports(data: bytes) -> None:
    try:
        theirs = reporting._read(written(data))
        mine = {"facts": {"torch": {"version": "2.15.0"}}, "verify": None}
        found = {"differences": differences(mine, theirs)}
    except UsageError:
        return
    shown(found, reported.diff)
    assert "<script>alert" not in rendered(markdown.diff(cleaned(found)))


def archived_proof(data: bytes) -> None:
    import datetime as dt

    proof_ = reporting._proof(written(data))
    now = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    problems = judge(proof_, {"packages": {"torch": "2.15.0"}}, dt.timedelta(days=7), now)
    assert problems or isinstance(proof_, dict)
    shown({"proof": "x", "here": {}, "problems": problems}, reported.proof)


def pasted_log(data: bytes) -> None:
    found = [one.as_json() for one in diagnose(Facts(), read_log(data).text)]
    shown({"diagnoses": found}, reported.doctor)
    pages({"facts": {}, "diagnoses": found, "verify": None})


def pasted_environment(data: bytes) -> None:
    text = read_log(data).text
    facts = collect_env.parse(text) if collect_env.looks_like(text) else Facts()
    diagnosed(facts, text)


# What an index sends.


def index_page(kind: str, data: bytes) -> None:
    for link in listing.links(data, kind, "https://example.org/simple/torch/"):
        assert link.url.startswith("https:"), link.url
        if file := listing.file_of(link):
            listing.names(file.name)
            assert not set(file.name) & set("/\\"), file.name
            builds.allows(file.requires_python, "3.12.1")


class Served(Web):
    """A server that has one file, and one text beside it."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(deadline=0.0)
        self.raw = raw

    def get(self, url: str, *, accept: str = "*/*", span: tuple[int, int] | None = None, method: str = "GET") -> Page:
        first, last = span or (0, len(self.raw) - 1)
        return Page(url, "", self.raw[first : last + 1], {"content-range": f"bytes 0-0/{len(self.raw)}"})


def wheel_file(size: int, *, metadata: bool = False) -> builds.WheelFile:
    return builds.WheelFile("torch-1.0-py3-none-any.whl", "https://example.org/t.whl", "", size, "", metadata)


def metadata(data: bytes) -> None:
    found = remote.metadata(Served(data), wheel_file(1, metadata=True))
    for text in found.get("requires-dist", []):
        installed.needs([text], installed.markers("3.12.1"))
    for text in found.get("requires-python", []):
        builds.allows(text, "3.12.1")
    named = listing.names("torch-1.0-cp312-cp312-linux_x86_64.whl")[0]
    build = builds.Build("torch", "1.0", "cpu", "linux_x86_64", (named.python,))
    assemble._with_requirements(build, found)


def remote_wheel(data: bytes) -> None:
    with contextlib.suppress(WebError):
        remote.metadata(Served(data or b"x"), wheel_file(len(data) or 1))


def version_py(data: bytes) -> None:
    for package in ("torch", "torchvision"):
        remote.backend_of(package, text_of(data))
    remote.code_table(text_of(data))


def constraints(data: bytes) -> None:
    constraint_lines((text_of(data),))


def downloaded_wheel(data: bytes) -> None:
    file = written(data, "torch-1.0-py3-none-any.whl")
    paths = {"purelib": "/env/p", "platlib": "/env/p", "scripts": "/env/s", "data": "/env/d"}
    try:
        found = incoming.of_wheel(file, paths)
    except TorchcheckError as error:
        assert error.hint  # noqa: PT017 - both ends are right
        return
    assert all(place.startswith("/env/") and ".." not in place for place in found.paths), found.paths


# What lies in the target, and what its programs say.


def _target() -> Target:
    site = folder() / "site"
    site.mkdir(exist_ok=True)
    paths = {"purelib": str(site), "platlib": str(site), "scripts": str(folder() / "bin"), "data": str(folder())}
    return Target("/python", Python(version="3.12.1"), paths, {}, (), (), "--python", {})


def _installed(name: str, data: bytes) -> None:
    target = _target()
    info = Path(target.paths["purelib"], "torch-1.0.dist-info")
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Name: torch\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("torch/__init__.py,,1\n", encoding="utf-8")
    (info / "direct_url.json").write_text("{}", encoding="utf-8")
    (info / name).write_bytes(data)
    there = installed.read(target.paths)
    for dist in there.values():
        installed.damaged(dist)
        kept = [path for path in installed.files(dist) if Bounds(target.paths).hold(path)]
        assert all(path.startswith(str(folder())) for path in kept), kept
    installed.conflicts(there, installed.markers("3.12.1"))


def journals(data: bytes) -> None:
    target = _target()
    place = Path(journal.place(target.paths["purelib"]))
    place.mkdir(exist_ok=True)
    (place / "journal.json").write_bytes(data)
    with contextlib.suppress(ValueError):
        if found := journal.read(target.paths["purelib"]):
            Bounds(target.paths).check(found, target.paths["purelib"])
    (place / "proof.json").write_bytes(data)
    proof.recall(target, Facts())


def pip_report(data: bytes) -> None:
    with contextlib.suppress(TorchcheckError):
        for item in pip.entries(text_of(data)):
            assert "\n" not in pip._requirement(item), "a line of its own in a requirements file"


def pip_words(data: bytes) -> None:
    text = text_of(data)
    error, _ = complaints.understand(text, text)
    shown({"message": error.message, "hint": error.hint})
    downloads = Downloads(lambda _event: None)
    for line in text.splitlines()[:1000]:
        downloads.hear(line)


def pip_configuration(data: bytes) -> None:
    pip_settings([written(data, "pip.conf")])


# What workers say.


def worker_lines(data: bytes) -> None:
    told: list[dict[str, Any]] = []
    ledger = Ledger(told.append, {"level": "quick", "seed": 0})
    takes: dict[str, Callable[[Any], Any]] = {
        "hello": ledger.greet,
        "loaded": lambda event: ledger.expect(event["plan"]),
        "start": ledger.start,
        "result": ledger.enter,
    }
    for line in data.splitlines()[:200]:
        event = process._event(line)
        if event is not None and is_sound(event) and event["event"] in takes:
            takes[event["event"]](event)
    ledger.close("not run")
    result = json.loads(dump(outcome.summarize(told).as_json()))
    shown(result, verified.verify)
    safe = cleaned(result)
    pages({"facts": {}, "diagnoses": [], "verify": safe})
    import datetime as dt
    from xml.etree import ElementTree as ET

    ET.fromstring(junit.verification(safe, dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)).encode())
    for line in github.workflow_commands(safe):
        assert "\n" not in line.strip("\n"), "two workflow commands for one"


# What a machine says: one answer of a recorded machine is replaced.


def probed(machine: str, question: str, data: bytes) -> None:
    answers = dict(json.loads((HERE / "machines" / f"{machine}.json").read_text(encoding="utf-8"))["answers"])
    answers[question] = _answer(question, text_of(data))
    host = Replay(answers)
    try:
        target = find(host)
    except TorchcheckError as error:
        shown({"message": error.message})
        target = None
    facts = probe(host, target)
    raised = [note for note in facts.notes or () if re.match(r"\w+: \w*(Error|Exception)\b", note)]
    # What our own scripts answer has their shape; that a topic survives another one at the cost of a note is enough.
    assert not raised or question.startswith(("script", "python")), raised
    diagnosed(from_json(json.loads(json.dumps(to_json(facts)))))


def _answer(question: str, text: str) -> Any:
    kind, *_ = question.split()
    if kind == "run":
        return vars(Ran(0, text, ""))
    if kind in {"script", "python"}:
        return live.answer(Ran(0, live.MARK + text, ""))
    return text[:READ_LIMIT] if kind == "read" else text[: processes.OUTPUT_LIMIT]


def _asked(machine: str, question: str) -> list[bytes]:
    """Give what recorded machines answer to a question (in whole, or to what begins like it)."""
    found = []
    for path in [HERE / "machines" / f"{machine}.json", *sorted((HERE / "machines").glob("*.json"))]:
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
        found += [answer for key, answer in answers.items() if key.split()[:2] == question.split()[:2] and answer]
    texts = [found_ if isinstance(found_, str) else found_.get("out") or json.dumps(found_) for found_ in found]
    return [text.encode() for text in dict.fromkeys(texts)][:12]


SMI = "run /usr/bin/nvidia-smi"
ASKED = {
    "nvidia-smi": ("linux-vgpu-old-smi", SMI),
    "nvidia-smi-query": (
        "linux-vgpu-old-smi",
        f"{SMI} --query-gpu=name,pci.device_id,memory.total,driver_version,compute_cap --format=csv,noheader,nounits",
    ),
    "nvml": ("linux-5090-and-1080ti", "script nvml"),
    "nvidia-module": ("linux-driver-library-mismatch", "read /proc/driver/nvidia/version"),
    "amd-topology": ("linux-mi300x", "read /sys/class/kfd/kfd/topology/nodes/1/properties"),
    "amd-memory": ("linux-mi300x", "read /sys/class/kfd/kfd/topology/nodes/1/mem_banks/0/properties"),
    "amd-driver": ("linux-mi300x", "read /sys/module/amdgpu/version"),
    "os-release": ("debian-12-no-gpu", "read /etc/os-release"),
    "cpuinfo": ("debian-12-no-gpu", "read /proc/cpuinfo"),
    "meminfo": ("debian-12-no-gpu", "read /proc/meminfo"),
    "pip.conf": ("linux-conda-broken-pip-config", "read /etc/pip.conf"),
    "apple-displays": ("macos-m2", "run /usr/sbin/system_profiler -json SPDisplaysDataType"),
    "windows-adapters": ("windows-arc-b580", "script display_adapters"),
    "interpreter": ("debian-12-no-gpu", "python /home/user/project/.venv/bin/python native/interpreter"),
    "conda-meta": ("linux-conda-broken-pip-config", "read /home/user/miniforge3/envs/ml/conda-meta/broken.json"),
}


def texts(*given: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in given]


def _cases(name: str) -> list[bytes]:
    lines = (HERE / "doctor" / "cases" / name).read_text(encoding="utf-8").splitlines()
    logs = (json.loads(line).get("log") or "" for line in lines if line.strip())
    return [log.encode() for log in logs if log][:80]


@cache
def _machines() -> list[bytes]:
    found = []
    for path in sorted((HERE / "machines").glob("*.json"))[::4]:
        host = Replay.of_file(path)
        with contextlib.suppress(TorchcheckError):
            found.append(json.dumps({"facts": to_json(probe(host, find(host)))}).encode())
    return found


def _wheel() -> list[bytes]:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("torch/__init__.py", "")
        archive.writestr("torch-1.0.dist-info/METADATA", "Name: torch\nVersion: 1.0\nRequires-Dist: numpy\n")
        archive.writestr("torch-1.0.dist-info/WHEEL", "Root-Is-Purelib: true\n")
        archive.writestr("torch-1.0.dist-info/entry_points.txt", "[console_scripts]\ntorchrun = torch.run:main\n")
        archive.writestr("torch-1.0.data/scripts/x", "")
    return [made.getvalue()]


ITEM = '{"event": "start", "id": "activations.gelu", "device": "cpu", "dtype": "float32", "title": "t"}'
WORKER = "\n".join(
    (
        '{"event": "hello", "torch": "2.15.0", "devices": ["cpu"], "seed": 0}',
        f'{{"event": "loaded", "plan": [{ITEM}]}}',
        ITEM,
        ITEM.replace("start", "result")[:-1]
        + ', "status": "fail", "seconds": 0.1, "detail": "d", "measured": 1, "bound": 0}',
        '{"event": "bye"}',
    )
)
PARSERS: dict[str, Parser] = {
    "machine-file": Parser(machine_file, _machines),
    "report-to-diff": Parser(two_reports, lambda: [*_machines(), b'{"data": {"checks": []}}', b'{"data": []}']),
    "archived-proof": Parser(archived_proof, texts('{"proof": {"made": "2026-01-01T00:00:00Z", "packages": {}}}', "{}")),
    "log": Parser(pasted_log, lambda: _cases("failures.jsonl")),
    "collect_env": Parser(pasted_environment, lambda: _cases("reports.jsonl")),
    "index-html": Parser(
        partial(index_page, "text/html"),
        texts('<base href="x/"><a href="torch-1.0-cp312-cp312-linux_x86_64.whl#sha256=0" data-requires-python="&gt;=3.9">torch</a>'),
    ),
    "index-json": Parser(
        partial(index_page, "application/vnd.pypi.simple.v1+json"),
        texts('{"files": [{"filename": "torch-1.0-cp312-cp312-linux_x86_64.whl", "url": "t", "size": 3, "hashes": {"sha256": "0"}, "yanked": false}], "projects": [{"name": "x"}]}'),
    ),
    "wheel-metadata": Parser(metadata, texts("Name: torch\nVersion: 1.0\nRequires-Python: >=3.10\nRequires-Dist: nvidia-x==1.0; platform_system == 'Linux'\nRequires-Dist: a[b]>=1 ; extra == 'c'\n")),
    "wheel-version.py": Parser(version_py, texts("__version__ = '2.15.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n", "PYTORCH_RELEASES_CODE_CC = {'12.8': {'x86_64': {70, 75}}, '13.0': {75}}\n")),
    "wheel-on-a-server": Parser(remote_wheel, _wheel),
    "wheel-downloaded": Parser(downloaded_wheel, _wheel),
    "constraints": Parser(constraints, texts("torch<=2.14.1\n-r other.txt\nnumpy ; python_version < '3.11' --hash=sha256:0\\\n  x\n")),
    "METADATA": Parser(partial(_installed, "METADATA"), texts("Name: torch\nVersion: 1.0\nRequires-Dist: numpy>=1\n")),
    "RECORD": Parser(partial(_installed, "RECORD"), texts('torch/__init__.py,sha256=x,10\n"../../bin/torchrun",,\n')),
    "direct_url.json": Parser(partial(_installed, "direct_url.json"), texts('{"url": "file:///x", "dir_info": {"editable": true}}')),
    "journal": Parser(journals, texts('{"schema": 1, "started": "now", "before": {}, "planned": {"torch": "1"}, "worked": true, "stage": "changing", "kept": [{"path": "x", "as_": "0"}], "new": ["y"], "strays": []}', '{"verdict": "pass"}')),
    "pip-report": Parser(pip_report, texts('{"version": "1", "install": [{"metadata": {"name": "torch", "version": "1"}, "download_info": {"url": "https://x/t.whl", "archive_info": {"hashes": {"sha256": "0"}}}}]}')),
    "pip-words": Parser(pip_words, lambda: [json.dumps(json.loads((HERE / "install" / "complaints.json").read_text(encoding="utf-8"))).encode(), b"Progress 5 of 10\nDownloading https://x/torch-1.0-py3-none-any.whl (10 MB)\n"]),
    "pip-settings": Parser(pip_configuration, texts("[global]\nindex-url = https://x\n[install]\nproxy = %(x)s\n")),
    "worker-lines": Parser(worker_lines, texts(WORKER)),
    **{name: Parser(partial(probed, *asked), partial(_asked, *asked)) for name, asked in ASKED.items()},
}  # fmt: skip


def mutated(seed: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change an input in a few places: bytes, tokens that parsers trip over, parts doubled, moved, cut out."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 6)):
        at, end = sorted(rng.randint(0, len(data)) for _ in range(2))
        match rng.randint(0, 6):
            case 0:
                data[at:at] = rng.choice(TOKENS)
            case 1:
                data[at : min(end, at + 20)] = rng.choice(TOKENS)
            case 2:
                data[at : min(end, at + 200)] = b""
            case 3:
                data[at:at] = data[at : min(end, at + 500)] * rng.randint(1, 4)
            case 4:
                other = rng.choice(others)
                start = rng.randint(0, len(other))
                data[at:at] = other[start : start + rng.randint(0, 300)]
            case 5:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case _:  # a value of JSON becomes another
                values = list(re.finditer(rb'"[^"\n]{0,80}"|\b\d+\b|\[\]|\{\}|null|true|false', bytes(data)))
                if values:
                    found = rng.choice(values)
                    data[found.start() : found.end()] = rng.choice(
                        (b"null", b"[]", b"{}", b"-1", b'"x"', b"1e999", b"[[]]", json.dumps(EVIL).encode())
                    )
    return bytes(data)


def huge(seed: bytes, size: int) -> Iterator[tuple[str, bytes]]:
    """Give inputs of some size that cost a careless parser dearly."""
    yield "itself again and again", (seed + b"\n") * (size // (len(seed) + 1) + 1)
    yield "one line", seed.replace(b"\n", b" ") * (size // (len(seed) + 1) + 1)
    for token in (
        b" ",
        b"\t\n",
        b"a",
        b"1",
        b"1.",
        b"[",
        b"{",
        b"(",
        b'"',
        b"<a ",
        b"<!--",
        b"- ",
        b"/",
        b"GPU 0: ",
        b'File "x", line 1\n',
    ):
        yield repr(token), seed[:200] + token * (size // len(token))


def clear() -> None:
    for made in folders:
        made.cleanup()
    folders.clear()
    folder.cache_clear()
