"""What differs between two reports, the most telling first: what could explain "works there, not here"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Data = Mapping[str, Any]
WEIGHTS = ("telling", "maybe", "noise")
# The first pattern that matches a path decides; the note says why it tells something.
TABLE: tuple[tuple[str, str, str], ...] = (
    ("verify.*", "telling", "the same check ended differently"),
    ("torch.file", "noise", ""),
    ("torch.error", "telling", "why torch cannot be imported"),
    ("torch.import", "telling", "whether torch can be imported at all"),
    ("torch.*", "telling", "another build of torch, or what it sees"),
    ("drivers.*", "telling", "another driver"),
    ("gpus*.in_use_by*", "noise", ""),
    ("gpus*", "telling", "another GPU"),
    ("env.LD_LIBRARY_PATH", "telling", "libraries from elsewhere may be loaded before the wheel's"),
    ("env.PATH", "noise", ""),
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
    ("cpu.features", "maybe", "other kernels are chosen"),
    ("cpu.*", "maybe", ""),
    ("memory.shm", "telling", "DataLoader workers share memory there"),
    ("memory.total", "maybe", ""),
    ("memory.*", "noise", ""),
    ("disk.*", "noise", ""),
    ("pip.*", "maybe", "wheels may come from elsewhere"),
    ("notes*", "noise", ""),
)


def differences(a: Data, b: Data) -> list[dict[str, Any]]:
    """Compare two reports' data (`{"facts": …, "verify": …}`); gives the contract's `differences`.

    A fact that only one side knows is shown as `null` on the other, with a note, and never counts as telling: nobody
    may have looked.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    found = [_difference(path, left, right) for path in {**left, **right} if left.get(path) != right.get(path)]
    return sorted(found, key=lambda d: (WEIGHTS.index(d["weight"]), _rank(d["path"]), d["path"]))


def _difference(path: str, left: Data, right: Data) -> dict[str, Any]:
    weight, note = _judge(path)
    listed = path.startswith(("packages.", "env."))
    if not listed and (path not in left or path not in right):
        weight, note = ("maybe" if weight == "telling" else weight), "known on one side only"
    return {"path": path, "a": left.get(path), "b": right.get(path), "weight": weight, "note": note}


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
