"""Learning rate and regularizer weights chosen on a validation split, by short trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from weatherproof.data import ImageSet, validation_split
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation.evaluate import evaluate
from weatherproof.evaluation.metrics.standard_errors import cautious_error
from weatherproof.objectives import L2SP, InputGradient, Regularizer, SimilarityMatrix, parse_regularizer
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import Classifier, finetune_encoder
from weatherproof.texts import read_own
from weatherproof.training import Plan, RunFolder, TrainingError
from weatherproof.training.plan import Course

FILE, HELD_OUT = "search.json", 0.1
LRS = (0.01, 0.001)  # robust-models-transfer; URRL keeps to it
_SHORT, _LEAST = 1 / 5, 200  # ours: epochs of a short training over those of the whole one, and its fewest steps


@dataclass(frozen=True)
class Setting:
    """What is chosen."""

    lr: float
    regularizers: tuple[Regularizer, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"lr": self.lr, "regularizers": [repr(r) for r in self.regularizers]}


@dataclass(frozen=True)
class Search:
    """Short trainings on nine tenths of the labelled images, measured on the rest: the learning rate first, with the
    regularizers as they were given, then each regularizer's weight over its grid at that rate.

    The best learning rate is taken, and the heaviest weight within a standard error of the best one (Breiman et al.
    1984): a split of a few hundred images would else let chance decide, and clean accuracy prefers no regularizer.

    Args:
        run: its search.json keeps every trial, so that none is made twice.
        positions: of the images whose labels may be used.
        plan: of the whole training; a short one has a fifth of its epochs, but at least 200 steps, or all.
        metric: "top1" or "mean_per_class".
        settings: of `evaluate`.
        epochs: of a short training, where that is said.
        judged: the same images, for those held out; None: as they are trained on.
    """

    run: RunFolder
    encoder: Encoder
    images: ImageSet
    positions: Tensor
    head: str
    augment: Operator | None
    plan: Plan
    metric: str
    settings: Mapping[str, Any]
    epochs: float | None = None
    judged: ImageSet | None = None

    def choose(self, start: Setting, *, lr: bool, weight: bool) -> Setting:
        """The setting, from `start` on."""
        chosen = start
        if lr:
            chosen = self._of("learning rate", [replace(chosen, lr=rate) for rate in LRS], errors=0)
        for place, regularizer in enumerate(chosen.regularizers if weight else ()):
            heaviest_first = [_with(chosen, place, other) for other in grid(regularizer)]
            chosen = self._of(type(regularizer).__name__, heaviest_first, errors=1)
        self._write(self._trials(), chosen)
        return chosen

    def _of(self, stage: str, settings: Sequence[Setting], errors: float) -> Setting:
        """The first one that is at most so many standard errors below the best."""
        values = []
        with phase(f"search of the {stage}", len(settings), "trials") as meter:
            for setting in settings:
                values.append(self._value(stage, setting))
                meter.advance()
        best = max(values)
        if best < 0:
            raise TrainingError(f"the search of the {stage} found nothing: in every trial the loss became no number")
        return next(s for s, value in zip(settings, values, strict=True) if value >= best - errors * self._error(best))

    def _error(self, share: float) -> float:
        """The standard error of a share of the images held out."""
        return cautious_error(share, len(self._split()[1]))

    def _value(self, stage: str, setting: Setting) -> float:
        trials = self._trials()
        known = [trial for trial in trials if trial["setting"] == setting.to_dict()]
        value = known[0]["value"] if known else self._try(stage, setting)
        if not any(trial["stage"] == stage for trial in known):
            error = None if value is None else self._error(value)
            self._write([*trials, {"stage": stage, "setting": setting.to_dict(), "value": value, "stderr": error}])
        return -1.0 if value is None else float(value)

    def _try(self, stage: str, setting: Setting) -> float | None:
        """Validation accuracy after a short training; None where its loss became no number."""
        training, held = self._split()
        plan = self._plan(setting.lr)
        try:
            encoder, head = finetune_encoder(
                self.encoder, self.images, plan=plan, head=self.head, regularizers=setting.regularizers,
                labels=training, augment=self.augment, label=f"search, {stage}",
            )  # fmt: skip
        except TrainingError:
            return None
        found = {"tried": Classifier(encoder, head)}
        judged = (self.images if self.judged is None else self.judged).subset(held)
        return evaluate(found, judged, metrics=(self.metric,), **self.settings)[0].value

    def _plan(self, lr: float) -> Plan:
        return short(self.plan, len(self._split()[0]), lr, self.epochs)

    def _split(self) -> tuple[Tensor, Tensor]:
        return split_of(self.images, self.positions, self.plan.seed)

    def _trials(self) -> list[dict[str, Any]]:
        file = self.run.path / FILE
        return read_own(file)["trials"] if file.is_file() else []

    def _write(self, trials: Sequence[Mapping[str, Any]], chosen: Setting | None = None) -> None:
        training, held = self._split()
        self.run.write_json(FILE, {
            "metric": self.metric, "epochs": self._plan(1.0).epochs, "images": len(training), "held_out": len(held),
            "trials": list(trials), "chosen": None if chosen is None else chosen.to_dict(),
        })  # fmt: skip


def read_setting(folder: Path) -> Setting | None:
    """What a search chose; None where it has not finished."""
    if not (folder / FILE).is_file():
        return None
    found: dict[str, Any] | None = read_own(folder / FILE)["chosen"]
    return None if found is None else Setting(found["lr"], tuple(map(parse_regularizer, found["regularizers"])))


def trials_of(start: Setting) -> int:
    """How many short trainings a search of everything makes."""
    return len(LRS) + sum(len(grid(regularizer)) for regularizer in start.regularizers)


def split_of(images: ImageSet, positions: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Positions to train on and those held out. Raises `InputError` where a class has no two labelled images."""
    training, held = validation_split(images.labels[positions], HELD_OUT, seed)
    return positions[training], positions[held]


