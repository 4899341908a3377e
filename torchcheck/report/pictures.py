"""Which pictures a verification's figures make: curves beside what is right, and errors beside their bounds (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Figures = Mapping[str, Mapping[str, Any]]
"""By check (`id/device/dtype`), what `Context.figure` kept: a list (one curve over its index), an object of lists
(curves; with three or more, the first is the abscissa), or `{"measured": x, "bound": y}`."""
RIGHT = frozenset({"exact", "reference", "theory", "closed form"})
"""Names of curves that are right by theory; the others are what was measured."""


@dataclass(frozen=True)
class Topic:
    """A row of pictures. The first group of `pattern`, matched on a check's id, names a picture."""

    title: str
    text: str
    pattern: str


TOPICS = (
    Topic(
        "Loss of every optimizer",
        "Loss over the steps of a training, beside the same training in plain Python.",
        r"rates\.(\w+)\.training",
    ),
    Topic(
        "Training, step by step",
        "Loss over the steps, beside the same training in plain Python.",
        r"training\.(\w+)\.trajectory",
    ),
    Topic(
        "Gradients by depth",
        "Norm of the gradient at each layer, beside what the chain rule says.",
        r"training\.(\w+)\.depth",
    ),
    Topic(
        "Gradient descent around 2/λmax",
        "What a step multiplies by, and distances over the steps: it contracts below the limit and diverges above it.",
        r"rates\.(contraction|\w+\.threshold|optimum|speed)",
    ),
    Topic(
        "Learning rates",
        "Rate over the steps, for two parameter groups, over the closed form of its schedule.",
        r"(?:schedules\.(\w+)\.follows|rates\.warmup)",
    ),
    Topic("Other curves", "What further checks kept.", r"(?s:(.*))"),
)


@dataclass(frozen=True)
class Line:
    """A curve: its name, abscissae and ordinates; `right` when it is the reference, `group` gives its colour."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    right: bool = False
    group: int = 0


@dataclass
class Picture:
    """The same curves on every device that has them."""

    name: str
    devices: dict[str, list[Line]] = field(default_factory=dict)


def pictures(figures: Figures) -> Iterator[tuple[Topic, list[Picture]]]:
    """Sort the figures that hold curves into topics; each picture holds all devices."""
    found: dict[str, dict[str, Picture]] = {topic.title: {} for topic in TOPICS}
    single = _one_dtype(figures)
    for key, kept in figures.items():
        lines = list(_lines(kept))
        if lines:
            ident, device, dtype = _parts(key)
            topic, name = _topic(ident)
            label = name if ident in single or not dtype else f"{name}, {dtype}"
            found[topic.title].setdefault(label, Picture(label)).devices[device] = lines
    for topic in TOPICS:
        if found[topic.title]:
            yield topic, sorted(found[topic.title].values(), key=lambda picture: picture.name)


@dataclass(frozen=True)
class Share:
    """An error and its bound, in units of the last place's half (u)."""

    measured: float
    bound: float

    @property
    def percent(self) -> float:
        """How much of the bound is used up."""
        return 100.0 * self.measured / self.bound


@dataclass(frozen=True)
class Errors:
    """Errors beside their bounds: by check, and by (dtype, device) within it."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, Mapping[tuple[str, str], Share]], ...]


def errors(figures: Figures) -> Errors:
    """Collect every error that was kept with its bound."""
    rows: dict[str, dict[tuple[str, str], Share]] = {}
    for key, kept in figures.items():
        ident, device, dtype = _parts(key)
        for data in kept.values():
            share = _share(data)
            if share is not None:
                rows.setdefault(ident, {})[(dtype, device)] = share
    columns = dict.fromkeys(column for row in rows.values() for column in row)
    dtypes = list(dict.fromkeys(dtype for dtype, _ in columns))
    ordered = sorted(columns, key=lambda column: dtypes.index(column[0]))  # devices of one dtype side by side
    return Errors(tuple(ordered), tuple(sorted(rows.items())))


def _share(data: Any) -> Share | None:
    """Read an error and its bound; None when a figure is none."""
    if not isinstance(data, Mapping) or not all(_number(data.get(name)) for name in ("measured", "bound")):
        return None
    return Share(float(data["measured"]), float(data["bound"])) if data["bound"] > 0 else None


def _one_dtype(figures: Figures) -> set[str]:
    dtypes: dict[str, set[str]] = {}
    for key in figures:
        ident, _, dtype = _parts(key)
        dtypes.setdefault(ident, set()).add(dtype)
    return {ident for ident, found in dtypes.items() if len(found) == 1}


def _parts(key: str) -> tuple[str, str, str]:
    ident, device, dtype = (*key.split("/"), "", "")[:3]
    return ident, device, dtype


def _topic(ident: str) -> tuple[Topic, str]:
    for topic in TOPICS:
        found = re.fullmatch(topic.pattern, ident)
        if found:
            name = found[1] or ident.rpartition(".")[2]
            return topic, name.replace("_", " ").replace(".", " ")
    raise AssertionError("the last topic takes everything")


def _lines(kept: Mapping[str, Any]) -> Iterator[Line]:
    several = sum(bool(_series(data)) for data in kept.values()) > 1
    group = -1
    for title, data in kept.items():
        for name, x, y in _series(data):
            right = name in RIGHT
            group += not right
            told = name if right or not several else title
            yield Line(told or title, tuple(x), tuple(y), right, max(group, 0))


def _series(data: Any) -> list[tuple[str, list[float], list[float]]]:
    """Read curves out of a figure, as (name, x, y); [] when it holds none."""
    alone = _floats(data)
    if alone:
        return [("", _steps(alone), alone)]
    if not isinstance(data, Mapping):
        return []
    lists = {str(name): found for name, found in ((n, _floats(values)) for n, values in data.items()) if found}
    if len(lists) < 3:
        return [(name, _steps(values), values) for name, values in lists.items()]
    first, *others = lists
    return [(name, lists[first], lists[name]) for name in others]


def _steps(values: list[float]) -> list[float]:
    return [float(step) for step in range(len(values))]


def _floats(values: Any) -> list[float]:
    """Read a list of numbers, infinities and NaN as JSON spells them among them; [] when it is none."""
    if not isinstance(values, list) or not all(_number(v) or v in ("inf", "-inf", "nan") for v in values):
        return []
    return [float(v) for v in values]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
