"""What differs between two reports, the most telling first: what could explain "works there, not here"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Data = Mapping[str, Any]
WEIGHTS = ("telling", "maybe", "noise")
# The first pattern that matches a path decides; the note says why it tells something.
TABLE: tuple[tuple[str, str, str], ...] = (
    ("verify.*", "telling", "the same check ended differently"),
    ("torch.file", "noise", ""),
    ("torch.libraries", "maybe", "which files are loaded"),
    ("torch.error", "telling", "why torch cannot be imported"),
    ("torch.import", "telling", "whether torch can be imported at all"),
    ("torch.*", "telling", "another build of torch, or what it sees"),
    ("drivers.*", "telling", "another driver"),
    ("gpus*.in_use_by*", "noise", ""),
    ("gpus*", "telling", "another GPU"),
    ("env.LD_LIBRARY_PATH", "telling", "libraries from elsewhere may be loaded before the wheel's"),
    ("env.PATH", "noise", ""),
    ("env.PIP_*", "maybe", "wheels may come from elsewhere"),
    ("env.UV_*", "maybe", "wheels may come from elsewhere"),
    ("env.*SSL_CERT*", "maybe", "whom a download trusts"),
    ("env.*CA_BUNDLE", "maybe", "whom a download trusts"),
    ("env.*proxy", "maybe", "how a download goes"),
    ("env.*PROXY", "maybe", "how a download goes"),
    ("env.*", "telling", "an environment variable changes what torch does"),
    ("packages.torch*", "telling", "another release or build"),
    ("packages.nvidia-*", "telling", "another CUDA library"),
    ("packages.triton*", "telling", "another compiler for GPU kernels"),
    ("packages.pytorch-*", "telling", "another compiler for GPU kernels"),
    ("packages.numpy", "telling", "NumPy's binary interface"),
    ("packages.intel-*", "telling", "another runtime library"),
    ("packages.mkl*", "telling", "another BLAS"),
    ("packages.*", "maybe", ""),
    ("system.libc", "telling", "wheels are built for a minimum of it"),
    ("system.vc_redist", "telling", "torch's DLLs need it"),
    ("system.long_paths", "telling", "long file names cannot be written"),
    ("system.wsl", "telling", "the GPU is reached through Windows"),
    ("system.container", "telling", "a container sees what its host gives it"),
    ("system.rosetta", "telling", "an emulated interpreter gets other wheels"),
    ("system.machine", "telling", "another processor family"),
    ("system.os", "telling", "another operating system"),
    ("system.*", "maybe", ""),
    ("python.version", "telling", "wheels are built for one Python each"),
    ("python.executable", "noise", ""),
    ("python.prefix", "noise", ""),
    ("python.site_packages", "noise", ""),
    ("python.in_path_order", "maybe", "where modules are found first"),
    ("python.*", "maybe", ""),
    ("cpu.mhz", "noise", ""),
    ("cpu.features", "maybe", "other kernels are chosen"),
    ("cpu.*", "maybe", ""),
    ("memory.shm", "telling", "DataLoader workers share memory there"),
    ("memory.total", "maybe", ""),
    ("memory.*", "noise", ""),
    ("disk.*", "noise", ""),
    ("pip.*", "maybe", "wheels may come from elsewhere"),
    ("notes*", "noise", ""),
)


# Only this part of a value tells something.
ESSENCE: dict[str, str] = {"python.version": r"\d+\.\d+", "drivers.nvidia.cuda": r"\d+"}
SMALL_SHM = 1 << 30
"""Shared memory from which on the workers of data loaders seldom run out (Docker's default is 64 MiB)."""
ONE_SIDE = "known on one side only"


def differences(a: Data, b: Data) -> list[dict[str, Any]]:
    """Compare two reports' data (`{"facts": …, "verify": …}`); gives the contract's `differences`.

    A fact that only one side knows is shown as `null` on the other, with a note, and is noise: nobody may have looked.
    What was looked for and not there (`null`, `[]`) is known. Of two lists only the members that differ are shown.
    `"pasted": True` says that a side lists some packages only, as collect_env does.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    paths = [path for path in {**left, **right} if left.get(path) != right.get(path)]
    parents = _parents(left) | _parents(right)
    sides = ((a, left), (b, right))
    # Where one side has nothing ("gpus": []) and the other has members, the members are what differs.
    found = [_difference(p, sides) for p in paths if p not in parents or left.get(p) or right.get(p)]
    return sorted(found, key=lambda d: (WEIGHTS.index(d["weight"]), _rank(d["path"]), d["path"]))


def _parents(leaves: Data) -> set[str]:
    """Give the paths above leaves: `gpus[0]` and `gpus` of `gpus[0].name`."""
    return {path[: found.start()] for path in leaves for found in re.finditer(r"[.\[]", path)}


def _difference(path: str, sides: tuple[tuple[Data, Data], ...]) -> dict[str, Any]:
    weight, note = _judge(path)
    a, b = (leaves.get(path) for _, leaves in sides)
    if not all(_looked(path, data, leaves) for data, leaves in sides):
        weight, note = "noise", ONE_SIDE
    elif weight == "telling" and not _essential(path, a, b):
        weight, note = "maybe", ""
    if isinstance(a, list) and isinstance(b, list) and (a or b):
        a, b = [x for x in a if x not in b], [x for x in b if x not in a]
        note = "; ".join(filter(None, [note, "only what differs is shown" if a or b else "in another order"]))
    return {"path": path, "a": a, "b": b, "weight": weight, "note": note}


def _looked(path: str, data: Data, leaves: Data) -> bool:
    """Say whether a side knows of a fact: has it, or has nothing where it would stand."""
    if path in leaves:
        return True
    section = path.partition(".")[0]
    facts = data.get("facts") or {}
    if section in ("packages", "env"):
        return isinstance(facts, Mapping) and section in facts and not (section == "packages" and data.get("pasted"))
    if section == "verify":
        return False
    above = [path[: found.start()] for found in re.finditer(r"[.\[]", path)]
    listed = [where for where in above if f"{where}[" in path]
    return any(where in leaves for where in above) or any(_holds(leaves, where) for where in listed)


def _holds(leaves: Data, where: str) -> bool:
    """Say whether a side has the list at `where`, with fewer members perhaps."""
    return any(path.startswith(f"{where}[") for path in leaves)


def _essential(path: str, a: Any, b: Any) -> bool:
    """Say whether two values differ in the part that tells something."""
    if path == "memory.shm":
        return any(isinstance(size, int) and size < SMALL_SHM for size in (a, b))
    if path not in ESSENCE:
        return True
    found = [re.match(ESSENCE[path], str(value)) for value in (a, b)]
    return None in found or len({match[0] for match in found if match}) > 1


def _judge(path: str) -> tuple[str, str]:
    return next(((weight, note) for pattern, weight, note in TABLE if fnmatchcase(path, pattern)), ("maybe", ""))


def _rank(path: str) -> int:
    return next((i for i, row in enumerate(TABLE) if fnmatchcase(path, row[0])), len(TABLE))


def _leaves(data: Data) -> Iterator[tuple[str, Any]]:
    yield from _walk(data.get("facts") or {}, "")
    verify = data.get("verify")
    checks = verify.get("checks") if isinstance(verify, Mapping) else None
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, Mapping):  # a stranger's document may hold anything
            where = "/".join(str(check[part]) for part in ("device", "dtype") if check.get(part))
            yield f"verify.{check.get('id')}[{where}]", check.get("status")


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, member in value.items():
            yield from _walk(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _walk(item, f"{path}[{i}]")
    else:
        yield path, value
