"""Diagnoses for a person: of this machine, of a recorded one, of a pasted text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_facts, live_target, read_text, recorded_facts
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, TargetError, UsageError

if TYPE_CHECKING:
    from torchcheck.doctor.codes import Code
    from torchcheck.doctor.diagnosis import Diagnosis
    from torchcheck.facts import Facts

Given = Mapping[str, Any]
LARGEST_LOG = 1 << 30


def run(given: Given) -> int:
    """Diagnose; gives the exit code: 1 when something is broken."""
    from torchcheck.doctor import diagnose
    from torchcheck.report.render.terminal import reported

    log = read_text(given["log"], "--log", LARGEST_LOG) if given["log"] else ""
    output = Output.of("doctor", given)
    facts, live = _facts(given, log, output)
    found = diagnose(facts, log, live=live)
    data = {"diagnoses": [diagnosis.as_json() for diagnosis in found]}
    return output.finish(data, code_of(found), reported.doctor)


def code_of(found: list[Diagnosis]) -> Exit:
    """Give the exit code that diagnoses deserve."""
    return Exit.FAILED if any(d.severity == "error" for d in found) else Exit.OK


def explain(given: Given) -> int:
    """Tell one code's whole story."""
    from torchcheck.doctor.codes import explain as story

    try:
        data = {"codes": [_row(story(given["explain"]))]}
    except KeyError:
        message = f"There is no code {given['explain']!r}."
        raise UsageError(message, "torchcheck doctor --list", code="no-such-code") from None
    return Output.of("doctor", given).finish(data, Exit.OK, _story)


def list_codes(given: Given) -> int:
    """List all codes with their titles."""
    from torchcheck.doctor.codes import all_codes

    data = {"codes": [_row(code) for code in all_codes()]}
    return Output.of("doctor", given).finish(data, Exit.OK, _codes)


def _row(code: Code) -> dict[str, Any]:
    return {name: value for name, value in vars(code).items() if value is not None}


def _story(data: Mapping[str, Any], _verbose: bool) -> Iterator[Any]:
    from rich.text import Text

    for code in data["codes"]:
        yield Text.assemble((code["title"], "bold"), (f"  [{code['code']}, {code['severity']}]", "dim"))
        yield from (code["why"], "", code["story"])
        if code["link"]:
            yield Text.assemble("\n", ("more: ", "dim"), code["link"])


def _codes(data: Mapping[str, Any], _verbose: bool) -> Iterator[Any]:
    from rich.text import Text

    section = ""
    for code in data["codes"]:
        if code["section"] != section:
            section = code["section"]
            yield Text(f"\n{section}", "bold")
        yield Text.assemble(f"  {code['code']:<28}", (f"{code['severity']:<8}", "dim"), code["title"])


def _facts(given: Given, log: str, output: Output) -> tuple[Facts, bool]:
    """Give the facts to judge, and whether they are of here and now; none beside a paste of another machine."""
    from torchcheck.doctor.collect_env import looks_like
    from torchcheck.facts import Facts

    recorded = recorded_facts(given["machine"])
    if recorded is not None:
        return recorded, False
    if looks_like(log):
        return Facts(), False
    try:
        target = live_target(given["python"], output.say)
    except TargetError:
        if given["python"]:
            raise
        return live_facts(None, torch="skip"), True
    return live_facts(target, torch="metadata" if given["no_torch"] else "import"), True
