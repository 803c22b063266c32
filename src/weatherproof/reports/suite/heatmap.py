"""Heat maps: corruption x severity, one for each subject and metric, as the cells of an HTML table.

The shade says how bad a number is, in ten steps of ten per cent that are the same on every page: the darker (on dark
paper: the brighter), the worse. The number is in the cell, so that nothing rests on the shade.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from weatherproof.benchmark import GROUPS, SEVERITIES
from weatherproof.reports.drawing.charts import Style
from weatherproof.reports.suite.records import (
    ASIDE,
    OTHER,
    WHOLES,
    group_of,
    is_extra,
    synthetic_frost,
    whole_words,
)
from weatherproof.reports.suite.subjects import Subject
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

STEPS = 10  # classes h0 (worst) to h9 of the page
NOT_MEASURED = "–"
FURTHER = ("top5", "rms_calibration_error", "ece")  # folded below the first; the error is the accuracy again


@dataclass(frozen=True)
class HeatCell:
    """One number. `step` None: there is none to shade. `fewer`: it rests on fewer images than most."""

    text: str
    step: int | None = None
    tooltip: str = ""
    fewer: bool = False


@dataclass(frozen=True)
class HeatRow:
    """One corruption. `marks` are short words beside its name."""

    corruption: str
    name: str
    cells: tuple[HeatCell, ...]
    last: HeatCell
    marks: tuple[str, ...] = ()
    synthetic: bool = False


@dataclass(frozen=True)
class HeatGroup:
    name: str
    last: HeatCell
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class HeatMap:
    """One metric of one subject. `last` heads the column after the severities; "" where there is nothing in it."""

    subject: Subject
    metric: str
    title: str
    severities: tuple[int, ...]
    last: str
    groups: tuple[HeatGroup, ...]
    totals: tuple[tuple[str, HeatCell], ...]

    @property
    def style(self) -> Style:
        return self.subject.style

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks that its rows carry, for the note below."""
        return tuple(dict.fromkeys(mark for group in self.groups for row in group.rows for mark in row.marks))

    @property
    def synthetic(self) -> bool:
        return any(row.synthetic for group in self.groups for row in group.rows)

    @property
    def fewer(self) -> bool:
        return any(cell.fewer for group in self.groups for row in group.rows for cell in row.cells)


def heat_map(subject: Subject, metric: str | None = None) -> HeatMap | None:
    """The heat map of a metric (by default the accuracy), or None where the subject has no such cell."""
    metric = metric or subject.metric
    cells = {key: record for key, record in subject.cells.items() if key[0] == metric}
    if not cells:
        return None
    severities = tuple(sorted({*SEVERITIES, *(severity for *_, severity in cells)}))
    usual = usual_images(subject)
    first = metric == subject.metric
    total = "mca" if metric == "top1" else metric
    groups = []
    for group in (*GROUPS, OTHER):
        names = [n for n in dict.fromkeys(n for n, _ in subject.expected) if group_of(n) == group]
        rows = []
        for name in names:
            found = [cells.get((metric, name, severity)) for severity in severities]
            marks = [word for word, true in (("seen", name in subject.seen), ("extra", is_extra(name))) if true]
            rows.append(
                HeatRow(
                    corruption=name,
                    name=words.corruption_words(name),
                    cells=tuple(_cell(metric, record, usual) for record in found),
                    last=_plain(metric, subject.means.get((metric, name))),
                    marks=tuple(marks) if first else (),
                    synthetic=any(record is not None and synthetic_frost(record) for record in found),
                )
            )
        if rows:
            groups.append(HeatGroup(group, _plain(total, subject.totals.get((total, group))), tuple(rows)))
    wholes = [name for name in (*WHOLES, *ASIDE) if (total, name) in subject.totals]
    totals = [(whole_words(name), _plain(total, subject.totals[total, name])) for name in wholes]
    if metric in subject.clean:
        totals.insert(0, ("clean images", _plain(metric, subject.clean[metric])))
    lasts = [row.last.text for g in groups for row in g.rows] + [g.last.text for g in groups]
    return HeatMap(
        subject=subject,
        metric=metric,
        title=words.metric_words(metric).title,
        severities=severities,
        last=_head(metric, bool(any(lasts) or wholes), bool(totals)),
        groups=tuple(groups),
        totals=tuple(totals),
    )


def heat_maps(subjects: Sequence[Subject], metric: str | None = None) -> list[HeatMap]:
    """Those of all subjects that have the metric."""
    return [made for subject in subjects if (made := heat_map(subject, metric))]


def step(metric: str, value: float) -> int:
    """The shade of a value: 0 for the worst tenth of [0, 1], 9 for the best.

    >>> step("top1", 0.05), step("top1", 1.0), step("rms_calibration_error", 0.05)
    (0, 9, 9)
    """
    good = 1 - value if words.metric_words(metric).higher_is_better is False else value
    return min(STEPS - 1, max(0, int(good * STEPS + 1e-9)))


def _head(metric: str, summed: bool, clean: bool) -> str:
    """What the last column is called."""
    if not summed:
        return "clean" if clean else ""
    return "mean" if metric == "top1" else "pooled"


def usual_images(subject: Subject) -> int | None:
    """The number of images that most of its cells rest on; the larger of two that are equally frequent."""
    counts = [int(record["images"]) for record in subject.cells.values() if words.finite(record.get("images"))]
    return max(set(counts), key=lambda n: (counts.count(n), n), default=None)


def _cell(metric: str, record: JsonRecord | None, usual: int | None) -> HeatCell:
    if record is None:
        return HeatCell(NOT_MEASURED, tooltip="not measured")
    value, images = record.get("value"), record.get("images")
    text, tooltip = words.number(metric, value), words.condition_words(record)
    if not words.finite(value):
        return HeatCell(text, tooltip=tooltip)
    tooltip += f": {words.number(metric, value, record.get('stderr'))}"
    tooltip += f", {images:,} images" if words.finite(images) else ""
    fewer = words.finite(images) and usual is not None and images < usual
    return HeatCell(text, step(metric, value), tooltip, fewer)


def _plain(metric: str, record: JsonRecord | None) -> HeatCell:
    if record is None:
        return HeatCell("")
    value, error = record.get("value"), record.get("stderr")
    return HeatCell(
        words.number(metric, value), tooltip=words.number(metric, value, error) if words.finite(error) else ""
    )
