"""What the indexes have for a machine, asked now: PyTorch's or a mirror, else what pip is set to (door: network).

    offers = collect(facts, Request(), progress=print)
    plan(facts, Request(), offers)

A release or backend that the catalog has never heard of counts like any other: its own wheel says what it can run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from torchcheck.errors import UnreachableError
from torchcheck.facts import Facts
from torchcheck.probes.pip import constraints
from torchcheck.wheels import cache, catalog
from torchcheck.wheels.assemble import builds_of, complete
from torchcheck.wheels.builds import FAMILY, PYPI, PYTORCH, Build, Failure, Offers, flat, sentence
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.places import Place, as_url, ask, of_index
from torchcheck.wheels.plan import plan
from torchcheck.wheels.refuse import gates
from torchcheck.wheels.request import Request
from torchcheck.wheels.rules import Situation, constraint_lines
from torchcheck.wheels.trouble import WebError, shown
from torchcheck.wheels.web import Web, pip_settings

Progress = Callable[[str], None]


def remembered(facts: Facts, request: Request) -> Offers | None:
    """Give the catalog with what was last read from the index over it; None when nothing was. Asks nobody."""
    request, machine = request.checked(), Machine(facts)
    read = _recalled(request, machine)
    if read is None:
        return None
    return _overlaid(catalog.offers(machine.system, request.root), read.builds, read.backends, "cache", read.asked)


def collect(facts: Facts, request: Request, *, timeout: float = 15.0, progress: Progress | None = None) -> Offers:
    """Ask the index, or when it cannot be reached what pip is configured with, for wheels that this machine could run.

    Args:
        facts: the machine and its pip's configuration.
        request: what is asked for; mirrors replace the PyTorch index and are never replaced themselves.
        timeout: seconds for the index, and again for what pip is configured with.
        progress: called with one line at a time about what is going on.

    Raises:
        UnreachableError: nothing that has torch can be reached, and nothing was read before.
    """
    request, machine = request.checked(), Machine(facts)
    tell = progress or (lambda _line: None)
    base = catalog.offers(machine.system, request.root)
    if gates(Situation(machine, request, base)):
        return base  # Nothing that an index has could change it.
    settings = pip_settings(facts.pip.config_files or ())
    web = Web(time.monotonic() + timeout, settings, offline=request.offline)
    failures: list[Failure] = []
    offers = None if request.offline else _of_index(machine, request, web, failures, tell)
    if offers and request.find_links:
        offers = replace(offers, builds=(*offers.builds, *_at_hand(machine, request, web, failures)))
    if offers is None and not (request.index_urls and not request.offline):
        web = Web(time.monotonic() + timeout, settings, offline=request.offline)
        offers = _of_pip(machine, request, web, failures, tell)
    if offers is None:
        offers = _of_cache(machine, request, failures)
    arguments = tuple(word for place in request.find_links for word in ("--find-links", place))
    arguments += ("--no-index",) if request.offline else ()
    lines = constraint_lines(_constraints(facts, settings))
    offers = replace(offers, failures=tuple(failures), constraints=lines, pip_arguments=arguments)
    return _measured(offers, facts, request, web)


def _recalled(request: Request, machine: Machine) -> cache.Read | None:
    """Give what was read last, unless the catalog is newer: it came with a newer torchcheck."""
    read = cache.load(request.root, machine.system)
    return read if read and read.asked[:10] >= catalog.date() else None


def _of_index(machine: Machine, request: Request, web: Web, failures: list[Failure], tell: Progress) -> Offers | None:
    for root in request.roots:
        tell(f"Asking {shown(root)}")
        places, gone = of_index(root, machine, request, web, failures)
        found, reached = ask(places, web, failures)
        builds = complete(builds_of(found, machine.system, web), web, machine.python)
        base, asked = catalog.offers(machine.system, root), _now()
        if any(b.package == "torch" for b in builds):
            backends = gone | {place.backend or "" for place in places} | {b.backend for b in builds}
            backends |= {b.backend for b in base.builds} if flat(root) or machine.os == "macos" else set()
            cache.save(root, machine.system, asked, backends, builds)
            return _overlaid(base, builds, backends, "index", asked)
        if any(file.name.startswith("torch-") for _, file in found):
            return Offers((), root=root, source="index", asked=asked)
        if reached:
            failures.append(Failure(shown(root), "wrong-index", f"{shown(root)} lists no torch"))
    return None


def _of_pip(machine: Machine, request: Request, web: Web, failures: list[Failure], tell: Progress) -> Offers | None:
    """Ask everything that pip itself would look at."""
    pip = machine.facts.pip
    places = [Place(as_url(place), flat=True) for place in (*request.find_links, *(pip.find_links or ()))]
    if not request.offline:
        tell("Asking what pip is configured with")
    places += [Place(url) for url in (pip.index_url or PYPI, *(pip.extra_index_urls or ()))]
    places = [p for p in dict.fromkeys(places) if not request.offline or urlsplit(p.url).scheme == "file"]
    found, _ = ask(places, web, failures)
    builds = complete(builds_of(found, machine.system, web=web), web, machine.python)
    if not any(b.package == "torch" for b in builds):
        return None
    return Offers(tuple(builds), root=PYTORCH, source="pip", asked=_now())


def _at_hand(machine: Machine, request: Request, web: Web, failures: list[Failure]) -> list[Build]:
    """Give the builds in the places that were named besides the index."""
    found, _ = ask([Place(as_url(place), flat=True) for place in request.find_links], web, failures)
    return complete(builds_of(found, machine.system, web), web, machine.python)


def _of_cache(machine: Machine, request: Request, failures: list[Failure]) -> Offers:
    first = next(iter(failures), Failure(request.root, "network-unreachable", f"{request.root} cannot be reached"))
    away = request.offline or first.code == "network-unreachable"
    read = _recalled(request, machine) if away and not request.find_links else None
    if read:
        base = catalog.offers(machine.system, request.root)
        return _overlaid(base, read.builds, read.backends, "cache", read.asked)
    if request.offline:
        text = "No wheel of torch is at hand, and --offline forbids to ask an index."
        raise UnreachableError(
            text, "Give the folder that holds the wheels: `--find-links FOLDER`.", code="network-unreachable"
        )
    other = "" if request.index_urls else ", and no other place that pip knows has torch"
    raise UnreachableError(sentence(first.message + other), HINTS.get(first.code, HINTS[""]), code=first.code)


def _overlaid(base: Offers, fresh: Iterable[Build], backends: Iterable[str], source: str, asked: str) -> Offers:
    """Put what an index has in place of what the catalog says of the same backends."""
    replaced = set(backends)
    builds = (*(b for b in base.builds if b.backend not in replaced), *fresh)
    return replace(base, builds=builds, source=source, asked=asked)


def _measured(offers: Offers, facts: Facts, request: Request, web: Web) -> Offers:
    """Ask for the sizes of the wheels that would be chosen, where the index does not list them."""
    chosen = [b for b in plan(facts, request, offers).builds if b.files]
    python = Machine(facts).python

    def sized(build: Build) -> Build:
        file = build.file(python)
        if file is None or file.size is not None or build.size is not None:
            return replace(build, size=file.size) if file and file.size else build
        try:
            length = web.get(file.url, method="HEAD").headers.get("content-length", "")
        except WebError:
            return build
        return replace(build, size=int(length)) if length.isdigit() else build

    with ThreadPoolExecutor(len(FAMILY)) as pool:
        better = dict(zip(map(id, chosen), pool.map(sized, chosen), strict=True))
    return replace(offers, builds=tuple(better.get(id(b), b) for b in offers.builds)) if better else offers


def _constraints(facts: Facts, settings: dict[str, str]) -> tuple[str, ...]:
    """Give the lines of all constraints that pip is configured with."""
    texts = list(facts.pip.constraints or ())
    texts += constraints(settings)
    found: list[str] = []
    for text in texts:
        path = Path(text)
        try:
            found += path.read_text(encoding="utf-8").splitlines() if path.is_file() else [text]
        except (OSError, ValueError):
            found.append(text)
    return tuple(found)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


CERTIFICATE = '$env:PIP_CERT = "corporate.pem"' if sys.platform == "win32" else "export PIP_CERT=corporate.pem"
HINTS = {
    "": "Check the connection, set a proxy (HTTPS_PROXY), or give a mirror: `--index-url URL`.",
    "ssl-proxy-ca": f"Give the certificate of your network: `{CERTIFICATE}`, then `torchcheck install`.",
    "index-forbidden": "Check the address and your credentials (`https://USER:PASSWORD@HOST/…`).",
    "index-server-fault": "Try later, or another mirror: `--index-url URL`.",
    "wrong-index": "Check the address: it must be the root that the folders cpu, cu130 … hang from.",
    "not-there": "Check the address: it must be the root that the folders cpu, cu130 … hang from.",
}
