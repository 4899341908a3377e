"""What comes from outside (journals, RECORDs, wheels, pages, lines of a worker) can be anything, and does no harm."""

from __future__ import annotations

import contextlib
import io
import json
import queue
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from local_fuzz import rendered
from local_index import LocalIndex  # noqa: TC002 - no type-checking blocks

from torchcheck.doctor import collect_env, diagnose
from torchcheck.errors import TargetError, TorchcheckError
from torchcheck.facts import Facts, FactsError, Python, from_json
from torchcheck.install import incoming, installed, journal, proof
from torchcheck.install.bounds import Bounds
from torchcheck.install.transaction import recover
from torchcheck.report.document import cleaned
from torchcheck.report.render import html, markdown
from torchcheck.target import Target
from torchcheck.verify import outcome, process
from torchcheck.verify.ledger import Ledger, is_sound
from torchcheck.wheels import cache, listing, remote
from torchcheck.wheels.builds import WheelFile
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Web

few = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
DEEP = "[" * 200_000


def target_in(folder: Path) -> Target:
    """Make a target that has nothing but its folders."""
    site = folder / "env" / "lib" / "site-packages"
    (folder / "env" / "bin").mkdir(parents=True)
    site.mkdir(parents=True)
    where = {"purelib": site, "platlib": site, "scripts": folder / "env" / "bin", "data": folder / "env"}
    facts = Python(version="3.12.1")
    return Target(sys.executable, facts, {k: str(v) for k, v in where.items()}, {}, (), (), "--python", {})


def plant(target: Target, **members: object) -> Path:
    """Write a journal into a target as somebody who means harm would."""
    place = Path(journal.place(target.paths["purelib"]))
    (place / "before").mkdir(parents=True)
    (place / "before" / "0").write_text("planted", encoding="utf-8")
    said = {"started": "now", "before": {}, "planned": {"torch": "1"}, "worked": True, "stage": "changing"}
    said |= {"kept": [], "new": [], "strays": [], "schema": 1, **members}
    (place / "journal.json").write_text(json.dumps(said), encoding="utf-8")
    return place


UP = "../../../"
HARM = {
    "removes a file above": {"new": [f"{UP}precious.txt"]},
    "removes an absolute path": {"new": ["{folder}/precious.txt"]},
    "replaces a file above": {"kept": [{"path": f"{UP}precious.txt", "as_": "0"}]},
    "makes a link above": {"kept": [{"path": f"{UP}precious.txt", "link": "/etc/passwd"}]},
    "writes through its own link": {
        "kept": [{"path": "way", "link": "{folder}"}, {"path": "way/precious.txt", "as_": "0"}]
    },
    "removes through its own link": {"kept": [{"path": "way", "link": "{folder}"}], "new": ["way/precious.txt"]},
    "removes through a link that is there": {"new": ["door/precious.txt"]},
    "takes a file from above": {"kept": [{"path": "copy", "as_": f"{UP}../../precious.txt"}]},
    "is the folder itself": {"new": [".."]},
    "a number for a path": {"new": [7]},
    "no list": {"new": {"a": 1}},
    "a member too many": {"kept": [{"path": "x", "as_": "0", "run": "rm"}]},
}


@pytest.mark.skipif(sys.platform == "win32", reason="makes symbolic links")
@pytest.mark.parametrize("name", HARM)
def test_a_journal_cannot_touch_what_lies_outside(tmp_path: Path, name: str) -> None:
    target = target_in(tmp_path)
    (tmp_path / "precious.txt").write_text("precious")
    Path(target.paths["purelib"], "door").symlink_to(tmp_path)
    members = json.loads(json.dumps(HARM[name]).replace("{folder}", str(tmp_path)))
    plant(target, **members)
    with pytest.raises(TorchcheckError) as caught:
        recover(target)
    assert caught.value.hint
    assert (tmp_path / "precious.txt").read_text() == "precious"
    assert not (tmp_path / "precious.txt").is_symlink()
    assert not Path(target.paths["purelib"], "copy").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="makes symbolic links")
def test_a_folder_of_ours_that_is_a_link_is_not_cleared(tmp_path: Path) -> None:
    target = target_in(tmp_path)
    mine = tmp_path / "mine"
    (mine / "before").mkdir(parents=True)
    (mine / "before" / "diary.txt").write_text("precious")
    Path(journal.place(target.paths["purelib"])).symlink_to(mine)
    with pytest.raises(TargetError):
        recover(target)
    assert (mine / "before" / "diary.txt").exists()


