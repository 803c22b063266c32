"""How a run chose its settings on a validation split: search.json of the run folder, as the page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError
from weatherproof.objectives import parse_regularizer
from weatherproof.reports.words import records as words
from weatherproof.texts import read_json

FILE = "search.json"
_WEIGHTS = ("weight", "alpha", "beta")
Setting = tuple[Any, ...]  # the learning rate, and the texts of the regularizers


@dataclass(frozen=True)
class Trial:
    """A short training: what it was made to choose, its setting, its accuracy, and whether it decided that choice."""

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
        said = read_json(file)
        trials = tuple(_trial(trial, said, _choices(said, trial["stage"])) for trial in said["trials"])
        return Found(_sentence(said), trials)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(file)!r} holds no search ({error}): remove it, or make the run again") from None


def _sentence(said: Mapping[str, Any]) -> str:
    epochs = f"{said['epochs']:g} epoch{'' if said['epochs'] == 1 else 's'}"
    return (
        f"Short trainings of {epochs} on {said['images']:,} images, measured on {said['held_out']:,} training images "
        "held out, the same share of every class. The best learning rate is taken, and of the weights the heaviest "
        f"within a standard error of the best.{_taken(said.get('chosen'))}"
    )


def _taken(chosen: Mapping[str, Any] | None) -> str:
    if chosen is None:
        return ""
    rate = f"learning rate {chosen['lr']:g}"
    return f" Taken: {words.listed([rate, *map(regularizer_words, chosen['regularizers'])])}."


def _trial(trial: Mapping[str, Any], said: Mapping[str, Any], choices: Sequence[Setting]) -> Trial:
    setting, value = trial["setting"], trial["value"]
    own, taken = _parts(setting), None if said.get("chosen") is None else _parts(said["chosen"])
    varied = [i for i in range(len(own)) if len({other[i] for other in choices}) > 1]
    return Trial(
        stage=str(trial["stage"]),
        lr=f"{setting['lr']:g}",
        regularizers=", ".join(map(regularizer_words, setting["regularizers"])) or "none",
        text="the loss became no number" if value is None else words.number(said["metric"], value, trial["stderr"]),
        chosen=taken is not None and all(own[i] == taken[i] for i in varied),
    )


def _choices(said: Mapping[str, Any], stage: object) -> list[Setting]:
    """The settings that a stage chose from."""
    return [_parts(trial["setting"]) for trial in said["trials"] if trial["stage"] == stage]


def _parts(setting: Mapping[str, Any]) -> Setting:
    return (setting["lr"], *setting["regularizers"])


def regularizer_words(text: str) -> str:
    """A regularizer's text with its weights, also where they are the default ones.

    >>> regularizer_words("SimilarityMatrix()"), regularizer_words("L2SP(beta=0.001)")
    ('SimilarityMatrix(1)', 'L2SP(0.1, 0.001)')
    """
    known = parse_regularizer(text)
    weights = [f"{getattr(known, own.name):g}" for own in fields(known) if own.name in _WEIGHTS]
    others = [
        f"{own.name}={getattr(known, own.name)!r}"
        for own in fields(known)
        if own.name not in _WEIGHTS and getattr(known, own.name) != own.default
    ]
    return f"{type(known).__name__}({', '.join([*weights, *others])})"
