"""Plans for recorded and for made-up machines."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from typing import Any

import pytest
import score_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcheck.errors import UsageError
from torchcheck.facts import from_json
from torchcheck.wheels import catalog
from torchcheck.wheels.plan import Request, plan

CASES = [case for path in sorted(score_plan.CASES.glob("*.jsonl")) for case in score_plan.load(path)]
BY_ID = {case["id"]: case for case in CASES}


def planned(case: dict[str, Any]) -> dict[str, Any]:
    return plan(from_json(case["facts"]), Request(**score_plan.arguments(case["args"]))).as_json()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_recorded_machine_gets_the_right_wheels(case: dict[str, Any]) -> None:
    assert not score_plan.wrong(case, planned(case))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda p: p["packages"].update(torch="2.14.1+cu130"), "the command installs"),
        (lambda p: p["packages"].update(torchvision="0.29.2+cu126"), "is not for cu130"),
        (lambda p: p.update(backend="cu126", packages={"torch": "2.15.0+cu126"}), "never built for cu126"),
        (lambda p: p["packages"].update(torchvision="0.28.0+cu130"), "does not go with torch"),
        (lambda p: p["packages"].update(torchaudio=None), "is left out in silence"),
        (lambda p: p.update(index_url="http://download.pytorch.org/whl/cu130"), "is not https"),
        (lambda p: p.update(index_url="https://download.pytorch.org/whl/cpu"), "does not lead to cu130"),
        (lambda p: p.update(blockers=[{"code": "x", "message": "y", "hint": ""}]), "blocked and planned"),
        (lambda p: p["command"].append("torchcheck"), "a package called torchcheck"),
        (lambda p: p.update(reasons=[]), "no reason"),
        (lambda p: p["rejected"].append({"backend": "cpu", "torch": "2.0.0", "reason": ""}), "without reason"),
    ],
)
def test_the_scorer_sees_what_is_wrong(change: Any, found: str) -> None:
    """A scorer that passes everything would prove nothing."""
    case = BY_ID["dev-lin-h100"]
    broken = copy.deepcopy(planned(case))
    change(broken)
    assert any(found in fault for fault in score_plan.wrong(case, broken))


def test_each_choice_and_each_rejection_has_its_reason() -> None:
    made = planned(BY_ID["rtxpro6000-575"])
    assert any("kernels" in reason for reason in made["reasons"])
    assert any("driver 575.64.03" in reason for reason in made["reasons"])
    why = {note["backend"]: note["reason"] for note in made["rejected"]}
    assert "580" in why["cu130"]
    assert "no kernels" in why["cu126"]
    assert "torchaudio" in why["cu129"]
    assert "AMD" in why["rocm7.14"]
    assert len(made["rejected"]) <= 20


def test_a_driver_that_still_serves_a_gpu_is_no_warning() -> None:
    assert not planned(BY_ID["gtx1080-win-582"])["warnings"]


def test_a_fault_that_the_choice_shares_is_no_reason_against_another() -> None:
    """On PyPI alone every build is for CUDA; what decides between two of them is what decides."""
    facts = from_json({"system": {"os": "linux", "machine": "x86_64"}, "python": {"version": "3.12.3"}, "gpus": []})
    offers = catalog.offers("linux_x86_64", "https://pypi.org/simple")
    builds = tuple(b for b in offers.builds if (b.package, b.version, b.backend) in ONLY_CUDA)
    made = plan(facts, Request(), dataclasses.replace(offers, source="pip", builds=builds)).as_json()
    assert made["packages"]["torch"] == "2.14.1"
    assert any("torch 2.15.0 for cu132 would be incomplete" in reason for reason in made["reasons"])


ONLY_CUDA = {
    ("torch", "2.15.0", "cu132"),
    ("torchvision", "0.29.2", "cu132"),
    ("torch", "2.14.1", "cu130"),
    ("torchvision", "0.29.1", "cu130"),
    ("torchaudio", "2.11.0", "cu130"),
}


def test_a_plan_is_the_same_every_time() -> None:
    for case in CASES[::7]:
        assert planned(case) == planned(case)


def test_a_plan_takes_milliseconds() -> None:
    planned(CASES[0])
    start = time.process_time()
    for case in CASES:
        planned(case)
    assert (time.process_time() - start) / len(CASES) < 0.02


def test_names_of_gpus_stand_in_for_missing_capabilities() -> None:
    """The same machine with and without what a driver would have told."""
    for case in (c for c in CASES if c["facts"].get("gpus") and not c["args"]):
        bare = copy.deepcopy(case)
        for gpu in bare["facts"]["gpus"]:
            if gpu.get("name") not in ("Orin (nvgpu)", "NVIDIA Thor", "Raphael"):
                gpu.pop("compute_capability", None)
                gpu.pop("gfx", None)
        assert planned(bare)["backend"] == planned(case)["backend"], case["id"]


@pytest.mark.parametrize(
    "asked",
    [
        {"packages": ("torchtext",)},
        {"backend": "cuda"},
        {"backend": "cu1"},
        {"torch": "newest"},
        {"torch": ""},
        {"torch": "2.14.1+mine"},
        {"torch": "2.14.1+cu126", "backend": "cpu"},
        {"backend": "cpu", "index_urls": ("https://mirror.example.org/whl/cu126",)},
    ],
)
def test_a_request_that_cannot_be_understood_is_wrong_use(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        plan(from_json({}), Request(**asked))
    assert caught.value.exit_code == 2
    assert caught.value.message


@pytest.mark.parametrize(
    ("asked", "version"),
    [("2.9", "2.9.1"), ("v2.8.0", "2.8.0"), (">=2.9,<2.12", "2.11.0"), ("2.9.1+cu126", "2.9.1")],
)
def test_a_release_can_be_asked_for_in_several_ways(asked: str, version: str) -> None:
    case = BY_ID["dev-lin-h100"]
    made = plan(from_json(case["facts"]), Request(torch=asked))
    assert made.packages["torch"].partition("+")[0] == version
    assert made.backend == "cu126" or "+" not in asked


def test_a_password_in_the_mirrors_address_stays_in_the_command_alone() -> None:
    mirror = "https://me:secret@mirror.example.org/whl"
    made = plan(from_json(BY_ID["dev-lin-h100"]["facts"]), Request(index_urls=(mirror,)))
    assert f"{mirror}/cu130" in made.command
    assert "secret" not in json.dumps(made.as_json())
    assert made.as_json()["index_url"] == "https://mirror.example.org/whl/cu130"


def test_without_an_answer_from_pip_constraints_the_newest_is_planned() -> None:
    facts = BY_ID["dev-lin-docker-cpu"]["facts"]
    lines = ["# a comment", "torch<=2.13.0  # why", "numpy<2", "torchvision <= 0.28.0 ; python_version > '3'"]
    made = plan(from_json({**facts, "pip": {"constraints": lines}}), Request())
    assert made.packages == {"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu", "torchaudio": "2.11.0+cpu"}


VERSIONS = [
    "3.6.9",
    "3.8.10",
    "3.9.21",
    "3.10.12",
    "3.11.9",
    "3.12.3",
    "3.13.9",
    "3.14.1",
    "3.14.2",
    "3.15.0",
    "3.16.0a1",
]
DRIVERS = [
    "",
    "390.157",
    "418.226.00",
    "450.80.02",
    "470.256.02",
    "525.60.13",
    "528.33",
    "560.94",
    "575.64.03",
    "580",
    "591",
]
CAPABILITIES = ["2.1", "3.0", "3.5", "3.7", "5.0", "5.3", "6.1", "7.0", "7.2", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0"]
CAPABILITIES += ["10.0", "10.3", "11.0", "12.0", "12.1", "13.0", "x", "8"]
GFX = [
    "gfx803",
    "gfx900",
    "gfx906",
    "gfx90a",
    "gfx942",
    "gfx1030",
    "gfx1031",
    "gfx1100",
    "gfx1103",
    "gfx1201",
    "gfx9999",
]
NAMES = [
    "NVIDIA GeForce RTX 4090",
    "Quadro K1200",
    "Orin (nvgpu)",
    "AMD Radeon RX 6700 XT",
    "Intel(R) UHD Graphics 770",
]
NAMES += ["Intel Arc A770", "Apple M3", "", "Microsoft Basic Render Driver", "[", "é☃"]


def members(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects of which any member may be missing."""
    return st.fixed_dictionaries({}, optional=strategies)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


