"""Sensitivity against utility, a line with its quartiles for every model, as one file of a run folder and inline SVG.

`utility_curve.json` holds a list, one entry a model: "name", "correlation" (Spearman's, a number or null), "images",
"elements" (of an image), and "bins", a list of four fractions each: the mean rank of the utility, and the quartiles of
the rank of the sensitivity.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weatherproof.errors import InputError
from weatherproof.evaluation.utility.curve import UtilityCurve
from weatherproof.files import write_atomically
from weatherproof.reports.drawing.charts import Style, marker
from weatherproof.reports.drawing.frame import Frame, Place, percent, stroke
from weatherproof.reports.words import records as words
from weatherproof.texts import read_json

FILE = "utility_curve.json"
FRAME = Frame(470, 334)  # as wide as the other wide charts
COLOURS = 7  # of the page
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Point = tuple[float, float, float, float]


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
    listed = [
        {
            "name": name,
            "correlation": curve.correlation if math.isfinite(curve.correlation) else None,
            "images": curve.images,
            "elements": curve.elements,
            "bins": [
                [round(x, 6), *(round(y, 6) for y in quartiles)]
                for x, quartiles in zip(curve.utility.tolist(), curve.quartiles.tolist(), strict=True)
            ],
        }
        for name, curve in curves.items()
    ]
    return write_atomically(Path(folder) / FILE, json.dumps(listed, ensure_ascii=False) + "\n")


def read_utility_curve(folder: Path) -> UtilityCurves | None:
    """The plot of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_utility_curve` writes.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        listed = read_json(file)
        first = 0 if len(listed) > 1 else 1  # grey is what others are compared with
        series = tuple(_series(entry, i) for i, entry in enumerate(listed, first))
        if not series:
            raise ValueError("no models")
        return UtilityCurves(series, max(int(entry["elements"]) for entry in listed))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{str(file)!r} is not a plot of sensitivity against utility: remove it, or make the run again"
        ) from None


def _series(entry: Mapping[str, Any], place: int) -> CurveSeries:
    points = tuple(_point(found) for found in entry["bins"])
    correlation = entry["correlation"]
    return CurveSeries(
        name=str(entry["name"]),
        style=Style(place % COLOURS, place // COLOURS),
        points=points,
        correlation="n/a" if correlation is None else f"{float(correlation):.2f}".replace("-", "\N{MINUS SIGN}"),
        images=int(entry["images"]),
    )


def _point(found: Any) -> Point:
    across, low, middle, high = (float(number) for number in found)
    if not (0 <= across <= 1 and 0 <= low <= middle <= high <= 1):
        raise ValueError("no ranks")
    return across, low, middle, high


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
