"""`torchcheck verify`: prove that training is right on this hardware."""

from __future__ import annotations

import click

from torchcheck.cli.options import COMMON, options

RUN = (
    click.option(
        "--device", multiple=True, metavar="NAME", help="all (default), cpu, cuda, cuda:N, xpu, mps (repeatable)."
    ),
    click.option("--quick", "level", flag_value="quick", help="The cheapest checks of every topic."),
    click.option("--full", "level", flag_value="full", help="Everything: larger shapes, more seeds, a soak."),
    click.option("--select", multiple=True, metavar="GLOB", help="Only checks whose id matches (repeatable)."),
    click.option("--skip", multiple=True, metavar="GLOB", help="Leave out checks whose id matches (repeatable)."),
    click.option(
        "--list", "listing", is_flag=True, help="Show every check, what it proves and against what; run nothing."
    ),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Per check."),
    click.option("--nproc", metavar="N|auto", help="Several processes, through torchrun."),
    click.option("--seed", type=int, default=0, show_default=True, help="Other numbers, the same verdict."),
    click.option(
        "--seconds", type=click.FloatRange(min=0), metavar="N", help="Soak each device for so long (with --full)."
    ),
    click.option("--strict", is_flag=True, help="Known defects of this torch fail the verdict too."),
)
FILES = (
    click.option("--stream", is_flag=True, help="Print JSON lines as events come."),
    click.option("--junit", metavar="FILE", help="Write JUnit XML."),
    click.option("--html", metavar="FILE", help="Write one self-contained page."),
    click.option("--no-redact", is_flag=True, help="Over ranks: hosts by their names, GPUs by their whole UUIDs."),
    click.option("--github", is_flag=True, help="GitHub Actions: annotations, and a step summary."),
)


@click.command("verify", short_help="Prove that training is right on this hardware.")
@options(RUN, FILES, COMMON)
def command(**given: object) -> int:
    """Prove that training is right on this hardware, in the target's own interpreter.

    Every result is compared with a reference that uses no torch: hand-derived gradients, exact integers, closed forms.
    """
    from torchcheck.cli.verification import list_checks, run

    return list_checks(given) if given["listing"] else run(given)
