"""Targets and plans for tests of installing: real environments, plans made by hand."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from torchcheck.facts import Python
from torchcheck.target import Target
from torchcheck.wheels.plan import Plan

ASK = """
import json, sys, sysconfig
print(json.dumps({"paths": sysconfig.get_paths(), "version": sys.version.split()[0]}))
"""
RELEASES = (("2.14.1", "0.29.1", "2.11.0"), ("2.15.0", "0.29.2", "2.11.0"))


def target_of(python: str | Path) -> Target:
    """Describe an environment as `torchcheck.target` does, as far as installing needs it."""
    said = json.loads(subprocess.run([str(python), "-c", ASK], capture_output=True, check=True, timeout=60).stdout)
    facts = Python(version=said["version"], bits=64, executable=str(python), environment="venv", writable=True)
    return Target(str(python), facts, said["paths"], {}, (), (), "--python", {})


def plan_of(python: str, packages: dict[str, str], *arguments: str, backend: str = "cu130") -> Plan:
    pins = [f"{name}=={version}" for name, version in packages.items()]
    return Plan(
        backend=backend,
        packages=packages,
        command=(python, "-m", "pip", "install", *pins, *arguments),
        pip_arguments=arguments,
    )


def python_in(folder: Path) -> Path:
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def family(release: int, backend: str) -> dict[str, str]:
    names = ("torch", "torchvision", "torchaudio")
    return {name: f"{version}+{backend}" for name, version in zip(names, RELEASES[release], strict=True)}


def contents(target: Target) -> dict[str, str]:
    """Hash every file below the prefix, less locks (ours, uv's) and compiled modules."""
    root = Path(target.paths["data"])
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name not in {"lock", ".lock"}
    }


def run(target: Target, code: str) -> str:
    done = subprocess.run([target.python, "-c", code], capture_output=True, encoding="locale", check=False, timeout=60)
    return (done.stdout + done.stderr).strip()
