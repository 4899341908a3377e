"""Boxes and pixels in plain Python: overlap and suppression, bilinear sampling, and a reader of PNG files."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence

Box = tuple[float, float, float, float]
Image = Sequence[Sequence[float]]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def suppress(found: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Greedy non-maximum suppression: indices of the boxes kept, best first."""
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: -scores[i]):
        if all(overlap(found[i], found[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def _weights(y: float, x: float, height: int, width: int) -> list[tuple[int, int, float]]:
    """Pixels and weights of a bilinear sample; none when it lies more than a pixel outside (as RoIAlign has it)."""
    if not (-1.0 <= y <= height and -1.0 <= x <= width):
        return []
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    return [
        (top, left, (1 - dy) * (1 - dx)),
        (top, right, (1 - dy) * dx),
        (down, left, dy * (1 - dx)),
        (down, right, dy * dx),
    ]


def align(
    image: Image, regions: Sequence[Box], rows: int, columns: int, samples: int
) -> tuple[list[float], list[float]]:
    """RoIAlign (He et al. 2017, arXiv:1703.06870) with aligned pixel centres; and its gradient by the image.

    Returns:
        The averages, one region after the other, and what each pixel adds to their sum; both flat.
    """
    height, width = len(image), len(image[0])
    averages: list[float] = []
    pulled = [[0.0] * width for _ in range(height)]
    for x1, y1, x2, y2 in regions:
        tall, wide = (y2 - y1) / rows, (x2 - x1) / columns
        for i in range(rows):
            for j in range(columns):
                total = 0.0
                for s in range(samples):
                    for t in range(samples):
                        y = y1 - 0.5 + tall * (i + (s + 0.5) / samples)
                        x = x1 - 0.5 + wide * (j + (t + 0.5) / samples)
                        for row, column, weight in _weights(y, x, height, width):
                            total += weight * image[row][column]
                            pulled[row][column] += weight / samples**2
                averages.append(total / samples**2)
    return averages, [value for row in pulled for value in row]


def resize(image: Image, height: int, width: int) -> list[float]:
    """Bilinear resizing with pixel centres at halves and edges repeated, without antialiasing; flat."""
    tall, wide = len(image) / height, len(image[0]) / width
    made: list[float] = []
    for i in range(height):
        for j in range(width):
            y, x = max((i + 0.5) * tall - 0.5, 0.0), max((j + 0.5) * wide - 0.5, 0.0)
            made.append(sum(w * image[r][c] for r, c, w in _weights(y, x, len(image), len(image[0]))))
    return made


def read_png(data: bytes) -> list[int]:
    """Pixels of an 8-bit RGB or grey PNG that is not interlaced (ISO/IEC 15948), channel after channel; flat."""
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    channels = {0: 1, 2: 3}[colour]
    at, packed = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    rows = _unfilter(zlib.decompress(packed), width * channels, height, channels)
    return [row[channels * x + c] for c in range(channels) for row in rows for x in range(width)]


def _unfilter(raw: bytes, stride: int, height: int, step: int) -> list[list[int]]:
    rows: list[list[int]] = []
    above = [0] * stride
    for y in range(height):
        kind, *line = raw[y * (stride + 1) : (y + 1) * (stride + 1)]
        for x in range(stride):
            left = line[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            guess = (0, left, above[x], (left + above[x]) // 2, _paeth(left, above[x], corner))[kind]
            line[x] = (line[x] + guess) % 256
        rows.append(line)
        above = line
    return rows


def _paeth(left: int, up: int, corner: int) -> int:
    """Give the neighbour that is nearest to left + up - corner (ISO/IEC 15948, 9.4)."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
