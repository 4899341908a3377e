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
CURVES_ALONE = "header, nav, main > section:not(:has(#pictures)) { display: none } #pictures { margin-top: 1.5rem }"
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


def page(python: str) -> None:
    """Verify, write the page, and photograph its top and its curves."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium to photograph the page with: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "page.html")
        subprocess.run(
            [*TOOL, "verify", "-q", "--python", python, "--html", str(file)], check=True, capture_output=True
        )
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
        argv = [chromium, *flags.split(), "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        curves = pathlib.Path(folder, "curves.html")
        curves.write_text(file.read_text(encoding="utf-8").replace("</style>", f"{CURVES_ALONE}</style>", 1), "utf-8")
        for shown, height in ((file, 820), (curves, 1000)):
            shot = [f"--window-size=1100,{height}", f"--screenshot={PICTURES / shown.stem}.png", shown.as_uri()]
            subprocess.run([*argv, *shot], check=True, capture_output=True)


def main() -> None:
    """Make them all."""
    (python,) = sys.argv[1:]
    PICTURES.mkdir(exist_ok=True)
    recorded = pathlib.Path(__file__).parent.parent / "tests" / "machines" / "windows-gtx1080-without-nvml.json"
    machine = pathlib.Path(tempfile.mkdtemp(), "gtx-1080.json")
    facts = json.loads(recorded.read_text(encoding="utf-8"))["expect"]
    facts["system"] = {"os": "windows", "name": "Windows 11", "machine": "x86_64", **facts.get("system", {})}
    facts["python"] = {"version": "3.12.8", "implementation": "cpython", "bits": 64, **facts.get("python", {})}
    machine.write_text(json.dumps(facts))
    terminal("plan", "torchcheck plan --machine gtx-1080.json", "plan", "--machine", str(machine))
    log = pathlib.Path(tempfile.mkdtemp(), "error.txt")
    log.write_text("RuntimeError: operator torchvision::nms does not exist\n")
    terminal(
        "doctor", "torchcheck doctor --log error.txt", "doctor", "--python", python, "--log", str(log), python=python
    )
    page(python)


if __name__ == "__main__":
    main()
