"""A pasted `python -m torch.utils.collect_env` becomes facts.

The format has grown since torch 1.0 but never changed: `Key: value` lines, a block of GPUs, a block of the CPU, and
`[pip3] name==version` or `[conda] name version build channel` lines
(https://github.com/pytorch/pytorch/blob/main/torch/utils/collect_env.py). "Could not collect", "N/A" and "No CUDA" say
nothing about the machine and stay unknown, except where the key makes them an absence.
"""

from __future__ import annotations

import re
from typing import Any

from torchcheck.facts import Facts, from_json

_LINE = re.compile(r"^[\s>|*-]{0,8}([A-Z][A-Za-z0-9_ /()]{1,60}?):[ \t]*(.*)$", re.MULTILINE)
_PACKAGE = re.compile(
    r"^[\s>|*-]{0,8}\[(pip3?|conda)\]\s+(\S+?)(?:==(\S+)|\s+(\d\S*)(?:\s+(\S+))?(?:\s+(\S+))?)?\s*$", re.MULTILINE
)
_GPU = re.compile(
    r"^[\s>|*-]{0,8}(?:GPU models and configuration:\s*)?GPU \d+:\s*([^\n(]+?)\s*(?:\(UUID[^\n]*)?$", re.MULTILINE
)
_NOTHING = {"", "n/a", "could not collect", "no cuda", "none", "na"}


def looks_like(text: str) -> bool:
    """Say whether a text contains a collect_env paste."""
    return "PyTorch version:" in text and ("CUDA used to build PyTorch:" in text or "Is CUDA available:" in text)


def parse(text: str) -> Facts:
    """Give the facts that a paste states."""
    return from_json(_document(text))


def _document(text: str) -> dict[str, Any]:
    keys: dict[str, str] = {}
    for key, value in _LINE.findall(text):
        keys.setdefault(key.strip(), value.strip())
    packages = _packages(text)
    document: dict[str, Any] = {
        "system": _system(keys),
        "python": _python(keys, text),
        "cpu": _cpu(keys, text),
        "drivers": _drivers(keys),
        "torch": _torch(keys, packages, text),
    }
    if packages:
        document["packages"] = packages
    gpus = _gpus(keys, text)
    if gpus:
        document["gpus"] = gpus
    return {name: value for name, value in document.items() if value}


def _known(value: str | None) -> str | None:
    return None if value is None or value.strip().lower() in _NOTHING else value.strip()


def _system(keys: dict[str, str]) -> dict[str, Any]:
    name, platform = _known(keys.get("OS")), _known(keys.get("Python platform")) or ""
    system: dict[str, Any] = {}
    if name:
        machine = re.search(r"\((x86_64|aarch64|arm64|ppc64le|s390x|riscv64|armv7l)\)\s*$", name)
        version = re.search(r"\d+(?:\.\d+)*", name)
        system |= {"name": re.sub(r"\s*\([^()]*\)\s*$", "", name)} | _os_of(name)
        system |= {"version": version[0]} if version else {}
        system |= {"machine": machine[1]} if machine else {}
        if "64-bit" in name and "indows" in name:
            system["machine"] = "x86_64"
    if platform:
        system |= {} if system.get("os") else _os_of(platform)
        system["wsl"] = "microsoft" in platform.lower()
        found = re.search(r"(?:^|-)(x86_64|aarch64|arm64|ppc64le|s390x|riscv64|AMD64|ARM64)(?:-|$)", platform)
        if found:
            machine_name = {"AMD64": "x86_64", "ARM64": "aarch64"}.get(found[1], found[1])
            system.setdefault("machine", machine_name)
        if platform.startswith("Linux-"):
            system["kernel"] = platform.split("-with-")[0].removeprefix("Linux-")
    libc = re.match(r"(glibc|musl)-?\s*(\d[\d.]*)", _known(keys.get("Libc version")) or "")
    if libc and system.get("os", "linux") == "linux":
        system["libc"] = f"{libc[1]} {libc[2]}"
    return system


def _os_of(name: str) -> dict[str, str]:
    low = name.lower()
    if "windows" in low:
        return {"os": "windows"}
    if low.startswith(("mac", "darwin", "os x")):
        return {"os": "macos"}
    return {"os": "linux"}


