"""Companions, NumPy, torch.compile: what stands beside torch and must fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, cuda_of, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.builds import may_have_lost
from torchcheck.wheels import catalog
from torchcheck.wheels.builds import allows

TORCH_SYMBOL = r"(?:_Z\w{0,6}?(?:3c10|2at|5torch|4c10d|6caffe2)\w*|THP\w+)"
NAMED_USERS = r"\b(torchvision|torchaudio|flash_attn\w*|xformers|torch_scatter|torch_sparse)\b"
FIRST_WITH_NUMPY2 = (2, 3, 0)
FIRST_WITH_NUMPY2_ON_WINDOWS = (2, 4, 1)


@rule
def missing(e: Evidence) -> Iterator[Finding]:
    """A companion is not installed and the program wants it."""
    match = e.search(r"No module named '?(torchvision|torchaudio)\b(?!\.)") or e.search(
        r"requires the (?:Torchvision|torchvision|torchaudio) library|Please install (torchvision|torchaudio)"
    )
    if match:
        name = (match[1] or ("torchaudio" if "audio" in match[0] else "torchvision")).lower()
        fix = (
            f"torchcheck install --only {name}",
            f'{{pip}} install --no-deps "{{pair {name}}}" --index-url {{installed_index}}',
        )
        yield Finding("companion-missing", Weight.DECISIVE, (e.quote(match),), fix, from_log=True)


@rule
def pair(e: Evidence) -> Iterator[Finding]:
    """A companion is of another torch release or CUDA than torch."""
    torch = e.package("torch") or e.torch_version
    if not torch or "dev" in torch or "a0" in torch or len(numbers(torch)) < 3:
        return
    for name in ("torchvision", "torchaudio"):
        version = e.package(name)
        if not version or "dev" in version or "a0" in version:
            continue
        trouble = _other_release(name, version, torch) or _other_cuda(e, name, version, torch)
        if trouble:
            failed = e.search(rf"{name}|torch(?:vision|audio)::|image\.so")
            yield Finding(
                "companion-mismatch",
                Weight.CONFIRMED if failed else Weight.PROVEN,
                (trouble,),
                from_log=bool(failed) or bool(e.log.text),
            )


def _other_release(name: str, version: str, torch: str) -> str:
    release, ours = version.partition("+")[0], torch.partition("+")[0]
    wanted = catalog.requires_torch(name, release) or _by_series(name, release)
    if not wanted or allows(wanted, ours):
        return ""
    # torchaudio and torchvision bug-fix releases run beside each other's patch releases in one series of theirs.
    return f"{name} {version} belongs to torch {wanted.removeprefix('==')}, installed is {torch}."


def _by_series(name: str, release: str) -> str:
    """torchvision 0.N of before the catalog goes with torch 1.(N - 1): 0.14 with 1.13, 0.8 with 1.7."""
    parts = numbers(release)
    if name == "torchvision" and len(parts) > 1 and (0, 5) <= parts[:2] <= (0, 14):
        return f"==1.{parts[1] - 1}.*"
    if name == "torchaudio" and len(parts) > 1 and (0, 7) <= parts[:2] <= (0, 13):
        return f"==1.{parts[1]}.*"
    return ""


def _other_cuda(e: Evidence, name: str, version: str, torch: str) -> str:
    """Compare the tags, or what PyPI's untagged wheels really are; conda's packages carry no tags."""
    theirs, system = version.partition("+")[2], e.facts.system.os
    if e.macos or (e.conda and not theirs) or (not system and not (e.tag and theirs)):
        return ""
    default = catalog.pypi_backend("torch", torch.partition("+")[0], e.machine.system) or ""
    if not theirs and "+" not in torch and e.tag and e.tag != default:
        return ""  # the list of packages was shortened
    ours = e.tag or default
    theirs = theirs or catalog.pypi_backend(name, version.partition("+")[0], e.machine.system) or ""
    if not ours or not theirs or _agree(name, ours, theirs) or (ours == "cpu" and "+" in version and may_have_lost(e)):
        return ""  # a torch that lost its tag: see builds.replaced_by_dependency
    return f"{name} {version} is a {theirs} build, torch {torch} is {ours}."


def _agree(name: str, ours: str, theirs: str) -> bool:
    """Say whether builds load beside each other: torchvision compares CUDA's major, torchaudio its minor too."""
    mine, other = cuda_of(ours), cuda_of(theirs)
    if mine and other:
        return mine[0] == other[0] if name == "torchvision" else mine == other
    # A CPU torchaudio reports no CUDA version, so that its check has nothing to compare.
    return ours == theirs or (theirs == "cpu" and name == "torchaudio")


@rule
def image_extension(e: Evidence) -> Iterator[Finding]:
    """torchvision's image extension did not load."""
    match = e.search(r"Failed to load image Python extension[^\n]{0,300}")
    if match:
        if re.search(r"libjpeg|libpng|libwebp", match[0]):
            return  # only torchvision.io misses them
        symbol = re.search(r"undefined symbol|Symbol not found|WinError 127", match[0])
        yield Finding(
            "companion-mismatch", Weight.DECISIVE if symbol else Weight.SUGGESTED, (e.quote(match),), from_log=True
        )


