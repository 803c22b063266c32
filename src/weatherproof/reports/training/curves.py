"""Which charts a run has: severity curves, few-label curves, training curves."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from weatherproof.reports.drawing.axes import Show, percent
from weatherproof.reports.drawing.charts import COLOURS, Chart, Series, Style, line_chart
from weatherproof.reports.tables import CONDITION, condition_order, model_order
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

SERIES_KEYS = ("model", "readout", "trained_on", "run")
LOG_POINTS = 160  # a training curve shows the means of at most this many stretches of steps
MARKED = 25  # points of what was watched that get a marker each
WATCHED = ("knn_accuracy", "alignment", "uniformity")  # as `evaluation.Watch` calls them
NO_LOSS = frozenset({"step", "epoch", "images_per_second", "seconds", "time"})

Placed = list[tuple[float, JsonRecord]]  # where each stands on the horizontal axis


@dataclass(frozen=True)
class Charts:
    """Charts that share a legend."""

    legend: tuple[tuple[Style, str], ...]
    charts: tuple[Chart, ...]


class Palette:
    """A style for every series of a page: the colour is the model's, marker and dashes tell its readouts apart."""

    def __init__(self, records: Sequence[JsonRecord]):
        keys = dict.fromkeys(series_key(r) for r in sorted(records, key=model_order(records)))
        models = list(dict.fromkeys([*words.MODEL_ORDER, *(key[0] for key in keys)]))
        self.colours = {model: i % 7 for i, model in enumerate(models)}  # the page defines seven
        self.styles: dict[tuple[str, ...], Style] = {}
        for key in keys:
            others = sum(known[0] == key[0] for known in self.styles)
            self.styles[key] = Style(self.colours[key[0]], others)
        # Words that tell series apart: what is the same for all is left out.
        models = list(dict.fromkeys(key[0] for key in keys))
        self.telling = [i for i in range(1, len(SERIES_KEYS)) if len({(k[0], k[i]) for k in keys}) > len(models)]

    def colour(self, model: str) -> int:
        return self.colours.get(model, len(self.colours) % 7)

    def name(self, key: tuple[str, ...]) -> str:
        shown = [words.model_words(key[0])]
        for i in self.telling:
            if key[i]:
                trained = SERIES_KEYS[i] == "trained_on"
                shown.append(f"trained on {words.operator_words(key[i])}" if trained else words.readout_words(key[i]))
        return ", ".join(shown)


def series_key(record: JsonRecord) -> tuple[str, ...]:
    return (str(record.get("model")), *(str(record.get(name) or "") for name in SERIES_KEYS[1:]))


def severity_charts(records: Sequence[JsonRecord], palette: Palette) -> Charts:
    """One chart per metric, data set, family of damage and amount of labels, where at least two levels were measured.

    The clean images stand at level 0, which is what every family does at level 0.
    """
    groups: dict[tuple[str, str | None, float | None, str], Placed] = {}
    for record in _measured(records):
        place = words.level(record)
        if place:
            groups.setdefault((*_base(record), place[0]), []).append((place[1], record))
    charts = []
    facets = any(not words.missing(r.get("label_fraction")) for r in records)
    for (metric, data, fraction, family), found in groups.items():
        if len({level for level, _ in found}) < 2:
            continue
        protocols = {r.get("protocol") for _, r in found}
        clean = [r for r in _measured(records) if words.is_clean(r) and _base(r) == (metric, data, fraction)]
        placed = [*found, *((0.0, r) for r in clean if r.get("protocol") in protocols or len(protocols) > 1)]
        what = words.labels_words(fraction) or ("no further labels" if facets else "")
        show = percent if family in words.SHARES else "{:g}".format
        charts.append(_chart(metric, data, what, words.axis_words(family), show, placed, palette))
    return _with_legend(charts, records, palette)


def label_charts(records: Sequence[JsonRecord], palette: Palette) -> Charts:
    """One chart per metric, data set and condition over the fraction of labels, where at least two were used."""
    groups: dict[tuple[str, str | None, tuple[str, ...]], Placed] = {}
    for record in sorted(_measured(records), key=condition_order):
        fraction = record.get("label_fraction")
        if words.finite(fraction) and fraction > 0:
            condition = tuple(str(record.get(name)) for name in CONDITION)
            groups.setdefault((record["metric"], record.get("data"), condition), []).append((float(fraction), record))
    charts = []
    for (metric, data, _), found in groups.items():
        if len({fraction for fraction, _ in found}) < 2:
            continue
        what = words.condition_words(found[0][1])
        charts.append(_chart(metric, data, what, "labels used", words.percent, found, palette, log_x=True))
    return _with_legend(charts, records, palette)


def training_charts(logs: Mapping[str, Sequence[JsonRecord]]) -> tuple[Chart, ...]:
    """The loss, what was watched, and every other term that is not the loss again, over each training.

    They stand over the steps; over the epochs where something was watched once in a while.
    """
    charts = []
    for name, lines in logs.items():
        terms = dict.fromkeys(key for line in lines for key in line if key not in NO_LOSS)
        across = "epoch" if any(_over(lines, "epoch", term) for term in WATCHED) else "step"
        loss = _over(lines, across, "loss")
        for term in sorted(terms, key=_place):
            points = _over(lines, across, term)
            if len(points) < 2 or (term != "loss" and points == loss):
                continue
            series = Series(name or "training", Style(1), points, marked=term in WATCHED and len(points) <= MARKED)
            charts.append(_training_chart(term, across, (series,), of=name))
    return tuple(charts)


