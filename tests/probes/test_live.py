"""The live host on the machine that runs the tests, and that a replay of it tells the same."""

from __future__ import annotations

import json
import os
import struct
import sys
import venv
from pathlib import Path

import pytest

from torchcheck import live
from torchcheck.facts import to_json
from torchcheck.host import READ_LIMIT, Ran, Recording, Replay
from torchcheck.live import Live
from torchcheck.probes import Asked, join, probe, topics
from torchcheck.target import Target, find

FAKES = Path(__file__).parent.parent / "fake_torch"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("live") / "venv"
    venv.create(place, with_pip=False)
    return place


@pytest.fixture
def target(environment) -> Target:
    return find(Live(), str(environment))


def test_a_replay_of_this_machine_tells_the_same(environment):
    recording = Recording(Live())
    facts = to_json(probe(recording, find(recording, str(environment)), torch="import"))
    replay = Replay(json.loads(json.dumps(recording.answers)))
    assert to_json(probe(replay, find(replay, str(environment)), torch="import")) == facts
    assert facts["system"]["os"] in {"linux", "windows", "macos"}
    assert facts["cpu"]["cores_logical"] > 0
    assert facts["memory"]["total"] > facts["memory"]["available"] > 0
    assert facts["disk"]["target_free"] > 0
    assert facts["torch"]["import"] == "missing"


def test_a_machine_without_gpu_costs_one_child_when_torch_is_not_imported(environment):
    if sys.platform != "linux" or any(Path(p).exists() for p in ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia")):
        pytest.skip("drivers are asked on Windows, macOS and machines with a GPU")
    recording = Recording(Live())
    probe(recording, find(recording, str(environment)), torch="metadata")
    assert [
        question.split()[0] for question in recording.answers if question.startswith(("run ", "script ", "python "))
    ] == ["python"]


def test_probing_without_a_target_tells_of_the_machine_alone():
    facts = to_json(probe(Live(), None))
    assert "python" not in facts
    assert "packages" not in facts
    assert facts["system"]["machine"]


@POSIX
def test_a_user_without_home_in_a_folder_that_is_gone(environment, tmp_path, monkeypatch):
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(number)

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    machine = Live().machine()
    assert (machine["cwd"], machine["home"]) == (None, None)
    assert not [
        note for note in probe(Live(), find(Live(), str(environment)), torch="metadata").notes if "Error" in note
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names and variables are text")
def test_names_that_are_no_text_can_be_printed(environment, tmp_path, monkeypatch):
    place = Path(os.fsdecode(os.fsencode(tmp_path / "env") + b"\xff"))
    place.symlink_to(environment)
    monkeypatch.setitem(os.environ, "LD_LIBRARY_PATH", os.fsdecode(b"/lib/\xff"))
    found = find(Live(), str(place))
    assert os.fsencode(found.python).startswith(os.fsencode(place))
    facts = probe(Live(), found, torch="metadata")
    assert facts.env["LD_LIBRARY_PATH"] == "/lib/?"
    json.dumps(to_json(facts), ensure_ascii=False).encode()


@pytest.mark.parametrize("mode", ["skip", "metadata"])
def test_torch_is_not_imported_unless_asked(target, mode, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAKES / "import_segfault"))
    assert probe(Live(), target, torch=mode).torch.import_ != "crash"


@pytest.mark.parametrize(
    ("fake", "outcome", "words"),
    [
        ("import_segfault", "crash", "segmentation fault" if sys.platform != "win32" else "access violation"),
        ("import_exits", "crash", "exit code"),
        ("import_hang", "timeout", "no answer in time"),
        ("import_error", "error", "Error"),
        ("sound", "ok", ""),
    ],
)
def test_every_end_of_importing_torch_has_a_name(target, fake, outcome, words, monkeypatch):
    if not (FAKES / fake).is_dir():
        pytest.skip(f"no fake torch called {fake}")
    monkeypatch.setenv("PYTHONPATH", str(FAKES / fake))
    torch = probe(Live(), target, timeout=3 if outcome == "timeout" else 60).torch
    assert torch.import_ == outcome
    assert words in (torch.error or "")
    assert fake in str(torch.file or fake)


@pytest.mark.skipif(sys.platform == "win32", reason="reads address 0 in the POSIX way")
def test_a_driver_that_crashes_costs_the_devices_only(target, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAKES / "enumerate_segfault"))
    facts = probe(Live(), target)
    assert facts.torch.import_ == "ok"
    assert not facts.torch.devices
    assert any("segmentation fault" in note for note in facts.notes)


