"""What commands need before they can decide: the target, the facts, the documents given by the user."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torchcheck.errors import UsageError

if TYPE_CHECKING:
    from torchcheck.facts import Facts
    from torchcheck.target import Target

LARGEST_DOCUMENT = 64 << 20
OVERRIDE = "TORCHCHECK_FACTS"


def live_target(python: str | None, say: Callable[[str], None] | None = None) -> Target:
    """Find the target on this machine; with `say`, undo first what an interrupted installation left in it."""
    from torchcheck.live import Live
    from torchcheck.target import find

    target = find(Live(), python)
    if say is None:
        return target
    from torchcheck.install import recover

    told = recover(target, wait=False)
    if told is None:
        return target
    say(told)
    return find(Live(), python)


def live_facts(target: Target | None, *, torch: Literal["import", "metadata", "skip"] = "import") -> Facts:
    """Probe this machine and the target."""
    from torchcheck.live import Live
    from torchcheck.probes import probe

    return probe(Live(), target, torch=torch)


def recorded_facts(machine: str | None) -> Facts | None:
    """Read facts from --machine FILE or $TORCHCHECK_FACTS; None when neither is given."""
    import os

    from torchcheck.facts import FactsError, from_json

    name = machine or os.environ.get(OVERRIDE)
    if not name:
        return None
    try:
        return from_json(document(name, "--machine" if machine else f"${OVERRIDE}"))
    except FactsError as error:
        hint = "Write one with `torchcheck report --json`, or pass a bare `facts` object."
        raise UsageError(f"{name} does not describe a machine: {error}.", hint, code="bad-machine-file") from error


def document(name: str, option: str) -> Any:
    """Read a JSON document from a file that the user named ("-" is stdin)."""
    text = read_text(name, option)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "A report's JSON comes from `torchcheck report --json`."
        raise UsageError(f"{name} is not JSON: {error}.", hint, code="not-json") from error


def read_text(name: str, option: str, limit: int = LARGEST_DOCUMENT) -> str:
    """Read a text file in whatever encoding Windows or others wrote it; at most `limit` bytes."""
    try:
        raw = sys.stdin.buffer.read(limit + 1) if name == "-" else _read_bytes(Path(name), limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{option} {name}: {reason}.", "Check the path.", code="unreadable-file") from error
    if len(raw) > limit:
        raise UsageError(f"{option} {name} is larger than {limit >> 20} MiB.", "", code="too-large")
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    return raw.decode("utf-8", errors="replace")


def _read_bytes(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(limit + 1)
