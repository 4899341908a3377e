"""Why nothing can be planned: blockers, each with what to do about it (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import Build, kind, toolkit
from torchcheck.wheels.candidates import Candidate
from torchcheck.wheels.explain import KINDS
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.request import without_password
from torchcheck.wheels.rules import DEPTH, Situation, list_of

Blocker = dict[str, str]
IMPLEMENTATIONS = {"pypy": "PyPy", "graalpy": "GraalPy"}
SYSTEMS = {"macos": "macOS", "windows": "Windows", "linux": "Linux"}


def gates(situation: Situation) -> list[Blocker]:
    """Give what stops every build at once: the index, the kind of Python, of system, of C library, of processor."""
    machine, python = situation.machine, situation.machine.facts.python
    found: list[Blocker] = []
    if url := situation.request.insecure:
        text = f"{url} is not an https address; wheels from it could be exchanged on the way."
        found.append(_blocker("wrong-index", text, "Give the mirror's https:// address."))
    if machine.rosetta:
        found.append(_blocker("macos-rosetta-python", ROSETTA, ROSETTA_HINT))
    if python.bits == 32:
        text = "This Python is a 32-bit program, and torch has 64-bit wheels only."
        found.append(_blocker("no-wheel-32bit-python", text, _python_hint(machine, "64-bit Python")))
    if machine.musl:
        text = f"This system's C library is musl ({machine.facts.system.libc}), and no torch wheel is built for it."
        hint = "Use an image with glibc: `FROM python:3.13-slim` (Debian) in place of the one with `-alpine`."
        found.append(_blocker("no-wheel-musl", text, hint))
    if str(python.implementation or "cpython").lower() != "cpython":
        name = IMPLEMENTATIONS.get(str(python.implementation).lower(), python.implementation)
        text = f"This Python is {name}; torch has wheels for CPython only."
        found.append(_blocker("no-wheel-for-python", text, _python_hint(machine, "CPython")))
    return [*found, *_platform(situation)]


def _platform(situation: Situation) -> list[Blocker]:
    machine = situation.machine
    if machine.system in catalog.systems() or situation.offers.of("torch"):
        return []
    processor = "Arm" if machine.cpu == "aarch64" else machine.cpu
    hint = "Use a machine with an x86-64 or 64-bit Arm processor, or build torch from source."
    if machine.os == "windows":
        hint = "Install the x64 (amd64) Python from python.org, which Windows on Arm runs too, and make a venv with it."
    text = f"There is no torch wheel for {SYSTEMS[machine.os]} on {processor}."
    return [_blocker("no-wheel-arch", text, hint)]


def refused(ordered: list[Candidate], situation: Situation) -> list[Blocker]:
    """Say why no candidate is left: what stops the nearest ones, or which part of the request was never built."""
    request = situation.request
    kinds = {a.kind for a in situation.machine.accelerators if a.supported}
    wanted = [c for c in ordered if request.wants(c.torch.version) and request.wants_backend(c.torch.backend)]
    if request.torch and request.backend == "auto" and kinds:
        # With a GPU to serve, a build for something else is no answer to why this release does not.
        wanted = [c for c in wanted if kind(c.torch.backend) in kinds]
    elif request.backend == "auto":
        wanted = [c for c in wanted if kind(c.torch.backend) in {*kinds, "cpu", "mps"}]
    failed = [c for c in wanted if c.refusal]
    if not failed:
        return _unbuilt(situation, kinds)
    deepest = max(DEPTH[c.refusal.rule] for c in failed if c.refusal)
    return _by_code([c for c in failed if c.refusal and DEPTH[c.refusal.rule] == deepest], situation)


def _by_code(failed: list[Candidate], situation: Situation) -> list[Blocker]:
    found: dict[str, Blocker] = {}
    machine, request = situation.machine, situation.request
    for candidate in failed:
        torch, refusal = candidate.torch, candidate.refusal
        code = refusal.code if refusal else "no-such-build"
        if code == "no-wheel-for-python" and machine.system == "macos_x86_64":
            code = "no-wheel-macos-intel"
        if refusal and code not in found:
            text = f"torch {torch.version} for {torch.backend} {refusal.reason}."
            found[code] = _blocker(code, text, _hint(code, situation))
    unfit = {"no-wheel-for-python": machine.python_name, "glibc-too-old": "so old a glibc"}
    unfit["mps-macos-too-old"] = f"macOS {machine.facts.system.version}"
    if (code := next(iter(found))) in unfit and (request.torch or request.backend != "auto"):
        text = f"What was asked for ({_pinned(situation)}) was never built for {unfit[code]}."
        found["no-such-build"] = _blocker("no-such-build", text, _without(situation))
    return list(found.values())


def _hint(code: str, situation: Situation) -> str:
    if code in ("no-wheel-for-python", "no-wheel-macos-intel"):
        return _python_hint(situation.machine, "Python")
    if code == "no-such-build" and situation.offers.constraints:
        return "Change or remove the constraints that pip is configured with: `python -m pip config list` shows them."
    return HINTS.get(code, _without(situation)).format(without=_without(situation))


def _without(situation: Situation) -> str:
    return f"`torchcheck plan` without {_pinned(situation)} shows what fits."


def _pinned(situation: Situation) -> str:
    request = situation.request
    parts = [f"--torch {request.torch}"] if request.torch else []
    parts += [f"--backend {request.backend}"] if request.backend != "auto" else []
    return " and ".join(parts) or "these options"


def _unbuilt(situation: Situation, kinds: set[str]) -> list[Blocker]:
    """Say which part of a request was never built for this platform."""
    request, machine, builds = situation.request, situation.machine, situation.offers.of("torch")
    if not builds:
        system = machine.system.replace("_", " ", 1)
        text = f"{without_password(situation.offers.root)} has wheels of torch, and none for {system}."
        return [_blocker("no-such-build", text, "Ask another index, or the PyTorch index itself (no --index-url).")]
    place = f"{SYSTEMS[machine.os]}{' on Arm' if machine.system == 'linux_aarch64' else ''}"
    family = kind(request.backend)
    if request.backend != "auto" and family not in {kind(b.backend) for b in builds}:
        return _foreign(situation, family, place)
    having = [b for b in builds if request.wants_backend(b.backend)]
    if not having:
        known = list_of(_backends(b for b in builds if kind(b.backend) == family))
        text = f"torch was never built for {request.backend} on {place}; there is {known}."
        return [_blocker("no-such-build", text, _without(situation))]
    newest, oldest = max(having, key=lambda b: b.release), min(having, key=lambda b: b.release)
    there = [b for b in builds if request.wants(b.version)]
    if not there:
        text = f"There is no torch {request.torch} for {place}; known are {oldest.version} to {newest.version}."
        hint = "`torchcheck plan --refresh` asks the index for releases that this torchcheck does not know yet."
    elif request.backend != "auto":
        text = f"torch {request.torch} was never built for {request.backend}"
        text += f", which has {oldest.version} to {newest.version}"
        text, hint = f"{text}; it is there for {list_of(_backends(there))}.", _without(situation)
    else:
        names = " or ".join(KINDS[k] for k in sorted(kinds))
        text = f"torch {request.torch} has no {names} build for {place}, and would leave the GPU idle"
        text = f"{text}; it is there for {list_of(_backends(there))}."
        hint = "Leave out --torch for the newest that uses the GPU, or add `--backend cpu`."
    found = [_blocker("no-such-build", text, hint)]
    if machine.system == "macos_x86_64":
        last = f"`torchcheck install --torch {newest.version}` with Python 3.8 to 3.12."
        found.append(
            _blocker("no-wheel-macos-intel", f"Wheels for Intel Macs ended with torch {newest.version}.", last)
        )
    return found


def _foreign(situation: Situation, family: str, place: str) -> list[Blocker]:
    """Say that a kind of backend does not exist on this platform."""
    backend, mac = situation.request.backend, situation.machine.os == "macos"
    text = f"The index {backend} has nothing for {place}: there is no {KINDS[family]} build of torch for it."
    hint = "Use `--backend mps` or `--backend cpu`." if mac else _without(situation)
    found = [_blocker("wrong-index", text, hint)]
    if not mac:
        found.append(_blocker("no-such-build", f"torch was never built for {backend} on {place}.", hint))
    return found


def unmatched(torch: Build, situation: Situation) -> list[Blocker]:
    """Say how a request contradicts the torch that is installed and stays."""
    request = situation.request
    hint = "Ask for torch as well, so that all three are exchanged together."
    found = []
    if not request.wants(torch.version):
        text = f"torch {torch.pin} is installed, not {request.torch}, and torch itself was not asked for."
        found.append(_blocker("companion-mismatch", text, hint))
    if not request.wants_backend(torch.backend):
        text = f"The installed torch {torch.pin} is for {torch.backend}, not for {request.backend}."
        found.append(_blocker("companion-mismatch", text, hint))
    return found


def nothing_goes_with(reasons: Iterable[str]) -> list[Blocker]:
    """Say that no companion goes with the torch that is installed."""
    hint = "Ask for all three, so that torch is chosen to match: `torchcheck install`."
    return [_blocker("no-such-build", f"{reason[:1].upper()}{reason[1:]}.", hint) for reason in reasons]


def _backends(builds: Iterable[Build]) -> list[str]:
    return sorted({b.backend for b in builds}, key=lambda b: (kind(b), toolkit(b)))


def _python_hint(machine: Machine, what: str) -> str:
    system = machine.system if machine.system in catalog.systems() else "linux_x86_64"
    minors = [int(tag[3:]) for tag in catalog.pythons(system) if tag[3:].isdigit()]
    pick = f"3.{sorted(minors)[len(minors) // 2]}"
    make = f"py -{pick} -m venv .venv" if machine.os == "windows" else f"python{pick} -m venv .venv"
    return f"Install {what} 3.{min(minors)} to 3.{max(minors)} and make an environment with it: `{make}`."


def _blocker(code: str, message: str, hint: str) -> Blocker:
    return {"code": code, "message": message, "hint": hint}


ROSETTA = (
    "This Python is built for Intel Macs and runs through Rosetta; torch for it ends with 2.2.2 and never sees the GPU."
)
ROSETTA_HINT = (
    "Install a Python for Apple Silicon (python.org, or Homebrew in /opt/homebrew: `brew install python@3.13`), then "
    "make the environment anew."
)
HINTS = {
    "glibc-too-old": "Use a newer distribution (RHEL 8, Debian 10, Ubuntu 20.04 or later), or a container of one.",
    "driver-too-old": "Update NVIDIA's driver (https://www.nvidia.com/drivers), or: {without}",
    "gpu-arch-too-new": "A newer torch runs this GPU: {without}",
    "gpu-arch-dropped": "An older torch may run this GPU: {without} `--backend cpu` runs on the processor.",
    "jetson-generic-wheel": "Take NVIDIA's wheel for this JetPack, or `--backend cpu`.",
    "rocm-arch-unsupported": "`--backend cpu` runs on the processor.",
    "mps-macos-too-old": "Update macOS.",
}
