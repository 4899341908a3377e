"""Pictures for the page: what the checks kept to be drawn, as inline SVG by pygal, without scripts."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import tostring

from pygal import XY, HorizontalBar
from pygal.style import Style

# pygal leaves a finder of the old kind in sys.meta_path (pygal/__init__.py, PluginImportFixer), for map plugins that
# nobody here uses: every later import of the process would ask it, and warn.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="currentColor",
    foreground_strong="currentColor",
    foreground_subtle="currentColor",
    opacity=".9",
    transition="0s",
    colors=("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#dc2626"),
    font_family="inherit",
    legend_font_size=12,
    label_font_size=11,
    title_font_size=14,
    value_font_size=11,
    guide_stroke_color="#8888",
    major_guide_stroke_color="#8888",
)
COMMON: dict[str, Any] = {"style": STYLE, "js": [], "disable_xml_declaration": True, "pretty_print": False}
DASHED = {"dasharray": "5,4", "width": 2}
SVG = "http://www.w3.org/2000/svg"

Figures = Mapping[str, Mapping[str, Any]]


def charts(figures: Figures, checks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Draw everything that is there to be drawn.

    Args:
        figures: by check (`id/device/dtype`), what `Context.figure` kept: a list (one curve over its index), an object
            of lists (curves; with three or more, the first is the abscissa), or `{"measured": x, "bound": y}`.
        checks: the results, for the time that each took.

    Yields:
        (topic, title, SVG).
    """
    if checks:
        yield "time", "slowest checks, seconds", _slowest(checks)
    yield from _margins(figures)
    for name, kept in figures.items():
        for title, data in kept.items():
            curves = _curves(data)
            if curves:
                yield name.partition(".")[0], f"{name.partition('/')[0]}: {title}", _lines(curves)


def _curves(data: Any) -> dict[str, list[tuple[float, float]]]:
    """Read curves out of a figure; {} when it holds none."""
    if _numbers(data):
        return {"": _points(range(len(data)), data)}
    if not isinstance(data, Mapping):
        return {}
    lists = {str(name): values for name, values in data.items() if _numbers(values)}
    if len(lists) >= 3:
        first, *others = lists
        return {name: _points(lists[first], lists[name]) for name in others}
    return {name: _points(range(len(values)), values) for name, values in lists.items()}


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(v, int | float) for v in values)


def _points(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(x, y, strict=False) if math.isfinite(a) and math.isfinite(b)]


def _lines(curves: Mapping[str, list[tuple[float, float]]]) -> str:
    values = [y for points in curves.values() for _, y in points]
    wide = bool(values) and min(values) > 0 and max(values) / min(values) > 1e3
    chart = XY(width=480, height=300, show_dots=False, logarithmic=wide, legend_at_bottom=True, **COMMON)
    chart.show_legend = any(curves)
    for i, (name, points) in enumerate(curves.items()):
        chart.add(name, points, stroke_style=DASHED if i else {"width": 3})
    return _svg(chart)


def _slowest(checks: Sequence[Mapping[str, Any]], most: int = 12) -> str:
    slow = sorted(checks, key=lambda c: -c["seconds"])[:most]
    return _bars({"/".join(filter(None, (c["id"], c["device"], c["dtype"]))): c["seconds"] for c in reversed(slow)})


def _margins(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Draw how much of its bound each measured error uses up, by dtype."""
    used: dict[str, dict[str, float]] = {}
    for name, kept in figures.items():
        ident, _, where = name.partition("/")
        for data in kept.values():
            if isinstance(data, Mapping) and data.get("bound") and isinstance(data.get("measured"), int | float):
                share = 100 * data["measured"] / data["bound"]
                if share <= 100:  # what is beyond its bound stands on top of the page, and would flatten all others
                    used.setdefault(where, {})[ident] = share
    for where, bars in used.items():
        yield "error", f"error in percent of its bound [{where}]", _bars(dict(sorted(bars.items(), reverse=True)))


def _bars(values: Mapping[str, float]) -> str:
    height = 60 + 22 * len(values)
    chart = HorizontalBar(width=720, height=height, show_legend=False, print_values=True, spacing=2, **COMMON)
    chart.value_formatter = lambda value: f"{value:.3g}"
    chart.x_labels = list(values)
    chart.add("", [round(v, 4) for v in values.values()])
    return _svg(chart)


def _svg(chart: Any) -> str:
    """Give the chart's markup without what pygal adds for its own scripts."""
    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for child in list(parent):
            if child.tag in ("script", f"{{{SVG}}}script") or not isinstance(child.tag, str):
                parent.remove(child)
    return tostring(tree, encoding="unicode")
