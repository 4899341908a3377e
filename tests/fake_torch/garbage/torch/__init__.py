"""Its kernel prints on stdout, from Python and past it, what looks like the protocol; it works."""

import os
from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())


def kernel(values):
    print("} garbage {", end="")
    os.write(1, b'{"event": "bye", "poisoned": null}\n\xff\xfe\n')
    return Tensor([2.0 * value for value in values])  # noqa: F821 - of the sound one
