"""From evidence to ranked diagnoses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Literal

from torchcheck.doctor import clues, codes
from torchcheck.doctor import log as logs
from torchcheck.doctor.diagnosis import Diagnosis
from torchcheck.doctor.evidence import Evidence, Finding, Weight
from torchcheck.doctor.registry import Rule, rules
from torchcheck.doctor.remedies import Remedies
from torchcheck.doctor.signatures import AMBIGUOUS, FAILURE
from torchcheck.facts import UNKNOWN, Facts
from torchcheck.shells import Shell

# A cause that is found (left) makes these others (right) mere symptoms of it, or a second name of the same text.
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "win-missing-openmp-dll": ("win-dll-load-failed",),
    "xpu-missing-runtime-dll": ("win-dll-load-failed", "win-vcredist"),
    "no-wheel-32bit-python": ("no-wheel-for-python", "pip-too-old"),
    "no-wheel-for-python": ("uv-resolution",),
    "no-wheel-macos-intel": ("no-wheel-for-python", "uv-resolution"),
    "macos-rosetta-python": (
        "no-wheel-for-python",
        "no-wheel-macos-intel",
        "mps-macos-too-old",
        "uv-resolution",
        "mps-no-metal-device",
    ),
    "no-wheel-musl": ("no-wheel-for-python", "uv-resolution", "glibc-too-old"),
    "no-wheel-arch": ("no-wheel-for-python", "uv-resolution"),
    "jetson-generic-wheel": ("cpu-wheel-on-gpu-box", "gpu-arch-too-new", "gpu-arch-dropped"),
    "venv-lib-lib64-split": ("nvidia-deps-broken", "library-path-conflict"),
    "wsl-libcuda-path": ("library-path-conflict", "nvidia-deps-broken", "driver-missing", "gpu-not-visible"),
    "mkl-ijit": ("extension-abi-mismatch", "conda-channel-mix"),
    "cuda-forward-compat": ("driver-not-loaded",),
    "shm-too-small": ("disk-full",),
    "win-files-in-use": ("permission-denied",),
    "no-gpu": ("driver-missing", "cpu-wheel-on-gpu-box", "gpu-not-visible"),
    "file-shadowing": ("torch-missing",),
    "wrong-interpreter": ("torch-missing",),
    "externally-managed": ("permission-denied",),
    "python-ssl-missing": ("network-unreachable", "ssl-proxy-ca", "index-server-fault"),
    "ssl-proxy-ca": ("network-unreachable",),
    "index-server-fault": ("network-unreachable",),
    "compile-ptxas-version": ("compile-no-triton",),
    "cpu-isa-too-old": ("torch-import-crash",),
    "corrupt-install": ("torch-import-crash",),
    "libstdcxx-too-old": ("glibc-too-old",),
    "torchcodec-load": ("nvidia-deps-broken",),
}

# A failed installation: that torch is missing afterwards is its consequence, however plainly it is said.
NOT_INSTALLED = frozenset(
    {
        *("externally-managed", "wrong-index", "uv-resolution", "no-wheel-for-python", "no-wheel-32bit-python"),
        *("no-wheel-arch", "no-wheel-macos-intel", "macos-rosetta-python", "no-wheel-musl", "glibc-too-old"),
        *("pip-too-old", "download-interrupted", "network-unreachable", "ssl-proxy-ca", "python-ssl-missing"),
        *("index-server-fault", "pip-cache-corrupt", "disk-full", "pip-memoryerror", "permission-denied"),
        *("win-long-path", "win-files-in-use"),
    }
)

Source = str | bytes | IO[str] | IO[bytes] | Iterable[str] | logs.Log


def diagnose(
    facts: Facts,
    log: Source = "",
    verification: Mapping[str, Any] | None = None,
    *,
    live: bool = False,
    shell: Shell | Literal[""] = "",
) -> list[Diagnosis]:
    """Name the likely causes, most likely first.

    Args:
        facts: what is known of the machine.
        log: an error text, or pasted collect_env output; a text, bytes, an open file, or pieces of text.
        verification: the `data` of a verify run on this target.
        live: the facts were probed here and now; a text that comes from another machine is then judged without them.
        shell: "sh", "powershell" or "cmd", for the commands; by default the usual one of the system.

    Returns:
        At least one diagnosis; a healthy machine gets the note `environment-ok` alone.
    """
    evidence = gather(facts, log, verification, live=live)
    findings = list(_judged(evidence))
    findings = _without_symptoms(findings)
    findings += list(_undecided(evidence, findings))
    findings.sort(key=lambda finding: -finding.weight)
    remedies = Remedies(evidence, shell)
    diagnoses = [_diagnosis(finding, remedies) for finding in _merged(findings)]
    if not any(d.severity in {"error", "warning"} or d.code == "cause-unknown" for d in diagnoses):
        diagnoses.append(_diagnosis(_healthy(evidence), remedies))
    return diagnoses


def gather(facts: Facts, log: Source, verification: Mapping[str, Any] | None, *, live: bool) -> Evidence:
    """Put facts and text together; facts probed here do not describe a text that comes from elsewhere."""
    text = log if isinstance(log, logs.Log) else logs.read(log)
    stated = clues.facts_of(text)
    given = Facts() if live and clues.contradict(facts, stated) else facts
    errors = [given.torch.error, given.drivers.nvidia.error if given.drivers.nvidia else None, *_failed(verification)]
    extra = [error for error in errors if error and error not in text.text]
    whole = logs.Log("\n".join([text.text, *extra]).strip("\n"), text.cut) if extra else text
    appended = len(text.text.strip("\n")) if extra else -1
    return Evidence(clues.merge(given, stated), whole, verification, stated, given, appended)


def _failed(verification: Mapping[str, Any] | None) -> list[str]:
    checks = (verification or {}).get("checks") or []
    return [str(check.get("detail") or "") for check in checks if check.get("status") in {"fail", "error", "crash"}]


def _judged(evidence: Evidence) -> Iterator[Finding]:
    for rule in rules():
        yield from _judged_by(rule, evidence)


def _judged_by(rule: Rule, evidence: Evidence) -> Iterator[Finding]:
    try:
        yield from rule.judge(evidence)
    except Exception as error:  # noqa: BLE001 (a defect of one rule must not hide what the others found)
        yield _defect(rule, error)


def _defect(rule: Rule, error: Exception) -> Finding:
    return Finding(
        "cause-unknown",
        Weight.HINT,
        (f"The rule {rule.id} ({rule.title}) failed with {type(error).__name__}: {error}",),
        ("Report this at torchcheck's issue tracker, with `torchcheck report`.",),
        "A rule of torchcheck has a defect; what the other rules found stands.",
    )


def _without_symptoms(findings: list[Finding]) -> list[Finding]:
    strongest: dict[str, int] = {}
    for finding in findings:
        strongest[finding.code] = max(strongest.get(finding.code, 0), finding.weight)
    explained = {
        symptom
        for cause, weight in strongest.items()
        for symptom in EXPLAINS.get(cause, ())
        if strongest.get(symptom, 0) <= weight
    }
    failed = (f for f in findings if f.code in NOT_INSTALLED and f.weight >= Weight.LIKELY)
    if any(f.from_log or f.code.startswith("no-wheel") for f in failed):
        explained.add("torch-missing")
    return [finding for finding in findings if finding.code not in explained]


def _merged(findings: list[Finding]) -> Iterator[Finding]:
    """One finding a code: the strongest, with the evidence of the others."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    for same in by_code.values():
        first = same[0]
        seen = _distinct(line for finding in same for line in finding.seen)
        fix = next((finding.fix for finding in same if finding.fix), ())
        yield Finding(first.code, first.weight, seen[:6], fix, first.why, first.severity, any(f.from_log for f in same))


