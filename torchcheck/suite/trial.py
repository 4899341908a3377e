"""Running one item and making its result: what was measured against what was allowed, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import random
import re
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import known, precision
from .context import Context, Skip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from .compare import Comparison
    from .plan import Item

Result = dict[str, Any]
PACKAGE = __name__.rpartition(".")[0]

# A kernel that a torch never had is no defect of the machine: ATen's wording for a dtype, the backends' for an op, and
# gloo's for a collective or a dtype that only later versions have.
_LACKING = re.compile(
    r"not implemented for '(?:Half|BFloat16|Complex\w+|Bool|Byte|Char|Short)'"
    r"|not currently (?:implemented|supported) (?:for|on) the (?:MPS|XPU) "
    r"|no support for \w+ in Gloo|ProcessGroup\w+ does not support \w+|Backend gloo ?does not support \w+"
    r"|^RuntimeError: Invalid scalar type$"
    r"|Could not run '[\w:.]+' with arguments from the '(?:MPS|XPU|PrivateUse1)' backend"
)
# After these the context of the process is lost: every later call fails, whatever it is (CUDA Runtime API, error
# codes 700-719: "this leaves the process in an inconsistent state").
_STICKY = re.compile(
    r"illegal memory access|device-side assert|unspecified launch failure|misaligned address|illegal instruction"
    r"|invalid program counter|hardware stack error|launch timed out|uncorrectable ECC|HSA_STATUS_ERROR|DEVICE_LOST"
    r"|CUDA error: unknown error",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


def run(item: Item, torch: Any, job: Mapping[str, Any]) -> Result:
    """Run one item and give its result; never raises what the check raised, but for KeyboardInterrupt."""
    context = Context(
        torch,
        ident=item.check.id,
        device=item.device,
        dtype=item.dtype,
        level=job["level"],
        seed=job["seed"],
        options=job.get("options", {}),
    )
    began = time.perf_counter()
    result = _outcome(item, context)
    result["seconds"] = round(time.perf_counter() - began, 6)
    if context.notes:
        result["detail"] = "; ".join([*filter(None, [result["detail"]]), *context.notes])
    if context.figures:
        result["figures"] = context.figures
    return {**blank(item), **result}


def blank(item: Item, status: str = "skip", detail: str = "") -> Result:
    """Give a result in which nothing was measured."""
    return {
        **{key: value for key, value in item.as_json().items() if key != "timeout"},
        "status": status,
        "measured": None,
        "bound": None,
        "unit": None,
        "detail": detail,
        "hint": None,
        "seconds": 0.0,
    }


def poisoned(result: Result) -> bool:
    """Say whether a result's error leaves this process unable to use its accelerator."""
    return result["status"] in ("fail", "error") and bool(_STICKY.search(result["detail"]))


def _outcome(item: Item, context: Context) -> Result:
    missing = _missing(item.check.needs, context.torch)
    if missing:
        return {"status": "skip", "detail": missing}
    if context.torch is not None:
        lacking = _lacking_dtype(context)
        if lacking:
            return {"status": "skip", "detail": lacking}
        _settle(context)
    try:
        with _precision(item, context):
            item.check.run(context)
    except Skip as skip:
        # What was compared before the check gave up still counts when it was wrong.
        if not any(not comparison.ok for comparison in context.comparisons):
            return {"status": "skip", "detail": str(skip)}
    except Exception as error:  # noqa: BLE001 - a check may raise anything; its result says what
        return _raised(context, error)
    return _judge(item, context)


def _missing(needs: tuple[str, ...], torch: Any) -> str:
    for name in needs:
        if name.startswith("torch."):
            if not _has(torch, name.split(".")[1:]):
                return f"this torch ({torch.__version__}) has no {name}"
        elif importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return ""


def _has(torch: Any, parts: list[str]) -> bool:
    there, path = torch, "torch"
    for part in parts:
        path += "." + part
        if not hasattr(there, part):
            try:
                importlib.import_module(path)
            except ImportError:
                return False
        there = getattr(there, part)
    return True


_dtypes: dict[tuple[str, str], str] = {}


def _lacking_dtype(context: Context) -> str:
    """Say why the device cannot hold this dtype, or "" when it can; asked once for each pair."""
    if context.dtype_name is None:
        return ""
    pair = (context.device, context.dtype_name)
    if pair not in _dtypes:
        _dtypes[pair] = ""
        try:
            context.torch.zeros(1, dtype=context.dtype).to(context.device)
        except (TypeError, RuntimeError, AttributeError) as error:
            if not _STICKY.search(str(error)):
                _dtypes[pair] = f"{context.device} has no {context.dtype_name}: {_first_line(error)}"
    return _dtypes[pair]


