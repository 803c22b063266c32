"""Sensitivity against utility, a line with its quartiles for every model, as a file of a run folder and inline SVG."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from weatherproof.errors import InputError
from weatherproof.pixel_utility import UtilityCurve
from weatherproof.reports.drawing.axes import Axis, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Line, Mark, Style, draw
from weatherproof.reports.parts import PartFile, read_list, save_list
from weatherproof.reports.words import records as words

COLOURS = 7  # of the page

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

    @property
    def correlation_words(self) -> str:
        """Its correlation, in words."""
        return "n/a" if self.correlation is None else f"{self.correlation:.2f}".replace("-", "\N{MINUS SIGN}")


CURVES = PartFile("utility_curve.json", "a plot of sensitivity against utility", ModelCurve)


@dataclass(frozen=True)
class UtilityCurves:
    """What the page shows."""

    models: tuple[ModelCurve, ...]

    @property
    def series(self) -> tuple[tuple[Style, ModelCurve], ...]:
        """Grey is what others are compared with."""
        first = 0 if len(self.models) > 1 else 1
        return tuple((Style(i % COLOURS, i // COLOURS), own) for i, own in enumerate(self.models, first))

    @property
    def elements(self) -> int:
        return max(own.elements for own in self.models)

    @property
    def images(self) -> int:
        return max(own.images for own in self.models)


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
    return UtilityCurves(found) if found else None


def draw_utility_curve(shown: UtilityCurves) -> Markup:
    """The plot as an `<svg>` element with a title for screen readers and a tooltip on every marker."""
    names = ", ".join(f"{own.name} (rank correlation {own.correlation_words})" for own in shown.models)
    chart = Chart(
        f"sensitivity against utility: {names}",
        Axis(0, 1, "utility, rank in the image, %", show=percent, inner=6),
        Axis(0, 1, "sensitivity, rank in the image, %", show=percent),
        (
            Line(((0, 0), (1, 1)), Style(0), "axis ideal"),
            *(_band(*series) for series in shown.series),
            *(mark for series in shown.series for mark in _median(*series)),  # above all bands
        ),
        height=334,
        right=14,
    )
    return draw(chart, wide=True)


def _band(style: Style, own: ModelCurve) -> Line:
    """From the lower to the upper quartile."""
    lower, upper = [(x, low) for x, low, _, _ in own.bins], [(x, high) for x, _, _, high in own.bins]
    return Line((*lower, *reversed(upper)), style, "band")


def _median(style: Style, own: ModelCurve) -> Iterator[Mark]:
    yield Line([(x, middle) for x, _, middle, _ in own.bins], style)
    for x, low, middle, high in own.bins:
        half = f"half of them from {words.percent(low)} to {words.percent(high)}"
        yield Dot(x, middle, style, f"{own.name}: {words.percent(middle)}, {half}")
