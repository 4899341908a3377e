"""What an exception of the network means, as a failure with a code and a sentence (pure)."""

from __future__ import annotations

import socket
import ssl
import urllib.error
from urllib.parse import urlsplit, urlunsplit

from torchcheck.wheels.builds import Failure

AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which another attempt may help."""


class WebError(Exception):
    """A page could not be read; `failure` says why."""

    def __init__(self, failure: Failure, *, again: bool = False) -> None:
        """Keep the failure, and whether another attempt may help."""
        super().__init__(failure.message)
        self.failure = failure
        self.again = again


def failed(url: str, error: Exception) -> WebError:
    """Say what an exception of the network means."""
    where = shown(url)
    if isinstance(error, urllib.error.HTTPError):
        return status_of(where, error.code)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        expired = "expired" in reason.verify_message
        text = f"the certificate of {where} is not trusted ({reason.verify_message})"
        return WebError(Failure(where, "index-server-fault" if expired else "ssl-proxy-ca", text))
    if isinstance(reason, ssl.SSLError):
        return WebError(Failure(where, "ssl-proxy-ca", f"no secure connection to {where} ({reason.reason or reason})"))
    if isinstance(reason, TimeoutError):
        return WebError(Failure(where, "network-unreachable", f"{where} did not answer in time"))
    if isinstance(reason, socket.gaierror):
        host = urlsplit(where).hostname
        return WebError(Failure(where, "network-unreachable", f"the name {host} cannot be resolved"))
    text = str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
    again = not isinstance(reason, ConnectionRefusedError)
    return WebError(Failure(where, "network-unreachable", f"{where} cannot be reached ({text})"), again=again)


def status_of(where: str, status: int) -> WebError:
    """Say what an HTTP status of an index means."""
    texts = {
        401: ("index-forbidden", "asks for a user name and password"),
        403: ("index-forbidden", "refuses to answer (HTTP 403)"),
        404: ("not-there", "does not exist (HTTP 404)"),
        407: ("ssl-proxy-ca", "is behind a proxy that asks for a password (HTTP 407)"),
    }
    code, text = texts.get(status, ("index-server-fault", f"answers with an error of its own (HTTP {status})"))
    return WebError(Failure(where, code, f"{where} {text}"), again=status in AGAIN)


def shown(url: str) -> str:
    """Give a URL without the password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url
