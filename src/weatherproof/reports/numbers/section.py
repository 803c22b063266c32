"""Tables and curves of the records that belong to no suite and no attack."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from weatherproof.reports.group import Group
from weatherproof.reports.tables import Table, make_tables
from weatherproof.reports.training.curves import Charts, label_charts, severity_charts

SECONDARY = frozenset({"top5", "recall@5", "error", "ece"})  # folded away: they say the same as their relatives
MOST_SERIES = 24  # of charts that share a legend

CURVED = frozenset({"top1", "cosine"})  # drawn above, where a hardening has its curve


@dataclass(frozen=True)
class Numbers:
    """What the page shows. `notes`: where no suite and no attack stands above, beside whose numbers they are said."""

    heading: str
    note: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    more_tables: tuple[Table, ...]
    severity: Charts
    labels: Charts


def numbers_part(group: Group) -> Numbers:
    """The part; without tables where a study has its own."""
    columns = ("model", "readout", "run") if group.compared else ("model", "readout")
    tables = [] if group.tabled else make_tables(group.rest, columns=columns)
    main = [t for t in tables if t.metric not in SECONDARY] or tables
    others = bool(group.subjects or group.attacked)
    return Numbers(
        heading="Other conditions" if others else group.heading or _heading(group),
        note="" if others else group.note,
        notes=() if others else group.notes,
        tables=tuple(main),
        more_tables=tuple(t for t in tables if t not in main),
        severity=_legible(
            _without(SECONDARY | (CURVED if group.curved else set()), severity_charts(group.rest, group.palette)), group
        ),
        labels=_without(SECONDARY, label_charts(group.rest, group.palette)),
    )


def _heading(group: Group) -> str:
    if group.compared:
        return "Side by side"
    return "How well it does" if group.runs[0].recipe.get("verb") == "pretrain" else "Before and after"


def headed(group: Group) -> Group | None:
    """The group, where its heading has to stand above a suite or an attack; else it is that of its tables."""
    return group if (group.heading or group.note) and (group.subjects or group.attacked) else None


def _legible(charts: Charts, group: Group) -> Charts:
    """Nothing, where a study's own table says what no reader tells apart in a chart."""
    return replace(charts, legend=(), charts=()) if group.tabled and len(charts.legend) > MOST_SERIES else charts


def _without(metrics: AbstractSet[str], charts: Charts) -> Charts:
    return replace(charts, charts=tuple(c for c in charts.charts if c.metric not in metrics))
