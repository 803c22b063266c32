"""How a run chose its settings on a validation split: search.json of the run folder, as the page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weatherproof.reports.parts import PartFile, read_part
from weatherproof.reports.words import records as words
from weatherproof.reports.words.regularizers import regularizer_words


@dataclass(frozen=True)
class Setting:
    """A learning rate, and the texts of the regularizers."""

    lr: float
    regularizers: tuple[str, ...]

    @property
    def parts(self) -> tuple[float | str, ...]:
        return (self.lr, *self.regularizers)


@dataclass(frozen=True)
class Tried:
    """A short training in the file: what it was made to choose, and how well it did. No value: its loss became none."""

    stage: str
    setting: Setting
    value: float | None
    stderr: float | None


@dataclass(frozen=True)
class SearchFile:
    """What the file holds; nothing is chosen where the search has not finished."""

    metric: str
    epochs: float
    images: int
    held_out: int
    trials: tuple[Tried, ...]
    chosen: Setting | None = None


SEARCH = PartFile("search.json", "a search for settings", SearchFile)


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
    said = read_part(folder, SEARCH)
    if said is None:
        return None
    stages: dict[str, list[Setting]] = {}
    for trial in said.trials:
        stages.setdefault(trial.stage, []).append(trial.setting)
    return Found(_sentence(said), tuple(_trial(trial, said, stages[trial.stage]) for trial in said.trials))


def _sentence(said: SearchFile) -> str:
    epochs = f"{said.epochs:g} epoch{'' if said.epochs == 1 else 's'}"
    return (
        f"Short trainings of {epochs} on {said.images:,} images, measured on {said.held_out:,} training images "
        "held out, the same share of every class. The best learning rate is taken, and of the weights the heaviest "
        f"within a standard error of the best.{_taken(said.chosen)}"
    )


def _taken(chosen: Setting | None) -> str:
    if chosen is None:
        return ""
    return f" Taken: {words.listed([f'learning rate {chosen.lr:g}', *map(regularizer_words, chosen.regularizers)])}."


def _trial(trial: Tried, said: SearchFile, choices: Sequence[Setting]) -> Trial:
    """`choices`: the settings that its stage chose from."""
    own, taken = trial.setting.parts, None if said.chosen is None else said.chosen.parts
    varied = [i for i in range(len(own)) if len({other.parts[i : i + 1] for other in choices}) > 1]
    return Trial(
        stage=trial.stage,
        lr=f"{trial.setting.lr:g}",
        regularizers=", ".join(map(regularizer_words, trial.setting.regularizers)) or "none",
        text="the loss became no number"
        if trial.value is None
        else words.number(said.metric, trial.value, trial.stderr),
        chosen=taken is not None and all(own[i : i + 1] == taken[i : i + 1] for i in varied),
    )
