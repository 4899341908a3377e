"""Asking real indexes over HTTP, honest and otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from local_index import CERTIFICATE, LocalIndex
from local_wheels import companion_wheel, make_wheel, native_tag, torch_wheel, trio

from torchcheck.errors import Exit, UnreachableError
from torchcheck.facts import Facts, from_json, to_json
from torchcheck.wheels import offers as wheels_offers
from torchcheck.wheels.offers import collect, remembered
from torchcheck.wheels.plan import Plan, Request, plan
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Web

LINUX = {"system": {"os": "linux", "machine": "x86_64", "libc": "glibc 2.39"}}
HERE: dict[str, Any] = {"python": "cp312", "platform": "manylinux_2_28_x86_64"}
TABLE = {
    "12.6": {"x86_64": {50, 60, 70, 75, 80, 86, 90}},
    "13.0": {"x86_64": {75, 80, 86, 90, 100, 120}},
    "15.0": {"x86_64": {80, 86, 90, 100, 120, 130}, "aarch64": {90}},
}


def facts(gpu: str | None = None, driver: str = "580.95.05", cuda: str = "13.0", **more: Any) -> Facts:
    gpus = [{"vendor": "nvidia", "name": gpu}] if gpu else []
    drivers = {"nvidia": {"version": driver, "cuda": cuda} if gpu else None}
    python = {"version": "3.12.3", "implementation": "cpython", "bits": 64}
    return from_json({**LINUX, "python": python, "gpus": gpus, "drivers": drivers, **more})


def made(machine: Facts, request: Request) -> Plan:
    return plan(machine, request, collect(machine, request))


@pytest.fixture
def mirror(local_index: LocalIndex) -> tuple[LocalIndex, Request]:
    """Give an index like PyTorch's, with the builds of this autumn, and a request that names it."""
    for backend in ("cpu", "cu126", "cu130"):
        local_index.add(f"whl/{backend}", *trio("2.14.1", "0.29.1", "2.11.0", backend, **HERE))
    for backend in ("cpu", "cu130"):
        local_index.add(f"whl/{backend}", *trio("2.15.0", "0.29.2", None, backend, **HERE))
    return local_index, Request(index_urls=(local_index.url("whl"),))


def test_a_machine_without_gpu_gets_the_newest_trio_that_the_index_has(mirror) -> None:
    index, request = mirror
    found = collect(facts(), request)
    made = plan(facts(), request, found)
    assert found.source == "index"
    assert made.packages == {"torch": "2.15.0+cpu", "torchvision": "0.29.2+cpu", "torchaudio": "2.11.0+cpu"}
    assert made.index_url == index.url("whl/cpu")
    assert made.command[-2:] == ("--index-url", index.url("whl/cpu"))
    files = {f"{w.name}=={w.version}": len(w.data) for pool in index.pools["whl/cpu"].values() for w in pool}
    assert made.download_bytes == sum(files[requirement] for requirement in made.requirements)
    assert not index.asked("*/cu1*")  # nothing is asked that this machine could not use


def test_a_release_and_a_backend_that_nobody_has_heard_of_are_planned(mirror) -> None:
    """Their own wheel says which GPUs they serve, and the driver which CUDA it speaks."""
    index, request = mirror
    index.add("whl/cu150", torch_wheel("2.99.0+cu150", architectures=TABLE, **HERE))
    index.add("whl/cu150", companion_wheel("torchvision", "0.99.0+cu150", torch="2.99.0", **HERE))
    index.add("whl/cu150", companion_wheel("torchaudio", "2.12.0+cu150", torch=None, **HERE))
    new = made(facts("NVIDIA GeForce RTX 4090", "800.10", "15.1"), request)
    assert new.packages == {"torch": "2.99.0+cu150", "torchvision": "0.99.0+cu150", "torchaudio": "2.12.0+cu150"}
    assert new.index_url == index.url("whl/cu150")
    reads = [r for r in index.asked("*/torch-2.99.0*") if r.method == "GET"]
    assert reads
    assert all(r.range for r in reads)  # never the whole wheel

    old_driver = made(facts("NVIDIA GeForce RTX 4090", "580.95.05", "13.0"), request)
    assert old_driver.packages["torch"] == "2.15.0+cu130"
    assert any(n["backend"] == "cu150" and "CUDA 15" in n["reason"] for n in old_driver.rejected)

    turing = made(facts("Tesla T4", "800.10", "15.1"), request)  # 7.5 is not in the new build's table
    assert turing.packages["torch"] == "2.15.0+cu130"
    assert any(n["backend"] == "cu150" and "no kernels" in n["reason"] for n in turing.rejected)


