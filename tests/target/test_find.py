"""Which interpreter is chosen, with real environments and things that only look like Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from torchcheck import target
from torchcheck.errors import Exit, TargetError, TorchcheckError, UsageError
from torchcheck.host import Replay
from torchcheck.live import Live
from torchcheck.target import find

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="scripts with a first line that names their interpreter")
BIN = "Scripts" if sys.platform == "win32" else "bin"
PYTHON = "python.exe" if sys.platform == "win32" else "python"


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """A folder with nothing active in it."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Path:
    """A real environment, in a folder that tests the quoting."""
    place = tmp_path_factory.mktemp("with space é") / "venv"
    venv.create(place, with_pip=False)
    return place


def script(place: Path, text: str) -> str:
    place.write_text(text, encoding="utf-8")
    place.chmod(0o755)
    return str(place)


def same(one: str, other: Path) -> bool:
    return os.path.normcase(one) == os.path.normcase(other)


def test_a_path_to_an_interpreter(nowhere, environment):
    found = find(Live(), str(environment / BIN / PYTHON))
    assert same(found.python, environment / BIN / PYTHON)
    assert found.found_by == "--python"
    assert found.facts.environment == "venv"
    assert found.facts.version == ".".join(map(str, sys.version_info[:3])) or sys.version_info.releaselevel != "final"
    assert found.facts.writable is True
    assert same(found.facts.prefix, environment)
    assert set(found.paths) >= {"purelib", "platlib", "scripts", "data"}
    assert found.packages == {}
    assert found.facts.pip is None


def test_a_folder_and_a_relative_path(nowhere, environment):
    by_folder = find(Live(), str(environment))
    assert by_folder.python == find(Live(), os.path.relpath(environment / BIN / PYTHON)).python
    if sys.platform != "win32":
        assert by_folder.python == str(environment / "bin" / "python")  # the link is not followed: it makes the venv


def test_a_name_on_path_but_never_in_the_current_folder(nowhere, environment, monkeypatch):
    name = f"python{sys.version_info.major}" if sys.platform != "win32" else "python"
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", str(nowhere), str(environment / BIN)]))
    if sys.platform != "win32":
        script(nowhere / name, "#!/bin/sh\necho hijacked")
        assert Live().which(name) == str(environment / BIN / name)
        (nowhere / name).unlink()
    assert same(find(Live(), name).facts.prefix, environment)


def test_the_active_environment_comes_before_the_one_in_the_current_folder(nowhere, environment, monkeypatch):
    venv.create(nowhere / ".venv", with_pip=False)
    assert find(Live()).found_by == ".venv"
    monkeypatch.setenv("VIRTUAL_ENV", str(environment))
    found = find(Live())
    assert found.found_by == "VIRTUAL_ENV"
    assert same(found.facts.prefix, environment)


def test_a_conda_environment_is_active_its_base_only_after_dot_venv(nowhere, environment, monkeypatch):
    venv.create(nowhere / ".venv", with_pip=False)
    monkeypatch.setenv("CONDA_PREFIX", str(environment))
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "ml")
    assert find(Live()).found_by == "CONDA_PREFIX"
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "base")
    assert find(Live()).found_by == ".venv"


def test_our_own_interpreter_last_if_it_may_be_installed_into(nowhere):
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests run in an interpreter of the operating system: see the cases below")
    found = find(Live())
    assert found.found_by == "own"
    assert same(found.python, Path(sys.executable))


def own(**said: object) -> Replay:
    """A machine where nothing is active, and torchcheck runs in an interpreter that says this."""
    python = {
        "version": "3.12.3",
        "prefix": "/usr",
        "base_prefix": "/usr",
        "paths": {"purelib": "/usr/lib"},
        "writable": True,
    }
    machine = {"os": "linux", "executable": "/usr/bin/python3", "cwd": "/home/user", "home": "/home/user"}
    return Replay({"machine": machine, "python /usr/bin/python3 native/interpreter": python | said})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"managed": True}, "PEP 668"),
        ({"writable": False}, "may not be written"),
        ({"marks": ["pipx_metadata.json"]}, "holds only it"),
        ({"marks": ["uv-receipt.toml"]}, "holds only it"),
        ({"prefix": "/home/user/.local/share/uv/tools/torchcheck-cli"}, "holds only it"),
    ],
)
def test_an_interpreter_that_is_not_to_be_touched(said, reason):
    with pytest.raises(TargetError, match=reason) as caught:
        find(own(**said))
    assert caught.value.exit_code == Exit.NO_PLAN
    assert "torchcheck install --venv" in caught.value.hint


def test_a_system_interpreter_that_may_be_written_is_taken():
    assert find(own()).facts.environment == "system"


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_gone_is_not_replaced_in_silence(nowhere, monkeypatch, variable):
    monkeypatch.setenv(variable, str(nowhere / "gone"))
    with pytest.raises(TargetError, match=rf"{variable} is .*gone") as caught:
        find(Live())
    assert "-m venv --clear" in caught.value.hint


