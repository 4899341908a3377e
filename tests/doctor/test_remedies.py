"""Commands are right for the system, the shell and the environment, and can be pasted."""

from __future__ import annotations

import pytest

from torchcheck.doctor import diagnose
from torchcheck.facts import from_json

GTX = {"vendor": "nvidia", "name": "NVIDIA GeForce GTX 1080", "compute_capability": "6.1"}
RTX = {"vendor": "nvidia", "name": "NVIDIA GeForce RTX 4070", "compute_capability": "8.9"}


def fix(facts: dict, log: str = "", shell: str = "") -> tuple[str, ...]:
    return diagnose(from_json(facts), log, shell=shell)[0].fix


def cpu_on_gpu(**python: object) -> dict:
    return {
        "system": {"os": "linux", "machine": "x86_64"},
        "python": {"version": "3.12.3", **python},
        "gpus": [RTX],
        "drivers": {"nvidia": {"version": "580.95.05"}},
        "packages": {"torch": "2.9.1+cpu"},
        "torch": {"import": "ok", "version": "2.9.1+cpu", "cuda": None},
    }


def test_our_own_command_comes_first_and_pips_after_it():
    first, second = fix(cpu_on_gpu(executable="/srv/v/bin/python", environment="venv", pip="25.3"))[:2]
    assert first == "torchcheck install --python /srv/v/bin/python --backend cu130 --torch 2.15.0"
    assert second.startswith('/srv/v/bin/python -m pip install --force-reinstall "torch==2.15.0+cu130"')
    assert second.endswith("--index-url https://download.pytorch.org/whl/cu130")
    assert "extra-index-url" not in second


@pytest.mark.parametrize(
    ("python", "start"),
    [
        ({"executable": "/srv/my env/bin/python", "pip": "25.3"}, '"/srv/my env/bin/python" -m pip install'),
        (
            {"environment": "pipx", "prefix": "/home/u/.local/share/pipx/venvs/whisper", "pip": "25.3"},
            "pipx runpip whisper install",
        ),
        ({"environment": "venv", "pip": None}, "uv pip install"),
        ({}, "python -m pip install"),
    ],
)
def test_each_environment_has_its_own_way_to_install(python, start):
    assert fix(cpu_on_gpu(**python))[1].startswith(start)


def test_powershell_calls_a_quoted_program_with_an_ampersand():
    facts = cpu_on_gpu(executable="C:\\Program Files\\Python312\\python.exe", pip="25.3") | {
        "system": {"os": "windows", "machine": "x86_64"}
    }
    assert fix(facts)[1].startswith('& "C:\\Program Files\\Python312\\python.exe" -m pip')
    assert fix(facts, shell="cmd")[1].startswith('"C:\\Program Files\\Python312\\python.exe" -m pip')


@pytest.mark.parametrize(
    ("system", "shell", "line"),
    [
        ("linux", "", "unset CUDA_VISIBLE_DEVICES"),
        ("windows", "", "$env:CUDA_VISIBLE_DEVICES = $null"),
        ("windows", "cmd", "set CUDA_VISIBLE_DEVICES="),
    ],
)
def test_variables_are_unset_as_the_shell_does_it(system, shell, line):
    facts = {"system": {"os": system}, "gpus": [RTX], "env": {"CUDA_VISIBLE_DEVICES": "7"}}
    assert fix(facts, "RuntimeError: No CUDA GPUs are available", shell)[0] == line


@pytest.mark.parametrize(
    ("system", "shell", "path", "line"),
    [
        ("linux", "", "/home/u/torch.py", "mv /home/u/torch.py /home/u/torch_renamed.py"),
        ("linux", "", "/home/u/a b/$x/random.py", "mv '/home/u/a b/$x/random.py' '/home/u/a b/$x/random_renamed.py'"),
        ("windows", "", "C:\\my work\\json.py", 'Rename-Item -LiteralPath "C:\\my work\\json.py" json_renamed.py'),
        ("windows", "cmd", "C:\\my work\\json.py", 'ren "C:\\my work\\json.py" json_renamed.py'),
    ],
)
def test_a_file_that_hides_a_module_is_renamed(system, shell, path, line):
    log = f"AttributeError: module 'x' has no attribute 'y' (consider renaming '{path}' if it has the same name as a"
    found = diagnose(from_json({"system": {"os": system}}), f"{log} library you intended to import)", shell=shell)[0]
    assert (found.code, found.fix[0]) == ("file-shadowing", line)


def test_an_old_card_gets_the_last_build_that_has_its_kernels():
    facts = {
        "system": {"os": "linux", "machine": "x86_64"},
        "gpus": [GTX],
        "packages": {"torch": "2.9.1+cu128"},
        "torch": {"import": "ok", "cuda": "12.8"},
    }
    assert "--backend cu126" in fix(facts)[0]
    assert "whl/cu126" in fix(facts)[1]


def test_in_a_container_and_in_wsl_no_driver_is_installed_inside():
    for place in ({"container": "docker"}, {"wsl": True}):
        steps = fix({"system": {"os": "linux", **place}}, "RuntimeError: Found no NVIDIA driver on your system.")
        assert not [step for step in steps if "ubuntu-drivers" in step or "apt install nvidia" in step]


def test_a_driver_that_is_too_old_is_the_hosts_in_a_container():
    facts = {
        "system": {"os": "linux", "container": "docker"},
        "gpus": [RTX],
        "drivers": {"nvidia": {"version": "470.57"}},
        "torch": {"import": "ok", "cuda": "12.8"},
    }
    steps = fix(facts)
    assert steps[0].startswith("torchcheck install --backend cu118")
    assert [step for step in steps if "HOST" in step]
    assert not [step for step in steps if "ubuntu-drivers" in step]


def test_an_unknown_system_gets_the_steps_of_each_named():
    steps = fix({}, "OSError: [Errno 28] No space left on device")
    assert [step for step in steps if step.startswith("Linux, macOS: ")]
    assert 'Windows: $env:TEMP = "D:\\tmp"' in steps


def test_nobody_is_told_to_install_a_package_named_torchcheck():
    from torchcheck.doctor import all_codes

    assert not [step for code in all_codes() for _, step in code.fix if "install torchcheck" in step]
    assert not [
        step for code in all_codes() for _, step in code.fix if "sudo pip" in step or "--extra-index-url" in step
    ]


def test_a_cpu_build_is_not_advised_where_nobody_told_of_a_gpu():
    unknown = {"system": {"os": "linux"}, "packages": {"torch": "2.0.1"}, "torch": {"import": "error"}}
    log = "ValueError: libcublas.so.*[0-9] not found in the system path"
    assert not [step for step in fix(unknown, log) if "cpu" in step]
    assert fix(unknown, log)[0] == "torchcheck install"
    assert "torchcheck install --backend cpu" in fix(unknown | {"gpus": []}, log)[0]
