"""`torchcheck diff A B`: two reports side by side."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, options


@click.command("diff", short_help="Show what differs between two reports.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
@options(COMMON)
def command(**given: object) -> int:
    """Show what differs between two reports, the most telling first.

    A and B are reports' or proofs' JSON, bare facts, or pasted output of torch.utils.collect_env.
    -v shows the noise too.
    """
    from torchcheck.cli.reporting import compare

    return compare(given)
