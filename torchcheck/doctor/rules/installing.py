"""Installation: the wheel arrived, and does not get into its place, or not whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.diagnosis import Severity
from torchcheck.doctor.evidence import Evidence, Finding, Weight
from torchcheck.doctor.registry import rule
from torchcheck.doctor.signatures import DEPENDENCY

PIP = (
    r"pip[\\/]_(?:vendor|internal)|Could not install packages|Installing collected packages|Collecting |"
    r"Downloading |Using cached |\bpip(?:3|\.exe)? install|site-packages|dist-packages"
)


WRITING = (
    r"Could not install packages|Installing collected packages|EnvironmentNotWritable|does not have write permissions|"
    r"Consider using the `--user` option|Attempting uninstall|failed to (?:remove|create|install|"
    r"copy) (?:file|directory)|"
    r"os error (?:13|30)\b"
)


PLACES = r"(?:site|dist)-packages|[\\/]envs[\\/]|[\\/]pkgs[\\/]|'RECORD'|'METADATA'|[\\/]bin[\\/](?:pip|torchrun)"


@rule
def permission(e: Evidence) -> Iterator[Finding]:
    """A file of the target may not be written."""
    match = e.search(
        r"\[Errno 13\][^\n]{0,300}|WinError 5\][^\n]{0,300}|PermissionError: [^\n]{0,300}|"
        r"EnvironmentNotWritableError|The current user does not have write permissions|os error (?:13|30)\b|"
        r"\[Errno 30\][^\n]{0,300}"
    )
    if not match or not (e.search(WRITING) or re.search(PLACES, match[0], re.IGNORECASE)):
        return
    line, win5 = match[0], "WinError 5]" in match[0]
    if re.search(r"[\\/~]~\w|~orch", line) or (
        win5
        and re.search(r"\.(?:dll|pyd|exe)\b", line)
        and not re.search(r"Program Files|ProgramData", line, re.IGNORECASE)
    ):
        yield Finding(
            "win-files-in-use", Weight.DECISIVE if "~" in line else Weight.LIKELY, (e.quote(match),), from_log=True
        )
        if "~" not in line:
            yield Finding("permission-denied", Weight.SUGGESTED, (e.quote(match),), from_log=True)
    elif not re.search(r"/dev/kfd|/dev/dri|/dev/nvidia", line):
        yield Finding("permission-denied", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def not_writable(e: Evidence) -> Iterator[Finding]:
    """torch is missing and the target may not be written."""
    if (
        e.facts.python.writable is False
        and e.facts.torch.import_ == "missing"
        and not e.facts.python.externally_managed
    ):
        yield Finding(
            "permission-denied",
            Weight.PROVEN + 1,
            ("This user may not write into the target's site-packages.",),
            from_log=bool(e.log.text),
        )


@rule
def in_use(e: Evidence) -> Iterator[Finding]:
    """A running process holds torch's files."""
    match = e.search(r"WinError 32\b[^\n]{0,300}") or e.search(r"os error 32\b")
    if match and (e.search(PIP) or e.says("~orch", "torch")):
        yield Finding("win-files-in-use", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def long_path(e: Evidence) -> Iterator[Finding]:
    """A path is longer than Windows allows."""
    if e.facts.system.os and not e.windows:
        return
    match = e.search(r"\[Errno (?:2|22)\][^\n]{0,30}['\"]([A-Za-z]:\\[^'\"\n]{0,600})['\"]")
    if match and _deep(match[1], e):
        yield Finding(
            "win-long-path",
            Weight.DECISIVE,
            (
                e.quote(match),
                f"The path that failed has {len(match[1].replace(chr(92) * 2, chr(92)))} characters as quoted.",
            ),
            from_log=True,
        )
    packages = str(e.facts.python.site_packages or "")
    if (
        e.windows
        and e.facts.system.long_paths is False
        and e.facts.torch.import_ != "ok"
        and packages
        and len(packages) + DEEPEST > 259
    ):
        seen = (
            f"Long paths are off, and site-packages ({len(packages)} characters) leaves no room for torch's "
            f"deepest file ({DEEPEST})."
        )
        yield Finding("win-long-path", Weight.HINT + 10, (seen,))


# Longest path below site-packages in the wheels of torch 2.13 to 2.15 (their RECORD): a licence of 2.13.0.
DEEPEST = 171


def _deep(path: str, e: Evidence) -> bool:
    """Say whether a path that could not be made is one of those that get too long; quotations are often shortened."""
    plain = path.replace("\\\\", "\\")
    place = re.search(
        r"site-packages\\|\\licenses\\|torchinductor_|\\triton\\|LocalCache\\local-packages", plain, re.IGNORECASE
    )
    installing = e.search(r"Could not install packages|EnvironmentError|Installing collected")
    return len(plain) > 240 or bool(
        place and (installing or "torchinductor" in plain or "\\triton\\" in plain or "..." in plain)
    )


@rule
def leftovers(e: Evidence) -> Iterator[Finding]:
    """An earlier installation was left half done."""
    match = e.search(r"Ignoring invalid distribution [-~]{1,3}\w*rch\w*")
    works = e.facts.torch.import_ == "ok"
    if match:
        severity: Severity = "warning" if works else "error"
        yield Finding("corrupt-install", Weight.SUGGESTED, (e.quote(match),), severity=severity, from_log=True)
    if e.facts.python.leftovers:
        seen = (f"Leftovers of failed installations: {', '.join(e.facts.python.leftovers)}.",)
        yield Finding("corrupt-install", Weight.HINT + 10 if works else Weight.LIKELY, seen, severity="warning")


@rule
def damaged(e: Evidence) -> Iterator[Finding]:
    """Files of torch or a companion are missing, or are not those of the wheel."""
    for name, files in (e.facts.python.damaged or {}).items():
        # Scripts outside site-packages (../../../bin/torchrun) are no part of what is imported.
        own = [file for file in files.split(", ") if not file.startswith("..")]
        fix = (f"{{pip}} install --force-reinstall --no-deps --no-cache-dir {name}=={e.package(name)}",)
        broken = name == "torch" and e.facts.torch.import_ in {"error", "crash"}
        if own:
            seen = (f"Files of {name} are missing or changed: {', '.join(own)}.",)
            yield Finding("corrupt-install", Weight.CONFIRMED + 2 if broken else Weight.PROVEN, seen, fix)


@rule
def without_ssl(e: Evidence) -> Iterator[Finding]:
    """This Python has no ssl module."""
    if e.facts.python.ssl is False:
        severity: Severity = "warning" if e.facts.torch.import_ == "ok" else "error"
        seen = ("This Python has no ssl module: pip cannot use https.",)
        yield Finding("python-ssl-missing", Weight.PROVEN - 10, seen, severity=severity)


@rule
def missing_native(e: Evidence) -> Iterator[Finding]:
    """A library of torch itself is not there."""
    match = e.search(
        r"(?:libtorch_python|libtorch_cpu|libtorch|libc10|libshm|libtorch_global_deps)\.(?:so|"
        r"dylib)[.\d]*(?:: cannot open shared object|' \(no such file\)|[^\n]{0,80}image not found)"
    )
    own = match and (
        e.facts.torch.import_ == "error" or e.search(r"torch[\\/]__init__\.py|from torch\._C import|import torch\b")
    )
    if (
        match
        and own
        and not e.search(
            r"flash_attn|xformers|torchvision|torchaudio|torch_scatter|torch_sparse|mmcv|detectron2|deepspeed"
        )
    ):
        yield Finding("corrupt-install", Weight.LIKELY, (e.quote(match),), from_log=True)


@rule
def missing_module(e: Evidence) -> Iterator[Finding]:
    """A module of torch is missing, and torch itself asked for it."""
    match = e.search(r"No module named '?torch\.(?!_C\b)[\w.]+'?(?!; )\s*$")
    frames = re.findall(r'File "([^"\n]+)", line \d+', e.log.text[: match.start()] if match else "")
    if match and frames and re.search(r"-packages[\\/]torch[\\/]", frames[-1]):
        seen = (e.quote(match), f"It is asked for by torch's own {frames[-1]}.")
        yield Finding("corrupt-install", Weight.DECISIVE, seen, from_log=True)


@rule
def dependency(e: Evidence) -> Iterator[Finding]:
    """The failed import names the package to reinstall."""
    match = e.search(rf"(?:No module named '?|module '|from (?:partially initialized module )?')({DEPENDENCY})\b")
    if match:
        name = {"typing_extensions": "typing-extensions", "pkg_resources": "setuptools", "distutils": "setuptools"}.get(
            match[1], match[1]
        )
        yield Finding(
            "dependency-broken",
            Weight.DECISIVE,
            (e.quote(match),),
            (f"{{pip}} install --force-reinstall --upgrade {name}",),
            from_log=True,
        )
