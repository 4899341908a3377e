"""What it costs to say hello: modules are counted, seconds are for tests/bench."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "torch",
    "rich",
    "psutil",
    "packaging",
    "asyncio",
    "importlib.metadata",
    "subprocess",
    "jinja2",
    "pygal",
    "filelock",
}
HEAVY |= {"platformdirs", "junitparser", "pynvml", "dataclasses", "json", "tempfile", "ssl", "socket", "email"}
SHOW = """
import sys
import torchcheck.cli
try:
    torchcheck.cli.main(sys.argv[1:])
except SystemExit:
    print("|".join(sorted(sys.modules)), file=sys.stderr)
"""


def modules(*words: str) -> tuple[set[str], str]:
    ran = subprocess.run(
        [sys.executable, "-c", SHOW, *words],
        capture_output=True,
        encoding="locale",
        check=True,
        timeout=60,
    )
    return set(ran.stderr.strip().rpartition("\n")[2].split("|")), ran.stdout


def test_help_loads_nothing_heavy() -> None:
    loaded, out = modules("--help")
    assert "Usage: torchcheck" in out
    assert not {name for name in loaded if name in HEAVY or name.split(".")[0] in HEAVY}
    expected = {"torchcheck", "torchcheck.cli", "torchcheck.cli.options"}
    expected |= {f"torchcheck.cli.{name}" for name in ("diff", "doctor", "install", "plan", "report", "verify")}
    assert {name for name in loaded if name.startswith("torchcheck")} == expected


def test_version_is_a_literal() -> None:
    loaded, out = modules("--version")
    assert out.startswith("torchcheck, version 0.")
    assert "importlib.metadata" not in loaded
