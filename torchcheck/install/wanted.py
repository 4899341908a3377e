"""What a plan wants of a target: is it there already, and what is the installer to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torchcheck.install import installed

if TYPE_CHECKING:
    from torchcheck.target import Target
    from torchcheck.wheels.plan import Plan


def in_place(plan: Plan, target: Target) -> bool:
    """Say whether exactly the planned versions are installed, with all their files (no process is started)."""
    versions = wanted(plan)
    there = installed.read(target.paths, versions)
    same = all(name in there and there[name].version == version for name, version in versions.items())
    return same and not any(installed.damaged(dist) for dist in there.values())


def broken(plan: Plan, target: Target) -> list[str]:
    """Pin what is there in the planned version, but with files that are gone or cut: it is to be installed again."""
    versions = wanted(plan)
    there = installed.read(target.paths, versions)
    same = [dist for name, dist in there.items() if dist.version == versions[name]]
    return [f"{dist.name}==={dist.version}" for dist in same if installed.damaged(dist)]


def wanted(plan: Plan) -> dict[str, str]:
    """Give the planned versions by normalized name."""
    return {installed.normal(name): version for name, version in plan.packages.items() if version}


def arguments(plan: Plan, target: Target) -> list[str]:
    """Give what follows `pip install` in the plan's command; pins become `===` where pip would take another build.

    pip takes an installed 2.15.0+cpu for a planned 2.15.0 (PEP 440: a label is ignored when none is asked for).
    """
    command = list(plan.command)
    words = command[command.index("install") + 1 :]
    there = installed.read(target.paths, installed.FAMILY)
    return [_exact(word, there) if "==" in word and not word.startswith("-") else word for word in words]


def _exact(word: str, there: Mapping[str, installed.Dist]) -> str:
    name, _, version = word.partition("==")
    have = there.get(installed.normal(name))
    hidden = have and "+" in have.version and "+" not in version and have.version.partition("+")[0] == version
    return f"{name}==={version}" if hidden else word
