"""Tables as text: for the terminal, and as Markdown."""

from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from weatherproof.reports.suite.subjects import split
from weatherproof.reports.suite.tables import suite_tables
from weatherproof.reports.tables import Cell, Heading, Table, as_records, make_tables

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable

ROWS = ("condition", "label_fraction")
COLUMNS = ("model", "readout")
_SHARPER = {"top5": "top1", "recall@5": "recall@1"}


def markdown_table(records: Iterable[Any], rows: Sequence[str] = ROWS, columns: Sequence[str] = COLUMNS) -> str:
    """Records as Markdown, one table per metric and data set; the best value of a row is bold.

    A suite of corruptions is one table of corruption by severity, or corruption by model where there are several.

    Args:
        records: records, or their dictionaries.
        rows: the record keys that make a row; "condition" is the operator, corruption, severity and attack at once.
            With other rows or columns than these, a suite's records are put into them like all others.
        columns: the record keys that make a column.
    """
    parts = []
    for table in _tables(as_records(records), tuple(rows), tuple(columns)):
        head = ["", *(_join(c.parts) for c in table.columns)]
        lines = [f"**{_markdown(table.title)}**", "", _line(head), _line(["---"] + ["---:"] * len(table.columns))]
        for row, cells in zip(table.rows, table.cells, strict=True):
            shown = [f"**{c.text}**" if c.best else c.text for c in cells]
            shown = [f"{text} (seen)" if c.seen and text else text for text, c in zip(shown, cells, strict=True)]
            name = f"**{_join(row.parts)}**" if row.kind == "group" else _join(row.parts)
            lines.append(_line([name, *shown]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _tables(
    records: list[dict[str, Any]], rows: tuple[str, ...] = ROWS, columns: tuple[str, ...] = COLUMNS
) -> list[Table]:
    if (rows, columns) != (ROWS, COLUMNS):
        return make_tables(records, rows=rows, columns=columns)
    subjects, rest = split(records)
    return [*suite_tables(subjects), *make_tables(rest)]


def _join(parts: Iterable[str]) -> str:
    return _markdown(", ".join(part for part in parts if part))


def _markdown(text: str) -> str:
    """Text that stays text in Markdown: no table bars, no HTML, no line ends, no emphasis."""
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def console_table(records: Iterable[Any], *, title: str | None = None) -> "Group":
    """Records as tables for the terminal, one per metric and data set; the best value of a row is bold with a star.

    The softer twin of a metric that is there (top-5 beside top-1) is left to the page, and so are the severities of a
    suite of corruptions where several models are side by side.
    """
    from rich.console import Group
    from rich.text import Text

    tables = _tables(as_records(records))
    metrics = {table.metric for table in tables}
    blocks: list[Any] = [_rich(table) for table in tables if _SHARPER.get(table.metric) not in metrics]
    if any(table.has_seen for table in tables):
        blocks.append(Text("s: the model was trained on this corruption"))
    return Group(*([Text(title)] if title else []), *blocks)


def _rich(table: Table) -> "RichTable":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    shown.add_column("", min_width=18)
    for place, column in enumerate(table.columns):
        longest = max(len(cells[place].text) + 1 for cells in table.cells)  # words may wrap, numbers may not
        heading = "\n".join(fill(part, max(longest, 13)) for part in column.parts if part)
        shown.add_column(Text(heading), justify="right", no_wrap=True)
    for row, cells in zip(table.rows, table.cells, strict=True):
        shown.add_row(_row_head(row), *(_rich_cell(c, row, 1 + table.has_seen) for c in cells))
    return shown


def _row_head(row: Heading) -> Any:
    from rich.text import Text

    indent = "  " if row.kind == "member" else ""
    shown = row.parts[1:] if row.kind == "member" and row.repeats else row.parts
    return Text(indent + ", ".join(part for part in shown if part), style="bold" if row.kind == "group" else "")


def _rich_cell(cell: Cell, row: Heading, room: int) -> Any:
    from rich.text import Text

    mark = ("*" if cell.best else "") + ("s" if cell.seen and cell.text else "")
    return Text(f"{cell.text}{mark:<{room}}", style="bold" if cell.best or row.kind == "group" else "")
