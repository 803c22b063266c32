"""Classifiers under attack, in one pass over the images; resumable, in a given time, shared out.

Memory is bounded by the block and by what is kept of all answers in the end: 30 bytes an image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.attacks.described import each_once, facts_of
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.attacks.trials import AttackTrial, trials_of
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.run import Settings, require_measurable, run
from weatherproof.evaluation.metrics.named import METRICS
from weatherproof.evaluation.record import Record, judged_records, protocol_facts
from weatherproof.protocols import Attack
from weatherproof.types import Labels, Logits

_DEFAULT, _BLOCK = Settings(), 256  # images of a block

Classifiers = Mapping[str, Callable[..., Logits]]


@dataclass(frozen=True, eq=False)
class Attacks:
    """What attacks came to, image by image.

    Attributes:
        answers: by the trials' labels, with the columns of `AttackTrial`; what is not there was not reached.
        missing: the trials that were not reached at all.
        fewest: how many images the trial with the fewest rests on, of those that were reached.
        complete: nothing is left to do, in any share.
    """

    images: ImageSet
    trials: tuple[AttackTrial, ...]
    answers: Mapping[str, Answers]
    missing: tuple[AttackTrial, ...]
    fewest: int
    seed: int
    complete: bool

    def runs(self, model: str, attack: Attack | None) -> list[AttackTrial]:
        """The draws of an attack on a model that were reached."""
        own = [t for t in self.trials if t.model == model and t.attack == attack]
        return [t for t in own if t.label in self.answers and len(self.answers[t.label])]

    def labels(self, trial: AttackTrial) -> Labels:
        return self.images.labels[self.answers[trial.label].place]

    def right(self, trial: AttackTrial) -> Bool[Tensor, "n"]:
        """Whether each image is still recognised."""
        return self.answers[trial.label]["top1"]

    def distances(self, trial: AttackTrial) -> Float[Tensor, "n"]:
        """How large a perturbation misclassifies each image: infinite where none did, 0 where the clean image is
        misclassified already."""
        found, clean = self.answers[trial.label], self.answers[trial.clean.label]
        wrong = torch.zeros(len(self.images), dtype=torch.bool)
        wrong[clean.place] = ~self.right(trial.clean)
        return found["size"].masked_fill(self.right(trial), torch.inf).masked_fill(wrong[found.place], 0.0)


def run_attacks(
    classifiers: Classifiers,
    images: ImageSet,
    attacks: Sequence[Attack],
    settings: Settings = _DEFAULT,
    *,
    realizations: int = 1,
) -> Attacks:
    """Attack every image of a set on every classifier.

    What an image meets depends on (seed, image index, attack) alone, whatever the batches, interruptions and shares.

    Args:
        classifiers: by name, images -> logits; modules are moved to the settings' device; their modes and gradients are
            afterwards what they were. Each is attacked by its own gradients.
        images: all of them have labels.
        settings: how it is done: seed, batches, folder, share, processes and time.
        realizations: draws of an attack that is random; one that is not runs once.

    Raises:
        InputError: no images or classifiers, images without labels, answers in the folder to something else, a process
            that failed, and what an attack refuses.
    """
    _check(classifiers, images, attacks, realizations)
    trials = trials_of(list(classifiers), [facts_of(one) for one in attacks], realizations, int(images.labels.max()))
    facts = {"kept": [*METRICS, "size"]}
    found = run(classifiers, trials, images, settings, name="attacks", title="attacks", facts=facts, block=_BLOCK)
    missing = tuple(trial for trial in trials if trial.label in found.missing)
    return Attacks(images, tuple(trials), found.answers, missing, found.fewest, settings.seed, found.complete)


def robust_accuracy(
    classifiers: Classifiers,
    images: ImageSet,
    attack: Attack | Sequence[Attack],
    settings: Settings = _DEFAULT,
    *,
    realizations: int = 1,
    data: str | None = None,
    readout: Any = None,
    label_fraction: Any = None,
    trained_on: Any = None,
) -> list[Record]:
    """Accuracy on clean and on attacked images, of several classifiers on the same images.

    The standard error is binomial, over images; with several realizations of a random attack it is that over the draws.

    Args:
        attack: one or several; its text is the records' `attack`, and the eps of its ball their `severity`.
        settings, realizations: as in `run_attacks`.
        data: what the records call the images; None: their own name.
        readout, label_fraction, trained_on: for the records; one value, or one for each classifier by name.

    Raises:
        InputError: what `run_attacks` raises.
    """
    attacks = list(attack) if isinstance(attack, Sequence) else [attack]
    result = run_attacks(classifiers, images, attacks, settings, realizations=realizations)
    about = {"readout": readout, "label_fraction": label_fraction, "trained_on": trained_on}
    return accuracy_records(result, list(classifiers), [None, *attacks], data=data, **about)


def accuracy_records(
    result: Attacks,
    models: Sequence[str],
    attacks: Sequence[Attack | None],
    *,
    metrics: Sequence[str] = ("top1",),
    data: str | None = None,
    **about: Any,
) -> list[Record]:
    """Any of `metrics.named`, of what was reached, attack after attack; None: the clean images. Standard errors as
    `robust_accuracy` says; that of calibration over images is by the jackknife."""
    records = []
    for attack in attacks:
        for model in models:
            runs = result.runs(model, attack)
            if not runs:
                continue
            facts = facts_under(result, runs[0], data)
            answers, clean = [result.answers[trial.label] for trial in runs], result.answers.get(runs[0].clean.label)
            records += judged_records(
                model, metrics, answers, clean, result.seed, facts, over_images=True, attack=facts["attack"], **about
            )
    return records


def facts_under(result: Attacks, trial: AttackTrial, data: str | None, severity: float | None = None) -> dict[str, Any]:
    """What makes a number under attack comparable: as `evaluate` says it, and the attack's text.

    Args:
        severity: None: the eps of the attack's ball.
    """
    eps = None if trial.facts is None else trial.facts.eps
    return protocol_facts(
        result.images, None, () if trial.fixed else (result.seed,), data, rows=result.answers[trial.label].place,
        attack=None if trial.attack is None else repr(trial.attack), severity=eps if severity is None else severity,
    )  # fmt: skip


def _check(classifiers: Classifiers, images: ImageSet, attacks: Sequence[Attack], realizations: int) -> None:
    if not classifiers or len(images) == 0:
        raise InputError(f"expected classifiers and images, got {len(classifiers)} and {len(images)}")
    require_measurable(images, "robustness")
    if len(each_once(attacks)) < len(attacks):
        raise InputError(f"an attack is named twice: {', '.join(map(repr, attacks))}")
    if realizations < 1:
        raise InputError(f"expected realizations >= 1, got {realizations}")
