"""The certificates that stand beside numbers under attack, as one file of a run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weatherproof.reports.parts import PartFile, read_list, save_json
from weatherproof.reports.words import records as words

FILE = "certificate.json"


@dataclass(frozen=True)
class Point:
    """One point: what is claimed, whether it holds, and the numbers that say so."""

    claim: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Certificate:
    """The points of one attack on one model, tried on so many images. `run`: the name of its run, where a page has
    several."""

    attack: str
    model: str
    images: int
    checks: tuple[Point, ...]
    run: str = ""

    @property
    def failed(self) -> tuple[Point, ...]:
        return tuple(point for point in self.checks if not point.passed)

    @property
    def summary(self) -> str:
        """ "all 9 points hold", "2 of 9 points fail"."""
        lost = len(self.failed)
        if not lost:
            return f"all {len(self.checks)} points hold"
        return f"{lost} of {len(self.checks)} points {'fails' if lost == 1 else 'fail'}"

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.run, words.model_words(self.model)) if part)


CERTIFICATES = PartFile(FILE, "a list of certificates", Certificate)


def save_certificates(folder: Path | str, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write `certificate.json` and return where it is."""
    return save_json(Path(folder) / FILE, list(entries))


def read_certificates(folder: Path, run: str = "") -> tuple[Certificate, ...]:
    """Those of a run folder; none where it has none. Raises `InputError`."""
    return tuple(replace(own, run=run) for own in read_list(folder, CERTIFICATES))