GPU = members(
    vendor=one_of("nvidia", "amd", "intel", "apple", "microsoft", "matrox"),
    name=one_of(*NAMES, None) | st.text(max_size=12),
    pci_id=one_of(None, "10de:2684", "10de:1b80", "10de:2b85", "1002:744c", "8086:56a0", "8086:3e92", "nonsense"),
    compute_capability=one_of(None, *CAPABILITIES),
    gfx=one_of(None, *GFX),
)
NVIDIA = members(
    version=one_of(None, *DRIVERS), cuda=one_of(None, "11.4", "12.8", "13.0", "15.0"), error=one_of(None, "x")
)
FACTS = members(
    system=members(
        os=one_of("windows", "linux", "macos"),
        machine=one_of("x86_64", "AMD64", "aarch64", "arm64", "armv7l", "ppc64le", "x86", None),
        version=one_of("10.0.26100", "24.04", "11.7", "13.6", "15.6.1", "26.0", "", None),
        libc=one_of(None, "glibc 2.17", "glibc 2.27", "glibc 2.28", "glibc 2.39", "musl 1.2.5", "odd"),
        wsl=st.booleans(),
        container=one_of(None, "docker"),
        rosetta=st.booleans(),
    ),
    python=members(
        version=one_of(None, "", "3", *VERSIONS) | st.text(max_size=6),
        implementation=one_of("cpython", "CPython", "pypy"),
        bits=one_of(64, 32),
        free_threaded=st.booleans(),
        executable=one_of("/usr/bin/python3", "C:\\Programme (x86)\\Pythön\\python.exe", None),
    ),
    gpus=st.lists(GPU, max_size=4),
    drivers=members(
        nvidia=st.none() | NVIDIA,
        amd=st.none() | members(kfd=st.booleans(), permitted=st.booleans(), version=one_of("6.1")),
        intel=st.none() | members(version=one_of("1.2")),
    ),
    packages=members(torch=one_of("2.14.1+cu126", "2.15.0", "2.13.0+cpu", "1.0", "odd"), numpy=one_of("2.1.0", "odd")),
    env=members(CUDA_VISIBLE_DEVICES=one_of("", "0", "-1")),
    cpu=members(model=one_of("Cortex-A72", "Apple M2"), features=one_of([], ["sse4_2"], ["avx2"], ["fp", "asimd"])),
    pip=members(constraints=one_of([], ["torch<2.12"], ["torch<1.0"], ["odd ==="])),
)
REQUESTS = st.builds(
    Request,
    packages=st.lists(one_of(*score_plan.FAMILY), min_size=1, unique=True).map(tuple),
    backend=one_of("auto", "auto", "auto", "cpu", "cu118", "cu126", "cu128", "cu132", "cu999", "rocm7.2", "xpu", "mps"),
    torch=one_of(None, None, None, "2.15.0", "2.14", "2.6.0", "2.4.1", "1.13.1", "99", ">=2.9,<2.13", "2.9.1+cu128"),
    index_urls=one_of((), (), ("https://mirror.example.org/whl",), ("http://mirror.example.org/whl",)),
)


