"""Tensors on a device: made, copied, converted and viewed exactly; memory, streams, peers and numeric libraries."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from .. import nvml
from ..context import Context
from ..oracles import linear
from ..registry import FLOATS, check

INTEGERS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-(2**15), 2**15 - 1), "int32": (-(2**31), 2**31 - 1)}
ODD = 4099  # a prime above a page of float32: full vectors, a tail, more than one block


@check(oracle="counting", level="quick")
def creation(context: Context) -> None:
    """New tensors hold what was asked for, on the device that was asked for."""
    torch, where = context.torch, {"device": context.device}
    made = {
        "zeros": (torch.zeros(3, 67, **where), [0.0] * 201),
        "ones": (torch.ones(ODD, **where), [1.0] * ODD),
        "full": (torch.full((2, 65), -2.5, **where), [-2.5] * 130),
        "arange": (torch.arange(7, ODD, 3, **where), list(range(7, ODD, 3))),
        "arange of float": (torch.arange(0.0, 8.0, 0.25, **where), [i / 4 for i in range(32)]),
        "linspace": (torch.linspace(-4.0, 4.0, 65, **where), [-4 + i / 8 for i in range(65)]),
        "eye": (torch.eye(5, 7, **where), [float(i == j) for i in range(5) for j in range(7)]),
        "empty": (torch.zeros(0, 3, **where).sum().reshape(1), [0.0]),
        "full_like": (torch.full_like(torch.zeros(9, **where), 3.0), [3.0] * 9),
        "tensor": (torch.tensor([[1, 2], [3, 4]], **where), [1, 2, 3, 4]),
    }
    for name, (tensor, expected) in made.items():
        context.exact(tensor, expected, what=name)
        context.exact(str(tensor.device).partition(":")[0], context.device.partition(":")[0], what=f"device of {name}")


@check(oracle="the bits that were sent", level="quick")
def copies(context: Context) -> None:
    """Every bit survives the way to the device and back, in every dtype."""
    torch, rng = context.torch, context.rng()
    words = [rng.getrandbits(63) - 2**62 for _ in range(ODD)]
    sent = torch.tensor(words, dtype=torch.int64)
    there = sent.to(context.device)
    context.exact(there, words, what="int64, there and back")
    context.exact(there.clone().cpu(), words, what="a copy on the device")
    context.exact(torch.empty_like(there).copy_(there), words, what="copy_ on the device")
    context.exact(there.to("cpu", non_blocking=False)[::7], words[::7], what="a strided piece of what came back")
    context.exact(there[::7].cpu(), words[::7], what="a strided piece, sent back")
    raw = sent.view(torch.uint8)
    for name in (*INTEGERS, "int64", *FLOATS, "complex64", "bool"):
        dtype = getattr(torch, name)
        if name == "float64" and context.device == "mps":
            continue  # Metal has no float64
        source = raw.to(torch.bool) if name == "bool" else raw.view(dtype)
        back = source.to(context.device).cpu()
        context.true(
            torch.equal(_bits(torch, back), _bits(torch, source)), what=f"the bits of {name}, NaN and subnormals too"
        )
        # torch.equal itself is judged by plain Python on a piece of it.
        context.exact(_bits(torch, back)[-64:], _bits(torch, source)[-64:].tolist(), what=f"the last bytes of {name}")


def _bits(torch: Any, tensor: Any) -> Any:
    return tensor.view(torch.uint8) if tensor.dtype != torch.bool else tensor.to(torch.uint8)


@check(oracle="rounding to nearest even, with `fractions` exact in Python", level="quick")
def conversions(context: Context) -> None:
    """Conversions between dtypes round, truncate and overflow as they should."""
    from ..compare import FORMATS

    rng = context.rng()
    numbers = [rng.uniform(-2, 2) * 2.0 ** rng.randint(-30, 17) for _ in range(500)]
    numbers += [
        s * v for s in (1, -1) for v in (0.0, 65504.0, 65519.0, 65520.0, 2.0**-24, 2.0**-25, 1 + 2.0**-11, 1e-40)
    ]
    single = [FORMATS["float32"].round(x) for x in numbers]
    source = context.tensor(single, dtype="float32")
    for name in ("bfloat16", "float16"):
        narrow = source.to(getattr(context.torch, name))
        rounded = [FORMATS[name].round(x) for x in single]
        flushed = context.device == "mps"  # Metal may flush subnormals (Metal Shading Language, 8.1)
        kept = [i for i, x in enumerate(rounded) if not flushed or abs(x) >= FORMATS[name].tiny or x == 0]
        context.exact([context.values(narrow)[i] for i in kept], [rounded[i] for i in kept], what=f"float32 to {name}")
        context.exact(
            [context.values(narrow.float())[i] for i in kept], [rounded[i] for i in kept], what=f"{name} to float32"
        )
    if context.device != "mps":
        wide = context.tensor(numbers, dtype="float64")
        context.exact(wide, numbers, what="float64")
        context.exact(wide.float(), single, what="float64 to float32")
        context.exact(source.double(), single, what="float32 to float64")
    whole = [x for x in single if abs(x) < 2**31]
    context.exact(
        context.tensor(whole, dtype="float32").to(context.torch.int32),
        [math.trunc(x) for x in whole],
        what="float32 to int32",
    )
    counts = [rng.randint(-(2**31), 2**31 - 1) for _ in range(300)]
    there = context.tensor(counts, dtype="int32")
    context.exact(there.float(), [FORMATS["float32"].round(float(n)) for n in counts], what="int32 to float32")
    context.exact(there.to(context.torch.uint8), [n % 256 for n in counts], what="int32 to uint8, modulo 256")
    context.exact(there.to(context.torch.bool), [n != 0 for n in counts], what="int32 to bool")
    context.exact(there.long() * 4, [n * 4 for n in counts], what="int64 beyond 32 bits")


@check(oracle="index arithmetic in Python", level="quick")
def views(context: Context) -> None:
    """Views address the elements that they should, and writing through one changes the original."""
    rows, columns = 37, 53
    flat = [float(i) for i in range(rows * columns)]
    base = context.tensor(flat, dtype="float32").reshape(rows, columns)
    table = [flat[i * columns : (i + 1) * columns] for i in range(rows)]
    seen = {
        "transpose": (base.t().contiguous(), [row[j] for j in range(columns) for row in table]),
        "transpose, copied by clone": (base.t().clone(), [row[j] for j in range(columns) for row in table]),
        "slice": (
            base[3:30:4, 2:50:5],
            [x for row in table[3:30:4] for x in row[2:50:5]],
        ),
        "expand": (base[:, :1].expand(rows, 3), [row[0] for row in table for _ in range(3)]),
        "as_strided": (
            base.as_strided((4, 5), (7, 3), 11),
            [flat[11 + 7 * i + 3 * j] for i in range(4) for j in range(5)],
        ),
        "diagonal": (base.diagonal(2), [table[i][i + 2] for i in range(rows)]),
        "unfold": (base[0].unfold(0, 5, 6), [x for i in range(0, columns - 4, 6) for x in table[0][i : i + 5]]),
        "permute": (
            base[:36].reshape(4, 9, columns).permute(2, 0, 1).contiguous(),
            [flat[(a * 9 + b) * columns + c] for c in range(columns) for a in range(4) for b in range(9)],
        ),
    }
    for name, (tensor, expected) in seen.items():
        context.exact(tensor, expected, what=name)
    base[5:7, ::2].fill_(-1.0)
    base.t()[1].add_(0.5)
    for i in (5, 6):
        table[i][::2] = [-1.0] * len(table[i][::2])
    for row in table:
        row[1] += 0.5
    context.exact(base, [x for row in table for x in row], what="the original, written to through views")


@check(oracle="the pattern that was written", timeout=300)
def memory(context: Context) -> None:
    """Memory holds what was written to it, and what was freed is given back."""
    torch = context.torch
    mebibytes = 16 if not context.at_least("full") else 512
    count = (mebibytes << 20) // 8
    allocated = getattr(torch.cuda, "memory_allocated", None) if context.device.startswith("cuda") else None
    before = allocated(context.device) if allocated else 0
    blocks = [torch.arange(count, dtype=torch.int32, device=context.device) for _ in range(2)]
    blocks[0].bitwise_xor_(0x55555555)  # every bit both ways, each word with its address
    blocks[1].bitwise_xor_(-1 ^ 0x55555555)
    wrong = (blocks[0] ^ blocks[1]).bitwise_not().count_nonzero().item()
    context.exact(wrong, 0, what=f"words of {mebibytes} MiB that differ from what was written")
    first = [(i ^ 0x55555555) for i in (0, 1, count - 1)]
    context.exact(blocks[0][[0, 1, count - 1]], first, what="first and last words")
    if allocated:
        context.within(float(allocated(context.device) - before), 8.1 * count + 4096, what="bytes taken", unit="bytes")
        del blocks
        context.exact(allocated(context.device), before, what="bytes still taken after freeing")


@check(oracle="the driver's own counters, before and after work")
def health(context: Context) -> None:
    """The GPU makes no memory errors under load, and has none from before to repair."""
    uuid = _uuid(context)
    torch = context.torch
    try:
        before = nvml.read(uuid)
    except nvml.NvmlError as error:
        context.skip(str(error))
    work = torch.ones(2048, 2048, device=context.device)
    for _ in range(50):
        work = (work @ work) / 2048
    torch.cuda.synchronize(context.device)
    after = nvml.read(uuid)
    context.hint = "reset the GPU or reboot; if it comes again, the vendor's diagnosis (dcgmi diag) and a replacement"
    context.exact(
        after.get("memory pages that wait for retirement", 0), 0, what="memory pages that wait for retirement"
    )
    for name in ("uncorrected memory errors", "corrected memory errors"):
        if name not in after:
            context.note(f"this GPU does not count {name}")
        elif name.startswith("un"):
            context.exact(after[name] - before[name], 0, what=f"{name} during this check")
            context.exact(after[name], 0, what=f"{name} since the driver was loaded")
        elif after[name]:
            context.note(f"{after[name]} {name} since the driver was loaded")
    slowed = nvml.throttles(after.get("throttle reasons", 0))
    context.note(f"{after.get('temperature', '?')} degrees, {after.get('clock', '?')} MHz after load")
    if slowed:
        context.note(f"throttled: {', '.join(slowed)}; results are right, speed is not")


def _uuid(context: Context) -> str:
    """Give the NVIDIA GPU's UUID as NVML writes it, or skip."""
    if not context.device.startswith("cuda") or getattr(context.torch.version, "hip", None):
        context.skip(f"no NVIDIA GPU is behind {context.device}")
    uuid = getattr(context.torch.cuda.get_device_properties(context.device), "uuid", None)
    if uuid is None:
        context.skip("this torch does not tell the GPU's UUID")
    return str(uuid) if str(uuid).startswith("GPU-") else f"GPU-{uuid}"


