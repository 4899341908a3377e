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
def devices_crash(e: Evidence) -> Iterator[Finding]:
    """torch imports, and dies when it looks for devices."""
    for note in e.notes("looking for its devices ended"):
        candidates = "Could be: driver-not-loaded, nvml-version-mismatch, rocm-gfx-override, gpu-hardware-fault."
        decide = ('{py} -X faulthandler -c "import torch; print(torch.cuda.device_count())"', "sudo dmesg | tail")
        yield Finding("cause-unknown", Weight.LIKELY, (note, candidates), decide)


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