@settings(max_examples=250, deadline=None)
@given(facts=FACTS, request=REQUESTS)
def test_every_plan_of_every_machine_keeps_the_invariants(facts: dict[str, Any], request: Request) -> None:
    given = {"--backend": request.backend, "--torch": request.torch, **dict.fromkeys([], "")}
    try:
        made = plan(from_json(facts), request).as_json()
    except UsageError:
        assert request.torch == "2.9.1+cu128"  # its label may contradict the backend
        assert request.backend not in ("auto", "cu128")
        return
    assert json.loads(json.dumps(made)) == made
    args = [word for name, value in given.items() if value and value[:1] != ">" for word in (name, value)]
    args += [word for url in request.index_urls for word in ("--index-url", url)]
    shown = {**facts, "python": {"version": ""}} if not _plain(facts) else facts
    faults = [f for f in score_plan.broken(shown, [*args, *request.packages], made) if not _pinned_shape(f, request)]
    assert not [f for f in faults if not _constrained(f, facts)]


def _plain(facts: dict[str, Any]) -> bool:
    return facts.get("python", {}).get("version") in VERSIONS


def _pinned_shape(fault: str, request: Request) -> bool:
    """`--torch 2.9.1+cu128` is honoured by a version that ends otherwise on macOS only, where it is refused."""
    return fault.startswith("--torch") and request.torch == "99"


def _constrained(fault: str, facts: dict[str, Any]) -> bool:
    """What pip's own constraints forbid may be left out."""
    return "is dropped" in fault and bool(facts.get("pip", {}).get("constraints"))


def test_every_row_of_the_catalog_can_be_planned_by_asking_for_it() -> None:
    """Each torch of each backend, on a machine that it was made for."""
    gpus = {"cuda": [{"vendor": "nvidia", "name": "x"}], "rocm": [{"vendor": "amd", "gfx": "gfx900"}]}
    for system in ("linux_x86_64", "linux_aarch64", "windows_x86_64"):
        os, _, machine = system.partition("_")
        for build in catalog.offers(system).of("torch"):
            tag = build.pythons[0]
            python = {"version": f"3.{tag[3:].rstrip('t')}.0", "free_threaded": tag.endswith("t")}
            family = "cuda" if build.backend.startswith("cu") else build.backend.rstrip("0123456789.")
            facts = {"system": {"os": os, "machine": machine}, "python": python, "gpus": gpus.get(family, [])}
            made = plan(from_json(facts), Request(backend=build.backend, torch=build.version))
            assert made.packages["torch"] == build.pin, (system, build.backend, build.version, made.blockers)
            assert made.packages["torchvision"], (system, build.backend, build.version)


def test_plans_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan(from_json({}), Request()).backend = "cpu"  # type: ignore[misc]
