"""The work of measuring: blocks of images, each read once and answered in every trial.

What a trial says of a block is kept at the latest 30 s later, and when the work is stopped. So a kill costs one trial
of one block and half a minute, and who finds a block goes on from it.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders.layout import quick_convolutions
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.trials import Look, Models, Trial, rows_of
from weatherproof.operators.eight_bit import as_bytes
from weatherproof.progress import phase

SAVE_SECONDS = 30.0  # at most this much work is lost to a kill


@runtime_checkable
class AnswerStore(Protocol):
    """Where answers are, block by block: `BlockFiles`, `BlockMemory`, or with another process."""

    def read(self, number: int) -> dict[str, Answers]: ...

    def write(self, number: int, answers: Mapping[str, Answers]) -> None: ...


@dataclass(frozen=True, eq=False)
class Work:
    """Everything that one process needs to answer for some blocks of images.

    Attributes:
        images: the set, or those of its images that these blocks need.
        total: how many images the whole set has.
        numbers: the blocks to do, of `blocks`.
        block: how many places that follow on one another a block holds; None: block b holds the places b, b + blocks,
            b + 2 blocks, ..., spread evenly, so that every block has all classes.
        store: where the answers are.
        deadline: `time.time()` from when no further trial is started; one is always done.
        rows: where `images` stand in the whole set, ascending; None: they are the whole set.
    """

    models: Models
    trials: Sequence[Trial]
    images: ImageSet
    total: int
    numbers: Sequence[int]
    blocks: int
    store: AnswerStore
    seed: int
    device: torch.device
    batch_size: int
    workers: int
    block: int | None = None
    deadline: float | None = None
    rows: Int64[Tensor, "m"] | None = None

    def places(self, trial: Trial, number: int) -> Int64[Tensor, "b"]:
        """The images of a trial that belong to a block."""
        every = torch.arange(self.total if trial.positions is None else len(trial.positions))
        return every[number :: self.blocks] if self.block is None else every[number * self.block :][: self.block]

    @property
    def unfinished_blocks(self) -> list[int]:
        """The blocks in which a trial is still to be done."""
        labels = {trial.label for trial in self.trials}
        return [number for number in self.numbers if not labels <= self.store.read(number).keys()]

    def part(self, numbers: list[int], device: torch.device) -> "Work":
        """The work on these blocks, with the images that they need."""
        rows = torch.cat([rows_of(trial, self.places(trial, n)) for n in numbers for trial in self.trials]).unique()
        return replace(self, images=self.images.subset(rows), rows=rows, numbers=numbers, device=device)

    def on_cpu(self) -> "Work":
        """The same for another process, which has a device of its own: models on a GPU are copied to the CPU."""
        return replace(self, models={name: _on_cpu(model) for name, model in self.models.items()})

    def run(self, report: Callable[[int], None], wanted: Callable[[], bool] = lambda: True) -> None:
        """Do what is not done yet, all trials of one block before the next block.

        Args:
            report: called with the number of images after each batch of each trial.
            wanted: asked before each trial; False ends the work, as the deadline does.

        Raises:
            InputError: what a trial refuses.
        """
        for model in self.models.values():
            if isinstance(model, nn.Module):
                model.to(self.device)
        with quick_convolutions(*self.models.values()):
            self._run(report, wanted)

    def _run(self, report: Callable[[int], None], wanted: Callable[[], bool]) -> None:
        started = 0
        for number in self.numbers:
            found, read = self.store.read(number), _Reader(self, number)
            saved, dirty = time.monotonic(), False
            try:
                for trial in self.trials:
                    if trial.label in found:
                        continue
                    late = self.deadline is not None and time.time() >= self.deadline and started > 0
                    if late or not wanted():
                        return
                    started += 1
                    with phase(trial.words):
                        found[trial.label] = self._do(trial, read(trial), report)
                    dirty = True
                    if time.monotonic() - saved >= SAVE_SECONDS:
                        self.store.write(number, found)
                        saved, dirty = time.monotonic(), False
            finally:  # also when the user stops it, or a later trial fails
                if dirty:
                    self.store.write(number, found)

    def _do(self, trial: Trial, looks: Sequence[Look], report: Callable[[int], None]) -> Answers:
        parts = []
        for look in looks:
            parts.append(trial(self.models, look))
            report(len(look))
        place = torch.cat([look.place for look in looks] or [torch.zeros(0, dtype=torch.int64)])
        names = parts[0] if parts else ()
        return Answers(place, {name: torch.cat([columns[name] for columns in parts]).cpu() for name in names})


class _Reader:
    """Reads the images of a block: once, where all trials are about the same ones."""

    def __init__(self, work: Work, number: int) -> None:
        self.work, self.number = work, number
        self.looks: list[Look] | None = None
        self.of: Tensor | None = None

    def __call__(self, trial: Trial) -> list[Look]:
        if self.looks is None or trial.positions is not self.of:
            self.looks = None  # before the next ones are read, so that memory holds one block
            places = self.work.places(trial, self.number)
            self.looks, self.of = _looks(self.work, rows_of(trial, places), places), trial.positions
        return self.looks


def _looks(work: Work, rows: Int64[Tensor, "b"], places: Int64[Tensor, "b"]) -> list[Look]:
    here = rows if work.rows is None else torch.searchsorted(work.rows, rows.contiguous())
    read = [
        (as_bytes(batch.images), batch.labels, batch.index, batch.place)
        for batch in batches(work.images, work.batch_size, order=here, device=work.device, workers=work.workers)
    ]
    if not read:
        return []
    good = torch.cat([rows for *_, rows in read])
    if len(good) < len(places):  # files that cannot be read have been left out
        places = places[torch.isin(here, good)]
    parts = places.split([len(rows) for *_, rows in read])
    return [
        Look(pixels, labels, index, place, random.keys(work.seed, index))
        for (pixels, labels, index, _), place in zip(read, parts, strict=True)
    ]


def _on_cpu(model: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(model, nn.Module) and any(tensor.is_cuda for tensor in model.state_dict().values()):
        return copy.deepcopy(model).cpu()
    return model