def test_an_honest_journal_is_obeyed(tmp_path: Path) -> None:
    target = target_in(tmp_path)
    site = Path(target.paths["purelib"])
    (site / "torch").mkdir()
    (site / "torch" / "new.py").write_text("", encoding="utf-8")
    (site.parent.parent / "bin" / "torchrun").write_text("new", encoding="utf-8")
    kept = [{"path": str(Path("..", "..", "bin", "torchrun")), "as_": "0"}]
    plant(target, kept=kept, new=[str(Path("torch", "new.py"))])
    assert "is back" in (recover(target) or "")
    assert not (site / "torch").exists()
    assert (site.parent.parent / "bin" / "torchrun").read_text(encoding="utf-8") == "planted"


@few
@given(data=ANY_JSON, text=st.binary(max_size=300))
@example(data=None, text=DEEP.encode())
@example(data=None, text=b"\xff\xfe")
def test_our_own_files_can_hold_anything(tmp_path: Path, data: object, text: bytes) -> None:
    target = target_in(tmp_path) if not (tmp_path / "env").exists() else None
    site = str(tmp_path / "env" / "lib" / "site-packages")
    target = target or Target(
        sys.executable, Python(version="3.12.1"), {"purelib": site, "platlib": site}, {}, (), (), "", {}
    )
    place = Path(journal.place(site))
    place.mkdir(exist_ok=True)
    shaped = {"schema": 1, "kept": data, "new": data, "strays": data, "started": data, "planned": data, "worked": True}
    for raw in (text, json.dumps(data).encode(), json.dumps({**shaped, "before": {}}).encode()):
        (place / "journal.json").write_bytes(raw)
        try:
            found = journal.read(site)
        except ValueError:
            found = None
        if found:
            with contextlib.suppress(ValueError):
                Bounds(target.paths).check(found, site)
        (place / "proof.json").write_bytes(raw)
        assert proof.recall(target, Facts()) is None
    (place / "journal.json").unlink()


@few
@given(record=st.binary(max_size=300) | st.text(max_size=300).map(str.encode), url=ANY_JSON)
@example(record=b'torch/__init__.py,,9999999999999999999999\n"', url={"dir_info": []})
@example(record=b"../../../../etc/passwd,,5\ntorch/\x00,,1\n", url=[])
@example(record="torch/x.py,,²\n".encode(), url=None)
def test_a_record_can_hold_anything(tmp_path: Path, record: bytes, url: object) -> None:
    info = tmp_path / "site" / "torch-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Name: torch\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_bytes(record)
    (info / "direct_url.json").write_text(json.dumps(url), encoding="utf-8")
    paths = {"purelib": str(tmp_path / "site"), "platlib": str(tmp_path / "site")}
    dist = installed.read(paths)["torch"]
    assert dist.editable in (True, False)
    installed.damaged(dist)
    kept = [path for path in installed.files(dist) if Bounds(paths).hold(path)]
    assert all(path.startswith(str(tmp_path / "site")) for path in kept)


def wheel(folder: Path, members: dict[str, bytes], name: str = "torch-1.0-py3-none-any.whl") -> Path:
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return folder / name


HONEST = {
    "torch-1.0.dist-info/METADATA": b"Name: torch\nVersion: 1.0\n",
    "torch-1.0.dist-info/WHEEL": b"Root-Is-Purelib: true\n",
}


@pytest.mark.parametrize(
    "members",
    [
        {**HONEST, "../../evil.py": b""},
        {**HONEST, "/etc/evil": b""},
        {**HONEST, "torch-1.0.data/scripts/../../../evil": b""},
        {**HONEST, "torch-1.0.dist-info/METADATA": b"Name: torch\nVersion: 1.0\n" + b" " * (64 << 20)},
        {**HONEST, "torch-1.0.dist-info/entry_points.txt": b"no section"},
        {**HONEST, "torch-1.0.dist-info/METADATA": b"\xff\xfe\x00"},
    ],
    ids=["above", "absolute", "scripts above", "a bomb", "broken entry points", "no text"],
)
def test_a_wheel_that_attacks_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    paths = {"purelib": "/p", "platlib": "/p", "scripts": "/s", "data": "/d"}
    with pytest.raises(TorchcheckError) as caught:
        incoming.of_wheel(str(wheel(tmp_path, members)), paths)
    assert caught.value.code == "wheel-lies"


@few
@given(at=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=40))
def test_a_wheel_with_wrong_bytes_is_read_or_refused(tmp_path: Path, at: int, junk: bytes) -> None:
    file = wheel(tmp_path, HONEST)
    raw = bytearray(file.read_bytes())
    at %= len(raw)
    raw[at : at + len(junk)] = junk
    file.write_bytes(raw)
    try:
        incoming.of_wheel(str(file), {"purelib": "/p", "platlib": "/p", "scripts": "/s", "data": "/d"})
    except TorchcheckError as error:
        assert error.hint  # noqa: PT017 - both ends are right


