"""Random numbers: the sequence that a seed stands for, the laws they follow, the state that can be kept."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from operator import mul
from typing import TYPE_CHECKING, Any

from ...oracles import generator
from ...oracles.activations import normal_cdf
from ...pattern import raw_bytes
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

TWISTER = "Mersenne Twister MT19937 in plain Python"
# Deviations allowed, in standard deviations: 7.5 is exceeded by a sound generator once in 1e13 comparisons.
SIGMAS = 7.5
COUNT = 2**18


def deviation(context: Context, found: float, right: float, sigma: float, what: str) -> None:
    """Compare a mean with its expectation."""
    context.within(abs(found - right) / sigma, SIGMAS, what=what, unit="standard deviations", expected=right, got=found)


def moments(context: Context, numbers: Sequence[float], law: tuple[float, float, float, float], what: str) -> None:
    """Compare mean and variance with those of a law: (mean, variance, third and fourth central moments)."""
    n = len(numbers)
    mean, variance, _, fourth = law
    deviation(context, math.fsum(numbers) / n, mean, math.sqrt(variance / n), f"mean of {what}")
    squares = math.fsum(map(mul, numbers, numbers)) / n
    # Around the known mean: E (x - m)^2 = E x^2 - 2 m E x + m^2.
    spread = squares - 2 * mean * math.fsum(numbers) / n + mean * mean
    deviation(context, spread, variance, math.sqrt((fourth - variance**2) / n), f"variance of {what}")


def floats(tensor: Any) -> array[float]:
    """Read float32 numbers."""
    numbers = array("f")
    numbers.frombytes(raw_bytes(tensor))
    return numbers


@check(oracle=TWISTER, level="quick", devices="cpu")
def seeded_sequence(context: Context) -> None:
    """A seed gives its sequence, bit for bit: rand, randint, randperm, and randn to rounding."""
    torch, draw = context.torch, context.rng()
    for seed in (0, draw.getrandbits(31), draw.getrandbits(31) + 2**40):

        def sequence(call: Callable[[], Any], seed: int = seed) -> list[Any]:
            torch.manual_seed(seed)
            return context.values(call())

        for name, got, right in (
            ("rand", sequence(lambda: torch.rand(2003)), generator.uniform32(generator.twister(seed), 2003)),
            (
                "rand in float64",
                sequence(lambda: torch.rand(701, dtype=torch.float64)),
                generator.uniform64(generator.twister(seed), 701),
            ),
            (
                "randint",
                sequence(lambda: torch.randint(1000, (2003,))),
                generator.integers(generator.twister(seed), 2003, 1000),
            ),
            ("randperm", sequence(lambda: torch.randperm(601)), generator.permutation(generator.twister(seed), 601)),
        ):
            context.exact(got, right, what=f"{name} after manual_seed({seed})")
        numbers, radii = generator.normal32(generator.twister(seed), 2048)
        # log, root, sine or cosine, product; the angle 2 pi u is rounded before, and radius times that is absolute.
        got = sequence(lambda: torch.randn(2048))
        context.close(got, numbers, bound=16.0, cancel=[8 * r for r in radii], what=f"randn after manual_seed({seed})")


def _count(context: Context) -> int:
    """How many numbers to draw: a CPU's are followed one by one elsewhere (`training.draws`), so few will do for it."""
    return COUNT if context.device != "cpu" or context.at_least("full") else COUNT // 16


@check(oracle="the law's moments, beyond 7.5 standard deviations once in 1e13")
def distributions(context: Context) -> None:
    """Uniform, normal, Bernoulli, exponential and integer draws have the moments and ends of their laws."""
    torch, device, n = context.torch, context.device, _count(context)
    uniform = floats(torch.rand(n, device=device))
    moments(context, uniform, (0.5, 1 / 12, 0.0, 1 / 80), "uniform numbers")
    # The largest of n is below 1 - 40 / n once in e^40 draws.
    low, high = min(uniform), max(uniform)
    context.true(0.0 <= low < 40 / n and 1 - 40 / n < high < 1.0, what="uniform ends", got=[low, high])
    moments(context, floats(torch.randn(n, device=device)), (0.0, 1.0, 0.0, 3.0), "normal numbers")
    scaled = floats(torch.empty(n, device=device).normal_(-2.0, 0.5))
    moments(context, scaled, (-2.0, 0.25, 0.0, 3 / 16), "normal_(-2, 0.5)")
    moved = floats(torch.empty(n, device=device).uniform_(-3.0, 5.0))
    moments(context, moved, (1.0, 64 / 12, 0.0, 4096 / 80), "uniform_(-3, 5)")
    waits = floats(torch.empty(n, device=device).exponential_(2.0))
    moments(context, waits, (0.5, 0.25, 0.25, 9 / 16), "exponential_(2)")
    for p in (0.1, 0.5):
        ones = raw_bytes(torch.empty(n, dtype=torch.uint8, device=device).bernoulli_(p)).count(1)
        deviation(context, ones / n, p, math.sqrt(p * (1 - p) / n), f"share of ones, bernoulli_({p})")
    chances = torch.full((n,), 0.25, device=device)
    ones = raw_bytes(torch.bernoulli(chances).to(torch.uint8)).count(1)
    deviation(context, ones / n, 0.25, math.sqrt(0.1875 / n), "share of ones, bernoulli(0.25)")


