"""`torchcheck install`: the main job."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, WHEELS, options

OWN = (
    click.option("--venv", metavar="DIR", help="Install into this virtual environment; make it when absent."),
    click.option("--installer", type=click.Choice(["pip", "uv"]), default="pip", show_default=True),
    click.option("-y", "--yes", is_flag=True, help="Do not ask."),
    click.option("--no-verify", is_flag=True, help="Do not prove what was installed."),
    click.option("--dry-run", is_flag=True, help="Show the plan and stop."),
)


@click.command("install", short_help="Install the wheels that this machine can run, and prove them.")
@options(WHEELS, OWN, COMMON)
def command(**given: object) -> int:
    """Probe this machine, choose the wheels that it can really run, install them, and prove them.

    What was there before comes back when the new torch does not work.
    """
    from torchcheck.cli.installing import run

    return run(given)
