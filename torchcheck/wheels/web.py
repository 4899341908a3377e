"""HTTP for asking indexes: proxies and certificates as pip has them, every failure a value (door: network)."""

from __future__ import annotations

import base64
import configparser
import os
import queue
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from torchcheck import __version__
from torchcheck.wheels.builds import Failure
from torchcheck.wheels.trouble import WebError, failed, shown

PATIENCE = 6.0
"""Seconds that a server may be silent."""
PAUSES = (0.3, 0.9)
"""Seconds before the second and third attempt."""
LARGEST = 64 << 20
LARGEST_SETTINGS = 1 << 20
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Page:
    """What came back: where it was in the end, its type and its bytes."""

    url: str
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Web:
    """A client with a deadline for everything that it does.

    Attributes:
        deadline: monotonic time at which it gives up, whatever it is at.
        pip: settings of pip's configuration files that concern the network (`cert`, `proxy`, `client-cert`).
        offline: refuse everything that is not a file.
    """

    deadline: float
    pip: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False

    def get(self, url: str, *, accept: str = "*/*", span: tuple[int, int] | None = None, method: str = "GET") -> Page:
        """Read a page, or the bytes `span` (first, last) of a file.

        Raises:
            WebError: it cannot be read; attempts that may help were made.
        """
        if urlsplit(url).scheme == "file":
            return _file(url, span)
        if self.offline:
            raise WebError(Failure(shown(url), "network-unreachable", f"{shown(url)} is not asked (--offline)"))
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in {*LOOPBACK, *self.pip.get("trusted-host", "").split()}:
            raise WebError(Failure(shown(url), "wrong-index", f"{shown(url)} is not an https address"))
        for pause in (*PAUSES, None):
            try:
                return self._in_time(url, accept, span, method)
            except WebError as error:  # noqa: PERF203 - three attempts
                if pause is None or not error.again or time.monotonic() + pause > self.deadline:
                    raise
                time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    def _in_time(self, url: str, accept: str, span: tuple[int, int] | None, method: str) -> Page:
        """Do `_get`, for as long as there is time: neither a name server that hangs nor headers that drip end alone."""
        answers: queue.SimpleQueue[Page | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._get(url, accept, span, method))
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, self.deadline - time.monotonic()) + 0.5)
        except queue.Empty:
            raise WebError(Failure(shown(url), "network-unreachable", f"{shown(url)} did not answer in time")) from None
        if isinstance(answer, Page):
            return answer
        try:
            raise answer
        finally:
            del answer  # its traceback holds this frame: a circle, which would keep sockets open

    def _get(self, url: str, accept: str, span: tuple[int, int] | None, method: str) -> Page:
        plain, headers = _with_credentials(url)
        headers |= {"Accept": accept, "User-Agent": f"torchcheck/{__version__}"}
        if span:
            headers["Range"] = f"bytes={span[0]}-{span[1]}"
        request = urllib.request.Request(plain, headers=headers, method=method)  # noqa: S310 - schemes are checked
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise WebError(Failure(shown(url), "network-unreachable", f"{shown(url)} did not answer in time"))
        try:
            with self._opener.open(request, timeout=min(PATIENCE, left)) as answer:
                body = b"" if method == "HEAD" else self._read(answer, url)
                found = answer.headers
                return Page(answer.url, found.get("Content-Type", ""), body, {k.lower(): v for k, v in found.items()})
        except urllib.error.HTTPError as error:
            with error:  # an answer as well, which holds its connection until it is closed
                raise failed(url, error) from error
        except (OSError, HTTPException, ValueError) as error:
            raise failed(url, error) from error

    def _read(self, answer: HTTPResponse, url: str) -> bytes:
        """Read to the end; a server that lets bytes trickle past the deadline is given up."""
        parts, size = [], 0
        while part := answer.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if time.monotonic() > self.deadline:
                raise WebError(Failure(shown(url), "network-unreachable", f"{shown(url)} answers too slowly"))
            if size > LARGEST:
                raise WebError(Failure(shown(url), "index-server-fault", f"{shown(url)} sends more than an index page"))
        if size < int(answer.headers.get("Content-Length") or 0):
            text = f"the connection to {shown(url)} was cut off"
            raise WebError(Failure(shown(url), "download-interrupted", text), again=True)
        return b"".join(parts)

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        proxy = os.environ.get("PIP_PROXY") or self.pip.get("proxy")
        proxies = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else None)
        https = urllib.request.HTTPSHandler(context=self._context())
        opener = urllib.request.OpenerDirector()
        handlers: tuple[Any, ...] = (
            proxies,
            urllib.request.HTTPHandler(),
            https,
            _Redirects(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        )
        for handler in handlers:
            opener.add_handler(handler)
        return opener

    def _context(self) -> ssl.SSLContext:
        bundle = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), None)
        named = os.environ.get("PIP_CERT") or self.pip.get("cert") or bundle
        where = certificates(named, sys.platform, ssl.get_default_verify_paths().cafile)
        if where is None or not Path(where).exists():
            context = ssl.create_default_context()
        else:
            folder = Path(where).is_dir()
            context = ssl.create_default_context(cafile=None if folder else where, capath=where if folder else None)
        if client := os.environ.get("PIP_CLIENT_CERT") or self.pip.get("client-cert"):
            context.load_cert_chain(client)
        return context


def certificates(named: str | None, platform: str, usual: str | None) -> str | None:
    """Say which certificates to trust: those that are named, else Python's `usual` ones (None).

    python.org's Python for macOS comes without any; the system has a file of them.
    """
    return named or ("/etc/ssl/cert.pem" if platform == "darwin" and not usual else None)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to http, nor from this computer to http elsewhere."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        target = urlsplit(newurl)
        local = target.scheme == "http" and target.hostname in LOOPBACK and urlsplit(req.full_url).scheme == "http"
        if target.scheme != "https" and not local:
            text = f"{shown(req.full_url)} redirects to {shown(newurl)}, which is not https"
            raise WebError(Failure(shown(req.full_url), "wrong-index", text))
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)
        if followed and _origin(req.full_url) != _origin(newurl):
            followed.remove_header("Authorization")
        return followed


def _origin(url: str) -> tuple[str | None, int | None]:
    """Give host and port: another port is another service, which is not told the password."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 443, "https": 443}.get(parts.scheme)


def _file(url: str, span: tuple[int, int] | None) -> Page:
    """Read a file: URL; of a folder its index.html, as pip does."""
    path = file_path(url)
    path = path / "index.html" if path.is_dir() else path
    try:
        with path.open("rb") as stream:
            stream.seek(span[0] if span else 0)
            body = stream.read(span[1] - span[0] + 1 if span else LARGEST)
            size = path.stat().st_size
    except OSError as error:
        raise WebError(Failure(url, "not-there", f"{url}: {error.strerror}")) from error
    return Page(path.as_uri(), "text/html", body, {"content-length": str(size), "content-range": f"bytes */{size}"})


def file_path(url: str) -> Path:
    """Give the path that a file: URL names; on Windows also one on another computer (`file://server/share`)."""
    parts = urlsplit(url)
    return Path(url2pathname(f"//{parts.netloc}{parts.path}" if parts.netloc else parts.path))


def _with_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Take user and password out of a URL and make a header of them, as urllib does not."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def pip_settings(files: Iterable[str]) -> dict[str, str]:
    """Read what pip's configuration files say of the network and of constraints; later files win, as for pip."""
    found: dict[str, str] = {}
    for name in files:
        parser = configparser.RawConfigParser()
        try:
            if Path(name).stat().st_size > LARGEST_SETTINGS:
                continue
            parser.read(name, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    return found
