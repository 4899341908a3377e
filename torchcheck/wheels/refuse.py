"""Why nothing can be planned: blockers with what to do about each (pure)."""

from __future__ import annotations

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import Build, kind, parse, toolkit
from torchcheck.wheels.candidates import Candidate
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.rules import RULES, Situation

Blocker = dict[str, str]
ORDER = {
    name: place
    for place, name in enumerate(("asked", "pip", "python", "system", "cpu", "vendor", "usable", "kernels", "driver"))
}
PLAIN = {"cuda": "CUDA", "rocm": "ROCm", "xpu": "XPU", "mps": "MPS", "cpu": "CPU"}


def gates(situation: Situation) -> list[Blocker]:
    """Give what stops every build at once: the kind of Python, of system, of C library, of processor, of index."""
    machine, facts = situation.machine, situation.machine.facts
    found: list[Blocker] = []
    if url := situation.request.insecure:
        message = f"{url} is not an https address; wheels from it could be exchanged on the way."
        found.append(_blocker("wrong-index", message, "Give the mirror's https:// address."))
    if machine.rosetta:
        message = "This Python is built for Intel and runs through Rosetta; its torch would end at 2.2.2 and never see the GPU."
        hint = "Install a Python for Apple Silicon (python.org universal2, or `brew install python@3.13` in /opt/homebrew), then make the environment anew."
        found.append(_blocker("macos-rosetta-python", message, hint))
    if facts.python.bits == 32:
        found.append(
            _blocker(
                "no-wheel-32bit-python",
                "This Python is a 32-bit program, and torch has 64-bit wheels only.",
                _python_hint(machine, "64-bit "),
            )
        )
    if machine.musl:
        message = f"This system's C library is musl ({facts.system.libc}), and no torch wheel is built for it."
        found.append(
            _blocker(
                "no-wheel-musl",
                message,
                "Use an image with glibc: `FROM python:3.13-slim` (Debian) instead of `-alpine`.",
            )
        )
    name = str(facts.python.implementation or "cpython").lower()
    if name != "cpython":
        message = f"This Python is {facts.python.implementation}; torch has wheels for CPython only."
        found.append(_blocker("no-wheel-for-python", message, _python_hint(machine, "CPython ")))
    if not found or machine.cpu not in ("x86_64", "aarch64"):
        found += _platform(situation)
    return found


def _platform(situation: Situation) -> list[Blocker]:
    machine = situation.machine
    if machine.system in catalog.systems() or situation.offers.of("torch"):
        return []
    named = f"{machine.os.capitalize() if machine.os != 'macos' else 'macOS'} on {machine.cpu if machine.cpu != 'aarch64' else 'Arm (arm64)'}"
    hint = "Use a machine with an x86-64 or 64-bit Arm processor, or build torch from source."
    if machine.os == "windows":
        hint = "Install the 64-bit x64 (amd64) Python from python.org, which Windows on Arm runs by emulation: `py install 3.13-64`."
    return [_blocker("no-wheel-arch", f"There is no torch wheel for {named}.", hint)]


def refused(ordered: list[Candidate], situation: Situation) -> list[Blocker]:
    """Say why no candidate is left, for a request that leaves some choice or none."""
    request, machine = situation.request, situation.machine
    wanted = [c for c in ordered if request.wants(c.torch.version) and request.wants_backend(c.torch.backend)]
    kinds = {a.kind for a in machine.accelerators if a.supported}
    wanted = [
        c for c in wanted if request.backend != "auto" or not request.torch or kind(c.torch.backend) in kinds
    ] or ([] if _gpu_pinned(situation, kinds) else wanted)
    failed = [c for c in wanted if c.refusal]
    if not failed:
        return _unbuilt(situation, kinds)
    deepest = max(ORDER[c.refusal.rule] for c in failed if c.refusal)
    last = [c for c in failed if c.refusal and ORDER[c.refusal.rule] == deepest]
    return _by_code(last, situation)


def _gpu_pinned(situation: Situation, kinds: set[str]) -> bool:
    return bool(situation.request.torch and situation.request.backend == "auto" and kinds)


def _by_code(failed: list[Candidate], situation: Situation) -> list[Blocker]:
    found: dict[str, Blocker] = {}
    for candidate in failed:
        refusal, torch = candidate.refusal, candidate.torch
        if refusal and refusal.code not in found:
            message = f"torch {torch.version} for {torch.backend} {refusal.reason}."
            found[refusal.code] = _blocker(
                _mac_code(refusal.code, situation), message, _hint(refusal.code, torch, situation)
            )
    asked = situation.request.torch or situation.request.backend != "auto"
    if asked and "no-wheel-for-python" in found:
        found["no-such-build"] = _blocker(
            "no-such-build",
            f"What was asked for was never built for {situation.machine.python_name}.",
            _hint("no-such-build", failed[0].torch, situation),
        )
    return list(found.values())


def _mac_code(code: str, situation: Situation) -> str:
    intel = situation.machine.system == "macos_x86_64"
    return "no-wheel-macos-intel" if code == "no-wheel-for-python" and intel else code


