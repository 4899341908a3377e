"""What an error text says of the machine that it comes from: paths, versions, tables of nvidia-smi, lists of pip.

Only what a text states is taken; a requirement that was asked for is no package that is installed.
"""

from __future__ import annotations

import re
from typing import Any

from torchcheck.doctor import collect_env
from torchcheck.doctor.evidence import compiled
from torchcheck.doctor.log import Log
from torchcheck.facts import Facts, from_json, to_json

SYSTEMS = (
    (
        "windows",
        r"WinError|win_amd64|win_arm64|\b[A-Za-z]:\\{1,2}\w|\.dll\b|[\\/]Scripts[\\/]|MSC v\.\d|AppData\\|win32",
    ),
    (
        "macos",
        (
            r"macosx_\d|macOS-\d|\.dylib\b|/Library/Frameworks/|\bMacOS \d|darwin|/opt/homebrew/|"
            r"/Users/\w[^\n]{0,80}/lib/python3"
        ),
    ),
    (
        "linux",
        (
            r"manylinux|linux_x86_64|linux_aarch64|musllinux|linux-gnu|/usr/lib/|/home/[\w<]|\.so(?:\.\d+)*\b|"
            r"/dev/shm|\bapt(?:-get)? install"
        ),
    ),
)
PYTHONS = (
    r"python(\d\.\d{1,2})[\\/](?:site|dist)-packages",
    r"Python(\d)(\d{1,2})(?:-32)?\\+(?:lib|Scripts|python\.exe)",
    r"python(\d)(\d{1,2})\\+site-packages",
    r"\.cpython-(\d)(\d{1,2})t?-",
    r"Python (\d\.\d{1,2}(?:\.\d+)?)(?:[ |(]|$)",
    r"CPython (\d\.\d{1,2})\b",
)


def facts_of(log: Log) -> Facts:
    """Give the facts that a text states of its machine; pasted collect_env output first."""
    pasted = collect_env.parse(log.text) if _has_environment(log) else Facts()
    return merge(pasted, from_json(_document(log)))


def _has_environment(log: Log) -> bool:
    return any(
        mark in log.text
        for mark in ("PyTorch version:", "Python platform:", "OS: ", "Nvidia driver version:", "[pip3]", "[conda]")
    )


def merge(first: Facts, second: Facts) -> Facts:
    """Fill what the first leaves unknown from the second; what the first knows stands."""
    return from_json(_filled(to_json(first), to_json(second)))


def _filled(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            key: _filled(first[key], second[key]) if key in first and key in second else first.get(key, second.get(key))
            for key in first | second
        }
    return first


def contradict(first: Facts, second: Facts) -> bool:
    """Say whether two sets of facts cannot be of the same machine and target."""
    pairs = (
        (first.system.os, second.system.os),
        (_short(first.python.version), _short(second.python.version)),
        (_short(first.torch.version), _short(second.torch.version)),
        (first.system.machine, second.system.machine),
        (_names(first), _names(second)),
    )
    return any(a and b and a != b for a, b in pairs)


def _short(version: Any) -> str:
    return ".".join(str(version).split("+")[0].split(".")[:3]) if version and str(version).count(".") > 1 else ""


def _names(facts: Facts) -> tuple[str, ...]:
    return tuple(sorted(str(gpu.name) for gpu in facts.gpus or () if gpu.name))


def _document(log: Log) -> dict[str, Any]:
    text = log.text
    document: dict[str, Any] = {"system": _system(text), "python": _python(text), "torch": _torch(text), "drivers": {}}
    driver = re.search(r"\b(?:Driver|KMD) Version:\s*(\d+\.\d+(?:\.\d+)?)", text)
    speaks = re.search(r"\bCUDA(?: UMD)? Version:\s*(\d+\.\d+)", text)
    if driver or speaks:
        document["drivers"] = {
            "nvidia": ({"version": driver[1]} if driver else {}) | ({"cuda": speaks[1]} if speaks else {})
        }
    gpus, packages, env = _gpus(text), _packages(text), _environment(text)
    document |= {"gpus": gpus} if gpus else {}
    document |= {"packages": packages} if packages else {}
    document |= {"env": env} if env else {}
    return {key: value for key, value in document.items() if value}


