"""Automatic mixed precision: autocast really lowers what it says, and the gradient scaler minds infinities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...compare import FORMATS
from ...pattern import raw_bytes
from ...registry import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...context import Context


def lower(context: Context) -> tuple[str, ...]:
    """Name the dtypes that autocast can lower to on this device."""
    kind = context.device.partition(":")[0]
    return ("bfloat16", "float16") if kind in ("cpu", "cuda", "xpu") else ("float16",)


def autocast(context: Context, dtype: str, **options: Any) -> Any:
    """Make the context manager."""
    kind = context.device.partition(":")[0]
    return context.torch.autocast(device_type=kind, dtype=getattr(context.torch, dtype), **options)


def _draw(context: Context, rows: int, columns: int, salt: str) -> list[list[float]]:
    """Numbers that bfloat16 does not hold."""
    rng = context.rng(salt)
    return [[rng.choice((-1, 1)) * (1 + rng.randint(1, 4095) / 4096) for _ in range(columns)] for _ in range(rows)]


@check(
    oracle="the product in float64, bounded by the rounding of inputs and result",
    level="quick",
    needs=("torch.autocast",),
)
def autocast_lowers(context: Context) -> None:
    """Under autocast products are computed in the lower dtype, losses in float32, and weights stay float32."""
    torch, nn = context.torch, context.torch.nn
    xs, ws = _draw(context, 9, 33, "x"), _draw(context, 17, 33, "w")
    exact = [math.fsum(a * b for a, b in zip(x, w)) for x in xs for w in ws]
    sizes = [math.fsum(abs(a * b) for a, b in zip(x, w)) for x in xs for w in ws]
    for name in lower(context):
        x = context.tensor(xs, grad=True)
        layer = nn.Linear(33, 17, bias=False).to(context.device)
        with torch.no_grad():
            layer.weight.copy_(context.tensor(ws))
        try:
            with autocast(context, name):
                y = layer(x)
                product = x @ layer.weight.t()
                shares = torch.softmax(y, 1)
                loss = nn.functional.cross_entropy(y, torch.zeros(9, dtype=torch.long, device=context.device))
                square = nn.functional.mse_loss(y, y)
                with autocast(context, name, enabled=False):
                    plain = layer(x)
        except RuntimeError as error:
            if not any(told in str(error) for told in ("not implemented", "not supported", "only support")):
                raise
            context.note(f"{name}: {error}")
            continue
        f32 = "torch.float32"
        kinds = [str(t.dtype) for t in (y, product, square, plain, layer.weight)]
        context.exact(kinds, [f"torch.{name}", f"torch.{name}", f32, f32, f32], what=f"{name}: dtypes")
        if context.device.startswith("cuda"):  # on the CPU these two keep the dtype that they are given
            context.exact([str(shares.dtype), str(loss.dtype)], [f32, f32], what=f"{name}: dtypes of softmax and loss")
        # Both factors are rounded, then the sum: 3 roundings of the magnitudes at most.
        context.close(y, exact, bound=3.0, cancel=sizes, dtype=name, what=f"{name}: product")
        context.close(
            plain, exact, bound=4 * math.sqrt(33), cancel=sizes, dtype="float32", what=f"{name}: disabled inside"
        )
        away = max(abs(a - b) for a, b in zip(context.values(y), context.values(plain)))
        context.true(away > 0, what=f"{name}: precision really is lower", got=away)
        loss.backward()
        context.exact([str(layer.weight.grad.dtype), str(x.grad.dtype)], [f32, f32], what=f"{name}: gradients")
        _gradient(context, layer.weight.grad, xs, ws, name)
    context.true(not _on(context), what="autocast ends with its block")


def _on(context: Context) -> bool:
    y = context.torch.ones(2, 2, device=context.device) @ context.torch.ones(2, 2, device=context.device)
    return str(y.dtype) != "torch.float32"


def _gradient(
    context: Context, got: Any, xs: Sequence[Sequence[float]], ws: Sequence[Sequence[float]], name: str
) -> None:
    """Compare with the sum of (p - 1[class 0]) x / 9 over the samples; each factor was rounded to the lower dtype."""
    u = FORMATS[name].u
    slopes, doubts = [], []
    for x in xs:
        logits = [math.fsum(a * b for a, b in zip(x, w)) for w in ws]
        reach = 3 * u * max(math.fsum(abs(a * b) for a, b in zip(x, w)) for w in ws)
        top = max(logits)
        powers = [math.exp(v - top) for v in logits]
        p = [v / math.fsum(powers) for v in powers]
        slopes.append([(v - (i == 0)) / 9 for i, v in enumerate(p)])
        # A logit off by r moves a share by at most a factor e^(2 r); shares may be rounded to the lower dtype too.
        doubts.append([(min(1.0, v * math.expm1(2 * reach)) + 4 * u * v) / 9 for v in p])
    exact = [math.fsum(s[k] * x[i] for s, x in zip(slopes, xs)) for k in range(17) for i in range(33)]
    room = [
        math.fsum((d[k] + 3 * u * abs(s[k])) * abs(x[i]) for s, d, x in zip(slopes, doubts, xs))
        for k in range(17)
        for i in range(33)
    ]
    cancel = [r / u - abs(e) for r, e in zip(room, exact)]
    context.close(got, exact, bound=1.0, cancel=cancel, dtype=name, what=f"{name}: gradient of the weight")


class Scaled:
    """A parameter, an optimizer and a scaler."""

    def __init__(self, context: Context, **options: Any) -> None:
        torch, kind = context.torch, context.device.partition(":")[0]
        self.context = context
        self.parameter = torch.nn.Parameter(context.tensor([float(i + 1) for i in range(600)]))
        self.optimizer = torch.optim.SGD([self.parameter], lr=0.5)
        amp: Any = getattr(torch, "amp", None)
        if hasattr(amp, "GradScaler"):
            self.scaler = amp.GradScaler(kind, **options)
        elif kind == "cuda":
            self.scaler = torch.cuda.amp.GradScaler(**options)
        else:
            context.skip("this torch has a GradScaler for CUDA only")

    def step(self, gradient: Sequence[float]) -> None:
        """Take one step with a gradient that is given."""
        self.optimizer.zero_grad()
        loss = (self.parameter * self.context.tensor(list(gradient))).sum()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


@check(oracle="powers of two, exactly", level="quick")
def gradient_scaler(context: Context) -> None:
    """GradScaler scales, divides exactly by its scale, skips a step with inf or NaN, backs off, and grows again."""
    trial = Scaled(context, init_scale=1024.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2)
    gradient = [(i % 13 - 6) / 8 for i in range(600)]
    loss = (trial.parameter * context.tensor(gradient)).sum()
    context.exact([float(trial.scaler.scale(loss))], [1024.0 * float(loss)], what="scaled loss")
    trial.scaler.scale(loss).backward()
    context.exact(trial.parameter.grad, [1024.0 * g for g in gradient], what="scaled gradient")
    trial.scaler.unscale_(trial.optimizer)
    context.exact(trial.parameter.grad, gradient, what="gradient after unscale_")
    trial.scaler.step(trial.optimizer)
    trial.scaler.update()
    expected = [i + 1 - 0.5 * g for i, g in enumerate(gradient)]
    context.exact(trial.parameter, expected, what="parameter after the step")
    context.exact([trial.scaler.get_scale()], [1024.0], what="scale after one good step")
    trial.step(gradient)
    context.exact([trial.scaler.get_scale()], [2048.0], what="scale grows after two good steps")
    expected = [e - 0.5 * g for e, g in zip(expected, gradient)]
    context.exact(trial.parameter, expected, what="parameter after two steps")
    scale = 2048.0
    for place in (0, 517, 599):
        for bad in (math.inf, -math.inf, math.nan):
            trial.step([*gradient[:place], bad, *gradient[place + 1 :]])
            scale /= 2
            context.exact(trial.parameter, expected, what=f"{bad} at {place}: the step is skipped")
            context.exact([trial.scaler.get_scale()], [scale], what=f"{bad} at {place}: the scale backs off")
    state = trial.scaler.state_dict()
    other = Scaled(context)
    other.scaler.load_state_dict(state)
    context.exact([other.scaler.get_scale()], [scale], what="scale after loading the state")
    trial.step(gradient)
    trial.step(gradient)
    context.exact([trial.scaler.get_scale()], [2 * scale], what="the count of good steps begins anew after a bad one")
    off = Scaled(context, enabled=False)
    off.step(gradient)
    context.exact(
        off.parameter, [i + 1 - 0.5 * g for i, g in enumerate(gradient)], what="a disabled scaler steps alike"
    )


@check(oracle="2^-26 is lost in float16; 2^-26 times 2^10 is not")
def loss_scaling(context: Context) -> None:
    """Loss scaling saves small gradients from vanishing in float16, and unscaling gives them back exactly."""
    torch = context.torch
    for scale, right in ((1.0, 0.0), (1024.0, 2.0**-26)):
        x = context.tensor([1.0] * 600, grad=True)
        half = x.to(torch.float16)
        (half * torch.tensor(2.0**-13, dtype=torch.float16, device=context.device)).mul(
            torch.tensor(2.0**-13, dtype=torch.float16, device=context.device)
        ).float().mul(scale).sum().backward()
        context.exact([g / scale for g in context.values(x.grad)], [right] * 600, what=f"gradient with scale {scale:g}")


@check(
    oracle="the same training without autocast; its loss within the lower dtype's rounding", needs=("torch.autocast",)
)
def amp_training(context: Context) -> None:
    """Training under autocast ends near training in float32, and master weights keep float32's bits."""
    torch, nn = context.torch, context.torch.nn
    name = lower(context)[0]
    losses = {}
    for enabled in (False, True):
        torch.manual_seed(context.seed)
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)).to(context.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
        rng = context.rng()
        x = context.tensor([[rng.uniform(-1, 1) for _ in range(8)] for _ in range(64)])
        y = (x[:, :1] * x[:, 1:2] + x[:, 2:3]).detach()
        for _ in range(60):
            optimizer.zero_grad()
            with autocast(context, name, enabled=enabled):
                loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        losses[enabled] = float(loss.detach())
        kinds = {str(p.dtype) for p in model.parameters()}
        context.exact(sorted(kinds), ["torch.float32"], what="dtype of the weights")
        weight = raw_bytes(next(model.parameters()))
        # A weight that went through bfloat16 would end in two bytes of zeros.
        context.true(any(weight[0::4]) and any(weight[1::4]), what="weights keep all their bits")
    # Outputs of size 1 are rounded about four times on their way; the square root of the loss is their error.
    room = 8 * FORMATS[name].u
    away = abs(math.sqrt(losses[True]) - math.sqrt(losses[False]))
    context.within(away, room, what="root of the loss under autocast", unit="absolute error", got=losses)
