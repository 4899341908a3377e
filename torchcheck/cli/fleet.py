"""`verify` over many ranks: showing what they do as they do it, and saying what came of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchcheck.cli.gathering import live_target
from torchcheck.cli.output import Output
from torchcheck.errors import Exit, UsageError
from torchcheck.verify.launchers import LAUNCHED

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.verify.places import Place
    from torchcheck.verify.verdict import Told

Given = Mapping[str, Any]
Event = dict[str, Any]


def place_of(given: Given) -> Place | None:
    """Say which rank of which run this is; None when nobody launched it as one.

    Raises:
        UsageError: a rank was told to start ranks of its own.
    """
    from torchcheck.verify.places import find

    place = find(os.environ)
    if place is not None and given["nproc"] is not None:
        raise UsageError(
            "--nproc starts ranks, and this process is one already (RANK or SLURM_PROCID is set).",
            "Leave --nproc away: the launcher has started as many as it was told to.",
            code="nproc-in-a-rank",
        )
    return place


def take_part(given: Given, place: Place) -> int:
    """Be one rank; rank 0 says what came of it, and all give the same exit code.

    Ranks that `verify --nproc` started leave all that is said, and the exit code, to that process.
    """
    from torchcheck.cli.verification import job_of
    from torchcheck.verify.launchers import heeding_the_launcher
    from torchcheck.verify.ranks import Seat

    output, job, target = Output.of("verify", given), job_of(given), live_target(given["python"])
    target.demand_proof()
    if place.rank == 0 and LAUNCHED not in os.environ:
        output.say(f"Verifying {target.python} with {place.world} ranks")
    with contextlib.ExitStack() as stack:
        take: Callable[[Event], object] = hand_on
        decide: Callable[[Told], int] = _hand_on_told
        if LAUNCHED not in os.environ and place.rank == 0:
            teller = Teller(given, output, target, stack)
            take, decide = teller.take, teller.conclude
        seat = Seat(target.python, job, place, take)
        seat.live = LAUNCHED in os.environ or bool(given["stream"]) or (output.log.is_terminal and not output.quiet)
        stack.enter_context(heeding_the_launcher(seat.stop, os.environ))
        code = seat.run(decide)
    if seat.words:
        output.log.print(seat.words, markup=False)
    return int(Exit.OK) if LAUNCHED in os.environ else code


def hand_on(event: Event) -> int:
    """Write one event for the process that started this one."""
    from torchcheck.report.document import line

    print(line(event), flush=True)  # noqa: T201 - the protocol is the result
    return int(Exit.OK)


def _hand_on_told(told: Told) -> int:
    return hand_on({"event": "told", **told.as_json()})


class Teller:
    """Shows the ranks' events, and makes the document; hosts have other names in both, unless they were asked for."""

    def __init__(self, given: Given, output: Output, target: Target, stack: contextlib.ExitStack) -> None:
        """Take the options and where to speak; what shows the progress ends with `stack`, or before the verdict."""
        from torchcheck.cli.verification import progress
        from torchcheck.verify.pseudonyms import Pseudonyms

        self.given = given
        self.output = output
        self.target = target
        self.stack = stack
        self.hello: Event = {}
        self.events: list[Event] = []
        self.names = Pseudonyms((), hiding=False)
        self._show = stack.enter_context(progress(output, stream=given["stream"]))

    def take(self, event: Event) -> None:
        """Keep an event, and show it."""
        self.events.append(event)
        if event["event"] == "hello":
            self.hello = event
            self._learn(event["ranks"])
            shown = [{name: value for name, value in one.items() if name != "env"} for one in event["ranks"]]
            event = {**event, "ranks": shown}
        self._show(self.names.hide(event))

    def _learn(self, ranks: Iterable[Event]) -> None:
        from torchcheck.verify.pseudonyms import Pseudonyms

        known = len(self.names.names)
        self.names = Pseudonyms(ranks, hiding=not self.given["no_redact"])
        if self.names.hiding and len(self.names.names) > known:
            told = ", ".join(f"{name} is {host}" for host, name in self.names.names.items())
            self.output.say(f"In the results {told}; --no-redact names them")

    def conclude(self, told: Told, *, interrupted: bool = False) -> int:
        """Print the verdict of all ranks, as that of one machine is printed."""
        from torchcheck.cli.verification import conclude
        from torchcheck.verify.outcome import summarize

        self._learn([*self.hello.get("ranks", ()), *told.ranks])
        hidden = self.names.hide(told.as_json())
        plan = [{name: event[name] for name in ("id", "title", "device", "dtype")} for event in hidden["events"]]
        hello = {"level": self.given["level"] or "default", **self.hello, "event": "hello", "lacking": {}, "plan": plan}
        hello |= {"torch": hidden["torch"], "devices": list(hidden["devices"])}
        bye = {"event": "bye", "seconds": told.seconds, "interrupted": interrupted, "notes": list(hidden["notes"])}
        if self.given["stream"]:
            for event in [*([] if self.hello else [hello]), *hidden["events"], bye]:
                self._show(event)
        self.stack.close()
        events = [hello, *hidden["events"], bye]
        result = summarize(events, strict=self.given["strict"])
        return conclude(self.given, self.output, self.target, result, events, extra={"ranks": hidden["ranks"]})
