"""The work of measuring under attack: blocks of images, each read once and attacked in every way.

An image under a trial leaves its answer and the size of its perturbation, in one file for a block of images that is
written anew as soon as a trial is done. So a kill costs one trial of one block, and who finds a file goes on from it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.data.loading import Batch
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.attack_trials import Trial, sizes
from weatherproof.evaluation.engine.block_files import read_block, write_block
from weatherproof.evaluation.evaluate import EVAL_STREAM
from weatherproof.progress import phase
from weatherproof.readouts import evaluating, require_logits
from weatherproof.types import Images, Logits

BLOCK = 256  # images


@dataclass(frozen=True)
class Attacked:
    """The answers to some images under one trial.

    Attributes:
        place: which image of the set each row is about.
        answer: the first guess.
        size: of the perturbation, in the attack's norm; 0 of clean images, infinite where the attack gave no image.
        confidence: the softmax probability of the first guess.
    """

    place: Int64[Tensor, "n"]
    answer: Int64[Tensor, "n"]
    size: Float32[Tensor, "n"]
    confidence: Float32[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.place)


def joined(parts: Iterable[Attacked]) -> Attacked | None:
    """The answers of several blocks, by place; None where there is none."""
    parts = list(parts)
    if not parts:
        return None
    whole = Attacked(*(torch.cat([getattr(part, own.name) for part in parts]) for own in fields(Attacked)))
    order = whole.place.argsort()
    return Attacked(*(getattr(whole, own.name)[order] for own in fields(Attacked)))


@dataclass(frozen=True, eq=False)
class AttackWork:
    """Everything that one process needs to attack some blocks of a set.

    Attributes:
        images: the set, or those of its images that these blocks need.
        total: how many images the whole set has.
        numbers: the blocks to do, of `blocks`; block b holds the places b, b + blocks, b + 2 blocks, ...
        folder: where the block files are.
        plan: what the answers depend on, as text.
        deadline: `time.time()` from when no further trial is started; one is always done.
        rows: the places of `images` in the whole set, ascending; None: it is the whole set.
    """

    classifiers: Mapping[str, Callable[..., Logits]]
    images: ImageSet
    total: int
    trials: Sequence[Trial]
    numbers: Sequence[int]
    blocks: int
    folder: Path
    plan: str
    seed: int
    device: torch.device
    batch_size: int
    workers: int
    deadline: float | None = None
    rows: Int64[Tensor, "m"] | None = None

    def path(self, number: int) -> Path:
        return self.folder / f"block-{number:05}.safetensors"

    def found(self, number: int) -> dict[str, Attacked]:
        """By the trials' labels, what is known of a block."""
        blocks = read_block(self.path(number), self.plan)
        return {
            k: Attacked(b["place"].long(), b["answer"].long(), b["size"], b["confidence"]) for k, b in blocks.items()
        }

    def places(self, number: int) -> Int64[Tensor, "b"]:
        """The images of a block, spread evenly, so that every block has all classes."""
        return torch.arange(number, self.total, self.blocks)

    @property
    def highest(self) -> int:
        """Of the labels."""
        return int(self.images.labels.max())

    @property
    def left(self) -> list[int]:
        """The blocks in which a trial is still to be done."""
        labels = {trial.label for trial in self.trials}
        return [number for number in self.numbers if not labels <= self.found(number).keys()]

    def part(self, numbers: list[int], device: torch.device) -> "AttackWork":
        """The work on these blocks, with the images that they need."""
        rows = torch.cat([self.places(number) for number in numbers]).sort().values
        return replace(self, images=self.images.subset(rows), rows=rows, numbers=numbers, device=device)

    def run(self, report: Callable[[int], None], wanted: Callable[[], bool] = lambda: True) -> None:
        """Do what is not done yet, all trials of one block before the next block.

        Args:
            report: called with the number of images after each batch under each trial.
            wanted: asked before each trial; False ends the work, as the deadline does.

        Raises:
            InputError: what the attack refuses, and a classifier with fewer outputs than there are labels.
        """
        for classifier in self.classifiers.values():
            if isinstance(classifier, nn.Module):
                classifier.to(self.device)
        started = 0
        for number in self.numbers:
            found, read = self.found(number), None
            for trial in self.trials:
                if trial.label in found:
                    continue
                if not wanted() or (self.deadline is not None and time.time() >= self.deadline and started > 0):
                    return
                started += 1
                read = self._read(number) if read is None else read
                with phase(f"{trial.attack or 'clean images'} on {trial.model}"):
                    found[trial.label] = self._do(trial, *read, report)
                write_block(self.path(number), self.plan, {label: _kept(own) for label, own in found.items()})

    def _read(self, number: int) -> tuple[list[Batch], Int64[Tensor, "b"]]:
        """The batches of a block, and the places of the images that could be read."""
        places = self.places(number)
        here = places if self.rows is None else torch.searchsorted(self.rows, places)
        read = list(
            batches(self.images, self.batch_size, order=here, device=self.device, workers=self.workers)
        )  # fmt: skip
        index = torch.cat([batch.index for batch in read]) if read else torch.zeros(0, dtype=torch.int64)
        return read, places[torch.isin(self.images.index[here], index)]

    def _do(
        self, trial: Trial, read: Sequence[Batch], places: Int64[Tensor, "b"], report: Callable[[int], None]
    ) -> Attacked:
        classifier = self.classifiers[trial.model]
        answers, lengths, sure = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)], [torch.zeros(0)]
        for batch in read:
            images, size = batch.images, torch.zeros(len(batch.labels), device=batch.images.device)
            if trial.attack is not None:
                keys = random.fold(random.keys(self.seed, batch.index), EVAL_STREAM, trial.run)
                images = trial.attack(classifier, batch.images, batch.labels, keys)
                size = reached(trial, images, batch.images)
            logits = judged(trial.model, classifier, images, self.highest).float()
            answers.append(logits.argmax(dim=1).cpu())
            sure.append(logits.softmax(dim=1).max(dim=1).values.clamp(max=1).cpu())
            lengths.append(size.float().cpu())
            report(len(images))
        return Attacked(places, torch.cat(answers), torch.cat(lengths), torch.cat(sure))


