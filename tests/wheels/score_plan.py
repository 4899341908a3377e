"""Score plans for recorded machines: what each case expects, and what must hold of every plan whatever the machine.

    python tests/wheels/score_plan.py [CASES.jsonl …]

A case is one JSON object a line: `facts`, `args` and `expect` (`backend`, `torch`, `warnings`, `blockers`,
`torchaudio`, `mentions`, `index`, `or`). The rules are those of the product,
written here once more from the outside: nothing of the planner's own tables is used.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.specifiers import SpecifierSet
from packaging.version import Version

CASES = Path(__file__).parent / "cases"
FAMILY = ("torch", "torchvision", "torchaudio")
RANGES = {
    "cu118": "<=2.7.1", "cu121": ">=2.1,<=2.5.1", "cu124": ">=2.4,<2.7", "cu126": ">=2.6,<2.15", "cu128": ">=2.7,<2.12",
    "cu129": ">=2.8,<2.14,!=2.12.0", "cu130": ">=2.9", "cu132": ">=2.12", "xpu": ">=2.5",
}  # fmt: skip
ENDS = {"3.8": "<=2.4.1", "3.9": "<=2.8.0", "3.10": "<=2.14.1", "3.13": ">=2.5", "3.14": ">=2.9", "3.15": ">=2.15"}
WITH_AUDIO = {"cpu", "mps", "cu118", "cu121", "cu124", "cu126", "cu128", "cu130"}
VISION = {
    "0.15.1": "==2.0.0", "0.15.2": "==2.0.1", "0.16.0": "==2.1.0", "0.16.1": "==2.1.1", "0.16.2": "==2.1.2",
    "0.17.0": "==2.2.0", "0.17.1": "==2.2.1", "0.17.2": "==2.2.2", "0.18.0": "==2.3.0", "0.18.1": "==2.3.1",
    "0.19.0": "==2.4.0", "0.19.1": "==2.4.1", "0.20.0": "==2.5.0", "0.20.1": "==2.5.1", "0.21.0": "==2.6.0",
    "0.22.0": "==2.7.0", "0.22.1": "==2.7.1", "0.23.0": "==2.8.0", "0.24.0": "==2.9.0", "0.24.1": "==2.9.1",
    "0.25.0": "==2.10.0", "0.26.0": "==2.11.0", "0.27.0": "==2.12.0", "0.27.1": "==2.12.1", "0.28.0": "==2.13.0",
    "0.29.0": "==2.14.0", "0.29.1": ">=2.14.0", "0.29.2": ">=2.14.0",
}  # fmt: skip
ANYWHERE = {"rocm-windows"}


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def arguments(args: Iterable[str]) -> dict[str, Any]:
    """Read a case's command line into the fields of a request."""
    given: dict[str, Any] = {"packages": []}
    words = iter(args)
    for word in words:
        if word in ("--torch", "--backend"):
            given[word[2:]] = next(words)
        elif word == "--index-url":
            given["index_urls"] = (next(words),)
        elif word == "--pre":
            given["pre"] = True
        else:
            given["packages"].append(next(words) if word == "--only" else word)
    given["packages"] = tuple(given["packages"]) or FAMILY
    return given


