"""For a person at a terminal: rich renderables from a command's `data`.

Everything is shown as literal text (`Text`, never markup), so nothing read from a machine or a log can style or steer
the terminal. Glyphs are chosen when printed: a console that speaks only ASCII gets ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torchcheck.report.render.markdown import flatten, plain

Data = Mapping[str, Any]
STATUS = {
    "pass": ("✓", "+", "green"),
    "fail": ("✗", "x", "bold red"),
    "crash": ("✗", "x", "bold red"),
    "timeout": ("✗", "x", "bold red"),
    "error": ("✗", "x", "bold red"),
    "known": ("≈", "~", "yellow"),
    "skip": ("·", "-", "dim"),
    "warning": ("!", "!", "yellow"),
    "note": ("·", "-", "cyan"),
}
BAD = ("fail", "crash", "timeout", "error")


class Line:
    """A line that begins with a sign for its status, in what the console can show."""

    def __init__(self, status: str, *parts: str | tuple[str, str]) -> None:
        """Take a status of `STATUS` and the parts of a `Text`."""
        self._status = status
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the sign by what the console can encode."""
        rich_sign, plain_sign, style = STATUS[self._status]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(plain_sign if options.ascii_only else rich_sign, style), Text.assemble(*self._parts))
        yield grid


def heading(title: str) -> Text:
    """Head a section."""
    return Text(f"\n{title}", "bold")


def indented(items: Iterable[RenderableType], by: int = 2) -> Padding:
    """Put items below a heading."""
    return Padding(Group(*items), (0, 0, 0, by))


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """Align names and values."""
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, "dim"), Text(str(value)))
    return grid


def size(count: int | None) -> str:
    """Say a number of bytes as people do."""
    from rich.filesize import decimal

    return "unknown" if count is None else decimal(count)


