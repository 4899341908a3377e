"""The catalog's data: complete, sourced, and what PyTorch itself says."""

from __future__ import annotations

import pytest

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import BACKEND, kind, parse, toolkit

SYSTEMS = ("linux_x86_64", "linux_aarch64", "windows_x86_64", "macos_arm64", "macos_x86_64")

# DEVICE_REQUIREMENT of torch/cuda/__init__.py, torch 2.15.0: code, devices it runs on, devices it does not.
RUNS = [
    ("5.0", "5.0 5.2", "5.3 6.0"),
    ("6.0", "6.0 6.1", "6.2 7.0"),
    ("6.1", "6.1", "6.0 6.2"),
    ("7.0", "7.0 7.5", "7.2 6.1"),
    ("7.5", "7.5", "7.0 8.0"),
    ("8.0", "8.0 8.6 8.9", "8.7 9.0 7.5"),
    ("8.6", "8.6 8.9", "8.0 8.7"),
    ("8.7", "8.7", "8.6 8.9"),
    ("9.0", "9.0", "8.9 10.0"),
    ("10.0", "10.0 10.3", "10.1 11.0 12.0"),
    ("10.1", "10.1 11.0", "10.0"),
    ("11.0", "10.1 11.0", "12.0"),
    ("12.0", "12.0 12.1", "10.0 11.0"),
]


@pytest.mark.parametrize(("code", "runs", "not_on"), RUNS)
def test_code_runs_on_the_devices_that_torch_says(code: str, runs: str, not_on: str) -> None:
    assert all(catalog.runs_on(code, device, (13, 0)) for device in runs.split())
    assert not any(catalog.runs_on(code, device, (13, 0)) for device in not_on.split())


def test_from_cuda_13_2_on_server_code_runs_on_orin() -> None:
    assert catalog.runs_on("8.0", "8.7", (13, 2))
    assert not catalog.runs_on("8.0", "8.7", (13, 0))
    assert not catalog.runs_on("8.0", "9.0", (13, 2))


@pytest.mark.parametrize("device", ["", "x", "8", "8.x", "gfx900"])
def test_a_device_that_is_none_runs_nothing(device: str) -> None:
    assert not catalog.runs_on("8.0", device, (13, 0))


def test_every_row_says_where_it_comes_from() -> None:
    found = catalog.data("backends")
    assert all(row["source"] for row in found["backends"])
    assert all(row["source"] for row in found["kernels"])
    assert all(found[name]["source"] for name in ("index", "runs_on", "drivers", "libraries", "pairs", "old_arm"))
    assert catalog.data("pypi")["source"].startswith("https://pypi.org")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_build_is_whole(system: str) -> None:
    offers = catalog.offers(system)
    torches = {(b.version, b.backend) for b in offers.of("torch")}
    for build in offers.builds:
        assert BACKEND.fullmatch(build.backend)
        assert build.pythons
        assert build.label in ("", build.backend)
        assert bool(build.label) != system.startswith("macos") or system == "linux_aarch64"
        if build.package == "torch" and kind(build.backend) == "cuda":
            assert build.kernels, (build.version, build.backend)
            assert catalog.driver_floor(build.backend, windows=False)
        if build.package != "torch":
            assert build.requires_torch, (build.package, build.version)
            assert (catalog.built_for(build.package, build.version), build.backend) in torches


def test_nothing_but_the_newest_rocm_and_xpu_is_without_a_list_of_kernels() -> None:
    unlisted = {b.backend for b in catalog.offers("linux_x86_64").of("torch") if b.kernels is None}
    assert unlisted == {"cpu", "xpu", "rocm7.14"}


def test_each_python_ends_with_the_release_that_it_ends_with() -> None:
    ends = {"cp38": "2.4.1", "cp39": "2.8.0", "cp310": "2.14.1", "cp313t": "2.12.0", "cp315": "2.15.0", "cp316": None}
    assert {python: catalog.last_release("linux_x86_64", python) for python in ends} == ends


def test_what_pypi_serves_by_default_is_known_for_every_release() -> None:
    for row in catalog.data("pypi")["releases"]["torch"]:
        for system in ("linux_x86_64", "windows_x86_64"):
            assert catalog.pypi_backend("torch", row["version"], system)
    assert catalog.pypi_backend("torch", "2.15.0", "linux_x86_64") == "cu132"
    assert catalog.pypi_backend("torchaudio", "2.11.0", "linux_x86_64") == "cu130"
    assert catalog.pypi_backend("torchvision", "0.29.2", "windows_x86_64") == "cpu"
    assert catalog.pypi_backend("torch", "2.10.0", "linux_aarch64") == "cpu"
    assert catalog.pypi_backend("torch", "9.9.9", "linux_x86_64") is None


@pytest.mark.parametrize(
    ("backend", "version"), [("cu130", (13, 0)), ("cu92", (9, 2)), ("rocm6.2.4", (6, 2, 4)), ("cpu", ())]
)
def test_a_backends_name_says_its_toolkit(backend: str, version: tuple[int, ...]) -> None:
    assert toolkit(backend) == version


def test_versions_that_are_none_sort_first() -> None:
    assert parse("odd") < parse("0.1") < parse("2.9.1") < parse("2.15.0")
