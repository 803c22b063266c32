"""What a page shows of a suite, for subjects that may stand side by side."""

from dataclasses import dataclass

from weatherproof.reports.group import Group
from weatherproof.reports.suite.bars import BarGroup, group_bars
from weatherproof.reports.suite.heatmap import FURTHER, HeatMap, heat_maps
from weatherproof.reports.suite.notes import suite_notes
from weatherproof.reports.suite.scatter import Scatter, scatter
from weatherproof.reports.suite.subjects import Subject, alike
from weatherproof.reports.suite.tables import in_sum, side_by_side
from weatherproof.reports.tables import Table
from weatherproof.reports.words import records as words

OPEN = 2  # as many heat maps stand beside each other; more are folded below the table


@dataclass(frozen=True)
class SuitePart:
    """Tables and drawings of subjects that were measured alike.

    Attributes:
        note: on which images, where a page has several such parts.
        table: corruptions by subjects; None for one subject.
        more_maps: (metric in words, heat maps), folded.
    """

    subjects: tuple[Subject, ...]
    note: str
    table: Table | None
    maps: tuple[HeatMap, ...]
    more_maps: tuple[tuple[str, tuple[HeatMap, ...]], ...]
    bars: tuple[BarGroup, ...]
    scatter: Scatter | None
    sums: Table | None
    notes: tuple[str, ...]

    @property
    def has_errors(self) -> bool:
        return any(bar.error for group in self.bars for bar in group.bars)

    @property
    def folded(self) -> bool:
        return len(self.maps) > OPEN


def suite_parts(group: Group) -> tuple[SuitePart, ...]:
    """One part for every group of subjects that measured alike; none where a study has a table of its own."""
    groups = [] if group.tabled else alike(group.subjects)
    return tuple(
        SuitePart(
            subjects=tuple(own),
            note=", ".join(dict.fromkeys(s.data for s in own if s.data)) if len(groups) > 1 else "",
            table=side_by_side(own) if len(own) > 1 else None,
            maps=tuple(heat_maps(own)),
            more_maps=tuple(
                (words.metric_words(metric).words, tuple(made))
                for metric in FURTHER
                if metric != own[0].metric and (made := heat_maps(own, metric))
            ),
            bars=group_bars(own),
            scatter=scatter(own),
            sums=in_sum(own),
            notes=tuple(suite_notes(own, group.notes)),
        )
        for own in groups
    )