@rule
def extension(e: Evidence) -> Iterator[Finding]:
    """A compiled extension misses symbols of torch."""
    match = e.search(rf"([\w.+/\\-]+?\.so)(?:\.\d+)*: undefined symbol: ({TORCH_SYMBOL})") or e.search(
        rf"undefined symbol: ({TORCH_SYMBOL})"
    )
    if not match:
        return
    library = match[1] if match.lastindex == 2 else ""
    if re.search(r"torchvision|torchaudio|torchtext|image\.so|_torchaudio", library):
        return
    if re.search(r"(?:^|[\\/])(?:lib)?(?:torch|c10|torch_python|torch_cpu|torch_cuda)\.so$|torch[\\/]_C", library):
        return
    yield Finding("extension-abi-mismatch", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def extension_library(e: Evidence) -> Iterator[Finding]:
    """An extension does not find torch's library: it was imported first, or is for another torch."""
    match = e.search(
        r"(?:libc10|libc10_cuda|libtorch_cpu|libtorch|libtorch_python|libtorch_cuda)\.(?:so|"
        r"dylib): cannot open shared object file"
    ) or e.search(
        r"(?:libc10|libc10_cuda|libtorch_cpu|libtorch|libtorch_python|libtorch_cuda)\.(?:so|"
        r"dylib): cannot open shared object file"
    )
    user = e.search(
        r"site-packages[\\/](torchvision|torchaudio|torchtext|flash_attn\w*|xformers|torch_scatter|torch_sparse|torch_cluster|mmcv|detectron2|apex|deepspeed|mamba_ssm|causal_conv1d\w*|bitsandbytes|pytorch3d|nvdiffrast|gsplat|vllm)"
    )
    user = user or (e.search(NAMED_USERS) if match else None)
    if match and user:
        code = (
            "companion-mismatch" if user[1] in {"torchvision", "torchaudio", "torchtext"} else "extension-abi-mismatch"
        )
        yield Finding(
            code, Weight.DECISIVE - 5, (e.quote(match), f"It was {user[1]} that asked for it."), from_log=True
        )


@rule
def numpy2(e: Evidence) -> Iterator[Finding]:
    """torch was built for NumPy 1, and NumPy 2 is installed."""
    numpy, release = numbers(e.package("numpy")), e.release
    first = FIRST_WITH_NUMPY2_ON_WINDOWS if e.windows else FIRST_WITH_NUMPY2
    too_old = bool(release) and release < first[: max(len(release), 2)]
    match = e.search(
        r"Numpy is not available|Could not infer dtype of numpy\.\w+|NumPy 1\.x cannot be run in|"
        r"_ARRAY_API not found|expected np\.ndarray \(got numpy\.ndarray\)"
    )
    if numpy[:1] >= (2,) and too_old:
        seen = (f"torch {e.torch_version} was built for NumPy 1, installed is NumPy {e.package('numpy')}.",)
        yield Finding(
            "numpy2-abi",
            Weight.CONFIRMED if match else Weight.PROVEN - 5,
            (*seen, *((e.quote(match),) if match else ())),
            from_log=bool(match),
        )
    elif match and numpy[:1] >= (2,) and not release:
        yield Finding(
            "numpy2-abi", Weight.CONFIRMED, (e.quote(match), f"NumPy is {e.package('numpy')}."), from_log=True
        )
    elif match and not numpy:
        yield from _numpy_unknown(e, match, too_old)
    elif match and "1.x" not in match[0] and numpy[:1] < (2,):
        yield Finding(
            "numpy-missing-or-old", Weight.LIKELY, (e.quote(match), f"NumPy is {e.package('numpy')}."), from_log=True
        )


def _numpy_unknown(e: Evidence, match: re.Match[str], too_old: bool) -> Iterator[Finding]:
    absent = bool(e.facts.packages) and len(e.facts.packages or ()) > 5
    if absent:
        yield Finding(
            "numpy-missing-or-old",
            Weight.CONFIRMED,
            (e.quote(match), "NumPy is not among the packages."),
            from_log=True,
        )
    elif e.search(r"No module named '?numpy\b"):
        return  # the text says it
    elif re.search(r"infer dtype|got numpy", match[0]) or too_old:
        yield Finding("numpy2-abi", Weight.LIKELY, (e.quote(match),), from_log=True)
    elif "not available" in match[0].lower():
        yield Finding(
            "numpy2-abi",
            Weight.SUGGESTED + 1,
            (e.quote(match), "The text does not say which: `pip show numpy` does."),
            from_log=True,
        )
        yield Finding(
            "numpy-missing-or-old",
            Weight.SUGGESTED,
            (e.quote(match), "The text does not say which: `pip show numpy` does."),
            from_log=True,
        )


@rule
def compile_without_triton(e: Evidence) -> Iterator[Finding]:
    """Triton is older than this torch needs."""
    match = e.search(r"working triton installation|TritonMissing")
    installed = e.package("triton") or e.package("triton-windows") or e.package("pytorch-triton")
    if match and installed:
        yield Finding(
            "compile-no-triton", Weight.CONFIRMED, (e.quote(match), f"Installed is triton {installed}."), from_log=True
        )


@rule
def torchcodec(e: Evidence) -> Iterator[Finding]:
    """torchcodec does not fit, or FFmpeg is missing."""
    match = e.search(r"libtorchcodec")
    if match and (
        missing := e.search(r"lib(?:avutil|avcodec|avformat)[.\w]*: cannot open|Library not loaded: [^\n]{0,80}libav")
    ):
        yield Finding(
            "torchcodec-load",
            Weight.DECISIVE,
            (e.quote(missing), "FFmpeg's shared libraries are missing."),
            from_log=True,
        )
