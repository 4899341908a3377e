"""Curves as inline SVG: drawn by pygal, then reduced to lines and numbers, which the page's one style sheet dresses."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from pygal import XY

# pygal leaves a finder of the old kind in sys.meta_path (pygal/__init__.py, PluginImportFixer), for map plugins that
# nobody here uses: every later import of the process would ask it, and warn.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

WIDTH, HEIGHT = 260, 150
COLOURS = 6
"""How many the style sheet knows."""
PLAIN: dict[str, Any] = {"js": [], "disable_xml_declaration": True, "show_legend": False, "show_dots": False}
SCALES: dict[str, Any] = {"max_scale": 4, "min_scale": 2, "margin": 4, "show_x_guides": False}
DECADES = 1e3
"""How far apart the values of a picture are from where on they need a logarithmic axis."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBER = re.compile(r"-?\d+\.\d+")
Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One line of a picture: what torch did, or what is right.

    Attributes:
        name: what it is, in a word.
        points: (x, y) in the order they are joined; at least one, all finite.
        right: it is the reference, over which the measured one is drawn.
        group: curves of one group belong together and have one colour.
    """

    name: str
    points: tuple[Point, ...]
    right: bool = False
    group: int = 0


def lines(curves: Sequence[Curve], together: Iterable[Curve] = ()) -> str:
    """Draw curves into one picture; the axes also hold those of `together`, which stand beside it."""
    xs, ys = zip(*(point for curve in (*curves, *together) for point in curve.points), strict=True)
    far = min(ys) > 0 and max(ys) / min(ys) > DECADES
    chart = XY(width=WIDTH, height=HEIGHT, range=_range(_scaled(ys, far)), xrange=_range(xs), **PLAIN, **SCALES)
    chart.x_value_formatter = "{:.3g}".format
    chart.value_formatter = (lambda value: "10" + f"{value:.0f}".translate(RAISED)) if far else "{:.3g}".format
    if far:
        chart.y_labels = _decades(ys)
    ordered = sorted(curves, key=lambda curve: not curve.right)  # what is right lies beneath
    for curve in ordered:
        x, y = zip(*curve.points, strict=True)
        chart.add(curve.name, list(zip(x, _scaled(y, far), strict=True)))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(_reduced(chart.render_tree(), ordered))}</svg>'


def _scaled(values: Sequence[float], far: bool) -> list[float]:
    """Take logarithms where values lie far apart: pygal's own logarithmic axes would bend the abscissa too."""
    return [math.log10(value) for value in values] if far else list(values)


def _decades(values: Sequence[float]) -> list[int]:
    """Give the powers of ten to mark between the least and the largest value: at most five."""
    low, high = math.ceil(math.log10(min(values))), math.floor(math.log10(max(values)))
    return list(range(low, high + 1, 1 + (high - low) // 5))


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)


def _reduced(tree: Any, curves: Sequence[Curve]) -> Iterator[str]:
    """Keep the axes, their numbers and the lines; leave out styles, scripts, tooltips and empty groups."""
    plot = next(node for node in _inside(tree) if node.get("class") == "plot")
    yield f'<g transform="{plot.get("transform")}">'
    for group in plot:
        kinds = str(group.get("class") or "").split()
        if "axis" in kinds:
            yield from _axis(group, "y" if "y" in kinds else "x")
        elif "series" in kinds:
            curve = curves[int(kinds[1].partition("-")[2])]
            kind = f"{'r' if curve.right else 't'}{curve.group % COLOURS}"
            yield from (_path(node, kind) for node in _named(group, "path"))
    yield "</g>"


def _axis(group: Any, name: str) -> Iterator[str]:
    yield f'<g class="{name}">'
    yield from (_path(node, "") for node in _named(group, "path"))
    for node in _named(group, "text"):
        yield f'<text x="{float(node.get("x")):.0f}" y="{float(node.get("y")):.0f}">{escape(node.text or "")}</text>'
    yield "</g>"


def _path(node: Any, kind: str) -> str:
    drawn = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), node.get("d"))
    return f'<path class="{kind}" d="{drawn}"/>' if kind else f'<path d="{drawn}"/>'


def _named(group: Any, tag: str) -> Iterator[Any]:
    return (node for node in _inside(group) if node.tag.rpartition("}")[2] == tag)


def _inside(tree: Any) -> Iterator[Any]:
    """Walk all elements, whichever library made the tree: pygal takes lxml where it is, whose comments differ."""
    return (node for node in tree.iter() if isinstance(node.tag, str))


def finite(x: Iterable[float], y: Iterable[float]) -> tuple[Point, ...]:
    """Pair what can be drawn."""
    return tuple((a, b) for a, b in zip(x, y, strict=False) if math.isfinite(a) and math.isfinite(b))