@check(oracle="the bits that were sent")
def pinned(context: Context) -> None:
    """Copies from and to pinned memory are whole, and asynchronous ones are when the device says so."""
    if not context.device.startswith(("cuda", "xpu")):
        context.skip(f"{context.device} has no pinned memory of its own")
    torch = context.torch
    words = torch.arange(1 << 20, dtype=torch.int32).pin_memory()
    context.true(words.is_pinned(), what="the memory is pinned")
    there = words.to(context.device, non_blocking=True)
    back = torch.empty(1 << 20, dtype=torch.int32).pin_memory()
    back.copy_(there * 2, non_blocking=True)
    _module(context).synchronize(context.device)
    context.exact(back[::1021], list(range(0, 2 << 20, 2042)), what="doubled there, and back")
    context.true(torch.equal(back, words * 2), what="every word")


@check(oracle="arithmetic on whole numbers, in the order that events ask for")
def streams(context: Context) -> None:
    """Streams keep their order, wait for each other's events, and events measure time."""
    if not context.device.startswith(("cuda", "xpu")):
        context.skip(f"{context.device} has no streams")
    torch, module = context.torch, _module(context)
    one, two = module.Stream(device=context.device), module.Stream(device=context.device)
    ready = module.Event()
    with module.stream(one):
        value = torch.ones(1 << 18, device=context.device)
        for _ in range(50):
            value = value + 1  # a new tensor each time, so that an early reader sees an old one
        ready.record(one)
    with module.stream(two):
        two.wait_event(ready)
        doubled = value * 2
        value.record_stream(two)
    two.synchronize()
    context.exact(
        [doubled.min().item(), doubled.max().item()], [102.0, 102.0], what="read after the other stream's event"
    )
    begin, end = module.Event(enable_timing=True), module.Event(enable_timing=True)
    begin.record()
    torch.ones(1 << 22, device=context.device).mul_(2).sum()
    end.record()
    end.synchronize()
    context.true(begin.elapsed_time(end) > 0, what="time passes between events")


