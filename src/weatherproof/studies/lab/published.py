"""Studies at their scales beside the papers' own numbers: fractions, from the JSON file beside a paper's tables."""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any, TypeVar

from weatherproof.studies.lab.study import Check, Key, Scale, Study

S = TypeVar("S")  # a paper's settings of a scale


def sized(
    name: str, title: str, scales: Mapping[str, S], at: Callable[[S, int], Scale], claims: tuple[Check, ...],
    note: str = "", *, ours: bool = False,
) -> Study:  # fmt: skip
    """A study beside its published numbers.

    Args:
        at: makes the grid of a scale's settings and a seed.
    """
    made = {size: partial(at, settings) for size, settings in scales.items()}
    return Study(name, title, made, claims, _published(name), note, ours)


def _published(name: str) -> Mapping[Key, Mapping[str, float]]:
    entries = ({**entry} for entry in _entries().get(name, ()))
    return {(entry.pop("row"), entry.pop("column")): entry for entry in entries}


@cache
def _entries() -> dict[str, Any]:
    """By study, of all papers."""
    found: dict[str, Any] = {}
    for paper in files("weatherproof.studies.papers").iterdir():
        file = paper / "published.json"
        found |= json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
