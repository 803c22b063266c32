"""What a page shows of a suite, for subjects that may stand side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def suite_parts(subjects: Sequence[Subject], notes: Sequence[str] = ()) -> tuple[SuitePart, ...]:
    """One part for every group of subjects that measured alike."""
    groups = alike(subjects)
    return tuple(
        SuitePart(
            subjects=tuple(group),
            note=", ".join(dict.fromkeys(s.data for s in group if s.data)) if len(groups) > 1 else "",
            table=side_by_side(group) if len(group) > 1 else None,
            maps=tuple(heat_maps(group)),
            more_maps=tuple(
                (words.metric_words(metric).words, tuple(made))
                for metric in FURTHER
                if metric != group[0].metric and (made := heat_maps(group, metric))
            ),
            bars=group_bars(group),
            scatter=scatter(group),
            sums=in_sum(group),
            notes=tuple(suite_notes(group, notes)),
        )
        for group in groups
    )
