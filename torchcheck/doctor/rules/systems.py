"""Nothing to install, or nothing that runs: the processor, the C library, the kind of machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.requirements import NOTHING_FITS, ends_with_last_intel, is_intel_mac, wanted

NO_INTEL_WHEEL = (
    r"macosx_\d+_\d+_x86_64|for the current platform|Unable to find installation candidates for torch|"
    r"matching platform tag"
)


SUPPORTED = {"x86_64", "amd64", "aarch64", "arm64", "x86", "i686", "i386"}


@rule
def processor_family(e: Evidence) -> Iterator[Finding]:
    """There are no wheels for this processor family."""
    machine = str(e.facts.system.machine or "").lower()
    hopeless = machine and machine not in SUPPORTED
    on_arm = e.windows and machine in {"arm64", "aarch64"}
    trouble = bool(wanted(e)) or e.facts.torch.import_ == "missing" or e.says(*NOTHING_FITS)
    if (hopeless or on_arm) and e.facts.torch.import_ != "ok" and (trouble or not e.log.text):
        yield Finding(
            "no-wheel-arch",
            Weight.CONFIRMED if trouble else Weight.PROVEN,
            (f"The processor family is {machine}.",),
            from_log=bool(e.log.text),
        )
    match = e.search(
        r"\b(?:win_arm64|linux_armv[67]l|linux_ppc64le|linux_riscv64|linux_s390x|linux_loongarch64|linux_i686)\b"
    )
    if match and not machine and trouble:
        yield Finding("no-wheel-arch", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def intel_mac(e: Evidence) -> Iterator[Finding]:
    """An Intel Mac, or an Intel Python on Apple Silicon, where wheels end with torch 2.2.2."""
    if e.facts.system.os and not e.macos:
        return
    rosetta, intel = e.machine.rosetta, is_intel_mac(e)
    ends = [w for w in wanted(e) if ends_with_last_intel(w)]
    uv = e.search(NO_INTEL_WHEEL) if (e.macos or e.says("macosx_")) else None
    trouble = (
        bool(ends)
        or (uv and (intel or rosetta))
        or (e.facts.torch.import_ == "missing" and numbers(e.torch_version) == ())
    )
    if rosetta:
        why = "The Python is x86_64, and the processor is Apple's."
        asked = e.search(r"MPS|mps") or trouble
        weight = Weight.CONFIRMED + 1 if asked else Weight.PROVEN
        yield Finding("macos-rosetta-python", weight, (why, *(w.quote for w in ends[:1])), from_log=bool(asked))
    elif ends and _apple(e):
        yield Finding(
            "macos-rosetta-python",
            Weight.CONFIRMED,
            ("The Mac has an Apple processor, and the list of versions ends as for Intel.", ends[0].quote),
            from_log=True,
        )
    elif ends or (uv and intel) or (intel and _wants_newer(e)):
        seen = tuple(w.quote for w in ends[:1]) or (f"macOS on {e.facts.system.machine}.",)
        yield Finding("no-wheel-macos-intel", Weight.CONFIRMED if intel else Weight.DECISIVE, seen, from_log=True)
        if not intel:
            yield Finding("macos-rosetta-python", Weight.SUGGESTED, seen, from_log=True)
    elif intel and e.python and e.python >= (3, 13) and (e.facts.torch.import_ == "missing" or wanted(e)):
        yield Finding(
            "no-wheel-macos-intel",
            Weight.PROVEN,
            (f"macOS on {e.facts.system.machine}, Python {e.facts.python.version}.",),
            from_log=bool(e.log.text),
        )


def _wants_newer(e: Evidence) -> bool:
    return any(numbers(w.release) > (2, 2, 2) for w in wanted(e) if w.name == "torch" and w.release)


def _apple(e: Evidence) -> bool:
    model = f"{e.facts.cpu.vendor or ''} {e.facts.cpu.model or ''} {' '.join(str(g.name) for g in e.gpus('apple'))}"
    return e.facts.system.machine == "arm64" or "apple" in model.lower()


@rule
def musl(e: Evidence) -> Iterator[Finding]:
    """This Linux uses musl."""
    alpine = "alpine" in str(e.facts.system.name or "").lower() or "musl" in str(e.facts.system.libc or "").lower()
    match = e.search(r"\balpine\b|\bapk add\b") if wanted(e) or e.says("0.1.2") else None
    if (alpine or match) and e.facts.torch.import_ != "ok":
        seen = f"The C library is {e.facts.system.libc}." if e.facts.system.libc else "The system is Alpine."
        yield Finding(
            "no-wheel-musl", Weight.CONFIRMED if e.log.text else Weight.PROVEN, (seen,), from_log=bool(e.log.text)
        )


@rule
def glibc(e: Evidence) -> Iterator[Finding]:
    """The system's glibc is older than the wheel needs."""
    have = e.machine.oldest if e.machine.os == "linux" and e.facts.system.libc else None
    missing = e.facts.torch.import_ in {"missing", "error"}
    if not have or have >= (2, 28) or not (missing or wanted(e)):
        return
    asked = [numbers(w.release) for w in wanted(e) if w.name == "torch" and w.release]
    needs_new = any(release >= (2, 7) for release in asked) or (
        not asked and bool(wanted(e)) is False and e.facts.torch.import_ == "missing"
    )
    if needs_new or have < (2, 17):
        yield Finding(
            "glibc-too-old",
            Weight.CONFIRMED if asked else Weight.PROVEN - 1,
            (f"glibc is {e.facts.system.libc}, torch 2.7 and later need 2.28.",),
            from_log=bool(asked),
        )


