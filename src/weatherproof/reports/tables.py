"""Records as tables: models as columns, conditions as rows, one table per metric and data set."""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weatherproof.errors import InputError
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_order
from weatherproof.reports.words.records import JsonRecord

CONDITION = ("operator", "corruption", "severity", "attack")  # what "condition" stands for
SETTINGS = ("model", "readout", "data", "label_fraction", "trained_on", "images", "realizations", "seeds", "protocol")
Kind = Literal["", "group", "member"]  # of a row: on its own, the head of a group, or part of one
KNOWN = ("condition", "run", *CONDITION, *SETTINGS)


@dataclass(frozen=True)
class Cell:
    """One number. `best`: no other model in its row is better, and there is one to compare with. `seen`: the model was
    trained on what it is measured under."""

    text: str
    best: bool = False
    seen: bool = False


@dataclass(frozen=True)
class Heading:
    """The words of a row or a column, first word first, and the record values that they stand for."""

    key: tuple[Hashable, ...]
    parts: tuple[str, ...]
    repeats: bool = False  # the first part is the same as in the row above
    kind: Kind = ""


@dataclass(frozen=True)
class Table:
    """One metric on one data set. `caption`: what to call it where the metric's name does not say it."""

    metric: str
    data: str
    columns: tuple[Heading, ...]
    rows: tuple[Heading, ...]
    cells: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @property
    def has_errors(self) -> bool:
        return any("±" in cell.text for row in self.cells for cell in row)

    @property
    def has_seen(self) -> bool:
        return any(cell.seen for row in self.cells for cell in row)

    @property
    def title(self) -> str:
        shown = words.metric_words(self.metric)
        named = self.caption or shown.title
        return named + (f" · {self.data}" if self.data else "")


