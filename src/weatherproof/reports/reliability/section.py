"""Reliability diagrams, accuracy against confidence, from one file of a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weatherproof.reports.drawing.charts import COLOURS, Series, Style, line_chart
from weatherproof.reports.files import Run
from weatherproof.reports.group import Group
from weatherproof.reports.parts import PartFile, read_list, save_list
from weatherproof.reports.training.curves import Charts
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words

_IDEAL = Series("as often right as sure", Style(0, 1), ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0)), marked=False)


@dataclass(frozen=True)
class Diagram:
    """One model under one condition.

    Attributes:
        name: of the corruptions, or the attack's text.
        error: the RMS calibration error.
        bins: mean confidence, accuracy and its standard error.
    """

    model: str
    kind: Literal["clean", "corruption", "attack"]
    name: str
    data: str
    error: float
    images: int
    bins: tuple[tuple[float, float, float], ...]


DIAGRAMS = PartFile("reliability.json", "a list of reliability diagrams", Diagram)


def save_reliability(folder: Path | str, diagrams: Sequence[Diagram]) -> Path | None:
    """Write `reliability.json` and return where it is; None where there are no diagrams."""
    return save_list(folder, DIAGRAMS, diagrams, indent=None) if diagrams else None


def reliability_part(group: Group) -> Charts | None:
    """The diagrams of a group's runs; None where there are none."""
    charts = reliability_charts(group.runs)
    return charts if charts.charts else None


def reliability_charts(runs: Sequence[Run]) -> Charts:
    """One diagram for each condition, one line for each model; none where no run has a file.

    Raises:
        InputError: a file holds something else.
    """
    found = [(run.name if len(runs) > 1 else "", own) for run in runs for own in read_list(run.path, DIAGRAMS)]
    models = list(dict.fromkeys((run, own.model) for run, own in found))
    styles = {model: Style(1 + i % COLOURS, 0) for i, model in enumerate(models)}
    names = {(run, model): run or words.model_words(model) for run, model in models}
    conditions = dict.fromkeys((own.kind, own.name, own.data) for _, own in found)
    charts = []
    for kind, name, data in conditions:
        own = {(run, d.model): d for run, d in found if (d.kind, d.name, d.data) == (kind, name, data)}
        series = [Series(names[m], styles[m], d.bins) for m, d in own.items()]
        charts.append(
            line_chart(
                title=_title(kind, name),
                subtitle="; ".join(_said(names[m] if len(models) > 1 else "", d) for m, d in own.items()),
                x_label="confidence, %",
                series=(_IDEAL, *series),
                y_range=(0.0, 1.0),
                show_x=lambda x: f"{100 * x:.3g}",
                show_y=lambda y: f"{100 * y:.3g}",
            )
        )
    legend = [(styles[model], names[model]) for model in models]
    return Charts((*legend, (_IDEAL.style, _IDEAL.name)) if charts else (), tuple(charts))


def _title(kind: str, name: str) -> str:
    if kind == "clean":
        return "Clean images"
    return f"Under attack by {attack_words(name)}" if kind == "attack" else f"Corrupted images: {name}"


def _said(name: str, own: Diagram) -> str:
    images = "" if name else f", {own.images:,} images"
    return f"{f'{name}: ' if name else ''}RMS calibration error {100 * own.error:.1f} %{images}"
