"""Its kernel never returns."""

import time
from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())


def kernel(values):
    while True:
        time.sleep(60)
