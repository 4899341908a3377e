"""Its kernel calls abort()."""

import os
import sys
from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())


def kernel(values):
    print("terminate called without an active exception", file=sys.stderr, flush=True)
    os.abort()