def as_records(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Records as plain dictionaries, whether they came from a file or straight from `evaluation`."""
    return [dict(r) if isinstance(r, dict) else r.to_dict() for r in records]


def make_tables(
    records: Iterable[Any],
    *,
    rows: Sequence[str] = ("condition", "label_fraction"),
    columns: Sequence[str] = ("model", "readout"),
) -> list[Table]:
    """All records as tables, in the order in which a reader wants them.

    Where two records would fall into one cell, or a row would hold unlike protocols, what tells them apart becomes part
    of the row or column, so that no number is lost and none stands beside one that was measured differently.
    """
    known = as_records(records)
    for name in (*rows, *columns):
        if name not in KNOWN:
            raise InputError(f"unknown key {name!r} for rows or columns (known: {', '.join(sorted(KNOWN))})")
    pairs = _unique((str(r["metric"]), str(r.get("data") or "")) for r in known)
    pairs.sort(key=lambda pair: words.preference(pair[0]))
    return [_one_table(m, d, [r for r in known if _is_of(r, m, d)], tuple(rows), tuple(columns)) for m, d in pairs]


def _is_of(record: JsonRecord, metric: str, data: str) -> bool:
    return str(record["metric"]) == metric and str(record.get("data") or "") == data


def _one_table(
    metric: str, data: str, records: list[dict[str, Any]], rows: tuple[str, ...], columns: tuple[str, ...]
) -> Table:
    if "label_fraction" in rows and len({r.get("label_fraction") for r in records}) == 1:
        rows = tuple(name for name in rows if name != "label_fraction")  # said once, with the protocol
    rows, columns = _separate(records, rows, columns)
    row_keys = _unique(_key(r, rows) for r in sorted(records, key=condition_order))
    column_keys = _unique(_key(r, columns) for r in sorted(records, key=model_order(records)))
    found = {(_key(r, rows), _key(r, columns)): r for r in records}
    example = {key: r for r in records for key in (("row", _key(r, rows)), ("column", _key(r, columns)))}
    row_parts = [tuple(_words(name, example["row", key]) for name in rows) for key in row_keys]
    headings = tuple(
        Heading(key, parts, repeats=bool(i) and row_parts[i - 1][0] == parts[0])
        for i, (key, parts) in enumerate(zip(row_keys, row_parts, strict=True))
    )
    return Table(
        metric=metric,
        data=data,
        columns=tuple(Heading(key, tuple(_words(n, example["column", key]) for n in columns)) for key in column_keys),
        rows=headings,
        cells=tuple(row_cells(metric, [found.get((row, column)) for column in column_keys]) for row in row_keys),
    )


def _separate(
    records: list[dict[str, Any]], rows: tuple[str, ...], columns: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Add keys to rows or columns until every cell holds one record and every row one protocol."""

    def mixes_protocols() -> bool:
        return len({(_key(r, rows), r.get("protocol")) for r in records}) > len({_key(r, rows) for r in records})

    def collides() -> bool:
        return len({(_key(r, rows), _key(r, columns)) for r in records}) < len(records)

    if "protocol" not in (*rows, *columns) and mixes_protocols():
        rows = (*rows, "protocol")
    for name in ("label_fraction", "condition", "readout", "model", "trained_on", "images", "seeds"):
        if not collides():
            break
        if name in (*rows, *columns):
            continue
        if name in ("readout", "model", "trained_on"):
            columns = (*columns, name)
        else:
            rows = (*rows, name)
    return rows, columns


def row_cells(metric: str, records: Sequence[JsonRecord | None]) -> tuple[Cell, ...]:
    """The cells of one row, which holds one metric; the best of them is marked."""
    texts = [words.number(metric, r.get("value"), r.get("stderr")) if r else "" for r in records]
    higher = words.metric_words(metric).higher_is_better
    # As the reader sees them: values that are printed alike are equally good.
    known = {"": math.nan, "n/a": math.nan, "∞": math.inf}
    shown = [known[text] if text in known else float(text.split(" ± ")[0]) for text in texts]
    real = [v for v in shown if not math.isnan(v)]
    if higher is None or len(real) < 2 or min(real) == max(real):
        return tuple(Cell(t) for t in texts)
    best = max(real) if higher else min(real)
    return tuple(Cell(t, best=v == best) for t, v in zip(texts, shown, strict=True))


def condition_order(record: JsonRecord) -> tuple[Any, ...]:
    """Clean first, then one family after the other from slight to severe, few labels before many."""
    place = words.level(record)
    fraction = record.get("label_fraction")
    return (
        not words.is_clean(record),
        place is None,
        place or (),
        attack_order(record.get("attack"), record.get("severity")),
        words.condition_words(record),
        -1.0 if words.missing(fraction) else fraction,
    )


def model_order(records: Sequence[JsonRecord]) -> Callable[[JsonRecord], Any]:
    """The order of columns: original, hardened, supervised, restored, then others as they first appear."""
    named = _unique([*words.MODEL_ORDER, *(str(r.get("model")) for r in records)])
    readouts = _unique([*words.READOUT_WORDS, *(str(r.get("readout")) for r in records)])
    return lambda r: (named.index(str(r.get("model"))), readouts.index(str(r.get("readout"))))


def _key(record: JsonRecord, names: Sequence[str]) -> tuple[Hashable, ...]:
    fields = [field for name in names for field in (CONDITION if name == "condition" else (name,))]
    return tuple(_hashable(record.get(field)) for field in fields)


def _hashable(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


def _words(name: str, record: JsonRecord) -> str:
    value = record.get(name)
    match name:
        case "condition":
            return words.condition_words(record)
        case "operator":
            return words.operator_words(str(value)) if value else "clean images"
        case "label_fraction":
            return words.labels_words(value)
        case "model":
            return words.model_words(value)
        case "readout":
            return words.readout_words(value)
        case "trained_on":
            return f"trained on {words.operator_words(str(value))}" if value else ""
        case "protocol":
            return f"protocol {value}"
        case "images":
            return f"{value:,} images" if isinstance(value, int) else str(value)
        case "seeds":
            return f"seeds {value}"
    return "" if value is None else str(value)


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
