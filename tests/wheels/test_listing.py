"""Reading index pages, file names and single members of wheels."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_index import LocalIndex  # noqa: TC002 - no type-checking blocks
from local_wheels import torch_wheel

from torchcheck.wheels.builds import WheelFile
from torchcheck.wheels.listing import file_of, folders, links, names
from torchcheck.wheels.remote import backend_of, code_table, members, metadata
from torchcheck.wheels.trouble import WebError
from torchcheck.wheels.web import Web

PAGE = b"""<!DOCTYPE html><html><head><base href="https://files.example.org/whl/"></head><body>
<a href="torch-2.15.0%%2Bcu130-cp312-cp312-manylinux_2_28_x86_64.whl#sha256=%s" data-requires-python="&gt;=3.11"
   data-dist-info-metadata="sha256=00">torch-2.15.0+cu130-cp312-cp312-manylinux_2_28_x86_64.whl</a><br/>
<a href="torch-2.0.0-cp38-cp38-linux_x86_64.whl" data-yanked="bad">torch-2.0.0-cp38-cp38-linux_x86_64.whl</a>
<a name="top">no link</a><a href="torch-2.0.0.tar.gz">torch-2.0.0.tar.gz</a><p>unclosed
</body></html>""" % (b"ab" * 32)


def test_a_page_of_an_index_is_read_with_all_that_it_says() -> None:
    found = links(PAGE, "text/html", "https://index.example.org/torch/")
    (file,) = [file for link in found if (file := file_of(link))]
    assert file.url.startswith("https://files.example.org/whl/torch-2.15.0%2Bcu130")
    assert file.name == "torch-2.15.0+cu130-cp312-cp312-manylinux_2_28_x86_64.whl"
    assert (file.sha256, file.requires_python, file.metadata) == ("ab" * 32, ">=3.11", True)


def test_folders_of_backends_are_found_however_they_are_linked() -> None:
    page = b'<a href="cu130/">cu130</a><a href="/whl/rocm7.14">x</a><a href="https://a.example/whl/xpu/?a#b">y</a>'
    assert folders(links(page, "text/html", "https://a.example/whl/"))[:2] == ["cu130", "rocm7.14"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"files": 3}', b'{"files": [{}]}', b'{"files": [{"filename": 1}]}', b"null"]
)
def test_json_that_is_no_listing_lists_nothing(body: bytes) -> None:
    assert links(body, "application/vnd.pypi.simple.v1+json", "https://a.example/") == []


@given(st.binary(max_size=300))
def test_no_page_breaks_the_reader(body: bytes) -> None:
    for kind in ("text/html", "application/json"):
        for link in links(body, kind, "https://a.example/"):
            file_of(link)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (
            "torch-2.15.0+cu130-cp312-cp312-manylinux_2_28_x86_64.whl",
            ("2.15.0", "cu130", "cp312", "linux_x86_64", "2.28"),
        ),
        ("torch-2.12.0-cp313-cp313t-win_amd64.whl", ("2.12.0", "", "cp313t", "windows_x86_64", "")),
        ("torch-2.8.0-cp39-none-macosx_11_0_arm64.whl", ("2.8.0", "", "cp39", "macos_arm64", "11.0")),
        ("torchvision-0.29.2-py3-none-manylinux_2_28_aarch64.whl", ("0.29.2", "", "py3", "linux_aarch64", "2.28")),
        ("torch-2.6.0+cpu-cp312-cp312-linux_x86_64.whl", ("2.6.0", "cpu", "cp312", "linux_x86_64", "")),
        ("torchaudio-2.12-cp39-abi3-manylinux2014_x86_64.whl", ("2.12", "", "cp39-abi3", "linux_x86_64", "2.17")),
        ("torch-2.10.0-3-cp312-cp312-manylinux_2_28_x86_64.whl", ("2.10.0", "", "cp312", "linux_x86_64", "2.28")),
    ],
)
def test_a_file_name_says_what_the_wheel_is_for(filename: str, expected: tuple[str, ...]) -> None:
    (found,) = names(filename)
    assert (found.version, found.label, found.python, found.system, found.minimum) == expected


@pytest.mark.parametrize(
    "filename", ["torch.whl", "torch-1.0.whl", "torch-x-cp312-cp312-any.whl", "a-1-py3-none-odd.whl"]
)
def test_a_name_that_breaks_the_rules_is_for_nothing(filename: str) -> None:
    assert names(filename) == []


def test_the_table_of_kernels_is_read_in_both_of_its_shapes_and_never_run() -> None:
    plain = "PYTORCH_RELEASES_CODE_CC: dict = {'12.8': {70, 120}}\n"
    assert code_table(plain) == {"12.8": {"x86_64": ("7.0", "12.0"), "aarch64": ("7.0", "12.0")}}
    split = "PYTORCH_RELEASES_CODE_CC = {'13.0': {'x86_64': {75}, 'aarch64': {110}}}\n"
    assert code_table(split) == {"13.0": {"x86_64": ("7.5",), "aarch64": ("11.0",)}}
    evil = "PYTORCH_RELEASES_CODE_CC = __import__('os').system('false') or {}\nraise SystemExit\n"
    assert code_table(evil) == code_table("def broken(:") == code_table("") == {}
    odd = "PYTORCH_RELEASES_CODE_CC = {'13.0': {'x86_64': {'seventy'}}, '13.2': 3}\n"
    assert code_table(odd) == {}


@pytest.mark.parametrize(
    ("source", "backend"),
    [
        ("__version__ = '2.15.0+cu132'\ncuda: Optional[str] = '13.2'\n", "cu132"),
        ("__version__ = '2.16.0'\ncuda = '13.4'\nhip = None\n", "cu134"),
        ("__version__ = '2.16.0'\ncuda = None\nhip = '7.2.26015-fc0010cf6a'\n", "rocm7.2"),
        ("__version__ = '2.16.0'\ncuda = None\nhip = None\nxpu = '20250302'\n", "xpu"),
        ("__version__ = '2.16.0'\ncuda = None\n", "cpu"),
        ("__version__ = '2.4.0+cpu'\ncuda = 'None\\r'\n", "cpu"),
    ],
)
def test_a_torch_says_itself_what_it_was_built_for(source: str, backend: str) -> None:
    assert backend_of("torch", source) == backend


def test_members_are_read_by_ranges_out_of_a_large_wheel(local_index: LocalIndex) -> None:
    wheel = torch_wheel("2.15.0+cu130", architectures={"13.0": {"x86_64": {75}}}, bulk=900)
    local_index.add("whl/cu130", wheel)
    web = Web(time.monotonic() + 20)
    file = WheelFile(wheel.filename, f"{local_index.url('whl/cu130')}/{wheel.filename}")
    found = members(web, file, ("torch/version.py", "torch/cuda/__init__.py", "torch/absent.py"))
    assert set(found) == {"torch/version.py", "torch/cuda/__init__.py"}
    assert backend_of("torch", found["torch/version.py"]) == "cu130"
    assert len(wheel.data) > 300_000
    read = sum(len_of(request.range) for request in local_index.requests)
    assert read < len(wheel.data) * 0.8
    assert metadata(web, file)["requires-dist"] == ["sympy>=1.13"]


def len_of(span: str | None) -> int:
    first, last = (span or "bytes=0-0").partition("=")[2].split("-")
    return int(last) - int(first) + 1


@pytest.mark.parametrize("fault", ["cut", "garbage"])
def test_a_wheel_that_cannot_be_read_is_a_failure_with_a_name(local_index: LocalIndex, fault: str) -> None:
    wheel = torch_wheel("2.15.0+cu130")
    local_index.add("whl/cu130", wheel)
    local_index.fault("*.whl", fault)
    web = Web(time.monotonic() + 3)
    file = WheelFile(wheel.filename, f"{local_index.url('whl/cu130')}/{wheel.filename}")
    with pytest.raises(WebError) as caught:
        members(web, file, ("torch/version.py",))
    assert caught.value.failure.message