def test_a_row_of_the_table_whose_build_is_not_served_counts_for_nothing(mirror) -> None:
    """As torch 2.15.0, which lists CUDA 12.6 though no such build was published."""
    index, request = mirror
    for backend in ("cu130", "cpu"):
        index.add(f"whl/{backend}", torch_wheel(f"2.16.0+{backend}", architectures=TABLE, **HERE))
        index.add(f"whl/{backend}", companion_wheel("torchvision", f"0.30.0+{backend}", torch="2.16.0", **HERE))
    pascal = made(facts("NVIDIA GeForce GTX 1080"), request)
    assert (pascal.backend, pascal.packages["torch"]) == ("cu126", "2.14.1+cu126")
    ada = made(facts("NVIDIA GeForce RTX 4090"), request)
    assert ada.packages["torch"] == "2.16.0+cu130"


def test_a_torch_whose_kernels_cannot_be_read_is_not_chosen_by_itself(mirror) -> None:
    index, request = mirror
    index.add("whl/cu130", torch_wheel("2.16.0+cu130", architectures=None, **HERE))
    assert made(facts("NVIDIA GeForce RTX 4090"), request).packages["torch"] == "2.15.0+cu130"
    index.add("whl/cu130", torch_wheel("2.17.0+cu130", architectures=TABLE, **HERE))
    index.ranges = False
    assert made(facts("NVIDIA GeForce RTX 4090"), request).packages["torch"] == "2.15.0+cu130"


def test_a_stale_companion_is_no_offer(mirror) -> None:
    """A new folder is born with wheels of years ago in it."""
    index, request = mirror
    index.add("whl/cu132", *trio("2.15.0", "0.29.2", None, "cu132", **HERE))
    index.add("whl/cu132", companion_wheel("torchaudio", "2.2.0", torch="2.2.0", **HERE))
    index.add("whl/cu132", torch_wheel("2.0.1+cu118", **HERE))
    asked = Request(backend="cu132", index_urls=request.index_urls)
    old = made(facts("NVIDIA GeForce RTX 4090"), asked)
    assert old.packages == {"torch": "2.15.0+cu132", "torchvision": "0.29.2+cu132", "torchaudio": None}
    assert any("torchaudio" in w["message"] for w in old.warnings)
    assert made(facts("NVIDIA GeForce RTX 4090"), request).backend == "cu130"


def test_an_index_without_listing_is_asked_for_what_the_catalog_knows(mirror) -> None:
    index, request = mirror
    index.fault("/whl/", "status", 403)
    index.fault("/whl/torch/", "status", 404)
    assert made(facts("NVIDIA GeForce RTX 4090"), request).packages["torch"] == "2.15.0+cu130"


def test_what_was_read_is_remembered_with_its_date(mirror) -> None:
    index, request = mirror
    index.add("whl/cu130", torch_wheel("2.99.0+cu130", architectures=TABLE, **HERE))
    index.add("whl/cu130", companion_wheel("torchvision", "0.99.0+cu130", torch="2.99.0", **HERE))
    machine = facts("NVIDIA GeForce RTX 4090")
    assert remembered(machine, request) is None
    collect(machine, request)
    index.fault("*", "silence")
    known = remembered(machine, request)
    assert known is not None
    later = plan(machine, request, known)
    assert later.packages["torch"] == "2.99.0+cu130"
    assert any(known.asked[:10] in reason for reason in later.reasons)
    away = plan(machine, request, collect(machine, request, timeout=3))
    assert away.packages == later.packages
    assert any(known.asked in w["message"] for w in away.warnings if w["code"] == "network-unreachable")


