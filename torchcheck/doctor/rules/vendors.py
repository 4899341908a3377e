"""AMD, Intel, Apple."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.wheels import catalog
from torchcheck.wheels.machine import Accelerator

INVALID = (
    r"hipErrorNoBinaryForGpu|invalid device function|hipErrorInvalidDeviceFunction|hipErrorInvalidImage|"
    r"device kernel image is invalid|no kernel image is available|Cannot read \S*TensileLibrary|"
    r"rocBLAS error: Cannot read|shared object initialization failed|hipErrorSharedObjectInitFailed"
)

# Targets that execute the code of another of their generation (LLVM's AMDGPU user guide: generic targets).
GENERATIONS = (
    (r"gfx103[1-6]", "gfx1030", "10.3.0"),
    (r"gfx110[1-3]", "gfx1100", "11.0.0"),
    (r"gfx115[0-3]", "gfx1100", "11.0.0"),
)


def own_kernels(e: Evidence, gfx: str) -> bool | None:
    """Say whether the build has kernels for a gfx target; None when nobody has looked."""
    listed = [a.split(":")[0] for a in e.facts.torch.arch_list or () if a.startswith("gfx")]
    if listed:
        return gfx in listed
    if not e.tag.startswith("rocm"):
        return None
    if re.fullmatch(r"gfx103[1-6]|gfx1103", gfx) and not re.search(r"dev|a\d", e.torch_version):
        return False  # no release on the PyTorch index was built for them (build scripts of 5.2 to 7.2)
    if "dev" in e.torch_version:
        return None  # a nightly's list is its own
    known = catalog.kernels(".".join(map(str, e.release)), e.tag, "linux_x86_64")
    return None if known is None else gfx in known


def override(gfx: str) -> str:
    """The version of the override that fits a target, or ""."""
    return next((version for pattern, _, version in GENERATIONS if re.fullmatch(pattern, gfx)), "")


@rule
def gfx(e: Evidence) -> Iterator[Finding]:
    """The ROCm build has no kernels for this GPU."""
    match = e.search(INVALID)
    cards = [a for a in e.machine.of("rocm") if a.architecture]
    rocm = e.tag.startswith("rocm") or bool(e.facts.torch.hip) or e.says("hip", "rocm")
    if not cards or not rocm or (e.gpus("nvidia") and not e.facts.torch.hip):
        return
    shown = max(cards, key=lambda a: (not a.integrated, a.architecture))
    yield from _judge(e, shown, match)


def _judge(e: Evidence, card: Accelerator, match: re.Match[str] | None) -> Iterator[Finding]:
    target, own = card.architecture, own_kernels(e, card.architecture)
    seen = (f"GPU: {card.described}.", *((e.quote(match),) if match else ()))
    fits, current = override(target), (e.facts.env or {}).get("HSA_OVERRIDE_GFX_VERSION")
    if own or (own is None and not match):
        if match and own:
            yield Finding("broken-wheel", Weight.LIKELY, (*seen, f"The build's list has {target}."), from_log=True)
            yield Finding("rocm-arch-unsupported", Weight.SUGGESTED, seen, from_log=True)
        return
    weight = Weight.CONFIRMED if match else Weight.PROVEN
    if (
        own is None
        and e.windows
        and re.search(r"invalidimage|image is invalid", match[0] if match else "", re.IGNORECASE)
    ):
        yield Finding("broken-wheel", Weight.LIKELY, seen, from_log=True)
        yield Finding("rocm-arch-unsupported", Weight.SUGGESTED, seen, from_log=True)
    elif fits and not e.windows and current is None and not target.startswith("gfx115"):
        yield Finding(
            "rocm-gfx-override",
            weight,
            seen,
            (f"export HSA_OVERRIDE_GFX_VERSION={fits}", "torchcheck verify --device cuda"),
            from_log=bool(match),
        )
    elif current and current == fits and not match:
        return
    else:
        extra = (f"HSA_OVERRIDE_GFX_VERSION is {current}.",) if current else ()
        yield Finding("rocm-arch-unsupported", weight, (*seen, *extra), from_log=bool(match))
        if fits and not e.windows and current is None:
            step = (
                f"export HSA_OVERRIDE_GFX_VERSION={fits}   (when no newer build has {target}, without AMD's support)",
            )
            yield Finding("rocm-gfx-override", Weight.SUGGESTED, seen, step, from_log=bool(match))


@rule
def gfx_unknown(e: Evidence) -> Iterator[Finding]:
    """HIP has no code for a GPU that is not known here."""
    match = e.search(
        r"hipErrorNoBinaryForGpu|HIP error: invalid device function|hipErrorInvalidDeviceFunction|hipErrorInvalidImage"
    ) or e.search(r"Cannot read \S*TensileLibrary[^\n]{0,80}for GPU arch\s*:?\s*(gfx\w+)")
    if match and not any(a.architecture for a in e.machine.of("rocm")):
        named = e.search(r"\b(gfx[0-9a-f]{3,4})\b")
        fits = override(named[1].lower()) if named else ""
        code = "rocm-gfx-override" if fits and fits != "11.0.0" and not e.windows else "rocm-arch-unsupported"
        yield Finding(
            code,
            Weight.DECISIVE if named else Weight.LIKELY,
            (e.quote(match),),
            (f"export HSA_OVERRIDE_GFX_VERSION={fits}",) if code == "rocm-gfx-override" else (),
            from_log=True,
        )


@rule
def permission(e: Evidence) -> Iterator[Finding]:
    """The user may not open the AMD GPU's device files."""
    amd = e.facts.drivers.amd
    if amd and amd.permitted is False and amd.kfd is not False:
        match = e.search(
            r"No (?:CUDA|HIP) GPUs are available|is_available|no ROCm-capable device|"
            r"Unable to open /dev/kfd|hsa_init|HSA_STATUS_ERROR"
        )
        yield Finding(
            "rocm-permission",
            Weight.CONFIRMED if match else Weight.PROVEN + 3,
            ("/dev/kfd is there, and this user may not open it.",),
            from_log=bool(match),
        )


