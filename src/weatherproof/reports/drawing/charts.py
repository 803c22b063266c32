"""A chart is two axes and marks, as inline SVG. A new plot says its data and picks its marks; it writes no SVG.

Colours are CSS classes of the page (`s0`, `s1`, ...), so that one drawing serves light, dark and paper; a marker shape
and a dash pattern tell series apart without colour. Every text is escaped. Lengths are in user units.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from markupsafe import Markup, escape

from weatherproof.reports.drawing.axes import Axis, Show

NARROW, WIDE = 360, 470  # three or two to a row, so that text keeps its size
FOOT = 26  # for the names of axes without numbers
DIGIT = 7  # width of a tick's digit, about
COLOURS = 6  # of the page, without its grey
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4")
MARKERS = 4  # no divisor in common with the number of dashes: twenty variants differ

Point = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a series looks: `colour` picks the class, `variant` the marker and the dashes."""

    colour: int
    variant: int = 0

    def outline(self, r: float) -> str:
        """The marker around a point, as a path: a circle, square, triangle or diamond."""
        return (
            f"m{-r:g} 0a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z",
            f"m{-0.9 * r:.1f} {-0.9 * r:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}z",
            f"m0 {-1.2 * r:.1f}l{1.2 * r:.1f} {2.15 * r:.1f}h{-2.4 * r:.1f}z",
            f"m0 {-1.25 * r:.1f}l{1.25 * r:.1f} {1.25 * r:.1f}l{-1.25 * r:.1f} {1.25 * r:.1f}"
            f"l{-1.25 * r:.1f} {-1.25 * r:.1f}z",
        )[(self.colour + self.variant) % MARKERS]


@runtime_checkable
class Mark(Protocol):
    """Something in a chart, placed by the values of its axes."""

    def svg(self, on: "Chart") -> Markup: ...


