"""A real package index over HTTP on the loopback interface, laid out like PyTorch's, that can be told to misbehave.

    with LocalIndex() as index:
        index.add("whl/cu130", *trio("2.15.0", "0.29.2", "2.11.0", "cu130"), *sympy_wheels())
        index.fault("/whl/cu130/torch-*.whl", "cut", times=2)
        index.url("whl/cu130")        # http://127.0.0.1:PORT/whl/cu130

Pages: `/POOL/` lists the projects of a pool, `/POOL/PROJECT/` its wheels (PEP 503 with sha256 fragments and PEP 658
attributes; PEP 691 JSON for the pools in `json_pools`), `/POOL/FILE.whl` and `/POOL/FILE.whl.metadata` the files, with
byte ranges. As on download.pytorch.org, `/whl/PROJECT/` lists the wheels of every backend below `/whl/`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from local_wheels import Wheel  # noqa: TC002 - no type-checking blocks

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"
"""Self-signed, for localhost and 127.0.0.1, with its key: clients refuse it unless they are told to trust it."""
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass
class Fault:
    """A misbehaviour of every path that a pattern matches, `times` times (None: always)."""

    pattern: str
    kind: str
    value: Any = None
    times: int | None = None


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    range: str | None
    agent: str


@dataclass(frozen=True)
class Answer:
    """What is sent in the ordinary case."""

    kind: str
    body: bytes
    status: int = 200


class LocalIndex:
    """The server; a context manager. `requests` is the log of what was asked."""

    def __init__(self, *, tls: bool = False) -> None:
        self.pools: dict[str, dict[str, list[Wheel]]] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.json_pools: set[str] = {"simple"}
        self.ranges = True
        self.metadata_files = True
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.index = self
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> LocalIndex:  # noqa: PYI034 - Self is of 3.11
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def root(self) -> str:
        """Give `http://127.0.0.1:PORT`, without a slash at its end."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}"

    def url(self, pool: str) -> str:
        """Give the address of a pool, as one would give it to --index-url."""
        return f"{self.root}/{pool}"

    def add(self, pool: str, *wheels: Wheel) -> None:
        """Serve wheels from a pool such as `whl/cu130` or `simple`."""
        for wheel in wheels:
            self.pools.setdefault(pool, {}).setdefault(_normal(wheel.name), []).append(wheel)

    def fault(self, pattern: str, kind: str, value: Any = None, times: int | None = None) -> None:
        """Make paths misbehave; see `KINDS` for the kinds."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
        self.faults.append(Fault(pattern, kind, value, times))

    def forgive(self) -> None:
        """Behave again, and forget what was asked."""
        self.faults.clear()
        self.requests.clear()

    def asked(self, pattern: str) -> list[Request]:
        """Give the requests whose path a pattern matches."""
        return [request for request in self.requests if fnmatch.fnmatchcase(request.path, pattern)]

    def fault_of(self, path: str) -> Fault | None:
        """Take the first fault that is due for a path."""
        for fault in self.faults:
            if fnmatch.fnmatchcase(path, fault.pattern) and fault.times != 0:
                fault.times = fault.times if fault.times is None else fault.times - 1
                return fault
        return None

    def answer(self, path: str, accept: str) -> Answer:
        """Find what an honest index sends for a path."""
        folder, _, last = path.strip("/").rpartition("/")
        if last.endswith((".whl", ".metadata")):
            return self._file(folder, last)
        whole = path.strip("/")
        if whole in self.pools or any(pool.startswith(f"{whole}/") for pool in self.pools):
            return self._projects(whole, accept)
        return self._project(folder, _normal(last), accept)

    def _file(self, pool: str, name: str) -> Answer:
        plain = name.removesuffix(".metadata")
        for wheel in (wheel for wheels in self.pools.get(pool, {}).values() for wheel in wheels):
            if wheel.filename == plain and plain == name:
                return Answer("application/octet-stream", wheel.data)
            if wheel.filename == plain and self.metadata_files:
                return Answer("text/plain", wheel.metadata)
        return Answer("text/plain", b"not found", 404)

    def _projects(self, pool: str, accept: str) -> Answer:
        below = {name.removeprefix(f"{pool}/").split("/")[0] for name in self.pools if name.startswith(f"{pool}/")}
        names = sorted({name for near in self._near(pool) for name in self.pools[near]} | below)
        if pool in self.json_pools and JSON_TYPE in accept:
            body = {"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]}
            return Answer(JSON_TYPE, json.dumps(body).encode())
        return _page(f'<a href="{name}/">{name}</a>' for name in names)

    def _near(self, pool: str) -> list[str]:
        return [name for name in self.pools if name == pool or name.startswith(f"{pool}/")]

    def _project(self, pool: str, project: str, accept: str) -> Answer:
        found = [(near, wheel) for near in self._near(pool) for wheel in self.pools[near].get(project, [])]
        if not found:
            return Answer("text/plain", b"not found", 404)
        if pool in self.json_pools and JSON_TYPE in accept:
            files = [self._as_json(near, wheel) for near, wheel in found]
            body = {"meta": {"api-version": "1.0"}, "name": project, "files": files}
            return Answer(JSON_TYPE, json.dumps(body).encode())
        return _page(self._as_link(near, wheel) for near, wheel in found)

    def _as_json(self, pool: str, wheel: Wheel) -> dict[str, Any]:
        digest = {"sha256": hashlib.sha256(wheel.metadata).hexdigest()}
        return {
            "filename": wheel.filename,
            "url": f"{self.root}/{pool}/{quote(wheel.filename)}",
            "hashes": {"sha256": wheel.sha256},
            "size": len(wheel.data),
            **({"requires-python": wheel.requires_python} if wheel.requires_python else {}),
            **({"core-metadata": digest, "dist-info-metadata": digest} if self.metadata_files else {}),
        }

    def _as_link(self, pool: str, wheel: Wheel) -> str:
        digest = f"sha256={hashlib.sha256(wheel.metadata).hexdigest()}"
        kinds = f' data-dist-info-metadata="{digest}" data-core-metadata="{digest}"' if self.metadata_files else ""
        needs = f' data-requires-python="{escape(wheel.requires_python)}"' if wheel.requires_python else ""
        href = f"/{pool}/{quote(wheel.filename)}#sha256={wheel.sha256}"
        return f'<a href="{href}"{needs}{kinds}>{escape(wheel.filename)}</a>'


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _page(links: Iterator[str] | Any) -> Answer:
    body = "<br/>\n".join(links)
    return Answer("text/html", f"<!DOCTYPE html>\n<html>\n<body>\n{body}\n</body>\n</html>\n".encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    index: LocalIndex

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up in the middle are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log to `LocalIndex.requests` instead."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        index, path = self.server.index, unquote(urlsplit(self.path).path)
        asked = Request(self.command, path, self.headers.get("Range"), self.headers.get("User-Agent", ""))
        index.requests.append(asked)
        answer = index.answer(path, self.headers.get("Accept", ""))
        fault = index.fault_of(path)
        if fault:
            KINDS[fault.kind](self, answer, fault.value)
        else:
            self.send(answer)

    def send(self, answer: Answer, *, pace: Callable[[bytes], Iterator[bytes]] | None = None) -> None:
        """Send an answer, the asked range of it, in the portions that `pace` gives."""
        body, status, headers = self._portion(answer)
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for chunk in pace(body) if pace else (body,):
                self.wfile.write(chunk)
                self.wfile.flush()

    def _portion(self, answer: Answer) -> tuple[bytes, int, dict[str, str]]:
        if not self.server.index.ranges or answer.status != 200:
            return answer.body, answer.status, {}
        tag = {"Accept-Ranges": "bytes", "ETag": f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not match or match.groups() == ("", ""):
            return answer.body, 200, tag
        first, last = match.groups()
        size = len(answer.body)
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if start >= size:
            return b"", 416, {"Content-Range": f"bytes */{size}"}
        return answer.body[start : end + 1], 206, {**tag, "Content-Range": f"bytes {start}-{end}/{size}"}


def _status(handler: _Handler, _answer: Answer, value: Any) -> None:
    handler.send(Answer("text/plain", f"{value} as told\n".encode(), int(value)))


def _redirect(handler: _Handler, _answer: Answer, value: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", str(value).replace("{path}", handler.path))
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _cut(handler: _Handler, answer: Answer, value: Any) -> None:
    """Hang up after a part of the body (a half, or `value` of it)."""

    def some(body: bytes) -> Iterator[bytes]:
        yield body[: int(len(body) * (value or 0.5))]
        handler.close_connection = True
        handler.connection.close()

    handler.send(answer, pace=some)


def _corrupt(handler: _Handler, answer: Answer, _value: Any) -> None:
    """Send as many bytes as promised, some of them wrong."""
    middle = len(answer.body) // 2
    body = answer.body[:middle] + bytes(255 - byte for byte in answer.body[middle : middle + 8])
    handler.send(Answer(answer.kind, body + answer.body[middle + 8 :], answer.status))


def _drip(handler: _Handler, answer: Answer, value: Any) -> None:
    """Send so many bytes a second."""

    def slowly(body: bytes) -> Iterator[bytes]:
        step = max(1, int(value) // 10)
        for start in range(0, len(body), step):
            yield body[start : start + step]
            time.sleep(step / float(value))

    handler.send(answer, pace=slowly)


def _garbage(handler: _Handler, _answer: Answer, _value: Any) -> None:
    """Send the page of a hotel's WLAN instead of what was asked for."""
    handler.send(Answer("text/html", b"<html><title>Welcome</title><body>Please log in <b>&<a href=></html"))


def _delay(handler: _Handler, answer: Answer, value: Any) -> None:
    """Answer right, after `value` seconds."""
    time.sleep(float(value))
    handler.send(answer)


def _silence(handler: _Handler, _answer: Answer, _value: Any) -> None:
    """Hang up without a word."""
    handler.close_connection = True


KINDS: dict[str, Callable[[_Handler, Answer, Any], None]] = {
    "status": _status,  # value: the HTTP status
    "redirect": _redirect,  # value: a URL, in which {path} is the path that was asked for
    "cut": _cut,
    "corrupt": _corrupt,
    "drip": _drip,  # value: bytes a second
    "garbage": _garbage,
    "delay": _delay,  # value: seconds
    "silence": _silence,
}
