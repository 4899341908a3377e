"""Running a verification for a person, for a script, and for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchcheck.cli.causes import causes, tell
from torchcheck.cli.gathering import live_facts, live_target
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, TargetError, TorchcheckError, UsageError

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.verify.outcome import Verification
    from torchcheck.verify.runner import Job

Given = Mapping[str, Any]
Event = dict[str, Any]


def run(given: Given) -> int:
    """Verify the target and say what came of it; gives the exit code."""
    from torchcheck.cli.fleet import place_of, take_part

    place = place_of(given)
    if place is not None:
        return take_part(given, place)
    if given["nproc"] is not None:
        from torchcheck.cli.launching import launch

        job_of(given)
        return launch(given)
    output = Output.of("verify", given)
    job, target = job_of(given), live_target(given["python"], output.say)
    target.demand_proof()
    _demand_work_for_one(given)
    output.say(f"Verifying {target.python}")
    result, events = verify(target.python, job, output, strict=given["strict"], stream=given["stream"])
    return conclude(given, output, target, result, events)


def conclude(
    given: Given,
    output: Output,
    target: Target,
    result: Verification,
    events: list[Event],
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Say what came of a run, on every channel that was asked for; `extra` goes into the document beside the rest."""
    data = {**result.as_json(), **(extra or {})}
    if given["json"]:
        data["subject"] = _subject(target, given)
    if result.verdict != "pass" and not result.interrupted:
        data["diagnoses"] = causes(target, data)
    _write_files(given, data, events)
    if given["github"]:
        _tell_github(data, sys.stderr if given["json"] or given["stream"] else sys.stdout)
    if given["stream"]:
        return int(result.exit_code)
    from torchcheck.report.render.terminal import verified

    code = output.finish(data, result.exit_code, verified.verify, _errors(result, target.python))
    tell(output, data.get("diagnoses", []))
    return code


def verify(
    python: str, job: Job, output: Output, *, strict: bool = False, stream: bool = False
) -> tuple[Verification, list[Event]]:
    """Run a job with a progress bar, and sum it up."""
    from torchcheck.verify.outcome import summarize
    from torchcheck.verify.runner import run as run_job

    events: list[Event] = []
    with progress(output, stream=stream) as show:

        def take(event: Event) -> None:
            events.append(event)
            show(event)

        run_job(python, job, take)
    return summarize(events, strict=strict), events


def _subject(target: Target, given: Given) -> dict[str, Any]:
    """Say of what this is a proof, of which part, and when: for the gate that `report --require` is."""
    import datetime as dt

    from torchcheck.facts import to_json
    from torchcheck.report.proof import subject

    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    part = {name: list(given[name]) for name in ("select", "skip", "device") if given[name]}
    return {"date": now, **part, **subject(to_json(live_facts(target, torch="metadata")))}


def job_of(given: Given) -> Job:
    """Make a job of the options.

    Raises:
        UsageError: an option asks for what cannot be done.
    """
    from torchcheck.verify.runner import TIMEOUT, Job

    _demand_some(given)
    return Job(
        level=given["level"] or "default",
        devices=tuple(given["device"]) or ("all",),
        select=tuple(given["select"]),
        skip=tuple(given["skip"]),
        seed=given["seed"],
        timeout=given["timeout"] or TIMEOUT,
        options={} if given["seconds"] is None else {"seconds": given["seconds"]},
    )


def _demand_some(given: Given) -> None:
    """Refuse a selection that selects nothing: it would prove nothing.

    Raises:
        UsageError: no check is left.
    """
    if not given["select"] and not given["skip"]:
        return  # every level has checks, and reading them all takes as long as starting the workers
    from torchcheck.suite.plan import choose
    from torchcheck.suite.registry import all_checks

    level, checks = given["level"] or "default", all_checks()
    if choose(checks, level=level, select=given["select"], skip=given["skip"]):
        return
    deeper = choose(checks, level="full", select=given["select"], skip=given["skip"])
    hint = "Ask for more with --full." if deeper else "torchcheck verify --list shows all of them."
    raise UsageError(f"No check is selected at level {level}.", hint, code="nothing-selected")


