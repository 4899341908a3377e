"""What remains: crashes at import without a cause, and wrong results of verify."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight
from torchcheck.doctor.registry import rule

FAILED = {"fail", "error", "crash", "timeout"}


@rule
def import_crash(e: Evidence) -> Iterator[Finding]:
    """Importing torch kills the interpreter or hangs."""
    state = e.facts.torch.import_
    if state in {"crash", "timeout"}:
        what = "kills the interpreter" if state == "crash" else "does not return"
        yield Finding(
            "torch-import-crash",
            Weight.SUGGESTED,
            (f"import torch {what}: {e.facts.torch.error or 'no message'}",),
            from_log=bool(e.log.text),
        )
        return
    match = e.search(
        r"(?:egmentation fault|SIGSEGV|access violation|0xC0000005|-1073741819|3221225477|exit code 139|core dumped)"
    )
    at_import = e.search(r"import(?:ing)? torch\b|torch[\\/]__init__\.py")
    if match and at_import and state != "ok" and not e.says("illegal instruction"):
        yield Finding("torch-import-crash", Weight.LIKELY, (e.quote(match),), from_log=True)


@rule
def no_memory(e: Evidence) -> Iterator[Finding]:
    """Memory could not be had while torch was loaded or ran, for which there are several reasons."""
    match = e.search(NO_MEMORY)
    if match and not e.windows:
        free = e.facts.memory.available
        seen = (
            e.quote(match),
            "The process may not have the memory that it needs: a limit of the shell, the job or the container.",
            *(("Or the file system is mounted noexec.",) if "segment" in match[0] else ()),
            *((f"Free memory of the machine: {free / (1 << 30):.1f} GiB.",) if isinstance(free, int) else ()),
        )
        decide = (
            "ulimit -v; ulimit -d   (to see the limits of this shell, where unlimited is right)",
            "free -h; cat /sys/fs/cgroup/memory.max",
            NOEXEC,
        )
        yield Finding("cause-unknown", Weight.LIKELY - 1, seen, decide, NO_MEMORY_WHY, from_log=e.handed_in(match))


# Printed by ld.so, by libstdc++ and by OpenBLAS.
NO_MEMORY = (
    r"failed to map segment from shared object|what\(\):\s+std::bad_alloc|"
    r"OpenBLAS[^\n]{0,60}Memory allocation still failed|OpenBLAS blas_thread_init: pthread_create failed"
)
NO_MEMORY_WHY = "The operating system refused memory to the process; torch itself may be whole."
NOEXEC = '{py} -c "import sys; print(sys.prefix)"   (to see the folder, of which `findmnt -T` must not say noexec)'


@rule
def compiler(e: Evidence) -> Iterator[Finding]:
    """torch.compile or an extension's build finds no C or C++ compiler."""
    match = e.search(r"No working C\+\+ compiler found[^\n]*") or e.search(NO_COMPILER)
    if match and e.windows:
        yield Finding("compile-no-msvc", Weight.DECISIVE, (e.quote(match),), from_log=True)
    elif match:
        steps = (
            ("xcode-select --install",)
            if e.macos
            else (
                "sudo apt install build-essential   (for gcc and g++, on Fedora `sudo dnf install gcc-c++`)",
                "conda install -c conda-forge gxx   (in a conda environment, without root)",
            )
        )
        seen = (e.quote(match), "No C++ compiler (g++ or clang++, or what $CXX names) was found on PATH.")
        rest = ("{set TORCHDYNAMO_DISABLE=1}   (or run eager: this, or without torch.compile)",)
        yield Finding("cause-unknown", Weight.DECISIVE, seen, (*steps, *rest), NO_COMPILER_WHY, from_log=True)


# Printed by torch._inductor.cpp_builder, triton.runtime.build, distutils and the shells.
NO_COMPILER = (
    r"InvalidCxxCompiler|Failed to find C compiler|"
    r"(?:command|program) '?(?:\S*/)?(?:x86_64-linux-gnu-|aarch64-linux-gnu-)?(?:gcc|g\+\+|cc|c\+\+|clang(?:\+\+)?)'? "
    r"failed: No such file|No such file or directory: '(?:\S*/)?(?:gcc|g\+\+|cc|c\+\+|clang(?:\+\+)?)'|"
    r"(?:sh: \d+: |: )(?:gcc|g\+\+|cc|c\+\+|clang(?:\+\+)?): (?:command )?not found"
)
NO_COMPILER_WHY = (
    "torch.compile and source builds write C++ and hand it to a compiler of the system, which this machine lacks."
)


@rule
def devices_crash(e: Evidence) -> Iterator[Finding]:
    """torch imports, and dies when it looks for devices."""
    if e.facts.torch.devices_error:
        seen = f"torch is imported, and looking for its devices ended in: {e.facts.torch.devices_error}."
        candidates = "Could be: driver-not-loaded, nvml-version-mismatch, rocm-gfx-override, gpu-hardware-fault."
        decide = ('{py} -X faulthandler -c "import torch; print(torch.cuda.device_count())"', "sudo dmesg | tail")
        yield Finding("cause-unknown", Weight.LIKELY, (seen, candidates), decide)


@rule
def verification(e: Evidence) -> Iterator[Finding]:
    """Torchcheck verify found wrong results."""
    checks = [c for c in (e.verification or {}).get("checks") or () if c.get("status") in FAILED]
    if e.verification and e.verification.get("verdict") == "fail":
        seen = tuple(
            f"{c.get('id')}: {c.get('status')}: {str(c.get('detail') or c.get('title') or '')[:160]}"
            for c in checks[:5]
        )
        hints = tuple(dict.fromkeys(str(c["hint"]) for c in checks if c.get("hint")))[:3]
        yield Finding(
            "verify-failed",
            Weight.SUGGESTED,
            seen or ("The verdict is fail.",),
            (*hints, "torchcheck report --verify --format markdown -o report.md   (for an issue upstream)"),
            from_log=True,
        )
    topics = "activations|backprop|optimizers|schedules|layers|losses|attention|training|devices"
    match = e.search(rf"^(?:FAIL|CRASH|✗|x)\s+(?:{topics})\.\S+") or e.search(r"\bverdict: fail")
    if match and not e.verification:
        yield Finding("verify-failed", Weight.DECISIVE, (e.quote(match),), from_log=True)
