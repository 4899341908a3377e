"""The same again: from the same seed, from a checkpoint, from a copy; bit for bit."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pattern import raw_bytes
from ...registry import FLOATS, check
from ...trajectory import one_thread

if TYPE_CHECKING:
    from ...context import Context

SELF = "the same run again, bit for bit"
# What a path may hold on any system: a blank, letters beyond ASCII.
FILE = "checkpoint é 模型.pt"


class Run:
    """A network with everything that has state: normalisation, dropout, momentum, a schedule, random numbers."""

    def __init__(self, context: Context, kind: str = "AdamW", *, dropout: float = 0.25) -> None:
        self.context = context
        torch, nn = context.torch, context.torch.nn
        self.model = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(180, 17),
            nn.LayerNorm(17),
            nn.GELU(),
            nn.Linear(17, 4),
        ).to(context.device)
        options = {"momentum": 0.9} if kind == "SGD" else {"amsgrad": True} if kind == "AdamW" else {}
        self.optimizer = getattr(torch.optim, kind)(self.model.parameters(), lr=0.02, **options)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=30)
        self.random = torch.Generator(device=context.device)
        self.random.manual_seed(context.seed + 5)

    def steps(self, count: int) -> bytes:
        """Train, and give the bytes of all losses."""
        torch, seen = self.context.torch, b""
        for _ in range(count):
            x = torch.randn(8, 2, 6, 6, device=self.context.device, generator=self.random)
            y = torch.randint(4, (8,), device=self.context.device, generator=self.random)
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            seen += raw_bytes(loss)
        return seen

    def held(self) -> dict[str, bytes]:
        """Give the bytes of parameters and buffers."""
        return {name: raw_bytes(tensor) for name, tensor in self.model.state_dict().items()}

    def checkpoint(self) -> dict[str, Any]:
        """Give all state there is."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.random.get_state(),
            "global": self.source().get_rng_state(),
        }

    def resume(self, kept: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.random.set_state(kept["random"].cpu())
        self.source().set_rng_state(kept["global"].cpu())

    def source(self) -> Any:
        """Give the module that holds the device's default generator: torch, or torch.cuda."""
        kind = self.context.device.partition(":")[0]
        return self.context.torch if kind == "cpu" else getattr(self.context.torch, kind)


@contextlib.contextmanager
def determined(context: Context) -> Iterator[None]:
    """Allow only algorithms that add up in a fixed order, or skip where torch promises no such thing."""
    torch, kind = context.torch, context.device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        context.skip(f"torch promises no equal bits on {kind}")
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True):
        yield


def begin(context: Context, seed: int = 7, **options: Any) -> Run:
    """Start a run from a seed."""
    context.torch.manual_seed(seed)
    return Run(context, **options)


@check(oracle=SELF, level="quick")
def same_seed(context: Context) -> None:
    """The same seed trains to the same bits, another seed to others."""
    with determined(context):
        first = begin(context)
        losses = first.steps(4)
        again = begin(context)
        context.true(again.steps(4) == losses, what="losses of a second run from the same seed")
        context.exact(sorted(first.held().items()), sorted(again.held().items()), what="parameters and buffers")
        other = begin(context, 8)
        context.true(other.steps(4) != losses, what="another seed gives another run")


@check(
    oracle="the run that was not stopped, bit for bit",
    level="quick",
    each={name: name for name in ("AdamW", "SGD", "RMSprop")},
)
def resuming(context: Context, row: str) -> None:
    """Training with {row}, saved to a file, loaded and resumed, goes on exactly as if it had not stopped."""
    with determined(context), one_thread(context.torch):
        torch = context.torch
        whole = begin(context, kind=row)
        whole.steps(3)
        with tempfile.TemporaryDirectory(prefix="torchcheck ") as folder:
            path = Path(folder) / FILE
            torch.save(whole.checkpoint(), path)
            losses = whole.steps(3)
            kept = _load(torch, path)
        later = begin(context, 99, kind=row)
        later.steps(1)
        later.resume(kept)
        context.true(later.steps(3) == losses, what="losses after resuming")
        context.exact(sorted(later.held().items()), sorted(whole.held().items()), what="parameters and buffers")
        rates = [group["lr"] for run in (whole, later) for group in run.optimizer.param_groups]
        context.exact(rates[:1], rates[1:], what="learning rate")


def _load(torch: Any, source: Any, **options: Any) -> Any:
    """Load a checkpoint, as data only; before torch 2.4 that left out much of what an optimizer's state is made of."""
    safe = hasattr(torch.serialization, "add_safe_globals")
    return torch.load(source, weights_only=safe, **options)


