"""Plans for a person and for a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_facts, live_target, recorded_facts
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, UnreachableError, UsageError

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.wheels.builds import Offers
    from torchcheck.wheels.plan import Plan, Request

Given = Mapping[str, Any]


def run(given: Given) -> int:
    """Plan; gives the exit code: 3 when nothing fits."""
    from torchcheck.report.render.terminal import planned
    from torchcheck.wheels.plan import plan

    output, request = Output.of("plan", given), request_of(given)
    facts = recorded_facts(given["machine"]) or live_facts(live_target(given["python"], output.say), torch="metadata")
    made = plan(facts, request, _offers(facts, request, given, output))
    if given["lock"] and not made.blockers:
        _lock(given, made)
    return output.finish(made.as_json(), code_of(made), planned.plan_and_verdict)


def _offers(facts: Facts, request: Request, given: Given, output: Output) -> Offers | None:
    """Ask the indexes where that is wanted, else take what is known; a plan without network needs no wheel at hand."""
    from torchcheck.wheels.offers import remembered

    if not asks(given):
        return remembered(facts, request)
    try:
        return collect(facts, request, output)
    except UnreachableError:
        if given["refresh"] or given["lock"]:
            raise
        return remembered(facts, request)


def asks(given: Given) -> bool:
    """Say whether this plan is to look at what the indexes have; without, it is offline and instant."""
    return bool(given["refresh"] or given["lock"] or given["offline"] or given["find_links"])


def code_of(made: Plan) -> Exit:
    """Give the exit code that a plan deserves."""
    return Exit.NO_PLAN if made.blockers else Exit.OK


def request_of(given: Given) -> Request:
    """Make a request of the options.

    Raises:
        UsageError: packages are named both ways, or the request cannot be understood.
    """
    from torchcheck.wheels.builds import FAMILY
    from torchcheck.wheels.plan import Request

    if given["packages"] and given["only"]:
        raise UsageError("Packages are named twice: as arguments and with --only.", "Use one of the two.", code="usage")
    return Request(
        packages=tuple(given["packages"] or given["only"]) or FAMILY,
        backend=given["backend"],
        torch=given["torch"],
        index_urls=tuple(given["index_url"]),
        find_links=tuple(given["find_links"]),
        offline=given["offline"],
        pre=given["pre"],
    ).checked()


def collect(facts: Facts, request: Request, output: Output) -> Offers:
    """Ask the indexes what they have today, and say in one line what could not be reached."""
    from torchcheck.wheels.offers import collect as ask

    return ask(facts, request, progress=output.say)


def _lock(given: Given, made: Plan) -> None:
    from torchcheck.cli.verification import write_text
    from torchcheck.install.lock import resolve
    from torchcheck.wheels.lock import lock

    write_text(given["lock"], lock(made, resolve(made, live_target(given["python"]))), "--lock")
