"""Defects of torch itself that the suite hits: shown as `known`, with a link, so that no machine is accused of them.

A row turns exactly the comparison that it describes into a known defect; any other failure of the same check stays a
failure. Where a row applies and nothing failed, the result says so: the defect is gone from this torch.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .compare import Comparison


@dataclass(frozen=True)
class Defect:
    """One documented defect.

    Attributes:
        check: glob over check ids.
        why: what torch does wrong, in one sentence.
        advice: what a user does about it.
        link: where it is documented; "" when no report was found.
        since: first version that has it; "" for "as far back as we know".
        fixed: first version without it; "" while none is known.
        dtypes: dtype names, or () for all.
        devices: device types ("cpu", "cuda"), or () for all.
        what: glob over the comparison's `what`.
        at_most: largest `measured` that this defect explains.
    """

    check: str
    why: str
    advice: str
    link: str = ""
    since: str = ""
    fixed: str = ""
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    what: str = "*"
    at_most: float = float("inf")


DEFECTS: tuple[Defect, ...] = (
    Defect(
        "distributed.layouts",
        "gloo takes a strided tensor's memory for dense: it reduces and overwrites what lies between its elements",
        "hand collectives .contiguous() tensors, and copy the result back",
        "https://github.com/pytorch/pytorch/issues/192920",
        devices=("cpu",),
        what="every third element*",
    ),
    Defect(
        "attention.nan",
        "scaled_dot_product_attention on the CPU turns a query row of NaN into zeros, which hides a diverged model",
        "check inputs with torch.isnan, or use torch.nn.attention.sdpa_kernel(SDPBackend.MATH) while looking for NaN",
        "https://github.com/pytorch/pytorch/issues/141128",
        since="2.2",
        devices=("cpu",),
        what="a NaN query row",
    ),
    Defect(
        "variations.batch_norm_rows.varies",
        "the gradient of batch normalisation of rows (N, C) reads a strided weight on the CPU as if it were dense",
        "keep the weight of a BatchNorm contiguous: .contiguous() of a view before it becomes the parameter",
        devices=("cpu",),
        what="gradient by input 0, weights *",
    ),
    Defect(
        "upstream.gelu.arrives",
        "the gradient of GELU on the CPU reads a gradient laid out otherwise than its input as if it were dense",
        "use torch 2.4 or later, or gelu(x).contiguous() where what follows is a transpose or channels last",
        fixed="2.4",
        devices=("cpu",),
        what="gradient by input 0, coming *",
    ),
    Defect(
        "offsets.norms",
        "group normalisation of a channels-last image on the CPU takes the mean of squares less the square of the mean"
        " for the variance, which has no digit left where the mean is a thousand times the deviation",
        "use .contiguous() before a GroupNorm whose input may lie far from zero",
        link="https://github.com/pytorch/pytorch/issues/54293",
        dtypes=("float64", "float32"),
        devices=("cpu",),
        what="*group_norm, channels last",
    ),
    Defect(
        "normalisation.single_element",
        "LayerNorm over a single element gives its weight a gradient of rounding noise where there is none",
        "leave the weight out (elementwise_affine=False): over one element it does nothing",
        "https://github.com/pytorch/pytorch/issues/188375",
        what="gradient by the weight",
        at_most=0.1,
    ),
    Defect(
        "activations.hardsigmoid.backward",
        "the float64 gradient of Hardsigmoid multiplies by 1/6 rounded to float32 (3e-8 relative)",
        "train in float32, where it is exact, or write clamp(x + 3, 0, 6) / 6 where float64 matters",
        dtypes=("float64",),
        devices=("cpu",),
        what="gradient*",
        at_most=3e8,
    ),
    Defect(
        "activations.celu.*",
        "the float64 gradient of CELU multiplies by 1/alpha rounded to float32 (up to 6e-8 relative)",
        "train in float32, where it is exact, or write the formula out where float64 matters",
        dtypes=("float64",),
        devices=("cpu",),
        what="gradient*alpha*",
        at_most=3e8,
    ),
    Defect(
        "activations.hardswish.specials",
        "the gradient of Hardswish is -1/2 at -3 and 3/2 at 3, where the documented formula has 0 and 1",
        "use torch 2.8 or later, where the boundaries are right; it matters where inputs are exactly 3 or -3",
        "https://github.com/pytorch/pytorch/issues/147801",
        fixed="2.8",
        what="gradient at kinks*",
    ),
    Defect(
        "activations.softshrink.specials",
        "Softshrink turns NaN into 0, which hides a diverged model",
        "use torch 2.6 or later, or check inputs with torch.isnan",
        "https://github.com/pytorch/pytorch/issues/138385",
        fixed="2.6",
        what="special values*",
    ),
    # Checks that go through the dtypes themselves, at the full level.
    Defect(
        "activations.hardsigmoid.*",
        "the float64 gradient of Hardsigmoid multiplies by 1/6 rounded to float32 (3e-8 relative)",
        "train in float32, where it is exact, or write clamp(x + 3, 0, 6) / 6 where float64 matters",
        devices=("cpu",),
        what="float64 gradient*",
        at_most=3e8,
    ),
    Defect(
        "optimizers.sgd.half",
        "the fused SGD for float16 and bfloat16 on the CPU updates no full SIMD block: most lanes stay as they were",
        "leave out fused=True for SGD in half precision, or use torch 2.14 or later",
        link="https://github.com/pytorch/pytorch/issues/191763",
        since="2.4",
        fixed="2.14",
        dtypes=("bfloat16", "float16"),
        devices=("cpu",),
        what="fused, *",
    ),
    Defect(
        "optimizers.sgd.attendance",
        "fused SGD with momentum raises where a parameter has its first gradient later than others (unfrozen layers)",
        "leave out fused=True, or put layers that are unfrozen later into a parameter group of their own",
        since="2.4",
        what="fused: a step in which some have a gradient for the first time*",
    ),
    Defect(
        "optimizers.*.layouts",
        "fused optimizers on the CPU go through memory without looking at strides: where a gradient is laid out"
        " otherwise than its parameter, or a parameter has gaps, lanes get each other's gradients",
        "leave out fused=True on the CPU, or keep parameters and gradients contiguous",
        dtypes=("float32",),
        devices=("cpu",),
        what="fused, * parameter, plain gradient, *",
    ),
    Defect(
        "optimizers.adafactor.mixed",
        "Adafactor takes the machine epsilon of the first parameter's dtype for all parameters of a group",
        "give Adafactor eps=(a number, 1e-3), or a group for each dtype",
        since="2.5",
        what="*beside its own optimizer",
    ),
    Defect(
        "optimizers.nadam.resumes_single",
        "NAdam.load_state_dict casts its product of momenta, kept in float32, to the dtype of the parameter: training"
        " resumed in half precision differs from training that went on",
        "keep master weights in float32, or set state['mu_product'] back to its saved value after loading",
        dtypes=("bfloat16", "float16"),
    ),
    Defect(
        "optimizers.asgd.resumes_single",
        "ASGD.load_state_dict casts its rate and its share, kept in float32, to the dtype of the parameter: training"
        " resumed in half precision differs from training that went on",
        "keep master weights in float32",
        dtypes=("bfloat16", "float16"),
    ),
    Defect(
        "optimizers.adagrad.added",
        "Adagrad makes its state when it is built: a parameter group that is added later cannot be stepped",
        "give Adagrad all its groups when it is built",
        link="https://github.com/pytorch/pytorch/issues/53712",
        fixed="2.13",
        what="the added group can be stepped",
    ),
    Defect(
        "schedules.*.tensor_rate",
        "schedulers take a learning rate that is a tensor for their initial rate without copying it, and write into it",
        "give the optimizer its rate as a number",
        link="https://github.com/pytorch/pytorch/issues/162359",
        fixed="2.13",
        what="rate of group *",
    ),
    Defect(
        "optimizers.asgd.*",
        "the foreach form of ASGD computed its rate with another formula, and its decay from another step",
        "use foreach=False for ASGD, or torch 2.4 or later",
        link="https://github.com/pytorch/pytorch/pull/125440",
        fixed="2.4",
        what="foreach, *",
    ),
    Defect(
        "optimizers.adagrad.*",
        "the foreach form of Adagrad kept its rate in float32, also for float64 parameters",
        "use foreach=False for Adagrad where float64 matters",
        fixed="2.4",
        dtypes=("float64",),
        what="foreach, *",
        at_most=1e9,
    ),
    Defect(
        "matmul.accumulates",
        "the dot product of bfloat16 vectors on the CPU was summed in bfloat16, where 256 + 1 is 256",
        "use torch 2.4 or later, or dot in float32",
        fixed="2.4",
        dtypes=("bfloat16",),
        devices=("cpu",),
        what="dot of *",
    ),
    *(
        Defect(
            "accumulation.sums.widens",
            "norms of half precision on the CPU, and bfloat16 sums over several dims, were added up in half precision",
            "use torch 2.4 or later, or take them in float32",
            fixed="2.4",
            dtypes=("bfloat16", "float16"),
            devices=("cpu",),
            what=what,
        )
        for what in ("vector_norm*", "pairwise_distance", "sum over two dims")
    ),
    Defect(
        "offsets.norms",
        "the gradient of group normalisation without weights was NaN or noise for bfloat16 on the CPU",
        "use torch 2.4 or later, or give it weights",
        fixed="2.4",
        dtypes=("bfloat16",),
        devices=("cpu",),
        what="gradient of group_norm*",
    ),
    Defect(
        "variations.group_norm.lowers",
        "the gradient of group normalisation of a channels-last image was NaN or noise for bfloat16 on the CPU",
        "use torch 2.4 or later, or .contiguous() before it",
        fixed="2.4",
        dtypes=("bfloat16",),
        devices=("cpu",),
        what="gradient*channels last",
    ),
    Defect(
        "pairs.masks",
        "the fast path of MultiheadAttention (eval without gradients) took masks of numbers for masks of truths",
        "use torch 2.4 or later, or give both masks as bool",
        fixed="2.4",
        what="*of numbers*, eval under *",
    ),
    Defect(
        "offsets.neighbours",
        "the magnitude of complex numbers on the CPU overflowed and underflowed with the squares of their parts",
        "use torch 2.4 or later, or scale complex numbers before abs",
        fixed="2.4",
        devices=("cpu",),
        what="magnitude of complex numbers *",
    ),
    Defect(
        "offsets.moments",
        "the mean of float16 numbers on the CPU was infinite where their sum overflows",
        "use torch 2.4 or later, or take the mean in float32",
        fixed="2.4",
        dtypes=("float16",),
        devices=("cpu",),
        what="mean of columns",
    ),
    Defect(
        "reductions.constants",
        "the mean of float16 numbers on the CPU was infinite where their sum overflows",
        "use torch 2.4 or later, or take the mean in float32",
        fixed="2.4",
        dtypes=("float16",),
        devices=("cpu",),
        what="mean of numbers whose sum overflows",
    ),
)


def version_of(text: str) -> tuple[int, ...]:
    """Read the release numbers of a version: "2.13.0+cpu" gives (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def applicable(
    ident: str, *, version: str, device: str, dtype: str | None, table: Iterable[Defect] = DEFECTS
) -> list[Defect]:
    """Find the rows that speak of this check on this device in this torch."""
    release = version_of(version)
    return [
        row
        for row in table
        if fnmatch.fnmatchcase(ident, row.check)
        and (not row.dtypes or dtype in row.dtypes)
        and (not row.devices or device.partition(":")[0] in row.devices)
        and (not row.since or release >= version_of(row.since))
        and (not row.fixed or release < version_of(row.fixed))
    ]


def explain(failures: Sequence[Comparison], rows: Sequence[Defect]) -> list[Defect] | None:
    """Give the rows that explain every failure, or None when one of them is not explained."""
    used: list[Defect] = []
    for failure in failures:
        row = next((r for r in rows if fnmatch.fnmatchcase(failure.what, r.what) and _covers(r, failure)), None)
        if row is None:
            return None
        if row not in used:
            used.append(row)
    return used


def _covers(row: Defect, failure: Comparison) -> bool:
    return failure.measured <= row.at_most or row.at_most == float("inf")
