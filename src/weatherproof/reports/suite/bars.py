"""Accuracy by group of corruptions: one bar for each subject, groups below each other on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from weatherproof.benchmark import GROUPS
from weatherproof.reports.drawing.charts import Style
from weatherproof.reports.suite.records import ASIDE, OTHER, WHOLES
from weatherproof.reports.suite.subjects import Subject
from weatherproof.reports.suite.tables import clean_lines, total_lines
from weatherproof.reports.tables import row_cells
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord


@dataclass(frozen=True)
class GroupBar:
    """One bar. Fractions of the scale from 0 to 100 %; `low` and `high` are the ends of the whisker, where there is
    one."""

    name: str
    style: Style
    text: str
    error: str
    fraction: float
    low: float | None
    high: float | None
    best: bool

    @property
    def tooltip(self) -> str:
        return f"{self.name}: {self.text}" + (f" ± {self.error}" if self.error else "")


@dataclass(frozen=True)
class BarGroup:
    """The bars of one group, of the whole suite, or of the clean images. `note`: what tells it from a namesake."""

    name: str
    note: str
    bars: tuple[GroupBar, ...]


def group_bars(subjects: Sequence[Subject]) -> tuple[BarGroup, ...]:
    """Clean images, every group that was measured, every suite, and what was seen in training and what not."""
    lines = clean_lines(subjects, "top1")
    for whole in (*GROUPS, OTHER, *WHOLES, *ASIDE):
        lines += total_lines(subjects, "mca", whole)
    groups = []
    for line in lines:
        cells = row_cells(line.metric, line.records)
        bars = [
            _bar(subject, record, cell.best)
            for subject, record, cell in zip(subjects, line.records, cells, strict=True)
            if record is not None
        ]
        groups.append(BarGroup(line.words, line.note, tuple(bars)))
    return tuple(groups)


def _bar(subject: Subject, record: JsonRecord, best: bool) -> GroupBar:
    metric, value, error = str(record["metric"]), record.get("value"), record.get("stderr")
    text, _, shown = words.number(metric, value, error).partition(" ± ")
    known = float(value) if words.finite(value) else 0.0
    spread = float(error) if words.finite(error) and words.finite(value) and error > 0 else None
    return GroupBar(
        name=subject.name,
        style=subject.style,
        text=text,
        error=shown,
        fraction=_inside(known),
        low=None if spread is None else _inside(known - spread),
        high=None if spread is None else _inside(known + spread),
        best=best,
    )


def _inside(value: float) -> float:
    return min(1.0, max(0.0, value))
