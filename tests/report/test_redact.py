from __future__ import annotations

import datetime as dt
import html
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcheck.cli.reporting import FORMATS
from torchcheck.facts import from_json
from torchcheck.report import document
from torchcheck.report.redact import Identity, redact, redact_text
from torchcheck.report.render import github, junit

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
ANNA = Identity(users=("anna.müller", "art"), hosts=("bench-7",), homes=("/home/anna.müller", "C:\\Users\\art"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/home/anna.müller/.venv/bin/python", "~/.venv/bin/python"),
        ("C:\\Users\\art\\.venv\\Scripts\\python.exe", "~\\.venv\\Scripts\\python.exe"),
        ("c:/users/ART/venv", "~/venv"),
        ("the user art started on bench-7", "the user <user> started on <host>"),
        ("start artefact cart art-deco", "start artefact cart art-deco"),
        ("/srv/art/data", "/srv/<user>/data"),
        ("/home/somebody/else", "/home/<user>/else"),
        ("D:\\Users\\J Doe\\x", "D:\\Users\\<user>\\x"),
        ("https://u:p4ss@mirror.example.com/whl", "https://<credentials>@mirror.example.com/whl"),
        ("https://x.example/s?token=abcdef&a=1", "https://x.example/s?token=<secret>&a=1"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer <token>"),
        ("HF_TOKEN=hf_abcdefghijklmnopqrst", "HF_TOKEN=<secret>"),
        ("write to anna@example.org", "write to <email>"),
        ("GPU-8f3b1c2d-0000-1111-2222-333344445555", "GPU-<uuid>"),
        ("ghp_abcdefghijklmnop1234567890", "<token>"),
        ("torch 2.15.0+cu130 on Linux", "torch 2.15.0+cu130 on Linux"),
        ("32.0.15.8157", "32.0.15.8157"),
    ],
)
def test_what_identifies_goes_and_the_rest_stays(before: str, after: str) -> None:
    assert redact_text(before, ANNA) == after


def test_a_user_called_like_a_word_of_the_report_does_not_ruin_it() -> None:
    data = {
        "system": {"os": "linux"},
        "python": {"executable": "/home/linux/.venv/bin/python"},
        "packages": {"torch": "2.0"},
    }
    told = redact(data, Identity(users=("linux", "torch", "root"), homes=("/root",)))
    assert told["system"]["os"] == "linux"
    assert told["packages"] == {"torch": "2.0"}
    assert told["python"]["executable"] == "/home/<user>/.venv/bin/python"


def test_values_of_members_named_like_secrets_go() -> None:
    told = redact({"env": {"MY_API_KEY": "1234", "PATH": "/bin"}}, Identity())
    assert told == {"env": {"MY_API_KEY": "<redacted>", "PATH": "/bin"}}


# Long and odd enough that a page's own words and styles cannot contain one by chance.
names = st.text(st.characters(categories=("L", "N")), min_size=3, max_size=12).map("qzx".__add__)
names = names.filter(lambda s: s.casefold() == s.lower())
around = st.sampled_from(
    ["{}", "/home/{}/x", "user {} said", "C:\\Users\\{}\\venv", "https://{}:pw@host.example/", "a/{}/b", "({})"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(name=names, frame=around, other=JSON)
def test_no_name_survives_in_any_format_and_the_report_still_parses(name: str, frame: str, other: object) -> None:
    identity = Identity(users=(name,), homes=(f"/home/{name}",))
    secret = frame.format(name)
    facts = {
        "python": {"executable": secret, "in_path_order": [secret]},
        "packages": {"torch": "2.0", secret: "1"},
        "env": {"LD_LIBRARY_PATH": secret},
        "unheard_of": other if name.lower() not in json.dumps(other).lower() else None,
    }
    diagnosis = {
        "code": "x",
        "severity": "note",
        "title": "t",
        "evidence": [secret],
        "why": secret,
        "fix": [secret],
        "link": "",
    }
    check = {
        "id": "a.b",
        "title": "t",
        "device": "cpu",
        "dtype": None,
        "status": "fail",
        "measured": None,
        "bound": None,
    }
    check |= {"unit": None, "detail": secret, "hint": secret, "seconds": 0.0}
    verify = {"verdict": "fail", "level": "quick", "devices": ["cpu"], "counts": {"fail": 1}, "seconds": 1.0}
    verify |= {"torch": "2.0", "notes": [secret], "checks": [check]}
    told = redact(document.report(facts, [diagnosis], verify), identity)
    shown = [FORMATS[form](told) for form in ("text", "markdown", "html")]
    shown.append(json.dumps(json.loads(FORMATS["json"](told)), ensure_ascii=False))
    shown += [junit.verification(told["verify"], NOW), github.summary(told["verify"])]
    shown += list(github.workflow_commands(told["verify"]))
    assert all(name.lower() not in unescaped(text).lower() for text in (*shown, *strings(told)))
    assert from_json(json.loads(document.dump(document.envelope("report", told, 0)))).packages


def unescaped(text: str) -> str:
    """Undo what the formats escape, so that a name cannot hide behind it."""
    return html.unescape(text.replace("\\", ""))


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*map(str, value), *(s for v in value.values() for s in strings(v))]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


@given(JSON)
def test_structure_and_numbers_stay(value: object) -> None:
    def shape(v: object) -> object:
        if isinstance(v, dict):
            return [shape(x) for x in v.values()]
        return [shape(x) for x in v] if isinstance(v, list) else type(v)

    if not any("key" in s.lower() for s in strings(value)):
        assert json.dumps(shape(value), default=str) == json.dumps(shape(redact(value, Identity())), default=str)
