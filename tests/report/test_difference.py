"""What could explain "works there, not here" stands first; what nobody looked at is noise."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcheck.report.difference import WEIGHTS, differences

HERE: dict[str, Any] = {
    "system": {"os": "linux", "libc": "glibc 2.35", "kernel": "6.1.0", "container": None},
    "python": {"version": "3.12.1", "executable": "/a/python", "environment": "venv"},
    "cpu": {"model": "EPYC 9354", "features": ["avx2", "avx512f", "amx_bf16"], "mhz": 2400.0},
    "memory": {"total": 64 << 30, "available": 5, "shm": 32 << 30},
    "gpus": [{"vendor": "nvidia", "name": "NVIDIA H100", "compute_capability": "9.0"}],
    "drivers": {"nvidia": {"version": "580.65.06", "cuda": "13.0"}, "amd": None},
    "packages": {"torch": "2.15.0+cu130", "numpy": "2.4.0", "click": "8.1.0"},
    "torch": {"import": "ok", "version": "2.15.0+cu130", "cuda": "13.0", "file": "/a/torch/__init__.py"},
    "env": {"CUDA_VISIBLE_DEVICES": "0"},
}


def found(change: dict[str, Any], **sides: Any) -> dict[str, dict[str, Any]]:
    """Differences between HERE and HERE with some sections' members replaced; None takes a section away."""
    there = copy.deepcopy(HERE)
    for section, members in change.items():
        if members is None:
            del there[section]
        elif isinstance(members, dict):
            there[section] |= members
        else:
            there[section] = members
    return {d["path"]: d for d in differences({"facts": HERE}, {"facts": there, **sides})}


def test_the_same_differs_in_nothing() -> None:
    assert differences({"facts": HERE}, {"facts": copy.deepcopy(HERE)}) == []


@pytest.mark.parametrize(
    ("change", "path", "weight"),
    [
        ({"torch": {"version": "2.15.0+cpu"}}, "torch.version", "telling"),
        ({"torch": {"file": "/b"}}, "torch.file", "noise"),
        ({"drivers": {"nvidia": {"version": "535.1", "cuda": "13.0"}}}, "drivers.nvidia.version", "telling"),
        ({"drivers": {"nvidia": {"version": "580.65.06", "cuda": "12.2"}}}, "drivers.nvidia.cuda", "telling"),
        ({"drivers": {"nvidia": {"version": "580.65.06", "cuda": "13.1"}}}, "drivers.nvidia.cuda", "maybe"),
        ({"drivers": {"nvidia": None}}, "drivers.nvidia.version", "telling"),
        ({"gpus": []}, "gpus[0].name", "telling"),
        ({"gpus": [*HERE["gpus"], {"name": "NVIDIA A2"}]}, "gpus[1].name", "telling"),
        ({"gpus": None}, "gpus[0].name", "noise"),
        ({"env": {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}}, "env.LD_LIBRARY_PATH", "telling"),
        ({"env": {"PIP_INDEX_URL": "https://mirror.example"}}, "env.PIP_INDEX_URL", "maybe"),
        ({"env": None}, "env.CUDA_VISIBLE_DEVICES", "noise"),
        ({"python": {"version": "3.12.9"}}, "python.version", "maybe"),
        ({"python": {"version": "3.13.0"}}, "python.version", "telling"),
        ({"python": {"executable": "/b/python"}}, "python.executable", "noise"),
        ({"packages": {"numpy": "1.26.4"}}, "packages.numpy", "telling"),
        ({"packages": {"click": "8.2"}}, "packages.click", "maybe"),
        ({"packages": {"triton": "3.5"}}, "packages.triton", "telling"),
        ({"system": {"container": "docker"}}, "system.container", "telling"),
        ({"memory": {"shm": 64 << 20}}, "memory.shm", "telling"),
        ({"memory": {"shm": 31 << 30}}, "memory.shm", "maybe"),
        ({"memory": {"available": 6}}, "memory.available", "noise"),
        ({"cpu": {"mhz": 1.0}}, "cpu.mhz", "noise"),
    ],
)
def test_each_difference_has_its_weight(change: dict[str, Any], path: str, weight: str) -> None:
    difference = found(change)[path]
    assert difference["weight"] == weight
    assert difference["note"] or weight != "telling"


def test_of_lists_only_what_differs_is_shown() -> None:
    difference = found({"cpu": {"features": ["avx2", "sse4_2"]}})["cpu.features"]
    assert (difference["a"], difference["b"]) == (["avx512f", "amx_bf16"], ["sse4_2"])
    turned = found({"cpu": {"features": ["amx_bf16", "avx512f", "avx2"]}})["cpu.features"]
    assert (turned["a"], turned["b"]) == ([], [])
    assert turned["note"].endswith("in another order")


def test_a_paste_lists_few_packages_and_says_nothing_of_the_others() -> None:
    change = {"packages": {"numpy": "1.26.4"}, "env": None, "memory": None}
    told = found(change, pasted=True)
    assert [d["path"] for d in told.values() if d["weight"] != "noise"] == ["packages.numpy"]
    there = copy.deepcopy(HERE)
    del there["packages"]["click"]
    paths = {d["path"]: d["weight"] for d in differences({"facts": HERE}, {"facts": there, "pasted": True})}
    assert paths == {"packages.click": "noise"}


def test_checks_that_ended_differently_come_first_and_those_of_another_level_last() -> None:
    def proof(*results: tuple[str, str]) -> dict[str, Any]:
        checks = [{"id": ident, "device": "cuda:0", "dtype": None, "status": status} for ident, status in results]
        return {"facts": {}, "verify": {"checks": checks}}

    told = differences(proof(("a.x", "pass"), ("a.y", "pass")), proof(("a.x", "fail"), ("a.z", "pass")))
    assert [(d["path"], d["weight"]) for d in told] == [
        ("verify.a.x[cuda:0]", "telling"),
        ("verify.a.y[cuda:0]", "noise"),
        ("verify.a.z[cuda:0]", "noise"),
    ]


def test_the_most_telling_comes_first() -> None:
    change = {"torch": {"version": "2.14.0"}, "python": {"executable": "/b"}, "packages": {"click": "9"}, "gpus": []}
    weights = [d["weight"] for d in found(change).values()]
    assert weights == sorted(weights, key=WEIGHTS.index)
    assert next(iter(found(change))) == "torch.version"


plain = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab.[]", max_size=3)
facts = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2)
)


@given(st.dictionaries(st.sampled_from(list(HERE)), facts), st.dictionaries(st.sampled_from(list(HERE)), facts))
def test_whatever_the_facts_are_both_directions_tell_the_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    there, back = differences({"facts": a}, {"facts": b}), differences({"facts": b}, {"facts": a})
    assert [(d["path"], d["a"], d["b"], d["weight"]) for d in there] == [
        (d["path"], d["b"], d["a"], d["weight"]) for d in back
    ]
    assert differences({"facts": a}, {"facts": a}) == []
