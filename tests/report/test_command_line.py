"""The command of a plan can be pasted into the shell of the machine that the plan is for."""

from __future__ import annotations

import shlex

import pytest

from torchcheck.report.render.terminal.elements import command_line


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("/a b/python", "-m", "pip", "install", "numpy<2"), '"/a b/python" -m pip install "numpy<2"'),
        (("C:\\env\\python.exe", "-m", "pip", "install", "numpy<2"), 'C:\\env\\python.exe -m pip install "numpy<2"'),
        (("C:\\Jörg Ä\\python.exe", "-m", "pip"), '& "C:\\Jörg Ä\\python.exe" -m pip'),
        (("C:\\a$b c's\\python.exe", "x,y"), "& 'C:\\a$b c''s\\python.exe' \"x,y\""),
        (("\\\\server\\share d\\python.exe", "@x"), '& "\\\\server\\share d\\python.exe" "@x"'),
    ],
)
def test_words_are_quoted_for_their_shell(argv: tuple[str, ...], line: str) -> None:
    assert command_line(argv) == line
    if argv[0].startswith("/"):
        assert shlex.split(line) == list(argv)
