"""The words of a plan: why this installation, and why not the others (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from torchcheck.facts import UNKNOWN
from torchcheck.wheels import catalog
from torchcheck.wheels.builds import PYTORCH, Build, kind, toolkit
from torchcheck.wheels.candidates import Candidate, left_out, metal, worth
from torchcheck.wheels.rules import Situation, list_of

Note = dict[str, str]
KINDS = {"cuda": "CUDA", "rocm": "ROCm", "xpu": "XPU (Intel)", "mps": "MPS (Apple)", "cpu": "CPU"}
SHOWN = 3
"""So many backends of one kind are shown that are rejected by the same rule, the newest first."""


def reasons(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool) -> list[str]:
    """Say why this installation was chosen, the accelerator first."""
    found = [*_assumptions(situation)]
    if installed:
        return [*found, f"torch {chosen.torch.pin} is installed here; what is asked for is chosen to go with it."]
    found += [*_accelerator(chosen, situation), *_release(chosen, situation, ordered), *_trio(chosen)]
    return [*found, *_origin(chosen, situation)]


def _assumptions(situation: Situation) -> Iterator[str]:
    facts, machine = situation.machine.facts, situation.machine
    if not facts.system.os or not facts.system.machine:
        yield f"The facts do not say which system this is; {machine.system} is assumed."
    if machine.python is None:
        yield "The facts do not say which Python this is; one that the newest torch has wheels for is assumed."
    if facts.gpus is UNKNOWN and not machine.accelerators:
        yield "The facts do not say which GPUs there are; none is assumed."


def _accelerator(chosen: Candidate, situation: Situation) -> Iterator[str]:
    torch, machine, family = chosen.torch, situation.machine, kind(chosen.torch.backend)
    if situation.request.backend != "auto":
        yield f"{torch.backend} was asked for."
    gone = left_out(chosen, situation)
    mine = [a for a in machine.of(family) if a.supported and a not in gone]
    names = list_of(a.described for a in mine)
    if family == "cuda" and mine:
        yield f"{names}: torch {torch.version} for {torch.backend} has kernels for {_them(mine)} ({_kernels(torch)})."
        yield from _driver(torch, situation)
    elif family == "rocm" and mine:
        yield f"{names}: torch {torch.version} for {torch.backend} has kernels for it; the wheels bring ROCm along."
    elif family == "xpu" and mine:
        yield f"{names} is among the Intel GPUs that PyTorch's XPU build serves."
    elif family == "mps" and metal(torch, situation):
        yield "Apple Silicon: PyPI's macOS wheel uses the GPU through Metal (MPS)."
    elif family == "cpu" and situation.request.backend == "auto":
        yield _processor(situation)
    others = [a for a in machine.accelerators if a.kind != family and a.supported]
    if others and family in ("cuda", "rocm", "xpu") and machine.os != "macos":
        why = f"one torch serves the GPUs of one maker, and {KINDS[family]} goes first here"
        yield f"{others[0].name} is not used: {why}."


def _them(mine: Sequence[object]) -> str:
    return "it" if len(set(map(str, mine))) == 1 else "all of them"


def _kernels(torch: Build) -> str:
    return " ".join(torch.kernels) if torch.kernels else "which, is not known"


def _driver(torch: Build, situation: Situation) -> Iterator[str]:
    floor = catalog.driver_floor(torch.backend, windows=situation.machine.windows_driver)
    have, major = situation.machine.driver_text, toolkit(torch.backend)[0]
    if have and floor:
        yield f"NVIDIA driver {have} reaches {floor}, the oldest for CUDA {major}; any CUDA {major}.x runs on it."
    elif floor:
        yield f"The driver's version is not known; {floor} or newer is assumed."
    if libraries := catalog.libraries(torch.backend, torch.system):
        yield f"NVIDIA's libraries come along as wheels of their own ({libraries / 1e9:.1f} GB)."


def _processor(situation: Situation) -> str:
    found = situation.machine.accelerators if situation.machine.os != "macos" else ()
    if not found:
        return "No GPU that torch can use: the CPU build is the right one, and the smallest."
    return f"No build of torch can use {found[0].name} here, so torch will run on the processor."


def _release(chosen: Candidate, situation: Situation, ordered: list[Candidate]) -> Iterator[str]:
    torch = chosen.torch
    if situation.request.torch:
        yield f"torch {torch.version} is the newest that --torch {situation.request.torch} allows here."
        return
    family = kind(torch.backend)
    newer = [c for c in ordered if c.torch.release > torch.release and kind(c.torch.backend) == family]
    newer = [c for c in newer if situation.request.wants_backend(c.torch.backend)]
    if not newer:
        where = "what pip is configured with has" if situation.offers.source == "pip" else "there is"
        served = KINDS[family] if situation.request.backend == "auto" else torch.backend
        yield f"torch {torch.version} is the newest release that {where} for {served}."
        return
    best = max(newer, key=lambda c: (c.torch.release, c.torch.backend == torch.backend, c.refusal is None))
    yield f"Not torch {best.torch.version}: {_why_not(best, chosen, situation)}"


def _trio(chosen: Candidate) -> Iterator[str]:
    if chosen.companions:
        names = " and ".join(f"{b.package} {b.version}" for b in chosen.companions)
        where = f" on {chosen.torch.backend}" if chosen.torch.label else ""
        yield f"{names} {'belong' if len(chosen.companions) > 1 else 'belongs'} to torch {chosen.torch.version}{where}."
    for missing in chosen.missing:
        yield f"Without {missing.package}: {missing.reason}."


def _origin(chosen: Candidate, situation: Situation) -> Iterator[str]:
    offers = situation.offers
    if offers.source == "catalog":
        yield f"Planned from the built-in catalog of {catalog.date()}; `torchcheck plan --refresh` asks the index."
    elif offers.source == "cache":
        yield f"Planned from what was last read from the index, at {offers.asked}; `--refresh` asks it again."
    elif offers.source == "index":
        yield f"The index was read at {offers.asked}."
    if chosen.torch.system.startswith("macos") and not chosen.torch.label:
        yield "Wheels for macOS carry no label like +cpu."
    if offers.root != PYTORCH and offers.source != "pip":
        yield "The mirror that was given takes the place of the PyTorch index."


def rejections(chosen: Candidate | None, ordered: list[Candidate], situation: Situation) -> list[Note]:
    """Say why not the alternatives: per backend and rule the newest release, and of many backends the newest few."""
    found: dict[tuple[str, str], Note] = {}
    shown: Counter[tuple[str, str]] = Counter()
    # One release may be several builds that differ by the oldest system; one without this Python says nothing then.
    fitting = {(c.torch.version, c.torch.backend) for c in ordered if not c.refusal or c.refusal.rule != "python"}
    ordered = [c for c in ordered if not _of_python(c) or (c.torch.version, c.torch.backend) not in fitting]
    newest_first = sorted(ordered, key=lambda c: (c.torch.release, toolkit(c.torch.backend)), reverse=True)
    for candidate in newest_first:
        torch, rule = candidate.torch, candidate.refusal.rule if candidate.refusal else "second"
        group = kind(torch.backend), rule
        if (torch.backend, rule) in found or not _telling(candidate, chosen) or shown[group] >= _limit(rule):
            continue
        shown[group] += 1
        reason = _why_not(candidate, chosen, situation)
        found[torch.backend, rule] = {"backend": torch.backend, "torch": torch.version, "reason": reason}
    return list(found.values())


def _of_python(candidate: Candidate) -> bool:
    return candidate.refusal is not None and candidate.refusal.rule == "python"


def _limit(rule: str) -> int:
    return 1 if rule in ("vendor", "python", "system", "pip") else SHOWN


def _telling(candidate: Candidate, chosen: Candidate | None) -> bool:
    """Say whether somebody would ask "why not this one?": not what was not asked for, nor what is only older."""
    if candidate.refusal and candidate.refusal.rule == "asked":
        return False
    if chosen is None:
        return candidate.refusal is not None
    older = candidate.torch.release < chosen.torch.release
    return candidate is not chosen and not (older and candidate.refusal and candidate.refusal.rule == "python")


def _why_not(candidate: Candidate, chosen: Candidate | None, situation: Situation) -> str:
    """Say why not another candidate: why it is refused, or what the chosen one has before it."""
    torch = candidate.torch
    name = f"torch {torch.version} for {torch.backend}"
    if candidate.refusal and not _shared(candidate, chosen):
        return f"{name} {candidate.refusal.reason}."
    if chosen is None:
        return f"{name} would leave the GPU of this machine idle."
    if worth(torch, situation) < worth(chosen.torch, situation):
        idle = situation.machine.of(kind(chosen.torch.backend))
        return f"{name} would leave {idle[0].name if idle else 'the GPU'} idle."
    gone = [a for a in left_out(candidate, situation) if a not in left_out(chosen, situation)]
    if gone:
        return f"{name} has no kernels for {list_of(a.described for a in gone)}."
    lost = [m for m in candidate.missing if m.package not in {n.package for n in chosen.missing}]
    if lost:
        return f"{name} would be incomplete: {'; '.join(m.reason for m in lost)}."
    if torch.release < chosen.torch.release:
        return f"{name} works here too, and torch {chosen.torch.version} is newer."
    return f"{name} works here too; {chosen.torch.backend} is preferred, being {_preferred(candidate, chosen)}."


def _shared(candidate: Candidate, chosen: Candidate | None) -> bool:
    """Say whether the chosen one has the same fault: then it is no reason against the other."""
    return bool(chosen and chosen.refusal and candidate.refusal and chosen.refusal.rule == candidate.refusal.rule)


def _preferred(candidate: Candidate, chosen: Candidate) -> str:
    if candidate.torch.experimental and not chosen.torch.experimental:
        return "what PyTorch calls stable"
    newer = toolkit(chosen.torch.backend) > toolkit(candidate.torch.backend)
    return "the newer toolkit" if newer else "the one that has the whole family"
