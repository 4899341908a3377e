"""Its kernel leaves the accelerator's context unusable until the process ends."""

from pathlib import Path

# All the rest is as in the sound one.
_sound = Path(__file__).resolve().parents[2] / "sound" / "torch" / "__init__.py"
exec(compile(_sound.read_text(encoding="utf-8"), str(_sound), "exec"), globals())

__version__ = "2.99.0+cu130"
_lost = False


class cuda:  # noqa: N801 - as torch calls it
    @staticmethod
    def is_available():
        return True

    @staticmethod
    def device_count():
        return 1


def tensor(values, dtype=None):
    if _lost:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return Tensor(values)  # noqa: F821 - of the sound one


def kernel(values):
    global _lost  # noqa: PLW0603
    _lost = True
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA")
