"""An index that misbehaves: each way has a diagnosis and an exit code of its own, and the target stays as it was."""

from __future__ import annotations

import ensurepip
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from local_index import CERTIFICATE, LocalIndex
from local_targets import contents, plan_of, run
from local_wheels import companion_wheel, make_wheel, native_tag, sympy_wheels, torch_wheel, trio

from torchcheck.errors import Exit, TorchcheckError
from torchcheck.install import apply, downloads, pip
from torchcheck.target import Target

Case = tuple[str, str, object, str, Exit]
WANTED = {"torch": "2.15.0+cpu", "torchvision": "0.29.2+cpu"}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip, "PAUSES", (0.05,))
    monkeypatch.setenv("PIP_RETRIES", "1")


@pytest.fixture
def shop(local_index: LocalIndex) -> LocalIndex:
    """Give an index whose torch is large enough (2 MB) for progress to be told."""
    noise = {"torch/noise.bin": os.urandom(2 << 20), "torch/__init__.py": "__version__ = '2.15.0+cpu'\n"}
    torch = make_wheel("torch", "2.15.0+cpu", tag=native_tag(), files=noise)
    local_index.add("whl/cpu", torch, companion_wheel("torchvision", "0.29.2+cpu", torch="2.15.0"))
    return local_index


def failure(target: Target, url: str, packages: dict[str, str] = WANTED) -> TorchcheckError:
    before = contents(target)
    with pytest.raises(TorchcheckError) as caught:
        apply(plan_of(target.python, packages, "--index-url", url, backend="cpu"), target)
    assert contents(target) == before
    return caught.value


PIP = os.environ.get("TORCHCHECK_TEST_PIP", f"pip=={ensurepip.version()}").partition("==")[2]
NEW_PIP, READS_METADATA = (tuple(int(part) for part in PIP.split(".")[:2]) >= since for since in ((25, 1), (23, 1)))
CUT = ("download-cut", Exit.UNREACHABLE) if NEW_PIP else ("hash-mismatch", Exit.INSTALL_FAILED)
"""pip before 25.1 takes a connection that was cut for the end of the file."""
FAULTS: list[Case] = [
    ("/whl/cpu/torch/", "status", 404, "index-missing", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "status", 403, "index-forbidden", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "status", 401, "index-forbidden", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "status", 500, "index-error", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "status", 503, "index-error", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "garbage", None, "not-an-index", Exit.UNREACHABLE),
    ("/whl/cpu/torch/", "silence", None, "download-cut", Exit.UNREACHABLE),
    ("/whl/cpu/*", "status", 404, "index-missing", Exit.UNREACHABLE),
    ("*/torch-*.whl", "status", 404, "file-missing", Exit.UNREACHABLE),
    ("*/torch-*.whl", "status", 403, "index-forbidden", Exit.UNREACHABLE),
    ("*/torch-*.whl", "status", 502, "index-error", Exit.UNREACHABLE),
    ("*/torch-*.whl", "cut", 0.4, CUT[0], CUT[1]),
    ("*/torch-*.whl", "corrupt", None, "hash-mismatch", Exit.INSTALL_FAILED),
    ("*/torch-*.whl", "garbage", None, "hash-mismatch", Exit.INSTALL_FAILED),
]


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case[0]} {case[1]} {case[2]}")
def test_each_fault_of_an_index_has_its_diagnosis(target: Target, shop: LocalIndex, case: Case) -> None:
    path, kind, value, code, exit_code = case
    shop.fault(path, kind, value)
    error = failure(target, shop.url("whl/cpu"))
    assert (error.code, error.exit_code) == (code, exit_code), error.message
    assert error.hint
    assert "Traceback" not in error.message


def test_a_cut_download_is_tried_again_and_succeeds(target: Target, shop: LocalIndex) -> None:
    shop.fault("*/torch-*.whl", "cut", 0.5, times=1)
    plan = plan_of(target.python, WANTED, "--index-url", shop.url("whl/cpu"), backend="cpu")
    assert apply(plan, target).outcome == "installed"
    assert run(target, "import torch; print(torch.__version__)") == "2.15.0+cpu"


def test_an_index_that_does_not_answer(target: Target, shop: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "0.4")
    monkeypatch.setenv("PIP_RETRIES", "0")
    shop.fault("/whl/cpu/torch/", "delay", 2)
    assert (error := failure(target, shop.url("whl/cpu"))).code == "timeout", error.message
    assert error.exit_code == Exit.UNREACHABLE


def test_nobody_listens(target: Target) -> None:
    with LocalIndex() as gone:
        url = gone.url("whl/cpu")
    error = failure(target, url)
    assert (error.code, error.exit_code) == ("connection-refused", Exit.UNREACHABLE), error.message


def test_no_such_host(target: Target) -> None:
    error = failure(target, "https://index.invalid/whl/cpu")
    assert error.exit_code == Exit.UNREACHABLE
    assert error.code in {"host-unknown", "proxy-refused"}, error.message  # the latter behind a proxy