def _settle(context: Context) -> None:
    """Begin every check from the same state, whatever the one before it left behind."""
    torch, seed = context.torch, context.rng("torch").getrandbits(62)
    random.seed(seed)
    # torch.manual_seed keeps a stack for each backend that is not in use yet: a millisecond, two thousand times.
    cpu = context.device == "cpu" and hasattr(torch, "default_generator")
    seeded = torch.default_generator if cpu else torch
    for owner, call, argument in (
        (seeded, "manual_seed", seed),
        (torch, "set_grad_enabled", True),
        (torch, "set_default_dtype", context.float32),
    ):
        if hasattr(owner, call):
            getattr(owner, call)(argument)


def _precision(item: Item, context: Context) -> contextlib.AbstractContextManager[None]:
    """Compute float32 in float32 where an accelerator's libraries do not by default: cuDNN's convolutions take TF32."""
    if item.device == "cpu" or item.check.lax or not hasattr(context.torch, "backends"):
        return contextlib.nullcontext()
    return precision.full(context.torch)


def _judge(item: Item, context: Context) -> Result:
    if not context.comparisons:
        return {"status": "error", "detail": "this check compared nothing, so it proves nothing"}
    failures = [comparison for comparison in context.comparisons if not comparison.ok]
    worst = max(context.comparisons, key=lambda comparison: (not comparison.ok, comparison.strain))
    rows = known.applicable(
        item.check.id, version=str(context.torch and context.torch.__version__), device=item.device, dtype=item.dtype
    )
    result: Result = {"measured": worst.measured, "bound": worst.bound, "unit": worst.unit}
    if not failures:
        return {**result, "status": "pass", "detail": _passed(context.comparisons, worst, rows)}
    explained = known.explain(failures, rows)
    if explained:
        return {**result, "status": "known", "detail": _known(explained, worst), "hint": explained[0].advice}
    return {**result, "status": "fail", "detail": _failed(failures, worst), "hint": context.hint}


def _passed(comparisons: list[Comparison], worst: Comparison, rows: list[known.Defect]) -> str:
    count = sum(comparison.elements for comparison in comparisons)
    text = f"{count} numbers compared; nearest to its bound: {worst.what}"
    return text + "".join(f"; the known defect '{row.why}' does not show here" for row in rows)


def _known(rows: list[known.Defect], worst: Comparison) -> str:
    told = " ".join(f"{row.why}{f' ({row.link})' if row.link else ''}." for row in rows)
    return f"known defect of this torch: {told} Seen here: {describe(worst)}"


def _failed(failures: list[Comparison], worst: Comparison) -> str:
    others = [failure.what for failure in failures if failure is not worst]
    more = f"; also wrong: {', '.join(others[:4])}" if others else ""
    return describe(worst) + more + (f" and {len(others) - 4} more" if len(others) > 4 else "")


def describe(comparison: Comparison) -> str:
    """Say what was expected, what came, how far off that is, and which input shows it."""
    c = comparison
    if not c.elements:
        return f"{c.what}: nothing to compare"
    at = f" at element {c.where} of {c.elements}" if c.where is not None and c.elements > 1 else ""
    given = f" (input {_shown(c.given)})" if c.given is not None else ""
    counts = f"; {c.wrong} of {c.elements} wrong" if c.elements > 1 and c.wrong else ""
    off = "" if c.unit == "elements" else f", off by {c.measured:.4g} {c.unit} where {c.bound:.4g} is allowed"
    return f"{c.what}: expected {_shown(c.expected)}, got {_shown(c.got)}{at}{given}{off}{counts}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:297] + "..."


def _raised(context: Context, error: Exception) -> Result:
    """Judge an exception: torch's own is a failure of torch, ours an error of the check."""
    text = f"{type(error).__name__}: {error}".strip()
    frames = list(traceback.walk_tb(error.__traceback__))
    if _LACKING.search(text):
        return {"status": "skip", "detail": f"this torch lacks a kernel: {_first_line(error)}"}
    if "Numpy is not available" in text and not importlib.util.find_spec("numpy"):
        return {"status": "skip", "detail": "torch does this by way of NumPy, which is not installed"}
    detail = f"{text[:800]} (raised at {_places(frames)})"
    if _MEMORY.search(text) or isinstance(error, MemoryError):
        return {"status": "error", "detail": detail, "hint": "free memory on this device and run verify again"}
    status = "fail" if _of_torch(frames, error) else "error"
    return {"status": status, "detail": detail, "hint": context.hint}


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(PACKAGE)


def _of_torch(frames: list[tuple[FrameType, int]], error: Exception) -> bool:
    """Say whether torch raised it: in its own Python code, or from C++ called by a check."""
    last = frames[-1][0]
    if not _is_ours(last):
        return True
    in_oracle = ".oracles." in str(last.f_globals.get("__name__"))
    return not in_oracle and isinstance(error, (RuntimeError, NotImplementedError, ImportError, OSError))


def _places(frames: list[tuple[FrameType, int]]) -> str:
    """Name the innermost line of all and the innermost of ours."""
    shown = [*frames[-1:], *[place for place in frames if _is_ours(place[0])][-1:]]
    named = [f"{Path(f.f_code.co_filename).name}:{line} in {f.f_code.co_name}" for f, line in shown]
    return ", from ".join(dict.fromkeys(named))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
