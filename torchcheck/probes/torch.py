"""The torch of the target: what its files state, or what became of importing it in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torchcheck.facts import UNKNOWN, Torch
from torchcheck.probes import Asked
from torchcheck.verify.deaths import WINDOWS

SIGNALS = {
    4: "illegal instruction",
    6: "abort",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
}


def probe(asked: Asked) -> dict[str, Any]:
    """Look at torch as deeply as was asked for."""
    if asked.target is None or asked.torch == "skip":
        return {}
    stated = of_files(asked.target)
    if asked.torch == "metadata":
        return {"torch": stated}
    said = asked.host.python(asked.target.python, "suite/introspect", timeout=asked.timeout)
    return of_import(said, stated)


def of_files(target: Any) -> Torch:
    """Read the first torch on sys.path by its version.py; a label that file does not state stays unknown."""
    copies = [copy for copy in target.inspection.get("family", ()) if copy["name"] == "torch"]
    if not copies:
        return Torch(import_="missing", version=None)
    values, stated = copies[0].get("values", {}), copies[0].get("stated", ())
    labels = {name: values.get(name) if name in stated else UNKNOWN for name in ("cuda", "hip", "xpu")}
    version = values.get("__version__") or target.packages.get("torch", UNKNOWN)
    separator = "\\" if "\\" in copies[0]["path"] else "/"
    return Torch(version=version, file=f"{copies[0]['path']}{separator}__init__.py", **labels)


def of_import(said: Mapping[str, Any], stated: Torch) -> dict[str, Any]:
    """Put into facts what suite/introspect.py answered, or how it died."""
    died = death(said)
    if "import" not in said:
        return {"torch": replace(stated, import_="timeout" if said.get("error") == "timeout" else "crash", error=died)}
    texts: dict[str, Any] = {name: said.get(name) for name in ("error", "cuda", "hip", "xpu", "cudnn", "miopen")}
    known: dict[str, Any] = {
        "version": said.get("version") or stated.version,
        "file": said.get("file"),
        "arch_list": tuple(said["arch_list"]) if said.get("arch_list") is not None else UNKNOWN,
        "devices": tuple(said["devices"]) if said.get("devices") is not None else UNKNOWN,
        "libraries": tuple(said["libraries"]) if said.get("libraries") is not None else UNKNOWN,
    }
    flags = {
        name: said[name] for name in ("available", "debug", "xnnpack", "git_version") if said.get(name) is not None
    }
    known |= {"devices_error": died} if "ended" in said else {}
    notes = (f"torch is imported, but looking for its devices ended in: {died}",) if "ended" in said else ()
    return {"torch": Torch(import_=said["import"], **texts, **known, **flags), "notes": notes}


def death(said: Mapping[str, Any]) -> str:
    """Word how a process ended: "segmentation fault (exit code -11)" and the last that it said."""
    if said.get("error") == "timeout" or said.get("ended") == "timeout":
        return "no answer in time"
    code = said.get("code")
    number = code if isinstance(code, int) else 0
    name = (
        SIGNALS.get(-number if number < 0 else number - 128)
        or WINDOWS.get(number & 0xFFFFFFFF)
        or "ended without an answer"
    )
    lines = str(said.get("detail") or "").strip().splitlines()
    return f"{name} (exit code {code})" + (f": {lines[-1]}" if lines else "")
