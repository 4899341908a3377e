"""From facts, a request and offers to a plan: which wheels, from where, why, and why not others (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torchcheck.facts import Facts
from torchcheck.wheels import catalog
from torchcheck.wheels.builds import PYPI, Build, Offers, flat
from torchcheck.wheels.candidates import Candidate, beside, candidates, installed_torch, worth
from torchcheck.wheels.explain import reasons, rejections
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.notes import warnings
from torchcheck.wheels.refuse import Blocker, gates, nothing_goes_with, refused, unmatched
from torchcheck.wheels.request import Request, without_password
from torchcheck.wheels.rules import Situation, constraint_lines

__all__ = ["Plan", "Request", "plan"]


@dataclass(frozen=True)
class Plan:
    """What would be installed and why; with a blocker nothing, and `backend` is None.

    Attributes:
        backend: "cu130", "cpu", "mps" and so on, None when blocked.
        packages: package to exact version with label; None for one that is asked for and left out.
        index_url: the index that the wheels come from.
        command: what to run, as a list of arguments.
        download_bytes: size of the family's wheels and of NVIDIA's libraries, without small dependencies; None when
            one of them is not known.
        reasons: why this.
        warnings: objects with `code` and `message`.
        blockers: objects with `code`, `message` and `hint`.
        rejected: objects with `backend`, `torch` and `reason`.
        pip_arguments: what the command gives to pip besides the requirements.
        builds: the chosen builds.
    """

    backend: str | None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    index_url: str | None = None
    command: tuple[str, ...] = ()
    download_bytes: int | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[Mapping[str, str], ...] = ()
    blockers: tuple[Mapping[str, str], ...] = ()
    rejected: tuple[Mapping[str, str], ...] = ()
    pip_arguments: tuple[str, ...] = ()
    builds: tuple[Build, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """Exact requirements, as `torch==2.15.0+cu130`."""
        return tuple(f"{name}=={version}" for name, version in self.packages.items() if version)

    def as_json(self) -> dict[str, Any]:
        """Give the shape of `data` in the JSON document; a password in an index's address is left out."""
        return {
            "backend": self.backend,
            "packages": dict(self.packages),
            "index_url": without_password(self.index_url) if self.index_url else None,
            "command": [without_password(word) for word in self.command],
            "download_bytes": self.download_bytes,
            "reasons": list(self.reasons),
            "warnings": [dict(w) for w in self.warnings],
            "blockers": [dict(b) for b in self.blockers],
            "rejected": [dict(r) for r in self.rejected],
        }


def plan(facts: Facts, request: Request, offers: Offers | None = None) -> Plan:
    """Choose what to install.

    Args:
        facts: the machine and the target Python; what is not known is taken to be usual.
        request: what is asked for.
        offers: what the indexes have; None for what the catalog knows.

    Raises:
        UsageError: the request cannot be understood.
    """
    request, machine = request.checked(), Machine(facts)
    offers = offers or catalog.offers(machine.system, request.root)
    if lines := constraint_lines(facts.pip.constraints or ()):
        offers = replace(offers, constraints=tuple(dict.fromkeys((*offers.constraints, *lines))))
    situation = Situation(machine, request, offers)
    if blockers := gates(situation):
        return _blocked(situation, blockers, [])
    torch = installed_torch(situation)
    if torch and "torch" not in request.packages:
        return _beside(torch, situation)
    ordered = candidates(situation)
    chosen = _choice(ordered, situation)
    if chosen is None:
        return _blocked(situation, refused(ordered, situation), ordered)
    return _planned(chosen, situation, ordered)


def _choice(ordered: list[Candidate], situation: Situation) -> Candidate | None:
    """Take the best that is not refused, unless a release that is asked for would leave a good GPU idle."""
    request = situation.request
    best = next((c for c in ordered[:1] if c.refusal is None), None)
    if request.backend != "auto":
        return best
    if best:
        idle = bool(request.torch) and worth(best.torch, situation) <= 0
        return None if idle and _would_serve(situation) else best
    if situation.offers.source != "pip" and not flat(situation.offers.root):
        return None
    # Pip's own configuration has nothing of the right kind: what runs on the processor is better than nothing.
    soft = [c for c in ordered if c.refusal and c.refusal.soft]
    return max(soft, key=lambda c: (len(c.companions), c.torch.release), default=None)


def _would_serve(situation: Situation) -> bool:
    """Say whether some other release than the one asked for would use a GPU of this machine."""
    free = replace(situation, request=replace(situation.request, torch=None))
    return any(c.refusal is None and worth(c.torch, free) > 0 for c in candidates(free)[:1])


def _beside(torch: Build, situation: Situation) -> Plan:
    """Plan companions for the torch that is installed already."""
    if blockers := unmatched(torch, situation):
        return _blocked(situation, blockers, [])
    candidate = beside(torch, situation)
    if not candidate.companions:
        return _blocked(situation, nothing_goes_with(m.reason for m in candidate.missing), [])
    return _planned(candidate, situation, [], installed=True)


def _planned(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool = False) -> Plan:
    asked = situation.request.packages
    builds = tuple(b for b in chosen.builds if b.package in asked)
    packages: dict[str, str | None] = dict.fromkeys(asked) | {b.package: b.pin for b in builds}
    index, facts = chosen.torch.index, situation.machine.facts
    # PyPI is named to pip by nobody: it is pip's default, or pip is set to a mirror of it.
    arguments = ("--index-url", index) if index not in ("", PYPI) else ()
    arguments = (*arguments, *situation.offers.pip_arguments)
    pins = [f"{name}=={version}" for name, version in packages.items() if version]
    return Plan(
        backend=chosen.torch.backend,
        packages=packages,
        index_url=index or str(facts.pip.index_url or PYPI),
        command=(str(facts.python.executable or "python"), "-m", "pip", "install", *pins, *arguments),
        download_bytes=_download(builds),
        reasons=tuple(reasons(chosen, situation, ordered, installed=installed)),
        warnings=tuple(warnings(chosen, situation, ordered, installed=installed)),
        rejected=tuple(rejections(chosen, ordered, situation)),
        pip_arguments=arguments,
        builds=builds,
    )


def _download(builds: Sequence[Build]) -> int | None:
    """Add up what will be downloaded, as far as it was measured or listed."""
    sizes = [b.size for b in builds]
    sizes += [catalog.libraries(b.backend, b.system) for b in builds if b.package == "torch"]
    return None if None in sizes else sum(size for size in sizes if size)


def _blocked(situation: Situation, blockers: Sequence[Blocker], ordered: list[Candidate]) -> Plan:
    return Plan(
        backend=None,
        packages=dict.fromkeys(situation.request.packages),
        reasons=tuple(b["message"] for b in blockers),
        blockers=tuple(blockers),
        rejected=tuple(rejections(None, ordered, situation)),
    )