@POSIX
def test_an_environment_whose_python_was_removed(nowhere):
    venv.create(nowhere / ".venv", with_pip=False, symlinks=True)
    for name in (nowhere / ".venv" / "bin").glob("python*"):
        name.unlink()
        name.symlink_to("/nonexistent/python3")
    with pytest.raises(TargetError, match="whose Python is gone"):
        find(Live())


def test_what_does_not_exist(nowhere):
    with pytest.raises(UsageError, match="no such file") as caught:
        find(Live(), str(nowhere / "nothing" / "python"))
    assert caught.value.exit_code == Exit.USAGE
    with pytest.raises(UsageError, match="on PATH"):
        find(Live(), "python9.99")
    with pytest.raises(UsageError):
        find(Live(), "")


def test_a_folder_without_a_python(nowhere):
    with pytest.raises(UsageError, match="holds no Python"):
        find(Live(), str(nowhere))


def test_a_file_that_is_no_program(nowhere):
    text = nowhere / "text"
    text.write_text("hello", encoding="utf-8")
    with pytest.raises(TorchcheckError) as caught:
        find(Live(), str(text))
    assert caught.value.exit_code == Exit.USAGE


@POSIX
def test_a_program_that_is_no_python(nowhere):
    with pytest.raises(UsageError, match="does not answer as Python does") as caught:
        find(Live(), script(nowhere / "echo", "#!/bin/sh\necho I am a parrot"))
    assert "I am a parrot" in caught.value.message
    with pytest.raises(UsageError, match="is no program for this machine"):
        find(Live(), script(nowhere / "nonsense", "nonsense\n"))
    with pytest.raises(UsageError, match="cannot be started"):
        find(Live(), script(nowhere / "lost", "#!/nonexistent/interpreter\n"))
    with pytest.raises(UsageError, match="no program"):
        find(Live(), "/dev/null")


@POSIX
def test_a_program_that_prints_without_end(nowhere):
    with pytest.raises(UsageError, match="prints without end"):
        find(Live(), script(nowhere / "flood", "#!/bin/sh\nyes\n"))


@POSIX
def test_a_python_that_hangs(nowhere, monkeypatch):
    monkeypatch.setattr(target, "INSPECT_TIMEOUT", 0.5)
    with pytest.raises(TargetError, match="did not answer within") as caught:
        find(Live(), script(nowhere / "python", "#!/bin/sh\nsleep 60\n"))
    assert caught.value.code == "python-hangs"


@POSIX
def test_a_python_that_crashes(nowhere):
    with pytest.raises(TargetError, match="crashed") as caught:
        find(Live(), script(nowhere / "python", "#!/bin/sh\nkill -SEGV $$\n"))
    assert "-11" in caught.value.message


@POSIX
def test_a_python_that_talks_before_it_answers(nowhere, environment):
    noisy = script(
        nowhere / "python", f'#!/bin/sh\necho \'{{"version": "1"}}\'\nexec "{environment}/bin/python" "$@"\n'
    )
    assert find(Live(), noisy).facts.environment == "venv"


@pytest.mark.parametrize(
    "folder",
    sorted(Path("~/.pyenv/versions").expanduser().glob("[23].*")) or [None],
    ids=lambda path: path and path.name,
)
def test_every_python_that_is_here(nowhere, folder):
    if folder is None:
        pytest.skip("no pyenv here: only the interpreter that runs the tests is tried")
    minor = tuple(map(int, re.findall(r"\d+", folder.name)[:2]))
    if minor < (3, 8):
        with pytest.raises(TargetError, match=f"is Python {folder.name}") as caught:
            find(Live(), str(folder / "bin" / "python"))
        assert caught.value.code == "python-too-old"
        return
    found = find(Live(), str(folder))
    if minor < (3, 9):
        with pytest.raises(TargetError, match="torch can be proved on"):
            found.demand_proof()
    else:
        found.demand_proof()
    assert found.facts.version == folder.name
    assert found.facts.implementation == "cpython"
    assert (found.facts.bits, found.facts.free_threaded) == (64, False)
    assert found.facts.environment == "user"
    assert Live().python(found.python, "suite/introspect")["import"] in {"missing", "ok"}
    code = "import packaging.tags as t; print(*t.platform_tags())"
    if "packaging" in found.packages:
        assert {*found.facts.platform_tags} == {
            *subprocess.check_output([found.python, "-c", code], encoding="locale").split()
        }


def test_platform_tags_are_those_of_packaging_here(nowhere):
    from packaging.tags import platform_tags

    ours, theirs = find(Live(), sys.executable).facts.platform_tags, list(platform_tags())
    assert set(ours) == set(theirs)
    # Where plain linux_x86_64 stands differs between releases of packaging.
    assert [tag for tag in ours if "linux_" in tag[4:]] == [tag for tag in theirs if "linux_" in tag[4:]]


PADDING = "".join(f"torch/include/file{number}.h,,\n" for number in range(60_000))
"""Makes a RECORD of over a mebibyte, as torch's own is."""


