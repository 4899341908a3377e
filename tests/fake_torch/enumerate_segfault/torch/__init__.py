"""Asking it for devices reads address 0, as with a broken driver."""

import ctypes
from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())


class cuda:  # noqa: N801 - as torch calls it
    @staticmethod
    def is_available():
        ctypes.string_at(0)