def _kept(own: Attacked) -> dict[str, Tensor]:
    return vars(own) | {"place": own.place.to(torch.int32), "answer": own.answer.to(torch.int32)}


def reached(trial: Trial, attacked: Tensor, clean: Images) -> Float32[Tensor, "batch"]:
    """The sizes of the perturbations; infinite where the attack gave no image.

    Raises:
        InputError: the attack gave images of another shape.
    """
    if attacked.shape != clean.shape:
        raise InputError(f"{trial.attack!r} gave {list(attacked.shape)} for images {list(clean.shape)}")
    assert trial.attack is not None
    lost = ~attacked.flatten(1).isfinite().all(dim=1)
    return sizes(trial.attack, (attacked - clean).nan_to_num()).float().masked_fill(lost, torch.inf)


def guess(name: str, classifier: Callable[..., Logits], images: Images, highest: int) -> Int64[Tensor, "batch"]:
    """The first guesses, in evaluation mode. Raises what `judged` raises."""
    return judged(name, classifier, images, highest).argmax(dim=1)


def judged(name: str, classifier: Callable[..., Logits], images: Images, highest: int) -> Logits:
    """The logits, in evaluation mode.

    Args:
        highest: of the labels.

    Raises:
        InputError: outputs that are no numbers, or fewer than there are labels.
    """
    with evaluating(classifier):
        logits = classifier(images.nan_to_num())
    if logits.ndim != 2 or logits.shape[1] <= highest:
        raise InputError(
            f"{name!r} gives outputs {list(logits.shape)} for {len(images)} images with labels up to {highest}: "
            f"give a classifier for these classes"
        )
    require_logits(name, logits)
    return logits
