"""Reports for a person, for an issue, for an archive; and what differs between two of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_facts, live_target, read_text, recorded_facts
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, TargetError, UsageError
from torchcheck.facts import to_json

if TYPE_CHECKING:
    from torchcheck.facts import Facts

Given = Mapping[str, Any]


def run(given: Given) -> int:
    """Write the environment report; gives the exit code."""
    from torchcheck.report.render.terminal import reported

    output = Output.of("report", given)
    data = compose(given, output)
    if given["file"] or (given["form"] != "text" and not given["json"]):
        _write(given, data)
        return Exit.OK
    return output.finish(data, Exit.OK, reported.report)


def compose(given: Given, output: Output) -> dict[str, Any]:
    """Gather facts, diagnoses and perhaps a verification, redacted unless told otherwise."""
    from torchcheck.doctor import diagnose
    from torchcheck.report import document

    facts, verification = _gather(given, output)
    diagnoses = [diagnosis.as_json() for diagnosis in diagnose(facts, verification=verification)]
    data = document.report(to_json(facts), diagnoses, verification)
    return data if given["no_redact"] else _redacted(data)


def compare(given: Given) -> int:
    """Show what differs between two documents; gives the exit code."""
    from torchcheck.report.difference import differences
    from torchcheck.report.render import markdown
    from torchcheck.report.render.terminal import reported

    data = {"differences": differences(_read(given["a"]), _read(given["b"]))}
    code = Exit.FAILED if data["differences"] else Exit.OK
    if given["form"] == "markdown" and not given["json"]:
        print(markdown.diff(data), end="")  # noqa: T201 - the result
        return code
    return Output.of("diff", given).finish(data, code, reported.diff)


def require(given: Given) -> int:
    """Hold an archived proof against this machine; gives the exit code: 1 when it does not hold."""
    import datetime as dt

    from torchcheck.report.proof import age, judge, subject
    from torchcheck.report.render.terminal import reported

    oldest = age(given["max_age"])
    if oldest is None:
        raise UsageError(f"--max-age {given['max_age']!r} is no age.", "Write it like 90m, 12h or 7d.", code="usage")
    target = live_target(given["python"])
    here = subject(to_json(live_facts(target, torch="metadata")))
    problems = judge(_proof(given["require"]), here, oldest, dt.datetime.now(dt.timezone.utc))
    data = {"proof": given["require"], "here": here, "problems": problems}
    return Output.of("report", given).finish(data, Exit.FAILED if problems else Exit.OK, reported.proof)


def _proof(name: str) -> Any:
    """Read a proof; one that is missing or unreadable is a proof that does not hold, not wrong use."""
    try:
        return json.loads(read_text(name, "--require"))
    except (UsageError, ValueError, RecursionError):
        return None


def _gather(given: Given, output: Output) -> tuple[Facts, dict[str, Any] | None]:
    """Probe; a machine without a usable target still gets a report, of the rest."""
    recorded = recorded_facts(given["machine"])
    if recorded is not None:
        return recorded, None
    try:
        target = live_target(given["python"], output.say)
    except TargetError as error:
        if given["python"]:
            raise
        output.say(f"{error.message} The report leaves the target out.")
        return live_facts(None, torch="skip"), None
    if given["verify"]:
        target.demand_proof()
    facts = live_facts(target, torch="metadata" if given["no_torch"] else "import")
    return facts, _verification(target.python, output) if given["verify"] else None


def _verification(python: str, output: Output) -> dict[str, Any]:
    from torchcheck.cli.verification import verify
    from torchcheck.verify.runner import Job

    return verify(python, Job(level="quick"), output)[0].as_json()


def _redacted(data: dict[str, Any]) -> dict[str, Any]:
    from torchcheck.identity import identify
    from torchcheck.live import Live
    from torchcheck.report.redact import redact

    return dict(redact(data, identify(Live())))


def _write(given: Given, data: Mapping[str, Any]) -> None:
    from torchcheck.cli.verification import write_text

    made = FORMATS["json" if given["json"] else given["form"]](data)
    if given["file"]:
        write_text(given["file"], made, "-o")
    else:
        print(made, end="")  # noqa: T201 - the result


def _text(data: Mapping[str, Any]) -> str:
    import io

    from rich.console import Console

    from torchcheck.cli.output import show
    from torchcheck.cli.terminal import PIPED_WIDTH
    from torchcheck.report.document import cleaned
    from torchcheck.report.render.terminal import reported

    console = Console(file=io.StringIO(), width=PIPED_WIDTH, color_system=None, highlight=False)
    show(console, reported.report(cleaned(data)))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def _markdown(data: Mapping[str, Any]) -> str:
    from torchcheck.report.document import cleaned
    from torchcheck.report.render import markdown

    return markdown.report(cleaned(data))


def _json(data: Mapping[str, Any]) -> str:
    from torchcheck.report.document import dump, envelope

    return dump(envelope("report", data, Exit.OK)) + "\n"


def _html(data: Mapping[str, Any]) -> str:
    from torchcheck.report.document import cleaned
    from torchcheck.report.render import html

    return html.report(cleaned(data))


FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "html": _html,
}


def _read(name: str) -> dict[str, Any]:
    """Read a report, a proof, bare facts, or a pasted collect_env as `differences` compares them."""
    text = read_text(name, "diff")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {"facts": _pasted(name, text), "verify": None, "pasted": True}
    data = found.get("data", found) if isinstance(found, dict) else None
    if not isinstance(data, dict):
        hint = "Write one with `torchcheck report --json`."
        raise UsageError(f"{name} is JSON, but no report.", hint, code="no-report")
    if "checks" in data:
        return {"facts": {}, "verify": data}
    return {"facts": data.get("facts", data), "verify": data.get("verify")}


def _pasted(name: str, text: str) -> Any:
    from torchcheck.doctor.collect_env import looks_like, parse

    if not looks_like(text):
        hint = "Give reports (`torchcheck report --json`) or pasted output of torch.utils.collect_env."
        raise UsageError(f"{name} is neither a report nor the output of collect_env.", hint, code="no-report")
    return to_json(parse(text))
