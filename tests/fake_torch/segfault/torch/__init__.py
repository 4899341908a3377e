"""Its kernel reads address 0."""

import ctypes
from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())


def kernel(values):
    print("about to read address 0", flush=True)
    ctypes.string_at(0)
