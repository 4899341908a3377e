"""Pages of a package index as values: PEP 503 HTML, PEP 691 JSON, and what a wheel's file name says (pure)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

from torchcheck.wheels.builds import WheelFile

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PLATFORMS = (
    (r"(?:manylinux|linux).*_(x86_64|aarch64|ppc64le|s390x|riscv64|i686|armv7l)", "linux"),
    (r"win_(amd64|arm64)", "windows"),
    (r"win(32)", "windows"),
    (r"macosx_.*_(arm64|x86_64|universal2)", "macos"),
)
LONGEST = 16_000
"""Characters of a tag, and of an anchor's text, that are read."""
OLD_GLIBC = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}


@dataclass(frozen=True)
class Link:
    """One link of a page: its text and where it leads, with the attributes that an index may give it."""

    text: str
    url: str
    sha256: str = ""
    requires_python: str = ""
    metadata: bool = False
    yanked: bool = False
    size: int | None = None


@dataclass(frozen=True)
class Named:
    """What a wheel's file name says, for one of its platforms."""

    package: str
    version: str
    label: str
    python: str
    system: str
    minimum: str


def links(body: bytes, kind: str, url: str) -> list[Link]:
    """Read the links of a page.

    Args:
        body: the page.
        kind: its Content-Type; JSON is told by it, all else is read as HTML.
        url: where the page was in the end, for links that are relative.
    """
    if "json" in kind:
        try:
            return [link for link in _of_json(json.loads(body), url) if _may_lead(url, link.url)]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return []
    return [link for link in _of_html(body.decode("utf-8", errors="replace"), url) if _may_lead(url, link.url)]


def _may_lead(page: str, link: str) -> bool:
    """Say whether a page may send us there: never from the network to files of this computer (or of its network)."""
    try:
        here, there = urlsplit(page).scheme, urlsplit(link).scheme
    except ValueError:
        return False
    return there in {"https", here} or (here == "file" and there == "http")


def _of_json(document: dict[str, object], url: str) -> Iterator[Link]:
    for project in document.get("projects") or ():  # type: ignore[attr-defined]
        yield Link(str(project["name"]), urljoin(url, f"{project['name']}/"))
    for file in document.get("files") or ():  # type: ignore[attr-defined]
        described = file.get("core-metadata") or file.get("dist-info-metadata")
        yield Link(
            text=str(file["filename"]),
            url=urljoin(url, str(file["url"])),
            sha256=str((file.get("hashes") or {}).get("sha256", "")),
            requires_python=str(file.get("requires-python") or ""),
            metadata=bool(described),
            yanked=bool(file.get("yanked")),
            size=file["size"] if isinstance(file.get("size"), int) else None,
        )


def _of_html(page: str, url: str) -> Iterator[Link]:
    """Collect anchors; what is not well-formed is passed over, as browsers do."""
    base, inside, start = "", None, 0
    for name, at, end, text in _tags(page):
        if name == "base" and not base and (href := _attributes(text).get("href")):  # the first one counts
            base = _joined(url, href)
        elif name == "a":
            inside, start = _attributes(text), end
        elif name == "/a" and inside is not None:
            if (href := inside.get("href")) and (there := _joined(base or url, href)):
                yield _link(_plain(_TAG.sub("", page[start:at][:LONGEST])).strip(), there, inside)
            inside = None


def _tags(page: str) -> Iterator[tuple[str, int, int, str]]:
    """Give each tag's name ("a", "/a"), where it begins and ends, and what stands in it.

    A reader of our own, since html.parser takes time that grows with the square of what is never closed
    (https://github.com/python/cpython/issues/135462): whatever this one has read, it does not read again.
    """
    at = page.find("<")
    while at >= 0:
        end = page.find("-->", at + 4) if page.startswith("<!--", at) else _NAME.match(page, at + 1)
        if isinstance(end, int):
            at = page.find("<", end + 3) if end >= 0 else -1
        elif end is None:
            at = page.find("<", at + 1)
        else:
            inside = _INSIDE.match(page, end.end())
            close = inside.end() if inside else end.end()  # it matches: nothing is enough for it
            if page[close : close + 1] != ">":
                return
            yield end[0].lower(), at, close + 1, page[end.end() : close]
            at = page.find("<", close)