def test_a_catalog_that_is_newer_than_what_was_read_goes_before_it(mirror, monkeypatch) -> None:
    _, request = mirror
    collect(facts(), request)
    monkeypatch.setattr("torchcheck.wheels.catalog.date", lambda: "2099-01-01")
    assert remembered(facts(), request) is None


def test_a_damaged_cache_is_as_good_as_none(mirror, tmp_path: Path) -> None:
    _, request = mirror
    collect(facts(), request)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    for text in ("", "{}", "[]", '{"format": 1}', kept.read_text(encoding="utf-8")[:-200]):
        kept.write_text(text, encoding="utf-8")
        assert remembered(facts(), request) is None
    collect(facts(), request)
    assert remembered(facts(), request) is not None


@pytest.mark.parametrize(
    ("pattern", "kind", "value", "code", "words"),
    [
        ("*", "status", 404, "not-there", "does not exist"),
        ("*", "status", 403, "index-forbidden", "refuses"),
        ("*", "status", 500, "index-server-fault", "HTTP 500"),
        ("*", "redirect", "http://mirror.example.org/whl/", "wrong-index", "not https"),
        ("*", "garbage", None, "index-server-fault", "lists no wheels"),
        ("*", "silence", None, "network-unreachable", "cannot be reached"),
        ("*", "cut", 0.3, "download-interrupted", "was cut off"),
    ],
)
def test_each_failure_of_an_index_says_what_it_is(mirror, pattern, kind, value, code, words) -> None:
    index, request = mirror
    index.fault(pattern, kind, value)
    start = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        collect(facts(), request, timeout=5)
    assert time.monotonic() - start < 12
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert caught.value.code == code
    assert words in caught.value.message
    assert index.root in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusing_answer_is_closed(mirror, status) -> None:
    index, _ = mirror  # Python 3.14 and later warn of an answer that is left open
    index.fault("*", "status", status)
    with pytest.raises(WebError) as caught:
        Web(time.monotonic() + 5).get(index.root)
    answer = caught.value.__cause__
    assert isinstance(answer, HTTPError)
    assert answer.code == status
    assert answer.closed


@pytest.mark.parametrize(("kind", "value"), [("drip", 40), ("delay", 30)])
def test_a_slow_index_is_given_up_in_time(mirror, kind, value) -> None:
    index, request = mirror
    index.fault("*", kind, value)
    start = time.monotonic()
    with pytest.raises(UnreachableError, match=r"slow|in time"):
        collect(facts(), request, timeout=2)
    assert time.monotonic() - start < 8


def test_a_certificate_that_is_not_trusted_is_named_and_can_be_given(monkeypatch) -> None:
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with LocalIndex(tls=True) as index:
        index.add("whl/cpu", *trio("2.15.0", "0.29.2", "2.11.0", "cpu", **HERE))
        request = Request(index_urls=(index.url("whl"),))
        with pytest.raises(UnreachableError) as caught:
            collect(facts(), request, timeout=5)
        assert caught.value.code == "ssl-proxy-ca"
        assert "PIP_CERT" in caught.value.hint
        monkeypatch.setenv("PIP_CERT", str(CERTIFICATE))
        assert made(facts(), request).packages["torch"] == "2.15.0+cpu"


def test_a_passing_fault_is_ridden_out(mirror) -> None:
    index, request = mirror
    index.fault("/whl/cpu/torch/", "status", 503, times=1)
    index.fault("/whl/cpu/torchvision/", "silence", times=1)
    assert made(facts(), request).packages["torchvision"] == "0.29.2+cpu"


def test_one_backend_that_fails_does_not_take_the_others_along(mirror) -> None:
    index, request = mirror
    index.fault("/whl/cu130/*", "status", 500)
    found = collect(facts("NVIDIA GeForce RTX 4090"), request, timeout=8)
    assert any("HTTP 500" in note for note in found.notes)
    other = plan(facts("NVIDIA GeForce RTX 4090"), request, found)
    assert other.backend == "cu126"
    assert "index-server-fault" in {w["code"] for w in other.warnings}