@check(oracle="the bits that were sent", devices="cpu")
def peers(context: Context) -> None:
    """A tensor goes whole from every GPU to every other, whatever the way."""
    devices = _gpus(context)
    torch, count = context.torch, 1 << 18
    for source in devices:
        words = torch.arange(count, dtype=torch.int32, device=source)
        for target in devices:
            if target != source:
                moved = words.to(target)
                context.true(
                    torch.equal(moved.cpu(), torch.arange(count, dtype=torch.int32)), what=f"{source} to {target}"
                )
                context.exact(moved[::4099], list(range(0, count, 4099)), what=f"{source} to {target}, by Python")


@check(oracle="one GPU's bits are another's of the same model", devices="cpu")
def agreement(context: Context) -> None:
    """All GPUs of one model compute the same bits."""
    devices = _gpus(context)
    torch = context.torch
    a = torch.randn(512, 512)
    models: dict[str, tuple[str, list[float]]] = {}
    for device in devices:
        model = str(torch.cuda.get_device_name(device))
        x = a.to(device)
        got = context.values(torch.tanh(x @ x / 32).sum(0)) + context.values((x @ x).diagonal())
        first, expected = models.setdefault(model, (device, got))
        context.exact(got, expected, what=f"{device} against {first} ({model})")


def _gpus(context: Context) -> list[str]:
    from ..devices import present

    found = [device for device in present(context.torch) if device.startswith("cuda")]
    if len(found) < 2:
        context.skip(f"{len(found)} CUDA devices here: it takes two to compare")
    return found


