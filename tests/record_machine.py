"""Record this machine: `python tests/record_machine.py NAME "what it is" [PYTHON]` writes tests/machines/NAME.json.

Questions and answers are kept as they were, less what is private: the home folder, the host's name, the user's name,
environment variables that no probe shows, and long lists of equal processors. Look at the file before you share it, and
trim its `expect` to what makes this machine worth a test.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

from torchcheck.facts import to_json
from torchcheck.host import Host, Recording
from torchcheck.live import Live
from torchcheck.probes import probe
from torchcheck.probes.env import allowed, without_credentials
from torchcheck.target import find


def record(host: Host, python: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Probe through a recording; the answers and the facts."""
    recording = Recording(host)
    facts = to_json(probe(recording, find(recording, python), torch="metadata"))
    return recording.answers, facts


def scrub(text: str, machine: dict[str, Any], python: str) -> str:
    """Replace what names a person or a place, in JSON text."""
    home, prefix = str(machine["home"]), str(Path(python).parent.parent)
    own, here = str(machine["prefix"]), str(machine["cwd"])
    public = {
        prefix: "/home/user/project/.venv",
        own: "/home/user/torchcheck",
        here: "/home/user/project",
        home: "/home/user",
    }
    for private, shown in public.items():
        text = text.replace(json.dumps(private)[1:-1], shown)
    for word in {socket.gethostname(), Path(home).name} - {"", "root", "home"}:
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", "user", text)
    return text


def shorten(answers: dict[str, Any]) -> dict[str, Any]:
    """Drop private variables and repeated processors."""
    kept = {}
    for question, answer in answers.items():
        if question == "environ":
            kept[question] = {name: without_credentials(value) for name, value in answer.items() if allowed(name)}
        elif question.startswith("env ") and answer is not None:
            kept[question] = without_credentials(answer)
        elif question == "read /proc/cpuinfo":
            kept[question] = "\n\n".join(answer.split("\n\n")[:2]) + "\n"
        elif answer is not None:
            kept[question] = answer
    return kept


def main(name: str, about: str, python: str | None = None) -> None:
    """Write the file."""
    answers, facts = record(Live(), python)
    machine = answers["machine"]
    document = {"about": about, "answers": shorten(answers), "expect": facts}
    text = scrub(json.dumps(document, indent=1, ensure_ascii=False), machine, facts["python"]["executable"])
    (Path(__file__).parent / "machines" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