def test_an_index_that_has_nothing_for_this_python_says_so(mirror) -> None:
    _, request = mirror
    machine = from_json({**LINUX, "python": {"version": "3.13.5"}, "gpus": []})
    blocked = made(machine, request)
    assert blocked.backend is None
    assert {b["code"] for b in blocked.blockers} == {"no-wheel-for-python"}
    assert "Python 3.13" in blocked.blockers[0]["message"]


def test_what_no_index_could_change_is_said_without_asking(mirror) -> None:
    index, request = mirror
    machine = from_json({"system": {"os": "linux", "machine": "ppc64le"}, "python": {"version": "3.12.3"}, "gpus": []})
    assert {b["code"] for b in made(machine, request).blockers} == {"no-wheel-arch"}
    assert not index.requests


def test_a_mirror_is_never_replaced_by_another_place(mirror) -> None:
    index, request = mirror
    index.add("simple", *trio("2.15.0", "0.29.2", "2.11.0", "cpu", **HERE))
    index.fault("/whl/*", "status", 500)
    machine = facts(pip={"index_url": index.url("simple")})
    with pytest.raises(UnreachableError):
        collect(machine, request, timeout=5)
    assert not index.asked("/simple/*")


@pytest.fixture
def no_pytorch(monkeypatch, local_index: LocalIndex) -> LocalIndex:
    """Make the PyTorch index one that nothing answers at, and give another index that pip may be set to."""
    for module in ("request", "offers", "places"):
        monkeypatch.setattr(f"torchcheck.wheels.{module}.PYTORCH", "http://127.0.0.1:9/whl")
    return local_index


def pypi(index: LocalIndex, *names: str) -> None:
    """Serve wheels as PyPI does: no label in the name, CUDA inside."""
    wheels = {
        "torch": torch_wheel("2.14.1", build="cu130", **HERE),
        "torchvision": companion_wheel("torchvision", "0.29.1", torch="2.14.1", **HERE),
        "torchaudio": companion_wheel("torchaudio", "2.11.0", torch=None, **HERE),
    }
    index.add("simple", *(wheels[name] for name in names or wheels))


def folder(tmp_path: Path, *wheels: Any) -> Path:
    place = tmp_path / "wheels ä"
    place.mkdir(exist_ok=True)
    for wheel in wheels:
        (place / wheel.filename).write_bytes(wheel.data)
    return place


def test_without_the_pytorch_index_the_right_kind_goes_before_the_newer_one(no_pytorch, tmp_path) -> None:
    """A CPU wheel in a folder that pip knows, and a newer CUDA trio on PyPI: no GPU here."""
    pypi(no_pytorch)
    place = folder(tmp_path, torch_wheel("2.13.0+cpu", **HERE))
    machine = facts(pip={"index_url": no_pytorch.url("simple"), "find_links": [str(place)]})
    found = collect(machine, Request())
    alone = plan(machine, Request(), found)
    assert found.source == "pip"
    assert alone.packages == {"torch": "2.13.0+cpu", "torchvision": None, "torchaudio": None}
    assert alone.backend == "cpu"
    assert alone.command == ("python", "-m", "pip", "install", "torch==2.13.0+cpu")
    codes = {w["code"] for w in alone.warnings}
    assert codes == {"network-unreachable", "companion-missing"}
    assert {"torchvision", "torchaudio"} <= {w["message"].partition(" ")[0] for w in alone.warnings}


def test_with_pypi_alone_a_machine_without_gpu_gets_its_cuda_build_and_is_told(no_pytorch) -> None:
    pypi(no_pytorch)
    machine = facts(pip={"index_url": no_pytorch.url("simple")})
    big = made(machine, Request())
    assert big.backend == "cu130"
    assert big.packages == {"torch": "2.14.1", "torchvision": "0.29.1", "torchaudio": "2.11.0"}
    assert "--index-url" not in big.command
    assert {"network-unreachable", "backend-mismatch"} <= {w["code"] for w in big.warnings}


def test_with_pypi_alone_a_gpu_is_served(no_pytorch) -> None:
    pypi(no_pytorch)
    machine = facts("NVIDIA GeForce RTX 4090", pip={"index_url": no_pytorch.url("simple")})
    assert made(machine, Request()).packages["torchvision"] == "0.29.1"
    assert made(machine, Request(backend="cpu")).backend is None  # what is asked for is not there, and nothing else is