def test_a_folder_called_torch_is_told_from_a_torch(target, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    torch = probe(Live(), target).torch
    assert torch.import_ == "error"
    assert "only a folder of that name" in torch.error


def test_what_is_printed_while_torch_is_imported_is_no_answer(target, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    said = "import os\nprint('\\x1etorchcheck {\"import\": \"ok\"}')\nos.write(1, b'\\x1etorchcheck {}')\n"
    text = said + "raise ValueError('broken')\n"
    (tmp_path / "torch" / "__init__.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    torch = probe(Live(), target).torch
    assert (torch.import_, torch.error) == ("error", "ValueError: broken")


def test_damage_is_noted_when_torch_is_imported(environment, tmp_path, monkeypatch):
    info = tmp_path / "torch-2.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: torch\nVersion: 2.9.0\n", encoding="utf-8")
    (info / "RECORD").write_text("torch/lib/libtorch.so,sha256=x,9\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    host = Live()
    found = find(host, str(environment))
    note = "files of torch are missing or changed: torch/lib/libtorch.so"
    assert note in probe(host, found, torch="import").notes
    assert note not in probe(host, found, torch="metadata").notes


@pytest.mark.torch
def test_a_real_torch(torch_python):
    host = Live()
    found = find(host, torch_python)
    stated, told = (probe(host, found, torch=mode).torch for mode in ("metadata", "import"))
    assert told.import_ == "ok"
    assert (told.version, told.cuda, told.hip, told.file) == (stated.version, stated.cuda, stated.hip, stated.file)
    assert found.packages["torch"] == told.version


def test_every_topic_answers_on_a_machine_that_says_nothing():
    for kind in ("linux", "windows", "macos", None):
        facts = probe(Replay({"machine": {"os": kind}} if kind else {}), None)
        assert not facts.notes


def test_a_topic_that_raises_becomes_a_note(monkeypatch):
    from torchcheck.probes import cpu

    def broken(asked: Asked) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(cpu, "probe", broken)
    facts = probe(Live(), None)
    assert "cpu: KeyError: 'surprise'" in facts.notes
    assert facts.memory.total
    assert {"amd", "cpu", "nvidia", "system"} <= set(topics())


def test_parts_are_joined():
    from torchcheck.facts import Drivers

    known = join({"drivers": Drivers(nvidia=None), "notes": ("a",)}, {"drivers": Drivers(amd=None), "notes": ("b",)})
    assert known["drivers"] == Drivers(nvidia=None, amd=None)
    assert known["notes"] == ("a", "b")


class TestOperations:
    def test_files(self, tmp_path):
        host, file = Live(), tmp_path / "é"
        file.write_bytes(b"\xffabc")
        assert host.read(str(file)) == "�abc"
        assert (host.kind(str(file)), host.kind(str(tmp_path)), host.kind(str(tmp_path / "no"))) == (
            "file",
            "dir",
            None,
        )
        assert host.list(str(tmp_path)) == ["é"]
        assert host.list(str(file)) is None
        assert (host.read(str(tmp_path)), host.read(str(tmp_path / "no")), host.read("a\0b")) == (None, None, None)
        assert host.access(str(file), "r")
        assert not host.access(str(tmp_path / "no"), "r")
        assert host.free(str(tmp_path / "no" / "deeper")) == pytest.approx(host.free(str(tmp_path)), rel=0.1)

    def test_reading_stops_at_a_limit(self, tmp_path):
        (tmp_path / "big").write_bytes(b"x" * (READ_LIMIT + 10))
        assert len(Live().read(str(tmp_path / "big")) or "") == READ_LIMIT

    @POSIX
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert Live().read(str(tmp_path / "pipe")) is None
        assert Live().kind(str(tmp_path / "pipe")) == "other"
        assert Live().kind("/dev/null") == "device"

    @POSIX
    def test_links(self, tmp_path):
        (tmp_path / "link").symlink_to("nowhere")
        assert Live().link(str(tmp_path / "link")) == "nowhere"
        assert Live().link(str(tmp_path)) is None

    def test_programs(self):
        ran = Live().run([sys.executable, "-c", "print(1)"])
        assert (ran.ok, ran.out) == (True, "1\n")
        assert Live().run(["python"]).failure == "invalid"

    def test_a_script_that_is_none_of_ours(self):
        assert Live().script("../suite/worker")["error"]
        assert Live().python(sys.executable, "cli/__init__")["error"]

    def test_the_version_in_a_windows_binary(self, tmp_path):
        block = struct.pack("<IIIIII", 0xFEEF04BD, 0x10000, 14 << 16 | 44, 35211 << 16, 0, 0)
        (tmp_path / "msvcp140.dll").write_bytes(b"MZ" + b"\0" * 100 + block)
        (tmp_path / "other.dll").write_bytes(b"MZ")
        assert Live().version(str(tmp_path / "msvcp140.dll")) == "14.44.35211.0"
        assert Live().version(str(tmp_path / "other.dll")) is None

    @pytest.mark.skipif(sys.platform != "win32", reason="the registry is Windows'")
    def test_the_registry(self):
        known = Live().registry(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion")
        assert known
        assert known["values"]["CurrentBuild"].isdigit()
        assert Live().registry(r"HKLM\SOFTWARE\no such key") is None

    @pytest.mark.skipif(sys.platform == "win32", reason="there is a registry")
    def test_no_registry(self):
        assert Live().registry(r"HKLM\SOFTWARE") is None


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        (Ran(0, 'noise\x1etorchcheck {"a": 1}\nmore', ""), {"a": 1}),
        (Ran(0, '\x1etorchcheck {"a": 1}\n\x1etorchcheck {"a": 2}\n', ""), {"a": 2}),
        (Ran(-11, '\x1etorchcheck {"a": 1}\n', "boom"), {"a": 1, "ended": "crash", "code": -11, "detail": "boom"}),
        (Ran(0, "hello", ""), {"error": "garbage", "code": 0, "detail": "hello"}),
        (
            Ran(None, '\x1etorchcheck {"a"', "", "timeout"),
            {"error": "timeout", "code": None, "detail": 'torchcheck {"a"'},
        ),
        (Ran(0xC0000005, "", ""), {"error": "crash", "code": 0xC0000005, "detail": ""}),
        (Ran(None, "", "", "missing"), {"error": "missing", "code": None, "detail": ""}),
    ],
)
def test_picking_the_answer_out_of_what_was_printed(ran, expected):
    found = live.answer(ran)
    assert {name: value.strip() if name == "detail" else value for name, value in found.items()} == expected


def test_a_name_out_of_the_pci_id_database(tmp_path, monkeypatch):
    before, after = "# comment\n0fff  Before\n\t2684  wrong\n", "10df  After\n\t2685  wrong\n"
    text = f"{before}10de  NVIDIA Corporation\n\t2684  AD102 [GeForce RTX 4090]\n\t\t1043 889d  ROG\n{after}"
    (tmp_path / "pci.ids").write_text(text, encoding="utf-8")
    monkeypatch.setattr(live, "PCI_IDS", (tmp_path / "nothing", tmp_path / "pci.ids"))
    assert Live().pci_name("10de:2684") == "AD102 [GeForce RTX 4090]"
    assert Live().pci_name("10de:2685") is None
    assert Live().pci_name("ffff:2685") is None
    assert Live().pci_name("nonsense") is None