@check(oracle="Kolmogorov's distance and chi-square, exceeded once in 1e12")
def shapes(context: Context) -> None:
    """Draws have the whole shape of their laws, weights included, not only their moments."""
    torch, device, n = context.torch, context.device, min(20_000, _count(context) // 4)
    bound = generator.distance_bound(n)
    for name, numbers, law in (
        ("rand", torch.rand(n, device=device), lambda x: x),
        ("randn", torch.randn(n, device=device), normal_cdf),
        ("exponential_", torch.empty(n, device=device).exponential_(), lambda x: 1 - math.exp(-x)),
        ("log_normal_", torch.empty(n, device=device).log_normal_(), lambda x: normal_cdf((math.log(x) - 1) / 2)),
        ("cauchy_", torch.empty(n, device=device).cauchy_(), lambda x: 0.5 + math.atan(x) / math.pi),
    ):
        if device.startswith("mps") and name in ("log_normal_", "cauchy_"):
            continue
        found = generator.distance(context.values(numbers), law)
        context.within(found, bound, what=f"distance of {name} from its law", unit="distance of distributions")
    weights = [1.0, 2.0, 0.0, 5.0]
    drawn = context.values(torch.multinomial(torch.tensor(weights, device=device), n, replacement=True))
    for i, weight in enumerate(weights):
        p = weight / 8
        sigma = math.sqrt(max(p * (1 - p), 1e-12) / n)
        deviation(context, drawn.count(i) / n, p, sigma, f"share of weight {weight:g} in multinomial")
    times = min(3000, n // 2)
    firsts = [context.values(torch.randperm(6, device=device)) for _ in range(times)]
    context.true(all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in firsts), what="permutations are complete")
    for place in range(6):
        for value in range(6):
            share = sum(order[place] == value for order in firsts) / times
            deviation(context, share, 1 / 6, math.sqrt(5 / 36 / times), f"randperm: {value} at place {place}")


@check(oracle="a seed names one sequence", level="quick")
def seeds(context: Context) -> None:
    """manual_seed, generators, kept states and fork_rng repeat a sequence exactly; other seeds give other numbers."""
    torch, device = context.torch, context.device

    def draw(**named: Any) -> bytes:
        return raw_bytes(torch.randn(600, device=device, **named)) + raw_bytes(torch.rand(100, device=device, **named))

    torch.manual_seed(11)
    first, second = draw(), draw()
    torch.manual_seed(11)
    context.true(draw() == first, what="the same seed gives the same numbers")
    context.true(first != second, what="the sequence goes on")
    torch.manual_seed(12)
    context.true(draw() != first, what="another seed gives other numbers")
    context.exact([torch.initial_seed()], [12], what="initial_seed()")
    own = torch.Generator(device=device)
    own.manual_seed(11)
    context.true(draw(generator=own) == first, what="a generator with that seed gives the same numbers")
    state = own.get_state()
    third = draw(generator=own)
    own.set_state(state)
    context.true(draw(generator=own) == third, what="a kept state goes on as before")
    context.true(third == second, what="a generator goes on like the default one")
    other = torch.Generator(device=device)
    other.set_state(state)
    context.true(draw(generator=other) == third, what="a kept state goes on in another generator")


@check(oracle="a seed names one sequence", level="quick", devices="cpu")
def random_state(context: Context) -> None:
    """get_rng_state and set_rng_state, fork_rng and independent generators do not disturb each other."""
    torch = context.torch

    def draw() -> bytes:
        return raw_bytes(torch.rand(64))

    torch.manual_seed(3)
    draw()
    state = torch.get_rng_state()
    first = draw()
    torch.set_rng_state(state)
    context.true(draw() == first, what="set_rng_state restores the sequence")
    torch.set_rng_state(state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        inside = draw()
    context.true(draw() == first and inside != first, what="fork_rng leaves the sequence outside as it was")
    torch.set_rng_state(state)
    own = torch.Generator()
    own.manual_seed(5)
    torch.rand(100, generator=own)
    context.true(draw() == first, what="drawing from a generator of one's own leaves the default one alone")
    a, b = torch.Generator(), torch.Generator()
    a.manual_seed(1)
    b.manual_seed(2)
    n = COUNT // 4
    xs, ys = floats(torch.rand(n, generator=a)), floats(torch.rand(n, generator=b))
    mean = math.fsum((x - 0.5) * (y - 0.5) for x, y in zip(xs, ys)) / n
    deviation(context, mean, 0.0, 1 / 12 / math.sqrt(n), "covariance of two seeds' sequences")
    mean = math.fsum((x - 0.5) * (y - 0.5) for x, y in zip(xs, xs[1:])) / (n - 1)
    deviation(context, mean, 0.0, 1 / 12 / math.sqrt(n), "covariance of neighbours in a sequence")
