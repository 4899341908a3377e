"""Environments that are broken for real: probed by the probes, failing with the texts that Python really prints."""

from __future__ import annotations

import shutil
import signal
import sys

import pytest
from environments import Environment

from torchcheck.doctor import Diagnosis, diagnose
from torchcheck.live import Live
from torchcheck.probes import probe
from torchcheck.target import find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="an environment is laid out as on Linux and macOS"),
]


class Broken(Environment):
    """An environment that the probes look at in this process."""

    def write(self, name: str, text: str) -> None:
        place = self.packages / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def diagnosed(self, log: str = "", timeout: float = 60) -> list[Diagnosis]:
        target = find(Live(), str(self.python))
        return diagnose(probe(Live(), target, torch="import", timeout=timeout), log, live=True)


@pytest.fixture
def empty(tmp_path) -> Broken:
    return Broken(tmp_path / "env")


@pytest.fixture
def copy(tmp_path, torch_python) -> Broken:
    """Give a real torch whose files can be exchanged one by one."""
    return Broken.copy(tmp_path / "env", torch_python)


def codes(found: list[Diagnosis]) -> list[str]:
    return [d.code for d in found]


def test_the_copy_itself_is_healthy(copy):
    assert not [d for d in copy.diagnosed() if d.severity == "error"]


def test_a_truncated_shared_library(copy):
    copy.cut("torch/lib/libtorch_cpu.so", 100_000)
    assert codes(copy.diagnosed())[0] == "corrupt-install"


def test_a_missing_native_module(copy):
    native = next((copy.packages / "torch").glob("_C.*.so"))
    native.unlink()
    assert codes(copy.diagnosed())[0] == "corrupt-install"


@pytest.mark.parametrize("name", ["typing_extensions.py", "sympy"])
def test_a_missing_dependency(copy, name):
    place = copy.packages / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    log = copy.fails("import torch; import torch.fx.experimental.symbolic_shapes")
    found = copy.diagnosed(log)
    assert codes(found)[0] == "dependency-broken"
    assert name.partition(".")[0].replace("_", "-") in found[0].fix[0]


@pytest.mark.parametrize(("name", "text"), [("random.py", "x = 1"), ("typing.py", "x = 1"), ("torch.py", "x = 1")])
def test_a_file_in_the_current_folder_that_hides_a_module(copy, tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    log = copy.fails("import torch; torch.zeros(2)", cwd=tmp_path)
    assert log
    assert (
        codes(diagnose(probe(Live(), find(Live(), str(copy.python)), torch="metadata"), log, live=True))[0]
        == "file-shadowing"
    ), log


def test_another_torch_on_pythonpath(copy, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere" / "torch"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("__version__ = '1.13.1'\nimport missing_piece\n", encoding="utf-8")
    (other / "version.py").write_text("__version__ = '1.13.1'\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    assert "duplicate-install" in codes(copy.diagnosed())[:2]


def test_no_torch_here(empty):
    log = empty.fails("import torch")
    assert codes(empty.diagnosed(log))[0] == "torch-missing"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGSEGV, "torch-import-crash"),
        (signal.SIGKILL, "torch-import-crash"),
        (signal.SIGILL, "cpu-isa-too-old"),
    ],
)
def test_an_import_that_kills_the_interpreter(empty, number, code):
    empty.write("torch/__init__.py", f"import os; os.kill(os.getpid(), {int(number)})")
    empty.write("torch/version.py", "__version__ = '2.9.1+cpu'\n")
    assert codes(empty.diagnosed())[0] == code


def test_an_import_that_hangs(empty):
    empty.write("torch/__init__.py", "import time; time.sleep(1000)")
    found = empty.diagnosed(timeout=5)
    assert codes(found)[0] == "torch-import-crash"
    assert "does not return" in found[0].evidence[0]


def test_a_foreign_torch_library_on_the_library_path(copy, tmp_path, monkeypatch):
    foreign = tmp_path / "libtorch-2.0" / "lib"
    foreign.mkdir(parents=True)
    (foreign / "libc10.so").write_bytes(b"no library at all")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(foreign))
    found = copy.diagnosed()
    if not [d for d in found if d.severity == "error"]:
        pytest.skip("this torch does not look there: its libraries have an RPATH")
    assert codes(found)[0] == "library-path-conflict"
