"""Curves under attack in several panels, where one chart for all models would have too many lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weatherproof.reports.attack.curves import attack_curves
from weatherproof.reports.parts import PartFile
from weatherproof.reports.training.curves import Charts
from weatherproof.reports.words.attacks import named
from weatherproof.reports.words.records import JsonRecord


@dataclass(frozen=True)
class Panel:
    """One chart: an attack on some models.

    Attributes:
        attack: the text of any attack of its family, of any eps.
        models: those of its curves as records call them, with what the legend says.
    """

    title: str
    attack: str
    models: Mapping[str, str]


PANELS = PartFile("panels.json", "a list of panels", Panel)


def panel_curves(records: Sequence[JsonRecord], panels: Sequence[Panel]) -> Charts:
    """A chart for each panel that has two sizes; they share one legend.

    Args:
        records: of the metric "error", with the size as severity.
    """
    drawn = [(panel, attack_curves(_own(records, panel))) for panel in panels]
    legend = dict.fromkeys(entry for _, charts in drawn for entry in charts.legend)
    return Charts(
        tuple(legend),
        tuple(
            replace(chart, title=panel.title, subtitle=f"Error, % · {chart.subtitle}")
            for panel, charts in drawn
            for chart in charts.charts
        ),
    )


def _own(records: Sequence[JsonRecord], panel: Panel) -> list[JsonRecord]:
    """The panel's records, by the names of its legend, in its order."""
    family = named(panel.attack).family
    return [
        {**record, "model": called, "readout": None, "trained_on": None}
        for model, called in panel.models.items()
        for record in records
        if record["model"] == model and named(str(record["attack"])).family == family
    ]
