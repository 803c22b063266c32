"""The work of a suite: blocks of images, each read once and answered under every condition."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers, BlockFile, judge
from weatherproof.evaluation.engine.conditions import Case
from weatherproof.evaluation.evaluate import EVAL_STREAM, answer
from weatherproof.operators.eight_bit import as_bytes, as_pixels
from weatherproof.operators.suites import Corruption
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import evaluating, require_logits
from weatherproof.types import Images, Keys, Labels, Logits

BLOCK = 512  # images: two batches of the default size, and all classes of CIFAR-10 many times over
SAVE_SECONDS = 30.0  # at most this much work is lost to a kill


@dataclass(frozen=True, eq=False)
class Block:
    """Images on the device, as bytes."""

    pixels: UInt8[Tensor, "n channels height width"]
    labels: Labels
    keys: Keys
    place: Int64[Tensor, "n"]

    def looks(self, operator: Operator | None, batch_size: int) -> Iterator[tuple[Images, Keys]]:
        """The images in batches, damaged, as pixels in [0, 1], with the keys of evaluation's first realization."""
        for pixels, keys in zip(self.pixels.split(batch_size), self.keys.split(batch_size), strict=True):
            if isinstance(operator, Corruption):  # bytes to bytes, a quarter of the memory that floats take
                yield as_pixels(operator(pixels, keys)), keys
            else:
                yield as_pixels(pixels) if operator is None else operator(as_pixels(pixels), keys), keys


@dataclass(frozen=True, eq=False)
class Work:
    """Everything that one process needs to answer some blocks of a suite.

    Attributes:
        images: the set, or those of its images that these blocks need.
        total: how many images the whole set has.
        rows: where the images stand in the whole set, ascending; None: they are the whole set.
        numbers: the blocks to do, of `blocks`; block b holds the places b, b + blocks, b + 2 blocks, ...
        folder: where the block files are.
        plan: what the answers depend on, as text.
        deadline: `time.time()` from when no further condition is started; one is always done.
    """

    classifier: Callable[..., Logits]
    images: ImageSet
    total: int
    cases: Sequence[Case]
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

    def file(self, number: int) -> BlockFile:
        return BlockFile(self.folder / f"block-{number:05}.safetensors", self.plan)

    def places(self, case: Case, number: int) -> Int64[Tensor, "b"]:
        """The images of a case that belong to a block, spread evenly, so that every block has all classes."""
        return torch.arange(number, self.total if case.positions is None else len(case.positions), self.blocks)

    @property
    def left(self) -> list[int]:
        """The blocks in which a condition is not answered yet."""
        labels = {case.label for case in self.cases}
        return [number for number in self.numbers if not labels <= self.file(number).answers.keys()]

    def part(self, numbers: list[int], device: torch.device) -> "Work":
        """The work on these blocks, with the images that they need."""
        rows = torch.cat([case.rows(self.places(case, n)) for n in numbers for case in self.cases]).unique()
        return replace(self, images=self.images.subset(rows), rows=rows, numbers=numbers, device=device)

    def run(self, report: Callable[[int], None], wanted: Callable[[], bool] = lambda: True) -> None:
        """Answer what is not answered yet, all conditions of one block before the next block.

        Args:
            report: called with the number of images after each batch under each condition.
            wanted: asked before each condition; False ends the work, as the deadline does.

        Raises:
            InputError: the classifier has fewer outputs than the images have classes.
        """
        if isinstance(self.classifier, nn.Module):
            self.classifier.to(self.device)
        started = 0
        with evaluating(self.classifier):
            for number in self.numbers:
                file, read = self.file(number), _Reader(self, number)
                saved, dirty = time.monotonic(), False
                try:
                    for case in self.cases:
                        if case.label in file.answers:
                            continue
                        late = self.deadline is not None and time.time() >= self.deadline and started > 0
                        if late or not wanted():
                            return
                        started += 1
                        with phase(case.label):
                            file.answers[case.label] = self._answer(case, read(case), report)
                        dirty = True
                        if time.monotonic() - saved >= SAVE_SECONDS:
                            file.save()
                            saved, dirty = time.monotonic(), False
                finally:  # also when the user stops it, or a later condition fails
                    if dirty:
                        file.save()

    def _answer(self, case: Case, block: Block, report: Callable[[int], None]) -> Answers:
        logits = []
        for damaged, keys in block.looks(case.operator, self.batch_size):
            logits.append(answer(self.classifier, damaged, keys))
            report(len(damaged))
        if not logits:
            none = torch.zeros(0, dtype=torch.int64)
            return Answers(none, none.bool(), none.bool(), none.float())
        outputs = logits[0].shape[1]
        if outputs < len(self.images.classes):
            raise InputError(
                f"the classifier has {outputs} outputs, but {self.images.name!r} has {len(self.images.classes)} "
                f"classes: give a classifier for these classes"
            )
        together = torch.cat(logits)
        require_logits("the classifier", together)
        return judge(together, block.labels, block.place)


class _Reader:
    """Reads the images of a block: once, where all cases are about the same ones."""

    def __init__(self, work: Work, number: int) -> None:
        self.work, self.number = work, number
        self.block: Block | None = None
        self.of: Tensor | None = None

    def __call__(self, case: Case) -> Block:
        if self.block is None or case.positions is not self.of:
            self.block = None  # before the next one is read, so that memory holds one
            places = self.work.places(case, self.number)
            self.block, self.of = _read(self.work, case.rows(places), places), case.positions
        return self.block


def _read(work: Work, rows: Tensor, places: Tensor) -> Block:
    here = rows if work.rows is None else torch.searchsorted(work.rows, rows)
    found = [
        (as_bytes(batch.images), batch.labels, batch.index)
        for batch in batches(work.images, work.batch_size, order=here, device=work.device, workers=work.workers)
    ]
    if not found:
        shape = (0, work.images.channels, *(work.images.image_size or (0, 0)))
        none = torch.zeros(0, dtype=torch.int64)
        return Block(torch.zeros(shape, dtype=torch.uint8), none, none, none)
    pixels, labels, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    kept = torch.ones(len(places), dtype=torch.bool)
    if len(index) < len(places):  # files that cannot be read have been left out
        kept = torch.isin(work.images.index[here], index)
    keys = random.fold(random.keys(work.seed, index), EVAL_STREAM, 0)
    return Block(pixels, labels, keys, places[kept])
