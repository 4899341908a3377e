"""The options that mean the same for every command."""

from __future__ import annotations

from collections.abc import Callable

import click

COMMON = (
    click.option("--python", metavar="PATH", help="The target: an interpreter, or a virtual environment's folder."),
    click.option("--json", is_flag=True, help="Print exactly one JSON document on stdout."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong, and the verdict."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
)

WHEELS = (
    click.argument("packages", nargs=-1, metavar="[PKG]..."),
    click.option("--only", multiple=True, metavar="PKG", help="Plan just this package of the family (repeatable)."),
    click.option("--backend", metavar="NAME", default="auto", help="auto, cpu, cuNNN, rocmX.Y, xpu or mps."),
    click.option("--torch", metavar="VERSION", help="This release of torch, not the newest that fits."),
    click.option("--index-url", multiple=True, metavar="URL", help="A mirror in place of the PyTorch index."),
    click.option("--find-links", multiple=True, metavar="PATH|URL", help="Look for wheels here too."),
    click.option("--offline", is_flag=True, help="Ask no index; use --find-links, pip's own folders and the cache."),
    click.option("--pre", is_flag=True, help="Allow pre-releases."),
    click.option("--machine", metavar="FILE", help="Judge the machine recorded in FILE, not this one."),
)


def options(*groups: tuple[Callable[..., object], ...]) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Put groups of options on a command, in the order in which --help shows them."""

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        for group in reversed(groups):
            for option in reversed(group):
                function = option(function)
        return function

    return decorate
