"""What is installed beside torch and made for it: torchvision, torchaudio, NumPy. Each fails by its own name."""

from __future__ import annotations

import importlib
import io
import math
import tempfile
import wave
from pathlib import Path
from typing import Any

from ..context import Context
from ..oracles import boxes, spectra
from ..registry import check

HINT = "torchcheck install: it picks builds of torch, torchvision and torchaudio that belong together"


def _load(context: Context, name: str) -> Any:
    """Import a companion, or leave the rest to the check that says why it does not load."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a mismatched build raises ImportError, OSError, RuntimeError …
        package = name.partition(".")[0]
        context.skip(f"{package} does not load (see companions.{package}): {str(error).partition(chr(10))[0][:160]}")


def _loads(context: Context, name: str) -> None:
    import importlib.metadata  # 20 ms that a machine without companions saves

    context.hint = HINT
    installed = importlib.metadata.version(name)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a mismatched build raises ImportError, OSError, RuntimeError …
        torch = context.torch.__version__
        first = str(error).strip().partition("\n")[0]
        context.true(
            False, what=f"{name} {installed} loads beside torch {torch}", got=f"{type(error).__name__}: {first}"
        )
        return
    context.true(module.__file__, what=f"{name} {installed} loads beside torch {context.torch.__version__}")
    context.note(f"{name} {getattr(module, '__version__', installed)}")


@check(oracle="the import system", level="quick", devices="once", needs=("torchvision",))
def torchvision(context: Context) -> None:
    """The torchvision that is installed loads beside this torch, with its compiled operators."""
    _loads(context, "torchvision")
    ops = getattr(context.torch.ops, "torchvision", None)
    context.true(ops is not None and hasattr(ops, "nms"), what="torchvision's compiled operators are registered")


@check(oracle="the import system", level="quick", devices="once", needs=("torchaudio",))
def torchaudio(context: Context) -> None:
    """The torchaudio that is installed loads beside this torch."""
    _loads(context, "torchaudio")


@check(oracle="greedy suppression in plain Python", level="quick", needs=("torchvision",))
def torchvision_nms(context: Context) -> None:
    """Non-maximum suppression of torchvision keeps the boxes that it should."""
    ops = _load(context, "torchvision.ops")
    rng = context.rng()
    corners = [(rng.randint(0, 60), rng.randint(0, 60)) for _ in range(150)]
    found = [(float(x), float(y), float(x + rng.randint(4, 30)), float(y + rng.randint(4, 30))) for x, y in corners]
    scores = [(rng.randrange(10**6) * 150 + i) / 2**28 for i in range(150)]  # distinct: ties have no promised order
    # Threshold between two fractions of small whole numbers, so that no rounding decides.
    kept = ops.nms(context.tensor(found, dtype="float32"), context.tensor(scores, dtype="float32"), 0.4000001)
    context.exact(kept, boxes.suppress(found, scores, 0.4000001), what="kept boxes, best first")
    overlap = ops.box_iou(context.tensor(found[:20], dtype="float32"), context.tensor(found[20:50], dtype="float32"))
    context.close(
        overlap,
        [boxes.overlap(a, b) for a in found[:20] for b in found[20:50]],
        bound=2,  # areas are whole numbers: one division, and one rounding on the way
        what="intersection over union",
        dtype="float32",
    )


@check(oracle="bilinear sampling by its definition, in float64", needs=("torchvision",))
def torchvision_roi_align(context: Context) -> None:
    """Region alignment of torchvision samples as it should, forward and back."""
    ops = _load(context, "torchvision.ops")
    torch, rng = context.torch, context.rng()
    image = [[float(rng.randint(-9, 9)) for _ in range(16)] for _ in range(16)]
    regions = [(1.0, 2.0, 9.0, 12.0), (0.0, 0.0, 15.0, 15.0), (3.5, 4.25, 8.0, 7.75), (-2.0, 10.0, 6.0, 20.0)]
    x = context.tensor([[image]], dtype="float32", grad=True)
    rois = context.tensor([(0.0, *region) for region in regions], dtype="float32")
    got = ops.roi_align(x, rois, (4, 3), spatial_scale=1.0, sampling_ratio=2, aligned=True)
    expected, pulled = boxes.align(image, regions, 4, 3, 2)
    # Four samples a cell, each four products with two-factor weights, |pixel| <= 9: under 16 roundings of that size.
    context.close(got, expected, bound=16, cancel=9.0, dtype="float32", what="aligned regions")
    (gradient,) = torch.autograd.grad(got.sum(), x)
    context.close(gradient, pulled, bound=64, cancel=1.0, dtype="float32", what="gradient by the image")


@check(oracle="bilinear interpolation by its definition, in float64", needs=("torchvision",))
def torchvision_resize(context: Context) -> None:
    """Resizing, flipping and cropping of torchvision moves and mixes pixels as it should."""
    functional = _load(context, "torchvision.transforms.functional")
    rng = context.rng()
    image = [[float(rng.randint(0, 255)) for _ in range(9)] for _ in range(7)]
    x = context.tensor([image], dtype="float32")
    for height, width in ((14, 18), (5, 13)):
        got = functional.resize(x, [height, width], antialias=False)
        # Two linear mixes: six roundings of values up to 255, and source positions rounded in float32.
        context.close(
            got, boxes.resize(image, height, width), bound=64, cancel=255.0, dtype="float32", what=f"{height} x {width}"
        )
    context.exact(functional.hflip(x), [v for row in image for v in reversed(row)], what="flipped sideways")
    context.exact(functional.vflip(x), [v for row in reversed(image) for v in row], what="flipped upside down")
    context.exact(functional.crop(x, 2, 3, 4, 5), [v for row in image[2:6] for v in row[3:8]], what="cropped")


@check(oracle="zlib's own reading of the PNG, in plain Python", devices="cpu", needs=("torchvision",))
def torchvision_images(context: Context) -> None:
    """Images that torchvision writes can be read by others, and it reads them back unchanged."""
    images = _load(context, "torchvision.io")
    torch, rng = context.torch, context.rng()
    height, width = 13, 17
    pixels = [[[rng.randrange(256) for _ in range(width)] for _ in range(height)] for _ in range(3)]
    x = torch.tensor(pixels, dtype=torch.uint8)
    data = images.encode_png(x)
    flat = [v for channel in pixels for row in channel for v in row]
    context.exact(boxes.read_png(bytes(data.tolist())), flat, what="the PNG, read by plain Python")
    context.exact(images.decode_png(data), flat, what="the PNG, read back")
    smooth = torch.tensor([[[8 * i + 4 * j for j in range(width)] for i in range(height)]] * 3, dtype=torch.uint8)
    back = images.decode_jpeg(images.encode_jpeg(smooth, quality=100)).to(torch.int32)
    # At quality 100 the quantiser divides by 1: two transforms' and two colour conversions' roundings remain.
    off = (back - smooth.to(torch.int32)).abs().max().item()
    context.within(float(off), 3.0, what="largest change of a pixel by JPEG at quality 100", unit="levels")


@check(oracle="the short-time Fourier transform by its definition", devices="each", needs=("torchaudio",))
def torchaudio_spectrogram(context: Context) -> None:
    """The spectrogram of torchaudio is the power of the Fourier transform of windowed frames."""
    functional = _load(context, "torchaudio.functional")
    torch, rng = context.torch, context.rng()
    samples = [rng.randint(-100, 100) / 64 for _ in range(400)]
    x, window = context.tensor([samples], dtype="float32"), torch.hann_window(64, device=context.device)
    got = functional.spectrogram(x, 0, window, 64, 32, 64, power=2.0, normalized=False)
    expected = spectra.spectrogram(samples, 64, 32)
    # A frame's power is at most 64 times its energy; an FFT of 64 loses 6 log2(64) u of its norm, squared doubles it.
    context.close(got, expected, bound=80, cancel=max(expected), dtype="float32", what="power spectrogram")


@check(oracle="a tone stays the same tone at another rate", devices="each", needs=("torchaudio",))
def torchaudio_resample(context: Context) -> None:
    """Resampling by torchaudio keeps a tone's frequency, phase and height."""
    functional = _load(context, "torchaudio.functional")
    tone = [math.sin(2 * math.pi * 440 * i / 16000) for i in range(1600)]
    got = functional.resample(context.tensor([tone], dtype="float32"), 16000, 24000, lowpass_filter_width=64)
    expected = [math.sin(2 * math.pi * 440 * i / 24000) for i in range(2400)]
    inner = slice(200, 2200)  # the filter's ends see silence
    off = max(abs(g - e) for g, e in zip(context.values(got)[inner], expected[inner]))
    # A windowed sinc of 64 zero crossings leaves under 1e-3 in its pass band; half a sample's shift would be 0.06.
    context.within(off, 2e-3, what="largest departure from the tone", unit="of its height", expected=0.0)


