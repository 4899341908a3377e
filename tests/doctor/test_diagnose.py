"""What holds for every machine and text: no exception, no guess, facts before text, one answer."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scoring import cases, judge

from torchcheck.doctor import all_codes, diagnose, explain, registry
from torchcheck.doctor.evidence import compiled, literals
from torchcheck.doctor.registry import Rule, rules
from torchcheck.doctor.signatures import AMBIGUOUS, SIGNATURES
from torchcheck.facts import Facts, from_json

WORDS = [
    "torch",
    "2.9.1+cu128",
    "cu126",
    "",
    "windows",
    "linux",
    "macos",
    "x86_64",
    "arm64",
    "NVIDIA GeForce RTX 5090",
    "12.0",
    "6.1",
    "gfx1031",
    "13.0",
    "musl 1.2",
    "glibc 2.17",
    "…",
    "0",
    "-1",
    "\x00",
    "C:\\Users\\ü\\torch",
    "/lib64/python3.11/site-packages/torch/__init__.py",
]
text = st.sampled_from(WORDS) | st.text(max_size=30) | st.none()
names = st.lists(text.filter(lambda value: value is not None), max_size=4)
flag = st.booleans() | st.none()
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "system": st.fixed_dictionaries(
            {},
            optional={
                "os": st.sampled_from(["windows", "linux", "macos"]),
                "version": text,
                "name": text,
                "machine": text,
                "libc": text,
                "wsl": flag,
                "container": text,
                "rosetta": flag,
                "long_paths": flag,
                "vc_redist": text,
            },
        ),
        "python": st.fixed_dictionaries(
            {},
            optional={
                "ssl": flag,
                "system_site": flag,
                "leftovers": names,
                "copies": st.dictionaries(st.sampled_from(["torch", "torchvision"]), text.filter(bool)),
                "damaged": st.dictionaries(st.sampled_from(["torch", "torchvision"]), text.filter(bool)),
                "version": text,
                "implementation": text,
                "bits": st.sampled_from([32, 64, None]),
                "executable": text,
                "environment": text,
                "pip": text,
                "in_path_order": names,
                "prefix": text,
                "site_packages": text,
                "writable": flag,
                "externally_managed": flag,
            },
        ),
        "cpu": st.fixed_dictionaries({}, optional={"model": text, "vendor": text, "features": names}),
        "gpus": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "vendor": st.sampled_from(["nvidia", "amd", "intel", "apple", "microsoft", "matrox"]),
                    "name": text,
                    "pci_id": text,
                    "compute_capability": text,
                    "gfx": text,
                    "in_use_by": names,
                },
            ),
            max_size=3,
        )
        | st.none(),
        "drivers": st.fixed_dictionaries(
            {},
            optional={
                "nvidia": st.none()
                | st.fixed_dictionaries({}, optional={"version": text, "cuda": text, "error": text}),
                "amd": st.none() | st.fixed_dictionaries({}, optional={"kfd": flag, "permitted": flag}),
            },
        ),
        "packages": st.dictionaries(
            st.sampled_from(["torch", "torchvision", "torchaudio", "numpy", "triton", "nvidia-cudnn-cu12"]),
            text.filter(bool),
        ),
        "torch": st.fixed_dictionaries(
            {},
            optional={
                "import": st.sampled_from(["ok", "missing", "error", "crash", "timeout"]),
                "error": text,
                "version": text,
                "cuda": text,
                "hip": text,
                "xpu": text,
                "arch_list": names,
                "devices": names,
                "file": text,
            },
        ),
        "env": st.dictionaries(
            st.sampled_from(["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PYTHONPATH", "HSA_OVERRIDE_GFX_VERSION"]),
            text.filter(lambda v: v is not None),
        ),
        "memory": st.fixed_dictionaries({}, optional={"shm": st.integers(0, 1 << 40)}),
        "disk": st.fixed_dictionaries({}, optional={"temp_free": st.integers(0, 1 << 50)}),
    },
)
LOGS = st.lists(
    st.sampled_from([case["log"] for case in cases("failures", "own", "composed")]) | st.text(max_size=200), max_size=3
).map("\n".join)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(facts=FACTS, log=LOGS, live=st.booleans())
def test_any_machine_and_any_text_get_an_answer(facts, log, live):
    found = diagnose(from_json(facts), log, live=live)
    assert found
    assert not [d for d in found if "The rule " in d.evidence[0]], found
    assert len({d.code for d in found}) == len(found)
    json.dumps([d.as_json() for d in found])


@pytest.mark.parametrize("shell", ["sh", "powershell", "cmd"])
def test_every_case_in_every_shell_gives_commands_without_placeholders(shell):
    for case in cases("failures", "own"):
        for diagnosis in diagnose(from_json(case["facts"]), case["log"], shell=shell):
            assert not [
                step for step in diagnosis.fix if "{" in step.replace("[{ index", "").replace("emptyDir {", "")
            ], diagnosis


def test_a_rule_that_raises_is_a_diagnosis_of_its_own(monkeypatch):
    def broken(_evidence):
        raise ZeroDivisionError("of a rule")
        yield

    every = (*rules(), Rule("test.broken", "A broken rule", broken))
    monkeypatch.setattr(sys.modules["torchcheck.doctor.diagnose"], "rules", lambda: every)
    found = diagnose(from_json({"torch": {"import": "ok"}, "gpus": []}))
    assert ("cause-unknown", "note") in [(d.code, d.severity) for d in found]
    assert "test.broken" in found[0].evidence[0]
    assert "ZeroDivisionError" in found[0].evidence[0]


def test_facts_decide_what_one_text_leaves_open():
    log = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
    new = {
        "gpus": [{"vendor": "nvidia", "name": "RTX 5090", "compute_capability": "12.0"}],
        "packages": {"torch": "2.6.0+cu124"},
    }
    old = {
        "gpus": [{"vendor": "nvidia", "name": "GTX 1080", "compute_capability": "6.1"}],
        "packages": {"torch": "2.9.1+cu128"},
    }
    fits = {
        "gpus": [{"vendor": "nvidia", "name": "RTX 3090", "compute_capability": "8.6"}],
        "packages": {"torch": "2.9.1+cu128"},
    }
    assert [diagnose(from_json(facts), log)[0].code for facts in (new, old, fits, {})] == [
        "gpu-arch-too-new",
        "gpu-arch-dropped",
        "cause-unknown",
        "cause-unknown",
    ]


def test_what_decides_is_named_with_an_unknown_cause():
    (unknown,) = diagnose(Facts(), "RuntimeError: Found no NVIDIA driver on your system.")
    assert unknown.code == "cause-unknown"
    assert unknown.severity == "note"
    assert "gpu-not-visible" in unknown.evidence[1]
    assert unknown.fix[0].startswith("nvidia-smi")


def test_failed_checks_of_verify_are_evidence():
    facts = from_json({"torch": {"import": "ok", "cuda": None}, "gpus": []})
    checks = [
        {"id": "activations.gelu.backward", "status": "fail", "title": "GELU", "detail": "off by 3e-2", "hint": None}
    ]
    found = diagnose(facts, "", {"verdict": "fail", "checks": checks})
    assert [d.code for d in found] == ["verify-failed"]
    assert "activations.gelu.backward" in found[0].evidence[0]
    checks = [
        {
            "id": "environment.torchvision",
            "status": "error",
            "detail": "RuntimeError: operator torchvision::nms does not exist",
        }
    ]
    assert diagnose(facts, "", {"verdict": "fail", "checks": checks})[0].code == "companion-mismatch"


def test_every_code_has_its_story_and_every_signature_its_code():
    assert len(all_codes()) == 90
    for code in all_codes():
        assert code.title
        assert code.why
        assert code.story
        assert explain(code.code) is code
    known = {code.code for code in all_codes()}
    assert {row.code for row in SIGNATURES} <= known
    assert {code for row in AMBIGUOUS for code in row.candidates} <= known
    with pytest.raises(KeyError):
        explain("no-such-code")


def test_every_rule_has_a_title():
    assert len(rules()) >= 60
    assert all(rule.title.endswith(".") for rule in rules())
    assert registry.rules() is rules()


def test_words_of_a_pattern_stand_in_every_text_that_it_matches():
    patterns = {row.pattern for row in (*SIGNATURES, *AMBIGUOUS)}
    texts = [case["log"] for case in cases("failures", "own", "composed")]
    matched = 0
    for pattern in patterns:
        for log in texts:
            if compiled(pattern).search(log):
                matched += 1
                words = literals(pattern)
                assert not words or any(word in log.lower() for word in words), (pattern, log)
    assert matched > 200


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"abc\.def|[xy]+hello", ("abc.def", "hello")),
        (r"(?:one|three)\s+\d", ("one", "three")),
        (r"ab?cdef", ("cdef",)),
        (r"(?:maybe)?surely(?!not)", ("surely",)),
        (r"\w+|abc", ()),
        (r"(?P<name>alpha|\d)beta{2}", ("bet",)),
    ],
)
def test_words_of_a_pattern(pattern, words):
    assert literals(pattern) == words


def test_importing_the_doctor_is_light():
    heavy = ["click", "rich", "psutil", "torch", "numpy", "requests", "asyncio", "importlib.metadata", "hypothesis"]
    code = f"import sys, torchcheck.doctor; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="locale", check=True)
    assert ran.stdout.strip() == "[]"


def test_judging_compiles_only_what_it_needs():
    code = (
        "from torchcheck.doctor import diagnose, evidence; from torchcheck.facts import Facts; "
        "diagnose(Facts(), 'hello'); print(evidence.compiled.cache_info().currsize)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="locale", check=True)
    assert int(ran.stdout) < 40


def test_same_input_same_answer():
    for case in cases("own")[:10]:
        assert judge(case) == diagnose(from_json(case["facts"]), case["log"])
