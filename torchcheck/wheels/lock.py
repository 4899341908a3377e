"""A plan as a requirements file for one platform, pinned and hashed (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from torchcheck.wheels.plan import Plan

HEAD = """\
# {packages} for {backend}, on {system} with {python} only.
# Install into an empty environment: python -m pip install --require-hashes -r {name}
"""


def lock(plan: Plan, lines: Sequence[str], *, name: str = "requirements.txt") -> str:
    """Write the file.

    Args:
        plan: what was planned; not one with blockers.
        lines: options of the index (`--index-url URL`) and, of every package with its dependencies, `name==version
            --hash=sha256:…`, as pip resolved them for the target.
        name: what the file will be called, for the line that says how to use it.

    Raises:
        ValueError: a package of the plan is not among the lines, in the planned version: what was resolved is not what
            was planned.
    """
    pins = {line.split(maxsplit=1)[0] for line in lines}
    if missing := [pin for pin in plan.requirements if pin not in pins]:
        raise ValueError(f"planned, and not resolved: {', '.join(missing)}")
    torch = plan.builds[0]
    python = " or ".join(tag for tag, file in torch.files) or ", ".join(torch.pythons)
    packages = ", ".join(f"{package} {version}" for package, version in plan.packages.items() if version)
    system = torch.system.replace("_", " ", 1)
    head = HEAD.format(packages=packages, backend=plan.backend, system=system, python=python, name=name)
    return head + "".join(f"{_wrapped(line)}\n" for line in lines)


def _wrapped(line: str) -> str:
    """Put hashes on lines of their own, as pip's own tools do."""
    return line.replace(" --hash=", " \\\n    --hash=")
