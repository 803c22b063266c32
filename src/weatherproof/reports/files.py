"""A run folder as a report reads it: plain files in, one file out. Nothing here needs the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from weatherproof.errors import InputError
from weatherproof.names import printable
from weatherproof.reports.words import sentence


@dataclass(frozen=True)
class Run:
    """What a finished run folder holds. `logs` is keyed by subfolder, "" being the run itself; `notes` are sentences
    that must stand beside the numbers."""

    path: Path
    name: str
    recipe: Mapping[str, Any]
    records: list[dict[str, Any]]
    logs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    gallery: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_encoder(self) -> bool:
        return (self.path / "encoder.safetensors").is_file()


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
            raise InputError(
                f"{str(path)!r} has no {needed}: expected a finished run; run its command again with the same --out to "
                "finish it"
            )
    recipe = _yaml(path / "recipe.yaml")
    if not isinstance(recipe, dict):
        raise InputError(f"{str(path / 'recipe.yaml')!r} holds no settings: expected lines such as 'verb: harden'")
    results = _json(path / "results.json")
    records = results.get("records") if isinstance(results, dict) else None
    if not isinstance(records, list) or not records or not all(isinstance(r, dict) and "metric" in r for r in records):
        raise InputError(f"{str(path / 'results.json')!r} holds no records: there is nothing to report yet")
    notes = results.get("notes") or []
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise InputError(f"{str(path / 'results.json')!r}: 'notes' is not a list of sentences: make the run again")
    logs = {"": path / "log.jsonl"} | {file.parent.name: file for file in sorted(path.glob("*/log.jsonl"))}
    return Run(
        path=path,
        name=printable(path.resolve().name),
        recipe=_flat(recipe),
        records=records,
        logs={name: _lines(file) for name, file in logs.items() if file.is_file()},
        gallery=_optional_list(path / "gallery.json"),
        checks=_optional_list(path / "checks.json"),
        notes=[sentence(note) for note in notes if note.strip()],
    )


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose arguments stand under "arguments" reads like one whose arguments stand beside the verb."""
    arguments = recipe.get("arguments")
    if not isinstance(arguments, dict):
        return recipe
    return {key: value for key, value in recipe.items() if key != "arguments"} | arguments


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}): make the run again in a new folder") from None


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{str(path)!r} is not YAML ({reason}): make the run again in a new folder") from None


def _optional_list(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = _json(path)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{str(path)!r} is not a list of entries: remove it, or make the run again in a new folder")
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    """The log's lines; one that was cut off when a run was killed is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
