"""Installing, upgrading, switching, failing and putting back, with a real pip in real environments."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from local_index import LocalIndex  # noqa: TC002 - no type-checking blocks
from local_targets import contents, family, plan_of, python_in, run, target_of
from local_wheels import companion_wheel, make_wheel, native_tag, sympy_wheels, torch_wheel, trio

from torchcheck.errors import Exit, InstallError, TargetError, TorchcheckError
from torchcheck.install import Installed, apply, constraints, journal, recover
from torchcheck.install.lock import resolve
from torchcheck.target import Target
from torchcheck.wheels.plan import Plan

ALL = "import torch, torchvision, torchaudio; print(torch.__version__)"


def planned(target: Target, index: LocalIndex, release: int, backend: str) -> Plan:
    return plan_of(target.python, family(release, backend), "--index-url", index.url(f"whl/{backend}"), backend=backend)


def check(target: Target) -> str:
    """Give what `pip check` says."""
    argv = [target.python, "-m", "pip", "check"]
    return subprocess.run(argv, capture_output=True, encoding="locale", check=False, timeout=60).stdout.strip()


def without_constraints(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name != "torchcheck-constraints.txt"}


STEPS = [[(0, "cpu"), (1, "cu130")], [(0, "cpu"), (1, "cpu"), (1, "cu130"), (0, "cu130"), (0, "cpu")]]


@pytest.mark.parametrize("steps", [STEPS[0], pytest.param(STEPS[1], marks=pytest.mark.slow)], ids=["two", "many"])
def test_install_upgrade_switch_downgrade_and_nothing_to_do(
    target: Target, index: LocalIndex, steps: list[tuple[int, str]]
) -> None:
    for release, backend in steps:
        result = apply(planned(target, index, release, backend), target)
        assert result.outcome == "installed"
        assert result.changed["torch"][1] == family(release, backend)["torch"]
        assert run(target, ALL) == family(release, backend)["torch"]
        assert check(target) == "No broken requirements found."
        assert not any("~" in name for name in contents(target))
    index.forgive()
    assert apply(planned(target, index, *steps[-1]), target) == Installed(
        "unchanged", {}, constraints=str(Path(target.paths["data"]) / "torchcheck-constraints.txt")
    )
    assert index.requests == [], "nothing to do, and yet the index was asked"


@pytest.mark.slow
def test_dependencies_that_suit_are_not_touched(target: Target, index: LocalIndex, tmp_path: Path) -> None:
    old = sympy_wheels()[0]
    (tmp_path / old.filename).write_bytes(old.data)
    pip = [target.python, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(tmp_path / old.filename)], check=True, timeout=60)
    result = apply(planned(target, index, 1, "cpu"), target)
    assert "sympy" not in result.changed
    assert result.changed["mpmath"] == (None, "1.3.0")


@pytest.mark.parametrize(
    "version", [(20, 0), pytest.param(None, marks=pytest.mark.slow)], ids=["a pip without reports", "this pip"]
)
def test_an_old_pip_leaves_suitable_dependencies_too(
    torch_target: Target, index: LocalIndex, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int] | None
) -> None:
    downgrade = [torch_target.python, "-m", "pip", "install", "-q", "--no-deps", "--index-url", index.url("whl/cpu")]
    subprocess.run([*downgrade, "sympy==1.13.3"], check=True, timeout=60)
    if version:
        monkeypatch.setattr("torchcheck.install.pip._version", lambda _target: version)
    result = apply(planned(torch_target, index, 1, "cpu"), torch_target)
    assert set(result.changed) == {"torch", "torchvision"}
    assert run(torch_target, ALL) == "2.15.0+cpu"


def test_what_worked_comes_back_when_the_new_does_not_prove_itself(torch_target: Target, index: LocalIndex) -> None:
    run(torch_target, ALL)  # leaves compiled modules
    before = contents(torch_target)
    seen = []

    def verify() -> bool:
        seen.append(run(torch_target, ALL))
        return False

    with pytest.raises(InstallError) as caught:
        apply(planned(torch_target, index, 1, "cu130"), torch_target, verify=verify)
    assert seen == ["2.15.0+cu130"]
    assert (caught.value.code, caught.value.exit_code) == ("not-proven", Exit.INSTALL_FAILED)
    assert "is back" in caught.value.message
    assert contents(torch_target) == before
    assert run(torch_target, ALL) == "2.14.1+cpu"
    assert check(torch_target) == "No broken requirements found."


def test_a_first_installation_that_fails_its_proof_stays_and_says_so(target: Target, index: LocalIndex) -> None:
    result = apply(planned(target, index, 1, "cpu"), target, verify=lambda: False)
    assert result.outcome == "unproven"
    assert run(target, ALL) == "2.15.0+cpu"


@pytest.mark.slow
def test_what_did_not_work_before_is_no_reason_to_go_back(torch_target: Target, index: LocalIndex) -> None:
    result = apply(planned(torch_target, index, 1, "cpu"), torch_target, verify=lambda: False, worked=False)
    assert result.outcome == "unproven"


@pytest.mark.parametrize("worked", [True, False])
def test_ctrl_c_during_the_proof(torch_target: Target, index: LocalIndex, worked: bool) -> None:

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(planned(torch_target, index, 1, "cpu"), torch_target, verify=interrupt, worked=worked)
    assert run(torch_target, ALL) == ("2.14.1+cpu" if worked else "2.15.0+cpu")
    assert recover(torch_target) is None


def test_ctrl_c_while_pip_changes_the_target(torch_target: Target, index: LocalIndex) -> None:
    before = contents(torch_target)

    def listen(event: dict[str, object]) -> None:
        if str(event.get("text", "")).startswith("Attempting uninstall: torch"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(planned(torch_target, index, 1, "cu130"), torch_target, on_event=listen)
    assert contents(torch_target) == before
    assert run(torch_target, ALL) == "2.14.1+cpu"


def test_a_journal_left_behind_is_undone_by_the_next_installation(
    torch_target: Target, index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as power_loss:
        power_loss.setattr("torchcheck.install.change.undo", lambda *_: None)
        with pytest.raises(InstallError):
            apply(planned(torch_target, index, 1, "cu130"), torch_target, verify=lambda: False)
    assert journal.read(torch_target.paths["purelib"]) is not None
    result = apply(planned(torch_target, index, 0, "cpu"), torch_target)
    assert result.outcome == "unchanged"
    assert "what was there before is back" in str(result.recovered)
    assert run(torch_target, ALL) == "2.14.1+cpu"


@pytest.mark.slow
def test_a_first_installation_interrupted_in_its_proof_is_kept(
    target: Target, index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as power_loss:
        power_loss.setattr("torchcheck.install.change.commit", lambda *_: None)
        apply(planned(target, index, 1, "cpu"), target)
    assert "has not been proven yet" in str(recover(target))
    assert run(target, ALL) == "2.15.0+cpu"


def test_files_of_nobody_come_back_too(target: Target, index: LocalIndex) -> None:
    site = Path(target.paths["purelib"])
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text("mine = 1\n", encoding="utf-8")
    (site / "torch" / "notes.txt").write_text("mine too\n", encoding="utf-8")
    before = contents(target)

    def stop() -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        apply(planned(target, index, 1, "cpu"), target, verify=stop)
    assert contents(target) == before


def test_an_editable_project_is_not_touched(torch_target: Target, index: LocalIndex, tmp_path: Path) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "mine.py").write_text("value = 42\n", encoding="utf-8")
    site = Path(torch_target.paths["purelib"])
    info = site / "mine-1.0.dist-info"
    info.mkdir()
    (site / "__editable__.mine.pth").write_text(f"{project}\n", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", encoding="utf-8")
    (info / "direct_url.json").write_text(
        f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}', encoding="utf-8"
    )
    (info / "RECORD").write_text(
        "__editable__.mine.pth,,\nmine-1.0.dist-info/METADATA,,\nmine-1.0.dist-info/RECORD,,\n",
        encoding="utf-8",
    )
    with pytest.raises(InstallError):
        apply(planned(torch_target, index, 1, "cpu"), torch_target, verify=lambda: False)
    assert run(torch_target, "import mine; print(mine.value)") == "42"
    freeze = subprocess.run(
        [torch_target.python, "-m", "pip", "list", "-e"],
        capture_output=True,
        encoding="locale",
        check=True,
    )
    assert "mine" in freeze.stdout


def test_an_editable_torch_comes_back_as_it_was(target: Target, index: LocalIndex, tmp_path: Path) -> None:
    project = tmp_path / "pytorch"
    (project / "torch").mkdir(parents=True)
    (project / "torch" / "__init__.py").write_text("__version__ = '2.16.0a0+git123'\n", encoding="utf-8")
    site = Path(target.paths["purelib"])
    info = site / "torch-2.16.0a0+git123.dist-info"
    info.mkdir()
    (site / "__editable__.torch.pth").write_text(f"{project}\n", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.16.0a0+git123\n", encoding="utf-8")
    (info / "direct_url.json").write_text(
        f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}', encoding="utf-8"
    )
    names = ["METADATA", "RECORD", "direct_url.json"]
    record = ["__editable__.torch.pth,,", *(f"{info.name}/{name},," for name in names)]
    (info / "RECORD").write_text("\n".join(record) + "\n", encoding="utf-8")
    before = contents(target)
    with pytest.raises(InstallError):
        apply(planned(target, index, 1, "cpu"), target, verify=lambda: False)
    assert contents(target) == before
    assert run(target, "import torch; print(torch.__version__)") == "2.16.0a0+git123"


def test_two_at_once_take_turns(target: Target, index: LocalIndex) -> None:
    heard: list[dict[str, object]] = []
    results: dict[int, Installed | TorchcheckError] = {}
    begun = threading.Event()

    def first_listens(event: dict[str, object]) -> None:
        begun.set()

    def install(release: int, listen: Callable[[dict[str, object]], None]) -> None:
        results[release] = apply(planned(target, index, release, "cpu"), target, on_event=listen)

    one = threading.Thread(target=install, args=(0, first_listens))
    one.start()
    assert begun.wait(30)
    two = threading.Thread(target=install, args=(1, heard.append))
    two.start()
    one.join(60)
    two.join(60)
    assert [getattr(results[release], "outcome", None) for release in (0, 1)] == ["installed", "installed"]
    assert heard[0]["event"] == "waiting"
    assert run(target, ALL) == "2.15.0+cpu"


@pytest.mark.slow
def test_other_commands_do_not_wait_for_an_installation(target: Target, index: LocalIndex) -> None:
    answers: list[str | None] = []
    plan = planned(target, index, 0, "cpu")
    apply(plan, target, verify=lambda: answers.append(recover(target, wait=False)) or True)
    assert answers == [None]
    assert run(target, ALL) == "2.14.1+cpu"


@pytest.mark.skipif(sys.platform == "win32", reason="folders without write permission are a matter of POSIX")
def test_a_target_that_may_not_be_written(torch_target: Target, index: LocalIndex) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    site = Path(torch_target.paths["purelib"])
    site.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        error = refused(torch_target, index)
    finally:
        site.chmod(stat.S_IRWXU)
    assert (error.code, error.exit_code) == ("not-writable", Exit.NO_PLAN)


def refused(target: Target, index: LocalIndex) -> TargetError:
    with pytest.raises(TargetError) as caught:
        apply(planned(target, index, 1, "cpu"), target)
    return caught.value


def test_a_target_on_a_disk_mounted_read_only(small_disk: Path, index: LocalIndex) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(small_disk / "env")], check=True, timeout=60)
    target = target_of(python_in(small_disk / "env"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    error = refused(target, index)
    assert (error.code, error.exit_code) == ("not-writable", Exit.NO_PLAN)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount 24 MB of memory as a disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or not mount or os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root on Linux")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("room", [7, 4, 1], ids=["change", "fetch", "begin"])
def test_a_full_disk(
    small_disk: Path, pristine: Path, local_index: LocalIndex, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave `room` MB: too little for what is unpacked, for what is downloaded, or to begin with."""
    env = small_disk / "env"
    packed = {"torch/zeros.bin": bytes(12 << 20), "torch/noise.bin": os.urandom(2 << 20), "torch/__init__.py": ""}
    local_index.add("whl/cpu", make_wheel("torch", "2.15.0+cpu", tag=native_tag(), files=packed))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True, timeout=60)
    target = target_of(python_in(env))
    old = make_wheel("torch", "2.9.0", files={"torch/__init__.py": "__version__ = '2.9.0'\n"})
    Path(small_disk / old.filename).write_bytes(old.data)
    monkeypatch.setenv("PYTHONPATH", target_of(python_in(pristine)).paths["purelib"])  # its pip, on the other disk
    pip = [target.python, "-m", "pip", "install", "-q", "--no-index", str(small_disk / old.filename)]
    subprocess.run(pip, check=True, timeout=60)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - (room << 20)))
    monkeypatch.setattr("torchcheck.install.preflight.MARGIN", -(1 << 40))  # the judgement beforehand, blinded
    monkeypatch.setattr("torchcheck.install.pip._version", lambda _target: (23, 2))
    before = contents(target)
    plan = plan_of(target.python, {"torch": "2.15.0+cpu"}, "--index-url", local_index.url("whl/cpu"))
    with pytest.raises(TorchcheckError) as caught:
        apply(plan, target)
    assert (caught.value.code, caught.value.exit_code) == ("disk-full", Exit.INSTALL_FAILED), caught.value.message
    assert contents(target) == before
    assert run(target, "import torch; print(torch.__version__)") == "2.9.0"


