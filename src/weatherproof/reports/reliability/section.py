"""Reliability diagrams, accuracy against confidence, from one file of a run folder.

`reliability.json` holds a list, one entry for each condition: "model", "kind" ("clean", "corruption" or "attack"),
"name" (of the corruptions, or the attack's text), "data", "error" (the RMS calibration error), "images" (how many) and
"bins", [[mean confidence, accuracy, its standard error], ...].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError
from weatherproof.evaluation.metrics.calibration import reliability, rms_calibration_error
from weatherproof.files import write_atomically
from weatherproof.reports.drawing.charts import Chart, Series, Style
from weatherproof.reports.files import Run
from weatherproof.reports.group import Group
from weatherproof.reports.training.curves import Charts
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words
from weatherproof.texts import read_json

FILE = "reliability.json"
_IDEAL = Series("as often right as sure", Style(0, 1), ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0)), marked=False)
_COLOURS = 6  # of the page, without the grey of the diagonal


@dataclass(frozen=True)
class Answered:
    """The answers of one model under one condition.

    Attributes:
        kind: clean, corruption or attack.
        name: of the corruptions, or the attack's text.
        confidence, correct, place: as for `evaluation.calibration.reliability`.
    """

    model: str
    kind: str
    name: str
    data: str
    confidence: Any
    correct: Any
    place: Any


def save_reliability(folder: Path | str, found: Sequence[Answered]) -> Path | None:
    """Write `reliability.json` and return where it is. Conditions without answers, or whose confidences are no numbers,
    are left out; None where no other is there."""
    entries = [_entry(own) for own in found if len(own.confidence) and not bool(own.confidence.isnan().any())]
    if not entries:
        return None
    return write_atomically(Path(folder) / FILE, json.dumps(entries, ensure_ascii=False) + "\n")


def _entry(own: Answered) -> dict[str, Any]:
    bins = reliability(own.confidence, own.correct, own.place)
    return {
        "model": own.model, "kind": own.kind, "name": own.name, "data": own.data,
        "error": rms_calibration_error(own.confidence, own.correct), "images": len(own.place.unique()),
        "bins": [[b.confidence, b.accuracy, b.stderr] for b in bins],
    }  # fmt: skip


def reliability_part(group: Group) -> Charts | None:
    """The diagrams of a group's runs; None where there are none."""
    charts = reliability_charts(group.runs)
    return charts if charts.charts else None


def reliability_charts(runs: Sequence[Run]) -> Charts:
    """One diagram for each condition, one line for each model; none where no run has a file.

    Raises:
        InputError: a file that is not what `save_reliability` writes.
    """
    found = [(run.name if len(runs) > 1 else "", entry) for run in runs for entry in _read(run.path / FILE)]
    models = list(dict.fromkeys((run, str(entry["model"])) for run, entry in found))
    styles = {model: Style(1 + i % _COLOURS, 0) for i, model in enumerate(models)}
    names = {(run, model): run or words.model_words(model) for run, model in models}
    conditions = dict.fromkeys((e["kind"], e["name"], e["data"]) for _, e in found)
    charts = []
    for kind, name, data in conditions:
        own = {(run, e["model"]): e for run, e in found if (e["kind"], e["name"], e["data"]) == (kind, name, data)}
        series = [
            Series(names[m], styles[m], tuple((x, y, error) for x, y, error in e["bins"])) for m, e in own.items()
        ]
        charts.append(
            Chart(
                title=_title(kind, name),
                subtitle="; ".join(_said(names[m] if len(models) > 1 else "", e) for m, e in own.items()),
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


def _said(name: str, entry: Mapping[str, Any]) -> str:
    images = "" if name else f", {entry['images']:,} images"
    return f"{f'{name}: ' if name else ''}RMS calibration error {100 * entry['error']:.1f} %{images}"


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    try:
        found = read_json(file)
        return [
            {key: str(e[key]) for key in ("model", "kind", "name", "data")}
            | {"error": float(e["error"]), "images": int(e["images"])}
            | {"bins": [tuple(map(float, own[:3])) for own in e["bins"] if len(own) >= 3]}
            for e in found
        ]
    except (ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"{str(file)!r} holds no reliability diagrams: remove it, or make the run again") from None
