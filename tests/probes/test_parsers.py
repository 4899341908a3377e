"""What the probes read was written by others: examples of each format, and that no text at all makes them raise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcheck.facts import from_json, to_json
from torchcheck.host import Host, Replay
from torchcheck.probes import (
    _adapters,
    _nvidia_smi,
    _platform,
    amd,
    conda,
    cpu,
    env,
    intel,
    memory,
    nvidia,
    pip,
    probe,
    python,
    system,
    tools,
    topics,
)

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
LINES = st.lists(
    st.one_of(
        TEXT,
        st.sampled_from(
            ["a: b", "=", "x=1", "[global]", "index-url=", "processor : 0", ":", "MemTotal: 1 kB", '"', "a,b,c,d"]
        ),
    ),
    max_size=12,
).map("\n".join)


@pytest.mark.parametrize(
    ("windows", "nvidia_version"),
    [("32.0.15.8157", "581.57"), ("31.0.15.6636", "566.36"), ("27.21.14.5671", "456.71"), ("30.0.14.7111", "471.11"),
     ("10.0.26100.1", None), ("", None), ("32.0.15", None), ("a.b.c.d", None)],
)  # fmt: skip
def test_driver_version_of_windows(windows, nvidia_version):
    assert nvidia.windows_driver_version(windows) == nvidia_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs)\n", "580.95.05"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  367.57  Mon Oct  3 20:37:01 PDT 2016\n", "367.57"),
        ("garbage", None),
    ],
)
def test_module_version(text, version):
    assert nvidia.module_version(Replay({"read /proc/driver/nvidia/version": text})) == version


@pytest.mark.parametrize(
    ("number", "target"),
    [
        (110000, "gfx1100"),
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (100306, "gfx1036"),
        (80003, "gfx803"),
        (120001, "gfx1201"),
        (90012, "gfx90c"),
    ],
)
def test_gfx_target_of_the_kfd(number, target):
    assert amd.gfx_target(number) == target


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("| NVIDIA-SMI 470.256.02   Driver Version: 470.256.02   CUDA Version: 11.4     |", ("470.256.02", "11.4")),
        ("| NVIDIA-SMI 610.57.04   KMD Version: 610.57.04     CUDA UMD Version: 13.3 |", ("610.57.04", "13.3")),
        ("| NVIDIA-SMI 340.108    Driver Version: 340.108        |", ("340.108", None)),
        ("No devices were found", (None, None)),
    ],
)
def test_head_of_nvidia_smi(text, versions):
    assert _nvidia_smi.banner(text) == versions


def test_rows_of_nvidia_smi():
    text = "NVIDIA A100-SXM4-80GB, 0x20B210DE, 81920, 550.54.15, 8.0\nOrin (nvgpu), [N/A], [N/A], 540.4.0, [N/A]\n"
    first, second = _nvidia_smi.rows(text + "\nbroken\n")
    assert (first.pci_id, first.memory, first.compute_capability) == ("10de:20b2", 80 << 30, "8.0")
    assert (second.name, second.compute_capability) == ("Orin (nvgpu)", "8.7")
    assert "memory" not in to_json(second)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[global]\nindex-url = https://a/simple\n[install]\nindex_url = https://b/simple\n",
            {"index-url": "https://b/simple"},
        ),
        ("﻿[global]\nExtra-Index-URL =\n  https://a\n  https://b\n", {"extra-index-url": "\nhttps://a\nhttps://b"}),
        ("[freeze]\ntimeout = 10\n", {}),
        ("[global]\nformat = %(nothing)s\n", {"format": "%(nothing)s"}),
        ("no section", {}),
    ],
)
def test_pip_configuration(text, expected):
    assert pip.parse(text) == expected


def test_variables_override_files_and_dev_null_switches_them_off():
    answers = {
        "machine": {"os": "linux", "home": "/home/user"},
        "read /etc/pip.conf": "[global]\nindex-url = https://files/simple\nextra-index-url = https://files/more\n",
        "environ": {"PIP_INDEX_URL": "https://variable/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": "1"},
    }
    files, settled = pip.read(Replay(answers), None)
    assert files == ["/etc/pip.conf"]
    assert settled == {"index-url": "https://variable/simple", "extra-index-url": "https://files/more", "no-index": "1"}
    assert pip.read(Replay(answers | {"env PIP_CONFIG_FILE": "/dev/null"}), None)[0] == []


@pytest.mark.parametrize(
    ("kind", "place"), [("linux", "/x/pip.conf"), ("macos", "/x/pip.conf"), ("windows", r"/x\pip.ini")]
)
def test_the_environment_s_own_file_is_read_after_the_user_s(kind, place):
    host = Replay({"machine": {"os": kind, "home": "/home/user"}, "env PIP_CONFIG_FILE": "/chosen"})
    assert list(pip.places(host, "/x"))[-2:] == [place, "/chosen"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CUDA_VISIBLE_DEVICES", True),
        ("PYTHONPATH", True),
        ("PIP_INDEX_URL", True),
        ("TORCH_HOME", True),
        ("HF_TOKEN", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("UV_PUBLISH_TOKEN", False),
        ("UV_INDEX_MINE_PASSWORD", False),
        ("USER", False),
        ("UV_INDEX_PRIVATE_USERNAME", False),
    ],
)
def test_only_listed_variables_are_shown(name, shown):
    assert env.allowed(name) is shown


@given(TEXT, TEXT)
def test_credentials_never_stay_in_a_url(user, rest):
    secret = "s3cr3t"
    clean = "".join(letter for letter in user if letter not in "/@" and not letter.isspace())
    assert secret not in env.without_credentials(f"https://{clean}:{secret}@host/{rest}".replace("\n", ""))


@pytest.mark.parametrize(
    ("said", "environment"),
    [
        ({"prefix": "/home/user/.venv", "base_prefix": "/usr", "pyvenv": "home = /usr/bin"}, "venv"),
        ({"prefix": "/opt/conda/envs/ml", "base_prefix": "/opt/conda/envs/ml", "conda": True}, "conda"),
        ({"prefix": "/usr", "base_prefix": "/usr"}, "system"),
        ({"prefix": "/home/user/.pyenv/versions/3.12.1", "base_prefix": "/home/user/.pyenv/versions/3.12.1"}, "user"),
        ({"prefix": "/home/user2/python", "base_prefix": "/home/user2/python"}, "system"),
        ({"prefix": "/home/user/.local/share/pipx/venvs/x", "base_prefix": "/usr", "pyvenv": ""}, "pipx"),
        (
            {
                "prefix": r"C:\ComfyUI\python_embeded",
                "base_prefix": r"C:\ComfyUI\python_embeded",
                "embedded": ["python312._pth"],
            },
            "embedded",
        ),
        (
            {"prefix": r"C:\Program Files\WindowsApps\PythonSoftwareFoundation.Python.3.12_x", "base_prefix": "x"},
            "venv",
        ),
    ],
)
def test_kind_of_environment(said, environment):
    assert python.environment(Replay({"machine": {"home": "/home/user"}}), said) == environment


@pytest.mark.parametrize(
    ("libc", "bits", "platform", "first", "last"),
    [
        ("glibc 2.35", 64, "linux-x86_64", "manylinux_2_35_x86_64", "linux_x86_64"),
        ("glibc 2.31", 64, "linux-aarch64", "manylinux_2_31_aarch64", "linux_aarch64"),
        ("glibc 2.31", 32, "linux-x86_64", "manylinux_2_31_i686", "linux_i686"),
        (None, 64, "win-amd64", "win_amd64", "win_amd64"),
        (None, 32, "win32", "win32", "win32"),
    ],
)
def test_platform_tags(libc, bits, platform, first, last):
    host = Replay({"machine": {"os": "linux"}})
    tags = _platform.tags(host, {"platform": platform, "bits": bits, "libc": libc})
    assert first in tags
    assert last in tags


def test_tags_of_macos_use_the_real_version():
    answers = {
        "machine": {"os": "macos"},
        "run /usr/sbin/sysctl -n kern.osproductversion": {"code": 0, "out": "15.6\n", "err": ""},
    }
    tags = _platform.tags(Replay(answers), {"platform": "macosx-10.9-x86_64", "machine": "x86_64", "macos": "10.16"})
    assert "macosx_15_0_x86_64" in tags
    assert "macosx_14_0_arm64" not in tags


def test_os_release():
    assert system.os_release('# comment\nNAME="Ubuntu"\nVERSION_ID=\'24.04\'\nX=a\\"b\n')["VERSION_ID"] == "24.04"


@given(LINES)
@settings(max_examples=60)
def test_no_text_makes_a_parser_raise(text):
    system.os_release(text)
    cpu.cpuinfo(text)
    memory.meminfo(text)
    amd.properties(text)
    pip.parse(text)
    list(_nvidia_smi.rows(text))
    _nvidia_smi.banner(text)
    _nvidia_smi.complaint(text, text)
    nvidia.windows_driver_version(text)
    _adapters._size(text)


class Nonsense(Host):
    """A machine that answers each question with text of the right kind and the wrong content."""

    def __init__(self, kind: str, text: str, number: int) -> None:
        self._kind, self._text, self._number = kind, text, number

    def ask(self, operation, *arguments):
        answers = {
            "machine": {
                "os": self._kind,
                "release": self._text,
                "machine": self._text,
                "home": self._text,
                "temp": "/",
            },
            "environ": {"PIP_INDEX_URL": self._text, "CUDA_VISIBLE_DEVICES": self._text},
            "list": [self._text, "0000:00:00.0", "renderD128"],
            "kind": ("file", "dir", "device", "other")[self._number % 4],
            "free": self._number,
            "access": True,
            "run": {"code": 0, "out": self._text, "err": self._text},
            "registry": {
                "values": {"DriverVersion": self._text, "Service": self._text, "Version": self._text},
                "keys": [self._text],
            },
            "resources": {"total": self._number, "cores_physical": self._number},
            "script": {"error": self._text, "detail": self._text},
        }
        return answers.get(operation, self._text if operation != "python" else {})


@given(
    st.sampled_from(["linux", "windows", "macos"]),
    st.one_of(TEXT, LINES, st.just("0x030000"), st.just("1")),
    st.integers(0, 2**62),
)
@settings(max_examples=80)
def test_a_machine_that_answers_nonsense_is_described_without_a_surprise(kind, text, number):
    facts = probe(Nonsense(kind, text, number), None)
    surprises = [note for note in facts.notes or () if re.match(rf"({'|'.join(topics())}): \w+Error:", note)]
    assert not surprises
    assert to_json(from_json(to_json(facts))) == to_json(facts)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://conda.anaconda.org/conda-forge/noarch", "conda-forge"),
        ("https://user:secret@mirror.example/t/pytorch/linux-64", "t/pytorch"),
        ("defaults", "defaults"),
        ("pytorch", "pytorch"),
        ("https://repo.anaconda.com/pkgs/main/win-64", "pkgs/main"),
        ("", ""),
    ],
)
def test_channel_of_conda(address, name):
    assert conda.channel(address) == name


@pytest.mark.parametrize(
    ("tool", "text", "version"),
    [
        ("gcc", "gcc (Ubuntu 13.2.0-23ubuntu4) 13.2.0\nCopyright (C) 2023", "13.2.0"),
        ("gcc", "gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
        ("gcc", "x86_64-linux-gnu-gcc (GCC) 14.1.1 20240701", "14.1.1"),
        ("clang", "Ubuntu clang version 18.1.3 (1ubuntu1)", "18.1.3"),
        ("clang", "Apple clang version 16.0.0 (clang-1600.0.26.6)", "16.0.0"),
        ("cmake", "cmake version 3.28.3\n", "3.28.3"),
        ("ninja", "1.11.1.git.kitware\n", "1.11.1.git.kitware"),
        ("nvcc", "Cuda compilation tools, release 13.0, V13.0.88\n", "13.0.88"),
        ("hipcc", "HIP version: 6.4.43484-123eb5128\n", "6.4.43484-123eb5128"),
        ("cl", "Microsoft (R) C/C++ Optimizing Compiler Version 19.44.35211 for x64", "19.44.35211"),
        ("cl", "nonsense", None),
    ],
)
def test_version_of_a_tool(tool, text, version):
    argument = tools.TOOLS[tool][1]
    question = f"run /bin/{tool} {argument}".strip()
    host = Replay({f"which {tool}": f"/bin/{tool}", question: {"code": 0, "out": text, "err": ""}})
    assert tools.version(host, tool) == version


def test_libraries_of_intel():
    answers = {"link /usr/lib64/libze_loader.so.1": "libze_loader.so.1.21.9"}
    assert intel.library(Replay(answers), "libze_loader.so") == "1.21.9"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({}, None),
        ({"kind /.dockerenv": "file"}, "docker"),
        ({"kind /.dockerenv": "file", "env KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"kind /.dockerenv": "file", "kind /var/run/secrets/kubernetes.io": "dir"}, "kubernetes"),
        ({"kind /run/.containerenv": "file"}, "podman"),
        ({"env APPTAINER_CONTAINER": "/image.sif"}, "apptainer"),
        ({"kind /.singularity.d": "dir"}, "apptainer"),
        ({"env container": "systemd-nspawn"}, "systemd-nspawn"),
        ({"read /run/systemd/container": "lxc\n"}, "lxc"),
        ({"read /proc/1/cgroup": "12:devices:/kubepods/besteffort/pod1/abc\n"}, "kubernetes"),
        ({"read /proc/1/cgroup": "0::/docker/0123\n"}, "docker"),
        ({"read /proc/1/cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_kind_of_container(answers, kind):
    assert system.container(Replay(answers)) == kind
