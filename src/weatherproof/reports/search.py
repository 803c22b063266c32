"""How a run chose its settings on a validation split: search.json of the run folder, as the page shows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError
from weatherproof.reports import words

FILE = "search.json"


@dataclass(frozen=True)
class Trial:
    """A short training: what it was made to choose, its setting, its accuracy, and whether that was taken."""

    stage: str
    lr: str
    regularizers: str
    text: str
    chosen: bool


@dataclass(frozen=True)
class Found:
    """What the page shows."""

    sentence: str
    trials: tuple[Trial, ...]


def read_search(folder: Path) -> Found | None:
    """The search of a run, None where there was none. Raises `InputError` for a damaged file."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        trials = tuple(_trial(trial, said) for trial in said["trials"])
        return Found(_sentence(said), trials)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(file)!r} holds no search ({error}): remove it, or make the run again") from None


def _sentence(said: Mapping[str, Any]) -> str:
    epochs = f"{said['epochs']:g} epoch{'' if said['epochs'] == 1 else 's'}"
    return (
        f"Short trainings of {epochs} on {said['images']:,} images, measured on {said['held_out']:,} training images "
        "held out, the same share of every class. The best learning rate is taken, and of the weights the heaviest "
        "within a standard error of the best."
    )


def _trial(trial: Mapping[str, Any], said: Mapping[str, Any]) -> Trial:
    setting, value = trial["setting"], trial["value"]
    return Trial(
        stage=str(trial["stage"]),
        lr=f"{setting['lr']:g}",
        regularizers=", ".join(setting["regularizers"]) or "none",
        text="the loss became no number" if value is None else words.number(said["metric"], value, trial["stderr"]),
        chosen=setting == said.get("chosen"),
    )
