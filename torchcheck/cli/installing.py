"""The main job, step by step: probe, plan, ask, install, prove, keep or put back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchcheck.cli.causes import causes, tell
from torchcheck.cli.gathering import live_facts, live_target, recorded_facts
from torchcheck.cli.output import Output, show
from torchcheck.cli.planning import code_of, collect, request_of
from torchcheck.errors import Exit, TorchcheckError

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan

Given = Mapping[str, Any]


@dataclass
class Job:
    """One installation: what was given, and what is known so far."""

    given: Given
    output: Output
    target: Target
    facts: Facts
    plan: Plan
    proof: dict[str, Any] | None = None

    @property
    def can_ask(self) -> bool:
        """Say whether somebody is there to answer."""
        return not (self.given["yes"] or self.given["json"]) and sys.stdin is not None and sys.stdin.isatty()


def run(given: Given) -> int:
    """Install and prove; gives the exit code."""
    output = Output.of("install", given)
    job = _prepare(given, output)
    if job.plan.blockers or given["dry_run"]:
        return _show_plan(job)
    from torchcheck.install import in_place

    if not given["no_verify"]:
        job.target.demand_proof()
    if in_place(job.plan, job.target):
        return _already(job)
    _announce(job)
    return _install(job)


def _prepare(given: Given, output: Output) -> Job:
    from torchcheck.install import recover
    from torchcheck.wheels.plan import plan

    request, target = request_of(given), _target(given, output)
    told = recover(target)
    if told:
        output.say(told)
    live = live_facts(target, torch="metadata")
    facts = recorded_facts(given["machine"]) or live
    return Job(given, output, target, live, plan(facts, request, collect(facts, request, output)))


def _target(given: Given, output: Output) -> Target:
    if not given["venv"]:
        return live_target(given["python"])
    from torchcheck.install import venv

    base = live_target(given["python"]).python if given["python"] else sys.executable
    output.say(f"Using the virtual environment {given['venv']}")
    return live_target(venv.make(given["venv"], base, installer=given["installer"]))


def _show_plan(job: Job) -> int:
    from torchcheck.report.render.terminal import planned

    return job.output.finish({"plan": job.plan.as_json()}, code_of(job.plan), planned.dry_run)


def _already(job: Job) -> int:
    """All is in place: prove it, unless that was done and nothing has changed since."""
    from torchcheck.install import proof

    job.proof = proof.recall(job.target, job.facts)
    if job.proof is None and not job.given["no_verify"]:
        job.output.say("All is in place; proving it.")
        _prove(job)
    verdict = "in-place" if job.proof is None or job.proof["verdict"] == "pass" else "unproven"
    return _finish(job, verdict, {})


def _announce(job: Job) -> None:
    """Show the plan, and ask where somebody is there to answer."""
    from torchcheck.report.document import cleaned
    from torchcheck.report.render.terminal import planned

    if not (job.output.quiet or job.output.json):
        show(job.output.log, planned.plan(cleaned(job.plan.as_json()), job.output.verbose))
    if job.can_ask:
        import click

        click.confirm("Install this?", default=True, abort=True, err=True)


def _install(job: Job) -> int:
    from torchcheck.cli.phases import Phases
    from torchcheck.install import apply

    verify = None if job.given["no_verify"] else lambda: _prove(job)
    with Phases(job.output) as phases:
        try:
            done = apply(
                job.plan,
                job.target,
                installer=job.given["installer"],
                facts=job.facts,
                worked=_worked(job),
                verify=verify,
                on_event=phases.show,
            )
        except TorchcheckError as error:
            error.data = {**_data(job, "not-installed", {}), "diagnoses": causes(job.target, job.proof, error.message)}
            raise
    return _finish(job, "kept" if done.outcome != "unproven" else "unproven", done.as_json())


def _worked(job: Job) -> bool:
    """Say whether the torch that is there now can be imported, with its companions."""
    if "torch" not in (job.facts.packages or {}):
        return False
    from torchcheck.verify.outcome import summarize
    from torchcheck.verify.runner import Job as Run
    from torchcheck.verify.runner import run as run_job

    events: list[dict[str, Any]] = []
    run_job(job.target.python, Run(level="quick", select=("environment.import", "companions.*")), events.append)
    return summarize(events).verdict == "pass"


def _prove(job: Job) -> bool:
    """Verify what is installed now, in a process of its own; remember the proof when it succeeds."""
    from torchcheck.cli.verification import verify
    from torchcheck.install import proof
    from torchcheck.verify.runner import Job as Run

    result, _ = verify(job.target.python, Run(), job.output)
    job.proof = result.as_json()
    if result.interrupted:
        raise KeyboardInterrupt
    if result.verdict == "pass":
        proof.remember(job.target, job.facts, job.proof)
    return result.verdict == "pass"


def _finish(job: Job, verdict: str, done: Mapping[str, Any]) -> int:
    from torchcheck.report.render.terminal import planned

    data = _data(job, verdict, done)
    if verdict != "unproven":
        return job.output.finish(data, Exit.OK, planned.install)
    data["diagnoses"] = causes(job.target, job.proof)
    code = job.output.finish(data, Exit.FAILED, planned.install)
    tell(job.output, data["diagnoses"])
    return code


def _data(job: Job, verdict: str, done: Mapping[str, Any]) -> dict[str, Any]:
    """Compose `install`'s data: the plan, what was done, the proof."""
    from torchcheck.install.constraints import advice

    return {
        "verdict": verdict,
        "target": job.target.python,
        "plan": job.plan.as_json(),
        "installed": {name: version for name, version in job.plan.packages.items() if version},
        "changed": done.get("changed", {}),
        "constraints": done.get("constraints"),
        "advice": advice(done["constraints"], windows=sys.platform == "win32") if done.get("constraints") else [],
        "conflicts": done.get("conflicts", []),
        "verify": job.proof,
    }