@rule
def macos_version(e: Evidence) -> Iterator[Finding]:
    """This torch's MPS needs a newer macOS."""
    match = e.search(r"MPS (?:backend|\w+) is (?:only )?supported on Mac ?OS(?: X)? (\d+(?:\.\d+)?)")
    if (e.facts.system.os and not e.macos) or e.machine.rosetta:
        return
    have, needs = numbers(str(e.facts.system.version or "")), _needed(e)
    stated = numbers(match[1]) if match else ()
    least = max(needs, stated) if match and "backend" not in match[0].lower() else needs
    if have and have[0] < 11 and have[:2] == (10, 16):
        return
    intel = e.facts.system.machine == "x86_64"
    if have and least and have < least and not intel and "mps" not in (e.facts.torch.devices or ()):
        seen = (
            f"macOS is {e.facts.system.version}, torch {e.torch_version} needs {'.'.join(map(str, least))} for MPS.",
        )
        if match or e.facts.torch.import_ == "ok" or e.release:
            yield Finding(
                "mps-macos-too-old",
                Weight.CONFIRMED if match else Weight.PROVEN,
                (*seen, *((e.quote(match),) if match else ())),
                from_log=bool(match),
            )
    elif match and not have:
        yield Finding("mps-macos-too-old", Weight.DECISIVE - 5, (e.quote(match),), from_log=True)
    elif match and have and not intel:
        yield Finding(
            "mps-no-metal-device",
            Weight.CONFIRMED,
            (f"macOS is {e.facts.system.version}, which is new enough.", e.quote(match)),
            from_log=True,
        )


def _needed(e: Evidence) -> tuple[int, ...]:
    release = e.release[:2]
    if not release:
        return (12, 3)
    return (14, 0) if release >= (2, 10) else (13, 0) if release >= (2, 5) else (12, 3)


@rule
def no_metal(e: Evidence) -> Iterator[Finding]:
    """MPS is built and not available on a macOS that is new enough."""
    match = e.search(
        r"mps\.is_available\(\)[^\n]{0,20}\n?[^\n]{0,10}False|MPS (?:backend )?(?:is )?(?:not |"
        r"un)available|mps_available\W{1,4}False|No Metal device|MTLCreateSystemDefaultDevice"
    )
    have = numbers(str(e.facts.system.version or ""))
    if (
        not e.macos
        or e.facts.system.machine == "x86_64"
        or not have
        or have < _needed(e)
        or "mps" in (e.facts.torch.devices or ())
    ):
        return
    unlisted = e.facts.torch.devices == () and e.facts.torch.import_ == "ok"
    if match or unlisted:
        seen = (
            f"macOS {e.facts.system.version} on {e.facts.system.machine}.",
            e.quote(match) if match else "torch lists no MPS device.",
        )
        yield Finding(
            "mps-no-metal-device", Weight.CONFIRMED if match else Weight.PROVEN - 10, seen, from_log=bool(match)
        )


@rule
def other_architecture(e: Evidence) -> Iterator[Finding]:
    """macOS refuses a library because Python runs as another architecture."""
    said = r"incompatible architecture \(have '(arm64\w*|x86_64)', need '(arm64\w*|x86_64)"
    match = e.search(said)
    if match and match[2] == "x86_64":
        yield Finding(
            "macos-rosetta-python", Weight.DECISIVE, (e.quote(match), "Python runs as x86_64."), from_log=True
        )


@rule
def metal_on_intel(e: Evidence) -> Iterator[Finding]:
    """MPS is asked of a build without it."""
    match = e.search(
        r"not linked with support for mps devices|"
        r"MPS not available because the current PyTorch install was not built with MPS enabled|"
        r"not built with MPS enabled"
    )
    if match and not e.machine.rosetta and not e.windows and not e.linux:
        yield Finding(
            "macos-rosetta-python", Weight.LIKELY, (e.quote(match), "Only arm64 builds contain MPS."), from_log=True
        )
