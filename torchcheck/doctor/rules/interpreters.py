"""Wrong place: torch is missing in the Python that ran, or another copy or a file of the user is taken for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.diagnosis import Severity
from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.facts import UNKNOWN

USER_SITE = r"[\\/]\.local[\\/]lib[\\/]python|AppData[\\/]Roaming[\\/]Python|[\\/]Library[\\/]Python[\\/]\d"


SITE = re.compile(r"((?:[A-Za-z]:)?[\\/][^\s'\"<>|:]{0,200}?[\\/](?:site|dist)-packages)", re.IGNORECASE)


@rule
def torch_missing(e: Evidence) -> Iterator[Finding]:
    """torch is not installed in the interpreter that ran, or only in another one."""
    match = e.search(r"No module named '?torch'?(?![\w.])")
    if not match and e.facts.torch.import_ != "missing":
        return
    seen = (e.quote(match) if match else "import torch: No module named 'torch'.",)
    elsewhere = e.package("torch") or e.search(r"Requirement already satisfied: torch\b")
    building = e.search(
        r"Getting requirements to build wheel|pip-build-env|build_meta|setup\.py egg_info|metadata-generation-failed"
    ) or e.search("egg_info")
    told = e.handed_in(match)
    weight = (
        Weight.CONFIRMED if told and e.facts.torch.import_ == "missing" else Weight.DECISIVE if told else Weight.PROVEN
    )
    if building and match:
        fix = (
            "{install}",
            "{pip} install --no-build-isolation PACKAGE   (so that the build sees the torch that is installed)",
        )
        yield Finding(
            "torch-missing", weight, (*seen, "It was said in pip's isolated build environment."), fix, from_log=True
        )
    elif elsewhere:
        stated = (
            f"torch {e.package('torch')} is installed"
            if e.package("torch")
            else "pip says that torch is installed already"
        )
        yield Finding(
            "wrong-interpreter",
            weight,
            (*seen, f"{stated}, but not for the interpreter that ran."),
            from_log=told,
        )
        yield Finding("torch-missing", Weight.LIKELY, seen, from_log=told)
    else:
        places = {place.lower() for place in SITE.findall(e.log.text)}
        if len(places) > 1:
            yield Finding(
                "wrong-interpreter",
                weight - 1,
                (*seen, f"The text shows {len(places)} site-packages folders."),
                from_log=True,
            )
        yield Finding("torch-missing", weight, seen, from_log=told)


@rule
def versions_disagree(e: Evidence) -> Iterator[Finding]:
    """The torch that ran is not the torch that is installed."""
    said = e.search(r"\(you have (\d+\.\d+\.\d+(?:\+\w+)?)\)")
    running = said[1] if said else str(e.facts.torch.version or "")
    installed = (e.given.packages and e.given.packages.get("torch", "")) or e.package("torch")
    if not running or not installed or _same(running, installed):
        return
    seen = (f"The torch that runs is {running}, the one that is installed here is {installed}.",)
    if said:
        yield Finding("wrong-interpreter", Weight.CONFIRMED, (e.quote(said), *seen), from_log=True)
    else:
        yield Finding("duplicate-install", Weight.PROVEN, seen, from_log=bool(e.log.text))


def _same(one: str, other: str) -> bool:
    """Say whether two versions can be of one installation: metadata lacks the tag, reports shorten."""
    shorter, longer = sorted((numbers(one), numbers(other)), key=len)
    tags = {tag[1] for text in (one, other) if (tag := re.search(r"\+(cu\d+|rocm[\d.]+|cpu|xpu)", text))}
    return longer[: len(shorter)] == shorter and len(tags) < 2


@rule
def duplicate_install(e: Evidence) -> Iterator[Finding]:
    """torch comes from outside the environment that runs."""
    file, environment = str(e.facts.torch.file or ""), e.facts.python.environment
    # A venv made with --system-site-packages, whose one torch is the system's or the user's, is as it was wished.
    shared = e.facts.python.system_site is True and e.facts.torch.import_ == "ok" and not e.facts.python.copies
    if file and re.search(USER_SITE, file, re.IGNORECASE) and not shared:
        isolated = environment in {"venv", "conda", "pipx"} or e.container
        if isolated or (environment is UNKNOWN and e.log.text):
            weight = Weight.PROVEN if isolated else Weight.LIKELY
            yield Finding("duplicate-install", weight, (f"torch is loaded from {file}.",), from_log=bool(e.log.text))
    elif (
        file
        and e.facts.python.prefix
        and environment in {"venv", "conda"}
        and not _inside(file, str(e.facts.python.prefix))
        and "-packages" in file
        and not shared
    ):
        yield Finding(
            "duplicate-install",
            Weight.PROVEN,
            (f"torch is loaded from {file}, the environment is {e.facts.python.prefix}.",),
            from_log=bool(e.log.text),
        )
    path = (e.facts.env or {}).get("PYTHONPATH", "")
    if path and file and any(part and _inside(file, part) for part in re.split(r"[;:](?![\\/])", path)):
        yield Finding(
            "duplicate-install",
            Weight.PROVEN,
            (f"torch is loaded from {file}, by PYTHONPATH={path}.",),
            from_log=bool(e.log.text),
        )
    yield from _traceback_in_user_site(e)
    works = e.facts.torch.import_ == "ok"
    wished = works and e.facts.python.system_site is True and _inside(file, str(e.facts.python.prefix))
    for name, places in (e.facts.python.copies or {}).items() if not wished else ():
        seen = (f"{name} stands more than once, the first wins: {places}.",)
        severity: Severity = "warning" if works else "error"
        strength = Weight.HINT + 10 if works else Weight.LIKELY
        yield Finding("duplicate-install", strength, seen, severity=severity, from_log=bool(e.log.text))


def _inside(file: str, folder: str) -> bool:
    return file.replace("\\", "/").lower().startswith(folder.rstrip("\\/").replace("\\", "/").lower() + "/")


def _traceback_in_user_site(e: Evidence) -> Iterator[Finding]:
    """A traceback goes through the user site and through an environment as well."""
    match = e.search(
        r'File "([^"\n]{0,200}(?:\.local[\\/]lib[\\/]python|AppData\\Roaming\\Python)[^"\n]{0,100}-packages)'
        r"[\\/](?:torch|numpy|typing_extensions|sympy|triton)\b"
    )
    other = e.search(
        r'File "([^"\n]{0,200}[\\/](?:envs[\\/]|\.?venv[\\/]|(?:ana|mini)conda3[\\/]|miniforge3[\\/])[^"\n]{0,200})"'
    )
    failed = e.search(r"^\w*(?:Error|Exception)\b: ") or e.search(r"\n\w*(?:Error|Exception)\b: ")
    if match and failed and (other or e.facts.python.environment in {"venv", "conda"}):
        seen = (
            f"The traceback goes through the user's own packages: {match[1]}",
            *((f"and through {other[1]}",) if other else ()),
        )
        yield Finding("duplicate-install", Weight.LIKELY, seen, from_log=True)


@rule
def file_shadowing(e: Evidence) -> Iterator[Finding]:
    """A file or folder of the user hides torch."""
    file = str(e.facts.torch.file or "")
    if file and not re.search(r"(?:site|dist)-packages", file) and e.facts.torch.import_ == "error":
        yield Finding(
            "file-shadowing",
            Weight.PROVEN,
            (f"torch is {file}, which is not in site-packages.",),
            _rename(file) if re.search(r"[\\/]torch\.py$", file) else (),
            from_log=bool(e.log.text),
        )
    match = e.search(
        r"No module named '?torch\._C'?|name '_C' is not defined|cannot import name '_C' from|"
        r"from torch\._C import \(|DLL load failed while importing _C\b"
    )
    if match and re.search(r"DLL", match[0]):
        return
    installed = re.search(r"(?:site|dist)-packages", file)
    if match and installed:
        yield Finding("corrupt-install", Weight.CONFIRMED, (e.quote(match), f"torch is {file}."), from_log=True)
    elif match and "from torch._C import (" not in match[0]:
        # Python takes a folder without __init__.py only where no package is: torch is not there, or half of it.
        half = e.search(r"from 'torch' \(unknown location\)|Ignoring invalid distribution [-~]{1,3}\w*rch\b")
        first, second = ("corrupt-install", "file-shadowing") if half else ("file-shadowing", "corrupt-install")
        yield Finding(first, Weight.LIKELY, (e.quote(match),), from_log=True)
        yield Finding(second, Weight.SUGGESTED, (e.quote(match),), from_log=True)
    package = e.search(r"No module named '?torch\.(?!_C\b)\w+[\w.]*'?; '?torch'? is not a package")
    attribute = e.search(r"(?:partially initialized )?module 'torch' has no attribute '(\w+)'")
    if package:
        yield Finding("file-shadowing", Weight.DECISIVE, (e.quote(package),), from_log=True)
    if attribute and attribute[1] in COMMON and not e.search(r"partially initialized"):
        yield Finding("file-shadowing", Weight.LIKELY, (e.quote(attribute),), from_log=True)
    sympy = e.search(r"module 'sympy' has no attribute")
    if sympy:
        yield Finding("file-shadowing", Weight.SUGGESTED, (e.quote(sympy),), from_log=True)


# A traceback's frames, and the files of the standard library that torch imports at start: a file of such a name in
# another folder is taken instead of it.
FRAME = re.compile(r'^[^\n"]{0,80}?File "([^"\n]{1,400}?([\w.-]+)\.py)", line \d+', re.MULTILINE)


TAKEN = frozenset(
    {
        *(
            "torch",
            "random",
            "typing",
            "types",
            "copy",
            "inspect",
            "enum",
            "json",
            "logging",
            "queue",
            "numbers",
            "string",
        ),
        *(
            "struct",
            "platform",
            "functools",
            "operator",
            "collections",
            "dataclasses",
            "contextlib",
            "warnings",
            "secrets",
        ),
        *(
            "tokenize",
            "token",
            "code",
            "select",
            "signal",
            "calendar",
            "statistics",
            "ast",
            "dis",
            "abc",
            "numpy",
            "sympy",
        ),
    }
)


OF_PYTHON = re.compile(
    r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib(?:64)?[\\/]python\d|\\lib\\|\.zip[\\/]|<frozen", re.IGNORECASE
)


@rule
def own_frame(e: Evidence) -> Iterator[Finding]:
    """The traceback goes through a file of the user that is named like torch or a module of Python."""
    failed = e.search(
        r"partially initialized module|circular import|cannot import name|is not a package|"
        r"AttributeError: (?:partially initialized )?module '\w+' has no attribute"
    )
    for frame in FRAME.finditer(e.log.text) if failed else ():
        if frame[2] in TAKEN and not OF_PYTHON.search(frame[1]) and f"'{frame[2]}" in e.log.text:
            seen = (f"The traceback goes through {frame[1]}, which hides the module {frame[2]}.",)
            yield Finding("file-shadowing", Weight.DECISIVE + 1, seen, _rename(frame[1]), from_log=True)
            return


@rule
def named_file(e: Evidence) -> Iterator[Finding]:
    """Python itself names the file that hides a module."""
    match = e.search(r"consider renaming '([^'\n]{1,300}\.py)'|circular import\) \(([^()\n]{1,300}\.py)\)")
    path = (match[1] or match[2]) if match else ""
    name = re.split(r"[\\/]", path)[-1].removesuffix(".py")
    if match and not OF_PYTHON.search(path) and (match[1] or name in TAKEN):
        yield Finding("file-shadowing", Weight.LIKELY, (e.quote(match),), _rename(path), from_log=True)


def _rename(path: str) -> tuple[str, ...]:
    """Give the steps that end the shadow of a file; a name that no placeholder can carry is left to the usual ones."""
    if re.search(r"[{}]", path):
        return ()
    return (f"{{rename {path}}}   (and import it by that name)", "Delete the __pycache__ beside it.")


COMMON = {
    "__version__",
    "Tensor",
    "tensor",
    "nn",
    "cuda",
    "float32",
    "device",
    "zeros",
    "rand",
    "randn",
    "manual_seed",
    "no_grad",
    "load",
    "save",
    "FloatTensor",
}


@rule
def externally_managed(e: Evidence) -> Iterator[Finding]:
    """torch is to be installed into a Python that the system manages."""
    if (
        e.facts.python.externally_managed
        and e.facts.torch.import_ == "missing"
        and e.facts.python.environment != "venv"
    ):
        yield Finding(
            "externally-managed",
            Weight.PROVEN + 1,
            ("This Python is marked as externally managed (PEP 668), and torch is missing.",),
            from_log=bool(e.log.text),
        )
