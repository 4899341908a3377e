"""Other names for hosts and GPUs, so that a document about a fleet can be shown to strangers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from torchcheck.report.redact import VOCABULARY

_UUID = re.compile(r"\b(?:GPU-|MIG-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{8}([0-9a-fA-F]{4})\b")


class Pseudonyms:
    """Names `host-1`, `host-2`, … in the order of the hosts' first ranks, the same wherever one of a run is named."""

    def __init__(self, identities: Iterable[Mapping[str, Any]], *, hiding: bool = True) -> None:
        """Take who the ranks are (`rank`, `host`); with `hiding` off everything stays as it is."""
        self.hiding = hiding
        self.names: dict[str, str] = {}
        for identity in sorted(identities, key=lambda one: int(one["rank"])):
            if identity.get("host"):
                self.names.setdefault(str(identity["host"]), f"host-{len(self.names) + 1}")

    @cached_property
    def _hosts(self) -> re.Pattern[str] | None:
        """Find hosts' names as whole words; one that is a word of the report itself is hidden where it stands alone."""
        names = [name for name in self.names if len(name) > 1 and name.lower() not in VOCABULARY and not name.isdigit()]
        longest = sorted(map(re.escape, names), key=len, reverse=True)
        return re.compile(rf"(?<![\w.-])(?:{'|'.join(longest)})(?![\w-])") if longest else None

    def hide(self, value: Any) -> Any:
        """Replace hosts' names and all but the end of UUIDs in JSON-able data."""
        if not self.hiding:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: self._member(key, member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(item) for item in value]
        return value

    def _member(self, key: str, value: Any) -> Any:
        return self.names.get(value, value) if key == "host" and isinstance(value, str) else self.hide(value)

    def _text(self, text: str) -> str:
        text = _UUID.sub(r"…\1", text)
        return self._hosts.sub(lambda found: self.names[found[0]], text) if self._hosts else text
