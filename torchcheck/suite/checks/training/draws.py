"""Draws of every law, number by number: what a seed stands for on the CPU is known beforehand.

Two laws have another way inside Intel's library, which takes one word of the generator for a seed of its own: how far a
draw moved the generator tells which way was taken, whatever the numbers are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...oracles import generator
from ...registry import check
from .randomness import TWISTER, deviation

if TYPE_CHECKING:
    import random

    from ...context import Context

COUNT = 1500  # beyond the 1,000 from which kernels are cut up, and no multiple of 16


def _after(context: Context, seed: int, call: Callable[[], Any]) -> tuple[Any, float]:
    """Draw after a seed; give the numbers and what `rand` gives next."""
    context.torch.manual_seed(seed)
    made = call()
    return made, float(context.torch.rand(1))


def _seeded(context: Context) -> int:
    return context.rng().getrandbits(31)


@check(oracle=TWISTER, level="quick", devices="cpu", dtypes=("float32",))
def draws(context: Context) -> None:
    """exponential_, cauchy_, geometric_, log_normal_, uniform_, normal_ and bernoulli are the twister's numbers."""
    torch, seed, n = context.torch, _seeded(context), COUNT

    def empty(*shape: int) -> Any:
        return torch.empty(*(shape or (n,)))

    def source() -> random.Random:
        return generator.twister(seed)

    u, v = generator.uniform32(source(), n), generator.uniform64(source(), n)
    normals = generator.pairs(source(), n)
    # Each is one logarithm, tangent or exponential of a number that is rounded to float32 once.
    for name, call, right in (
        ("exponential_(2)", lambda: empty().exponential_(2.0), [-math.log1p(-x) / 2 for x in v]),
        ("exponential_()", lambda: empty().exponential_(), [-math.log1p(-x) for x in v]),
        ("cauchy_(1, 2)", lambda: empty().cauchy_(1.0, 2.0), [1 + 2 * math.tan(math.pi * (x - 0.5)) for x in v]),
        ("geometric_(0.3)", lambda: empty().geometric_(0.3), [math.ceil(math.log(x) / math.log1p(-0.3)) for x in v]),
        ("log_normal_(0.25, 0.5)", lambda: empty().log_normal_(0.25, 0.5), [math.exp(0.25 + x / 2) for x in normals]),
        ("uniform_(-3, 5)", lambda: empty().uniform_(-3.0, 5.0), [8 * x - 3 for x in u]),
        ("normal_(1, 2) of few", lambda: empty(15).normal_(1.0, 2.0), [1 + 2 * x for x in normals[:15]]),
        ("torch.normal of few", lambda: torch.normal(1.0, 2.0, (15,)), [1 + 2 * x for x in normals[:15]]),
    ):
        got, _ = _judged(context, seed, call, len(right))
        if got is not None:
            size = [1 + abs(x) for x in right] if name.startswith("cauchy") else 4.0
            context.close(got, [float(x) for x in right], bound=8.0, cancel=size, what=name)
    for p in (0.3, 0.5, 0.9):
        ones = [float(x < p) for x in v]
        for name, call in (
            (f"bernoulli_({p})", lambda p=p: empty().bernoulli_(p)),
            (f"bernoulli_({p}) of bytes", lambda p=p: torch.empty(n, dtype=torch.uint8).bernoulli_(p)),
        ):
            got, _ = _judged(context, seed, call, n)
            if got is not None:
                context.exact(got, ones, what=name)
        chances = torch.full((n,), p)
        right = [float(x < chance) for x, chance in zip(u, context.values(chances))]
        for name, call in (
            (f"torch.bernoulli of {p}", lambda chances=chances: torch.bernoulli(chances)),
            (f"bernoulli_ of a tensor of {p}", lambda chances=chances: empty().bernoulli_(chances)),
        ):
            context.exact(_after(context, seed, call)[0], right, what=name)
    whole = [math.floor(x * 2**24) for x in u]
    own = torch.Generator()
    own.manual_seed(seed)
    context.exact(torch.rand(n, generator=own), [w / 2**24 for w in whole], what="rand of a generator of one's own")