@check(oracle="the bytes that were saved", level="quick", dtypes=FLOATS)
def files(context: Context) -> None:
    """torch.save and torch.load keep every bit: views, shared storage, every dtype, in a file and in memory."""
    torch = context.torch
    rng = context.rng()
    base = context.tensor([rng.uniform(-3, 3) for _ in range(1200)]).reshape(30, 40)
    whole = {
        "base": base,
        "view": base[3:9, ::2],
        "transposed": base.t(),
        "empty": base[:0],
        "number": base[2, 3],
        "special": context.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan")]),
        "whole": torch.arange(-5, 300, device=context.device),
        "flags": torch.tensor([True, False, True], device=context.device),
        "text": "é",
        "nested": [1, (2.5, None), {"a": True}],
    }
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    buffer.seek(0)
    loaded = [("in memory", _load(torch, buffer))]
    with tempfile.TemporaryDirectory(prefix="torchcheck ") as folder:
        path = Path(folder) / FILE
        torch.save(whole, path)
        loaded.append(("file", _load(torch, path)))
        loaded.append(("file, mapped to the CPU", _load(torch, str(path), map_location="cpu")))
        for name, found in loaded:
            _same(context, name, whole, found)
            found["base"][4, 6] = 1.0
            context.true(float(found["view"][1, 3]) == 1.0, what=f"{name}: views still share their memory")
        context.true(float(base[4, 6]) != 1.0, what="the original is left alone")


def _same(context: Context, name: str, saved: dict[str, Any], found: dict[str, Any]) -> None:
    for key, value in saved.items():
        if hasattr(value, "dtype"):
            facts = [(str(t.dtype), tuple(t.shape)) for t in (found[key], value)]
            context.exact(facts[:1], facts[1:], what=f"{name}, {key}: dtype and shape")
            context.true(raw_bytes(found[key]) == raw_bytes(value), what=f"{name}, {key}: bytes")
        else:
            context.exact([repr(found[key])], [repr(value)], what=f"{name}, {key}")


@check(oracle="what state_dict promises", level="quick")
def state_dict(context: Context) -> None:
    """load_state_dict takes every parameter and buffer, copies them, and refuses what does not fit."""
    torch = context.torch
    source, target = begin(context, 1), begin(context, 2)
    source.steps(2)
    state = source.model.state_dict()
    context.true(source.held() != target.held(), what="two seeds differ")
    result = target.model.load_state_dict(state)
    context.exact([repr(result)], ["<All keys matched successfully>"], what="keys")
    context.exact(sorted(target.held().items()), sorted(source.held().items()), what="parameters and buffers")
    with torch.no_grad():
        target.model[0].weight.zero_()
    context.true(float(source.model[0].weight.abs().sum()) > 0, what="loading copies")
    missing = {name: value for name, value in state.items() if name != "1.running_mean"}
    model = target.model
    context.raises(RuntimeError, model.load_state_dict, missing, what="a missing buffer is refused")
    context.raises(RuntimeError, model.load_state_dict, {**state, "x": state["0.bias"]}, what="a stranger is refused")
    wrong = {**state, "0.bias": torch.zeros(6)}
    context.raises(RuntimeError, model.load_state_dict, wrong, what="another shape is refused")
    before = target.held()["1.running_mean"]
    lax = model.load_state_dict(missing, strict=False)
    context.exact(list(lax.missing_keys), ["1.running_mean"], what="strict=False names what is missing")
    context.true(target.held()["1.running_mean"] == before, what="what is missing stays")
    persistent = sorted(name for name, _ in [*model.named_parameters(), *model.named_buffers()])
    context.exact(sorted(state), persistent, what="names of the state")


@check(oracle=SELF, level="quick")
def copies(context: Context) -> None:
    """A deep copy of model and optimizer trains on alone, exactly like the original."""
    with determined(context), one_thread(context.torch):
        torch = context.torch
        original = begin(context, dropout=0.0)
        original.steps(2)
        model, optimizer = copy.deepcopy((original.model, original.optimizer))
        before = original.held()
        x = torch.ones(8, 2, 6, 6, device=context.device)
        outcomes = []
        for net, steps in ((model, optimizer), (original.model, original.optimizer)):
            steps.zero_grad()
            net(x).square().sum().backward()
            steps.step()
            outcomes.append([raw_bytes(p) for p in net.parameters()])
            if net is model:
                context.true(original.held() == before, what="the original is left alone")
        context.true(outcomes[0] == outcomes[1], what="copy and original take the same step")


@check(oracle="the definition of the two modes", level="quick")
def modes(context: Context) -> None:
    """eval() and train() reach every layer; in eval, under no_grad, nothing changes and nothing is recorded."""
    torch = context.torch
    run = begin(context, dropout=0.9)
    run.steps(1)
    model = run.model
    x = torch.ones(8, 2, 6, 6, device=context.device)
    context.true(all(m.training for m in model.modules()), what="a new model trains")
    model.eval()
    context.true(not any(m.training for m in model.modules()), what="eval() reaches every layer")
    before = run.held()
    for guard in (torch.no_grad, torch.inference_mode):
        with guard():
            first, second = model(x), model(x)
        context.true(raw_bytes(first) == raw_bytes(second), what="eval gives the same twice")
        context.true(not first.requires_grad and first.grad_fn is None, what="nothing is recorded")
    recorded = model(x)
    context.true(recorded.requires_grad, what="outside no_grad it is recorded")
    context.true(raw_bytes(recorded) == raw_bytes(first), what="recording changes no number")
    context.true(run.held() == before, what="eval changes no parameter and no running mean")
    model.train()
    third, fourth = model(x), model(x)
    context.true(raw_bytes(third) != raw_bytes(fourth), what="dropout acts again after train()")
    context.true(run.held() != before, what="running means move again after train()")