@rule
def instructions(e: Evidence) -> Iterator[Finding]:
    """The processor lacks instructions that the build uses."""
    if e.facts.torch.import_ not in {"crash", "error"} and not e.says("core dumped"):
        return
    features = e.facts.cpu.features
    hidden = e.machine.cpu == "x86_64" and bool(features) and "avx2" not in (features or ())
    model = re.search(r"\b(?:cpu64|kvm64|qemu64|QEMU Virtual CPU)\b", str(e.facts.cpu.model or ""))
    old_arm = e.machine.old_arm and any(numbers(e.torch_version)[:2] == numbers(v)[:2] for v in ("2.0", "2.4", "2.10"))
    if e.facts.torch.import_ == "crash" and (hidden or model or old_arm) and not e.says("segmentation"):
        what = "shows no AVX2" if hidden else "is a plain virtual one" if model else "is an ARMv8.0"
        yield Finding(
            "cpu-isa-too-old",
            Weight.PROVEN,
            (f"The processor ({e.facts.cpu.model or 'unknown model'}) {what}, and import torch crashes.",),
            from_log=bool(e.log.text),
        )


@rule
def jetson(e: Evidence) -> Iterator[Finding]:
    """A generic aarch64 wheel on a Jetson."""
    board = any(a.jetson for a in e.machine.accelerators)
    text = f"{e.facts.system.kernel or ''} {e.facts.system.name or ''} {e.facts.system.version or ''}".lower()
    board = board or "tegra" in text or "jetpack" in text or "l4t" in text or "jetson" in text
    if (
        not board
        or e.works_on_gpu
        or re.search(r"nv\d\d\.\d\d|\+nv|tegra", e.torch_version)
        or not (e.torch_version or e.facts.torch.import_ == "ok")
    ):
        return
    served = e.facts.torch.arch_list and any(
        a in (e.facts.torch.arch_list or ()) for a in ("sm_87", "sm_72", "sm_110", "sm_53", "sm_62")
    )
    wrong = (
        e.cpu_build
        or e.facts.torch.devices == ()
        or e.search(r"is_available|no kernel image|not compiled with CUDA|CUDA unknown error|No CUDA GPUs")
    )
    if wrong and not served:
        yield Finding(
            "jetson-generic-wheel",
            Weight.CONFIRMED,
            (f"This is a Jetson, and torch {e.torch_version} is not NVIDIA's build for it.",),
            from_log=bool(e.log.text),
        )
