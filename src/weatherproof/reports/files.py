"""A run folder as a report reads it: plain files in, one file out. Nothing here needs the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherproof import texts
from weatherproof.errors import InputError
from weatherproof.names import printable
from weatherproof.recipe import flat
from weatherproof.reports.words.records import sentence
from weatherproof.spec import fits

_TEXTS = ("model", "readout", "data", "operator", "corruption", "attack", "trained_on", "protocol")
_NUMBERS = ("value", "stderr", "realizations", "images", "label_fraction", "severity")


@dataclass(frozen=True)
class Run:
    """What a finished run folder holds. `logs` is keyed by subfolder, "" being the run itself; `notes` are sentences
    that must stand beside the numbers."""

    path: Path
    name: str
    recipe: Mapping[str, Any]
    records: list[dict[str, Any]]
    logs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether its folder holds such a file."""
        return (self.path / name).is_file()


def read_run(folder: Path | str) -> Run:
    """Read a finished run folder.

    Raises:
        InputError: no such folder, a run that has not finished, or a file in it that is not what it should be.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"no run folder at {str(path)!r}: expected a folder that weatherproof wrote with --out")
    for needed in ("recipe.yaml", "results.json"):
        if not (path / needed).is_file():
            if (path.parent / needed).is_file():
                raise InputError(f"{str(path)!r} is a part of the run {str(path.parent)!r}: give that")
            raise InputError(
                f"{str(path)!r} has no {needed}: expected a finished run; run its command again with the same --out to "
                "finish it"
            )
    recipe = _parsed(path / "recipe.yaml")
    if not isinstance(recipe, dict):
        raise InputError(f"{str(path / 'recipe.yaml')!r} holds no settings: expected lines such as 'verb: harden'")
    records, notes = read_results(path)
    if not records:
        raise InputError(f"{str(path / 'results.json')!r} holds no records: there is nothing to report yet")
    logs = {"": path / "log.jsonl"} | {file.parent.name: file for file in sorted(path.glob("*/log.jsonl"))}
    return Run(
        path=path,
        name=printable(path.resolve().name),
        recipe=flat(recipe),
        records=records,
        logs={name: _lines(file) for name, file in logs.items() if file.is_file()},
        checks=read_checks(path),
        notes=[sentence(note) for note in notes if note.strip()],
    )


def read_results(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records and the notes of a run folder.

    Raises:
        InputError: results.json is something else than a run writes.
    """
    file = folder / "results.json"
    results = _parsed(file)
    records = results.get("records") if isinstance(results, dict) else None
    if not isinstance(records, list) or not all(map(_is_record, records)):
        raise InputError(f"{str(file)!r} holds no records as a run writes them: make the run again in a new folder")
    notes = results.get("notes") or []
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise InputError(f"{str(file)!r}: 'notes' is not a list of sentences: make the run again")
    return records, notes


def _is_record(entry: object) -> bool:
    """Whether it says what was measured, with texts and numbers where a record has them."""
    if not isinstance(entry, dict) or not isinstance(entry.get("metric"), str):
        return False
    words = all(entry.get(name) is None or isinstance(entry[name], str) for name in _TEXTS)
    seeds = entry.get("seeds") or []
    if not isinstance(seeds, list) or not fits(tuple(seeds), tuple[int, ...]):
        return False
    return words and all(fits(entry.get(name), float | None) for name in _NUMBERS)


def read_checks(folder: Path) -> list[dict[str, Any]]:
    """The checks of a run folder; none where it has none.

    Raises:
        InputError: checks.json is something else than a run writes.
    """
    file = folder / "checks.json"
    if not file.is_file():
        return []
    checks = _parsed(file)
    if not isinstance(checks, list) or not all(isinstance(check, dict) for check in checks):
        raise InputError(f"{str(file)!r} is not a list of entries: remove it, or make the run again in a new folder")
    for check in checks:
        if not (isinstance(check.get("claim"), str) and isinstance(check.get("detail"), str) and "passed" in check):
            raise InputError(f"{str(file)!r} is not a list of checks: remove it, or make the run again")
    return checks


def _parsed(path: Path) -> Any:
    is_json = path.suffix == ".json"
    try:
        return texts.read_json(path) if is_json else texts.read_yaml(path)
    except (OSError, texts.Malformed) as error:
        kind = "JSON" if is_json else "YAML"
        raise InputError(f"{str(path)!r} is not {kind} ({error}): make the run again in a new folder") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The log's lines; one that was cut off when a run was killed is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = texts.parse_json(text)
        except texts.Malformed:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
