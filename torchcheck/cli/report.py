"""`torchcheck report`: the environment report to paste into an issue or to archive from CI."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, options

OWN = (
    click.option(
        "--format", "form", type=click.Choice(["text", "markdown", "json", "html"]), default="text", show_default=True
    ),
    click.option("-o", "--output", "file", metavar="FILE", help="Write it to FILE."),
    click.option("--verify", is_flag=True, help="Include a verify run (quick)."),
    click.option("--no-torch", is_flag=True, help="Do not import torch, not even in a process of its own."),
    click.option("--no-redact", is_flag=True, help="Leave names, paths and identifiers as they are."),
    click.option("--require", metavar="PROOF", help="Fail unless PROOF (of `verify --json`) holds here and now."),
    click.option(
        "--max-age", metavar="AGE", default="7d", show_default=True, help="How old PROOF may be: 90m, 12h, 7d."
    ),
    click.option("--machine", metavar="FILE", help="Report on the machine recorded in FILE."),
)


@click.command("report", short_help="Write the environment report for an issue or an archive.")
@options(OWN, COMMON)
def command(**given: object) -> int:
    """Write the environment report: every fact that helps to solve a problem, nothing that identifies you."""
    from torchcheck.cli.reporting import require, run

    return require(given) if given["require"] else run(given)