def plan(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show what would be installed, and why."""
    yield from _warnings("blockers", data, "error")
    if data["backend"]:
        rows = [(name, version or "left out") for name, version in data["packages"].items()]
        source = data.get("index_url") or "what pip is configured with"
        rows += [("from", source), ("download", size(data.get("download_bytes")))]
        yield pairs([("backend", data["backend"]), *rows])
    yield from _bullets("Why", data["reasons"])
    yield from _warnings("warnings", data, "warning")
    if data["rejected"] and (verbose or data["backend"] is None):
        yield heading("Not chosen")
        yield indented(Line("skip", _rejected(r)) for r in data["rejected"])
    if data["command"] and data["backend"]:
        yield heading("Command")
        yield indented([Text(command_line(data["command"]))])


def plan_verdict(data: Data) -> Line:
    """Say in one line what the plan came to."""
    if data["backend"] is None:
        return Line("fail", "No plan fits this machine.")
    kept = " ".join(f"{name} {version}" for name, version in data["packages"].items() if version)
    return Line("pass", ("Ready: ", "bold"), kept)


def verify(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show a verification: a table by topic, every failure in full, one line of verdict."""
    if data["checks"]:
        yield _topics(data["checks"])
    shown = [c for c in data["checks"] if c["status"] in BAD or c["status"] == "known"]
    for check in shown:
        yield from _check(check)
    if verbose:
        yield from (_brief(check) for check in data["checks"] if check not in shown)
    else:
        yield from _skips(data["checks"])
    yield verify_verdict(data)


def verify_verdict(data: Data) -> Line:
    """Say in one line what was proven."""
    counts, where = data["counts"], ", ".join(data["devices"]) or "no device"
    told = ", ".join(f"{counts[s]} {s}" for s in (*STATUS,) if counts.get(s))
    good = data["verdict"] == "pass"
    words = {"pass": "PASS", "fail": "FAIL", "unusable": "UNUSABLE"}[data["verdict"]]
    return Line("pass" if good else "fail", (words, "bold green" if good else "bold red"), f" on {where}: {told} ",
                (f"({data['seconds']:.1f} s, level {data['level']})", "dim"))


def doctor(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show diagnoses, most likely cause first."""
    found = [d for d in data["diagnoses"] if d["code"] != "environment-ok"]
    for diagnosis in found:
        yield from _diagnosis(diagnosis, verbose)
    errors = sum(d["severity"] == "error" for d in found)
    warnings = sum(d["severity"] == "warning" for d in found)
    if errors or warnings:
        told = " and ".join(_count(n, word) for n, word in ((errors, "error"), (warnings, "warning")) if n)
        yield Line("fail" if errors else "warning", f"{told} found.")
    else:
        well = next((d for d in data["diagnoses"] if d["code"] == "environment-ok"), None)
        yield Line("pass", "Nothing wrong was found" + (f": {'; '.join(well['evidence'])}" if well else "") + ".")


def install(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show what an installation came to; the plan was shown before it."""
    if data.get("verify"):
        yield from verify(data["verify"], verbose)
    for note in data["notes"]:
        yield Line("note", note)
    packages = " ".join(f"{name} {version}" for name, version in data["installed"].items() if version)
    if data["verdict"] == "kept":
        yield Line("pass", ("Proven: " if data.get("verify") else "In place: ", "bold green"), packages)
    elif data["verdict"] == "in-place":
        yield Line("pass", ("All is in place: ", "bold green"), packages)
    else:
        yield Line("fail", (data["summary"], "bold red"))


def report(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show facts, diagnoses and the verification of a report."""
    for section, members in data["facts"].items():
        yield heading(section)
        yield indented([pairs(flatten(members))])
    yield heading("diagnoses")
    yield from doctor(data, verbose)
    if data["verify"]:
        yield heading("verification")
        yield from verify(data["verify"], verbose)


def diff(data: Data, verbose: bool = False) -> Iterator[RenderableType]:
    """Show what differs between two reports, most telling first."""
    shown = [d for d in data["differences"] if verbose or d["weight"] != "noise"]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("weight", "what", "A", "B", "note"):
            table.add_column(title, overflow="fold")
        for d in shown:
            table.add_row(*(Text(plain(d[key])) for key in ("weight", "path", "a", "b", "note")))
        yield table
    told = len(data["differences"])
    yield Line("pass" if not told else "warning", f"{_count(told, 'difference')}, {len(shown)} shown.")


def command_line(argv: Iterable[str]) -> str:
    """Write a command so that it can be pasted."""
    import shlex

    return " ".join(word if _plain(word) else shlex.quote(word) for word in argv)


def _plain(word: str) -> bool:
    return bool(word) and not set(word) & set(" \t\"'$&|;<>()*?[]{}!#~`\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _bullets(title: str, texts: Iterable[str]) -> Iterator[RenderableType]:
    lines = [Line("note", text) for text in texts]
    if lines:
        yield heading(title)
        yield indented(lines)


def _warnings(kind: str, data: Data, status: str) -> Iterator[RenderableType]:
    for item in data[kind]:
        yield Line(status, (item["code"] + ": ", "bold"), item["message"])
        if item.get("hint"):
            yield indented([Text.assemble(("fix: ", "bold"), item["hint"])])


def _rejected(alternative: Data) -> str:
    named = " ".join(filter(None, [alternative["backend"], alternative.get("torch")]))
    return f"{named}: {alternative['reason']}"


def _topics(checks: Iterable[Data]) -> Table:
    topics: dict[str, list[Data]] = {}
    for check in checks:
        topics.setdefault(check["id"].partition(".")[0], []).append(check)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("checks")
    for column in ("passed", "failed", "known", "skipped", "seconds"):
        table.add_column(column, justify="right")
    for topic, members in topics.items():
        counts = [sum(c["status"] in kinds for c in members) for kinds in (("pass",), BAD, ("known",), ("skip",))]
        style = "bold red" if counts[1] else ""
        table.add_row(Text(topic, style), *(Text(str(n) if n else "") for n in counts), f"{sum(c['seconds'] for c in members):.2f}")
    return table


def _check(check: Data) -> Iterator[RenderableType]:
    where = "/".join(filter(None, [check["device"], check["dtype"]]))
    yield Line(check["status"], (check["id"], "bold"), f" [{where}] " if where else " ", (check["status"], STATUS[check["status"]][2]))
    told = [Text(f"proves: {check['title']}", "dim")]
    if check["detail"]:
        told.append(Text(str(check["detail"])))
    if check["measured"] is not None:
        told.append(Text(f"measured {_figure(check['measured'])} {check['unit'] or ''}, allowed {_figure(check['bound'])}"))
    if check["hint"]:
        told.append(Text.assemble(("what to do: ", "bold"), str(check["hint"])))
    yield indented(told)


def _brief(check: Data) -> Line:
    where = "/".join(filter(None, [check["device"], check["dtype"]]))
    measured = "" if check["measured"] is None else f"  {_figure(check['measured'])} of {_figure(check['bound'])} {check['unit']}"
    return Line(check["status"], f"{check['id']} [{where}]{measured}", (f"  {check['detail']}" if check["status"] == "skip" else "", "dim"))


def _skips(checks: Iterable[Data]) -> Iterator[RenderableType]:
    reasons: dict[str, int] = {}
    for check in checks:
        if check["status"] == "skip":
            reasons[str(check["detail"])] = reasons.get(str(check["detail"]), 0) + 1
    for reason, count in reasons.items():
        yield Line("skip", (f"{count} skipped: {reason}", "dim"))


def _diagnosis(d: Data, verbose: bool) -> Iterator[RenderableType]:
    yield Line(d["severity"], (d["title"], "bold"), (f"  [{d['code']}]", "dim"))
    told: list[RenderableType] = [Text.assemble(("seen: ", "dim"), item) for item in d["evidence"]]
    if d["why"]:
        told.append(Text.assemble(("why:  ", "dim"), d["why"]))
    told += [Text.assemble(("fix:  ", "bold"), item) for item in d["fix"]]
    if d.get("link") and verbose:
        told.append(Text.assemble(("more: ", "dim"), d["link"]))
    yield indented(told)


def _figure(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else str(number)