class Bytes(Web):
    """A server that has one file."""

    def __init__(self, raw: bytes, claimed: int | None = None) -> None:
        super().__init__(deadline=0.0)
        self.raw, self.claimed = raw, claimed or len(raw)

    def get(self, url, *, accept="*/*", span=None, method="GET"):
        from torchcheck.wheels.web import Page

        first, last = span or (0, self.claimed - 1)
        body = (b"\0" * max(0, self.claimed - len(self.raw) - first))[: last - first + 1] + self.raw
        return Page(url, "", body[-(last - first + 1) :], {"content-range": f"bytes 0-0/{self.claimed}"})


@few
@given(at=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=40))
def test_a_remote_directory_can_hold_anything(tmp_path: Path, at: int, junk: bytes) -> None:
    raw = bytearray(wheel(tmp_path, HONEST).read_bytes())
    raw[at % len(raw) : at % len(raw) + len(junk)] = junk
    file = WheelFile("torch-1.0-py3-none-any.whl", "https://example.org/torch.whl", "", len(raw), "", False)
    try:
        remote.metadata(Bytes(bytes(raw)), file)
    except WebError as error:
        assert error.failure.code  # noqa: PT017


def test_a_bomb_on_a_server_is_not_unpacked(tmp_path: Path) -> None:
    bomb = {**HONEST, "torch-1.0.dist-info/METADATA": b"\0" * (80 << 20)}
    raw = wheel(tmp_path, bomb).read_bytes()
    file = WheelFile("torch-1.0-py3-none-any.whl", "https://example.org/torch.whl", "", len(raw), "", False)
    with pytest.raises(WebError, match="unpacks to more than"):
        remote.metadata(Bytes(raw), file)


def test_a_directory_of_an_exabyte_takes_no_memory() -> None:
    class Endless(Web):
        def get(self, url, *, accept="*/*", span=None, method="GET"):
            from torchcheck.wheels.web import Page

            return Page(url, "", b"\0" * (span[1] - span[0] + 1), {})

    file = remote.RangeFile(Endless(0.0), "https://example.org/x.whl", 1 << 60)
    file.seek(0)
    with pytest.raises(zipfile.BadZipFile):
        file.read(1 << 50)
    assert isinstance(file, io.RawIOBase)


@few
@given(
    body=st.binary(max_size=400) | st.text(alphabet='<a href="![x>]/&#;:', max_size=200).map(str.encode), data=ANY_JSON
)
@example(body=b'<a href="http://[">x</a><base href="//[">', data={"files": [{"filename": 1, "url": "//["}]})
@example(body=b"<![foo[", data={"projects": [1]})
@example(body=DEEP.encode(), data=None)
def test_a_page_can_hold_anything(body: bytes, data: object) -> None:
    for kind, raw in (("text/html", body), ("application/json", body), ("application/json", json.dumps(data).encode())):
        for link in listing.links(raw, kind, "https://example.org/simple/torch/"):
            assert link.url.startswith("https:")
            if file := listing.file_of(link):
                listing.names(file.name)


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd.whl", "file://server/share/torch-1.0-py3-none-any.whl", "http://x/y"]
)
def test_a_page_of_the_network_leads_to_no_file(href: str) -> None:
    page = f'<a href="{href}">torch-1.0-py3-none-any.whl</a>'.encode()
    assert not listing.links(page, "text/html", "https://example.org/")
    document = {"files": [{"filename": "torch-1.0-py3-none-any.whl", "url": href}]}
    assert not listing.links(json.dumps(document).encode(), "application/json", "https://example.org/")


def test_an_index_that_redirects_to_a_file_gets_nothing(local_index: LocalIndex) -> None:
    from time import monotonic

    local_index.fault("/*", "redirect", "file:///etc/hostname")
    with pytest.raises(WebError, match=r"302|not https"):
        Web(monotonic() + 10).get(local_index.url("simple/torch/"))


def test_another_port_is_not_told_the_password(local_index: LocalIndex) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread
    from time import monotonic

    heard: queue.Queue[str | None] = queue.Queue()

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.put(self.headers.get("Authorization"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.handle_request, daemon=True).start()
        local_index.fault("/*", "redirect", f"http://127.0.0.1:{other.server_address[1]}/")
        Web(monotonic() + 10).get(local_index.url("simple/").replace("//", "//user:secret@"))
        assert heard.get(timeout=5) is None


@pytest.mark.parametrize("kind", ["head", "body"])
def test_an_index_that_drips_is_given_up_in_time(kind: str) -> None:
    import socket
    from threading import Event, Thread
    from time import monotonic

    ended = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                start = b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if kind == "body" else b"X-Long: ")
                try:
                    connection.sendall(start)
                    while not ended.wait(0.05):
                        connection.sendall(b"x")
                except OSError:
                    return

        Thread(target=drip, daemon=True).start()
        with pytest.raises(WebError, match=r"slowly|in time"):
            Web(monotonic() + 1).get(f"http://127.0.0.1:{server.getsockname()[1]}/")
        ended.set()


