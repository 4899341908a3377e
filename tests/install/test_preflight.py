"""What stands in the way is said before anything is changed: values in, problems out."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from torchcheck.facts import Facts, from_json
from torchcheck.install.preflight import Situation, judge
from torchcheck.install.survey import holders
from torchcheck.wheels.plan import Plan

LINUX = {"system": {"os": "linux"}, "python": {"bits": 64, "pip": "25.3", "environment": "venv", "writable": True}}
WINDOWS = {
    "system": {"os": "windows", "long_paths": False, "vc_redist": "14.44"},
    "python": {"bits": 64, "pip": "25.3", "environment": "venv", "writable": True},
}
PLAN = Plan(backend="cu130", packages={"torch": "2.15.0+cu130"}, download_bytes=2_000_000_000)
DEEP = "C:\\Users\\someone with a long name\\Documents\\University\\Semester 7\\Deep Learning\\Exercises\\Sheet 12\\"
SITE = DEEP + "second attempt\\.venv\\Lib\\site-packages"


def merged(base: dict[str, Any], **more: dict[str, Any]) -> Facts:
    return from_json({**base, **{key: {**base.get(key, {}), **value} for key, value in more.items()}})


DEBIAN = {"externally_managed": True, "environment": "system"}
FULL = {"target_free": 5_000_000_000}
CASES: list[tuple[str, Facts, dict[str, Any], list[str]]] = [
    ("nothing in the way", merged(LINUX), {}, []),
    ("nothing known", Facts(), {}, []),
    ("32 bits", merged(LINUX, python={"bits": 32}), {}, ["python-32-bit"]),
    ("no pip", merged(LINUX, python={"pip": None}), {}, ["no-pip"]),
    ("no pip, but uv", merged(LINUX, python={"pip": None}), {"installer": "uv"}, []),
    ("PEP 668", merged(LINUX, python=DEBIAN), {}, ["externally-managed", "shared-python"]),
    ("PEP 668, lifted", merged(LINUX, python=DEBIAN), {"permitted": True}, ["shared-python"]),
    ("PEP 668 outside of a venv", merged(LINUX, python={"externally_managed": True}), {}, []),
    ("read-only", merged(LINUX, python={"writable": False}), {}, ["not-writable"]),
    ("little room, before the download", merged(LINUX, disk={"target_free": 9_000_000_000}), {}, ["disk-full"]),
    ("room enough", merged(LINUX, disk={"target_free": 11_000_000_000}), {}, []),
    ("room by the exact count", merged(LINUX, disk={"target_free": 9_000_000_000}), {"unpacked": 6_000_000_000}, []),
    ("no room by the exact count", merged(LINUX, disk=FULL), {"unpacked": 6_000_000_000}, ["disk-full"]),
    ("no room at all", merged(LINUX, disk={"target_free": 0}), {}, ["disk-full"]),
    ("a small cache", merged(LINUX, disk={"cache_free": 1_000_000_000}), {}, ["cache-full"]),
    ("conda's torch", merged(LINUX, python={"environment": "conda"}), {"owners": {"torch": "conda"}}, ["conda-owned"]),
    ("conda without torch", merged(LINUX, python={"environment": "conda"}), {}, ["conda"]),
    ("conda, torch from pip", merged(LINUX, python={"environment": "conda"}), {"owners": {"torch": "pip"}}, ["conda"]),
    ("long paths off, deep folder", merged(WINDOWS), {"site": SITE}, ["long-paths"]),
    ("long paths off, short folder", merged(WINDOWS), {"site": "C:\\t\\Lib\\site-packages"}, []),
    ("long paths off, counted", merged(WINDOWS), {"site": "C:\\t\\Lib\\site-packages", "longest": 250}, ["long-paths"]),
    ("long paths on", merged(WINDOWS, system={"long_paths": True}), {"site": SITE}, []),
    ("no VC++ runtime", merged(WINDOWS, system={"vc_redist": None}), {"site": "C:\\t"}, ["vc-runtime-missing"]),
    ("DLLs in use", merged(WINDOWS), {"site": "C:\\t", "holders": ("python.exe (process 7)",)}, ["files-in-use"]),
    ("Store", merged(WINDOWS, python={"environment": "store"}), {"site": "C:\\t"}, ["store-python"]),
    ("user site", merged(LINUX, python={"environment": "user"}), {}, ["shared-python"]),
    ("root", merged(LINUX, python={"environment": "system"}), {"root": True}, ["shared-python"]),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "more", "codes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_problems(facts: Facts, more: dict[str, Any], codes: list[str]) -> None:
    found = judge(Situation(**{"facts": facts, "plan": PLAN, "site": "/e/lib/site-packages", **more}))
    assert [problem.code for problem in found] == codes
    assert all(problem.message.endswith(".") and problem.hint for problem in found)


def test_blocking_problems_come_first() -> None:
    facts = merged(WINDOWS, system={"vc_redist": None}, python={"writable": False})
    found = judge(Situation(facts=facts, plan=PLAN, site=SITE))
    assert [problem.blocking for problem in found] == [True, True, False]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not tell which files a process has mapped")
def test_a_process_that_has_a_library_loaded_is_named(tmp_path: Path) -> None:
    library = tmp_path / "torch" / "lib" / "torch_cpu.dll"
    library.parent.mkdir(parents=True)
    library.write_bytes(bytes(mmap.PAGESIZE))
    hold = (
        "import mmap, sys; f = open(sys.argv[1], 'rb');"
        "m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ); m[0]; print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", hold, str(library)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        found = holders([str(tmp_path / "torch")])
        assert process.stdin
        process.stdin.close()
    assert [name for name in found if f"(process {process.pid})" in name]
    assert not [name for name in found if f"(process {os.getpid()})" in name]
    assert holders([str(tmp_path / "torch")]) == ()
