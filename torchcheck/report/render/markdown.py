"""For issues and chats: Markdown that no value in it can break out of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torchcheck.report.document import printable
from torchcheck.report.tally import BAD, tally, topics

Data = Mapping[str, Any]
EMPTY = "(empty)"
ROWS = 1000
"""So many facts of one section are shown; the largest of real machines has some hundreds of packages."""
ESCAPES = {ord(char): "\\" + char for char in "\\`*_[]#|~$"} | {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;"}
# A name after @ would call somebody to the issue; a space of no width keeps it from that.
ESCAPES |= {ord("@"): "@&#8203;"}
URL = re.compile(r"(https://[\w./?=&%#~+-]*[\w/])")


def report(data: Data) -> str:
    """Write a report: what is wrong first, then the verification, then every fact behind a fold."""
    lines = ["## torchcheck report", ""]
    lines += _diagnoses(data["diagnoses"])
    if data["verify"]:
        lines += verification(data["verify"])
    lines += _facts(data["facts"])
    return "\n".join(lines) + "\n"


def verification(data: Data) -> list[str]:
    """Write a verification: verdict, table by topic, each failure."""
    counts = ", ".join(f"{n} {text(status)}" for status, n in data["counts"].items() if n)
    lines = [
        f"### Verification: {text(data['verdict'].upper())}",
        "",
        f"{counts} on {code(', '.join(data['devices']))}",
        "",
    ]
    lines += _topics(data["checks"])
    bad = [check for check in data["checks"] if check["status"] in BAD or check["status"] == "known"]
    if bad:
        lines += ["| check | device | dtype | status | what was seen | what to do |", "|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_cells(check)) + " |" for check in bad] + [""]
    return lines


def _topics(checks: list[Data]) -> Iterator[str]:
    yield "| checks | passed | failed | known | skipped | seconds |"
    yield "|---|--:|--:|--:|--:|--:|"
    for topic, members in topics(checks).items():
        told = tally(members)
        counts = [str(n or "") for n in (told.passed, told.failed, told.known, told.skipped)]
        yield f"| {code(topic)} | {' | '.join(counts)} | {told.seconds:.2f} |"
    yield ""


def diff(data: Data) -> str:
    """Write what differs between two reports as a table."""
    lines = ["| weight | what | A | B | note |", "|---|---|---|---|---|"]
    for d in data["differences"]:
        cells = (text(d["weight"]), code(d["path"]), code(d["a"]), code(d["b"]), text(d["note"] or ""))
        lines += ["| " + " | ".join(cells) + " |"]
    return "\n".join(lines) + "\n"


def text(value: object) -> str:
    """Escape what Markdown or HTML would obey, keep it on one line; addresses of pages stay links."""
    parts = URL.split(_line(value))
    return "".join(f"<{part}>" if i % 2 else part.translate(ESCAPES) for i, part in enumerate(parts))


def code(value: object) -> str:
    """Write a value as code that it cannot end, also within a table.

    No backslash works in a code span, and a bar in it would end a table's cell: then it is an element.
    """
    line = _line("none" if value is None else value)
    if set(line) & set("`|"):
        return f"<code>{line.translate(ESCAPES)}</code>"
    return f"`{line}`" if line else ""


def _line(value: object) -> str:
    return " ".join(printable(str(value)).split())


def _cells(check: Data) -> list[str]:
    seen = str(check["detail"] or "")[:500]
    return [
        code(check["id"]),
        text(check["device"] or ""),
        text(check["dtype"] or ""),
        text(check["status"]),
        text(seen),
        text(check["hint"] or ""),
    ]


def _diagnoses(diagnoses: list[Data]) -> Iterator[str]:
    for d in diagnoses:
        yield f"- **{text(d['title']) or EMPTY}** ({text(d['severity'])}, {code(d['code'])})"
        yield from (f"  - seen: {text(item)}" for item in d["evidence"])
        yield from (f"    {text(item)}" if item.startswith("(") else f"  - fix: {code(item)}" for item in d["fix"])
    yield ""


def _facts(facts: Data) -> Iterator[str]:
    yield "<details><summary>Environment</summary>"
    yield ""
    for section, members in facts.items():
        yield f"**{text(section) or EMPTY}**"
        yield ""
        yield "| | |"
        yield "|---|---|"
        for name, value in rows(members, "" if isinstance(members, Mapping) else section):
            yield f"| {text(name)} | {code(value)} |"
        yield ""
    yield "</details>"


def rows(members: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give the pairs of a section that are shown: a file from elsewhere may hold a million, to lay out for minutes."""
    found = flatten(members, prefix)
    yield from islice(found, ROWS)
    if left := sum(1 for _ in found):
        yield "…", f"{left} more, which --json shows"


def flatten(members: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Walk nested facts as (path, value) pairs, lists of plain values in one."""
    if isinstance(members, Mapping):
        for key, member in members.items():
            yield from flatten(member, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(members, list) and any(isinstance(m, Mapping) for m in members):
        for i, member in enumerate(members):
            yield from flatten(member, f"{prefix}[{i}]")
    else:
        yield prefix, size(members) if _is_size(prefix, members) else plain(members)


def _is_size(name: str, value: Any) -> bool:
    last = name.rpartition(".")[2]
    return isinstance(value, int) and (
        last in ("total", "available", "swap", "shm", "memory") or last.endswith("_free")
    )


def size(count: int | None) -> str:
    """Say a number of bytes as people do, in powers of ten as disks and indexes do."""
    if count is None:
        return "unknown"
    unit = next(u for u in (12, 9, 6, 3, 0) if count >= 10**u or u == 0)
    return (
        f"{count / 10**unit:.1f} {({0: 'bytes', 3: 'kB', 6: 'MB', 9: 'GB', 12: 'TB'})[unit]}"
        if unit
        else f"{count} bytes"
    )


def plain(value: Any) -> str:
    """Say a value in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
