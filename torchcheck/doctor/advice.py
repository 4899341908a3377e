"""Which build is right for a machine: what the planner says, as requirements to type."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torchcheck.doctor.evidence import Evidence
from torchcheck.facts import UNKNOWN, Facts, Pip, Torch
from torchcheck.wheels import catalog, plan
from torchcheck.wheels.request import Request


@dataclass(frozen=True)
class Advised:
    """A build: its backend, torch's version, the pinned trio, and the index ("" for PyPI)."""

    tag: str
    torch: str
    pins: tuple[str, ...]
    index: str


def advised(evidence: Evidence) -> Advised | None:
    """Ask the planner for the build that this machine can run; None when it has none, or too little is known."""
    if not evidence.facts.system.os or _gpu_unknown(evidence):
        return None
    chosen = plan.plan(_planned(evidence.facts), Request(), catalog.offers(evidence.machine.system))
    if not chosen.backend:
        return None
    torch = str(chosen.packages["torch"])
    return Advised(chosen.backend, torch.partition("+")[0], chosen.requirements, chosen.index_url or "")


def _gpu_unknown(evidence: Evidence) -> bool:
    """Say whether nobody has told of a GPU: the planner takes that for none, and a CPU build would be wrong advice."""
    return evidence.facts.gpus is UNKNOWN and not evidence.machine.accelerators and not evidence.macos


def _planned(facts: Facts) -> Facts:
    """Leave out what is installed now, what pip is configured with, and a driver's trouble, which is mended first."""
    drivers = facts.drivers
    if drivers.nvidia is None or (drivers.nvidia and not drivers.nvidia.version):
        drivers = replace(drivers, nvidia=UNKNOWN)
    return replace(facts, packages=UNKNOWN, torch=Torch(), pip=Pip(), drivers=drivers)


def companion(evidence: Evidence, name: str) -> str | None:
    """Give the companion that belongs to the installed torch, as a requirement."""
    for version in reversed([row["version"] for row in catalog.data("pypi")["releases"][name]]):
        if catalog.built_for(name, version) == evidence.torch_version.partition("+")[0]:
            return f"{name}=={version}"
    return None
