"""Making environments, and uv as the installer."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_index import LocalIndex  # noqa: TC002 - no type-checking blocks
from local_targets import contents, family, plan_of, run, target_of

from torchcheck.errors import InstallError, TargetError, TorchcheckError, UsageError
from torchcheck.install import apply, venv
from torchcheck.install.uv import program
from torchcheck.target import Target

ALL = "import torch, torchvision, torchaudio; print(torch.__version__)"


@pytest.fixture
def uv() -> str:
    try:
        return program()
    except UsageError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("name", [pytest.param("env", marks=pytest.mark.slow), "mon env é 环境"])
def test_an_environment_is_made_and_then_found(tmp_path: Path, name: str) -> None:
    python = venv.make(str(tmp_path / name), sys.executable)
    assert run(target_of(python), "import pip; print('here')") == "here"
    before = Path(python).lstat().st_mtime_ns
    assert venv.make(str(tmp_path / name), sys.executable) == python
    assert Path(python).lstat().st_mtime_ns == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        venv.make(str(tmp_path), sys.executable)
    assert caught.value.code == "venv-occupied"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_environment_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TargetError) as caught:
        venv.make(str(tmp_path / "file" / "env"), sys.executable)
    assert caught.value.hint


def test_a_python_without_ensurepip(tmp_path: Path) -> None:
    """Debian's python3 comes without it; venv says so on standard output."""
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\necho 'The virtual environment was not created: ensurepip is not available.'; exit 1\n",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    if sys.platform == "win32":
        pytest.skip("a script in place of a Python is a matter of POSIX")
    with pytest.raises(TargetError) as caught:
        venv.make(str(tmp_path / "env"), str(fake))
    assert caught.value.code == "no-venv"
    assert "python3-venv" in caught.value.hint


def test_uv_is_not_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / ("uv.exe" if sys.platform == "win32" else "uv")
    fake.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), ".", ""]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with contextlib.suppress(UsageError):
        assert program() != str(fake)


def test_uv_makes_an_environment_without_pip(tmp_path: Path, uv: str) -> None:
    python = venv.make(str(tmp_path / "env é"), sys.executable, installer="uv")
    assert "No module named" in run(target_of(python), "import pip")


def test_uv_installs_switches_and_goes_back(tmp_path: Path, uv: str, index: LocalIndex) -> None:
    target = target_of(venv.make(str(tmp_path / "env é"), sys.executable, installer="uv"))

    def to(release: int, backend: str, verdict: bool = True) -> str:
        url = index.url(f"whl/{backend}")
        plan = plan_of(target.python, family(release, backend), "--index-url", url, backend=backend)
        return apply(plan, target, installer="uv", verify=lambda: verdict).outcome

    assert [to(0, "cpu"), to(1, "cu130"), to(1, "cu130"), to(0, "cu130")] == [
        "installed",
        "installed",
        "unchanged",
        "installed",
    ]
    assert run(target, ALL) == "2.14.1+cu130"
    before = contents(target)
    with pytest.raises(InstallError):
        to(1, "cpu", verdict=False)
    assert contents(target) == before
    assert run(target, ALL) == "2.14.1+cu130"


UV_FAULTS = [
    ("/whl/cpu/torch/", "status", 404, {"index-missing", "conflict"}),
    ("/whl/cpu/torch/", "status", 403, {"index-forbidden"}),
    ("/whl/cpu/torch/", "status", 500, {"index-error"}),
    ("*/torch-*.whl", "corrupt", None, {"hash-mismatch"}),
    ("*/torch-*.whl", "cut", 0.4, {"download-cut"}),
    ("*/torch-*.whl", "status", 404, {"file-missing"}),
]


@pytest.mark.parametrize("case", UV_FAULTS, ids=lambda case: f"{case[0]} {case[1]} {case[2]}")
@pytest.mark.usefixtures("uv")
def test_uv_complains_and_is_understood(
    tmp_path: Path, index: LocalIndex, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, object, set[str]]
) -> None:
    path, kind, value, codes = case
    monkeypatch.setattr("torchcheck.install.uv.PAUSES", ())
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    target = target_of(venv.make(str(tmp_path / "env"), sys.executable, installer="uv"))
    before = contents(target)
    index.fault(path, kind, value)
    with pytest.raises(TorchcheckError) as caught:
        apply(plan_of(target.python, family(1, "cpu"), "--index-url", index.url("whl/cpu")), target, installer="uv")
    assert caught.value.code in codes, caught.value.message
    assert contents(target) == before


def test_uv_serves_an_environment_that_pip_filled(torch_target: Target, uv: str, index: LocalIndex) -> None:
    plan = plan_of(torch_target.python, family(1, "cu130"), "--index-url", index.url("whl/cu130"))
    assert apply(plan, torch_target, installer="uv").changed["torch"] == ("2.14.1+cpu", "2.15.0+cu130")
    assert run(torch_target, ALL) == "2.15.0+cu130"
    subprocess.run([torch_target.python, "-m", "pip", "check"], check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_two_that_make_one_environment_make_it_once(tmp_path: Path) -> None:
    folder = str(tmp_path / "env é")
    code = "import sys; from torchcheck.install import venv; print(venv.make(sys.argv[1], sys.executable))"
    argv = [sys.executable, "-c", code, folder]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, encoding="locale") for _ in range(2)]
    said = {one.communicate(timeout=200)[0].strip() for one in both}
    assert said == {venv.python_of(folder)}
    assert [one.returncode for one in both] == [0, 0]
    assert not Path(folder, venv.MAKING).exists()


def test_an_environment_that_was_left_half_made_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    (folder / venv.MAKING).touch()
    python = venv.make(str(folder), sys.executable)
    subprocess.run([python, "-m", "pip", "--version"], check=True, timeout=60)