def short(plan: Plan, images: int, lr: float, epochs: float | None = None) -> Plan:
    """The plan of a short training: the same shape in fewer epochs (given, or a fifth, but 200 steps, or all)."""
    least = _LEAST / Course(plan, images).steps_per_epoch
    chosen = min(plan.epochs, max(plan.epochs * _SHORT, least)) if epochs is None else epochs
    return replace(plan.over(chosen), lr=lr, tensorboard=False, tracker=None)


def grid(regularizer: Regularizer) -> tuple[Regularizer, ...]:
    """The weights that are tried, the heaviest first: those of URRL's sweeps and of the Tikhonov paper."""
    if isinstance(regularizer, L2SP):
        pairs = [(alpha, beta) for alpha in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5) for beta in (1e-2, 1e-3)]
        return tuple(L2SP(alpha, beta) for alpha, beta in pairs)
    if isinstance(regularizer, SimilarityMatrix):
        return tuple(replace(regularizer, weight=weight) for weight in (100.0, 10.0, 1.0, 0.1, 0.01))
    return tuple(replace(regularizer, weight=weight) for weight in (10.0, 1.0, 0.1))


def weighted(regularizers: Sequence[Regularizer], weight: float | str | None) -> tuple[Regularizer, ...]:
    """The regularizers with the weight that was given as a number.

    Raises:
        InputError: a weight without a regularizer, for several, or for L2-SP, which has two.
    """
    if weight is None:
        return tuple(regularizers)
    if not regularizers:
        raise InputError(f"weight {weight} is that of a regularizer: give one, such as --regularizer SimilarityMatrix")
    if weight == "auto":
        return tuple(regularizers)
    (first, *others) = regularizers
    if others or isinstance(first, L2SP):
        raise InputError(
            "a single weight is not enough for L2SP or several regularizers: write the weights into their texts, such "
            "as L2SP(0.01, 0.001), or give --weight auto"
        )
    assert isinstance(first, SimilarityMatrix | InputGradient) and not isinstance(weight, str)
    return (replace(first, weight=weight),)


def _with(setting: Setting, place: int, regularizer: Regularizer) -> Setting:
    kept = setting.regularizers
    return replace(setting, regularizers=(*kept[:place], regularizer, *kept[place + 1 :]))
