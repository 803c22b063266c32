"""What has to be said beside a suite's numbers: what they rest on, and what is not among them."""

from collections.abc import Iterable, Sequence
from typing import Any

from weatherproof.benchmark import SEVERITIES
from weatherproof.reports.suite.heatmap import usual_images
from weatherproof.reports.suite.records import in_order, synthetic_frost
from weatherproof.reports.suite.subjects import Subject
from weatherproof.reports.words import records as words

FROST = "Frost is synthetic, with textures made from statistics of photographs: not comparable with published frost."


def suite_notes(subjects: Sequence[Subject], notes: Sequence[str] = ()) -> list[str]:
    """The run's own notes, then what its records say: parameters, frost, unequal numbers of images, what is missing."""
    lines = list(dict.fromkeys(notes))
    records = [record for subject in subjects for record in subject.cells.values()]
    parameters = [_text(r["parameters"]) for r in records if r.get("parameters")]
    if parameters:
        lines.append(f"Parameters: {'; '.join(dict.fromkeys(parameters))}.")
    if any(map(synthetic_frost, records)) and not any("frost" in note.lower() for note in notes):
        lines.append(FROST)
    for make in (_images, _missing):
        own = {subject.name: make(subject) for subject in subjects}
        alike = len(set(own.values())) == 1
        lines += [
            text if alike else f"{name}: {text}"
            for name, text in (list(own.items())[:1] if alike else own.items())
            if text
        ]
    return lines


def conditions_words(conditions: Iterable[tuple[str, int]]) -> str:
    """Corruptions at severities, short: a corruption at all five is its name alone.

    >>> conditions_words([("fog", 1), ("fog", 2), ("fog", 3), ("snow", 2), ("snow", 4)])
    'snow 2, 4; fog 1-3'
    """
    by_name: dict[str, list[int]] = {}
    for name, severity in sorted(conditions):
        by_name.setdefault(name, []).append(severity)
    parts = []
    for name in in_order(set(by_name)):
        found = by_name[name]
        levels = "" if tuple(found) == SEVERITIES else " " + _ranges(found)
        parts.append(words.corruption_words(name) + levels)
    return "; ".join(parts)


def _ranges(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _images(subject: Subject) -> str:
    """How many images numbers rest on, where that differs."""
    by_count: dict[int, list[tuple[str, int]]] = {}
    for (metric, name, severity), record in subject.cells.items():
        if metric == subject.metric and isinstance(record.get("images"), int):
            by_count.setdefault(record["images"], []).append((name, severity))
    usual = usual_images(subject)
    if len(by_count) < 2 or usual is None:
        return ""
    others = [f"{n:,} for {conditions_words(by_count[n])}" for n in sorted(by_count, reverse=True) if n != usual]
    return f"Not all numbers rest on equally many images: {usual:,}, but {'. '.join(others)}."


def _missing(subject: Subject) -> str:
    missing = subject.missing
    if not missing or not subject.cells:
        return ""
    return f"Not measured ({len(missing)} of {len(subject.expected)}): {conditions_words(missing)}."


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).rstrip(".")