def _module(context: Context) -> Any:
    return getattr(context.torch, context.device.partition(":")[0])


# Each library is told by what it does: BLAS multiplies, the convolution library convolves, LAPACK factors, FFT
# transforms. On a GPU that is cuBLAS, cuDNN, cuSOLVER and cuFFT, or what AMD, Intel and Apple have in their place.


@check(oracle="whole numbers, exact in any order", level="quick")
def blas(context: Context) -> None:
    """The BLAS multiplies matrices and vectors exactly, where exactness is possible."""
    rng = context.rng()
    a = [[float(rng.randint(-30, 30)) for _ in range(67)] for _ in range(35)]
    b = [[float(rng.randint(-30, 30)) for _ in range(33)] for _ in range(67)]
    product = linear.matmul(a, b)
    x, y, torch = context.tensor(a), context.tensor(b), context.torch
    context.exact(x @ y, linear.flat(product), what="matrix times matrix")
    context.exact(x @ y[:, 0], [row[0] for row in product], what="matrix times vector")
    context.exact(x[0].dot(y[:, 0].contiguous()), [product[0][0]], what="dot product")
    context.exact((y.t() @ x.t()).t(), linear.flat(product), what="transposed operands")
    stack = torch.stack([x, -x, 2 * x])
    batch = [value * k for k in (1, -1, 2) for value in linear.flat(product)]
    context.exact(torch.bmm(stack, y.expand(3, 67, 33)), batch, what="batch of matrices")
    context.exact(
        torch.baddbmm(torch.ones(3, 35, 33, device=context.device), stack, y.expand(3, 67, 33), beta=2),
        [v + 2 for v in batch],
        what="batch, added to a multiple",
    )
    ones = context.tensor([float(i % 5) for i in range(35)])
    context.exact(
        torch.addmv(ones, x, y[:, 1]),
        [i % 5 + row[1] for i, row in enumerate(product)],
        what="matrix times vector, added",
    )
    context.exact(torch.outer(x[:, 0], y[0]), [r[0] * v for r in a for v in b[0]], what="outer product")