@dataclass(frozen=True)
class Chart:
    """One drawing: the named series lie above the marks, and axes without any number are a box.

    Attributes:
        metric: what a page sorts its charts by.
        right: the margin; the others are what numbers and names need.
        foot: room below for the numbers and the name of the horizontal axis.
    """

    title: str
    across: Axis
    up: Axis
    marks: tuple[Mark, ...] = ()
    series: tuple["Series", ...] = ()
    subtitle: str = ""
    metric: str = ""
    width: float = NARROW
    height: float = 236
    right: float = 12
    foot: float = 40

    @property
    def boxed(self) -> bool:
        return not (self.across.ticks or self.up.ticks)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what lies between the axes."""
        if self.boxed:
            return 0, 0, self.width, self.height - (FOOT if self.across.label else 0)
        return 40, 30 if self.up.label else 12, self.width - self.right, self.height - self.foot

    def x(self, value: float) -> float:
        left, _, right, _ = self.edges
        return self.across.place(value, left + self.across.inner, right - self.across.inner)

    def y(self, value: float) -> float:
        _, top, _, floor = self.edges
        return self.up.place(value, floor - self.up.inner, top + self.up.inner)


@dataclass(frozen=True)
class Line:
    """A line through points; as "band", what lies between the line and back to its start."""

    points: Sequence[Point]
    style: Style
    kind: str = "line"

    def svg(self, on: Chart) -> Markup:
        where = " ".join(f"{'L' if i else 'M'}{on.x(x):.1f} {on.y(y):.1f}" for i, (x, y) in enumerate(self.points))
        return _group(self.style, [_path(self.kind, where, self.style)])


@dataclass(frozen=True)
class Dot:
    """A marker with a tooltip, a number beside it, and errors to both sides, which end where the axes do."""

    x: float
    y: float
    style: Style
    tooltip: str
    kind: str = ""
    number: str = ""
    across: float = 0.0
    up: float = 0.0

    def svg(self, on: Chart) -> Markup:
        x, y, parts = on.x(self.x), on.y(self.y), []
        if self.across > 0:
            left, right = max(self.x - self.across, on.across.low), min(self.x + self.across, on.across.high)
            parts.append(_stroke("error", on.x(left), y, on.x(right), y))
        if self.up > 0:
            top, floor = on.y(min(self.y + self.up, on.up.high)), on.y(max(self.y - self.up, on.up.low))
            parts.append(_stroke("error", x, top, x, floor))
            parts += [_stroke("error", x - 3.5, end, x + 3.5, end) for end in (top, floor) if not self.across]
        parts.append(marker(self.style, x, y, self.tooltip))
        parts += [_words(x + 7, y - 4, self.number, "start", "front-number")] if self.number else []
        return _group(self.style, parts, self.kind)


@dataclass(frozen=True)
class Series:
    """One line of a line chart: points (x, y, standard error or 0), in any order."""

    name: str
    style: Style
    points: tuple[tuple[float, float, float], ...]
    marked: bool = True

    def svg(self, on: Chart) -> Markup:
        marks: list[Mark] = [Line([(x, y) for x, y, _ in sorted(self.points)], self.style)]
        for x, y, error in sorted(self.points) if self.marked else ():
            spread = f" ± {on.up.show(error)}" if error > 0 else ""
            tooltip = f"{self.name}: {on.up.show(y)}{spread} at {on.across.show(x)}"
            marks.append(Dot(x, y, self.style, tooltip, up=error))
        return Markup("").join(mark.svg(on) for mark in marks)


@dataclass(frozen=True)
class Cloud:
    """Many small markers with one tooltip, its name. `number` is its own on the page, by which `Again` finds it."""

    name: str
    style: Style
    points: tuple[Point, ...]
    number: int

    def svg(self, on: Chart) -> Markup:
        path = "".join(f"M{on.x(x):.1f} {on.y(y):.1f}{self.style.outline(3)}" for x, y in self.points)
        cloud = Markup('<g id="map-{}"><title>{}</title><path d="{}"/></g>').format(self.number, self.name, path)
        return _group(self.style, [cloud], "cloud")


@dataclass(frozen=True)
class Again:
    """Clouds of another drawing of the page, in a group of the classes `kind`."""

    clouds: Sequence[Cloud]
    kind: str

    def svg(self, on: Chart) -> Markup:
        uses = Markup("").join(Markup('<use href="#map-{}"/>').format(cloud.number) for cloud in self.clouds)
        return Markup('<g class="{}">{}</g>').format(self.kind, uses)


def draw(chart: Chart, wide: bool = False) -> Markup:
    """A chart as an `<svg>` element with a title for screen readers, and tooltips where the marks have them."""
    chart = replace(chart, width=WIDE) if wide else chart
    title = ": ".join(filter(None, (chart.title, ", ".join(series.name for series in chart.series))))
    aside = FOOT if chart.boxed and chart.up.label else 0
    opened = Markup('<svg class="chart" viewBox="{} 0 {} {}" role="img"><title>{}</title>').format(
        -aside, chart.width + aside, chart.height, title
    )
    axes = _box(chart) if chart.boxed else _numbered(chart)
    marks = (mark.svg(chart) for mark in (*chart.marks, *chart.series))
    return Markup("").join([opened, *axes, *marks, Markup("</svg>")])


def _box(chart: Chart) -> Iterator[Markup]:
    """Lines on all sides, and the names below the middle of one and turned beside the other."""
    left, top, right, floor = chart.edges
    yield Markup(f'<rect class="grid" width="{right}" height="{floor}" fill="none"/>')
    if chart.across.label:
        yield _words((left + right) / 2, floor + 18, chart.across.label, "middle", "label")
    if chart.up.label:
        name = _words(0, 0, chart.up.label, "middle", "label")
        yield Markup('<g transform="translate(-9 {}) rotate(-90)">{}</g>').format((top + floor) / 2, name)


def _numbered(chart: Chart) -> Iterator[Markup]:
    """Grid, ticks and numbers, and the names below the middle of one axis and above the other."""
    left, top, right, floor = chart.edges
    for tick in chart.up.ticks:
        yield _stroke("grid", left, chart.y(tick), right, chart.y(tick))
        yield _words(left - 7, chart.y(tick) + 3.5, chart.up.show(tick), "end")
    yield _stroke("axis", left, floor, right, floor)
    free = math.inf  # from the right, where the severe levels crowd: a number that has no room is left out
    for tick in sorted(chart.across.ticks, reverse=True):
        x, text = chart.x(tick), chart.across.show(tick)
        yield _stroke("grid", x, top, x, floor) if chart.across.grid else _stroke("axis", x, floor, x, floor + 4)
        half = len(text) * DIGIT / 2
        if x + half < free:
            yield _words(x, floor + 17, text, "middle")
            free = x - half - DIGIT / 2
    yield _words((left + right) / 2, chart.height - 5, chart.across.label, "middle", "label")
    if chart.up.label:
        yield _words(8, 14, chart.up.label, "start", "label")


def line_chart(
    title: str, x_label: str, series: tuple[Series, ...], *, y_range: tuple[float, float] | None = None,
    x_ticks: tuple[float, ...] = (), log_x: bool = False, show_x: Show = "{:g}".format, show_y: Show = "{:g}".format,
    subtitle: str = "", metric: str = "",
) -> Chart:  # fmt: skip
    """A chart of series that have points. Without `y_range` it holds them and their errors; `log_x` needs `x_ticks`."""
    points = [point for own in series for point in own.points]
    xs, ys = [x for x, _, _ in points], [y + side * error for _, y, error in points for side in (-1, 1)]
    inner = 10 if series[0].marked else 0
    across = Axis(min(xs), max(xs), x_label, 5, show_x, x_ticks, log_x, inner=inner)
    up = Axis(*y_range, show=show_y) if y_range else Axis.around(ys, show=show_y)
    return Chart(title, across, up, (), series, subtitle, metric)


def marker(style: Style, x: float, y: float, tooltip: str = "") -> Markup:
    """The marker of a style: by colour and variant, so that no two series share it."""
    title = Markup("<title>{}</title>").format(tooltip) if tooltip else ""
    return Markup('<path class="dot" d="M{:.1f} {:.1f}{}">{}</path>').format(x, y, style.outline(4), title)


def swatch(style: Style) -> Markup:
    """A short piece of the line, with its marker, for a legend."""
    return Markup('<svg class="swatch s{}" viewBox="0 0 30 12" aria-hidden="true">{}{}</svg>').format(
        style.colour, _path("line", "M1 6H29", style), marker(style, 15, 6)
    )


def _group(style: Style, parts: Iterable[Markup], kind: str = "") -> Markup:
    return Markup('<g class="{}">{}</g>').format(f"s{style.colour} {kind}".strip(), Markup("").join(parts))


def _path(kind: str, where: str, style: Style) -> Markup:
    return Markup(f'<path class="{kind}" d="{where}" stroke-dasharray="{DASHES[style.variant % len(DASHES)]}"/>')


def _stroke(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')


def _words(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')
