"""Accuracy against calibration: a dot for every corruption at every severity, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from weatherproof.benchmark import GROUPS
from weatherproof.reports.drawing.charts import Style, marker
from weatherproof.reports.drawing.frame import Frame, fitted, nice_ticks, percent
from weatherproof.reports.suite.records import OTHER, group_of
from weatherproof.reports.suite.subjects import Subject
from weatherproof.reports.words import records as words

FRAME = Frame(470, 330)  # as wide as the wider line charts, so that text has their size
GROUP_STYLES = {group: Style(i) for i, group in enumerate((*GROUPS, OTHER), 1)}  # four colours, four shapes
ACROSS, UP = "top1", "rms_calibration_error"


@dataclass(frozen=True)
class Dot:
    """One condition: x the accuracy, y the calibration error, both fractions. `clean`: drawn as a ring."""

    x: float
    y: float
    told: str
    style: Style
    clean: bool = False


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
            dots.append(_dot(f"{name}{words.condition_words(record)}", record["value"], other["value"], style))
        across, up = (subject.clean.get(metric, {}).get("value") for metric in (ACROSS, UP))
        if words.finite(across) and words.finite(up):
            dots.append(_dot(f"{name}clean images", across, up, Style(0) if alone else subject.style, clean=True))
    if len(dots) < 2 or not used:
        return None
    order = [GROUP_STYLES[group] for group in GROUP_STYLES] if alone else [s.style for s in subjects]
    return Scatter(tuple(sorted(dict.fromkeys(used), key=lambda pair: order.index(pair[0]))), tuple(dots))


def _dot(name: str, x: float, y: float, style: Style, clean: bool = False) -> Dot:
    told = f"{name}: accuracy {words.number(ACROSS, x)}, calibration error {words.number(UP, y)}"
    return Dot(float(x), float(y), told, style, clean)


def draw_scatter(shown: Scatter) -> Markup:
    """A scatter plot as an `<svg>` element with a title for screen readers and a tooltip on every dot."""
    left, right = fitted([dot.x for dot in shown.dots])
    left, right = max(0.0, left), min(1.0, right)
    top = min(1.0, fitted([0.0, *(dot.y for dot in shown.dots)])[1])
    to_x, to_y = FRAME.across(left, right), FRAME.up(0.0, top)
    across, up = (words.metric_words(metric).words for metric in (ACROSS, UP))
    parts = [
        FRAME.rows(nice_ticks(0.0, top, 4), to_y, percent),
        FRAME.columns(nice_ticks(left, right, 6), to_x, percent),
        FRAME.names(f"{across}, %", f"{up}, %"),
    ]
    for dot in sorted(shown.dots, key=lambda dot: dot.clean):  # the rings last: nothing hides them
        kind = "ring" if dot.clean else "faint"
        drawn = marker(dot.style, to_x(dot.x), to_y(dot.y), dot.told)
        parts.append(Markup('<g class="s{} {}">{}</g>').format(dot.style.colour, kind, drawn))
    return FRAME.drawing(f"{up} over {across.lower()}: {len(shown.dots)} conditions", parts)
