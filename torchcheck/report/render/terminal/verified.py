"""A verification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from torchcheck.report.render.terminal.elements import STATUS, Data, Line, indented
from torchcheck.report.render.terminal.ranks import ranks
from torchcheck.report.tally import BAD, tally, topics

if TYPE_CHECKING:
    from torchcheck.report.render.terminal.elements import Shown


def verify(data: Data, verbose: bool = False) -> Iterator[Shown]:
    """Show a verification: a table by topic, every failure in full, one line of verdict."""
    if data["verdict"] != "unusable":
        yield _topics(data["checks"])
    if data.get("ranks"):
        yield from ranks(data["ranks"])
    shown = [c for c in data["checks"] if c["status"] in BAD or (verbose and c["status"] == "known")]
    for check in shown:
        yield from _check(check)
    if verbose:
        yield from (_brief(check) for check in data["checks"] if check not in shown)
    else:
        yield from _grouped(data["checks"])
    yield verify_verdict(data)


def verify_verdict(data: Data) -> Line:
    """Say in one line what was proven."""
    counts, where = data["counts"], ", ".join(data["devices"]) or "no device"
    told = ", ".join(f"{counts[s]} {s}" for s in (*STATUS,) if counts.get(s))
    good = data["verdict"] == "pass"
    words = {"pass": "PASS", "fail": "FAIL", "unusable": "UNUSABLE"}[data["verdict"]]
    return Line(
        "pass" if good else "fail",
        (words, "bold green" if good else "bold red"),
        f" on {where}: {told} ",
        (f"({data['seconds']:.1f} s, level {data['level']})", "dim"),
    )


def _topics(checks: Iterable[Data]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("checks")
    for column in ("passed", "failed", "known", "skipped", "seconds"):
        table.add_column(column, justify="right")
    for topic, members in topics(checks).items():
        told = tally(members)
        counts = (told.passed, told.failed, told.known, told.skipped)
        style = "bold red" if told.failed else ""
        table.add_row(Text(topic, style), *(Text(str(n) if n else "") for n in counts), f"{told.seconds:.2f}")
    return table


def _check(check: Data) -> Iterator[Shown]:
    where = "/".join(filter(None, [check["device"], check["dtype"]]))
    yield Line(
        check["status"],
        (check["id"], "bold"),
        f" [{where}] " if where else " ",
        (check["status"], STATUS[check["status"]][2]),
    )
    told = [Text(f"proves: {check['title']}", "dim")]
    if check["detail"]:
        told.append(Text(str(check["detail"])))
    if check["measured"] is not None and check["unit"] != "elements":
        told.append(
            Text(f"measured {_figure(check['measured'])} {check['unit'] or ''}, allowed {_figure(check['bound'])}")
        )
    if check["hint"]:
        told.append(Text.assemble(("what to do: ", "bold"), str(check["hint"])))
    yield indented(told)


def _brief(check: Data) -> Line:
    where = "/".join(filter(None, [check["device"], check["dtype"]]))
    told = f"{check['id']} [{where}]" if where else str(check["id"])
    if check["measured"] is not None:
        told += f"  {_figure(check['measured'])} of {_figure(check['bound'])} {check['unit']}"
    return Line(check["status"], told, (f"  {check['detail']}" if check["status"] == "skip" else "", "dim"))


def _grouped(checks: Iterable[Data]) -> Iterator[Shown]:
    """Say each reason once: for skipping, and for calling a failure a defect of torch's that is known."""
    reasons: dict[tuple[str, str], int] = {}
    for check in checks:
        if check["status"] in ("skip", "known"):
            told = str(check["detail"]).partition(" Seen here:")[0].removeprefix("known defect of this torch: ")
            todo = f" (what to do: {check['hint']})" if check["status"] == "known" and check["hint"] else ""
            said = check["status"], told.rstrip(".") + todo
            reasons[said] = reasons.get(said, 0) + 1
    for (status, reason), number in sorted(reasons.items()):
        word = "skipped" if status == "skip" else "known to be wrong in this torch"
        yield Line(status, (f"{number} {word}: {reason}", "dim" if status == "skip" else ""))


def _figure(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else str(number)
