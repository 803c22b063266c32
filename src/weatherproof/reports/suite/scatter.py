"""Accuracy against calibration: a dot for every corruption at every severity, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from weatherproof.benchmark import GROUPS
from weatherproof.reports.drawing.axes import Axis, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Style, draw
from weatherproof.reports.suite.records import OTHER, group_of
from weatherproof.reports.suite.subjects import Subject
from weatherproof.reports.words import records as words

GROUP_STYLES = {group: Style(i) for i, group in enumerate((*GROUPS, OTHER), 1)}  # four colours, four shapes
ACROSS, UP = "top1", "rms_calibration_error"
RING = "ring"  # the clean images


@dataclass(frozen=True)
class Scatter:
    """One drawing. The legend names the subjects, or the groups of corruptions where there is one subject alone."""

    legend: tuple[tuple[Style, str], ...]
    dots: tuple[Dot, ...]


def scatter(subjects: Sequence[Subject]) -> Scatter | None:
    """The dots of all subjects; None where fewer than two conditions have an accuracy and a calibration error."""
    alone = len(subjects) == 1
    dots, used = [], []
    for subject in subjects:
        name = "" if alone else f"{subject.name}: "
        for (metric, corruption, severity), record in subject.cells.items():
            other = subject.cells.get((UP, corruption, severity))
            if metric != ACROSS or other is None or words.missing(record["value"]) or words.missing(other["value"]):
                continue
            style = GROUP_STYLES[group_of(corruption)] if alone else subject.style
            used.append((style, group_of(corruption) if alone else subject.name))
            dots.append(_dot(f"{name}{words.condition_words(record)}", record["value"], other["value"], style, "faint"))
        across, up = (subject.clean.get(metric, {}).get("value") for metric in (ACROSS, UP))
        if words.finite(across) and words.finite(up):
            dots.append(_dot(f"{name}clean images", across, up, Style(0) if alone else subject.style, RING))
    if len(dots) < 2 or not used:
        return None
    order = [GROUP_STYLES[group] for group in GROUP_STYLES] if alone else [s.style for s in subjects]
    return Scatter(tuple(sorted(dict.fromkeys(used), key=lambda pair: order.index(pair[0]))), tuple(dots))


def _dot(name: str, x: float, y: float, style: Style, kind: str) -> Dot:
    tooltip = f"{name}: accuracy {words.number(ACROSS, x)}, calibration error {words.number(UP, y)}"
    return Dot(float(x), float(y), style, tooltip, kind)


def draw_scatter(shown: Scatter) -> Markup:
    """A scatter plot as an `<svg>` element with a title for screen readers and a tooltip on every dot."""
    across, up = (words.metric_words(metric).words for metric in (ACROSS, UP))
    axis = partial(Axis.around, within=(0.0, 1.0), show=percent, grid=True)
    chart = Chart(
        f"{up} over {across.lower()}: {len(shown.dots)} conditions",
        axis([dot.x for dot in shown.dots], f"{across}, %", count=6, inner=8),
        axis([0.0, *(dot.y for dot in shown.dots)], f"{up}, %"),
        (*(dot for dot in shown.dots if dot.kind != RING), *(dot for dot in shown.dots if dot.kind == RING)),
        height=330,
        right=14,
    )
    return draw(chart, wide=True)