def _distinct(lines: Iterable[str]) -> tuple[str, ...]:
    """Leave out what was said already, also as another part of the same long line."""
    kept: list[str] = []
    for line in lines:
        core = line.removeprefix("text: ")[60:140]
        if line not in kept and not (len(core) > 40 and any(core in other for other in kept)):
            kept.append(line)
    return tuple(kept)


def _undecided(evidence: Evidence, findings: list[Finding]) -> Iterator[Finding]:
    """Name texts that no finding explains, with their candidates and what would decide."""
    found = {finding.code for finding in findings if finding.from_log or finding.weight >= Weight.LIKELY}
    if any(finding.from_log and finding.code != "cause-unknown" for finding in findings):
        return
    for row in AMBIGUOUS:
        match = evidence.search(row.pattern)
        if match and not found & set(row.candidates):
            here = [code for code in row.candidates if _possible(code, evidence)]
            names = ", ".join(f"{code} ({codes.explain(code).title})" for code in here)
            seen = (evidence.quote(match), f"Could be: {names}.")
            decide = row.windows if evidence.windows and row.windows else row.decide
            yield Finding("cause-unknown", Weight.LIKELY - 1, seen, (decide, *_ask_for_facts(evidence)))
            return
    if not findings and evidence.log.text.strip() and (match := evidence.search(FAILURE)):
        yield Finding("cause-unknown", Weight.SUGGESTED, (evidence.quote(match),), _ask_for_facts(evidence))
    elif not findings and not _enough_known(evidence):
        yield Finding(
            "cause-unknown",
            Weight.HINT,
            ("Too little is known of this machine to judge it.",),
            _ask_for_facts(evidence),
        )


def _possible(code: str, evidence: Evidence) -> bool:
    """Say whether a code of one system can be meant on this one."""
    system = evidence.facts.system.os
    other = {"win": "windows", "macos": "macos", "mps": "macos"}.get(code.partition("-")[0], system)
    return not system or other == system


def _ask_for_facts(evidence: Evidence) -> tuple[str, ...]:
    if evidence.given == Facts():
        return ("torchcheck doctor --log FILE   (on the machine where it failed, whose facts then count too)",)
    return ()


def _enough_known(evidence: Evidence) -> bool:
    return evidence.facts.torch.import_ == "ok" or (
        evidence.facts.torch.import_ is UNKNOWN and bool(evidence.torch_version)
    )


def _healthy(evidence: Evidence) -> Finding:
    facts = evidence.facts
    checked = [
        f"torch {evidence.torch_version} imports" if facts.torch.import_ == "ok" else "",
        "no GPU: the CPU build is right" if evidence.no_gpus else "",
        f"devices: {', '.join(facts.torch.devices)}" if facts.torch.devices else "",
    ]
    seen = tuple(line for line in checked if line) or ("No rule found a fault in what is known.",)
    return Finding("environment-ok", Weight.HINT, seen)


def _diagnosis(finding: Finding, remedies: Remedies) -> Diagnosis:
    code = codes.explain(finding.code)
    severity = finding.severity or (code.severity if finding.from_log or code.hinted is None else code.hinted)
    return Diagnosis(
        code.code,
        severity,
        code.title,
        finding.seen,
        finding.why or code.why,
        remedies.steps(finding),
        code.link,
    )