def _judged(context: Context, seed: int, call: Callable[[], Any], count: int) -> tuple[Any, bool]:
    """Draw; None when another library drew, which moved the generator by one word."""
    made, following = _after(context, seed, call)
    source = generator.twister(seed)
    second = generator.uniform32(source, 2)[1]
    if following == second and count > 1:
        context.note("a library of its own drew this law: judged by its law elsewhere")
        return None, False
    return made, True


@check(oracle=TWISTER, level="quick", devices="cpu")
def choices(context: Context) -> None:
    """randint of every range, randperm of many, multinomial with and without replacement are the twister's."""
    torch, seed = context.torch, _seeded(context)

    def source() -> random.Random:
        return generator.twister(seed)

    weights = [1.0, 2.0, 0.0, 5.0, 0.5, 3.0, 1.0]
    given = torch.tensor(weights)
    wide = (-5, 2**40)
    for name, call, right in (
        (
            "randint(3, 17)",
            lambda: torch.randint(3, 17, (501,)),
            [3 + x for x in generator.integers(source(), 501, 14)],
        ),
        ("randint(-2, 2)", lambda: torch.randint(-2, 2, (501,)), [x - 2 for x in generator.integers(source(), 501, 4)]),
        ("randint of 2**40", lambda: torch.randint(*wide, (501,)), generator.wide_integers(source(), 501, *wide)),
        ("random_(10)", lambda: torch.empty(501).random_(10), generator.integers(source(), 501, 10)),
        ("randperm(2003)", lambda: torch.randperm(2003), generator.permutation(source(), 2003)),
        (
            "multinomial, 501 times",
            lambda: torch.multinomial(given, 501, True),
            generator.chosen(source(), weights, 501),
        ),
        ("multinomial, 1", lambda: torch.multinomial(given, 1), generator.ranked(source(), weights, 1)),
        ("multinomial, 4", lambda: torch.multinomial(given, 4), generator.ranked(source(), weights, 4)),
        (
            "multinomial, all",
            lambda: torch.multinomial(given + 1, 7),
            generator.ranked(source(), [w + 1 for w in weights], 7),
        ),
    ):
        if name.startswith("multinomial, ") and "times" not in name and _by_library(context, seed):
            continue
        context.exact(_after(context, seed, call)[0], right, what=name)
    torch.manual_seed(seed)
    rows = torch.multinomial(torch.tensor([weights] * 400), 3)
    context.true(all(len(set(row)) == 3 and 2 not in row for row in rows.tolist()), what="rows without repetition")
    heads = [row[0] for row in torch.multinomial(torch.tensor([weights] * 4000), 2).tolist()]
    for i, w in enumerate(weights):
        p = w / sum(weights)
        sigma = math.sqrt(max(p * (1 - p), 1e-12) / 4000)
        deviation(context, heads.count(i) / 4000, p, sigma, f"share of weight {w:g} among firsts")


def _by_library(context: Context, seed: int) -> bool:
    """Say whether exponential numbers, which rank what is drawn without replacement, come from Intel's library."""
    torch = context.torch
    _, following = _after(context, seed, lambda: torch.empty(7).exponential_())
    return following == generator.uniform32(generator.twister(seed), 2)[1]


