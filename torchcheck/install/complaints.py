"""What an installer's complaint means: error, exit code, and what to type next. One row a complaint."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torchcheck.errors import InstallError, TargetError, TorchcheckError, UnreachableError


@dataclass(frozen=True)
class Complaint:
    """One kind of failure: found by `pattern` in output or log; groups of the pattern fill the texts.

    `again` says that trying once more may help.
    """

    code: str
    pattern: str
    error: type[TorchcheckError]
    message: str
    hint: str
    again: bool = False


PROXY = "Behind a proxy, set HTTPS_PROXY, or give a mirror with --index-url."
# Order matters: the first that is found names the failure, so causes stand before their consequences.
COMPLAINTS = (
    Complaint(
        "disk-full",
        r"No space left on device|Errno 28\b|WinError 112\b|os error 28\b|Disk quota exceeded",
        InstallError,
        "The disk is full.",
        "Free some space (`python -m pip cache purge` empties pip's cache), or use another disk with --venv DIR.",
    ),
    Complaint(
        "files-in-use",
        r"\[WinError (?:5|32)\][^\n]*|os error (?:5|32)\b[^\n]*",
        InstallError,
        "Files in the target are in use by another program.",
        "Close the programs that use this environment (notebooks, editors, training runs) and try again.",
    ),
    Complaint(
        "not-writable",
        r"\[Errno (?:13|30)\] (?:Permission denied|Read-only file system)[^\n]*|os error (?:13|30)\b",
        TargetError,
        "The target may not be written to.",
        "Make a virtual environment of your own: torchcheck install --venv .venv",
    ),
    Complaint(
        "externally-managed",
        r"externally.managed",
        TargetError,
        "This Python is managed by the operating system, which forbids to install into it (PEP 668).",
        "Make a virtual environment of your own: torchcheck install --venv .venv",
    ),
    Complaint(
        "hash-mismatch",
        r"DO NOT MATCH THE HASHES|Hash mismatch for|Bad CRC|corrupt deflate stream",
        InstallError,
        "A downloaded file is not the one that the index promises: its hash differs (cut off, or altered on the way).",
        "Try again without the cache (`python -m pip cache purge`); if it stays, something between you and the index "
        "alters files: a proxy, or an attacker.",
        again=True,  # pip before 25.1 takes a connection that was cut for the end of the file
    ),
    Complaint(
        "tls-failed",
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate|"
        r"SSLError|ssl-verification-failed|SSLCertVerificationError|problem confirming the ssl certificate",
        UnreachableError,
        "The index's certificate is not trusted here.",
        "Behind a company proxy, name its certificate: PIP_CERT=/path/to/ca.pem (uv: SSL_CERT_FILE); check the clock.",
    ),
    Complaint(
        "no-ssl",
        r"[Ss][Ss][Ll]'? module (?:in Python )?is (?:not available|unavailable)",
        TargetError,
        "The target's Python was built without TLS and cannot reach any https index.",
        "Use another Python with --python; one that you built needs OpenSSL's headers (libssl-dev).",
    ),
    Complaint(
        "proxy-refused",
        r"ProxyError|proxy-connection-failed|Failed to connect to proxy|"
        r"Tunnel connection failed|407 Proxy Authentication",
        UnreachableError,
        "The proxy refuses or does not answer.",
        "Check HTTPS_PROXY and HTTP_PROXY, and the proxy setting of pip (`python -m pip config list`).",
    ),
    Complaint(
        "download-cut",
        r"IncompleteRead|incomplete-download|not enough bytes were received|Connection broken|Connection reset|"
        r"RemoteDisconnected|connection was closed without a reply|Connection aborted|"
        r"end of file before message length|connection closed before|error decoding response body|"
        r"Failed to (?:read from|extract)[^\n]*stream",
        UnreachableError,
        "The connection was cut in the middle of a download.",
        "Try again: what was complete is in the cache. On a poor line, give a mirror with --index-url.",
        again=True,
    ),
    Complaint(
        "host-unknown",
        r"Name or service not known|getaddrinfo failed|nodename nor servname|Temporary failure in name resolution|"
        r"Failed to resolve|dns error",
        UnreachableError,
        "The index's host name cannot be resolved: no network, or no such host.",
        PROXY,
    ),
    Complaint(
        "connection-refused",
        r"Connection refused|WinError 10061|Network is unreachable|No route to host|"
        r"Failed to establish a new connection|tcp connect error",
        UnreachableError,
        "The index's host does not accept connections.",
        PROXY,
    ),
    Complaint(
        "timeout",
        r"Read timed out|didn't respond within|connection-timeout|"
        r"ReadTimeout|ConnectTimeout|timed out|operation timed out",
        UnreachableError,
        "The index does not answer in time.",
        "Try again later, with more patience (PIP_DEFAULT_TIMEOUT=120; uv: UV_HTTP_TIMEOUT=120), or give a mirror with "
        "--index-url.",
        again=True,
    ),
    Complaint(
        "index-forbidden",
        r"(?:HTTP error |\b|status code \()(?P<status>401|403)"
        r"(?: Client Error| Forbidden| Unauthorized| while getting|\b\))",
        UnreachableError,
        "The index refuses access (HTTP {status}).",
        "Check user and password of the index (in the URL, ~/.netrc or keyring), or use another with --index-url.",
    ),
    Complaint(
        "index-error",
        r"(?:HTTP error |\b|status code \()(?P<status>5\d\d)"
        r"(?: Server Error| while getting| Internal| Bad| Service|\b\))|too many 5\d\d error responses",
        UnreachableError,
        "The index is out of order (HTTP {status}).",
        "Try again in some minutes, or give a mirror with --index-url.",
    ),
    Complaint(
        "file-missing",
        r"HTTP error 404 while getting (?P<url>\S+)|Failed to download[^\n]*(?:\n[^\n]*)*404 Not Found",
        UnreachableError,
        "The index lists a file that it does not have ({url}).",
        "Try again later, or give a mirror with --index-url.",
    ),
    Complaint(
        "wheel-lies",
        r"inconsistent (?:version|name|Version|Name): [^\n]*|MetadataInconsistent|has invalid (?:wheel|metadata)[^\n]*|"
        r"Metadata field [^\n]* does not match|metadata (?:name|version)[^\n]*does not match|is invalid\.",
        InstallError,
        "A wheel's contents are not what its name says.",
        "Use another index, or tell its maintainers: this wheel must not be installed.",
    ),
    Complaint(
        "constraints-conflict",
        r"The user requested \(constraint\) (?P<what>[^\n]*)",
        TargetError,
        "A constraints file of your pip forbids this plan ({what}).",
        "See `python -m pip config list` and PIP_CONSTRAINT; lift it, or ask for what it allows with --torch.",
    ),
    Complaint(
        "no-record",
        r"[Cc]annot uninstall (?P<what>[^\s,]+)[^\n]*|uninstall-no-record-file|uninstall-distutils-installed-package",
        TargetError,
        "What is installed ({what}) cannot be removed: its list of files is missing.",
        "Use the tool that installed it (conda, apt …), or a fresh environment: torchcheck install --venv .venv",
    ),
    Complaint(
        "not-for-this-python",
        r"Link requires a different Python \((?P<why>[^\n]*?)\)|Requires-Python|"
        r"none of the wheel's tags \((?P<tags>[^\n]*?)\) are compatible|no wheels? with a matching Python",
        TargetError,
        "The index has nothing for this Python and platform.",
        "Use another Python with --python, or another version with --torch.",
    ),
    Complaint(
        "index-missing",
        r"404 Client Error[^\n]*for url: (?P<url>\S+)|404 Not Found",
        UnreachableError,
        "The index has no such page ({url}).",
        "Check the address given with --index-url; the PyTorch index is https://download.pytorch.org/whl/<backend>.",
    ),
    Complaint(
        "not-an-index",
        r"because the (?:GET|HEAD) request got Content-Type|because it does not contain|Received (?:HTML|unexpected)",
        UnreachableError,
        "What answers is not a package index.",
        "A login page of a network often answers so: open a browser once. Else check --index-url.",
    ),
    Complaint(
        "conflict",
        r"(?m)^ERROR: ResolutionImpossible|have conflicting dependencies|No solution found when resolving",
        TargetError,
        "What is asked for cannot be installed together.",
        "Use a fresh environment: torchcheck install --venv .venv",
    ),
)
KEPT = 1 << 20
LINE = 4000
"""Characters at either end of a text, and of a line, in which complaints are looked for."""
NOTHING_FOUND = r"No matching distribution found|Could not find a version|was not found in the package registry"


def understand(output: str, log: str = "") -> tuple[TorchcheckError, bool]:
    """Turn what an installer said into an error, and say whether another attempt may help.

    Args:
        output: what it printed.
        log: what it noted beyond that (pip tells there why it passed over an index).
    """
    output, log = _bounded(output), _bounded(log)
    for complaint in COMPLAINTS:
        found = re.search(complaint.pattern, output) or re.search(complaint.pattern, log)
        if found:
            return _made(complaint, found, output), complaint.again
    if re.search(NOTHING_FOUND, output):
        return _nothing(output), False
    error = InstallError(f"The installer failed: {last_words(output)}", code="installer-failed")
    return error, False


def _bounded(text: str) -> str:
    """Cut lines, and the middle of a text, that no installer writes: patterns would take their time over them."""
    text = text if len(text) <= 2 * KEPT else f"{text[:KEPT]}\n{text[-KEPT:]}"
    return text if len(text) <= LINE else "\n".join(line[:LINE] for line in text.split("\n"))


def _made(complaint: Complaint, found: re.Match[str], output: str) -> TorchcheckError:
    parts = {name: value or "?" for name, value in found.groupdict().items()}
    message = complaint.message.replace(" ({url})", "") if parts.get("url") == "?" else complaint.message
    text = message.format(**parts) if parts else message.replace(" ({what})", "").replace(" ({url})", "")
    words = last_words(output)
    return complaint.error(
        f"{text} The installer says: {words}" if words else text, complaint.hint, code=complaint.code
    )


def _nothing(output: str) -> TorchcheckError:
    listed = re.search(r"\(from versions: (?!none\))([^)]*)\)", output)
    if listed:
        hint = f"It has {listed[1]}. Ask for one of these with --torch."
        return TargetError(
            f"The index lacks what the plan asks for: {last_words(output)}", hint, code="no-such-version"
        )
    hint = "A login page of a network often answers so: open a browser once. Else check --index-url."
    return UnreachableError("What answers is not a package index, or an empty one.", hint, code="not-an-index")


def last_words(output: str) -> str:
    """Give the lines by which an installer explains itself, on one line, at most 300 characters."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [
        line.removeprefix("ERROR: ") for line in lines if line.startswith(("ERROR:", "error:", "\u00d7", "Caused by"))
    ]
    text = " ".join(dict.fromkeys(errors[-2:] or lines[-1:]))
    return text if len(text) <= 300 else text[:299] + "…"