def wrong(case: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """Give everything that is wrong with a plan for a case."""
    expected = [case["expect"], *case["expect"].get("or", ())]
    misses = [list(unmet({**case["expect"], **one}, plan)) for one in expected]
    best = [] if any(not m for m in misses) else min(misses, key=len)
    return [*best, *broken(case["facts"], case["args"], plan)]


def unmet(expect: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    """Give what a plan lacks of one acceptable answer."""
    codes = {key: {note["code"] for note in plan[key]} for key in ("warnings", "blockers")}
    if (plan["backend"] is None) != (expect["backend"] is None) or (
        expect["backend"] and plan["backend"] not in expect["backend"]
    ):
        yield f"backend {plan['backend']}, not {expect['backend']}"
        return
    version = (plan["packages"].get("torch") or "").partition("+")[0]
    if expect["torch"] and (not version or Version(version) not in SpecifierSet(expect["torch"])):
        yield f"torch {version}, not {expect['torch']}"
    for wanted in expect["warnings"]:
        if not codes["warnings"] & set(wanted.split("|")):
            yield f"no warning {wanted} in {sorted(codes['warnings'])}"
    if expect["blockers"] and not codes["blockers"] & set(expect["blockers"]):
        yield f"no blocker of {expect['blockers']} in {sorted(codes['blockers'])}"
    audio = "present" if plan["packages"].get("torchaudio") else "absent"
    if expect.get("torchaudio", "either") not in ("either", audio):
        yield f"torchaudio is {audio}"
    text = json.dumps([plan["warnings"], plan["blockers"], plan["reasons"]])
    yield from (f"nothing mentions {word!r}" for word in expect.get("mentions", ()) if word not in text)
    if not (plan["index_url"] or "").startswith(expect.get("index", "")):
        yield f"index {plan['index_url']}, not {expect['index']}"


def broken(facts: Mapping[str, Any], args: Iterable[str], plan: Mapping[str, Any]) -> Iterator[str]:
    """Give the invariants that a plan breaks; needs no expectation."""
    if not plan["reasons"]:
        yield "no reason"
    for note in (*plan["warnings"], *plan["blockers"]):
        if not note.get("code") or not note.get("message"):
            yield f"a note without code or message: {note}"
    yield from (f"a rejection without reason: {r}" for r in plan["rejected"] if not r.get("reason"))
    planned = {name: version for name, version in plan["packages"].items() if version}
    if (plan["backend"] is None) != bool(plan["blockers"]):
        yield "blocked and planned at once, or neither"
    if plan["blockers"]:
        if planned or plan["command"]:
            yield "a blocked plan installs something"
        return
    given = arguments(args)
    yield from _honoured(given, plan, planned)
    yield from _published(facts, plan, planned)
    yield from _paired(plan, planned)
    yield from _complete(facts, given, plan, planned)
    yield from _command(facts, given, plan, planned)


def _honoured(given: Mapping[str, Any], plan: Mapping[str, Any], planned: Mapping[str, str]) -> Iterator[str]:
    if given.get("backend", "auto") not in ("auto", plan["backend"]):
        yield f"--backend {given['backend']} became {plan['backend']}"
    if given.get("torch") and "torch" in planned and not planned["torch"].startswith(given["torch"]):
        yield f"--torch {given['torch']} became {planned['torch']}"
    if set(plan["packages"]) - set(given["packages"]):
        yield "a package that was not asked for"


def _published(facts: Mapping[str, Any], plan: Mapping[str, Any], planned: Mapping[str, str]) -> Iterator[str]:
    backend, system = plan["backend"], facts.get("system", {})
    os, machine = system.get("os"), system.get("machine")
    if os == "macos" and (backend not in ("cpu", "mps") or any("+" in v for v in planned.values())):
        yield f"{backend} or a label on macOS"
    if os != "macos" and backend == "mps" and os:
        yield f"mps on {os}"
    if os == "windows" and backend.startswith("rocm") and "amd.com" not in plan["index_url"]:
        yield "rocm on Windows"
    if machine == "aarch64" and (backend.startswith("rocm") or backend == "xpu"):
        yield f"{backend} on aarch64"
    yield from (
        f"{n} {v} is not for {backend}" for n, v in planned.items() if "+" in v and not v.endswith(f"+{backend}")
    )
    if "torch" in planned:
        yield from _released(facts, backend, Version(planned["torch"].partition("+")[0]))


def _released(facts: Mapping[str, Any], backend: str, torch: Version) -> Iterator[str]:
    system, python = facts.get("system", {}), facts.get("python", {})
    os, machine = system.get("os"), system.get("machine")
    if backend in RANGES and torch not in SpecifierSet(RANGES[backend]):
        yield f"torch {torch} was never built for {backend}"
    short = ".".join((python.get("version") or "").split(".")[:2])
    if short in ENDS and torch not in SpecifierSet(ENDS[short]):
        yield f"torch {torch} has no wheel for Python {short}"
    if python.get("free_threaded") and short == "3.13" and torch > Version("2.12.0"):
        yield f"torch {torch} has no wheel for Python 3.13t"
    glibc = re.search(r"glibc (\d+)\.(\d+)", system.get("libc") or "")
    newest = Version("2.5.1" if machine == "aarch64" else "2.6.0")
    if os == "linux" and glibc and tuple(map(int, glibc.groups())) < (2, 28) and torch > newest:
        yield f"torch {torch} needs a newer glibc"
    if os == "macos" and machine == "x86_64" and torch > Version("2.2.2"):
        yield f"torch {torch} has no wheel for Intel Macs"


def _paired(plan: Mapping[str, Any], planned: Mapping[str, str]) -> Iterator[str]:
    if "torch" not in planned:
        return
    torch, vision, audio = (planned.get(name, "").partition("+")[0] for name in FAMILY)
    if vision and Version(torch) not in SpecifierSet(VISION[vision]):
        yield f"torchvision {vision} does not go with torch {torch}"
    if audio == "2.11.0":
        if Version(torch) < Version("2.11") or plan["backend"] == "cu132":
            yield f"torchaudio {audio} does not go with torch {torch} on {plan['backend']}"
    elif audio and audio not in (torch, {"2.0.0": "2.0.1", "2.0.1": "2.0.2"}.get(torch)):
        yield f"torchaudio {audio} does not go with torch {torch}"


def _complete(
    facts: Mapping[str, Any], given: Mapping[str, Any], plan: Mapping[str, Any], planned: Mapping[str, str]
) -> Iterator[str]:
    text = " ".join(w["message"] for w in plan["warnings"])
    version = facts.get("python", {}).get("version") or ""
    usual = version and not version.startswith("3.15")
    for package in given["packages"]:
        if package in planned:
            continue
        if package not in text:
            yield f"{package} is left out in silence"
        if package == "torchaudio" and plan["backend"] in WITH_AUDIO and usual:
            yield f"torchaudio is dropped on {plan['backend']}"
        if package == "torchvision" and version != "3.14.1":
            yield "torchvision is dropped"


def _command(
    facts: Mapping[str, Any], given: Mapping[str, Any], plan: Mapping[str, Any], planned: Mapping[str, str]
) -> Iterator[str]:
    command, backend = plan["command"], plan["backend"]
    pins = {word.partition("==")[0]: word.partition("==")[2] for word in command if "==" in word}
    if pins != planned:
        yield f"the command installs {pins}, planned is {dict(planned)}"
    if "torchcheck" in command:
        yield "the command installs a package called torchcheck"
    urls = [plan["index_url"], *(w for w in command if "://" in w)]
    yield from (f"{url} is not https" for url in urls if urlsplit(url).scheme != "https")
    if "--extra-index-url" in command:
        yield "--extra-index-url"
    apple = any(gpu.get("vendor") == "apple" for gpu in facts.get("gpus") or ())
    mac = facts.get("system", {}).get("os", "macos" if apple else "") == "macos" or backend == "mps"
    for url in urls:
        last = url.rstrip("/").rpartition("/")[2]
        if last not in (backend, "simple") and not (mac and last == "cpu"):
            yield f"{url} does not lead to {backend}"
    if given.get("index_urls") and not all(url.startswith(given["index_urls"][0]) for url in urls):
        yield "the mirror is not used"


def main(paths: list[Path]) -> int:
    """Print the score and each case that is wrong."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from torchcheck.facts import from_json
    from torchcheck.wheels.plan import Request, plan

    failed = 0
    for path in paths:
        cases = load(path)
        faults = {
            c["id"]: wrong(c, plan(from_json(c["facts"]), Request(**arguments(c["args"]))).as_json()) for c in cases
        }
        failed += sum(map(bool, faults.values()))
        print(f"{path.name}: {sum(not f for f in faults.values())} of {len(cases)} right")
        print("".join(f"  {name}: {'; '.join(found)}\n" for name, found in faults.items() if found), end="")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main([Path(a) for a in sys.argv[1:]] or sorted(CASES.glob("*.jsonl"))))
