"""The certificates that stand beside numbers under attack, as one file of a run folder.

`certificate.json` holds a list, one entry for each attack on each model: "attack" (its text), "model", "images" (on how
many the points were tried) and "checks", as in checks.json: [{"claim", "passed", "detail"}].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.reports.words import records as words
from weatherproof.texts import read_json

FILE = "certificate.json"


@dataclass(frozen=True)
class Point:
    """One point: what is claimed, whether it holds, and the numbers that say so."""

    claim: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Certificate:
    """The points of one attack on one model. `run`: the name of its run, where a page has several."""

    attack: str
    model: str
    images: int
    points: tuple[Point, ...]
    run: str = ""

    @property
    def failed(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if not point.passed)

    @property
    def summary(self) -> str:
        """ "all 9 points hold", "2 of 9 points fail"."""
        lost = len(self.failed)
        if not lost:
            return f"all {len(self.points)} points hold"
        return f"{lost} of {len(self.points)} points {'fails' if lost == 1 else 'fail'}"

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.run, words.model_words(self.model)) if part)


def save_certificates(folder: Path | str, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write `certificate.json` and return where it is."""
    return write_atomically(Path(folder) / FILE, json.dumps(list(entries), indent=1, ensure_ascii=False) + "\n")


def read_certificates(folder: Path, run: str = "") -> tuple[Certificate, ...]:
    """Those of a run folder; none where it has none.

    Raises:
        InputError: the file is not what `save_certificates` writes.
    """
    file = folder / FILE
    if not file.is_file():
        return ()
    try:
        return tuple(_certificate(entry, run) for entry in read_json(file))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{str(file)!r} is no list of certificates: remove it, or make the run again") from None


def _certificate(entry: Mapping[str, Any], run: str) -> Certificate:
    points = tuple(Point(str(c["claim"]), bool(c["passed"]), str(c["detail"])) for c in entry["checks"])
    return Certificate(str(entry["attack"]), str(entry["model"]), int(entry["images"]), points, run)