_NAME = re.compile(r"/?[A-Za-z][^\s/>\"']*")
_INSIDE = re.compile(r"""[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*""")
_TAG = re.compile(r"<[^<>]*>")
_ATTRIBUTE = re.compile(r"""([^\s=/"'>]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, *values in _ATTRIBUTE.findall(text[:LONGEST]):
        found.setdefault(name.lower(), _plain("".join(values)))
    return found


def _plain(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character's number of thousands of digits
        return text


def _joined(base: str, href: str) -> str:
    try:
        return urljoin(base, href)
    except ValueError:  # a bracket in a host's name, for one
        return ""


def _link(text: str, url: str, attributes: dict[str, str]) -> Link:
    plain, fragment = urldefrag(url)
    digest = re.search(r"sha256=([0-9a-f]{64})", fragment)
    described = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata")
    return Link(
        text=text,
        url=plain,
        sha256=digest[1] if digest else "",
        requires_python=attributes.get("data-requires-python") or "",
        metadata=bool(described) and described != "false",
        yanked="data-yanked" in attributes,
    )


def folders(found: Iterable[Link]) -> list[str]:
    """Give the last part of each link's path: the names of projects or folders that a page lists."""
    return [unquote(link.url.rstrip("/").rpartition("/")[2]) for link in found]


def file_of(link: Link) -> WheelFile | None:
    """Give a link as a wheel's file, None when it is no wheel or was taken back."""
    name = unquote(link.url.rpartition("/")[2])
    name = name if name.endswith(".whl") else link.text
    if not name.endswith(".whl") or link.yanked or set(name) & set("/\\") or not name.isprintable():
        return None  # no wheel, taken back, or a name that would be a path
    return WheelFile(name, link.url, link.sha256, link.size, link.requires_python, link.metadata)


def names(filename: str) -> list[Named]:
    """Read a wheel's file name, once per platform that it is for; an empty list for a name that breaks the rules."""
    try:
        package, version, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion):
        return []
    platforms: dict[str, str] = {}
    pythons = set()
    for tag in tags:
        pythons.add(_python(tag.interpreter, tag.abi))
        for system, minimum in _systems(tag.platform):
            platforms[system] = min(platforms.get(system, minimum), minimum, key=_numbers)
    return [
        Named(str(package), version.public, version.local or "", python, system, minimum)
        for system, minimum in platforms.items()
        for python in sorted(pythons)
    ]


def _python(interpreter: str, abi: str) -> str:
    if interpreter.startswith("py"):
        return "py3" if interpreter.startswith("py3") else interpreter
    if abi == "abi3":
        return f"{interpreter}-abi3"
    return abi if abi.startswith(interpreter) else interpreter


def _systems(platform: str) -> Iterator[tuple[str, str]]:
    if platform == "any":
        for system in ("linux_x86_64", "linux_aarch64", "windows_x86_64", "macos_arm64", "macos_x86_64"):
            yield system, ""
    for pattern, name in PLATFORMS:
        if found := re.fullmatch(pattern, platform):
            machine = {"amd64": "x86_64", "32": "x86"}.get(found[1], found[1])
            for one in ("arm64", "x86_64") if machine == "universal2" else (machine,):
                yield f"{name}_{one}", _minimum(platform)
            return


def _minimum(platform: str) -> str:
    if found := re.match(r"(?:manylinux|macosx)_(\d+)_(\d+)_", platform):
        return ".".join(found.groups())
    return OLD_GLIBC.get(platform.partition("_")[0], "")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")) if text else ()