def test_with_pypi_alone_a_gpu_of_windows_stays_idle_and_is_named(no_pytorch) -> None:
    no_pytorch.add("simple", torch_wheel("2.15.0", build="cpu", python="cp312", platform="win_amd64"))
    windows = {"system": {"os": "windows", "machine": "x86_64"}, "pip": {"index_url": no_pytorch.url("simple")}}
    machine = facts("NVIDIA GeForce RTX 4090", **windows)
    idle = made(machine, Request(packages=("torch",)))
    assert (idle.backend, idle.packages) == ("cpu", {"torch": "2.15.0"})
    assert "cpu-wheel-on-gpu-box" in {w["code"] for w in idle.warnings}


def test_a_torch_of_pypi_that_nobody_has_heard_of_says_itself_what_it_is(no_pytorch) -> None:
    no_pytorch.add("simple", torch_wheel("2.98.0", build="cu130", architectures=TABLE, **HERE))
    machine = facts("NVIDIA GeForce RTX 4090", pip={"index_url": no_pytorch.url("simple")})
    new = made(machine, Request(packages=("torch",)))
    assert (new.backend, new.packages) == ("cu130", {"torch": "2.98.0"})


def test_pips_constraints_are_kept(no_pytorch, tmp_path) -> None:
    place = folder(tmp_path, torch_wheel("2.13.0+cpu", **HERE), torch_wheel("2.12.1+cpu", **HERE))
    lines = tmp_path / "constraints.txt"
    lines.write_text("# kept back\ntorch<2.13\nnumpy<3\n", encoding="utf-8")
    machine = facts(
        pip={"index_url": no_pytorch.url("simple"), "find_links": [str(place)], "constraints": [str(lines)]}
    )
    assert made(machine, Request(packages=("torch",))).packages == {"torch": "2.12.1+cpu"}


def test_pips_configuration_file_is_read(no_pytorch, tmp_path) -> None:
    place = folder(tmp_path, torch_wheel("2.13.0+cpu", **HERE), torch_wheel("2.12.1+cpu", **HERE))
    lines = tmp_path / "constraints.txt"
    lines.write_text("torch<2.13\n", encoding="utf-8")
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nconstraint = {lines}\ntimeout = 3\n", encoding="utf-8")
    pip = {"index_url": no_pytorch.url("simple"), "find_links": [place.as_uri()], "config_files": [str(config)]}
    assert made(facts(pip=pip), Request(packages=("torch",))).packages == {"torch": "2.12.1+cpu"}