def _python(keys: dict[str, str], text: str) -> dict[str, Any]:
    stated = _known(keys.get("Python version")) or ""
    version, bits = re.match(r"\d+\.\d+(?:\.\d+)?", stated), re.search(r"\((\d\d)-bit runtime\)", stated)
    python: dict[str, Any] = {}
    python |= {"version": version[0]} if version else {}
    python |= {"bits": int(bits[1])} if bits else {}
    python |= {"free_threaded": True} if "free-threading" in stated else {}
    if re.search(r"^\W{0,8}\[conda\]\s+(?:pytorch|python|numpy|mkl|torch)\s", text, re.MULTILINE):
        python["environment"] = "conda"
    return python


def _cpu(keys: dict[str, str], text: str) -> dict[str, Any]:
    apple = re.search(r"^CPU:\s*\n?\s*(Apple M\d[^\n]*)", text, re.MULTILINE)
    model = apple[1] if apple else _known(keys.get("Model name"))
    windows = re.search(r"^CPU:\s*\n\s*Name(?::\s*|=|\s*\n\s*)([^\n]+)", text, re.MULTILINE)
    model = model or (windows[1] if windows else None)
    cpu: dict[str, Any] = {"model": model.strip()} if model else {}
    vendor = _known(keys.get("Vendor ID"))
    if apple:
        vendor = "Apple"
    cpu |= {"vendor": vendor} if vendor else {}
    flags = re.search(r"^Flags:[ \t]*([^\n]+)", text, re.MULTILINE)
    cpu |= {"features": flags[1].split()} if flags else {}
    return cpu


def _drivers(keys: dict[str, str]) -> dict[str, Any]:
    version = re.match(r"\d+\.\d+(?:\.\d+)?", _known(keys.get("Nvidia driver version")) or "")
    return {"nvidia": {"version": version[0]}} if version else {}


def _gpus(keys: dict[str, str], text: str) -> list[dict[str, Any]]:
    names = [name.strip() for name in _GPU.findall(text)]
    if not names:
        alone = _known(keys.get("GPU models and configuration"))
        names = [alone] if alone else []
    names += re.findall(r"_XpuDeviceProperties\(name='([^']+)'", text)
    return [_gpu(name) for name in names]


def _gpu(name: str) -> dict[str, Any]:
    gfx, low = re.search(r"\b(gfx[0-9a-f]{3,4})\b", name), name.lower()
    vendor = "amd" if gfx or re.search(r"\bamd\b|radeon|instinct", low) else "intel" if "intel" in low else "nvidia"
    bare = re.sub(r"\s*\(?\bgfx[0-9a-f]{3,4}[^)\s]*\)?", "", name).strip()
    return {"vendor": vendor, "name": bare or name} | ({"gfx": gfx[1]} if gfx else {})


def _packages(text: str) -> dict[str, str]:
    packages: dict[str, str] = {}
    for _, name, pinned, version, _build, _channel in _PACKAGE.findall(text):
        if pinned or version:
            packages.setdefault({"pytorch": "torch"}.get(name, name), pinned or version)
    return packages


def _torch(keys: dict[str, str], packages: dict[str, str], text: str) -> dict[str, Any]:
    version = _known(keys.get("PyTorch version"))
    if not version and keys.get("Is CUDA available", "").lower() in {"true", "false"} and "PyTorch version" not in keys:
        version = packages.get("torch")  # pasted from the second line on; only an imported torch answers that
    if not version:
        # collect_env prints N/A when torch cannot be imported, for whatever reason.
        return {"import": "missing"} if packages and "torch" not in packages else {}
    torch: dict[str, Any] = {"import": "ok", "version": version}
    for key, name in (("CUDA used to build PyTorch", "cuda"), ("ROCM used to build PyTorch", "hip")):
        if key in keys and keys[key].lower() != "could not collect":
            torch[name] = _known(keys[key])
    if _known(keys.get("XPU used to build PyTorch")):
        torch["xpu"] = keys["XPU used to build PyTorch"]
    elif re.search(r"\+xpu\b", version) or keys.get("Is XPU available", "").lower() == "true":
        torch["xpu"] = version
    available = keys.get("Is CUDA available", "").lower()
    if available in {"true", "yes"}:
        torch["devices"] = [name.strip() for name in _GPU.findall(text)] or ["cuda:0"]
    elif keys.get("Is XPU available", "").lower() == "true":
        torch["devices"] = re.findall(r"_XpuDeviceProperties\(name='([^']+)'", text) or ["xpu:0"]
    elif available in {"false", "no"} and keys.get("Is XPU available", "False").lower() == "false" and not _mac(keys):
        torch["devices"] = []
    return torch


def _mac(keys: dict[str, str]) -> bool:
    return _os_of(keys.get("OS", "")).get("os") == "macos"
