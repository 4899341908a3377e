"""Whole installations that could be made: a torch and the companions that go with it, in order of preference (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import FAMILY, Build, allows, kind, numbers, parse, serves_python, toolkit
from torchcheck.wheels.machine import Accelerator
from torchcheck.wheels.rules import Refusal, Situation, has_kernels, judge, list_of

RANKS: Final = {
    ("cuda", False): 6,
    ("mps", True): 6,
    ("rocm", False): 5,
    ("xpu", False): 4,
    ("rocm", True): 3,
    ("xpu", True): 2,
}
"""How much an accelerator is worth, by kind and by whether the processor holds it: discrete GPUs come first."""


@dataclass(frozen=True)
class Missing:
    """A companion that is asked for and has no build that goes with a torch."""

    package: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """One installation: torch, its companions, and why torch is refused here, if it is."""

    torch: Build
    companions: tuple[Build, ...] = ()
    missing: tuple[Missing, ...] = ()
    refusal: Refusal | None = None

    @property
    def builds(self) -> tuple[Build, ...]:
        """Torch and its companions."""
        return (self.torch, *self.companions)


def candidates(situation: Situation) -> list[Candidate]:
    """Give one candidate per build of torch, the best first; refused ones come last."""
    found = [_candidate(torch, situation) for torch in situation.offers.of("torch")]
    return sorted(found, key=lambda c: (c.refusal is None, preference(c, situation)), reverse=True)


def _candidate(torch: Build, situation: Situation) -> Candidate:
    refusal = judge(torch, situation)
    if refusal and not refusal.soft:
        return Candidate(torch, refusal=refusal)
    return beside(torch, situation, refusal)


def beside(torch: Build, situation: Situation, refusal: Refusal | None = None) -> Candidate:
    """Find the companions that are asked for and go with a torch."""
    wanted = [package for package in situation.request.packages if package != "torch"]
    found = [companion(package, torch, situation) for package in wanted]
    builds = tuple(f for f in found if isinstance(f, Build))
    return Candidate(torch, builds, tuple(f for f in found if isinstance(f, Missing)), refusal)


def preference(candidate: Candidate, situation: Situation) -> tuple[Any, ...]:
    """Sort key, greater is better.

    The accelerator first, then how many GPUs of a mixed machine it serves, then a complete trio, then the newest torch;
    among builds of one release what the project calls stable, then the one that has the whole family also where not all
    of it is asked for (somebody may want it later), then the newest toolkit.
    """
    torch = candidate.torch
    cuda = [a for a in situation.machine.of("cuda") if kind(torch.backend) == "cuda"]
    cuda = [a for a in cuda if not a.trouble] or cuda
    return (
        worth(torch, situation),
        tuple(has_kernels(torch, a) for a in cuda),
        len(candidate.companions),
        torch.release,
        torch.kernels is not None,
        not torch.experimental,
        0 if candidate.refusal else _family(torch, situation),
        toolkit(torch.backend),
    )


def _family(torch: Build, situation: Situation) -> int:
    asked = set(situation.request.packages) | {"torch"}
    return sum(isinstance(companion(p, torch, situation), Build) for p in FAMILY if p not in asked)


def worth(torch: Build, situation: Situation) -> int:
    """Rank the accelerator that a build would use; 0 is the processor, -1 hardware that is not here."""
    family = kind(torch.backend)
    if family == "cpu":
        return 0
    if family == "mps":
        # For macOS 12 only torch up to 2.4 has a working MPS; a current torch on the processor is worth more by now.
        current = torch.release >= parse("2.5")
        return RANKS["mps", True] if current and metal(torch, situation) else 1
    usable = [a for a in situation.machine.of(family) if a.supported and not a.trouble]
    usable = [a for a in usable if family == "xpu" or has_kernels(torch, a)]
    return max((RANKS[a.kind, a.integrated] for a in usable if not (a.integrated and _waits(situation))), default=-1)


def metal(torch: Build, situation: Situation) -> bool:
    """Say whether the MPS of a torch works on this macOS."""
    have = situation.machine.oldest
    return have is None or have >= numbers(catalog.mps_floor(torch.version))


def _waits(situation: Situation) -> bool:
    """Say whether a discrete GPU only lacks its driver: then nothing is built around the one in the processor."""
    return any(a.trouble and not a.integrated and a.supported for a in situation.machine.accelerators)


def companion(package: str, torch: Build, situation: Situation) -> Build | Missing:
    """Find the build of a companion that goes with a torch, or say why there is none."""
    here = situation.offers.beside(package, torch)
    pairing = [b for b in here if pairs(b, torch)]
    if not pairing:
        return Missing(package, _unpaired(package, torch, here, situation))
    fitting = [b for b in pairing if not _unfit(b, situation)]
    fitting = [b for b in fitting if not b.release.is_prerelease or torch.release.is_prerelease] or fitting
    if fitting:
        # A newer companion may allow this torch; the one that was built beside it is the one that was tested with it.
        return max(fitting, key=lambda b: (catalog.built_for(package, b.version) == torch.version, b.release))
    newest = max(pairing, key=lambda b: b.release)
    return Missing(package, f"{package} {newest.version} {_unfit(newest, situation)}")


def pairs(build: Build, torch: Build) -> bool:
    """Say whether a companion goes with a torch: by what its metadata require, else by the rule of its package."""
    if build.requires_torch:
        return allows(build.requires_torch, torch.version)
    if build.package == "torchaudio":  # from 2.11 on it requires nothing and goes with every torch from 2.11 on
        return parse("2.11") <= build.release and parse("2.11") <= torch.release
    return False


def _unfit(build: Build, situation: Situation) -> str:
    """Say why a companion cannot be installed into this Python or system, "" when it can."""
    machine = situation.machine
    version = machine.python_version
    if not serves_python(build.pythons, machine.python):
        return f"has no wheel for {machine.python_name}"
    if version and build.requires_python and not allows(build.requires_python, version):
        return f"refuses Python {version} (it asks for {build.requires_python})"
    if build.minimum and machine.oldest is not None and machine.oldest < numbers(build.minimum):
        return f"needs {'macOS' if machine.os == 'macos' else 'glibc'} {build.minimum} or newer"
    for line in situation.offers.constraints:
        name, _, wanted = line.partition(" ")
        if name == build.package and not allows(wanted, build.version):
            return f"is not allowed by pip's own constraints here ({name}{wanted})"
    return ""


def _unpaired(package: str, torch: Build, here: Sequence[Build], situation: Situation) -> str:
    if here:
        newest = max(here, key=lambda b: b.release)
        wants = f", for torch {newest.requires_torch.lstrip('=')}" if newest.requires_torch else ""
        return (
            f"no {package} for {torch.backend} goes with torch {torch.version} (the newest is {newest.version}{wants})"
        )
    same = {b.backend for b in situation.offers.of("torch") if b.version == torch.version}
    backends = {b.backend for b in situation.offers.of(package) if pairs(b, torch)} & same
    listed = list_of(sorted(backends, key=lambda b: (kind(b), toolkit(b)))) if backends else ""
    where = f"; what goes with torch {torch.version} is for {listed}" if backends else ""
    return f"there is no {package} for {torch.backend}{where}"


def left_out(candidate: Candidate, situation: Situation) -> list[Accelerator]:
    """GPUs of the chosen kind that the chosen build has no kernels for, each once."""
    family = kind(candidate.torch.backend)
    if family not in ("cuda", "rocm") or candidate.torch.kernels is None:
        return []
    found = dict.fromkeys(situation.machine.of(family))
    return [a for a in found if not has_kernels(candidate.torch, a) and not a.integrated]


def installed_torch(situation: Situation) -> Build | None:
    """Give the torch that the target has, as a build that companions can be matched to; None when it has none."""
    facts, system = situation.machine.facts, situation.machine.system
    loaded = str(facts.torch.version or "")
    version = (facts.packages or {}).get("torch") or loaded
    if not version:
        return None
    if "+" not in version and loaded.partition("+")[0] == version:
        version = loaded  # The metadata of PyPI's wheels keep the label to themselves, torch.version does not.
    public, _, label = version.partition("+")
    backend = label or catalog.pypi_backend("torch", public, system) or "cpu"
    known = [b for b in situation.offers.of("torch") if (b.version, b.backend) == (public, backend)]
    index = f"{situation.offers.root}/{backend}"
    return known[0] if known else Build("torch", public, backend, system, (), label=label, index=index)
