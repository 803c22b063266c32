"""A table or figure of a paper on a page: its title, ours beside the published numbers, and how it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weatherproof.reports.parts import PartFile


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

    def __post_init__(self) -> None:
        if any(len(numbers) != len(self.columns) for _, numbers in self.rows):
            raise ValueError("a row has not as many numbers as there are columns")

    @property
    def published(self) -> bool:
        """Whether the paper has numbers for it."""
        return any(number is not None and number.published for _, numbers in self.rows for number in numbers)

    @property
    def doubted(self) -> bool:
        return any(number is not None and number.doubted for _, numbers in self.rows for number in numbers)


STUDY = PartFile("study.json", "a table of a study", StudyTable)


def claims_words(table: StudyTable, checks: Sequence[Mapping[str, Any]]) -> str:
    """ "5 of 6 claims hold at desk scale."; "" where there are none."""
    held = sum(bool(check.get("passed")) for check in checks)
    return f"{held} of {len(checks)} claims hold at {table.scale} scale." if checks else ""