def _hint(code: str, torch: Build, situation: Situation) -> str:
    machine = situation.machine
    hints = {
        "no-wheel-for-python": _python_hint(machine, ""),
        "glibc-too-old": "Use a newer distribution (RHEL 8, Debian 10, Ubuntu 20.04 or later) or a container of one.",
        "driver-too-old": f"Update NVIDIA's driver, or leave the choice to torchcheck: `torchcheck plan` without {_pinned(situation)}.",
        "gpu-arch-too-new": f"Take a newer torch: `torchcheck plan` without {_pinned(situation)} finds one that runs this GPU.",
        "gpu-arch-dropped": f"Take an older torch: `torchcheck plan` without {_pinned(situation)} finds one that runs this GPU, or `--backend cpu`.",
        "jetson-generic-wheel": "Take NVIDIA's wheel for this JetPack, or `--backend cpu`.",
        "rocm-arch-unsupported": "`--backend cpu` runs on the processor.",
        "backend-mismatch": f"`torchcheck plan` without {_pinned(situation)} finds the build for this GPU; `--backend cpu` runs anywhere.",
        "mps-macos-too-old": "Update macOS.",
    }
    if code == "no-such-build" and situation.offers.constraints and not situation.request.torch:
        return "Change or remove the constraints that pip is configured with (`pip config list`)."
    return hints.get(code, f"`torchcheck plan` without {_pinned(situation)} shows what fits.")


def _pinned(situation: Situation) -> str:
    request = situation.request
    parts = [f"--torch {request.torch}"] if request.torch else []
    parts += [f"--backend {request.backend}"] if request.backend != "auto" else []
    return " and ".join(parts) or "these options"


def _unbuilt(situation: Situation, kinds: set[str]) -> list[Blocker]:
    """Say which part of a request was never built."""
    request, machine = situation.request, situation.machine
    builds = situation.offers.of("torch")
    place = {"macos": "macOS", "windows": "Windows", "linux": "Linux"}[machine.os] + (
        " on Arm" if machine.cpu == "aarch64" and machine.os != "macos" else ""
    )
    hint = f"`torchcheck plan` without {_pinned(situation)} shows what fits."
    family, here = kind(request.backend), {kind(b.backend) for b in builds}
    if request.backend != "auto" and family not in here:
        message = f"There is no {PLAIN.get(family, family)} build of torch for {place}; the index {request.backend} has nothing for it."
        found = [
            _blocker(
                "wrong-index", message, "Use `--backend mps` or `--backend cpu`." if machine.os == "macos" else hint
            )
        ]
        return (
            found
            if machine.os == "macos"
            else [*found, _blocker("no-such-build", f"torch was never built for {request.backend} on {place}.", hint)]
        )
    versions = _newest_first(b for b in builds if request.wants_backend(b.backend))
    if not versions:
        known = ", ".join(
            dict.fromkeys(
                b.backend
                for b in sorted(builds, key=lambda b: (kind(b.backend), toolkit(b.backend)))
                if kind(b.backend) == family
            )
        )
        return [
            _blocker(
                "no-such-build", f"torch was never built for {request.backend} on {place}; there are {known}.", hint
            )
        ]
    there = dict.fromkeys(b.backend for b in builds if request.wants(b.version))
    found = []
    if not there:
        message = f"There is no torch {request.torch} for {place}; the newest that is known is {versions[0]}, the oldest {versions[-1]}."
        found.append(
            _blocker(
                "no-such-build",
                message,
                "`torchcheck plan --refresh` asks the index for releases that are newer than this torchcheck.",
            )
        )
    elif request.backend != "auto":
        message = f"torch {request.torch} was never built for {request.backend}, which has {versions[-1]} to {versions[0]}; it is there for {', '.join(there)}."
        found.append(_blocker("no-such-build", message, hint))
    else:
        names = " or ".join(PLAIN[k] for k in sorted(kinds) if k in PLAIN)
        message = f"torch {request.torch} has no {names} build for this machine, and would leave its GPU idle; it is there for {', '.join(there)}."
        found.append(
            _blocker(
                "no-such-build", message, f"Leave out --torch for the newest that uses the GPU, or add `--backend cpu`."
            )
        )
    if machine.system == "macos_x86_64" and request.torch:
        found.append(
            _blocker(
                "no-wheel-macos-intel",
                f"Wheels for Intel Macs ended with torch {versions[0]}.",
                f"`torchcheck install --torch {versions[0]}` on Python 3.8 to 3.12.",
            )
        )
    return found


def unmatched(torch: Build, situation: Situation) -> list[Blocker]:
    """Say how a request contradicts the torch that is installed and stays."""
    request = situation.request
    hint = "Ask for torch as well, so that all three are exchanged together."
    found = []
    if not request.wants(torch.version):
        found.append(
            _blocker(
                "companion-mismatch",
                f"torch {torch.pin} is installed, not {request.torch}, and torch itself was not asked for.",
                hint,
            )
        )
    if not request.wants_backend(torch.backend):
        found.append(
            _blocker(
                "companion-mismatch",
                f"The installed torch {torch.pin} is for {torch.backend}, not {request.backend}.",
                hint,
            )
        )
    return found


def _newest_first(builds: object) -> list[str]:
    return sorted({b.version for b in builds}, key=parse, reverse=True)  # type: ignore[attr-defined]


def _python_hint(machine: Machine, what: str) -> str:
    tags = [
        t
        for t in catalog.pythons(machine.system if machine.system in catalog.systems() else "linux_x86_64")
        if t.startswith("cp") and not t.endswith("t")
    ]
    usual = [f"3.{t[3:]}" for t in tags if t[3:].isdigit()] or ["3.13"]
    pick = "3.13" if "3.13" in usual else usual[-1]
    make = f"`py -{pick} -m venv .venv`" if machine.os == "windows" else f"`python{pick} -m venv .venv`"
    return f"Install a {what}Python {usual[0]} to {usual[-1]} and make an environment with it: {make}."


def _blocker(code: str, message: str, hint: str) -> Blocker:
    return {"code": code, "message": message, "hint": hint}
