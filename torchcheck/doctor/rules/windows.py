"""Windows loading, OpenMP, conda: which DLL failed, with which number, and what the facts say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule

DLL = (
    r"(?:WinError (?P<number>\d+)\b[^\n]{0,300}?)?"
    r"(?:[Ee]rror loading|Could not (?:load|locate|find)(?: (?:library|module))?|Failed to load|when loading(?: the)?)"
    r"\W{0,4}(?P<path>[^\n\"']{0,300}?(?P<name>[\w.+-]+\.(?:dll|pyd)))"
)
NEEDED_RUNTIME = (14, 40)
OTHER_PARTS = r"PyQt\d|PySide\d|\bQt\d?(?:Core|Gui|Widgets)\b|QGIS|\bvtk\b|QApplication|\bUnreal\b|\bBlender\b"
FIRST_NEEDING_NEW_RUNTIME = (2, 9)


def _not_windows(e: Evidence) -> bool:
    return bool(e.facts.system.os) and not e.windows


def runtime(e: Evidence) -> str:
    """Say of the Visual C++ runtime: "missing", "old", "new", "there" (version not shown) or "" (unknown)."""
    stated = e.facts.system.vc_redist
    if stated is None:
        return "missing"
    version = numbers(str(stated or ""))
    return ("new" if version >= NEEDED_RUNTIME else "old") if version else "there" if stated else ""


@rule
def dll(e: Evidence) -> Iterator[Finding]:
    """A DLL of torch could not be loaded."""
    match = e.search(DLL) or e.search(DLL)
    if not match or _not_windows(e):
        return
    name, found = match["name"].lower(), re.search(r"WinError (\d+)|[Ee]rror code:? (\d+)", e.log.text)
    number = match["number"] or (found and (found[1] or found[2])) or ""
    if number in {"193", "1455", "4551", "112"}:
        if number == "193":
            yield Finding("win-dll-load-failed", Weight.SUGGESTED, (e.quote(match),), from_log=True)
        return
    if (
        re.search(r"torchaudio|torchvision|flash_attn|xformers|torchcodec", match["path"], re.IGNORECASE)
        or "torchcodec" in name
    ):
        return
    yield from _by_name(e, match, name, number)


def _by_name(e: Evidence, match: re.Match[str], name: str, number: str) -> Iterator[Finding]:
    seen = (e.quote(match),)
    if name == "fbgemm.dll":
        yield from _fbgemm(e, seen)
    elif re.match(r"c10_xpu|backend_with_compiler|intel-ext-pt|torch_xpu|esimd", name):
        return
    elif number == "1114" or (name in {"c10.dll", "torch_python.dll"} and number in {"", "1114"}):
        yield from _runtime_clash(e, seen)
    elif name == "c10.dll" or runtime(e) in {"missing", "old"}:
        yield Finding(
            "win-vcredist", _runtime_weight(e, Weight.DECISIVE - 1), (*seen, *_runtime_seen(e)), from_log=True
        )
        yield Finding("win-dll-load-failed", Weight.SUGGESTED, seen, from_log=True)
    else:
        fix = SHM if name == "shm.dll" else ()
        yield Finding("win-dll-load-failed", Weight.DECISIVE - 1, seen, fix, from_log=True)
        if re.search(r"cudnn|cublas|cufft|nvrtc|cudart", name):
            yield Finding("library-path-conflict", Weight.SUGGESTED, seen, from_log=True)
        elif number == "126" and not runtime(e):
            yield Finding("win-vcredist", Weight.SUGGESTED, seen, from_log=True)


# shm.dll of 2.3.0 needs a DLL of MKL that a user's installation does not find (pytorch/pytorch/issues/125109).
SHM = (
    '{pip} install "torch==2.3.1"   (when torch is 2.3.0, which was mended in 2.3.1)',
    "py -m venv C:\\v   (or in a fresh environment)",
    "torchcheck install --python C:\\v\\Scripts\\python.exe",
)


def _fbgemm(e: Evidence, seen: tuple[str, ...]) -> Iterator[Finding]:
    """Judge fbgemm.dll: 2.4.0, nightlies and early ROCm wheels need an OpenMP library that Windows lacks."""
    mended = e.release >= (2, 4, 1) and not re.search(r"dev|rocm", e.torch_version)
    if mended:
        yield Finding("win-vcredist", _runtime_weight(e, Weight.LIKELY), (*seen, *_runtime_seen(e)), from_log=True)
        yield Finding("win-missing-openmp-dll", Weight.SUGGESTED, seen, from_log=True)
        return
    weight = Weight.CONFIRMED if e.release[:2] == (2, 4) else Weight.DECISIVE
    yield Finding("win-missing-openmp-dll", weight, seen, from_log=True)


def _runtime_clash(e: Evidence, seen: tuple[str, ...]) -> Iterator[Finding]:
    """Judge 1114: the runtime is missing or old, or another part of the program loaded an older one first."""
    state, other = runtime(e), e.search(OTHER_PARTS)
    alone = e.facts.torch.import_ == "ok"
    clash = Weight.LIKELY
    if alone or other or state == "new":
        clash = Weight.CONFIRMED if alone or state == "new" else Weight.DECISIVE
        why = (
            "torch imports alone."
            if alone
            else f"The runtime here is {e.facts.system.vc_redist}."
            if state == "new"
            else f"The program also uses {other[0] if other else ''}."
        )
        seen = (*seen, why)
    if e.release and e.release[:2] < FIRST_NEEDING_NEW_RUNTIME and not alone:
        clash = min(clash, Weight.SUGGESTED)
    yield Finding("win-dll-init-1114", clash, seen, from_log=True)
    if state != "new" and not alone:
        weight = _runtime_weight(e, Weight.LIKELY + 1)
        yield Finding("win-vcredist", weight, (*seen, *_runtime_seen(e)), from_log=True)


def _runtime_weight(e: Evidence, usual: int) -> int:
    return Weight.CONFIRMED + 1 if runtime(e) in {"missing", "old"} else usual


def _runtime_seen(e: Evidence) -> tuple[str, ...]:
    state = runtime(e)
    if state == "missing":
        return ("The Visual C++ runtime is not installed.",)
    return (f"The Visual C++ runtime is {e.facts.system.vc_redist}, torch needs 14.40.",) if state == "old" else ()


@rule
def unnamed_dll(e: Evidence) -> Iterator[Finding]:
    """`DLL load failed` without the name of a DLL, while torch's own part was imported."""
    match = e.search(r"DLL load failed(?: while importing _C\b)?(?!\s+while importing (?!_C\b))[^\n]{0,100}")
    other = match and not _not_windows(e) and _extension(e)
    if match and other:
        yield Finding("extension-abi-mismatch", Weight.DECISIVE, (e.quote(match), f"It is {other}'s."), from_log=True)
        return
    own = match and ("_C" in match[0] or e.search(r"from torch\._C import|import torch\b|torch[\\/]__init__\.py"))
    if match and own and not _not_windows(e) and not e.search(DLL):
        yield Finding(
            "win-vcredist", _runtime_weight(e, Weight.LIKELY + 1), (e.quote(match), *_runtime_seen(e)), from_log=True
        )
        yield Finding("win-dll-load-failed", Weight.LIKELY, (e.quote(match),), from_log=True)


