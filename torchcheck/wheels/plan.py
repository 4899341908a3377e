"""From facts, a request and offers to a plan: which wheels, from where, why, and why not others (pure, deterministic)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchcheck.facts import Facts
from torchcheck.wheels import catalog
from torchcheck.wheels.builds import PYPI, Offers, kind
from torchcheck.wheels.candidates import Candidate, beside, candidates, installed_torch, worth
from torchcheck.wheels.explain import reasons, rejections, warnings
from torchcheck.wheels.machine import Machine
from torchcheck.wheels.refuse import gates, refused, unmatched
from torchcheck.wheels.request import Request
from torchcheck.wheels.rules import Refusal, Situation, constraint_lines, release_asked_for

__all__ = ["Plan", "Request", "plan"]


@dataclass(frozen=True)
class Plan:
    """What would be installed and why; with a blocker nothing, and `backend` is None.

    Attributes:
        backend: "cu130", "cpu", "mps" …, None when blocked.
        packages: package to exact version with label; None for one that is asked for and left out.
        index_url: the index that the wheels come from.
        command: what to run, as a list of arguments.
        download_bytes: size of the wheels of the family, None when one of them is not known.
        reasons: why this.
        warnings: `{"code", "message"}`.
        blockers: `{"code", "message", "hint"}`.
        rejected: `{"backend", "torch", "reason"}`, one for each group of builds with the same reason.
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
    builds: tuple[Any, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """Exact requirements: `torch==2.15.0+cu130` …"""
        return tuple(f"{name}=={version}" for name, version in self.packages.items() if version)

    def as_json(self) -> dict[str, Any]:
        """Give the shape of `data` in the JSON document."""
        return {
            "backend": self.backend,
            "packages": dict(self.packages),
            "index_url": self.index_url,
            "command": list(self.command),
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
    pip = facts.pip.constraints if facts.pip.constraints else ()
    offers = _constrained(offers, constraint_lines(tuple(pip)))
    situation = Situation(machine, request, offers)
    if blockers := gates(situation):
        return _blocked(situation, blockers, [])
    if "torch" not in request.packages and (torch := installed_torch(situation)):
        return _beside(torch, situation)
    ordered = candidates(situation)
    chosen = _choice(ordered, situation)
    if chosen is None:
        return _blocked(situation, refused(ordered, situation), ordered)
    return _planned(chosen, situation, ordered)


def _constrained(offers: Offers, lines: tuple[str, ...]) -> Offers:
    from dataclasses import replace

    return replace(offers, constraints=tuple(dict.fromkeys((*offers.constraints, *lines)))) if lines else offers


def _choice(ordered: list[Candidate], situation: Situation) -> Candidate | None:
    """Take the best that is not refused, unless a release that is asked for would leave a good GPU idle."""
    best = ordered[0] if ordered and ordered[0].refusal is None else None
    request = situation.request
    asked = request.backend != "auto"
    if best and request.torch and not asked and worth(best.torch, situation) <= 0 and _would_serve(situation):
        return None
    if best or asked or situation.offers.source != "pip":
        return best
    # Pip's own configuration offers nothing of the right kind: what runs on the processor is better than nothing.
    soft = [c for c in ordered if c.refusal and c.refusal.soft and request.wants(c.torch.version)]
    return max(soft, key=lambda c: (len(c.companions), c.torch.release), default=None)


def _would_serve(situation: Situation) -> bool:
    """Say whether some other release than the one asked for would use a GPU of this machine."""
    from dataclasses import replace

    free = replace(situation, request=replace(situation.request, torch=None))
    found = candidates(free)
    return bool(found) and found[0].refusal is None and worth(found[0].torch, free) > 0


def _beside(torch: Any, situation: Situation) -> Plan:
    """Plan companions for the torch that is installed already."""
    if blockers := unmatched(torch, situation):
        return _blocked(situation, blockers, [])
    refusal = release_asked_for(torch, situation)
    candidate = beside(torch, situation, refusal)
    if not candidate.companions:
        why = "; ".join(m.reason for m in candidate.missing)
        hint = "Ask for the trio, so that torch can be chosen to match: `torchcheck install`."
        return _blocked(situation, [{"code": "no-such-build", "message": why, "hint": hint}], [])
    return _planned(candidate, situation, [], installed=True)


def _planned(chosen: Candidate, situation: Situation, ordered: list[Candidate], *, installed: bool = False) -> Plan:
    packages = {package: None for package in situation.request.packages} | {
        b.package: b.pin for b in chosen.builds if b.package in situation.request.packages
    }
    builds = [b for b in chosen.builds if b.package in situation.request.packages]
    index = chosen.torch.index
    arguments = (*_index_arguments(index, situation), *situation.offers.pip_arguments)
    pins = [f"{name}=={version}" for name, version in packages.items() if version]
    sizes = [b.size for b in builds]
    return Plan(
        backend=chosen.torch.backend,
        packages=packages,
        index_url=index or str(situation.machine.facts.pip.index_url or PYPI),
        command=(_python(situation), "-m", "pip", "install", *pins, *arguments),
        download_bytes=sum(s for s in sizes if s) if all(sizes) else None,
        reasons=tuple(reasons(chosen, situation, ordered, installed=installed)),
        warnings=tuple(warnings(chosen, situation, ordered, installed=installed)),
        rejected=tuple(rejections(chosen, ordered, situation)),
        pip_arguments=arguments,
        builds=tuple(builds),
    )


def _index_arguments(index: str, situation: Situation) -> tuple[str, ...]:
    """Name the index to pip; PyPI itself only where pip is not told of another place already."""
    return ("--index-url", index) if index and index != PYPI else ()


def _blocked(situation: Situation, blockers: list[dict[str, str]], ordered: list[Candidate]) -> Plan:
    return Plan(
        backend=None,
        packages={package: None for package in situation.request.packages},
        reasons=tuple(b["message"] for b in blockers),
        blockers=tuple(blockers),
        rejected=tuple(rejections(None, ordered, situation)),
    )


def _python(situation: Situation) -> str:
    return str(situation.machine.facts.python.executable or "python")
