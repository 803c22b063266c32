"""A suite's numbers as tables: severity by severity for one subject, side by side for several, and in sum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from weatherproof.benchmark import GROUPS
from weatherproof.reports.suite.heatmap import heat_map
from weatherproof.reports.suite.records import ASIDE, OTHER, TOTAL_METRICS, WHOLES, group_of, in_order, whole_words
from weatherproof.reports.suite.subjects import Subject, alike
from weatherproof.reports.tables import Cell, Heading, Kind, Table, row_cells
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

CLEAN = "clean images"
# Calibration over the images of all sets together, and averaged over the sets: two ways to sum up one metric.
POOLED = {"rms_calibration_error": "mean_rms_calibration_error", "ece": "mean_ece"}
AVERAGED = {mean: pooled for pooled, mean in POOLED.items()}
SUMMED = ("mca", "mce", "relative_mce", "unnormalised_mce", *(m for pair in POOLED.items() for m in pair))


@dataclass(frozen=True)
class Line:
    """One row of numbers, one for each subject, all measured alike. `note` tells it from a namesake measured unlike."""

    metric: str
    words: str
    note: str
    records: tuple[JsonRecord | None, ...]


def total_lines(subjects: Sequence[Subject], metric: str, whole: str) -> list[Line]:
    """The totals of a group or suite; several lines where they are over different images or corruptions."""
    aside = whole in ASIDE  # what was seen differs from model to model
    return _lines(
        metric,
        whole_words(whole),
        [s.totals.get((metric, whole)) for s in subjects],
        [", ".join(map(words.corruption_words, in_order(s.seen))) if aside else "" for s in subjects],
    )


def mean_lines(subjects: Sequence[Subject], metric: str, corruption: str) -> list[Line]:
    """The means over the severities of a corruption."""
    records = [s.means.get((metric, corruption)) for s in subjects]
    return _lines(metric, words.corruption_words(corruption), records, [""] * len(subjects))


def clean_lines(subjects: Sequence[Subject], metric: str) -> list[Line]:
    return _lines(metric, CLEAN, [s.clean.get(metric) for s in subjects], [""] * len(subjects))


def _lines(metric: str, name: str, records: Sequence[JsonRecord | None], notes: Sequence[str]) -> list[Line]:
    """One line for each protocol and note among the records."""
    keys = [(r.get("protocol"), note) if r is not None else None for r, note in zip(records, notes, strict=True)]
    kinds = [key for key in dict.fromkeys(keys) if key is not None]
    protocols = {protocol for protocol, _ in kinds}
    tables = []
    for kind in kinds:
        parts = [kind[1], f"protocol {kind[0]}" if len(protocols) > 1 and not kind[1] else ""]
        own = tuple(r if key == kind else None for r, key in zip(records, keys, strict=True))
        tables.append(Line(metric, name, ", ".join(p for p in parts if p) if len(kinds) > 1 else "", own))
    return tables


def side_by_side(subjects: Sequence[Subject]) -> Table | None:
    """Corruptions (mean over severities) by subjects, with the groups' means; None without such means."""
    metric = subjects[0].metric
    rows: list[Heading] = []
    cells: list[tuple[Cell, ...]] = []

    def add(line: Line, kind: Kind = "", corruption: str = "") -> None:
        rows.append(Heading((line.words, line.note), (line.words, line.note), kind=kind))
        own = row_cells(line.metric, line.records)
        cells.append(tuple(replace(c, seen=corruption in s.seen) for c, s in zip(own, subjects, strict=True)))

    for line in clean_lines(subjects, metric):
        add(line)
    names = in_order({name for s in subjects for name in s.corruptions})
    for group in (*GROUPS, OTHER):
        members = [(n, line) for n in names if group_of(n) == group for line in mean_lines(subjects, metric, n)]
        if members:
            for line in total_lines(subjects, "mca", group) or [Line("mca", group, "", (None,) * len(subjects))]:
                add(line, "group")
        for name, line in members:
            add(line, "member", name)
    if not any(row.kind == "member" for row in rows):
        return None
    for whole in (*WHOLES, *ASIDE):
        for line in total_lines(subjects, "mca", whole):
            add(line)
    shown = words.metric_words(metric)
    return Table(
        metric=metric,
        data=subjects[0].data,
        columns=tuple(Heading(s.key, (s.name,)) for s in subjects),
        rows=tuple(rows),
        cells=tuple(cells),
        caption=f"{shown.words}{', %' if shown.percent else ''}, mean over severities",
    )


def by_severity(subject: Subject) -> Table | None:
    """Corruptions by severities, and their mean: a heat map without its shades."""
    shown = heat_map(subject)
    if shown is None:
        return None
    rows, cells = [], []
    blank = (Cell(""),) * len(shown.severities)
    for group in shown.groups:
        rows.append(Heading((group.name,), (group.name,), kind="group"))
        cells.append((*blank, Cell(group.last.text)))
        for row in group.rows:
            note = "seen in training" if "seen" in row.marks else ""
            rows.append(Heading((row.corruption,), (row.name, note), kind="member"))
            cells.append(tuple(Cell(text) for text in (*(cell.text for cell in row.cells), row.last.text)))
    for name, cell in shown.totals:
        rows.append(Heading((name,), (name,)))
        cells.append((*blank, Cell(cell.text)))
    last = [Heading(("mean",), (shown.last,))] if shown.last else []
    return Table(
        metric=shown.metric,
        data=subject.data,
        columns=(*(Heading((s,), (str(s),)) for s in shown.severities), *last),
        rows=tuple(rows),
        cells=tuple(row[: len(shown.severities) + len(last)] for row in cells),
        caption=f"{subject.name} · {shown.title}, by severity",
    )


def in_sum(subjects: Sequence[Subject]) -> Table | None:
    """Every total that is not a group's, one row each, with its standard error."""
    lines = list(_summed(subjects))
    if not any(line.metric in TOTAL_METRICS for line in lines):
        return None
    rows = []
    names: list[str] = []
    for line in lines:
        metric = AVERAGED.get(line.metric, line.metric)
        names.append(words.metric_words(metric).words)
        if words.metric_words(metric).higher_is_better is False:
            names[-1] += " (lower is better)"
        again = names[-2:-1] == names[-1:]
        how = "mean of the sets" if line.metric in AVERAGED else "pooled" if line.metric in POOLED else ""
        title = (line.words, "" if line.words == CLEAN else how, line.note)
        parts = (names[-1], ", ".join(part for part in title if part))
        rows.append(Heading((line.metric, *title), parts, repeats=again, kind="member" if again else ""))
    return Table(
        metric="mca",
        data=subjects[0].data,
        columns=tuple(Heading(s.key, (s.name,)) for s in subjects),
        rows=tuple(rows),
        cells=tuple(row_cells(line.metric, line.records) for line in lines),
        caption="In sum, %",
    )


def _summed(subjects: Sequence[Subject]) -> Iterator[Line]:
    yield from clean_lines(subjects, subjects[0].metric)
    for metric in SUMMED:
        if metric not in TOTAL_METRICS:
            yield from clean_lines(subjects, metric)
        for whole in (*WHOLES, *ASIDE):
            yield from total_lines(subjects, metric, whole)


def suite_tables(subjects: Sequence[Subject]) -> list[Table]:
    """The tables for a terminal or a text file: by severity for one subject alone, side by side for more."""
    tables = []
    for group in alike(subjects):
        main = [side_by_side(group)] if len(group) > 1 else [by_severity(group[0])]
        tables += [table for table in (*main, in_sum(group)) if table is not None]
    return tables