@check(oracle=TWISTER, level="quick", devices="cpu")
def halves_of_pairs(context: Context) -> None:
    """A generator's state holds the second of a pair of normal numbers that was not used yet, and the place exactly."""
    torch, seed = context.torch, _seeded(context)
    right = generator.pairs(generator.twister(seed), 8)
    torch.manual_seed(seed)
    first = context.values(torch.empty(3).normal_())
    state, own = torch.get_rng_state(), torch.Generator()
    own.set_state(state)
    rest = context.values(torch.empty(5).normal_())
    context.close(first + rest, right, bound=8.0, cancel=4.0, what="three and five normal numbers")
    torch.manual_seed(seed + 1)
    torch.set_rng_state(state)
    context.exact(torch.empty(5).normal_(), rest, what="five after set_rng_state")
    context.exact(torch.empty(5).normal_(generator=own), rest, what="five of another generator with that state")
    torch.manual_seed(seed)
    context.exact(torch.empty(3).normal_(), first, what="manual_seed forgets the half of a pair")
    source = generator.twister(seed)
    generator.uniform32(source, 700)
    torch.manual_seed(seed)
    torch.rand(700)
    kept = torch.get_rng_state()
    following = generator.uniform32(source, 9)
    context.exact(torch.rand(9), following, what="rand after 700 numbers")
    torch.set_rng_state(kept)
    context.exact(torch.rand(9), following, what="rand after the state of that place")
    clone = torch.default_generator.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.rand(5)
        torch.empty(3).normal_()
    context.exact(torch.get_rng_state(), context.values(clone), what="state after fork_rng")


@check(oracle=TWISTER, level="quick", devices="cpu", dtypes=("float32",))
def dropped(context: Context) -> None:
    """Dropout of any kind keeps what the twister says and scales it exactly: elements, channels, in place."""
    torch, seed = context.torch, _seeded(context)
    functional = torch.nn.functional
    x = torch.tensor(context.rng("x").choices((-3.0, -2.0, 1.0, 5.0), k=480))
    for p in (0.25, 0.5):
        if _judged(context, seed, functools.partial(torch.empty(480).bernoulli_, 1 - p), 480)[0] is None:
            context.skip("draws of another sequence here: masks are judged by their law elsewhere")
        keep = [float(u < 1 - p) / (1 - p) for u in generator.uniform64(generator.twister(seed), 480)]
        values = context.values(x)
        right = [v * k for v, k in zip(values, keep)]
        for name, call in (
            ("dropout", lambda p=p: functional.dropout(x, p)),
            ("torch.dropout", lambda p=p: torch.dropout(x, p, True)),
            ("dropout in place", lambda p=p: functional.dropout(x.clone(), p, inplace=True)),
            ("nn.Dropout", lambda p=p: torch.nn.Dropout(p)(x)),
        ):
            context.close(_after(context, seed, call)[0], right, bound=2.0, what=f"{name}, p={p}")
        image = x.reshape(4, 12, 2, 5)
        mask = keep[:48]
        by_channel = [v * mask[i // 10] for i, v in enumerate(values)]
        for name, call in (
            ("dropout2d", lambda p=p, image=image: functional.dropout2d(image, p)),
            ("nn.Dropout2d", lambda p=p, image=image: torch.nn.Dropout2d(p)(image)),
            ("dropout1d", lambda p=p: functional.dropout1d(x.reshape(4, 12, 10), p)),
            ("dropout3d", lambda p=p: functional.dropout3d(x.reshape(4, 12, 1, 2, 5), p)),
        ):
            context.close(_after(context, seed, call)[0], by_channel, bound=2.0, what=f"{name}, p={p}")
        # What is dropped becomes SELU's -alpha'; an affine map keeps mean 0 and variance 1 (Klambauer et al. 2017).
        alpha = -1.7580993408473766
        a = 1 / math.sqrt((alpha * alpha * p + 1) * (1 - p))
        kept = [k > 0 for k in keep]
        for name, call, chosen in (
            ("alpha_dropout", lambda p=p: functional.alpha_dropout(x, p, training=True), kept),
            (
                "feature_alpha_dropout",
                lambda p=p, image=image: functional.feature_alpha_dropout(image, p, training=True),
                [mask[i // 10] > 0 for i in range(480)],
            ),
        ):
            moved = [a * (v if k else alpha) - a * alpha * p for v, k in zip(values, chosen)]
            context.close(_after(context, seed, call)[0], moved, bound=16.0, cancel=8.0, what=f"{name}, p={p}")
