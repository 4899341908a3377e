"""Import torch and tell what it says of itself; one JSON object behind a mark, on a private copy of stdout.

Started by path in the target interpreter. An answer is written as soon as the import has succeeded and again with the
devices, so that a driver that kills the process in between costs only the devices.
"""

from __future__ import annotations

import os
import sys

if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):  # noqa: PTH120
    del sys.path[0]

import json  # only now is this folder out of the way
from collections.abc import Callable, Iterator
from typing import Any

MARK = "\x1etorchcheck "


def main() -> None:
    """Import torch, answer, look at the devices, answer again."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever torch, its plugins or C++ print is no answer
    known: dict[str, Any] = {}
    try:
        known.update(found())
        import torch

        known.update({"import": "ok", **{name: _tried(read, torch) for name, read in BUILD.items()}})
        _write(out, known)
        known["devices"] = _tried(lambda torch: list(devices(torch)), torch)
        known["available"] = None if known["devices"] is None else bool(known["devices"])
    except BaseException as error:  # noqa: BLE001 (SystemExit too: importing torch must not end us without a word)
        known.update({"import": _kind(error), "error": _said(error)})
    _write(out, known)
    os._exit(0)  # destructors of a broken driver have nothing to add


def found() -> dict[str, Any]:
    """Say which file `import torch` will run, before it runs."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    if spec is not None and spec.origin is None:
        places = ", ".join(spec.submodule_search_locations or [])
        raise ImportError(f"no torch here, only a folder of that name without __init__.py: {places}")
    return {"file": spec.origin if spec else None}


def devices(torch: Any) -> Iterator[str]:
    """Name the accelerators that this torch can use."""
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            yield from (str(module.get_device_name(number)) for number in range(module.device_count()))
    if hasattr(torch.backends, "mps") and torch.backends.mps.is_available():
        yield "mps"


def cudnn(torch: Any) -> str | None:
    """Write cuDNN's number, 8902 or 91002, as "8.9.2" or "9.10.2"."""
    number = torch.backends.cudnn.version() if torch.version.cuda else None
    if number is None:
        return None
    thousand = 10000 if number >= 90000 else 1000
    return f"{number // thousand}.{number % thousand // 100}.{number % 100}"


def miopen(torch: Any) -> str | None:
    """Give MIOpen's number on ROCm, where cuDNN's interface answers with it."""
    return str(torch.backends.cudnn.version()) if torch.version.hip else None


def libraries(_: Any) -> list[str] | None:
    """List which files of CUDA, ROCm, OpenMP and the C++ runtime this process has loaded, to tell whose they are."""
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
            paths = {line.split(None, 5)[5].strip() for line in maps if line.count("/") > 1}
    except OSError:  # no /proc
        return None
    names = ("libcu", "libnv", "libnccl", "libamdhip", "libhsa", "libMIOpen", "libroc", "libgomp", "libomp", "libiomp",
             "libmkl", "libstdc++", "libc10", "libtorch", "libze_", "libsycl")  # fmt: skip
    return sorted(path for path in paths if path.rpartition("/")[2].startswith(names))


def arch_list(torch: Any) -> list[str]:
    """List the architectures that the build has kernels for; `torch.cuda.get_arch_list` says nothing without a GPU."""
    read = getattr(torch._C, "_cuda_getArchFlags", None)  # noqa: SLF001
    return (read() or "").split() if read else []


def _version(name: str) -> Callable[[Any], str | None]:
    def read(torch: Any) -> str | None:
        value = getattr(torch.version, name, None)
        return None if value is None else str(value)

    return read


BUILD: dict[str, Callable[[Any], Any]] = {
    "version": lambda torch: str(torch.__version__),
    "file": lambda torch: torch.__file__,
    "cuda": _version("cuda"),
    "hip": _version("hip"),
    "xpu": _version("xpu"),
    "git_version": _version("git_version"),
    "debug": lambda torch: bool(getattr(torch.version, "debug", False)),
    "xnnpack": lambda torch: bool(torch._C._is_xnnpack_enabled()),  # noqa: SLF001
    "miopen": miopen,
    "libraries": libraries,
    "cudnn": cudnn,
    "arch_list": arch_list,
}


def _tried(read: Callable[[Any], Any], torch: Any) -> Any:
    """Give None where a build does not answer; one broken member must not hide the others."""
    try:
        return read(torch)
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"{_said(error)}\n")
        return None


def _kind(error: BaseException) -> str:
    return "missing" if isinstance(error, ModuleNotFoundError) and error.name == "torch" else "error"


def _said(error: BaseException) -> str:
    """Write an exception and what it came from, first cause first, without its traceback."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(lines) < 5:
        lines.insert(0, f"{type(seen).__name__}: {seen}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(lines)


def _write(out: int, known: dict[str, Any]) -> None:
    os.write(out, f"\n{MARK}{json.dumps(known)}\n".encode("ascii"))


if __name__ == "__main__":
    main()
