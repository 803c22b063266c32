"""Sensitivity against utility, a line with its quartiles for every model, as one file of a run folder and inline SVG.

`utility_curve.json` holds a list, one entry a model: "name", "correlation" (Spearman's, a number or null), "images",
"elements" (of an image), and "bins", a list of four fractions each: the mean rank of the utility, and the quartiles of
the rank of the sensitivity.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weatherproof.errors import InputError
from weatherproof.evaluation.utility.curve import UtilityCurve
from weatherproof.files import write_atomically
from weatherproof.reports.drawing.axes import Axis, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Line, Mark, Style, draw
from weatherproof.reports.words import records as words
from weatherproof.texts import read_json

FILE = "utility_curve.json"
COLOURS = 7  # of the page

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
    told = ", ".join(f"{s.name} (rank correlation {s.correlation})" for s in shown.series)
    chart = Chart(
        f"sensitivity against utility: {told}",
        Axis(0, 1, "utility, rank in the image, %", show=percent, inner=6),
        Axis(0, 1, "sensitivity, rank in the image, %", show=percent),
        (
            Line(((0, 0), (1, 1)), Style(0), "axis ideal"),
            *map(_band, shown.series),
            *(mark for series in shown.series for mark in _median(series)),  # above all bands
        ),
        height=334,
        right=14,
    )
    return draw(chart, wide=True)


def _band(series: CurveSeries) -> Line:
    """From the lower to the upper quartile."""
    lower, upper = [(x, low) for x, low, _, _ in series.points], [(x, high) for x, _, _, high in series.points]
    return Line((*lower, *reversed(upper)), series.style, "band")


def _median(series: CurveSeries) -> Iterator[Mark]:
    yield Line([(x, middle) for x, _, middle, _ in series.points], series.style)
    for x, low, middle, high in series.points:
        half = f"half of them from {words.percent(low)} to {words.percent(high)}"
        yield Dot(x, middle, series.style, f"{series.name}: {words.percent(middle)}, {half}")
