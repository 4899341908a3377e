"""`torchcheck doctor`: what is wrong, the evidence, and the command that mends it."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, options

OWN = (
    click.option(
        "--log", metavar="FILE|-", help="Explain this text: an error, a traceback, pip's or collect_env's output."
    ),
    click.option("--machine", metavar="FILE", help="Judge the machine recorded in FILE, not this one."),
    click.option("--no-torch", is_flag=True, help="Do not import torch, not even in a process of its own."),
    click.option("--explain", metavar="CODE", help="Tell the whole story of one diagnosis code."),
    click.option("--list", "listing", is_flag=True, help="List all diagnosis codes."),
)


@click.command("doctor", short_help="Say what is wrong, why, and the command that mends it.")
@options(OWN, COMMON)
def command(**given: object) -> int:
    """Say what is wrong, the evidence, and the command that mends it."""
    from torchcheck.cli.diagnosing import explain, list_codes, run

    if given["listing"]:
        return list_codes(given)
    return explain(given) if given["explain"] else run(given)