@few
@given(line=st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
@example(line=DEEP.encode())
@example(line=b'{"event": []}')
def test_a_line_of_a_worker_can_be_anything(line: bytes) -> None:
    event = process._event(line)
    assert event is None or isinstance(event["event"], str)


KINDS = st.sampled_from(["hello", "loaded", "start", "result", "bye", "other"])
NAMES = st.sampled_from(
    ["event", "plan", "devices", "torch", "id", "device", "dtype", "status", "seconds", "detail", "title"]
)


@few
@given(events=st.lists(st.tuples(KINDS, st.dictionaries(NAMES, ANY_JSON, max_size=6)), max_size=5))
def test_events_of_a_broken_worker_reach_an_end(events: list[tuple[str, dict[str, object]]]) -> None:
    told: list[dict[str, object]] = []
    ledger = Ledger(told.append, {"level": "quick", "seed": 0})
    takes = {
        "hello": ledger.greet,
        "loaded": lambda e: ledger.expect(e["plan"]),
        "start": ledger.start,
        "result": ledger.enter,
    }
    for kind, members in events:
        event = {**members, "event": kind}
        if is_sound(event) and kind in takes:
            takes[kind](event)
    ledger.close("not run")
    assert told[-1]["event"] == "bye"
    outcome.summarize(told)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 10**400, "1", None])
def test_a_result_that_took_no_time_that_can_be_added_up_is_none(seconds: object) -> None:
    numbers = {"measured": None, "bound": None, "unit": None, "hint": None}
    result = {"event": "result", "id": "a", "device": "cpu", "dtype": None, "title": "", "detail": "", "status": "pass"}
    assert is_sound({**result, **numbers, "seconds": 0.5})
    assert not is_sound({**result, **numbers, "seconds": seconds})


@few
@given(data=ANY_JSON)
def test_a_cache_can_hold_anything(tmp_path: Path, data: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.FOLDER, str(tmp_path))
        path = cache._path("https://example.org", "linux_x86_64")
        path.parent.mkdir(exist_ok=True)
        shaped = {
            "format": 1,
            "root": "https://example.org",
            "system": "linux_x86_64",
            "asked": "now",
            "backends": data,
        }
        for document in (data, {**shaped, "builds": data}, {**shaped, "builds": [data]}):
            path.write_text(json.dumps(document), encoding="utf-8")
            found = cache.load("https://example.org", "linux_x86_64")
            assert found is None or isinstance(found.builds, tuple)
        path.write_text(DEEP, encoding="utf-8")
        assert cache.load("https://example.org", "linux_x86_64") is None


@few
@given(
    data=st.dictionaries(
        st.sampled_from(["system", "python", "gpus", "drivers", "torch", "env", "pip", "disk"]), ANY_JSON
    )
)
def test_a_machine_file_can_hold_anything(data: dict[str, object]) -> None:
    try:
        facts = from_json(data)
    except FactsError:
        return
    diagnose(facts)


EVIL = "\x1b]0;owned\x07<script>alert(1)</script> [click](javascript:alert(1)) | `x` ![](http://x/y) \u202e"


@few
@given(
    text=st.text(max_size=400)
    | st.lists(st.sampled_from(["GPU 0:", "PyTorch version:", EVIL, "\n", "[pip3] torch=="])).map("".join)
)
def test_a_pasted_text_can_hold_anything(text: str) -> None:
    if collect_env.looks_like(text):
        collect_env.parse(text)
    for found in diagnose(Facts(), text):
        shown = json.dumps(cleaned(found.as_json()), ensure_ascii=False)
        assert not set("\x1b\x07\u202e") & set(shown)


def test_what_a_machine_calls_itself_is_no_markup() -> None:
    gpus = [{"vendor": "nvidia", "name": EVIL, "compute_capability": "9.0"}]
    facts = {"system": {"os": "linux", "name": EVIL}, "gpus": gpus, "env": {EVIL: EVIL}}
    data = cleaned({"facts": facts, "diagnoses": [], "verify": None})
    page = html.report(data)
    assert "<script>alert" not in page
    assert 'href="javascript:' not in page
    shown = rendered(markdown.report(data))
    assert "<script>alert" not in shown
    assert 'href="javascript:' not in shown
    assert "<img" not in shown