def test_installed_packages_twins_and_leftovers(nowhere, environment):
    site = Path(find(Live(), str(environment)).paths["purelib"])
    extra = nowhere / "more"
    for folder, version in ((site, "2.5.1"), (extra, "2.6.0")):
        (folder / f"torch-{version}.dist-info").mkdir(parents=True)
        (folder / f"torch-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n\nText", encoding="utf-8"
        )
        (folder / f"torch-{version}.dist-info" / "RECORD").write_text(
            f"torch/version.py,sha256=x,3\nREADME,,\n{PADDING}torch/lost.so,sha256=x,9\n", encoding="utf-8"
        )
        (folder / "torch").mkdir()
        (folder / "torch" / "version.py").write_text(
            f"__version__ = '{version}+cu124'\ncuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n",
            encoding="utf-8",
        )
    (site / "~orch").mkdir()
    (site / "Foo.Bar_baz-1.0.dist-info").mkdir()
    (site / "nameless.dist-info").mkdir()
    (site / "more.pth").write_text(f"{extra}\n", encoding="utf-8")
    found = target.inspect(Live(), find(Live(), str(environment)).python, "--python", check_files=True)
    assert found.packages == {"foo-bar-baz": "1.0", "torch": "2.5.1+cu124"}
    assert [one.version for one in found.duplicates()["torch"]] == ["2.5.1", "2.6.0"]
    assert [Path(path).name for path in found.broken] == ["nameless.dist-info", "~orch"]
    assert found.inspection["damaged"]["torch"][:2] == ["torch/version.py", "torch/lost.so"]


WINDOWS = {
    "os": "windows",
    "cwd": r"C:\Users\me\my project",
    "home": r"C:\Users\me",
    "executable": r"C:\Tools\python.exe",
}
ANSWER = {
    "version": "3.12.10",
    "platform": "win-amd64",
    "machine": "AMD64",
    "bits": 64,
    "pyvenv": "",
    "prefix": "x",
    "base_prefix": "y",
}


@pytest.mark.parametrize(
    ("given", "there", "chosen"),
    [
        (None, r"C:\Users\me\my project\.venv", r"C:\Users\me\my project\.venv\Scripts\python.exe"),
        (r".venv\Scripts\python.exe", None, r"C:\Users\me\my project\.venv\Scripts\python.exe"),
        (r"..\other", r"C:\Users\me\other", r"C:\Users\me\other\Scripts\python.exe"),
        (r"D:\conda\envs\ml", r"D:\conda\envs\ml", r"D:\conda\envs\ml\python.exe"),
        (r"~\py\python.exe", None, r"C:\Users\me\py\python.exe"),
        ("C:/py/python.exe", None, r"C:\py\python.exe"),
        ("python", None, r"C:\Path\python.exe"),
    ],
)
def test_paths_of_windows(given, there, chosen):
    answers = {
        "machine": WINDOWS,
        f"kind {chosen}": "file",
        f"access {chosen} x": True,
        "which python": r"C:\Path\python.exe",
        f"python {chosen} native/interpreter": ANSWER,
    }
    found = find(Replay(answers | ({f"kind {there}": "dir"} if there else {})), given)
    assert found.python == chosen
    assert found.facts.platform_tags == ("win_amd64",)


def test_a_version():
    on_linux = {"machine": {"os": "linux"}, "which python3.12": "/usr/bin/python3.12"}
    on_linux["python /usr/bin/python3.12 native/interpreter"] = ANSWER
    assert find(Replay(on_linux), "3.12").python == "/usr/bin/python3.12"
    asked = r"run C:\Windows\py.exe -3.12 -c import sys; print(sys.executable)"
    on_windows = {
        "machine": WINDOWS,
        "which py": r"C:\Windows\py.exe",
        asked: {"code": 0, "out": "C:\\P\\python.exe\r\n", "err": ""},
    }
    on_windows[r"python C:\P\python.exe native/interpreter"] = ANSWER
    assert find(Replay(on_windows), "3.12").python == r"C:\P\python.exe"
    with pytest.raises(UsageError, match="no such file in this folder or on PATH"):
        find(Replay(on_windows), "3.13")


def test_a_hint_for_windows_names_its_launcher():
    answers = {"machine": WINDOWS, "env VIRTUAL_ENV": r"C:\gone"}
    with pytest.raises(TargetError) as caught:
        find(Replay(answers))
    assert caught.value.hint.startswith('Make it again: `py -m venv --clear "C:\\gone"`')


@pytest.mark.parametrize("version", [None, 3, "", "three", [], {}])
def test_an_interpreter_that_answers_nonsense(version):
    with pytest.raises(TargetError, match=r"does not answer as Python does|gave no answer"):
        find(own(version=version))


@pytest.mark.parametrize(
    "said", [{"distributions": 3}, {"distributions": [{}]}, {"paths": 3}, {"family": [3]}, {"path": 5}]
)
def test_an_interpreter_that_speaks_our_language_and_talks_nonsense(said):
    with pytest.raises(TargetError, match="does not answer"):
        find(own(**said))


def test_a_machine_of_which_nothing_is_known():
    with pytest.raises(TargetError):
        find(Replay({}))
