"""Make the README's pictures anew from real runs: `python .ci/pictures.py PYTHON_WITH_TORCH`.

The terminal pictures are what the commands print, as SVG; the page is photographed by headless Chromium.
"""

from __future__ import annotations

import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.text import Text

PICTURES = pathlib.Path(__file__).parent.parent / ".github" / "pictures"
TOOL = [sys.executable, "-m", "torchcheck"]
WIDTH = 100
# rich refers to a font on another server in what it exports; a picture in a README loads nothing.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def terminal(name: str, shown: str, *words: str, python: str = "") -> None:
    """Run a command as in a terminal and draw what it printed; `python` is shown as the usual `.venv`."""
    env = {"COLUMNS": str(WIDTH), "PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir(), "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run([*TOOL, *words, "--color", "always"], capture_output=True, text=True, check=False, env=env)
    said = ran.stdout.replace(python, ".venv/bin/python") if python else ran.stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), shown))
    console.print(Text.from_ansi(said.rstrip()))
    svg = FONT.sub("", console.export_svg(title="torchcheck"))
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


def page(name: str, python: str) -> None:
    """Verify, write the page, and photograph its top."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium to photograph the page with: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "page.html")
        subprocess.run(
            [*TOOL, "verify", "-q", "--python", python, "--html", str(file)], check=True, capture_output=True
        )
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
        argv = [chromium, *flags.split(), f"--user-data-dir={folder}/profile", "--window-size=1100,900"]
        subprocess.run([*argv, f"--screenshot={PICTURES / name}.png", file.as_uri()], check=True, capture_output=True)


def main() -> None:
    """Make them all."""
    (python,) = sys.argv[1:]
    PICTURES.mkdir(exist_ok=True)
    recorded = pathlib.Path(__file__).parent.parent / "tests" / "machines" / "windows-gtx1080-without-nvml.json"
    machine = pathlib.Path(tempfile.mkdtemp(), "gtx-1080.json")
    machine.write_text(json.dumps(json.loads(recorded.read_text(encoding="utf-8"))["expect"]))
    terminal("plan", "torchcheck plan --machine gtx-1080.json", "plan", "--machine", str(machine))
    log = pathlib.Path(tempfile.mkdtemp(), "error.txt")
    log.write_text("RuntimeError: operator torchvision::nms does not exist\n")
    terminal(
        "doctor", "torchcheck doctor --log error.txt", "doctor", "--python", python, "--log", str(log), python=python
    )
    page("page", python)


if __name__ == "__main__":
    main()
