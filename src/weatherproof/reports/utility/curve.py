"""Sensitivity against utility, a line with its quartiles for every model, as a file of a run folder and inline SVG."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from weatherproof.errors import InputError
from weatherproof.pixel_utility import UtilityCurve
from weatherproof.reports.drawing.charts import Style, marker
from weatherproof.reports.drawing.frame import Frame, Place, percent, stroke
from weatherproof.reports.parts import PartFile, read_list, save_list
from weatherproof.reports.words import records as words

FRAME = Frame(470, 334)  # as wide as the other wide charts
COLOURS = 7  # of the page
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Point = tuple[float, float, float, float]


@dataclass(frozen=True)
class ModelCurve:
    """One model, as the file has it: Spearman's correlation, and for each bin the mean rank of the utility and the
    quartiles of the rank of the sensitivity, all fractions. `elements`: of an image."""

    name: str
    correlation: float | None
    images: int
    elements: int
    bins: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not all(0 <= across <= 1 and 0 <= low <= middle <= high <= 1 for across, low, middle, high in self.bins):
            raise ValueError(f"the bins of {self.name} hold no ranks and quartiles")


CURVES = PartFile("utility_curve.json", "a plot of sensitivity against utility", ModelCurve)


@dataclass(frozen=True)
class CurveSeries:
    """One model. A point is the utility's rank and the lower quartile, median and upper quartile of sensitivity's."""

    name: str
    style: Style
    points: tuple[Point, ...]
    correlation: str
    images: int


@dataclass(frozen=True)
class UtilityCurves:
    """What the page shows."""

    series: tuple[CurveSeries, ...]
    elements: int

    @property
    def images(self) -> int:
        return max(series.images for series in self.series)


def save_utility_curve(folder: Path | str, curves: Mapping[str, UtilityCurve]) -> Path:
    """Write `utility_curve.json` and return where it is.

    Args:
        curves: by model, in the order of the legend; what others are compared with comes first and is grey.

    Raises:
        InputError: there are no curves.
    """
    if not curves:
        raise InputError("a plot of sensitivity against utility needs at least one model, got none")
    found = tuple(
        ModelCurve(
            name=name,
            correlation=curve.correlation if math.isfinite(curve.correlation) else None,
            images=curve.images,
            elements=curve.elements,
            bins=tuple(
                (round(x, 6), round(low, 6), round(middle, 6), round(high, 6))
                for x, (low, middle, high) in zip(curve.utility.tolist(), curve.quartiles.tolist(), strict=True)
            ),
        )
        for name, curve in curves.items()
    )
    return save_list(folder, CURVES, found, indent=None)


def read_utility_curve(folder: Path) -> UtilityCurves | None:
    """The plot of a run folder; None where it has none. Raises `InputError`."""
    found = read_list(folder, CURVES)
    if not found:
        return None
    first = 0 if len(found) > 1 else 1  # grey is what others are compared with
    series = tuple(_series(own, i) for i, own in enumerate(found, first))
    return UtilityCurves(series, max(own.elements for own in found))


def _series(own: ModelCurve, place: int) -> CurveSeries:
    correlation = own.correlation
    return CurveSeries(
        name=own.name,
        style=Style(place % COLOURS, place // COLOURS),
        points=own.bins,
        correlation="n/a" if correlation is None else f"{correlation:.2f}".replace("-", "\N{MINUS SIGN}"),
        images=own.images,
    )


def draw_utility_curve(shown: UtilityCurves) -> Markup:
    """The plot as an `<svg>` element with a title for screen readers and a tooltip on every marker."""
    to_x, to_y = FRAME.across(0, 1, inner=6), FRAME.up(0, 1)
    parts = [
        FRAME.rows(TICKS, to_y, percent),
        *(FRAME.number(to_x(tick), percent(tick)) for tick in TICKS),
        stroke("axis ideal", to_x(0), to_y(0), to_x(1), to_y(1)),
        FRAME.names("utility, rank in the image, %", "sensitivity, rank in the image, %"),
    ]
    for series in shown.series:
        parts.append(_band(series, to_x, to_y))
    for series in shown.series:  # the lines above all bands
        parts.append(_line(series, to_x, to_y))
    told = ", ".join(f"{s.name} (rank correlation {s.correlation})" for s in shown.series)
    return FRAME.drawing(f"sensitivity against utility: {told}", parts)


def _band(series: CurveSeries, to_x: Place, to_y: Place) -> Markup:
    """From the lower to the upper quartile."""
    edge = [(x, low) for x, low, _, _ in series.points] + [(x, high) for x, _, _, high in reversed(series.points)]
    path = " ".join(f"{'L' if i else 'M'}{to_x(x):.1f} {to_y(y):.1f}" for i, (x, y) in enumerate(edge))
    return Markup('<g class="s{}"><path class="band" d="{}"/></g>').format(series.style.colour, path and path + "Z")


def _line(series: CurveSeries, to_x: Place, to_y: Place) -> Markup:
    """The median."""
    path = " ".join(
        f"{'L' if i else 'M'}{to_x(x):.1f} {to_y(middle):.1f}" for i, (x, _, middle, _) in enumerate(series.points)
    )
    dots = Markup("").join(
        marker(
            series.style, to_x(x), to_y(middle),
            f"{series.name}: {words.percent(middle)}, half of them from {words.percent(low)} to {words.percent(high)}",
        )
        for x, low, middle, high in series.points
    )  # fmt: skip
    return Markup('<g class="s{}"><path class="line" d="{}"/>{}</g>').format(series.style.colour, path, dots)
