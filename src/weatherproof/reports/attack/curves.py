"""Error against the size of the perturbation: one chart for each norm and set of images, one line for each attack on
each model."""

from collections.abc import Hashable, Sequence

from weatherproof.reports.drawing.charts import COLOURS, Series, Style, line_chart
from weatherproof.reports.training.curves import Charts, error_of
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import Named, named, norm_words, size_words
from weatherproof.reports.words.records import JsonRecord

_MODEL = ("run", "model", "readout", "trained_on")


def attack_curves(records: Sequence[JsonRecord]) -> Charts:
    """Charts where at least two sizes were measured.

    Args:
        records: of the metric "error", with the size as severity.
    """
    known = [(named(str(r["attack"])), r) for r in records if words.finite(r.get("severity")) and _shown(r)]
    models = list(dict.fromkeys(_model(r) for _, r in known))
    families = list(dict.fromkeys(own.family for own, _ in known))
    styles: dict[str, Style] = {}
    charts = []
    for data, norm in dict.fromkeys((str(r.get("data") or ""), own.norm) for own, r in known):
        here = [(own, r) for own, r in known if own.norm == norm and str(r.get("data") or "") == data]
        levels = sorted({float(r["severity"]) for _, r in here})
        if len(levels) < 2:
            continue
        series = []
        for model in models:
            for family in families:
                points = [(float(r["severity"]), r) for own, r in here if own.family == family and _model(r) == model]
                if not points:
                    continue
                name = _name(model, models, family, families)
                styles[name] = Style(1 + models.index(model) % COLOURS, _kind(family, families))
                series.append(Series(name, styles[name], tuple((x, float(r["value"]), error_of(r)) for x, r in points)))
        charts.append(
            line_chart(
                title=f"Error, %, by the size of the perturbation in {norm_words(norm)}",
                subtitle=data,
                metric="error",
                x_label=_axis(norm),
                series=tuple(series),
                y_range=(0.0, 1.0),
                x_ticks=tuple(levels),
                show_x=(lambda x: f"{255 * x:.3g}") if norm == "linf" else (lambda x: size_words("l2", x)),
                show_y=lambda y: f"{100 * y:.3g}",
            )
        )
    return Charts(tuple((style, name) for name, style in styles.items()), tuple(charts))


def _axis(norm: str) -> str:
    if norm == "linf":
        return "size in L∞, 255ths of a pixel's range"
    return "elements changed" if norm == "l0" else f"size in {norm_words(norm)}, pixels from 0 to 1"


def _model(record: JsonRecord) -> tuple[Hashable, ...]:
    return tuple(record.get(name) for name in _MODEL)


def _kind(family: tuple[str, str, str], families: Sequence[tuple[str, str, str]]) -> int:
    """Which of the attacks of its norm."""
    return [other for other in families if other[1] == family[1]].index(family)


def _name(
    model: tuple[Hashable, ...], models: Sequence[tuple[Hashable, ...]], family: tuple[str, str, str],
    families: Sequence[tuple[str, str, str]],
) -> str:  # fmt: skip
    """As many words as tell the lines apart; the norm is that of the chart."""
    run, name, readout, trained = model
    parts = [str(run)] if run else [words.model_words(str(name))]
    if run and len({m[1] for m in models if m[0] == run}) > 1:
        parts.append(words.model_words(str(name)))
    if len({m[2] for m in models if m[:2] == model[:2]}) > 1:
        parts.append(words.readout_words(None if readout is None else str(readout)))
    if len({m[3] for m in models if m[:3] == model[:3]}) > 1 and trained:
        parts.append(f"trained on {words.operator_words(str(trained))}")
    if len({(kind, further) for kind, _, further in families}) > 1:
        parts.append(family[0] + (f" ({family[2]})" if family[2] and _needs_settings(family, families) else ""))
    return ", ".join(part for part in parts if part)


def _needs_settings(family: tuple[str, str, str], families: Sequence[tuple[str, str, str]]) -> bool:
    return len({further for kind, _, further in families if kind == family[0]}) > 1


def _shown(record: JsonRecord) -> bool:
    return words.finite(record.get("value")) and isinstance(named(str(record["attack"])), Named)