def _demand_work_for_one(given: Given) -> None:
    """Refuse a selection that only several ranks can prove.

    Raises:
        UsageError: every selected check needs ranks.
    """
    if not given["select"] and not given["skip"]:
        return
    from torchcheck.suite.plan import choose
    from torchcheck.suite.registry import all_checks

    chosen = choose(all_checks(), level=given["level"] or "default", select=given["select"], skip=given["skip"])
    if all(check.devices in ("rank", "ranks") for check in chosen):
        raise UsageError("What is selected takes several ranks to prove.", "Add --nproc 2.", code="needs-ranks")


def list_checks(given: Given) -> int:
    """Show every check with what it proves and its oracle, without starting torch."""
    from torchcheck.suite.registry import all_checks

    rows = [{name: value for name, value in vars(check).items() if name != "run"} for check in all_checks()]
    return Output.of("verify", given).finish({"checks": rows}, Exit.OK, _listing)


def _listing(data: Mapping[str, Any], _verbose: bool) -> Iterator[Any]:
    from rich.text import Text

    for row in data["checks"]:
        yield Text.assemble((row["id"], "bold"), (f"  {row['level']}", "dim"), f"\n    {row['title']}")
        yield Text(f"    against: {row['oracle']}", "dim")
    yield f"{len(data['checks'])} checks; most run on every device, many for several dtypes."


def _errors(result: Verification, python: str) -> list[TorchcheckError]:
    """Say what an unusable target lacks; a failed check speaks for itself."""
    if result.interrupted:
        return [TorchcheckError("Interrupted; what was not run is skipped.", code="interrupted")]
    if result.verdict != "unusable":
        return []
    imported = next((c for c in result.checks if c["id"] == "environment.import" and c["status"] != "pass"), None)
    if imported is None:
        told = "; ".join(result.notes) or "no check was run"
        return [TargetError(f"Nothing could be verified: {told}.", "torchcheck doctor", code="nothing-verified")]
    from torchcheck.cli.advice import install_command

    missing = "No module named 'torch'" in str(imported["detail"])
    what = "There is no torch in" if missing else f"torch cannot be imported ({imported['status']}) in"
    return [
        TargetError(
            f"{what} {python}.",
            install_command(python) if missing else imported["hint"] or "torchcheck doctor",
            code="torch-missing" if missing else "torch-import",
        )
    ]


def _write_files(given: Given, data: Mapping[str, Any], events: list[Event]) -> None:
    if given["junit"]:
        import datetime as dt

        from torchcheck.report.render import junit

        write_text(given["junit"], junit.verification(data, dt.datetime.now(dt.timezone.utc)), "--junit")
    if given["html"]:
        from torchcheck.report.render import html

        write_text(given["html"], html.verification(data, figures_of(events)), "--html")


def figures_of(events: list[Event]) -> dict[str, Any]:
    """Collect what checks kept to be drawn, by check id, device and dtype."""
    kept = [e for e in events if e["event"] == "result" and e.get("figures")]
    return {"/".join(filter(None, (e["id"], e["device"], e["dtype"]))): e["figures"] for e in kept}


def write_text(name: str, text: str, option: str) -> None:
    """Write a result file as UTF-8, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    path = Path(name)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{option} {name}: {error.strerror}.", "Choose a folder that you may write to.") from error


def _tell_github(data: Mapping[str, Any], stream: Any) -> None:
    from torchcheck.report.render import github

    for line in github.workflow_commands(data):
        stream.write(line + "\n")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(github.summary(data))


@contextmanager
def progress(output: Output, *, stream: bool) -> Iterator[Callable[[Event], None]]:
    """Give a function that shows each event: as a JSON line, in a bar, or not at all."""
    if stream:
        from torchcheck.report.document import line

        yield lambda event: print(line(event), flush=True)  # noqa: T201 - the stream is the result
        return
    if output.quiet or not output.log.is_terminal:
        yield _hello(output)
        return
    from torchcheck.cli.bar import Bar

    with Bar(output.log) as bar:
        yield bar.show


def _hello(output: Output) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        if event["event"] == "hello":
            told = f"torch {event['torch']} on {', '.join(event['devices'])}: {len(event['plan'])} checks"
            output.say(told if event["torch"] else "torch could not be imported")

    return show
