"""Download: the wheel exists, and does not arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, compiled
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.installing import PIP

GIB = 1 << 30
PROGRESS = r"(\d[\d.]*)\s*(k|M|G)?i?B?\s*/\s*(\d[\d.]*)\s*(k|M|G)i?B\b"


DOWNLOAD = r"Downloading \S*(?:torch|nvidia|triton)\S*"


HASHES = r"DO NOT MATCH THE HASHES|hash mismatch|Hash mismatch"


SCALE = {"k": 1e3, "M": 1e6, "G": 1e9, "": 1.0}


def progress(e: Evidence) -> tuple[float, float] | None:
    """Give the last progress that a download showed: bytes done, bytes in all."""
    shown = list(compiled(PROGRESS).finditer(e.log.text))
    if not shown:
        return None
    last = shown[-1]
    total = float(last[3].rstrip(".")) * SCALE[last[4]]
    return float(last[1].rstrip(".")) * SCALE[last[2] or last[4]], total


@rule
def hashes(e: Evidence) -> Iterator[Finding]:
    """A downloaded file has another hash than announced."""
    match = e.search(HASHES)
    if not match:
        return
    seen, shown = (e.quote(match),), progress(e)
    if e.search(r"Using cached \S*(?:\.whl|\.tar\.gz)") and not shown:
        yield Finding("pip-cache-corrupt", Weight.CONFIRMED, (*seen, "The file came from pip's cache."), from_log=True)
    elif shown and shown[0] < shown[1] * 0.999:
        part = f"The download showed {shown[0] / 1e6:.0f} of {shown[1] / 1e6:.0f} MB."
        yield Finding("download-interrupted", Weight.CONFIRMED, (*seen, part), from_log=True)
    elif shown:
        yield Finding("index-server-fault", Weight.LIKELY, (*seen, "The download was complete."), from_log=True)
        if shown[1] > 100e6:
            yield Finding("download-interrupted", Weight.SUGGESTED, seen, from_log=True)


BROKEN = (
    r"IncompleteRead\(|ChunkedEncodingError|ConnectionResetError|Connection broken|incomplete-download|"
    r"IncompleteDownloadError|end of file before message length reached|error decoding response body|"
    r"request or response body error|UV_HTTP_TIMEOUT|Failed to download (?:distribution due to|`?torch)"
)


TIMED_OUT = r"ReadTimeoutError|Read timed out|^\s*(?:socket\.timeout|TimeoutError)\b|operation timed out"


RETRIED = (
    r"after connection broken by '(?:ConnectionResetError|ProtocolError|RemoteDisconnected|ReadTimeoutError)"
    r"[^\n]{0,300}?': (/\S*)"
)


@rule
def timeout(e: Evidence) -> Iterator[Finding]:
    """A connection timed out or broke, before or in the middle of a download."""
    if e.says("NewConnectionError", "ConnectTimeout", "broken by 'SSLError", "broken by 'ProxyError"):
        return
    retried, broken, read = e.search(RETRIED), e.search(BROKEN), e.search(TIMED_OUT)
    match = retried or broken or read
    if not match or not e.search(NETWORK) or other_service(e):
        return
    # Files come from these hosts, or end so; the index's own pages end with a slash.
    file = re.search(r"\.whl|\.tar", retried[1]) if retried else None
    started = file or (not retried and (broken or progress(e) or e.search(DOWNLOAD) or e.says(*FILES)))
    if started:
        yield Finding("download-interrupted", Weight.DECISIVE, (e.quote(match),), from_log=True)
    else:
        yield Finding("network-unreachable", Weight.DECISIVE, (e.quote(match),), from_log=True)
        yield Finding("download-interrupted", Weight.LIKELY, (e.quote(match),), from_log=True)


NETWORK = (
    r"HTTPS?Connection|urllib3|requests\.exceptions|pip[\\/]_|\bpip(?:3|\.exe)? (?:install|download)|Downloading \S|"
    r"Collecting \S|\buv (?:pip|sync|add)\b|UV_HTTP_TIMEOUT|Failed to (?:download|fetch)|IncompleteRead|"
    r"curl:|Could not fetch URL|"
    r"https://(?:pypi|download\.pytorch|files\.pythonhosted)\.org|\bconda\b|"
    r"\d\s*[kMG]i?B/s|\d\s*/\s*\d[\d.]*\s*[MG]i?B\b"
)


# A host that a connection was made to, and hosts that serve models, data and messages but no wheels of torch.
HOST = re.compile(r"host='([\w.-]+)'|https?://([\w.-]+)", re.IGNORECASE)


NO_INDEX = re.compile(
    r"(?:^|\.)(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.\w+|civitai\.com|openai\.com|anthropic\.com|wandb\.ai|"
    r"kaggle\.com|roboflow\.com|ultralytics\.com|googleapis\.com|google\.com|slack\.com|docker\.io|ghcr\.io)$",
    re.IGNORECASE,
)


def other_service(e: Evidence) -> bool:
    """Say whether the connections of which the text speaks all went to services that have no wheels."""
    hosts = [host for found in HOST.findall(e.log.text) if (host := found[0] or found[1])]
    return bool(hosts) and all(NO_INDEX.search(host) for host in hosts)


FILES = ("files.pythonhosted.org", "download-r2.pytorch.org", ".whl")


@rule
def unreachable(e: Evidence) -> Iterator[Finding]:
    """No connection to the index could be made."""
    match = e.search(
        r"ConnectTimeoutError|NewConnectionError|Failed to establish a new connection|"
        r"(?:Temporary failure in|Name or service not known|getaddrinfo failed|nodename nor servname)|"
        r"Cannot connect to proxy|ProxyError|Network is unreachable|No route to host|dns error|"
        r"failed to lookup address|Could not resolve host|WinError 1006[01]\b|"
        r"SSLEOFError|EOF occurred in violation of protocol|WRONG_VERSION_NUMBER|"
        r"check_hostname requires server_hostname|"
        r"CondaHTTPError: HTTP 000|error sending request for url|\[Errno (?:11001|-2|-3|101|111|113)\]"
    )
    if (
        match
        and e.search(NETWORK)
        and not other_service(e)
        and not e.search(r"MASTER_ADDR|rendezvous|TCPStore|init_process_group")
    ):
        yield Finding("network-unreachable", Weight.DECISIVE - 1, (e.quote(match),), from_log=True)


@rule
def cached(e: Evidence) -> Iterator[Finding]:
    """pip reuses a damaged file from its cache."""
    match = e.search(
        r"BadZipFile|zipfile\.BadZip|Wheel '?\S+'? (?:located at \S+ )?is invalid|"
        r"Bad magic number for central directory|has an invalid wheel|invalid distribution file|"
        r"EOFError: Compressed file ended"
    )
    if match and e.search(PIP):
        cache = e.search(r"Using cached") or e.says("pip/cache", "pip\\cache", "/.cache/")
        yield Finding(
            "pip-cache-corrupt", Weight.CONFIRMED if cache else Weight.LIKELY, (e.quote(match),), from_log=True
        )
    stale = e.search(
        r"(?:Cache entry deserialization failed|Failed to deserialize cache entry|"
        r"msgpack\S{0,40}(?:ExtraData|FormatError))"
    )
    if stale and e.says("ERROR", "Exception"):
        yield Finding("pip-cache-corrupt", Weight.SUGGESTED, (e.quote(stale),), from_log=True)


@rule
def disk(e: Evidence) -> Iterator[Finding]:
    """There is too little room for a download."""
    sizes = {
        "temporary folder": e.facts.disk.temp_free,
        "pip cache": e.facts.disk.cache_free,
        "target": e.facts.disk.target_free,
    }
    need = {"temporary folder": 3 * GIB, "pip cache": GIB, "target": 3 * GIB}
    said = bool(e.search(r"Errno 28\b|No space left|WinError 112\b"))
    low = [
        f"Free in the {place}: {size / GIB:.1f} GiB."
        for place, size in sizes.items()
        if isinstance(size, int) and size < need[place]
    ]
    if low and (said or e.facts.torch.import_ != "ok"):
        yield Finding("disk-full", Weight.CONFIRMED if said else Weight.HINT + 20, tuple(low), from_log=said)


@rule
def memory(e: Evidence) -> Iterator[Finding]:
    """pip was killed or ran out of memory."""
    match = e.search(r"^\s*(?:MemoryError\b|.{0,80}\bKilled\b\s*(?:pip|python)?)")
    installing = e.search(
        r"Collecting torch|Downloading \S*torch|Installing collected packages|pip3? install|"
        r"pip[\\/]_(?:vendor|internal)|cachecontrol|msgpack"
    )
    match = match or e.search(r"\n\s*(?:MemoryError\b|Killed\b)")
    if match and installing:
        sure = "MemoryError" in match[0] and e.search(r"pip[\\/]_|cachecontrol|msgpack")
        yield Finding("pip-memoryerror", Weight.DECISIVE if sure else Weight.LIKELY, (e.quote(match),), from_log=True)
