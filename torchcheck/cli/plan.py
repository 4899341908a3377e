"""`torchcheck plan`: what `install` would do, and why."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, WHEELS, options

OWN = (
    click.option("--refresh", is_flag=True, help="Ask the indexes what they have today."),
    click.option("--lock", metavar="FILE", help="Write the plan as a pinned, hashed requirements file."),
)


@click.command("plan", short_help="Show what install would do and why; change nothing.")
@options(WHEELS, OWN, COMMON)
def command(**given: object) -> int:
    """Show what `install` would do and why, and why not the alternatives; changes nothing."""
    from torchcheck.cli.planning import run

    return run(given)
