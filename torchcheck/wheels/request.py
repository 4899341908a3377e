"""What somebody asks for, checked: packages, backend, release, index (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from torchcheck.errors import UsageError
from torchcheck.wheels.builds import BACKEND, FAMILY, PYTORCH, allows, parse

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Request:
    """What is asked for; the defaults are those of the command line.

    Attributes:
        packages: some of torch, torchvision, torchaudio.
        backend: "auto", or the one that it must be.
        torch: a release ("2.9.1"), a series ("2.9" is the newest 2.9.x), a specifier (">=2.9,<2.12") or None.
        index_urls: mirrors of the PyTorch index, which replace it; the folder of a backend may be part of them.
        find_links: folders or pages with wheels, for pip.
        offline: ask no network.
        pre: pre-releases and nightly builds count too.
    """

    packages: tuple[str, ...] = FAMILY
    backend: str = "auto"
    torch: str | None = None
    index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    pre: bool = False

    def checked(self) -> Request:
        """Give the request with what its parts imply made explicit.

        A label in the release (`2.9.1+cu126`) and a backend's folder at the end of an index URL say the backend too.

        Raises:
            UsageError: something that cannot be understood, or parts that contradict each other.
        """
        packages = tuple(name for name in FAMILY if name in self.packages) or FAMILY
        for name in self.packages:
            if name not in FAMILY:
                raise UsageError(
                    f"torchcheck installs {', '.join(FAMILY)}, not {name!r}.",
                    f"After `torchcheck install`: `python -m pip install {name}`." if name.isidentifier() else "",
                    code="unknown-package",
                )
        if self.backend != "auto" and not BACKEND.fullmatch(self.backend):
            raise UsageError(
                f"{self.backend!r} is no backend.", "Use auto, cpu, cu130, rocm7.2, xpu or mps.", code="unknown-backend"
            )
        _check_release(self.torch)
        backends = {self.backend, *self._implied} - {"auto"}
        if len(backends) > 1:
            raise UsageError(
                f"Two backends are asked for: {' and '.join(sorted(backends))}.", "Keep one of them.", code="usage"
            )
        return replace(self, packages=packages, backend=backends.pop() if backends else "auto")

    @property
    def _implied(self) -> set[str]:
        label = (self.torch or "").partition("+")[2]
        return {part for part in [label, *(_folder(url)[1] for url in self.index_urls)] if part}

    @cached_property
    def root(self) -> str:
        """Root of the index that the backends' folders hang from."""
        return _folder(self.index_urls[0])[0] if self.index_urls else PYTORCH

    @property
    def roots(self) -> tuple[str, ...]:
        """Roots of all mirrors, or the PyTorch index alone."""
        return tuple(_folder(url)[0] for url in self.index_urls) or (PYTORCH,)

    @property
    def insecure(self) -> str | None:
        """The first mirror that is neither https nor on this computer."""
        for url in self.index_urls:
            parts = urlsplit(url)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
                return url
        return None

    def wants(self, version: str) -> bool:
        """Say whether a torch release is one that was asked for."""
        return self._specifier is None or allows(self._specifier, parse(version).public)

    def wants_backend(self, backend: str) -> bool:
        """Say whether a backend is the one that was asked for."""
        return self.backend in ("auto", backend)

    @property
    def _specifier(self) -> str | None:
        text = (self.torch or "").partition("+")[0].strip().removeprefix("v")
        if not text:
            return None
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return f"=={text}.*"
        return f"=={text}" if text[0].isdigit() else text


def _check_release(text: str | None) -> None:
    if text is None:
        return
    public, _, label = text.strip().removeprefix("v").partition("+")
    try:
        if public[:1].isdigit():
            Version(public)
        else:
            SpecifierSet(public)
    except (InvalidVersion, InvalidSpecifier):
        raise UsageError(f"{text!r} is no version of torch.", "Give one like `--torch 2.14.1`.", code="usage") from None
    if not public or (label and not BACKEND.fullmatch(label)):
        raise UsageError(f"{text!r} is no version of torch.", "Give one like `--torch 2.14.1+cu126`.", code="usage")


def _folder(url: str) -> tuple[str, str]:
    """Split a mirror's URL into its root and the backend's folder that it may end with."""
    url = url.rstrip("/")
    root, _, last = url.rpartition("/")
    return (root, last) if BACKEND.fullmatch(last) else (url, "")


def without_password(url: str) -> str:
    """Give a URL without the user and password that it may hold; other text stays as it is."""
    parts = urlsplit(url) if "://" in url else None
    return url.replace(f"{parts.netloc.rpartition('@')[0]}@", "") if parts and "@" in parts.netloc else url
