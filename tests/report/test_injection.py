"""No field of a report becomes markup, an order to a terminal or a workflow command: it is only shown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from torchcheck.cli.output import show
from torchcheck.cli.reporting import FORMATS
from torchcheck.report.document import cleaned
from torchcheck.report.render import github, html, markdown
from torchcheck.report.render.terminal import reported, verified

PIECES = ["`", "``", "|", "\\", "\\|", "<b>", "</details>", "<!--", "-->", "]]>", "&amp;", "&#60;", "[x](http://y.z)"]
PIECES += [
    "![x](y)",
    "*",
    "**",
    "_",
    "~~",
    "# ",
    "\n",
    "\r\n",
    "\n\n",
    "- ",
    "1. ",
    "> ",
    "---",
    "@you",
    "#1",
    "$x$",
    "{{",
    "{%",
]
PIECES += [
    "<script>",
    "</script>",
    "</style>",
    "'",
    '"',
    " onload=x",
    "javascript:x",
    "https://a.b/c_d_e",
    "https://a.b/<x>",
]
PIECES += [
    "\x00",
    "\x1b[31m",
    "\x1b]8;;http://x\x07",
    "\x9b31m",
    "\u202e",
    "\u2066",
    "\ud800",
    "\x08",
    "\x7f",
    "\u2028",
]
PIECES += ["[red]", "[/]", "[link=http://x]", "::error::x", "\n::stop-commands::x", "%0A::debug::", "a", " ", "🔥", "é"]
hostile = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
PLAIN = "plain"


def data(said: str) -> dict[str, Any]:
    """A report in which every field that is free text says the same."""
    check = {"id": said, "title": said, "device": said, "dtype": said, "measured": 1.0, "bound": 2.0, "unit": said}
    check |= {"detail": said, "hint": said, "seconds": 0.1}
    row = {"rank": 0, "host": said, "device": said, "name": said, "uuid": said, "status": "fail", "ended": said}
    row |= {"not_passed": {said: "fail"}, "first_difference": said, "times_slower": None, "seconds": 1.0}
    diagnosis = {"code": said, "severity": "error", "title": said, "evidence": [said], "why": said, "fix": [said]}
    return {
        "facts": {said: {said: said, "list": [said], "deep": [{said: said}]}, "packages": {said: said}},
        "diagnoses": [{**diagnosis, "link": said}],
        "verify": {
            "verdict": "fail",
            "level": said,
            "devices": [said],
            "counts": {"fail": 1, "known": 1, "skip": 1},
            "seconds": 1.0,
            "torch": said,
            "notes": [said],
            "checks": [{**check, "status": status} for status in ("fail", "known", "skip")],
            "ranks": [row],
        },
    }


def differing(said: str) -> dict[str, Any]:
    row = {"path": said, "a": said, "b": [said], "weight": "telling", "note": said}
    return {"differences": [row]}


def blocks(text: str) -> list[str]:
    """The structure of Markdown as GitHub reads it, without the texts: what is a block, a cell, a span, an element."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    found: list[str] = []
    for token in tokens:
        found.append(token.type + ("" if token.type != "html_block" else token.content))
        for child in token.children or []:
            if child.type == "html_inline" and child.content not in ("<code>", "</code>"):
                found.append(child.content)
            elif child.type in ("image", "hardbreak", "softbreak") or (
                child.type == "link_open" and not str(child.attrs["href"]).startswith("https://a.b/")
            ):
                found.append(child.type)
    return found


@pytest.mark.parametrize(
    "render", [lambda said: FORMATS["markdown"](data(said)), lambda said: markdown.diff(differing(said))]
)
@settings(max_examples=50, deadline=None)
@given(said=hostile)
@example(said="a\\|b | c")
@example(said="`|`\\")
def test_markdown_keeps_its_structure(render: Callable[[str], str], said: str) -> None:
    assert blocks(render(said)) == blocks(render(PLAIN))


@settings(max_examples=50, deadline=None)
@given(said=hostile)
def test_what_markdown_shows_is_what_was_said(said: str) -> None:
    shown = " ".join(cleaned(said).split())
    for written in (markdown.text(said), markdown.code(said)):
        (paragraph,) = MarkdownIt("commonmark").parse("x " + written)[1:2]
        told = "".join(
            child.content for child in paragraph.children if child.type in ("text", "code_inline", "text_special")
        )
        assert told.replace("\u200b", "") == f"x {shown}".strip()


class Shape(HTMLParser):
    """Elements and their attributes, but for texts that are meant to be read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = [(k, None if k in ("aria-label", "data-topic") else v) for k, v in attrs if k != "content"]
        if not (tag == "a" and str(dict(attrs).get("href")).startswith("https://a.b/")):
            self.found.append((tag, kept))

    def handle_endtag(self, tag: str) -> None:
        if tag != "a":
            self.found.append(tag)


@settings(max_examples=20, deadline=None)
@given(said=hostile)
def test_the_page_keeps_its_elements(said: str) -> None:
    figures = {
        f"{said}/cpu": {said: [1.0, 2.0]},
        "rates.x.training/cpu": {"loss": {said: [1.0, 2.0], "theory": [1.0, 2.0]}},
    }
    plain = {
        f"{PLAIN}/cpu": {PLAIN: [1.0, 2.0]},
        "rates.x.training/cpu": {"loss": {PLAIN: [1.0, 2.0], "theory": [1.0, 2.0]}},
    }
    made = html.report(data(said), figures)
    made.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", made)
    topics = re.compile(r"rates x|elsewhere", re.IGNORECASE)
    assert Shape(topics.sub("", made)).found == Shape(topics.sub("", html.report(data(PLAIN), plain))).found


@settings(max_examples=20, deadline=None)
@given(said=hostile)
def test_a_terminal_is_told_nothing_but_our_colours(said: str) -> None:
    for items in (reported.report, reported.diff):
        console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard", highlight=False)
        show(console, items(cleaned({**data(said), **differing(said)}), True))
        text = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    console = Console(file=io.StringIO(), width=100, color_system=None, highlight=False)
    show(console, verified.verify(cleaned(data(said)["verify"]), True))
    assert "\x1b" not in console.file.getvalue()


@settings(max_examples=50, deadline=None)
@given(said=hostile)
def test_every_workflow_command_is_ours_and_one_line(said: str) -> None:
    lines = list(github.workflow_commands(data(said)["verify"]))
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning"]
    for line in lines:
        assert not re.search("[\r\n\x00\x1b]", line)
        head, _, _ = line.removeprefix("::").partition("::")
        assert re.fullmatch(r"(error|warning) title=[^,:]*", head)
    assert blocks(github.summary(data(said)["verify"])) == blocks(github.summary(data(PLAIN)["verify"]))
