"""Classifiers under attack, in one pass over the images; resumable, in a given time, shared out.

    for each block of images: read it once
        for each trial (a model, an attack, a draw): attack it, answer it, keep 16 bytes an image

So memory is bounded by the block and by what is kept of all answers in the end.
"""

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.attack_trials import Trial, epsilon, fixed, trials_of
from weatherproof.evaluation.engine.attack_work import BLOCK, Attacked, AttackWork, joined
from weatherproof.evaluation.engine.block_files import weights_digest
from weatherproof.evaluation.engine.processes import run_in_processes
from weatherproof.evaluation.metrics.standard_errors import jackknife_error
from weatherproof.evaluation.metrics.totals import binomial_error
from weatherproof.evaluation.record import Record, make_record, protocol_facts, protocol_hash
from weatherproof.evaluation.suites.records import CALIBRATION
from weatherproof.files import disk_errors
from weatherproof.progress import phase
from weatherproof.protocols import Attack
from weatherproof.types import Labels, Logits

Classifiers = Mapping[str, Callable[..., Logits]]


@dataclass(frozen=True, eq=False)
class Attacks:
    """What attacks came to, image by image.

    Attributes:
        found: by the trials' labels; what is not there was not reached.
        complete: nothing is left to do, in any share.
    """

    images: ImageSet
    trials: tuple[Trial, ...]
    found: Mapping[str, Attacked]
    seed: int
    complete: bool

    def runs(self, model: str, attack: Attack | None) -> list[Trial]:
        """The draws of an attack on a model that were reached."""
        own = [t for t in self.trials if t.model == model and t.attack == attack]
        return [t for t in own if t.label in self.found and len(self.found[t.label])]

    def labels(self, trial: Trial) -> Labels:
        return self.images.labels[self.found[trial.label].place]

    def right(self, trial: Trial) -> Bool[Tensor, "n"]:
        """Whether each image is still recognised."""
        return self.found[trial.label].answer == self.labels(trial)

    def confidence(self, trial: Trial) -> Float[Tensor, "n"]:
        """The softmax probability of each answer."""
        return self.found[trial.label].confidence

    def distances(self, trial: Trial) -> Float[Tensor, "n"]:
        """How large a perturbation misclassifies each image: infinite where none did, 0 where the clean image is
        misclassified already."""
        found, clean = self.found[trial.label], self.found[Trial(trial.model).label]
        wrong = torch.zeros(len(self.images), dtype=torch.bool)
        wrong[clean.place] = clean.answer != self.images.labels[clean.place]
        return found.size.masked_fill(self.right(trial), torch.inf).masked_fill(wrong[found.place], 0.0)

    @cached_property
    def missing(self) -> tuple[Trial, ...]:
        """The trials that were not reached at all."""
        return tuple(t for t in self.trials if t.label not in self.found)

    @property
    def fewest(self) -> int:
        """How many images the trial with the fewest rests on, of those that were reached."""
        return min(map(len, self.found.values()), default=0)


