"""Runs that stand side by side on a page, as its sections see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from weatherproof.reports.attack.records import split_attacks
from weatherproof.reports.files import Run
from weatherproof.reports.suite.subjects import Subject, split
from weatherproof.reports.training.curves import Palette
from weatherproof.reports.words.records import JsonRecord


@dataclass(frozen=True)
class Group:
    """Runs that were measured alike, or all runs of a page, or the only one.

    Attributes:
        palette: of the whole page.
        compared: whether the page has several runs.
        heading, note: what tells the group from the others of its page; "" where it has one.
    """

    runs: tuple[Run, ...]
    palette: Palette
    compared: bool = False
    heading: str = ""
    note: str = ""

    @cached_property
    def records(self) -> list[JsonRecord]:
        return [record for run in self.runs for record in run.records]

    @cached_property
    def planned(self) -> dict[str, str]:
        """By the name that records call a run, the suite that was asked for."""
        suites = ((run.name if self.compared else "", run.recipe.get("suite")) for run in self.runs)
        return {name: str(suite) for name, suite in suites if suite}

    @cached_property
    def attacked(self) -> list[JsonRecord]:
        """The records under attack, with the clean ones of the same models."""
        return split_attacks(self.records)[0]

    @cached_property
    def _others(self) -> tuple[list[Subject], list[JsonRecord]]:
        return split(split_attacks(self.records)[1], self.planned)

    @property
    def subjects(self) -> Sequence[Subject]:
        """The models that were measured on a suite."""
        return self._others[0]

    @property
    def rest(self) -> Sequence[JsonRecord]:
        """The records of no suite and no attack."""
        return self._others[1]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The notes of all runs; one that not every run has, with the names of those that do."""
        owners: dict[str, list[str]] = {}
        for run in self.runs:
            for note in dict.fromkeys(run.notes):
                owners.setdefault(note, []).append(run.name)
        return tuple(
            note if len(names) == len(self.runs) else f"{', '.join(names)}: {note}" for note, names in owners.items()
        )

    @property
    def tabled(self) -> bool:
        """Whether a study's own table has the numbers, or a gauge's own part."""
        return not self.compared and any(map(self.runs[0].has, ("study.json", "drift.json")))

    @property
    def has_own_drawing(self) -> bool:
        """Whether a study's own drawing has them."""
        return not self.compared and self.runs[0].has("front.json")

    @property
    def curved(self) -> bool:
        """Whether a hardening's own curve shows the levels, of all that was measured along them."""
        shown = not self.compared and self.runs[0].has("curve.json")
        return shown and {record.get("model") for record in self.records} <= {"teacher", "hardened"}
