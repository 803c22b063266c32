"""What a page shows of trainings: the curves of one, or what was watched of several."""

from dataclasses import dataclass, field

from weatherproof.reports.details import training_facts
from weatherproof.reports.drawing.charts import Chart
from weatherproof.reports.group import Group
from weatherproof.reports.training.curves import Charts, training_charts, watched_charts


@dataclass(frozen=True)
class TrainingPart:
    """Of one run `charts` and `facts`, of several `watched`."""

    charts: tuple[Chart, ...] = ()
    facts: tuple[str, ...] = ()
    watched: Charts = field(default_factory=lambda: Charts((), ()))


def trained(group: Group) -> TrainingPart:
    (run,) = group.runs
    return TrainingPart(charts=training_charts(run.logs), facts=tuple(training_facts(run.logs)))


def watched(group: Group) -> TrainingPart:
    return TrainingPart(watched=watched_charts([(run.name, run.logs.get("", [])) for run in group.runs]))