def test_offline_a_folder_of_wheels_is_enough_and_no_index_is_asked(local_index, tmp_path) -> None:
    place = folder(tmp_path, *trio("2.14.1", "0.29.1", "2.11.0", "cpu", **HERE), make_wheel("sympy", "1.14.0"))
    (place / "torch-not a wheel.whl").write_bytes(b"")
    request = Request(offline=True, find_links=(str(place),))
    machine = facts(pip={"index_url": local_index.url("simple")})
    made_offline = made(machine, request)
    assert made_offline.packages == {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu", "torchaudio": "2.11.0+cpu"}
    assert made_offline.command[-3:] == ("--find-links", str(place), "--no-index")
    assert not local_index.requests


def test_offline_without_wheels_says_what_to_give() -> None:
    with pytest.raises(UnreachableError, match="--offline") as caught:
        collect(facts(), Request(offline=True))
    assert "--find-links" in caught.value.hint


def test_nothing_that_can_be_reached_is_an_error_of_its_own(no_pytorch) -> None:
    no_pytorch.fault("*", "status", 404)
    machine = facts(pip={"index_url": no_pytorch.url("simple")})
    with pytest.raises(UnreachableError) as caught:
        collect(machine, Request(), timeout=4)
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert "127.0.0.1:9" in caught.value.message


def test_a_password_goes_to_the_index_and_nowhere_else(mirror) -> None:
    index, _ = mirror
    address = index.url("whl").replace("://", "://me:secret@")
    found = collect(facts(), Request(index_urls=(address,)))
    assert found.source == "index"
    index.fault("*", "status", 403)
    with pytest.raises(UnreachableError) as caught:
        collect(facts(), Request(index_urls=(address,)))
    assert "secret" not in caught.value.message


def test_asking_is_quick(mirror) -> None:
    """All pages at once: the added time stays well under a second on a loopback."""
    _, request = mirror
    times = []
    for _ in range(3):
        start = time.monotonic()
        collect(facts("NVIDIA GeForce RTX 4090"), request)
        times.append(time.monotonic() - start)
    assert min(times) < 1


def test_pre_releases_are_asked_for_by_name_only(mirror) -> None:
    index, request = mirror
    nightly = torch_wheel("2.16.0.dev20261120+cpu", **HERE)
    index.add("whl/nightly/cpu", nightly)
    index.add("whl/cpu", torch_wheel("2.16.0rc1+cpu", **HERE))
    assert made(facts(), Request(packages=("torch",), index_urls=request.index_urls)).packages["torch"] == "2.15.0+cpu"
    pre = made(facts(), Request(packages=("torch",), index_urls=request.index_urls, pre=True))
    assert pre.packages["torch"] == "2.16.0rc1+cpu"
    asked = Request(packages=("torch",), index_urls=request.index_urls, pre=True, torch="==2.16.0.dev20261120")
    night = made(facts(), asked)
    assert night.index_url == index.url("whl/nightly/cpu")


def test_the_door_is_named_where_it_stands() -> None:
    assert "door: network" in (wheels_offers.__doc__ or "")
    assert os.environ["TORCHCHECK_CACHE_DIR"]


def test_an_index_without_folders_is_taken_as_it_is(local_index) -> None:
    """A company's mirror of PyPI, given as the index: what its wheels really are decides."""
    pypi(local_index)
    request = Request(index_urls=(local_index.url("simple"),))
    gpu = made(facts("NVIDIA GeForce RTX 4090"), request)
    assert (gpu.backend, gpu.packages["torch"]) == ("cu130", "2.14.1")
    assert gpu.command[-2:] == ("--index-url", local_index.url("simple"))
    none = made(facts(), request)
    assert none.packages["torch"] == "2.14.1"
    assert "backend-mismatch" in {w["code"] for w in none.warnings}


def test_an_index_with_torch_for_other_platforms_only_is_no_failure_of_the_network(local_index) -> None:
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu", python="cp312", platform="win_amd64"))
    blocked = made(facts(), Request(index_urls=(local_index.url("whl"),)))
    assert {b["code"] for b in blocked.blockers} == {"no-such-build"}
    assert "none for linux x86_64" in blocked.blockers[0]["message"]


def test_wheels_at_hand_count_besides_an_index(mirror, tmp_path) -> None:
    _, request = mirror
    place = folder(tmp_path, torch_wheel("2.20.0+cpu", **HERE))
    asked = Request(packages=("torch",), index_urls=request.index_urls, find_links=(str(place),))
    near = made(facts(), asked)
    assert near.packages == {"torch": "2.20.0+cpu"}
    assert near.command[-2:] == ("--find-links", str(place))


def test_a_proxy_is_used_as_pip_uses_it(local_index, monkeypatch) -> None:
    """Nothing listens at the mirror's own address; the proxy answers for it."""
    local_index.add("whl/cpu", *trio("2.15.0", "0.29.2", "2.11.0", "cpu", **HERE))
    monkeypatch.setenv("PIP_PROXY", local_index.root)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    away = Request(index_urls=("http://127.0.0.1:9/whl",))
    assert made(facts(), away).packages["torch"] == "2.15.0+cpu"
    assert local_index.asked("/whl/cpu/torch/")


def test_pips_configured_certificate_is_used(monkeypatch, tmp_path) -> None:
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.ini"
    config.write_text(f"[global]\ncert = {CERTIFICATE}\n", encoding="utf-8")
    with LocalIndex(tls=True) as index:
        index.add("whl/cpu", *trio("2.15.0", "0.29.2", "2.11.0", "cpu", **HERE))
        machine = facts(pip={"config_files": [str(config)]})
        assert made(machine, Request(index_urls=(index.url("whl"),))).packages["torch"] == "2.15.0+cpu"


def test_a_rocm_build_that_nobody_has_heard_of_names_its_targets_in_its_files(mirror) -> None:
    index, request = mirror
    name = "torch/lib/rocblas/library/TensileLibrary_Type_HH_Contraction_gfx1250.co"
    files = {name: b"kernels", "torch/version.py": "__version__ = '2.20.0+rocm9.1'\n", "torch/lib/gfx110xfiles": b""}
    tag = native_tag("cp312", "manylinux_2_28_x86_64")
    index.add("whl/rocm9.1", make_wheel("torch", "2.20.0+rocm9.1", tag=tag, files=files))
    asked = Request(packages=("torch",), index_urls=request.index_urls)
    for gfx, backend in (("gfx1250", "rocm9.1"), ("gfx1100", "cpu")):
        amd = {"gpus": [{"vendor": "amd", "name": "x", "gfx": gfx}], "drivers": {"amd": {"kfd": True}}}
        assert made(facts(**amd), asked).backend == backend


def test_a_rocm_build_without_kernels_of_its_own_has_those_of_its_rocm(mirror) -> None:
    index, request = mirror
    tag = native_tag("cp312", "manylinux_2_28_x86_64")
    index.add("whl/rocm7.2", make_wheel("torch", "2.20.0+rocm7.2", tag=tag))
    amd = {"gpus": [{"vendor": "amd", "gfx": "gfx1100"}], "drivers": {"amd": {"kfd": True}}}
    asked = Request(packages=("torch",), index_urls=request.index_urls)
    assert made(facts(**amd), asked).packages == {"torch": "2.20.0+rocm7.2"}


def test_a_macs_index_is_read_with_all_its_history(local_index) -> None:
    """What is older than anything that is planned is passed over, not looked into."""
    mac = {"python": "cp312", "platform": "macosx_11_0_arm64"}
    old = [torch_wheel(version, **mac) for version in ("1.13.1", "0.4.1", "2.0.1")]
    local_index.add("simple", *old, torch_wheel("2.15.0", **mac), torch_wheel("2.99.0", **mac))
    system = {"os": "macos", "machine": "arm64", "version": "15.1"}
    machine = facts(system=system, gpus=[{"vendor": "apple"}], pip={"index_url": local_index.url("simple")})
    apple = made(machine, Request(packages=("torch",)))
    assert (apple.backend, apple.packages) == ("mps", {"torch": "2.99.0"})
    assert not local_index.asked("*.whl") or all(r.method == "HEAD" for r in local_index.asked("*.whl"))


def test_the_command_line_plans_a_release_that_is_newer_than_itself(mirror, tmp_path) -> None:
    index, request = mirror
    index.add("whl/cu150", torch_wheel("2.99.0+cu150", architectures=TABLE, **HERE))
    index.add("whl/cu150", companion_wheel("torchvision", "0.99.0+cu150", torch="2.99.0", **HERE))
    index.add("whl/cu150", companion_wheel("torchaudio", "2.11.0+cu150", torch=None, **HERE))
    machine = tmp_path / "gpu node.json"
    machine.write_text(json.dumps(to_json(facts("NVIDIA GeForce RTX 4090", "800.10", "15.1"))), encoding="utf-8")
    command = [sys.executable, "-m", "torchcheck", "plan", "--refresh", "--json", "--machine", str(machine)]
    ran = subprocess.run([*command, "--index-url", *request.index_urls], capture_output=True, timeout=60, check=False)
    document = json.loads(ran.stdout)
    assert ran.returncode == document["exit_code"] == 0
    assert document["data"]["packages"]["torch"] == "2.99.0+cu150"
    assert document["data"]["index_url"] == index.url("whl/cu150")
    assert document["data"]["download_bytes"] is None  # what its libraries weigh, nobody has measured


def test_what_is_not_https_is_not_asked_unless_pip_trusts_it(no_pytorch, tmp_path) -> None:
    pypi(no_pytorch)
    plain = {"index_url": "http://pypi.example.org/simple", "extra_index_urls": [no_pytorch.url("simple")]}
    found = collect(facts(pip=plain), Request())
    assert any("http://pypi.example.org/simple/torch/ is not an https address" in f.message for f in found.failures)
