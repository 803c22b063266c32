"""A table or figure of a paper on a page: its title, ours beside the published numbers, and how it was measured.

`study.json` of a run folder holds what `save_study` writes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.texts import read_json

FILE = "study.json"


@dataclass(frozen=True)
class Number:
    """One of the table's, in words.

    Attributes:
        error: its standard error; "" where there is none.
        published: the paper's.
        doubted: a point of the attack's certificate fails.
    """

    text: str
    error: str = ""
    published: str = ""
    doubted: bool = False


@dataclass(frozen=True)
class StudyTable:
    """What the page shows of a study.

    Attributes:
        title: "URRL, Table 1: ...".
        scale: smoke, desk or paper.
        notes: what a reader must know, a paragraph each.
        columns, rows: their names; rows with their numbers, None where nothing was measured.
        facts: how it was measured: (what, words).
    """

    title: str
    scale: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Number | None, ...]], ...]
    facts: tuple[tuple[str, str], ...]

    @property
    def published(self) -> bool:
        """Whether the paper has numbers for it."""
        return any(number is not None and number.published for _, numbers in self.rows for number in numbers)

    @property
    def doubted(self) -> bool:
        return any(number is not None and number.doubted for _, numbers in self.rows for number in numbers)


def save_study(folder: Path | str, table: StudyTable) -> Path:
    """Write `study.json` and return where it is."""
    return write_atomically(Path(folder) / FILE, json.dumps(asdict(table), indent=1, ensure_ascii=False) + "\n")


def read_study(folder: Path) -> StudyTable | None:
    """The study of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_study` writes.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        kept = read_json(file)
        rows = tuple((str(name), tuple(map(_number, numbers))) for name, numbers in kept["rows"])
        if any(len(numbers) != len(kept["columns"]) for _, numbers in rows):
            raise ValueError
        return StudyTable(
            title=str(kept["title"]), scale=str(kept["scale"]), notes=tuple(map(str, kept["notes"])),
            columns=tuple(map(str, kept["columns"])), rows=rows,
            facts=tuple((str(what), str(words)) for what, words in kept["facts"]),
        )  # fmt: skip
    except (TypeError, ValueError, KeyError):
        raise InputError(f"{str(file)!r} is no table of a study: remove it, or make the run again") from None


def _number(kept: Mapping[str, Any] | None) -> Number | None:
    return None if kept is None else Number(**kept)


def claims_words(table: StudyTable, checks: Sequence[Mapping[str, Any]]) -> str:
    """ "5 of 6 claims hold at desk scale."; "" where there are none."""
    held = sum(bool(check.get("passed")) for check in checks)
    return f"{held} of {len(checks)} claims hold at {table.scale} scale." if checks else ""