def _extension(e: Evidence) -> str:
    """The package other than torch whose own compiled module `_C` was being imported, or ""."""
    asked = re.findall(r"from (\w+)(?:\.\w+)* import _C\b", e.log.text)
    return asked[-1] if asked and asked[-1] != "torch" else ""


@rule
def extension_dll(e: Evidence) -> Iterator[Finding]:
    """A module compiled for torch cannot be loaded; its name says what it is."""
    match = e.search(
        r"DLL load failed while importing (\w*(?:_kernels?|_cuda|_gpu|raster\w*|knn|nms)\w*)\b[^\n]{0,100}"
    )
    if match and not _not_windows(e):
        yield Finding("extension-abi-mismatch", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def runtime_missing(e: Evidence) -> Iterator[Finding]:
    """torch cannot be imported, and the C++ runtime is missing or old."""
    if (
        e.windows
        and e.facts.torch.import_ in {"error", "crash"}
        and runtime(e) in {"missing", "old"}
        and not e.says("WinError 193", "WinError 4551", "WinError 1455")
    ):
        yield Finding("win-vcredist", Weight.PROVEN, _runtime_seen(e), from_log=bool(e.log.text))


@rule
def watchdog(e: Evidence) -> Iterator[Finding]:
    """Windows' GPU watchdog reset the driver."""
    match = e.search(
        r"the launch timed out and was terminated|cudaErrorLaunchTimeout|CUDA_ERROR_LAUNCH_TIMEOUT"
    ) or e.search(
        r"nvlddmkm[^\n]{0,60}(?:stopped responding|4101|\b153\b|\b14\b)|event (?:id )?4101|\bVIDEO_TDR\w*|\bTdrDelay\b"
    )
    reset = e.search(r"device not ready") if e.wsl or e.windows or e.says("WSL") else None
    found = match or reset
    if found and (e.windows or e.wsl or (not e.facts.system.os and not e.says("dmesg", "Xid"))):
        known = e.windows or e.wsl
        yield Finding("win-tdr", Weight.CONFIRMED if known else Weight.LIKELY, (e.quote(found),), from_log=True)


@rule
def channel_mix(e: Evidence) -> Iterator[Finding]:
    """Packages of different conda channels are mixed."""
    rows = re.findall(
        r"^\W{0,8}(?:\[conda\]\s+)?(pytorch|torchvision|torchaudio|libtorch|pytorch-cuda|mkl|numpy|libstdcxx-ng|intel-openmp|llvm-openmp)\s+(\d\S*)\s+(\S+)\s*(pytorch(?:-nightly|-lts)?|conda-forge|nvidia|defaults|anaconda|main|pkgs/main)?\s*$",
        e.log.text,
        re.MULTILINE,
    )
    channels = {name: channel or "defaults" for name, _, build, channel in rows if build != "pypi"}
    core = {
        channel for name, channel in channels.items() if name in {"pytorch", "torchvision", "torchaudio", "libtorch"}
    }
    mixed = len(core) > 1 or ("conda-forge" in channels.values() and core and core != {"conda-forge"})
    undefined = e.search(r"undefined symbol: _Z\w+|symbol lookup error|Symbol not found: __?Z\w+")
    if mixed:
        listed = ", ".join(f"{name} from {channel}" for name, channel in sorted(channels.items()))
        yield Finding(
            "conda-channel-mix",
            Weight.CONFIRMED if undefined else Weight.HINT + 10,
            (f"Channels: {listed}.", *((e.quote(undefined),) if undefined else ())),
            from_log=True,
        )
    elif (
        undefined
        and e.conda
        and e.search(r"libtorch\w*\.so[^\n]{0,40}: undefined symbol|libmkl\w*\.so|libprotobuf|libabsl")
    ):
        yield Finding(
            "conda-channel-mix", Weight.LIKELY, (e.quote(undefined), "This is a conda environment."), from_log=True
        )