def test_a_disk_that_is_too_small_is_told_before(
    torch_target: Target, index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchcheck.install.preflight.MARGIN", 1 << 60)
    with pytest.raises(InstallError) as caught:
        apply(planned(torch_target, index, 1, "cpu"), torch_target)
    assert caught.value.code == "disk-full"
    assert "Nothing was changed" in caught.value.message


def test_offline_from_a_folder_of_wheels(target: Target, tmp_path: Path, index: LocalIndex) -> None:
    folder = tmp_path / "wheels of mine"
    folder.mkdir()
    for wheel in [*trio("2.15.0", "0.29.2", "2.11.0", "cpu"), *sympy_wheels()]:
        (folder / wheel.filename).write_bytes(wheel.data)
    plan = plan_of(target.python, family(1, "cpu"), "--no-index", "--find-links", str(folder), backend="cpu")
    assert apply(plan, target).outcome == "installed"
    assert run(target, ALL) == "2.15.0+cpu"
    freeze = subprocess.run([target.python, "-m", "pip", "freeze"], capture_output=True, encoding="locale", check=True)
    assert "torch==2.15.0+cpu" in freeze.stdout, "no traces of the staging folder"


@pytest.mark.slow
def test_the_constraints_keep_others_from_replacing_the_family(target: Target, index: LocalIndex) -> None:
    result = apply(planned(target, index, 0, "cpu"), target)
    index.add("whl/cpu", make_wheel("greedy", "1.0", requires=["torch>=2.15"], files={"greedy.py": ""}))
    pip = [target.python, "-m", "pip", "install", "--index-url", index.url("whl/cpu"), "greedy"]
    refused = subprocess.run([*pip, "-c", str(result.constraints)], capture_output=True, encoding="locale", check=False)
    assert refused.returncode != 0
    assert run(target, ALL) == "2.14.1+cpu"


def test_requirements_of_others_that_break_are_told(torch_target: Target, index: LocalIndex) -> None:
    plan = plan_of(torch_target.python, {"torch": "2.15.0+cpu"}, "--index-url", index.url("whl/cpu"), backend="cpu")
    result = apply(plan, torch_target)
    assert any("torchvision" in line and "torch==2.14.1" in line for line in result.conflicts)


def test_a_label_is_not_taken_for_the_plain_build(target: Target, local_index: LocalIndex) -> None:
    """pip holds an installed 2.15.0+cpu for a planned 2.15.0; the plan means the build without a label."""
    local_index.add("simple", torch_wheel("2.15.0", build="cu132"), *sympy_wheels())
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu"), *sympy_wheels())
    cpu = plan_of(target.python, {"torch": "2.15.0+cpu"}, "--index-url", local_index.url("whl/cpu"))
    apply(cpu, target)
    plain = plan_of(target.python, {"torch": "2.15.0"}, "--index-url", local_index.url("simple"))
    assert apply(plain, target).changed == {"torch": ("2.15.0+cpu", "2.15.0")}
    assert run(target, "import torch; print(torch.__version__)") == "2.15.0+cu132"


def test_no_pip_in_the_target(tmp_path: Path, index: LocalIndex) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True, timeout=60)
    target = target_of(python_in(tmp_path / "env"))
    with pytest.raises(TargetError) as caught:
        apply(planned(target, index, 0, "cpu"), target)
    assert caught.value.code == "no-pip"
    assert "ensurepip" in caught.value.hint


