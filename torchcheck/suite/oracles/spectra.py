"""Sound in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .linear import dft


def spectrogram(samples: Sequence[float], size: int, hop: int) -> list[float]:
    """Power of each frequency in frames of `size` under a periodic Hann window, centred, with reflected ends.

    Returns:
        Frequencies (size // 2 + 1) by frames (1 + len(samples) // hop), flat.
    """
    half = size // 2
    padded = [*samples[half:0:-1], *samples, *samples[-2 : -half - 2 : -1]]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / size) for i in range(size)]
    starts = range(0, len(samples) + 1, hop)
    frames = [dft([v * w for v, w in zip(padded[s : s + size], window)]) for s in starts]
    return [abs(frame[k]) ** 2 for k in range(half + 1) for frame in frames]