def watched_charts(runs: Sequence[tuple[str, Sequence[JsonRecord]]]) -> Charts:
    """What was watched during two or more trainings, by run name and log, one line for each."""
    charts: list[Chart] = []
    shown: dict[str, Style] = {}
    for term in WATCHED:
        curves = [(name, _over(lines, "epoch", term)) for name, lines in runs]
        styles = {
            name: Style(1 + i % COLOURS, i // COLOURS) for i, (name, _) in enumerate(curves)
        }  # the grey is no run's
        curves = [(name, points) for name, points in curves if len(points) > 1]
        if len(curves) < 2:
            continue
        shown |= {name: styles[name] for name, _ in curves}
        longest = max(len(points) for _, points in curves)
        lines = tuple(Series(name, styles[name], points, longest <= MARKED) for name, points in curves)
        charts.append(_training_chart(term, "epoch", lines))
    return Charts(tuple((style, name) for name, style in shown.items()), tuple(charts))


def _place(term: str) -> tuple[int, int]:
    """The loss first, then what was watched, the learning rate last."""
    if term in WATCHED:
        return 1, WATCHED.index(term)
    return {"loss": 0, "lr": 3}.get(term, 2), 0


def _training_chart(term: str, across: str, series: tuple[Series, ...], of: str = "") -> Chart:
    """Fractions from 0 on, so that a small gain looks small."""
    metric, watched = words.metric_words(term), term in WATCHED
    title = metric.title if watched else {"lr": "learning rate"}.get(term, term.replace("_", " "))
    ys = [y for own in series for _, y, _ in own.points]
    return line_chart(
        f"{of}: {title}" if of else title,
        across,
        series,
        y_range=(min(0.0, *ys), min(1.0, 1.1 * max(ys)) or 1.0) if metric.percent else None,
        show_y=_show(term),
        subtitle=metric.meaning if watched else "",
    )


def _over(lines: Sequence[JsonRecord], across: str, term: str) -> tuple[tuple[float, float, float], ...]:
    """(step or epoch, value, 0) of a term, averaged over neighbouring lines where a chart cannot show them all."""
    known = [(float(line[across]), float(line[term])) for line in lines if _is_number(line, across, term)]
    width = math.ceil(len(known) / LOG_POINTS) or 1
    stretches = [known[i : i + width] for i in range(0, len(known), width)]
    return tuple((s[-1][0], sum(y for _, y in s) / len(s), 0.0) for s in stretches)


def _is_number(line: JsonRecord, *keys: str) -> bool:
    return not any(words.missing(line.get(key)) for key in keys)


def _measured(records: Iterable[JsonRecord]) -> list[JsonRecord]:
    return [r for r in records if not words.missing(r.get("value"))]


def _base(record: JsonRecord) -> tuple[str, str | None, float | None]:
    return record["metric"], record.get("data"), record.get("label_fraction")


def _chart(
    metric: str, data: str | None, what: str, x_label: str, show_x: Show, placed: Placed, palette: Palette,
    log_x: bool = False,
) -> Chart | None:  # fmt: skip
    """What sets it apart is its title, else the metric. All of [0, 1] for metrics that we know, so that a small gain
    looks small. None where there is nothing to draw."""
    series = _series(placed, palette)
    if not series:
        return None
    name = words.metric_words(metric).title
    lowest = min(0.0, *(float(record["value"]) for _, record in placed))
    return line_chart(
        what or name,
        x_label,
        series,
        y_range=(lowest, 1.0) if metric in words.METRICS else None,
        x_ticks=tuple(sorted({place for place, _ in placed})),
        log_x=log_x,
        show_x=show_x,
        show_y=_show(metric),
        subtitle=" · ".join(filter(None, (name if what else "", data))),
        metric=metric,
    )


def _show(metric: str) -> Show:
    return (lambda y: f"{100 * y:.3g}") if words.metric_words(metric).percent else "{:.3g}".format


def _series(placed: Placed, palette: Palette) -> tuple[Series, ...]:
    """One for each model; none of a name that several models have, which shows by two values at one place."""
    by_key: dict[tuple[str, ...], dict[tuple[float, float, float], None]] = {}
    for x, record in placed:
        by_key.setdefault(series_key(record), {})[x, float(record["value"]), error_of(record)] = None
    order = [key for key in palette.styles if key in by_key and _is_function(by_key[key])]
    return tuple(Series(palette.name(key), palette.styles[key], tuple(by_key[key])) for key in order)


def _is_function(points: Collection[tuple[float, float, float]]) -> bool:
    return len({x for x, _, _ in points}) == len(points)


def error_of(record: JsonRecord) -> float:
    """Its standard error, 0 where there is none."""
    error = record.get("stderr")
    return float(error) if words.finite(error) else 0.0


def _with_legend(charts: Sequence[Chart | None], records: Sequence[JsonRecord], palette: Palette) -> Charts:
    made = sorted((own for own in charts if own is not None), key=lambda chart: words.preference(chart.metric))
    shown = {series.name for chart in made for series in chart.series}
    legend = [(style, palette.name(key)) for key, style in palette.styles.items() if palette.name(key) in shown]
    return Charts(tuple(legend), tuple(made))
