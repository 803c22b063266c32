"""Line charts as small inline SVG.

Colours are CSS classes of the page (`s0`, `s1`, ...), so that one drawing serves light, dark and paper; a marker shape
and a dash pattern tell series apart without colour. Every text is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from weatherproof.reports.drawing.frame import Frame, Place, Show, fitted, nice_ticks, stroke

NARROW, WIDE, HEIGHT = 360, 470, 236  # user units; three or two to a row, so that text keeps its size
DIGIT = 7  # width of a tick's digit, about
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4")
MARKERS = 4  # no divisor in common with the number of dashes: twenty variants differ


@dataclass(frozen=True)
class Style:
    """How a series looks: `colour` picks the class, `variant` the marker and the dashes."""

    colour: int
    variant: int = 0


@dataclass(frozen=True)
class Series:
    """One line: points (x, y, standard error or 0), in any order."""

    name: str
    style: Style
    points: tuple[tuple[float, float, float], ...]
    marked: bool = True


@dataclass(frozen=True)
class Chart:
    """One drawing. `y_range` None fits the data; `log_x` for label fractions; `show_*` write a tick's number."""

    title: str
    x_label: str
    series: tuple[Series, ...]
    subtitle: str = ""
    metric: str = ""
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    x_ticks: tuple[float, ...] | None = None
    show_x: Show = lambda x: f"{x:g}"
    show_y: Show = lambda y: f"{y:g}"


def draw(chart: Chart, wide: bool = False) -> Markup:
    """A chart as an `<svg>` element with a title for screen readers and a tooltip on every marker."""
    points = [p for s in chart.series for p in s.points]
    if not points:
        return Markup("")
    frame = Frame(WIDE if wide else NARROW, HEIGHT, right=12, top=12)
    to_x, x_ticks = _x_axis(chart, [p[0] for p in points], frame)
    low, high = chart.y_range or fitted([p[1] for p in points])
    to_y = frame.up(low, high)
    parts = [frame.rows(nice_ticks(low, high, 4), to_y, chart.show_y)]
    free = math.inf  # from the right, where the severe levels crowd: a number that has no room is left out
    for tick in sorted(x_ticks, key=to_x, reverse=True):
        parts.append(stroke("axis", to_x(tick), frame.floor, to_x(tick), frame.floor + 4))
        half = len(chart.show_x(tick)) * DIGIT / 2
        if to_x(tick) + half < free:
            parts.append(frame.number(to_x(tick), chart.show_x(tick)))
            free = to_x(tick) - half - DIGIT / 2
    parts.append(frame.names(chart.x_label))
    parts += [_draw_series(series, to_x, to_y, chart) for series in chart.series]
    return frame.drawing(f"{chart.title}: {', '.join(s.name for s in chart.series)}", parts)


def _x_axis(chart: Chart, xs: list[float], frame: Frame) -> tuple[Place, Sequence[float]]:
    move = math.log10 if chart.log_x else float
    low, high = move(min(xs)), move(max(xs))
    scale = frame.across(low, high, inner=10 if chart.series[0].marked else 0)
    ticks = chart.x_ticks or nice_ticks(low, high, 5)
    return (lambda x: scale(move(x))), ticks


def _draw_series(series: Series, to_x: Place, to_y: Place, chart: Chart) -> Markup:
    points = sorted(series.points)
    path = " ".join(f"{'L' if i else 'M'}{to_x(x):.1f} {to_y(y):.1f}" for i, (x, y, _) in enumerate(points))
    parts = [Markup('<path class="line" d="{}" stroke-dasharray="{}"/>').format(path, _dashes(series.style))]
    for x, y, error in points if series.marked else []:
        if error > 0:
            low, high = chart.y_range or (-math.inf, math.inf)
            top, bottom = to_y(min(y + error, high)), to_y(max(y - error, low))
            parts.append(stroke("error", to_x(x), top, to_x(x), bottom))
            parts += [stroke("error", to_x(x) - 3.5, end, to_x(x) + 3.5, end) for end in (top, bottom)]
        told = f"{series.name}: {chart.show_y(y)}" + (f" ± {chart.show_y(error)}" if error > 0 else "")
        parts.append(marker(series.style, to_x(x), to_y(y), f"{told} at {chart.show_x(x)}"))
    return Markup('<g class="s{}">{}</g>').format(series.style.colour, Markup("").join(parts))


def marker(style: Style, x: float, y: float, told: str = "") -> Markup:
    """The marker of a style: by colour and variant, so that no two series share it."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"',
        f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"',
        f'<path d="M{x:.1f} {y - 4.8:.1f}l4.8 8.6h-9.6z"',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"',
    )
    shape = Markup(shapes[(style.colour + style.variant) % MARKERS])  # numbers only
    return Markup('{} class="dot">{}</{}>').format(
        shape, Markup("<title>{}</title>").format(told) if told else "", shape[1:].split(" ")[0]
    )


def swatch(style: Style) -> Markup:
    """A short piece of the line, with its marker, for a legend."""
    return Markup(
        '<svg class="swatch s{}" viewBox="0 0 30 12" aria-hidden="true"><path class="line" d="M1 6H29" '
        'stroke-dasharray="{}"/>{}</svg>'
    ).format(style.colour, _dashes(style), marker(style, 15, 6))


def _dashes(style: Style) -> str:
    return DASHES[style.variant % len(DASHES)]