def test_a_pip_py_in_the_current_folder_is_not_run(
    target: Target, index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('hijacked')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert apply(planned(target, index, 0, "cpu"), target).outcome == "installed"


def test_an_orphaned_installer_is_ended_before_its_work_is_undone(target: Target, index: LocalIndex) -> None:
    """torchcheck was killed, pip was not: it must not go on while things are put back."""
    staging = Path(journal.place(target.paths["purelib"])) / "incoming"
    staging.mkdir(parents=True)
    orphan = subprocess.Popen([target.python, "-c", "import time; time.sleep(60)", str(staging)])
    assert recover(target) is None
    assert not psutil.pid_exists(orphan.pid)
    orphan.wait(10)
    assert not staging.exists()


def test_pins_for_a_lock_file(target: Target, index: LocalIndex, tmp_path: Path) -> None:
    lines = resolve(planned(target, index, 1, "cu130"), target)
    named = [line for line in lines if line.startswith("torch==")]
    assert named == [line for line in lines if "torch==2.15.0+cu130 --hash=sha256:" in line]
    file = tmp_path / "lock.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pip = [target.python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(file)]
    subprocess.run(pip, check=True, timeout=120)
    assert run(target, ALL) == "2.15.0+cu130"


def test_a_wheel_that_climbs_out_of_its_folder(target: Target, local_index: LocalIndex) -> None:
    evil = make_wheel("torch", "2.15.0+cpu", tag=native_tag(), files={"../../../evil.py": "", "torch/__init__.py": ""})
    local_index.add("whl/cpu", evil)
    with pytest.raises(InstallError) as caught:
        apply(plan_of(target.python, {"torch": "2.15.0+cpu"}, "--index-url", local_index.url("whl/cpu")), target)
    assert caught.value.code == "wheel-lies"


@pytest.mark.slow
def test_a_companion_of_another_build_is_seen_by_the_proof(target: Target, local_index: LocalIndex) -> None:
    local_index.add("whl/cpu", torch_wheel("2.15.0+cpu"), *sympy_wheels())
    local_index.add("whl/cpu", companion_wheel("torchvision", "0.29.2+cu130", torch="2.15.0"))
    packages = {"torch": "2.15.0+cpu", "torchvision": "0.29.2+cu130"}
    plan = plan_of(target.python, packages, "--index-url", local_index.url("whl/cpu"))
    result = apply(plan, target, verify=lambda: run(target, "import torchvision") == "")
    assert result.outcome == "unproven"


@pytest.mark.parametrize("hurt", ["gone", pytest.param("cut", marks=pytest.mark.slow)])
def test_damaged_files_are_no_installation_in_place(torch_target: Target, index: LocalIndex, hurt: str) -> None:
    file = Path(torch_target.paths["purelib"]) / "torch" / "cuda" / "__init__.py"
    file.unlink()
    if hurt == "cut":
        file.write_text("def is_av", encoding="utf-8")
    assert apply(planned(torch_target, index, 0, "cpu"), torch_target).outcome == "installed"
    assert run(torch_target, ALL) == "2.14.1+cpu"
    assert apply(planned(torch_target, index, 0, "cpu"), torch_target).outcome == "unchanged"


def test_our_own_constraints_do_not_hold_us_off(
    target: Target, index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = apply(planned(target, index, 0, "cpu"), target)
    value = constraints.setting(str(first.constraints))
    assert " " not in value, "pip splits the variable at spaces"
    monkeypatch.setenv("PIP_CONSTRAINT", value)
    index.add("whl/cpu", make_wheel("greedier", "1.0", requires=["torch>=2.15"], files={"greedier.py": ""}))
    pip = [target.python, "-m", "pip", "install", "--index-url", index.url("whl/cpu"), "greedier"]
    assert subprocess.run(pip, capture_output=True, check=False, timeout=60).returncode != 0, (
        "the variable does not work"
    )
    assert apply(planned(target, index, 1, "cpu"), target).outcome == "installed"


def test_an_error_of_the_caller_is_not_taken_for_a_full_disk(torch_target: Target, index: LocalIndex) -> None:
    before = contents(torch_target)

    def stumble() -> bool:
        raise FileNotFoundError("nvidia-smi")

    with pytest.raises(FileNotFoundError):
        apply(planned(torch_target, index, 1, "cpu"), torch_target, verify=stumble)
    assert contents(torch_target) == before


def test_a_dependency_that_no_longer_suits_is_replaced_and_comes_back(
    torch_target: Target, local_index: LocalIndex
) -> None:
    newer = make_wheel("sympy", "1.15.0", requires=["mpmath<1.4"], files={"sympy/__init__.py": "import mpmath\n"})
    torch = torch_wheel("2.15.0+cpu", requires=["sympy>=1.15"])
    local_index.add("whl/cpu", torch, companion_wheel("torchvision", "0.29.2+cpu", torch="2.15.0"), newer)
    local_index.add("whl/cpu", *sympy_wheels())
    packages = {"torch": "2.15.0+cpu", "torchvision": "0.29.2+cpu"}
    plan = plan_of(torch_target.python, packages, "--index-url", local_index.url("whl/cpu"), backend="cpu")
    before = contents(torch_target)
    with pytest.raises(InstallError):
        apply(plan, torch_target, verify=lambda: False)
    assert contents(torch_target) == before
    assert apply(plan, torch_target).changed["sympy"] == ("1.14.0", "1.15.0")
    assert run(torch_target, ALL) == "2.15.0+cpu"