def _system(text: str) -> dict[str, Any]:
    found = [name for name, pattern in SYSTEMS if compiled(pattern).search(text)]
    # A text with the signs of two systems (a path in WSL, a list of wheels) decides nothing.
    system: dict[str, Any] = {"os": found[0]} if len(found) == 1 else {}
    machine = re.search(
        r"(?:You're on \w+ \(`\w*?_|Platform tag[^\n]{0,40}_)(x86_64|aarch64|arm64|armv7l|ppc64le|riscv64|s390x|i686)",
        text,
    )
    hinted = re.search(r"You're on (macOS|Linux|Windows) \(`(\w+)`\)", text)
    if hinted:
        system["os"] = hinted[1].lower()
        for tag, name in (
            ("x86_64", "x86_64"),
            ("aarch64", "aarch64"),
            ("win_amd64", "x86_64"),
            ("win_arm64", "arm64"),
            ("arm64", "arm64"),
            ("win32", "x86"),
        ):
            if hinted[2].endswith(tag):
                system.setdefault("machine", name)
        system |= {"libc": "musl"} if hinted[2].startswith("musllinux") else {}
    if machine:
        system.setdefault("machine", machine[1])
    channel = re.search(r"https://(?:conda|repo)\.anaconda\.(?:org|com)/\S+/(linux|osx|win)-(\w+)", text)
    if channel:
        system["os"] = {"osx": "macos", "win": "windows"}.get(channel[1], channel[1])
        system.setdefault("machine", {"64": "x86_64", "32": "x86"}.get(channel[2], channel[2]))
    if re.search(r"64 bit \(ARM64\)\] on win32", text):
        system |= {"os": "windows", "machine": "arm64"}
    if re.search(r"microsoft-standard(?:-WSL2)?|/mnt/wsl|/usr/lib/wsl/", text):
        system |= {"wsl": True, "os": "linux"}
    if re.search(
        r"\b\d+\.\d+\.\d+-tegra\b|\bL4T\b|\bJetPack\b|/etc/nv_tegra_release|\bR\d\d \(release\), REVISION", text
    ):
        system |= {"os": "linux", "machine": "aarch64", "kernel": "tegra"}
    return system


def _python(text: str) -> dict[str, Any]:
    versions = {".".join(found.groups()) for pattern in PYTHONS for found in re.finditer(pattern, text, re.IGNORECASE)}
    short = {".".join(version.split(".")[:2]) for version in versions}
    python: dict[str, Any] = {"version": max(versions, key=len)} if len(short) == 1 else {}
    if re.search(r"(?i)32 bit \(Intel\)|Python\d\d\d?-32\b|\bwin32\.whl|\bcp\d+-win32\b|32-bit runtime", text):
        python["bits"] = 32
    elif re.search(r"64 bit \((?:AMD64|ARM64)\)|64-bit runtime", text):
        python["bits"] = 64
    if re.search(
        r"[\\/](?:ana|mini)conda3?[\\/]|[\\/]miniforge3?[\\/]|[\\/]mambaforge[\\/]|envs[\\/][\w.-]+[\\/]lib",
        text,
        re.IGNORECASE,
    ):
        python["environment"] = "conda"
    if re.search(r"\bPyPy\b|[\\/]pypy3?", text):
        python["implementation"] = "pypy"
    if re.search(r"free-threading build|\bcp3\d+t\b-|python3\.\d+t\b", text):
        python["free_threaded"] = True
    if re.search(r"PythonSoftwareFoundation\.Python\.", text, re.IGNORECASE):
        python["environment"] = "store"
    if re.search(r"python_embeded[\\/]|python_embedded[\\/]", text, re.IGNORECASE):
        python["environment"] = "embedded"
    pip = re.search(r"\bpip (\d+\.\d+(?:\.\d+)?) from ", text)
    python |= {"pip": pip[1]} if pip else {}
    return python