def test_a_certificate_that_nobody_signed(target: Target) -> None:
    with LocalIndex(tls=True) as index:
        index.add("whl/cpu", *trio("2.15.0", "0.29.2", None, "cpu"), *sympy_wheels())
        error = failure(target, index.url("whl/cpu"))
    assert (error.code, error.exit_code) == ("tls-failed", Exit.UNREACHABLE), error.message


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIndex]:
    """Give an index over TLS that pip is told to trust."""
    monkeypatch.setenv("PIP_CERT", str(CERTIFICATE))
    with LocalIndex(tls=True) as index:
        index.add("whl/cpu", *trio("2.15.0", "0.29.2", None, "cpu"), *sympy_wheels())
        yield index


def test_the_certificates_of_pip_are_used(target: Target, trusted: LocalIndex) -> None:
    plan = plan_of(target.python, WANTED, "--index-url", trusted.url("whl/cpu"), backend="cpu")
    assert apply(plan, target).outcome == "installed"


@pytest.mark.parametrize("pattern", ["/whl/cpu/torch/", "/whl/cpu/torch-*.whl"])
def test_nobody_leads_us_from_https_to_http(target: Target, trusted: LocalIndex, pattern: str) -> None:
    with LocalIndex() as plain:
        plain.pools = trusted.pools
        trusted.fault(pattern, "redirect", plain.root + "{path}")
        error = failure(target, trusted.url("whl/cpu"))
    assert (error.code, error.exit_code) == ("redirect-to-http", Exit.UNREACHABLE), error.message


def test_a_wheel_that_calls_itself_otherwise_inside(target: Target, local_index: LocalIndex) -> None:
    liar = make_wheel("torch", "2.15.0+cpu", tag=native_tag(), inside={"Version": "2.9.0"}, files={"torch/x.py": ""})
    local_index.add("whl/cpu", liar)
    error = failure(target, local_index.url("whl/cpu"), {"torch": "2.15.0+cpu"})
    assert (error.code, error.exit_code) == ("wheel-lies", Exit.INSTALL_FAILED), error.message


@pytest.mark.skipif(not READS_METADATA, reason="pip before 23.1 does not read metadata files")
def test_a_wheel_whose_metadata_file_promises_other_contents(target: Target, local_index: LocalIndex) -> None:
    honest = torch_wheel("2.15.0+cpu", requires=())
    other = honest.metadata.replace(b"Version: 2.15.0+cpu", b"Version: 2.14.0")
    local_index.add("whl/cpu", replace(honest, metadata=other))
    error = failure(target, local_index.url("whl/cpu"), {"torch": "2.15.0+cpu"})
    assert (error.code, error.exit_code) == ("wheel-lies", Exit.INSTALL_FAILED), error.message


def test_nothing_for_this_python(target: Target, local_index: LocalIndex) -> None:
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu", python="cp39", requires=()))
    error = failure(target, local_index.url("whl/cpu"), {"torch": "2.15.0+cpu"})
    assert (error.code, error.exit_code) == ("not-for-this-python", Exit.NO_PLAN), error.message


def test_a_python_that_a_release_excludes(target: Target, local_index: LocalIndex) -> None:
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu", requires=(), requires_python=">=3.99"))
    error = failure(target, local_index.url("whl/cpu"), {"torch": "2.15.0+cpu"})
    assert (error.code, error.exit_code) == ("not-for-this-python", Exit.NO_PLAN), error.message


def test_a_version_that_the_index_lacks(target: Target, shop: LocalIndex) -> None:
    error = failure(target, shop.url("whl/cpu"), {"torch": "2.15.1+cpu"})
    assert (error.code, error.exit_code) == ("no-such-version", Exit.NO_PLAN), error.message
    assert "2.15.0+cpu" in error.hint


def test_a_dependency_that_the_index_lacks(target: Target, local_index: LocalIndex) -> None:
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu", requires=["sympy"]))
    error = failure(target, local_index.url("whl/cpu"), {"torch": "2.15.0+cpu"})
    assert "sympy" in error.message
    assert error.exit_code in {Exit.NO_PLAN, Exit.UNREACHABLE}


def test_the_users_constraints_are_respected_and_named(
    target: Target, shop: LocalIndex, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    constraints = tmp_path_factory.mktemp("pip") / "constraints.txt"
    constraints.write_text("torch<=2.14.1\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONSTRAINT", str(constraints))
    error = failure(target, shop.url("whl/cpu"))
    assert (error.code, error.exit_code) == ("constraints-conflict", Exit.NO_PLAN), error.message
    assert "torch<=2.14.1" in error.message


def test_a_slow_line_is_told_and_borne(target: Target, shop: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.5)
    monkeypatch.setattr(downloads, "SLOW", 10_000_000)
    shop.fault("*/torch-*.whl", "drip", 1_000_000)
    heard: list[dict[str, object]] = []
    plan = plan_of(target.python, WANTED, "--index-url", shop.url("whl/cpu"), backend="cpu")
    result = apply(plan, target, on_event=heard.append)
    assert result.outcome == "installed"
    assert [event["code"] for event in heard if event["event"] == "warning"] == ["slow-download"]


def test_a_plain_index_that_the_user_configured_is_the_users_business(
    target: Target, trusted: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalIndex() as plain:
        plain.add("simple", *sympy_wheels())
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", plain.url("simple"))
        plan = plan_of(target.python, WANTED, "--index-url", trusted.url("whl/cpu"), backend="cpu")
        assert apply(plan, target).outcome == "installed"
        assert plain.requests
