"""The JSON documents that every command prints, and what a report consists of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torchcheck import __version__

SCHEMA = "torchcheck/1"
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def envelope(
    command: str, data: Mapping[str, Any] | None, exit_code: int, errors: Iterable[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Wrap one command's data as `--json` prints it; a failure has `errors` and perhaps no data."""
    return {
        "schema": SCHEMA,
        "command": command,
        "version": __version__,
        "exit_code": int(exit_code),
        "data": dict(data or {}),
        "errors": [dict(error) for error in errors],
    }


def report(
    facts: Mapping[str, Any], diagnoses: Iterable[Mapping[str, Any]], verify: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Compose a report's `data` from parts that are JSON-able already."""
    return {"facts": dict(facts), "diagnoses": [dict(d) for d in diagnoses], "verify": dict(verify) if verify else None}


def dump(document: Mapping[str, Any]) -> str:
    """Write a document as text that any console can carry: ASCII, no NaN (JSON has none)."""
    return json.dumps(finite(document), indent=2, ensure_ascii=True, allow_nan=False)


def line(value: Any) -> str:
    """Write one value of a stream on one line."""
    return json.dumps(finite(value), ensure_ascii=True, allow_nan=False)


def cleaned(value: Any) -> Any:
    """Make every text in JSON-able data safe to show: see `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): cleaned(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value


def printable(text: str) -> str:
    """Take away what a terminal would obey, and what no encoding carries.

    That is: control characters other than newline and tab, overrides of the writing direction, lone surrogates.
    """
    return _STEERING.sub("\ufffd", text.replace("\r\n", "\n"))


def finite(value: Any) -> Any:
    """Replace what JSON cannot say: infinities and NaN become the words "inf", "-inf" and "nan"."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [finite(member) for member in value]
    return value