def _torch(text: str) -> dict[str, Any]:
    torch: dict[str, Any] = {}
    version = re.search(r">>> (?:print\()?torch\.__version__\)?\s*\n\s*'?(\d+\.\d+\.\d+[\w.+]*)", text) or re.search(
        r"\b(?:PyTorch|torch)[ .]version\s*[:=]\s*'?(\d+\.\d+\.\d+[\w.+]*)", text, re.IGNORECASE
    )
    version = version or re.search(
        r"print\([^\n]{0,60}torch\.__version__[^\n]{0,120}\n\s*'?(\d+\.\d+\.\d+[\w.+]*)", text
    )
    if version:
        torch |= {"import": "ok", "version": version[1]}
    built = re.search(r"torch\.version\.cuda\)?\s*[:=]?\s*\n?\s*'?(None|\d+\.\d+)\b", text)
    if built:
        torch["cuda"] = None if built[1] == "None" else built[1]
    file = re.search(r"torch\.__file__\)?\s*\n?\s*'?((?:[A-Za-z]:)?[\\/][^\n']{3,200}__init__\.py)", text)
    torch |= {"import": "ok", "file": file[1]} if file else {}
    listed = re.search(r"supports CUDA capabilities ((?:(?:sm|compute)_\w+\s*)+)", text)
    if listed:
        torch |= {"import": "ok", "arch_list": listed[1].split()}
    return torch


def _gpus(text: str) -> list[dict[str, Any]]:
    found = re.search(
        r"^\s*(?:\S{0,80}Warning:\s*)?(?:Found GPU\d+ )?([A-Z][\w .()-]{3,60}?) (?:with CUDA capability sm_|"
        r"which is of (?:cuda|compute) capability (?:\(CC\) )?)(\d+)(?:\.(\d))?",
        text,
        re.MULTILINE,
    )
    if found:
        major, minor = (found[2], found[3]) if found[3] else (found[2][:-1], found[2][-1])
        return [{"vendor": "nvidia", "name": found[1].strip(), "compute_capability": f"{major}.{minor}"}]
    names = re.findall(
        (
            r"^\|\s+\d+\s+((?:NVIDIA |Tesla |Quadro |GeForce |GRID |TITAN |RTX )[^|\n]{2,40}?)\s+(?:On|Off|"
            r"WDDM|TCC|N/A|\w+)\s*\|"
        ),
        text,
        re.MULTILINE,
    )
    names = names or re.findall(r"^GPU \d+: ([^\n(]{3,60}?) \(UUID: GPU-", text, re.MULTILINE)
    return [{"vendor": "nvidia", "name": name.strip()} for name in names if not name.rstrip().endswith("...")]


def _packages(text: str) -> dict[str, str]:
    rows = re.findall(
        r"^(torch|torchvision|torchaudio|numpy|triton|triton-windows|xformers|flash[-_]attn|torchcodec)\s{2,}(\d[\w.+!-]*)\s*(?:pypi_\w+\s+pypi)?$",
        text,
        re.MULTILINE,
    )
    shown = re.findall(r"^Name: (\S+)\s*\nVersion: (\S+)", text, re.MULTILINE)
    missing_local = re.search(r"but you have torch (\d\S+) which is incompatible", text)
    packages = {name.replace("_", "-"): version for name, version in [*rows, *shown]}
    if missing_local:
        packages.setdefault("torch", missing_local[1])
    for name, version in re.findall(
        r"^(?:ERROR: )?(torchvision|torchaudio|xformers) (\d\S*) requires torch", text, re.MULTILINE
    ):
        packages.setdefault(name, version)
    return packages


def _environment(text: str) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in re.findall(r"\b((?:CUDA|HIP|ROCR)_VISIBLE_DEVICES)['\"]?\]?\s*=\s*['\"]?(-?[\w,-]*)", text):
        if name not in env and (value == "NoDevFiles" or not value.isidentifier()):
            env[name] = value
    found = re.search(r"\bLD_LIBRARY_PATH=([^\s'\"]+)", text)
    env |= {"LD_LIBRARY_PATH": found[1]} if found else {}
    return env