def run_attacks(
    classifiers: Classifiers,
    images: ImageSet,
    attacks: Sequence[Attack],
    *,
    realizations: int = 1,
    folder: Path | None = None,
    share: tuple[int, int] = (0, 1),
    processes: int = 1,
    minutes: float | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    block: int = BLOCK,
) -> Attacks:
    """Attack every image of a set on every classifier.

    What an image meets depends on (seed, image index, attack) alone, whatever the batches, interruptions and shares.

    Args:
        classifiers: by name, images -> logits; modules are moved to `device`; their modes and gradients are afterwards
            what they were. Each is attacked by its own gradients.
        images: all of them have labels.
        realizations: draws of an attack that is random; one that is not runs once.
        folder: where the answers are saved, and from where they are taken up again; None: nowhere.
        share: (k, n) does the blocks k, k + n, k + 2n, ... alone. Shares with one folder, or whose files are put into
            one, make the whole: ask for it with (0, 1), and what all of them have done is taken up.
        processes: of this machine, for this share.
        minutes: start no trial after that time; all trials of a block of images come before the next block.
        block: images that are held at a time; the files of another number are not taken up.

    Raises:
        InputError: no images or classifiers, images without labels, a setting out of range, answers in `folder` to
            something else, a process that failed, and what an attack refuses.
    """
    _check(classifiers, images, attacks, realizations, share, processes, minutes, block, batch_size)
    trials, blocks = trials_of(list(classifiers), list(attacks), realizations), -(-len(images) // block)
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory() as place:
        home = Path(place) / "attacks"
        with disk_errors(home):
            home.mkdir(parents=True, exist_ok=True)
        work = AttackWork(
            classifiers, images, len(images), trials, range(*share[:1], blocks, share[1]), blocks, home,
            plan=_plan(classifiers, images, seed, blocks), seed=seed, device=torch.device(device),
            batch_size=batch_size, workers=workers, deadline=None if minutes is None else time.time() + 60 * minutes,
        )  # fmt: skip
        done, total = _progress(work)
        with phase("attacks", total, done=done) as meter:
            if processes == 1 or len(work.numbers) < 2:
                work.run(meter.advance)
            else:
                run_in_processes(work, processes, meter.advance)
        return _merged(replace(work, numbers=range(blocks)))


def robust_accuracy(
    classifiers: Classifiers,
    images: ImageSet,
    attack: Attack | Sequence[Attack],
    *,
    data: str | None = None,
    readout: Any = None,
    label_fraction: Any = None,
    trained_on: Any = None,
    **settings: Any,
) -> list[Record]:
    """Accuracy on clean and on attacked images, of several classifiers on the same images.

    The standard error is binomial, over images; with several realizations of a random attack it is that over the draws.

    Args:
        attack: one or several; its text is the records' `attack`, and the eps of its ball their `severity`.
        data: what the records call the images; None: their own name.
        readout, label_fraction, trained_on: for the records; one value, or one for each classifier by name.
        settings: those of `run_attacks`.

    Raises:
        InputError: what `run_attacks` raises.
    """
    attacks = list(attack) if isinstance(attack, Sequence) else [attack]
    result = run_attacks(classifiers, images, attacks, **settings)
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
    """Accuracy "top1", "error" = 1 - top1, and calibration ("rms_calibration_error", "ece"), of what was reached,
    attack after attack; None: the clean images. Standard errors as `robust_accuracy` says; that of calibration over
    images is by the jackknife."""
    records = []
    for attack in attacks:
        for model in models:
            runs = result.runs(model, attack)
            if not runs:
                continue
            facts = facts_of(result, runs[0], data)
            count = min(len(result.found[trial.label]) for trial in runs)
            for metric in metrics:
                values = [_value(metric, result, trial) for trial in runs]
                made = make_record(metric, values, count, model, result.seed, facts, attack=facts["attack"], **about)
                if len(values) == 1:
                    made = replace(made, stderr=_over_images(metric, result, runs[0], values[0]))
                records.append(made)
    return records


def _value(metric: str, result: Attacks, trial: Trial) -> float:
    """NaN where it takes a confidence that is no number."""
    right = result.right(trial)
    if metric in CALIBRATION:
        confidence = result.found[trial.label].confidence
        return math.nan if bool(confidence.isnan().any()) else CALIBRATION[metric](confidence, right)
    share = right.double().mean().item()
    return share if metric == "top1" else 1 - share


def _over_images(metric: str, result: Attacks, trial: Trial, value: float) -> float | None:
    """The standard error of `_value`."""
    found, right = result.found[trial.label], result.right(trial)
    if metric not in CALIBRATION:
        return binomial_error(value, len(found))
    return jackknife_error(CALIBRATION[metric], [Answers(found.place, right, right, found.confidence)])


def facts_of(result: Attacks, trial: Trial, data: str | None, severity: float | None = None) -> dict[str, Any]:
    """What makes a number under attack comparable: as `evaluate` says it, and the attack's text.

    Args:
        severity: None: the eps of the attack's ball.
    """
    attack = trial.attack
    return protocol_facts(
        result.images, None, () if fixed(attack) else (result.seed,), data, rows=result.found[trial.label].place,
        attack=None if attack is None else repr(attack), severity=epsilon(attack) if severity is None else severity,
    )  # fmt: skip


def _merged(work: AttackWork) -> Attacks:
    blocks = [work.found(number) for number in work.numbers]
    parts = {t.label: joined(found[t.label] for found in blocks if t.label in found) for t in work.trials}
    known = {label: own for label, own in parts.items() if own is not None}
    complete = all(t.label in found for found in blocks for t in work.trials)
    return Attacks(work.images, tuple(work.trials), known, work.seed, complete)


def _progress(work: AttackWork) -> tuple[int, int]:
    """Images under trials: done, and altogether."""
    labels = [trial.label for trial in work.trials]
    found = [(work.found(number), len(work.places(number))) for number in work.numbers]
    return (
        sum(len(own[label]) for own, _ in found for label in labels if label in own),
        sum(count for _, count in found) * len(labels),
    )


def _plan(classifiers: Classifiers, images: ImageSet, seed: int, blocks: int) -> str:
    """Equal where the answers would be: the same weights, images and blocks, and where the same is kept of them."""
    index, labels = (hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in (images.index, images.labels))
    return protocol_hash(
        weights={name: weights_digest(classifier) for name, classifier in classifiers.items()}, data=images.name,
        size=images.image_size, channels=images.channels, classes=images.classes, index=index, labels=labels,
        seed=seed, blocks=blocks, kept=[own.name for own in fields(Attacked)],
    )  # fmt: skip


def _check(
    classifiers: Classifiers, images: ImageSet, attacks: Sequence[Attack], realizations: int, share: tuple[int, int],
    processes: int, minutes: float | None, block: int, batch_size: int,
) -> None:  # fmt: skip
    if not classifiers or len(images) == 0:
        raise InputError(f"expected classifiers and images, got {len(classifiers)} and {len(images)}")
    if not bool((images.labels >= 0).all()):
        raise InputError(f"robustness is measured by accuracy, and not all images of {images.name!r} have labels")
    if images.image_size is None:
        raise InputError(f"the images in {images.name!r} differ in size: give a size to read all at")
    if len({repr(attack) for attack in attacks}) < len(attacks):
        raise InputError(f"an attack is named twice: {', '.join(map(repr, attacks))}")
    if not 0 <= share[0] < share[1]:
        raise InputError(f"a share is (k, n) with 0 <= k < n, got {share}")
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes is a time above 0, or None for as long as it takes; got {minutes}")
    if min(realizations, processes, block, batch_size) < 1:
        raise InputError(
            f"expected realizations, processes, block and batch_size >= 1; got {realizations}, {processes}, {block}, "
            f"{batch_size}"
        )
