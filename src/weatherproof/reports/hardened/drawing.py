"""A curve over the levels of a damage, and below it what the gauge answers there, on one horizontal axis."""

from collections.abc import Iterator
from dataclasses import replace

from weatherproof.benchmark import COMMON_19
from weatherproof.reports.drawing.axes import Axis, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Line, Mark, Series, Style
from weatherproof.reports.hardened.curve import Changed, Curve
from weatherproof.reports.hardened.gauge import GaugedKind
from weatherproof.reports.training.curves import Palette
from weatherproof.reports.words import records as words

ESTIMATE, BEYOND, CLEAN = Style(3), Style(2), Style(6, 1)
TRAINED = "trained"  # the class of what was trained on


def levels_axis(curve: Curve) -> Axis:
    """From none to the last level. Levels without an upper end stand on a square-root scale, the mild ones apart."""
    share = curve.family in words.SHARES
    show, root = percent if share else "{:g}".format, not share and curve.family not in COMMON_19
    top = curve.levels[-1] or 1.0
    return Axis(0, top, words.axis_words(curve.family), show=show, given=curve.levels, inner=10, root=root)


def draw_levels(changed: Changed, curve: Curve, palette: Palette) -> Chart:
    """One number of each model over the levels; what was trained on is shaded."""
    metric = words.metric_words(changed.metric)
    across = levels_axis(curve)
    lowest = min(0.0, *(value for own in curve.models for value in own.values))
    up = Axis(lowest, 1, metric.title, show=percent if metric.percent else "{:g}".format)
    series = tuple(
        Series(
            words.model_words(own.model), Style(palette.colour(own.model)),
            tuple((x, min(1.0, y), e or 0.0) for x, y, e in zip(curve.levels, own.values, own.errors, strict=True)),
        )
        for own in curve.models
    )  # fmt: skip
    named = f"{metric.words} over {across.label}"
    return Chart(named, across, up, tuple(_trained(curve, across, up)), series, metric=changed.metric, height=280)


def draw_estimates(curve: Curve, kind: GaugedKind) -> Chart:
    """The estimated level with its interval over the true one; right is the dashed line."""
    across = levels_axis(curve)
    up = replace(across, label="level that the gauge estimates", given=_apart(across), inner=6)
    marks: list[Mark] = [
        *_trained(curve, across, up),
        Line(((0, 0), (across.high, across.high)), Style(0), "axis right"),
    ]
    for own in kind.levels:
        if own.estimate is None or own.level > across.high:
            continue
        low, high = (own.estimate if end is None else end for end in (own.low, own.high))
        tooltip = f"{across.show(own.level)}: estimated {_round(across, own.estimate)}"
        tooltip += f", {_round(across, low)} to {_round(across, high)}, {own.images:,} images"
        ends = [(own.level, min(end, across.high)) for end in (low, high)]
        marks += [Line(ends, ESTIMATE, "interval"), Dot(own.level, min(own.estimate, across.high), ESTIMATE, tooltip)]
    return Chart(f"the gauge's estimate over {across.label}", _bare(across), up, tuple(marks), height=170, foot=22)


def draw_called(curve: Curve, kind: GaugedKind) -> Chart:
    """The shares of images that the gauge calls beyond what was trained, and clean, over the true level."""
    across = levels_axis(curve)
    up = Axis(0, 1, "called so, % of the images", 2, percent)
    known = [own for own in kind.levels if own.level <= across.high]
    series = (
        Series("called beyond", BEYOND, tuple((own.level, own.beyond, 0.0) for own in known)),
        Series("called clean", CLEAN, tuple((own.level, own.clean, 0.0) for own in known)),
    )
    marks = tuple(_trained(curve, across, up))
    return Chart(f"what the gauge says over {across.label}", across, up, marks, series if known else (), height=150)


def _trained(curve: Curve, across: Axis, up: Axis) -> Iterator[Mark]:
    for low, high in curve.trained:
        left, right = (min(end, across.high) for end in (low, high))
        corners = ((left, up.low), (right, up.low), (right, up.high), (left, up.high), (left, up.low))
        yield Line(corners, Style(1), TRAINED)


def _apart(axis: Axis, room: float = 0.15) -> tuple[float, ...]:
    """Those of its numbers, from the severe end, that are at least such a part of its length apart."""
    shown_levels: list[float] = []
    for tick in sorted(axis.ticks, reverse=True):
        if not shown_levels or axis.place(shown_levels[-1], 0, 1) - axis.place(tick, 0, 1) >= room:
            shown_levels.append(tick)
    return tuple(reversed(shown_levels))


def _bare(axis: Axis) -> Axis:
    """The same without its name, which the drawing below says."""
    return replace(axis, label="")


def _round(axis: Axis, value: float) -> str:
    return axis.show(float(f"{value:.3g}"))