@check(oracle="`fractions`: the exact solution")
def lapack(context: Context) -> None:
    """The LAPACK solves, inverts and factors: residuals are within backward error bounds."""
    torch, n = context.torch, 8
    dtype = "float32" if context.device == "mps" else "float64"
    rng = context.rng()
    matrix = [[float(rng.randint(-5, 5)) + (100.0 if i == j else 0.0) for j in range(n)] for i in range(n)]
    right = [[float(rng.randint(-9, 9))] for _ in range(n)]
    a = context.tensor(matrix, dtype=dtype)
    # Rows dominate their diagonal: off it at most 35, on it at least 95. So the condition in the infinity norm is at
    # most (105 + 35) / (95 - 35) < 4, growth at most 2, and 3 n u of backward error (Higham, ASNA, Theorems 9.4, 9.9)
    # become at most 24 n u of the largest entry.
    solution = linear.solve(matrix, right)
    size = max(abs(x) for x in solution)
    context.close(
        torch.linalg.solve(a, context.tensor(right, dtype=dtype)),
        solution,
        bound=24 * n,
        cancel=size,
        dtype=dtype,
        what="solve",
    )
    context.close(torch.linalg.det(a).reshape(1), [linear.determinant(matrix)], bound=24 * n, dtype=dtype, what="det")
    columns = [linear.solve(matrix, [[float(i == j)] for i in range(n)]) for j in range(n)]
    inverse = [columns[j][i] for i in range(n) for j in range(n)]
    context.close(torch.linalg.inv(a), inverse, bound=24 * n, cancel=max(map(abs, inverse)), dtype=dtype, what="inv")
    symmetric = linear.matmul(matrix, [list(column) for column in zip(*matrix)])
    s = context.tensor(symmetric, dtype=dtype)
    scale = max(map(abs, linear.flat(symmetric)))
    factors: dict[str, Callable[[], tuple[Any, Any]]] = {
        "svd": lambda: _joined(torch.linalg.svd(s), lambda u, d, v: (u * d) @ v),
        "qr": lambda: _joined(torch.linalg.qr(s), lambda q, r: q @ r),
        "eigh": lambda: _joined(torch.linalg.eigh(s), lambda d, v: (v * d) @ v.mT),
        "cholesky": lambda: _joined((torch.linalg.cholesky(s),), lambda c: c @ c.mT),
    }
    for name, factor in factors.items():
        try:
            product, basis = factor()
        except NotImplementedError as error:
            context.note(f"{name} is not there on {context.device}: {str(error)[:80]}")
            continue
        context.close(
            product, linear.flat(symmetric), bound=20 * n, cancel=scale, dtype=dtype, what=f"{name} multiplied out"
        )
        if basis is not None:
            identity = [float(i == j) for i in range(n) for j in range(n)]
            context.close(
                basis.mT @ basis,
                identity,
                bound=20 * n,
                cancel=1.0,
                dtype=dtype,
                what=f"{name}: the basis is orthonormal",
            )


def _joined(parts: Any, join: Callable[..., Any]) -> tuple[Any, Any]:
    """Multiply factors out again; give the product and the orthonormal factor among them, if there is one."""
    parts = tuple(parts)
    basis = {3: 0, 2: 1 if parts[0].dim() == 1 else 0, 1: None}[len(parts)]
    return join(*parts), None if basis is None else parts[basis]


@check(oracle="the discrete Fourier transform's definition, in float64", dtypes=("float64", "float32"))
def fft(context: Context) -> None:
    """The FFT is the Fourier transform, for lengths that are and are not powers of two, and back."""
    torch = context.torch
    for n in (8, 60, 64, 97):
        rng = context.rng(n)
        values = [float(rng.randint(-8, 8)) for _ in range(n)]
        expected = linear.dft(values)
        norm = math.sqrt(n * sum(v * v for v in values))
        x = context.tensor(values)
        got = torch.view_as_real(torch.fft.fft(x))
        # The error of an FFT in the 2-norm is below 5.4 u log2(n) (Higham, ASNA, Theorem 24.2); Bluestein's, for
        # primes, goes through three transforms of twice the length. It is absolute, in units of the result's norm.
        bound = 6.0 * math.log2(n) * (1 if n != 97 else 4)
        context.close(
            got,
            [part for z in expected for part in (z.real, z.imag)],
            bound=bound,
            cancel=norm / math.sqrt(n),
            what=f"fft of {n}",
        )
        half = torch.view_as_real(torch.fft.rfft(x))
        context.close(
            half,
            [p for z in expected[: n // 2 + 1] for p in (z.real, z.imag)],
            bound=bound,
            cancel=norm / math.sqrt(n),
            what=f"rfft of {n}",
        )
        context.close(
            torch.fft.irfft(torch.fft.rfft(x), n=n),
            values,
            bound=2 * bound,
            cancel=norm / n,
            what=f"there and back, {n}",
        )


@check(oracle="IEEE 754 patterns, packed by `struct`", level="quick", dtypes=FLOATS)
def bits(context: Context) -> None:
    """Numbers are held in the bit patterns of their format."""
    torch = context.torch
    values = [0.0, -0.0, 1.0, -1.5, context.format.tiny, context.format.largest, math.inf, -math.inf]
    integer, mask = {"float64": (torch.int64, 64), "float32": (torch.int32, 32)}.get(
        context.dtype_name or "", (torch.int16, 16)
    )
    got = [value & (2**mask - 1) for value in context.values(context.tensor(values).view(integer))]
    context.exact(
        got, [_pattern(value, context.dtype_name or "") for value in values], what="bit patterns", given=values
    )


def _pattern(value: float, name: str) -> int:
    if name == "bfloat16":
        return _pattern(value, "float32") >> 16
    code, integer = {"float64": ("<d", "<Q"), "float32": ("<f", "<I"), "float16": ("<e", "<H")}[name]
    return int(struct.unpack(integer, struct.pack(code, value))[0])
