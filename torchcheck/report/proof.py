"""A gate on an archived verdict: does this proof hold for what is here now?"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

Data = Mapping[str, Any]
WRITE = "write one with `torchcheck verify --json > proof.json`"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
NAMES = {
    "packages": "Packages",
    "python": "The Python",
    "drivers": "The driver",
    "gpus": "The devices",
    "cpu": "The processor",
}


def age(text: str) -> dt.timedelta | None:
    """Read an age like 90m, 12h, 7d or 2w; None when it is none."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip())
    return dt.timedelta(**{UNITS[found[2]]: int(found[1])}) if found else None


def subject(facts: Data) -> dict[str, Any]:
    """Give what a proof is about: the builds, the interpreter, the driver, the devices."""
    packages, drivers = facts.get("packages") or {}, facts.get("drivers") or {}
    return {
        "packages": {name: packages[name] for name in ("torch", "torchvision", "torchaudio") if name in packages},
        "python": (facts.get("python") or {}).get("version"),
        "drivers": {vendor: (driver or {}).get("version") for vendor, driver in drivers.items()},
        "gpus": sorted(str(gpu.get("name")) for gpu in facts.get("gpus") or []),
        "cpu": (facts.get("cpu") or {}).get("model"),
    }


def judge(proof: Any, here: Data, oldest: dt.timedelta, now: dt.datetime) -> list[str]:
    """Say in sentences why a proof does not hold; [] when it does.

    Args:
        proof: the document that `verify --json` printed, or None when there is none.
        here: the `subject` of this machine.
        oldest: how old a proof may be.
        now: the time, with its zone.
    """
    if not isinstance(proof, Mapping):
        return [f"There is no proof: {WRITE}."]
    data = proof.get("data")
    if proof.get("command") != "verify" or not isinstance(data, Mapping):
        return [f"This is no proof but another document ({proof.get('command')!s:.40}): {WRITE}."]
    about = data.get("subject")
    if not isinstance(about, Mapping):
        return [f"The proof does not say what it is about: {WRITE}."]
    return [*_verdict(proof, data), *_part(about), *_age(about, oldest, now), *_differences(about, here)]


def _verdict(proof: Data, data: Data) -> list[str]:
    if data.get("interrupted"):
        return ["The proof is of a run that was interrupted."]
    if data.get("verdict") != "pass":
        return [f"The proof failed: its verdict is {data.get('verdict')!r:.40}."]
    if proof.get("exit_code") != 0:
        return [f"The proof failed: its exit code is {proof.get('exit_code')!r:.40}."]
    return []


def _part(about: Data) -> list[str]:
    given = [about.get(name) for name in ("select", "skip", "device")]
    part = [str(glob) for globs in given if globs for glob in (globs if isinstance(globs, list) else [globs])]
    return [f"The proof is of a part only ({', '.join(part)})."] if part else []


def _age(about: Data, oldest: dt.timedelta, now: dt.datetime) -> list[str]:
    try:
        date = dt.datetime.fromisoformat(str(about.get("date")))
        old = now - date
    except (ValueError, TypeError):
        return ["The proof has no date."]
    if old < -dt.timedelta(hours=1):
        return [f"The proof is from the future: {date}."]
    return [] if old <= oldest else [f"The proof is too old: {old.days} days and {old.seconds // 3600} hours."]


def _differences(about: Data, here: Data) -> list[str]:
    return [
        f"{name} of the proof: {_said(about.get(key))}; here: {_said(here.get(key))}."
        for key, name in NAMES.items()
        if about.get(key) != here.get(key)
    ]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {member}" for key, member in value.items() if member) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
