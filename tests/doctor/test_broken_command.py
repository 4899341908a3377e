"""Environments and machines that are broken for real, and what the command `doctor` says of them first.

Wheels come from PyPI, without their dependencies; where it cannot be reached, the test is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from environments import Environment, codes, doctor, mounted, run, torchcheck
from local_wheels import make_wheel, sympy_wheels, trio

from torchcheck.wheels import catalog
from torchcheck.wheels.builds import allows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="an environment is laid out as on Linux and macOS"),
]
DEPENDENCIES = ("typing-extensions", "filelock", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec")
COMPILE = "import torch; torch.compile(lambda x: torch.sin(x) * 2 + 1)(torch.ones(64))"


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


@pytest.fixture
def copy(tmp_path: Path, torch_python: str) -> Environment:
    """Give a real torch whose files can be exchanged one by one."""
    return Environment.copy(tmp_path / "env", torch_python)


@pytest.fixture
def old_torch(tmp_path: Path) -> Environment:
    """Give a torch that was built for NumPy 1, with its dependencies (gigabytes: hence it must be given)."""
    base = os.environ.get("TORCHCHECK_TEST_OLD_PYTHON")
    if not base:
        pytest.skip("set TORCHCHECK_TEST_OLD_PYTHON to an interpreter that has torch 2.0, 2.1 or 2.2")
    return Environment.copy(tmp_path / "env", base, "numpy", "numpy-*", "numpy.libs")


def pair(name: str, torch: str) -> str:
    """Give the release of a companion that belongs to a release of torch."""
    for row in reversed(catalog.data("pypi")["releases"][name]):
        wanted = catalog.requires_torch(name, row["version"])
        if wanted and allows(wanted, torch):
            return f"{name}=={row['version']}"
    pytest.skip(f"the catalog has no {name} for torch {torch}")


# Packages


@pytest.mark.parametrize("name", ["torchvision", "torchaudio"])
def test_a_companion_built_for_cuda_beside_a_torch_for_the_cpu(copy, name):
    release, _, tag = copy.version("torch").partition("+")
    if tag != "cpu" or sys.platform != "linux":
        pytest.skip("needs a CPU build of torch on Linux, where PyPI's companions are built for CUDA")
    copy.install(pair(name, release))
    found = doctor(copy)
    assert codes(found)[0] == "companion-mismatch"
    assert name in found[0]["evidence"][0]
    raised = run([str(copy.python), "-c", f"import {name}; {name}"])
    if raised.returncode:
        assert codes(doctor(copy, log=raised.stderr))[0] == "companion-mismatch", raised.stderr


def test_a_torch_without_the_libraries_that_it_needs(empty, torch_python):
    if sys.platform != "linux":
        pytest.skip("only on Linux are CUDA's libraries packages of their own")
    empty.install("torch==2.15.0", *DEPENDENCIES)
    for log in ("", empty.fails("import torch")):
        found = doctor(empty, log=log)
        assert codes(found)[0] == "nvidia-deps-broken"
        assert not [step for step in found[0]["fix"] if "--no-deps" in step]


@pytest.mark.parametrize("name", ["torch/onnx/__init__.py", "torch/nn/functional.py", "torch/version.py"])
def test_a_file_that_is_missing(copy, name):
    (copy.packages / name).unlink()
    found = doctor(copy)
    assert codes(found)[0] == "corrupt-install"
    assert name in " ".join(found[0]["evidence"])


def test_a_file_that_was_cut_short(copy):
    copy.cut("torch/optim/adam.py", 1000)
    found = doctor(copy)
    assert codes(found)[0] == "corrupt-install"
    assert "torch/optim/adam.py" in found[0]["evidence"][0]


def test_numpy_2_beside_a_torch_that_was_built_for_numpy_1(old_torch):
    old_torch.install("numpy>=2,<2.3")
    text = old_torch.fails("import torch; torch.ones(2).numpy()")
    assert codes(doctor(old_torch))[0] == "numpy2-abi"
    found = doctor(old_torch, log=text)
    assert codes(found)[0] == "numpy2-abi"
    assert '"numpy<2"' in found[0]["fix"][0]


def test_a_torch_without_numpy(tmp_path, torch_python):
    environment = Environment.copy(tmp_path / "env", torch_python, "numpy", "numpy-*", "numpy.libs")
    text = environment.fails("import torch; torch.ones(2).numpy()")
    found = doctor(environment, log=text)
    assert codes(found)[0] == "numpy-missing-or-old"


# Which interpreter, which copy


@pytest.mark.parametrize("other", ["2.1.0", "as here"])
def test_a_second_torch_on_pythonpath(copy, tmp_path, other):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(copy.packages / "torch", elsewhere / "torch", copy_function=os.link)
    if other != "as here":
        (elsewhere / "torch/version.py").unlink()
        stated = f"__version__ = '{other}'\ncuda = hip = xpu = None\ndebug = False\ngit_version = ''\n"
        (elsewhere / "torch/version.py").write_text(stated, encoding="utf-8")
    found = doctor(copy, PYTHONPATH=str(elsewhere))
    assert codes(found)[0] == "duplicate-install"
    assert any("PYTHONPATH" in step for step in found[0]["fix"])


def test_a_torch_in_the_users_own_packages_wins(tmp_path, torch_python):
    environment = Environment(tmp_path / "env", torch_python, "--system-site-packages")
    mine = tmp_path / "mine"
    user = run([str(environment.python), "-m", "site", "--user-site"], PYTHONUSERBASE=str(mine)).stdout.strip()
    assert mine in Path(user).parents
    (Path(user) / "torch").mkdir(parents=True)
    start = "from torch.version import __version__\nimport gone\n"
    (Path(user) / "torch/__init__.py").write_text(start, encoding="utf-8")
    (Path(user) / "torch/version.py").write_text("__version__ = '1.13.1'\n", encoding="utf-8")
    found = doctor(environment, PYTHONUSERBASE=str(mine))
    assert codes(found)[0] == "duplicate-install"
    assert "PYTHONNOUSERSITE" in " ".join(found[0]["fix"])


def test_torch_stands_in_another_interpreter(empty, torch_python):
    pip = run([torch_python, "-m", "pip", "--version"])
    if pip.returncode:
        pytest.skip(f"no pip in {torch_python}")
    text = run([torch_python, "-m", "pip", "install", "--no-index", "torch"]).stdout + empty.fails("import torch")
    found = doctor(empty, log=text)
    assert codes(found)[0] == "wrong-interpreter"
    assert str(empty.python) in found[0]["fix"][0]


def test_torch_stands_nowhere(empty):
    found = doctor(empty, log=empty.fails("import torch"))
    assert codes(found)[0] == "torch-missing"
    assert found[0]["fix"][0].startswith(f"torchcheck install --python {empty.python}")


# Limits and mounts


@pytest.mark.parametrize("kib", [300_000, 400_000])
def test_too_little_memory_to_import_torch(copy, kib):
    """The loader cannot map the libraries, or their start throws."""
    limited = ["sh", "-c", f'ulimit -v {kib}; exec "$@"', "sh"]
    text = copy.fails("import torch", before=limited, OPENBLAS_NUM_THREADS="1")
    found = doctor(copy, log=text)
    assert codes(found)[0] == "cause-unknown"
    assert "ulimit -v" in " ".join(found[0]["fix"])


def test_the_target_is_mounted_read_only(empty):
    folder = empty.folder
    sealed = mounted(f"mount --bind '{folder}' '{folder}'", f"mount -o remount,bind,ro '{folder}'")
    found = doctor(empty, before=sealed)
    assert codes(found)[0] == "permission-denied"
    refused = torchcheck("install", "--yes", "--python", str(empty.python), "--backend", "cpu", before=sealed)
    assert refused["exit_code"] == 3
    assert refused["errors"][0]["code"]
    assert "writ" in refused["errors"][0]["message"] or "read-only" in refused["errors"][0]["message"]


def test_the_text_of_pip_on_a_read_only_target(empty, tmp_path):
    folder, wheel = empty.folder, _wheel(tmp_path, b"x")
    sealed = mounted(f"mount --bind '{folder}' '{folder}'", f"mount -o remount,bind,ro '{folder}'")
    pip = [sys.executable, "-m", "pip", "--python", str(empty.python)]
    ran = run([*sealed, *pip, "install", "--no-index", str(wheel)])
    assert ran.returncode
    assert codes(doctor(empty, log=ran.stdout + ran.stderr))[0] == "permission-denied", ran.stderr


def _wheel(folder: Path, content: bytes) -> Path:
    wheel = make_wheel("bulky", "1.0", files={"bulky/data.bin": content})
    place = folder / wheel.filename
    place.write_bytes(wheel.data)
    return place


def test_shared_memory_of_one_megabyte(copy):
    small = mounted("mount -t tmpfs -o size=1m tmpfs /dev/shm")
    found = doctor(copy, before=small)
    assert codes(found)[0] == "shm-too-small"
    assert found[0]["severity"] == "warning"
    loader = (
        "import torch\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "data = TensorDataset(torch.ones(64, 1 << 16))\n"
        "for batch in DataLoader(data, batch_size=32, num_workers=1): pass\n"
    )
    text = copy.fails(loader, before=small)
    found = doctor(copy, before=small, log=text)
    assert codes(found)[0] == "shm-too-small", text
    assert found[0]["severity"] == "error"


def test_no_space_in_the_temporary_folder(empty, tmp_path, local_index):
    temp = tmp_path / "temp"
    temp.mkdir()
    small = mounted(f"mount -t tmpfs -o size=1m tmpfs '{temp}'")
    local_index.add("whl/cpu", make_wheel("bulky", "1.0", files={"bulky/data.bin": os.urandom(4 << 20)}))
    pip = [sys.executable, "-m", "pip", "--python", str(empty.python), "install", "--no-cache-dir"]
    ran = run([*small, *pip, "--index-url", local_index.url("whl/cpu"), "bulky"], TMPDIR=str(temp))
    assert ran.returncode
    found = doctor(empty, before=small, log=ran.stdout + ran.stderr, TMPDIR=str(temp))
    assert codes(found)[0] == "disk-full", ran.stderr
    assert "temporary folder" in " ".join(found[0]["evidence"])


# Variables


@pytest.mark.parametrize("value", ["", "-1", "3"])
def test_a_variable_hides_the_only_gpu(tmp_path, value):
    machine = {
        "system": {"os": "linux", "machine": "x86_64", "libc": "glibc 2.39"},
        "python": {"version": "3.12.3"},
        "gpus": [{"vendor": "nvidia", "name": "NVIDIA GeForce RTX 4070", "compute_capability": "8.9"}],
        "drivers": {"nvidia": {"version": "580.95.05", "cuda": "13.0"}},
        "packages": {"torch": "2.9.1+cu128"},
        "torch": {"import": "ok", "version": "2.9.1+cu128", "cuda": "12.8", "devices": []},
        "env": {"CUDA_VISIBLE_DEVICES": value},
    }
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({"facts": machine}), encoding="utf-8")
    found = doctor(None, "--machine", str(file))
    assert codes(found)[0] == "cuda-visible-devices"
    assert found[0]["fix"][0] == "unset CUDA_VISIBLE_DEVICES"


# Native code


def test_two_openmp_runtimes(copy, tmp_path):
    if sys.platform != "linux":
        pytest.skip("intel-openmp's library has another name")
    copy.unpack("intel-openmp", tmp_path / "one")
    first = next((tmp_path / "one").rglob("libiomp5.so"))
    second = tmp_path / "other" / first.name
    second.parent.mkdir()
    shutil.copy(first, second)
    load = f"import ctypes\nfor place in {str(first)!r}, {str(second)!r}: ctypes.CDLL(place).omp_get_max_threads()\n"
    text = copy.fails(load)
    assert codes(doctor(copy, log=text))[0] == "omp-duplicate", text
    line = f"import ctypes; ctypes.CDLL({str(first)!r}); ctypes.CDLL({str(second)!r})\n"
    (copy.packages / "first.pth").write_text(line, encoding="utf-8")
    found = doctor(copy)
    assert codes(found)[0] == "omp-duplicate"
    assert str(second) in found[0]["evidence"][0]


def test_torch_compile_without_a_compiler(copy, tmp_path):
    text = copy.fails(COMPILE, PATH=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    found = doctor(copy, log=text)
    assert codes(found)[0] == "cause-unknown", text
    assert "g++" in found[0]["evidence"][0]
    assert [step for step in found[0]["fix"] if "g++" in step]


def test_torch_compile_without_the_headers_of_python(copy, tmp_path):
    include = copy.says("import sysconfig; print(sysconfig.get_path('include'))")
    (tmp_path / "nothing").mkdir()
    hidden = mounted(f"mount --bind '{tmp_path / 'nothing'}' '{include}'")
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    text = copy.fails(COMPILE, before=hidden, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    found = doctor(copy, log=text)
    assert codes(found)[0] == "compile-no-python-headers", text
    assert "-dev" in found[0]["fix"][0]


# After another command has failed


def test_verify_names_the_cause_of_its_failure(copy):
    copy.cut("torch/lib/libtorch_cpu.so", 100_000)
    document = torchcheck("verify", "--quick", "--device", "cpu", "--python", str(copy.python))
    assert document["exit_code"] != 0
    assert codes(document["data"]["diagnoses"])[0] == "corrupt-install"


def test_install_names_the_cause_of_its_failure(empty, local_index):
    run([str(empty.python), "-m", "ensurepip"])
    broken = "ModuleNotFoundError(\"No module named 'jinja2'\")"
    local_index.add("whl/cpu", *trio("2.14.1", "0.29.1", "2.11.0", "cpu", broken=broken), *sympy_wheels())
    words = ("--backend", "cpu", "--torch", "2.14.1", "--index-url", local_index.url("whl"))
    target = ("--yes", "--python", str(empty.python))
    document = torchcheck("install", *target, *words, PIP_CONFIG_FILE=os.devnull)
    assert document["exit_code"] != 0
    assert codes(document["data"]["diagnoses"])[0] == "dependency-broken"
    assert "jinja2" in document["data"]["diagnoses"][0]["fix"][0]


def test_the_users_torch_in_an_environment_that_was_made_to_see_it_is_no_duplicate(tmp_path):
    environment = Environment(tmp_path / "env", sys.executable, "--system-site-packages")
    mine = str(tmp_path / "mine")
    user = Path(run([str(environment.python), "-m", "site", "--user-site"], PYTHONUSERBASE=mine).stdout.strip())
    (user / "torch").mkdir(parents=True)
    start = "from torch.version import __version__\nclass version: cuda = None\n"
    (user / "torch/__init__.py").write_text(start, encoding="utf-8")
    (user / "torch/version.py").write_text("__version__ = '2.9.1+cpu'\ncuda = None\n", encoding="utf-8")
    assert "duplicate-install" not in codes(doctor(environment, PYTHONUSERBASE=mine))
