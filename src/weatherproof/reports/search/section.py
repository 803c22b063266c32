"""How a run chose its settings on a validation split: search.json of the run folder, as the page shows it."""

from dataclasses import dataclass

from weatherproof.reports.parts import PartFile
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
class Trial:
    """A short training: what it was made to choose, its setting, its accuracy, and whether it decided that choice."""

    stage: str
    lr: str
    regularizers: str
    text: str
    chosen: bool


@dataclass(frozen=True)
class SearchFile:
    """What the file holds, and its trials as the page shows them; nothing is chosen before the search has finished."""

    metric: str
    epochs: float
    images: int
    held_out: int
    trials: tuple[Tried, ...]
    chosen: Setting | None = None

    @property
    def sentence(self) -> str:
        epochs = f"{self.epochs:g} epoch{'' if self.epochs == 1 else 's'}"
        return (
            f"Short trainings of {epochs} on {self.images:,} images, measured on {self.held_out:,} training images "
            "held out, the same share of every class. The best learning rate is taken, and of the weights the heaviest "
            f"within a standard error of the best.{self._taken}"
        )

    @property
    def _taken(self) -> str:
        if self.chosen is None:
            return ""
        parts = [f"learning rate {self.chosen.lr:g}", *map(regularizer_words, self.chosen.regularizers)]
        return f" Taken: {words.listed(parts)}."

    @property
    def rows(self) -> tuple[Trial, ...]:
        return tuple(map(self._row, self.trials))

    def _row(self, tried: Tried) -> Trial:
        own, taken = tried.setting.parts, None if self.chosen is None else self.chosen.parts
        choices = [other.setting.parts for other in self.trials if other.stage == tried.stage]
        varied = [i for i in range(len(own)) if len({other[i : i + 1] for other in choices}) > 1]
        known = tried.value is not None
        return Trial(
            stage=tried.stage,
            lr=f"{tried.setting.lr:g}",
            regularizers=", ".join(map(regularizer_words, tried.setting.regularizers)) or "none",
            text=words.number(self.metric, tried.value, tried.stderr) if known else "the loss became no number",
            chosen=taken is not None and all(own[i : i + 1] == taken[i : i + 1] for i in varied),
        )


SEARCH = PartFile("search.json", "a search for settings", SearchFile)
