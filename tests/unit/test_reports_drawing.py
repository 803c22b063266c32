"""Drawings with axes: what holds for every one of them, and the rules of axes and marks."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
import torch

from weatherproof.reports.drawing.axes import Axis, nice_ticks, percent
from weatherproof.reports.drawing.charts import Chart, Cloud, Dot, Line, Series, Style, draw, line_chart, marker
from weatherproof.reports.drift.drawing import draw_extents, draw_kinds, draw_own_levels, draw_shares
from weatherproof.reports.drift.files import Drift, KindLevel, Limit, Window
from weatherproof.reports.hardened.curve import Change, Changed, Curve, ModelLevels
from weatherproof.reports.hardened.drawing import draw_called, draw_estimates, draw_levels
from weatherproof.reports.hardened.gauge import GaugedKind, GaugedLevel
from weatherproof.reports.plane.section import MapFile, draw_class, draw_map, make_plane
from weatherproof.reports.study.front import Combination, draw_front, make_front
from weatherproof.reports.suite.scatter import Scatter, draw_scatter
from weatherproof.reports.training.curves import Palette
from weatherproof.reports.utility.curve import ModelCurve, UtilityCurves, draw_utility_curve

EVIL = '"><script>alert(1)</script>&'
STYLE = Style(1)


def lines(*points: tuple[float, float, float], marked: bool = True) -> tuple[Series, ...]:
    return (Series(EVIL, STYLE, points, marked),)


def front() -> Iterator[str]:
    states = ("front", "level", "dominated")
    made = make_front(
        [Combination(EVIL, EVIL, EVIL, 1.0, (0.5 + i / 10, 0.0, 1.0, 0.1), (0.1, None, 0.0, None), state)
         for i, state in enumerate(states)]
    )  # fmt: skip
    assert made is not None
    yield from draw_front(made)


def plane() -> Iterator[str]:
    made = make_plane(MapFile(torch.randn(40, 2), torch.arange(40) % 5, (EVIL, *"bcde"), "pca", (0.2, 0.1), EVIL))
    yield draw_map(made)
    yield from (draw_class(made, shown) for shown in made.named)
    yield draw_map(make_plane(MapFile(torch.ones(3, 2), torch.full((3,), -1), (), "tsne", (), EVIL)))


def utility() -> Iterator[str]:
    points = ((0.0, 0.0, 0.0, 0.0), (0.5, 0.1, 0.2, 0.9), (1.0, 1.0, 1.0, 1.0))
    yield draw_utility_curve(UtilityCurves((ModelCurve(EVIL, 0.5, 8, 9, points),)))
    yield draw_utility_curve(UtilityCurves((ModelCurve(EVIL, None, 8, 9, ()),)))


def hardened() -> Iterator[str]:
    for family, levels in (("RandomMask", (0.0, 0.5, 0.99)), ("GaussianNoise", (0.0, 0.02, 0.7)), (EVIL, (0.0,))):
        values = tuple(1 - level for level in levels)
        models = (ModelLevels(EVIL, values, (None,) * len(levels)), ModelLevels("hardened", values, values))
        curve = Curve(family, ((0.1, 0.3), (0.5, 0.5), (0.9, 9.0)), levels, models, 5)
        gauge = [GaugedLevel(level, level, 0.0, 99.0, 0.5, 0.1, 9) for level in levels]
        kind = GaugedKind(family, (*gauge, GaugedLevel(99.0, None, None, None, 1.0, 0.0, 9)))
        yield draw(draw_levels(Changed("cosine", None, EVIL, EVIL, Change(1, 1, (0, 0, 0), 5)), curve, Palette([])))
        yield draw(draw_estimates(curve, kind))
        yield draw(draw_called(curve, kind))


def drifted() -> Iterator[str]:
    """Windows with and without times; limits inside the axes and beyond them; kinds with and without a level."""
    for start, end in ((None, None), ("2026-01-01 00:00:00", "2026-01-03 00:00:00")):
        told = (KindLevel(1, 5, 5, 0.9, 0.8, 2.0), KindLevel(2, 1, 0, None, None, None))
        windows = (
            Window(1, 20, 20, 0.0, 0.0, 0.0, 0.0, 0.0, (), start, start),
            Window(21, 30, 10, 0.5, 0.6, 3.0, 2.0, 1e6, told, end, end),
        )
        limits = (Limit("beyond", 0.4, False), Limit("level", 2.0, False), Limit("clean", -3.0, True))
        for own in (windows, windows[:1], (*windows, replace(windows[1], first=31, last=31, images=1, kinds=()))):
            drift = Drift(EVIL, "name", 40, 30, 0.1, 0.1, 0.1, ("clean", "RandomMask", EVIL), told, own)
            yield draw(draw_shares(drift, limits), wide=True)
            yield draw(draw_extents(drift, limits), wide=True)
            yield from (draw(chart) for _, chart in draw_own_levels(drift))
            kinds = draw_kinds(drift)
            assert kinds is not None
            yield draw(kinds)


DRAWINGS = {
    "drift": list(drifted()),
    "hardened": list(hardened()),
    "a line": [draw(line_chart(EVIL, EVIL, lines((0, 0, 0), (1, 1, 0.1)), y_range=(0.0, 1.0)))],
    "a line without markers": [draw(line_chart(EVIL, EVIL, lines((3, 2, 0), (1, 4, 0), marked=False)), wide=True)],
    "one point": [draw(line_chart(EVIL, EVIL, lines((5, 0, 0))))],
    "errors larger than the values": [draw(line_chart(EVIL, EVIL, lines((0, 1e-9, 1e9), (1, -1e9, 1))))],
    "a logarithmic axis": [draw(line_chart(EVIL, EVIL, lines((1e-4, 1, 0), (1, 2, 0)), log_x=True, x_ticks=(1e-4, 1)))],
    "scatter": [
        draw_scatter(Scatter(((STYLE, EVIL),), (Dot(0, 0, STYLE, EVIL, "ring"), Dot(1, 1, STYLE, EVIL, "faint"))))
    ],
    "front": list(front()),
    "plane": list(plane()),
    "utility": list(utility()),
}


def places(element: ET.Element) -> Iterator[tuple[float, float]]:
    """Absolute coordinates of an element."""
    if element.tag == "line":
        yield from ((float(element.get(f"x{i}", "")), float(element.get(f"y{i}", ""))) for i in "12")
    elif element.tag == "text":
        yield float(element.get("x", "")), float(element.get("y", ""))
    else:
        found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", element.get("d", ""))
        yield from ((float(x), float(y)) for x, y in found)


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_drawing_is_well_formed_escaped_and_holds_its_marks(name: str) -> None:
    for drawn in DRAWINGS[name]:
        root = ET.fromstring(drawn)  # raises unless well-formed
        assert root.get("role") == "img" and root[0].tag == "title" and root[0].text
        assert "<script" not in drawn and not re.search(r"\b(nan|inf)\b", drawn)
        left, top, width, height = map(float, (root.get("viewBox") or "").split())
        for element in root.iter():
            assert all(left <= x <= left + width and top <= y <= top + height for x, y in places(element))
        assert all(dot.findtext("title") for dot in root.iter() if dot.get("class") == "dot")


def test_values_lie_where_they_belong() -> None:
    chart = line_chart("", "", lines((1, 0, 0), (100, 1, 0)), y_range=(0.0, 1.0), log_x=True, x_ticks=(1, 100))
    assert chart.x(1) < chart.x(10) < chart.x(100) and chart.x(10) == pytest.approx((chart.x(1) + chart.x(100)) / 2)
    assert chart.y(1) < chart.y(0.5) < chart.y(0)  # SVG's y points down
    assert Axis(2, 2).place(2, 10, 20) == 15
    (path,) = (p for p in ET.fromstring(draw(chart)).iter("path") if p.get("class") == "line")
    assert list(places(path)) == [pytest.approx((chart.x(x), chart.y(y)), abs=0.05) for x, y in ((1, 0), (100, 1))]


def test_errors_end_where_the_axes_do() -> None:
    def errors(dot: Dot) -> list[list[tuple[float, float]]]:
        drawn = ET.fromstring(dot.svg(chart))
        return [list(places(line)) for line in drawn.iter("line") if line.get("class") == "error"]

    chart = Chart("", Axis(0, 1), Axis(0, 1))
    bar, upper, lower = errors(Dot(0.5, 0.9, STYLE, "", up=0.2))
    top, bottom = chart.y(1), chart.y(0.7)
    assert [y for _, y in bar] == pytest.approx([top, bottom], abs=0.05)
    assert {y for _, y in (*upper, *lower)} == {round(top, 1), round(bottom, 1)}
    cross = errors(Dot(0.95, 0.5, STYLE, "", across=0.2, up=0.1))
    assert len(cross) == 2 and max(x for x, _ in cross[0]) == pytest.approx(chart.x(1), abs=0.05)
    assert errors(Dot(0.5, 0.5, STYLE, "")) == []


def test_a_fitted_chart_holds_the_errors_too() -> None:
    chart = line_chart("", "", lines((0, 1, 2), (1, 1, 0)))
    assert chart.up.low < -1 and chart.up.high > 3


def test_numbers_that_have_no_room_are_left_out_from_the_mild_end() -> None:
    ticks = (0.0, 0.01, 0.02, 0.5, 0.98, 1.0)
    root = ET.fromstring(draw(line_chart("", "", lines((0, 0, 0), (1, 1, 0)), x_ticks=ticks, show_x=percent)))
    shown = [text for text in root.iter("text") if text.get("text-anchor") == "middle" and text.text]
    assert [text.text for text in shown] == ["100", "50", "2"]
    assert all(float(a.get("x", "")) - float(b.get("x", "")) > 20 for a, b in pairwise(shown))
    strokes = [line for line in root.iter("line") if line.get("class") == "axis"]
    assert len(strokes) == 1 + len(ticks)  # the axis, and every tick


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 1, 4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert nice_ticks(-0.03, 0.031, 3) == [-0.025, 0.0, 0.025]
    assert nice_ticks(5, 5) == [5.0]
    assert Axis.around([0.0, 1.0], within=(0.0, 2.0)).low == 0 < 1 < Axis.around([0.0, 1.0]).high


def test_markers_of_one_shape_are_alike_in_legends_charts_and_clouds() -> None:
    chart = Chart("", Axis(0, 1), Axis(0, 1))
    for variant in range(4):
        style = Style(0, variant)
        assert style.outline(4) in marker(style, 6, 6) and style.outline(4) in Dot(0, 0, style, "").svg(chart)
        assert Cloud("", style, ((0, 0), (1, 1)), 0).svg(chart).count(style.outline(3)) == 2
    assert len({Style(0, variant).outline(4) for variant in range(4)}) == 4


def test_a_new_plot_is_data_and_marks() -> None:
    marks = (Line(((0, 0), (1, 1)), STYLE, "axis ideal"), Dot(0.5, 0.5, STYLE, "half", number="1"))
    drawn = draw(Chart("new", Axis(0, 1, "x", show=percent), Axis(0, 1, "y"), marks))
    root = ET.fromstring(drawn)
    texts = [text.text for text in root.iter("text")]
    assert {"x", "y", "1", "75", "0.75"} <= set(texts) and root.findtext("title") == "new"


def test_mild_levels_have_room_on_a_square_root_axis() -> None:
    axis = Axis(0, 4, root=True)
    assert [axis.place(value, 0, 100) for value in (-1, 0, 0.25, 1, 4)] == [0, 0, 25, 50, 100]
