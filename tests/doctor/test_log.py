"""Any text can be read: of any size, encoding, colour and line end."""

from __future__ import annotations

import io

import pytest

from torchcheck.doctor import diagnose
from torchcheck.doctor.log import HEAD, TAIL, read
from torchcheck.facts import Facts

ERROR = "OSError: [WinError 1455] Die Auslagerungsdatei ist zu klein, um diesen Vorgang durchzuführen."


def first(log) -> str:
    return diagnose(Facts(), log)[0].code


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp850"])
def test_bytes_of_any_encoding(encoding):
    data = f"Traceback (most recent call last):\r\n{ERROR}\r\n".encode(encoding)
    if encoding == "utf-16-be":
        data = b"\xfe\xff" + data
    assert first(data) == "win-paging-file"
    assert first(io.BytesIO(data)) == "win-paging-file"


def test_an_open_text_file_and_pieces_of_text():
    assert first(io.StringIO(ERROR)) == "win-paging-file"
    assert first([ERROR[:20], ERROR[20:]]) == "win-paging-file"


def test_colours_progress_bars_and_line_ends_are_removed():
    log = read("\x1b[31mERROR\x1b[0m\r\n 10%\r 20%\r\x1b[2K\x1b]8;;https://x\x07done\x1b]8;;\x07\u00a0\x00")
    assert log.text == "ERROR\n 10%\n 20%\ndone "


def test_a_text_of_a_hundred_megabytes_keeps_its_ends_and_its_errors():
    noise = "step 12345: loss 0.123 and nothing to see in this line at all\n" * 16_000
    pieces = [
        ERROR + "\n",
        *[noise] * 50,
        "ImportError: libcudnn.so.9: cannot open shared object file\n",
        *[noise] * 50,
        "bye\n",
    ]
    assert sum(map(len, pieces)) > 90_000_000
    log = read(pieces)
    assert log.cut
    assert len(log.text) < 2 * (HEAD + TAIL)
    assert log.text.startswith(ERROR)
    assert "libcudnn.so.9: cannot open" in log.text
    assert log.text.endswith("bye\n")


def test_an_endless_line_is_cut():
    log = read("x" * 5_000_000 + " [WinError 1455]")
    assert len(log.text) < 10_000
    assert "[WinError 1455]" in log.text


def test_a_repeated_message_does_not_push_out_the_others():
    flood = "ERROR: something harmless happened again\n" * 100_000
    log = read([flood, "RuntimeError: operator torchvision::nms does not exist\n", flood])
    assert "torchvision::nms" in log.text


HOSTILE = [
    "[WinError 126" * 300_000,
    "(from versions: 1.0, " * 200_000,
    "pip/_vendor/" * 300_000 + "\nMemoryError",
    "Uninstalling torch-2.0+cu118\n" * 100_000 + "Successfully installed x",
    'File "/a/site-packages/torch/x.py"\n' * 100_000,
    "\x1b[" * 1_000_000,
    "((((((((((" * 400_000,
    "undefined symbol: _Z" + "a" * 4_000_000,
    "GPU 0: " * 500_000,
    "\\" * 4_000_000,
    "[pip3] torch==" * 300_000,
    "\n" * 4_000_000,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_takes_long(text):
    assert diagnose(Facts(), text)