@check(oracle="the standard library's `wave`", devices="cpu", needs=("torchaudio",))
def torchaudio_wav(context: Context) -> None:
    """A sound file written by torchaudio is read by others and back by itself."""
    audio = _load(context, "torchaudio")
    rng, torch = context.rng(), context.torch
    samples = [rng.randint(-32768, 32767) for _ in range(500)]
    x = torch.tensor([samples], dtype=torch.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tone.wav")
        try:
            audio.save(path, x, 16000, encoding="PCM_S", bits_per_sample=16)
            back, rate = audio.load(path, normalize=False)
        except (ImportError, RuntimeError, OSError) as error:
            # From 2.9 on torchaudio reads and writes through TorchCodec, which is a package of its own.
            context.skip(f"torchaudio {audio.__version__} has no way to write files here: {str(error)[:160]}")
        with wave.open(io.BytesIO(Path(path).read_bytes())) as file:
            data = file.readframes(file.getnframes())
        context.exact(
            [int.from_bytes(data[i : i + 2], "little", signed=True) for i in range(0, len(data), 2)],
            samples,
            what="read by `wave`",
        )
        context.exact(rate, 16000, what="rate")
        scale = 32768 if back.dtype.is_floating_point else 1
        context.exact([round(v * scale) for v in context.values(back)], samples, what="read back")


@check(oracle="the same memory, seen from both sides", level="quick", devices="cpu", needs=("numpy",))
def numpy(context: Context) -> None:
    """Tensors and NumPy arrays share memory both ways, bit for bit."""
    array = _load(context, "numpy")
    torch = context.torch
    context.hint = "this torch was built for another major version of NumPy: torchcheck install"
    for name in ("float64", "float32", "float16", "int64", "int32", "uint8", "bool"):
        made = array.arange(24).astype(name).reshape(2, 3, 4)
        context.exact(torch.from_numpy(made), made.reshape(-1).tolist(), what=f"{name} from NumPy")
        context.exact(
            torch.from_numpy(made).permute(2, 0, 1).numpy().tolist(),
            made.transpose(2, 0, 1).tolist(),
            what=f"{name}, permuted",
        )
    shared = torch.zeros(5)
    shared.numpy()[3] = 2.5
    context.exact(shared, [0.0, 0.0, 0.0, 2.5, 0.0], what="written by NumPy, seen by torch")
    context.exact(array.asarray(torch.arange(4)).tolist(), [0, 1, 2, 3], what="a tensor as an array")
    context.exact(torch.tensor(array.float32(0.1)).reshape(1), [float(array.float32(0.1))], what="a NumPy scalar")
