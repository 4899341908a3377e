"""pip as the installer: fetch everything first, with the target untouched, then change the target in one short step."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from torchcheck import shells
from torchcheck.errors import InstallError, TargetError, UnreachableError
from torchcheck.install import installed
from torchcheck.install.complaints import understand
from torchcheck.install.downloads import Downloads
from torchcheck.install.incoming import Incoming, of_wheel
from torchcheck.install.streaming import Listener, environment, follow

if TYPE_CHECKING:
    from torchcheck.target import Target

ALWAYS = ("--no-input", "--disable-pip-version-check")
PAUSES = (1.0, 3.0)
"""Seconds before the second and third attempt of a fetch that a poor network broke."""
WITH_VALUE = {"--index-url", "-i", "--extra-index-url", "--find-links", "-f"}
BARE = {"pip", "setuptools", "wheel"}


class Pip:
    """Drive the pip of a target."""

    def __init__(self, target: Target, staging: str, on_event: Listener) -> None:
        """Work in `staging`, a folder on the target's disk; nothing runs yet."""
        self._target = target
        self._staging = staging
        self._tell = on_event
        self._version = _version(target)
        self._wheels = os.path.join(staging, "wheels")
        self._log = os.path.join(staging, "pip.log")
        self._raw = self._version >= (24, 1)

    def fetch(self, arguments: Sequence[str], again: Sequence[str] = ()) -> list[Incoming]:
        """Resolve what `pip install ARGUMENTS` would install and download it into the staging folder.

        `again` are exact pins of what is there, but damaged. In an environment that holds nothing yet, or with a pip
        that cannot report, everything is taken at once. Else the pins come first, alone: mostly all that they need is
        there, and if not, pip resolves it.

        Raises:
            TorchcheckError: with what pip's complaint means; the target is untouched.
        """
        os.makedirs(self._wheels, exist_ok=True)
        there = installed.read(self._target.paths)
        if set(there) <= BARE or self._version < (22, 2):  # nothing that could be satisfied already, or no --report
            self._pip("wheel", "--wheel-dir", self._wheels, *self._network(), *_for_wheel(arguments))
            self._refuse_plain_http(arguments, [])
            sound = {name: dist for name, dist in there.items() if f"{dist.name}==={dist.version}" not in again}
            return needed(self._fetched(), pinned(arguments), sound)
        self._wheel(arguments, [*missing(arguments, there), *again])
        fetched = self._fetched()
        if not self._satisfied(fetched, there):
            wanted = self.resolve(arguments)
            self._refuse_plain_http(arguments, [str(item["download_info"]["url"]) for item in wanted])
            names = {item.name for item in fetched}
            self._wheel(arguments, [_requirement(item) for item in wanted if _name(item) not in names])
        return self._fetched()

    def _wheel(self, arguments: Sequence[str], lines: Sequence[str]) -> None:
        """Download exactly these requirements."""
        if lines:
            listing, where = self._listed("fetch.txt", lines), sources(arguments)
            flags = ("--no-deps", "--wheel-dir", self._wheels, *self._network())
            self._pip("wheel", *flags, *where, "--requirement", listing)
            self._refuse_plain_http(arguments, [])

    def _satisfied(self, fetched: Sequence[Incoming], there: Mapping[str, installed.Dist]) -> bool:
        """Say whether what the family needs is there already: then nothing needs to be resolved."""
        versions = {name: dist.version for name, dist in there.items()} | {item.name: item.version for item in fetched}
        environment = installed.markers(str(self._target.facts.version or ""))
        needs = [need for item in fetched for need in installed.needs(item.requires, environment)]
        return all(
            not need.extras
            and (have := versions.get(installed.normal(need.name))) is not None
            and need.specifier.contains(have, prereleases=True)
            for need in needs
        )

    def _fetched(self) -> list[Incoming]:
        names = sorted(os.listdir(self._wheels))
        return [of_wheel(os.path.join(self._wheels, name), self._target.paths) for name in names]

    def _listed(self, name: str, lines: Sequence[str]) -> str:
        listing = os.path.join(self._staging, name)
        with open(listing, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
        return listing

    def resolve(self, arguments: Sequence[str], *flags: str) -> list[dict[str, Any]]:
        """Give the entries of pip's report (`--dry-run --report`, pip 22.2): name, version, URL, hashes."""
        report = os.path.join(self._staging, "report.json")
        self._pip("install", "--dry-run", "--report", report, *self._network(), *flags, *arguments)
        with open(report, encoding="utf-8", errors="replace") as stream:
            return entries(stream.read())

    def change(self, incoming: Sequence[Incoming]) -> None:
        """Install what was fetched: no network, no resolution, no configuration that could lead elsewhere.

        Raises:
            TorchcheckError: with what pip's complaint means; the target may be half changed.
        """
        listing = self._listed("install.txt", [item.pin for item in incoming])
        flags = ("--isolated", "--no-index", "--find-links", self._wheels, "--no-deps", "--force-reinstall")
        self._pip("install", "--no-warn-script-location", *flags, *self._breaking(), "--requirement", listing)

    def _breaking(self) -> tuple[str, ...]:
        """Keep what the user decided about PEP 668: `--isolated` hides PIP_BREAK_SYSTEM_PACKAGES."""
        chosen = os.environ.get("PIP_BREAK_SYSTEM_PACKAGES", "").lower() in {"1", "true", "yes", "on"}
        return ("--break-system-packages",) if chosen and self._version >= (23, 1) else ()

    def _network(self) -> tuple[str, ...]:
        progress = "raw" if self._raw else "off"
        resume = ("--resume-retries", "5") if (25, 1) <= self._version < (25, 3) else ()
        return ("--log", self._log, "--verbose", "--progress-bar", progress, *resume)

    def _pip(self, *arguments: str) -> str:
        """Run pip, again where the network may have been at fault."""
        argv = [self._target.python, "-m", "pip", arguments[0], *ALWAYS, *arguments[1:]]
        for pause in (*PAUSES, None):
            with Downloads(self._tell, "" if self._raw else self._staging) as downloads:
                code, said = follow(argv, self._staging, environment(self._staging), downloads.hear)
            if code == 0:
                return said
            error, again = understand(said, self._logged())
            if pause is None or not again:
                raise error
            self._tell({"event": "retry", "code": error.code, "message": error.message, "seconds": pause})
            time.sleep(pause)
        raise AssertionError("the loop returns or raises")

    def _logged(self) -> str:
        """Give what pip noted in its log, and start a new one."""
        try:
            with open(self._log, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            os.remove(self._log)
        except OSError:
            return ""
        return text

    def _refuse_plain_http(self, arguments: Sequence[str], urls: Sequence[str]) -> None:
        """Refuse to go from https to http, whoever sends us there."""
        secure = [word for word in arguments if word.startswith("https://")]
        plain = [url for url in urls if url.startswith("http://")]
        log = self._peek()
        visited = re.findall(r"Starting new HTTP connection \(\d+\): ([^\s:]+)", log)
        # Plain places that the user's own pip is configured with are the user's business.
        named = " ".join(re.findall(r"Looking in (?:indexes|links): (.*)", log))
        chosen = {urlsplit(url).hostname for url in re.findall(r"http://[^\s,]+", named)}
        led = [place for place in (*plain, *visited) if (urlsplit(place).hostname or place) not in chosen]
        if secure and led:
            raise insecure(led[0])

    def _peek(self) -> str:
        try:
            with open(self._log, encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""


def entries(report: str) -> list[dict[str, Any]]:
    """Read pip's report (https://pip.pypa.io/en/stable/reference/installation-report/): what it would install.

    Raises:
        InstallError: it is not what pip writes, or a name or an address in it would be read as more than one.
    """
    try:
        found = [dict(item) for item in json.loads(report)["install"]]
        words = [
            (item["metadata"]["name"], item["metadata"]["version"], item["download_info"]["url"]) for item in found
        ]
        hashes = [item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "") for item in found]
        sound = all(re.fullmatch(r"\S+", word) for row in words for word in row)
        sound = sound and all(re.fullmatch(r"[0-9a-fA-F]*", digest) for digest in hashes)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        hint = "Update pip in the target: python -m pip install --upgrade pip"
        raise InstallError("pip's report of what it would install cannot be read.", hint, code="pip-report")
    return found


def insecure(url: str) -> UnreachableError:
    """Make the error for an index that leads from https to http."""
    hint = "Use another index with --index-url, or tell its maintainers."
    message = f"The index sends us from https to an unencrypted address ({url}): what comes from there can be altered."
    return UnreachableError(message, hint, code="redirect-to-http")


def pinned(arguments: Sequence[str]) -> dict[str, str]:
    """Give the exact pins among the arguments of an installer: name → version."""
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)={2,3}([^=;]+)", word) for word in arguments)
    return {installed.normal(match[1]): match[2] for match in found if match}


def missing(arguments: Sequence[str], there: Mapping[str, installed.Dist]) -> list[str]:
    """Give the pins among the arguments that are not installed in exactly that version."""
    pins = pinned(arguments)
    return [
        f"{name}==={version}" for name, version in pins.items() if name not in there or there[name].version != version
    ]


def needed(found: Sequence[Incoming], asked: Mapping[str, str], there: Mapping[str, installed.Dist]) -> list[Incoming]:
    """Drop what is installed already, or what is there in another version that nobody objects to."""
    needs = [need for item in found for need in installed.readable(item.requires)]
    kept = []
    for item in found:
        have = there.get(item.name)
        same = have is not None and have.version == item.version
        suits = have is not None and all(
            need.specifier.contains(have.version, prereleases=True)
            for need in needs
            if installed.normal(need.name) == item.name
        )
        if not same and (item.name in asked or not suits):
            kept.append(item)
    return kept


def _version(target: Target) -> tuple[int, int]:
    dist = installed.read(target.paths, ["pip"]).get("pip")
    said = dist.version if dist else str(target.facts.pip or "")
    match = re.match(r"(\d+)\.(\d+)", said)
    if not match:
        python = shells.call(target.python, shells.usual(windows=sys.platform == "win32"))
        hint = f"{python} -m ensurepip --upgrade"
        raise TargetError(f"There is no pip in {target.python}.", hint, code="no-pip")
    return int(match[1]), int(match[2])


def _for_wheel(arguments: Sequence[str]) -> list[str]:
    """Leave out what only `pip install` takes."""
    return [word for word in arguments if word not in {"--upgrade", "--force-reinstall", "--no-warn-script-location"}]


def sources(arguments: Sequence[str]) -> list[str]:
    """Keep the arguments that say where to look (pip finds the credentials for a file's URL there), not what for."""
    values = {position + 1 for position, word in enumerate(arguments) if word in WITH_VALUE}
    return [word for position, word in enumerate(arguments) if word.startswith("-") or position in values]


def _name(item: dict[str, Any]) -> str:
    return installed.normal(str(item["metadata"]["name"]))


def _requirement(item: dict[str, Any]) -> str:
    """Write an entry of pip's report as a requirement by URL, with the hash that was promised."""
    info = item["download_info"]
    hashes = info.get("archive_info", {}).get("hashes", {})
    known = f"#sha256={hashes['sha256']}" if "sha256" in hashes else ""
    return f"{item['metadata']['name']} @ {info['url']}{known}"
