"""Where wheels are looked for and what is listed there: folders of an index, pages, files (door: network)."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import BACKEND, FAMILY, PYPI, PYTORCH, Failure, Offers, WheelFile, flat, kind
from torchcheck.wheels.listing import ACCEPT, Link, file_of, folders, links, names
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.request import Request
from torchcheck.wheels.rules import Situation, judge
from torchcheck.wheels.trouble import WebError, shown
from torchcheck.wheels.web import Web, file_path

THREADS = 16


@dataclass(frozen=True)
class Place:
    """Somewhere that lists wheels of the family.

    Attributes:
        url: an index that has a page per package below it, or (`flat`) one page or folder with wheels.
        backend: what all its wheels are for, None when each must be looked at.
        index: what pip is to be given for it, "" when pip knows it already.
        flat: there are no pages per package.
    """

    url: str
    backend: str | None = None
    index: str = ""
    flat: bool = False


def of_index(
    root: str, machine: Machine, request: Request, web: Web, failures: list[Failure]
) -> tuple[list[Place], set[str]]:
    """Give the folders of an index that are worth asking, and the backends of the catalog that it does not have."""
    if flat(root):
        return [Place(root, None, root)], set()
    if machine.os == "macos":
        index = str(machine.facts.pip.index_url or PYPI) if root == PYTORCH else f"{root}/cpu"
        return [Place(index, None, "" if root == PYTORCH else index)], set()
    if request.backend != "auto":
        return [_folder(channel, request.backend) for channel in _channels(root, request)], set()
    kinds = {"cpu", *(a.kind for a in machine.accelerators if a.supported)}
    places: list[Place] = []
    gone = {b.backend for b in catalog.offers(machine.system).of("torch") if kind(b.backend) in kinds}
    for channel in _channels(root, request):
        served = _served(channel, machine, kinds, web, failures)
        gone -= served
        worth = _worth_asking(served, machine, request)
        places += [_folder(channel, backend) for backend in worth]
    return places, gone


def _folder(channel: str, backend: str) -> Place:
    return Place(f"{channel}/{backend}", backend, f"{channel}/{backend}")


def _channels(root: str, request: Request) -> list[str]:
    return [root, f"{root}/nightly"] if request.pre else [root]


def _served(root: str, machine: Machine, kinds: set[str], web: Web, failures: list[Failure]) -> set[str]:
    """Find the backends of an index: by its listing, by the labels of its torch wheels, else by the catalog."""
    fixed = kinds & {"cpu", "xpu"}
    if kinds == fixed:
        return fixed
    for url in (f"{root}/", f"{root}/torch/"):
        try:
            page = web.get(url, accept=ACCEPT)
        except WebError as error:
            failures.append(error.failure)
            if error.failure.code in ("network-unreachable", "ssl-proxy-ca"):
                return set()
            continue
        listed = links(page.body, page.kind, page.url)
        found = set(folders(listed))
        found |= {named.label for file in map(file_of, listed) if file for named in names(file.name)}
        if found := {name for name in found if BACKEND.fullmatch(name) and kind(name) in kinds}:
            return fixed | found
    return fixed | {b.backend for b in catalog.offers(machine.system).of("torch") if kind(b.backend) in kinds}


def _worth_asking(backends: set[str], machine: Machine, request: Request) -> list[str]:
    """Leave out what the catalog knows not to run here in any release; what it does not know is asked."""
    situation = Situation(machine, request, Offers(()))
    by_backend: dict[str, bool] = {}
    for build in catalog.offers(machine.system).of("torch"):
        by_backend[build.backend] = by_backend.get(build.backend, False) or judge(build, situation) is None
    pinned = request.torch or request.backend != "auto"
    return sorted(b for b in backends if pinned or b == "cpu" or by_backend.get(b, True))


def ask(places: Iterable[Place], web: Web, failures: list[Failure]) -> tuple[list[tuple[Place, WheelFile]], bool]:
    """Read all pages at once; give the wheels that they list, and whether any page could be read."""
    jobs = [(place, package) for place in places for package in (FAMILY if not place.flat else ("",))]
    found: list[tuple[Place, WheelFile]] = []
    reached = False
    with ThreadPoolExecutor(THREADS) as pool:
        for (place, package), answer in zip(
            jobs, pool.map(lambda job: _listed(job[0], job[1], web), jobs), strict=True
        ):
            if isinstance(answer, Failure):
                # That an index does not have a companion is no fault of it.
                failures += [answer] if answer.code != "not-there" or package in ("torch", "") else []
                continue
            reached = True
            found += [(place, file) for file in map(file_of, answer) if file]
    return found, reached


def _listed(place: Place, package: str, web: Web) -> list[Link] | Failure:
    try:
        if place.flat and urlsplit(place.url).scheme == "file":
            return _files(place.url)
        page = web.get(place.url if place.flat else f"{place.url.rstrip('/')}/{package}/", accept=ACCEPT)
    except WebError as error:
        return error.failure
    found = links(page.body, page.kind, page.url)
    if package == "torch" and not any(file_of(link) for link in found):
        text = f"{shown(page.url)} answers with a page that lists no wheels (the log-in page of a network, perhaps)"
        return Failure(shown(place.url), "index-server-fault", text)
    return found


def _files(url: str) -> list[Link]:
    path = file_path(url)
    if path.is_file():
        return links(path.read_bytes(), "text/html", url)
    return [Link(item.name, item.as_uri(), size=item.stat().st_size) for item in sorted(path.glob("*.whl"))]


def as_url(place: str) -> str:
    """Give a place of --find-links as a URL."""
    return place if "://" in place else Path(place).expanduser().resolve().as_uri()
